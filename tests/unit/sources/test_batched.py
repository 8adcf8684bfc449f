"""Many owners with one query: who shares one, and that nobody has to suffer for another. On a clock of its own."""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.simulated import Stepping
from webhook.core.credential import Credential, Credentials, Origin
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.sources import Changed, batched, breaker, cached
from webhook.sources.batched import RETRIES, Batched
from webhook.sources.cached import FLIGHTS, Cached
from webhook.sources.remote import MAX_OWNERS, Answer

BEGIN = datetime(2030, 1, 1, tzinfo=UTC)
QUERIES = 2
FRESH = 30.0


def of(owner: str, number: int = 0) -> Credentials:
    return Credentials((Credential("ghcr.io", owner.strip(), f"token-{number}"),))


def owners(count: int, prefix: str = "owner") -> list[str]:
    return [f"{prefix}-{number:03}" for number in range(count)]


@dataclass(eq=False)
class Query:
    owners: tuple[str, ...]
    before: Answer | None
    reply: "asyncio.Future[Mapping[str, Answer | SourceUnavailable]]"


@dataclass
class Remote:
    """`refuses`, `breaks`: owners who make a query fail, alone or as if the database was down. `at_once`: it answers
    by itself; else when it is told to. `queries`: those under way; `sent`: all of them.
    """

    number: int = 0
    at_once: bool = True
    up: bool = True
    many: bool = True
    most: int = MAX_OWNERS
    refuses: set[str] = field(default_factory=set)
    breaks: set[str] = field(default_factory=set)
    queries: list[Query] = field(default_factory=list)
    sent: list[Query] = field(default_factory=list)
    hear: Changed | None = None

    async def ask(self, owner: str, before: Answer | None) -> Answer:
        found = (await self._query((owner,), before))[owner]
        if isinstance(found, SourceUnavailable):
            raise found
        return found

    async def ask_many(self, owners: Sequence[str]) -> Mapping[str, Answer | SourceUnavailable]:
        return await self._query(tuple(owners), None)

    async def _query(self, owners: tuple[str, ...], before: Answer | None) -> Mapping[str, Answer | SourceUnavailable]:
        query = Query(owners, before, asyncio.get_running_loop().create_future())
        self.queries.append(query)
        self.sent.append(query)
        if self.at_once:
            await asyncio.sleep(0.01)
            self.answers(query)
        try:
            return await query.reply
        finally:
            self.queries.remove(query)

    def answers(self, query: Query) -> None:
        everybody = not self.up or not self.breaks.isdisjoint(query.owners) or len(query.owners) > self.most
        if everybody or not self.refuses.isdisjoint(query.owners):
            query.reply.set_exception(SourceUnavailable("no", everybody=everybody))
        else:
            query.reply.set_result({owner: Answer(of(owner, self.number), FRESH) for owner in query.owners})

    async def run(self, changed: Changed) -> None:
        self.hear = changed
        await asyncio.Future()

    async def close(self) -> None:
        pass


