"""The loop of issuers, in time that the tests make pass: an issuer, Secrets, and replicas that fail or are killed."""

import asyncio
import random
import tracemalloc
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import planted
from support.simulated import Stepping
from webhook.core.credential import Credential
from webhook.core.errors import WriteConflict
from webhook.core.issued import (
    MAX_LIFE,
    SLACK,
    Earlier,
    End,
    Issued,
    Mint,
    Remove,
    Wait,
    next_step,
    read_issued,
    secret_name,
)
from webhook.core.metrics import IssuerNumbers
from webhook.core.names import EARLIER, EXPIRES, GENERATION, ISSUED
from webhook.issuers import Fence, IssueRefused, IssuerUnavailable, Minted, NotLeading
from webhook.issuers.issuing import MANY, MAX_BACKOFF_SECONDS, RESULTS, WORKERS, Issuing
from webhook.issuers.minting import Bucket
from webhook.issuers.notices import Problem

START = datetime(2030, 1, 1, tzinfo=UTC)
LIFE = timedelta(minutes=60)


@dataclass
class World:
    """What is true outside of the process. `script`: what happens at the next calls, by their number."""

    loop: Stepping
    script: dict[int, str] = field(default_factory=dict)
    calls: int = 0
    life: timedelta = LIFE
    ahead: timedelta = timedelta()
    """By which the clock is wrong."""
    named: bool = True
    alive: dict[str, tuple[str, int, datetime]] = field(default_factory=dict)
    """At the issuer, by handle: owner, generation, end."""
    secrets: dict[str, tuple[int, Issued, str]] = field(default_factory=dict)
    """By owner: version, what it says, and the handle that its password stands for."""
    wanted: set[str] = field(default_factory=set)
    count: Counter[str] = field(default_factory=Counter)
    refuses: str = ""
    everybody: bool = False
    odd: set[str] = field(default_factory=set)
    """Owners who are refused, whoever else is not."""
    pause: float = 0.0
    """Seconds for which the issuer wants to be left alone, whoever asks."""
    asked: Counter[str] = field(default_factory=Counter)
    old: dict[str, tuple[int, Issued, str]] | None = None
    """What the watch shows of `secrets`; None: all."""
    stripped: bool = False
    """Something takes the annotations away."""
    silent: bool = False
    """The registry says of no credential whether it works."""
    taken: bool = False
    """The Secrets' names: by others."""
    handles: int = 0
    kill: Callable[[], None] = lambda: None

    def now(self) -> datetime:
        return START + timedelta(seconds=self.loop.time()) + self.ahead

    async def meets(self, what: str, effect: Callable[[], object]) -> object:
        """A call that may fail before or after its effect, or at which the process is killed."""
        self.calls += 1
        fate = self.script.get(self.calls, "")
        await asyncio.sleep(0.01)
        if fate in ("fails", "killed"):
            self._fate(fate, what)
        result = effect()
        await asyncio.sleep(0.01)
        if fate in ("lost", "killed after"):
            self._fate(fate, what)
        return result

    def _fate(self, fate: str, what: str) -> None:
        if fate.startswith("killed"):
            self.kill()
            raise asyncio.CancelledError
        raise IssuerUnavailable(f"{what} failed")


@dataclass
class FakeIssuer:
    world: World

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:
        world = self.world
        world.asked[owner] += 1
        if world.refuses:
            raise IssueRefused(world.refuses, everybody=world.everybody)
        if owner in world.odd:
            raise IssueRefused("it cannot be part of a name")
        if world.pause:
            raise IssuerUnavailable("too many requests", world.pause)
        taken = [h for h, (who, number, _) in world.alive.items() if (who, number) == (owner, generation)]
        for handle in taken if world.named else ():
            await fence()
            await world.meets("end", partial(world.alive.pop, handle, None))

        def effect() -> str:
            world.handles += 1
            handle = f"h{world.handles}"
            world.alive[handle] = owner, generation, world.now() + world.life
            world.count["minted"] += 1
            return handle

        handle = str(await world.meets("issue", effect))
        credential = Credential("r.test", handle, planted.token())
        return Minted((credential,), world.life, handle if world.named else "")

    async def check(self, owner: str | None) -> None: ...

    async def end(self, handle: str) -> None:
        self.world.count["ended"] += 1
        await self.world.meets("end", lambda: self.world.alive.pop(handle, None))

    async def close(self) -> None:
        pass


