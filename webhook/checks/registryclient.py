"""Asks one registry about one credential, as a container runtime does, but without an image: `/v2/` without the
credential says how to ask, then its token service is asked for a token without a scope, or `/v2/` with the password.

A user names registries, so requests go only where the registry itself could be pulled from, and not to private
addresses (of the platform, of a cloud's metadata service) unless the configuration names the registry. Redirects are
not followed. Only the registry, and the token service that it names over verified TLS, get the credential.
"""

import asyncio
import base64
import functools
import re
import ssl
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import aiohttp
import msgspec
import structlog
from yarl import URL

from webhook.checks.addresses import LOOKUPS, PrivateError, Resolver, is_private
from webhook.config.models import Config, Registry
from webhook.core.challenge import Challenge, challenge
from webhook.core.check import Why
from webhook.core.credential import Credential
from webhook.core.registry import asked_at
from webhook.core.shown import quoted
from webhook.core.times import retry_after
from webhook.core.tokenkind import lacks_scope
from webhook.sources.files import made

log = structlog.get_logger()
CONNECT_SECONDS, TOTAL_SECONDS = 5.0, 10.0
"""Seconds to connect, and for a whole request."""
MAX_ANSWER_BYTES = 64 * 1024
CHALLENGE_SECONDS = 600.0
"""Seconds for which the way to ask a registry is remembered."""
CHALLENGES = 256
"""Registries whose way to ask is remembered."""
CONNECTIONS = 8
_API, _SCOPES, _ENDS = "Docker-Distribution-Api-Version", "X-OAuth-Scopes", "GitHub-Authentication-Token-Expiration"
_LIST = re.compile(r"[a-z_:, ]{1,200}")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:UTC|[+-]\d{4})", re.ASCII)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Said:
    """What the registry said. `retry_after`: seconds that it asked us to wait. `hint`: what else is known, for people;
    empty if nothing. `of_all`: it was said before a credential was sent, so it is true of all for this registry.
    """

    why: Why
    retry_after: float = 0.0
    hint: str = ""
    of_all: bool = False


class _Unknown(Exception):
    """It is not known whether the credential works."""

    def __init__(self, why: Why, retry_after: float = 0.0) -> None:
        self.said = Said(why, retry_after)


class RegistryClient:
    """`now`: the wall clock, for a Retry-After that is a date. `ca_file`: the CA certificates to trust, but for
    registries that the configuration names; None: those of the system.
    """

    def __init__(self, config: Config, now: Callable[[], datetime], ca_file: str | None = None) -> None:
        self._named: dict[str, Registry] = {}
        for host, one in config.named_registries.items():
            with suppress(ValueError):  # it cannot be asked anyway, and each credential for it says so
                self._named[_host(_parsed(f"https://{host}"))] = one
        self._now = now
        self._challenges: OrderedDict[str, tuple[float, Challenge]] = OrderedDict()
        self._sessions: dict[bool, aiohttp.ClientSession] = {}
        self._lookups = asyncio.Semaphore(LOOKUPS)
        self._contexts = {
            host: made((one.ca_file,), functools.partial(_context, one.ca_file)) for host, one in self._named.items()
        }
        self._others = functools.lru_cache(maxsize=1)(lambda: _context(ca_file))

    async def ask(self, c: Credential) -> Said:
        """At most two requests, of which one has the credential."""
        host = asked_at(c.registry)
        if host is None:
            return Said(Why.PATTERN)
        try:
            url = self._url(host)
            try:
                known = await self._challenge(url)
            except _Unknown as e:
                return replace(e.said, of_all=True)
            login = "Basic " + base64.b64encode(":".join(c.login).encode()).decode()
            if known.scheme == "basic":
                return await self._get(url, login, _taken)
            return await self._get(_token_url(url, known), login, _has_token, named_by=url)
        except _Unknown as e:
            return e.said
        except Exception as e:  # noqa: BLE001  # a user chooses who answers, who must find no way to end the process
            log.error("a registry's name or answer is not handled", kind=type(e).__name__)  # noqa: TRY400  # no secrets
            return Said(Why.NO_REGISTRY)

    async def close(self) -> None:
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            await session.close()

    def _url(self, host: str) -> URL:
        try:
            url = _parsed(f"https://{host}/v2/")
        except ValueError:
            raise _Unknown(Why.NO_ADDRESS) from None
        named = self._named.get(_host(url))
        return _parsed(f"http://{host}/v2/") if named is not None and named.plain else url

    async def _challenge(self, url: URL) -> Challenge:
        clock, host = asyncio.get_running_loop().time, _host(url)
        until, known = self._challenges.get(host, (0.0, None))
        if known is None or clock() >= until:
            known = await self._get(url, None, _challenge_of)
            self._challenges[host] = clock() + CHALLENGE_SECONDS, known
            self._challenges.move_to_end(host)
            if len(self._challenges) > CHALLENGES:
                self._challenges.popitem(last=False)
        return known

    async def _get(
        self, url: URL, login: str | None, read: Callable[["_Response"], T], named_by: URL | None = None
    ) -> T:
        """`named_by`: the registry whose token service this is. A public one must not lead us to private addresses,
        also of registries that the configuration names. Raises _Unknown.
        """
        headers = {"Accept-Encoding": "identity", "User-Agent": "pullsecret-webhook"}
        if login is not None:
            headers["Authorization"] = login
        named = all(_host(one) in self._named for one in (url, named_by) if one is not None)
        try:
            if not named and is_private(url.raw_host or ""):
                raise PrivateError
            session, context = self._session(public=not named), self._tls(url)
            async with session.get(url, headers=headers, ssl=context, allow_redirects=False) as found:
                challenges = tuple(found.headers.getall("WWW-Authenticate", ()))
                response = _Response(found.status, found.headers, challenges, await _body(found))
        except TimeoutError:
            raise _Unknown(Why.NO_ANSWER) from None
        except (aiohttp.ClientError, OSError, ValueError) as e:
            why = _why(e)
            raise _Unknown(Why.PRIVATE_TOKENS if why == Why.PRIVATE and named_by is not None else why) from None
        if response.status == 429 or response.status >= 500:
            why = Why.BUSY if response.status == 429 else Why.BROKEN
            raise _Unknown(why, retry_after(response.headers.get("Retry-After", ""), self._now()))
        if 300 <= response.status < 400:
            raise _Unknown(Why.REDIRECT)
        return read(response)

    def _session(self, *, public: bool) -> aiohttp.ClientSession:
        if public not in self._sessions:
            resolver = Resolver(self._lookups, TOTAL_SECONDS, public=public)
            self._sessions[public] = session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS, resolver=resolver, force_close=True),
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS, sock_connect=CONNECT_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
            # What a registry gets is counted: aiohttp would send it again, by itself, when the connection is lost.
            session._retry_connection = False  # noqa: SLF001
        return self._sessions[public]

    def _tls(self, url: URL) -> ssl.SSLContext | bool:
        if url.scheme == "http":
            return True
        try:
            return self._contexts.get(_host(url), self._others)()
        except (OSError, ValueError):
            raise _Unknown(Why.CA_FILE) from None


