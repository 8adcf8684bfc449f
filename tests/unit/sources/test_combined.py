"""Several sources as one: what is merged, what is reported, and what a broken one does to an answer."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import cast

import pytest

from support import planted
from webhook.checks.checked import Checked
from webhook.checks.checker import Checker
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import SourceUnavailable
from webhook.sources.combined import Combined

NOTHING = Credentials()
TOKENS = [planted.token() for _ in range(4)]


class Told:
    """A source that says what it is told to; None: it cannot. `known` only if `knows`."""

    def __init__(self, says: Credentials | None, *, knows: bool = True) -> None:
        self.says, self.knows = says, knows
        self.settled = asyncio.Event()
        self.before: Callable[[], Awaitable[None]] | None = None
        self.ran = False
        self.invalidated: list[str] = []
        self.prefetched: list[list[str]] = []

    def known(self, owner: str) -> Credentials | None:
        return self.says if self.knows else None

    async def prefetch(self, owners: Collection[str]) -> None:
        self.prefetched.append([*owners])

    def invalidate(self, owner: str) -> None:
        self.invalidated.append(owner)

    async def credentials(self, owner: str) -> Credentials:
        if self.before is not None:
            await self.before()
        if self.says is None:
            raise SourceUnavailable("switched off", everybody=True)
        return self.says

    def able(self) -> bool:
        return self.says is not None

    async def run(self) -> None:
        self.ran = True
        await asyncio.Future()


def has(*entries: tuple[str, int]) -> Credentials:
    return Credentials(tuple(Credential(r, f"u{n}", TOKENS[n]) for r, n in entries))


class Sides:
    def __init__(self, *sources: Told) -> None:
        self.combined = Combined([*zip("abc", sources, strict=False)])

    def ask(self, owner: str = "alice") -> Credentials:
        found = asyncio.run(self.combined.credentials(owner))
        known = self.combined.known(owner)
        assert known is None or known is found
        return found


def test_registries_and_paths_of_all_are_there() -> None:
    a, b = Told(has(("ghcr.io/alice", 0))), Told(has(("ghcr.io/acme", 1), ("ghcr.io", 2), ("ghcr.io/al", 3)))
    sides = Sides(a, b)
    assert [c.registry for c in sides.ask().items] == ["ghcr.io", "ghcr.io/acme", "ghcr.io/al", "ghcr.io/alice"]


def test_each_source_prefetches_also_behind_what_registries_said() -> None:
    a, b = Told(None), Told(has(("ghcr.io", 0)))
    combined = Sides(a, b).combined
    checked = Checked(
        combined, cast(Checker, SimpleNamespace()), lambda _: None, lambda _: None, lambda: datetime.now(UTC)
    )
    asyncio.run(checked.prefetch(["alice", "bob"]))
    assert a.prefetched == b.prefetched == [["alice", "bob"]]


def test_it_is_able_if_all_are_also_behind_what_registries_said() -> None:
    a, b = Told(has(("ghcr.io", 0))), Told(None)
    combined = Sides(a, b).combined
    checked = Checked(
        combined, cast(Checker, SimpleNamespace()), lambda _: None, lambda _: None, lambda: datetime.now(UTC)
    )
    assert not combined.able()
    assert not checked.able()
    b.says = has(("quay.io", 1))
    assert combined.able()
    assert checked.able()


def test_what_is_doubted_no_longer_stands_in_for_a_source_that_cannot_say() -> None:
    a, b = Told(has(("ghcr.io", 0))), Told(has(("ghcr.io/acme", 1)))
    sides = Sides(a, b)
    both = sides.ask()
    a.says = None
    assert sides.ask() is both
    sides.combined.invalidate("alice")
    assert a.invalidated == b.invalidated == ["alice"]
    with pytest.raises(SourceUnavailable):
        sides.ask()
    a.says = has(("ghcr.io", 2))
    assert sides.ask().items[0].password == TOKENS[2]


def test_of_two_for_one_registry_both_are_there_in_the_order_of_the_sources() -> None:
    sides = Sides(Told(has(("ghcr.io", 3))), Told(has(("ghcr.io", 1), ("a.example", 2))))
    assert sides.ask() == has(("a.example", 2), ("ghcr.io", 3), ("ghcr.io", 1))


def test_answers_are_one_object_until_they_change() -> None:
    a, b = Told(has(("ghcr.io", 0))), Told(has(("quay.io", 1)))
    sides = Sides(a, b)
    first = sides.ask()
    assert sides.ask() is first
    a.says = has(("ghcr.io", 0))
    assert sides.ask() is first
    b.says = has(("quay.io", 2))
    assert sides.ask() == has(("ghcr.io", 0), ("quay.io", 2))


def test_what_a_source_that_is_down_said_last_stays_and_the_others_go_on() -> None:
    a, b = Told(has(("ghcr.io", 0))), Told(has(("quay.io", 1)))
    sides = Sides(a, b)
    sides.ask()
    a.says = None
    b.says = has(("quay.io", 2))
    assert sides.ask() == has(("ghcr.io", 0), ("quay.io", 2))
    assert sides.combined.known("alice") is None
    a.says = Credentials()
    assert sides.ask() == has(("quay.io", 2))


def test_what_a_source_never_said_is_not_left_out() -> None:
    a, b = Told(None), Told(has(("quay.io", 1)))
    sides = Sides(a, b)
    for _ in range(2):
        with pytest.raises(SourceUnavailable, match=r"^source a: switched off$"):
            sides.ask()
        assert sides.combined.known("alice") is None
    a.says = has(("ghcr.io", 0))
    sides.ask("alice")
    a.says = None
    with pytest.raises(SourceUnavailable):
        sides.ask("bob")
    assert sides.ask("alice").items


def test_what_changes_while_another_one_is_slow_counts() -> None:
    a, b = Told(has(("ghcr.io", 0))), Told(has(("quay.io", 1)), knows=False)

    async def meanwhile() -> None:
        await asyncio.sleep(0)
        a.says = has(("ghcr.io", 2))

    b.before = meanwhile
    assert Sides(a, b).ask() == has(("ghcr.io", 2), ("quay.io", 1))


def test_a_bug_is_no_outage() -> None:
    a = Told(NOTHING)

    async def bug() -> None:
        raise ZeroDivisionError

    a.before = bug
    a.knows = False
    with pytest.raises(ZeroDivisionError):
        Sides(a, Told(NOTHING)).ask()


def test_all_run_and_it_is_settled_when_all_are() -> None:
    async def scenario() -> None:
        a, b = Told(NOTHING), Told(NOTHING)
        combined = Combined([("a", a), ("b", b)])
        running = asyncio.create_task(combined.run())
        a.settled.set()
        await asyncio.sleep(0.01)
        assert a.ran
        assert b.ran
        assert not combined.settled.is_set()
        b.settled.set()
        await asyncio.wait_for(combined.settled.wait(), 1)
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(scenario())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook.sources.combined.BUDGET_BYTES", 17_000)
    a = Told(Credentials((Credential("ghcr.io", "u", "x" * 3_000),)))
    sides = Sides(a, Told(NOTHING))
    for owner in "abcdef":
        for _ in range(2):
            sides.ask(owner)
    a.says = None
    for owner in "cdef":
        assert sides.ask(owner).items
    with pytest.raises(SourceUnavailable):
        sides.ask("b")
    a.says = Credentials((Credential("ghcr.io", "u", "x" * 30_000),))
    assert sides.ask("huge").items
    a.says = None
    with pytest.raises(SourceUnavailable):
        sides.ask("f")
    assert sides.ask("huge").items
