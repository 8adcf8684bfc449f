"""The issuer for Google Artifact Registry, against a stand-in for Google that Google's own client is content with."""

import asyncio
import importlib
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import jwt
import pytest
import trustme
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from support import googleserver, named, planted
from support.googleserver import (
    IAM,
    KEYS,
    READ,
    REGISTRY,
    SCOPES,
    Google,
    federation_file,
)
from support.issuercontract import AskedContract
from support.issuerplace import AskedPlace, checked, config_refused, leads, outcome, placed, refused, running
from support.workload import SUBJECT, cluster_token
from webhook.checks import addresses
from webhook.checks.registryclient import RegistryClient
from webhook.config import reading
from webhook.config.issuers.artifactregistry import is_service_account
from webhook.core.check import Why
from webhook.core.credential import Credential
from webhook.core.registry import matching
from webhook.issuers import IssuerUnavailable, client, keptlogin
from webhook.issuers.google import issuer as artifactregistry
from webhook.issuers.google.login import GoogleLogin

ISSUER = "issuer@platform.iam.gserviceaccount.com"
PULL = "pull-{owner}@platform.iam.gserviceaccount.com"
NODE = (
    "principal://iam.googleapis.com/projects/123/locations/global/workloadIdentityPools/p.svc.id.goog/subject/ns/w/sa/i"
)
WORKLOAD = f"principal://iam.googleapis.com/{googleserver.POOL}/subject/{SUBJECT}"
AUDIENCE = f"https:{googleserver.PROVIDER}"
USUAL = {
    "issue": "artifact-registry",
    "registry": REGISTRY,
    "repositories": ["platform/{owner}"],
    "serviceAccount": PULL,
}


class Here(AskedPlace[Google]):
    """A Google, and an issuer that asks it as who a pod is."""

    internet: named.Names
    life = timedelta(hours=1)

    def __init__(self, google: Google, **keys: Any) -> None:
        self.server, self.keys, self.asking = google, keys, client.Client("the registry")
        google.attached = NODE
        for owner in ("alice", "alice2", "alice-2", "al", "v2", "a-b", "a-b-2e7336dc", "library", "bob"):
            self.lets(owner, NODE)
        self.issuer = self.again()

    def lets(self, owner: str, *creators: str) -> None:
        email = PULL.replace("{owner}", owner)
        self.server.account(email, *creators)
        self.server.readers[f"platform/{owner}"] = {f"serviceAccount:{email}"}

    @property
    def usual(self) -> dict[str, Any]:
        return USUAL

    async def close(self) -> None:
        await super().close()
        await self.asking.close()

    def made(self) -> Any:
        return [one for one in self.server.tokens.values() if one.who != NODE]

    def logs_in_wrongly(self) -> None:
        self.server.attached = ""

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        login = aiohttp.encode_basic_auth(*c.login)
        query = {"service": REGISTRY, "scope": f"repository:platform/{owner}/app:pull"}
        url, calls = f"https://{REGISTRY}/v2/token", len(self.server.calls)
        answer = await self.asking.call("GET", url, query=query, headers={"Authorization": login})
        del self.server.calls[calls:]
        sent = matching([c.registry], f"{REGISTRY}/platform/{owner}/app")
        assert answer.status != 200 or sent == (c.registry,)
        return answer.status == 200


@pytest.fixture(scope="module", autouse=True)
def _internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    Here.folder = tmp_path_factory.mktemp("google")
    with named.names(Here.folder) as Here.internet:
        yield


@asynccontextmanager
async def here(**keys: Any) -> AsyncIterator[Here]:
    async with googleserver.serving(Here.internet) as server, placed(Here(server, **keys)) as place:
        yield place


class TestContract(AskedContract):
    username = "oauth2accesstoken"

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here()


run = running(here)


def written(name: str, content: Any) -> str:
    file = Here.folder / name
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return str(file)