@dataclass(frozen=True, slots=True)
class _Response:
    status: int
    headers: Mapping[str, str]
    challenges: tuple[str, ...]
    body: bytes

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


def _challenge_of(response: _Response) -> Challenge:
    if response.status == 200 and (_API in response.headers or response.fields is not None):
        raise _Unknown(Why.NO_CHALLENGE)
    found = challenge(response.challenges) if response.status == 401 else None
    if found is None:
        raise _Unknown(Why.NO_REGISTRY)
    return found


def _taken(response: _Response) -> Said:
    return _said(response, works=response.status == 200)


def _has_token(response: _Response) -> Said:
    tokens = [(response.fields or {}).get(name) for name in ("token", "access_token")]
    return _said(response, works=response.status == 200 and any(isinstance(one, str) and one for one in tokens))


def _said(response: _Response, *, works: bool) -> Said:
    """Of the headers only what cannot be a token, or words that somebody wants an administrator to read."""
    scopes, ends = response.headers.get(_SCOPES, ""), response.headers.get(_ENDS, "")
    hints = []
    if _LIST.fullmatch(scopes) and lacks_scope(scopes):
        hints.append(f"its scopes are {quoted(scopes)}; it needs read:packages")
    if _TIME.fullmatch(ends):
        hints.append(f"GitHub says that it ends at {quoted(ends)}")
    return Said(Why.NONE if works else response.refusal, hint="; ".join(hints))


def _parsed(text: str) -> URL:
    """Raises ValueError: at once, and not where somebody looks at its parts."""
    url = URL(text)
    if not url.raw_host or url.port is None:
        raise ValueError("no host or no port")
    return url


def _token_url(registry: URL, known: Challenge) -> URL:
    """Raises _Unknown."""
    try:
        url = _parsed(known.realm)
        if known.service:
            url = url.update_query(service=known.service)
    except ValueError:
        raise _Unknown(Why.NO_REGISTRY) from None
    if url.raw_user is not None or url.raw_password is not None or url.scheme not in ("https", "http"):
        raise _Unknown(Why.NO_REGISTRY)
    if url.scheme == "http" and registry.scheme != "http":
        raise _Unknown(Why.PLAIN_TOKENS)
    return url


def _host(url: URL) -> str:
    """In one spelling: small letters, addresses of IPv6 in brackets, and the port if it is written."""
    host = url.raw_host or ""
    host = f"[{host}]" if ":" in host else host
    return host if url.explicit_port is None else f"{host}:{url.explicit_port}"


async def _body(found: aiohttp.ClientResponse) -> bytes:
    """Its beginning."""
    body = bytearray()
    async for chunk in found.content.iter_chunked(MAX_ANSWER_BYTES):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            found.close()
            break
    return bytes(body)


def _context(ca_file: str | None) -> ssl.SSLContext:
    """Raises OSError and ValueError."""
    return ssl.create_default_context(cafile=ca_file)


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
