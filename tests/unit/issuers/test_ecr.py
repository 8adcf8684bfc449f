"""The issuer for Amazon ECR, against moto with its IAM checks on; what moto lacks, tests/aws/motoserver.py adds."""

import asyncio
import json
import os
import re
import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import parse_qs, parse_qsl

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from support import awsserver, planted
from support.awsserver import ACCOUNT, OIDC, REGION, REGISTRY, SUBJECT, Aws, Door, allow, token
from support.issuercontract import AskedContract
from support.issuerplace import (
    CLUSTER,
    NAMES,
    AskedPlace,
    check_fails,
    checked,
    config_refused,
    leads,
    opened,
    placed,
    refused,
    running,
)
from support.pages import block
from support.vendorserver import certified
from webhook.config import reading
from webhook.config.issuers.ecr import ecr_host
from webhook.core.credential import Credential
from webhook.core.registry import matching
from webhook.issuers import IssueRefused, IssuerUnavailable
from webhook.issuers.aws.api import PAUSE_SECONDS
from webhook.issuers.aws.issuer import PULL, EcrIssuer
from webhook.issuers.aws.login import Login, WebIdentity
from webhook.issuers.aws.sigv4 import signed
from webhook.issuers.configured import configured
from webhook.issuers.keptlogin import AGAIN_SECONDS
from webhook.issuers.names import minted_name
from webhook.issuers.signing import AccessKey

ROLES = f"arn:aws:iam::{ACCOUNT}:role/pull"
POD_ROLE = f"arn:aws:iam::{ACCOUNT}:role/pullsecret-issuer"
MAY_ASSUME = allow("sts:AssumeRole", on=[f"{ROLES}/*", f"{ROLES}-*"])
MAY_PULL = allow("ecr:GetAuthorizationToken", *PULL)


def trust(*, who: str | None = None, external: str | None = None) -> str:
    """`who`: may assume the role; None: who has the issuer's web identity."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"AWS": who}}
    if who is None:
        statement["Action"] += "WithWebIdentity"
        statement["Principal"] = {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/{OIDC}"}
        wanted = {f"{OIDC}:aud": "sts.amazonaws.com", f"{OIDC}:sub": SUBJECT}
        statement["Condition"] = {"StringEquals": wanted}
    if external is not None:
        statement["Condition"] = {"StringEquals": {"sts:ExternalId": external}}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture(scope="module", autouse=True)
def _aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One for all tests: an account with a role for each owner."""
    Here.folder = tmp_path_factory.mktemp("aws")
    with awsserver.running(Here.folder) as aws:
        Here.aws = aws
        Here.tls = certified(Here.folder)
        keys = aws.user("issuer", MAY_ASSUME)
        (Here.folder / "id").write_text(f"{keys.id}\n")
        (Here.folder / "secret").write_text(keys.secret)
        user = f"arn:aws:iam::{ACCOUNT}:user/issuer"
        aws.role("pullsecret-issuer", trust(), MAY_ASSUME)
        for owner in {*NAMES, "dave"}:
            if owner.replace(".", "").replace("-", "").replace("_", "").isalnum() and owner.isascii():
                aws.role(owner, trust(who=user), MAY_PULL, "/pull/")
        aws.role("pull-all", trust(who=user), MAY_PULL, hours=12)
        aws.role("pull-web", trust(), MAY_PULL, hours=12)
        aws.role("pull-chained", trust(who=POD_ROLE), MAY_PULL, hours=12)
        aws.role("pull-external", trust(who=user, external="right/id"), MAY_PULL)
        aws.role("pull-external-chained", trust(who=POD_ROLE, external="right/id"), MAY_PULL)
        aws.role("pull-nothing", trust(who=user), allow("s3:GetObject"))
        yield


class Here(AskedPlace[Door]):
    """AWS behind a door, and an issuer with an access key, or with what a pod's environment has."""

    aws: Aws
    tls: ssl.SSLContext
    life = timedelta(hours=1)

    def __init__(self, door: Door, environ: dict[str, str] | None, **keys: Any) -> None:
        self.server, self.keys = door, {"role": f"{ROLES}/{{owner}}", **keys}
        self.keys |= {
            "endpoint": door.url,
            "stsEndpoint": door.url,
            "caFile": str(self.folder / "ca.pem"),
        }
        self.environ = environ or {}
        if environ is None:
            files = {"accessKeyIdFile": str(self.folder / "id"), "secretKeyFile": str(self.folder / "secret")}
            self.keys = files | self.keys
        self.issuer = self.again()

    @property
    def usual(self) -> dict[str, Any]:
        return {"issue": "ecr", "registry": REGISTRY}

    @property
    def login(self) -> Login:
        found: Login = self.issuer._login  # type: ignore[attr-defined]  # of this issuer
        return found

    def made(self) -> Any:
        return self.server.calls.count("GetAuthorizationToken")

    def logs_in_wrongly(self) -> None:
        secret = self.folder / "wrong"
        secret.write_text(planted.token())
        if "secretKeyFile" in self.keys:
            self.keys |= {"secretKeyFile": str(secret)}
        else:
            self.environ = {**self.environ, "AWS_WEB_IDENTITY_TOKEN_FILE": str(secret)}

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        name = f"{self.keys.get('repositories', ['{owner}'])[0].replace('{owner}', owner)}/app"
        return await self.pulls(c, name)

    async def pulls(self, c: Credential, name: str) -> bool:
        login = b64encode(":".join(c.login).encode()).decode()
        headers = {"Host": REGISTRY, "Authorization": f"Basic {login}"}
        headers["X-Test-Ahead"] = str(self.server.skew.total_seconds())
        url = f"http://127.0.0.1:{self.aws.port}/v2/{name}/manifests/1"
        async with self.server.client.get(url, headers=headers) as answer:
            pulled = answer.status == 200
        sent = matching([c.registry], f"{REGISTRY}/{name}")
        return pulled and sent == (c.registry,)


