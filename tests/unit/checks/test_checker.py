"""Replicas that ask registries, on one Secret, in time that the tests make pass."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import wraps

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from certs.errors import ApiTrouble, Conflict
from certs.ports import Stored
from support.checksecret import Secret
from support.simulated import Stepping
from webhook.checks.checked import Checked
from webhook.checks.checker import (
    FAILURES,
    GAP_SECONDS,
    GATHER_SECONDS,
    QUESTIONS,
    RECORDS_PER_SECOND,
    RECORDS_PER_SECOND_AT_REST,
    ROUND_SECONDS,
    TURN_SECONDS,
    Checker,
)
from webhook.checks.kept import TAKEOVER_SECONDS, Kept
from webhook.checks.lately import FEW_REFUSED, Lately
from webhook.checks.pending import Pending
from webhook.checks.registryclient import Said
from webhook.core.check import (
    AGAIN_SECONDS,
    ASKING,
    DIGEST_BYTES,
    KEY,
    KEY_BYTES,
    MAX_CHECKS,
    RECORDS,
    Check,
    Checks,
    Why,
)
from webhook.core.credential import Credential, Credentials, Origin
from webhook.core.notice import Notice
from webhook.fairness import few_at_a_time

REFUSED, WORKS = Said(Why.UNAUTHORIZED), Said(Why.NONE)
START = 1_800_000_000.0


@pytest.fixture(autouse=True)
def same_jitter() -> None:
    random.seed(1)


@dataclass
class Registries:
    """`says`: by password what is said each time, the last for ever; others work. `asked`: time and password."""

    clock: Callable[[], float]
    says: dict[str, list[Said]] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """By password: how long the answer takes."""
    heard: Callable[[], None] = lambda: None
    """What happens while an answer is on its way."""

    async def ask(self, c: Credential) -> Said:
        times = self.count(c.password)
        self.asked.append((self.clock(), c.password))
        await asyncio.sleep(self.seconds.get(c.password, 0.0))
        self.heard()
        script = self.says.get(c.password, [WORKS])
        return script[min(times, len(script) - 1)]

    async def close(self) -> None:
        pass

    def count(self, password: str) -> int:
        return sum(one == password for _, one in self.asked)


@dataclass
class Away:
    """The Secret, for a replica that may be cut off from the API server."""

    secret: Secret
    away: bool = False

    async def read(self) -> Stored | None:
        self._reach()
        return await self.secret.read()

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> Stored:
        self._reach()
        return await self.secret.write(data, over)

    def _reach(self) -> None:
        if self.away:
            raise ApiTrouble("it does not answer")


class Users:
    """A source in memory."""

    def __init__(self) -> None:
        self.of: dict[str, Credentials] = {}
        self.settled = asyncio.Event()
        self.settled.set()
        self.invalidated: list[str] = []

    def known(self, owner: str) -> Credentials | None:
        return self.of.get(owner, Credentials())

    async def credentials(self, owner: str) -> Credentials:
        return self.of.get(owner, Credentials())

    async def prefetch(self, owners: Collection[str]) -> None:
        pass

    def invalidate(self, owner: str) -> None:
        self.invalidated.append(owner)

    def able(self) -> bool:
        return True

    async def run(self) -> None:
        await asyncio.Event().wait()


class Replica:
    def __init__(self, world: "World", name: str) -> None:
        self.checker = Checker(
            world.secret, world.registries, name, name[:1].encode() * KEY_BYTES, 0.1, lambda: START + world.loop.time()
        )
        self.users, self.changed = world.users, list[str | None]()
        self.notices: list[Notice] = []
        self.source = Checked(
            world.users,
            self.checker,
            self._reconcile,
            self.notices.append,
            lambda: world.now,
        )
        self.tasks = [world.loop.create_task(self.source.run()), world.loop.create_task(self.checker.run())]

    def _reconcile(self, owner: str | None) -> None:
        self.changed.append(owner)
        assert owner is not None
        self.source.known(owner)

    def end(self) -> None:
        for task in self.tasks:
            task.cancel()

    def knows(self, records: int) -> None:
        """So many records of others."""
        for number in range(records):
            self.checker.kept.put(number.to_bytes(DIGEST_BYTES, "big"), Check(Why.NONE, int(START), 1))

    def check(self, owner: str) -> Check | None:
        """Of its credential."""
        return self.checker.checks.of(self.users.of[owner].items[0])

    def sees(self, owner: str) -> list[tuple[str, bool]]:
        """Passwords, and whether they are left out."""
        known = self.source.known(owner)
        assert known is not None
        return [(c.password, c.left_out) for c in known.items]


class World:
    def __init__(self) -> None:
        self.loop = Stepping()
        self.secret, self.users = Secret(), Users()
        self.registries = Registries(self.loop.time)
        self.now = datetime.fromtimestamp(START, UTC)
        self.replicas: list[Replica] = []

    def replica(self, name: str = "a") -> Replica:
        replica = Replica(self, name)
        self.replicas.append(replica)
        self.loop.settle()
        return replica

    def give(self, owner: str, *credentials: Credential) -> None:
        self.users.of[owner] = Credentials(credentials)
        for replica in self.replicas:
            self.loop.call_soon(replica.source.known, owner)
        self.loop.settle()

    def passes(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        self.loop.call_at(end, lambda: None)
        while self.loop.time() < end:
            assert self.loop.sleep()

    def close(self) -> None:
        for replica in self.replicas:
            replica.end()
        self.loop.settle()
        self.loop.close()


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    world.close()


def credential(password: str, registry: str = "ghcr.io", owner: str = "alice") -> Credential:
    return Credential(registry, "user", password, origin=Origin("secrets", "pullsecret-webhook", "Secret", owner))


def test_a_credential_that_works_is_asked_about_once(world: World) -> None:
    replica = world.replica()
    world.give("alice", credential("good"))
    world.passes(120)
    assert [password for _, password in world.registries.asked] == ["good"]
    assert world.registries.asked[0][0] < 2.0
    assert replica.changed == []
    assert replica.source.known("alice") is world.users.of["alice"]
    assert [(notice.reason, notice.type, notice.owner) for notice in replica.notices] == [
        ("CredentialWorks", "Normal", "alice")
    ]
    assert replica.source.results() == {"works": 1, "refused": 0, "unknown": 0, "unasked": 0}


def test_one_that_is_refused_twice_is_left_out(world: World) -> None:
    replica = world.replica()
    world.registries.says["bad"] = [REFUSED]
    good, bad = credential("good", "quay.io"), credential("bad")
    world.give("alice", good, bad)
    world.passes(5)
    assert replica.sees("alice") == [("good", False), ("bad", False)]
    assert replica.source.results()["refused"] == 1
    first = replica.source.known("alice")
    assert first is not None
    assert [c.refusal is not None for c in first.items] == [False, True]
    assert replica.source.known("alice") is first
    world.passes(30)
    assert replica.sees("alice") == [("good", False), ("bad", True)]
    assert replica.changed == ["alice", "alice"]
    world.passes(3600)
    times = [at for at, password in world.registries.asked if password == "bad"]
    assert len(times) == 2
    assert 30 <= times[1] - times[0] < 34


def test_pauses_of_registries_that_are_not_asked_any_more_are_forgotten(world: World) -> None:
    """A user may name another registry each time."""
    replica = world.replica()
    pending = replica.checker._pending
    for number in range(9):
        world.registries.says[f"{number}"] = [Said(Why.BUSY, 60.0)]
        world.give("alice", credential(f"{number}", f"registry-{number}.example"))
        world.passes(25)
    assert [*pending._paused] == ["registry-7.example", "registry-8.example"]
    world.passes(120)
    assert (pending._paused, pending._later, pending._registries, pending._order) == ({}, {}, {}, [])


def test_one_that_changes_is_another_one(world: World) -> None:
    replica = world.replica()
    world.registries.says["bad"] = [REFUSED]
    world.give("alice", credential("bad"))
    world.passes(40)
    world.give("alice", credential("good"))
    assert replica.sees("alice") == [("good", False)]
    world.passes(5)
    assert world.registries.count("good") == 1
    assert replica.source.results() == {"works": 1, "refused": 0, "unknown": 0, "unasked": 0}
    world.give("alice", credential("bad"))  # the same as before: what was said of it holds
    assert replica.sees("alice") == [("bad", True)]
    world.passes(60)
    assert world.registries.count("bad") == 2


def test_it_may_be_accepted_the_second_time(world: World) -> None:
    replica = world.replica()
    world.registries.says["slow"] = [REFUSED, WORKS]
    world.give("alice", credential("slow"))
    world.passes(60)
    assert replica.sees("alice") == [("slow", False)]
    assert replica.source.known("alice") is world.users.of["alice"]
    assert replica.changed == ["alice", "alice"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_one_refusal_of_two_answers_leaves_nothing_out(world: World, order: tuple[int, int]) -> None:
    replica = world.replica()
    answers = [Said(Why.NO_ANSWER), REFUSED]
    world.registries.says["odd"] = [answers[number] for number in order]
    world.give("alice", credential("odd"))
    world.passes(3600)
    assert world.registries.count("odd") == 2
    assert replica.sees("alice") == [("odd", False)]
    known = replica.source.known("alice")
    assert known is not None
    assert (known.items[0].refusal is not None) == (order == (0, 1))
    again = world.replica("b")
    assert again.sees("alice") == [("odd", False)]


def test_one_that_is_withdrawn_while_a_round_begins(world: World) -> None:
    replica = world.replica()

    async def write(data: Mapping[str, bytes], over: Stored | None) -> Stored:
        if ASKING in data and "alice" in world.users.of:
            del world.users.of["alice"]
            replica.source.known("alice")
        return await Secret.write(world.secret, data, over)

    world.secret.write = write  # type: ignore[method-assign]
    world.give("alice", credential("gone"))
    world.passes(60)
    world.give("bob", credential("good"))
    world.passes(60)
    assert [password for _, password in world.registries.asked] == ["good"]


def test_what_is_heard_during_a_write_is_kept(world: World) -> None:
    """A slow registry answers while the answers of the others are written."""
    replica = world.replica()
    writes = 0

    async def write(data: Mapping[str, bytes], over: Stored | None) -> Stored:
        nonlocal writes
        writes += 1
        await asyncio.sleep(6.0 if writes > 1 else 0.0)
        return await Secret.write(world.secret, data, over)

    world.secret.write = write  # type: ignore[method-assign]
    world.registries.seconds["slow"] = 5.0
    world.give("alice", credential("slow"), credential("quick", "quay.io"))
    world.passes(120)
    assert Counter(password for _, password in world.registries.asked) == {"slow": 1, "quick": 1}
    assert replica.source.results()["works"] == 2
    assert world.secret.checks.records.keys() == replica.checker.checks.records.keys()
    assert len(world.secret.checks.records) == 2


def test_a_save_is_a_write_and_no_read(world: World) -> None:
    world.replica()
    world.give("alice", credential("good"))
    world.passes(60)
    # Read at the start, and before it is asked; written when it begins to ask, and when it ends.
    assert world.secret.calls == {"read": 2, "write": 2}
    assert world.secret.checks.of(credential("good")) is not None


def test_who_asks_reads_nothing_between_its_rounds(world: World) -> None:
    replica = world.replica()
    for number in range(200):
        world.give(f"owner-{number}", credential(f"good-{number}"))
    world.passes(40)
    asked = len(world.registries.asked)
    assert 50 < asked < 200
    assert world.secret.calls["read"] == 2
    assert world.secret.calls["write"] <= 2 + 40 / ROUND_SECONDS
    assert world.secret.stored is not None
    assert ASKING in world.secret.stored.data
    world.passes(200)
    assert world.secret.calls["read"] <= 2 + 2 * 200 / TURN_SECONDS  # another one could have begun
    assert len(world.secret.checks.records) == replica.source.results()["works"] == 200
    assert ASKING not in world.secret.stored.data


@pytest.mark.parametrize("records", [0, 10_000])
def test_the_more_is_known_the_less_often_it_is_written_again(world: World, records: int) -> None:
    """Where new credentials come all the time, and are answered at once."""
    replica = world.replica()
    replica.knows(records)
    each = max(1.0, records / RECORDS_PER_SECOND_AT_REST)
    pause = max(1.0, each / 2)  # so few come between two rounds that one round asks about all of them
    for number in range(60):
        world.give(f"owner-{number}", credential(f"good-{number}"))
        world.passes(pause)
    seconds = 60 * pause
    assert seconds / (each + 2) < world.secret.calls["write"] / 2 < seconds / each + 1
    world.passes(each + 2)
    assert replica.source.results()["works"] == 60


@pytest.mark.parametrize("records", [0, 20_000])
def test_the_more_is_known_the_less_often_it_is_saved_while_there_is_more_to_ask(world: World, records: int) -> None:
    """At one registry, which answers at once."""
    replica = world.replica()
    replica.knows(records)
    for number in range(80):
        world.give(f"owner-{number}", credential(f"good-{number}"))
    world.passes(35)
    each, most = records / RECORDS_PER_SECOND, ROUND_SECONDS + 2 * GATHER_SECONDS
    assert MAX_CHECKS / RECORDS_PER_SECOND + most < TAKEOVER_SECONDS / 2, "or it would have to read first"
    assert 35 / (each + most) - 1 <= world.secret.calls["write"] <= 35 / max(each, 1.0) + 1
    asked = len(world.registries.asked)
    assert 35 / most * QUESTIONS / 2 < asked < 80  # it goes on without a write
    assert len(world.secret.checks.records) >= records + asked - (each + most) / GAP_SECONDS
    world.passes(25)
    assert len(world.secret.checks.records) == records + 80
    assert not replica.checker.kept.asks


def test_another_replica_has_its_turn_though_there_is_more_to_ask(world: World) -> None:
    """Each knows its own owners only, as where replicas share out the namespaces."""
    first = world.replica("a")
    for number in range(1000):
        world.give(f"owner-{number}", credential(f"good-{number}"))
    world.passes(20)
    world.users = Users()
    world.replicas.remove(first)  # what is given from here on is the other one's
    world.replica("b")
    world.give("bob", credential("bobs", "quay.io"))
    began = world.loop.time()
    while not world.registries.count("bobs"):
        world.passes(5)
        assert world.loop.time() - began < TURN_SECONDS + 20
    assert len(world.registries.asked) < 500
    world.replicas.append(first)


def test_nobody_keeps_a_registry_of_others_from_being_asked(world: World) -> None:
    """By slots that are all taken, and a newer credential for it."""
    world.replica()
    silent = [credential(f"silent-{number}", f"r{number}.example") for number in range(100)]
    for c in silent:
        world.registries.says[c.password], world.registries.seconds[c.password] = [Said(Why.NO_ANSWER)], 10.0
    world.give("alice", credential("alices"))
    world.give("mallory", credential("hers"), *silent)
    world.passes(20)
    assert world.registries.count("alices") == 1


def test_what_another_replica_has_just_been_told_is_asked_later(world: World) -> None:
    """Also if we are about to ask."""
    replica = world.replica("b")
    for number in range(10):
        world.give(f"owner-{number}", credential(f"token-{number}"))
    while len(world.registries.asked) < 3:
        world.passes(0.1)
    passwords = [f"token-{number}" for number in reversed(range(10))]
    password = next(one for one in passwords if not world.registries.count(one))
    world.registries.says[password] = [REFUSED]
    checks = replica.checker.checks
    digest = checks.digest(credential(password))
    told = Check(Why.UNAUTHORIZED, int(START + world.loop.time()), 1)
    world.secret.version += 1
    records = {KEY: checks.key, RECORDS: digest + told.record, ASKING: b"b 1"}
    world.secret.stored = Stored(records, str(world.secret.version))
    world.loop.create_task(replica.checker.load())
    world.passes(AGAIN_SECONDS - 5)
    assert world.registries.count(password) == 0
    world.passes(20)
    assert world.registries.count(password) == 1


def test_nothing_is_read_for_what_is_settled_by_another_replica(world: World) -> None:
    replica = world.replica()
    key = replica.checker.checks.key
    credentials = [credential(f"token-{number}", f"r{number}.example") for number in range(30)]
    digests = [replica.checker.checks.digest(c) for c in credentials]

    def stored(version: int, *checks: Check) -> None:
        records = b"".join(digest + check.record for digest, check in zip(digests, checks, strict=True))
        world.secret.version = version
        world.secret.stored = Stored({KEY: key, RECORDS: records}, str(version))
        world.loop.create_task(replica.checker.load())
        world.loop.settle()

    stored(1, *(Check(Why.BUSY, int(START) + 10 + 2 * number) for number in range(30)))
    for number, c in enumerate(credentials):
        world.give(f"owner-{number}", c)
    world.passes(20)
    stored(2, *(Check(Why.NONE, int(START) + 20, 2) for _ in digests))
    reads = world.secret.calls["read"]
    world.passes(200)
    assert world.secret.calls["read"] == reads
    assert world.registries.asked == []


def test_all_is_asked_again_when_the_secret_is_deleted(world: World) -> None:
    """Also while there is much to ask, and without a restart."""
    replica = world.replica()
    for number in range(200):
        world.give(f"owner-{number}", credential(f"good-{number}"))
    world.passes(30)
    key, known = replica.checker.checks.key, len(world.secret.checks.records)
    version, world.secret.stored = world.secret.version, None
    while world.secret.version == version:
        world.passes(0.5)
    assert replica.checker.checks.key != key
    assert len(world.secret.checks.records) < known
    world.passes(300)
    assert len(world.secret.checks.records) == replica.source.results()["works"] == 200


def test_an_old_answer_that_could_not_be_saved_gives_way_to_newer_ones(world: World) -> None:
    """It was a first refusal, and its replica was cut off from the API server then. Another one asked in its place."""
    world.registries.says["bad"] = [REFUSED, REFUSED, REFUSED, WORKS]
    a, b = world.replica("a"), world.replica("b")
    away = a.checker.kept._store = Away(world.secret)
    world.registries.heard = lambda: setattr(away, "away", True)
    world.users.of["alice"] = Credentials((credential("bad"),))
    world.loop.call_soon(a.source.known, "alice")
    world.passes(4)
    world.registries.heard = lambda: None
    world.loop.call_soon(b.source.known, "alice")
    world.passes(TAKEOVER_SECONDS + AGAIN_SECONDS + 20)
    asked = world.registries.count("bad")
    away.away = False
    world.passes(300)
    assert world.registries.count("bad") == asked
    assert a.checker.checks == b.checker.checks == world.secret.checks


def test_one_that_has_taken_over_is_left_to_ask(world: World) -> None:
    """We stood still for a minute, while a registry did not answer."""
    replica = world.replica()
    world.registries.seconds["slow"] = 8.0
    world.give("alice", credential("slow"))
    world.passes(4)
    assert world.registries.count("slow") == 1
    key = world.secret.checks.key
    world.secret.version += 1
    taken = {KEY: key, RECORDS: b"", ASKING: b"b 1"}
    world.secret.stored = Stored(taken, str(world.secret.version))
    world.passes(10)
    world.give("alice", credential("slow"), credential("new", "quay.io"))
    world.passes(TAKEOVER_SECONDS - 20)
    assert world.secret.stored.data[ASKING] == b"b 1"
    assert world.secret.checks.of(credential("slow")) is not None
    assert world.registries.count("new") == 0
    world.passes(30)  # the other one has ended, too
    assert world.registries.count("new") == 1
    assert replica.source.results()["works"] == 2


def test_all_who_wait_for_a_read_share_one_that_begins_after_they_came(world: World) -> None:
    replica = world.replica()
    world.registries.says["bad"] = [REFUSED]
    world.give("alice", credential("bad"))
    world.passes(40)
    digest = replica.checker.checks.digest(credential("bad"))
    before, key, reads = replica.changed.copy(), world.secret.checks.key, world.secret.calls["read"]

    async def read() -> Stored | None:
        found = await Secret.read(world.secret)
        await asyncio.sleep(1.0)
        return found

    world.secret.read = read  # type: ignore[method-assign]
    early = [world.loop.create_task(replica.checker.load()) for _ in range(100)]
    world.passes(0.5)
    works = digest + Check(Why.NONE, int(START) + 50, 3).record
    world.secret.stored = Stored({KEY: key, RECORDS: works}, "another")
    late = [world.loop.create_task(replica.checker.load()) for _ in range(100)]
    world.passes(0.2)
    late[0].cancel()  # a review does not wait for so long
    world.passes(0.6)
    assert all(task.done() for task in early)
    assert not any(task.done() for task in late[1:])
    assert replica.sees("alice") == [("bad", True)]
    for task in late:
        task.cancel()
    world.passes(2.0)
    assert world.secret.calls["read"] == reads + 2
    assert replica.changed == [*before, "alice"]
    assert replica.sees("alice") == [("bad", False)]
    assert replica.source.results() == {"works": 1, "refused": 0, "unknown": 0, "unasked": 0}


@pytest.fixture
def most(world: World, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each of these was called in one pass of the loop, at most."""
    most, now, once = Counter[str](), Counter[str](), world.loop._run_once  # type: ignore[attr-defined]

    def counted(owner: type, name: str) -> None:
        call = getattr(owner, name)

        @wraps(call)
        def wrapped(*given: object, **named: object) -> object:
            now[name] += 1
            most[name] = max(most[name], now[name])
            return call(*given, **named)

        monkeypatch.setattr(owner, name, staticmethod(wrapped) if owner is Check else wrapped)

    def run_once() -> None:
        now.clear()
        once()

    monkeypatch.setattr(world.loop, "_run_once", run_once)
    for owner, names in COUNTED.items():
        for name in names:
            counted(owner, name)
    return most


