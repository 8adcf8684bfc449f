"""HTTP to registries and to their token services, which others than the administrator name.

Private addresses (of the platform, of a cloud's metadata service) are asked only for registries that the configuration
names. TLS is verified, redirects are not followed, nothing is sent twice, and of an answer only the beginning is read.
"""

import asyncio
import base64
import functools
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Literal

import aiohttp
import msgspec
from yarl import URL

from webhook.checks.addresses import LOOKUPS, PrivateError, Resolver, is_private
from webhook.config.models import Config, Registry
from webhook.core.challenge import Challenge, challenge
from webhook.core.check import Why
from webhook.core.credential import Credential
from webhook.core.hostport import bracketed
from webhook.sources.files import made

CONNECT_SECONDS, TOTAL_SECONDS = 5.0, 10.0
"""Seconds to connect, and for a whole request."""
MAX_ANSWER_BYTES = 64 * 1024
CONNECTIONS = 8
_OWN_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "pullsecret-webhook"}


Waited = Literal["name", "connection", "answer"]


class Unanswered(Exception):
    """There is no answer that tells about a credential. `error`: the library's, which may quote addresses.
    `waited_for`: what took too long.
    """

    def __init__(
        self, why: Why, retry_after: float = 0.0, *, error: Exception | None = None, waited_for: Waited = "answer"
    ) -> None:
        self.why, self.retry_after, self.error, self.waited_for = why, retry_after, error, waited_for


@dataclass(frozen=True, slots=True)
class Response:
    """`body`: its beginning. `whole`: and its end."""

    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]
    body: bytes
    whole: bool = True

    @property
    def fields(self) -> dict[str, object] | None:
        """Of its JSON object."""
        try:
            return msgspec.json.decode(self.body, type=dict[str, object])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return None

    @property
    def refusal(self) -> Why:
        """A proxy may answer 401 and 403 too: what a registry says has a challenge, or JSON."""
        if self.status == 401 and (self.fields is not None or challenge(self.challenges) is not None):
            return Why.UNAUTHORIZED
        if self.status == 403 and self.fields is not None:
            return Why.FORBIDDEN
        return Why.NO_REGISTRY

    @property
    def token(self) -> str:
        """Of a token service. Empty if there is none."""
        found = [(self.fields or {}).get(name) for name in ("token", "access_token")]
        return next((one for one in found if isinstance(one, str) and one), "")


class GuardedHttp:
    """`ca_file`: the CA certificates to trust, but for registries that the configuration names; None: those of the
    system. `public`: those of the system count beside each such file.
    """

    def __init__(self, config: Config, ca_file: str | None = None, *, public: bool = False) -> None:
        self._named: dict[str, Registry] = {}
        for host, one in config.named_registries.items():
            with suppress(ValueError):  # it cannot be asked anyway, and each credential for it says so
                self._named[host_of(parsed(f"https://{host}"))] = one
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._contexts = {
            host: made((one.ca_file,), functools.partial(_context, one.ca_file, public=public))
            for host, one in self._named.items()
        }
        self._others = functools.lru_cache(maxsize=1)(lambda: _context(ca_file, public=public))

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    def url(self, host: str, path: str = "/v2/") -> URL:
        """At a registry. Raises Unanswered."""
        try:
            url = parsed(f"https://{host}{path}")
        except ValueError:
            raise Unanswered(Why.NO_ADDRESS) from None
        named = self._named.get(host_of(url))
        return parsed(f"http://{host}{path}") if named is not None and named.plain else url

    async def request(
        self,
        url: URL,
        headers: Mapping[str, str],
        *,
        method: Literal["GET", "HEAD"] = "GET",
        named_by: Sequence[URL] = (),
        most: int = MAX_ANSWER_BYTES,
    ) -> Response:
        """`named_by`: the registry that names this address, as its token service, and who led to that registry. A
        public one must not lead us to private addresses, also of registries that the configuration names. `most`: bytes
        that are read. Raises Unanswered.
        """
        named = all(host_of(one) in self._named for one in (url, *named_by))
        progress = _Progress()
        try:
            if not named and is_private(url.raw_host or ""):
                raise PrivateError
            session, context = self._session(public=not named), self._tls(url)
            async with session.request(
                method,
                url,
                headers={**_OWN_HEADERS, **headers},
                ssl=context,
                allow_redirects=False,
                trace_request_ctx=progress,
            ) as found:
                challenges = tuple(found.headers.getall("WWW-Authenticate", ()))
                body, whole = await _body(found, most)
                return Response(found.status, found.headers, challenges, body, whole)
        except TimeoutError as e:
            raise Unanswered(Why.NO_ANSWER, error=e, waited_for=progress.waits_for) from None
        except (aiohttp.ClientError, OSError, ValueError) as e:
            why = _why(e)
            why = Why.PRIVATE_TOKENS if why == Why.PRIVATE and named_by else why
            raise Unanswered(why, error=e) from None

    def _session(self, *, public: bool) -> aiohttp.ClientSession:
        if public not in self._sessions:
            resolver = Resolver(self._lookups, TOTAL_SECONDS, public=public)
            self._sessions[public] = session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, resolver=resolver, force_close=True),
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                trace_configs=[_trace()],
            )
            # What a registry gets is counted: aiohttp would send it again, by itself, when the connection is lost.
            session._retry_connection = False  # noqa: SLF001
        return self._sessions[public]

    def _tls(self, url: URL) -> ssl.SSLContext | bool:
        if url.scheme == "http":
            return True
        try:
            return self._contexts.get(host_of(url), self._others)()
        except (OSError, ValueError):
            raise Unanswered(Why.CA_FILE) from None


