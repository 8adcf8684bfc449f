"""Replicas against one API server: whatever happens in between, they end with one CA and leaves that it vouches for.

What needs a loop, pauses and pokes, runs in a real one. The rotation, as clients see it, is in test_rotation.py.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import selfmanaged
from certs.answers import answer
from certs.authority import CA_LIFE, LEAF_LIFE, Authority
from certs.bundle import CONFIRMED, SOAK, Bundle, Use, stale, step
from certs.errors import ApiTrouble, Conflict, NotOurs
from certs.pair import Pair
from certs.pem import readable
from certs.ports import Published
from certs.questions import Answer, Question
from support import certworld
from support.certworld import HOST, START, ApiServer, Replica, started

Verifies = Callable[[Pair, bytes, str, datetime], bool]

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
    for replica in replicas:
        replica.finish()
    for replica in replicas:
        replica.settle()


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
            assert not replica.serving.pair or not api.bundle or verifies(replica.leaf, api.bundle, HOST, START)
    end(replicas)

    assert api.version == 1
    assert api.data is not None
    assert len(readable(api.data["ca.crt"])) == 1
    assert api.bundle == (None if published is None else api.data["ca.crt"])
    assert all(verifies(replica.leaf, api.data["ca.crt"], HOST, START) for replica in replicas)


def alone(authority: Authority) -> Bundle:
    return Bundle((authority.certificate,), authority)


FOREIGN = Authority.create(START)
EXPIRED = Authority.create(START - CA_LIFE)
TO_COME = Authority.create(START + timedelta(days=99))
MISCHIEF: dict[str, Callable[[ApiServer], None]] = {
    "Secret deleted": lambda api: api.change(None),
    "Secret emptied": lambda api: api.change({}),
    "key overwritten": lambda api: api.change({**(api.data or {}), "tls.key": b"x"}),
    "certificate lost": lambda api: api.change({**(api.data or {}), "tls.crt": b""}),
    "bundle lost": lambda api: api.change({**(api.data or {}), "ca.crt": b""}),
    "another authority": lambda api: api.change(alone(FOREIGN).data()),
    "an expired authority": lambda api: api.change(alone(EXPIRED).data()),
    "one that is not valid yet": lambda api: api.change(alone(TO_COME).data()),
    "the next one's key overwritten": lambda api: api.change({**(api.data or {}), "next.key": b"x"}),
    "the note overwritten": lambda api: api.change({**(api.data or {}), CONFIRMED: b"9999-12-31T23:59:59+00:00"}),
    "caBundle emptied": lambda api: api.rebundle(b""),
    "caBundle replaced": lambda api: api.rebundle(FOREIGN.pem()[0]),
    "uninstalled": lambda api: api.rebundle(None),
    "an entry without caBundle": lambda api: api.reentry(b""),
    "an entry with another": lambda api: api.reentry(FOREIGN.pem()[0]),
    "no other entry": lambda api: api.reentry(None),
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

    for replica in replicas:
        bundles = api.bundles.values() if api.bundles is not None else None
        todo = step(api.data, bundles, replica.leaf, START, Authority.create)
        assert isinstance(todo, Use)
        assert {*(bundles or ())} <= {todo.bundle.ca_bundle()}
        assert not stale(replica.leaf, todo.bundle, START)
        assert verifies(replica.leaf, todo.bundle.ca_bundle(), HOST, START)
        assert "PRIVATE" not in "".join(replica.said)


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
    assert not loser.serving.pair
    loser.finish()

    assert (api.version, api.calls.count("write"), api.calls.count("publish")) == (1, 2, 1)
    assert api.bundle is not None
    assert verifies(loser.leaf, api.bundle, HOST, START)
    assert verifies(winner.leaf, api.bundle, HOST, START)


def test_a_late_publication_of_something_older_is_refused(verifies: Verifies) -> None:
    api = ApiServer(by_hand=True)
    slow = Replica(api)
    steps_until(slow, "publish")
    api.change(None)
    quick = started(api)
    newest = api.bundle
    slow.finish()

    assert newest
    assert [held.bundle for held in api.history] == [newest]
    slow.finish()
    assert verifies(slow.leaf, newest, HOST, START)
    assert verifies(quick.leaf, newest, HOST, START)
    assert "the caBundle was published" not in slow.said


def test_a_leaf_of_a_new_authority_waits_until_it_is_published() -> None:
    api = ApiServer(by_hand=True)
    replica = started(api)
    old = replica.leaf
    api.change(None)
    api.rebundle(b"")
    api.trouble["publish"] = ApiTrouble("403 Forbidden")
    replica.finish()
    assert replica.leaf is old

    del api.trouble["publish"]
    replica.finish()
    assert replica.leaf is not old


@pytest.mark.parametrize("other", [b"", FOREIGN.pem()[0]], ids=["no CA", "another CA"])
def test_a_leaf_waits_for_each_entry_that_trusts_somebody(other: bytes) -> None:
    """One that an upgrade has just brought has no CA, and pods do not wait for it."""
    ours = Authority.create(START)
    api = ApiServer(by_hand=True, bundle=ours.pem()[0], other=other)
    api.change(alone(ours).data())
    api.trouble["publish"] = ApiTrouble("403 Forbidden")
    replica = Replica(api)
    replica.finish()
    assert bool(replica.serving.pair) is (other == b"")
    assert replica.registered == [other == b""]

    del api.trouble["publish"]
    replica.finish()
    assert replica.serving.pair
    assert (api.other, api.calls.count("publish"), replica.registered[-1]) == (api.bundle, 2, True)


def test_a_leaf_is_renewed_although_nothing_can_be_published() -> None:
    api = ApiServer(by_hand=True)
    replica = started(api)
    old = replica.leaf
    assert api.data
    api.change(api.data | {"ca.crt": api.data["ca.crt"] + FOREIGN.pem()[0]})
    api.trouble["publish"] = ApiTrouble("403 Forbidden")
    api.time += timedelta(days=5)
    replica.finish()

    assert replica.leaf is not old
    assert replica.said.count("the caBundle was published") == 1


def test_a_broken_secret_is_repaired_and_leaves_stay_until_the_next_authority_has_soaked(verifies: Verifies) -> None:
    api = ApiServer(by_hand=True)
    one, two = started(api), started(api)
    before, leaves = api.bundle, (one.leaf, two.leaf)
    assert api.data is not None
    api.change(api.data | {"tls.key": b""})
    one.settle()
    two.settle()

    assert one.said[-3:] == [
        "the CA Secret was written: tls.key is empty",
        "the caBundle was published",
        "the CA Secret was written: the next CA is published",
    ]
    assert (one.leaf, two.leaf) == leaves
    new = started(api)
    assert before
    assert api.bundle
    assert not verifies(new.leaf, before, HOST, START)  # it had nothing else
    assert verifies(new.leaf, api.bundle, HOST, START)

    api.time += SOAK
    two.settle()
    assert two.said[-1] == "the CA Secret was written: the next CA signs from now on"
    assert (one.leaf, two.leaf) != leaves
    assert verifies(two.leaf, api.data["tls.crt"], HOST, api.time)


def test_a_leaf_that_ends_within_the_soak_is_replaced_at_once() -> None:
    api = ApiServer(by_hand=True)
    replica = started(api)
    leaf = replica.leaf
    assert api.data is not None
    api.change(api.data | {"tls.key": b""})
    api.time = leaf.ends - SOAK
    replica.settle()

    assert replica.leaf is not leaf


def test_the_steps_of_a_rotation() -> None:
    api = ApiServer(by_hand=True)
    replica = started(api)
    assert api.data
    old = api.data["tls.crt"]
    api.time += CA_LIFE * 2 / 3
    replica.said.clear()
    replica.settle()
    leaf = replica.leaf
    assert api.data["tls.crt"] == old
    assert api.bundle == api.data["ca.crt"] == api.data["next.crt"] + old

    api.time += SOAK
    replica.settle()
    new = api.data["tls.crt"]
    assert api.bundle == api.data["ca.crt"] == new + old
    assert set(api.data) == {"ca.crt", "tls.crt", "tls.key"}
    assert replica.leaf is not leaf

    ends = START + CA_LIFE
    api.time = ends + timedelta(hours=2)
    replica.settle()
    assert api.bundle == api.data["ca.crt"] == new
    assert replica.said == [
        f"the CA Secret was written: the next CA was created; the present one expires at {ends:%Y-%m-%d %H:%M} UTC",
        "the caBundle was published",
        "the CA Secret was written: the next CA is published",
        "the CA Secret was written: the next CA signs from now on",
        "the CA Secret was written: ca.crt held certificates that have expired or are not CA certificates",
        "the caBundle was published",
    ]


def test_what_is_reverted_while_it_soaks_soaks_anew() -> None:
    """A `kubectl replace` of an older file: clients that are slow hear of it late."""
    api = ApiServer(by_hand=True)
    replica = started(api)
    before = api.bundle
    api.time += CA_LIFE * 2 / 3
    replica.settle()
    api.time += SOAK * 2 / 3
    api.rebundle(before)
    replica.settle()
    api.time += SOAK * 2 / 3
    replica.settle()
    assert api.data
    assert "next.crt" in api.data

    api.time += SOAK / 3
    replica.settle()
    assert "next.crt" not in api.data


def test_looks_that_find_everything_in_order_only_read() -> None:
    api = ApiServer(by_hand=True)
    replica = started(api)
    leaf = replica.leaf
    api.calls.clear()
    for _ in range(3):
        replica.finish()

    assert api.calls == ["published", "read"] * 3
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
    assert replica.serving.pair


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
    monkeypatch.setattr(selfmanaged, "BACKOFF_SECONDS", 0.001)
    api = ApiServer()
    api.trouble["read"] = NotOurs("Secret pullsecret-webhook-ca exists and is not managed by pullsecret-webhook")
    replica = Replica(api)

    async def test() -> None:
        starting = asyncio.create_task(replica.managed.start())
        await until(lambda: len(replica.said) > 3)
        assert not starting.done()
        assert set(api.calls) == {"published", "read"}
        assert set(replica.said) == {str(api.trouble["read"])}

        api.trouble.clear()  # it was deleted
        await starting
        assert replica.serving.pair

    asyncio.run(test())


def test_our_own_mistakes_end_the_process() -> None:
    api = ApiServer()
    api.trouble["read"] = KeyError("a bug")

    with pytest.raises(KeyError):
        asyncio.run(Replica(api).managed.start())


def test_nothing_is_asked_twice_within_the_hour(monkeypatch: pytest.MonkeyPatch) -> None:
    """A look costs two reads, and a process only if something is new, or due soon."""
    asked: list[datetime] = []

    async def counted(question: Question) -> Answer:
        asked.append(api.time)
        return answer(question)

    monkeypatch.setattr(certworld, "ask", counted)
    api = ApiServer()
    replica = started(api)
    assert len(asked) == 3  # to write, to publish, and that nothing is left

    def looks(times: int, apart: timedelta = timedelta(minutes=1)) -> int:
        asked.clear()
        for _ in range(times):
            api.time += apart
            replica.settle()
        return len(asked)

    assert looks(59) == 0
    assert looks(1) == 1
    api.change(dict(api.data or {}))
    assert looks(1) == 0
    api.rebundle(b"")
    assert looks(1) == 2
    api.time -= timedelta(minutes=10)  # a clock was put right
    assert looks(1) == 1
    days = (LEAF_LIFE * 2 / 3).days
    assert days <= looks(24 * 4 * days, timedelta(minutes=15)) < 24 * days + 8


def test_before_it_is_installed_there_is_nothing_to_publish() -> None:
    api = ApiServer(bundle=None)
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            assert replica.serving.pair
            assert "publish" not in api.calls
            api.rebundle(b"")
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
            good = api.bundle
            api.rebundle(b"")
            replica.managed.poke()
            await until(lambda: api.bundle == good)

    asyncio.run(test())
    assert replica.said.count("the caBundle was published") == 2


def test_one_poke_is_one_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "MIN_LOOK_SECONDS", 0)
    api = ApiServer()
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            api.calls.clear()
            replica.managed.poke()
            await until(lambda: "read" in api.calls)
            await asyncio.sleep(0.02)

    asyncio.run(test())
    assert api.calls == ["published", "read"]


def test_without_a_poke_it_looks_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(selfmanaged, "MIN_LOOK_SECONDS", 0)
    api = ApiServer()
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            leaf = replica.leaf
            api.rebundle(b"")
            await until(lambda: api.bundle != b"")
            assert replica.leaf is leaf

            api.time = START + timedelta(days=5)  # more than two thirds of the leaf's life
            await until(lambda: replica.leaf is not leaf)
            assert replica.leaf.ends == api.time + LEAF_LIFE

    asyncio.run(test())
    assert api.version == 1


def test_somebody_who_reverts_the_bundle_at_once_makes_no_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "MIN_LOOK_SECONDS", 0.1)
    api = ApiServer()
    replica = Replica(api)

    async def test() -> None:
        async with running(replica):
            api.calls.clear()
            began = time.monotonic()
            for _ in range(300):
                api.rebundle(b"")
                replica.managed.poke()
                await asyncio.sleep(0.001)
            assert 1 <= api.calls.count("publish") <= 1 + (time.monotonic() - began) / 0.1

    asyncio.run(test())


def test_somebody_who_is_faster_each_time_is_named() -> None:
    class Reverted(ApiServer):
        async def publish(self, bundle: bytes, over: Published) -> None:
            await super().publish(bundle, over)
            self.rebundle(b"")

    api = Reverted()
    replica = Replica(api)

    with pytest.raises(ApiTrouble, match="as often as the webhook does"):
        asyncio.run(replica.managed.look())
    assert api.calls.count("publish") < 8


def test_trouble_while_running_changes_nothing_that_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfmanaged, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(selfmanaged, "BACKOFF_SECONDS", 0.001)
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


def test_it_is_told_whether_it_is_registered_with_a_ca_that_is_ours() -> None:
    api = ApiServer()
    replica = Replica(api)
    replica.settle()
    ours, api.bundle = api.bundle, None
    replica.settle()
    assert replica.registered == [True, False]
    replica.registered.clear()

    api.trouble["publish"] = Conflict("another replica was first")  # which says nothing
    api.bundle = b""
    replica.finish()
    assert replica.registered == []
    api.trouble["publish"] = ApiTrouble("403 Forbidden")
    replica.finish()
    assert replica.registered == [False]
    assert ours
    api.bundle = ours + b"# more than ours"  # but it trusts us
    replica.finish()
    assert replica.registered == [False, True]
    api.trouble.clear()
    replica.settle()
    assert replica.registered[-1] is True
    assert api.bundle == ours
