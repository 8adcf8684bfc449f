"""What stand-ins for the servers of vendors share: TLS on loopback, a clock of their own, and faults."""

import asyncio
import json
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

from aiohttp import web

from support.harborserver import Fault

Said = tuple[int, Any]
"""A status, and a document in JSON; None: none."""


@dataclass
class VendorServer(ABC):
    """`skew`: by which its clock is ahead of ours. `faults`: by the number of a request, from 1 on. `calls`: what was
    asked for, without secrets.
    """

    port: int = 0
    skew: timedelta = timedelta()
    faults: dict[int, Fault] = field(default_factory=dict)
    every: Fault | None = None
    calls: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    def now(self) -> datetime:
        return datetime.now(UTC) + self.skew

    @abstractmethod
    async def answer(self, request: web.BaseRequest) -> Said: ...

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        fault = self.faults.get(len(self.calls)) or self.every or Fault()
        if fault.hangs:
            await asyncio.sleep(60)
        if fault.status:
            return self._respond(fault.status, fault.body, fault.headers)
        status, body = await self.answer(request)
        if fault.lost:
            assert request.transport is not None
            request.transport.abort()
        return self._respond(status, b"" if body is None else json.dumps(body).encode(), {})

    def _respond(self, status: int, body: bytes, headers: Mapping[str, str]) -> web.Response:
        usual = {"Date": format_datetime(self.now(), usegmt=True), "Content-Type": "application/json"}
        return web.Response(status=status, body=body, headers={**usual, **headers})


S = TypeVar("S", bound=VendorServer)


@asynccontextmanager
async def serving(server: S, context: ssl.SSLContext | None) -> AsyncIterator[S]:
    """`context` None: plain HTTP."""
    runner = web.ServerRunner(web.Server(server.handle), handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "localhost", 0, ssl_context=context).start()
    address: Any = runner.addresses[0]
    server.port = int(address[1])
    try:
        yield server
    finally:
        await runner.cleanup()
