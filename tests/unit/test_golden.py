"""Every file in tests/admission, offline."""

import asyncio
from pathlib import Path

import pytest

from support import goldencase

FILES = sorted(goldencase.FOLDER.glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path) -> None:
    case = goldencase.load(path)
    outcome, expect = asyncio.run(goldencase.run(case)), case.expect
    assert outcome.allowed
    assert outcome.status == expect.status
    assert outcome.patch == expect.patch
    assert outcome.writes == expect.writes
    assert outcome.notices == expect.notices
    assert outcome.again == expect.again
    assert outcome.later == expect.later
    assert len(outcome.warnings) == len(expect.warnings), outcome.warnings
    for said, part in zip(outcome.warnings, expect.warnings, strict=True):
        assert part in said
    if outcome.patch:
        assert case.review is not None
        after = goldencase.names(goldencase.patched(case.review, outcome.patch))
        assert len(set(after)) == len(after)


def test_there_are_many() -> None:
    assert len(FILES) >= 110


def test_credentials_that_are_too_large_together_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook.core.pullsecret.MAX_DATA_BYTES", 10)
    outcome = asyncio.run(goldencase.run(goldencase.load(goldencase.FOLDER / "pod-without-list.yaml")))
    assert outcome.writes == []
    assert [operation["op"] for operation in outcome.patch] == ["add"]
    assert "larger than 1 MiB together" in outcome.warnings[0]
