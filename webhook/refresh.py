"""The background: a queue of namespaces to look at, a few workers, a back-off for each namespace. Nothing polls.

Watch feeds and sources say where something changed. They say it to all replicas at once, so each looks at a moment of
its own: the first one writes, and the others hear of that before it is their turn. Who has to wait for the Secret, a
review, does not come here. A namespace waits in the queue at most once, and keeps at most one worker busy.

How long a namespace waits before the next look depends on what happened to it:

- Its Secret was *undone*: what stood right was changed or deleted by somebody, and is written again. Longer and longer,
  as is one that cannot be written for a reason of its own (a quota, a finalizer). Whoever does that costs us little.
- The API server failed (`passing`): for seconds only, and as soon as one write succeeds all that failed are looked at.
- There are *news*, another token or another owner: at most half a second. They may come as often as they like, also
  amid a tug-of-war; only what is undone counts for that.
- A credential ends: what was right is looked at again when the plan no longer holds (`requeue_after`).
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import structlog

from webhook.core.backoff import Backoff
from webhook.core.notice import Notice, Record
from webhook.fairness import yield_to_reviews
from webhook.supply import Supplied

log = structlog.get_logger()
WORKERS = 4
"""One process cannot write faster than these do when each write takes 5 ms; more would only make reviews wait."""
OWNER_BATCH = 16
"""Namespaces of one owner that are noted without a pause: thousands may be, and a review must not wait for all."""
SPREAD_SECONDS = 0.5
"""Seconds in which a replica chooses its moment. Two of them write at the same time if they choose the same one to
within the time of a write, 10 ms: one time in twenty-five. The later write then changes nothing.
"""
BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 300.0
"""Seconds: a namespace's first and its longest delay."""
JITTER = 0.25
MAX_OUTAGE_BACKOFF_SECONDS = 3.0
"""Seconds: the longest delay while the API server fails. After an outage we are to be right again in about 5."""
RETRIES_PER_SECOND = 50
"""A second, of all namespaces together while the API server fails: with many failing each waits longer."""
CALM_SECONDS = 10.0
"""Seconds without a write, or twice the last delay if that is more, after which a namespace starts afresh."""
RESYNC_SECONDS = 86400.0
"""Seconds after which one that waits for a moment is looked at in any case: this clock does not jump as that of the
moment may.
"""
PACES_SWEEP = 1024
"""So many paces more, and those of calm (or long gone) namespaces are dropped."""
TUG_OF_WAR = 5
"""Times that a Secret is undone, without calm between them, that make a tug-of-war."""


@dataclass(slots=True)
class _Pace:
    """How a namespace behaved lately. `own`: delays for a reason of its own; `passing`: because of the API server.
    `undone`: how often. `digest`: what was right at the last look. `until`: not to be looked at before.
    """

    own: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, JITTER))
    passing: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_OUTAGE_BACKOFF_SECONDS, JITTER))
    undone: int = 0
    digest: bytes | None = None
    last: float = 0.0
    until: float = 0.0

    def calm(self, now: float) -> bool:
        return now - self.last > max(CALM_SECONDS, 2 * self.own.delay, 2 * self.passing.delay)

    def wait(self, now: float, backoff: Backoff) -> None:
        self.last = now
        self.until = now + backoff.next()


@dataclass(frozen=True, slots=True)
class _Timer:
    """`at`: loop time. The handle does not tell: uvloop makes one without `when` of a moment that is very near."""

    at: float
    handle: asyncio.Handle