@dataclass
class Secrets:
    """As one replica sees them: what it wrote itself, and the others' with the watch."""

    world: World

    def found(self, owner: str) -> tuple[bool, Issued | None]:
        known = self._seen(owner)
        return known is not None, None if known is None or self.world.stripped else known[1]

    def _seen(self, owner: str) -> tuple[int, Issued, str] | None:
        return self.world.secrets.get(owner) if self.world.old is None else self.world.old.get(owner)

    def owners(self) -> Collection[str]:
        return self.world.secrets.keys()

    async def confirm(self, owner: str) -> None:
        if self.world.secrets.get(owner) is not self._seen(owner):
            raise WriteConflict("changed")

    async def write(self, owner: str, issued: Issued, credentials: tuple[Credential, ...] | None) -> None:
        before = self._seen(owner)

        def effect() -> None:
            if self.world.secrets.get(owner) is not before or self.world.taken:
                raise WriteConflict("changed")
            handle = credentials[0].username if credentials else before[2] if before else ""
            self.world.secrets[owner] = (before[0] + 1 if before else 1), issued, handle
            self.world.count["written"] += 1

        await self.world.meets("write", effect)

    async def remove(self, owner: str) -> None:
        await self.world.meets("remove", lambda: self.world.secrets.pop(owner, None))


class Replica:
    def __init__(self, world: World, rate: float = 100.0) -> None:
        self.world, self.told, self.leads = world, dict[str, Problem | None](), True
        self.issuing = Issuing(
            FakeIssuer(world),
            Secrets(world),
            lambda owner: owner in world.wanted,
            self._verify,
            self._fence,
            world.now,
            self.told.__setitem__,
            Bucket(rate, 100),
        )
        self.task: asyncio.Task[None] | None = None

    @property
    def numbers(self) -> IssuerNumbers:
        return self.issuing.numbers(["alice", "bob"])

    async def _fence(self) -> None:
        if not self.leads:
            raise NotLeading("another one does")

    async def _verify(self, c: Credential) -> str:
        await asyncio.sleep(0.01)
        if self.world.silent:
            raise IssuerUnavailable("the registry does not say")
        return "" if c.username in self.world.alive else "the registry refuses it (HTTP 401)"

    def start(self) -> None:
        self.task = self.world.loop.create_task(self.issuing.run([*self.world.wanted]))

    def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            self.world.loop.settle()
            with suppress(asyncio.CancelledError):
                self.task.exception()


@pytest.fixture
def world() -> Iterator[World]:
    random.seed(1)
    made = World(Stepping())
    yield made
    for task in asyncio.all_tasks(made.loop):
        task.cancel()
    made.loop.settle()
    made.loop.close()


def passes(world: World, span: timedelta, each: Callable[[], None] = lambda: None) -> None:
    until = world.loop.time() + span.total_seconds()
    world.loop.call_at(until, lambda: None)  # the clock stops there
    while world.loop.time() < until:
        if not world.loop.sleep():
            return
        each()


def test_what_is_young_is_not_minted_again(world: World) -> None:
    world.wanted = {"alice", "bob"}
    for _ in range(3):  # a restart, and another leader
        replica = Replica(world)
        replica.start()
        passes(world, timedelta(minutes=9))
        replica.stop()
    assert world.count == {"minted": 2, "written": 2}
    assert {one.generation for _, one, _ in world.secrets.values()} == {1}


