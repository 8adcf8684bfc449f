"""Issues the credentials of all owners by one issuer: a work queue of owners, a few workers, a back-off for each owner.

Level-triggered: what is to be done follows from the owner's Secret and the time (core/issued.py). A restart, another
leader and a list that is read again mint nothing while what stands is young.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Literal

import structlog

from webhook.core.backoff import Backoff
from webhook.core.errors import PullsecretError, WriteConflict
from webhook.core.issued import End, Mint, Remove, Step, Wait, next_step
from webhook.core.metrics import IssuerNumbers
from webhook.issuers import Fence, Issuer, IssueRefused, NotLeading
from webhook.issuers.minting import Bucket, Minting, Store, Verify
from webhook.issuers.notices import Problem

log = structlog.get_logger()
WORKERS = 4
BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 1.0, 300.0
"""The first and the longest delay of an owner after a failure, before the jitter."""
CHANGED_SECONDS = 10.0
"""The longest delay after a failure if something about the owner changes: tenants can change theirs all the time."""
MAX_RETRY_AFTER_SECONDS = 300.0
"""An issuer that wants a longer pause gets this one: a single answer, perhaps of a proxy, holds for all owners, and
some credentials have six minutes left when they are renewed.
"""
LONGEST_SLEEP_SECONDS = 3600.0
"""The wall clock may jump, and loop time does not."""
MANY = 20
"""Owners that fail at the same time, and as many that are refused. Each more is told quietly: an outage must not become
thousands of Events, and names that do not fit must not hide it.
"""
MANY_CONFLICTS = 5
"""Writes in a row that lose: another replica would not win so often, so people are told."""
RESULTS = ("issued", "ended", "unavailable", "refused", "lost", "failed")
"""What is counted. Lost: another replica was faster, or leads; failed: our own bug."""
STATES = ("fresh", "due", "failing")
"""Of an owner with a namespace. Due: has no credential that can be read, or one to be renewed by now."""
_TRIED: Mapping[type[Step], str] = {
    Mint: "no new credential",
    End: "a credential that has ended is not taken away",
    Remove: "its Secret is not removed",
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of one turn of an owner. `problem`: None if all is well. `after`: seconds until the next one; None: none."""

    problem: Problem | None
    after: float | None


@dataclass(slots=True)
class _Owner:
    """`state`: where it is. `timer`: of its next turn. `again`: something has changed during its turn.
    `conflicts`: in a row. `earliest`: loop time of the next turn after a failure, whatever changes.
    """

    state: Literal["idle", "queued", "busy"] = "idle"
    timer: asyncio.TimerHandle | None = None
    again: bool = False
    conflicts: int = 0
    earliest: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, jitter=1.0))
    problem: Problem | None = None


