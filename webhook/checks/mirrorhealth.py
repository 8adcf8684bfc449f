"""Which mirrors answer, found out in the background: a review only looks it up.

A mirror is asked as a container runtime begins, with `/v2/` and without a credential.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from webhook.core.backoff import jittered
from webhook.core.check import WORDS, Why
from webhook.core.presence import Presence

EVERY_SECONDS = 10.0
"""Seconds, at most, from one answer to the next question."""
ANSWER_SECONDS = 3.0
"""Seconds that a mirror has for its answer."""
AGAIN_SECONDS = 1.0
"""Seconds until a mirror that did not answer is asked once more. Only then it counts as silent."""


class Asks(Protocol):
    async def answers(self, host: str) -> Why: ...


class MirrorHealth:
    """`presence`: makes what tells people that the mirror at a host does not answer, and answers again."""

    def __init__(self, hosts: Iterable[str], registry: Asks, presence: Callable[[str], Presence]) -> None:
        self._registry, self._seen = registry, {host: presence(host) for host in hosts}
        self._silent = frozenset(self._seen)

    def silent(self) -> frozenset[str]:
        """Those that did not answer the last time, or were not asked yet."""
        return self._silent

    def asked(self) -> bool:
        """Is it known of all? Pods that are admitted before keep their images' names for good."""
        return len(self.up()) == len(self._seen)

    def up(self) -> Mapping[str, int]:
        """By host; for a metric. Those that were asked."""
        return {host: int(seen.there) for host, seen in self._seen.items() if seen.there is not None}

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for host in self._seen:
                group.create_task(self._watch(host))

    async def _watch(self, host: str) -> None:
        while True:
            why = await self._ask(host)
            if why is not Why.NONE:
                await asyncio.sleep(AGAIN_SECONDS)
                why = await self._ask(host)
            seen = self._seen[host]
            seen.gone = seen.gone[0], silent(host, why)
            seen.seen(why is Why.NONE)
            self._silent = self._silent - {host} if why is Why.NONE else self._silent | {host}
            await asyncio.sleep(jittered(EVERY_SECONDS))

    async def _ask(self, host: str) -> Why:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await self._registry.answers(host)
        except TimeoutError:
            return Why.NO_ANSWER


def silent(host: str, why: Why) -> str:
    return f"the mirror {host} cannot be used ({WORDS[why]}): images of new pods keep their names until it answers"
