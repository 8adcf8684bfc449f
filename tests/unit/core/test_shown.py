"""Others' text among our own words."""

import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.shown import CUT, MAX_CHARS, MAX_FEW, command, few, invisible, quoted, short, shown, some

UNSEEN = "\u200b\u2060\ufeff\u00ad\u034f\u3164\ufe0f\u2800\u180e\U000e0041"
STEERING = "\n\r\t\v\f\x00\x07\x1b\x7f\x85\u2028\u2029\u202e\u2066\u061c\ud800"


@pytest.mark.parametrize("letter", UNSEEN + STEERING, ids=ascii)
def test_what_steers_a_terminal_or_is_not_seen_is_a_question_mark(letter: str) -> None:
    assert shown(f"a{letter}b") == "a?b"
    assert quoted(f"a{letter}b") == '"a?b"'


HIDDEN = "\u200b\u2060\ufeff\u00ad\u180e\U000e0041\u00a0\u2003\u202f\u1680\ufff9"


@pytest.mark.parametrize("letter", HIDDEN + STEERING, ids=ascii)
def test_what_nobody_types_is_invisible_but_line_breaks_and_tabs(letter: str) -> None:
    assert invisible(f"a{letter}b") == (letter not in "\n\r\t")


@pytest.mark.parametrize(
    "text", ["a b", "a\u3000b", "\u5bc6\u7801", "\U0001f600", "\u201ca\u201d", "e\u0301", "\ufffd", ""]
)
def test_what_people_type_is_not_invisible(text: str) -> None:
    assert not invisible(text)


@pytest.mark.parametrize(
    "word",
    [
        "alice",
        "alice@example.com",
        "c-m-abc:p-xyz",
        "ghcr.io/acme/",
        "*.example.com:5000",
        "[::1]:5000",
        "https://index.docker.io/v1/",
        "kubernetes.io/tls",
    ],
)
def test_a_word_stays_as_it_is(word: str) -> None:
    assert quoted(word) == word


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", '""'),
        ("a b", '"a b"'),
        ("-x", '"-x"'),
        ("o'brien", '"o\'brien"'),
        ('x" ours "', "\"x' ours '\""),
        ("$(id) `id` \\", '"?(id) ?id? ?"'),
        ("алиса", '"алиса"'),
    ],
)
def test_other_text_is_quoted(text: str, line: str) -> None:
    assert quoted(text) == line


@given(st.text(max_size=3 * MAX_CHARS))
def test_any_text_is_one_bounded_line_that_a_shell_takes_for_one_word(text: str) -> None:
    line = quoted(text)
    assert line.isprintable()
    assert len(line) <= MAX_CHARS + len('""...')
    assert len(shlex.split(line.replace("[", "").replace("*", ""))) == 1
    assert len(quoted(text, 10)) <= 15


def test_of_many_the_first_are_named() -> None:
    assert some(["a", "b c"]) == 'a, "b c"'
    assert some(["x"] * 7) == "x, x, x, x, x and 2 more"
    assert len(some(["x" * 999] * 100_000)) < 1200


@pytest.mark.parametrize("word", ["", "a b", "a;b", "$x", "--all", "-", "a\n", "a'", "ä", "a*", "~", "x" * 400])
def test_a_command_is_made_of_words_only(word: str) -> None:
    assert command("kubectl delete {} {}", "pod", word) == ""
    assert command("kubectl delete {} {}-", "pod", "example.com/a_B.c") == "kubectl delete pod example.com/a_B.c-"


@given(st.text(alphabet=st.characters(codec=None)), st.integers(8, 64))
def test_in_so_many_bytes(text: str, most: int) -> None:
    made = short(text, most)
    assert made.isprintable()
    assert len(made.encode()) <= most
    if not made.endswith(CUT):
        assert len(made) == len(text)
        assert all(one in {other, "?"} for one, other in zip(made, text, strict=True))


@given(st.text(alphabet=st.characters(categories=["L", "N"]), max_size=16))
def test_what_is_short_stays(text: str) -> None:
    assert short(text, 64) == text


def test_few() -> None:
    assert few(["a", "b", "c"]) == ("a", "b", "c")
    assert few(["x"] * 350_000) == ("x", "x", "x", "and 349,997 more")
    assert MAX_FEW == 3