@asynccontextmanager
async def here(environ: dict[str, str] | None = None, **keys: Any) -> AsyncIterator[Here]:
    async with awsserver.door(Here.aws, Here.tls) as door, placed(Here(door, environ, **keys)) as place:
        yield place


class TestContract(AskedContract):
    """With an access key, and a role for each owner."""

    username = "AWS"
    checks_alone = False

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here()


class TestContractOfOneRole(AskedContract):
    """With a role for all, and a policy for each session."""

    username = "AWS"

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here(role=f"{ROLES}-all", repositories=["team-{owner}"])


class TestContractOfAWebIdentity(AskedContract):
    username = "AWS"

    def at(self) -> AbstractAsyncContextManager[Here]:
        with web_identity(seconds=10**6) as environ:
            return here(environ, role=f"{ROLES}-web")


run = running(here)


def told(kind: type[Exception] = IssueRefused, environ: dict[str, str] | None = None, **keys: Any) -> Any:
    """What the issuer says with such a configuration."""

    async def scenario(place: Here) -> Any:
        return await refused(place, kind=kind)

    return run(scenario, environ, **keys)


def fields(place: Here, number: int) -> dict[str, str]:
    """Of a request to STS, from 0 on."""
    return dict(parse_qsl(place.server.sent[number][1]))


ALL = f"{ROLES}-all"
SHARED: dict[str, Any] = {"repositories": ["{owner}", "base"]}


# -- what is asked for --


def test_a_renewal_is_two_requests() -> None:
    async def scenario(place: Here) -> None:
        for generation in (1, 2):
            await place.issuer.issue("alice", generation, leads)
        assert place.server.calls == ["AssumeRole", "GetAuthorizationToken"] * 2

    run(scenario)


def test_a_session_says_whose_it_is_and_pulls_that_and_nothing_else() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 7, leads)
        sent = fields(place, 0)
        below = f"arn:aws:ecr:{REGION}:{ACCOUNT}:repository"
        assert json.loads(sent.pop("Policy")) == {
            "Version": "2012-10-17",
            "Statement": [
                {"Effect": "Allow", "Action": ["ecr:GetAuthorizationToken"], "Resource": ["*"]},
                {"Effect": "Allow", "Action": [*PULL], "Resource": [f"{below}/alice/*", f"{below}/base/*"]},
            ],
        }
        assert sent == {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": ALL,
            "RoleSessionName": f"pullsecret-{minted_name(CLUSTER, 'ecr', 'alice', 7)}",
            "DurationSeconds": "5400",
        }
        assert re.fullmatch(r"[\w+=,.@-]{2,64}", sent["RoleSessionName"])

    run(scenario, role=ALL, hours=1.5, **SHARED)


def test_what_every_owner_pulls_has_a_key_of_its_own() -> None:
    async def scenario(place: Here) -> None:
        for owner in ("alice", "bob"):
            own, base = (await place.issuer.issue(owner, 1, leads)).credentials
            assert (own.registry, base.registry) == (f"{REGISTRY}/{owner}/", f"{REGISTRY}/base/")
            assert own.login == base.login
            assert await place.pulls(base, "base/app")
            for other in ("alice", "bob"):
                assert await place.pulls(own, f"{other}/app") == (owner == other)
                assert not await place.pulls(replace(own, registry=REGISTRY), f"{other}2/app")

    run(scenario, role=ALL, **SHARED)


def test_the_longest_policy_fits() -> None:
    """AWS takes 2,048 characters. The name of a repository, with what is behind the slash, is not longer than 256."""
    keys = {"registry": f"{ACCOUNT}.dkr.ecr.us-gov-west-1.amazonaws.com", "role": ALL.replace("aws", "aws-us-gov")}
    names = ["{owner}", *(f"{'x' * 199}{number}" for number in range(4))]
    (model,) = reading.convert({"issuers": [{"issue": "ecr", "repositories": names, **keys}]}).issuers
    issuer = EcrIssuer(model, {}, lambda: CLUSTER)  # type: ignore[arg-type]  # of this kind
    assert len(issuer._policy(issuer._begins("a" * 254))) < 2048
    with pytest.raises(IssueRefused):
        issuer._begins("a" * 255)


# -- as whom it asks --