def test_a_token_is_of_the_owners_account_and_may_only_read() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        assert [c.registry for c in minted.credentials] == [f"{REGISTRY}/platform/alice/", f"{REGISTRY}/base/"]
        assert {c.username for c in minted.credentials} == {"oauth2accesstoken"}
        (password,) = {c.password for c in minted.credentials}
        token = place.server.has(password)
        assert token is not None
        assert token.who == "serviceAccount:pull-alice@platform.iam.gserviceaccount.com"
        assert token.scopes == {READ}
        assert timedelta(minutes=89) < minted.life <= timedelta(hours=1.5)
        assert minted.handle == ""

    async def longer(place: Here) -> None:
        told = await refused(place)
        assert "HTTP 400: The access token lifetime cannot exceed 3600 seconds." in str(told)
        assert not told.everybody
        place.server.accounts["pull-alice@platform.iam.gserviceaccount.com"].extended = True
        await scenario(place)

    run(longer, repositories=["platform/{owner}", "base"], hours=1.5)


def test_the_usual_renewal_is_one_request() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        await asyncio.gather(*(place.issuer.issue(owner, 1, leads) for owner in ("alice", "bob", "v2")))
        assert [call.partition("/")[0] for call in place.server.calls] == ["GET metadata.google.internal"] + [
            f"POST {IAM}"
        ] * 4

    run(scenario)


def test_many_at_once_log_in_once() -> None:
    async def scenario(place: Here) -> None:
        await asyncio.gather(*(place.issuer.issue(owner, 1, leads) for owner in ("alice", "bob", "v2")))
        assert len([call for call in place.server.calls if "metadata" in call]) == 1

    run(scenario)


