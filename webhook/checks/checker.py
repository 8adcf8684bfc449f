"""Asks registries about credentials, in the background, and keeps what they said.

A credential is asked about once; if it is refused, or if that is not known, once more half a minute later. Most
credentials are known to all replicas, so one of them asks at a time, and the others read what it was told (kept.py).
Nothing is read or written while there is nothing to ask.

There may be 40,000 credentials, so whatever looks at many of them does so in steps, between which reviews are answered
and other tasks run: a credential may come, go, or be answered meanwhile.
"""

import asyncio
import math
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from certs.errors import ApiTrouble, Conflict
from certs.ports import Store
from webhook.checks.kept import Kept
from webhook.checks.lately import Lately
from webhook.checks.pending import Pending
from webhook.checks.registryclient import Said
from webhook.core.backoff import JITTER, Backoff, jittered
from webhook.core.check import AGAIN_SECONDS, Check, Checks, Why
from webhook.core.credential import Credential
from webhook.fairness import few_at_a_time, in_steps, let_go
from webhook.tasks import shared

log = structlog.get_logger()
GATHER_SECONDS = 1.0
"""Seconds, at most, until a replica begins: what changes together is asked about together, and replicas rarely collide.
"""
ROUND_SECONDS = 3.0
"""Seconds after which no registry is asked about one more credential, and results may be saved, also while a registry
has not answered.
"""
RECORDS_PER_SECOND = 2_000
"""Who asks saves what it hears, but only when a second has passed for so many records. A write is of all of them: one
of 40,000 takes the API server 0.15 s of CPU or more, however small the patch is; so this is one percent of a core.
"""
RECORDS_PER_SECOND_AT_REST = 500
"""The same from a round that leaves nothing to ask to the next one. It writes twice, when it begins and when it ends.
While many owners get new tokens one round follows another. So this is half a percent of a core for each replica.
"""
GAP_SECONDS = 0.5
"""Seconds between two credentials at one registry, at most."""
QUESTIONS = 1 + math.ceil(ROUND_SECONDS / (GAP_SECONDS * (1 - JITTER)))
"""Credentials about which one registry is asked in a round, at most."""
SLOTS, SLOTS_OF_OWNER = 8, 2
"""Registries that are asked at the same time: of all owners, and of one."""
BUSY_SECONDS = 3.0
"""Seconds until a replica looks again whether another one is still asking."""
TURN_SECONDS = 60.0
"""Seconds after which a replica that has more to ask lets another one begin, which may know other credentials: where
replicas share out the namespaces, each asks sources about its own owners only.
"""
MAX_RETRY_AFTER_SECONDS = 3600.0
"""A registry that wants a longer pause is not asked again."""
MAX_REGISTRIES = 1024
"""Registries of which is remembered what they said lately."""
MAX_BACKOFF_SECONDS = 60.0
SAVES = 5
"""Attempts to save a round's results while others write."""
_NO_ANSWER = frozenset({Why.NO_ANSWER, Why.NO_ADDRESS, Why.NO_CONNECTION, Why.CERTIFICATE, Why.HANDSHAKE, Why.BROKEN})
FAILURES = 3
"""Credentials in a row without an answer, after which a registry is left alone for a while. What one of them meets says
little about the others: its user name may be what the registry cannot bear.
"""


class Asks(Protocol):
    async def ask(self, c: Credential) -> Said: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class _Running:
    """A registry that is asked now. `owner`: whose credential is the first."""

    task: asyncio.Task[None]
    owner: str


@dataclass(frozen=True, slots=True)
class Result:
    """`said`: by the registry now, `check`: what follows."""

    credential: Credential
    check: Check
    said: Said


