"""What cached.py makes a source of: it is asked about one owner at a time, and may be slow or down."""

from dataclasses import dataclass
from typing import Protocol

from webhook.core.credential import Credentials
from webhook.core.errors import SourceUnavailable
from webhook.sources import Changed


@dataclass(frozen=True, slots=True)
class Answer:
    """`fresh_for`: seconds. `validator`: what the next query sends back, such as an ETag. `problems`: which entries
    cannot be used, cut by `shown.few`; never with their content.
    """

    credentials: Credentials
    fresh_for: float
    validator: str = ""
    problems: tuple[str, ...] = ()

    @property
    def weight(self) -> int:
        """Approximate bytes."""
        texts = (self.validator, *self.problems)
        return 400 + sum(map(len, texts)) + self.credentials.weight


def down(why: str) -> SourceUnavailable:
    """For all owners."""
    return SourceUnavailable(why, everybody=True)


class Remote(Protocol):
    async def ask(self, owner: str, before: Answer | None) -> Answer:
        """`before`: the last answer, fresh or not. Raises SourceUnavailable, with no secret in its text."""
        ...

    async def run(self, changed: Changed) -> None:
        """Reports changes until it is cancelled; without a feed of changes it only waits.

        Raises SourceUnavailable when the feed breaks. The next start calls `changed(None)`, as changes may be missed.
        """
        ...

    async def close(self) -> None:
        """Closes the connections, at the end."""
        ...
