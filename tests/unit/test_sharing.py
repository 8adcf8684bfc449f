"""Replicas share out the namespaces, whatever happens to them: nothing is left to nobody, and in peace two do not do
the same. Each replica has a loop and a clock of its own, and they share the Leases of an API server.
"""

import asyncio
import copy
import random
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from typing import Any, cast

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from structlog.testing import capture_logs

from support.simulated import Stepping
from webhook import sharing
from webhook.core.pullsecret import Namespace
from webhook.core.shares import AWAY_SECONDS, HANDED_SECONDS, LASTS_SECONDS
from webhook.kube.cluster import Cluster, ClusterError
from webhook.kube.slots import CALL_SECONDS, Slots
from webhook.kube.views import Namespaces
from webhook.sharing import ABLE_SECONDS, JITTER, RENEW_SECONDS, SHARED_FROM, Sharing

NAMES = [f"team-{number}" for number in range(12)]
TICK = 0.25
TAKEOVER = 15.0
"""Seconds after which everything is somebody's again."""
DRAIN = 6.0
LOOK = 1.0
"""Seconds until a watch has told everybody."""


@dataclass
class Leases:
    """Of an API server. `down`: it gives no answer, and `at_once` refuses to be connected to; `refuses`: as with the
    roles of an older chart.
    """

    items: dict[str, dict[str, Any]] = field(default_factory=dict)
    version: int = 0
    down = at_once = refuses = False
    asked: int = 0
    calls: int = 0
    """Also those that it did not answer."""

    def answer(self, method: str, name: str, body: dict[str, Any] | None) -> dict[str, Any]:
        self.asked += 1
        if self.refuses:
            raise ClusterError(403, "Forbidden")
        found = self.items.get(name)
        if method == "APPLY":
            found = found or self.put(name, {})
        if found is None:
            raise ClusterError(404, "NotFound")
        if method == "PATCH":
            assert body is not None
            if body["metadata"]["resourceVersion"] != found["metadata"]["resourceVersion"]:
                raise ClusterError(409, "Conflict")
            found = self.put(name, found["spec"] | body["spec"])
        return copy.deepcopy(found)

    def put(self, name: str, spec: dict[str, Any]) -> dict[str, Any]:
        self.version += 1
        self.items[name] = {"metadata": {"name": name, "resourceVersion": str(self.version)}, "spec": spec}
        return self.items[name]


@dataclass
class Wire:
    """In the place of a Cluster. `lost`: so many answers will be lost, of calls that did what they should. `under_way`:
    calls that have no answer yet.
    """

    leases: Leases
    lost: int = 0
    under_way: int = 0

    async def call(self, method: str, path: str, *, within: float, body: Any = None, **_: Any) -> bytes:
        self.under_way += 1
        try:
            return await self._call(method, path, within, body)
        finally:
            self.under_way -= 1

    async def _call(self, method: str, path: str, within: float, body: Any) -> bytes:
        self.leases.calls += 1
        await asyncio.sleep(random.uniform(0.001, 0.2))
        if self.leases.down and self.leases.at_once:
            raise ClusterError(0, "ClientConnectorError")
        if self.leases.down:
            await self._never(within)
        found = self.leases.answer(method, path.rpartition("/")[2], body)
        if self.lost:
            self.lost -= 1
            await self._never(within)
        await asyncio.sleep(random.uniform(0.001, 0.2))
        return msgspec.json.encode(found)

    async def apply(self, path: str, body: Any, *, within: float, **_: Any) -> bytes:
        return await self.call("APPLY", path, within=within, body=body)

    async def _never(self, within: float) -> None:
        await asyncio.sleep(within)
        raise ClusterError(0, "TimeoutError")


def known(names: list[str] = NAMES) -> Namespaces:
    view = Namespaces()
    for name in names:
        view.learn(name, Namespace(name, f"uid-{name}", 1, f"owner-of-{name}"))
    return view


