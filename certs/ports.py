"""What `selfmanaged` needs from Kubernetes, as protocols that the application implements."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """The CA Secret as it stands. `version`: its resourceVersion, which `Store.write` compares."""

    data: Mapping[str, bytes] = field(repr=False)
    version: str


class Store(Protocol):
    """The CA Secret. Reads are live: a cache could be older than our own last write.

    Both methods raise `ApiTrouble` if the API server refuses or gives no answer, `NotOurs` if the Secret is not ours.
    """

    async def read(self) -> Stored | None:
        """None: the Secret does not exist."""
        ...

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> Stored:
        """Replaces all data of the Secret that stood as `over`; None: creates it. Returns what stands now. Raises
        `Conflict` if it changed.

        If two replicas create it at the same time, one must fail. A server-side apply without resourceVersion is not
        enough: both have the same field manager, so the second one overwrites the first one without a conflict.
        """
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """The `caBundle` of each entry as it was read, by the entry's name, in their order; empty: there is none.

    `version`: the resourceVersion of their object.
    """

    bundles: Mapping[str, bytes]
    version: str


class Publisher(Protocol):
    """The `caBundle` of the webhook configuration, in each of its entries. Reads are live. Both methods raise
    `ApiTrouble`.
    """

    async def published(self) -> Published | None:
        """None: the object or the entry for pods does not exist (yet)."""
        ...

    async def publish(self, bundle: bytes, over: Published) -> None:
        """Replaces all that was read as `over`, at once. Raises `Conflict` if their object was changed or deleted."""
        ...
