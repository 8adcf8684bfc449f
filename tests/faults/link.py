"""One connection through a proxy: bytes both ways, or, where the proxy reads HTTP, one request after the other."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

_CHUNK = 65536
_LINGER = struct.pack("ii", 1, 0)  # on, 0 s: what closes sends RST
BROKEN = (OSError, EOFError, asyncio.LimitOverrunError)


@dataclass(frozen=True)
class Rule:
    """What happens to a request instead of its being forwarded, or before (`delay`, seconds).

    `one_in`: only to each of so many requests. `methods`: only to these; empty: to all.
    """

    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    delay: float = 0.0
    one_in: int = 1
    methods: frozenset[str] = frozenset()

    def answer(self) -> bytes:
        """As the API server words it."""
        phrase = HTTPStatus(self.status).phrase
        said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.status, "message": "a fault"}
        body = json.dumps(said | {"reason": phrase.replace(" ", "")}).encode()
        lines = [f"HTTP/1.1 {self.status} {phrase}", "Content-Type: application/json", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode() + body


Decide = Callable[[str], Rule | None]
"""From a request's method."""


@dataclass(frozen=True)
class End:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@dataclass(eq=False)
class Link:
    """While `free` is not set nothing goes on."""

    client: End
    server: End
    free: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.free.set()

    async def run(self, decide: Decide | None) -> None:
        """Until one of the two ends closes. With `decide` the client speaks HTTP."""
        ways: list[Awaitable[None]] = [_copy(self.server.reader, self.client.writer, self.free)]
        ways += [_copy(self.client.reader, self.server.writer, self.free) if decide is None else self._requests(decide)]
        tasks = [asyncio.ensure_future(way) for way in ways]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.close()

    async def _requests(self, decide: Decide) -> None:
        """An answer of ours does not meet one of the server: a client asks again when it has the answer before."""
        with suppress(*BROKEN):
            while True:
                head, body = await _request(self.client.reader)
                await self.free.wait()
                rule = decide(head.split(b" ", 1)[0].decode("ascii"))
                if rule is not None:
                    await asyncio.sleep(rule.delay)
                to, what = (self.client, rule.answer()) if rule and rule.status else (self.server, head + body)
                to.writer.write(what)
                await to.writer.drain()

    def close(self) -> None:
        for end in (self.client, self.server):
            end.writer.close()

    def reset(self) -> None:
        """RST to both."""
        for end in (self.client, self.server):
            reset(end.writer.get_extra_info("socket"))
            end.writer.transport.abort()


def reset(connection: socket.socket | None) -> None:
    """It is to send RST when it is closed. None: it was closed already."""
    with suppress(OSError):
        if connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER)


async def _request(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:")]
    return head, await reader.readexactly(int(lengths[0])) if lengths else b""


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, free: asyncio.Event) -> None:
    with suppress(*BROKEN):
        while data := await reader.read(_CHUNK):
            await free.wait()
            writer.write(data)
            await writer.drain()
