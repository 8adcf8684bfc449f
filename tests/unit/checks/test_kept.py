"""What is put while the Secret is read or written, in small steps."""

import asyncio
from collections.abc import Callable, Collection, Coroutine, Mapping
from typing import Any

import pytest

from certs.errors import ApiTrouble, Conflict
from certs.ports import Stored
from support.checksecret import Secret
from webhook.checks import kept as module
from webhook.checks.kept import TAKEOVER_SECONDS, Kept
from webhook.core import check
from webhook.core.check import ASKING, DIGEST_BYTES, KEY, KEY_BYTES, RECORDS, Check, Checks, Why

THEIRS = b"t" * KEY_BYTES
WORKS, REFUSED = Check(Why.NONE, 1), Check(Why.UNAUTHORIZED, 2, 2)
STEPS = 10


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STEP_CHECKS", 1)
    monkeypatch.setattr(check, "STEP_CHECKS", 1)


def digest(number: int) -> bytes:
    return number.to_bytes(DIGEST_BYTES)


def told(*numbers: int, key: bytes = THEIRS, version: str = "1", asking: bytes = b"") -> Stored:
    """What another replica wrote: these work. The newest first."""
    records = b"".join(digest(number) + WORKS.record for number in numbers)
    return Stored({KEY: key, RECORDS: records} | ({ASKING: asking} if asking else {}), version)


def replica(secret: Secret, name: str = "a") -> Kept:
    return Kept(secret, name, name.encode() * KEY_BYTES, lambda: 7.0)


async def meanwhile(work: Coroutine[Any, Any, Any], do: Callable[[int], None]) -> tuple[Any, int]:
    """What comes of it, and in how many passes of the loop; in each, something is done."""
    task, passes = asyncio.ensure_future(work), 0
    while not task.done():
        do(passes)
        passes += 1
        await asyncio.sleep(0)
    return task.result(), passes


async def reads(kept: Kept) -> Collection[bytes] | None:
    return await kept.read()


def test_what_is_put_during_a_read_is_kept_and_written() -> None:
    async def test() -> None:
        secret = Secret(told(0, version="0"))
        kept = replica(secret)
        assert await kept.read() is None  # the key is theirs
        secret.stored, secret.version = told(*range(STEPS)), 1
        put = dict[bytes, Check]()

        def heard(number: int) -> None:
            """One that they know too, and one that they do not know."""
            for one in (digest(number % STEPS), digest(100 + number)):
                kept.put(one, REFUSED)
                put[one] = REFUSED

        news, passes = await meanwhile(reads(kept), heard)
        assert passes > STEPS
        assert {*news} <= {digest(number) for number in range(1, STEPS)}
        assert {one: kept.checks.get(one) for one in put} == put
        assert {*kept.checks.records} == {digest(number) for number in range(STEPS)} | put.keys()
        assert kept.unsaved.keys() == put.keys()
        await kept.save(asking=False)
        assert secret.checks == kept.checks
        assert not kept.unsaved

    asyncio.run(test())


def test_what_is_put_during_a_save_is_for_the_next_one() -> None:
    async def test() -> None:
        secret = Secret()
        kept = replica(secret)
        for number in range(STEPS):
            kept.put(digest(number), WORKS)

        def heard(number: int) -> None:
            kept.put(digest(number % STEPS), REFUSED)
            kept.put(digest(100 + number), REFUSED)

        _, passes = await meanwhile(kept.save(asking=False), heard)
        assert passes > STEPS
        assert {digest(100 + number) for number in range(1, passes)} <= kept.unsaved.keys()
        assert {digest(number) for number in range(STEPS)} <= secret.checks.records.keys()
        assert secret.calls == {"write": 1}
        await kept.save(asking=False)
        assert secret.checks == kept.checks
        assert secret.calls == {"write": 2}
        assert await kept.read() == ()

    asyncio.run(test())


