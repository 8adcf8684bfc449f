"""Something that is asked for one owner at a time, and may be slow or down: what cached.py makes a source of."""

from dataclasses import dataclass
from typing import Protocol

from webhook.core.credential import Credentials
from webhook.sources import Changed


@dataclass(frozen=True, slots=True)
class Answer:
    """`fresh_for`: seconds. `validator`: what the remote wants to see when it is asked again, such as an ETag.

    `problems`: what was left out because it cannot be used, as `shown.few` has it, never with its content.
    """

    credentials: Credentials
    fresh_for: float
    validator: str = ""
    problems: tuple[str, ...] = ()

    @property
    def weight(self) -> int:
        """Bytes, roughly."""
        texts = (self.validator, *self.problems)
        return 400 + sum(map(len, texts)) + self.credentials.weight


class Remote(Protocol):
    async def ask(self, owner: str, before: Answer | None) -> Answer:
        """`before`: the last answer, fresh or not. Raises SourceUnavailable; its text may be shown, so no secrets."""
        ...

    async def run(self, changed: Changed) -> None:
        """Hears of changes, for ever; a remote that hears of none waits. Raises SourceUnavailable when it breaks off.

        What is missed while it breaks off must be made good by `changed(None)` when it is heard again.
        """
        ...

    async def close(self) -> None:
        """Gives up its connections, at the end."""
        ...