def test_the_registry_takes_it_for_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the check that is made of each new one."""
    monkeypatch.setattr(addresses, "is_public", lambda _: True)

    async def scenario(place: Here) -> None:
        (c,) = (await place.issuer.issue("alice", 1, leads)).credentials
        registry = RegistryClient(place.config(), lambda: datetime.now(UTC))
        assert (await registry.ask(c)).why is Why.NONE
        assert (await registry.ask(Credential(c.registry, "alice", c.password))).why is Why.UNAUTHORIZED
        place.server.skew = timedelta(hours=2)
        assert (await registry.ask(c)).why is Why.UNAUTHORIZED
        await registry.close()

    run(scenario)


# -- the login --


def test_a_key_signs_its_login() -> None:
    async def scenario(place: Here) -> None:
        place.server.account(ISSUER)
        place.lets("alice", f"serviceAccount:{ISSUER}")
        place.keys["credentialsFile"] = written("key.json", place.server.key_file(ISSUER))
        place.issuer = place.again()
        (c,) = (await place.issuer.issue("alice", 1, leads)).credentials
        assert await place.opens(c)
        assert place.server.calls == [
            f"POST {KEYS}/token",
            f"POST {IAM}/v1/projects/-/serviceAccounts/pull-alice@platform.iam.gserviceaccount.com:generateAccessToken",
        ]
        # Of a key that is deleted, what it signed is worth nothing.
        place.server.accounts[ISSUER].keys.clear()
        await place.issuer.close()
        place.issuer = place.again()
        told = await refused(place, kind=IssuerUnavailable)
        assert "Google refuses our login (HTTP 400: Invalid grant: account not found)" in str(told)
        assert told.retry_after == keptlogin.AGAIN_SECONDS
        # The file is read again: a new key needs no restart.
        written("key.json", place.server.key_file(ISSUER, 1))
        assert await place.issuer.issue("alice", 1, leads)

    run(scenario)


def test_another_accounts_key_is_none() -> None:
    async def scenario(place: Here) -> None:
        place.server.account(ISSUER)
        key, other = place.server.key_file(ISSUER), place.server.key_file(ISSUER, 1)
        place.keys["credentialsFile"] = written("key.json", key | {"private_key": other["private_key"]})
        place.issuer = place.again()
        assert "Invalid JWT Signature" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


@pytest.mark.parametrize("impersonated", ["", ISSUER])
def test_a_token_of_the_cluster_is_exchanged(impersonated: str) -> None:
    async def scenario(place: Here) -> None:
        place.server.account(ISSUER, WORKLOAD)
        place.lets("alice", f"serviceAccount:{ISSUER}" if impersonated else WORKLOAD)
        file = written("token", cluster_token(AUDIENCE) + "\n")
        place.keys["credentialsFile"] = written("wif.json", federation_file(file, impersonated))
        place.issuer = place.again()
        (c,) = (await place.issuer.issue("alice", 1, leads)).credentials
        assert await place.opens(c)
        assert place.asked() == (3 if impersonated else 2)
        await place.issuer.issue("alice", 2, leads)
        assert place.asked() == (4 if impersonated else 3)

    run(scenario)


def test_a_login_lives_no_longer_than_the_token_of_the_cluster() -> None:
    async def scenario(place: Here) -> None:
        place.lets("alice", WORKLOAD)
        file = written("token", cluster_token(AUDIENCE, seconds=60))
        place.keys["credentialsFile"] = written("wif.json", federation_file(file))
        place.issuer = place.again()
        for _ in range(2):
            assert await place.issuer.issue("alice", 1, leads)
        assert place.asked() == 3  # one login
        login: GoogleLogin = place.issuer._login  # type: ignore[attr-defined]  # of this issuer
        assert login._kept is not None
        token, until = login._kept
        now = asyncio.get_running_loop().time()
        assert 20 < until - now <= 30
        login._kept = token, now
        written("token", cluster_token(AUDIENCE, seconds=-1))
        told = await refused(place, kind=IssuerUnavailable)
        assert "Google refuses our login (HTTP 400: The given credential is rejected" in str(told)
        assert "audience of the token's volume" in str(told)

    run(scenario)


@pytest.mark.parametrize("how", [{"audience": "https://kubernetes.default.svc"}, {"signer": 8}])
def test_another_token_of_the_cluster_is_refused(how: dict[str, Any]) -> None:
    async def scenario(place: Here) -> None:
        file = written("token", cluster_token(**{"audience": AUDIENCE} | how))
        place.keys["credentialsFile"] = written("wif.json", federation_file(file))
        place.issuer = place.again()
        assert "Google refuses our login (HTTP 400" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


def test_an_impersonation_that_is_not_allowed_is_told() -> None:
    async def scenario(place: Here) -> None:
        place.server.account(ISSUER)
        file = written("token", cluster_token(AUDIENCE))
        place.keys["credentialsFile"] = written("wif.json", federation_file(file, ISSUER))
        place.issuer = place.again()
        told = str(await refused(place, kind=IssuerUnavailable))
        assert "Google refuses our login (HTTP 403: Permission 'iam.serviceAccounts.getAccessToken' denied" in told
        assert "may it use the service account in credentialsFile?" in told

    run(scenario)


def test_a_pod_without_an_identity_is_told_what_to_set() -> None:
    async def scenario(place: Here) -> None:
        place.server.attached = ""
        told = str(await refused(place, kind=IssuerUnavailable))
        assert "Google refuses our login (HTTP 404): has this pod an identity at Google?" in told
        Here.internet.ports.pop(googleserver.METADATA)
        await place.issuer.close()
        assert "Google does not answer" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


def test_not_everybody_is_the_metadata_server() -> None:
    async def scenario(place: Here) -> None:
        body = json.dumps({"access_token": "x", "expires_in": 60, "token_type": "Bearer"}).encode()
        place.answers(1, 200, body)
        assert str(await refused(place, kind=IssuerUnavailable)) == "what Google answers is not what its API has"

    run(scenario)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "is neither the key of a service account nor a configuration of workload identity federation"),
        ("{}", "is neither"),
        ('{"type": "authorized_user", "refresh_token": "' + planted.token() + '"}', "is neither"),
        ({"type": "service_account", "client_email": "x"}, "is neither"),
        (federation_file("x") | {"credential_source": {"environment_id": "aws1"}}, "is neither"),
        (federation_file("x") | {"credential_source": {"executable": {"command": "/bin/id"}}}, "is neither"),
        (federation_file("x") | {"token_url": "http://sts.googleapis.com/v1/token"}, "is neither"),
        (federation_file("x") | {"credential_source": {"file": "x", "format": {"type": "json"}}}, "is neither"),
        (federation_file("/nowhere/token"), "no token for workload identity federation: /nowhere/token: No such file"),
        (
            {
                "type": "service_account",
                "client_email": "x",
                "private_key_id": "1",
                "private_key": planted.token(),
                "token_uri": f"https://{KEYS}/token",
            },
            "the private key in",
        ),
        ("[" * 100_000, "is neither"),
    ],
)
def test_files_that_are_no_login(content: Any, told: str) -> None:
    async def scenario(place: Here) -> None:
        place.keys["credentialsFile"] = written("odd.json", content)
        place.issuer = place.again()
        assert told in str(await refused(place, kind=IssuerUnavailable))
        assert place.server.calls == []

    run(scenario)


def test_a_public_key_is_none_to_sign_with() -> None:
    async def scenario(place: Here) -> None:
        place.server.account(ISSUER)
        key = place.server.key_file(ISSUER)
        private = load_pem_private_key(key["private_key"].encode(), None)
        public = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        place.keys["credentialsFile"] = written("key.json", key | {"private_key": public.decode()})
        place.issuer = place.again()
        assert "the private key in" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


def test_a_file_that_is_not_there() -> None:
    async def scenario(place: Here) -> None:
        assert str(await refused(place, kind=IssuerUnavailable)) == (
            "there is no login for Google: /nowhere/key.json: No such file or directory"
        )

    run(scenario, credentialsFile="/nowhere/key.json")


def test_a_login_that_ended_early_is_made_anew() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        place.server.tokens.clear()
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told).startswith("Google takes our login no more (HTTP 401: Request had invalid authentication")
        assert await place.issuer.issue("alice", 1, leads)

    run(scenario)


# -- what Google's own client sends --


@pytest.mark.parametrize("kind", ["metadata", "key", "federated", "impersonated"])
def test_it_asks_as_googles_own_client_does(kind: str) -> None:
    """Which also says that the stand-in is one: that client is content with it."""

    async def scenario(place: Here) -> None:
        place.server.account(ISSUER, WORKLOAD)
        place.lets("alice", f"serviceAccount:{ISSUER}", WORKLOAD)
        token = written("token", cluster_token(AUDIENCE))
        if kind != "metadata":
            content = (
                place.server.key_file(ISSUER)
                if kind == "key"
                else federation_file(token, ISSUER if kind == "impersonated" else "")
            )
            place.keys["credentialsFile"] = written("login.json", content)
        place.issuer = place.again()
        await place.issuer.issue("alice", 1, leads)
        ours = requests(place.server)
        await asyncio.to_thread(asked_by_google, place.keys.get("credentialsFile"))
        theirs = requests(place.server)
        # It asks the metadata server for a name first, which nobody needs.
        assert ours == [one for one in theirs if "recursive=true" not in one[0]]

    run(scenario)


def asked_by_google(file: str | None) -> None:
    # None of these has types.
    google: Any = importlib.import_module("google.auth.impersonated_credentials")
    source: Any
    if file is None:
        source = importlib.import_module("google.auth.compute_engine").Credentials(universe_domain="googleapis.com")
    elif "private_key" in Path(file).read_text():
        source = importlib.import_module("google.oauth2.service_account").Credentials.from_service_account_file(file)
    else:
        source = importlib.import_module("google.auth.identity_pool").Credentials.from_file(file)
    principal = PULL.replace("{owner}", "alice")
    made = google.Credentials(source, principal, [READ], lifetime=3600)
    made.refresh(importlib.import_module("google.auth.transport.requests").Request())
    assert made.token.startswith("ya29.")


def requests(google: Google) -> list[tuple[str, str, Any]]:
    """Without what is another one each time."""
    found = []
    for call, body, headers in zip(google.calls, google.bodies, google.headers, strict=True):
        kind = headers.get("Content-Type", "")
        found.append((call, kind.partition(";")[0], meant(kind, body)))
    google.calls.clear()
    google.bodies.clear()
    google.headers.clear()
    return found


def meant(kind: str, body: bytes) -> Any:
    if kind.startswith("application/json"):
        content = json.loads(body)
        assert not content.pop("delegates", None)
        return content
    form = dict(parse_qsl(body.decode()))
    if "assertion" in form:
        form |= {f"its {key}": str(text) for key, text in jwt.get_unverified_header(form["assertion"]).items()}
        claims = jwt.decode(form.pop("assertion"), options={"verify_signature": False})
        form |= {key: str(text) for key, text in claims.items() if key not in {"iat", "exp"}}
        assert claims["exp"] - claims["iat"] == 3600
        assert abs(claims["iat"] - time.time()) < 90
    return form


# -- what is not given --


def test_an_account_that_is_not_there_or_not_ours_is_the_owners() -> None:
    async def scenario(place: Here) -> None:
        told = await refused(place, "carol")
        assert str(told) == (
            "Google gives no token of pull-carol@platform.iam.gserviceaccount.com (HTTP 403: Permission "
            "'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).); create it, and let us "
            "make tokens of it, as docs/artifact-registry.md has it"
        )
        assert not told.everybody
        assert await place.issuer.issue("alice", 1, leads)

    run(scenario)


@pytest.mark.parametrize("what", ["api", "scope"])
def test_what_has_nothing_to_do_with_an_owner(what: str) -> None:
    async def scenario(place: Here) -> None:
        if what == "api":
            place.server.enabled = False
        else:
            place.server.scopes = frozenset({f"{SCOPES}logging.write"})
        told = await refused(place)
        assert told.everybody
        assert str(told).startswith("Google gives no tokens of service accounts (HTTP 403: ")

    run(scenario)


@pytest.mark.parametrize("body", [b"", b"<html><title>Forbidden</title></html>", b"[" * 5000, b'{"error": "denied"}'])
def test_a_proxy_that_forbids_it_is_told_as_the_owners(body: bytes) -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        place.answers(1, 403, body)
        assert "gives no token of pull-alice@platform.iam.gserviceaccount.com (HTTP 403" in str(await refused(place))

    run(scenario)


@pytest.mark.parametrize("owner", ["Alice", "a.b", "a_b", "alice@other-project", "x" * 26, "a b", "é", "alice\n", ""])
def test_owners_that_fit_no_account(owner: str) -> None:
    async def scenario(place: Here) -> None:
        assert "no service account can have the owner" in str(await refused(place, owner))
        assert place.server.calls == []

    run(scenario)


def test_an_owner_stays_in_its_part_of_the_name() -> None:
    """In the place of a project a dot or an @ would make another one's."""

    async def scenario(place: Here) -> None:
        for owner in ("evil@other", "x.evil", "victim@other.iam.gserviceaccount.com"):
            assert "no service account can have the owner" in str(await refused(place, owner))
        assert place.server.calls == []
        place.server.account("puller@alices-project.iam.gserviceaccount.com", NODE)
        assert await place.issuer.issue("alices", 1, leads)

    run(scenario, serviceAccount="puller@{owner}-project.iam.gserviceaccount.com")


