"""HTTP servers on loopback that answer with whatever bytes a test wants, and remember what they were sent."""

import asyncio
import inspect
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

Act = Callable[["Request", asyncio.StreamWriter], Awaitable[None]]
Say = Callable[["Request"], bytes]
_TLS = b"\x16"
"""The first byte of a handshake."""


@dataclass(frozen=True)
class Request:
    """`login`: its Authorization, as sent; empty without."""

    target: str
    headers: dict[str, str]
    method: str = "GET"

    @property
    def login(self) -> str:
        return self.headers.get("authorization", "")


@dataclass
class Server:
    """`name`: the host that its clients know it by."""

    name: str
    port: int = 0
    asked: list[Request] = field(default_factory=list)
    connections: int = 0

    @property
    def host(self) -> str:
        return f"{self.name}:{self.port}"

    @property
    def logins(self) -> list[str]:
        """The credentials that it was sent."""
        return [one.login for one in self.asked if one.login]


@asynccontextmanager
async def serving(
    act: Act | Say,
    tls: ssl.SSLContext | None = None,
    *,
    name: str = "localhost",
    address: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[Server]:
    """`act` answers each request, then the connection ends."""
    server, writers = Server(name), set[asyncio.StreamWriter]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server.connections += 1
        writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            begin = await reader.readexactly(1)
            if begin == _TLS:
                writer.write(answer(400, b"a client speaks TLS to a server that does not"))
                return writer.close()
            head = (begin + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in head[1:] if line)
            method, target = head[0].split()[:2]
            request = Request(target, {key.lower(): value.strip() for key, _, value in pairs}, method)
            server.asked.append(request)
            found = act(request, writer) if _acts(act) else act(request)  # type: ignore[call-arg]
            if isinstance(found, bytes):
                begin, empty, _ = found.partition(b"\r\n\r\n")
                writer.write(begin + empty if method == "HEAD" else found)
                await writer.drain()
            else:
                await found
        return writer.close()

    listener = await asyncio.start_server(connected, address, port, ssl=tls, limit=2**20)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for writer in writers:
            writer.transport.abort()


def _acts(act: Act | Say) -> bool:
    return inspect.iscoroutinefunction(act)


def answer(status: int, body: bytes = b"", *headers: str) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *headers,
        "",
        "",
    ]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + body


def json_answer(status: int, value: object, *headers: str) -> bytes:
    return answer(status, json.dumps(value).encode(), "Content-Type: application/json", *headers)


def asks(challenge: str) -> bytes:
    """What a registry answers that wants a credential."""
    errors = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
    return json_answer(401, errors, f"WWW-Authenticate: {challenge}", "Docker-Distribution-Api-Version: registry/2.0")
