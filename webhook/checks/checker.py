"""Asks registries about credentials, in the background, and keeps what they said.

A credential is asked about once; if it is refused, or if that is not known, once more half a minute later. All replicas
see the same credentials, so one of them asks and the others read what it was told, in a Secret that all share. That
Secret also says who asks: it changes hands by a write that fails if somebody else wrote first. Nothing is read or
written while there is nothing to ask.
"""

import asyncio
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import Protocol

import structlog

from certs.errors import ApiTrouble, Conflict
from certs.ports import Store, Stored
from webhook.checks.registryclient import Said
from webhook.core.backoff import Backoff, jittered
from webhook.core.check import AGAIN_SECONDS, ASKING, KEY, RECORDS, Check, Checks, Why, decoded, encoded
from webhook.core.credential import Credential
from webhook.core.registry import asked_at

log = structlog.get_logger()
GATHER_SECONDS = 1.0
"""Seconds, at most, until a replica begins: what changes together is asked about together, and replicas rarely collide.
"""
ROUND_SECONDS = 3.0
"""Seconds after which no registry is asked about one more credential, and results are saved, also while a registry has
not answered.
"""
GAP_SECONDS = 0.5
"""Seconds between two credentials at one registry, at most."""
SLOTS, SLOTS_OF_OWNER = 8, 2
"""Registries that are asked at the same time: of all owners, and of one."""
TAKEOVER_SECONDS = 60.0
"""Seconds without a write after which another replica asks in place of one that has begun."""
BUSY_SECONDS = 3.0
"""Seconds until a replica looks again whether another one is still asking."""
MAX_RETRY_AFTER_SECONDS = 3600.0
"""A registry that wants a longer pause is not asked again."""
TOGETHER_SECONDS, FEW_REFUSED = 600.0, 5
"""Refusals of one registry within this time count together, if there are more than this number."""
MAX_REGISTRIES = 1024
"""Registries of which is remembered what they said lately, and pauses that may be over."""
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


@dataclass(slots=True)
class _Pending:
    """`due`: loop time. `owner`: one who has it."""

    credential: Credential
    due: float
    owner: str


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


@dataclass(slots=True)
class _Lately:
    """What one registry said within TOGETHER_SECONDS: loop time, digest, and whether it was a refusal."""

    answers: deque[tuple[float, bytes, bool]] = field(default_factory=deque)

    def add(self, now: float, digest: bytes, *, refused: bool) -> None:
        self.answers.append((now, digest, refused))
        while now - self.answers[0][0] > TOGETHER_SECONDS:
            self.answers.popleft()

    def together(self, share: float) -> list[bytes]:
        """The refused ones, if they are too many to be the fault of their owners."""
        refused = [digest for _, digest, bad in self.answers if bad]
        return refused if len(refused) > max(FEW_REFUSED, share * len(self.answers)) else []