@pytest.mark.parametrize(
    ("email", "good"),
    [
        ("puller@platform.iam.gserviceaccount.com", True),
        ("puller@platform.example.com.iam.gserviceaccount.com", True),
        ("pulle@platform.iam.gserviceaccount.com", False),
        (f"p{'x' * 29}@platform.iam.gserviceaccount.com", True),
        (f"p{'x' * 30}@platform.iam.gserviceaccount.com", False),
        ("1puller@platform.iam.gserviceaccount.com", False),
        ("puller-@platform.iam.gserviceaccount.com", False),
        ("pull/er@platform.iam.gserviceaccount.com", False),
        ("puller@platform.iam.gserviceaccount.com\n", False),
        ("puller@developer.gserviceaccount.com", False),
        ("puller@x.iam.gserviceaccount.com", False),
    ],
)
def test_names_of_accounts(email: str, good: bool) -> None:
    assert is_service_account(email) is good


# -- odd answers --


@pytest.mark.parametrize(
    "answer",
    [
        {"accessToken": ""},
        {"accessToken": None},
        {"accessToken": "x\r\ny: z"},
        {"accessToken": "x" * 40_000},
        {"expireTime": ""},
        {"expireTime": "2999-01-01T00:00:00"},
        {"expireTime": 4000000000},
    ],
)
def test_answers_that_cannot_be_used(answer: dict[str, Any]) -> None:
    found = answered(answer, IssuerUnavailable)
    assert str(found) in {
        "what Google answers is not what its API has",
        "the name or the password in the answer of Google is none that can be used",
    }