@contextmanager
def web_identity(**claims: Any) -> Iterator[dict[str, str]]:
    file = Here.folder / "token"
    file.write_text(token(**claims))
    yield {"AWS_WEB_IDENTITY_TOKEN_FILE": str(file), "AWS_ROLE_ARN": POD_ROLE}


def test_with_a_web_identity_it_asks_for_the_owners_role_unsigned() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        assert place.server.calls == ["AssumeRoleWithWebIdentity", "GetAuthorizationToken"]
        assert "Authorization" not in place.server.sent[0][0]
        assert timedelta(hours=11, minutes=59) < minted.life <= timedelta(hours=12)
        assert await opened(place, minted)
        # The kubelet renews it; the other one is read.
        (Here.folder / "token").write_text(token(sub=f"{SUBJECT}-other"))
        assert "Not authorized" in str(await refused(place))

    with web_identity() as environ:
        run(scenario, environ, role=f"{ROLES}-web", hours=12)


def test_a_chain_begins_with_the_pods_own_role_which_is_kept_for_half_an_hour() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        assert await opened(place, minted)
        first = ["AssumeRoleWithWebIdentity", "AssumeRole", "GetAuthorizationToken"]
        assert place.server.calls == first
        assert fields(place, 0)["RoleArn"] == POD_ROLE
        assert "Policy" not in fields(place, 0)
        await place.issuer.issue("bob", 1, leads)
        assert place.server.calls[3:] == first[1:]
        now = asyncio.get_running_loop().time()
        assert place.login._kept is not None
        key, until = place.login._kept
        assert 1700 < until - now <= 1800
        place.login._kept = key, now
        await place.issuer.issue("alice", 2, leads)
        assert place.server.calls[5:] == first
        # Several at once begin one session.
        place.login.refused(await place.login.key())
        await asyncio.gather(*(place.issuer.issue(owner, 3, leads) for owner in ("alice", "bob", "carol")))
        assert place.server.calls[8:].count(first[0]) == 1

    with web_identity() as environ:
        run(scenario, environ, role=f"{ROLES}-chained", chain=True)


def test_a_session_of_the_pod_that_is_refused_is_not_kept() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        place.answers(1, 403, xml("ExpiredToken", "it has expired"))
        assert (await refused(place, kind=IssuerUnavailable)).retry_after == AGAIN_SECONDS
        await place.issuer.issue("alice", 1, leads)
        assert place.server.calls.count("AssumeRoleWithWebIdentity") == 2

    with web_identity() as environ:
        run(scenario, environ, role=f"{ROLES}-chained", chain=True)


@contextmanager
def pod_identity(**claims: Any) -> Iterator[dict[str, str]]:
    file = Here.folder / "pod"
    file.write_text(token(**{"audience": "pods.eks.amazonaws.com", **claims}))
    uri = f"http://127.0.0.1:{Here.aws.port}/-/pod"
    yield {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)}


def test_with_a_pod_identity() -> None:
    async def scenario(place: Here) -> None:
        assert await opened(place, await place.issuer.issue("alice", 1, leads))
        (Here.folder / "pod").unlink()
        await place.issuer.issue("alice", 2, leads)  # it is kept
        place.login.refused(await place.login.key())
        assert "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE" in str(await refused(place, kind=IssuerUnavailable))

    with pod_identity() as environ:
        run(scenario, environ, role=f"{ROLES}-chained")


@pytest.mark.parametrize(
    "uri", ["http://169.254.170.23.example.com/v1", "http://10.0.0.1/", "http://a@b/", "localhost"]
)
def test_an_agent_elsewhere_is_asked_by_https_alone(uri: str) -> None:
    with pod_identity() as environ:
        said = str(
            told(IssuerUnavailable, environ | {"AWS_CONTAINER_CREDENTIALS_FULL_URI": uri}, role=f"{ROLES}-chained")
        )
    assert "is neither on this node nor asked by https://" in said


def test_a_pod_identity_that_is_refused() -> None:
    with pod_identity(audience="sts.amazonaws.com") as environ:
        said = str(told(IssuerUnavailable, environ, role=f"{ROLES}-chained"))
    assert said.startswith("the agent of AWS_CONTAINER_CREDENTIALS_FULL_URI gives us no credentials (HTTP 400: ")


def test_an_agent_that_answers_something_else() -> None:
    with pod_identity() as environ:
        environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] += "?odd"
        assert "not what its API has" in str(told(IssuerUnavailable, environ, role=f"{ROLES}-chained"))


def test_an_external_id_is_sent() -> None:
    async def scenario(place: Here) -> None:
        assert await opened(place, await place.issuer.issue("alice", 1, leads))

    run(scenario, role=f"{ROLES}-external", externalId="right/id")
    with web_identity() as environ:
        run(scenario, environ, role=f"{ROLES}-external-chained", externalId="right/id", chain=True)
    assert "no session of the role" in str(told(role=f"{ROLES}-external", externalId="wrong"))
    assert "no session of the role" in str(told(role=f"{ROLES}-external"))


