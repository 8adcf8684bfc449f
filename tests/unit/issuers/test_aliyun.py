"""The issuer for Aliyun's registry, against a stand-in in which the vendor's SDK checks what is asked and answered."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from alibabacloud_cr20181201.client import Client as CrClient
from alibabacloud_cr20181201.models import GetAuthorizationTokenRequest
from alibabacloud_sts20150401.client import Client as StsClient
from alibabacloud_sts20150401.models import AssumeRoleRequest
from alibabacloud_tea_openapi.models import Config as SdkConfig
from darabonba.exceptions import DaraException

from support import aliyunserver, planted
from support.aliyunserver import SUBJECT, USERNAME, Aliyun, Role, pull_policy
from support.issuercontract import AskedContract, Contract
from support.issuerplace import (
    CLUSTER,
    NAMES,
    AskedPlace,
    check_fails,
    checked,
    config_refused,
    leads,
    placed,
    refused,
    running,
    the_one,
)
from support.vendorserver import Fault, certified, serving
from webhook.config.issuers.aliyun import AliyunIssuer
from webhook.core.credential import Credential
from webhook.core.registry import matching
from webhook.issuers import IssuerUnavailable, Minted
from webhook.issuers.aliyun import sts as aliyunsts
from webhook.issuers.aliyun.api import THROTTLED_SECONDS
from webhook.issuers.aliyun.sts import PROVIDER, TOKEN_FILE
from webhook.issuers.keptlogin import AGAIN_SECONDS
from webhook.issuers.names import minted_name
from webhook.issuers.signing import AccessKey

ACCOUNT = "1234567890123456"
REGISTRY = "acme-registry.cn-hangzhou.cr.aliyuncs.com"
EACH, ALL = f"acs:ram::{ACCOUNT}:role/pull-{{owner}}", f"acs:ram::{ACCOUNT}:role/pull"
ALIYUN = {
    "issue": "aliyun",
    "registry": REGISTRY,
    "instance": "cri-0123456789abcdef",
    "region": "cn-hangzhou",
    "ramRole": EACH,
}


def model(**keys: Any) -> AliyunIssuer:
    return msgspec.convert(ALIYUN | keys, AliyunIssuer)


def policy(*repositories: str) -> dict[str, Any]:
    return pull_policy("cri-0123456789abcdef", *repositories)


class Here(AskedPlace[Aliyun]):
    """Aliyun, with a role for each owner and one for all, and an issuer that asks it with a key or with a token, in a
    pod whose service account has a role.
    """

    tls: ssl.SSLContext
    environ: dict[str, str]
    life = timedelta(hours=1)

    def __init__(self, aliyun: Aliyun, *, token: bool = False, **keys: Any) -> None:
        self.server, self.id, self.secret = aliyun, self.folder / "id", self.folder / "secret"
        self.token = self.folder / "token"
        self.environ = {PROVIDER: aliyun.provider, TOKEN_FILE: str(self.token), "ALIBABA_CLOUD_ROLE_ARN": ALL}
        self.log_in("LTAI5tIssuer", planted.token())
        for owner in {*filter(str.islower, NAMES), "7"}:
            self.role(owner)
        aliyun.roles[ALL] = Role({"LTAI5tIssuer", SUBJECT}, policy("*"))
        files = {"accessKeyIdFile": str(self.id), "accessKeySecretFile": str(self.secret)}
        self.keys = {"ramRole": EACH, **({} if token else files), **keys}
        self.issuer = self.again()

    def log_in(self, key: str, secret: str, *, known: bool = True) -> None:
        self.id.write_text(f"{key}\n")
        self.secret.write_text(f"{secret}\n")
        token = planted.token()
        self.token.write_text(token)
        if known:
            self.server.keys[key] = secret
            self.server.subjects[token] = SUBJECT

    def role(self, owner: str, namespace: str = "") -> Role:
        made = Role({"LTAI5tIssuer", SUBJECT}, policy(f"{namespace or owner}/*"))
        self.server.roles[EACH.replace("{owner}", owner)] = made
        return made

    @property
    def usual(self) -> dict[str, Any]:
        url = self.server.url
        return ALIYUN | {"endpoint": url, "stsEndpoint": url, "caFile": str(self.folder / "ca.pem")}

    def made(self) -> Any:
        return {*self.server.passwords}

    def logs_in_wrongly(self) -> None:
        self.log_in("LTAI5tIssuer", planted.token(), known=False)

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        repository = f"{self.keys.get('repositories', ['{owner}'])[0].replace('{owner}', owner)}/app"
        if not self.server.opens(*c.login, repository):
            return False
        assert matching([c.registry], f"{REGISTRY}/{repository}") == (c.registry,)
        return True


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    Here.folder = tmp_path_factory.mktemp("aliyun")
    Here.tls = certified(Here.folder)


@asynccontextmanager
async def here(**keys: Any) -> AsyncIterator[Here]:
    async with serving(Aliyun(), Here.tls) as server, placed(Here(server, **keys)) as place:
        yield place


class TestWithAKey(AskedContract):
    username = USERNAME
    checks_alone = False

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here()


class TestWithAToken(AskedContract):
    username = USERNAME
    checks_alone = False

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here(token=True)


class TestWithOneRole(Contract):
    username = USERNAME

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here(ramRole=ALL)


run = running(here)


def test_what_is_asked_for() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 7, leads)
        assert place.server.queries == [
            {
                "RoleArn": EACH.replace("{owner}", "alice"),
                "RoleSessionName": minted_name(CLUSTER, "aliyun", "alice", 7),
                "DurationSeconds": "3600",
            },
            {"InstanceId": place.server.instance, "ExpiresInHours": "1"},
        ]
        c = the_one(minted)
        assert (c.registry, c.username, minted.handle) == (f"{REGISTRY}/alice/", USERNAME, "")
        assert ":" in c.password

    run(scenario)


def test_of_one_role_a_session_policy_leaves_what_the_owner_needs() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        assert json.loads(place.server.queries[0]["Policy"]) == policy("team-alice/*", "common/*")
        assert [c.registry for c in minted.credentials] == [f"{REGISTRY}/team-alice/", f"{REGISTRY}/common/"]
        for c in minted.credentials:
            found = [name for name in ("team-alice", "common", "team-alice2", "other") if opens(place, c, name)]
            assert found == ["team-alice", "common"]

    run(scenario, ramRole=ALL, repositories=["team-{owner}", "common"])


def opens(place: Here, c: Credential, namespace: str) -> bool:
    return place.server.opens(*c.login, f"{namespace}/app")


def test_the_longest_names_fit_into_a_policy() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("x" * 116, 1, leads)
        assert len(place.server.queries[0]["Policy"]) <= aliyunserver.MAX_POLICY_CHARS

    run(scenario, ramRole=ALL, repositories=[f"{each}aa-{{owner}}" for each in "abcde"])


def test_of_a_role_of_its_own_an_owner_has_all() -> None:
    async def scenario(place: Here) -> None:
        place.role("alice", "*")
        minted = await place.issuer.issue("alice", 1, leads)
        assert "Policy" not in place.server.queries[0]
        assert [c.registry for c in minted.credentials] == [f"{REGISTRY}/alice/", f"{REGISTRY}/common/"]
        assert all(opens(place, c, "common") for c in minted.credentials)

    run(scenario, repositories=["{owner}", "common"])


def test_a_namespace_that_is_named_twice_has_one_credential() -> None:
    async def scenario(place: Here) -> None:
        place.role("common")
        assert the_one(await place.issuer.issue("common", 1, leads)).registry == f"{REGISTRY}/common/"

    run(scenario, repositories=["{owner}", "common"])


def test_the_earliest_end_counts() -> None:
    async def scenario(place: Here) -> None:
        place.role("alice").max_seconds = 43200
        assert hours(await place.issuer.issue("alice", 1, leads)) == 6.5
        said = {"TempUsername": USERNAME, "AuthorizationToken": planted.token()}
        now = place.server.now().timestamp()
        place.answers(2, 200, json.dumps(said | {"ExpireTime": int(now + 1800) * 1000}).encode())
        assert hours(await place.issuer.issue("alice", 2, leads)) == 0.5
        place.answers(2, 200, json.dumps(said | {"ExpireTime": int(now + 90000) * 1000}).encode())
        assert hours(await place.issuer.issue("alice", 3, leads)) == 6.5

    run(scenario, hours=6.5)


def hours(minted: Minted) -> float:
    """To the next minute."""
    return round(minted.life.total_seconds() / 60) / 60


@pytest.mark.parametrize(
    ("owner", "told"),
    [
        ("Alice", "cannot be part of a repository's name"),
        ("a/b", "cannot be part of a repository's name"),
        ("*", "cannot be part of a repository's name"),
        ("${cr:x}", "cannot be part of a repository's name"),
        ("a", "only such of 2 to 120 characters"),
        ("x" * 121, "only such of 2 to 120 characters"),
        ("x" * 60, "which has at most 64"),
    ],
)
def test_owners_that_do_not_fit(owner: str, told: str) -> None:
    async def scenario(place: Here) -> None:
        found = await refused(place, owner)
        assert told in str(found)
        assert not found.everybody
        assert place.server.calls == []

    run(scenario)


def test_capitals_are_another_owner() -> None:
    """Where they are no part of a namespace: RAM would take them for the same role."""

    async def scenario(place: Here) -> None:
        assert "no RAM role can have the owner Alice in its name" in str(await refused(place, "Alice"))
        assert place.server.calls == []

    run(scenario, repositories=["common"])


@pytest.mark.parametrize("role", [EACH, ALL])
def test_what_is_wrong_with_a_role_is_told(role: str) -> None:
    """To the owner, if it is the owner's own role."""

    async def scenario(place: Here) -> None:
        name = role.replace("{owner}", "alice")
        found = place.server.roles[name]
        found.trusts.clear()
        told = await refused(place)
        assert f"Aliyun does not let us take the role {name} (HTTP 403: NoPermission: You are not authorized" in str(
            told
        )
        assert told.everybody == (role == ALL)
        found.trusts |= {"LTAI5tIssuer"}
        found.max_seconds = 1800
        told = await refused(place)
        assert f"the role {name} has no sessions of 1 h (HTTP 400: " in str(told)
        found.max_seconds = 3600
        found.policy = {"Version": "1", "Statement": []}
        told = await refused(place)
        assert f"the role {name} may have no password of instance cri-0123456789abcdef (HTTP 403: " in str(told)
        assert told.everybody == (role == ALL)
        del place.server.roles[name]
        told = await refused(place)
        assert f"Aliyun has no role {name} (HTTP 404: EntityNotExist.Role: The specified Role not exists.)" in str(told)
        assert told.everybody == (role == ALL)
        if role == EACH:  # others go on
            assert await place.opens(the_one(await place.issuer.issue("alice2", 1, leads)), "alice2")

    run(scenario, ramRole=role)


