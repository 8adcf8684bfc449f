"""Makes a `Source` of a `Remote`: something that is asked for one owner at a time, and may be slow or down.

- An answer is handed out while it is fresh, as long as the remote said (at least LEAST, so that the writing of one
  Secret, which looks several times, asks once). After that the next admission or look asks again; nothing polls.
- One that is contradicted by what somebody wrote into the cluster is asked for again first (`doubt`): another replica
  may have asked later. While nobody can say, what was written stays.
- One question an owner at a time, joined by all who want to know. A question that was overtaken by news of its owner
  is asked again before anybody is told the answer.
- **An answer that is no longer fresh is never handed out.** While nobody can say, SourceUnavailable is raised: what
  stands in the cluster stays, and nothing is written that may have been withdrawn since. A source that is to survive
  longer outages says so, by answers that are fresh for longer.
- A remote that fails is left alone for a while, longer and longer, or for as long as it asked (Retry-After): for one
  owner, or, when failures of two owners in a row say that it is everybody's, altogether; then one question at a time
  finds out if it is back. (One owner alone, whose question is perhaps what breaks it, never brings it down for others.)
  Whoever was turned away meanwhile is called by `changed` when there is hope again, and asks anew.
- Memory is bounded: the answers that were not used for the longest time are dropped first. Of those a digest is kept,
  so that another answer is still known to be another one.
"""

import asyncio
import math
import random
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

import structlog

from webhook.core.credential import Credential, Credentials, Origin, joined
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.sources import Changed

log = structlog.get_logger()

LEAST, MOST = 1.0, 86400.0
"""Seconds that an answer is fresh, whatever the remote says."""
PATIENCE = 60.0
"""Seconds for one question. A remote has shorter limits of its own; this is for one that forgot."""
FIRST, LONGEST, LONGEST_DOWN = 0.5, 60.0, 3.0
"""Seconds: the first pause after failures, and the longest: of one owner who is refused, and while the remote is down.
It is asked by one question at a time then, and when it is back we are to be right again in about 5.
"""
LONGEST_ASKED = 60.0
"""Seconds that a remote may ask us to wait. A proxy in front of one that restarts may say an hour."""
OVERTAKEN = 3
"""Times that a question is asked anew because of news; then the next look must do."""
BUDGET = 32 * 1024 * 1024
"""Bytes of answers, roughly."""
OWNERS = 100_000
"""Owners whose failures and vain doubts are remembered, and the digests of answers that were dropped."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`fresh_for`: seconds. `validator`: what the remote wants to see when it is asked again, such as an ETag.

    `problems`: what was left out because it cannot be used, as `shown.few` has it, never with its content.
    """

    credentials: Credentials
    fresh_for: float
    validator: str = ""
    problems: tuple[str, ...] = ()

    @property
    def weight(self) -> int:
        """Bytes, roughly."""
        texts = (self.validator, *self.problems)
        return 400 + sum(map(len, texts)) + self.credentials.weight


class Remote(Protocol):
    async def ask(self, owner: str, before: Answer | None) -> Answer:
        """`before`: the last answer, fresh or not. Raises SourceUnavailable; its text may be shown, so no secrets."""
        ...

    async def run(self, changed: Changed) -> None:
        """Hears of changes, for ever; a remote that hears of none waits. Raises SourceUnavailable when it breaks off.

        What is missed while it breaks off must be made good by `changed(None)` when it is heard again.
        """
        ...

    async def close(self) -> None:
        """Gives up its connections, at the end."""
        ...


Say = Callable[[str, str, str], None]
"""Tells a reason (as in Events) and a message about a source, and of which owner it is, if of one."""


@dataclass(slots=True)
class _Entry:
    """`until`: loop time at which it stops being fresh. `doubted`: by what the cluster shows, it may be old."""

    answer: Answer
    until: float
    doubted: bool = False


