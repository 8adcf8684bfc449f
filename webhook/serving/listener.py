"""Accepts connections, a few in each turn of the event loop, and closes those for which there is no slot.

asyncio's servers accept every connection, spend 54 KiB on it, and report it only after its TLS handshake. Here nothing
is created until the whole ClientHello of a connection is here: to accept and close a silent one takes 0.05 ms. Then it
waits for its turn, gets a slot, and its handshake begins. While connections wait for their turn, no more are accepted:
the kernel keeps the others, and if it has no room, the client sends its SYN again after a second.
"""

import asyncio
import ctypes
import selectors
import socket
import ssl
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from webhook.serving import limits
from webhook.serving.limits import LimitedProtocol
from webhook.serving.slots import ConnectionSlots

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted."""
AT_ONCE = 16
"""Connections that are accepted in one turn of the event loop, which takes less than a millisecond."""
MIN_TURNS = 16
"""A new connection keeps its slot for at least so many turns of the event loop, because one turn begins only a part of
the handshakes. A handshake and a review take 4."""
RECEIVE_BUFFER_BYTES = 32 * 1024
"""Bytes in the kernel for each connection. What is read from it in one turn stays allocated twice until its end."""
HEADER_BYTES = 5
"""Bytes before a TLS record: its type, a version, its length."""
HANDSHAKE_RECORD, CLIENT_HELLO = 22, 1
MAX_HELLO_BYTES = 8 * 1024
"""Bytes of a ClientHello. Real ones have less than 2,000; OpenSSL would read and keep 128 KiB of one."""
PAUSE_SECONDS = 0.1
"""Seconds before the next attempt to accept, when the process may open no more files. In this time the other port and
our own calls can use the files of connections that were closed."""
SWEEP_SECONDS = 1.0
"""Seconds between two searches for connections that were silent for too long. Then free memory is returned, too."""
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", None)  # only the GNU C library has it


def hello_ends(begun: bytes) -> int:
    """The length in bytes of the ClientHello that begins like this; 0 if it is not one."""
    kind, length = begun[:1], int.from_bytes(begun[3:HEADER_BYTES])
    if len(begun) < HEADER_BYTES or kind != bytes([HANDSHAKE_RECORD]) or not 4 <= length <= MAX_HELLO_BYTES:
        return 0
    message = begun[HEADER_BYTES : HEADER_BYTES + 4]
    if len(message) == 4 and (message[0] != CLIENT_HELLO or int.from_bytes(message[1:]) + 4 > length):
        return 0  # no client splits it into several records
    return HEADER_BYTES + length


class Connection:
    """From accept to its end: silent, waiting for its turn, in the handshake, and then a protocol with a transport."""

    def __init__(self, listener: "Listener", accepted: socket.socket) -> None:
        self._listener, self._accepted = listener, accepted
        self._protocol: LimitedProtocol | None = None
        self._began = False
        listener.slots.opened(self)
        listener.silent.register(accepted, selectors.EVENT_READ, self)

    def cut(self) -> None:
        if self._protocol is None:
            with suppress(KeyError):  # it has sent its first bytes, and waits for its turn
                self._listener.silent.unregister(self._accepted)
            self._accepted.close()
        elif self._protocol.is_made():
            self._protocol.cut()
        else:
            with suppress(OSError):  # the client is gone
                self._accepted.shutdown(socket.SHUT_RDWR)  # the handshake fails

    def sent_review(self) -> bool:
        return self._listener.slots.sent_review(self)

    def ended(self) -> None:
        self._protocol = None  # they hold each other
        self._listener.slots.closed(self)
        self._listener.some_closed = True

    def readable(self) -> None:
        if self._listener.context is None or self._hello_is_whole():
            self._listener.silent.unregister(self._accepted)
            self._listener.enqueue(self)

    def _hello_is_whole(self) -> bool:
        """If a part is missing, the kernel reports the connection again only when all of it has arrived: otherwise a
        client that sends single bytes would cost CPU for each of them.
        """
        try:
            begun = self._accepted.recv(HEADER_BYTES + MAX_HELLO_BYTES, socket.MSG_PEEK)
        except OSError:
            begun = b""
        end = hello_ends(begun)
        if end and end <= len(begun):
            self._accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            return True
        if end and not self._began:
            self._began = True
            self._accepted.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, end)
        else:
            self.cut()
            self.ended()
        return False

    def begin(self) -> None:
        """Begins the handshake, if the connection was not cut while it waited for its turn."""
        if self._accepted.fileno() == -1:
            return
        self._listener.slots.started(self)
        self._protocol = protocol = self._listener.protocol()
        protocol.connection = self
        handshake = self._listener.loop.create_task(self._handshake(protocol))
        self._listener.handshakes.add(handshake)
        handshake.add_done_callback(self._listener.handshakes.discard)

    async def _handshake(self, protocol: LimitedProtocol) -> None:
        """After it the protocol has the connection. The metrics port has no context and no handshake."""
        context = self._listener.context
        try:
            await self._listener.loop.connect_accepted_socket(
                lambda: protocol,
                self._accepted,
                ssl=context,
                ssl_handshake_timeout=limits.HANDSHAKE_SECONDS if context else None,
            )
        except Exception:  # noqa: BLE001  # an OSError if the handshake failed; the slot is free after any error
            if protocol.is_made():
                protocol.connection = None
            else:
                protocol.not_made()
            self.ended()


class Listener:
    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], LimitedProtocol],
        most: int,
        context: ssl.SSLContext | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.protocol, self.context, self.slots = protocol, context, ConnectionSlots(most, self.loop.time)
        self.silent = selectors.DefaultSelector()
        """Silent connections. A reader in the event loop for each would cost more, and fail when one is reset."""
        self._listening, self._in_a_turn = listening, max(1, most // 4 // MIN_TURNS)
        self._waiting: deque[Connection] = deque()
        """For their turn."""
        self.handshakes: set[asyncio.Task[None]] = set()
        self._open, self.some_closed = True, False
        listening.setblocking(False)
        # Each accepted connection inherits these.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, HEADER_BYTES if context else 1)
        listening.listen(BACKLOG)
        self._listen()
        self.loop.add_reader(self.silent.fileno(), self._on_readable)
        self._sweep()

    def close(self) -> None:
        """Stops accepting, and closes connections that are silent or in their handshake."""
        if self._open:
            self._open = False
            self.loop.remove_reader(self._listening)
            self.slots.evict_silent(0.0)
            self.loop.remove_reader(self.silent.fileno())
            self.silent.close()
            for task in self.handshakes:
                task.cancel()

    async def wait_closed(self) -> None:
        if self.handshakes:
            await asyncio.wait(self.handshakes)

    def enqueue(self, connection: Connection) -> None:
        self._waiting.append(connection)
        if len(self._waiting) == 1:
            self.loop.call_soon(self._begin)

    def _on_readable(self) -> None:
        for key, _ in self.silent.select(0):
            key.data.readable()

    def _begin(self) -> None:
        for _ in range(min(len(self._waiting), self._in_a_turn)):
            self._waiting.popleft().begin()
        if self._waiting:
            self.loop.call_soon(self._begin)

    def _sweep(self) -> None:
        """Closes silent connections, and makes the C library return free memory: otherwise each flood would add to what
        the last one left. This takes 0.2 ms, and a little more after a flood.
        """
        if self._open:
            self.slots.evict_silent(limits.HANDSHAKE_SECONDS)
            if self.some_closed and _TRIM is not None:
                self.some_closed = False
                _TRIM(0)
            self.loop.call_later(SWEEP_SECONDS, self._sweep)

    def _listen(self) -> None:
        if self._open:
            self.loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(0 if self._waiting else AT_ONCE):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):  # none waits, or the client is already gone
                return
            except OSError:
                self.slots.evict_one(PAUSE_SECONDS)
                self.loop.remove_reader(self._listening)
                self.loop.call_later(PAUSE_SECONDS, self._listen)
                return
            accepted.setblocking(False)
            Connection(self, accepted)
