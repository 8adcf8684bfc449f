"""HTTP to those who mint: one request, and what its answer means whoever gives it.

Only the administrator decides where requests go, and redirects are not followed. Cookies are not kept: who sends a
session's cookie back is a browser to some, which needs a CSRF token for each write. No message has what was sent, and
the words of an answer are shown without the secrets that whoever answers was told.
"""

import functools
import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, TypeVar

import aiohttp
import msgspec
from yarl import URL

from webhook import noanswer
from webhook.core.answer import hiding, words
from webhook.core.shown import shown
from webhook.core.times import in_utc, retry_after
from webhook.issuers import IssuerUnavailable
from webhook.sources.files import made

TOTAL_SECONDS = 10.0
MAX_ANSWER_BYTES = 64 * 1024
MAX_FILE_BYTES = 16 * 1024
CONNECTIONS = 8
_YEARS = range(1970, 9000)
_LINE = re.compile(rb"[!-~]{1,16384}")
Method = Literal["GET", "POST", "PUT", "DELETE"]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Answer:
    """`who`: answers, as messages call it. `date`: by its clock. `said`: its status, and its words if they are an
    error, safe to print. `retry_after`: seconds for which it wants to be left alone.
    """

    who: str
    status: int
    date: datetime | None
    said: str
    content: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    retry_after: float = 0.0

    def read(self, kind: type[T]) -> T:
        """Its content as JSON. Raises IssuerUnavailable."""
        try:
            return msgspec.json.decode(self.content, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):  # their texts may have what it says
            raise self.odd() from None

    def odd(self) -> IssuerUnavailable:
        return IssuerUnavailable(f"what {self.who} answers is not what its API has")


class Client:
    """`who`: is asked, as messages call it. `ca_file`: the CA certificates that are trusted; None: those of the system.
    It is read again when it changes.
    """

    def __init__(self, who: str, ca_file: str | None = None) -> None:
        self._who = who
        self._context = made((ca_file,), functools.partial(_context, ca_file))
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def call(
        self,
        method: Method,
        url: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        secrets: Iterable[str] = (),
    ) -> Answer:
        """`url`: as it is, with what is escaped in it. `secrets`: in the request, or able to be in the answer.

        Raises IssuerUnavailable if there is no answer, or none that says something about what is asked for: a
        redirect, 429, and all from 500 on.
        """
        try:
            async with self._opened().request(
                method,
                URL(url, encoded=True),
                params=query,
                data=body,
                headers={"Accept": "application/json", "Accept-Encoding": "identity", **(headers or {})},
                ssl=self._context() if url.startswith("https:") else True,
                allow_redirects=False,
            ) as response:
                return self._meaning(response.status, response.headers, await self._content(response), secrets)
        except TimeoutError:
            raise IssuerUnavailable(f"{self._who} does not answer within {TOTAL_SECONDS:g} s") from None
        except aiohttp.ClientError as e:  # their texts have addresses, and perhaps more
            raise IssuerUnavailable(f"{self._who} does not answer: {noanswer.words(e)}") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=TOTAL_SECONDS),
                headers={"User-Agent": "pullsecret-webhook"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _meaning(self, status: int, headers: Mapping[str, str], content: bytes, secrets: Iterable[str]) -> Answer:
        date = _date(headers.get("Date", ""))
        told = hiding(secrets)(words(content, headers.get("Content-Type", ""))) if status >= 400 else ""
        said = f"HTTP {status}: {told}" if told else f"HTTP {status}"
        wait = retry_after(headers.get("Retry-After", ""), date or datetime.now(UTC))
        if status == 429 or status >= 500:
            raise IssuerUnavailable(f"{self._who} is not able to answer now ({said})", wait)
        if status < 200 or 300 <= status < 400:
            raise IssuerUnavailable(
                f"{self._who} does not answer under this name ({said}), and redirects are not followed"
            )
        return Answer(self._who, status, date, said, content, headers, wait)

    async def _content(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(MAX_ANSWER_BYTES):
            body += chunk
            if len(body) > MAX_ANSWER_BYTES:
                response.close()  # without reading the rest
                raise IssuerUnavailable(f"the answer of {self._who} is larger than {MAX_ANSWER_BYTES // 1024} KiB")
        return bytes(body)


def line(file: str, what: str) -> str:
    """The one line of printable ASCII in a file, read again each time. `what`: it is, in messages, such as "login for
    Harbor". Raises IssuerUnavailable.
    """
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(MAX_FILE_BYTES).strip()
    except OSError as e:
        raise IssuerUnavailable(f"there is no {what}: {shown(file)}: {e.strerror}") from None
    if not _LINE.fullmatch(text):
        raise IssuerUnavailable(
            f"there is no {what}: {shown(file)} is empty, or has more than one line of printable ASCII"
        )
    return text.decode()


def _date(text: str) -> datetime | None:
    """Of a time at which there is somebody to answer. To others, nothing can be added, or they are no time at all."""
    try:
        date = in_utc(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError):
        return None
    return date if date.year in _YEARS else None


def _context(ca_file: str | None) -> ssl.SSLContext:
    """Raises IssuerUnavailable."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except (OSError, ValueError) as e:
        why = e.strerror if isinstance(e, OSError) and not isinstance(e, ssl.SSLError) else "it is not PEM"
        raise IssuerUnavailable(f"caFile {ca_file}: {why}") from None
