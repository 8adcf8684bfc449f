"""Signatures of requests, judged by the vendors' own code, and how long a login is kept."""

import asyncio
import hashlib
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from unittest.mock import patch

import pytest
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest
from hypothesis import given
from hypothesis import strategies as st
from tencentcloud.common import abstract_client
from tencentcloud.common.abstract_client import AbstractClient
from tencentcloud.common.credential import Credential
from tencentcloud.common.http.request import RequestInternal
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile

from support import planted
from webhook.issuers import IssuerUnavailable
from webhook.issuers.aliyun import acs3
from webhook.issuers.client import Answer
from webhook.issuers.keptlogin import KeptLogin
from webhook.issuers.signing import AccessKey, VendorClock
from webhook.issuers.tencent import tc3
from webhook.issuers.tencent.api import Reply

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
WORDS = st.text(st.sampled_from("abcXYZ019-._~+/="), min_size=1, max_size=40)
TIMES = st.datetimes(datetime(2001, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001
NAMES = st.text(st.sampled_from("abcXYZ019.-_~"), min_size=1, max_size=40)
"""Of parameters. Others are not escaped in the code of the vendor."""
KEYS = st.builds(AccessKey, WORDS, WORDS, st.just("") | WORDS)
HOSTS = st.sampled_from(["cr.cn-hangzhou.aliyuncs.com", "tcr.tencentcloudapi.com", "localhost:40123"])


@given(KEYS, HOSTS, st.dictionaries(NAMES, TEXTS, max_size=5), TIMES, WORDS)
def test_acs3_is_what_aliyuns_own_code_signs(
    key: AccessKey, host: str, query: dict[str, str], at: datetime, nonce: str
) -> None:
    headers = acs3.signed(key, host, "GetAuthorizationToken", "2018-12-01", query, at, nonce)
    ours = headers.pop("Authorization")
    assert set(headers) == {
        "host",
        "x-acs-action",
        "x-acs-content-sha256",
        "x-acs-date",
        "x-acs-signature-nonce",
        "x-acs-version",
        *(["x-acs-security-token"] if key.token else []),
    }
    request = DaraRequest()
    request.method, request.pathname, request.query, request.headers = "POST", "/", query, headers
    nothing = hashlib.sha256(b"").hexdigest()
    assert headers["x-acs-content-sha256"] == nothing
    assert ours == Utils.get_authorization(request, acs3.ALGORITHM, nothing, key.id, key.secret)


@given(KEYS, HOSTS, st.binary(max_size=200), TIMES)
def test_tc3_is_what_tencents_own_code_signs(key: AccessKey, host: str, body: bytes, at: datetime) -> None:
    client = AbstractClient(
        Credential(key.id, key.secret, key.token or None),
        "ap-guangzhou",
        ClientProfile(httpProfile=HttpProfile(endpoint=host)),
    )
    client._service, client._apiVersion = "tcr", "2019-09-24"
    request = RequestInternal(host, "POST", "/", {})
    with (
        patch.object(abstract_client, "time", SimpleNamespace(time=at.timestamp)),
        patch.object(abstract_client.json, "dumps", lambda _params: body),
    ):
        client._build_req_inter("CreateServiceAccount", {}, request)
    theirs = {name: request.header[name] for name in ("Authorization", "X-TC-Timestamp")}
    if key.token:
        theirs["X-TC-Token"] = request.header["X-TC-Token"]
    assert request.header["Content-Type"] == tc3.MEDIA_TYPE
    assert tc3.signed(key, host, "tcr", body, at) == theirs


@given(st.dictionaries(TEXTS, TEXTS, max_size=5))
def test_what_is_sent_is_what_is_signed(query: dict[str, str]) -> None:
    """Whatever a server makes of it: no character in it means something else."""
    text = acs3.query_text(query)
    assert text.isascii()
    assert not {*text} & {*" +#?/:;<>\"'()[]{}|\\^`"}


def test_a_clock_is_learnt_from_an_answer() -> None:
    clock = VendorClock()
    assert abs(clock.now() - datetime.now(UTC)) < timedelta(seconds=5)
    assert not clock.learn(None)
    then = datetime.now(UTC) - timedelta(hours=30)
    assert clock.learn(then)
    assert timedelta() <= clock.now() - then < timedelta(seconds=5)
    for far in (
        datetime(2020, 2, 29, tzinfo=UTC),
        datetime.now(UTC) + timedelta(days=3),
        datetime.max.replace(tzinfo=UTC),
    ):
        assert not clock.learn(far)  # a signature for then would be good then
        assert timedelta() <= clock.now() - then < timedelta(seconds=5)


def test_neither_a_key_nor_an_answer_shows_a_secret() -> None:
    assert not planted.leaks(repr(AccessKey("id", planted.token(), planted.token())))
    content = planted.token().encode()
    answer = Answer("Tencent", 200, None, "HTTP 200", content, {"x": planted.token()})
    assert not planted.leaks(repr(Reply(answer, content)))


class Login(KeptLogin[int]):
    """A new number each time, which ends when the world does."""

    asked = 0

    async def _new(self) -> tuple[int, timedelta]:
        self.asked += 1
        return self.asked, timedelta(days=10**6)


def test_a_login_that_hardly_ends_is_not_kept_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else may have answered for a moment."""

    async def scenario() -> None:
        login, loop = Login(), asyncio.get_running_loop()
        assert (await login.kept(), await login.kept()) == (1, 1)
        later = loop.time() + 3601
        monkeypatch.setattr(loop, "time", lambda: later)
        assert await login.kept() == 2

    asyncio.run(scenario())


class Hanging(KeptLogin[int]):
    asked = 0

    def __init__(self) -> None:
        super().__init__()
        self.over = asyncio.Event()

    async def _new(self) -> tuple[int, timedelta]:
        self.asked += 1
        await self.over.wait()
        raise IssuerUnavailable("it hung", 7.0)


def test_who_waits_for_a_login_that_hangs_waits_once() -> None:
    async def scenario() -> None:
        login = Hanging()
        waiting = [asyncio.create_task(login.kept()) for _ in range(4)]
        await asyncio.sleep(0)
        login.over.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [(str(one), one.retry_after) for one in told if isinstance(one, IssuerUnavailable)] == [
            ("it hung", 7.0)
        ] * 4
        assert login.asked == 1
        await asyncio.sleep(0.01)
        with pytest.raises(IssuerUnavailable):
            await login.kept()
        assert login.asked == 2

    asyncio.run(scenario())
