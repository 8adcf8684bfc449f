"""The background: each namespace waits once, a failing one later and later, no error ends it. On its own clock."""

import asyncio
import random
import selectors
from collections.abc import Awaitable, Callable, Coroutine, Iterator, MutableMapping, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from support import planted
from webhook.core.notice import Notice
from webhook.core.pace import (
    BACKOFF_SECONDS,
    CALM_SECONDS,
    MAX_BACKOFF_SECONDS,
    MAX_OUTAGE_BACKOFF_SECONDS,
    RETRIES_PER_SECOND,
)
from webhook.refresh import (
    FEW,
    LEFT_OWNERS,
    OWNER_BATCH,
    OWNERS,
    PREFETCH_SECONDS,
    RESYNC_SECONDS,
    SPREAD_SECONDS,
    TUG_OF_WAR,
    WORKERS,
    Refresh,
)
from webhook.serving import loop
from webhook.supply import Supplied

OK, WROTE, FAILED = Supplied(), Supplied(wrote=True), Supplied(problem="quota exceeded")
AWAY = Supplied(problem="the API server did not accept it", passing=True)


class Waiting(selectors.DefaultSelector):
    """Instead of waiting puts the clock on."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits for everybody"
        self.now += max(timeout, 0)
        return super().select(0)


class Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.waiting = Waiting()
        super().__init__(self.waiting)

    def time(self) -> float:
        return self.waiting.now


class Scene:
    """`answer`: what supplying a namespace gives; `seen`: which were supplied, and when."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, float]] = []
        self.told: list[Notice] = []
        self.known: dict[str | None, list[str]] = {}
        self.answer: Callable[[str], Supplied | Awaitable[Supplied]] = lambda _: OK
        self.owners: dict[str, str] = {}
        self.prefetched: list[list[str]] = []
        self.prefetch_seconds = 0.0
        self.refresh = Refresh(
            self.supply,
            lambda owner: self.known.get(owner, []),
            self.owners.get,
            self.prefetch,
            self.told.append,
            "ghcr-secret",
        )

    async def prefetch(self, owners: Sequence[str]) -> None:
        self.prefetched.append([*owners])
        await asyncio.sleep(self.prefetch_seconds)

    async def supply(self, namespace: str) -> Supplied:
        self.seen.append((namespace, asyncio.get_running_loop().time()))
        answer = self.answer(namespace)
        return answer if isinstance(answer, Supplied) else await answer

    @property
    def names(self) -> list[str]:
        return [name for name, _ in self.seen]

    @property
    def gaps(self) -> list[float]:
        times = [time for _, time in self.seen]
        return [later - earlier for earlier, later in pairwise(times)]

    def reasons(self) -> list[str]:
        return [notice.reason for notice in self.told]

    def play(self, script: Coroutine[Any, Any, None]) -> None:
        """While the workers run."""

        async def main() -> None:
            running = asyncio.create_task(self.refresh.run())
            await asyncio.sleep(0)
            await script
            assert not running.done()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(main())


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.fixture(autouse=True)
def said() -> Iterator[list[MutableMapping[str, Any]]]:
    with capture_logs() as lines:
        yield lines


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda _low, high: high)


class Counted(list[str]):
    taken = 0

    def __iter__(self) -> Iterator[str]:
        for name in super().__iter__():
            self.taken += 1
            yield name


