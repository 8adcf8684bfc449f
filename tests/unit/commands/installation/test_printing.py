"""How `doctor cluster` prints what it finds, when it is found."""

import asyncio
import sys
from collections.abc import AsyncIterator

import pytest

from webhook.cli import doctorcluster
from webhook.commands.installation.checklist import Check

CHECKS = [
    Check("API server", "clock", "right", "as here"),
    Check("Webhook", "CA", "wrong", "it ends", "renew it"),
    Check("Webhook", "pods", "right"),
]


async def slow() -> AsyncIterator[Check]:
    for one in CHECKS:
        await asyncio.sleep(0.02)
        yield one


def printed(output: str) -> list[Check]:
    return asyncio.run(doctorcluster._taken(slow(), output))


def test_a_section_has_its_name_once_and_a_fault_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed("text") == CHECKS
    out, err = capsys.readouterr()
    assert out.replace("✔", "+").replace("✗", "x") == (
        "API server\n  + clock: as here\n\nWebhook\n  x CA: it ends\n      renew it\n  + pods\n"
    )
    assert err == ""


def test_json_comes_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed("json") == CHECKS
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_somebody_at_a_terminal_is_told_that_it_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, terminal: bool
) -> None:
    monkeypatch.setattr(doctorcluster, "PATIENCE_SECONDS", 0.001)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal, raising=False)
    printed("text")
    assert capsys.readouterr().err == "still looking ...\n" * 3 * terminal


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_only_where_they_are_wanted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_color: str, coloured: bool
) -> None:
    monkeypatch.setenv("NO_COLOR", no_color)
    printed("text")
    assert "\x1b" not in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    printed("text")
    assert ("\x1b[31m" in capsys.readouterr().out) is coloured
