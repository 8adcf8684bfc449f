"""Makes a `Source` of a `Remote`, which may be slow or down.

- An answer is used while it is fresh: as long as the remote says, and at least MIN_FRESH_SECONDS, so that the write of
  one Secret, which needs it several times, asks once. Later the next review or reconcile asks again; nothing polls.
- `invalidate` means that something wrote a different pull secret: another replica may have a newer answer.
- One query runs per owner, and all callers share it. If the owner changes meanwhile, the query is repeated before any
  caller gets the answer.
- **An answer that is no longer fresh is never used.** If the remote cannot answer, SourceUnavailable is raised: the
  existing pull secret stays unchanged, and no credential is written that may have been withdrawn. To survive longer
  outages, a remote gives answers that stay fresh for longer.
- A remote that fails gets fewer queries: breaker.py.
- Memory is bounded: the least recently used answers are dropped first. A digest of each is kept, so that a change is
  still noticed.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace
from datetime import datetime

from webhook.core.backoff import Backoff
from webhook.core.credential import Credentials, Origin, has_expired, in_order
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.core.notice import Reason
from webhook.sources import Changed
from webhook.sources.breaker import OWNERS, Breaker, clock
from webhook.sources.remote import QUERY_SECONDS, Answer, Remote, down
from webhook.tasks import shared

MIN_FRESH_SECONDS, MAX_FRESH_SECONDS = 1.0, 86400.0
"""Limits of the time that an answer is fresh, whatever the remote says."""
FEED_BACKOFF_SECONDS, MAX_FEED_BACKOFF_SECONDS = 0.5, 3.0
"""The first and the longest delay before a broken feed of changes is started again."""
MAX_INVALIDATION_SECONDS = 60.0
"""The longest delay between two invalidations of one owner that change nothing."""
OVERTAKEN = 3
"""Queries in a row that a change of the owner may overtake; after that the owner is requeued."""
FLIGHTS = 8
"""Owners about whom `prefetch` begins to ask in one pass of the event loop: 128 at once would take 5 ms."""
BUDGET_BYTES = 32 * 1024 * 1024
"""Approximate bytes of answers."""

Report = Callable[[Reason, str, str], None]
"""Records a notice about the source: reason, message, and the owner; empty: all owners."""


@dataclass(slots=True)
class _Entry:
    """Fresh until `until`, in loop time, and `expiry`, when its first credential expires: then there may be a new one.
    `invalidated`: the cluster shows that it may be old.
    """

    answer: Answer
    until: float
    expiry: datetime | None
    invalidated: bool = False


@dataclass(slots=True)
class _Futile:
    """Invalidations of one owner that changed nothing. `until`: loop time; earlier ones are ignored."""

    backoff: Backoff = field(default_factory=lambda: Backoff(MIN_FRESH_SECONDS, MAX_INVALIDATION_SECONDS, jitter=0.0))
    until: float = 0.0

    def again(self, now: float) -> None:
        if now >= self.until + MAX_INVALIDATION_SECONDS:
            self.backoff.reset()
        self.until = now + self.backoff.next()


class Cached:
    """`now` is the wall clock."""

    def __init__(
        self,
        origin: Origin,
        remote: Remote,
        changed: Changed,
        report: Report,
        metrics: Metrics,
        now: Callable[[], datetime],
    ) -> None:
        self._origin, self._name, self._remote, self._changed = origin, origin.source, remote, changed
        self._report, self._metrics, self._now = report, metrics, now
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._weight = 0
        self._dropped: OrderedDict[str, int] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Credentials]] = {}
        self._overtaken: set[str] = set()
        self._futile: OrderedDict[str, _Futile] = OrderedDict()
        self._down: set[str] = set()
        """Owners for whom an outage was reported, which is not over."""
        self._troubled: OrderedDict[str, None] = OrderedDict()
        """Owners about whom something was reported, which is not over."""
        self._answers = False
        """Has it ever answered us? With the first answer, what a replica before this one reported is over."""
        self._feed_broken = False
        self._breaker = Breaker(self._name, metrics, changed, lambda: bool(self._flights), self._start)
        self.settled = asyncio.Event()
        self.settled.set()  # there is nothing to list

    def known(self, owner: str) -> Credentials | None:
        entry = self._entries.get(owner)
        if entry is None or clock() >= entry.until:
            return None
        if entry.expiry is not None and has_expired(entry.expiry, self._now()):
            return None
        self._entries.move_to_end(owner)
        return entry.answer.credentials

    async def credentials(self, owner: str) -> Credentials:
        if (known := self.known(owner)) is not None:
            return known
        flight = self._flights.get(owner)
        if flight is None:
            self._breaker.check(owner)
            flight = self._start(owner)
        try:
            return await shared(flight)  # a cancelled caller does not cancel the query of the others
        finally:
            del flight  # an error keeps this frame: if it kept the task, both would stay until a garbage collection

    async def prefetch(self, owners: Collection[str]) -> None:
        """Nothing without queries for many owners: so many at once would wait for each other past their time limits."""
        if not self._remote.many:
            return
        flights, begun = set[asyncio.Task[Credentials]](), 0
        for owner in owners:
            under_way = owner in self._flights
            if (flight := self._flight(owner)) is None:
                continue
            flights.add(flight)
            if not under_way and (begun := begun + 1) % FLIGHTS == 0:
                await asyncio.sleep(0)  # not longer: a query waits until a pass brings nobody more
        if flights:
            await asyncio.wait(flights)

    def _flight(self, owner: str) -> asyncio.Task[Credentials] | None:
        """None: the owner is known, or may not be asked about now."""
        if self.known(owner) is not None:
            return None
        if (flight := self._flights.get(owner)) is not None:
            return flight
        try:
            self._breaker.check(owner)
        except SourceUnavailable:
            return None
        return self._start(owner)

    def invalidate(self, owner: str) -> None:
        """Ignored for a while if the last one changed nothing: a tenant can cause any number of them by edits."""
        if (futile := self._futile.get(owner)) is not None and clock() < futile.until:
            return
        if (entry := self._entries.get(owner)) is not None:
            entry.invalidated = True
        self._expire(owner)

    def _expire(self, owner: str) -> None:
        if (entry := self._entries.get(owner)) is not None:
            entry.until = 0.0
        if owner in self._flights:
            self._overtaken.add(owner)

    def able(self) -> bool:
        return self._breaker.closed and not self._feed_broken

    async def run(self) -> None:
        try:
            await self._listen()
        finally:
            await self._remote.close()

    async def _listen(self) -> None:
        backoff = Backoff(FEED_BACKOFF_SECONDS, MAX_FEED_BACKOFF_SECONDS)
        while True:
            began = clock()
            try:
                await self._remote.run(self._remote_changed)
                why = "it ended"
            except SourceUnavailable as e:
                why = str(e)
            except Exception as e:  # noqa: BLE001  # any error: the other sources go on; its text may be a token
                why = f"an error in pullsecret-webhook itself ({type(e).__name__})"
            if clock() - began > MAX_FEED_BACKOFF_SECONDS:
                backoff.reset()
            self._feed_broken = True
            self._report("SourceFeedBroken", f"source {self._name}: cannot watch for changes: {why}; trying again", "")
            await asyncio.sleep(backoff.next())

    # -- one query --

    def _start(self, owner: str) -> asyncio.Task[Credentials]:
        task = self._flights[owner] = asyncio.create_task(self._query(owner), name=f"ask {self._name}")
        task.add_done_callback(lambda done: self._landed(owner, done))
        return task

    def _landed(self, owner: str, task: asyncio.Task[Credentials]) -> None:
        del self._flights[owner]
        if not task.cancelled():
            task.exception()  # reads the error, for which perhaps no caller waits any more

    async def _query(self, owner: str) -> Credentials:
        try:
            for _ in range(OVERTAKEN):
                self._overtaken.discard(owner)
                answer = await self._ask(owner)
                if owner not in self._overtaken:
                    fresh_for = min(max(answer.fresh_for, MIN_FRESH_SECONDS), MAX_FRESH_SECONDS)
                    return self._answered(owner, answer, fresh_for)
        except SourceUnavailable as e:
            self._failed(owner, e)
            raise
        finally:
            self._overtaken.discard(owner)
        found = self._answered(owner, answer, 0.0)
        self._changed(owner)
        return found

    async def _ask(self, owner: str) -> Answer:
        before = self._entries.get(owner)
        if not self._remote.many:  # Batched counts its own
            self._metrics.queries.labels(self._name).inc()
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                return await self._remote.ask(owner, before.answer if before is not None else None)
        except SourceUnavailable as e:
            trouble = e
        except TimeoutError:
            trouble = down("no answer in time")
        except Exception as e:  # noqa: BLE001  # as in `_listen`
            trouble = SourceUnavailable(f"an error in pullsecret-webhook itself ({type(e).__name__})")
        # Raised here and without its context: as long as the error is kept, the frames of its traceback would keep the
        # answer, up to 1 MiB, and what was decoded from it, up to 16 MiB.
        trouble.__context__ = None
        try:
            raise trouble.with_traceback(None)
        finally:
            del trouble  # this frame must not keep the error either

    # -- its result --

    def _answered(self, owner: str, answer: Answer, fresh_for: float) -> Credentials:
        self._metrics.asked.labels(self._name, "answered").inc()
        before, dropped = self._entries.pop(owner, None), self._dropped.pop(owner, None)
        if before is not None:
            self._weight -= before.answer.weight
        found = in_order(set(answer.credentials.items))
        credentials = Credentials(tuple(replace(c, origin=self._origin) for c in found))
        if same := before is not None and before.answer.credentials == credentials:
            credentials = before.answer.credentials
        if before is not None and before.invalidated:
            self._count_invalidation(owner, futile=same)
        self._remember(owner, replace(answer, credentials=credentials), fresh_for)
        if answer.problems:
            problems = "; ".join(answer.problems)
            self._trouble(owner)
            self._report("SourceAnswerBroken", f"source {self._name}: owner {owner}: {problems}", owner)
        elif owner in self._troubled:
            del self._troubled[owner]
            self._report("SourceAnswers", f"source {self._name}: it answers again for owner {owner}", owner)
        if (before is not None and not same) or dropped not in {None, hash(credentials)}:
            self._changed(owner)  # the owner's other namespaces need it too
        self._works(owner, closed=self._breaker.answered(owner))
        return credentials

    def _trouble(self, owner: str) -> None:
        self._troubled[owner] = None
        if len(self._troubled) > OWNERS:
            self._troubled.popitem(last=False)

    def _works(self, owner: str, *, closed: bool) -> None:
        """It has answered. `closed`: after an outage for several owners."""
        was_down = bool(self._down)
        self._down.discard(owner)
        if closed:
            self._down.clear()  # those for whom it still does not answer are reported again
        if (was_down and not self._down) or not self._answers:
            self._report("SourceAnswers", f"source {self._name}: it answers{' again' if was_down else ''}", "")
        self._answers = True

    def _count_invalidation(self, owner: str, *, futile: bool) -> None:
        before = self._futile.pop(owner, None) or _Futile()
        if futile:
            before.again(clock())
            self._futile[owner] = before
            if len(self._futile) > OWNERS:
                self._futile.popitem(last=False)

    def _remember(self, owner: str, answer: Answer, fresh_for: float) -> None:
        self._entries[owner] = _Entry(answer, clock() + fresh_for, answer.credentials.next_expiry(self._now()))
        self._weight += answer.weight
        while self._weight > BUDGET_BYTES and len(self._entries) > 1:
            oldest, entry = self._entries.popitem(last=False)
            self._weight -= entry.answer.weight
            self._dropped[oldest] = hash(entry.answer.credentials)  # of texts: another one in each process
            if len(self._dropped) > OWNERS:
                self._dropped.popitem(last=False)

    def _remote_changed(self, owner: str | None) -> None:
        """One owner (None: all) changed: answers are no longer fresh, and the reason of a back-off may be gone."""
        for one in [owner] if owner is not None else {*self._entries, *self._flights}:
            self._expire(one)
        self._breaker.reset(owner)
        self._changed(owner)
        if owner is None and self._feed_broken:
            self._feed_broken = False
            self._report("SourceFeedWorks", f"source {self._name}: it is watched for changes again", "")

    def _failed(self, owner: str, e: SourceUnavailable) -> None:
        self._metrics.asked.labels(self._name, "unavailable").inc()
        closed = self._breaker.failed(owner, e)
        if e.everybody:
            if len(self._down) < OWNERS:
                self._down.add(owner)
            self._report("SourceUnavailable", f"source {self._name}: {e}; existing pull secrets stay unchanged", "")
        else:
            self._works(owner, closed=closed)
            self._trouble(owner)
            self._report("SourceUnavailable", f"source {self._name}: no answer for owner {owner}: {e}", owner)