COUNTED: dict[type, tuple[str, ...]] = {
    Check: ("of_record",),
    Kept: ("put",),
    Pending: ("get", "remove", "_make_ready", "_take_away"),
    Checked: ("_judge", "_refusal_changed", "_report"),
    Replica: ("_reconcile",),
}
MANY_OWNERS, FEW_IN_A_PASS = 25_000, 400


def of_many(number: int) -> Credential:
    return credential(f"p-{number}", "ghcr.io", f"owner-{number % MANY_OWNERS}")


def test_of_40000_credentials_few_are_handled_in_a_pass_of_the_loop(world: World, most: Counter[str]) -> None:
    """Between the passes reviews are answered. All are asked again, and the registry has just ceased to answer; then
    another replica has refusals of them all, and at last another key.
    """
    checks, credentials = Checks(b"k" * KEY_BYTES), [of_many(number) for number in range(MAX_CHECKS)]
    digests = [checks.digest(c) for c in credentials]

    def stored(told: Check, version: str) -> Stored:
        return Stored({KEY: checks.key, RECORDS: b"".join(digest + told.record for digest in digests)}, version)

    world.secret.stored = stored(Check(Why.NO_ANSWER, int(START) - 60), "0")
    for number, c in enumerate(credentials):
        world.registries.says[c.password] = [Said(Why.NO_ADDRESS, of_all=True)]
        owner = f"owner-{number % MANY_OWNERS}"
        world.users.of[owner] = Credentials((*world.users.of.get(owner, Credentials()).items, c))
    replica = world.replica()

    async def judge() -> None:
        async for owner in few_at_a_time(world.users.of, 50):
            replica.source.known(owner)

    world.loop.create_task(judge())
    world.passes(60 + MAX_CHECKS / RECORDS_PER_SECOND_AT_REST)
    everything = {"works": 0, "refused": 0, "unknown": MAX_CHECKS, "unasked": 0}
    assert replica.source.results() == everything
    assert len(world.registries.asked) == 1
    assert world.secret.checks == replica.checker.checks
    (notice,) = replica.notices  # and not an Event for each of 25,000 owners
    assert notice.reason == "CredentialNotChecked"
    assert replica.changed == []

    world.secret.stored = stored(Check(Why.UNAUTHORIZED, int(START) + 100, 2), "another")
    world.loop.create_task(replica.checker.load())
    world.passes(1)
    assert replica.source.results() == everything | {"unknown": 0, "refused": MAX_CHECKS}
    assert len(replica.changed) == len({*replica.changed}) == MANY_OWNERS

    world.registries.says.clear()
    world.secret.stored = Stored({KEY: b"z" * KEY_BYTES, RECORDS: b""}, "a third")
    world.loop.create_task(replica.checker.load())
    world.passes(5)
    works = len(world.registries.asked) - 1
    assert 0 < works < 20
    assert replica.source.results() == everything | {"unknown": 0, "works": works, "unasked": MAX_CHECKS - works}
    assert len(replica.changed) == 2 * MANY_OWNERS
    assert most.keys() == {name for names in COUNTED.values() for name in names}
    assert max(most.values()) <= FEW_IN_A_PASS, most