def test_an_external_id_without_a_chain_is_refused() -> None:
    with web_identity() as environ:
        found = told(IssueRefused, environ, role=f"{ROLES}-external", externalId="right/id")
    assert found.everybody
    assert str(found) == "a web identity is sent without an external ID; set chain, or leave out externalId"


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"seconds": -1}, "ExpiredTokenException"),
        ({"iss": "https://elsewhere.example.com"}, "No OpenIDConnect provider found in your account"),
    ],
)
@pytest.mark.parametrize("chain", [False, True])
def test_a_web_identity_that_nobody_takes_is_told_and_not_hammered(claims: Any, said: str, *, chain: bool) -> None:
    with web_identity(**claims) as environ:
        found = told(IssuerUnavailable, environ, role=f"{ROLES}-{'chained' if chain else 'web'}", chain=chain)
    assert said in str(found)
    assert found.retry_after == AGAIN_SECONDS


def test_a_chain_needs_a_role_of_the_pod() -> None:
    with web_identity() as environ:
        assert "AWS_ROLE_ARN does not say" in str(
            told(IssuerUnavailable, environ | {"AWS_ROLE_ARN": ""}, role=ALL, chain=True)
        )


def test_nobody_says_as_whom_it_asks() -> None:
    found = told(IssuerUnavailable, {})
    assert "neither AWS_WEB_IDENTITY_TOKEN_FILE nor AWS_CONTAINER_CREDENTIALS_FULL_URI" in str(found)
    assert found.retry_after == AGAIN_SECONDS


def test_an_access_key_goes_before_the_environment() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        assert place.server.calls[0] == "AssumeRole"

    files = {"accessKeyIdFile": str(Here.folder / "id"), "secretKeyFile": str(Here.folder / "secret")}
    with web_identity() as environ:
        run(scenario, environ, **files)


def test_a_wrong_access_key_is_told_and_not_hammered() -> None:
    async def scenario(place: Here) -> None:
        right = (Here.folder / "secret").read_text()
        place.keys["secretKeyFile"] = str(Here.folder / "wrong")
        (Here.folder / "wrong").write_text(planted.token())
        place.issuer = place.again()
        found = await refused(place, kind=IssuerUnavailable)
        assert "AWS refuses the login of the issuer (HTTP 403: SignatureDoesNotMatch: " in str(found)
        assert found.retry_after == AGAIN_SECONDS
        assert place.asked() == 1  # the clock is right
        (Here.folder / "wrong").write_text(f"{right}\n")  # and the files are read again
        assert await opened(place, await place.issuer.issue("alice", 1, leads))
        (Here.folder / "wrong").write_text(f"{right}\n{right}")
        assert "more than one line" in str(await refused(place, kind=IssuerUnavailable))
        place.keys["accessKeyIdFile"] = str(Here.folder / "nobody")
        (Here.folder / "nobody").write_text("AKIANOBODY")
        (Here.folder / "wrong").write_text(right)
        await place.issuer.close()
        place.issuer = place.again()
        assert "InvalidClientTokenId" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


# -- what is refused --


def test_a_role_that_is_not_there_or_does_not_trust_us_is_one_owners_trouble() -> None:
    async def scenario(place: Here) -> None:
        found = await refused(place, "nobody")
        assert str(found).startswith(
            f"AWS lets us have no session of the role {ROLES}/nobody (HTTP 403: AccessDenied: "
        )
        assert "does its trust policy name the issuer" in str(found)
        assert not found.everybody
        assert await opened(place, await place.issuer.issue("alice", 1, leads))

    run(scenario)


def test_without_an_owner_in_its_name_the_role_is_everybodys_trouble() -> None:
    found = told(role=f"{ROLES}-missing")
    assert found.everybody
    assert "docs/ecr.md has what the roles need" in str(found)


def test_a_role_that_gives_no_tokens() -> None:
    found = told(role=f"{ROLES}-nothing")
    assert f"ECR gives the role {ROLES}-nothing no token (HTTP 400: AccessDeniedException: " in str(found)


def test_a_session_longer_than_the_role_allows() -> None:
    assert "exceeds the MaxSessionDuration set for this role" in str(told(hours=2))
    with pod_identity() as environ:
        assert "1 hour session limit" in str(told(IssueRefused, environ, role=f"{ROLES}-chained", hours=2))


@pytest.mark.parametrize(
    ("owner", "said"),
    [
        ("Alice", "cannot be part of a repository's name"),
        ("a--b", "cannot be part of a repository's name"),
        ("a__b", "cannot be part of a repository's name"),
        ("a/b", "no role can have the owner"),
        ("a*", "no role can have the owner"),
        ("a?", "no role can have the owner"),
        ("${aws:username}", "no role can have the owner"),
        ("", "no role can have the owner"),
        ("x" * 65, "no role can have the owner"),
        ("base", "would be among those that every owner pulls"),
        ("alice\n", "no role can have the owner"),
    ],
)
def test_owners_without_a_place_in_names(owner: str, said: str) -> None:
    async def scenario(place: Here) -> None:
        found = await refused(place, owner)
        assert said in str(found)
        assert not found.everybody
        assert place.asked() == 0

    run(scenario, **SHARED)


def test_with_one_role_the_repository_alone_counts() -> None:
    async def scenario(place: Here) -> None:
        await refused(place, "a/b")
        await refused(place, "a*")
        minted = await place.issuer.issue("x" * 65, 1, leads)
        assert await opened(place, minted, "x" * 65)

    run(scenario, role=ALL)


