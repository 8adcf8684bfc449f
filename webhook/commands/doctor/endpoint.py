"""One address of a registry, tried: TCP, TLS, and `GET /v2/` without a credential.

A library names the first thing that is wrong with a certificate; here each is looked for by itself. A proxy that
breaks TLS open, say, has another CA behind a wrong name.
"""

import asyncio
import re
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from webhook.commands.doctor import certificate
from webhook.commands.doctor.evidence import Endpoint, Target, Tcp, Tls
from webhook.commands.doctor.resolving import is_address
from webhook.commands.doctor.tlserrors import of_certificate, of_handshake
from webhook.commands.doctor.trust import Trust
from webhook.core.challenge import challenge
from webhook.core.hostport import bracketed, joined

CONNECT_SECONDS, HANDSHAKE_SECONDS, ANSWER_SECONDS, PLAIN_SECONDS = 3.0, 2.5, 2.5, 1.0
"""For each step."""
MAX_AHEAD_SECONDS = 200 * 365 * 86400
"""More is no clock."""
_HEAD_BYTES, _BODY_BYTES = 16 * 1024, 4 * 1024
_ORDER: tuple[Tls, ...] = ("expired", "not yet valid", "wrong name", "unknown CA", "fails")
"""In which container runtimes name what is wrong with a certificate."""
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5]\d\d)(?: |\r|$)")
_LABEL = "[A-Za-z0-9](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


def is_host(text: str) -> bool:
    """A name that may be asked about and sent, or an address."""
    return is_address(text) or (len(text) <= 253 and _HOST.fullmatch(text) is not None)


@dataclass(frozen=True, slots=True)
class Tried:
    """`realm`: the token service that it names."""

    endpoint: Endpoint
    realm: Target | None = None


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    at: datetime

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass(slots=True)
class _Secured:
    """`certificate`: in DER."""

    tls: Tls = "right"
    faults: tuple[Tls, ...] = ()
    certificate: bytes = b""
    response: _Response | None = None


async def tried(target: Target, address: str, given_by: tuple[str, ...], trust: Trust, ends: float) -> Tried:
    """`ends`: by the clock of the event loop."""
    return await _Attempt(target, address, trust, ends).made(given_by)


