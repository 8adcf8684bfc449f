"""Tencent Cloud's API 3.0, as far as the issuer needs it: one request, and what its answer means for all of them.

An error has status 200, and a code inside. Those that say something about the request alone are handed on.
"""

import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, TypeVar

import msgspec

from webhook.core.answer import hiding, words
from webhook.issuers import IssuerUnavailable
from webhook.issuers.client import Answer, Client
from webhook.issuers.signing import AccessKey, VendorClock
from webhook.issuers.tencent.tc3 import MEDIA_TYPE, signed

THROTTLED_SECONDS = 10.0
"""After an answer that there were too many requests, which does not say for how long."""
_WRONG_TIME = "AuthFailure.SignatureExpire"
Body = Callable[[datetime], Mapping[str, object]]
"""What is asked for, at a time by Tencent's clock."""
Moment = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
"""Since 1970."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """`code`: of an error; empty: it did what it was asked for. `said`: code and words, safe to print."""

    answer: Answer
    content: bytes = field(repr=False)
    code: str = ""
    said: str = ""

    @property
    def date(self) -> datetime:
        """Raises IssuerUnavailable."""
        if self.answer.date is None:
            raise IssuerUnavailable("Tencent's answer does not say what time it is there, so nobody knows when it ends")
        return self.answer.date

    def read(self, kind: type[T]) -> T:
        """Raises IssuerUnavailable."""
        try:
            return msgspec.json.decode(self.content, type=kind)
        except (msgspec.MsgspecError, ValueError, RecursionError):  # their texts may have what it says
            raise self.answer.odd() from None


class _Enveloped(msgspec.Struct, frozen=True, rename="pascal"):
    response: msgspec.Raw


class _Outcome(msgspec.Struct, frozen=True, rename="pascal"):
    error: msgspec.Raw = msgspec.Raw(b"null")


class _Error(msgspec.Struct, frozen=True, rename="pascal"):
    code: str


class TencentApi:
    """`who`: is asked, as messages call it. `url`: where. `service`, `version`: which of the APIs."""

    def __init__(self, who: str, url: str, service: str, version: str, region: str, ca_file: str | None) -> None:
        self._who, self._url, self._host = who, f"{url}/", url.partition("://")[2]
        self._service, self._version, self._region = service, version, region
        self._client = Client(who, ca_file)
        self._clock = VendorClock()

    async def close(self) -> None:
        await self._client.close()

    async def signed(self, key: AccessKey, action: str, body: Body) -> Reply:
        """Raises IssuerUnavailable."""
        return await self._at_its_time(functools.partial(self._signed, key, action, body))

    async def unsigned(self, action: str, body: Mapping[str, object], hidden: Iterable[str]) -> Reply:
        """`hidden`: the secrets in it. Raises IssuerUnavailable."""
        return await self._at_its_time(functools.partial(self._unsigned, action, body, hidden))

    async def _at_its_time(self, ask: Callable[[], Awaitable[Reply]]) -> Reply:
        """Once more, if it refuses the time of our clock."""
        reply = await ask()
        if reply.code == _WRONG_TIME and self._clock.learn(reply.answer.date):
            reply = await ask()
        return reply

    async def _unsigned(self, action: str, body: Mapping[str, object], hidden: Iterable[str]) -> Reply:
        stamp = {"X-TC-Timestamp": str(int(self._clock.now().timestamp())), "Authorization": "SKIP"}
        return await self._asked(action, stamp, msgspec.json.encode(body), hidden)

    async def _signed(self, key: AccessKey, action: str, body: Body) -> Reply:
        now = self._clock.now()
        content = msgspec.json.encode(body(now))
        return await self._asked(action, signed(key, self._host, self._service, content, now), content, key.secrets)

    async def _asked(self, action: str, headers: Mapping[str, str], body: bytes, hidden: Iterable[str]) -> Reply:
        names = {"X-TC-Action": action, "X-TC-Version": self._version, "X-TC-Region": self._region}
        secrets = [*hidden]
        answer = await self._client.call(
            "POST", self._url, headers={"Content-Type": MEDIA_TYPE, **names, **headers}, body=body, secrets=secrets
        )
        reply = Reply(answer, bytes(answer.read(_Enveloped).response))
        error = bytes(reply.read(_Outcome).error)
        if error == b"null":
            return reply
        code = Reply(answer, error).read(_Error).code
        said = hiding(secrets)(words(error))
        if code.startswith("RequestLimitExceeded"):
            raise IssuerUnavailable(
                f"{self._who} has too many requests ({said})", max(answer.retry_after, THROTTLED_SECONDS)
            )
        return Reply(answer, b"", code or "no code", said)