def parsed(text: str) -> URL:
    """Raises ValueError: at once, and not where somebody looks at its parts."""
    url = URL(text)
    if not url.raw_host or url.port is None:
        raise ValueError("no host or no port")
    return url


def token_url(registry: URL, known: Challenge, scopes: Iterable[str] = ()) -> URL:
    """Where a token for these scopes is to be had. Raises Unanswered."""
    try:
        url = parsed(known.realm)
        if known.service:
            url = url.update_query(service=known.service)
        url = url.extend_query([("scope", scope) for scope in scopes])
    except ValueError:
        raise Unanswered(Why.NO_REGISTRY) from None
    if url.raw_user is not None or url.raw_password is not None or url.scheme not in ("https", "http"):
        raise Unanswered(Why.NO_REGISTRY)
    if url.scheme == "http" and registry.scheme != "http":
        raise Unanswered(Why.PLAIN_TOKENS)
    return url


def basic(c: Credential) -> dict[str, str]:
    """The header that has it."""
    return {"Authorization": "Basic " + base64.b64encode(":".join(c.login).encode()).decode()}


def host_of(url: URL) -> str:
    """In one spelling: small letters, addresses of IPv6 in brackets, and the port if it is written."""
    host = bracketed(url.raw_host or "")
    return host if url.explicit_port is None else f"{host}:{url.explicit_port}"


@dataclass(slots=True)
class _Progress:
    waits_for: Waited = "connection"  # an address is not resolved


def _waits_for(what: Waited) -> Callable[..., Awaitable[None]]:
    async def happened(_session: object, context: SimpleNamespace, _what: object) -> None:
        context.trace_request_ctx.waits_for = what

    return happened


def _trace() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_dns_resolvehost_start.append(_waits_for("name"))
    trace.on_dns_resolvehost_end.append(_waits_for("connection"))
    trace.on_connection_create_end.append(_waits_for("answer"))
    return trace


async def _body(found: aiohttp.ClientResponse, most: int) -> tuple[bytes, bool]:
    """Its beginning, and whether that is all."""
    body = bytearray()
    async for chunk in found.content.iter_chunked(MAX_ANSWER_BYTES):
        body += chunk
        if len(body) > most:
            found.close()
            return bytes(body), False
    return bytes(body), True


def _context(ca_file: str | None, *, public: bool) -> ssl.SSLContext:
    """Raises OSError and ValueError."""
    context = ssl.create_default_context(cafile=ca_file)
    if public:
        context.load_default_certs()
    return context


def _why(e: Exception) -> Why:
    if isinstance(e, PrivateError) or isinstance(getattr(e, "os_error", None), PrivateError):
        return Why.PRIVATE
    for kind, why in _MEANINGS:
        if isinstance(e, kind):
            return why
    return Why.NO_CONNECTION


_MEANINGS: tuple[tuple[type[Exception], Why], ...] = (
    (aiohttp.ClientConnectorCertificateError, Why.CERTIFICATE),
    (aiohttp.ClientConnectorSSLError, Why.HANDSHAKE),
    (aiohttp.ClientConnectorDNSError, Why.NO_ADDRESS),
    (aiohttp.ClientConnectorError, Why.NO_CONNECTION),
    (aiohttp.ClientResponseError, Why.NO_REGISTRY),
    (aiohttp.InvalidURL, Why.NO_ADDRESS),
    (ValueError, Why.NO_ADDRESS),
)
