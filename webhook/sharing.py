"""Replicas share out the namespaces, each does its own part of the background's work (core/shares.py has the rules).

With few namespaces nothing of this happens: no Lease is read or written, and each replica looks at all namespaces.
"""

import asyncio
import math
from collections.abc import Callable
from contextlib import suppress

import structlog

from webhook.core.backoff import jittered
from webhook.core.pullsecret import Namespace
from webhook.core.shares import ALL, AWAY_SECONDS, Shares, shares
from webhook.kube.slots import Slots
from webhook.kube.views import Namespaces

log = structlog.get_logger()
SHARED_FROM = 2000
"""Namespaces with an owner from which they are shared out, until there are only half as many. With fewer, one replica
that does everything twice is done in a few seconds, and an outage of the other one costs nobody a moment.
"""
RENEW_SECONDS = 2.0
"""Seconds between two looks at the slots, at most. Then three may be missed before the others take over."""
JITTER = 0.25
ABLE_SECONDS = 30.0
"""Seconds without a break after which a replica that could not do its share counts as able again. A source that comes
and goes would else move the share each time.
"""
BATCH = 16
"""Namespaces that are looked through without a pause."""


class Sharing:
    """`me`: the process that holds slots. `able`: can this replica do its share? `moved`: called with each namespace
    that has become this replica's, or is no longer.
    """

    def __init__(self, slots: Slots, me: str, namespaces: Namespaces, able: Callable[[], bool]) -> None:
        self._slots, self._me, self._namespaces, self._able = slots, me, namespaces, able
        self.moved: Callable[[str], None] = lambda _namespace: None
        self._shares = ALL
        self._before: list[Shares] = []
        """What `_shares` was since `_tell` looked last."""
        self._changed, self._hurry = asyncio.Event(), asyncio.Event()
        self._begun, self._settled = asyncio.Event(), asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._on = self._leaving = False
        self._unable = -math.inf
        """Loop time at which it could not do its share for the last time."""

    def mine(self, name: str) -> bool:
        """Of one that is not known there is nothing to write, and each replica forgets it."""
        namespace = self._namespaces.get(name)
        return namespace is None or self._shares.has(_key(namespace))

    def part(self) -> float:
        """Of all owners, that this replica looks at, about."""
        return self._shares.part

    async def begin(self) -> None:
        """All is known; returns when it is clear what is this replica's."""
        self._begun.set()
        await self._settled.wait()

    def leave(self) -> None:
        """For one that ends soon: the others take over within some seconds; until then it goes on with its share."""
        self._leaving = True
        self._hurry.set()

    async def run(self) -> None:
        """Until `leave`, or until it is cancelled."""
        await self._begun.wait()
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(self._tell())
                while not self._leaving:
                    await self._renew()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(jittered(RENEW_SECONDS, JITTER)):
                            await self._hurry.wait()
                    self._hurry.clear()
                telling.cancel()
        finally:
            self._settled.set()
            if self._timer is not None:
                self._timer.cancel()
            if not self._leaving:
                self._become(ALL)
            if self._on:
                await self._slots.give_back()

    async def _renew(self) -> None:
        from_now = SHARED_FROM // 2 if self._on else SHARED_FROM
        if self._namespaces.owned >= from_now:
            self._on = True
            await self._slots.renew(able=self._is_able())
        elif self._on:
            await self._slots.give_back()
            self._slots.forget()
            self._on = False
        if not self._leaving:
            self._look()
        self._settled.set()

    def _is_able(self) -> bool:
        now = asyncio.get_running_loop().time()
        if not self._able():
            self._unable = now
        return now >= self._unable + ABLE_SECONDS

    def _look(self) -> None:
        """Who has what now? When the next slot ends, all are read again at once: another replica may have taken it."""
        now = asyncio.get_running_loop().time()
        known, until = self._slots.known, self._slots.answered + AWAY_SECONDS
        if self._slots.away and now < until:
            ends = [until]
        else:
            self._become(shares(known, self._me, now))
            ends = [known[number].ends() for number in self._shares.others]
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(min(ends), self._hurry.set) if ends else None

    def _become(self, after: Shares) -> None:
        before, self._shares = self._shares, after
        if after == before:
            return
        log.info(
            "this replica's share has changed", own=sorted(after.own), others=sorted(after.others), part=after.part
        )
        self._before.append(before)
        self._changed.set()

    async def _tell(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            before, self._before = [*self._before, self._shares], []
            for number, name in enumerate(self._namespaces.of_owner(None), 1):
                namespace = self._namespaces.get(name)
                if namespace is not None and len({one.has(_key(namespace)) for one in before}) > 1:
                    self.moved(name)
                if number % BATCH == 0:
                    await asyncio.sleep(0)


def _key(namespace: Namespace) -> str:
    return namespace.owner if namespace.owner is not None else namespace.name
