"""Where credentials come from: `Answers.credentials`, and `Answers.known` for the request path, which does not wait.

What all sources promise, and tests/support/sourcecontract.py checks of each:

- Empty is *known to have none*. When nobody could say, SourceUnavailable is raised: what stands in the cluster stays.
- A source tells whom it concerns, through `Changed`, when an owner's credentials are not what they were, and when it
  can say again after it could not. Whoever asked in vain need not ask again by itself.
- What is known may be older than what another replica knows: `invalidate` makes it ask again.
- Equal answers are the same object, so that the request path compares by identity.
- No error, log line, event or metric has a token in it.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from webhook.core.credential import Credentials


class Answers(Protocol):
    def known(self, owner: str) -> Credentials | None:
        """What `credentials` would say, if it can be said at once; None: ask. Equal answers are the same object."""
        ...

    async def credentials(self, owner: str) -> Credentials:
        """Empty: known to have none. Raises SourceUnavailable when nobody could say."""
        ...

    def invalidate(self, owner: str) -> None:
        """What is known of this owner may be old, by what the cluster shows: ask again before handing it out."""
        ...


class Source(Answers, Protocol):
    @property
    def settled(self) -> asyncio.Event:
        """Set when it knows what it can know without being asked, or that it cannot: readiness waits for it."""
        ...

    async def run(self) -> None:
        """Its feed, for ever. What goes wrong in it is told and tried again."""
        ...


Changed = Callable[[str | None], None]
"""Called with an owner, or with None for everybody."""