def test_a_wrong_instance_is_told_to_nobody_but_the_administrator() -> None:
    async def scenario(place: Here) -> None:
        place.keys["instance"] = "cri-other"
        place.issuer = place.again()
        told = await refused(place)
        assert "Aliyun gives no password of instance cri-other in cn-hangzhou (HTTP 404: INSTANCE_NOT_EXIST: " in str(
            told
        )
        assert told.everybody

    run(scenario)


def test_a_wrong_key_is_told_by_its_files() -> None:
    async def scenario(place: Here) -> None:
        files = f"Aliyun refuses the login of {place.id} and {place.secret} (HTTP "
        place.log_in("LTAI5tIssuer", planted.token(), known=False)
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told).startswith(f"{files}400: SignatureDoesNotMatch: ")
        assert told.retry_after == AGAIN_SECONDS
        place.log_in("LTAI5tOther", planted.token(), known=False)
        assert str(await refused(place, kind=IssuerUnavailable)).startswith(
            f"{files}404: InvalidAccessKeyId.NotFound: "
        )
        place.secret.write_text(f"{planted.token()}\n{planted.token()}\n")
        assert str(await refused(place, kind=IssuerUnavailable)).startswith("there is no key for Aliyun: ")
        place.log_in("LTAI5tIssuer", planted.token())  # and the files are read again
        assert await place.opens(the_one(await place.issuer.issue("alice", 1, leads)))

    run(scenario)