class Checker:
    """`me`: this replica's name. `max_refused`: the share of credentials that one registry may refuse together. `wall`:
    seconds since 1970.

    `report` is called with each result, `changed` with the digests whose refusal has changed; None: with another key
    all digests have.
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
        self._store, self._registry, self._me, self._max_refused, self._wall = store, registry, me, max_refused, wall
        self.checks = Checks(new_key)
        self.report: Callable[[Result], None] = lambda _result: None
        self.changed: Callable[[Collection[bytes] | None], None] = lambda _digests: None
        self._pending: dict[bytes, _Pending] = {}
        """The newest last."""
        self._running: dict[str, _Running] = {}
        """By registry."""
        self._news = asyncio.Event()
        self._stored: Stored | None = None
        self._unsaved: dict[bytes, bytes] = {}
        self._paused: dict[str, float] = {}
        """By registry: loop time until which it is not asked."""
        self._lately: defaultdict[str, _Lately] = defaultdict(_Lately)
        self._other: tuple[str, str, float] = "", "", 0.0
        """Another replica that asks, the Secret's version, and since when we know that version."""
        self._trouble = ""

    def want(self, digest: bytes, c: Credential, owner: str) -> None:
        """It is to be asked about, unless that was done."""
        check = self.checks.get(digest)
        if digest in self._pending or (check is not None and check.settled):
            return
        self._pending[digest] = _Pending(c, 0.0 if check is None else self._due_again(check), owner)
        self._news.set()

    def drop(self, digests: Iterable[bytes]) -> None:
        """No owner has it any more."""
        for digest in digests:
            self._pending.pop(digest, None)

    def has_unsettled(self, digests: Iterable[bytes]) -> bool:
        """May another replica be told something about one of these?"""
        return any(digest in self._pending for digest in digests)

    async def load(self) -> None:
        """What replicas were told before. If that cannot be read, it is tried again before anything is asked."""
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
        """Also results that could not be saved."""
        if self._running or self._unsaved:
            return
        now = asyncio.get_running_loop().time
        while (due := min((one.due for one in self._pending.values()), default=None)) is None or due > now():
            self._news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(None if due is None else due - now()):
                    await self._news.wait()

    async def _round(self) -> float:
        """Seconds to wait. Raises ApiTrouble."""
        await self._read()
        now = asyncio.get_running_loop().time()
        if not self._running:
            if not self._due(now) and not self._unsaved:
                return 0.0
            if self._other_asks(now):
                return jittered(BUSY_SECONDS)
            await self._save(asking=True, begins=True)
        self._begin(self._due(now))  # only now: a credential may have been withdrawn during the write
        if self._running:
            await asyncio.wait([one.task for one in self._running.values()], timeout=ROUND_SECONDS)
        for host in [host for host, one in self._running.items() if one.task.done()]:
            self._running.pop(host).task.result()
        await self._save(asking=bool(self._running))
        return 0.0

    def _due(self, now: float) -> list[bytes]:
        """The newest of each owner, then the second of each, and so on, so that no owner delays the others."""
        of_owner: dict[str, list[bytes]] = {}
        for digest, one in reversed(self._pending.items()):
            if one.due <= now:
                of_owner.setdefault(one.owner, []).append(digest)
        return [digest for turn in zip_longest(*of_owner.values()) for digest in turn if digest is not None]

    # -- the Secret --

    async def _read(self) -> None:
        stored = await self._store.read()
        key, before = (stored.data.get(KEY) or b"" if stored is not None else b""), self.checks
        self._stored = stored
        if stored is None or not key:
            return
        records = decoded(stored.data.get(RECORDS, b""))
        if key != before.key:
            self._unsaved = {}
            self.checks = Checks(key, records)
            pending, self._pending = self._pending, {}
            for one in pending.values():
                self.want(self.checks.digest(one.credential), one.credential, one.owner)
            self.changed(None)
            return
        self.checks = Checks(key, records | self._unsaved)
        self._settle({digest for digest, record in records.items() if before.records.get(digest) != record}, before)

    def _settle(self, digests: Collection[bytes], before: Checks) -> None:
        """These have other checks than before."""
        refusals = set()
        for digest in digests:
            check, last = self.checks.get(digest), before.get(digest)
            if check is not None and check.settled:
                self._pending.pop(digest, None)
            elif check is not None and (pending := self._pending.get(digest)) is not None:
                pending.due = self._due_again(check)
            if (check and check.refusal) != (last and last.refusal):
                refusals.add(digest)
        if refusals:
            self.changed(refusals)

    async def _save(self, *, asking: bool, begins: bool = False) -> None:
        """Writes the results that are not saved yet, and whether we ask. Raises ApiTrouble; Conflict if it `begins`."""
        for _ in range(SAVES):
            saved = self._unsaved
            data = {KEY: self.checks.key, RECORDS: encoded(self.checks.records)}
            if asking:
                data[ASKING] = f"{self._me} {self._wall():.3f}".encode()
            try:
                self._stored = await self._store.write(data, self._stored)
            except Conflict:
                if begins:
                    raise  # somebody else may have begun
                await self._read()
                continue
            self._unsaved = {digest: one for digest, one in self._unsaved.items() if saved.get(digest) != one}
            return
        raise ApiTrouble("others write the Secret with what registries say at the same time")

    def _other_asks(self, now: float) -> bool:
        stored = self._stored
        name = stored.data.get(ASKING, b"").decode(errors="replace").partition(" ")[0] if stored is not None else ""
        if stored is None or name in {"", self._me}:
            return False
        if self._other[:2] != (name, stored.version):
            self._other = name, stored.version, now
        return now - self._other[2] < TAKEOVER_SECONDS

    # -- the registries --

    def _begin(self, due: Sequence[bytes]) -> None:
        """A registry that does not answer keeps its slot for some time; an owner may name many of them."""
        at: dict[str, list[bytes]] = {}
        for digest in due:
            registry = self._pending[digest].credential.registry
            at.setdefault(asked_at(registry) or registry, []).append(digest)
        slots = Counter(one.owner for one in self._running.values())
        until = asyncio.get_running_loop().time() + ROUND_SECONDS
        for host, digests in at.items():
            owner = self._pending[digests[0]].owner
            if host in self._running or slots[owner] == SLOTS_OF_OWNER or slots.total() == SLOTS:
                continue
            slots[owner] += 1
            task = asyncio.create_task(self._ask(host, digests, until), name=f"ask {host}")
            self._running[host] = _Running(task, owner)

    async def _ask(self, host: str, digests: Sequence[bytes], until: float) -> None:
        loop = asyncio.get_running_loop()
        if (paused := self._paused.pop(host, 0.0)) > loop.time():
            self._paused[host] = paused
            self._put_off(digests, paused)
            return
        failures = 0
        for number, digest in enumerate(digests):
            if loop.time() >= until:
                return
            if (pending := self._pending.get(digest)) is None:
                continue
            said = await self._registry.ask(pending.credential)
            self._heard(host, digest, said)
            rest = digests[number + 1 :]
            failures = failures + 1 if said.why in _NO_ANSWER else 0
            if said.why == Why.BUSY or failures == FAILURES:
                end = loop.time() + min(max(said.retry_after, AGAIN_SECONDS), MAX_RETRY_AFTER_SECONDS)
                self._pause(host, end)
                self._put_off(rest, end)
                return
            if said.of_all:
                for other in rest:
                    self._heard(host, other, said)
                return
            if rest:
                await asyncio.sleep(jittered(GAP_SECONDS))

    def _pause(self, host: str, until: float) -> None:
        if len(self._paused) >= MAX_REGISTRIES:  # of one that is not asked any more, the pause may be over long since
            now = asyncio.get_running_loop().time()
            self._paused = {one: end for one, end in self._paused.items() if end > now}
        self._paused[host] = until

    def _put_off(self, digests: Iterable[bytes], until: float) -> None:
        for digest in digests:
            if (pending := self._pending.get(digest)) is not None:
                pending.due = max(pending.due, jittered(GATHER_SECONDS, 1.0) + until)

    def _heard(self, host: str, digest: bytes, said: Said) -> None:
        if (pending := self._pending.get(digest)) is None:
            return
        now, before = asyncio.get_running_loop().time(), self.checks.get(digest)
        times = 1 if before is None else before.times + 1
        if said.retry_after > MAX_RETRY_AFTER_SECONDS:
            times = max(times, 2)
        # Of one that asks for a longer pause, the time is later, so that all replicas keep to it.
        at = self._wall() + max(0.0, min(said.retry_after, MAX_RETRY_AFTER_SECONDS) - AGAIN_SECONDS)
        check = Check(said.why, int(at), times)
        if check.result == "refused" and before is not None and before.result != "refused":
            check = replace(check, single=True)
        new = {digest: check}
        if check.settled and check.result != "unknown":
            if len(self._lately) > MAX_REGISTRIES:
                self._lately.clear()
            lately = self._lately[host]
            lately.add(now, digest, refused=check.result == "refused")
            for other in lately.together(self._max_refused):
                if (refused := new.get(other) or self.checks.get(other)) is not None and not refused.held:
                    new[other] = replace(refused, held=True)
        known, records = self.checks, {other: one.record for other, one in new.items()}
        self._unsaved = self._unsaved | records  # another object: a write may have the one before
        self.checks = Checks(known.key, {**known.records, **records})
        self._settle(new.keys(), known)
        self.report(Result(pending.credential, new[digest], said))

    def _due_again(self, check: Check) -> float:
        """In loop time. The wall clock may jump, so it is not longer than a registry may want."""
        wait = min(max(0.0, check.at + AGAIN_SECONDS - self._wall()), MAX_RETRY_AFTER_SECONDS)
        return asyncio.get_running_loop().time() + wait + jittered(GATHER_SECONDS, 1.0)
