"""An HTTP service that is asked about one owner with GET, and about several with POST if it has an address for that.
docs/http-source.openapi.yaml is the contract.

404 of a GET means that the owner has no credentials, as null does in the answer to a POST. Any other status than 200
and 304, and any answer that is not valid as a whole, means SourceUnavailable. Only the administrator decides where
requests go: the owner is escaped, redirects are not followed, and the environment is not read. In a path an owner is
refused if a proxy may turn the escaped text into something else (a slash, a dot segment, a second escape); a POST can
name it. Answers are not decompressed, so none grows in memory.
"""

import asyncio
import functools
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from webhook import noanswer
from webhook.config.sourceconfig import HttpSource
from webhook.core.credential import Credentials
from webhook.core.errors import PullsecretError, SourceUnavailable
from webhook.core.times import retry_after
from webhook.fairness import yield_to_reviews
from webhook.sources import Changed
from webhook.sources.files import made
from webhook.sources.jsonanswer import read
from webhook.sources.remote import MAX_SIZE, Answer, down

MAX_ANSWER_BYTES = 1024 * 1024
CHUNK = 65536
CONNECTIONS = 16
QUERIES = 4
"""At a time, where one may be about many owners."""
NOT_FOUND_MAX_SECONDS = 30.0
"""The longest time that `maxAge` keeps a 404 fresh: a user who links a registry should not wait long."""
_BAD_IN_PATH = re.compile(r"[/\\%\x00-\x1f\x7f]|^\.{1,2}$")
_TOKEN = re.compile(rb"[!-~]{1,16384}")
_ETAG = re.compile(r'(?:W/)?"[!#-~]{0,512}"')
_DIRECTIVE = re.compile(r'([\w-]+)(?:=(?:"([^"]*)"|([^\s,"]*)))?')
NOT_ABOUT_THE_OWNER = (401, 407, 408, 421, 425, 429)
"""Statuses below 500 that affect all owners."""
ABOUT_SOME_OWNERS = (400, 413, 422)
"""Statuses of a POST for which some of its owners may be the reason."""


class _Owner(str):
    """A key of the answer to a POST; `_parts` counts them while they are read."""

    __slots__ = ()


class _Batch(msgspec.Struct):
    """The answer to a POST: by owner what a GET would answer; null: no credentials."""

    owners: dict[_Owner, msgspec.Raw]