def test_the_end_has_any_number_of_digits() -> None:
    end = (datetime.now(UTC) + timedelta(minutes=20)).strftime("%Y-%m-%dT%H:%M:%S")
    for text in (f"{end}Z", f"{end}.5Z", f"{end}.123456789Z", f"{end}+00:00"):
        found = answered({"expireTime": text})
        assert timedelta(minutes=19) < found.life < timedelta(minutes=21)


def answered(answer: dict[str, Any], failing: type[Exception] | None = None) -> Any:
    async def scenario(place: Here) -> Any:
        await place.issuer.issue("alice", 1, leads)
        usual = {"accessToken": planted.token(), "expireTime": "2999-01-01T00:00:00Z"}
        place.answers(1, 200, json.dumps(usual | answer).encode())
        return await outcome(place, failing)

    return run(scenario)


def test_what_it_says_is_shown_without_the_login() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        (bearer,) = (token for token, one in place.server.tokens.items() if one.who == NODE)
        body = json.dumps({"error": {"code": 400, "message": f"no:\n{bearer} \x1b[31m", "status": "X"}}).encode()
        place.answers(1, 400, body)
        told = str(await refused(place))
        assert "(HTTP 400: no: ***" in told

    run(scenario)


def test_its_certificate_counts() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        other = trustme.CA()
        other.cert_pem.write_to_path(str(place.folder / "other.pem"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", str(place.folder / "other.pem"))
            await place.issuer.close()
            place.issuer = place.again()
            told = str(await refused(place, kind=IssuerUnavailable))
        assert "its certificate is not trusted" in told

    run(scenario)


# -- the configuration --


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"registry": "pkg.dev"}, "such as europe-docker.pkg.dev"),
        ({"registry": "docker.pkg.dev"}, "registry"),
        ({"registry": "europe-docker.pkg.dev/platform"}, "registry"),
        ({"registry": "registry.example.com"}, "Artifact Registry has none there"),
        ({"registry": "gcr.io.example.com"}, "registry"),
        ({"repositories": []}, "repositories"),
        ({"repositories": ["platform/{owner}", "platform/{owner}"]}, "repositories has one twice"),
        ({"repositories": ["platform/{owner}/"]}, "without the registry before it and a slash behind"),
        ({"repositories": ["Platform/{owner}"]}, "no repository's name begins so"),
        ({"repositories": ["{owner}/{owner}"]}, "has {owner} more than once"),
        ({"serviceAccount": "pull@platform.iam.gserviceaccount.com"}, "serviceAccount must have {owner} once"),
        (
            {"serviceAccount": "{owner}-{owner}@platform.iam.gserviceaccount.com"},
            "serviceAccount must have {owner} once",
        ),
        ({"serviceAccount": "pull-{owner}"}, "is none; write pull-{owner}@my-project"),
        ({"serviceAccount": "pull-{owner}@example.com"}, "is none; write pull-{owner}@my-project"),
        ({"hours": 0.2}, "hours"),
        ({"hours": 12.5}, "hours: write a number from 0.25 to 12.0 (it is 12.5)"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], told: str) -> None:
    config_refused(USUAL | keys, told)


def test_hosts_of_gcr() -> None:
    for host in ("gcr.io", "eu.gcr.io", "us-central1-docker.pkg.dev"):
        (issuer,) = reading.convert({"issuers": [USUAL | {"registry": host}]}).issuers
        assert issuer.in_short == f"tokens of {PULL} for {host}, good for 1 h"


def test_one_identity_for_all_must_be_wished_for() -> None:
    keys = {"serviceAccount": "puller@platform.iam.gserviceaccount.com", "shared": True}

    async def scenario(place: Here) -> None:
        place.server.account("puller@platform.iam.gserviceaccount.com", NODE)
        for owner in ("alice", "bob"):
            (c,) = (await place.issuer.issue(owner, 1, leads)).credentials
            assert c.registry == f"{REGISTRY}/platform/{owner}/"

    run(scenario, **keys)


def test_no_scope_but_to_read() -> None:
    assert artifactregistry.SCOPE.endswith(".read_only")


def test_a_check_logs_in_and_makes_no_token_of_an_owner() -> None:
    async def scenario(place: Here) -> None:
        await checked(place)
        assert [one.who for one in place.server.tokens.values()] == [NODE]

    run(scenario)
