"""What is done at a step: a credential is minted, tried, and stored; one that has ended is taken away.

It may be cut off between any two calls, and the next replica goes on: what is stored is all that is remembered.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol

import structlog

from webhook.core.credential import Credential
from webhook.core.errors import WriteConflict
from webhook.core.issued import MAX_LIFE, Earlier, End, Issued, Mint, Remove
from webhook.issuers import Fence, Issuer, IssuerUnavailable, Minted, NotLeading

log = structlog.get_logger()
LEAST_LIFE = timedelta(seconds=10)
"""A credential that lives shorter is an odd answer."""


class Store(Protocol):
    """The Secrets of one issuer, by owner."""

    def found(self, owner: str) -> tuple[bool, Issued | None]:
        """Is there one, and what does it say?"""
        ...

    def owners(self) -> Collection[str]:
        """Those that have one."""
        ...

    async def confirm(self, owner: str) -> None:
        """Is that so? `found` may be old, also where our own write had no answer: raises WriteConflict."""
        ...

    async def write(self, owner: str, issued: Issued, credentials: tuple[Credential, ...] | None) -> None:
        """Over what `found` has shown: raises WriteConflict if that has changed. None: they stay."""
        ...

    async def remove(self, owner: str) -> None:
        """Raises WriteConflict."""
        ...


Verify = Callable[[Credential], Awaitable[str]]
"""Why a registry does not take a credential; empty: it does. Raises IssuerUnavailable if it cannot say."""


@dataclass(slots=True)
class Bucket:
    """At most `rate` calls a second, up to `burst` at once."""

    rate: float
    burst: int
    tokens: float = 0.0
    at: float = 0.0

    async def take(self) -> None:
        clock = asyncio.get_running_loop().time
        while True:
            now = clock()
            self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate) if self.at else self.burst
            self.at = now
            if self.tokens >= 1:
                self.tokens -= 1
                return
            await asyncio.sleep((1 - self.tokens) / self.rate)


class Minting:
    """`done`: counts what was minted, as `issued`, and what was taken away, as `ended`."""

    def __init__(
        self,
        issuer: Issuer,
        store: Store,
        verify: Verify,
        fence: Fence,
        now: Callable[[], datetime],
        bucket: Bucket,
        done: Counter[str],
    ) -> None:
        self._issuer, self._store, self._verify, self._fence = issuer, store, verify, fence
        self._now, self._bucket, self._done = now, bucket, done

    async def do(self, owner: str, found: Issued | None, step: Mint | End | Remove) -> None:
        """`found`: what the owner's Secret says. Raises PullsecretError: nothing is lost, and it can be done again."""
        if isinstance(step, Remove):
            await self._store.remove(owner)
        elif isinstance(step, End):
            assert found is not None
            await self._bucket.take()
            await self._issuer.end(step.gone.handle)
            self._done["ended"] += 1
            current = step.gone == Earlier(found.handle, found.ends)
            await self._store.write(owner, replace(found, handle="") if current else found.without(step.gone), None)
        else:
            await self._mint(owner, found, step)

    async def _mint(self, owner: str, found: Issued | None, step: Mint) -> None:
        async def fence() -> None:
            """Before what has this generation is taken away."""
            await self._store.confirm(owner)
            await self._fence()

        await self._bucket.take()
        await self._fence()
        began = self._now()
        minted = await self._issuer.issue(owner, step.generation, fence)
        why = _odd(minted)
        if not why:
            why = await self._refused(minted, found)
        if why:
            raise IssuerUnavailable(f"what was minted is not used: {why}")
        # Counted from before the question: it does not live longer.
        new = Issued(step.generation, began, began + min(minted.life, MAX_LIFE), minted.handle)
        try:
            await self._fence()
            await self._store.write(owner, found.followed_by(new) if found else new, minted.credentials)
        except (NotLeading, WriteConflict):
            if minted.handle:  # nobody has it, and its number is another one's
                await self._issuer.end(minted.handle)
            raise
        _, stored = self._store.found(owner)
        if stored is None or stored.generation != step.generation:  # or it would be minted again and again
            raise IssuerUnavailable("its Secret does not say what was written; does something else change it?")
        self._done["issued"] += 1
        log.info("issued", owner=owner, generation=step.generation, ends=new.ends.isoformat())

    async def _refused(self, minted: Minted, found: Issued | None) -> str:
        """Why the registry does not take it. If it cannot say: what stands is better than the unknown, until it is
        late: some registries are reached from nodes alone, and never say.
        """
        for one in minted.credentials:
            try:
                if why := await self._verify(one):
                    return why
            except IssuerUnavailable as e:
                if found is not None and not found.is_late(self._now()):
                    raise
                log.info("a new credential is used although its registry does not say whether it works", why=str(e))
        return ""


def _odd(minted: Minted) -> str:
    if not minted.credentials:
        return "there is no credential in the answer"
    if minted.life < LEAST_LIFE:
        return "it has ended, or ends within seconds"
    return ""