class Replica:
    """`paused`: as by SIGSTOP; `asleep`: its clock stands still too. `seen`: by namespace, the last event that its
    watch has reported; `did`: called with namespace and event when it is looked at.
    """

    def __init__(self, name: str, leases: Leases, count: int, now: float, did: Callable[[str, int], None]) -> None:
        self.name, self.loop, self.wire, self.did = name, Stepping(), Wire(leases), did
        self.began = now
        self.able, self.paused, self.asleep = True, False, False
        self.able_for = ABLE_SECONDS
        """Seconds by its own clock, as of the last tick."""
        self.ends: float | None = None
        self.seen = dict.fromkeys(NAMES, 0)
        self.view = known()
        slots = Slots(cast(Cluster, self.wire), "pullsecret-webhook", count, name)
        self.sharing = Sharing(slots, name, self.view, lambda: self.able)
        self.sharing.moved = self.look
        self.tasks = [self.loop.create_task(self.sharing.run()), self.loop.create_task(self._begin())]
        self.loop.settle()

    async def _begin(self) -> None:
        await self.sharing.begin()
        self.look_at_all()

    def look_at_all(self) -> None:
        for name in NAMES:
            self.look(name)

    def look(self, name: str) -> None:
        if self.able and self.sharing.mine(name):
            self.did(name, self.seen[name])

    @property
    def runs(self) -> bool:
        return not (self.paused or self.asleep)

    def until(self, now: float) -> None:
        if self.asleep:
            self.began += TICK
        elif not self.paused:
            self.loop.until(now - self.began)
        failed = [task for task in self.tasks if task.done() and not task.cancelled() and task.exception()]
        assert not failed, failed

    def resume(self, now: float) -> None:
        self.paused = self.asleep = False
        self.loop.wake(now - self.began)

    def end(self) -> None:
        while tasks := asyncio.all_tasks(self.loop):
            for task in tasks:
                task.cancel()
            self.loop.settle()
        self.loop.close()


class World:
    def __init__(self, count: int = 2) -> None:
        self.count, self.now, self.leases = count, 0.0, Leases()
        self.replicas: list[Replica] = []
        self.all: list[Replica] = []
        self.done = dict.fromkeys(NAMES, 0)
        self.event = 0
        self.told: list[tuple[float, Replica, str, int]] = []
        """When a watch will report what to whom."""
        self.due: dict[str, tuple[int, float]] = {}
        """By namespace: the last event, and when it must have been looked at."""
        self.had: dict[str, float] = dict.fromkeys(NAMES, 0.0)
        """When it was last somebody's."""
        self.rotation: float | None = None
        """When everything changes."""
        self._names = 0

    def start(self) -> Replica:
        self._names += 1
        replica = Replica(f"replica-{self._names}", self.leases, self.count, self.now, self.did)
        replica.seen = dict.fromkeys(NAMES, self.event)
        self.replicas.append(replica)
        self.all.append(replica)
        return replica

    def did(self, name: str, event: int) -> None:
        self.done[name] = max(self.done[name], event)

    def change(self, name: str) -> None:
        self.event += 1
        self.due[name] = self.event, self.now + LOOK + TAKEOVER
        for replica in self.replicas:
            self.told.append((self.now + random.uniform(0, LOOK), replica, name, self.event))

    def excuse(self) -> None:
        """As of now: nobody could do anything, or somebody else has written the Leases."""
        self.had = dict.fromkeys(NAMES, self.now)
        self.due = {name: (event, self.now + LOOK + TAKEOVER) for name, (event, _) in self.due.items()}

    def crash(self, replica: Replica) -> None:
        self.replicas.remove(replica)

    def workers(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.runs and replica.able]

    def who(self, name: str) -> list[str]:
        return [replica.name for replica in self.workers() if replica.sharing.mine(name)]

    def tick(self) -> None:
        self.now += TICK
        if self.rotation is not None and self.now >= self.rotation:
            self.rotation = None
            for name in NAMES:
                self.change(name)
        for replica in [*self.replicas]:
            if not replica.asleep:
                replica.able_for = replica.able_for + TICK if replica.able else 0.0
            replica.until(self.now)
            if replica.ends is not None and self.now >= replica.ends and replica.runs:
                self.replicas.remove(replica)
        for one in [one for one in self.told if one[0] <= self.now and one[1].runs]:
            self.told.remove(one)
            _, replica, name, event = one
            if replica in self.replicas:
                replica.seen[name] = max(replica.seen[name], event)
                replica.look(name)
        self.check()

    def check(self) -> None:
        away = self.leases.down or any(replica.wire.lost for replica in self.replicas)
        if away or not any(replica.able_for >= ABLE_SECONDS for replica in self.workers()):
            self.excuse()
        for name in NAMES:
            if self.who(name):
                self.had[name] = self.now
            assert self.now - self.had[name] <= TAKEOVER, f"{name} is nobody's"
        for name, (event, due) in [*self.due.items()]:
            if self.done[name] >= event:
                del self.due[name]
            else:
                assert self.now <= due, f"nobody looked at {name}"

    def passes(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.tick()

    def end(self) -> None:
        for replica in self.all:
            replica.end()


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MutableMapping[str, Any]]]:
    monkeypatch.setattr(sharing, "SHARED_FROM", len(NAMES))
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    made.end()


