"""What a token service is asked for, and what of it a client gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.imagename import is_repository
from webhook.core.registryscope import (
    MAX_SCOPE_CHARS,
    MAX_SCOPES,
    PULL,
    PUSH,
    Right,
    Scope,
    TooMuch,
    scopes,
)

ALICE = Right("project-alice", frozenset({PULL}))
OWN = Scope("project-alice/app", (PULL,))
NAMES = st.text("ab/.:-_A", max_size=20) | st.sampled_from(["project-alice/app", "project-alice", "project-alice2/app"])


@pytest.mark.parametrize(
    ("text", "granted"),
    [
        ("repository:project-alice/app:pull", (OWN,)),
        ("repository:project-alice/app:pull,push", (OWN,)),
        ("repository:project-alice/app:push,pull,pull", (OWN,)),
        ("repository:project-alice/a/b:pull", (Scope("project-alice/a/b", (PULL,)),)),
        ("repository:project-alice/app:pull repository:project-bob/app:pull", (OWN,)),
        ("repository:project-alice/app:pull repository:project-alice/app:pull", (OWN,)),
        ("repository:project-alice/app:push", ()),
        ("repository:project-alice/app:*", ()),
        ("repository:project-alice/app:", ()),
        ("repository:project-bob/app:pull", ()),
        ("repository:project-alice2/app:pull", ()),
        ("repository:project-alice:pull", ()),
        ("repository:project-alice/:pull", ()),
        ("repository:project-alice/../project-bob/app:pull", ()),
        ("repository:project-alice//app:pull", ()),
        ("repository:Project-Alice/app:pull", ()),
        ("repository:project-alice/app@sha256:pull", ()),
        ("repository:registry.example.com:5000/project-alice/app:pull", ()),
        ("repository(plugin):project-alice/app:pull", ()),
        ("registry:catalog:*", ()),
        ("repository", ()),
        (":::", ()),
        ("", ()),
    ],
)
def test_what_an_owner_gets(text: str, granted: tuple[Scope, ...]) -> None:
    assert ALICE.of(scopes([text])) == granted
    assert ALICE.of(scopes(text.split(" "))) == granted


def test_who_may_push_everywhere() -> None:
    right = Right(None, frozenset({PULL, PUSH}))
    assert right.of(scopes(["repository:a:pull,push,delete"])) == (Scope("a", (PULL, PUSH)),)
    assert right.of(scopes(["registry:catalog:*"])) == ()


def test_no_client_asks_for_so_much() -> None:
    word = "repository:a/b:pull"
    assert len(scopes([" ".join([word] * MAX_SCOPES)])) == 1
    with pytest.raises(TooMuch, match=f"there are {MAX_SCOPES + 1} scopes; ask for at most {MAX_SCOPES}"):
        scopes([word] * (MAX_SCOPES + 1))
    long = f"repository:{'a' * (MAX_SCOPE_CHARS - len('repository::pull'))}:pull"
    assert scopes([long]) == ()
    with pytest.raises(TooMuch, match=f"more than {MAX_SCOPE_CHARS} characters"):
        scopes([f"{long}x"])


@given(st.lists(st.text(max_size=60) | st.builds("repository:{}:{}".format, NAMES, st.text("pulsh,*", max_size=12))))
def test_nothing_but_pulls_of_own_repositories(texts: list[str]) -> None:
    try:
        asked = scopes(texts)
    except TooMuch:
        return
    for one in ALICE.of(asked):
        assert one.actions == (PULL,)
        assert one.name.startswith("project-alice/")
        assert is_repository(one.name)
        assert ".." not in one.name
        assert any(word.startswith(f"repository:{one.name}:") for text in texts for word in text.split(" "))


@given(NAMES, NAMES)
def test_a_right_is_for_whole_parts_of_names(below: str, name: str) -> None:
    granted = Right(below, frozenset({PULL})).of([Scope(name, (PULL,))])
    assert bool(granted) == (name.split("/")[: below.count("/") + 1] == below.split("/") and name != below)
