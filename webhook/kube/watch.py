"""List, then watch: one stream of events that never ends and lists again only when it must.

A watch is a chunked response of JSON lines. The server is asked to end it after a few seconds, and sends a bookmark
shortly before, so a longer silence means a dead connection. The next watch begins at the position of the last one.

After a restore of etcd from a backup that position means nothing: versions are used again, for other changes. So the
watch lists again after each outage that is long enough for a restore, and when the server does not know the position.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import ExitStack, aclosing
from dataclasses import dataclass, field
from typing import Generic, Literal, Protocol, TypeVar

import aiohttp
import msgspec
import structlog

from webhook.core.backoff import Backoff, jittered
from webhook.core.wire import Unreadable
from webhook.fairness import yield_to_reviews
from webhook.kube.cluster import BROKEN, Cluster, ClusterError, Object, Status, decode
from webhook.kube.listing import ANY, PAGE_SIZE, Listing, Unread, accept, kept

log = structlog.get_logger()
WATCH_SECONDS = 5.0
"""Seconds that the server is asked to keep a watch open; with jitter up to twice as many."""
BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.2, 4.0
"""Seconds between attempts, whatever the server asks for: after an outage the views are right again in about 5 s, and
two replicas do not overload a server."""
SILENCE_SECONDS = 12.0
"""Seconds of silence after which a watch is given up."""
MIN_WATCH_SECONDS = 1.0
"""Seconds. A watch that ends sooner has failed."""
OUTAGE_SECONDS = 1.0
"""Seconds without the server after which the watch lists again. etcd is restored while no API server runs, and one
takes longer than this to start. A load balancer may reset connections for less time, which is no reason to list.
"""
CATCH_UP_SECONDS = 0.5
"""Seconds after a failure: by then a watch that was opened again has reported what it missed, or has missed nothing."""
MAX_LINE_BYTES = 32 * 1024 * 1024
"""Bytes. An object has at most about 1.5 MiB: the limit of etcd."""


class Health(Protocol):
    """Called for each message of the server, each failed attempt, and each object that cannot be read."""

    def works(self) -> None: ...
    def failed(self, error: ClusterError, /) -> None: ...
    def left_out(self, one: Unread, /) -> None: ...


T = TypeVar("T", bound=Object)
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Replaced(Generic[R]):
    """All objects by key as of `version`, after a (re-)list: an object that is not in it is gone."""

    items: Mapping[str, R]
    version: int


@dataclass(frozen=True, slots=True)
class Changed(Generic[R]):
    key: str
    item: R
    gone: bool


class _Frame(msgspec.Struct):
    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]
    object: msgspec.Raw


_FRAME, _STATUS = msgspec.json.Decoder(_Frame), msgspec.json.Decoder(Status)


class _Lost(ClusterError):
    """The server does not know the position: list again."""


class _Cut(ClusterError):
    """The connection was closed; until then the server answered."""


@dataclass
class _Position:
    """The version that a watch has reached. `at` None: list first. `seen`: loop time of the server's last answer.
    `current`: loop time from which the watch, if it lasts, has reported what happened while it was broken.
    """

    at: int | None = None
    seen: float = 0.0
    current: float = 0.0
    backoff: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_BACKOFF_SECONDS))

    def lost(self, now: float) -> bool:
        return self.at is None or now - self.seen > OUTAGE_SECONDS

    def reached(self, version: int | None) -> None:
        """By a message of the server. `version` None: the message has none. Raises _Lost."""
        self.confirmed(version)
        self.at = self.at if version is None else version

    def confirmed(self, newest: int | None) -> None:
        """The server has come as far as `newest`. Raises _Lost if that is behind the position."""
        if newest is not None and self.at is not None and newest < self.at:
            raise _Lost(0, "VersionsWentBack")
        self.backoff.reset()

    def failed(self, error: ClusterError, now: float) -> float:
        """Seconds until the next attempt. A line that is never readable becomes an outage too, and a list skips it."""
        if isinstance(error, _Cut):
            self.seen = now
        if error.status == 410 or isinstance(error, _Lost) or "Too large resource version" in error.message:
            self.at = None
        return max(min(error.retry_after, MAX_BACKOFF_SECONDS), self.backoff.next())


@dataclass(frozen=True)
class Watch(Generic[T, R]):
    """`item`: the Struct that is decoded; `keep`: the key and the part that stays, taken object by object, so that a
    list of tens of thousands of objects is never in memory as a whole.
    """

    cluster: Cluster
    path: str
    item: type[T]
    keep: Callable[[T], tuple[str, R]]
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
                    position.at, position.seen = replaced.version, clock()
                    del replaced  # else it is kept as long as the watch lasts
                async with aclosing(self._changes(position)) as changes:
                    async for change in changes:
                        yield change
                position.seen = clock()
            except Exception as e:  # noqa: BLE001  # a feed that ends would end the process
                error = self._meaning(e)
                pause = position.failed(error, clock())
                self.health.failed(error)
                await asyncio.sleep(pause)

    def _meaning(self, error: Exception) -> ClusterError:
        if isinstance(error, ClusterError):
            return error
        if isinstance(error, Unreadable):
            return ClusterError(0, "NotKubernetes")
        log.error("our own bug: a watch failed; trying again", about=self.path, exc_info=error)
        return _Lost(0, type(error).__name__)  # events may be lost

    async def _list(self) -> Replaced[R]:
        decoder = msgspec.json.Decoder(self.item)
        listing, items = self._listing(), dict[str, R]()
        async for raw in listing:
            one = await kept(raw, decoder, self.keep, self.health.left_out)
            if one is not None:
                key, items[key] = one
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
                if clock() >= position.current:
                    self.health.works()
                if frame.type != "BOOKMARK":
                    one = await kept(frame.object, decoder, self.keep, self.health.left_out)
                    if one is not None:
                        yield Changed(*one, gone=frame.type == "DELETED")
        if clock() - began < MIN_WATCH_SECONDS:  # a proxy may answer 200 and close: no busy loop
            raise ClusterError(0, "WatchEndedEarly")
        if quiet:
            await self._check(position)

    async def _check(self, position: _Position) -> None:
        """A server that does not have this position (yet) sends nothing, not even a bookmark."""
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
        with ExitStack() as stack:
            async with response:
                if position.backoff.delay:
                    loop = asyncio.get_running_loop()
                    position.current = loop.time() + CATCH_UP_SECONDS
                    stack.callback(loop.call_later(CATCH_UP_SECONDS, self.health.works).cancel)
                else:
                    self.health.works()
                async for line in lines(response.content):
                    yield await decode(_FRAME, line)

    def _listing(self, most: int = PAGE_SIZE) -> Listing:
        return Listing(self.cluster, self.path, self.query, accept("List", metadata_only=self.metadata_only), most=most)


async def lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """aiohttp's own refuses lines over 128 KiB; an object may have 1.5 MiB. Raises Unreadable and ClusterError."""
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
    except TimeoutError as e:  # after a long silence: perhaps the server was away
        raise ClusterError(0, type(e).__name__) from None
    except BROKEN as e:
        raise _Cut(0, type(e).__name__) from None