class Refresh:
    """`of_owner(None)`: every namespace that is known."""

    def __init__(
        self,
        supply: Callable[[str], Awaitable[Supplied]],
        of_owner: Callable[[str | None], Sequence[str]],
        record: Record,
        secret: str,
    ) -> None:
        self._supply, self._of_owner, self._record, self._secret = supply, of_owner, record, secret
        self._owners: dict[str | None, None] = {}
        self._some = asyncio.Event()
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: dict[str, _Timer | None] = {}
        """None: in the queue."""
        self._working: dict[str, bool | None] = {}
        """Namespaces that a worker has. None: nobody has asked for it since; else, whether because of news."""
        self._paces: dict[str, _Pace] = {}
        self._failing: set[str] = set()
        """Those that wait for the API server."""
        self._well, self._woken = False, 0.0

    def look(self, namespace: str) -> None:
        self._look(namespace, 0.0)

    def news(self, namespace: str) -> None:
        """From a watch: of which the other replicas hear too, and which the namespace's tenant may have caused."""
        self._look(namespace, _moment())

    def _look(self, namespace: str, delay: float, *, news: bool = False) -> None:
        if namespace in self._working:
            self._working[namespace] = self._working[namespace] or news
            return
        loop = asyncio.get_running_loop()
        now, pace = loop.time(), self._paces.get(namespace)
        at = now + delay
        if pace is not None:
            at = max(at, min(pace.until, pace.last + BACKOFF_SECONDS) if news else pace.until)
        if namespace in self._waiting:
            timer = self._waiting[namespace]
            if timer is None or timer.at <= at:
                return
            timer.handle.cancel()
        if at > now:
            self._waiting[namespace] = _Timer(at, loop.call_at(at, self._enqueue, namespace))
        else:
            self._enqueue(namespace)

    def _enqueue(self, namespace: str) -> None:
        self._waiting[namespace] = None
        self._queue.put_nowait(namespace)

    def new_or_moved(self, namespace: str) -> None:
        """It is another namespace of that name, or another owner's: what went before does not count."""
        self._paces.pop(namespace, None)
        self._look(namespace, _moment(), news=True)

    def owner(self, owner: str | None) -> None:
        """All that is an owner's, about whom a source has news; None: everybody's."""
        self._owners[owner] = None
        self._some.set()

    async def run(self) -> None:
        """Start it when the views are synced: before, what stands right would be written again."""
        async with asyncio.TaskGroup() as workers:
            workers.create_task(self._note())
            for _ in range(WORKERS):
                workers.create_task(self._work())

    async def _note(self) -> None:
        while True:
            await self._some.wait()
            self._some.clear()
            if self._well:
                self._well = False
                await self._soon([*self._failing])
            owners, self._owners = self._owners, {}
            for owner in owners:
                await asyncio.sleep(0)
                await self._soon(self._of_owner(owner))

    async def _soon(self, namespaces: Sequence[str]) -> None:
        for number, namespace in enumerate(namespaces, 1):
            self._look(namespace, _moment(), news=True)
            if number % OWNER_BATCH == 0:
                await asyncio.sleep(0)

    async def _work(self) -> None:
        while True:
            namespace = await self._queue.get()
            await yield_to_reviews()
            self._waiting.pop(namespace, None)
            self._working[namespace] = None
            try:
                supplied = await self._supply(namespace)
            except Exception:
                log.exception("our own bug: a namespace could not be supplied", namespace=namespace)
                supplied = Supplied(problem="an error in pullsecret-webhook itself; its log says more")
            self._judge(namespace, supplied)
            asked = self._working.pop(namespace)
            if asked is not None or supplied.problem:
                self._look(namespace, _moment(), news=bool(asked))
            elif supplied.requeue_after is not None:
                self._look(namespace, min(supplied.requeue_after, RESYNC_SECONDS) + _moment(), news=True)

    def _judge(self, namespace: str, supplied: Supplied) -> None:
        now = asyncio.get_running_loop().time()
        if supplied.problem:
            self._failed(namespace, supplied, now)
            return
        self._failing.discard(namespace)
        if supplied.wrote:
            self._wrote(namespace, supplied.digest, now)
            self._is_well(now)
        elif known := self._paces.get(namespace):
            known.passing.reset()
            known.digest = supplied.digest
            if known.calm(now):
                del self._paces[namespace]

    def _failed(self, namespace: str, supplied: Supplied, now: float) -> None:
        pace = self._pace(namespace, now)
        if supplied.passing:
            self._failing.add(namespace)
            pace.passing.cap = max(MAX_OUTAGE_BACKOFF_SECONDS, len(self._failing) / RETRIES_PER_SECOND)
            pace.wait(now, pace.passing)
        else:
            self._failing.discard(namespace)
            pace.wait(now, pace.own)
        self._say(namespace, "SupplyFailed", f"the pull secret is not up to date: {supplied.problem}")
        log.debug("a namespace waits", namespace=namespace, seconds=round(pace.until - now, 1))

    def _wrote(self, namespace: str, digest: bytes, now: float) -> None:
        pace = self._pace(namespace, now)
        pace.passing.reset()
        if pace.digest != digest:  # news, which nobody is to wait for
            pace.digest, pace.last = digest, now
            pace.until = max(pace.until, now + BACKOFF_SECONDS)
            return
        pace.wait(now, pace.own)
        pace.undone += 1
        if pace.undone == TUG_OF_WAR:
            message = "somebody keeps changing or deleting the pull secret; it is restored, ever later"
            self._say(namespace, "TugOfWar", message)

    def _is_well(self, now: float) -> None:
        """The API server took a write: whoever waits for it need not wait on. Not at every success of a few."""
        if self._failing and now >= self._woken + MAX_OUTAGE_BACKOFF_SECONDS:
            self._woken, self._well = now, True
            self._some.set()

    def _pace(self, namespace: str, now: float) -> _Pace:
        if namespace not in self._paces and len(self._paces) % PACES_SWEEP == PACES_SWEEP - 1:
            self._paces = {name: pace for name, pace in self._paces.items() if not pace.calm(now)}
        pace = self._paces.setdefault(namespace, _Pace())
        if pace.calm(now):
            pace.own.reset()
            pace.passing.reset()
            pace.undone = 0
        return pace

    def _say(self, namespace: str, reason: str, message: str) -> None:
        self._record(Notice(reason, message, namespace, "Secret", self._secret))


def _moment() -> float:
    """At which this replica looks at what all of them have heard of."""
    return random.uniform(0.0, SPREAD_SECONDS)  # noqa: S311  # keeps replicas apart, guards nothing
