"""What stand-ins for the servers of vendors, and what stands before real ones, share: faults, a clock of their own, and
TLS on loopback.
"""

import asyncio
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import trustme
from aiohttp import web

Said = tuple[int, Any] | tuple[int, Any, Mapping[str, str]]
"""A status, a document in JSON (None: none), and headers."""


@dataclass
class Fault:
    """What happens to one request. `status` 0: it is answered, and `headers` are added to the answer. `lost`: it has
    its effect, and the answer does not arrive.
    """

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    lost: bool = False
    hangs: bool = False


@dataclass
class FaultyServer(ABC):
    """`skew`: by which its clock is ahead of ours. `faults`: by the number of a request, from 1 on; `every`: of all
    others. `calls`: what was asked for, without secrets.
    """

    content_type: ClassVar[str] = "application/json"
    port: int = 0
    skew: timedelta = timedelta()
    faults: dict[int, Fault] = field(default_factory=dict)
    every: Fault | None = None
    calls: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    @property
    def url(self) -> str:
        return f"https://{self.host}"

    def now(self) -> datetime:
        return datetime.now(UTC) + self.skew

    async def seen(self, request: web.BaseRequest) -> str:
        """What is called."""
        return f"{request.method} {request.path}"

    @abstractmethod
    async def respond(self, request: web.BaseRequest) -> web.Response: ...

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls.append(await self.seen(request))
        fault = self.faults.get(len(self.calls)) or self.every or Fault()
        if fault.hangs:
            await asyncio.sleep(60)
        if fault.status:
            return self.response(fault.status, fault.body, fault.headers)
        response = await self.respond(request)
        if fault.lost:
            assert request.transport is not None
            request.transport.abort()
        response.headers.update(fault.headers)
        return response

    def response(self, status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
        usual = {"Date": format_datetime(self.now(), usegmt=True), "Content-Type": self.content_type}
        return web.Response(status=status, body=body, headers={**usual, **headers})


class VendorServer(FaultyServer):
    """It answers in JSON."""

    @abstractmethod
    async def answer(self, request: web.BaseRequest) -> Said: ...

    async def respond(self, request: web.BaseRequest) -> web.Response:
        said = await self.answer(request)
        body = b"" if said[1] is None else json.dumps(said[1]).encode()
        return self.response(said[0], body, said[2] if len(said) == 3 else {})


S = TypeVar("S", bound=FaultyServer)


@asynccontextmanager
async def listening(server: FaultyServer, *contexts: ssl.SSLContext | None) -> AsyncIterator[list[int]]:
    """At a port for each of the contexts; None: plain HTTP."""
    runner = web.ServerRunner(web.Server(server.handle), handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    for context in contexts:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield [int(address[1]) for address in runner.addresses]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def serving(server: S, context: ssl.SSLContext | None) -> AsyncIterator[S]:
    """`context` None: plain HTTP."""
    async with listening(server, context) as (server.port,):
        yield server


def tls(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    """Of a server with these names, or of one on loopback."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*(names or ("localhost",))).configure_cert(context)
    return context


def certified(folder: Path) -> ssl.SSLContext:
    """By an authority whose certificate is in ca.pem there."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    return tls(authority)
