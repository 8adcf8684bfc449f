"""What stands between the issuer and a real Gitea: it counts requests, loses answers, and gives others."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from email.utils import format_datetime

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from support.vendorserver import FaultyServer, serving

_OF_A_CONNECTION = ("Connection", "Transfer-Encoding", "Content-Length", "Date")


@dataclass(kw_only=True)
class Gate(FaultyServer):
    upstream: str
    session: aiohttp.ClientSession
    trusted: ssl.SSLContext

    async def seen(self, request: web.BaseRequest) -> str:
        return f"{request.method} {request.raw_path}"

    async def respond(self, request: web.BaseRequest) -> web.Response:
        headers = CIMultiDict(request.headers)
        headers["X-Forwarded-Proto"] = "https"
        async with self.session.request(
            request.method,
            URL(self.upstream + request.raw_path, encoded=True),
            data=await request.read(),
            headers=headers,
            ssl=self.trusted,
            allow_redirects=False,
        ) as answer:
            left = CIMultiDict(answer.headers)
            for name in _OF_A_CONNECTION:
                left.popall(name, None)
            left["Date"] = format_datetime(self.now(), usegmt=True)
            return web.Response(status=answer.status, body=await answer.read(), headers=left)


@asynccontextmanager
async def gate(upstream: str, trusted: ssl.SSLContext, context: ssl.SSLContext) -> AsyncIterator[Gate]:
    """`upstream`: the URL of Gitea, without a path; `context`: with the certificate of this server."""
    async with (
        aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session,
        serving(Gate(upstream=upstream, session=session, trusted=trusted), context) as found,
    ):
        yield found