def held(world: World) -> dict[str, str]:
    return {name[-1]: lease["spec"].get("holderIdentity", "") for name, lease in sorted(world.leases.items.items())}


def settled(world: World, replicas: int = 2) -> list[Replica]:
    """They have shared out everything."""
    made = [world.start() for _ in range(replicas)]
    world.passes(10)
    assert all(len(world.who(name)) == 1 for name in NAMES)
    return made


def test_each_takes_a_slot_and_has_a_share(world: World) -> None:
    first, other = settled(world)
    assert set(held(world).values()) == {first.name, other.name}
    assert {name for name in NAMES if first.sharing.mine(name)} not in (set(), set(NAMES))
    assert first.sharing.part() == other.sharing.part() == 0.5


def test_one_who_has_no_slot_does_nothing_until_one_is_free(world: World) -> None:
    first, other = settled(world)
    shares = {name: world.who(name) for name in NAMES}
    third = world.start()
    world.passes(10)
    assert {name: world.who(name) for name in NAMES} == shares
    assert not any(third.sharing.mine(name) for name in NAMES)
    had, others = ([name for name in NAMES if one.sharing.mine(name)] for one in (first, other))
    first.loop.call_soon(first.sharing.leave)
    for _ in range(round((2 * RENEW_SECONDS + 1) / TICK)):
        world.tick()
        assert [name for name in NAMES if other.sharing.mine(name)] == others, "it does not begin with the share"
    assert set(held(world).values()) == {third.name, other.name}
    assert [name for name in NAMES if third.sharing.mine(name)] == had, "the share of the slot"


def test_one_that_dies_is_missed_after_some_seconds(world: World) -> None:
    first, other = settled(world)
    world.crash(first)
    world.passes(LASTS_SECONDS - RENEW_SECONDS - 1)
    assert not all(other.sharing.mine(name) for name in NAMES), "it may be slow"
    world.passes(2 * RENEW_SECONDS + 1.5)
    assert all(other.sharing.mine(name) for name in NAMES)


def test_one_that_ends_gives_its_share_back_and_goes_on_with_it_until_others_have_it(world: World) -> None:
    first, other = settled(world)
    first.loop.call_soon(first.sharing.leave)
    for _ in range(round(DRAIN / TICK)):
        world.tick()
        assert all(world.who(name) for name in NAMES)
    assert all(other.sharing.mine(name) for name in NAMES)


def paused(world: World, *, in_a_call: bool) -> tuple[Replica, Replica, Replica]:
    """One of two that is paused, the other, and the third that has replaced it."""
    first, other = settled(world)
    while bool(first.wire.under_way) != in_a_call:
        world.tick()
    first.paused = True
    world.passes(30)
    third = world.start()
    world.passes(LASTS_SECONDS + 2 * RENEW_SECONDS)  # it cannot know since when
    assert set(held(world).values()) == {third.name, other.name}
    return first, other, third


def test_one_that_is_paused_and_wakes_up_leaves_nothing_to_nobody(world: World) -> None:
    first, _, _ = paused(world, in_a_call=False)
    first.resume(world.now)
    for _ in range(round(2 * RENEW_SECONDS / TICK)):
        world.tick()
        assert all(world.who(name) for name in NAMES)
    assert not any(first.sharing.mine(name) for name in NAMES)


def test_one_that_is_paused_during_a_call_may_take_a_slot_back(world: World) -> None:
    """It goes on with what it knew before. Until its call ends, it may leave an owner to the one that had the slot."""
    first, other, third = paused(world, in_a_call=True)
    first.resume(world.now)
    for _ in range(round(2 * RENEW_SECONDS / TICK)):
        world.tick()
        assert all(world.now - world.had[name] <= CALL_SECONDS for name in NAMES)
    world.passes(LASTS_SECONDS)
    assert len(set(held(world).values())) == 2
    assert set(held(world).values()) < {first.name, other.name, third.name}
    assert all(len(world.who(name)) == 1 for name in NAMES)


def test_without_rights_each_does_everything_and_says_so_once(
    world: World, said: list[MutableMapping[str, Any]]
) -> None:
    """As with the roles of an older chart."""
    world.leases.refuses = True
    world.start()
    world.start()
    world.passes(20)
    assert all(len(world.who(name)) == 2 for name in NAMES)
    assert [line["log_level"] for line in said] == ["warning", "warning"]
    world.leases.refuses = False
    world.passes(10)
    assert all(len(world.who(name)) == 1 for name in NAMES)