def test_of_many_refusals_few_are_held_in_a_pass_of_the_loop(world: World, most: Counter[str]) -> None:
    replica = world.replica()
    lately, count = Lately(), 2_000
    for number in range(count):
        lately.add(0.0, replica.checker.checks.digest(of_many(number)), refused=True)
    replica.checker._lately["ghcr.io"] = lately
    for number in range(count):
        replica.checker.kept.put(replica.checker.checks.digest(of_many(number)), Check(Why.UNAUTHORIZED, 1, 2))
        world.users.of[f"owner-{number}"] = Credentials((of_many(number),))
        replica.source.known(f"owner-{number}")
    most.clear()
    world.give("alice", credential("good"))
    world.passes(30)
    assert max(most.values()) <= FEW_IN_A_PASS, most
    known = [replica.source.known(f"owner-{number}") for number in range(count)]
    refusals = [one.items[0].refusal for one in known if one is not None]
    assert len(refusals) == count
    assert all(one is not None and one.held for one in refusals)
    assert lately.together(0.1) == []  # nothing is left to do


def test_owners_of_the_same_credential_are_told_in_steps(world: World, most: Counter[str]) -> None:
    replica = world.replica()
    world.registries.says["bad"] = [REFUSED]
    owners = [f"owner-{number}" for number in range(5_000)]
    for owner in owners:
        world.users.of[owner] = Credentials((credential("bad"),))
        world.loop.call_soon(replica.source.known, owner)
    world.loop.settle()
    most.clear()
    world.passes(60)
    assert Counter(replica.changed) == dict.fromkeys(owners, 2)
    assert most["_reconcile"] <= FEW_IN_A_PASS
    assert {replica.sees(owner)[0] for owner in owners} == {("bad", True)}