def test_below_what_every_owner_pulls_is_nobodys_own() -> None:
    async def scenario(place: Here) -> None:
        await refused(place, "alice")
        assert place.asked() == 0

    run(scenario, role=ALL, repositories=["team/{owner}", "team"])


def test_all_may_be_one() -> None:
    async def scenario(place: Here) -> None:
        (one,) = (await place.issuer.issue("any/owner", 1, leads)).credentials
        assert await place.pulls(one, "base/app")
        assert not await place.pulls(replace(one, registry=REGISTRY), "alice/app")

    run(scenario, role=ALL, repositories=["base"], shared=True)


# -- odd answers --


def xml(code: str, message: str) -> bytes:
    error = f"<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>"
    return f'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">{error}</ErrorResponse>'.encode()


def js(code: str, message: str) -> bytes:
    return json.dumps({"__type": f"com.amazon.coral.service#{code}", "Message": message}).encode()


@pytest.mark.parametrize(
    ("at", "body"),
    [
        (1, xml("Throttling", "Rate exceeded")),
        (2, js("ThrottlingException", "Rate exceeded")),
        (2, js("TooManyRequestsException", "Rate exceeded")),
        (1, xml("RequestLimitExceeded", "Rate exceeded")),
    ],
)
def test_throttling_is_a_pause_although_it_is_http_400(at: int, body: bytes) -> None:
    async def scenario(place: Here) -> None:
        place.answers(at, 400, body)
        found = await refused(place, kind=IssuerUnavailable)
        assert "AWS wants fewer requests (HTTP 400: " in str(found)
        assert "Rate exceeded" in str(found)
        assert found.retry_after == PAUSE_SECONDS
        place.answers(1, 400, body, {"Retry-After": "9"})
        assert (await refused(place, kind=IssuerUnavailable)).retry_after == 9

    run(scenario)


@pytest.mark.parametrize(
    ("at", "status", "body"),
    [
        (1, 400, xml("IDPCommunicationError", "try again")),
        (2, 400, js("ServerException", "try again")),
        (2, 400, js("ExpiredTokenException", "a session of two seconds")),
        (2, 400, js("UnrecognizedClientException", "not yet known everywhere")),
        (1, 400, b"<html>a proxy</html>"),
        (2, 403, b"blocked"),
        (2, 403, b'{"message": "Forbidden"}'),
        (1, 400, xml("no code", "x")),
        (1, 404, b""),
    ],
)
def test_what_passes(at: int, status: int, body: bytes) -> None:
    async def scenario(place: Here) -> None:
        place.answers(at, status, body)
        assert f"HTTP {status}" in str(await refused(place, kind=IssuerUnavailable))
        assert await opened(place, await place.issuer.issue("alice", 1, leads))

    run(scenario)


@pytest.mark.parametrize("at", [1, 2])
def test_other_errors_are_told_in_its_words(at: int) -> None:
    async def scenario(place: Here) -> None:
        body = xml("PackedPolicyTooLarge", "it &apos;is&apos; so") if at == 1 else js("InvalidParameterException", "no")
        place.answers(at, 400, body)
        said = str(await refused(place))
        assert ("(HTTP 400: PackedPolicyTooLarge: it 'is' so)" if at == 1 else "InvalidParameterException") in said

    run(scenario)


def session(**changed: str) -> bytes:
    usual = {"AccessKeyId": "ASIA1", "SecretAccessKey": "s", "SessionToken": "t", "Expiration": "2100-01-01T00:00:00Z"}
    inner = "".join(f"<{name}>{value}</{name}>" for name, value in (usual | changed).items() if value != "-")
    return f"<R><AssumeRoleResult><Credentials>{inner}</Credentials></AssumeRoleResult></R>".encode()


def authorization(*parts: dict[str, Any]) -> bytes:
    usual = {
        "authorizationToken": b64encode(b"AWS:p").decode(),
        "expiresAt": 4102444800.5,
        "proxyEndpoint": "https://x",
    }
    return json.dumps({"authorizationData": [usual | one for one in parts]}).encode()


@pytest.mark.parametrize(
    ("at", "body"),
    [
        (1, session(AccessKeyId="-")),
        (1, session(SecretAccessKey="")),
        (1, session(SessionToken="<b/>")),
        (1, session(SessionToken="two&#10;lines")),
        (1, session(SessionToken="caf\u00e9")),
        (1, session(Expiration="soon")),
        (1, session(Expiration="0001-01-01T00:00:00Z")),
        (1, b'<!DOCTYPE R [<!ENTITY t "x">]>' + session(SessionToken="&t;")),
        (1, b'<?xml version="1.0" encoding="nobody-knows"?>' + session()),
        (2, authorization()),
        (2, authorization({}, {})),
        (2, authorization({"expiresAt": -1})),
        (2, authorization({"expiresAt": 1e300})),
        (2, authorization({"expiresAt": "2100-01-01"})),
        (2, authorization({"authorizationToken": "no base64"})),
        (2, authorization({"authorizationToken": b64encode(b"AWS:").decode()})),
        (2, authorization({"authorizationToken": b64encode(b"AWS").decode()})),
        (2, authorization({"authorizationToken": b64encode(b"\xff:\xff").decode()})),
        (2, authorization({"authorizationToken": b64encode(b":p").decode()})),
    ],
)
def test_answers_that_cannot_be_used(at: int, body: bytes) -> None:
    async def scenario(place: Here) -> None:
        place.answers(at, 200, body)
        await refused(place, kind=IssuerUnavailable)

    run(scenario)


