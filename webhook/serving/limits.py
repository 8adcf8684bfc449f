"""HTTP limits that uvicorn does not have: on the duration of a request, on its head, its body and on unread answers.

Every pod in the cluster may connect. Without these limits, a silent connection or half a request stays open for ever, a
head of megabytes or endless trailers are kept in memory, and a client that never reads may send without end.
slots.py and listener.py limit the number of connections.
A request must be complete within a time that starts with its first byte, and the client must read the answer. A
connection without a request may rest as long as one that is kept alive: the API server opens some before it needs them,
and a POST is lost if we close its connection at that moment.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_BYTES = 16 * 1024
MAX_UNANSWERED = 8
"""Requests on one connection that wait for the answer to an earlier one. The API server never lets one wait."""
SMALL_BYTES, ORDINARY_BYTES = 32 * 1024, 256 * 1024
"""Bytes of a body. Up to the first it is not counted; up to the second it is never cut because it is the largest."""
MAX_ARRIVING_BYTES = 12 * 1024 * 1024
"""Bytes of bodies that are not decoded yet, on all connections together: one of the largest, and some more."""
WHOLE_REQUEST_SECONDS = 3.0
"""Seconds. The API server writes a review without pauses, and by default waits no longer for the answer."""
UNREAD_SECONDS = 10.0
"""Seconds for a client to read its answers when they no longer fit into the buffers."""
HANDSHAKE_SECONDS = 3.0
"""Seconds until a client must send its first bytes, and the same again for the handshake."""


class Arriving:
    """The bodies that are not decoded yet. A body that uvicorn handles counts until its answer.

    Over the limit the largest body is cut, not the newest: otherwise a few that never become complete would keep all
    others out. If all are of ordinary size, the oldest is cut.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._held: dict[LimitedProtocol, int] = {}
        """Bytes of each body, the oldest first."""

    def holds(self, protocol: "LimitedProtocol", count: int) -> bool:
        """`count`: bytes of this body so far. False: it was cut."""
        self.bytes += count - self._held.get(protocol, 0)
        self._held[protocol] = count
        while self.bytes > MAX_ARRIVING_BYTES:
            victim = max(self._held, key=self._held.__getitem__)
            if self._held[victim] <= ORDINARY_BYTES:
                victim = next(iter(self._held))
            self.gone(victim)
            victim.cut()
        return protocol in self._held

    def gone(self, protocol: "LimitedProtocol") -> None:
        self.bytes -= self._held.pop(protocol, 0)


class Deadline:
    """Calls `missed` unless it is ended in time.

    All requests of a connection share one timer, which checks the time when it fires: a timer for each request would
    cost a tenth of a review.
    """

    __slots__ = ("_at", "_loop", "_missed", "_seconds", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, missed: Callable[[], None]) -> None:
        self._loop, self._seconds = loop, seconds
        self._missed: Callable[[], None] | None = missed
        self._at: float | None = None
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Does nothing if it already runs."""
        if self._at is None:
            self._at = self._loop.time() + self._seconds
            if self._timer is None:
                self._timer = self._loop.call_at(self._at, self._look)

    def end(self) -> None:
        self._at = None

    def close(self) -> None:
        """For good. Breaks the reference cycle with `missed`, which would stay in memory until a garbage collection."""
        self._at = self._missed = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if self._at is not None and self._loop.time() < self._at:
            self._timer = self._loop.call_at(self._at, self._look)
        elif self._at is not None and self._missed is not None:
            self._at = None
            self._missed()


class Seen(Protocol):
    """What the listener must know of a connection."""

    def sent_review(self) -> bool: ...

    def ended(self) -> None: ...


class LimitedProtocol(HttpToolsProtocol):
    arriving: ClassVar[Arriving] = Arriving()
    """Of all connections."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._head = self._body = 0
        self._in_head = True
        self.connection: Seen | None = None
        self._whole = Deadline(self.loop, WHOLE_REQUEST_SECONDS, self._too_slow)
        self._idle = Deadline(self.loop, self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self._unread = Deadline(self.loop, UNREAD_SECONDS, self.cut)

    def is_made(self) -> bool:
        """Is the handshake done?"""
        return self in self.connections

    def cut(self) -> None:
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._idle.begin()

    def data_received(self, data: bytes) -> None:
        self._idle.end()
        if self._in_head:
            self._whole.begin()  # for the next request on a connection that is kept alive
            room = HEAD_BYTES - self._head
            self._head += len(data)
            # A head and the start of its body may come together; the head must end before the limit.
            if len(data) > room and (room <= 0 or b"\r\n\r\n" not in data[: room + 4]):
                self._refuse(b"431 Request Header Fields Too Large")
                return
        super().data_received(data)

    # An exception in one of these stops the parser; uvicorn then answers 400 and closes the connection.

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= MAX_UNANSWERED:
            self.transport.abort()
            raise ValueError("too many requests wait")
        self._whole.begin()  # for a request that begins in the same read in which the last one ended
        self._idle.end()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            raise ValueError("chunked")  # the API server does not use it, and trailers have no limit
        self._in_head = False
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.arrives(len(body))
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        if self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()  # `close` would wait for a client that does not read
        else:
            super().send_400_response(msg)

    def on_message_complete(self) -> None:
        self.message_is_complete()
        super().on_message_complete()
        if self.cycle.response_complete:  # it was refused before it was complete
            self._gone()

    def on_response_complete(self) -> None:
        self._gone()
        super().on_response_complete()

    def arrives(self, count: int) -> None:
        self._body += count
        if self._body > SMALL_BYTES and not self.arriving.holds(self, self._body):
            raise ValueError("too many bytes arrive")

    def review_came(self) -> bool:
        """May the connection stay open after the answer?"""
        return self.connection is None or self.connection.sent_review()

    def message_is_complete(self) -> None:
        self._whole.end()
        self._in_head, self._head = True, 0

    def not_made(self) -> None:
        """The handshake failed: then uvloop does not call `connection_lost`, and what it does must be done here."""
        self._close_deadlines()
        self.connection = None
        self.parser = None  # type: ignore[assignment]  # as uvicorn does

    def connection_lost(self, exc: Exception | None) -> None:
        self._close_deadlines()
        self._unset_keepalive_if_required()  # otherwise uvicorn's timer keeps this object after a reset
        self._gone()
        if self.connection is not None:
            self.connection.ended()
            self.connection = None
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._unread.begin()
        super().pause_writing()

    def resume_writing(self) -> None:
        self._unread.end()
        super().resume_writing()

    def _close_deadlines(self) -> None:
        for deadline in (self._whole, self._idle, self._unread):
            deadline.close()

    def _gone(self) -> None:
        if self._body > SMALL_BYTES:
            self.arriving.gone(self)
        self._body = 0

    def _too_slow(self) -> None:
        if not self.transport.is_closing():
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()
