"""The login of an issuer at a cloud, which ends: kept for half of its life, for all owners."""

import asyncio
from abc import ABC, abstractmethod
from datetime import timedelta
from typing import Annotated, Generic, TypeVar

import msgspec

from webhook.issuers import IssuerUnavailable

T = TypeVar("T")

Visible = Annotated[str, msgspec.Meta(pattern=r"^[!-~]+\Z")]
"""What can be in a header."""
AGAIN_SECONDS = 30.0
"""Nobody gets anything with a login that is refused, so that long the others do not try it either."""
_USED_FOR = 0.5
"""The part of its life for which it is used."""
MAX_SECONDS = 3600.0
"""For which it is used at most: one from whoever answered for a moment in the place of another is not kept for ever."""


class KeptLogin(ABC, Generic[T]):
    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._kept: tuple[T, float] | None = None
        """And the loop time until which it is used."""
        self._failed: tuple[IssuerUnavailable, float] | None = None
        """The last try that failed, and the loop time at which it did."""

    @abstractmethod
    async def _new(self) -> tuple[T, timedelta]:
        """And its life. Raises IssuerUnavailable."""

    async def kept(self) -> T:
        """Raises IssuerUnavailable. Who waits for somebody else's try shares what becomes of it: a login that hangs is
        not waited for by one owner after the other.
        """
        clock = asyncio.get_running_loop().time
        asked = clock()
        async with self._one:
            if self._kept is None or clock() >= self._kept[1]:
                if self._failed is not None and self._failed[1] >= asked:
                    told = self._failed[0]
                    raise IssuerUnavailable(str(told), told.retry_after)
                began = clock()
                try:
                    login, life = await self._new()
                except IssuerUnavailable as e:
                    self._failed = e, clock()
                    raise
                self._kept = login, began + min(life.total_seconds() * _USED_FOR, MAX_SECONDS)
            return self._kept[0]

    def refused(self, login: T) -> None:
        """The next one is a new one."""
        if self._kept is not None and self._kept[0] == login:
            self._kept = None
