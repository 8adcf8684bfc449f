"""Accepts connections, a few in each turn of the event loop, and ends those for which there is no place.

asyncio's own servers accept as many as come, and tell nobody of a connection before its TLS handshake is done: 54 KiB
each. Here a connection has its place from the moment it is accepted, and nothing is made for one that has not sent
anything: to accept and end such a one takes 0.05 ms.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress

from webhook import limits
from webhook.limits import LimitedProtocol
from webhook.places import Places

BACKLOG = 1024
"""Connections that the kernel keeps until they are accepted."""
TURNS = 16
"""Turns of the event loop that a newcomer has at least, however many others come, in the quarter of the places that is
always for newcomers. A handshake and a review take 4."""
RECEIVED = 64 * 1024
"""Bytes that the kernel keeps of what a connection sends: what is read at once stays allocated until its end, twice."""
PAUSE = 0.1
"""Seconds before the next attempt when the process may open no further file."""


class Connection:
    """From accept to its end: silent, in the handshake, then a protocol with a transport."""

    def __init__(self, door: "Door", accepted: socket.socket) -> None:
        self._door, self._accepted = door, accepted
        self._protocol: LimitedProtocol | None = None
        self._silent: asyncio.TimerHandle | None = None
        door.places.take(self)
        door.loop.add_reader(accepted, self._speaks)
        self._silent = door.loop.call_later(limits.HANDSHAKE, self._end_silence)

    def cut(self) -> None:
        if self._protocol is None:
            self._hear()
            self._accepted.close()
        elif self._protocol.is_made():
            self._protocol.cut()
        else:
            with suppress(OSError):  # the client is gone
                self._accepted.shutdown(socket.SHUT_RDWR)  # the handshake fails

    def sent_review(self) -> bool:
        return self._door.places.sent_review(self)

    def ended(self) -> None:
        self._protocol = None  # they hold each other
        self._door.places.leave(self)

    def _hear(self) -> None:
        """No longer."""
        self._door.loop.remove_reader(self._accepted)
        if self._silent is not None:
            self._silent.cancel()
            self._silent = None

    def _end_silence(self) -> None:
        self.cut()
        self.ended()

    def _speaks(self) -> None:
        self._hear()
        self._protocol = protocol = self._door.protocol()
        protocol.connection = self
        self._door.welcome(self._handshake(protocol))

    async def _handshake(self, protocol: LimitedProtocol) -> None:
        """`context` is None on the metrics port: then there is no handshake. From here on the loop calls the protocol."""
        context = self._door.context
        try:
            await self._door.loop.connect_accepted_socket(
                lambda: protocol,
                self._accepted,
                ssl=context,
                ssl_handshake_timeout=limits.HANDSHAKE if context else None,
            )
        except Exception:  # noqa: BLE001  # the handshake failed, an OSError; whatever it was, the place is free again
            protocol.connection = None
            self.ended()


class Door:
    def __init__(
        self,
        listening: socket.socket,
        protocol: Callable[[], LimitedProtocol],
        most: int,
        context: ssl.SSLContext | None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.protocol, self.context, self.places = protocol, context, Places(most, self.loop.time)
        self._listening, self._at_once = listening, max(1, most // 4 // TURNS)
        self._handshakes: set[asyncio.Task[None]] = set()
        self._open = True
        listening.setblocking(False)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED)  # each that is accepted has it from here
        listening.listen(BACKLOG)
        self._listen()

    def close(self) -> None:
        """Those that are in their handshake, or silent, are ended."""
        if self._open:
            self._open = False
            self.loop.remove_reader(self._listening)
            for task in self._handshakes:
                task.cancel()

    async def wait_closed(self) -> None:
        if self._handshakes:
            await asyncio.wait(self._handshakes)

    def welcome(self, handshake: Coroutine[None, None, None]) -> None:
        task = self.loop.create_task(handshake)
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)

    def _listen(self) -> None:
        if self._open:
            self.loop.add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        for _ in range(self._at_once):
            try:
                accepted, _ = self._listening.accept()
            except (BlockingIOError, ConnectionAbortedError):  # the latter: gone before we came
                return
            except OSError:
                self.loop.remove_reader(self._listening)
                self.loop.call_later(PAUSE, self._listen)
                return
            accepted.setblocking(False)
            Connection(self, accepted)