def test_results_that_cannot_be_saved_are_reported_and_saved_later(world: World) -> None:
    replica = world.replica()

    async def write(data: Mapping[str, bytes], over: Stored | None) -> Stored:
        if world.registries.asked and world.loop.time() < 100:
            raise ApiTrouble("the API server cannot be reached")
        return await Secret.write(world.secret, data, over)

    world.secret.write = write  # type: ignore[method-assign]
    world.give("alice", credential("good"))
    with capture_logs():
        world.passes(50)
        assert [notice.reason for notice in replica.notices] == ["CredentialWorks"]
        assert world.secret.checks.of(credential("good")) is None
        world.passes(200)
    assert world.secret.checks.of(credential("good")) is not None
    assert world.registries.count("good") == 1
    assert len(replica.notices) == 1


def test_what_is_not_known_is_asked_once_more_and_changes_nothing(world: World) -> None:
    replica = world.replica()
    world.registries.says["lost"] = [Said(Why.NO_CONNECTION)]
    world.give("alice", credential("lost"))
    world.passes(3600)
    assert world.registries.count("lost") == 2
    assert replica.changed == []
    assert replica.source.results()["unknown"] == 1
    message = replica.notices[0].message
    assert (replica.notices[0].reason, "it cannot be reached" in message) == ("CredentialNotChecked", True)