def test_it_is_renewed_at_half_of_its_life_and_the_old_one_ends_by_itself_first(world: World) -> None:
    world.wanted = {"alice"}
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=29))
    assert world.secrets["alice"][1].generation == 1
    passes(world, timedelta(minutes=8))
    _, issued, handle = world.secrets["alice"]
    assert issued.generation == 2
    assert handle == "h2"
    assert [one.handle for one in issued.earlier] == ["h1"]
    assert world.alive.keys() == {"h1", "h2"}
    passes(world, LIFE - timedelta(minutes=37) + SLACK + timedelta(minutes=1))
    assert "h1" not in world.alive
    assert world.secrets["alice"][1].earlier == ()
    assert world.count["ended"] == 1
    replica.stop()


def test_renewals_of_owners_who_came_together_are_spread(world: World) -> None:
    world.wanted = {f"owner-{number}" for number in range(200)}
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=29))
    assert world.count["minted"] == 200
    passes(world, timedelta(minutes=4))
    assert 280 < world.count["minted"] < 320
    replica.stop()


def test_an_owner_who_is_gone_is_not_renewed_and_leaves_nothing(world: World) -> None:
    world.wanted = {"alice"}
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=1))
    world.wanted.clear()
    replica.issuing.look("alice")
    passes(world, timedelta(minutes=50))
    assert world.count["minted"] == 1
    assert world.secrets.keys() == {"alice"}  # it still works
    passes(world, timedelta(minutes=15))
    assert world.secrets == {}
    assert world.alive == {}
    replica.stop()


def test_an_owner_who_is_gone_gets_nothing_new_however_often_the_process_starts(world: World) -> None:
    world.wanted = {"alice"}
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=1))
    world.wanted.clear()
    replica.issuing.look("alice")
    passes(world, timedelta(minutes=40))
    for _ in range(3):  # it is time for a new one, if it had a namespace
        replica.stop()
        replica = Replica(world)
        replica.start()
        passes(world, timedelta(minutes=2))
    assert world.count["minted"] == 1
    passes(world, timedelta(minutes=20))
    assert world.secrets == {}
    replica.stop()


def test_a_namespace_that_is_deleted_and_created_again_is_nothing_new(world: World) -> None:
    world.wanted = {"alice"}
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=35))
    assert world.count["minted"] in {1, 2}
    world.wanted.clear()
    replica.issuing.look("alice")
    passes(world, timedelta(minutes=5))
    world.wanted.add("alice")
    replica.issuing.look("alice")
    passes(world, timedelta(minutes=1))
    assert world.count["minted"] == 2
    replica.stop()


def test_what_is_refused_is_told_once_and_ends_when_it_is_taken(world: World) -> None:
    world.wanted, world.refuses = {"alice"}, "there is no project alice; create it"
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=20))
    assert replica.told == {"alice": Problem("no new credential: there is no project alice; create it", refused=True)}
    assert replica.issuing.results["refused"] <= 2 * 20 * 60 / MAX_BACKOFF_SECONDS + 1
    world.refuses = ""
    passes(world, timedelta(seconds=MAX_BACKOFF_SECONDS))
    assert replica.told == {"alice": None}
    assert world.secrets["alice"][1].generation == 1
    replica.stop()


def test_what_is_refused_for_everybody_is_not_the_tenants_concern(world: World) -> None:
    world.wanted, world.refuses, world.everybody = {"alice"}, "the login may not create robots", True
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=1))
    assert replica.told == {"alice": Problem("no new credential: the login may not create robots", refused=False)}
    replica.stop()


def test_a_credential_that_is_not_renewed_in_time_is_told(world: World) -> None:
    world.wanted = {"alice"}
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=1))
    ends = world.secrets["alice"][1].ends
    world.refuses = "not now"
    passes(world, timedelta(minutes=43))
    assert replica.told == {"alice": Problem("no new credential: not now", refused=True)}
    passes(world, timedelta(minutes=7))
    assert replica.told == {"alice": Problem("no new credential: not now", refused=True, ends=ends)}
    replica.stop()