def test_however_many_are_concerned_others_have_their_turn_in_between(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as a review that has arrived."""
    monkeypatch.setattr(random, "uniform", lambda low, _high: low)
    everybody = Counted(f"ns-{number}" for number in range(100 * OWNER_BATCH))
    scene.known = {None: everybody}
    noted: list[int] = []
    looked: list[int] = []

    async def script() -> None:
        scene.refresh.owner_changed(None)
        for _ in range(20 * len(everybody)):
            noted.append(everybody.taken)
            looked.append(len(scene.seen))
            await asyncio.sleep(0)

    scene.play(script())
    assert set(scene.names) == set(everybody)
    assert len(scene.seen) == len(everybody)
    assert max(after - before for before, after in pairwise(noted)) <= OWNER_BATCH
    assert max(after - before for before, after in pairwise(looked)) <= 1


def test_moments_that_are_very_near_on_the_loop_that_serves(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop's handle of such a moment does not say when it is."""
    moments = iter([2e-4, 1e-4, *[0.0] * 10])
    monkeypatch.setattr(random, "uniform", lambda _low, _high: next(moments))

    async def main() -> None:
        done = asyncio.Event()

        def answer(_: str) -> Supplied:
            done.set()
            return OK

        scene.answer = answer
        for _ in range(3):
            scene.refresh.look_soon("a")
        running = asyncio.create_task(scene.refresh.run())
        await done.wait()
        running.cancel()

    with asyncio.Runner(loop_factory=loop.Loop) as runner:
        runner.run(main())
    assert scene.names == ["a"]


def test_what_is_known_before_it_begins_waits_without_timers_and_has_its_turn_in_any_order(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the start that is all namespaces."""
    monkeypatch.setattr(random, "randrange", lambda count: count // 4)
    names = [f"ns-{number}" for number in range(10 * OWNER_BATCH)]

    async def main() -> None:
        done, clock = asyncio.Event(), asyncio.get_running_loop()

        def answer(_: str) -> Supplied:
            if len(scene.seen) == len(names):
                done.set()
            return OK

        scene.answer = answer
        for name in names:
            scene.refresh.new_or_moved(name)
            scene.refresh.look_soon(name)
        assert clock._scheduled == []  # type: ignore[attr-defined]
        running = asyncio.create_task(scene.refresh.run())
        await done.wait()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    assert scene.names[0] == names[40], "another replica begins elsewhere"
    assert sorted(scene.names) == sorted(names)
    assert {at for _, at in scene.seen} == {0.0}


# -- many owners, in parts --


def platform(scene: Scene, owners: int, spaces: int = 3) -> list[str]:
    """Owners with so many namespaces each, and one namespace without an owner."""
    names = [f"owner-{number:03}" for number in range(owners)]
    of_all = {owner: [f"{owner}-{number}" for number in range(spaces)] for owner in names}
    scene.owners.update({space: owner for owner, of_one in of_all.items() for space in of_one})
    scene.known = {None: [*scene.owners, "free"]}
    scene.known.update(of_all)
    return names


async def writes() -> Supplied:
    await asyncio.sleep(0.005)
    return WROTE


@pytest.mark.parametrize("early", [True, False])
def test_everybody_has_a_turn_in_parts_each_asked_for_before_and_looked_at_before_the_next(
    scene: Scene, *, early: bool
) -> None:
    owners = platform(scene, 5 * OWNERS + 7)
    asked_at: list[float] = []
    scene.answer = lambda _: writes()

    async def script() -> None:
        if not early:
            scene.refresh.owner_changed(None)
        await asyncio.sleep(60)

    prefetch = scene.prefetch

    async def noted(owners: Sequence[str]) -> None:
        asked_at.append(asyncio.get_running_loop().time())
        await prefetch(owners)

    scene.refresh._prefetch = noted
    scene.prefetch_seconds = 0.1
    if early:
        for name in scene.known[None]:
            scene.refresh.look_soon(name)
    scene.play(script())
    assert [len(part) for part in scene.prefetched] == [OWNERS] * 5 + [7]
    assert sorted(owner for part in scene.prefetched for owner in part) == owners
    assert sorted(scene.names) == sorted(scene.known[None])
    for part, following, at in zip(scene.prefetched, scene.prefetched[1:], asked_at[1:], strict=False):
        late = [name for name, when in scene.seen if scene.owners.get(name) in part and when > at]
        assert len(late) <= FEW + WORKERS
        assert min(when for name, when in scene.seen if scene.owners.get(name) in following) >= at + 0.1
    together = [scene.owners.get(name) for name in scene.names]
    apart = sum(before != after for before, after in pairwise(together))
    assert apart < 1.2 * len(owners), "namespaces of one owner have their turn together"


@pytest.mark.parametrize("one_by_one", [True, False])
def test_replicas_that_share_nothing_out_seldom_write_the_same(*, one_by_one: bool) -> None:
    """Both hear of everything at the same time, and what one has written the other one leaves out quickly."""
    replicas, right, vain = (Scene(), Scene()), set[str](), list[str]()

    async def supplied(namespace: str) -> Supplied:
        if namespace in right:
            await asyncio.sleep(0.0005)
            return OK
        await asyncio.sleep(0.02)
        if namespace in right:
            vain.append(namespace)
        right.add(namespace)
        return WROTE

    for replica in replicas:
        owners = platform(replica, 3 * OWNERS)
        replica.answer = supplied

    async def script() -> None:
        for owner in owners if one_by_one else [None]:
            for replica in replicas:
                replica.refresh.owner_changed(owner)
        await asyncio.sleep(60)

    async def main() -> None:
        running = [asyncio.create_task(replica.refresh.run()) for replica in replicas]
        await script()
        for task in running:
            task.cancel()
        await asyncio.wait(running)

    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main())
    assert right >= {*replicas[0].owners}
    assert len(vain) < 0.15 * len(right)


def test_replicas_begin_at_different_owners() -> None:
    def first() -> str:
        scene = Scene()
        platform(scene, 2000, 1)
        for name in scene.known[None]:
            scene.refresh.look_soon(name)
        scene.play(asyncio.sleep(0.1))
        return scene.prefetched[0][0]

    assert len({first() for _ in range(4)}) > 1


def test_a_crowd_takes_no_timers(scene: Scene) -> None:
    platform(scene, 1, 100 * OWNERS)

    async def script() -> None:
        scene.refresh.owner_changed("owner-000")
        scene.refresh.owner_changed(None)
        clock = asyncio.get_running_loop()
        for _ in range(50):
            await asyncio.sleep(0)
            assert len(clock._scheduled) < OWNERS  # type: ignore[attr-defined]
        await asyncio.sleep(1)

    scene.play(script())
    assert {*scene.names} == {*scene.known[None]}


def test_news_of_many_are_asked_for_together_and_come_before_the_rest(scene: Scene) -> None:
    owners = platform(scene, 10 * OWNERS)
    scene.answer = lambda _: writes()

    async def script() -> None:
        scene.refresh.owner_changed(None)
        await asyncio.sleep(0.1)
        assert len(scene.prefetched) == 1
        left = [owner for owner in owners if owner not in scene.prefetched[0]]
        news = left[:: len(left) // OWNERS][: OWNERS - 28]
        for owner in [*news, "stranger", *news]:
            scene.refresh.owner_changed(owner)
        await asyncio.sleep(60)
        half = OWNERS // 2
        assert scene.prefetched[1][:half] == news[:half], "but they do not keep everybody else waiting"
        later = [owner for owner in news[half:] if owner not in scene.prefetched[1]]
        assert scene.prefetched[2][: len(later)] == later
        assert {len(part) for part in scene.prefetched[:9]} == {OWNERS}

    scene.play(script())
    assert "stranger" not in str(scene.prefetched)


def test_one_owner_alone_is_not_asked_for_before(scene: Scene) -> None:
    platform(scene, 2)

    async def script() -> None:
        for owner in ("owner-000", "stranger"):
            scene.refresh.owner_changed(owner)
        await asyncio.sleep(1)
        assert scene.prefetched == []
        for owner in ("owner-000", "owner-001"):
            scene.refresh.owner_changed(owner)
        await asyncio.sleep(1)

    scene.play(script())
    assert scene.prefetched == [["owner-000", "owner-001"]]
    assert len(scene.seen) == 9


def test_a_source_that_does_not_answer_is_not_waited_for_for_long(scene: Scene) -> None:
    platform(scene, 2)
    scene.prefetch_seconds = 1000.0

    async def script() -> None:
        for owner in ("owner-000", "owner-001"):
            scene.refresh.owner_changed(owner)
        await asyncio.sleep(PREFETCH_SECONDS + SPREAD_SECONDS)

    scene.play(script())
    assert len(scene.seen) == 6
    assert min(at for _, at in scene.seen) >= PREFETCH_SECONDS


def test_everybody_again_while_everybody_has_a_turn_begins_anew(scene: Scene) -> None:
    owners = platform(scene, 4 * OWNERS)
    scene.answer = lambda _: writes()

    async def script() -> None:
        scene.refresh.owner_changed(None)
        await asyncio.sleep(0.1)
        for _ in range(3):
            scene.refresh.owner_changed(None)
        await asyncio.sleep(60)

    scene.play(script())
    assert len(scene.prefetched) == 1 + 4
    assert sorted(owner for part in scene.prefetched[1:] for owner in part) == owners


def test_a_namespace_waits_once(scene: Scene) -> None:
    async def script() -> None:
        for name in ("a", "b", "a", "a"):
            scene.refresh.look(name)
        await asyncio.sleep(1)

    scene.play(script())
    assert scene.names == ["a", "b"]


def test_an_owners_namespaces_and_everybodys(scene: Scene) -> None:
    scene.known = {"alice": ["a", "b"], None: ["a", "b", "c"], "nobody": []}

    async def script() -> None:
        scene.refresh.owner_changed("alice")
        scene.refresh.owner_changed("nobody")
        await asyncio.sleep(1)
        assert sorted(scene.names) == ["a", "b"]
        scene.refresh.owner_changed(None)
        await asyncio.sleep(1)

    scene.play(script())
    assert sorted(scene.names) == ["a", "a", "b", "b", "c"]


def test_news_is_looked_at_at_a_moment_of_its_own_by_each_replica(scene: Scene) -> None:
    spaces = [f"a{number}" for number in range(100)]
    scene.known = {"alice": spaces}
    other = Scene()
    other.known = scene.known

    async def script() -> None:
        for one in (scene, other):
            one.refresh.owner_changed("alice")
            one.refresh.look_soon("a0")
        await asyncio.sleep(SPREAD_SECONDS)

    async def both() -> None:
        running = asyncio.create_task(other.refresh.run())
        await script()
        running.cancel()

    scene.play(both())
    first, second = dict(scene.seen), dict(other.seen)
    assert len(scene.seen) == len(other.seen) == len(first) == len(second) == len(spaces)
    assert max(*first.values(), *second.values()) <= SPREAD_SECONDS
    together = [space for space in spaces if abs(first[space] - second[space]) < 0.01]
    assert len(together) < 20, "about four of a hundred"
    assert scene.names != other.names


def test_who_waits_for_news_does_not_look_sooner_than_its_pace(scene: Scene) -> None:
    scene.answer = lambda _: FAILED

    async def script() -> None:
        scene.refresh.look("a")
        await asyncio.sleep(0)
        scene.refresh.look_soon("a")
        await asyncio.sleep(BACKOFF_SECONDS)

    scene.play(script())
    assert scene.gaps[0] >= 0.75 * BACKOFF_SECONDS - 1e-6


def test_a_change_during_the_work_queues_it_once_more(scene: Scene) -> None:
    async def slow() -> Supplied:
        await asyncio.sleep(5)
        return OK

    scene.answer = lambda _: slow()

    async def script() -> None:
        scene.refresh.look("a")
        await asyncio.sleep(1)
        scene.refresh.look("a")
        scene.refresh.look("a")
        await asyncio.sleep(30)

    scene.play(script())
    assert scene.names == ["a", "a"]


def test_slow_ones_hold_up_no_more_than_their_workers(scene: Scene) -> None:
    async def slow() -> Supplied:
        await asyncio.sleep(100)
        return OK

    scene.answer = lambda name: OK if name == "quick" else slow()

    async def script() -> None:
        for number in range(WORKERS - 1):
            scene.refresh.look(f"slow-{number}")
        scene.refresh.look("quick")
        await asyncio.sleep(1)

    scene.play(script())
    assert scene.seen[-1] == ("quick", 0.0)
    assert len(scene.seen) == WORKERS


def test_a_failing_one_is_tried_later_and_later(scene: Scene) -> None:
    scene.answer = lambda _: FAILED

    async def script() -> None:
        scene.refresh.look("a")
        await asyncio.sleep(3600)

    scene.play(script())
    expected = [min(BACKOFF_SECONDS * 2**n, MAX_BACKOFF_SECONDS) for n in range(len(scene.gaps))]
    assert expected.count(MAX_BACKOFF_SECONDS) > 5
    for gap, delay in zip(scene.gaps, expected, strict=True):
        assert 0.75 * delay - 1e-6 <= gap <= delay + 1e-6
    assert set(scene.told) == {
        Notice("SupplyFailed", "the pull secret is not up to date: quota exceeded", "a", "Secret", "ghcr-secret")
    }


def test_replicas_part(scene: Scene) -> None:
    scene.answer = lambda _: FAILED

    async def script() -> None:
        for number in range(20):
            scene.refresh.look(f"a{number}")
        await asyncio.sleep(BACKOFF_SECONDS)

    scene.play(script())
    assert len({time for _, time in scene.seen}) > 10


@pytest.mark.usefixtures("no_jitter")
def test_who_asks_meanwhile_waits_too(scene: Scene) -> None:
    scene.answer = lambda _: FAILED

    async def script() -> None:
        scene.refresh.look("a")
        for _ in range(60):
            await asyncio.sleep(0.05)
            scene.refresh.look("a")

    scene.play(script())
    assert [time for _, time in scene.seen] == pytest.approx([0, 0.5, 1.5])


@pytest.mark.usefixtures("no_jitter")
@pytest.mark.parametrize(
    ("pause", "delay"), [(CALM_SECONDS - 1, 4 * BACKOFF_SECONDS), (CALM_SECONDS + 1, BACKOFF_SECONDS)]
)
def test_calm_lets_a_namespace_start_afresh(pause: float, delay: float, scene: Scene) -> None:
    answers = iter([FAILED, FAILED, OK, OK, FAILED, OK])
    scene.answer = lambda _: next(answers)

    async def script() -> None:
        scene.refresh.look("a")  # fails at 0 and at 0.5, is well at 1.5
        await asyncio.sleep(0.5 + pause)
        scene.refresh.look("a")
        for _ in range(10):  # until it is looked at
            await asyncio.sleep(0)
        scene.refresh.look("a")
        await asyncio.sleep(60)

    scene.play(script())
    assert len(scene.seen) == 6
    assert scene.gaps[-1] == pytest.approx(delay)


def test_another_namespace_of_that_name_starts_afresh(scene: Scene) -> None:
    answers = iter([*[FAILED] * 5, OK])
    scene.answer = lambda _: next(answers, OK)

    async def script() -> None:
        scene.refresh.look("a")
        await asyncio.sleep(8)  # fails at 0, 0.5, 1.5, 3.5 and 7.5 or earlier; the next look would be seconds away
        scene.refresh.new_or_moved("b")  # one that nothing is known of: nobody needs to look
        scene.refresh.new_or_moved("a")
        scene.refresh.look("a")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert scene.seen[-1] == ("a", asyncio.get_running_loop().time())
        assert set(scene.names) == {"a"}

    scene.play(script())


def test_one_that_is_well_is_forgotten_after_calm_only(scene: Scene) -> None:
    answers = iter([WROTE, OK, OK])
    scene.answer = lambda _: next(answers)

    async def script() -> None:
        scene.refresh.look("a")
        for seconds, remembered in ((0, {"a"}), (CALM_SECONDS - 1, {"a"}), (CALM_SECONDS + 1, set())):
            await asyncio.sleep(seconds)
            scene.refresh.look("a")
            await asyncio.sleep(1)
            assert set(scene.refresh._paces) == remembered

    scene.play(script())
    assert scene.names == ["a"] * 3


@pytest.mark.usefixtures("no_jitter")
def test_one_that_is_right_for_a_time_is_looked_at_when_that_is_over(scene: Scene) -> None:
    """One timer a namespace: news are looked at at once, and then it holds for another time, or for ever."""
    answers = iter(
        [Supplied(requeue_after=60), Supplied(requeue_after=1000), Supplied(wrote=True, requeue_after=5), OK]
    )
    scene.answer = lambda _: next(answers)

    async def script() -> None:
        scene.refresh.look("a")
        await asyncio.sleep(100)
        scene.refresh.look_soon("a")
        await asyncio.sleep(10_000)

    scene.play(script())
    assert [time for _, time in scene.seen] == pytest.approx(
        [0, 60 + SPREAD_SECONDS, 100 + SPREAD_SECONDS, 105 + 2 * SPREAD_SECONDS], abs=0.01
    )


@pytest.mark.usefixtures("no_jitter")
def test_a_time_that_is_far_away_is_looked_at_each_day(scene: Scene) -> None:
    """The clock of the moment may be set, this one is not."""
    scene.answer = lambda _: Supplied(requeue_after=100 * RESYNC_SECONDS)

    async def script() -> None:
        scene.refresh.look("a")
        await asyncio.sleep(2.5 * RESYNC_SECONDS)

    scene.play(script())
    assert len(scene.seen) == 3


@pytest.mark.usefixtures("no_jitter")
def test_a_tug_of_war_gets_slower_and_is_said_while_it_lasts(scene: Scene) -> None:
    scene.answer = lambda _: WROTE

    async def fight(seconds: int) -> None:
        for _ in range(seconds):
            scene.refresh.look("a")
            await asyncio.sleep(1)

    async def script() -> None:
        await fight(200)
        assert len(scene.seen) == 10
        assert all(late > early for early, late in pairwise(scene.gaps[2:]))
        assert scene.reasons() == ["TugOfWar"] * (10 - TUG_OF_WAR)
        assert (scene.told[0].namespace, scene.told[0].type) == ("a", "Warning")
        assert len(set(scene.told)) == 1, "so that it becomes one Event an hour"
        await asyncio.sleep(2000)
        before = len(scene.told)
        await fight(3)
        assert len(scene.told) == before, "it begins anew"
        await fight(200)
        assert len(scene.told) > before

    scene.play(script())


def test_few_writes_are_no_tug_of_war(scene: Scene) -> None:
    scene.answer = lambda _: WROTE

    async def script() -> None:
        for _ in range(TUG_OF_WAR):
            scene.refresh.look("a")
            await asyncio.sleep(MAX_BACKOFF_SECONDS)
        for _ in range(TUG_OF_WAR):
            scene.refresh.look("b")
            await asyncio.sleep(0)

    scene.play(script())
    assert scene.names.count("a") == TUG_OF_WAR
    assert scene.told == []


def test_an_error_of_our_own_ends_nothing(scene: Scene, said: list[MutableMapping[str, Any]]) -> None:
    healed = False

    def answer(name: str) -> Supplied:
        if name != "well" and not healed:
            raise ValueError(planted.token())
        return OK

    scene.answer = answer

    async def script() -> None:
        nonlocal healed
        for number in range(2 * WORKERS):
            scene.refresh.look(f"broken-{number}")
        await asyncio.sleep(3)
        scene.refresh.look("well")
        await asyncio.sleep(0.01)
        assert "well" in scene.names
        healed = True
        await asyncio.sleep(60)
        tried = len(scene.seen)
        await asyncio.sleep(600)
        assert len(scene.seen) == tried

    scene.play(script())
    assert len(scene.seen) >= 4 * WORKERS
    assert len([line for line in said if line["event"].startswith("our own bug")]) >= 2 * WORKERS
    assert set(scene.reasons()) == {"SupplyFailed"}
    assert not planted.leaks(str(scene.told))


def test_paces_of_calm_namespaces_are_dropped(scene: Scene) -> None:
    scene.answer = lambda _: WROTE

    async def script() -> None:
        for name in ("a", "b", "c"):
            scene.refresh.look(name)
        await asyncio.sleep(100)
        assert set(scene.refresh._paces) == {"a", "b", "c"}
        for name in ("c", "d"):
            scene.refresh.look(name)
            await asyncio.sleep(0.1)
        assert set(scene.refresh._paces) == {"c", "d"}

    scene.play(script())
    assert scene.names == ["a", "b", "c", "c", "d"]


def written(token: int) -> Supplied:
    return Supplied(wrote=True, digest=b"%d" % token)


def test_tokens_that_change_are_no_tug_of_war_and_written_soon(scene: Scene) -> None:
    token, digest = 0, 0
    late: list[float] = []
    scene.known = {"alice": ["a"]}

    def answer(_: str) -> Supplied:
        nonlocal digest
        wrote, digest = digest != token, token
        return Supplied(wrote=wrote, digest=b"%d" % token)

    scene.answer = answer

    async def script() -> None:
        nonlocal token
        for pause in [0.01] * 100 + [2.0] * 100 + [6.0] * 100:
            token += 1
            scene.refresh.owner_changed("alice")
            await asyncio.sleep(pause)
            late.append(pause if digest == token else 0.0)
        assert all(late[200:])
        assert late[99:200].count(0.0) == 1, "right after the burst"

    scene.play(script())
    assert not scene.told


def test_news_are_written_at_once_amid_a_tug_of_war(scene: Scene) -> None:
    scene.known = {"alice": ["a"]}
    token = 0
    scene.answer = lambda _: written(token)

    async def script() -> None:
        nonlocal token
        for _ in range(1000):
            scene.refresh.look("a")
            await asyncio.sleep(1)
        before = len(scene.seen)
        assert scene.gaps[-1] > 100
        token = 1
        scene.refresh.owner_changed("alice")
        await asyncio.sleep(SPREAD_SECONDS + 0.1)
        assert len(scene.seen) == before + 1
        for _ in range(200):
            scene.refresh.look("a")
            await asyncio.sleep(1)
        assert len(scene.seen) <= before + 2, "the tug-of-war goes on where it was"

    scene.play(script())
    assert set(scene.reasons()) == {"TugOfWar"}


def test_while_the_api_server_fails_it_is_tried_often_and_by_few(scene: Scene) -> None:
    scene.answer = lambda _: AWAY
    many = 10 * RETRIES_PER_SECOND

    async def script() -> None:
        scene.refresh.look("a")
        await asyncio.sleep(600)
        assert max(scene.gaps) <= MAX_OUTAGE_BACKOFF_SECONDS + 1e-6
        scene.seen.clear()
        for number in range(many):
            scene.refresh.look(f"a{number}")
        await asyncio.sleep(300)
        scene.seen.clear()
        await asyncio.sleep(100)
        assert len(scene.seen) <= 1.5 * 100 * RETRIES_PER_SECOND

    scene.play(script())


def test_when_one_write_succeeds_all_that_failed_are_looked_at(scene: Scene) -> None:
    away, many = True, 10 * RETRIES_PER_SECOND
    scene.answer = lambda _: AWAY if away else WROTE

    async def script() -> None:
        nonlocal away
        for number in range(many):
            scene.refresh.look(f"a{number}")
        await asyncio.sleep(300)
        away = False
        scene.seen.clear()
        await asyncio.sleep(5)
        assert len(set(scene.names)) == many
        assert len(scene.names) == many

    scene.play(script())


def test_a_few_successes_are_no_storm(scene: Scene) -> None:
    """An API server that takes some writes and refuses most."""
    left = 0

    def answer(_: str) -> Supplied:
        nonlocal left
        left += 1
        return AWAY if left % 100 else WROTE

    scene.answer = answer
    many = 20 * RETRIES_PER_SECOND

    async def script() -> None:
        for number in range(many):
            scene.refresh.look(f"a{number}")
        await asyncio.sleep(10)
        for _ in range(10):
            before = len(scene.seen)
            await asyncio.sleep(MAX_OUTAGE_BACKOFF_SECONDS)
            assert len(scene.seen) - before <= 2 * many

    scene.play(script())


def test_a_namespace_that_is_slow_keeps_one_worker(scene: Scene) -> None:
    async def slow() -> Supplied:
        await asyncio.sleep(100)
        return OK

    scene.answer = lambda name: OK if name == "quick" else slow()

    async def script() -> None:
        for _ in range(WORKERS):
            scene.refresh.look("slow")
            await asyncio.sleep(1)
        scene.refresh.look("quick")
        await asyncio.sleep(1)
        assert scene.names == ["slow", "quick"]
        await asyncio.sleep(100)
        assert scene.names == ["slow", "quick", "slow"]

    scene.play(script())


class Everything:
    """One namespace and all that happens to it. `right`: the token that should stand; `digest`: the one that does."""

    def __init__(self, scene: Scene) -> None:
        self.scene, self.right, self.digest, self.away, self.undone = scene, 0, -1, False, 0
        self.since = 0.0
        scene.answer, scene.known = self.answer, {"alice": ["a"]}

    def answer(self, _: str) -> Supplied:
        if self.away and self.digest != self.right:
            return AWAY
        wrote, self.digest = self.digest != self.right, self.right
        return Supplied(wrote=wrote, digest=b"%d" % self.right)

    async def happens(self, what: str) -> None:
        now = asyncio.get_running_loop().time()
        if what == "undone" and self.digest == self.right:
            self.digest, self.undone = -1, self.undone + 1
            self.scene.refresh.look_soon("a")
        elif what == "token":
            self.right, self.since = self.right + 1, now
            self.scene.refresh.owner_changed("alice")
        elif what == "hand-over":
            self.right, self.since = self.right + 1, now
            self.scene.refresh.new_or_moved("a")
            self.scene.refresh.look_soon("a")
        elif what in ("away", "back"):
            self.away, self.since = what == "away", now
        await asyncio.sleep({"moment": 0.3, "while": 4.0, "long": 60.0}.get(what, 0.01))

    def holds(self, now: float) -> None:
        """News are written within 5 s of their coming or of the API server's return, whatever the tenant does."""
        if not self.away and now - self.since > 5:
            assert self.digest in (self.right, -1)
        if self.undone < TUG_OF_WAR:
            assert "TugOfWar" not in self.scene.reasons()


WHAT = ("undone", "undone", "token", "hand-over", "away", "back", "moment", "while", "long")


@given(st.lists(st.sampled_from(WHAT), min_size=20, max_size=120))
def test_whatever_happens_news_are_written_soon(what: list[str]) -> None:
    scene = Scene()
    everything = Everything(scene)

    async def script() -> None:
        clock = asyncio.get_running_loop().time
        scene.refresh.look("a")
        for one in what:
            await everything.happens(one)
            everything.holds(clock())
        await everything.happens("back")
        await everything.happens("token")
        await asyncio.sleep(5)
        assert everything.digest == everything.right

    scene.play(script())


@pytest.mark.usefixtures("no_jitter")
def test_who_undoes_all_the_time_costs_little() -> None:
    scene = Scene()
    everything = Everything(scene)

    async def script() -> None:
        scene.refresh.look("a")
        for _ in range(3600):
            await everything.happens("undone")
            await asyncio.sleep(0.99)

    scene.play(script())
    assert len(scene.seen) < 30


class Shared(Scene):
    """`own`: namespaces that are this replica's; `left`: those that it left to others."""

    def __init__(self) -> None:
        super().__init__()
        self.own, self.left = {"a"}, list[str]()
        self.refresh = Refresh(
            self.supply,
            lambda owner: self.known.get(owner, []),
            self.owners.get,
            self.prefetch,
            self.told.append,
            "ghcr-secret",
            lambda name: name in self.own,
            self.left.append,
        )


def test_what_is_another_replicas_is_left_to_it() -> None:
    scene = Shared()
    scene.known = {"alice": ["a", "b"]}

    async def script() -> None:
        scene.refresh.look_soon("a")
        scene.refresh.look_soon("b")
        await asyncio.sleep(1)
        assert (scene.names, scene.left) == (["a"], ["b"])
        scene.refresh.owner_changed("alice")
        scene.refresh.new_or_moved("b")
        await asyncio.sleep(1)
        assert scene.names == ["a", "a"]

    scene.play(script())


def test_of_the_first_list_too() -> None:
    scene = Shared()
    for name in ("a", "b", "c"):
        scene.refresh.look_soon(name)

    async def script() -> None:
        await asyncio.sleep(1)
        assert (scene.names, sorted(scene.left)) == (["a"], ["b", "c"])

    scene.play(script())


def test_what_a_review_asks_for_is_this_replicas_until_it_is_right() -> None:
    scene, answers = Shared(), [FAILED, FAILED, OK]
    scene.answer = lambda _: answers.pop(0)

    async def script() -> None:
        scene.refresh.look("b")
        await asyncio.sleep(10)
        assert scene.names == ["b", "b", "b"]
        scene.refresh.look_soon("b")
        await asyncio.sleep(10)
        assert scene.names == ["b", "b", "b"]

    scene.play(script())


def test_what_a_review_asked_for_in_vain_hears_news_of_its_owner() -> None:
    scene = Shared()
    scene.known = {"alice": ["a-of-others", "b"]}
    scene.answer = lambda _: FAILED

    async def script() -> None:
        scene.refresh.look("b")
        await asyncio.sleep(400)
        scene.answer, scene.seen = lambda _: OK, []
        scene.refresh.owner_changed("alice")
        await asyncio.sleep(BACKOFF_SECONDS + SPREAD_SECONDS)
        assert scene.names == ["b"]

    scene.play(script())


def test_what_a_review_asks_for_while_it_is_looked_at_is_looked_at_again() -> None:
    scene = Shared()

    async def slow() -> Supplied:
        await asyncio.sleep(0.2)
        return OK

    scene.answer = lambda _: slow()

    async def script() -> None:
        scene.refresh.look("b")
        await asyncio.sleep(0.1)
        scene.refresh.look("b")
        await asyncio.sleep(10)
        assert scene.names == ["b", "b"]
        scene.refresh.look_soon("b")
        await asyncio.sleep(10)
        assert scene.names == ["b", "b"], "it is the other one's again"

    scene.play(script())


def test_what_waits_when_it_becomes_another_replicas_is_left_to_it() -> None:
    """Of a credential that expires, or after a failure."""
    scene = Shared()
    scene.own, answers = {"a", "b"}, {"a": Supplied(requeue_after=60.0), "b": AWAY}
    scene.answer = answers.__getitem__

    async def script() -> None:
        scene.refresh.look_soon("a")
        scene.refresh.look_soon("b")
        await asyncio.sleep(1)
        scene.own, scene.seen = set(), []
        await asyncio.sleep(120)
        assert (scene.names, sorted(set(scene.left))) == ([], ["a", "b"])
        assert not scene.refresh._failing, "others that fail do not wait for longer because of it"

    scene.play(script())


def test_what_was_another_replicas_is_looked_at_at_once() -> None:
    scene = Shared()
    scene.own, scene.answer = {"b"}, lambda _: FAILED

    async def script() -> None:
        scene.refresh.look_soon("b")
        await asyncio.sleep(30)
        scene.own = set()
        await asyncio.sleep(300)
        scene.own, scene.seen = {"b"}, []
        scene.refresh.share_changed("b")
        await asyncio.sleep(SPREAD_SECONDS)
        assert "b" in scene.names, "perhaps tried once more already"

    scene.play(script())


def test_of_many_that_were_another_replicas_the_source_is_asked_about_their_owners_together() -> None:
    scene = Shared()
    scene.known = {f"owner-{number}": [f"a-{number}", f"b-{number}"] for number in range(60)}
    scene.owners.update({name: owner or "" for owner, names in scene.known.items() for name in names})
    scene.own = {*scene.owners} - {"a-0", "b-0"}

    async def script() -> None:
        await asyncio.sleep(1)
        for name in scene.owners:
            scene.refresh.share_changed(name)
        await asyncio.sleep(2)
        assert sorted(scene.names) == sorted(scene.own)
        assert [len(owners) for owners in scene.prefetched] == [59]
        assert scene.left == ["a-0", "b-0"]

    scene.play(script())


def test_after_a_takeover_those_with_the_last_news_come_first() -> None:
    """Nobody has dealt with it, and there may be thousands of others."""
    scene = Shared()
    scene.known = {f"owner-{number}": [f"a-{number}", f"b-{number}"] for number in range(3000)}
    scene.owners.update({name: owner or "" for owner, names in scene.known.items() for name in names})
    scene.own = set()
    for number in range(LEFT_OWNERS):
        scene.refresh.owner_changed(f"owner-{number}")  # long ago

    async def script() -> None:
        await asyncio.sleep(1)
        for number in (2700, 2800, 2900, 2999):
            scene.refresh.owner_changed(f"owner-{number}")
        scene.refresh.owner_changed("nobody")
        await asyncio.sleep(1)
        assert scene.names == []
        scene.own = {*scene.owners}
        for number in range(1500, 3000):
            scene.refresh.share_changed(f"a-{number}")
            scene.refresh.share_changed(f"b-{number}")
        await asyncio.sleep(60)
        news = {f"{letter}-{number}" for number in (2700, 2800, 2900, 2999) for letter in "ab"}
        assert {*scene.names[: OWNERS * 2]} >= news
        assert {"owner-2700", "owner-2999"} <= {*scene.prefetched[0]}
        assert len(scene.prefetched) > 10
        assert len(scene.refresh._left_news) == LEFT_OWNERS, "no more are remembered"
        assert "nobody" not in scene.refresh._left_news, "it has no namespace"

    scene.play(script())


def test_reviews_do_not_wait_while_thousands_are_left_to_others() -> None:
    scene = Shared()
    scene.known = {f"owner-{number}": [f"a-{number}"] for number in range(5000)}
    scene.known[None] = [name for names in scene.known.values() for name in names]
    scene.owners.update({f"a-{number}": f"owner-{number}" for number in range(5000)})
    scene.own, looked = {"a-7"}, list[int]()
    of_owner = scene.refresh._of_owner

    def counted(owner: str | None) -> Sequence[str]:
        looked[-1] += 1
        return of_owner(owner)

    async def script() -> None:
        await asyncio.sleep(1)
        looked.append(0)
        scene.refresh._of_owner = counted
        scene.refresh.owner_changed(None)
        while sum(looked) < 5000:
            await asyncio.sleep(0)
            looked.append(0)
        await asyncio.sleep(1)
        assert max(looked) < 100
        assert scene.names == ["a-7"]

    scene.play(script())
