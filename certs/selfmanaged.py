"""Certificates without any installed tool: an authority in a Secret. The first replica creates it.

Each look reads the published `caBundle` and then the Secret, does the one thing that `step` says, and begins again. A
leaf is served when each entry that trusts somebody trusts it. The Secret is the only memory, and resourceVersions are
the only locks. So a process may die at any point, replicas need no leader, and after a conflict a replica looks again.

Also a slow replica never publishes an older `caBundle`. It replaces only the version that it read *before* it read the
Secret, and the replica that published that version had read the Secret even earlier.
"""

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

import msgspec

from certs.child import Ask, ask
from certs.errors import ApiTrouble, Conflict, Unanswered
from certs.ports import Published, Publisher, Store, Stored
from certs.questions import Look, Serve, Write
from certs.serving import Serving

LOOK_SECONDS = 60.0
"""Seconds between looks: how long until a deleted Secret is noticed, or a clock that jumped."""

MAX_STEPS = 8
"""In one look. A rotation needs four: write, publish, record, and nothing left to do."""

MIN_LOOK_SECONDS = 1.0
"""Seconds between looks after pokes, in case another client reverts the `caBundle` as often as we publish it."""

BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.25, 10.0
"""Seconds after a look that failed; doubled each time, then shortened at random by up to a half. As in
webhook/core/backoff.py, which certs/ must not import."""


class SelfManaged:
    """`hosts`: our DNS names and IP addresses. `report` gets lines for the log, never with a key.

    `now`: with a time zone, if possible the API server's clock: with a wrong clock of its own, a replica would create
    certificates that the API server rejects. It is read right after an answer of the API server.

    `registered` is told after each look whether the webhook configuration is there, and its `caBundle` is ours.
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
        registered: Callable[[bool], None] = lambda _: None,
        ask: Ask = ask,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._hosts = tuple(hosts)
        self._serving = serving
        self._now = now
        self._report = report
        self._registered = registered
        self._ask = ask
        self._settled: tuple[Look, Serve] | None = None
        self._poked = asyncio.Event()

    async def start(self) -> None:
        """Ends when a certificate is served that the published `caBundle` trusts, if there is one to publish."""
        await self._look_until_done()

    async def run(self) -> None:
        """For ever: looks every minute, and after each poke."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._poked.wait()
            self._poked.clear()
            await self._look_until_done()
            await asyncio.sleep(MIN_LOOK_SECONDS)

    def poke(self) -> None:
        """To be called when the webhook configuration has changed."""
        self._poked.set()

    async def look(self) -> None:
        """Takes steps until nothing is left to do. Raises `ApiTrouble`, `Unanswered`; the certificate stays then."""
        for _ in range(MAX_STEPS):
            published = await self._publisher.published()
            stored = await self._store.read()
            todo = await self._todo(published, stored)
            if isinstance(todo, Write):
                await self._store.write(todo.data, over=stored)
                self._report(f"the CA Secret was written: {todo.why}")
                continue
            if todo.leaf is not None:
                self._serving.serve(todo.leaf)
            if not todo.publish:
                self._registered(published is not None)
                return
            assert published
            await self._publish(todo, published)
            self._report("the caBundle was published")
        raise ApiTrouble("another client changes the CA Secret or the caBundle as often as the webhook does")

    async def _todo(self, published: Published | None, stored: Stored | None) -> Write | Serve:
        """What follows from both. Asks only if something has changed, or the last answer no longer holds."""
        look = Look(
            dict(stored.data) if stored else None,
            tuple(published.bundles.values()) if published else None,
            self._serving.leaf.pem if self._serving.leaf else b"",
            self._hosts,
            self._now(),
        )
        if self._settled is not None:
            before, answer = self._settled
            if before.now <= look.now < answer.until and msgspec.structs.replace(look, now=before.now) == before:
                return answer
        todo = await self._ask(look)
        assert isinstance(todo, Write | Serve)
        self._settled = None
        if isinstance(todo, Serve) and not todo.publish:
            served = todo.leaf.pem if todo.leaf else look.leaf
            self._settled = msgspec.structs.replace(look, leaf=served), msgspec.structs.replace(todo, leaf=None)
        return todo

    async def _publish(self, todo: Serve, over: Published) -> None:
        try:
            await self._publisher.publish(todo.publish, over=over)
        except Conflict:
            raise
        except ApiTrouble:
            # During a rotation the old one still trusts the leaf that we serve.
            self._registered(self._serving.leaf is not None and todo.accepted)
            raise

    async def _look_until_done(self) -> None:
        pause = BACKOFF_SECONDS
        while True:
            try:
                return await self.look()
            except (ApiTrouble, Unanswered) as e:
                self._report(str(e))
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # spreads replicas; not for security
            pause = min(2 * pause, MAX_BACKOFF_SECONDS)
