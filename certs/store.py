"""What `selfmanaged` needs of Kubernetes, as protocols that the application fulfils."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """The CA Secret as it was read; `version` is its resourceVersion, or whatever else `Store.write` compares."""

    data: Mapping[str, bytes] = field(repr=False)
    version: str


class Store(Protocol):
    """The CA Secret, in live reads: one answered from a cache could be older than our own last write.

    Both methods raise `ApiTrouble` for anything that the API server refuses or leaves unanswered, and `NotOurs` for a
    Secret that isn't ours.
    """

    async def read(self) -> Stored | None:
        """None: there is no such Secret."""
        ...

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> None:
        """Replaces all data of the Secret that was read as `over`; None: creates it. Raises `Conflict` if it changed.

        Two replicas that create at the same time must not both succeed. A server-side apply without resourceVersion
        isn't enough: both have the same field manager, and the second one overwrites the first one without a conflict.
        """
        ...


@dataclass(frozen=True, slots=True)
class Published:
    """The `caBundle` as it was read; empty: there is none. `version` is the resourceVersion of the object it is in."""

    bundle: bytes
    version: str


class Publisher(Protocol):
    """The `caBundle` of the webhook configuration, in live reads. Both methods raise `ApiTrouble`."""

    async def published(self) -> Published | None:
        """None: there is no such object or entry (yet)."""
        ...

    async def publish(self, bundle: bytes, over: Published) -> None:
        """Replaces what was read as `over`. Raises `Conflict` if its object has changed or is gone."""
        ...