class World:
    """`cached` asks through `batched`. `heard`: whose namespaces are to be looked at again."""

    def __init__(self) -> None:
        self.loop = Stepping()
        self.remote, self.metrics = Remote(), Metrics()
        self.count = 0
        self.batched = Batched(self.remote, QUERIES, self._count)
        self.heard: list[str | None] = []
        self.cached = Cached(Origin("remote"), self.batched, self.heard.append, lambda *_: None, self.metrics, self.now)
        self.running = self.loop.create_task(self.cached.run())
        self.tasks: list[asyncio.Task[Answer] | asyncio.Task[Credentials]] = []
        self.loop.settle()

    def _count(self) -> None:
        self.count += 1

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self.loop.time())

    def ask(self, *who: str, before: Answer | None = None) -> "list[asyncio.Task[Answer]]":
        """At the same moment."""
        tasks = [self.loop.create_task(self.batched.ask(owner, before)) for owner in who]
        self.tasks += tasks
        self.loop.settle()
        return tasks

    def told(self, *who: str) -> "dict[str, Credentials | SourceUnavailable]":
        """What comes of asking the source about them at the same moment."""
        tasks = {owner: self.loop.create_task(self.cached.credentials(owner)) for owner in who}
        self.tasks += tasks.values()
        self.loop.settle()
        while not all(task.done() for task in tasks.values()):
            assert self.loop.sleep()
        found: dict[str, Credentials | SourceUnavailable] = {}
        for owner, task in tasks.items():
            e = task.exception()
            assert isinstance(e, SourceUnavailable | None)
            found[owner] = task.result() if e is None else e
        return found

    def begins(self, *who: str) -> None:
        """To ask the source about them."""
        self.tasks += [self.loop.create_task(self.cached.credentials(owner)) for owner in who]
        self.loop.settle()

    def prefetch(self, *who: str) -> None:
        task = self.loop.create_task(self.cached.prefetch(who))
        self.loop.settle()
        while not task.done():
            assert self.loop.sleep()
        task.result()

    def soon(self, call: Callable[[], object]) -> None:
        self.loop.call_soon(call)
        self.loop.settle()

    def passes(self, seconds: float) -> None:
        done = self.loop.create_task(asyncio.sleep(seconds))
        while not done.done():
            assert self.loop.sleep()

    def sizes(self) -> list[int]:
        return [len(query.owners) for query in self.remote.sent]

    def is_down(self) -> bool:
        return bool(self.metrics.registry.get_sample_value("pullsecret_webhook_source_down", {"source": "remote"}))

    def close(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.settle()
        for task in self.tasks:
            assert task.cancelled() or isinstance(task.exception(), SourceUnavailable | ValueError | None)
        self.loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    with closing(World()) as made:
        yield made


# -- who shares a query --


def test_those_who_are_asked_about_at_one_moment_share_a_query_and_one_alone_waits_for_nothing(world: World) -> None:
    world.remote.at_once = False
    before = Answer(of("alice"), FRESH, '"etag"')
    world.ask("alice", before=before)
    world.ask("bob", "carol", before=before)
    assert [(query.owners, query.before) for query in world.remote.queries] == [
        (("alice",), before),
        (("bob", "carol"), None),
    ]
    assert world.loop.time() == 0.0
    assert world.count == 2


def test_while_all_queries_are_under_way_the_others_wait_and_share_the_next(world: World) -> None:
    world.remote.at_once = False
    for owner in owners(QUERIES, "busy"):
        world.ask(owner)
    for owner in (names := owners(MAX_OWNERS + 3)):
        world.ask(owner)
    assert world.sizes() == [1] * QUERIES
    world.soon(lambda: world.remote.answers(world.remote.queries[0]))
    assert world.remote.queries[-1].owners == tuple(names[:MAX_OWNERS]), "first come, first served"
    world.soon(lambda: world.remote.answers(world.remote.queries[0]))
    assert world.remote.queries[-1].owners == tuple(names[MAX_OWNERS:])
    assert len(world.remote.queries) == QUERIES


def test_who_is_asked_about_twice_is_in_the_query_once(world: World) -> None:
    first, second, other = world.ask("alice", "alice", "bob")
    world.passes(1)
    assert first.result() == second.result() != other.result()
    assert [query.owners for query in world.remote.sent] == [("alice", "bob")]


def test_who_does_not_wait_any_more_is_not_asked_about(world: World) -> None:
    world.remote.at_once = False
    for owner in owners(QUERIES, "busy"):
        world.ask(owner)
    alice, bob = world.ask("alice", "bob")
    alice.cancel()
    busy, _ = world.tasks[0], world.tasks[0].cancel()
    world.loop.settle()
    for query in [*world.remote.queries]:
        world.soon(lambda query=query: world.remote.answers(query))  # type: ignore[misc]
    assert busy.cancelled()
    assert world.remote.queries[-1].owners == ("bob",)
    world.soon(lambda: world.remote.answers(world.remote.queries[-1]))
    assert bob.result().credentials == of("bob")


def test_owners_who_differ_only_by_case_or_spaces_are_not_in_one_query(world: World) -> None:
    tasks = world.ask("alice", "Alice", "bob", "straße", "STRASSE", "alice", " alice", "carol")
    world.passes(1)
    assert [query.owners for query in world.remote.sent] == [
        ("alice", "bob", "straße", "carol"),
        ("Alice", "STRASSE"),
        (" alice",),
    ]
    assert all(task.exception() is None for task in tasks)


def test_each_answer_is_handed_over_in_a_pass_of_its_own(world: World) -> None:
    """So that a review does not wait until all callers have had their turn."""
    world.remote.at_once = False
    tasks = world.ask(*owners(MAX_OWNERS))
    done: list[int] = []

    async def watched() -> None:
        world.remote.answers(world.remote.queries[0])
        while not all(task.done() for task in tasks):
            done.append(sum(task.done() for task in tasks))
            await asyncio.sleep(0)

    world.loop.run_until_complete(watched())
    assert max(after - before for before, after in pairwise(done)) == 1


def test_who_gets_no_answer_beside_others_is_alone_in_that(world: World) -> None:
    world.remote.at_once = False
    alice, bob = world.ask("alice", "bob")
    wrong = SourceUnavailable("row 1: its status is not valid")
    world.remote.queries[0].reply.set_result({"alice": wrong, "bob": Answer(of("bob"), FRESH)})
    world.loop.settle()
    assert str(alice.exception()) == "row 1: its status is not valid"
    assert bob.result().credentials == of("bob")
    world.remote.at_once = True
    world.ask("alice", "bob")
    world.passes(1)
    assert world.sizes() == [2, 2], "nothing broke the query"


def test_a_wrong_answer_about_one_owner_alone_is_no_reason_to_ask_about_that_owner_alone(world: World) -> None:
    world.remote.refuses = {"alice"}
    world.ask("alice")
    world.passes(1)
    world.remote.refuses.clear()
    world.ask("alice", "bob")
    assert world.sizes() == [1, 2]


# -- who breaks a query --


def test_who_breaks_a_query_is_found_at_once_and_then_asked_about_alone(world: World) -> None:
    names = owners(MAX_OWNERS)
    bad = names[77]
    world.remote.refuses = {bad}
    found = world.told(*names)
    assert {owner for owner, what in found.items() if isinstance(what, SourceUnavailable)} == {bad}
    assert all(found[owner] == with_origin(of(owner)) for owner in names if owner != bad)
    assert len(world.remote.sent) == 1 + 2 * 7 <= 1 + RETRIES
    assert not world.is_down()
    world.passes(FRESH + breaker.MAX_OWNER_BACKOFF_SECONDS)
    world.remote.sent.clear()
    world.told(*names)
    assert sorted(world.sizes()) == [1, MAX_OWNERS - 1]
    world.passes(FRESH + breaker.MAX_OWNER_BACKOFF_SECONDS)
    world.remote.refuses.clear()
    world.told(bad)
    world.passes(FRESH + 1)
    world.remote.sent.clear()
    world.told(*names)
    assert world.sizes() == [MAX_OWNERS], "forgotten at the first answer"


def with_origin(credentials: Credentials) -> Credentials:
    (one,) = credentials.items
    return Credentials((Credential(one.registry, one.username, one.password, origin=Origin("remote")),))


def test_who_is_said_to_be_the_reason_is_left_out_at_once_and_then_asked_about_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, answers = owners(MAX_OWNERS), world.remote.answers
    large = {names[5], names[77]}

    def fails(query: Query) -> None:
        if about := frozenset(large.intersection(query.owners)):
            query.reply.set_exception(SourceUnavailable("too large", about=about))
        else:
            answers(query)

    monkeypatch.setattr(world.remote, "answers", fails)
    found = world.told(*names)
    assert {owner: str(what) for owner, what in found.items() if isinstance(what, SourceUnavailable)} == dict.fromkeys(
        large, "too large"
    )
    assert world.sizes() == [MAX_OWNERS, MAX_OWNERS - 2]
    world.passes(FRESH + breaker.MAX_OWNER_BACKOFF_SECONDS)
    world.remote.sent.clear()
    world.told(*names)
    assert sorted(world.sizes()) == [1, 1, MAX_OWNERS - 2]


def test_many_who_break_queries_take_a_bounded_number_and_all_others_have_their_answers_in_the_end(
    world: World,
) -> None:
    names = owners(MAX_OWNERS)
    world.remote.refuses = {*names[::5]}
    left = {*names} - world.remote.refuses
    for _ in range(8):
        before = len(world.remote.sent)
        found = world.told(*left, *world.remote.refuses)
        assert len(world.remote.sent) - before <= 2 * len(names)
        left -= {owner for owner, what in found.items() if isinstance(what, Credentials)}
        world.passes(breaker.MAX_OWNER_BACKOFF_SECONDS)
        if not left:
            break
    assert not left
    assert not world.is_down()


def test_if_all_fail_the_first_failure_takes_few_queries(world: World) -> None:
    world.remote.refuses = {*owners(MAX_OWNERS)}
    found = world.told(*owners(MAX_OWNERS))
    assert all(isinstance(what, SourceUnavailable) and not what.everybody for what in found.values())
    assert len(world.remote.sent) == 1 + RETRIES


def test_a_bug_that_concerns_one_owner_is_reported_for_that_owner(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = world.remote.answers

    def broken(query: Query) -> None:
        if "owner-003" in query.owners:
            query.reply.set_exception(ValueError("bug"))
        else:
            answers(query)

    monkeypatch.setattr(world.remote, "answers", broken)
    found = world.told(*owners(10))
    assert [owner for owner, what in found.items() if isinstance(what, SourceUnavailable)] == ["owner-003"]
    assert str(found["owner-003"]) == "an error in pullsecret-webhook itself (ValueError)"


# -- down, or as if --


def test_an_outage_fails_at_once_and_two_queries_without_a_common_owner_open_the_breaker(world: World) -> None:
    world.remote.up = False
    found = world.told(*owners(100))
    assert all(isinstance(what, SourceUnavailable) and what.everybody for what in found.values())
    assert world.sizes() == [100], "no halves"
    assert not world.is_down(), "one of them may be the reason"
    found = world.told(*owners(100, "other"))
    assert all(isinstance(what, SourceUnavailable) and what.everybody for what in found.values())
    assert world.sizes() == [100, 100]
    assert world.is_down()
    before = len(world.remote.sent)
    world.told(*owners(100, "third"))
    assert len(world.remote.sent) == before
    world.remote.up = True
    world.passes(2 * breaker.MAX_DOWN_BACKOFF_SECONDS)
    assert not world.is_down()
    assert {*owners(100), *owners(100, "other"), *owners(100, "third")} <= {*world.heard}


def test_one_owner_whose_query_takes_too_long_does_not_close_the_source_to_the_others(world: World) -> None:
    """Each time such a query is about fewer, until the owner is alone."""
    names = owners(MAX_OWNERS)
    world.remote.breaks = {bad := names[5]}
    left = {*names}
    for round_ in range(8):
        found = world.told(*left)
        assert not world.is_down()
        left -= {owner for owner, what in found.items() if isinstance(what, Credentials)}
        assert len(left) <= MAX_OWNERS >> round_
        world.passes(breaker.MAX_DOWN_BACKOFF_SECONDS)
    assert left == {bad}
    world.remote.sent.clear()
    world.passes(FRESH)
    for _ in range(8):
        world.told(*names)
        world.passes(FRESH)
    assert all(query.owners == (bad,) or bad not in query.owners for query in world.remote.sent)


def test_in_an_outage_while_halves_are_tried_the_rest_fails_too(world: World) -> None:
    world.remote.at_once = False
    tasks = world.ask(*owners(8))
    world.remote.queries[0].reply.set_exception(SourceUnavailable("no"))
    world.loop.settle()
    world.remote.queries[0].reply.set_exception(SourceUnavailable("down", everybody=True, retry_after=7.0))
    world.loop.settle()
    assert world.sizes() == [8, 4]
    for task in tasks:
        e = task.exception()
        assert isinstance(e, SourceUnavailable)
        assert (str(e), e.everybody, e.retry_after, e.about) == ("down", True, 7.0, frozenset(owners(8)))


def test_a_remote_that_is_too_slow_for_so_many_gets_smaller_queries(world: World) -> None:
    world.remote.most = 40
    names = owners(1000)
    answered: set[str] = set()
    for _ in range(20):
        left = [name for name in names if name not in answered]
        for number in range(0, len(left), MAX_OWNERS):
            found = world.told(*left[number : number + MAX_OWNERS])
            answered |= {owner for owner, what in found.items() if isinstance(what, Credentials)}
        if len(answered) == len(names):
            break
        world.passes(breaker.MAX_DOWN_BACKOFF_SECONDS)
    assert len(answered) == len(names)
    late = [size > world.remote.most for size in world.sizes()[20:]]
    assert sum(late) < len(late) / 4, "most of them are small enough"
    world.remote.most = MAX_OWNERS
    for number in range(40):
        world.told(*owners(MAX_OWNERS, f"more-{number}"))
    assert world.sizes()[-1] == MAX_OWNERS, "and large again in the end"


def test_what_is_remembered_of_failures_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batched, "OWNERS", 10)
    world.remote.up = False
    for number in range(5):
        world.ask(*owners(8, f"some-{number}"))
        world.passes(1)
    assert len(world.batched._limits) == 10


# -- with `Cached` --


def test_a_change_while_the_query_is_under_way_is_asked_for_again_for_that_owner_alone(world: World) -> None:
    assert world.remote.hear is not None
    hear, world.remote.at_once = world.remote.hear, False
    tasks = [world.loop.create_task(world.cached.credentials(owner)) for owner in ("alice", "bob", "carol")]
    world.loop.settle()
    world.remote.answers(world.remote.queries[0])  # has read the old one
    hear("bob")
    world.remote.number = 1
    world.loop.settle()
    assert [task.done() for task in tasks] == [True, False, True]
    assert [query.owners for query in world.remote.queries] == [("bob",)]
    world.soon(lambda: world.remote.answers(world.remote.queries[0]))
    assert tasks[1].result() == with_origin(of("bob", 1))


def test_prefetch_asks_about_those_who_are_not_known_and_raises_nothing(world: World) -> None:
    world.told("alice")
    world.remote.refuses = {"carol"}
    world.prefetch("alice", "bob", "carol")
    assert [query.owners for query in world.remote.sent] == [("alice",), ("bob", "carol"), ("bob",), ("carol",)]
    world.remote.sent.clear()
    assert world.told("bob")["bob"] == with_origin(of("bob"))
    assert isinstance(world.told("carol")["carol"], SourceUnavailable)
    world.prefetch("alice", "bob", "carol")
    assert world.remote.sent == [], "two are known, and for the third it waits"


def test_prefetch_begins_few_in_a_pass_and_they_share_full_queries_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each begins with a task; so many at once would keep reviews waiting."""
    passes = list[int]()
    number, ask = 0, world.batched.ask

    def passed() -> None:
        nonlocal number
        if (number := number + 1) < MAX_OWNERS:
            world.loop.call_soon(passed)

    async def asks(owner: str, before: Answer | None) -> Answer:
        passes.append(number)
        return await ask(owner, before)

    monkeypatch.setattr(world.batched, "ask", asks)
    world.loop.call_soon(passed)
    world.prefetch(*owners(MAX_OWNERS + 1))
    assert world.sizes() == [MAX_OWNERS, 1]
    assert max(passes) < MAX_OWNERS - 1, "they are told apart"
    assert max(Counter(passes).values()) == FLIGHTS


@pytest.mark.parametrize("known", ["known", "under way"])
def test_who_is_known_in_the_middle_of_many_does_not_end_their_query(world: World, known: str) -> None:
    world.remote.at_once = known == "known"
    several = owners(MAX_OWNERS)
    if world.remote.at_once:
        world.prefetch(*several[40:80])
    else:
        world.begins(*several[40:80])
    world.loop.create_task(world.cached.prefetch(several))
    world.loop.settle()
    assert world.sizes() == [40, MAX_OWNERS - 40]


def test_prefetch_shares_what_is_under_way_and_does_not_end_with_its_caller(world: World) -> None:
    world.remote.at_once = False
    review = world.loop.create_task(world.cached.credentials("alice"))
    world.loop.settle()
    ahead = world.loop.create_task(world.cached.prefetch(["alice", "bob"]))
    world.loop.settle()
    assert [query.owners for query in world.remote.queries] == [("alice",), ("bob",)]
    ahead.cancel()
    world.loop.settle()
    for query in [*world.remote.queries]:
        world.remote.answers(query)
    world.loop.settle()
    assert review.result() == with_origin(of("alice"))
    world.remote.sent.clear()
    assert world.told("bob")["bob"] == with_origin(of("bob"))
    assert world.remote.sent == []


def test_prefetch_leaves_a_remote_alone_that_takes_one_owner_at_a_time(world: World) -> None:
    alone = Remote(many=False)
    one = Cached(Origin("remote"), alone, world.heard.append, lambda *_: None, world.metrics, world.now)
    task = world.loop.create_task(one.prefetch(owners(10)))
    world.loop.settle()
    assert task.done()
    assert alone.sent == []


def test_in_an_outage_prefetch_asks_nothing(world: World) -> None:
    world.remote.up = False
    for name in "abc":
        world.told(*owners(3, name))
    assert world.is_down()
    world.remote.sent.clear()
    world.prefetch(*owners(100))
    assert world.remote.sent == []


@dataclass(frozen=True)
class Step:
    what: str
    who: int
    how_many: int


STEPS = st.lists(
    st.builds(
        Step,
        st.sampled_from(("ask", "ask", "ask", "answer", "answer", "answer", "go away", "news", "time")),
        st.integers(0, 19),
        st.integers(1, 20),
    ),
    max_size=60,
)


@given(STEPS, st.sets(st.integers(0, 19), max_size=4), st.sets(st.integers(0, 19), max_size=1))
def test_in_every_order_nobody_suffers_for_another(steps: list[Step], refused: set[int], breaking: set[int]) -> None:
    """Whoever breaks no query has the newest answer in the end, and whoever does has none at any time."""
    names = owners(20)
    with pytest.MonkeyPatch.context() as patch, closing(World()) as world:
        patch.setattr(batched, "MAX_OWNERS", 8)
        world.batched._size = 8
        remote = world.remote
        remote.at_once = False
        remote.refuses, remote.breaks = {names[n] for n in refused}, {names[n] for n in breaking}
        bad = remote.refuses | remote.breaks
        asked: list[tuple[str, int, asyncio.Task[Credentials]]] = []

        def look(owner: str) -> None:
            task = world.loop.create_task(world.cached.credentials(owner))
            world.tasks.append(task)
            asked.append((owner, remote.number, task))

        def holds() -> None:
            assert len(remote.queries) <= QUERIES
            under_way = [owner for query in remote.queries for owner in query.owners]
            assert len(under_way) == len({*under_way})
            assert all(len(query.owners) <= 8 for query in remote.queries)

        for step in steps:
            if step.what == "ask":
                for number in range(step.how_many):
                    look(names[(step.who + number) % 20])
            elif step.what == "answer" and remote.queries:
                remote.answers(remote.queries[step.who % len(remote.queries)])
            elif step.what == "go away" and asked:
                asked[step.who % len(asked)][2].cancel()
            elif step.what == "news":
                remote.number += 1
                assert remote.hear is not None
                world.loop.call_soon(remote.hear, None)
            elif step.what == "time":
                world.loop.sleep()
            world.loop.settle()
            holds()
        healthy = [name for name in names if name not in bad]
        for _ in range(12):
            for name in names:
                look(name)
            world.loop.settle()
            while remote.queries:
                remote.answers(remote.queries[0])
                world.loop.settle()
                holds()
            world.passes(cached.MIN_FRESH_SECONDS + breaker.MAX_DOWN_BACKOFF_SECONDS)
            while remote.queries:
                remote.answers(remote.queries[0])
                world.loop.settle()
        for owner, number, task in asked:
            if task.cancelled() or task.exception() is not None:
                continue
            assert owner not in bad
            assert int(task.result().items[0].password.removeprefix("token-")) >= number, "older than what was said"
        last = {owner: task for owner, _, task in asked}
        for owner in healthy:
            assert last[owner].result() == with_origin(of(owner, remote.number))
