"""One request to an API of AWS, and what its answer means whoever asks."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlencode

import msgspec
from yarl import URL

from webhook.core.answer import hiding
from webhook.core.times import end
from webhook.issuers import IssuerUnavailable
from webhook.issuers.aws.sigv4 import signed
from webhook.issuers.aws.stsxml import texts
from webhook.issuers.client import Answer, Client
from webhook.issuers.signing import AccessKey, VendorClock

VERSION = "2011-06-15"
"""Of the API of STS; it has no other one."""
PAUSE_SECONDS = 2.0
"""After an answer that there were too many requests, of whoever in the account."""
SKEW = timedelta(minutes=1)
"""Clocks that differ by more are told apart from a wrong key. AWS takes signatures that are five minutes old."""
_BUSY = re.compile(r"Throttl|RequestThrottled|TooManyRequests|RequestLimitExceeded|SlowDown|PriorRequestNotComplete")
_LATER = re.compile(r"Internal|ServerException|ServiceUnavailable|RequestTimeout|IDPCommunicationError")
_SIGNATURE = re.compile(r"SignatureDoesNotMatch|InvalidSignature|RequestExpired|RequestTimeTooSkewed")
_LOGIN = re.compile(
    r"InvalidClientTokenId|UnrecognizedClient|ExpiredToken|InvalidToken|InvalidIdentityToken|IDPRejectedClaim"
    r"|IncompleteSignature|MissingAuthenticationToken|OptInRequired"
)
"""What codes of errors begin with, by what they mean. The names differ between the two protocols."""
_CODE = re.compile(r"[A-Za-z0-9.]{1,100}")


@dataclass(frozen=True, slots=True)
class Session:
    """`life`: from the moment of the answer, by the clock of who answered."""

    key: AccessKey
    life: timedelta


class AwsError(Exception):
    """AWS says no. `code`: which of its errors. `said`: with its status and its words, safe to print."""

    def __init__(self, code: str, said: str) -> None:
        super().__init__(said)
        self.code, self.said = code, said

    @property
    def is_about_who_asks(self) -> bool:
        """Rather than about what is asked for."""
        return bool(_SIGNATURE.match(self.code) or _LOGIN.match(self.code))


class _JsonError(msgspec.Struct, frozen=True):
    kind: str = msgspec.field(name="__type")


class _Authorization(msgspec.Struct, frozen=True, rename="camel"):
    authorization_token: str
    expires_at: float


class _Authorizations(msgspec.Struct, frozen=True, rename="camel"):
    authorization_data: list[_Authorization]


class AwsApi:
    """`sts`, `ecr`: the addresses where they are asked. `ca_file`: as of a Client."""

    def __init__(self, region: str, sts: str, ecr: str, ca_file: str | None) -> None:
        self._region, self._sts, self._ecr = region, sts, ecr
        self._clients = {"sts": Client("AWS STS", ca_file), "ecr": Client("Amazon ECR", ca_file)}
        self._clock = VendorClock()

    async def close(self) -> None:
        for client in self._clients.values():
            await client.close()

    async def session(self, fields: Mapping[str, str], key: AccessKey | None, hidden: Iterable[str] = ()) -> Session:
        """Of a role, from STS. `key`: None if the fields say who asks. Raises AwsError, IssuerUnavailable."""
        body = urlencode({"Version": VERSION, **fields}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        found = await self._call("sts", self._sts, key, headers, body, [*hidden])
        try:
            read = texts(found.content)
            key = AccessKey(*(usable(read[name]) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")))
            return Session(key, left(read["Expiration"], found))
        except (KeyError, ValueError):  # their texts may have what it says
            raise found.odd() from None

    async def ecr_token(self, key: AccessKey) -> tuple[str, timedelta]:
        """What it lets clients log in with, in base64, and its life. Raises AwsError, IssuerUnavailable."""
        headers = {
            "Content-Type": "application/x-amz-json-1.1",
            "X-Amz-Target": "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
        }
        found = await self._call("ecr", self._ecr, key, headers, b"{}", [])
        data = found.read(_Authorizations).authorization_data
        if len(data) != 1:
            raise found.odd()
        try:
            return data[0].authorization_token, left(data[0].expires_at, found)
        except ValueError:
            raise found.odd() from None

    async def _call(
        self, service: str, url: str, key: AccessKey | None, headers: Mapping[str, str], body: bytes, hidden: list[str]
    ) -> Answer:
        hidden = [*hidden, *(key.secrets if key else ())]
        host = URL(url).raw_authority
        for again in (False, True):
            at = self._clock.now()
            sent = headers if key is None else signed(key, service, self._region, host, headers, body, at)
            # Asked for JSON, STS answers in something like it. This header is not signed: proxies may change it.
            sent = {"Accept": "*/*", **sent}
            found = await self._clients[service].call("POST", f"{url}/", headers=sent, body=body, secrets=hidden)
            if found.status == 200:
                return found
            code = _code(found.content)
            # A clock that goes wrong by minutes is nothing to wait for.
            if not _SIGNATURE.match(code) or again or found.date is None or abs(found.date - at) < SKEW:
                break
            if not self._clock.learn(found.date):  # it says a time that cannot be
                break
        status, shown = f"HTTP {found.status}", hiding(hidden)(code)
        said = found.said if shown in found.said else f"{status}: {shown}{found.said.removeprefix(status)}"
        if _BUSY.match(code):
            raise IssuerUnavailable(f"AWS wants fewer requests ({said})", max(found.retry_after, PAUSE_SECONDS))
        if _LATER.match(code):
            raise IssuerUnavailable(f"AWS is not able to answer now ({said})", found.retry_after)
        if not code:
            raise IssuerUnavailable(f"AWS answers with an error that is none of its API ({said})")
        raise AwsError(code, said)


def left(at: str | float, found: Answer) -> timedelta:
    """Until then, by the clock of who answered, which says whole seconds. Raises ValueError."""
    when = end(at)
    if when is None or found.date is None:
        raise ValueError
    return when.replace(microsecond=0) - found.date


def usable(text: str) -> str:
    """Of keys, which become headers. Raises ValueError."""
    if not text or not text.isascii() or not text.isprintable():
        raise ValueError
    return text


def _code(content: bytes) -> str:
    """Of an error. Empty: it is none of AWS."""
    try:
        if content.lstrip().startswith(b"<"):
            code = texts(content).get("Code", "")
        else:
            code = msgspec.json.decode(content, type=_JsonError).kind.rpartition("#")[2]
    except (ValueError, RecursionError):  # also msgspec's
        return ""
    return code if _CODE.fullmatch(code) else ""
