"""Harbor's API, as far as the issuer needs it: one request, and what its answer means for all of them.

Only the administrator decides where requests go, and redirects are not followed. Cookies are not kept: who sends
Harbor's session cookie back is a browser to it, which needs a CSRF token for each write. No message has the login, and
the words of an answer are shown without the password, which whoever answers was told.
"""

import functools
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, TypeVar

import aiohttp
import msgspec
from yarl import URL

from webhook import noanswer
from webhook.config.models import Registry
from webhook.core.answer import hiding, words
from webhook.core.shown import shown
from webhook.core.times import in_utc, retry_after
from webhook.issuers import IssuerUnavailable
from webhook.sources.files import made

TOTAL_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
CONNECTIONS = 8
LOCKED_SECONDS = 30.0
"""Harbor locks the name of a failed login for a moment. Who goes on asking keeps it locked."""
_LINE = re.compile(rb"[!-~]{1,4096}")
_READ_ONLY = re.compile(r"read.only", re.IGNORECASE)
Method = Literal["GET", "POST", "DELETE"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """`date`: by Harbor's clock. `said`: its status, and its words if they are an error, safe to print."""

    status: int
    date: datetime | None
    said: str
    content: bytes

    def read(self, kind: type[T]) -> T:
        """Raises IssuerUnavailable."""
        try:
            return msgspec.json.decode(self.content, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):  # their texts may have what it says
            raise IssuerUnavailable("what Harbor answers is not what its API has") from None


class HarborApi:
    """`registry`: where Harbor is, and which CA certificates are to be trusted. Files are read again at each request,
    or when they change.
    """

    def __init__(self, registry: Registry, username_file: str, password_file: str) -> None:
        self._base = f"{'http' if registry.plain else 'https'}://{registry.host}/api/v2.0"
        self._files = username_file, password_file
        self._plain = registry.plain
        self._context = made((registry.ca_file,), functools.partial(_context, registry.ca_file))
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self, method: Method, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        """Raises IssuerUnavailable if there is no answer, or none that says something about what is asked for."""
        username, password = (_line(file) for file in self._files)
        headers = {
            "Authorization": aiohttp.encode_basic_auth(username, password),
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "pullsecret-webhook",
            # A project may be called 7, and another one may have that number.
            **({"X-Is-Resource-Name": "true"} if path.startswith("/projects/") else {}),
            **({"Content-Type": "application/json"} if body is not None else {}),
        }
        try:
            async with self._opened().request(
                method,
                URL(self._base + path, encoded=True),
                params=query,
                data=None if body is None else msgspec.json.encode(body),
                headers=headers,
                ssl=True if self._plain else self._context(),
                allow_redirects=False,
            ) as response:
                return _meaning(response.status, response.headers, await _content(response), password)
        except TimeoutError:
            raise IssuerUnavailable(f"Harbor does not answer within {TOTAL_SECONDS:g} s") from None
        except aiohttp.ClientError as e:  # their texts have addresses, and perhaps more
            raise IssuerUnavailable(f"Harbor does not answer: {noanswer.words(e)}") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _meaning(status: int, headers: Mapping[str, str], content: bytes, password: str) -> Answer:
    date = _date(headers.get("Date", ""))
    told = hiding([password])(words(content, headers.get("Content-Type", ""))) if status >= 400 else ""
    said = f"HTTP {status}: {told}" if told else f"HTTP {status}"
    wait = retry_after(headers.get("Retry-After", ""), date or datetime.now(UTC))
    if status == 429 or status >= 500:
        raise IssuerUnavailable(f"Harbor is not able to answer now ({said})", wait)
    if status == 401:
        raise IssuerUnavailable(
            f"Harbor refuses the login of usernameFile and passwordFile ({said}): is it right, has its robot ended, or "
            "is its name locked because others tried it with wrong passwords?",
            max(wait, LOCKED_SECONDS),
        )
    if status == 403 and _READ_ONLY.search(told):
        raise IssuerUnavailable(f"Harbor changes nothing now ({said})", wait)
    if status < 200 or 300 <= status < 400:
        raise IssuerUnavailable(f"Harbor does not answer under this name ({said}), and redirects are not followed")
    return Answer(status, date, said, content)


def _date(text: str) -> datetime | None:
    try:
        return in_utc(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError):
        return None


async def _content(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(MAX_ANSWER_BYTES):
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            response.close()  # without reading the rest
            raise IssuerUnavailable(f"Harbor's answer is larger than {MAX_ANSWER_BYTES // 1024} KiB")
    return bytes(body)


def _line(file: str) -> str:
    """Raises IssuerUnavailable."""
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(8192).strip()
    except OSError as e:
        raise IssuerUnavailable(f"there is no login for Harbor: {shown(file)}: {e.strerror}") from None
    if not _LINE.fullmatch(text):
        raise IssuerUnavailable(
            f"there is no login for Harbor: {shown(file)} is empty, or has more than one line of printable ASCII"
        )
    return text.decode()


def _context(ca_file: str | None) -> ssl.SSLContext:
    """Raises IssuerUnavailable."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) and not isinstance(e, ssl.SSLError) else "it is not PEM"
        raise IssuerUnavailable(f"caFile {ca_file}: {why}") from None
