"""A platform's own service that hands out registry tokens: real HTTPS on loopback, as docs/http-source.openapi.yaml.

It runs on a thread of its own, so that a webhook in this process and one in another process can both ask it.
"""

import asyncio
import hashlib
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import trustme
from aiohttp import web

from webhook.core.credential import Credential

OWNERS = "/v1/owners/"
BATCH = "/v1/owners"


@dataclass
class Asked:
    owner: str
    raw_path: str
    headers: dict[str, str]
    client: str = ""
    """The serial number of its certificate."""
    owners: tuple[str, ...] = ()
    """Of a POST, which has no `owner`."""


@dataclass
class TokenService:
    """`token`: the bearer token it wants; `up`: otherwise it hangs up; `headers`: more of them in each answer;
    `body`: what it says, whoever is asked for.
    """

    folder: Path
    token: str | None = None
    up: bool = True
    status: int | None = None
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=lambda: {"Cache-Control": "max-age=0"})
    owners: dict[str, tuple[Credential, ...]] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    """Owners whom the answer to a POST leaves out."""
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    names: tuple[str, ...] = ()
    port: int = 0
    authority: trustme.CA = field(default_factory=trustme.CA)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}/v1/owners/{{owner}}"

    @property
    def query(self) -> str:
        return f"https://localhost:{self.port}/v1/credentials?owner={{owner}}"

    @property
    def batch_url(self) -> str:
        return f"https://localhost:{self.port}{BATCH}"

    @property
    def batches(self) -> list[tuple[str, ...]]:
        """The owners of each POST."""
        return [one.owners for one in self.asked if one.owners]

    @property
    def ca_file(self) -> str:
        return str(self.folder / "ca.pem")

    @property
    def client(self) -> tuple[str, str]:
        """Certificate and key files of a client that it lets in."""
        return str(self.folder / "client.pem"), str(self.folder / "client.key")

    def give(self, owner: str, *credentials: Credential) -> None:
        self.owners[owner] = credentials

    # -- the server --

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = urlsplit(request.raw_path)
        if parts.path == BATCH:
            return await self._batch(request)
        if parts.path.startswith(OWNERS):
            owner = unquote(parts.path.removeprefix(OWNERS), errors="strict")
        else:
            assert parts.path == "/v1/credentials"
            ((key, owner),) = parse_qsl(parts.query, strict_parsing=True, errors="strict")
            assert key == "owner"
        client = request.get_extra_info("peercert") or {}
        headers = {k.lower(): v for k, v in request.headers.items()}
        self.asked.append(Asked(owner, request.raw_path, headers, client.get("serialNumber", "")))
        if not self.up:
            assert request.transport is not None
            request.transport.abort()
        status, headers, body = self._answer(owner, request.headers.get("If-None-Match"), request)
        headers = headers | self.headers
        self.answers.append((status, headers, body))
        return web.Response(status=status, headers=headers, body=body, content_type="application/json")

    async def _batch(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.method == "POST"
        assert request.content_type == "application/json"
        owners = json.loads(await request.read())["owners"]
        client = request.get_extra_info("peercert") or {}
        headers = {k.lower(): v for k, v in request.headers.items()}
        self.asked.append(Asked("", request.raw_path, headers, client.get("serialNumber", ""), tuple(owners)))
        if not self.up:
            assert request.transport is not None
            request.transport.abort()
        status, parts = 200, dict[str, Any]()
        for owner in owners:
            status, _, body = self._answer(owner, None, request)
            if status not in {200, 404}:
                break
            if owner not in self.left_out:
                parts[owner] = json.loads(body) if status == 200 else None
        else:
            status = 200
        body = json.dumps({"owners": parts}).encode() if status == 200 else b""
        self.answers.append((status, dict(self.headers), body))
        return web.Response(status=status, headers=self.headers, body=body, content_type="application/json")

    def _answer(self, owner: str, before: str | None, request: web.BaseRequest) -> tuple[int, dict[str, str], bytes]:
        if self.token is not None and request.headers.get("Authorization") != f"Bearer {self.token}":
            return 401, {}, b""
        if self.status is not None:
            return self.status, {}, b'{"error": "not now"}'
        if self.body is not None:
            return 200, {}, self.body
        if not (credentials := self.owners.get(owner, ())):
            return 404, {}, b""
        auths = {c.registry: {"username": c.username, "password": c.password} for c in credentials}
        body = json.dumps({"auths": auths}).encode()
        etag = f'"{hashlib.sha256(body).hexdigest()[:16]}"'
        return (304, {"ETag": etag}, b"") if before == etag else (200, {"ETag": etag}, body)

    def _context(self, *, mutual: bool) -> ssl.SSLContext:
        authority = self.authority
        authority.cert_pem.write_to_path(self.ca_file)
        client = authority.issue_cert("webhook@example.com", common_name="webhook")
        Path(self.client[0]).write_bytes(b"".join(pem.bytes() for pem in client.cert_chain_pems))
        client.private_key_pem.write_to_path(self.client[1])
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost", *self.names).configure_cert(context)
        if mutual:
            authority.configure_trust(context)
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    async def _serve(self, context: ssl.SSLContext, ready: threading.Event, stop: asyncio.Event) -> None:
        runner = web.ServerRunner(web.Server(self._handle), handle_signals=False, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "localhost", 0, ssl_context=context)
        await site.start()
        self.port = _port(runner)
        ready.set()
        await stop.wait()
        await runner.cleanup()


def _port(runner: web.ServerRunner) -> int:
    address: Any = runner.addresses[0]
    return int(address[1])


@contextmanager
def serving(
    folder: Path, *, mutual: bool = False, token: str | None = None, names: tuple[str, ...] = ()
) -> Iterator[TokenService]:
    """`mutual`: a client needs a certificate. `names`: of its own, besides localhost."""
    folder.mkdir(exist_ok=True)
    service, ready, loop, stop = (
        TokenService(folder, token, names=names),
        threading.Event(),
        asyncio.new_event_loop(),
        asyncio.Event(),
    )
    context = service._context(mutual=mutual)
    thread = threading.Thread(target=loop.run_until_complete, args=(service._serve(context, ready, stop),))
    thread.start()
    try:
        assert ready.wait(5)
        yield service
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(5)
        loop.close()
