"""The issuer for Tencent's registry, against a stand-in in which the vendor's SDK checks what is asked and answered."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar

import pytest
from tencentcloud.common.credential import Credential as SdkKey
from tencentcloud.common.exception.tencent_cloud_sdk_exception import TencentCloudSDKException
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.tcr.v20190924 import models as sdk
from tencentcloud.tcr.v20190924.tcr_client import TcrClient

from support import planted
from support.issuercontract import NamedContract
from support.issuerplace import (
    CLUSTER,
    NAMES,
    NamedPlace,
    check_fails,
    checked,
    config_refused,
    leads,
    outcome,
    placed,
    refused,
    running,
    the_one,
)
from support.tencentserver import RIGHTS, Account, Key, Tencent
from support.vendorserver import certified, serving
from webhook.config import reading
from webhook.core.credential import Credential
from webhook.core.issued import MAX_LIFE
from webhook.core.registry import matching
from webhook.issuers import IssueRefused, IssuerUnavailable
from webhook.issuers.keptlogin import AGAIN_SECONDS
from webhook.issuers.names import minted_name
from webhook.issuers.signing import AccessKey
from webhook.issuers.tencent.api import THROTTLED_SECONDS
from webhook.issuers.tencent.login import PROVIDER, ROLE, TOKEN_FILE

REGISTRY = "acme.tencentcloudcr.com"
TCR = {"issue": "tcr", "registry": REGISTRY, "instance": "tcr-01234567", "region": "ap-guangzhou"}
ROLE_ARN = "qcs::cam::uin/100000000001:roleName/pullsecret-issuer"
SUBJECT = "system:serviceaccount:pullsecret-webhook:pullsecret-webhook-issuer"


LINES = json.dumps(
    {
        "Response": {
            "Credentials": {"TmpSecretId": "AKID", "TmpSecretKey": "x", "Token": "a\r\nX-TC-Action: b"},
            "ExpiredTime": 4000000000,
        }
    }
).encode()


class Here(NamedPlace[Tencent]):
    """Tencent, and an issuer that asks it with a key, or with a token of its pod, and has the rights of docs/tcr.md."""

    tls: ssl.SSLContext
    environ: dict[str, str]
    life = timedelta(hours=24)

    def __init__(self, tencent: Tencent, *, token: bool = False, **keys: Any) -> None:
        self.server, self.id, self.secret = tencent, self.folder / "id", self.folder / "secret"
        self.token = self.folder / "token"
        self.environ = {PROVIDER: "cls-c0ffee", TOKEN_FILE: str(self.token), ROLE: ROLE_ARN}
        tencent.namespaces |= {*NAMES}
        tencent.roles[ROLE_ARN] = {SUBJECT}
        self.log_in("AKIDissuer", planted.token())
        files = {"secretIdFile": str(self.id), "secretKeyFile": str(self.secret)}
        self.keys = {**({} if token else files), **keys}
        self.issuer = self.again()

    def log_in(self, key: str, secret: str, *, known: bool = True) -> None:
        self.id.write_text(f"{key}\n")
        self.secret.write_text(f"{secret}\n")
        token = planted.token()
        self.token.write_text(token)
        if known:
            self.server.keys[key] = Key(secret, {*RIGHTS})
            self.server.tokens[token] = SUBJECT

    @property
    def usual(self) -> dict[str, Any]:
        url = self.server.url
        return TCR | {"endpoint": url, "stsEndpoint": url, "caFile": str(self.folder / "ca.pem")}

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        if not self.server.opens(*c.login, f"{owner}/app"):
            return False
        assert matching([c.registry], f"{REGISTRY}/{owner}/app") == (c.registry,)
        return True

    def fails(self, number: int, code: str, message: str = "No.", **headers: str) -> None:
        body = {"Response": {"Error": {"Code": code, "Message": message}, "RequestId": "1"}}
        self.answers(number, 200, json.dumps(body).encode(), headers)

    def minted(self, owner: str) -> int:
        return len(self.server.of(owner))

    def made(self) -> Any:
        return dict(self.server.accounts)

    def logs_in_wrongly(self) -> None:
        self.log_in("AKIDissuer", planted.token(), known=False)

    def takes_the_name(self, owner: str, generation: int) -> None:
        permissions = [{"Resource": owner, "Actions": ["tcr:PullRepository"]}]
        account = Account("of the pipeline", permissions, planted.token(), 4000000000000)
        self.server.accounts[minted_name(CLUSTER, "tcr", owner, generation)] = account


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    Here.folder = tmp_path_factory.mktemp("tencent")
    Here.tls = certified(Here.folder)


@asynccontextmanager
async def here(tencent: Tencent | None = None, **keys: Any) -> AsyncIterator[Here]:
    async with serving(tencent or Tencent(), Here.tls) as server, placed(Here(server, **keys)) as place:
        yield place


class TestContract(NamedContract):
    shared: ClassVar = {"repositories": ["alice"]}

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here()


run = running(here)


def test_an_account_may_pull_from_one_namespace_and_says_whose_it_is() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 7, leads)
        name = minted_name(CLUSTER, "tcr", "alice", 7)
        ((action, body),) = place.server.bodies
        ends = body["ExpiresAt"] / 1000 - place.server.now().timestamp()
        assert timedelta(0) < timedelta(hours=36) - timedelta(seconds=ends) < timedelta(minutes=1)
        assert action == "CreateServiceAccount"
        assert body == {
            "RegistryId": "tcr-01234567",
            "Name": name,
            "Description": f"pullsecret-webhook: cluster {CLUSTER}, issuer tcr, owner alice, generation 7",
            "Permissions": [{"Resource": "alice", "Actions": ["tcr:PullRepository"]}],
            "Disable": False,
            "ExpiresAt": body["ExpiresAt"],
        }
        password = place.server.accounts[name].password
        assert the_one(minted) == Credential(f"{REGISTRY}/alice/", f"tcr${name}", password)
        assert minted.handle == name

    run(scenario, hours=36)


def test_several_namespaces_are_of_one_account() -> None:
    async def scenario(place: Here) -> None:
        place.server.namespaces |= {"team-alice", "common"}
        minted = await place.issuer.issue("alice", 1, leads)
        assert [c.registry for c in minted.credentials] == [f"{REGISTRY}/team-alice/", f"{REGISTRY}/common/"]
        assert len({c.login for c in minted.credentials}) == 1
        found = [
            name for name in ("alice", "team-alice", "common") if place.server.opens(*minted.credentials[0].login, name)
        ]
        assert found == ["team-alice", "common"]

    run(scenario, repositories=["team-{owner}", "common"])


def test_the_usual_renewal_is_one_request() -> None:
    async def scenario(place: Here) -> None:
        for generation in (1, 2):
            await place.issuer.issue("alice", generation, leads)
        assert place.asked() == 2
        assert place.minted("alice") == 2

    run(scenario)


@pytest.mark.parametrize(
    "code", ["InvalidParameter", "InternalError.DbError", "InternalError.ErrorConflict", "Newer.Code"]
)
def test_whatever_tencent_calls_it_a_name_that_is_taken_is_noticed(code: str) -> None:
    async def scenario(place: Here) -> None:
        first = await place.issuer.issue("alice", 1, leads)
        second = await place.issuer.issue("alice", 1, leads)
        assert [await place.opens(the_one(one)) for one in (first, second)] == [False, True]
        assert place.minted("alice") == 1

    run(scenario, Tencent(taken=code))


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        ("Alice", "cannot be part of a repository's name"),
        ("a/b", "cannot be part of a repository's name"),
        ("a", "only such of 2 to 30"),
        ("x" * 31, "only such of 2 to 30"),
        ("a--b", "only such of 2 to 30"),
        ("a__b", "only such of 2 to 30"),
    ],
)
def test_owners_that_do_not_fit(owner: str, told: str) -> None:
    async def scenario(place: Here) -> None:
        found = await refused(place, owner)
        assert told in str(found)
        assert not found.everybody
        assert place.server.calls == []

    run(scenario)


def test_a_missing_namespace_is_told_and_others_go_on() -> None:
    async def scenario(place: Here) -> None:
        place.server.namespaces.discard("alice")
        told = await refused(place)
        assert str(told) == (
            "Tencent makes no service account for alice (InvalidParameter: custom account for resource(alice) is "
            "illegal): does instance tcr-01234567 in ap-guangzhou have such a namespace?"
        )
        assert not told.everybody
        assert await place.opens(the_one(await place.issuer.issue("alice2", 1, leads)), "alice2")

    run(scenario)


def test_no_more_accounts_is_told_to_the_administrator() -> None:
    async def scenario(place: Here) -> None:
        told = await refused(place)
        assert str(told) == (
            "Tencent makes no more service accounts (OperationDenied.QuotaOverLimit: too many custom accounts)"
        )
        assert told.everybody

    run(scenario, Tencent(most=0))


@pytest.mark.parametrize("lacking", RIGHTS)
def test_without_a_right_it_is_said_which_page_lists_them(lacking: str) -> None:
    """And each of them is needed."""

    async def scenario(place: Here) -> None:
        place.server.keys["AKIDissuer"].rights.remove(lacking)

        async def every_call() -> None:
            for _ in range(2):
                minted = await place.issuer.issue("alice", 1, leads)
            await place.issuer.end(minted.handle)

        with pytest.raises(IssueRefused) as told:
            await every_call()
        assert f"Tencent does not let us {lacking.removeprefix('tcr:')} (UnauthorizedOperation: you are not" in str(
            told.value
        )
        assert "docs/tcr.md" in str(told.value)
        assert told.value.everybody

    run(scenario)


@pytest.mark.parametrize("code", ["AuthFailure.UnauthorizedOperation", "FailedOperation.ErrorTcrUnauthorized"])
def test_other_words_for_a_missing_right(code: str) -> None:
    async def scenario(place: Here) -> None:
        place.fails(1, code)
        assert (await refused(place)).everybody

    run(scenario)


def test_a_wrong_key_is_told_by_its_files() -> None:
    async def scenario(place: Here) -> None:
        files = f"Tencent refuses the login of {place.id} and {place.secret} (AuthFailure."
        place.log_in("AKIDissuer", planted.token(), known=False)
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told).startswith(f"{files}SignatureFailure: ")
        assert told.retry_after == AGAIN_SECONDS
        place.log_in("AKIDother", planted.token(), known=False)
        assert str(await refused(place, kind=IssuerUnavailable)).startswith(f"{files}SecretIdNotFound: ")
        place.secret.write_text(f"{planted.token()}\n{planted.token()}\n")
        assert str(await refused(place, kind=IssuerUnavailable)).startswith("there is no key for Tencent: ")
        place.log_in("AKIDissuer", planted.token())  # and the files are read again
        assert await place.opens(the_one(await place.issuer.issue("alice", 1, leads)))

    run(scenario)


# -- the token of the pod --


def test_a_session_is_used_for_half_of_its_life(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(place: Here) -> None:
        for generation in (1, 2, 3):
            assert await place.opens(the_one(await place.issuer.issue("alice", generation, leads)))
        assert place.asked() == 4
        loop = asyncio.get_running_loop()
        now = loop.time()
        monkeypatch.setattr(loop, "time", lambda: now + 1801)
        await place.issuer.issue("alice", 4, leads)
        assert place.asked() == 6

    run(scenario, token=True)


def test_a_session_that_is_refused_is_not_used_again() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        for name in [*place.server.keys]:
            place.server.keys[name].token = "another one"
        told = str(await refused(place, kind=IssuerUnavailable))
        assert told == f"Tencent refuses the login of {place.token} (AuthFailure.TokenFailure: Token error: ***)"
        assert await place.opens(the_one(await place.issuer.issue("alice", 2, leads)))

    run(scenario, token=True)


def test_a_token_is_read_again_and_a_wrong_one_is_told_by_its_file() -> None:
    async def scenario(place: Here) -> None:
        place.log_in("AKIDissuer", planted.token(), known=False)
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told) == (
            f"Tencent refuses the login of {place.token} "
            "(InvalidParameter.WebIdentityTokenError: The token is bad: ***)"
        )
        assert told.retry_after == AGAIN_SECONDS
        place.server.roles[ROLE_ARN].clear()
        place.log_in("AKIDissuer", planted.token())
        assert "(UnauthorizedOperation: The role does not trust it.)" in str(
            await refused(place, kind=IssuerUnavailable)
        )
        place.server.roles.clear()
        assert "(ResourceNotFound.RoleNotFound: " in str(await refused(place, kind=IssuerUnavailable))
        place.server.roles[ROLE_ARN] = {SUBJECT}
        assert await place.opens(the_one(await place.issuer.issue("alice", 1, leads)))

    run(scenario, token=True)


@pytest.mark.parametrize("missing", [PROVIDER, TOKEN_FILE, ROLE])
def test_without_a_login_it_is_said_what_there_can_be(missing: str) -> None:
    async def scenario(place: Here) -> None:
        del place.environ[missing]
        place.issuer = place.again()
        told = str(await refused(place, kind=IssuerUnavailable))
        assert "write secretIdFile and secretKeyFile, or give the service account" in told
        assert place.server.calls == []

    run(scenario, token=True)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    ("status", "body", "headers"),
    [
        (200, b"{}", {}),
        (200, b'{"Response": {}}', {}),
        (200, b'{"Response": {"Error": {}}}', {}),
        (200, b"<html>", {}),
        (200, b"[" * 60000, {}),
        (200, LINES, {}),
        (429, b"", {"Retry-After": "7"}),
    ],
)
def test_odd_answers_with_a_token(step: int, status: int, body: bytes, headers: dict[str, str]) -> None:
    async def scenario(place: Here) -> None:
        place.answers(step, status, body, headers)
        assert (await refused(place, kind=IssuerUnavailable)).retry_after == (7 if headers else 0)
        assert place.asked() == step

    run(scenario, token=True)


# -- errors --


@pytest.mark.parametrize("step", [1, 2, 3, 4])
def test_too_many_requests_are_waited_for(step: int) -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        place.fails(step, "RequestLimitExceeded.UinLimitExceeded", "Slow down.")
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told) == (
            "Tencent's registry has too many requests (RequestLimitExceeded.UinLimitExceeded: Slow down.)"
        )
        assert told.retry_after == THROTTLED_SECONDS

    run(scenario)


@pytest.mark.parametrize(
    "code", ["InternalError", "FailedOperation.DependenceError", "ResourceInsufficient.ErrorInstanceNotRunning"]
)
def test_errors_that_pass(code: str) -> None:
    async def scenario(place: Here) -> None:
        place.fails(1, code)
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told) == f"Tencent makes no service account now ({code}: No.)"
        assert place.asked() == 2

    run(scenario)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        (2, "Tencent does not list service accounts (Other.Code: No.)"),
        (3, "Tencent does not take away a service account of ours (Other.Code: No.)"),
        (4, "Tencent makes no service account in place of one that was there (Other.Code: No.)"),
    ],
)
def test_an_error_on_the_way_is_tried_again(step: int, told: str) -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        place.fails(step, "Other.Code")
        assert str(await refused(place, kind=IssuerUnavailable)) == told

    run(scenario)


def test_an_account_that_is_gone_meanwhile_is_made() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        place.fails(3, "ResourceNotFound.TcrResourceNotFound")
        assert "in place of one that was there" in str(await refused(place, kind=IssuerUnavailable))
        place.fails(1, "FailedOperation.ErrorTcrResourceConflict")
        place.server.accounts.clear()
        assert "is there, and it is not; once more" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


def test_what_it_says_is_shown_in_one_line_without_secrets() -> None:
    async def scenario(place: Here) -> None:
        place.fails(1, "Some.Code", f"no:\n{place.secret.read_text()} \x1b[31m{'x' * 5000}")
        told = str(await refused(place))
        assert "(Some.Code: no: *** ?[31mxxx" in told

    run(scenario)


def test_an_answer_of_something_else_is_none() -> None:
    async def scenario(place: Here) -> None:
        for status, body in ((403, b'{"message": "blocked"}'), (404, b"<html>"), (400, b"")):
            place.answers(1, status, body)
            assert "is not what its API has" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


def test_a_clock_is_set_by_the_answer_that_refuses_ours() -> None:
    """And the end that is asked for is by that clock, too."""

    async def scenario(place: Here) -> None:
        place.clock_is_ahead(timedelta(hours=-30))
        minted = await place.issuer.issue("alice", 1, leads)
        assert place.asked() == 2
        assert timedelta(0) <= place.life - minted.life < timedelta(minutes=1)
        await place.issuer.issue("alice", 2, leads)
        assert place.asked() == 3
        place.fails(1, "AuthFailure.SignatureExpire", Date="yesterday")
        assert "(AuthFailure.SignatureExpire: No.)" in str(await refused(place, kind=IssuerUnavailable))
        assert place.asked() == 4

    run(scenario)


def test_a_clock_is_set_for_a_session_too() -> None:
    async def scenario(place: Here) -> None:
        place.clock_is_ahead(timedelta(hours=30))
        assert await place.opens(the_one(await place.issuer.issue("alice", 1, leads)))
        assert place.asked() == 4

    run(scenario, token=True)


def test_what_others_made_is_not_ended() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        place.server.accounts[minted.handle].description = "now of the pipeline"
        await place.issuer.end(minted.handle)
        assert place.minted("alice") == 1
        place.server.accounts[minted.handle].description = ""
        await place.issuer.end(minted.handle)
        assert place.minted("alice") == 1

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"ExpiresAt": "soon"}, "is not what its API has"),
        ({"ExpiresAt": -(2**63)}, "is not what its API has"),
        ({"ExpiresAt": 10**400}, "is not what its API has"),
        ({"Name": "tcr$other"}, "about another service account"),
        ({"Name": "$"}, "about another service account"),
        ({"Password": ""}, "none that can be used"),
        ({"Password": None}, "is not what its API has"),
    ],
)
def test_answers_that_cannot_be_used(answer: dict[str, Any], told: str) -> None:
    assert told in str(answered(answer, IssuerUnavailable))


def test_an_end_that_no_calendar_has_is_far_away() -> None:
    assert answered({"ExpiresAt": 2**63 - 1}).life == MAX_LIFE
    assert answered({"ExpiresAt": 0}).life < timedelta(0)


def answered(answer: dict[str, Any], failing: type[Exception] | None = None) -> Any:
    async def scenario(place: Here) -> Any:
        name = f"tcr${minted_name(CLUSTER, 'tcr', 'alice', 1)}"
        usual = {"Name": name, "Password": planted.token(), "ExpiresAt": 4000000000000, "RequestId": "1"}
        place.answers(1, 200, json.dumps({"Response": usual | answer}).encode())
        return await outcome(place, failing)

    return run(scenario)


# -- the configuration --


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"repositories": ["common"]}, "one of repositories must have {owner} once"),
        ({"repositories": ["{owner}-{owner}"]}, "'{owner}-{owner}' has {owner} more than once"),
        ({"repositories": ["{owner}/x"]}, "'{owner}/x': no repository's name begins so; write a namespace of Tencent"),
        ({"repositories": ["{owner}", "*"]}, "repositories '*': no repository's name begins so"),
        ({"repositories": ["Team-{owner}"]}, "write a namespace of Tencent"),
        ({"repositories": ["{owner}", "{owner}"]}, "repositories has one twice"),
        ({"repositories": ["{owner}\n"]}, "write a namespace of Tencent"),
        ({"repositories": ["{owner}", "team-{owner}"]}, "one owner's name might be another one's"),
        ({"repositories": ["{owner}-team", "common", "{owner}"]}, "one owner's name might be another one's"),
        ({"repositories": ["a-{owner}", "{owner}-b"]}, "one owner's name might be another one's"),
        ({"instance": "acme"}, "instance"),
        ({"region": "ap guangzhou"}, "region"),
        ({"secretIdFile": "/i/id"}, "secretIdFile and secretKeyFile belong together"),
        ({"hours": 0.01}, "hours"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], told: str) -> None:
    config_refused(TCR | keys, told)


def test_all_owners_may_share_one_namespace() -> None:
    async def scenario(place: Here) -> None:
        place.server.namespaces.add("common")
        found = [
            the_one(await place.issuer.issue(owner, 1, leads)) for owner in ("alice", f"b@example.com\n{'x' * 500}")
        ]
        assert len({c.username for c in found}) == 2
        assert all(place.server.opens(*c.login, "common/app") for c in found)
        assert all(len(one.description) < 200 for one in place.server.accounts.values())

    run(scenario, repositories=["common"], shared=True)


def test_in_short() -> None:
    (issuer,) = reading.convert({"issuers": [TCR]}).issuers
    assert issuer.in_short == f"service accounts that pull from {REGISTRY}/{{owner}}/; good for 24 h"


# -- the stand-in: the vendor's own client is served, and what is wrong is refused --


def test_the_vendors_own_client_gets_the_same() -> None:
    async def scenario() -> None:
        async with serving(
            Tencent(namespaces={"alice"}, keys={"AKIDsdk": Key(planted.token(), {*RIGHTS})}), None
        ) as tencent:
            http = HttpProfile(protocol="http", endpoint=tencent.host)
            key = SdkKey("AKIDsdk", tencent.keys["AKIDsdk"].secret)
            client = TcrClient(key, "ap-guangzhou", ClientProfile(httpProfile=http))
            wanted = sdk.CreateServiceAccountRequest()
            permissions = [{"Resource": "alice", "Actions": ["tcr:PullRepository"]}]
            body = {"RegistryId": tencent.instance, "Name": "sdk", "Permissions": permissions, "Disable": False}
            wanted._deserialize(body | {"ExpiresAt": 4000000000000})
            made = await asyncio.to_thread(client.CreateServiceAccount, wanted)
            assert made.Name == "tcr$sdk"
            assert tencent.opens(made.Name, made.Password, "alice/app")
            with pytest.raises(TencentCloudSDKException, match=r"FailedOperation\.ErrorTcrResourceConflict"):
                await asyncio.to_thread(client.CreateServiceAccount, wanted)
            tencent.skew = timedelta(minutes=6)
            with pytest.raises(TencentCloudSDKException, match=r"AuthFailure\.SignatureExpire"):
                await asyncio.to_thread(client.CreateServiceAccount, wanted)

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Authorization": "TC3-HMAC-SHA256 "}, "AuthFailure.InvalidAuthorization"),
        ({"Authorization": "SKIP"}, "AuthFailure.InvalidAuthorization"),
        ({"X-TC-Timestamp": "+1"}, "AuthFailure.SignatureFailure"),
        ({"X-TC-Timestamp": "+600"}, "AuthFailure.SignatureExpire"),
        ({"X-TC-Token": "x"}, "AuthFailure.TokenFailure"),
        ({"X-TC-Region": "ap-other"}, "UnsupportedRegion"),
        ({"X-TC-Version": "2018-08-13"}, "NoSuchVersion"),
        ({"Content-Type": "text/plain"}, "InvalidRequest"),
        ({"X-TC-Action": "DescribeInstances"}, "InvalidAction"),
    ],
)
def test_the_stand_in_refuses_what_is_wrong(change: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(place: Here) -> None:
        api = place.issuer._api  # type: ignore[attr-defined]  # of this issuer
        call = api._client.call

        async def changed(method: Any, url: str, *, headers: dict[str, str], **others: Any) -> Any:
            new = dict(change)
            if "X-TC-Timestamp" in new:
                new["X-TC-Timestamp"] = str(int(headers["X-TC-Timestamp"]) + int(new["X-TC-Timestamp"]))
            return await call(method, url, headers=headers | new, **others)

        monkeypatch.setattr(api._client, "call", changed)
        key = AccessKey(place.id.read_text().strip(), place.secret.read_text().strip())
        assert (
            await api.signed(key, "DescribeServiceAccounts", lambda _now: {"RegistryId": "tcr-01234567"})
        ).code == code

    run(scenario)


def test_a_check_needs_the_right_to_list_and_the_instance() -> None:
    async def scenario(place: Here) -> None:
        await checked(place)
        assert [action for action, _ in place.server.bodies] == ["DescribeServiceAccounts"]
        place.server.instance = "tcr-another"
        told = await check_fails(place)
        assert isinstance(told, IssuerUnavailable)
        assert "the instance does not exist" in str(told)
        for key in place.server.keys.values():
            key.rights.remove("tcr:DescribeServiceAccounts")
        told = await check_fails(place)
        assert told.everybody
        assert "docs/tcr.md" in str(told)

    run(scenario)