def test_a_token_is_read_again_and_a_wrong_one_is_told_by_its_file() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        place.log_in("LTAI5tIssuer", planted.token(), known=False)
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told).startswith(
            f"Aliyun refuses the login of {place.token} (HTTP 400: AuthenticationFail.OIDCToken."
        )
        assert "This OIDC token is bad: ***" in str(told)
        place.log_in("LTAI5tIssuer", planted.token())
        await place.issuer.issue("alice", 1, leads)
        place.server.roles[EACH.replace("{owner}", "alice")].trusts.remove(SUBJECT)
        assert "does not let us take the role" in str(await refused(place))
        place.token.unlink()
        assert "there is no token for Aliyun: " in str(await refused(place, kind=IssuerUnavailable))

    run(scenario, token=True)


@pytest.mark.parametrize("missing", [PROVIDER, TOKEN_FILE])
def test_without_a_login_it_is_said_what_there_can_be(missing: str) -> None:
    async def scenario(place: Here) -> None:
        del place.environ[missing]
        place.issuer = place.again()
        told = str(await refused(place, kind=IssuerUnavailable))
        assert "write accessKeyIdFile and accessKeySecretFile, or give the service account" in told
        assert place.server.calls == []

    run(scenario, token=True)


def test_another_provider_is_no_refusal_of_the_owner() -> None:
    async def scenario(place: Here) -> None:
        place.environ[PROVIDER] = "acs:ram::1234567890123456:oidc-provider/other"
        place.issuer = place.again()
        assert "refuses the login of" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario, token=True)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize(
    ("code", "told", "wait"),
    [
        ("Throttling.User", "has too many requests (HTTP 400: Throttling.User: Slow down.)", THROTTLED_SECONDS),
        ("Throttling", "has too many requests (HTTP 400: Throttling: Slow down.)", THROTTLED_SECONDS),
        ("InternalError", "is not able to answer now (HTTP 400: InternalError: Slow down.)", 0.0),
        ("ServiceUnavailableTemporary", "is not able to answer now (HTTP 400: ", 0.0),
    ],
)
def test_errors_that_pass(code: str, told: str, wait: float, step: int) -> None:
    async def scenario(place: Here) -> None:
        place.answers(step, 400, json.dumps({"Code": code, "Message": "Slow down."}).encode())
        found = await refused(place, kind=IssuerUnavailable)
        assert told in str(found)
        assert found.retry_after == wait

    run(scenario)


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("body", [b"{}", b'{"Code": ""}', b'{"Code": 7}', b"[]", b"<html>", b""])
def test_an_error_without_a_code_is_not_theirs(body: bytes, step: int) -> None:
    async def scenario(place: Here) -> None:
        place.answers(step, 404, body)
        assert "is not what its API has" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