def test_a_secret_that_can_never_be_written_is_told(world: World) -> None:
    """Such as one whose label somebody took away: it is seen no more, and its name is taken."""
    world.wanted, world.taken = {"alice"}, True
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(seconds=0.2))
    assert replica.issuing.results["lost"] > 0
    assert replica.told == {}  # another replica may have been faster
    passes(world, timedelta(minutes=2))
    assert replica.told == {"alice": Problem("no new credential: changed")}
    assert world.alive == {}
    world.taken = False
    passes(world, timedelta(seconds=MAX_BACKOFF_SECONDS))
    assert replica.told == {"alice": None}
    replica.stop()


def test_a_registry_that_never_says_what_works_leaves_no_gap(world: World) -> None:
    world.wanted, world.silent = {"alice"}, True
    replica = Replica(world)
    replica.start()

    def holds() -> None:
        assert not world.secrets or world.now() < world.secrets["alice"][1].ends

    passes(world, timedelta(minutes=44), holds)
    assert world.secrets["alice"][1].generation == 1
    assert replica.told == {"alice": Problem("no new credential: the registry does not say")}
    passes(world, timedelta(hours=5), holds)
    assert world.secrets["alice"][1].generation > 4
    replica.stop()


def test_a_write_without_an_answer_is_not_taken_away_by_the_next_try(world: World) -> None:
    """The API server stores it, its answer is lost, and the watch is silent."""
    world.wanted, world.old, world.script = {"alice"}, {}, {2: "lost"}
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(seconds=20))
    assert world.secrets["alice"][2] == "h1"
    assert world.alive.keys() == {"h1"}
    assert replica.issuing.results["lost"] > 0
    world.old = None
    replica.issuing.look("alice")
    passes(world, timedelta(minutes=1))
    assert world.count["minted"] == 1
    assert replica.told == {"alice": None}
    replica.stop()


def test_what_a_clock_that_was_ahead_left_behind_does_not_stay(world: World) -> None:
    world.wanted, world.life, world.ahead = {"alice"}, timedelta(days=1), timedelta(days=2)
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(minutes=1))
    assert world.secrets["alice"][1].generation == 1
    world.ahead = timedelta()
    passes(world, timedelta(hours=11))
    _, issued, _ = world.secrets["alice"]
    assert issued.generation == 2
    assert issued.issued < world.now() < issued.ends
    assert world.count["minted"] == 2
    replica.stop()


@pytest.mark.parametrize("end", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00-14:00", "x", "2030-01-01T00:00:00"])
@pytest.mark.parametrize("key", [ISSUED, EXPIRES, GENERATION, EARLIER])
def test_what_people_write_into_annotations_breaks_nothing(key: str, end: str) -> None:
    issued = Issued(1, START, START + LIFE, "robot", (Earlier("before", START),))
    text = f'[["robot", "{end}"]]' if key == EARLIER else end
    found = read_issued(issued.annotations | {key: text})
    for wanted in (True, False):
        for now in (START, START + LIFE * 2):
            step = next_step("alice", found, now, exists=True, wanted=wanted)
            assert isinstance(step, Mint | End | Remove | Wait)


def test_what_is_changed_by_others_is_not_minted_in_a_loop(world: World) -> None:
    world.wanted, world.stripped = {"alice"}, True
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(hours=1))
    assert world.count["minted"] < 60
    problem = replica.told["alice"]
    assert problem is not None
    assert "does something else change it?" in problem.text
    replica.stop()


def test_changes_of_namespaces_do_not_make_an_owner_who_fails_ask_again_and_again(world: World) -> None:
    world.wanted, world.refuses = {"alice"}, "there is no project alice"
    replica = Replica(world)
    replica.start()
    for _ in range(600):
        passes(world, timedelta(seconds=0.5))
        replica.issuing.look("alice")
    assert replica.issuing.results["refused"] < 60
    world.refuses = ""
    replica.issuing.look("alice")
    passes(world, timedelta(seconds=11))
    assert world.secrets.keys() == {"alice"}
    replica.stop()


