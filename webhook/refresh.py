"""The background: a work queue of namespaces, a few workers, a back-off for each namespace. Nothing polls.

Watches and sources report a change to all replicas at the same time. Each replica waits for a random moment: the first
one writes, and the others see that write before their turn. Reviews wait for the Secret and do not use this queue. A
namespace is in the queue at most once, and has at most one worker.

How long a namespace waits for its next reconcile depends on what happened:

- Its Secret was *undone*: something changed or deleted a right Secret, and it is written again. The delay grows each
  time, as for a Secret that cannot be written because of the namespace (a quota, a finalizer). So this costs us little.
- The API server failed (`passing`): seconds only, and after the first successful write all that failed are requeued.
- There is *news*, such as another token or owner: at most half a second. News may come often, also during a tug-of-war;
  only what is undone makes the delay grow.
- A credential expires: a right Secret is reconciled again when the plan no longer holds (`requeue_after`).

Many owners at once (at the start, or after news about all of them) have their turn in parts: the source is asked about
OWNERS of them (`prefetch`), their namespaces are queued, and the next part follows when few of these are left. So a
source that answers many owners with one query gets few queries, and its answers are still fresh when they are used.

Where replicas share out the namespaces (core/shares.py), each drops what is not its own: when it would be queued, and
when its turn comes. What a review asks for is never dropped: this replica tries until the Secret is right. When it
takes over the share of one that died, it begins with the owners of whom there was news last, as perhaps nobody has
dealt with it.
"""

import asyncio
import math
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import structlog

from webhook.core.backoff import jittered
from webhook.core.notice import Notice, Reason, Record
from webhook.core.pace import MAX_OUTAGE_BACKOFF_SECONDS, Paces
from webhook.fairness import yield_to_reviews
from webhook.sources.remote import MAX_OWNERS
from webhook.supply import Supplied

log = structlog.get_logger()
T = TypeVar("T")
WORKERS = 4
"""More make one process no faster when a write takes 5 ms; they would only make reviews wait."""
OWNERS = MAX_OWNERS
"""Of one part."""
GATHER_SECONDS = 0.1
"""Between two parts that are not full. News of many owners comes one after another, and is to make full parts."""
PREFETCH_SECONDS = 2.0
"""The longest wait for the source. After that its answers are waited for where they are needed."""
FEW = 64
"""Namespaces in the queue that keep the workers busy while the source is asked about the next part."""
CROWD = OWNERS
"""So many namespaces get no random moments, which would be a timer each, but a random order in each replica."""
OWNER_BATCH = 16
"""Namespaces of one owner that are queued without a pause: there may be thousands, and reviews must not wait."""
LEFT_OWNERS = 8 * OWNERS
"""Owners that are remembered because of news that was left to another replica. News of more is news of about all, and
then any order will do.
"""
SPREAD_SECONDS = 0.5
"""The random moment of a replica is within this time. Two replicas write at the same time if their moments differ by
less than a write takes, 10 ms: one time in twenty-five. The later write then changes nothing.
"""
RESYNC_SECONDS = 86400.0
"""The longest wait for `requeue_after`: the wall clock, from which it comes, may jump; loop time does not."""
TUG_OF_WAR = 5
"""A Secret that is undone so many times, or more, without calm in between, is reported as a tug-of-war."""


@dataclass(frozen=True, slots=True)
class _Timer:
    """`at`: loop time. The handle of uvloop has no `when` if the moment is very near."""

    at: float
    handle: asyncio.Handle


