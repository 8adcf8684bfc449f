"""The background of a process over a remote: `Cached` and `Refresh` as app.py connects them, and namespaces that are
looked at, without an API server.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

from webhook.core.credential import Credentials, Origin
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.refresh import Refresh
from webhook.sources.cached import Cached
from webhook.sources.remote import Remote
from webhook.supply import Supplied


class Background:
    """`has`: by namespace the password that its pull secret has. Each owner has `spaces` namespaces."""

    def __init__(self, remote: Remote, owners: Sequence[str], spaces: int = 4) -> None:
        self.metrics = Metrics()
        self._of_owner = {owner: [f"{owner}-{number}" for number in range(spaces)] for owner in owners}
        self.owners = {space: owner for owner, found in self._of_owner.items() for space in found}
        self.has: dict[str, str] = {}
        self._listens = asyncio.Event()
        self.cached = Cached(
            Origin("remote"), remote, self._changed, lambda *_: None, self.metrics, lambda: datetime.now(UTC)
        )
        self._refresh = Refresh(
            self._supply, self._namespaces, self.owners.get, self.cached.prefetch, lambda _: None, "ghcr-secret"
        )

    def _changed(self, owner: str | None) -> None:
        if owner is None:
            self._listens.set()
        self._refresh.owner_changed(owner)

    def _namespaces(self, owner: str | None) -> Sequence[str]:
        return [*self.owners] if owner is None else self._of_owner.get(owner, [])

    async def _supply(self, namespace: str) -> Supplied:
        try:
            credentials = await self.cached.credentials(self.owners[namespace])
        except SourceUnavailable as e:
            return Supplied(problem=str(e))
        if (password := _password(credentials)) == self.has.get(namespace):
            return Supplied()
        await asyncio.sleep(0.002)  # a write
        self.has[namespace] = password
        return Supplied(wrote=True, digest=password.encode())

    @asynccontextmanager
    async def running(self, *, listens: bool = False) -> AsyncIterator[None]:
        """From the start of a process on, at which all namespaces are to be looked at. `listens`: the remote has
        notifications, and the connection for them is there before the namespaces are listed.
        """
        for namespace in self.owners:
            self._refresh.look_soon(namespace)
        tasks = [asyncio.create_task(self.cached.run())]
        if listens:
            await self._listens.wait()
        tasks.append(asyncio.create_task(self._refresh.run()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

    async def until(self, what: Callable[[], bool], within: float = 60.0) -> None:
        async with asyncio.timeout(within):
            while not what():  # noqa: ASYNC110  # what is waited for is no event
                await asyncio.sleep(0.02)


def _password(credentials: Credentials) -> str:
    return credentials.items[0].password if credentials.items else ""
