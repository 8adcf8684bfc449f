"""List, then watch, for ever: one stream of events that never ends and lists again only when it must.

A watch is a chunked response of JSON lines. The server is asked to end each after a few seconds, and sends a bookmark
shortly before, so that a longer silence is a dead connection. The next watch begins where the last one was.

If etcd is restored from a backup, that position means nothing: the same versions are used again, for other changes. So
all is listed after each outage in which that may have been done, and when the server does not know the position.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

import aiohttp
import msgspec
import structlog

from webhook.core.backoff import Backoff, jittered
from webhook.core.wire import Unreadable
from webhook.fairness import yield_to_reviews
from webhook.kube.cluster import BROKEN, Cluster, ClusterError, Meta, Status
from webhook.kube.decoding import decode
from webhook.kube.listing import ANY, PAGE_SIZE, Listing, Unread, accept, kept

log = structlog.get_logger()
WATCH_SECONDS = 5.0
"""Seconds that the server is asked to keep a watch open, jittered up to twice that."""
BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.2, 4.0
"""Seconds between attempts, whatever the server asks for: after an outage we are right again in about 5 s, and two
replicas are no storm."""
SILENCE_SECONDS = 12.0
"""Seconds without a word, after which a watch is given up."""
MIN_WATCH_SECONDS = 1.0
"""Seconds. A watch that ends sooner has failed."""
OUTAGE_SECONDS = 1.0
"""Seconds without the server, after which all is listed. etcd is restored while no API server runs, and one takes
longer than this to start. In less time a balancer may reset some connections, which is no reason to list.
"""
MAX_LINE_BYTES = 32 * 1024 * 1024
"""Bytes. An object has some 1.5 MiB; etcd takes no more."""


class HasMeta(Protocol):
    @property
    def metadata(self) -> Meta: ...


class Health(Protocol):
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


class _Cut(ClusterError):
    """The connection was closed: until then the server was there."""


@dataclass
class _Position:
    """Where a watch is. `at` None: nowhere. `there`: loop time at which the server was there last."""

    at: int | None = None
    there: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_BACKOFF_SECONDS))

    def lost(self, now: float) -> bool:
        """All is to be listed."""
        return self.at is None or now - self.there > OUTAGE_SECONDS

    def listed(self, version: int, now: float) -> None:
        self.at, self.there = version, now

    def reached(self, version: int | None) -> None:
        """By a word of the server. `version` None: it does not say. Raises _Lost."""
        self.confirmed(version)
        self.at = self.at if version is None else version

    def confirmed(self, newest: int | None) -> None:
        """The server has got as far as here. Raises _Lost."""
        if newest is not None and self.at is not None and newest < self.at:
            raise _Lost(0, "VersionsWentBack")
        self.backoff.reset()

    def failed(self, error: ClusterError, now: float) -> float:
        """Seconds until the next attempt. A line that cannot be read again and again is an outage too: a list is the
        way past it.
        """
        if isinstance(error, _Cut):
            self.there = now
        if error.status == 410 or isinstance(error, _Lost) or "Too large resource version" in error.message:
            self.at = None
        return max(min(error.retry_after, MAX_BACKOFF_SECONDS), self.backoff.next())


@dataclass(frozen=True)
class Watch(Generic[T, R]):
    """`item`: the Struct that is decoded; `keep`: what stays of it, object by object, so that a list of tens of
    thousands is never there as a whole.
    """

    cluster: Cluster
    path: str
    item: type[T]
    keep: Callable[[T], R]
    health: Health
    query: Mapping[str, str] = field(default_factory=dict)
    metadata_only: bool = False

    async def events(self) -> AsyncIterator[Replaced[R] | Changed[R]]:
        position, clock = _Position(), asyncio.get_running_loop().time
        while True:
            try:
                if position.lost(clock()):
                    replaced = await self._list()
                    self.health.works()
                    yield replaced
                    position.listed(replaced.version, clock())
                async with aclosing(self._changes(position)) as changes:
                    async for change in changes:
                        yield change
                position.there = clock()
            except Exception as e:  # noqa: BLE001  # whatever it is: a feed that ends, ends the process
                error = self._meaning(e)
                pause = position.failed(error, clock())
                self.health.failed(error)
                await asyncio.sleep(pause)

    def _meaning(self, error: Exception) -> ClusterError:
        if isinstance(error, ClusterError):
            return error
        if isinstance(error, Unreadable):
            return ClusterError(0, "NotKubernetes")
        log.error("our own bug: a watch failed; it is tried again", about=self.path, exc_info=error)
        return _Lost(0, type(error).__name__)  # what had come may be lost

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
        if clock() - began < MIN_WATCH_SECONDS:  # a proxy that answers 200 and hangs up must not make us spin
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
            "timeoutSeconds": str(int(jittered(2 * WATCH_SECONDS))),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=SILENCE_SECONDS)
        header = accept("", metadata_only=self.metadata_only)
        response = await self.cluster.open("GET", self.path, query=query, accept=header, timeout=timeout)
        async with response:
            if not position.backoff.delay:  # after a failure there may be much to tell before all is known
                self.health.works()
            async for line in lines(response.content):
                yield await decode(_FRAME, line)

    def _listing(self, most: int = PAGE_SIZE) -> Listing:
        return Listing(self.cluster, self.path, self.query, accept("List", metadata_only=self.metadata_only), most=most)


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """aiohttp's own line iterator refuses lines over 128 KiB; an object may have 1.5 MiB.

    Raises Unreadable and ClusterError.
    """
    rest = bytearray()
    async for chunk in _chunks(content):
        first, *more = chunk.split(b"\n")
        rest += first
        for begun in more:
            await yield_to_reviews()  # hundreds may arrive together
            yield bytes(rest)
            rest = bytearray(begun)
        if len(rest) > MAX_LINE_BYTES:
            raise Unreadable("it is too long")


async def _chunks(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    try:
        async for chunk in content.iter_any():
            yield chunk
    except TimeoutError as e:  # it was silent for too long, and may have been away
        raise ClusterError(0, type(e).__name__) from None
    except BROKEN as e:
        raise _Cut(0, type(e).__name__) from None
