"""Registries that fail, each in one way. Every one has an address of its own on loopback, and its port 443."""

import asyncio
import hashlib
import json
import socket
import ssl
import struct
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from email.utils import formatdate
from functools import cache
from time import time

from controlplane.binaries import need
from controlplane.image import MANIFEST, Image, Stored
from controlplane.pki import Pki
from support import planted
from support.registryserver import Request, Say, answer, asks, json_answer, serving

PORT = 443
INDEX = "application/vnd.oci.image.index.v1+json"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
PASSWORD = planted.token()
"""Of alice, whose image it is, and of bob."""
_DAY = 86400


@dataclass(frozen=True)
class Place:
    """Where a registry is, and whose certificates it can have: nodes trust those of `trusted` only."""

    host: str
    address: str
    trusted: Pki
    strange: Pki


Serve = Callable[[Place], AbstractAsyncContextManager[object]]


def https(say: Say, *names: str, trusted: bool = True, days: tuple[int, int] = (-1, 30), ahead_days: int = 0) -> Serve:
    """`names` in the certificate, instead of its own; `days` from now on which it begins and ends. `ahead_days`: how
    far its clock is ahead of the node's.
    """

    def serve(place: Place) -> AbstractAsyncContextManager[object]:
        pki = place.trusted if trusted else place.strange
        pair = pki.server(place.host, *(names or (place.host,)), days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return serving(_dated(say, ahead_days), context, name=place.host, address=place.address, port=PORT)

    return serve


def http(say: Say) -> Serve:
    return lambda place: serving(say, name=place.host, address=place.address, port=PORT)


def nothing(_: Place) -> AbstractAsyncContextManager[object]:
    return nullcontext()


@asynccontextmanager
async def full(place: Place) -> AsyncIterator[None]:
    """Its queue is full, so that the kernel drops what comes."""
    with socket.socket() as listener:
        listener.bind((place.address, PORT))
        listener.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        yield
        for one in waiting:
            one.close()


def raw(act: Callable[[asyncio.StreamWriter], None]) -> Serve:
    """`act` comes after the first bytes of the client."""

    @asynccontextmanager
    async def serve(place: Place) -> AsyncIterator[None]:
        writers: list[asyncio.StreamWriter] = []

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await reader.read(4096)
            act(writer)

        listener = await asyncio.start_server(connected, place.address, PORT)
        yield
        listener.close()
        for writer in writers:
            writer.transport.abort()

    return serve


def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()


def silent(_: asyncio.StreamWriter) -> None:
    pass


def refuses(writer: asyncio.StreamWriter) -> None:
    writer.write(b"\x15\x03\x03\0\x02\x02\x28")  # a fatal alert: handshake_failure
    writer.close()


def speaks_ssh(writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    writer.close()


def _dated(say: Say, ahead_days: int) -> Say:
    def dated(request: Request) -> bytes:
        first, _, rest = say(request).partition(b"\r\n")
        date = formatdate(time() + ahead_days * _DAY, usegmt=True)
        return b"\r\n".join([first, f"Date: {date}".encode(), rest])

    return dated


# -- what they say --


def always(status: int, body: str = "{}", *headers: str, kind: str = "application/json") -> Say:
    return lambda _: answer(status, body.encode(), f"Content-Type: {kind}", *headers)


def error(status: int, code: str, message: str, *headers: str) -> Say:
    return lambda _: json_answer(status, {"errors": [{"code": code, "message": message}]}, *headers)


NO_BLOB = error(404, "BLOB_UNKNOWN", "blob unknown to registry")


@dataclass(frozen=True)
class Content:
    """What lies in a registry, whatever the image is called."""

    manifest: bytes
    kind: str
    blobs: dict[str, bytes]

    @classmethod
    def of(cls, image: Stored) -> "Content":
        return cls(image.manifest(), MANIFEST, {digest(blob): blob for blob in image.blobs()})


@cache
def app(host: str) -> Content:
    """Of each registry another one: a node that has a blob does not ask for it again."""
    return Content.of(Image.of(need("app")["app"], host))


def mainframe(host: str) -> Content:
    """An index with an image for another platform than the node's."""
    manifest = app(host).manifest
    platform = {"os": "linux", "architecture": "s390x"}
    entry = {"mediaType": MANIFEST, "digest": digest(manifest), "size": len(manifest), "platform": platform}
    listed = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    return Content(json.dumps(listed).encode(), INDEX, {})


def schema_1(_: str) -> Content:
    old = {"schemaVersion": 1, "name": "team/app", "tag": "1", "fsLayers": [], "history": []}
    return Content(json.dumps(old).encode(), SCHEMA_1, {})


def digest(blob: bytes) -> str:
    return f"sha256:{hashlib.sha256(blob).hexdigest()}"


def registry(*, manifest: Say | None = None, blob: Say | None = None, content: Callable[[str], Content] = app) -> Say:
    """A right one, but for what is given."""

    def say(request: Request) -> bytes:
        path = request.target.partition("?")[0]
        if "/manifests/" in path:
            return (manifest or _manifest(content(_host(request))))(request)
        if "/blobs/" in path:
            return (blob or _blob(content(_host(request))))(request)
        return json_answer(200 if path == "/v2/" else 404, {})

    return say


def _manifest(content: Content) -> Say:
    headers = (f"Content-Type: {content.kind}", f"Docker-Content-Digest: {digest(content.manifest)}")
    return lambda _: answer(200, content.manifest, *headers)


def _blob(content: Content) -> Say:
    def say(request: Request) -> bytes:
        found = content.blobs.get(_digest_in(request))
        return NO_BLOB(request) if found is None else answer(200, found, "Content-Type: application/octet-stream")

    return say


def _host(request: Request) -> str:
    return request.headers["host"]


def _digest_in(request: Request) -> str:
    return request.target.partition("?")[0].rpartition("/")[2]


def cut(request: Request) -> bytes:
    """Half of a blob."""
    content = app(_host(request))
    return _blob(content)(request)[: -(len(content.blobs[_digest_in(request)]) // 2)]


def damaged(request: Request) -> bytes:
    return answer(200, b"\0" * len(app(_host(request)).blobs[_digest_in(request)]))


def elsewhere(host: str) -> Say:
    """Blobs lie at another host, under an address that is signed."""

    def say(request: Request) -> bytes:
        location = f"https://{host}/blobs/{_digest_in(request)}?sig={planted.token()}"
        return answer(307, b"", f"Location: {location}")

    return say


RIGHT = registry()
"""Open to all."""


def basic(request: Request) -> bytes:
    """Lets alice in, and tells bob that it is not his."""
    denied = error(403, "DENIED", "requested access to the resource is denied")
    says: dict[str, Say] = {_basic("alice"): RIGHT, _basic("bob"): denied}
    say = says.get(request.login)
    return asks('Basic realm="registry"') if say is None else say(request)


def _basic(user: str) -> str:
    return "Basic " + b64encode(f"{user}:{PASSWORD}".encode()).decode()


def bearer(token: Say, *, then: Say = RIGHT, realm: str = "") -> Say:
    """`token` is what its token service says, `then` the registry to whoever has got one. `realm`: of another host."""

    def say(request: Request) -> bytes:
        if request.target.startswith("/token"):
            return token(request)
        if request.login.startswith("Bearer "):
            return then(request)
        host = _host(request)
        at = realm or f"https://{host}/token"
        return asks(f'Bearer realm="{at}",service="{host}",scope="repository:team/app:pull"')

    return say


def without_scope(_: Request) -> bytes:
    """The token is right, but not for this."""
    return asks(
        'Bearer realm="https://a.test/token",service="a",scope="repository:team/app:pull",error="insufficient_scope"'
    )
