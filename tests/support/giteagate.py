"""What stands between the issuer and a real Gitea: it counts requests, loses answers, and gives others."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

_OF_A_CONNECTION = ("Connection", "Transfer-Encoding", "Content-Length", "Date")


@dataclass
class Fault:
    """What happens to one request. `lost`: it has its effect, and the answer does not arrive."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    lost: bool = False
    hangs: bool = False


@dataclass
class Gate:
    """`skew`: by which its clock is ahead of ours. `faults`: by the number of a request, from 1 on."""

    upstream: str
    session: aiohttp.ClientSession
    trusted: ssl.SSLContext
    port: int = 0
    skew: timedelta = timedelta()
    faults: dict[int, Fault] = field(default_factory=dict)
    every: Fault | None = None
    calls: list[str] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"localhost:{self.port}"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.raw_path}")
        fault = self.faults.get(len(self.calls)) or self.every or Fault()
        if fault.hangs:
            await asyncio.sleep(60)
        if fault.status:
            kind = {"Content-Type": "application/json; charset=utf-8"}
            return web.Response(status=fault.status, body=fault.body, headers=self._dated({**kind, **fault.headers}))
        headers = CIMultiDict(request.headers)
        headers["X-Forwarded-Proto"] = "https"
        body = await request.read()
        async with self.session.request(
            request.method,
            URL(self.upstream + request.raw_path, encoded=True),
            data=body,
            headers=headers,
            ssl=self.trusted,
            allow_redirects=False,
        ) as answer:
            content = await answer.read()
            if fault.lost:
                assert request.transport is not None
                request.transport.abort()
            left = CIMultiDict(answer.headers)
            for name in _OF_A_CONNECTION:
                left.popall(name, None)
            return web.Response(status=answer.status, body=content, headers=self._dated(left))

    def _dated(self, headers: Mapping[str, str]) -> CIMultiDict[str]:
        whole = CIMultiDict(headers)
        whole.setdefault("Date", format_datetime(datetime.now(UTC) + self.skew, usegmt=True))
        return whole


@asynccontextmanager
async def serving(upstream: str, trusted: ssl.SSLContext, context: ssl.SSLContext) -> AsyncIterator[Gate]:
    """`upstream`: the URL of Gitea, without a path; `context`: with the certificate of this server."""
    async with aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        gate = Gate(upstream, session, trusted)
        runner = web.ServerRunner(web.Server(gate.handle), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "localhost", 0, ssl_context=context).start()
        address: Any = runner.addresses[0]
        gate.port = int(address[1])
        try:
            yield gate
        finally:
            await runner.cleanup()
