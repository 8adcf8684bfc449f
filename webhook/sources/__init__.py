"""Where credentials come from: `Answers.known` for reviews, which do not wait, and `Answers.credentials`.

Every source keeps these rules, and tests/support/sourcecontract.py checks them:

- An empty answer means that the owner has no credentials. A source that cannot answer raises SourceUnavailable, and the
  existing pull secrets stay unchanged.
- A source calls `Changed` when the credentials of an owner change, and when it can answer again after it could not. So
  a caller that got SourceUnavailable need not retry.
- Another replica may know something newer: `invalidate` makes the source ask again.
- Equal answers are the same object, so that reviews compare by identity.
- No error, log line, Event or metric contains a token.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import Protocol

from webhook.core.credential import Credentials


class Answers(Protocol):
    def known(self, owner: str) -> Credentials | None:
        """The answer of `credentials` if it takes no wait, else None. Equal answers are the same object."""
        ...

    async def credentials(self, owner: str) -> Credentials:
        """Empty: the owner has none. Raises SourceUnavailable if the source cannot answer."""
        ...

    async def prefetch(self, owners: Collection[str]) -> None:
        """Before namespaces of these owners are looked at: returns when what needs to be asked for has been answered,
        or has failed. A source that is not faster with many owners at once does nothing.
        """
        ...

    def invalidate(self, owner: str) -> None:
        """The cluster shows that the answer for this owner may be old: the source asks again before the next one."""
        ...


class Source(Answers, Protocol):
    settled: asyncio.Event
    """Set when the first list of the source has succeeded or failed: readiness waits for it."""

    def able(self) -> bool:
        """Does it answer, and hear of changes? A replica whose sources do not leaves its share to others."""
        ...

    async def run(self) -> None:
        """Watches for changes until it is cancelled. Reports errors and tries again."""
        ...


Changed = Callable[[str | None], None]
"""Called with an owner, or with None for all owners."""