class _Attempt:
    def __init__(self, target: Target, address: str, trust: Trust, ends: float) -> None:
        self._target, self._address, self._trust, self._ends = target, address, trust, ends
        self._first: socket.socket | None = None

    async def made(self, given_by: tuple[str, ...]) -> Tried:
        began = time.monotonic()
        tcp = await self._tcp()
        if tcp != "open":
            return Tried(Endpoint(self._address, given_by, tcp))
        if self._target.plain:
            found = _Secured("not tried", response=await self._plain(ANSWER_SECONDS))
        else:
            found = await self._secured()
        took = int((time.monotonic() - began) * 1000)
        response, about = found.response, certificate.about(found.certificate)
        endpoint = Endpoint(
            address=self._address,
            given_by=given_by,
            tcp="open",
            tls=found.tls,
            faults=found.faults,
            names=about.shown,
            issuer=about.issuer,
            begins=about.begins,
            ends=about.ends,
            status=response.status if response else 0,
            registry=_is_registry(response) if response else False,
            ahead_seconds=_ahead(response) if response else None,
            milliseconds=took,
        )
        # What somebody else in its place names is no token service.
        return Tried(endpoint, _realm(response) if response and found.tls in ("right", "not tried") else None)

    def _within(self, seconds: float) -> asyncio.Timeout:
        return asyncio.timeout_at(min(asyncio.get_running_loop().time() + seconds, self._ends))

    async def _connected(self) -> socket.socket:
        first, self._first = self._first, None
        if first is not None:
            return first
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            async with self._within(CONNECT_SECONDS):
                await asyncio.get_running_loop().sock_connect(sock, (self._address, self._target.port))
        except BaseException:
            sock.close()
            raise
        return sock

    async def _tcp(self) -> Tcp:
        try:
            self._first = await self._connected()
        except TimeoutError:  # also the system's own
            return "silent"
        except (ConnectionRefusedError, ConnectionResetError):
            return "refused"
        except OSError:
            return "no route"
        return "open"

    @asynccontextmanager
    async def _opened(
        self, context: ssl.SSLContext | None, seconds: float
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """Raises OSError, of which SSLError and TimeoutError are kinds."""
        sock = await self._connected()
        try:
            async with self._within(seconds):
                reader, writer = await asyncio.open_connection(
                    sock=sock, ssl=context, server_hostname=self._target.host if context else None, limit=_HEAD_BYTES
                )
        except BaseException:
            sock.close()
            raise
        try:
            yield reader, writer
        finally:
            writer.transport.abort()

    async def _secured(self) -> _Secured:
        strict, code = await self._handshake(self._trust.strict)
        if strict.tls == "silent" or "no TLS" in strict.faults:
            return await self._perhaps_plain(strict)
        if strict.tls == "right" or code is None:
            return strict
        chain, why = await self._handshake(self._trust.chain)
        best = chain if chain.certificate else (await self._handshake(self._trust.none))[0]
        faults = set(certificate.about(best.certificate).wrong(self._target.host))
        if why is not None:
            faults.add(of_certificate(why))
        # What is wrong with another certificate than the server's own is known from its verification alone.
        faults = faults or {of_certificate(code)}
        ordered = tuple(one for one in _ORDER if one in faults)
        return _Secured(ordered[0], ordered, best.certificate, best.response)

    async def _handshake(self, context: ssl.SSLContext) -> tuple[_Secured, int | None]:
        """What it comes to, and the result of the verification if that failed."""
        try:
            async with self._opened(context, HANDSHAKE_SECONDS) as (reader, writer):
                der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
                return _Secured(certificate=der, response=await self._answer(reader, writer)), None
        except ssl.SSLCertVerificationError as e:
            return _wrong("fails"), e.verify_code
        except TimeoutError:
            return _wrong("silent"), None
        except ssl.SSLEOFError:
            return _wrong("cut"), None
        except ssl.SSLError as e:
            return _wrong(of_handshake(e.reason)), None
        except (OSError, EOFError):
            return _wrong("cut"), None
        except ValueError:  # a name that TLS does not take
            return _wrong("fails"), None

    async def _perhaps_plain(self, found: _Secured) -> _Secured:
        """A server without TLS may also wait for the end of what it takes for a request. One with TLS says 400."""
        response = await self._plain(PLAIN_SECONDS)
        if response is None or response.status == 400:
            return found
        return _Secured("no TLS", ("no TLS",), response=response)

    async def _plain(self, seconds: float) -> _Response | None:
        try:
            async with self._opened(None, seconds) as (reader, writer):
                return await self._answer(reader, writer, seconds)
        except OSError:
            return None

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float = ANSWER_SECONDS
    ) -> _Response | None:
        target = self._target
        usual = target.port == (80 if target.plain else 443)
        host = bracketed(target.host) if usual else joined(target.host, target.port)
        lines = ("GET /v2/ HTTP/1.1", f"Host: {host}", "User-Agent: pullsecret-webhook", "Accept: */*")
        try:
            async with self._within(seconds):
                writer.write("\r\n".join((*lines, "Connection: close", "", "")).encode())
                head = await reader.readuntil(b"\r\n\r\n")
                at = datetime.now(UTC)
                status = _STATUS.match(head)
                if status is None:
                    return None
                headers = tuple(_headers(head))
                body = await reader.read(_BODY_BYTES) if status[1] == b"200" else b""
                return _Response(int(status[1]), headers, body, at)
        except (OSError, EOFError, asyncio.LimitOverrunError):
            return None


def _wrong(tls: Tls) -> _Secured:
    return _Secured(tls, (tls,))


def _headers(head: bytes) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return [(name.strip().lower(), value.strip()) for name, colon, value in pairs if colon]


def _is_registry(response: _Response) -> bool:
    if response.all("docker-distribution-api-version"):
        return response.status in (200, 401)
    if response.status == 401:
        return challenge(response.all("www-authenticate")) is not None
    return response.status == 200 and response.body.lstrip().startswith(b"{")


def _realm(response: _Response) -> Target | None:
    found = challenge(response.all("www-authenticate")) if response.status == 401 else None
    try:
        url = urlsplit(found.realm if found else "")
        host, port = url.hostname or "", url.port
    except ValueError:
        return None
    if url.scheme not in ("https", "http") or not is_host(host) or port == 0:
        return None
    plain = url.scheme == "http"
    return Target(host, port or (80 if plain else 443), plain, "realm")


def _ahead(response: _Response) -> float | None:
    try:
        date = parsedate_to_datetime(response.all("date")[0])
    except (ValueError, IndexError, OverflowError):
        return None
    date = date if date.tzinfo else date.replace(tzinfo=UTC)
    ahead = round((date - response.at).total_seconds() + 0.5, 1)  # it has whole seconds, cut off
    return ahead if abs(ahead) < MAX_AHEAD_SECONDS else None
