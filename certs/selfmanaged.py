"""Certificates that need nothing installed: an authority in a Secret, found or made by whichever replica comes first.

Every look goes the same way, whatever happened before: read the Secret, write it if `step` says so, publish the bundle,
and only then serve a leaf that the bundle vouches for. The Secret is the only memory and its resourceVersion the only
lock, so a process may die between any two of these, and replicas need no leader. A conflict is no special case either:
it is looked at again.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from certs.authority import Authority
from certs.bundle import Bundle, Write, stale, step
from certs.errors import ApiTrouble
from certs.serving import Serving
from certs.store import Publisher, Store

EVERY = 60.0
"""Seconds between looks: how long until a deleted Secret is noticed, or a clock that jumped."""

AT_MOST_EVERY = 1.0
"""Seconds between looks after pokes, for somebody who reverts the `caBundle` as often as we publish it."""

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 10.0
"""Seconds after a look that failed; doubled each time, then shortened at random by up to a half."""


class SelfManaged:
    """`hosts`: what clients call us, as DNS names and IP addresses. `report` gets lines for people, never a key."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        hosts: Sequence[str],
        serving: Serving,
        *,
        now: Callable[[], datetime],
        report: Callable[[str], None],
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._hosts = hosts
        self._serving = serving
        self._now = now
        self._report = report
        self._poked = asyncio.Event()

    async def start(self) -> None:
        """Ends when a certificate is served that the published bundle vouches for, if there is anything to publish."""
        await self._look_until_done()

    async def run(self) -> None:
        """For ever: a look every minute, and one whenever poked."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._poked.wait(), EVERY)
            self._poked.clear()
            await self._look_until_done()
            await asyncio.sleep(AT_MOST_EVERY)

    def poke(self) -> None:
        """To be called when the webhook configuration was seen to change, by whomever."""
        self._poked.set()

    async def look(self) -> None:
        """One look. Raises `ApiTrouble`; then what was served before still is."""
        bundle = await self._settled()
        if stale(self._serving.pair, bundle, self._now()):
            self._serving.serve(bundle.authority.issue(self._hosts, self._now()))

    async def _look_until_done(self) -> None:
        pause = FIRST_PAUSE
        while True:
            try:
                return await self.look()
            except ApiTrouble as e:
                self._report(str(e))
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # keeps replicas apart, guards nothing
            pause = min(2 * pause, LONGEST_PAUSE)

    async def _settled(self) -> Bundle:
        """The Secret as it should be, and published.

        It is read again after publishing: what we published may have replaced something newer, so whoever publishes
        last has to have seen the last Secret.
        """
        bundle = await self._ensured()
        while await self._publish(bundle) and (newer := await self._ensured()) != bundle:
            bundle = newer
        return bundle

    async def _ensured(self) -> Bundle:
        stored = await self._store.read()
        todo = step(stored.data if stored else None, self._now(), Authority.create)
        if isinstance(todo, Write):
            await self._store.write(todo.bundle.data(), over=stored)
            self._report(f"the CA Secret was written: {todo.why}")
        return todo.bundle

    async def _publish(self, bundle: Bundle) -> bool:
        """Was there anything to do? Nothing is published into a webhook configuration that isn't installed yet."""
        wanted = bundle.ca_bundle()
        if await self._publisher.published() in (None, wanted):
            return False
        await self._publisher.publish(wanted)
        self._report("the caBundle was published")
        return True
