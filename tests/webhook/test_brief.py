"""Texts of others are one line, bounded, and whole where they are short; a queue in which all have their turn."""

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from webhook.brief import CUT, NAMED, few, line
from webhook.fair import Fair


@given(st.text(alphabet=st.characters(codec=None)), st.integers(8, 64))
def test_a_line(text: str, most: int) -> None:
    shown = line(text, most)
    assert shown.isprintable()
    assert len(shown.encode()) <= most
    if not shown.endswith(CUT):
        assert len(shown) == len(text)
        assert all(one in {other, "?"} for one, other in zip(shown, text, strict=True))


@given(st.text(alphabet=st.characters(categories=["L", "N"]), max_size=16))
def test_what_is_short_stays(text: str) -> None:
    assert line(text, 64) == text


def test_few() -> None:
    assert few(["a", "b", "c"]) == ("a", "b", "c")
    assert few(["x"] * 350_000) == ("x", "x", "x", "and 349,997 more")
    assert NAMED == 3


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans()), max_size=60), st.integers(1, 20))
def test_nobody_waits_for_more_than_one_of_each_other(puts: list[tuple[str, bool]], most: int) -> None:
    queue: Fair[str, int] = Fair(most)
    waiting: dict[str, deque[int]] = {}
    for number, (whose, own) in enumerate(puts):
        name = whose.upper() if own else whose
        waiting.setdefault(name, deque()).append(number)
        gone = queue.put(name, number, first=own)
        assert (gone is None) == (sum(map(len, waiting.values())) <= most)
        if gone is not None:
            assert len(waiting[gone[0]]) == max(map(len, waiting.values()))
            assert waiting[gone[0]].pop() == gone[1]
    got = [queue.get() for _ in range(len(queue))]
    assert sorted(got) == sorted(number for numbers in waiting.values() for number in numbers)
    names = {number: name for name, numbers in waiting.items() for number in numbers}
    order = [names[number] for number in got]
    assert order == sorted(order, key=str.islower)  # those who go first
    for name, numbers in waiting.items():
        assert [number for number in got if names[number] == name] == list(numbers)
    for at, name in enumerate(order):
        before = Counter(one for one in order[:at] if one.islower() == name.islower())
        assert all(before[one] <= before[name] + 1 for one in before)