class Issuing:
    """`wanted`: has this owner a namespace, and is the issuer for it? `told`: called with an owner and what is wrong
    after each turn that fails, and with None when one goes well after that.
    """

    def __init__(
        self,
        issuer: Issuer,
        store: Store,
        wanted: Callable[[str], bool],
        verify: Verify,
        fence: Fence,
        now: Callable[[], datetime],
        told: Callable[[str, Problem | None], None],
        bucket: Bucket,
    ) -> None:
        self._store, self._wanted, self._now, self._told = store, wanted, now, told
        self._owners: dict[str, _Owner] = {}
        self._queue: asyncio.Queue[tuple[int, int, str]] = asyncio.PriorityQueue()
        """Owners, by whose turn is first, and the order in which they came."""
        self._came = count()
        self._failing = Counter[bool]()
        """Owners with a problem, by whether they are refused."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """None: another replica leads."""
        self._paused_until = 0.0
        """Loop time: the issuer has asked to be left alone."""
        self.results: Counter[str] = Counter(dict.fromkeys(RESULTS, 0))
        self._minting = Minting(issuer, store, verify, fence, now, bucket, self.results)

    def look(self, owner: str) -> None:
        """Soon: something about it has changed. Nothing is kept by a replica that waits: owners come and go."""
        if self._loop is None:
            return
        known = self._owners.setdefault(owner, _Owner())
        if known.state == "busy":
            known.again = True
        elif known.state == "idle":
            self._soon(owner, known, self._loop)

    def _soon(self, owner: str, known: _Owner, loop: asyncio.AbstractEventLoop) -> None:
        if known.earliest <= loop.time():
            self._enqueue(owner, known)
        elif known.timer is None or known.timer.when() > known.earliest:
            self._later(owner, known, known.earliest, loop)

    def _later(self, owner: str, known: _Owner, at: float, loop: asyncio.AbstractEventLoop) -> None:
        if known.timer is not None:
            known.timer.cancel()
        known.state = "idle"
        known.timer = loop.call_at(at, self._enqueue, owner, known)

    def _enqueue(self, owner: str, known: _Owner) -> None:
        if known.timer is not None:
            known.timer.cancel()
        known.timer, known.state = None, "queued"
        self._queue.put_nowait((self._rank(owner, known), next(self._came), owner))

    def _rank(self, owner: str, known: _Owner) -> int:
        """First who has what ends, last who is refused: there may be more of those than can be gone through in time,
        since tenants may name owners.
        """
        exists, _ = self._store.found(owner)
        return (not exists) + (known.problem is not None and known.problem.refused)

    def numbers(self, owners: Iterable[str]) -> IssuerNumbers:
        """`owners`: those with a namespace. Only the replica that leads knows which of them fail."""
        now, states, ends, late = self._now(), dict.fromkeys(STATES, 0), list[datetime](), 0
        for owner in filter(self._wanted, owners):
            known, (_, found) = self._owners.get(owner), self._store.found(owner)
            failing = known is not None and known.problem is not None
            due = found is None or now >= found.renewed_at(owner)
            states["failing" if failing else "due" if due else "fresh"] += 1
            if found is not None:
                ends.append(found.ends)
                late += found.is_late(now)
        return IssuerNumbers(self.results, states, late, min(ends).timestamp() if ends else None)

    async def run(self, owners: Iterable[str]) -> None:
        """Until it is cancelled, because another replica leads. `owners`: those with a namespace, gone through now."""
        self._loop = asyncio.get_running_loop()
        for owner in {*owners, *self._store.owners()}:
            self.look(owner)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(WORKERS):
                    group.create_task(self._work())
        finally:
            self._loop = None
            for known in self._owners.values():
                if known.timer is not None:
                    known.timer.cancel()
            self._owners.clear()
            self._failing.clear()
            self._queue = asyncio.PriorityQueue()

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            _, _, owner = await self._queue.get()
            known = self._owners[owner]
            if loop.time() < self._paused_until:
                self._later(owner, known, self._paused_until, loop)
                continue
            known.state = "busy"
            outcome = await self._turn(owner, known)
            if outcome.problem is not known.problem:  # the same one: this turn says nothing about it
                self._count(known.problem, outcome.problem)
                known.problem = outcome.problem
                self._told(owner, outcome.problem)
            known.state = "idle"
            failed = known.backoff.delay > 0 and outcome.after is not None
            known.earliest = loop.time() + min(outcome.after or 0.0, CHANGED_SECONDS) if failed else 0.0
            if known.again:
                known.again = False
                self._soon(owner, known, loop)
            elif outcome.after is None:
                del self._owners[owner]
            else:
                self._later(owner, known, max(loop.time() + outcome.after, self._paused_until), loop)

    def _count(self, before: Problem | None, now: Problem | None) -> None:
        if before is not None:
            self._failing[before.refused] -= 1
        if now is not None:
            self._failing[now.refused] += 1
            if self._failing[now.refused] == MANY and (before is None or before.refused != now.refused):
                log.warning("many owners get no new credential; see the metrics for how many", last=now.text)

    async def _turn(self, owner: str, known: _Owner) -> Outcome:
        step: Step | None = None
        lost, known.conflicts = known.conflicts, 0
        try:
            exists, found = self._store.found(owner)
            step = next_step(owner, found, self._now(), exists=exists, wanted=self._wanted(owner))
            if isinstance(step, Wait):
                known.backoff.reset()
                return Outcome(None, self._seconds(step) if exists else None)
            await self._minting.do(owner, found, step)
        except NotLeading:
            self.results["lost"] += 1
            return Outcome(known.problem, known.backoff.next())
        except WriteConflict as e:  # the Secret that another one wrote is seen soon
            self.results["lost"] += 1
            known.conflicts = lost + 1
            problem = self._problem(owner, known, step, str(e)) if known.conflicts >= MANY_CONFLICTS else known.problem
            return Outcome(problem, known.backoff.next())
        except IssueRefused as e:
            self.results["refused"] += 1
            known.backoff.delay = MAX_BACKOFF_SECONDS  # only a change helps
            return Outcome(self._problem(owner, known, step, str(e), refused=not e.everybody), known.backoff.next())
        except PullsecretError as e:
            self.results["unavailable"] += 1
            wait = min(getattr(e, "retry_after", 0.0), MAX_RETRY_AFTER_SECONDS)
            if wait:
                self._paused_until = asyncio.get_running_loop().time() + wait
            return Outcome(self._problem(owner, known, step, str(e)), max(known.backoff.next(), wait))
        except Exception:
            log.exception("our own bug: a credential could not be issued", owner=owner)
            self.results["failed"] += 1
            bug = "an error in pullsecret-webhook itself; see its log"
            return Outcome(self._problem(owner, known, step, bug), known.backoff.next())
        known.backoff.reset()
        return Outcome(None, 0.0)

    def _seconds(self, step: Wait) -> float:
        return max(0.0, min((step.until - self._now()).total_seconds(), LONGEST_SLEEP_SECONDS))

    def _problem(self, owner: str, known: _Owner, step: Step | None, why: str, *, refused: bool = False) -> Problem:
        _, found = self._store.found(owner)
        late = isinstance(step, Mint) and found is not None and found.is_late(self._now())
        text = why if step is None else f"{_TRIED[type(step)]}: {why}"
        ends = found.ends if late and found is not None else None
        before = known.problem
        many = before.many if before and before.refused == refused else self._failing[refused] >= MANY
        return Problem(text, refused, ends, many)
