"""Events: each said once an hour, all counted, and nobody can make us say too much."""

import asyncio
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from webhook import events
from webhook.cluster import Cluster, ClusterError, is_name
from webhook.events import WAITING, Events
from webhook.metrics import Metrics
from webhook.notice import Notice

Lines = list[MutableMapping[str, Any]]
FOREIGN = Notice("ForeignSecret", "a Secret of this name is foreign", "team", "Secret", "ghcr-secret")


class Api:
    """Takes what is posted; `errors` are raised first, one a call."""

    def __init__(self, *errors: ClusterError) -> None:
        self.errors, self.posted = list(errors), list[tuple[str, str, Any]]()

    async def call(self, method: str, path: str, *, body: Any) -> bytes:
        if self.errors:
            raise self.errors.pop(0)
        self.posted.append((method, path, body))
        return b"{}"


class Scene:
    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.metrics, self.now = Metrics(), datetime(2026, 11, 23, 17, 5, 9, 120, tzinfo=UTC)
        self.events = Events(self.metrics, lambda: self.now, "webhook-1")

    def counted(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("pullsecret_webhook_notices_total", {"reason": reason})

    def sent(self, *errors: ClusterError) -> list[tuple[str, str, Any]]:
        """All that waits, sent."""
        api = Api(*errors)

        async def main() -> None:
            running = asyncio.create_task(self.events.run(cast(Cluster, api)))
            for _ in range(3):
                await asyncio.sleep(0)
            assert not running.done()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

        self.runner.run(main())
        return api.posted


@pytest.fixture
def scene() -> Iterator[Scene]:
    with asyncio.Runner() as runner:
        yield Scene(runner)


@pytest.fixture(autouse=True)
def said() -> Iterator[Lines]:
    with capture_logs() as lines:
        yield lines


def named(number: int) -> Notice:
    return Notice("ForeignSecret", "foreign", f"team-{number}", "Secret", "ghcr-secret")


def test_said_once_an_hour_and_always_counted(scene: Scene, said: Lines) -> None:
    for minutes, times in ((0, 1), (1, 1), (58, 1), (2, 2), (59, 2)):
        scene.now += timedelta(minutes=minutes)
        scene.events.tell(FOREIGN)
        assert len(said) == times, minutes
    assert scene.counted("ForeignSecret") == 5
    assert len(scene.sent()) == 2
    assert scene.sent() == []


def test_that_a_source_is_down_is_said_more_often(scene: Scene, said: Lines) -> None:
    """What is no longer said is over."""
    down = Notice("SourceUnavailable", "source sql: it cannot be reached", "release", "Service", "webhook")
    for minutes, times in ((0, 1), (9, 1), (1, 2), (9, 2)):
        scene.now += timedelta(minutes=minutes)
        scene.events.tell(down)
        assert len(said) == times, minutes


@pytest.mark.parametrize(
    "other",
    [
        Notice("Other", FOREIGN.message, "team", "Secret", "ghcr-secret"),
        Notice("ForeignSecret", "another text", "team", "Secret", "ghcr-secret"),
        Notice("ForeignSecret", FOREIGN.message, "other", "Secret", "ghcr-secret"),
        Notice("ForeignSecret", FOREIGN.message, "team", "ServiceAccount", "ghcr-secret"),
        Notice("ForeignSecret", FOREIGN.message, "team", "Secret", "other"),
    ],
)
def test_what_differs_is_said_too(other: Notice, scene: Scene, said: Lines) -> None:
    scene.events.tell(FOREIGN)
    scene.events.tell(other)
    assert [line["event"] for line in said] == [FOREIGN.message, other.message]
    assert len(scene.sent()) == 2


def test_log_line(scene: Scene, said: Lines) -> None:
    scene.events.tell(FOREIGN)
    scene.events.tell(Notice("Deleted", "it is gone", "team", "Secret", "ghcr-secret", "Normal"))
    assert said == [
        {
            "event": FOREIGN.message,
            "reason": "ForeignSecret",
            "about": "Secret team/ghcr-secret",
            "log_level": "warning",
        },
        {"event": "it is gone", "reason": "Deleted", "about": "Secret team/ghcr-secret", "log_level": "info"},
    ]


def test_no_more_than_a_few_hundred_wait(scene: Scene, said: Lines) -> None:
    for number in range(WAITING + 50):
        scene.events.tell(named(number))
    assert scene.counted("ForeignSecret") == len(said) == WAITING + 50
    assert len(scene.sent()) == WAITING
    scene.events.tell(named(WAITING + 50))
    assert len(scene.sent()) == 1


def test_what_is_remembered_is_bounded(scene: Scene, said: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 3)
    for number, times in ((0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (1, 4), (0, 5)):
        scene.events.tell(named(number))
        assert len(said) == times
        assert len(scene.events._said) <= 3


def test_what_was_said_long_ago_is_forgotten_first(scene: Scene, said: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "REMEMBERED", 2)
    for number in (0, 1):
        scene.events.tell(named(number))
    scene.now += timedelta(hours=1)
    for number, times in ((0, 3), (2, 4), (0, 4)):
        scene.events.tell(named(number))
        assert len(said) == times


def test_event(scene: Scene) -> None:
    scene.events.tell(FOREIGN)
    scene.events.tell(Notice("AccountRefuses", "x", "team", "ServiceAccount", "builder", "Normal"))
    (method, path, first), (_, _, second) = scene.sent()
    assert (method, path) == ("POST", "/apis/events.k8s.io/v1/namespaces/team/events")
    names = [event["metadata"].pop("name") for event in (first, second)]
    assert names[0].startswith("ghcr-secret.")
    assert names[1].startswith("builder.")
    assert first == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "team"},
        "eventTime": "2026-11-23T17:05:09.000120Z",
        "reportingController": "pullsecret-webhook",
        "reportingInstance": "webhook-1",
        "action": "Supply",
        "reason": "ForeignSecret",
        "type": "Warning",
        "note": FOREIGN.message,
        "regarding": {"apiVersion": "v1", "kind": "Secret", "name": "ghcr-secret", "namespace": "team"},
    }
    assert second["type"] == "Normal"
    assert second["regarding"] == {"apiVersion": "v1", "kind": "ServiceAccount", "name": "builder", "namespace": "team"}