def test_a_code_that_nobody_knows_is_shown() -> None:
    async def scenario(place: Here) -> None:
        body = {"Code": "No.Such", "Message": f"{place.secret.read_text()}\x1b[31m{'x' * 5000}"}
        place.answers(1, 400, json.dumps(body).encode())
        told = str(await refused(place))
        assert (
            "Aliyun gives us no session of the role acs:ram::1234567890123456:role/pull-alice (HTTP 400: No.Such"
            in told
        )
        place.answers(2, 200, b'{"IsSuccess": false, "Code": "BROKEN"}')
        assert "instance cri-0123456789abcdef in cn-hangzhou (HTTP 200: BROKEN): is there" in str(await refused(place))

    run(scenario)


def test_nothing_of_a_session_is_shown_as_a_code() -> None:
    async def scenario(place: Here) -> None:
        secret = planted.token()
        key = {
            "AccessKeyId": "a",
            "AccessKeySecret": "b",
            "SecurityToken": secret,
            "Expiration": "2099-01-01T00:00:00Z",
        }
        place.answers(1, 200, json.dumps({"Credentials": key}).encode(), lost=False)
        place.answers(2, 200, json.dumps({"IsSuccess": False, "Code": f"No.{secret}"}).encode(), lost=False)
        told = str(await refused(place))
        assert "(HTTP 200: No.***): is there" in told
        assert not planted.leaks(told)

    run(scenario)


def test_a_session_that_is_refused_passes() -> None:
    async def scenario(place: Here) -> None:
        for code in ("InvalidSecurityToken.Expired", "InvalidAccessKeyId.NotFound", "SignatureDoesNotMatch"):
            place.answers(2, 403, json.dumps({"Code": code}).encode())
            assert "refuses the session of the role" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


def test_a_clock_that_stays_wrong_is_told() -> None:
    """It is set by the answer that says so, once for each request."""

    async def scenario(place: Here) -> None:
        body = json.dumps({"Code": "InvalidTimeStamp.Expired"}).encode()
        place.answers(1, 400, body)
        await place.issuer.issue("alice", 1, leads)
        assert place.asked() == 3
        place.answers(1, 400, body, {"Date": "yesterday"})
        assert "(HTTP 400: InvalidTimeStamp.Expired)" in str(await refused(place, kind=IssuerUnavailable))
        place.server.every = Fault(400, {}, body)
        assert "refuses the login" in str(await refused(place, kind=IssuerUnavailable))
        assert place.asked() == 6

    run(scenario)


