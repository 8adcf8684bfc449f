"""Several sources as one: what is merged, what is reported, and what a broken one does to an answer."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import SourceUnavailable
from webhook.sources.combined import Combined
from webhook.sources.merge import Conflict, merged

NOTHING = Credentials()
NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOKENS = [planted.token() for _ in range(4)]


class Told:
    """A source that says what it is told to; None: it cannot. `known` only if `knows`."""

    def __init__(self, says: Credentials | None, *, knows: bool = True) -> None:
        self.says, self.knows = says, knows
        self.settled = asyncio.Event()
        self.before: Callable[[], Awaitable[None]] | None = None
        self.ran = False
        self.doubted: list[str] = []

    def known(self, owner: str) -> Credentials | None:
        return self.says if self.knows else None

    def doubt(self, owner: str) -> None:
        self.doubted.append(owner)

    async def credentials(self, owner: str) -> Credentials:
        if self.before is not None:
            await self.before()
        if self.says is None:
            raise SourceUnavailable("switched off", everybody=True)
        return self.says

    async def run(self) -> None:
        self.ran = True
        await asyncio.Future()


def has(*entries: tuple[str, int], ends: datetime | None = None, namespaces: tuple[str, ...] = ()) -> Credentials:
    return Credentials(tuple(Credential(r, f"u{n}", TOKENS[n], ends, namespaces) for r, n in entries))


class Sides:
    def __init__(self, *sources: Told) -> None:
        self.said: list[tuple[str, str]] = []
        named = [(name, source) for name, source in zip("abc", sources, strict=False)]
        self.now = NOW
        self.combined = Combined(
            named, lambda reason, message, _: self.said.append((reason, message)), lambda: self.now
        )

    def ask(self, owner: str = "alice") -> Credentials:
        found = asyncio.run(self.combined.credentials(owner))
        known = self.combined.known(owner)
        assert known is None or known is found
        return found


def test_registries_and_paths_of_all_are_there() -> None:
    a, b = Told(has(("ghcr.io/alice", 0))), Told(has(("ghcr.io/acme", 1), ("ghcr.io", 2), ("ghcr.io/al", 3)))
    sides = Sides(a, b)
    assert [c.registry for c in sides.ask().items] == ["ghcr.io", "ghcr.io/acme", "ghcr.io/al", "ghcr.io/alice"]
    assert not sides.said


def test_what_is_doubted_no_longer_stands_in_for_a_source_that_cannot_say() -> None:
    a, b = Told(has(("ghcr.io", 0))), Told(has(("ghcr.io/acme", 1)))
    sides = Sides(a, b)
    both = sides.ask()
    a.says = None
    assert sides.ask() is both
    sides.combined.doubt("alice")
    assert a.doubted == b.doubted == ["alice"]
    with pytest.raises(SourceUnavailable):
        sides.ask()
    a.says = has(("ghcr.io", 2))
    assert sides.ask().items[0].password == TOKENS[2]


def test_of_two_for_one_registry_the_first_is_taken_and_the_other_reported() -> None:
    sides = Sides(Told(has(("ghcr.io", 0))), Told(has(("ghcr.io", 1), ("quay.io", 2))))
    assert sides.ask() == has(("ghcr.io", 0), ("quay.io", 2))
    expected = "sources a and b have different credentials of owner alice for ghcr.io; that of a is used"
    assert sides.said == [("SourceConflict", expected)]
    sides.ask()
    assert len(sides.said) == 1  # as long as nothing changes
    assert not planted.leaks(repr(sides.said))
    same = Sides(Told(has(("ghcr.io", 0))), Told(has(("ghcr.io", 0))))
    assert same.ask() == has(("ghcr.io", 0))
    assert not same.said


def test_one_that_has_ended_hides_none_that_has_not_and_what_stands_stays() -> None:
    first, second = has(("ghcr.io", 0), ends=NOW + DAY), has(("ghcr.io", 1), ends=NOW + 3 * DAY)
    sides = Sides(Told(first), Told(second))
    assert sides.ask() == first
    sides.now += DAY  # with the same answers
    assert sides.ask() == second
    assert sides.said[-1][1].endswith("that of b is used")
    sides.now += 2 * DAY
    assert sides.ask() == second  # both have ended: it is the one that stands in the namespaces
    assert (
        Sides(Told(has(("ghcr.io", 0), ends=NOW)), Told(has(("ghcr.io", 1), ends=NOW))).ask().items[0].username == "u0"
    )


def test_in_its_own_namespaces_too() -> None:
    ended, fresh = has(("ghcr.io", 0), ends=NOW, namespaces=("x", "y")), has(("ghcr.io", 1), namespaces=("y",))
    found = Sides(Told(ended), Told(fresh)).ask()
    assert [(c.username, c.namespaces) for c in found.items] == [("u0", ("x",)), ("u1", ("y",))]


def test_of_one_source_the_order_does_not_decide() -> None:
    one, other = has(("ghcr.io", 0), ("ghcr.io", 1)), has(("ghcr.io", 1), ("ghcr.io", 0))
    assert merged([("a", one)], NOW) == merged([("a", other)], NOW)


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
        combined = Combined([("a", a), ("b", b)], lambda *_: None, lambda: NOW)
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
    monkeypatch.setattr("webhook.sources.combined.BUDGET", 17_000)
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


credentials = st.lists(
    st.builds(
        lambda registry, number, ends, namespaces: Credential(
            registry, f"u{number}", TOKENS[number], ends, tuple(sorted(namespaces))
        ),
        st.sampled_from(["ghcr.io", "ghcr.io/a", "ghcr.io/alice"]),
        st.integers(0, 3),
        st.sampled_from([None, NOW - 2 * DAY, NOW - DAY, NOW + DAY]),
        st.sets(st.sampled_from("xyz"), max_size=2),
    ),
    max_size=4,
).map(lambda items: Credentials(tuple(items)))


def in_(namespace: str, found: Credentials) -> dict[str, tuple[str, str]]:
    """As rendered: the last entry of a registry wins."""
    return {c.registry: (c.username, c.password) for c in found.usable_in(namespace).items}


@given(st.lists(credentials, min_size=1, max_size=3))
def test_merging_leaves_no_registry_out_and_hides_no_contradiction(parts: list[Credentials]) -> None:
    named = [(name, part) for name, part in zip("abc", parts, strict=False)]
    result, conflicts = merged(named, NOW)
    assert merged([("again", result)], NOW) == (result, ())
    for namespace in "xyz":
        found = in_(namespace, result)
        for registry in {c.registry for part in parts for c in part.items}:
            offered = [
                (name, c) for name, part in named for c in part.usable_in(namespace).items if c.registry == registry
            ]
            limited = [(name, c) for name, c in offered if c.namespaces] or offered
            if not offered:
                assert registry not in found
                continue
            fresh = [(name, c) for name, c in limited if not c.ended(NOW)]
            last = max((c.expires for _, c in limited if c.expires), default=NOW)
            best = fresh or [(name, c) for name, c in limited if c.expires == last]
            winners = [(name, c) for name, c in best if name == best[0][0]]
            name, winner = next((n, c) for n, c in winners if found[registry] == (c.username, c.password))
            for loser, other in limited:
                if (other.username, other.password) != (winner.username, winner.password):
                    assert Conflict(registry, name, loser) in conflicts
        assert len([c for c in result.items if namespace in c.namespaces]) == len(
            {c.registry for c in result.items if namespace in c.namespaces}
        )
