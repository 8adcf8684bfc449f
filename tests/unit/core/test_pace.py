"""What is remembered of a namespace to which something happened."""

import pytest

from webhook.core import pace
from webhook.core.pace import BACKOFF_SECONDS, CALM_SECONDS, SWEPT, Pace, Paces

RIGHT, OTHER = b"right", b"other"
LATER = 2 * CALM_SECONDS


def test_what_is_undone_waits_ever_longer_and_news_do_not() -> None:
    one, now, waits = Pace(), 0.0, []
    assert one.wrote(RIGHT, now) == 0
    for count in range(1, 6):
        now = one.until
        assert one.wrote(RIGHT, now) == count
        waits.append(one.until - now)
        assert one.earliest(urgent=True) <= now + BACKOFF_SECONDS
        assert one.earliest(urgent=False) == one.until
    assert waits == sorted(waits)
    assert waits[-1] > waits[0]
    until = one.until
    assert one.wrote(OTHER, now + 0.1) == 0
    assert one.until == until, "what is undone still waits"
    assert one.earliest(urgent=True) == pytest.approx(now + 0.1 + BACKOFF_SECONDS)


def test_after_calm_it_begins_afresh_and_knows_what_was_right() -> None:
    paces = Paces()
    paces.begun("team", 0.0).wrote(RIGHT, 0.0)
    assert paces.begun("team", 1.0).wrote(RIGHT, 1.0) == 1
    assert paces.begun("team", 2.0).wrote(RIGHT, 2.0) == 2
    assert paces.begun("team", LATER).wrote(RIGHT, LATER) == 1
    paces.right("team", RIGHT, LATER + 1)
    assert [*paces] == ["team"]
    paces.right("team", RIGHT, 2 * LATER + 1)
    assert not len(paces)


def test_few_are_looked_at_for_each_new_one_and_calm_ones_do_not_pile_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first ones never become calm, and the others are behind them."""
    looked, calm = 0, Pace.calm

    def counted(one: Pace, now: float) -> bool:
        nonlocal looked
        looked += 1
        return calm(one, now)

    monkeypatch.setattr(pace.Pace, "calm", counted)
    paces = Paces()
    for number in range(600):
        now = number / 2
        for broken in range(20):
            paces.begun(f"broken-{broken}", now).failed(now)
        looked = 0
        paces.begun(f"n-{number}", now).wrote(RIGHT, now)
        assert looked <= SWEPT
        assert len(paces) <= 20 + 3 * CALM_SECONDS * 2
