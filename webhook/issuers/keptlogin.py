"""The login of an issuer at a cloud, which is a token that ends: kept for as long as it is good, for all owners."""

import asyncio
import time
from abc import ABC, abstractmethod
from typing import Annotated

import msgspec

LATE_SECONDS = 60
"""A token that ends so soon is not used any more."""
Visible = Annotated[str, msgspec.Meta(pattern=r"^[!-~]+\Z")]
"""What can be in a header."""
AGAIN_SECONDS = 30.0
"""Nobody gets anything with a login that is refused, so that long the others do not try it either."""


class KeptLogin(ABC):
    def __init__(self) -> None:
        self._one = asyncio.Lock()
        self._token, self._until = "", 0.0

    @abstractmethod
    async def _new(self) -> tuple[str, float]:
        """And for how many seconds it is good. Raises IssuerUnavailable."""

    async def token(self) -> str:
        """Raises IssuerUnavailable."""
        async with self._one:
            if time.monotonic() >= self._until:
                began = time.monotonic()
                self._token, seconds = await self._new()
                self._until = began + seconds - LATE_SECONDS
            return self._token

    def refused(self, token: str) -> None:
        """The next one is a new one."""
        if token == self._token:
            self._until = 0.0
