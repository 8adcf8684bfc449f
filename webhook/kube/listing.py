"""Lists of the API server, read in pages of a bounded size and object by object.

An object that cannot be read is left out, and said; what stands beside it is read. A page that is too large, as each
object may have 1.5 MiB, is asked for again with fewer objects.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from webhook.core.errors import PullsecretError
from webhook.core.wire import Decodes, Unreadable
from webhook.fairness import yield_to_reviews
from webhook.kube.cluster import METADATA_ONLY, Cluster, ClusterError, TooLarge, is_name
from webhook.kube.decoding import decode

PAGE_SIZE = 200
"""Objects, at most."""
PAGE_DIVISOR = 8
"""By which a page that was too large is divided."""
MAX_PAGE_BYTES = 8 * 1024 * 1024
"""Bytes. One page, the next one and what is made of it may be in memory at a time."""
STEP_BYTES = 64 * 1024
"""Bytes of objects between two turns: about a millisecond."""
MAX_VERSION_DIGITS = 20
"""Digits: a resourceVersion has 64 bits."""

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Unread:
    """An object that cannot be read, as far as it can be named. `version` None: unknown. `bug`: an error of ours."""

    namespace: str
    name: str
    version: int | None
    why: str
    bug: Exception | None = field(default=None, compare=False)

    def __str__(self) -> str:
        names = [name if is_name(name) else "?" for name in (self.namespace, self.name) if name]
        return f"{'/'.join(names) or 'one without a name'}: {self.why}"


def number(version: str) -> int | None:
    """resourceVersions of one resource are comparable as numbers (KEP-5504). None: `version` is not one."""
    return int(version) if version.isdecimal() and len(version) <= MAX_VERSION_DIGITS else None


class Named(msgspec.Struct, rename={"resource_version": "resourceVersion"}):
    """Metadata, as far as it says which object this is."""

    namespace: str = ""
    name: str = ""
    resource_version: str = ""

    @property
    def version(self) -> int | None:
        return number(self.resource_version)


class Any(msgspec.Struct):
    """An object of any kind."""

    metadata: Named


ANY = msgspec.json.Decoder(Any)


async def kept(
    raw: bytes | msgspec.Raw, decoder: Decodes[T], keep: Callable[[T], R], left_out: Callable[[Unread], None]
) -> R | None:
    """What is to be kept of one object. None: it cannot be read."""
    try:
        return keep(await decode(decoder, raw))
    except Exception as e:  # noqa: BLE001  # whatever is the matter with one object, the others are not to miss it
        left_out(await _unread(raw, e))
        return None


async def _unread(raw: bytes | msgspec.Raw, error: Exception) -> Unread:
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
    """To be walked through once: each object as its bytes. `version`: of the whole list, known with the first page.

    Raises ClusterError.
    """

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
            asked = {**self.query, "limit": str(limit)} | ({"continue": more} if more else {})
            try:
                body = await self.cluster.call(
                    "GET", self.path, query=asked, accept=self.accept, within=self.within, at_most=MAX_PAGE_BYTES
                )
            except TooLarge:
                if limit == 1:
                    raise
                limit = max(limit // PAGE_DIVISOR, 1)
                continue
            try:
                page = await decode(_PAGE, body)
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
    """For commands: all objects there that can be read, and a line on stderr for each that cannot. Raises
    PullsecretError that names `what` could not be listed.
    """

    def left_out(one: Unread) -> None:
        logging.getLogger(__name__).warning("left out of %s: %s", what, one)

    decoder = msgspec.json.Decoder(item)
    pages = Listing(cluster, path, query or {}, accept("List", metadata_only=metadata_only), within=60.0)
    try:
        async for raw in pages:
            one = await kept(raw, decoder, _itself, left_out)
            if one is not None:
                yield one
    except ClusterError as e:
        raise PullsecretError(f"{what} cannot be listed ({e})") from None


def _itself(item: T) -> T:
    return item