@pytest.mark.parametrize(
    ("step", "answer"),
    [
        (1, {"Expiration": "soon"}),
        (1, {"Expiration": "9999-12-31T23:59:59-23:00"}),
        (1, {"AccessKeySecret": None}),
        (1, {"SecurityToken": "a\r\nx-acs-action: b"}),
        (1, {"AccessKeyId": ""}),
        (2, {"ExpireTime": "soon"}),
        (2, {"ExpireTime": 10**30}),
        (2, {"ExpireTime": 10**400}),
        (2, {"TempUsername": ""}),
        (2, {"AuthorizationToken": ""}),
    ],
)
def test_answers_that_cannot_be_used(step: int, answer: dict[str, Any]) -> None:
    async def scenario(place: Here) -> None:
        key = {
            "AccessKeyId": "STS.1",
            "AccessKeySecret": "x",
            "SecurityToken": "y",
            "Expiration": "2099-01-01T00:00:00Z",
        }
        token = {"TempUsername": USERNAME, "AuthorizationToken": planted.token(), "ExpireTime": 4000000000000}
        body = {"Credentials": key | answer} if step == 1 else token | answer
        place.answers(step, 200, json.dumps(body).encode())
        await refused(place, kind=IssuerUnavailable)

    run(scenario)


# -- the configuration --


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"ramRole": ALL, "repositories": ["common"]}, "ramRole must have {owner} once"),
        ({"ramRole": f"{EACH}-{{owner}}"}, "ramRole must have {owner} once"),
        (
            {"ramRole": ALL, "repositories": ["{owner}-{owner}"]},
            "has {owner} more than once",
        ),
        ({"repositories": ["{owner}/x"]}, "'{owner}/x': no repository's name begins so; write a namespace of Aliyun"),
        ({"repositories": ["*"]}, "repositories '*': no repository's name begins so"),
        ({"repositories": ["Team-{owner}"]}, "write a namespace of Aliyun"),
        ({"repositories": ["{owner}", "{owner}"]}, "repositories has one twice"),
        ({"ramRole": ALL, "repositories": ["{owner}", "x-{owner}"]}, "one owner's name might be another one's"),
        ({"repositories": []}, "repositories"),
        ({"ramRole": "pull-{owner}"}, "ramRole 'pull-{owner}' is no role"),
        ({"ramRole": "acs:ram::{owner}:role/pull"}, "is no role"),
        ({"ramRole": f"{ALL}/{{owner}}"}, "is no role"),
        ({"ramRole": f"{EACH}\n"}, "is no role"),
        ({"instance": "acme"}, "instance"),
        ({"region": "cn-hangzhou.evil.example.com/"}, "region"),
        ({"accessKeyIdFile": "/i/id"}, "accessKeyIdFile and accessKeySecretFile belong together"),
        ({"accessKeySecretFile": "/i/secret"}, "accessKeyIdFile and accessKeySecretFile belong together"),
        ({"stsEndpoint": "https://sts.example.com/?x="}, "stsEndpoint"),
        ({"hours": 0.2}, "hours"),
        ({"hours": 13}, "hours"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], told: str) -> None:
    config_refused(ALIYUN | keys, told)


def test_all_owners_may_share_one_role() -> None:
    async def scenario(place: Here) -> None:
        found = [the_one(await place.issuer.issue(owner, 1, leads)) for owner in ("alice", "bob@example.com")]
        assert {c.registry for c in found} == {f"{REGISTRY}/common/"}
        assert all(opens(place, c, "common") and not opens(place, c, "alice") for c in found)

    run(scenario, ramRole=ALL, repositories=["common"], shared=True)


def test_where_it_is_asked() -> None:
    usual, region = model(), "cn-hangzhou.aliyuncs.com"
    assert (usual.asked_at, usual.sts_asked_at) == (f"https://cr.{region}", f"https://sts.{region}")
    assert usual.in_short == f"passwords of {EACH} for {REGISTRY}/{{owner}}/; good for 1 h"
    keys = {"endpoint": f"https://cr-vpc.{region}", "stsEndpoint": f"https://sts-vpc.{region}"}
    inside = model(**keys)
    assert (inside.asked_at, inside.sts_asked_at) == tuple(keys.values())


# -- the stand-in: the vendor's own client is served, and what is wrong is refused --