def test_the_first_of_both_ends_counts() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        assert minted.life == timedelta(hours=12)  # the token's, of a session of years
        at = datetime(2030, 1, 1, tzinfo=UTC)
        dates = {"Date": format_datetime(at, usegmt=True)}
        place.answers(1, 200, session(Expiration="2030-01-01T00:59:59.9Z"), dates)
        place.answers(2, 200, authorization({"expiresAt": at.timestamp() + 1800.9}), dates)
        assert (await place.issuer.issue("alice", 1, leads)).life == timedelta(minutes=30)
        place.answers(1, 200, session(Expiration="2030-01-01T00:59:59.9Z"), dates)
        place.answers(2, 200, authorization({}), dates)
        assert (await place.issuer.issue("alice", 1, leads)).life == timedelta(minutes=59, seconds=59)

    with web_identity() as environ:
        run(scenario, environ, role=f"{ROLES}-web", hours=12)


@pytest.mark.parametrize("hours", [-30, 30])
def test_the_other_clock_is_learnt_once(hours: int) -> None:
    async def scenario(place: Here) -> None:
        place.clock_is_ahead(timedelta(hours=hours))
        assert await opened(place, await place.issuer.issue("alice", 1, leads))
        assert place.server.calls == ["AssumeRole", "AssumeRole", "GetAuthorizationToken"]
        assert await opened(place, await place.issuer.issue("alice", 2, leads))
        assert place.server.calls[3:] == ["AssumeRole", "GetAuthorizationToken"]
        place.clock_is_ahead(timedelta(hours=hours / 2))  # and when ours is put right
        assert await opened(place, await place.issuer.issue("alice", 3, leads))

    run(scenario)


def test_a_wrong_clock_that_stays_wrong_is_told() -> None:
    async def scenario(place: Here) -> None:
        body = xml("SignatureDoesNotMatch", "Signature expired")
        for at in (1, 2):
            date = format_datetime(datetime.now(UTC) + timedelta(hours=at), usegmt=True)
            place.answers(at, 403, body, {"Date": date})
        assert "Signature expired" in str(await refused(place, kind=IssuerUnavailable))
        assert place.asked() == 2
        for date in ("Sun, 06 Nov 1994 08:49:37 GMT", "Fri, 31 Dec 9999 23:59:59 GMT"):
            place.answers(1, 403, body, {"Date": date}, lost=False)
            assert "Signature expired" in str(await refused(place, kind=IssuerUnavailable))
        assert place.asked() == 4
        assert await opened(place, await place.issuer.issue("alice", 1, leads))

    run(scenario)


def test_what_it_says_is_shown_without_what_it_was_told() -> None:
    async def scenario(place: Here) -> None:
        sent = (Here.folder / "token").read_text()
        place.answers(1, 400, xml("ValidationError", f"no: {sent} {'x' * 5000}"))
        said = str(await refused(place))
        assert "no: ***" in said
        assert sent[:20] not in said

    with web_identity() as environ:
        run(scenario, environ, role=f"{ROLES}-web")


def test_nothing_of_a_session_is_shown_either() -> None:
    async def scenario(place: Here) -> None:
        secret, session_token = planted.token(), planted.token()
        place.answers(1, 200, session(SecretAccessKey=secret, SessionToken=session_token))
        place.answers(2, 400, js("InvalidParameterException", f"no: {secret} and {session_token}"))
        assert "InvalidParameterException: no: *** and ***" in str(await refused(place))

    run(scenario)


def test_nothing_of_it_is_shown_as_a_code() -> None:
    async def scenario(place: Here) -> None:
        secret = "".join(filter(str.isalnum, planted.token()))
        for body in (js(secret, "no"), xml(secret, "no")):
            place.answers(1, 200, session(SecretAccessKey=secret), lost=False)
            place.answers(2, 400, body, lost=False)
            said = str(await refused(place))
            assert "***" in said
            assert secret[:10] not in said

    run(scenario)


# -- judged by botocore --

HEADER = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
NAME = st.sampled_from(["Content-Type", "X-Amz-Target", "X-Amz-A", "Accept", "a", "z-1"])