class HttpRemote:
    """`now` is the wall clock, for a Retry-After that is a date."""

    def __init__(self, config: HttpSource, now: Callable[[], datetime]) -> None:
        self._config, self._now, self.many = config, now, config.batch_url is not None
        self._session: aiohttp.ClientSession | None = None
        # A new context gets new connections, so a renewed certificate takes effect immediately.
        self._context = made((config.ca_file, config.cert_file, config.key_file), functools.partial(_context, config))

    async def run(self, changed: Changed) -> None:  # noqa: ARG002  # a remote's interface
        """There is no feed of changes: the age of an answer decides when to ask again."""
        await asyncio.Future()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def ask(self, owner: str, before: Answer | None) -> Answer:
        if self._not_in_path(owner) and self.many:  # as it would be answered beside others
            found = (await self.ask_many([owner]))[owner]
            if isinstance(found, SourceUnavailable):
                raise found
            return found
        url, headers = self._address(owner), _headers(self._config)
        if before is not None and before.validator:
            headers["If-None-Match"] = before.validator
        async with self._response("GET", url, headers) as response:
            return await self._answer(response, before)

    async def ask_many(self, owners: Sequence[str]) -> Mapping[str, Answer | SourceUnavailable]:
        """Only if `many`."""
        headers = _headers(self._config) | {"Content-Type": "application/json"}
        url = URL(self._config.batch_url or "", encoded=True)
        asked = msgspec.json.encode({"owners": owners})
        async with self._response("POST", url, headers, asked) as response:
            if response.status != 200:
                raise self._refused(response, "batchUrl", everybody=response.status not in ABOUT_SOME_OWNERS)
            body, fresh = await _body(response, MAX_SIZE), _fresh(response, self._config.max_age)
            none = _fresh(response, min(self._config.max_age, NOT_FOUND_MAX_SECONDS))
        found = _parts(body, len(owners))
        answers: dict[str, Answer | SourceUnavailable] = {}
        for owner in owners:
            answers[owner] = self._of_owner(found.get(owner), fresh, none)
            await yield_to_reviews()
        return answers

    def _of_owner(self, part: msgspec.Raw | None, fresh: float, none: float) -> Answer | SourceUnavailable:
        """`fresh`, `none`: seconds that this is used, also if it says that there are no credentials."""
        if part is None:
            return SourceUnavailable("its answer leaves this owner out; it must have null for who has no credentials")
        if (data := bytes(part)) == b"null":
            return Answer(Credentials(), none)
        if len(data) > MAX_ANSWER_BYTES:
            return SourceUnavailable("its answer is larger than 1 MiB")
        try:
            parsed = read(data, self._config.answer)
        except PullsecretError as e:
            return SourceUnavailable(f"its answer cannot be used: {e}")
        return Answer(Credentials(parsed.credentials), fresh, problems=parsed.problems)

    @asynccontextmanager
    async def _response(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None = None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Raises SourceUnavailable, also for what happens while it is read."""
        session = self._opened()
        try:
            context = self._context() if url.scheme == "https" else True
            async with session.request(
                method, url, headers=headers, data=body, ssl=context, allow_redirects=False
            ) as response:
                yield response
        except TimeoutError:
            raise down(f"no answer within {self._config.timeout:g} s") from None
        except aiohttp.ClientError as e:  # their texts have addresses, and perhaps more
            raise down(noanswer.words(e)) from None

    def _not_in_path(self, owner: str) -> bool:
        return self._config.in_path and _BAD_IN_PATH.search(owner) is not None

    def _address(self, owner: str) -> URL:
        if self._not_in_path(owner):
            raise SourceUnavailable("the owner's name has a / \\ % or is . or ..; put {owner} into the query of url")
        try:
            return URL(self._config.url.replace("{owner}", quote(owner, safe="")), encoded=True)
        except ValueError:
            raise SourceUnavailable("the owner's name cannot be part of a URL") from None

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=CONNECTIONS),
                timeout=aiohttp.ClientTimeout(total=self._config.timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    async def _answer(self, response: aiohttp.ClientResponse, before: Answer | None) -> Answer:
        status, headers = response.status, response.headers
        if status == 304 and before is not None and before.validator:
            # Without Cache-Control, the one of the 200 stays valid (RFC 9111, 3.2).
            default = self._config.max_age if "Cache-Control" in headers else before.fresh_for
            return Answer(before.credentials, _fresh(response, default), before.validator)
        if status == 404:
            return Answer(Credentials(), _fresh(response, min(self._config.max_age, NOT_FOUND_MAX_SECONDS)))
        if status != 200:
            everybody = status >= 500 or status < 400 or status in NOT_ABOUT_THE_OWNER
            raise self._refused(response, "url", everybody=everybody)
        body = await _body(response, MAX_ANSWER_BYTES)
        try:
            found = read(body, self._config.answer)
        except PullsecretError as e:
            raise SourceUnavailable(f"its answer cannot be used: {e}") from None
        etag = headers.get("ETag", "")
        validator = etag if _ETAG.fullmatch(etag) and "no-store" not in _directives(response) else ""
        return Answer(Credentials(found.credentials), _fresh(response, self._config.max_age), validator, found.problems)

    def _refused(self, response: aiohttp.ClientResponse, name: str, *, everybody: bool) -> SourceUnavailable:
        """`name`: of the address in the configuration."""
        wait = retry_after(response.headers.get("Retry-After", ""), self._now())
        return SourceUnavailable(_refusal(response.status, name), everybody=everybody, retry_after=wait)


def _headers(config: HttpSource) -> dict[str, str]:
    """With the token as its file is now. Raises SourceUnavailable."""
    headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "pullsecret-webhook"}
    if (path := config.token_file) is not None:
        try:
            token = Path(path).read_bytes().strip()
        except OSError as e:
            raise down(f"tokenFile {path}: {e.strerror}") from None
        if not _TOKEN.fullmatch(token):
            raise down(f"tokenFile {path} is empty or holds more than one line of printable ASCII")
        headers["Authorization"] = f"Bearer {token.decode()}"
    return headers


def _context(config: HttpSource) -> ssl.SSLContext:
    """Raises SourceUnavailable."""
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
    except (OSError, ValueError) as e:
        raise down(f"caFile {config.ca_file}: {_why(e)}") from None
    if config.cert_file is not None:
        try:
            context.load_cert_chain(config.cert_file, config.key_file, password=_no_password)
        except (OSError, ValueError) as e:
            raise down(f"certFile {config.cert_file} and keyFile {config.key_file}: {_why(e)}") from None
    return context


def _no_password() -> str:
    """Without this function OpenSSL asks on the terminal."""
    raise ValueError("the key is encrypted; use one without a password")


def _why(e: Exception) -> str:
    if isinstance(e, ssl.SSLError):
        return "not PEM, or key and certificate do not match"
    return e.strerror or type(e).__name__ if isinstance(e, OSError) else str(e)


async def _body(response: aiohttp.ClientResponse, most: int) -> bytes:
    """`most`: bytes."""
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise SourceUnavailable("its answer is compressed; the service must respect Accept-Encoding: identity")
    body = bytearray()
    async for chunk in response.content.iter_chunked(CHUNK):
        body += chunk
        if len(body) > most:
            response.close()  # without reading the rest
            raise SourceUnavailable(f"its answer is larger than {most // 1024**2} MiB")
    return bytes(body)


def _parts(body: bytes, most: int) -> Mapping[str, msgspec.Raw]:
    """By owner. `most`: how many there may be. Ends at the first that is one too many, or is there again: to read 4 MiB
    of them takes 100 MiB of memory. Raises SourceUnavailable.
    """
    seen = set[_Owner]()

    def key(_: type, name: str) -> _Owner:
        if name in seen:
            raise _Odd("has an owner twice")
        if len(seen) == most:
            raise _Odd("has more owners than it was asked about")
        seen.add(owner := _Owner(name))
        return owner

    try:
        read = msgspec.json.decode(body, type=_Batch, dec_hook=key)
    except _Odd as e:
        raise SourceUnavailable(f"its answer {e}") from None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise SourceUnavailable('its answer cannot be used: expected {"owners": {OWNER: ...}}') from None
    return {str(owner): part for owner, part in read.owners.items()}


class _Odd(Exception):
    """Not a ValueError, of which msgspec makes an error of its own."""


def _directives(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Of all Cache-Control headers."""
    found = _DIRECTIVE.findall(",".join(response.headers.getall("Cache-Control", ()))[:1024])
    return {name.lower(): quoted or plain for name, quoted, plain in found}


def _fresh(response: aiohttp.ClientResponse, default: float) -> float:
    """Seconds: max-age minus Age; without max-age, `default`."""
    control = _directives(response)
    if "no-store" in control or "no-cache" in control:
        return 0.0
    max_age = _number(control.get("max-age", ""))
    return default if max_age is None else max(0.0, max_age - (_number(response.headers.get("Age", "")) or 0.0))


def _number(text: str) -> float | None:
    return float(text[:9]) if text.isascii() and text.isdigit() else None


def _refusal(status: int, name: str) -> str:
    if 300 <= status < 400:
        return f"HTTP {status}: redirects are not followed; set {name} to the final address"
    if name == "batchUrl" and status in {404, 405}:
        return f"HTTP {status}: nothing there takes a POST; check batchUrl"
    if status in {401, 403}:
        return f"HTTP {status}: access denied; check tokenFile, certFile and keyFile"
    return f"HTTP {status}"