@pytest.mark.parametrize("refused", [False, True])
def test_while_the_api_server_is_away_the_shares_stay_for_a_minute(world: World, *, refused: bool) -> None:
    """`refused`: at once, so that nothing waits."""
    first, other = settled(world)
    had = {name: world.who(name) for name in NAMES}
    world.leases.down, world.leases.at_once = True, refused
    calls = world.leases.calls
    world.passes(AWAY_SECONDS - RENEW_SECONDS - 1)
    assert {name: world.who(name) for name in NAMES} == had
    assert world.leases.calls - calls <= 2 * 2 * AWAY_SECONDS / (RENEW_SECONDS * (1 - JITTER)) + 8, "as often as always"
    world.passes(2 * RENEW_SECONDS + 2 * CALL_SECONDS + 1)
    assert all(len(world.who(name)) == 2 for name in NAMES), "perhaps only the Leases cannot be read"
    world.leases.down = False
    world.passes(2 * RENEW_SECONDS + CALL_SECONDS)
    assert all(len(world.who(name)) == 1 for name in NAMES)
    world.leases.down = True
    world.passes(LASTS_SECONDS)
    world.crash(first)
    world.passes(LASTS_SECONDS)
    world.leases.down = False
    world.passes(LASTS_SECONDS + 2 * RENEW_SECONDS + CALL_SECONDS)
    assert all(other.sharing.mine(name) for name in NAMES), "one that dies is missed as always"


def test_who_alone_does_not_reach_the_api_server_is_replaced_as_always(world: World) -> None:
    first, other = settled(world)
    first.wire.lost = 100
    world.passes(LASTS_SECONDS + 2 * RENEW_SECONDS)
    assert all(other.sharing.mine(name) for name in NAMES)
    assert not all(first.sharing.mine(name) for name in NAMES), "it could write nothing"


def test_one_that_cannot_work_leaves_its_share_to_the_other(world: World) -> None:
    first, other = settled(world)
    first.able = False
    world.passes(2 * RENEW_SECONDS + HANDED_SECONDS + 1)
    assert all(other.sharing.mine(name) for name in NAMES)
    other.able = False
    world.passes(2 * RENEW_SECONDS + 1)
    assert other.name in held(world).values(), "there is nobody to whom it could leave it"
    first.able = True
    world.passes(ABLE_SECONDS + 4 * RENEW_SECONDS + HANDED_SECONDS)
    assert all(first.sharing.mine(name) for name in NAMES)


def test_one_whose_source_comes_and_goes_has_no_share_until_that_is_over(world: World) -> None:
    first, other = settled(world)
    moved: list[str] = []
    first.able = False
    world.passes(3 * RENEW_SECONDS + HANDED_SECONDS)
    other.sharing.moved = moved.append
    for _ in range(5):
        first.able = True
        world.passes(2 * RENEW_SECONDS)
        first.able = False
        world.passes(2 * RENEW_SECONDS)
    assert not moved
    first.able = True
    world.passes(ABLE_SECONDS + 4 * RENEW_SECONDS)
    assert all(len(world.who(name)) == 1 for name in NAMES)
    assert moved


def test_with_few_namespaces_nothing_is_asked(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "SHARED_FROM", SHARED_FROM)
    world.start()
    world.start()
    world.passes(20)
    assert world.leases.asked == 0
    assert all(len(world.who(name)) == 2 for name in NAMES)


def test_it_begins_late_and_ends_late(world: World) -> None:
    """A namespace more or less changes nothing."""
    first, other = settled(world)
    for replica in (first, other):
        replica.view.owned = len(NAMES) - 1
    world.passes(10)
    assert all(len(world.who(name)) == 1 for name in NAMES)
    for replica in (first, other):
        replica.view.owned = len(NAMES) // 2 - 1
    world.passes(2 * RENEW_SECONDS)
    assert all(len(world.who(name)) == 2 for name in NAMES)
    assert set(held(world).values()) == {""}
    asked = world.leases.asked
    world.passes(10)
    assert world.leases.asked == asked


def test_a_share_that_changes_is_a_line(world: World, said: list[MutableMapping[str, Any]]) -> None:
    first, other = settled(world)
    said.clear()
    world.crash(first)
    world.passes(LASTS_SECONDS + 2 * RENEW_SECONDS)
    (line,) = (line for line in said if line["others"] == [])
    assert line["part"] == 1.0
    assert other.sharing.part() == 1.0


def test_an_owner_that_changes_is_looked_at_by_who_has_it_then(world: World) -> None:
    first, other = settled(world)
    for replica in (first, other):
        replica.view.learn(NAMES[0], Namespace(NAMES[0], "uid", 2, "somebody-else"))
        replica.view.learn(NAMES[1], Namespace(NAMES[1], "uid", 2, None))
    assert all(len(world.who(name)) == 1 for name in NAMES)
    assert first.sharing.mine("unknown")
    assert other.sharing.mine("unknown"), "each forgets one that is gone"


