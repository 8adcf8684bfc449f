"""HTTP limits that uvicorn does not have: on the time a request takes to arrive, on its head, on requests in a row.

Without them a silent connection, or half a request head, stays open for ever, a head of megabytes is answered, and a
client that sends without reading has its requests kept without end: uvicorn reads on after each answer.
One timer a connection, running from the connection or the first byte of a request until the request is whole.
"""

import asyncio
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

HEAD_BYTES = 16 * 1024
UNANSWERED = 8
"""Requests on one connection that wait for the answer to an earlier one. The API server never lets one wait."""
WHOLE_REQUEST = 10.0
"""Seconds. The API server writes a review in one go."""


class LimitedProtocol(HttpToolsProtocol):
    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._head = 0
        self._in_head = True
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._start()

    def data_received(self, data: bytes) -> None:
        if self._timer is None and self._in_head:  # the next request on a connection that was kept alive
            self._start()
        if self._in_head:
            self._head += len(data)
            if self._head > HEAD_BYTES and not self._ends_within(data):
                self._refuse(b"431 Request Header Fields Too Large")
                return
        super().data_received(data)

    def _ends_within(self, data: bytes) -> bool:
        """A head and the start of its body may come together; the head must end before the limit."""
        room = HEAD_BYTES - (self._head - len(data))
        return room > 0 and b"\r\n\r\n" in data[: room + 4]

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= UNANSWERED:
            raise ValueError("too many requests that wait")  # the parser stops, and uvicorn answers 400 and hangs up
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self.head_is_complete()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.message_is_complete()
        super().on_message_complete()

    def head_is_complete(self) -> None:
        self._in_head = False

    def message_is_complete(self) -> None:
        self._stop()
        self._in_head, self._head = True, 0

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop()
        super().connection_lost(exc)

    def _start(self) -> None:
        self._timer = self.loop.call_later(WHOLE_REQUEST, self._too_slow)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._timer = None
        if not self.transport.is_closing():
            self._refuse(b"408 Request Timeout")

    def _refuse(self, status: bytes) -> None:
        self.transport.write(b"HTTP/1.1 " + status + b"\r\nconnection: close\r\ncontent-length: 0\r\n\r\n")
        self.transport.close()