def test_the_same_again_gets_a_name_of_its_own(scene: Scene) -> None:
    names = set()
    for _ in range(3):
        scene.now += timedelta(hours=1)
        scene.events.tell(FOREIGN)
        names |= {body["metadata"]["name"] for _, _, body in scene.sent()}
    assert len(names) == 3


@pytest.mark.parametrize(("text", "note"), [("x" * 1025, "x" * 1024), ("x" + "é" * 600, "x" + "é" * 511), ("é", "é")])
def test_a_long_note_is_cut(text: str, note: str, scene: Scene, said: Lines) -> None:
    scene.events.tell(Notice("ForeignSecret", text, "team", "Secret", "ghcr-secret"))
    ((_, _, body),) = scene.sent()
    assert body["note"] == note
    assert said[0]["event"] == text


@pytest.mark.parametrize("name", ["a" * 253, "a" * 235 + ".-" + "a" * 16])
def test_the_name_of_an_event_is_a_name(name: str, scene: Scene) -> None:
    scene.events.tell(Notice("AccountRefuses", "x", "team", "ServiceAccount", name))
    ((_, _, body),) = scene.sent()
    assert is_name(body["metadata"]["name"])
    assert "-." not in body["metadata"]["name"]
    assert body["regarding"]["name"] == name


@pytest.mark.parametrize(
    "error", [ClusterError(403, "Forbidden", "the server's own words"), ClusterError(0, "TimeoutError")], ids=str
)
def test_one_that_cannot_be_written_is_logged_and_the_next_is_sent(
    error: ClusterError, scene: Scene, said: Lines
) -> None:
    scene.events.tell(named(1))
    scene.events.tell(named(2))
    said.clear()
    assert [path for _, path, _ in scene.sent(error)] == ["/apis/events.k8s.io/v1/namespaces/team-2/events"]
    assert said == [
        {
            "event": "an Event could not be written",
            "namespace": "team-1",
            "reason": "ForeignSecret",
            "error": str(error),
            "log_level": "info",
        }
    ]
    assert "own words" not in str(said)


@pytest.mark.parametrize("namespace", ["", "..", "a/b", "a/../b", "Team", "a b", "a?x=1", "a%2Fb", "a" * 254, "-a"])
def test_what_is_no_name_becomes_no_path(namespace: str, scene: Scene, said: Lines) -> None:
    scene.events.tell(Notice("ForeignSecret", "foreign", namespace, "Secret", "ghcr-secret"))
    scene.events.tell(FOREIGN)
    assert [path for _, path, _ in scene.sent()] == ["/apis/events.k8s.io/v1/namespaces/team/events"]
    assert len(said) == 2
