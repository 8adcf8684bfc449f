"""The background: a queue of namespaces to look at, a few workers, a back-off for each namespace. Nothing polls.

Watch feeds and sources say where something changed. They say it to all replicas at once, so each looks at a moment of
its own: the first one writes, and the others hear of that before it is their turn. Who has to wait for the Secret, a
review, does not come here. A namespace waits in the queue at most once. One whose Secret cannot be written is tried
again later and later; one whose Secret is written again and again (somebody fights us) waits longer and longer before
the next write.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from webhook.notice import Notice, Tell
from webhook.supply import Supplied
from webhook.turns import turn

log = structlog.get_logger()
WORKERS = 4
"""One process cannot write faster than these do when each write takes 5 ms; more would only make reviews wait."""
AT_A_TIME = 16
"""Namespaces of one owner that are noted without a pause: thousands may be, and a review must not wait for all."""
PART = 0.5
"""Seconds in which a replica chooses its moment. Two of them write at the same time if they choose the same one to
within the time of a write, 10 ms: one time in twenty-five. The later write then changes nothing.
"""
FIRST, LONGEST = 0.5, 300.0
"""Seconds: a namespace's first and its longest delay."""
CALM = 10.0
"""Seconds without a write, or twice the last delay if that is more, after which a namespace starts afresh."""
SWEEP = 1024
"""So many paces more, and those of calm (or long gone) namespaces are dropped."""
FIGHT = 5
"""Writes without calm between them that make a tug-of-war."""


@dataclass(slots=True)
class _Pace:
    """How a namespace behaved lately. `until`: not to be looked at before."""

    delay: float = 0.0
    writes: int = 0
    last: float = 0.0
    until: float = 0.0

    def calm(self, now: float) -> bool:
        return now - self.last > max(CALM, 2 * self.delay)


class Refresh:
    """`of_owner(None)`: every namespace that is known."""

    def __init__(
        self,
        supply: Callable[[str], Awaitable[Supplied]],
        of_owner: Callable[[str | None], Sequence[str]],
        tell: Tell,
        secret: str,
    ) -> None:
        self._supply, self._of_owner, self._tell, self._secret = supply, of_owner, tell, secret
        self._owners: dict[str | None, None] = {}
        self._some = asyncio.Event()
        self._queue: asyncio.Queue[str] = asyncio.Queue()
        self._waiting: set[str] = set()
        self._paces: dict[str, _Pace] = {}

    def look(self, namespace: str) -> None:
        self._look(namespace, 0.0)

    def news(self, namespace: str) -> None:
        """Of which the other replicas hear too."""
        self._look(namespace, random.uniform(0.0, PART))  # noqa: S311  # jitter

    def _look(self, namespace: str, delay: float) -> None:
        if namespace in self._waiting:
            return
        self._waiting.add(namespace)
        loop = asyncio.get_running_loop()
        now, pace = loop.time(), self._paces.get(namespace)
        at = max(now + delay, pace.until if pace is not None else 0.0)
        if at > now:
            loop.call_at(at, self._queue.put_nowait, namespace)
        else:
            self._queue.put_nowait(namespace)

    def anew(self, namespace: str) -> None:
        """It is another namespace of that name, or another owner's: what went before does not count."""
        if self._paces.pop(namespace, None) is not None:
            self._waiting.add(namespace)
            self._queue.put_nowait(namespace)  # a timer may put it there once more, which does no harm

    def owner(self, owner: str | None) -> None:
        """All that is an owner's; None: everybody's."""
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
            owners, self._owners = self._owners, {}
            for owner in owners:
                await asyncio.sleep(0)
                for number, namespace in enumerate(self._of_owner(owner), 1):
                    self.news(namespace)
                    if number % AT_A_TIME == 0:
                        await asyncio.sleep(0)

    async def _work(self) -> None:
        while True:
            namespace = await self._queue.get()
            await turn()
            self._waiting.discard(namespace)  # before looking: a change from here on queues it again
            try:
                supplied = await self._supply(namespace)
            except Exception:
                log.exception("our own bug: a namespace could not be supplied", namespace=namespace)
                supplied = Supplied(problem="an error in pullsecret-webhook itself; its log says more")
            self._judge(namespace, supplied)

    def _judge(self, namespace: str, supplied: Supplied) -> None:
        now = asyncio.get_running_loop().time()
        if supplied.problem:
            pace = self._slower(namespace, now)
            self._say(namespace, "SupplyFailed", f"the pull secret is not up to date: {supplied.problem}")
            log.debug("a namespace waits", namespace=namespace, seconds=round(pace.delay, 1))
            self.look(namespace)
        elif supplied.wrote:
            pace = self._slower(namespace, now)
            if pace.writes == FIGHT:
                self._say(
                    namespace,
                    "TugOfWar",
                    "somebody keeps changing or deleting the pull secret; it is restored, ever later",
                )
        elif (known := self._paces.get(namespace)) and known.calm(now):
            del self._paces[namespace]

    def _slower(self, namespace: str, now: float) -> _Pace:
        if namespace not in self._paces and len(self._paces) % SWEEP == SWEEP - 1:
            self._paces = {name: pace for name, pace in self._paces.items() if not pace.calm(now)}
        pace = self._paces.setdefault(namespace, _Pace())
        if pace.calm(now):
            pace.delay, pace.writes = 0.0, 0
        pace.delay = min(max(pace.delay * 2, FIRST), LONGEST)
        pace.writes += 1
        pace.last = now
        pace.until = now + pace.delay * random.uniform(0.75, 1.0)  # noqa: S311  # jitter, so that replicas part
        return pace

    def _say(self, namespace: str, reason: str, message: str) -> None:
        self._tell(Notice(reason, message, namespace, "Secret", self._secret))
