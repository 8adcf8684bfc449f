"""List, then watch, for ever: one stream of events that never ends and lists again only when it must.

A watch is a chunked response of JSON lines. The server is asked to end each after a few seconds, and sends a bookmark
shortly before, so that a longer silence is a dead connection, and a watch that ends without a word a position that the
server does not have: its etcd was restored from a backup.
"""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

import aiohttp
import msgspec

from webhook.cluster import Cluster, ClusterError, Meta, Status
from webhook.listing import ANY, PAGE, Listing, Unread, accept, kept
from webhook.turns import turn
from webhook.wire import Unreadable, decode

LIFE = 5.0
"""Seconds that the server is asked to keep a watch open, jittered up to twice that."""
LONGEST = 4.0
"""Seconds between attempts, whatever the server asks for: after an outage we are right again in about 5 s, and two
replicas are no storm."""
SILENCE = 12.0
"""Seconds without a word, after which a watch is given up."""
AT_ONCE = 1.0
"""Seconds. A watch that ends sooner has failed."""
LONGEST_LINE = 32 * 1024 * 1024
"""Bytes. An object has some 1.5 MiB; etcd takes no more."""


class HasMeta(Protocol):
    @property
    def metadata(self) -> Meta: ...


class Hears(Protocol):
    """Is told how a watch fares: of each word of the server, failed attempt, and object that cannot be read."""

    def works(self) -> None: ...
    def failed(self, error: ClusterError, /) -> None: ...
    def left_out(self, one: Unread, /) -> None: ...


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


class _Frame(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


_FRAME, _STATUS = msgspec.json.Decoder(_Frame), msgspec.json.Decoder(Status)


class _Lost(ClusterError):
    """The position is none of this server's: all is listed again."""


@dataclass
class _Position:
    """Where a watch is. `at` None: nowhere, so all is listed. `pause`: seconds after the last failure, 0.0 while it
    works. `doubted`: where a line could not be read; if that comes again, listing is the way past it.
    """

    at: int | None = None
    pause: float = 0.0
    doubted: int | None = None

    def reached(self, version: int | None) -> None:
        """By a word of the server. `version` None: it does not say. Raises _Lost."""
        self.confirmed(version)
        self.at = self.at if version is None else version

    def confirmed(self, newest: int | None) -> None:
        """The server has got as far as here. Raises _Lost."""
        if newest is not None and self.at is not None and newest < self.at:
            raise _Lost(0, "VersionsWentBack")
        self.pause = 0.0

    def failed(self, error: Exception) -> ClusterError:
        if isinstance(error, Unreadable):
            self.at, self.doubted = None if self.at == self.doubted else self.at, self.at
            error = ClusterError(0, "NotKubernetes")
        elif not isinstance(error, ClusterError):
            error = ClusterError(0, type(error).__name__)
        if error.status == 410 or isinstance(error, _Lost) or "Too large resource version" in error.message:
            self.at = None
        self.pause = min(max(self.pause * 2, 0.2), LONGEST)
        return error


@dataclass(frozen=True)
class Watch(Generic[T, R]):
    """`item`: the Struct that is decoded; `keep`: what stays of it, object by object, so that a list of tens of
    thousands is never there as a whole.
    """

    cluster: Cluster
    path: str
    item: type[T]
    keep: Callable[[T], R]
    health: Hears
    query: Mapping[str, str] = field(default_factory=dict)
    metadata_only: bool = False

    async def events(self) -> AsyncIterator[Replaced[R] | Changed[R]]:
        position = _Position()
        while True:
            try:
                if position.at is None:
                    replaced = await self._list()
                    position.at = replaced.version
                    self.health.works()
                    yield replaced
                async with aclosing(self._changes(position)) as changes:
                    async for change in changes:
                        yield change
            except Exception as e:  # noqa: BLE001  # whatever a library raises: a feed that ends, ends the process
                error = position.failed(e)
                self.health.failed(error)
                jitter = random.uniform(0.5, 1.0)  # noqa: S311  # keeps replicas apart, guards nothing
                await asyncio.sleep(max(min(error.retry_after, LONGEST), position.pause * jitter))

    async def _list(self) -> Replaced[R]:
        decoder = msgspec.json.Decoder(self.item)
        listing, items = self._listing(), list[R]()
        async for raw in listing:
            item = await kept(raw, decoder, self.keep, self.health.left_out)
            if item is not None:
                items.append(item)
        if listing.version is None:
            raise ClusterError(0, "NotKubernetes")
        return Replaced(items, listing.version)

    async def _changes(self, position: _Position) -> AsyncGenerator[Changed[R], None]:
        """One watch, until it ends."""
        decoder = msgspec.json.Decoder(self.item)
        clock = asyncio.get_running_loop().time
        began, quiet = clock(), True
        async with aclosing(self._frames(position)) as frames:
            async for frame in frames:
                quiet = False
                if frame.type == "ERROR":
                    status = await decode(_STATUS, frame.object)
                    raise ClusterError(status.code, status.reason, status.message)
                position.reached((await decode(ANY, frame.object)).metadata.version)
                self.health.works()
                if frame.type != "BOOKMARK":
                    item = await kept(frame.object, decoder, self.keep, self.health.left_out)
                    if item is not None:
                        yield Changed(item, gone=frame.type == "DELETED")
        if clock() - began < AT_ONCE:  # a proxy that answers 200 and hangs up must not make us spin
            raise ClusterError(0, "WatchEndedAtOnce")
        if quiet:
            await self._check(position)

    async def _check(self, position: _Position) -> None:
        """A server that has no such position (yet) says nothing at all, not even a bookmark."""
        listing = self._listing(most=1)
        async with aclosing(aiter(listing)) as objects:
            await anext(objects, None)
        position.confirmed(listing.version)

    async def _frames(self, position: _Position) -> AsyncGenerator[_Frame, None]:
        query = {
            **self.query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": str(position.at),
            "timeoutSeconds": str(int(LIFE * random.uniform(1, 2))),  # noqa: S311  # jitter
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=SILENCE)
        header = accept("", metadata_only=self.metadata_only)
        response = await self.cluster.open("GET", self.path, query=query, accept=header, timeout=timeout)
        async with response:
            if not position.pause:  # after a failure there may be much to tell before all is known
                self.health.works()
            async for line in lines(response.content):
                yield await decode(_FRAME, line)

    def _listing(self, most: int = PAGE) -> Listing:
        return Listing(self.cluster, self.path, self.query, accept("List", metadata_only=self.metadata_only), most=most)


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """aiohttp's own line iterator refuses lines over 128 KiB; an object may have 1.5 MiB. Raises Unreadable."""
    rest = bytearray()
    async for chunk in content.iter_any():
        first, *more = chunk.split(b"\n")
        rest += first
        for begun in more:
            await turn()  # hundreds may arrive together
            yield bytes(rest)
            rest = bytearray(begun)
        if len(rest) > LONGEST_LINE:
            raise Unreadable("it is too long")