def test_a_registry_that_cannot_be_reached_is_asked_once_for_all(world: World) -> None:
    replica = world.replica()
    for number in range(50):
        world.registries.says[f"lost-{number}"] = [Said(Why.NO_ADDRESS, of_all=True)]
        world.give(f"owner-{number}", credential(f"lost-{number}"))
    world.passes(3600)
    assert len(world.registries.asked) <= 4
    assert replica.source.results()["unknown"] == 50


def test_one_that_the_registry_cannot_bear_keeps_no_others_from_their_answer(world: World) -> None:
    """Such as a user name at which its token service fails."""
    replica = world.replica()
    world.registries.says["bad"] = [REFUSED]
    world.give("bob", credential("bad"))
    world.give("carol", credential("good"))
    odd = [credential(f"odd-{number}") for number in range(10)]
    for number in range(10):
        world.registries.says[f"odd-{number}"] = [Said(Why.BROKEN)]
    world.give("mallory", *odd)
    world.passes(600)
    assert replica.sees("bob") == [("bad", True)]
    assert replica.source.results() == {"works": 1, "refused": 1, "unknown": 10, "unasked": 0}
    assert all(world.registries.count(c.password) == 2 for c in odd)


def test_a_registry_that_fails_again_and_again_is_left_alone_for_a_while(world: World) -> None:
    world.replica()
    for number in range(50):
        world.registries.says[f"lost-{number}"] = [Said(Why.NO_ANSWER)]
        world.give(f"owner-{number}", credential(f"lost-{number}"))
    world.passes(25)
    assert len(world.registries.asked) == FAILURES