class Refresh:
    """`of_owner(None)`: all known namespaces. `prefetch`: the source's. `mine`: is the namespace this replica's? All
    of one owner are the same replica's. `leave`: called with one that is not, each time that it is dropped.
    """

    def __init__(
        self,
        supply: Callable[[str], Awaitable[Supplied]],
        of_owner: Callable[[str | None], Sequence[str]],
        owner_of: Callable[[str], str | None],
        prefetch: Callable[[Sequence[str]], Awaitable[None]],
        record: Record,
        secret: str,
        mine: Callable[[str], bool] = lambda _namespace: True,
        leave: Callable[[str], None] = lambda _namespace: None,
    ) -> None:
        self._supply, self._of_owner, self._owner_of, self._prefetch = supply, of_owner, owner_of, prefetch
        self._record, self._secret = record, secret
        self._mine, self._leave = mine, leave
        self._asked: set[str] = set()
        """Namespaces that a review waits for, or waited for in vain."""
        self._owners: OrderedDict[str, None] = OrderedDict()
        """Whose namespaces are to be queued."""
        self._left_news: OrderedDict[str, None] = OrderedDict()
        """Of whom there was news that was another replica's to deal with, at most LEFT_OWNERS, the newest last."""
        self._everybody = False
        """Are all namespaces to be queued?"""
        self._rest: list[str] = []
        """Owners who are left of everybody."""
        self._some, self._few = asyncio.Event(), asyncio.Event()
        self._taken = -math.inf
        """Loop time of the last part."""
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: dict[str, _Timer | None] = {}
        """None: in the queue, or until `run` begins."""
        self._begun = False
        self._working: dict[str, bool | None] = {}
        """Namespaces with a worker. None: not requeued since; else, whether because of news."""
        self._paces = Paces()
        self._failing: set[str] = set()
        """Namespaces that wait for the API server."""
        self._recovered, self._woken = False, 0.0

    def look(self, namespace: str) -> None:
        """For a review: also if it is another replica's."""
        self._asked.add(namespace)
        self._look(namespace, 0.0)

    def look_soon(self, namespace: str) -> None:
        """From a watch: the other replicas get it too, and the namespace's tenant may have caused it."""
        self._look(namespace, _moment())

    def _look(self, namespace: str, delay: float, *, urgent: bool = False) -> None:
        if self._begun and self._is_left(namespace):
            return
        if namespace in self._working:
            self._working[namespace] = self._working[namespace] or urgent
            return
        if not self._begun:  # no timers: the first list has all namespaces, and each timer would take 0.4 KiB
            self._waiting[namespace] = None
            return
        loop = asyncio.get_running_loop()
        now, pace = loop.time(), self._paces.get(namespace)
        at = now + delay
        if pace is not None:
            at = max(at, pace.earliest(urgent=urgent))
        if namespace in self._waiting:
            timer = self._waiting[namespace]
            if timer is None or timer.at <= at:
                return
            timer.handle.cancel()
        if at > now:
            self._waiting[namespace] = _Timer(at, loop.call_at(at, self._enqueue, namespace))
        else:
            self._enqueue(namespace)

    def _is_left(self, namespace: str) -> bool:
        """To another replica."""
        if namespace in self._asked or self._mine(namespace):
            return False
        self._failing.discard(namespace)
        self._leave(namespace)
        return True

    def _enqueue(self, namespace: str) -> None:
        self._waiting[namespace] = None
        self._queue.put_nowait(namespace)

    def new_or_moved(self, namespace: str) -> None:
        """Another namespace of that name, or another owner: its history does not count."""
        self._paces.forget(namespace)
        self._look(namespace, _moment(), urgent=True)

    def share_changed(self, namespace: str) -> None:
        """It was another replica's until now, or is one's from now on. There may be thousands, so owners take turns."""
        self._paces.forget(namespace)
        if self._begun and self._is_left(namespace):
            return
        owner = self._owner_of(namespace)
        if owner is None or not self._begun:
            self._look(namespace, _moment(), urgent=True)
        else:
            self.owner_changed(owner)
            if owner in self._left_news:
                self._owners.move_to_end(owner, last=False)

    def owner_changed(self, owner: str | None) -> None:
        """A source has news: queues all namespaces of the owner; None: of all owners."""
        if owner is None:
            self._everybody = True
        else:
            self._owners[owner] = None
        self._some.set()

    async def run(self) -> None:
        """Start it when the views are synced: earlier, right Secrets would be written again."""
        self._begun = True
        early, self._waiting = [*self._waiting], {}
        async with asyncio.TaskGroup() as workers:
            workers.create_task(self._queue_owners(early))
            for _ in range(WORKERS):
                workers.create_task(self._work())

    async def _queue_owners(self, early: Sequence[str]) -> None:
        """`early`: namespaces that were to be looked at before `run`."""
        loop = asyncio.get_running_loop()
        await self._queue_all(early)
        while True:
            if not self._rest:
                await self._some.wait()
            self._some.clear()
            if self._recovered:
                self._recovered = False
                await self._look_soon([[*self._failing]])
            if self._everybody:
                self._everybody = False
                await self._queue_all(self._of_owner(None))
            while self._owners or self._rest:
                if not self._rest and len(self._owners) < OWNERS:
                    await asyncio.sleep(self._taken + GATHER_SECONDS - loop.time())
                self._taken = loop.time()
                await self._queue_some(await self._next_owners())
                if self._recovered or self._everybody:
                    break

    async def _queue_all(self, namespaces: Sequence[str]) -> None:
        """Those without an owner at once, the others when it is their owner's turn."""
        owners: dict[str, None] = {}
        others: list[str] = []
        for number, namespace in enumerate(namespaces, 1):
            if (owner := self._owner_of(namespace)) is None:
                others.append(namespace)
            else:
                owners[owner] = None
            if number % OWNER_BATCH == 0:
                await asyncio.sleep(0)
        self._rest = [*owners]
        await self._look_soon([others])

    async def _next_owners(self) -> list[str]:
        """Whose namespaces are this replica's, or have one that a review asked for. News comes first, but may not keep
        everybody else waiting.
        """
        owners: dict[str, None] = {}
        news = OWNERS // 2 if self._rest else OWNERS
        while len(owners) < OWNERS:
            is_news = bool(self._owners) and len(owners) < news
            if is_news:
                owner, _ = self._owners.popitem(last=False)
            elif self._rest:
                owner = _any_of(self._rest)
            else:
                break
            if self._has_turn(owner):
                owners[owner] = None
            else:
                if is_news:
                    self._leave_owner(owner)
                await asyncio.sleep(0)  # thousands may be other replicas', and reviews must not wait for all
        return [*owners]

    def _leave_owner(self, owner: str) -> None:
        if not self._of_owner(owner):
            return
        self._left_news[owner] = None
        self._left_news.move_to_end(owner)
        if len(self._left_news) > LEFT_OWNERS:
            self._left_news.popitem(last=False)

    def _has_turn(self, owner: str) -> bool:
        namespaces = self._of_owner(owner)
        return bool(namespaces) and (self._mine(namespaces[0]) or not self._asked.isdisjoint(namespaces))

    async def _queue_some(self, owners: Sequence[str]) -> None:
        if len(owners) > 1:
            with suppress(TimeoutError):
                async with asyncio.timeout(PREFETCH_SECONDS):
                    await self._prefetch(owners)
            for owner in owners:
                self._owners.pop(owner, None)  # the source has news of all whose answer is another one; here they are
        await self._look_soon([self._of_owner(owner) for owner in owners])
        while self._queue.qsize() > FEW:
            self._few.clear()
            await self._few.wait()

    async def _look_soon(self, groups: Sequence[Sequence[str]]) -> None:
        """The groups one after another, in any order."""
        crowd = sum(map(len, groups)) >= CROWD
        left, number = [*groups], 0
        while left:
            namespaces = [*_any_of(left)]
            while namespaces:
                self._look(_any_of(namespaces), 0.0 if crowd else _moment(), urgent=True)
                number += 1
                if number % OWNER_BATCH == 0:
                    await asyncio.sleep(0)

    async def _work(self) -> None:
        while True:
            namespace = await self._queue.get()
            if self._queue.qsize() <= FEW:
                self._few.set()
            await yield_to_reviews()
            self._waiting.pop(namespace, None)
            if not self._waiting:
                self._waiting.clear()  # a dict that had thousands of keys keeps their places
            if self._is_left(namespace):
                continue
            self._working[namespace] = None
            try:
                supplied = await self._supply(namespace)
            except Exception:
                log.exception("our own bug: a namespace could not be supplied", namespace=namespace)
                supplied = Supplied(problem="an error in pullsecret-webhook itself; see its log")
            self._judge(namespace, supplied)
            asked = self._working.pop(namespace)
            wrong = bool(supplied.problem) or supplied.undone
            if not wrong and asked is None:  # else a review may have asked meanwhile
                self._asked.discard(namespace)
            if asked is not None or wrong:
                self._look(namespace, _moment(), urgent=bool(asked))
            elif supplied.requeue_after is not None:
                self._look(namespace, min(supplied.requeue_after, jittered(RESYNC_SECONDS)) + _moment(), urgent=True)

    def _judge(self, namespace: str, supplied: Supplied) -> None:
        now = asyncio.get_running_loop().time()
        if supplied.problem:
            self._failed(namespace, supplied, now)
            return
        self._failing.discard(namespace)
        if supplied.wrote:
            self._wrote(namespace, supplied.digest, now)
            self._wake_failing(now)
        else:
            self._paces.right(namespace, supplied.digest, now)

    def _failed(self, namespace: str, supplied: Supplied, now: float) -> None:
        pace = self._paces.begun(namespace, now)
        if supplied.passing:
            self._failing.add(namespace)
            pace.server_failed(now, len(self._failing))
        else:
            self._failing.discard(namespace)
            pace.failed(now)
        self._notice(namespace, "SupplyFailed", f"the pull secret is not up to date: {supplied.problem}")
        log.debug("a namespace waits", namespace=namespace, seconds=round(pace.until - now, 1))

    def _wrote(self, namespace: str, digest: bytes, now: float) -> None:
        if self._paces.begun(namespace, now).wrote(digest, now) >= TUG_OF_WAR:
            # Each time: the Event is repeated while it lasts, and the alert goes on.
            message = "something keeps changing or deleting the pull secret; it is restored after growing delays"
            self._notice(namespace, "TugOfWar", message)

    def _wake_failing(self, now: float) -> None:
        """After a successful write: requeues what waits for the API server. Not at every success if only some fail."""
        if self._failing and now >= self._woken + MAX_OUTAGE_BACKOFF_SECONDS:
            self._woken, self._recovered = now, True
            self._some.set()

    def _notice(self, namespace: str, reason: Reason, message: str) -> None:
        self._record(Notice(reason, message, namespace, "Secret", self._secret))


def _moment() -> float:
    """Seconds until this replica handles a change that all replicas see."""
    return jittered(SPREAD_SECONDS, 1.0)


def _any_of(names: list[T]) -> T:
    """Takes one out. Another replica has the same names at the same time, and what it has done is left out quickly: in
    the same order, wherever they begin, the two would soon be at the same one, and stay so until the end.
    """
    place = random.randrange(len(names))  # noqa: S311  # keeps replicas apart, protects nothing
    names[place], names[-1] = names[-1], names[place]
    return names.pop()