@settings(max_examples=50, deadline=None)
@given(
    headers=st.dictionaries(NAME, HEADER | st.builds("{}  {} ".format, HEADER, HEADER)),
    body=st.text(max_size=60),
    secret=HEADER,
    session_token=HEADER | st.just(""),
    service=st.sampled_from(["sts", "ecr"]),
    host=st.sampled_from(["sts.eu-west-1.amazonaws.com", "localhost:8443"]),
    at=st.datetimes(datetime(2000, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
)
def test_signatures_are_those_of_botocore(
    headers: dict[str, str], body: str, secret: str, session_token: str, service: str, host: str, at: datetime
) -> None:
    keys = AccessKey("AKIA1", secret, session_token)
    theirs = Here.aws.asks(
        "/-/sign",
        {
            "key": keys.id,
            "secret": keys.secret,
            "token": keys.token,
            "service": service,
            "region": REGION,
            "url": f"https://{host}/",
            "headers": headers,
            "body": body,
            "at": at.isoformat(),
        },
    )
    ours = signed(keys, service, REGION, host, headers, body.encode(), at)
    assert ours["authorization"] == theirs["Authorization"]


HOSTS = [
    (f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com", "eu-west-1", "aws", "", ""),
    (f"{ACCOUNT}.dkr.ecr-fips.us-east-2.amazonaws.com", "us-east-2", "aws", "fips", ""),
    (f"{ACCOUNT}.dkr-ecr.ap-southeast-2.on.aws", "ap-southeast-2", "aws", "", "dual"),
    (f"{ACCOUNT}.dkr-ecr-fips.us-west-2.on.aws", "us-west-2", "aws", "fips", "dual"),
    (f"{ACCOUNT}.dkr.ecr.us-gov-west-1.amazonaws.com", "us-gov-west-1", "aws-us-gov", "", ""),
    (f"{ACCOUNT}.dkr.ecr-fips.us-gov-east-1.amazonaws.com", "us-gov-east-1", "aws-us-gov", "fips", ""),
    (f"{ACCOUNT}.dkr-ecr-fips.us-gov-east-1.on.aws", "us-gov-east-1", "aws-us-gov", "fips", "dual"),
    (f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com.cn", "cn-north-1", "aws-cn", "", ""),
    (f"{ACCOUNT}.dkr-ecr.cn-northwest-1.on.amazonwebservices.com.cn", "cn-northwest-1", "aws-cn", "", "dual"),
    (f"{ACCOUNT}.dkr.ecr.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", "aws-eusc", "", ""),
]


@pytest.mark.parametrize(("registry", "region", "partition", "fips", "dual"), HOSTS)
def test_whom_to_ask_is_what_botocore_says(registry: str, region: str, partition: str, fips: str, dual: str) -> None:
    found = ecr_host(registry)
    assert found is not None
    assert (found.account, found.region, found.partition) == (ACCOUNT, region, partition)
    theirs = Here.aws.asks("/-/endpoints", {"region": region, "fips": bool(fips), "dual": bool(dual)})
    assert {"sts": found.sts, "ecr": found.ecr} == theirs


# -- what the documentation says --

PAGE = "docs/ecr.md"


def test_the_policies_of_the_documentation_suffice_and_each_right_is_needed() -> None:
    (model,) = yaml.safe_load(block(PAGE, "yaml", "role-arn"))["config"]["issuers"]
    name, pull = model["role"].rpartition("/")[2], json.loads(block(PAGE, "json", "GetAuthorizationToken"))
    documented = Here.aws.role(name, block(PAGE, "json", "WithWebIdentity"), json.dumps(pull))

    async def all_is_well(place: Here) -> bool:
        try:
            own, base = (await place.issuer.issue("alice", 1, leads)).credentials
        except IssueRefused:
            return False
        assert not await place.pulls(replace(own, registry=REGISTRY), "team-bob/app")
        return await place.pulls(own, "team-alice/app") and await place.pulls(base, "base/app")

    async def scenario(place: Here) -> None:
        assert place.issuer._config.role == documented  # type: ignore[attr-defined]  # of this issuer
        assert await all_is_well(place)
        for at, statement in enumerate(pull["Statement"]):
            for right in [*statement["Action"], *statement["Resource"]]:
                less = json.loads(json.dumps(pull))
                for key, other in (("Action", "ecr:ListImages"), ("Resource", f"arn:aws:s3:::{ACCOUNT}")):
                    less["Statement"][at][key] = [other if one == right else one for one in statement[key]]
                Here.aws.iam("PutRolePolicy", RoleName=name, PolicyName="p", PolicyDocument=json.dumps(less))
                assert not await all_is_well(place), right
        Here.aws.iam("PutRolePolicy", RoleName=name, PolicyName="p", PolicyDocument=json.dumps(pull))

    with web_identity() as environ:
        run(scenario, environ, **{key: value for key, value in model.items() if key not in ("issue", "registry")})


def test_the_policies_of_a_chain() -> None:
    may_assume, trusted = block(PAGE, "json", ":role/pull/*"), block(PAGE, "json", "role/pullsecret-issuer")
    Here.aws.iam("PutRolePolicy", RoleName="pullsecret-issuer", PolicyName="p", PolicyDocument=may_assume)
    Here.aws.role("documented", trusted, MAY_PULL, "/pull/")

    async def scenario(place: Here) -> None:
        assert await opened(place, await place.issuer.issue("documented", 1, leads), "documented")

    try:
        with web_identity() as environ:
            run(scenario, environ, chain=True)
        with pod_identity() as environ:
            run(scenario, environ)
    finally:
        Here.aws.iam("PutRolePolicy", RoleName="pullsecret-issuer", PolicyName="p", PolicyDocument=MAY_ASSUME)


# -- the configuration --

ECR = {"issue": "ecr", "registry": REGISTRY, "role": f"{ROLES}/{{owner}}"}


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"registry": "registry.example.com"}, "is none of Amazon ECR"),
        ({"registry": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com.evil.example"}, "is none of Amazon ECR"),
        ({"registry": f"{ACCOUNT}.dkr.ecr.cn-north-1.amazonaws.com"}, "is none of Amazon ECR"),
        ({"registry": f"{ACCOUNT}.dkr-ecr.eu-west-1.amazonaws.com"}, "is none of Amazon ECR"),
        ({"registry": f"{ACCOUNT}.dkr.ecr.eu-west-1.on.aws"}, "is none of Amazon ECR"),
        ({"registry": "public.ecr.aws"}, "is none of Amazon ECR"),
        ({"registry": "123.dkr.ecr.eu-west-1.amazonaws.com"}, "is none of Amazon ECR"),
        ({"role": "pull-{owner}"}, "write arn:aws:iam::123456789012:role/pull/{owner}"),
        ({"role": "arn:aws:iam::123456789012:user/pull"}, "role"),
        ({"role": "arn:aws:iam::{owner}:role/pull"}, "role"),
        ({"role": f"{ROLES}/*"}, "role"),
        ({"role": f"{ROLES}/{{owner}}-{{owner}}"}, "role"),
        ({"role": f"{ROLES}/{'x' * 65}"}, "role"),
        ({"role": f"{ROLES}/pull\n"}, "role"),
        ({"role": "arn:aws-cn:iam::123456789012:role/pull"}, "not in the partition of the registry, aws"),
        ({"repositories": ["base"]}, "one of repositories must have {owner} once"),
        ({"repositories": ["{owner}", "x-{owner}"]}, "might begin like another's"),
        ({"repositories": ["{owner}/{owner}"]}, "has {owner} more than once"),
        ({"repositories": ["{owner}", "base", "base"]}, "repositories has one twice"),
        ({"repositories": ["{owner}/"]}, "no repository's name begins so"),
        ({"repositories": ["{owner}", "*"]}, "no repository's name begins so"),
        ({"repositories": ["Team-{owner}"]}, "no repository's name begins so"),
        ({"repositories": []}, "repositories"),
        ({"accessKeyIdFile": "/i/id"}, "belong together"),
        ({"accessKeyIdFile": "/i/id", "secretKeyFile": "/i/secret", "chain": True}, "chain is for a web identity"),
        ({"chain": True, "hours": 2}, "hours is more than 1"),
        ({"hours": 13}, "hours"),
        ({"hours": 0.1}, "hours"),
        ({"externalId": "x"}, "externalId: write"),
        ({"externalId": "a b"}, "externalId: write"),
        ({"stsEndpoint": "https://sts.example.com/path"}, "stsEndpoint"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], said: str) -> None:
    config_refused(ECR | keys, said)


def test_in_short() -> None:
    (issuer,) = reading.convert({"issuers": [ECR | SHARED]}).issuers
    assert issuer.in_short == (
        f"tokens for {REGISTRY}/{{owner}}/, {REGISTRY}/base/ of the role {ROLES}/{{owner}}; good for 1 h"
    )


def test_the_process_asks_as_its_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/secrets/eks.amazonaws.com/serviceaccount/token")
    config = reading.convert({"issuers": [ECR]})
    issuer = configured(config.issuers[0], config, lambda: CLUSTER)
    assert isinstance(issuer, EcrIssuer)
    assert issuer._login.web_identity == WebIdentity(os.environ["AWS_WEB_IDENTITY_TOKEN_FILE"], "")
    assert issuer._api._sts == f"https://sts.{REGION}.amazonaws.com"


def test_a_check_begins_a_session_that_may_do_nothing() -> None:
    async def scenario(place: Here) -> None:
        await checked(place)
        assert place.server.calls == ["AssumeRole"]
        form = {name: value for name, (value,) in parse_qs(place.server.sent[0][1]).items()}
        assert form["RoleSessionName"] == "pullsecret-check"
        (statement,) = json.loads(form["Policy"])["Statement"]
        assert statement == {"Effect": "Deny", "Action": ["*"], "Resource": ["*"]}
        session = await place.issuer._session(  # type: ignore[attr-defined]  # of this issuer
            f"{ROLES}/alice", {"RoleSessionName": "x", "Policy": form["Policy"]}
        )
        with pytest.raises(IssueRefused, match="ECR gives the role"):
            await place.issuer._token(f"{ROLES}/alice", session.key)  # type: ignore[attr-defined]
        told = await check_fails(place, "zoe")
        assert not told.everybody
        assert "no session of the role" in str(told)

    run(scenario)


def test_a_check_of_one_role_is_about_everybody_and_about_its_hours() -> None:
    async def scenario(place: Here) -> None:
        await checked(place, None)
        place.keys["hours"] = 12
        await checked(place, None)
        place.keys["role"] = f"{ROLES}-nothing"
        told = await check_fails(place, None)
        assert told.everybody

    run(scenario, role=f"{ROLES}-all", repositories=["team-{owner}"])