def test_an_outage_is_told_of_the_first_owners_and_quietly_of_the_others(world: World) -> None:
    world.wanted, world.refuses = {f"owner-{number}" for number in range(3 * MANY)}, "not now"
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(seconds=30))
    loud = [one for one in replica.told.values() if one is not None and not one.many]
    assert len(replica.told) == 3 * MANY
    assert MANY <= len(loud) < MANY + WORKERS
    world.refuses = ""
    passes(world, timedelta(seconds=MAX_BACKOFF_SECONDS + 10))
    assert {*replica.told.values()} == {None}
    world.refuses = "not now"
    world.wanted.add("later")
    replica.issuing.look("later")
    passes(world, timedelta(seconds=30))
    assert replica.told["later"] == Problem("no new credential: not now", refused=True)  # the others are well by now
    replica.stop()


def test_owners_who_are_refused_do_not_hide_an_outage(world: World) -> None:
    """Whoever names owners could make so many that do not fit."""
    world.wanted = {f"Odd {number}" for number in range(2 * MANY)}
    world.refuses = "it cannot be part of a name"
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(seconds=30))
    quiet = [one for one in replica.told.values() if one is not None and one.many]
    assert len(quiet) > MANY - WORKERS
    world.refuses, world.script = "", dict.fromkeys(range(world.calls, world.calls + 4), "fails")
    world.wanted = {"alice"}
    replica.issuing.look("alice")
    passes(world, timedelta(seconds=0.1))
    assert replica.told["alice"] == Problem("no new credential: issue failed")
    replica.stop()


def test_owners_who_are_refused_make_no_credential_end(world: World) -> None:
    """Also if there are so many that they are never gone through."""
    world.life = timedelta(minutes=10)
    world.wanted = {"alice", "bob"}
    replica = Replica(world, rate=1.0)
    replica.start()
    passes(world, timedelta(minutes=2))
    world.odd = {f"Odd {number}" for number in range(1000)}
    world.wanted |= world.odd
    for owner in sorted(world.odd):
        replica.issuing.look(owner)
    late = set[str]()
    passes(world, timedelta(minutes=2))
    world.wanted.add("carol")
    replica.issuing.look("carol")
    passes(world, timedelta(minutes=2))
    assert "carol" not in world.secrets  # whoever is new waits for a turn
    passes(
        world,
        timedelta(minutes=50),
        lambda: late.update(o for o, (_, one, _) in world.secrets.items() if one.is_late(world.now())),
    )
    assert world.secrets.keys() == {"alice", "bob", "carol"}
    assert not late
    assert world.count["minted"] > 25
    replica.stop()


def test_what_an_issuer_does_is_counted(world: World) -> None:
    world.wanted = {"alice", "bob"}
    replica = Replica(world)
    assert replica.numbers == IssuerNumbers(dict.fromkeys(RESULTS, 0), {"fresh": 0, "due": 2, "failing": 0}, 0, None)
    replica.start()
    passes(world, timedelta(minutes=1))
    first = min(one.ends for _, one, _ in world.secrets.values())
    assert replica.numbers.owners == {"fresh": 2, "due": 0, "failing": 0}
    assert (replica.numbers.late, replica.numbers.first_end) == (0, first.timestamp())
    world.refuses = "not now"
    passes(world, timedelta(minutes=46))
    assert replica.numbers.owners == {"fresh": 0, "due": 0, "failing": 2}
    assert (replica.numbers.late, replica.numbers.first_end) == (2, first.timestamp())
    assert replica.numbers.results["issued"] == 2
    assert replica.numbers.results["refused"] > 2
    other = Replica(world)  # it waits, and knows only what is in the Secrets
    assert other.numbers.owners == {"fresh": 0, "due": 2, "failing": 0}
    assert other.numbers.late == 2
    world.wanted.clear()  # nobody waits for these
    assert (other.numbers.late, other.numbers.first_end) == (0, None)


