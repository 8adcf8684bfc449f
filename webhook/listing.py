"""Long lists of the API server, read in pages: no more than one page of them is in memory at a time."""

from collections.abc import AsyncIterator, Mapping
from typing import Generic, TypeVar

import msgspec

from webhook.cluster import METADATA_ONLY, Cluster, ClusterError
from webhook.errors import PullsecretError

PAGE = 200
"""Objects. Each may have 1.5 MiB."""

T = TypeVar("T", bound=msgspec.Struct)


class _ListMeta(msgspec.Struct, rename={"more": "continue"}):
    more: str = ""


class _Page(msgspec.Struct, Generic[T]):
    metadata: _ListMeta
    items: list[T] | None = None


async def listed(
    cluster: Cluster,
    what: str,
    path: str,
    item: type[T],
    *,
    query: Mapping[str, str] | None = None,
    metadata_only: bool = False,
) -> AsyncIterator[T]:
    """All objects there. Raises PullsecretError that names `what` could not be listed."""
    decode = msgspec.json.Decoder(_Page[item]).decode  # type: ignore[valid-type]  # known at run time only
    asked = dict(query or {}) | {"limit": str(PAGE)}
    accept = METADATA_ONLY.format("List") if metadata_only else "application/json"
    while True:
        try:
            page = decode(await cluster.call("GET", path, query=asked, accept=accept, within=60.0))
        except ClusterError as e:
            raise PullsecretError(f"{what} cannot be listed ({e})") from None
        for one in page.items or ():
            yield one
        if not page.metadata.more:
            return
        asked["continue"] = page.metadata.more
