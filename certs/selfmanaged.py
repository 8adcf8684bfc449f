"""Certificates that need nothing installed: an authority in a Secret, found or made by whichever replica comes first.

Every look goes the same way, whatever happened before: read what is published, then the Secret, do the one thing that
`step` says, and look again; a leaf is served when what was read as published vouches for it. The Secret is the only
memory and resourceVersions the only locks, so a process may die between any two of these, and replicas need no leader.
A conflict is no special case either: it is looked at again.

What is published never gets older, however slow a replica is. It writes over what it read *before* it read the Secret,
or not at all; whoever published that had read the Secret earlier still.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from certs.authority import Authority
from certs.bundle import Bundle, Use, Write, stale, step
from certs.errors import ApiTrouble
from certs.pem import readable
from certs.serving import Serving
from certs.store import Published, Publisher, Store

LOOK_SECONDS = 60.0
"""Seconds between looks: how long until a deleted Secret is noticed, or a clock that jumped."""

MAX_STEPS = 8
"""In one look. A rotation needs four: it is written, published, noted, and in order."""

MIN_LOOK_SECONDS = 1.0
"""Seconds between looks after pokes, for somebody who reverts the `caBundle` as often as we publish it."""

BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.25, 10.0
"""Seconds after a look that failed; doubled each time, then shortened at random by up to a half.

So does webhook/core/backoff.py, of which certs/ must not know; to share these two lines would take more than they are.
"""


class SelfManaged:
    """`hosts`: what clients call us, as DNS names and IP addresses. `report` gets lines for people, never a key.

    `now` is the clock of those who verify us, with a time zone, if it can be had: a replica whose own clock is wrong
    would make certificates that nobody accepts. It is asked right after the API server has answered.
    """

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
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._poked.wait()
            self._poked.clear()
            await self._look_until_done()
            await asyncio.sleep(MIN_LOOK_SECONDS)

    def poke(self) -> None:
        """To be called when the webhook configuration was seen to change, by whomever."""
        self._poked.set()

    async def look(self) -> None:
        """Step by step until nothing is left to do. Raises `ApiTrouble`; then what was served before still is."""
        for _ in range(MAX_STEPS):
            published = await self._publisher.published()
            stored = await self._store.read()
            data, now = stored.data if stored else None, self._now()
            bundle, leaf = published.bundle if published else None, self._serving.pair
            todo = step(data, bundle, leaf, now, Authority.create)
            if isinstance(todo, Write):
                await self._store.write(todo.bundle.data(), over=stored)
                self._report(f"the CA Secret was written: {todo.why}")
                continue
            self._renew(todo.bundle, published, now)
            if isinstance(todo, Use):
                return
            assert published
            await self._publisher.publish(todo.bundle.ca_bundle(), over=published)
            self._report("the caBundle was published")
        raise ApiTrouble("somebody else changes the CA Secret or the caBundle as often as we do")

    def _renew(self, bundle: Bundle, published: Published | None, now: datetime) -> None:
        """Never with a leaf that what is published doesn't vouch for, if there is anything to publish."""
        issuer = bundle.issuer
        if not stale(self._serving.pair, bundle, now):
            return
        if published is None or issuer.certificate in readable(published.bundle):
            self._serving.serve(issuer.issue(self._hosts, now))

    async def _look_until_done(self) -> None:
        pause = BACKOFF_SECONDS
        while True:
            try:
                return await self.look()
            except ApiTrouble as e:
                self._report(str(e))
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # keeps replicas apart, guards nothing
            pause = min(2 * pause, MAX_BACKOFF_SECONDS)
