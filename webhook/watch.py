"""List, then watch, for ever: one stream of events that never ends and lists again only when it must (410).

A watch is a chunked response of JSON lines. The server is asked to end each after a few seconds, and sends a bookmark
shortly before, so that a longer silence is a dead connection. Until then a silently stalled watch goes unnoticed.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

import aiohttp
import msgspec

from webhook.cluster import BROKEN, METADATA_ONLY, Cluster, ClusterError, Meta, Status
from webhook.turns import turn

PAGE = 200
"""Objects. Each may have 1.5 MiB, and a page is in memory as a whole."""
LIFE = 5.0
"""Seconds that the server is asked to keep a watch open, jittered up to twice that."""
LONGEST = 4.0
"""Seconds between attempts: after an outage we are right again in about 5 s, and two replicas are no storm."""
SILENCE = 12.0
"""Seconds without a word, after which a watch is given up."""


class HasMeta(Protocol):
    @property
    def metadata(self) -> Meta: ...


T = TypeVar("T", bound=HasMeta)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Replaced(Generic[R]):
    """The whole truth as of `version`, after a (re-)list: what is not in it is gone."""

    items: list[R]
    version: int


@dataclass(frozen=True, slots=True)
class Changed(Generic[R]):
    item: R
    gone: bool


def whole(item: T) -> T:
    """To keep all that is decoded."""
    return item


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _Versioned(msgspec.Struct):
    metadata: _ListMeta


class _Page(msgspec.Struct, Generic[T]):
    metadata: _ListMeta
    items: list[T] | None  # null in an empty list of metadata


class _Frame(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


@dataclass(frozen=True)
class Watch(Generic[T, R]):
    """`item`: the Struct that is decoded; `keep`: what stays of it, page by page, so that a list of tens of thousands
    is never there as a whole. `failed`: told of each failed attempt; `works`: of each word of the server.
    """

    cluster: Cluster
    path: str
    item: type[T]
    keep: Callable[[T], R]
    failed: Callable[[ClusterError], None]
    query: Mapping[str, str] | None = None
    metadata_only: bool = False
    works: Callable[[], None] = lambda: None

    async def events(self) -> AsyncIterator[Replaced[R] | Changed[R]]:
        version, delay = "", 0.0
        decode = msgspec.json.Decoder(self.item).decode
        clock = asyncio.get_running_loop().time
        while True:
            try:
                if not version:
                    replaced = await self._list()
                    version = str(replaced.version)
                    self.works()
                    yield replaced
                began = clock()
                async for kind, raw in self._frames(version):
                    if kind == "ERROR":
                        status = msgspec.json.decode(raw, type=Status)
                        raise ClusterError(status.code, status.reason)
                    delay = 0.0
                    self.works()
                    version = msgspec.json.decode(raw, type=_Versioned).metadata.resource_version
                    if kind != "BOOKMARK":
                        yield Changed(self.keep(decode(raw)), gone=kind == "DELETED")
                if clock() - began < 1.0:  # a proxy that answers 200 and hangs up must not make us spin
                    raise ClusterError(0, "WatchEndedAtOnce")
            except (ClusterError, msgspec.MsgspecError, ValueError) as error:  # ValueError: no UTF-8, no number
                e = error if isinstance(error, ClusterError) else ClusterError(0, "NotKubernetes")
                if e.status == 410:
                    version = ""
                self.failed(e)
                delay = min(max(delay * 2, 0.2), LONGEST)
                await asyncio.sleep(max(e.retry_after, delay * random.uniform(0.5, 1.0)))  # noqa: S311  # jitter

    async def _list(self) -> Replaced[R]:
        decode = msgspec.json.Decoder(_Page[self.item]).decode  # type: ignore[name-defined]  # known at run time only
        items: list[R] = []
        query = dict(self.query or {}) | {"limit": str(PAGE)}
        while True:
            page = decode(
                await self.cluster.call("GET", self.path, query=query, accept=self._accept("List"), within=30)
            )
            items += map(self.keep, page.items or ())
            if not page.metadata.continue_:
                return Replaced(items, int(page.metadata.resource_version))
            query["continue"] = page.metadata.continue_

    async def _frames(self, version: str) -> AsyncIterator[tuple[str, msgspec.Raw]]:
        query = dict(self.query or {}) | {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(int(LIFE * random.uniform(1, 2))),  # noqa: S311  # jitter
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=SILENCE)
        frame = msgspec.json.Decoder(_Frame).decode
        response = await self.cluster.open("GET", self.path, query=query, accept=self._accept(""), timeout=timeout)
        async with response:
            self.works()
            try:
                async for line in lines(response.content):
                    event = frame(line)
                    yield event.type, event.object
            except BROKEN as e:
                raise ClusterError(0, type(e).__name__) from None

    def _accept(self, suffix: str) -> str:
        return METADATA_ONLY.format(suffix) if self.metadata_only else "application/json"


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """aiohttp's own line iterator refuses lines over 128 KiB; an object may have 1.5 MiB."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            await turn()  # hundreds may arrive together
            yield line
