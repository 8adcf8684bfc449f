import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.backoff import JITTER, Backoff, jittered

SECONDS = st.floats(0.001, 1000)
PART = st.floats(0, 1)


@given(seconds=SECONDS, jitter=PART)
def test_jitter_takes_no_more_than_its_part(seconds: float, jitter: float) -> None:
    assert seconds * (1 - jitter) <= jittered(seconds, jitter) <= seconds


def test_two_replicas_part() -> None:
    assert len({jittered(1.0) for _ in range(20)}) == 20
    assert JITTER > 0


@given(initial=SECONDS, cap=SECONDS, jitter=PART)
def test_each_delay_is_twice_as_long_up_to_the_cap_until_it_works(initial: float, cap: float, jitter: float) -> None:
    backoff, delays = Backoff(initial, cap, jitter), list[float]()
    for _ in range(30):
        waited = backoff.next()
        delays.append(backoff.delay)
        assert backoff.delay * (1 - jitter) <= waited <= backoff.delay
    assert delays[0] == min(initial, cap)
    assert all(after == min(2 * before, cap) for before, after in pairwise(delays))
    assert delays[-1] == cap

    backoff.reset()

    assert not backoff.delay
    backoff.next()
    assert backoff.delay == delays[0]


def test_a_cap_may_change_between_two_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of one who waits for a source, which is refused to one or down for all."""
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    backoff = Backoff(0.5, 60.0)
    first = [backoff.next() for _ in range(4)]
    backoff.cap = 3.0
    assert [*first, backoff.next()] == [0.5, 1.0, 2.0, 4.0, 3.0]