def test_a_pause_of_years_ends_no_credential(world: World) -> None:
    """One answer of whoever stands in between."""
    world.wanted, world.pause = {"alice"}, 1e9
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(seconds=1))
    assert world.asked == {"alice": 1}
    world.pause = 0.0
    passes(world, timedelta(minutes=6))
    assert world.secrets.keys() == {"alice"}
    replica.stop()


def test_a_pause_that_one_is_told_holds_for_all(world: World) -> None:
    world.wanted, world.pause = {f"owner-{number}" for number in range(500)}, 60.0
    replica = Replica(world)
    replica.start()
    passes(world, timedelta(seconds=55))
    replica.issuing.look("owner-1")
    passes(world, timedelta(seconds=2))
    assert world.asked.total() <= WORKERS
    world.pause = 0.0
    passes(world, timedelta(seconds=20))
    assert world.count["minted"] == 500
    replica.stop()


FATES = st.dictionaries(st.integers(1, 40), st.sampled_from(["fails", "lost", "killed", "killed after"]), max_size=8)


@settings(max_examples=200, deadline=None)
@given(FATES, st.booleans(), st.integers(0, 2**32))
def test_whatever_fails_no_secret_has_a_credential_that_was_taken_away(
    script: dict[int, str],
    named: bool,
    seed: int,
) -> None:
    random.seed(seed)
    world = World(Stepping(), script, named=named, life=timedelta(minutes=10), wanted={"alice", "bob"})
    replicas = [Replica(world)]

    def killed() -> None:
        """Another one takes over, and the first one does nothing more."""
        replicas[-1].leads = False
        if (task := replicas[-1].task) is not None:
            world.loop.call_soon(task.cancel)
        replicas.append(Replica(world))
        world.loop.call_later(5, replicas[-1].start)

    world.kill = killed
    replicas[0].start()

    def holds() -> None:
        for owner, (_, issued, handle) in world.secrets.items():
            if world.now() < issued.ends:
                assert handle in world.alive, (owner, issued)
                assert world.alive[handle][0] == owner
                assert world.alive[handle][2] >= issued.ends

    passes(world, timedelta(minutes=60), holds)
    for owner in world.wanted:
        assert world.secrets[owner][1].ends > world.now()
    assert world.count["minted"] <= 2 * (60 / 5 + 2) + len(script) * 2
    if named:  # nothing is left behind but what is remembered, and what ends by itself
        left = {h for h, (_, _, ends) in world.alive.items() if ends + timedelta(minutes=20) < world.now()}
        assert len(left) <= sum(fate.startswith(("killed", "lost")) for fate in script.values())
    for replica in replicas:
        replica.stop()
    world.loop.close()


def test_without_the_time_of_its_issue_the_next_one_is_made_and_nothing_is_forgotten() -> None:
    for life in (timedelta(hours=1), MAX_LIFE):
        found = Issued(7, START, START + life, "h7", (Earlier("h6", START + timedelta(minutes=5)),))
        assert read_issued(found.annotations) == found
        assert next_step("alice", found, START, exists=True, wanted=True) != Mint(8)
        texts = {key: text for key, text in found.annotations.items() if key != ISSUED}
        due = read_issued(texts)
        assert next_step("alice", due, START, exists=True, wanted=True) == Mint(8)
        assert due is not None
        after = due.followed_by(Issued(8, START, START + LIFE, "h8"))
        assert [one.handle for one in after.earlier] == ["h6", "h7"]
        assert after.generation == 8


def test_a_replica_that_waits_keeps_nothing_of_owners_who_come_and_go(world: World) -> None:
    replica = Replica(world)
    for led in (False, True):
        if led:
            replica.start()
            passes(world, timedelta(minutes=1))
            replica.stop()
        tracemalloc.start()
        for number in range(10_000):
            replica.issuing.look(f"owner-{number}")
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 100_000


def test_names_of_secrets() -> None:
    assert secret_name("harbor", "alice@example.com") == secret_name("harbor", "alice@example.com")
    assert secret_name("harbor", "alice") != secret_name("harbor", "alice ")
    assert len(secret_name("a" * 30, "x" * 253)) < 64
