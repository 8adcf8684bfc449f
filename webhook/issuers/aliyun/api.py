"""Aliyun's RPC APIs, as far as the issuer needs them: one request, and what its answer means for all of them.

An error has a code. Those that say something about the request alone are handed on.
"""

import functools
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

import msgspec

from webhook.issuers import IssuerUnavailable
from webhook.issuers.aliyun.acs3 import query_text, signed
from webhook.issuers.client import Answer, Client
from webhook.issuers.signing import AccessKey, VendorClock

THROTTLED_SECONDS = 10.0
"""After an answer that there were too many requests, which does not say for how long."""
_WRONG_TIME = ("InvalidTimeStamp", "IllegalTimestamp")
_BUSY = ("InternalError", "ServiceUnavailable", "SignatureNonceUsed")
SIGNATURE_REFUSED = (
    *_WRONG_TIME,
    "InvalidAccessKey",
    "InvalidSecurityToken",
    "MissingSecurityToken",
    "SignatureDoesNotMatch",
    "IncompleteSignature",
    "Forbidden.AccessKey",
)
"""Codes, or what they begin with. The last ones say that the key is not good, and nothing about what is asked for."""


@dataclass(frozen=True, slots=True)
class Call:
    """An action of an API, and the version that has it."""

    action: str
    version: str


@dataclass(frozen=True, slots=True)
class Reply:
    """`code`: of an error; empty: it did what it was asked for."""

    answer: Answer
    code: str = ""

    @property
    def date(self) -> datetime:
        """Raises IssuerUnavailable."""
        if self.answer.date is None:
            raise IssuerUnavailable("Aliyun's answer does not say what time it is there, so nobody knows when it ends")
        return self.answer.date


class _Error(msgspec.Struct, frozen=True):
    """In both spellings that there are."""

    code: str = ""
    capital: str = msgspec.field(default="", name="Code")


class AliyunApi:
    """`who`: is asked, as messages call it. `url`: where."""

    def __init__(self, who: str, url: str, ca_file: str | None) -> None:
        self._who, self._url, self._host = who, f"{url}/?", url.partition("://")[2]
        self._client = Client(who, ca_file)
        self._clock = VendorClock()

    async def close(self) -> None:
        await self._client.close()

    async def signed(self, key: AccessKey, call: Call, query: Mapping[str, str]) -> Reply:
        """Raises IssuerUnavailable."""
        return await self._at_its_time(functools.partial(self._signed, key, call, query))

    async def unsigned(self, call: Call, form: Mapping[str, str], hidden: Iterable[str]) -> Reply:
        """`form`: is in no address, which others log. `hidden`: the secrets in it. Raises IssuerUnavailable."""
        return await self._at_its_time(functools.partial(self._unsigned, call, form, hidden))

    async def _at_its_time(self, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Once more, if it refuses the time of our clock."""
        reply = await ask()
        if reply.code.startswith(_WRONG_TIME) and self._clock.learn(reply.answer.date):
            reply = await ask()
        return reply

    async def _unsigned(self, call: Call, form: Mapping[str, str], hidden: Iterable[str]) -> Reply:
        now = f"{self._clock.now():%Y-%m-%dT%H:%M:%SZ}"
        query = {"Action": call.action, "Version": call.version, "Format": "JSON", "Timestamp": now}
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._asked(query, headers, urlencode(form).encode(), hidden)

    async def _signed(self, key: AccessKey, call: Call, query: Mapping[str, str]) -> Reply:
        nonce = secrets.token_hex(16)
        headers = signed(key, self._host, call.action, call.version, query, self._clock.now(), nonce)
        return await self._asked(query, headers, None, key.secrets)

    async def _asked(
        self, query: Mapping[str, str], headers: Mapping[str, str], body: bytes | None, hidden: Iterable[str]
    ) -> Reply:
        answer = await self._client.call(
            "POST", self._url + query_text(query), headers=headers, body=body, secrets=hidden
        )
        if answer.status < 400:
            return Reply(answer)
        error = answer.read(_Error)
        code = error.capital or error.code
        if not code:
            raise answer.odd()
        if code.startswith("Throttling"):
            raise IssuerUnavailable(
                f"{self._who} has too many requests ({answer.said})", max(answer.retry_after, THROTTLED_SECONDS)
            )
        if code.startswith(_BUSY):
            raise IssuerUnavailable(f"{self._who} is not able to answer now ({answer.said})", answer.retry_after)
        return Reply(answer, code)