@pytest.mark.parametrize("trouble", [ApiTrouble("no answer"), Conflict("changed"), asyncio.CancelledError()])
def test_what_could_not_be_saved_is_saved_later(trouble: BaseException) -> None:
    async def test() -> None:
        secret = Secret()
        kept = replica(secret)
        kept.put(digest(1), WORKS)
        kept.put(digest(2), WORKS)

        async def write(data: Mapping[str, bytes], over: Stored | None) -> Stored:  # as the fake's
            kept.put(digest(2), REFUSED)
            kept.put(digest(3), REFUSED)
            raise trouble

        secret.write = write  # type: ignore[method-assign]
        with pytest.raises(type(trouble)):
            await kept.save(asking=True)
        assert not kept.may_ask(asyncio.get_running_loop().time())
        assert kept.unsaved == {digest(1): WORKS.record, digest(2): REFUSED.record, digest(3): REFUSED.record}
        del secret.write
        await kept.save(asking=True)
        assert secret.checks == kept.checks
        assert kept.may_ask(asyncio.get_running_loop().time())

    asyncio.run(test())


def test_a_version_that_is_known_is_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        secret = Secret(told(1, 2, key=b"a" * KEY_BYTES))
        kept = replica(secret)
        assert await kept.read() == [digest(2), digest(1)]
        monkeypatch.setattr(module, "entries", None)
        assert await kept.read() == ()
        secret.version = 1
        await kept.save(asking=False)
        assert await kept.read() == ()
        assert [*kept.checks.records] == [digest(2), digest(1)]  # the newest last

    asyncio.run(test())


def test_no_more_is_known_than_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Users change their credentials for ever; another replica forgets those that were."""
    monkeypatch.setattr(check, "MAX_CHECKS", 3)

    async def test() -> None:
        secret = Secret()
        kept = replica(secret)
        for number in range(9):
            secret.stored = told(number + 1, number, key=b"a" * KEY_BYTES, version=str(number))
            await kept.read()
        assert [*kept.checks.records] == [digest(7), digest(8), digest(9)]
        secret.version = 8
        kept.put(digest(7), REFUSED)
        kept.put(digest(10), REFUSED)
        await kept.save(asking=False)
        assert [*kept.checks.records] == [digest(9), digest(7), digest(10)]
        assert secret.checks == kept.checks

    asyncio.run(test())


def test_who_has_taken_over_goes_on_when_the_other_one_saves() -> None:
    """A replica stood still for a minute, with registries that had not answered."""

    async def test() -> None:
        secret = Secret()
        one, other = replica(secret), replica(secret, "b")
        await one.save(asking=True, begins=True)
        assert await other.read() is None
        assert other.other_asks(0.0)
        assert not other.other_asks(TAKEOVER_SECONDS)
        await other.save(asking=True, begins=True)
        one.put(digest(1), WORKS)
        with pytest.raises(Conflict):
            await one.save(asking=True)
        await one.read()
        assert not one.asks
        await one.save(asking=one.asks)
        assert secret.stored is not None
        assert secret.stored.data[ASKING].startswith(b"b ")
        other.put(digest(2), WORKS)
        with pytest.raises(Conflict):
            await other.save(asking=True)
        assert await other.read() == [digest(1)]
        await other.save(asking=False)
        assert ASKING not in secret.stored.data
        assert secret.checks == Checks(b"a" * KEY_BYTES, {digest(n): WORKS.record for n in (1, 2)})

    asyncio.run(test())


def test_who_was_silent_for_long_reads_before_it_asks_more() -> None:
    async def test() -> None:
        kept = replica(Secret())
        await kept.save(asking=True, begins=True)
        now = asyncio.get_running_loop().time()
        assert kept.may_ask(now)
        assert not kept.may_ask(now + TAKEOVER_SECONDS / 2)

    asyncio.run(test())


def test_one_that_begins_finds_that_another_replica_has_just_begun() -> None:
    """A read was queued before the write: what that may overwrite is not what was decided about."""

    async def test() -> None:
        secret = Secret(told(0, version="0"))
        kept = replica(secret, "b")
        await kept.read()
        secret.stored = told(0, version="1", asking=b"a 1")
        reading = asyncio.ensure_future(reads(kept))
        await asyncio.sleep(0)
        with pytest.raises(Conflict):
            await kept.save(asking=True, begins=True)
        await reading
        assert secret.calls["write"] == 0

    asyncio.run(test())