def test_an_owner_with_many_changes_does_not_delay_the_others(world: World) -> None:
    world.replica()
    world.give("bob", credential("bobs"))
    for minute in range(5):
        world.give("mallory", *(credential(f"m-{minute}-{number}") for number in range(100)))
        world.passes(2)
    world.give("carol", credential("carols"))
    world.give("mallory", *(credential(f"m-last-{number}") for number in range(100)))
    world.passes(10)
    assert world.registries.count("bobs") == world.registries.count("carols") == 1


def test_registries_that_do_not_answer_delay_no_others(world: World) -> None:
    """An owner has credentials for many of them."""
    replica = world.replica()
    silent = [credential(f"silent-{number}", f"r{number}.example") for number in range(100)]
    for c in silent:
        world.registries.says[c.password], world.registries.seconds[c.password] = [Said(Why.NO_ANSWER)], 10.0
    world.give("mallory", *silent)
    world.passes(7)
    began = world.loop.time()
    world.give("alice", credential("good"), credential("bad", "quay.io"))
    world.registries.says["bad"] = [REFUSED]
    world.passes(10)
    assert all(at - began < 6 for at, password in world.registries.asked if password in ("good", "bad"))
    assert [notice.reason for notice in replica.notices if notice.owner == "alice"] == ["CredentialWorks"]
    assert world.secret.checks.of(credential("good")) is not None
    world.passes(60)
    assert replica.sees("alice") == [("good", False), ("bad", True)]


@pytest.mark.parametrize("seconds", [300.0, 3600.0])
def test_retry_after_is_kept_by_all_replicas(world: World, seconds: float) -> None:
    world.replica("a"), world.replica("b")
    world.registries.says["busy"] = [Said(Why.BUSY, seconds), WORKS]
    world.give("alice", credential("busy"))
    world.give("bob", credential("other"))
    world.passes(seconds - 5)
    assert len(world.registries.asked) <= 2  # also about the other one
    world.passes(60)
    assert world.registries.count("busy") == 2
    assert world.registries.count("other") == 1
    assert [replica.source.results()["works"] for replica in world.replicas] == [2, 2]


