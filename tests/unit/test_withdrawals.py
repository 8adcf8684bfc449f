"""Withdrawals of many owners at once are held back; those of few are not."""

from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.notice import Notice
from webhook.core.pullsecret import ExistingSecret
from webhook.kube.views import State
from webhook.withdrawals import FEW, HELD_SECONDS, SETTLE_SECONDS, TOGETHER_SECONDS, Withdrawals


@dataclass
class World:
    owners: int
    most: float = 0.1
    now: float = 1000.0
    told: list[Notice] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = State.empty()
        self.withdrawals = Withdrawals(self.most, self.state, lambda: self.now, self.told.append, "own", "service")
        for number in range(self.owners):
            secret = ExistingSecret(f"n{number}", "u", 1, True, True, False, False, f"o{number}", b"")
            self.state.pull_secrets.learn(f"n{number}", secret)

    def go(self, *numbers: int) -> list[int]:
        """Those that may lose their pull secrets; they do."""
        free = [number for number in numbers if not self.withdrawals.seconds_left(f"o{number}")]
        for number in free:
            self.state.pull_secrets.forget(f"n{number}", 1)
        return free


def test_one_owner_loses_its_pull_secrets_after_some_seconds() -> None:
    world = World(50)
    assert world.withdrawals.seconds_left("o0") == SETTLE_SECONDS
    world.now += 2
    assert world.withdrawals.seconds_left("o0") == pytest.approx(SETTLE_SECONDS - 2)
    world.now += SETTLE_SECONDS
    assert world.go(0) == [0]
    assert world.go(0) == [0]  # also in the owner's other namespaces
    assert (world.told, world.withdrawals.held()) == ([], 0)


@pytest.mark.parametrize(("owners", "most", "free"), [(50, 0.1, 5), (3, 0.1, FEW), (50, 0.0, FEW), (50, 1.0, 50)])
def test_of_many_at_once_those_that_are_too_many_wait(owners: int, most: float, free: int) -> None:
    world = World(owners, most)
    few, many = range(free), range(owners)
    world.go(*few)
    world.now += SETTLE_SECONDS
    assert world.go(*few) == [*few]  # as many as may go
    if free < owners:
        world.now += 1
        world.go(*many)
        world.now += SETTLE_SECONDS
        assert world.go(*many) == [*few]  # those had begun
        assert world.withdrawals.held() == owners - free
        (notice,) = {*world.told}
        assert notice.reason == "WithdrawalsHeld"
        assert f"{owners} of {owners} owners have no credential any more" in notice.message
        assert "set pullSecret.maxWithdrawn to 1" in notice.message
        assert world.withdrawals.seconds_left(f"o{owners - 1}") == pytest.approx(HELD_SECONDS - SETTLE_SECONDS)


def test_an_empty_database_costs_nobody_anything_until_it_has_been_empty_for_a_day() -> None:
    world = World(20)
    everybody = range(20)
    for _ in range(100):
        assert world.go(*everybody) == []
        world.now += 600
    assert world.withdrawals.held() == 20
    for number in everybody:  # it is back
        world.withdrawals.ended(f"o{number}")
    assert world.withdrawals.held() == 0
    world.go(*everybody)
    world.now += HELD_SECONDS
    assert world.go(*everybody) == [*everybody]


def test_those_of_long_ago_do_not_count() -> None:
    world = World(30)
    for number in range(0, 30, 3):
        world.go(number, number + 1)
        world.now += SETTLE_SECONDS
        assert world.go(number, number + 1) == [number, number + 1]
        world.now += TOGETHER_SECONDS + 1
    assert world.told == []


def test_an_owner_without_pull_secrets_any_more_is_not_counted() -> None:
    world = World(10)
    world.go(*range(10))
    for number in range(8):
        world.state.pull_secrets.forget(f"n{number}", 1)  # their namespaces are gone
    assert world.withdrawals.held() == 2
    world.now += SETTLE_SECONDS
    assert world.go(8, 9) == [8, 9]


steps = st.lists(st.tuples(st.integers(0, 29), st.sampled_from([0, 1, 3])), max_size=150)


@given(st.integers(1, 30), st.floats(0, 1), steps)
def test_never_more_than_allowed_go_together(owners: int, most: float, drawn: list[tuple[int, int]]) -> None:
    world, gone = World(owners, most), set[int]()
    for number, pause in drawn:
        world.now += pause
        gone |= {*world.go(number % owners)}
    assert len(gone) <= max(FEW, most * owners)


def test_a_pull_secret_that_changes_does_not_end_the_wait_and_one_of_others_does_not_count() -> None:
    world = World(1)
    assert world.withdrawals.seconds_left("o0") == SETTLE_SECONDS
    edited = ExistingSecret("n0", "u", 2, True, True, False, False, "o0", b"edited")
    world.state.pull_secrets.learn("n0", edited)
    foreign = replace(edited, namespace="n1", ours=False, owner="o1")
    world.state.pull_secrets.learn("n1", foreign)
    world.now += 3
    assert world.withdrawals.seconds_left("o0") == pytest.approx(SETTLE_SECONDS - 3)
    assert world.withdrawals.held() == 1
    assert world.state.pull_secrets.learn("n0", replace(edited, version=3, ours=False))  # somebody took our label away
    assert world.withdrawals.held() == 0


def test_one_of_several_replicas_judges_by_its_own_part() -> None:
    """It sees only the owners that it looks at: of 50 owners 5 may go, so of its 25 only 2."""
    world = World(50)
    world.withdrawals.part = lambda: 0.5
    world.go(*range(3))
    world.now += SETTLE_SECONDS
    assert world.go(*range(3)) == []
    world.withdrawals.part = lambda: 1.0
    assert world.go(*range(3)) == [0, 1, 2]