class Checker:
    """`me`: a name that no other process has. `max_refused`: the share of credentials that one registry may refuse
    together. `wall`: seconds since 1970.

    `report` is called with each result, but with one only of those that follow from the same answer. `changed` is
    called with the digests about which there is news; None: with another key all digests are others, and those that are
    still wanted are wanted again.
    """

    def __init__(
        self,
        store: Store,
        registry: Asks,
        me: str,
        new_key: bytes,
        max_refused: float,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._registry, self._max_refused, self._wall = registry, max_refused, wall
        self.kept = Kept(store, me, new_key, wall)
        self.report: Callable[[Result], None] = lambda _result: None
        self.changed: Callable[[Collection[bytes] | None], Awaitable[None]] = _nobody
        self._pending = Pending()
        self._running: dict[str, _Running] = {}
        """By registry."""
        self._news = asyncio.Event()
        self._lately: defaultdict[str, Lately] = defaultdict(Lately)
        self._trouble = ""
        self._turn = 0.0
        """Loop time at which it ends."""
        self._one_load = asyncio.Lock()
        self._load: asyncio.Task[None] | None = None
        self._next_load: asyncio.Task[None] | None = None
        """It has not begun to read."""

    @property
    def checks(self) -> Checks:
        return self.kept.checks

    def want(self, digest: bytes, c: Credential, owner: str) -> None:
        """It is to be asked about, unless that was done."""
        check = self.checks.get(digest)
        if digest in self._pending or (check is not None and check.settled):
            return
        self._pending.add(digest, c, owner, None if check is None else self._due_again(check))
        self._news.set()

    def drop(self, digests: Iterable[bytes]) -> None:
        """No owner has it any more."""
        for digest in digests:
            self._pending.remove(digest)

    def has_unsettled(self, digests: Iterable[bytes]) -> bool:
        """May another replica be told something about one of these?"""
        return any(digest in self._pending for digest in digests)

    async def load(self) -> None:
        """What replicas were told until now. If that cannot be read, it is tried again before anything is asked.

        All who come during a read share the next one. It is a task, because who waits may give up, and others must be
        told all the same.
        """
        if self._next_load is None:
            self._next_load = asyncio.create_task(self._load_next(), name="load checks")
        await shared(self._next_load)

    async def _load_next(self) -> None:
        async with self._one_load:
            self._load, self._next_load = self._next_load, None  # kept, or it might be collected
            with suppress(ApiTrouble):
                await self._read()

    async def run(self) -> None:
        try:
            await self._run()
        finally:
            for one in self._running.values():
                one.task.cancel()
            self._running.clear()
            await self._registry.close()

    async def _run(self) -> None:
        backoff = Backoff(GATHER_SECONDS, MAX_BACKOFF_SECONDS)
        while True:
            await self._something_due()
            await asyncio.sleep(jittered(GATHER_SECONDS, 1.0))
            try:
                pause = await self._round()
            except Conflict:
                pause = 0.0
            except ApiTrouble as e:
                if str(e) != self._trouble:
                    self._trouble = str(e)
                    log.warning("cannot keep what registries say about credentials; nothing is asked", problem=str(e))
                pause = backoff.next()
            else:
                self._trouble = ""
                backoff.reset()
            await asyncio.sleep(pause)

    async def _something_due(self) -> None:
        """Also results that could not be saved, and that we do not ask any more."""
        if self._running or self.kept.unsaved or self.kept.asks:
            return
        now = asyncio.get_running_loop().time
        while (due := self._pending.due) is None or due > now():
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - now()):
                    await self._news.wait()

    async def _round(self) -> float:
        """Seconds to wait. Raises ApiTrouble."""
        clock = asyncio.get_running_loop().time
        now = clock()
        await in_steps(self._pending.wake(now))
        if not self.kept.may_ask(now):
            await self._read()
            if not (self._running or self._pending.ready or self.kept.unsaved or self.kept.asks):
                return 0.0
            if self.kept.other_asks(now):
                await self._collect()  # if it has taken over, from us
                return jittered(BUSY_SECONDS)
            await self.kept.save(asking=True, begins=True)
            if clock() >= self._turn:
                self._turn = clock() + TURN_SECONDS
        if clock() < self._turn:
            self._begin()  # only now: a credential may have been withdrawn during the write
        await self._collect()
        if clock() >= self._turn and self._pending.ready:
            return 2 * BUSY_SECONDS  # so that another one looks meanwhile
        if self.kept.asks:
            return 0.0
        return max(0.0, now + len(self.checks.records) / RECORDS_PER_SECOND_AT_REST - clock())

    async def _collect(self) -> None:
        """Saves what is heard. While there is more to ask, we stay the one that asks, until our turn ends."""
        clock = asyncio.get_running_loop().time
        if self._running:
            await asyncio.wait([one.task for one in self._running.values()], timeout=ROUND_SECONDS)
        for host in [host for host, one in self._running.items() if one.task.done()]:
            self._running.pop(host).task.result()
        for _ in range(SAVES):
            more = bool(self._running) or (self._pending.ready and clock() < self._turn)
            asking = self.kept.asks and more
            too_soon = asking and self.kept.asked_within(len(self.checks.records) / RECORDS_PER_SECOND, clock())
            if asking == self.kept.asks and (too_soon or not self.kept.unsaved):
                return None
            with suppress(Conflict):
                return await self.kept.save(asking=asking)
            await self._read()
        raise ApiTrouble("others write the Secret with what registries say at the same time")

    async def _read(self) -> None:
        before, digests = self.checks, await self.kept.read()
        if digests is not None:
            return await self._heed(digests)
        pending, self._pending = self._pending, self._pending.emptied()
        await self.changed(None)
        await let_go(before.records)
        async for digest in few_at_a_time(pending.digests()):
            pending.remove(digest)
        return None

    async def _heed(self, digests: Collection[bytes]) -> None:
        """These have other checks than before."""
        async for digest in few_at_a_time(digests):
            check = self.checks.get(digest)
            if check is None or digest not in self._pending:
                continue
            if check.settled:
                self._pending.remove(digest)
            else:
                self._pending.put_off(digest, self._due_again(check))
        await self.changed(digests)

    # -- the registries --

    def _begin(self) -> None:
        """A registry that does not answer keeps its slot for some time; an owner may name many of them. So each owner
        gets one before another one gets the second. The slot of a registry that several owners name is that of one of
        them who has one left: nobody can keep it from being asked for others.
        """
        slots = Counter(one.owner for one in self._running.values())
        until = asyncio.get_running_loop().time() + ROUND_SECONDS
        for most in range(1, SLOTS_OF_OWNER + 1):
            for host, owners in self._pending.registries():
                if len(self._running) >= SLOTS:
                    return
                owner = next((one for one in owners if slots[one] < most), None)
                if host in self._running or owner is None:
                    continue
                slots[owner] += 1
                task = asyncio.create_task(self._ask(host, until), name=f"ask {host}")
                self._running[host] = _Running(task, owner)

    async def _ask(self, host: str, until: float) -> None:
        loop, failures, digests = asyncio.get_running_loop(), 0, self._pending.turns(host, QUESTIONS)
        for number, digest in enumerate(digests, 1):
            if loop.time() >= until:
                return
            if (pending := self._pending.get(digest)) is None or not pending.ready:
                continue  # it went, or another replica has just asked
            said = await self._registry.ask(pending.credential)
            await self._heard(host, digest, said)
            failures = failures + 1 if said.why in _NO_ANSWER else 0
            if said.why == Why.BUSY or failures == FAILURES:
                pause = min(max(said.retry_after, AGAIN_SECONDS), MAX_RETRY_AFTER_SECONDS)
                self._pending.pause(host, loop.time() + pause + jittered(GATHER_SECONDS, 1.0))
                return
            if said.of_all:  # which is reported once: with thousands of owners each would get an Event
                async for other in few_at_a_time(self._pending.at(host), 5):
                    if other.ready:
                        await self._heard(host, other.digest, said, report=False)
                return
            if number < len(digests):
                await asyncio.sleep(jittered(GAP_SECONDS))

    async def _heard(self, host: str, digest: bytes, said: Said, *, report: bool = True) -> None:
        if (pending := self._pending.get(digest)) is None:
            return
        now, before = asyncio.get_running_loop().time(), self.checks.get(digest)
        times = 1 if before is None else before.times + 1
        if said.retry_after > MAX_RETRY_AFTER_SECONDS:
            times = max(times, 2)
        # Of one that asks for a longer pause, the time is later, so that all replicas keep to it.
        at = self._wall() + max(0.0, min(said.retry_after, MAX_RETRY_AFTER_SECONDS) - AGAIN_SECONDS)
        check, together = Check(said.why, int(at), times), list[bytes]()
        if check.result == "refused" and before is not None and before.result != "refused":
            check = replace(check, single=True)
        if check.settled and check.result != "unknown":
            if len(self._lately) > MAX_REGISTRIES:
                self._lately.clear()
            lately = self._lately[host]
            lately.add(now, digest, refused=check.result == "refused")
            together = lately.together(self._max_refused)
            if together[-1:] == [digest]:
                check = replace(check, held=True)
        self.kept.put(digest, check)
        await self._heed([digest])
        if report:
            self.report(Result(pending.credential, check, said))
        async for other in few_at_a_time(together):
            if (refused := self.checks.get(other)) is not None and not refused.held:
                self.kept.put(other, replace(refused, held=True))
        await self._heed(together)

    def _due_again(self, check: Check) -> float:
        """In loop time. The wall clock may jump, so it is not longer than a registry may want."""
        wait = min(max(0.0, check.at + AGAIN_SECONDS - self._wall()), MAX_RETRY_AFTER_SECONDS)
        return asyncio.get_running_loop().time() + wait + jittered(GATHER_SECONDS, 1.0)


async def _nobody(_digests: Collection[bytes] | None) -> None:
    """Nobody is told."""