def test_a_registry_that_wants_a_day_is_not_asked_again(world: World) -> None:
    world.replica()
    world.registries.says["busy"] = [Said(Why.BUSY, 86400.0)]
    world.give("alice", credential("busy"))
    world.passes(2 * 86400)
    assert world.registries.count("busy") == 1


def test_two_replicas_ask_once_and_know_the_same(world: World) -> None:
    one, two = world.replica("a"), world.replica("b")
    world.registries.says["bad"] = [REFUSED]
    world.give("alice", credential("bad"), credential("good", "quay.io"))
    world.passes(60)
    assert Counter(password for _, password in world.registries.asked) == {"bad": 2, "good": 1}
    assert one.sees("alice") == two.sees("alice") == [("bad", True), ("good", False)]
    assert one.checker.checks == two.checker.checks
    reads = world.secret.calls.copy()
    world.passes(86400)
    assert world.secret.calls == reads  # nothing polls


def test_a_restart_asks_nothing_again(world: World) -> None:
    before = world.replica()
    world.registries.says["bad"] = [REFUSED]
    world.give("alice", credential("bad"), credential("good", "quay.io"))
    world.passes(10)
    before.end()
    after = world.replica("b")
    assert after.source.settled.is_set()
    assert world.registries.count("bad") == 1
    world.give("alice", *world.users.of["alice"].items)
    world.passes(60)
    assert Counter(password for _, password in world.registries.asked) == {"bad": 2, "good": 1}
    third = world.replica("c")
    assert third.sees("alice") == [("bad", True), ("good", False)]
    world.passes(60)
    assert len(world.registries.asked) == 3


def test_a_replica_that_is_told_by_another_one_looks_before_it_undoes(world: World) -> None:
    """The other one has left the entry out, and we have not read why yet."""
    one, two = world.replica("a"), world.replica("b")
    world.registries.says["bad"] = [REFUSED]
    world.give("alice", credential("bad"))
    world.passes(10)
    digest = one.checker.checks.digest(credential("bad"))
    told = Check(Why.UNAUTHORIZED, int(START) + 20, 2)
    assert world.secret.stored is not None
    world.secret.stored = Stored(
        {KEY: world.secret.checks.key, RECORDS: digest + told.record}, str(world.secret.version + 1)
    )
    two.source.invalidate("alice")
    assert two.source.known("alice") is None
    found = world.loop.create_task(two.source.credentials("alice"))
    world.loop.settle()
    assert [c.left_out for c in found.result().items] == [True]
    two.source.invalidate("alice")
    assert two.source.known("alice") is not None  # there is nothing more to be told


def test_another_replica_takes_over(world: World) -> None:
    world.secret.stored = Stored({KEY: b"k" * KEY_BYTES, RECORDS: b"", ASKING: b"gone 1"}, "1")
    world.secret.version = 1
    world.replica("b")
    world.give("alice", credential("good"))
    world.passes(TAKEOVER_SECONDS - 5)
    assert world.registries.asked == []
    world.passes(15)
    assert world.registries.count("good") == 1


def test_nothing_is_asked_that_cannot_be_kept(world: World) -> None:
    world.secret.trouble = [ApiTrouble("it cannot be written (403 Forbidden)")] * 1000
    world.replica()
    world.give("alice", credential("good"))
    with capture_logs() as logs:
        world.passes(3600)
    assert world.registries.asked == []
    assert [(one["log_level"], one["problem"]) for one in logs] == [("warning", "it cannot be written (403 Forbidden)")]
    world.secret.trouble.clear()
    world.passes(120)
    assert world.registries.count("good") == 1


def test_results_are_kept_when_somebody_else_writes_meanwhile(world: World) -> None:
    replica = world.replica()
    world.give("alice", credential("good"))
    other = b"o" * DIGEST_BYTES

    async def write(data: Mapping[str, bytes], over: Stored | None) -> Stored:
        if ASKING not in data and world.secret.stored is not None and other not in world.secret.checks.records:
            theirs = other + Check(Why.NONE, int(START)).record
            world.secret.version += 1
            world.secret.stored = Stored({KEY: data[KEY], RECORDS: theirs}, str(world.secret.version))
        return await Secret.write(world.secret, data, over)

    world.secret.write = write  # type: ignore[method-assign]
    world.passes(60)
    assert len(world.registries.asked) == 1
    mine = replica.checker.checks.digest(credential("good"))
    assert world.secret.checks.records.keys() == {other, mine}


def test_many_refusals_of_one_registry_are_held(world: World) -> None:
    replica = world.replica()
    for number in range(FEW_REFUSED + 3):
        world.registries.says[f"bad-{number}"] = [REFUSED]
        world.give(f"owner-{number}", credential(f"bad-{number}"))
    world.give("bob", credential("good", "quay.io"))
    world.passes(300)
    known = [replica.source.known(f"owner-{number}") for number in range(FEW_REFUSED + 3)]
    refusals = [one.items[0].refusal for one in known if one is not None]
    assert all(one is not None and one.held and not one.left_out for one in refusals)
    assert world.secret.stored is not None
    again = world.replica("b")
    assert again.sees("owner-0") == [("bad-0", False)]


