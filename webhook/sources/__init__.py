"""Where credentials come from. A source has one method; SOURCES lists them by the name used in the configuration.

A source is an async context manager that owns whatever it needs (a watch, a pool) and is handed `changed`, which it
calls with an owner whose credentials are not what they were, or with None for everybody.
"""

from collections.abc import Callable
from typing import Protocol

from webhook.credential import Credentials


class Source(Protocol):
    async def credentials(self, owner: str) -> Credentials:
        """Empty: known to have none. Raises SourceUnavailable when nobody could say."""
        ...


Changed = Callable[[str | None], None]
