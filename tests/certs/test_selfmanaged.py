"""Replicas against one API server: whatever happens in between, they end with one CA and leaves that it vouches for.

The replicas are coroutines that are stepped by hand, so that every interleaving, failure and crash is one that the test
(or hypothesis) has chosen. What needs a loop, pauses and pokes, runs in a real one.
"""

import asyncio
import random
import time
import types
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import selfmanaged
from certs.authority import CA_LIFE, LEAF_LIFE, Authority
from certs.bundle import Bundle, Use, step
from certs.errors import ApiTrouble, Conflict, NotOurs
from certs.pair import Pair
from certs.pem import readable
from certs.selfmanaged import SelfManaged
from certs.serving import Serving
from certs.store import Stored

Verifies = Callable[[Pair, bytes, str, datetime], bool]

HOST = "pullsecret-webhook.pullsecret-system.svc"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)


@types.coroutine
def turn() -> Generator[None, None, None]:
    yield


class ApiServer:
    """The Secret with its resourceVersion, and the webhook configuration (`bundle` None: not installed).

    A call waits for its turn before it takes effect, and again before its caller hears of it. `by_hand` leaves the
    turns to the test; otherwise they come at once.
    """

    def __init__(self, *, by_hand: bool = False, bundle: bytes | None = b"") -> None:
        self.by_hand = by_hand
        self.data: dict[str, bytes] | None = None
        self.bundle = bundle
        self.version = 0
        self.calls: list[str] = []
        self.trouble: dict[str, Exception] = {}

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.by_hand:
            await turn()
        if name in self.trouble:
            raise self.trouble[name]

    async def _answer(self) -> None:
        if self.by_hand:
            await turn()

    def change(self, data: Mapping[str, bytes] | None) -> None:
        self.data = None if data is None else dict(data)
        self.version += 1

    async def read(self) -> Stored | None:
        await self._call("read")
        stored = None if self.data is None else Stored(dict(self.data), str(self.version))
        await self._answer()
        return stored

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> None:
        await self._call("write")
        if (self.data is None) != (over is None) or (over is not None and over.version != str(self.version)):
            raise Conflict("the CA Secret has changed meanwhile")
        self.change(data)
        await self._answer()

    async def published(self) -> bytes | None:
        await self._call("published")
        bundle = self.bundle
        await self._answer()
        return bundle

    async def publish(self, bundle: bytes) -> None:
        await self._call("publish")
        if self.bundle is not None:
            self.bundle = bundle
        await self._answer()


class Replica:
    def __init__(self, api: ApiServer) -> None:
        self.api = api
        self.now = START
        self.said: list[str] = []
        self.serving = Serving()
        self.managed = SelfManaged(api, api, [HOST], self.serving, now=lambda: self.now, report=self.said.append)
        self.looking: Coroutine[Any, Any, None] | None = None

    def step(self, trouble: ApiTrouble | None = None) -> bool:
        """On to the next turn of a look, which fails there with `trouble`. False: the look has ended."""
        try:
            if self.looking is None:
                self.looking = self.managed.look()
            elif trouble is not None:
                self.looking.throw(trouble)
            self.looking.send(None)
        except (StopIteration, ApiTrouble):
            self.looking = None
        return self.looking is not None

    def finish(self) -> None:
        while self.step():
            pass

    def crash(self) -> None:
        if self.looking is not None:
            self.looking.close()

    @property
    def leaf(self) -> Pair:
        assert self.serving.pair is not None
        return self.serving.pair


FIRST, SECOND = 0, 1
STEPS = st.tuples(st.sampled_from(["step", "step", "step", "step", "fail", "crash"]), st.sampled_from([FIRST, SECOND]))


def happen(event: str, who: int, replicas: list[Replica]) -> None:
    if event == "step":
        replicas[who].step()
    elif event == "fail":
        replicas[who].step(ApiTrouble("no answer"))
    else:
        replicas[who].crash()
        replicas[who] = Replica(replicas[who].api)


def end(replicas: list[Replica]) -> None:
    """What is under way ends somehow, and then each looks once more, as it does every minute."""
    for replica in replicas * 2:
        replica.finish()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([None, b"", b"somebody else's"]), st.lists(STEPS, max_size=60))
def test_replicas_that_start_together_end_with_one_authority(
    verifies: Verifies, published: bytes | None, events: list[tuple[str, int]]
) -> None:
    api = ApiServer(by_hand=True, bundle=published)
    replicas = [Replica(api), Replica(api)]

    for event, who in events:
        happen(event, who, replicas)
        for replica in replicas:  # never before the API server can verify it
            assert not replica.serving.ready or not api.bundle or verifies(replica.leaf, api.bundle, HOST, START)
    end(replicas)

    assert api.version == 1
    assert api.data is not None
    assert len(readable(api.data["ca.crt"])) == 1
    assert api.bundle == (None if published is None else api.data["ca.crt"])
    assert all(verifies(replica.leaf, api.data["ca.crt"], HOST, START) for replica in replicas)


