"""`--watch`: prints again what has changed, goes on while the cluster does not answer, and does not look too often."""

import re
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from webhook.cli import watching
from webhook.cli.exitcodes import UnseenError
from webhook.cli.watching import PAUSE_SECONDS, SHARE, watched

Look = str | UnseenError


class Clock:
    """A look takes `takes` seconds. After the last one comes Ctrl-C."""

    def __init__(self, looks: list[Look], takes: float) -> None:
        self.looks, self.takes, self.now = iter(looks), takes, 100.0
        self.pauses: list[float] = []

    def look(self) -> str:
        self.now += self.takes
        found = next(self.looks, None)
        if found is None:
            raise KeyboardInterrupt
        if isinstance(found, UnseenError):
            raise found
        return found

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


Run = Callable[..., Clock]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    def go(*looks: Look, output: str = "text", takes: float = 0.1) -> Clock:
        clock = Clock([*looks], takes)
        monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: clock.now, sleep=clock.sleep))
        with pytest.raises(KeyboardInterrupt):
            watched(clock.look, lambda text: f"{text}\n{text}", output)
        return clock

    return go


def test_what_has_changed_is_printed_again_with_the_time(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", "a", "b", "a")
    printed = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "TIME", capsys.readouterr().out)
    assert printed == "TIME\na\na\n\nTIME\nb\nb\n\nTIME\na\na\n"


def test_documents_come_one_after_the_other(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("a", "b", output="json")
    run("a", "b", output="yaml")
    assert capsys.readouterr().out == "a\na\nb\nb\n" + "a\na\n---\nb\nb\n"


def test_a_cluster_that_does_not_answer_for_a_while_is_said_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    gone, refused = UnseenError("it cannot be reached"), UnseenError("it refuses")
    run("a", gone, gone, refused, "a", gone)
    printed = capsys.readouterr()
    assert printed.out.count("a\na\n") == 1
    assert [line.removesuffix("; looking again") for line in printed.err.splitlines()] == [
        f"pullsecret: {one}" for one in (gone, refused, gone)
    ]


def test_one_that_never_answered_is_an_error(run: Run) -> None:
    with pytest.raises(UnseenError):
        watched(Clock([UnseenError("it cannot be reached")], 0.0).look, str, "text")


def test_long_looks_are_rare(run: Run) -> None:
    assert run("a", "a").pauses == [PAUSE_SECONDS] * 2
    assert run("a", takes=3.0).pauses == [pytest.approx(3.0 * SHARE)]
