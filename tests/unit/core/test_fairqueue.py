"""A queue in which all have their turn."""

from collections import Counter, deque

from hypothesis import given
from hypothesis import strategies as st

from webhook.core.fairqueue import Fair


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