FOREIGN = Authority.create(START)
EXPIRED = Authority.create(START - CA_LIFE)
MISCHIEF: dict[str, Callable[[ApiServer], None]] = {
    "Secret deleted": lambda api: api.change(None),
    "Secret emptied": lambda api: api.change({}),
    "key overwritten": lambda api: api.change({**(api.data or {}), "tls.key": b"x"}),
    "certificate lost": lambda api: api.change({**(api.data or {}), "tls.crt": b""}),
    "bundle lost": lambda api: api.change({**(api.data or {}), "ca.crt": b""}),
    "another authority": lambda api: api.change(Bundle(FOREIGN).data()),
    "an expired authority": lambda api: api.change(Bundle(EXPIRED).data()),
    "caBundle emptied": lambda api: setattr(api, "bundle", b""),
    "caBundle replaced": lambda api: setattr(api, "bundle", FOREIGN.pem()[0]),
    "uninstalled": lambda api: setattr(api, "bundle", None),
}
TURNS = st.one_of(STEPS, STEPS, STEPS, st.tuples(st.sampled_from(sorted(MISCHIEF)), st.just(FIRST)))


@settings(max_examples=100, deadline=None)
@given(st.lists(TURNS, max_size=80))
def test_whatever_is_done_to_them_is_repaired(verifies: Verifies, events: list[tuple[str, int]]) -> None:
    api = ApiServer(by_hand=True)
    replicas = [Replica(api), Replica(api)]

    for event, who in events:
        if event in MISCHIEF:
            MISCHIEF[event](api)
        else:
            happen(event, who, replicas)
    end(replicas)

    todo = step(api.data, START, Authority.create)
    assert isinstance(todo, Use)
    assert api.bundle in {None, todo.bundle.ca_bundle()}
    for replica in replicas:
        assert todo.bundle.authority.issued(replica.leaf)
        assert verifies(replica.leaf, todo.bundle.ca_bundle(), HOST, START)
        assert "PRIVATE" not in "".join(replica.said)


def started(api: ApiServer) -> Replica:
    replica = Replica(api)
    replica.finish()
    return replica


def steps_until(replica: Replica, call: str) -> None:
    """Up to where the next `call` has been made and hasn't taken effect yet."""
    replica.api.calls.clear()
    while call not in replica.api.calls:
        assert replica.step()


def test_the_loser_of_a_race_uses_what_the_winner_wrote(verifies: Verifies) -> None:
    api = ApiServer(by_hand=True)
    loser = Replica(api)
    steps_until(loser, "write")
    winner = started(api)
    loser.finish()
    assert not loser.serving.ready
    loser.finish()

    assert (api.version, api.calls.count("write")) == (1, 2)
    assert api.bundle is not None
    assert verifies(loser.leaf, api.bundle, HOST, START)
    assert verifies(winner.leaf, api.bundle, HOST, START)


def test_a_late_publication_of_something_older_is_put_right_at_once(verifies: Verifies) -> None:
    api = ApiServer(by_hand=True)
    slow = Replica(api)
    steps_until(slow, "publish")
    api.change(None)
    quick = started(api)
    newest = api.bundle
    slow.finish()

    assert newest
    assert api.bundle == newest
    assert verifies(slow.leaf, newest, HOST, START)
    assert verifies(quick.leaf, newest, HOST, START)
    assert slow.said.count("the caBundle was published") == 2


def test_a_leaf_of_a_new_authority_waits_until_it_is_published() -> None:
    api = ApiServer(by_hand=True)
    replica = started(api)
    old = replica.leaf
    api.change(None)
    api.trouble["publish"] = ApiTrouble("403 Forbidden")
    replica.finish()
    assert replica.leaf is old

    del api.trouble["publish"]
    replica.finish()
    assert replica.leaf is not old


def test_a_broken_secret_is_repaired_and_the_other_replicas_leaf_stays_good(verifies: Verifies) -> None:
    api = ApiServer(by_hand=True)
    one, two = started(api), started(api)
    assert api.data is not None
    api.change(api.data | {"tls.key": b""})
    one.finish()

    assert one.said[-2:] == ["the CA Secret was written: tls.key is empty", "the caBundle was published"]
    assert api.bundle is not None
    assert verifies(one.leaf, api.bundle, HOST, START)
    assert verifies(two.leaf, api.bundle, HOST, START)


def test_the_authority_is_replaced_in_its_last_week(verifies: Verifies) -> None:
    api = ApiServer(by_hand=True)
    replica = started(api)
    replica.now = START + CA_LIFE - LEAF_LIFE + timedelta(minutes=1)
    replica.finish()

    assert api.version == 2
    assert api.bundle is not None
    assert verifies(replica.leaf, api.bundle, HOST, replica.now + LEAF_LIFE)


def test_looks_that_find_everything_in_order_only_read() -> None:
    api = ApiServer(by_hand=True)
    replica = started(api)
    leaf = replica.leaf
    api.calls.clear()
    for _ in range(3):
        replica.finish()

    assert api.calls == ["read", "published"] * 3
    assert replica.leaf is leaf


