"""Lists of the API server, read in pages of a bounded size and object by object.

An object that cannot be read is left out and reported; the others are read. A page that is too large (each object may
have 1.5 MiB) is requested again with fewer objects.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from webhook.core.errors import PullsecretError
from webhook.core.wire import Bytes, Unreadable
from webhook.fairness import yield_to_reviews
from webhook.kube.cluster import FORBIDDEN, METADATA_ONLY, Cluster, ClusterError, Forbidden, TooLarge, decode, is_name

PAGE_SIZE = 200
"""Objects in a page, at most."""
PAGE_DIVISOR = 8
"""The limit for a page is divided by this if the page was too large."""
MAX_PAGE_BYTES = 8 * 1024 * 1024
"""Bytes. One page, the next one and the objects decoded from it may be in memory at the same time."""
STEP_BYTES = 64 * 1024
"""Bytes of objects that are read before reviews get a turn: about a millisecond."""
MAX_VERSION_DIGITS = 20
"""Digits: a resourceVersion has 64 bits."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Unread:
    """An object that cannot be read, with as much of its name as is known. `version` None: unknown. `bug`: our own."""

    namespace: str
    name: str
    version: int | None
    why: str
    bug: Exception | None = field(default=None, compare=False)

    def __str__(self) -> str:
        names = [name if is_name(name) else "?" for name in (self.namespace, self.name) if name]
        return f"{'/'.join(names) or 'an object without a name'}: {self.why}"


def number(version: str) -> int | None:
    """resourceVersions of one resource are comparable as numbers (KEP-5504). None: `version` is not a number."""
    return int(version) if version.isdecimal() and len(version) <= MAX_VERSION_DIGITS else None


class Named(msgspec.Struct, rename={"resource_version": "resourceVersion"}):
    """The part of the metadata that says which object this is."""

    namespace: str = ""
    name: str = ""
    resource_version: str = ""

    @property
    def version(self) -> int | None:
        return number(self.resource_version)


class AnyObject(msgspec.Struct):
    metadata: Named


ANY = msgspec.json.Decoder(AnyObject)


async def kept(
    raw: Bytes, decoder: msgspec.json.Decoder[T], keep: Callable[[T], R], left_out: Callable[[Unread], None]
) -> R | None:
    """The part of one object that is kept. None: the object cannot be read."""
    try:
        return keep(await decode(decoder, raw))
    except Exception as e:  # noqa: BLE001  # one bad object must not hide the others
        left_out(await _unread(raw, e))
        return None


async def _unread(raw: Bytes, error: Exception) -> Unread:
    bug = None if isinstance(error, PullsecretError) else error
    why = str(error) if bug is None else f"it cannot be used ({type(error).__name__})"
    try:
        about = (await decode(ANY, raw)).metadata
    except Unreadable:
        return Unread("", "", None, why, bug)
    return Unread(about.namespace, about.name, about.version, why, bug)


class _ListMeta(msgspec.Struct, rename={"version": "resourceVersion", "more": "continue"}):
    version: str = ""
    more: str = ""


class _Page(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw] | None = None  # null in an empty list of metadata


_PAGE = msgspec.json.Decoder(_Page)


@dataclass
class Listing:
    """To be iterated once: objects as bytes. `version`: of the list, from the first page on. Raises ClusterError."""

    cluster: Cluster
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = "application/json"
    within: float = 30.0
    """Seconds for each page."""
    most: int = PAGE_SIZE
    version: int | None = None

    async def __aiter__(self) -> AsyncGenerator[msgspec.Raw, None]:
        limit, more, taken = self.most, "", 0
        while True:
            query = {**self.query, "limit": str(limit)} | ({"continue": more} if more else {})
            try:
                body = await self.cluster.call(
                    "GET", self.path, query=query, accept=self.accept, within=self.within, at_most=MAX_PAGE_BYTES
                )
                page = await decode(_PAGE, body)
            except TooLarge:
                if limit == 1:
                    raise
                limit = max(limit // PAGE_DIVISOR, 1)
                continue
            except Unreadable:
                raise ClusterError(0, "NotKubernetes") from None
            self.version, more = number(page.metadata.version), page.metadata.more
            for raw in page.items or ():
                yield raw
                taken += len(raw)
                if taken >= STEP_BYTES:
                    taken = 0
                    await yield_to_reviews()
            if not more:
                return
            if len(body) < MAX_PAGE_BYTES // PAGE_DIVISOR:
                limit = min(limit * 2, self.most)


def accept(suffix: str, *, metadata_only: bool) -> str:
    return METADATA_ONLY.format(suffix) if metadata_only else "application/json"


async def listed(
    cluster: Cluster,
    what: str,
    path: str,
    item: type[T],
    *,
    query: Mapping[str, str] | None = None,
    metadata_only: bool = False,
) -> AsyncIterator[T]:
    """For commands: what can be read, and a line on stderr for each that cannot. Raises PullsecretError with `what`, or
    Forbidden.
    """

    def left_out(one: Unread) -> None:
        logging.getLogger(__name__).warning("left out of %s: %s", what, one)

    decoder = msgspec.json.Decoder(item)
    pages = Listing(cluster, path, query or {}, accept("List", metadata_only=metadata_only), within=60.0)
    try:
        async for raw in pages:
            one = await kept(raw, decoder, lambda item: item, left_out)
            if one is not None:
                yield one
    except ClusterError as e:
        kind = Forbidden if e.status == FORBIDDEN else PullsecretError
        raise kind(f"{what} cannot be listed ({e})") from None
