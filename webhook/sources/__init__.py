"""Where credentials come from: one method, `Source.credentials`. What wraps or combines sources has the same one.

A source tells whom it concerns, through `Changed`, when an owner's credentials are not what they were.
"""

from collections.abc import Callable
from typing import Protocol

from webhook.credential import Credentials


class Source(Protocol):
    async def credentials(self, owner: str) -> Credentials:
        """Empty: known to have none. Raises SourceUnavailable when nobody could say."""
        ...


Changed = Callable[[str | None], None]
"""Called with an owner, or with None for everybody."""