class Life(RuleBasedStateMachine):
    """Whatever happens, nothing is nobody's for longer than a takeover, and each change is looked at in time."""

    world: World

    @initialize(count=st.integers(2, 3))
    def begins(self, count: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(sharing, "SHARED_FROM", len(NAMES))
        self.logs = capture_logs()
        self.logs.__enter__()
        self.world = World(count)
        self.world.start()
        self.world.start()

    def one(self, number: int) -> Replica:
        """Something happens to it. Everything changes soon after: news at the wrong moment must not get lost."""
        self.world.rotation = self.world.now + random.uniform(0, TAKEOVER)
        return self.world.replicas[number % len(self.world.replicas)]

    @rule(seconds=st.sampled_from([TICK, 3.0, 9.0, 30.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.passes(seconds)

    @precondition(lambda self: len(self.world.replicas) < 5)
    @rule()
    def one_starts(self) -> None:
        self.world.start()

    @precondition(lambda self: len(self.world.replicas) > 1)
    @rule(number=st.integers(0, 9))
    def one_crashes(self, number: int) -> None:
        self.world.crash(self.one(number))

    @precondition(lambda self: len(self.world.replicas) > 1)
    @rule(number=st.integers(0, 9))
    def one_ends(self, number: int) -> None:
        replica = self.one(number)
        if replica.runs and replica.ends is None:
            replica.ends = self.world.now + DRAIN
            replica.loop.call_soon(replica.sharing.leave)

    @rule(number=st.integers(0, 9), asleep=st.booleans())
    def one_stands_still(self, number: int, asleep: bool) -> None:
        replica = self.one(number)
        if replica.runs:
            replica.paused, replica.asleep = not asleep, asleep

    @rule(number=st.integers(0, 9))
    def one_goes_on(self, number: int) -> None:
        replica = self.one(number)
        if not replica.runs:
            replica.resume(self.world.now)

    @rule(number=st.integers(0, 9))
    def one_cannot_work_or_can_again(self, number: int) -> None:
        replica = self.one(number)
        replica.able = not replica.able
        if replica.able:
            replica.loop.call_soon(replica.look_at_all)  # its source says that it answers

    @rule(number=st.integers(0, 9), answers=st.integers(1, 4))
    def answers_are_lost(self, number: int, answers: int) -> None:
        self.one(number).wire.lost = answers

    @rule(number=st.integers(0, 9), few=st.booleans())
    def one_knows_of_few_namespaces(self, number: int, few: bool) -> None:
        self.one(number).view.owned = 1 if few else len(NAMES)

    @rule(down=st.booleans())
    def the_api_server(self, down: bool) -> None:
        self.world.leases.down = down

    @rule(refuses=st.booleans())
    def roles(self, refuses: bool) -> None:
        self.world.leases.refuses = refuses

    @rule(slot=st.integers(0, 2))
    def somebody_deletes_a_lease(self, slot: int) -> None:
        self.world.leases.items.pop(f"pullsecret-webhook-replica-{slot}", None)
        self.world.excuse()

    @rule(slot=st.integers(0, 2), holder=st.sampled_from(["", "somebody", "replica-1", "replica-2"]))
    def somebody_writes_a_lease(self, slot: int, holder: str) -> None:
        self.world.leases.put(f"pullsecret-webhook-replica-{slot}", {"holderIdentity": holder, "renewTime": "now"})
        self.world.excuse()

    @rule()
    def peace(self) -> None:
        """Nothing happens any more: then each namespace is one replica's."""
        self.world.leases.down = self.world.leases.refuses = False
        for replica in self.world.replicas:
            replica.wire.lost, replica.able, replica.view.owned = 0, True, len(NAMES)
            if not replica.runs:
                replica.resume(self.world.now)
        self.world.passes(ABLE_SECONDS + DRAIN + TAKEOVER + 4 * RENEW_SECONDS)
        if self.world.replicas:
            assert {name: len(self.world.who(name)) for name in NAMES} == dict.fromkeys(NAMES, 1)
            holders = {lease["spec"].get("holderIdentity", "") for lease in self.world.leases.items.values()}
            assert len(holders - {""}) >= min(self.world.count, len(self.world.replicas))
        else:
            self.world.start()

    @invariant()
    def somebody_is_there(self) -> None:
        if not self.world.replicas:
            self.world.start()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.end()
            self.patch.undo()
            self.logs.__exit__(None, None, None)


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
