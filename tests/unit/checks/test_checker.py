"""Replicas that ask registries, on one Secret, in time that the tests make pass."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from certs.errors import ApiTrouble, Conflict
from certs.ports import Stored
from support.simulated import Stepping
from webhook.checks.checked import Checked
from webhook.checks.checker import FAILURES, FEW_REFUSED, Checker
from webhook.checks.kept import TAKEOVER_SECONDS
from webhook.checks.registryclient import Said
from webhook.core.check import ASKING, DIGEST_BYTES, KEY, KEY_BYTES, RECORDS, Check, Checks, Why, decoded
from webhook.core.credential import Credential, Credentials, Origin
from webhook.core.notice import Notice

REFUSED, WORKS = Said(Why.UNAUTHORIZED), Said(Why.NONE)
START = 1_800_000_000.0


@pytest.fixture(autouse=True)
def same_jitter() -> None:
    random.seed(1)


@dataclass
class Secret:
    """The shared Secret. `trouble`: what the next calls meet."""

    stored: Stored | None = None
    version: int = 0
    trouble: list[ApiTrouble] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)

    async def read(self) -> Stored | None:
        self.calls["read"] += 1
        if self.trouble:
            raise self.trouble.pop()
        return self.stored

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> Stored:
        self.calls["write"] += 1
        if self.trouble:
            raise self.trouble.pop()
        if (over and over.version) != (self.stored and self.stored.version):
            raise Conflict("changed")
        self.version += 1
        self.stored = Stored(dict(data), str(self.version))
        return self.stored

    @property
    def checks(self) -> Checks:
        assert self.stored is not None
        return Checks(self.stored.data[KEY], decoded(self.stored.data[RECORDS]))


@dataclass
class Registries:
    """`says`: by password what is said each time, the last for ever; others work. `asked`: time and password."""

    clock: Callable[[], float]
    says: dict[str, list[Said]] = field(default_factory=dict)
    asked: list[tuple[float, str]] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """By password: how long the answer takes."""

    async def ask(self, c: Credential) -> Said:
        times = self.count(c.password)
        self.asked.append((self.clock(), c.password))
        await asyncio.sleep(self.seconds.get(c.password, 0.0))
        script = self.says.get(c.password, [WORKS])
        return script[min(times, len(script) - 1)]

    async def close(self) -> None:
        pass

    def count(self, password: str) -> int:
        return sum(one == password for _, one in self.asked)


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
        self.changed: list[str | None] = []
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
        for number in range(len(says)):
            one, two = (replica.sees(f"owner-{number}") for replica in world.replicas)
            assert one == two
            twice = world.registries.says[f"p{number}"][:2]
            assert one[0][1] == (twice[0] == twice[-1] == REFUSED)
    finally:
        world.close()
