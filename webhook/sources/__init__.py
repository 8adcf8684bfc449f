"""Where credentials come from: `Source.credentials`, and `Source.known` for the request path, which does not wait.

A source tells whom it concerns, through `Changed`, when an owner's credentials are not what they were.
"""

from collections.abc import Callable
from typing import Protocol

from webhook.credential import Credentials


class Source(Protocol):
    def known(self, owner: str) -> Credentials | None:
        """What `credentials` would say, if it can be said at once; None: ask. Equal answers are the same object."""
        ...

    async def credentials(self, owner: str) -> Credentials:
        """Empty: known to have none. Raises SourceUnavailable when nobody could say."""
        ...


Changed = Callable[[str | None], None]
"""Called with an owner, or with None for everybody."""