def test_the_vendors_own_client_gets_the_same() -> None:
    async def scenario() -> None:
        async with serving(Aliyun(), None) as aliyun:
            place = Here(aliyun)
            where = {"endpoint": f"localhost:{aliyun.port}", "protocol": "HTTP", "region_id": "cn-hangzhou"}
            login = {"access_key_id": "LTAI5tIssuer", "access_key_secret": place.secret.read_text().strip()}
            wanted = AssumeRoleRequest(
                role_arn=EACH.replace("{owner}", "alice"), role_session_name="sdk", duration_seconds=3600
            )
            found = (await StsClient(SdkConfig(**where, **login)).assume_role_async(wanted)).body.credentials
            session = {
                "access_key_id": found.access_key_id,
                "access_key_secret": found.access_key_secret,
                "security_token": found.security_token,
            }
            client = CrClient(SdkConfig(**where, **session))
            ask = client.get_authorization_token_async
            token = (await ask(GetAuthorizationTokenRequest(instance_id=aliyun.instance, expires_in_hours=2))).body
            assert aliyun.opens(token.temp_username, token.authorization_token, "alice/app")
            assert not aliyun.opens(token.temp_username, token.authorization_token, "alice2/app")
            with pytest.raises(DaraException, match="instance is not exist"):
                await ask(GetAuthorizationTokenRequest(instance_id="cri-other"))
            aliyun.skew = timedelta(minutes=16)
            with pytest.raises(DaraException, match="InvalidTimeStamp"):
                await ask(GetAuthorizationTokenRequest(instance_id=aliyun.instance))
            await place.issuer.close()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"Authorization": ""}, "IncompleteSignature"),
        ({"x-acs-date": "2020-01-01T00:00:00Z"}, "SignatureDoesNotMatch"),
        ({"x-acs-action": "GetAuthorizationToken"}, "SignatureDoesNotMatch"),
        ({"x-acs-version": "2014-01-01"}, "SignatureDoesNotMatch"),
        ({"x-acs-content-sha256": "0" * 64}, "IncompleteSignature"),
        ({"x-acs-other": "unsigned"}, "IncompleteSignature"),
        ({"x-acs-signature-nonce": "other"}, "SignatureDoesNotMatch"),
        ({}, "SignatureNonceUsed"),
    ],
)
def test_the_stand_in_refuses_what_is_not_signed(
    change: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(aliyunsts, "AGAIN_SECONDS", 0.0)

    async def scenario(place: Here) -> None:
        api = place.again()._sts._api  # type: ignore[attr-defined]  # of this issuer
        asked, sent = api._asked, list[tuple[Any, ...]]()

        async def changed(query: Any, headers: dict[str, str], body: Any, hidden: Any) -> Any:
            sent.append((query, headers | change, body, hidden))
            if not change:
                await asked(*sent[0])
            return await asked(*sent[0])

        monkeypatch.setattr(api, "_asked", changed)
        key = AccessKey(place.id.read_text().strip(), place.secret.read_text().strip())
        wanted = {"RoleArn": EACH.replace("{owner}", "alice"), "RoleSessionName": "xy", "DurationSeconds": "900"}
        try:
            reply = await api.signed(key, aliyunsts._BY_KEY, wanted)
            found = reply.code
        except IssuerUnavailable as e:
            found = "SignatureNonceUsed" if "SignatureNonceUsed" in str(e) else str(e)
        assert found == code
        await api.close()

    run(scenario)


@pytest.mark.parametrize("token", [False, True])
def test_a_check_takes_a_role_and_may_do_nothing_with_it(*, token: bool) -> None:
    async def scenario(place: Here) -> None:
        await checked(place)
        (session,) = place.server.sessions.values()
        assert session.name == "pullsecret-check"
        for action, resource in (
            ("cr:GetAuthorizationToken", "*"),
            ("cr:PullRepository", f"acs:cr:cn-hangzhou:{ACCOUNT}:repository/{place.server.instance}/alice/app"),
        ):
            assert _allows_alone(session.policies[:1], action, resource)
            assert not session.may(action, resource)
        del place.server.roles[EACH.replace("{owner}", "alice")]
        told = await check_fails(place)
        assert not told.everybody
        assert "Aliyun has no role" in str(told)

    run(scenario, token=token)


def _allows_alone(policies: Any, action: str, resource: str) -> bool:
    return all(aliyunserver._allows(one, action, resource) for one in policies)


def test_a_check_of_one_role_is_about_everybody() -> None:
    async def scenario(place: Here) -> None:
        await checked(place, None)
        place.server.roles[ALL].trusts.clear()
        for owner in ("alice", None):
            told = await check_fails(place, owner)
            assert told.everybody
            assert "does not let us take the role" in str(told)

    run(scenario, ramRole=ALL)
