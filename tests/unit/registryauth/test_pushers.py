"""The file of those who may push."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.core.registryscope import PULL, PUSH, Right
from webhook.registryauth.pushers import MAX_BYTES, Pushers, PushersUnusable, pushers

DIGEST = hashlib.sha256(b"x").hexdigest()
BOTH = frozenset({PULL, PUSH})


def test_who_may_push_where() -> None:
    text = f"# the platform\n\nbuilder  {DIGEST}\t*\n  ci@example {DIGEST} teams/a\n"
    assert {name: one.right for name, one in pushers(text).items()} == {
        "builder": Right(None, BOTH),
        "ci@example": Right("teams/a", BOTH),
    }


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"builder {DIGEST}", "expected NAME SHA-256 REPOSITORIES"),
        (f"builder {DIGEST} * x", "expected NAME SHA-256 REPOSITORIES"),
        ("builder PLANTED *", "expected NAME SHA-256 REPOSITORIES"),
        (f"builder {DIGEST.upper()} *", "expected NAME SHA-256 REPOSITORIES"),
        (f"a:b {DIGEST} *", "expected NAME SHA-256 REPOSITORIES"),
        (f"builder {DIGEST} a/", "no repository's name begins so"),
        (f"builder {DIGEST} a*", "no repository's name begins so"),
        (f"ci {DIGEST} *", "this name has a line already"),
    ],
)
def test_a_line_that_is_wrong(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=f"^line 2: {why}") as e:
        pushers(f"ci {DIGEST} ci\n{line}\n")
    assert "PLANTED" not in str(e.value)
    assert DIGEST not in str(e.value)


@given(st.text())
def test_whatever_is_in_the_file(text: str) -> None:
    try:
        found = pushers(text)
    except ValueError as e:
        assert str(e).startswith("line ")
    else:
        assert all(one.right.actions == BOTH for one in found.values())


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    file = tmp_path / "pushers"
    for content, why in [
        (None, "No such file"),
        (b"\xff", "not UTF-8"),
        (b"#" * (MAX_BYTES + 1), "larger than 64 KiB"),
    ]:
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(PushersUnusable, match=f"^{file}.*{why}"):
            Pushers(str(file)).right("a", "b")


def test_nobody_pushes_without_a_file() -> None:
    assert Pushers(None).right("builder", planted.token()) is None
