"""Who looks at which owners: exactly one, as evenly as can be, and nothing moves but what must."""

import subprocess
import sys
from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st

from webhook.core.shares import ALL, HANDED_SECONDS, LASTS_SECONDS, Shares, Slot, Step, responsible, shares, step

KEYS = [f"owner-{number}" for number in range(6000)]
NUMBERS = st.sets(st.integers(0, 9), min_size=1, max_size=6)
TEXTS = st.text(max_size=20)


@given(NUMBERS, TEXTS)
def test_of_several_one_is_responsible(slots: set[int], key: str) -> None:
    views = [Shares(frozenset({own}), frozenset(slots - {own})) for own in slots]
    assert [view.has(key) for view in views].count(True) == 1


@given(NUMBERS, st.integers(0, 9), TEXTS)
def test_a_slot_that_comes_or_goes_moves_its_own_keys_alone(slots: set[int], other: int, key: str) -> None:
    assume(other not in slots)
    before, after = responsible(slots, key), responsible(slots | {other}, key)
    assert after in {before, other}


@given(NUMBERS, NUMBERS, TEXTS)
def test_who_has_a_key_among_more_slots_has_it_among_fewer(slots: set[int], fewer: set[int], key: str) -> None:
    """So views that differ leave no key to nobody, as long as all slots in them live."""
    has = responsible(slots, key)
    assert responsible((slots & fewer) | {has}, key) == has


def test_shares_are_about_the_same() -> None:
    for count in (2, 3, 5):
        found = Counter(responsible(range(count), key) for key in KEYS)
        assert max(found.values()) < 1.1 * len(KEYS) / count
        assert min(found.values()) > 0.9 * len(KEYS) / count


def test_another_process_says_the_same() -> None:
    """`hash` of a text would not."""
    asks = (
        "from webhook.core.shares import responsible; print([responsible(range(5), f'owner-{n}') for n in range(50)])"
    )
    said = subprocess.run([sys.executable, "-c", asks], check=True, capture_output=True, text=True).stdout
    assert said.strip() == str([responsible(range(5), key) for key in KEYS[:50]])


def test_who_sees_nobody_else_does_everything() -> None:
    assert ALL.has("alice")
    assert ALL.part == 1.0
    assert all(Shares(own=frozenset({1})).has(key) for key in KEYS)


def test_who_has_no_slot_does_nothing_while_another_one_has() -> None:
    standby = Shares(others=frozenset({0}))
    assert not any(standby.has(key) for key in KEYS)
    assert standby.part == 0.0
    assert Shares(frozenset({1}), frozenset({0})).part == 0.5


def test_a_slot_counts_for_as_long_as_it_was_seen_to_be_renewed() -> None:
    slot = Slot().seen("b", "noon", 100.0)
    assert slot.seen("b", "noon", 105.0) is slot
    assert shares({0: slot}, "a", 100.0 + LASTS_SECONDS - 0.1).others == {0}
    assert not shares({0: slot}, "a", 100.0 + LASTS_SECONDS).others
    renewed = slot.seen("b", "later", 105.0)
    assert shares({0: renewed}, "a", 100.0 + LASTS_SECONDS).others == {0}


def test_a_slot_that_is_given_back_counts_until_another_one_may_have_taken_it() -> None:
    given = Slot("b", "noon", 100.0).seen("", "noon", 101.0)
    assert shares({0: given}, "a", 101.0 + HANDED_SECONDS - 0.1).others == {0}
    assert not shares({0: given}, "a", 101.0 + HANDED_SECONDS).others
    assert step({0: given}, "a", 101.0, able=True) == Step("take", (0,))
    assert not shares({0: Slot().seen("", "", 100.0)}, "a", 100.0).others, "nobody had it"


def test_a_slot_of_its_own_never_ends_by_itself() -> None:
    assert shares({0: Slot("a", "noon", 0.0)}, "a", 1000.0).own == {0}


def test_what_is_next() -> None:
    free, mine, other = Slot(since=0.0), Slot("a", "noon", 0.0), Slot("b", "noon", 0.0)

    def next_of(able: bool, *slots: Slot, now: float = 1.0) -> Step | None:
        return step(dict(enumerate(slots)), "a", now, able=able)

    assert next_of(True, free, free) == Step("take", (0, 1))
    assert next_of(True, other, free) == Step("take", (1,))
    assert next_of(True, other, other) is None
    assert next_of(True, other, other, now=1.0 + LASTS_SECONDS) == Step("take", (0, 1))
    assert next_of(True, other, mine) == Step("take", (1,))
    assert next_of(True, mine, mine) == Step("give back", (1,))
    assert next_of(True) is None, "none could be read"


def test_who_cannot_work_leaves_its_share_to_those_who_are_there() -> None:
    free, mine, other = Slot(), Slot("a", "noon", 0.0), Slot("b", "noon", 0.0)
    assert step({0: mine, 1: other}, "a", 1.0, able=False) == Step("give back", (0,))
    assert step({0: mine, 1: free}, "a", 1.0, able=False) == Step("take", (0,)), "it leaves it to nobody"
    given = other.seen("", "noon", 1.0)
    assert step({0: mine, 1: given}, "a", 1.5, able=False) == Step("take", (0,)), "nobody holds that one"
    assert step({0: free, 1: other}, "a", 1.0, able=False) is None
