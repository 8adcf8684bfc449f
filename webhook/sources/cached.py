"""Makes a `Source` of a `Remote`: something that is asked for one owner at a time, and may be slow or down.

- An answer is handed out while it is fresh, as long as the remote said (at least MIN_FRESH_SECONDS, so that the writing
  of one Secret, which looks several times, asks once). After that the next admission or look asks again; nothing polls.
- An answer that is contradicted by what somebody wrote into the cluster is invalidated: another replica may have asked
  later. While nobody can say, what was written stays.
- One question an owner at a time, joined by all who want to know. If there is news of the owner meanwhile, the question
  is asked again before anybody is told the answer.
- **An answer that is no longer fresh is never handed out.** While nobody can say, SourceUnavailable is raised: what
  stands in the cluster stays, and nothing is written that may have been withdrawn since. A source that is to survive
  longer outages says so, by answers that are fresh for longer.
- A remote that fails is left alone for a while: breaker.py.
- Memory is bounded: the answers that were not used for the longest time are dropped first. Of those a digest is kept,
  so that another answer is still known to be another one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from webhook.core.backoff import Backoff
from webhook.core.credential import Credentials, Origin, in_order
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.sources import Changed
from webhook.sources.breaker import Breaker
from webhook.sources.remote import Answer, Remote

MIN_FRESH_SECONDS, MAX_FRESH_SECONDS = 1.0, 86400.0
"""Seconds that an answer is fresh, whatever the remote says."""
QUESTION_SECONDS = 60.0
"""Seconds for one question. A remote has shorter limits of its own; this is for one that forgot."""
FEED_BACKOFF_SECONDS, MAX_FEED_BACKOFF_SECONDS = 0.5, 3.0
"""The first and the longest pause after a feed of changes has broken off."""
MAX_INVALIDATION_SECONDS = 60.0
"""The longest pause between two doubts of one owner that were in vain."""
OVERTAKEN = 3
"""Times that a question is asked anew because of news; then the next look must do."""
BUDGET_BYTES = 32 * 1024 * 1024
"""Bytes of answers, roughly."""
OWNERS = 100_000
"""Owners whose vain doubts are remembered, and the digests of answers that were dropped."""

Say = Callable[[str, str, str], None]
"""Tells a reason (as in Events) and a message about a source, and of which owner it is, if of one."""


@dataclass(slots=True)
class _Entry:
    """`until`: loop time at which it stops being fresh. `invalidated`: by what the cluster shows, it may be old."""

    answer: Answer
    until: float
    invalidated: bool = False


@dataclass(frozen=True, slots=True)
class _Futile:
    """Doubts of one owner that were answered as before. `until`: loop time to which there are no more."""

    delay: float = 0.0
    until: float = 0.0

    def again(self, now: float) -> "_Futile":
        delay = (
            min(self.delay * 2, MAX_INVALIDATION_SECONDS)
            if self.delay and now < self.until + MAX_INVALIDATION_SECONDS
            else MIN_FRESH_SECONDS
        )
        return _Futile(delay, now + delay)


_NEVER = _Futile()


class Cached:
    """`say` tells about the source as a whole and about single owners; `now` is the wall clock."""

    def __init__(
        self, origin: Origin, remote: Remote, changed: Changed, say: Say, metrics: Metrics, now: Callable[[], datetime]
    ) -> None:
        self._origin, self._name, self._remote, self._changed = origin, origin.source, remote, changed
        self._say, self._metrics, self._now = say, metrics, now
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._weight = 0
        self._dropped: OrderedDict[str, int] = OrderedDict()
        self._flights: dict[str, asyncio.Task[Credentials]] = {}
        self._overtaken: set[str] = set()
        self._futile: OrderedDict[str, _Futile] = OrderedDict()
        self._breaker = Breaker(self._name, metrics, changed, lambda: bool(self._flights), self._start)
        self.settled = asyncio.Event()
        self.settled.set()  # it knows nothing that it was not asked

    def known(self, owner: str) -> Credentials | None:
        entry = self._entries.get(owner)
        if entry is None or _clock() >= entry.until:
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
        return await asyncio.shield(flight)  # a cancelled caller cancels nothing but itself

    def invalidate(self, owner: str) -> None:
        """Not again so soon if the last one was in vain: it takes no more than the edits of one tenant."""
        if _clock() < self._futile.get(owner, _NEVER).until:
            return
        if (entry := self._entries.get(owner)) is not None:
            entry.invalidated = True
        self._is_old(owner)

    def _is_old(self, owner: str) -> None:
        if (entry := self._entries.get(owner)) is not None:
            entry.until = 0.0
        if owner in self._flights:
            self._overtaken.add(owner)

    async def run(self) -> None:
        try:
            await self._listen()
        finally:
            await self._remote.close()

    async def _listen(self) -> None:
        backoff = Backoff(FEED_BACKOFF_SECONDS, MAX_FEED_BACKOFF_SECONDS)
        while True:
            began = _clock()
            try:
                await self._remote.run(self._remote_changed)
                why = "it ended"
            except SourceUnavailable as e:
                why = str(e)
            except Exception as e:  # noqa: BLE001  # whatever it is, the other sources go on; its text may be a token
                why = f"an error in pullsecret-webhook itself ({type(e).__name__})"
            if _clock() - began > MAX_FEED_BACKOFF_SECONDS:
                backoff.reset()
            self._say("SourceFeedBroken", f"source {self._name}: changes are not heard of: {why}; trying again", "")
            await asyncio.sleep(backoff.next())

    # -- one question --

    def _start(self, owner: str) -> asyncio.Task[Credentials]:
        task = asyncio.create_task(self._question(owner), name=f"ask {self._name}")
        self._flights[owner] = task
        task.add_done_callback(lambda done: self._landed(owner, done))
        return task

    def _landed(self, owner: str, task: asyncio.Task[Credentials]) -> None:
        del self._flights[owner]
        if not task.cancelled():
            task.exception()  # perhaps nobody waits for it any more

    async def _question(self, owner: str) -> Credentials:
        try:
            for _ in range(OVERTAKEN):
                self._overtaken.discard(owner)
                answer = await self._asked(owner)
                if owner not in self._overtaken:
                    return self._answered(owner, answer, self._freshness(answer))
        except SourceUnavailable as e:
            self._failed(owner, e)
            raise
        finally:
            self._overtaken.discard(owner)
        found = self._answered(owner, answer, 0.0)
        self._changed(owner)
        return found

    async def _asked(self, owner: str) -> Answer:
        before = self._entries.get(owner)
        try:
            async with asyncio.timeout(QUESTION_SECONDS):
                return await self._remote.ask(owner, before.answer if before is not None else None)
        except SourceUnavailable as e:
            trouble = e
        except TimeoutError:
            trouble = SourceUnavailable("no answer in time", everybody=True)
        except Exception as e:  # noqa: BLE001  # as in `run`
            trouble = SourceUnavailable(f"an error in pullsecret-webhook itself ({type(e).__name__})")
        # Raised out here and without what led to it: for as long as the error is kept, the frames there would keep the
        # answer, which may have a mebibyte, and what was decoded of it, which may have sixteen.
        trouble.__context__ = None
        try:
            raise trouble.with_traceback(None)
        finally:
            del trouble  # nor does this frame keep the error that keeps it

    # -- what came of it --

    def _answered(self, owner: str, answer: Answer, fresh_for: float) -> Credentials:
        self._metrics.asked.labels(self._name, "answered").inc()
        before, dropped = self._forget(owner), self._dropped.pop(owner, None)
        credentials = self._ordered(answer.credentials)
        if same := before is not None and before.answer.credentials == credentials:
            credentials = before.answer.credentials
        if before is not None and before.invalidated:
            self._count_invalidation(owner, in_vain=same)
        self._remember(owner, replace(answer, credentials=credentials), fresh_for)
        if answer.problems:
            problems = "; ".join(answer.problems)
            self._say("SourceAnswerBroken", f"source {self._name}: of owner {owner}: {problems}", owner)
        if (before is not None and not same) or dropped not in {None, hash(credentials)}:
            self._changed(owner)  # its other namespaces do not know yet
        self._breaker.answered(owner)
        return credentials

    def _ordered(self, found: Credentials) -> Credentials:
        """As `in_order`, and with where they are from."""
        return Credentials(tuple(replace(c, origin=self._origin) for c in in_order(set(found.items))))

    def _count_invalidation(self, owner: str, *, in_vain: bool) -> None:
        before = self._futile.pop(owner, _NEVER)
        if in_vain:
            self._futile[owner] = before.again(_clock())
            if len(self._futile) > OWNERS:
                self._futile.popitem(last=False)

    def _freshness(self, answer: Answer) -> float:
        """Not longer than all its credentials last: when one ends, there may be another."""
        now = self._now()
        end = answer.credentials.next_end(now)
        fresh_for = min(max(answer.fresh_for, MIN_FRESH_SECONDS), MAX_FRESH_SECONDS)
        return min(fresh_for, (end - now).total_seconds()) if end is not None else fresh_for

    def _remember(self, owner: str, answer: Answer, fresh_for: float) -> None:
        self._entries[owner] = _Entry(answer, _clock() + fresh_for)
        self._weight += answer.weight
        while self._weight > BUDGET_BYTES and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))

    def _drop(self, owner: str) -> None:
        if (entry := self._forget(owner)) is not None:
            self._dropped[owner] = hash(entry.answer.credentials)  # keyed per process
            if len(self._dropped) > OWNERS:
                self._dropped.popitem(last=False)

    def _forget(self, owner: str) -> _Entry | None:
        entry = self._entries.pop(owner, None)
        if entry is None:
            return None
        self._weight -= entry.answer.weight
        return entry

    def _remote_changed(self, owner: str | None) -> None:
        """News, of one owner or of everybody: what is known is no longer fresh, and reasons to wait may be gone."""
        for one in [owner] if owner is not None else {*self._entries, *self._flights}:
            self._is_old(one)
        self._breaker.reset(owner)
        self._changed(owner)

    def _failed(self, owner: str, e: SourceUnavailable) -> None:
        self._metrics.asked.labels(self._name, "unavailable").inc()
        self._breaker.failed(owner, e)
        if e.everybody:
            self._say("SourceUnavailable", f"source {self._name}: {e}; what stands in the namespaces stays", "")
        else:
            self._say("SourceUnavailable", f"source {self._name}: nobody can say what owner {owner} has: {e}", owner)


def _clock() -> float:
    return asyncio.get_running_loop().time()