@asynccontextmanager
async def running(replica: Replica) -> AsyncIterator[None]:
    async with asyncio.timeout(10):
        await replica.managed.start()
        task = asyncio.create_task(replica.managed.run())
        yield
        assert not task.done()
        task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # what it waits for are plain attributes
            await asyncio.sleep(0.001)


def test_start_asks_again_until_the_api_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    api = ApiServer()
    replica = Replica(api)
    api.trouble["read"] = ApiTrouble("503 ServiceUnavailable")
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 8:
            api.trouble.clear()

    monkeypatch.setattr(random, "uniform", lambda _low, high: high)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    asyncio.run(replica.managed.start())

    assert pauses == [0.25, 0.5, 1, 2, 4, 8, 10, 10]
    assert replica.said[:8] == ["503 ServiceUnavailable"] * 8
    assert replica.serving.ready


def test_pauses_differ_between_replicas(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    for _ in range(2):
        api = ApiServer()
        api.trouble["read"] = ApiTrouble("no answer")

        async def sleep(seconds: float, api: ApiServer = api) -> None:
            pauses.append(seconds)
            if len(pauses) % 20 == 0:
                api.trouble.clear()

        monkeypatch.setattr(asyncio, "sleep", sleep)
        asyncio.run(Replica(api).managed.start())

    assert len(set(pauses)) == len(pauses) == 40
    assert all(0.125 <= pause <= 10 for pause in pauses)


def test_a_secret_that_is_not_ours_is_never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "FIRST_PAUSE", 0.001)
    api = ApiServer()
    api.trouble["read"] = NotOurs("Secret pullsecret-webhook-ca exists and is not managed by pullsecret-webhook")
    replica = Replica(api)

    async def test() -> None:
        starting = asyncio.create_task(replica.managed.start())
        await until(lambda: len(replica.said) > 3)
        assert not starting.done()
        assert set(api.calls) == {"read"}
        assert set(replica.said) == {str(api.trouble["read"])}

        api.trouble.clear()  # it was deleted
        await starting
        assert replica.serving.ready

    asyncio.run(test())


def test_our_own_mistakes_end_the_process() -> None:
    api = ApiServer()
    api.trouble["read"] = KeyError("a bug")

    with pytest.raises(KeyError):
        asyncio.run(Replica(api).managed.start())


def test_before_it_is_installed_there_is_nothing_to_publish() -> None:
    api = ApiServer(bundle=None)
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            assert replica.serving.ready
            assert "publish" not in api.calls
            api.bundle = b""
            replica.managed.poke()
            await until(lambda: api.bundle != b"")

    asyncio.run(test())
    assert api.data is not None
    assert api.bundle == api.data["ca.crt"]


def test_an_emptied_bundle_is_published_again_when_poked() -> None:
    api = ApiServer()
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            good, api.bundle = api.bundle, b""
            replica.managed.poke()
            await until(lambda: api.bundle == good)

    asyncio.run(test())
    assert replica.said.count("the caBundle was published") == 2


def test_one_poke_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "AT_MOST_EVERY", 0)
    api = ApiServer()
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            api.calls.clear()
            replica.managed.poke()
            await until(lambda: "published" in api.calls)
            await asyncio.sleep(0.02)

    asyncio.run(test())
    assert api.calls == ["read", "published"]


def test_without_a_poke_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "EVERY", 0.001)
    monkeypatch.setattr(selfmanaged, "AT_MOST_EVERY", 0)
    api = ApiServer()
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            leaf = replica.leaf
            api.bundle = b""
            await until(lambda: api.bundle != b"")
            assert replica.leaf is leaf

            replica.now = START + timedelta(days=5)  # the wall clock: more than two thirds of the leaf's life
            await until(lambda: replica.leaf is not leaf)
            assert replica.leaf.ends == replica.now + LEAF_LIFE

    asyncio.run(test())
    assert api.version == 1


def test_somebody_who_reverts_the_bundle_at_once_makes_no_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "AT_MOST_EVERY", 0.1)
    api = ApiServer()
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            api.calls.clear()
            began = time.monotonic()
            for _ in range(300):
                api.bundle = b""
                replica.managed.poke()
                await asyncio.sleep(0.001)
            assert 1 <= api.calls.count("publish") <= 1 + (time.monotonic() - began) / 0.1

    asyncio.run(test())


def test_trouble_while_running_changes_nothing_that_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "EVERY", 0.001)
    monkeypatch.setattr(selfmanaged, "FIRST_PAUSE", 0.001)
    api = ApiServer()
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            leaf = replica.leaf
            api.trouble["read"] = ApiTrouble("503 ServiceUnavailable")
            await until(lambda: replica.said.count("503 ServiceUnavailable") >= 2)
            assert replica.leaf is leaf

    asyncio.run(test())


def test_its_repr_shows_no_key() -> None:
    replica = started(ApiServer(by_hand=True))

    assert "PRIVATE" not in f"{replica.managed!r}{vars(replica.managed)}{replica.said}"