def test_few_of_many_are_not_held(world: World) -> None:
    replica = world.replica()
    bad = [f"bad-{number}" for number in range(FEW_REFUSED + 3)]
    for password in bad:
        world.registries.says[password] = [REFUSED]
    for number in range(100):
        world.give(f"good-{number}", credential(f"good-{number}"))
    world.passes(60)
    for password in bad:
        world.give(password, credential(password))
    world.passes(500)
    assert [replica.sees(password) for password in bad] == [[(password, True)] for password in bad]


def test_the_newest_is_asked_first(world: World) -> None:
    world.replica()
    for number in range(200):
        world.give(f"owner-{number}", credential(f"old-{number}"))
    world.passes(20)
    assert 10 < len(world.registries.asked) < 100
    world.give("alice", credential("new"))
    world.passes(10)
    assert world.registries.count("new") == 1


def test_one_that_nobody_has_any_more_is_not_asked_about(world: World) -> None:
    replica = world.replica()
    world.registries.says["bad"] = [REFUSED]
    world.give("alice", credential("bad"))
    world.passes(5)
    world.give("alice")
    world.passes(120)
    assert world.registries.count("bad") == 1
    assert replica.source.results() == {"works": 0, "refused": 0, "unknown": 0, "unasked": 0}


def test_an_expired_one_is_not_asked_about(world: World) -> None:
    world.replica()
    world.give("alice", Credential("ghcr.io", "user", "ended", datetime(2020, 1, 1, tzinfo=UTC)))
    world.passes(120)
    assert world.registries.asked == []


def test_the_same_credential_of_two_owners_is_one_question(world: World) -> None:
    replica = world.replica()
    world.registries.says["bad"] = [REFUSED]
    world.give("alice", credential("bad"))
    world.give("bob", credential("bad"))
    world.passes(60)
    assert world.registries.count("bad") == 2
    assert set(replica.changed) == {"alice", "bob"}
    assert replica.sees("alice") == replica.sees("bob") == [("bad", True)]


def test_another_key_begins_anew(world: World) -> None:
    """Somebody deleted the Secret, and another replica made a new one."""
    replica = world.replica()
    world.registries.says["bad"] = [REFUSED]
    world.give("alice", credential("bad"))
    world.passes(60)
    world.secret.stored = Stored({KEY: b"z" * KEY_BYTES, RECORDS: b""}, "99")
    world.secret.version = 99
    world.give("bob", credential("good", "quay.io"))
    world.passes(5)
    assert "alice" in replica.changed[2:]
    assert replica.sees("alice") == [("bad", False)]
    world.passes(60)
    assert world.registries.count("bad") == 4


def test_the_secret_holds_no_credential(world: World) -> None:
    world.replica()
    world.give("alice", credential("a-password"))
    world.passes(5)
    assert world.secret.stored is not None
    assert not any(text in b"".join(world.secret.stored.data.values()) for text in (b"a-password", b"user", b"ghcr.io"))
    kept = world.secret.checks.of(credential("a-password"))
    assert kept is not None
    assert (kept.result, kept.times, kept.settled) == ("works", 1, True)


ANSWERS = st.lists(
    st.sampled_from([WORKS, REFUSED, Said(Why.NO_ANSWER), Said(Why.BUSY, 45.0), Said(Why.NO_REGISTRY)]),
    min_size=1,
    max_size=3,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32),
    says=st.lists(ANSWERS, min_size=1, max_size=5),
    pauses=st.lists(st.floats(0.0, 40.0), min_size=5, max_size=5),
    conflicts=st.integers(0, 3),
    restart=st.integers(0, 4),
)
def test_whatever_happens_two_requests_and_the_same_knowledge(
    seed: int, says: list[list[Said]], pauses: list[float], conflicts: int, restart: int
) -> None:
    random.seed(seed)
    world = World()
    try:
        world.replica("a"), world.replica("b")
        for number, (script, pause) in enumerate(zip(says, pauses, strict=False)):
            world.registries.says[f"p{number}"] = script
            world.give(f"owner-{number}", credential(f"p{number}", "ghcr.io" if number % 2 else "quay.io"))
            world.secret.trouble = [Conflict("changed")] * conflicts
            world.passes(pause)
            if number == restart and not any(
                b"asking" in key.encode() for key in (world.secret.stored or Stored({}, "")).data
            ):
                world.replicas[0].end()
                world.replicas[0] = Replica(world, "a")
                for owner, known in world.users.of.items():
                    world.give(owner, *known.items)
        world.passes(600)
        assert max(Counter(password for _, password in world.registries.asked).values()) <= 2
        for replica in world.replicas:
            found = Counter(check.result for owner in world.users.of for check in [replica.check(owner)] if check)
            assert replica.source.results() == {"works": 0, "refused": 0, "unknown": 0, "unasked": 0} | found
        for number in range(len(says)):
            one, two = (replica.sees(f"owner-{number}") for replica in world.replicas)
            assert one == two
            twice = world.registries.says[f"p{number}"][:2]
            assert one[0][1] == (twice[0] == twice[-1] == REFUSED)
    finally:
        world.close()