@dataclass(frozen=True, slots=True)
class _Vain:
    """Doubts of one owner that were answered as before. `until`: loop time to which there are no more."""

    delay: float = 0.0
    until: float = 0.0

    def again(self, now: float) -> "_Vain":
        delay = min(self.delay * 2, LONGEST) if self.delay and now < self.until + LONGEST else LEAST
        return _Vain(delay, now + delay)


_NEVER = _Vain()


@dataclass(slots=True)
class _Pause:
    """After a failure. `delay` 0: there was none."""

    delay: float = 0.0
    until: float = 0.0
    why: str = ""

    def longer(self, now: float, e: SourceUnavailable, longest: float) -> None:
        if now >= self.until:  # those who asked at the same time fail at the same time: that counts once
            self.delay = min(max(self.delay * 2, FIRST), longest)
            self.until = now + self.delay * random.uniform(0.75, 1.0)  # noqa: S311  # jitter, so that replicas part
        self.until = max(self.until, now + max(FIRST * 0.75, min(e.retry_after, LONGEST_ASKED)))
        self.why = str(e)


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
        self._pause = _Pause()
        self._pauses: OrderedDict[str, _Pause] = OrderedDict()
        self._failing: set[str] = set()
        self._vain: OrderedDict[str, _Vain] = OrderedDict()
        self._turned_away: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
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
            self._may_ask(owner)
            flight = self._start(owner)
        return await asyncio.shield(flight)  # a cancelled caller cancels nothing but itself

    def doubt(self, owner: str) -> None:
        """Not again so soon if the last one was in vain: it takes no more than the edits of one tenant."""
        if _clock() < self._vain.get(owner, _NEVER).until:
            return
        if (entry := self._entries.get(owner)) is not None:
            entry.doubted = True
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
        delay = 0.0
        while True:
            began = _clock()
            try:
                await self._remote.run(self._heard)
                why = "it ended"
            except SourceUnavailable as e:
                why = str(e)
            except Exception as e:  # noqa: BLE001  # whatever it is, the other sources go on; its text may be a token
                why = f"an error in pullsecret-webhook itself ({type(e).__name__})"
            if _clock() - began > LONGEST_DOWN:
                delay = 0.0
            self._say("SourceFeedBroken", f"source {self._name}: changes are not heard of: {why}; trying again", "")
            delay = min(max(delay * 2, FIRST), LONGEST_DOWN)
            await asyncio.sleep(delay * random.uniform(0.75, 1.0))  # noqa: S311  # jitter

    # -- one question --

    def _may_ask(self, owner: str) -> None:
        """Raises SourceUnavailable during a pause, and notes who is to be called after it."""
        now, own = _clock(), self._pauses.get(owner)
        if self._pause.delay and (now < self._pause.until or self._flights):
            self._turn_away(owner)
            raise SourceUnavailable(self._pause.why, everybody=True)
        if own is not None and now < own.until:
            raise SourceUnavailable(own.why)

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
            async with asyncio.timeout(PATIENCE):
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
        self._pauses.pop(owner, None)
        before, dropped = self._forget(owner), self._dropped.pop(owner, None)
        credentials = self._ordered(answer.credentials)
        if same := before is not None and before.answer.credentials == credentials:
            credentials = before.answer.credentials
        if before is not None and before.doubted:
            self._weigh_doubt(owner, vain=same)
        self._remember(owner, replace(answer, credentials=credentials), fresh_for)
        if answer.problems:
            problems = "; ".join(answer.problems)
            self._say("SourceAnswerBroken", f"source {self._name}: of owner {owner}: {problems}", owner)
        if (before is not None and not same) or dropped not in {None, hash(credentials)}:
            self._changed(owner)  # its other namespaces do not know yet
        self._is_back()
        return credentials

    def _ordered(self, found: Credentials) -> Credentials:
        """A database may return its rows in any order. For one registry the one that ends last comes first."""
        items = sorted(set(found.items), key=_order)
        return joined([Credentials(tuple(replace(c, origin=self._origin) for c in items))])

    def _weigh_doubt(self, owner: str, *, vain: bool) -> None:
        before = self._vain.pop(owner, _NEVER)
        if vain:
            self._vain[owner] = before.again(_clock())
            if len(self._vain) > OWNERS:
                self._vain.popitem(last=False)

    def _freshness(self, answer: Answer) -> float:
        """Not longer than all its credentials last: when one ends, there may be another."""
        now = self._now()
        end = answer.credentials.next_end(now)
        fresh_for = min(max(answer.fresh_for, LEAST), MOST)
        return min(fresh_for, (end - now).total_seconds()) if end is not None else fresh_for

    def _remember(self, owner: str, answer: Answer, fresh_for: float) -> None:
        self._entries[owner] = _Entry(answer, _clock() + fresh_for)
        self._weight += answer.weight
        while self._weight > BUDGET and len(self._entries) > 1:
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

    def _heard(self, owner: str | None) -> None:
        """News, of one owner or of everybody: what is known is no longer fresh, and reasons to wait may be gone."""
        for one in [owner] if owner is not None else {*self._entries, *self._flights}:
            self._is_old(one)
        if owner is not None:
            self._pauses.pop(owner, None)
        else:
            self._pauses.clear()
            self._pause.until = min(self._pause.until, _clock())
        self._changed(owner)

    def _failed(self, owner: str, e: SourceUnavailable) -> None:
        self._metrics.asked.labels(self._name, "unavailable").inc()
        pause = self._pauses.pop(owner, _Pause())
        pause.longer(_clock(), e, LONGEST_DOWN if e.everybody else LONGEST)
        self._pauses[owner] = pause
        if len(self._pauses) > OWNERS:
            self._pauses.popitem(last=False)
        asyncio.get_running_loop().call_at(pause.until, self._changed, owner)
        if not e.everybody:
            self._failing.discard(owner)
            self._is_back()  # it answered, if only with a refusal
            self._say("SourceUnavailable", f"source {self._name}: nobody can say what owner {owner} has: {e}", owner)
            return
        self._failing.add(owner)
        if len(self._failing) > 1:
            self._is_down(owner, e)
        self._say("SourceUnavailable", f"source {self._name}: {e}; what stands in the namespaces stays", "")

    # -- altogether down, and back --

    def _is_down(self, owner: str, e: SourceUnavailable) -> None:
        self._pause.longer(_clock(), e, LONGEST_DOWN)
        self._turn_away(owner)
        self._metrics.down.flag(self._name, on=True)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._pause.until, self._probe)

    def _turn_away(self, owner: str) -> None:
        self._turned_away.pop(owner, None)
        if len(self._turned_away) < OWNERS:
            self._turned_away[owner] = None

    def _probe(self) -> None:
        """One question on behalf of who was turned away the longest ago, unless one is under way."""
        if self._pause.delay and not self._flights:
            self._start(next(iter(self._turned_away)))

    def _is_back(self) -> None:
        """Somebody was answered."""
        failing, self._failing = self._failing, set()
        if not self._pause.delay:
            return
        self._pause, turned_away = _Pause(), self._turned_away
        self._turned_away = {}
        self._metrics.down.flag(self._name, on=False)
        log.info("a source answers again", source=self._name)
        for owner in failing:
            if (pause := self._pauses.get(owner)) is not None:
                pause.until = 0.0
        if len(turned_away) == OWNERS:  # and perhaps more
            self._changed(None)
            return
        for owner in sorted(failing.union(turned_away)):
            self._changed(owner)


def _order(c: Credential) -> tuple[tuple[str, ...], float, str, str]:
    end = math.inf if c.end is None else c.end.timestamp()
    return c.namespaces, -end, c.username, c.password


def _clock() -> float:
    return asyncio.get_running_loop().time()
