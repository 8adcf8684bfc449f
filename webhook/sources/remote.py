"""What cached.py makes a source of: it may be slow or down."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from webhook.core.credential import Credentials, weight
from webhook.core.errors import SourceUnavailable
from webhook.sources import Changed

QUERY_SECONDS = 60.0
"""Time limit of one query. Remotes have shorter limits of their own; this is for one that lacks them."""
MAX_OWNERS = 128
"""Owners in one query at most, so that 25,000 owners take 200 queries."""
MAX_SIZE = 4 * 1024 * 1024
"""Bytes of an answer about several owners. More is asked for in smaller queries."""


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
        return 400 + sum(map(weight, texts)) + self.credentials.weight


def down(why: str) -> SourceUnavailable:
    """For all owners."""
    return SourceUnavailable(why, everybody=True)


class Remote(Protocol):
    @property
    def many(self) -> bool:
        """Does one query answer many owners? Then it is worth asking about them at the same time."""
        ...

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


class ManyRemote(Remote, Protocol):
    """What batched.py makes a remote of that is asked about one owner at a time."""

    async def ask_many(self, owners: Sequence[str]) -> Mapping[str, Answer | SourceUnavailable]:
        """For each of up to MAX_OWNERS owners its answer, or why there is none; the others have theirs all the same.

        Raises SourceUnavailable if the query fails as a whole. An owner alone may be the reason even of `everybody`;
        if it is known which owners are, they are in `about`.
        """
        ...
