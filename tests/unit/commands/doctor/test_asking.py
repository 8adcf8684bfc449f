"""What a registry is asked about one image, who gets the credential, and what the answers mean: real servers."""

import asyncio
import base64
import gzip
import hashlib
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from support import planted
from support.loopback import Loopback, names, silent_port
from support.registryserver import Act, Request, Server, answer, asks, json_answer, serving
from webhook.checks import guardedhttp
from webhook.checks.guardedhttp import GuardedHttp
from webhook.commands.doctor.asking import MAX_REQUESTS, Asked, ask
from webhook.commands.doctor.evidence import Target
from webhook.config.models import Config, Registry
from webhook.core.credential import Credential
from webhook.core.faults import Fault
from webhook.core.manifest import MAX_BYTES

PASSWORD, TOKEN = planted.token(), "eyRegistrysOwn.0123456789abcdef-_"
API = "Docker-Distribution-Api-Version: registry/2.0"
UNKNOWN = b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'
BASIC = 'Basic realm="registry"'
HTML = b"<html><head><title>Please log in</title></head></html>"
OCI, INDEX = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.image.index.v1+json"
OLD = "application/vnd.docker.distribution.manifest.v1+prettyjws"
CONFIG = f"sha256:{'c' * 64}"
IMAGE = json.dumps({"schemaVersion": 2, "mediaType": OCI, "config": {"digest": CONFIG}}).encode()
IMAGE_DIGEST = f"sha256:{hashlib.sha256(IMAGE).hexdigest()}"
AMD64 = {"digest": IMAGE_DIGEST, "platform": {"os": "linux", "architecture": "amd64"}}
LIST = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [AMD64]}).encode()
LOGIN = "Basic " + base64.b64encode(f"alice:{PASSWORD}".encode()).decode()
BEARER = f"Bearer {TOKEN}"


def errors(code: str, message: str = "") -> dict[str, Any]:
    return {"errors": [{"code": code, "message": message or code.lower()}]}


ENDED = "Your authorization token has expired. Reauthenticate and try again."
SCOPES = "permission_denied: The token provided does not match expected scopes."
POLICY = "due to the security policy, client with IP 192.0.2.7 is blocked"
"""Of ECR, GitHub and JFrog: the same words mean the same when the kubelet hands them on."""


def stored(body: bytes, kind: str = OCI, *headers: str) -> bytes:
    return answer(200, body, f"Content-Type: {kind}", *headers)


def page(status: int) -> bytes:
    return answer(status, HTML, "Content-Type: text/html; charset=utf-8")


@dataclass
class Fake:
    """A registry whose answers can be replaced. `challenge` None: it asks for no credential; `login`: what it takes."""

    challenge: str | None = None
    login: str = BEARER
    first: bytes | None = None
    token: bytes = field(default_factory=lambda: json_answer(200, {"token": TOKEN, "expires_in": 300}))
    manifests: dict[str, bytes] = field(default_factory=lambda: {"1": stored(IMAGE), IMAGE_DIGEST: stored(IMAGE)})
    blob: bytes = answer(200)
    host: str = ""

    def say(self, request: Request) -> bytes:
        parts = urlsplit(request.target)
        if parts.path == "/token":
            return self.token
        if not request.login:
            if self.first is not None:
                return self.first
            if self.challenge is not None:
                return asks(self.challenge.format(host=self.host))
        elif self.challenge is not None and request.login != self.login:
            return asks(self.challenge.format(host=self.host))
        kind, name = parts.path.split("/")[-2:]
        if kind == "blobs":
            return self.blob
        return self.manifests.get(name, json_answer(404, errors("MANIFEST_UNKNOWN")))


def bearer(**given: Any) -> Fake:
    return Fake('Bearer realm="https://{host}/token",service="s",scope="repository:team/app:pull"', **given)


def basic(**given: Any) -> Fake:
    return Fake(BASIC, LOGIN, **given)


@pytest.fixture
def here(tmp_path: Path) -> Loopback:
    return Loopback(tmp_path)


@asynccontextmanager
async def up(here: Loopback, fake: Fake, **options: Any) -> AsyncIterator[Server]:
    async with here.serving(fake.say, **options) as server:
        fake.host = server.host
        yield server


async def asked(
    config: Config,
    image: str,
    password: str | None = PASSWORD,
    platform: str = "linux/amd64",
    blob: str = "",
    *,
    registry: str = "",
) -> Asked:
    """Nothing of what is secret is in what is said or logged."""
    credential = None
    if password is not None:
        credential = Credential(registry or image.partition("/")[0], "alice", password)
    http = GuardedHttp(config)
    try:
        with capture_logs() as logs:
            found = await ask(http, image, credential, platform, blob)
    finally:
        await http.close()
    assert not planted.leaks(f"{found!r} {found}")
    assert TOKEN.lower() not in repr(found).lower()
    assert logs == []
    assert len(found.steps) <= MAX_REQUESTS
    return found


async def of(here: Loopback, server: Server, *others: Server, **given: Any) -> Asked:
    return await asked(here.named(server, *others), f"{server.host}/team/app:1", **given)


def runs(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def requests(server: Server) -> list[tuple[str, str, str]]:
    """Method, path, and with what it came."""
    known = {"": "", LOGIN: "password", BEARER: "token"}
    return [(one.method, urlsplit(one.target).path, known.get(one.login, "?")) for one in server.asked]


# -- right --


def test_with_tokens(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, bearer()) as server:
            found = await of(here, server)
            assert requests(server) == [
                ("HEAD", "/v2/team/app/manifests/1", ""),
                ("GET", "/token", "password"),
                ("GET", "/v2/team/app/manifests/1", "token"),
                ("HEAD", f"/v2/team/app/blobs/{CONFIG}", "token"),
            ]
            assert (found.works, found.fault, found.not_asked, found.registry) == (True, None, "", server.host)
            assert [(one.what, one.status) for one in found.steps] == [
                ("challenge", 401),
                ("token", 200),
                ("manifest", 200),
                ("blob", 200),
            ]
            assert {one.host for one in found.steps} == {server.host}
            assert found.realm == Target("localhost", server.port, role="realm")
            assert found.blobs == Target("localhost", server.port, role="blobs")
            assert parse_qs(urlsplit(server.asked[1].target).query) == {
                "service": ["s"],
                "scope": ["repository:team/app:pull"],
            }
            assert all(OCI in one.headers["accept"] for one in server.asked if "/token" not in one.target)
            assert not any("cookie" in one.headers for one in server.asked)

    runs(scenario)


def test_with_a_password(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, basic()) as server:
            found = await of(here, server)
            assert found.works
            assert [what for *_, what in requests(server)] == ["", "password", "password"]
            assert found.realm is None

    runs(scenario)


def test_a_public_image_gets_no_credential(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, Fake()) as server:
            found = await of(here, server)
            assert found.works
            assert server.logins == []
            assert [one[0] for one in requests(server)] == ["HEAD", "GET", "HEAD"]

    runs(scenario)


def test_without_a_credential_an_anonymous_token_is_asked_for(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, bearer()) as server:
            found = await of(here, server, password=None)
            assert found.works
            assert [what for *_, what in requests(server)] == ["", "", "token", "token"]
        async with up(here, basic()) as server:
            found = await of(here, server, password=None)
            assert (found.works, found.fault) == (False, Fault.CREDENTIAL_NONE)
            assert len(server.asked) == 1

    runs(scenario)


def test_a_token_under_its_other_name(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, bearer(token=json_answer(200, {"token": "", "access_token": TOKEN}))) as server:
            assert (await of(here, server)).works

    runs(scenario)


def test_a_token_service_of_another_host(here: Loopback) -> None:
    async def scenario() -> None:
        tokens = Fake()
        async with up(here, tokens) as realm:
            fake = Fake(f'Bearer realm="https://{realm.host}/token"')
            async with up(here, fake) as server:
                found = await of(here, server, realm)
                assert found.works
                assert found.realm == Target("localhost", realm.port, role="realm")
                assert realm.logins == [LOGIN]
                assert server.logins == [BEARER, BEARER]

    runs(scenario)


@pytest.mark.parametrize(
    ("scope", "sent"),
    [
        ("", ["repository:team/app:pull"]),
        ("repository:team/app:pull", ["repository:team/app:pull"]),
        ("repository:docker-local/app:pull", ["repository:docker-local/app:pull", "repository:team/app:pull"]),
        ("repository:team/app:metadata_read", ["repository:team/app:metadata_read", "repository:team/app:pull"]),
        ("repository:a:pull repository:b:pull", [f"repository:{name}:pull" for name in ("a", "b", "team/app")]),
        # What can be changed with a token is not asked for, whoever wants us to.
        ("repository:victim/app:pull,push", ["repository:team/app:pull"]),
        ("repository:victim/app:*", ["repository:team/app:pull"]),
        ("repository:team/app:delete registry:catalog:*", ["repository:team/app:pull"]),
        ("a&service=other", ["repository:team/app:pull"]),
    ],
)
def test_the_scope_that_is_asked_for(here: Loopback, scope: str, sent: list[str]) -> None:
    async def scenario() -> None:
        fake = Fake(f'Bearer realm="https://{{host}}/token?a=b",service="s",scope="{scope}"')
        async with up(here, fake) as server:
            assert (await of(here, server)).works
            query = parse_qs(urlsplit(server.asked[1].target).query)
            assert query == {"a": ["b"], "service": ["s"], "scope": sent}

    runs(scenario)


# -- lists of platforms, and where blobs come from --


def test_a_list_that_has_the_platform(here: Loopback) -> None:
    async def scenario() -> None:
        listed = {"1": stored(LIST, INDEX), IMAGE_DIGEST: stored(IMAGE)}
        async with up(here, bearer(manifests=listed)) as server:
            found = await of(here, server)
            assert (found.works, found.platforms) == (True, ("linux/amd64",))
            assert len(server.asked) == 3  # the fourth one would not be enough for a blob
            assert "list of platforms" in found.not_asked
            named = await of(here, server, blob=CONFIG)
            assert (named.works, named.not_asked) == (True, "")
            assert named.blobs is not None
        async with up(here, basic(manifests=listed)) as server:
            found = await of(here, server)
            assert (found.works, found.not_asked) == (True, "")
            assert [path.rpartition("/")[2] for _, path, _ in requests(server)] == ["1", "1", IMAGE_DIGEST, CONFIG]
            assert found.blobs is not None
        async with up(here, basic(manifests={"1": stored(LIST, INDEX)})) as server:
            assert (await of(here, server)).fault == Fault.CONTENT_GONE

    runs(scenario)


def test_a_list_without_the_platform(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, bearer(manifests={"1": stored(LIST, INDEX)})) as server:
            found = await of(here, server, platform="linux/arm64")
            assert (found.works, found.fault) == (False, Fault.PLATFORM_MISSING)
            assert found.platforms == ("linux/amd64",)
            assert found.steps[-1].fault == Fault.PLATFORM_MISSING
            unknown = await of(here, server, platform="")
            assert (unknown.works, unknown.platforms) == (True, ("linux/amd64",))

    runs(scenario)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("make", [basic, bearer])
def test_where_blobs_are_is_told_and_not_followed(here: Loopback, status: int, make: Callable[..., Fake]) -> None:
    async def scenario() -> None:
        async with here.serving(lambda _: answer(200)) as elsewhere:
            fake = make()
            async with up(here, fake) as server:
                for target, place in {
                    f"https://{elsewhere.host}/b?sig={PASSWORD}": Target("localhost", elsewhere.port, role="blobs"),
                    f"http://{elsewhere.host}/b": Target("localhost", elsewhere.port, plain=True, role="blobs"),
                    "/storage/b": Target("localhost", server.port, role="blobs"),
                    "//blobs.example/b": Target("blobs.example", role="blobs"),
                    "https://[2001:db8::1]:8443/b": Target("2001:db8::1", 8443, role="blobs"),
                    "ftp://blobs.example/b": None,
                    "https://[/b": None,
                }.items():
                    fake.blob = answer(status, b"", f"Location: {target}")
                    found = await of(here, server, elsewhere)
                    assert (found.works, found.blobs) == (True, place), target
                    assert found.steps[-1].status == status
                fake.blob = answer(status)
                assert (await of(here, server)).blobs is None
            assert elsewhere.connections == 0

    runs(scenario)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (json_answer(403, errors("DENIED")), Fault.BLOB_REFUSED),
        (answer(401), Fault.BLOB_REFUSED),
        (answer(410), Fault.CONTENT_GONE),
        (json_answer(404, errors("BLOB_UNKNOWN")), Fault.CONTENT_GONE),
        (answer(503), Fault.REGISTRY_BROKEN),
        (answer(429, b"", "Retry-After: 7"), Fault.REGISTRY_RATE_LIMIT),
        (answer(405), None),
    ],
)
def test_blobs_that_cannot_be_had(here: Loopback, said: bytes, fault: Fault | None) -> None:
    async def scenario() -> None:
        async with up(here, bearer(blob=said)) as server:
            found = await of(here, server)
            assert (found.fault, found.works, found.steps[-1].what) == (fault, fault is None, "blob")

    runs(scenario)


def test_blobs_of_which_nothing_is_known(here: Loopback) -> None:
    async def scenario() -> None:
        nameless = json.dumps({"schemaVersion": 2, "config": {"digest": "../../token"}}).encode()
        async with up(here, basic(manifests={"1": stored(nameless)})) as server:
            found = await of(here, server)
            assert (found.works, found.not_asked) == (True, "where its content comes from")
            assert len(server.asked) == 2
        elsewhere = Fake(first=answer(307, b"", "Location: /signed/1"))

        def say(request: Request) -> bytes:
            return stored(IMAGE) if request.target == "/signed/1" else elsewhere.say(request)

        async with here.serving(say) as server:
            found = await of(here, server, password=None)
            assert (found.works, found.not_asked) == (True, "where its content comes from")
            assert len(server.asked) == 3

    runs(scenario)


def test_the_blob_that_the_kubelet_named(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, bearer()) as server:
            digest = f"sha256:{'b' * 64}"
            await of(here, server, blob=digest)
            assert server.asked[-1].target == f"/v2/team/app/blobs/{digest}"
            await of(here, server, blob="../../token")
            assert server.asked[-1].target == f"/v2/team/app/blobs/{CONFIG}"

    runs(scenario)


# -- what is wrong --


@pytest.mark.parametrize(
    ("said", "fault", "words"),
    [
        (answer(401), Fault.REGISTRY_NONE, ""),
        (asks("Negotiate"), Fault.REGISTRY_NONE, ""),
        (page(401), Fault.REGISTRY_NONE, "a page in HTML"),
        (page(200), Fault.REGISTRY_NONE, "a page in HTML"),
        (page(403), Fault.REGISTRY_BLOCKED, "a page in HTML"),
        (json_answer(403, errors("DENIED")), Fault.REGISTRY_BLOCKED, ""),
        (json_answer(404, errors("NAME_UNKNOWN")), Fault.IMAGE_NOT_FOUND, ""),
        (answer(404), Fault.IMAGE_NOT_FOUND, ""),
        (page(404), Fault.REGISTRY_NONE, "a page in HTML"),
        (answer(404, b"", "Content-Type: text/plain"), Fault.REGISTRY_NONE, ""),
        (page(407), Fault.REGISTRY_NONE, "a page in HTML"),
        (answer(429), Fault.REGISTRY_RATE_LIMIT, ""),
        (answer(451), Fault.REGISTRY_BLOCKED, ""),
        (answer(500), Fault.REGISTRY_BROKEN, ""),
        (page(503), Fault.REGISTRY_BROKEN, "a page in HTML"),
        (answer(400), Fault.NOT_KNOWN, ""),
        (answer(405), Fault.NOT_KNOWN, ""),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Fault.REGISTRY_NONE, "ClientResponseError"),
        (b"", Fault.TCP_CUT, "closed"),
    ],
)
def test_before_a_credential_is_asked_for(here: Loopback, said: bytes, fault: Fault, words: str) -> None:
    async def scenario() -> None:
        async with up(here, Fake(first=said)) as server:
            found = await of(here, server)
            assert found.fault == fault
            assert not found.works
            assert len(server.asked) == 1
            assert server.logins == []
            assert words in found.steps[0].words

    runs(scenario)


@pytest.mark.parametrize(
    ("said", "mine", "anonymous", "words"),
    [
        (json_answer(401, errors("UNAUTHORIZED")), Fault.TOKEN_REFUSED, Fault.TOKEN_ANONYMOUS, "unauthorized"),
        (json_answer(401, {"details": "incorrect username"}), Fault.TOKEN_REFUSED, Fault.TOKEN_ANONYMOUS, "incorrect"),
        (json_answer(403, errors("DENIED")), Fault.TOKEN_REFUSED, Fault.TOKEN_ANONYMOUS, "denied"),
        (answer(401, b"no", "WWW-Authenticate: Basic"), Fault.TOKEN_REFUSED, Fault.TOKEN_ANONYMOUS, "no"),
        (answer(403, b"denied"), Fault.TOKEN_REFUSED, Fault.TOKEN_ANONYMOUS, "denied"),
        (json_answer(403, errors("DENIED", SCOPES)), Fault.TOKEN_NO_ACCESS, Fault.TOKEN_ANONYMOUS, "scopes"),
        (json_answer(403, errors("DENIED", POLICY)), Fault.REGISTRY_BLOCKED, Fault.REGISTRY_BLOCKED, "policy"),
        (page(403), Fault.REGISTRY_BLOCKED, Fault.REGISTRY_BLOCKED, 'HTML: "Please log in"'),
        (page(401), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, "HTML"),
        (page(200), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, "HTML"),
        (json_answer(200, {}), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, ""),
        (json_answer(200, {"token": ""}), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, ""),
        (json_answer(200, {"token": "a b\r\nX: y"}), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, ""),
        (json_answer(200, {"refresh_token": "r"}), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, ""),
        (json_answer(400, errors("UNSUPPORTED")), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, "unsupported"),
        (json_answer(404, {}), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, ""),
        (answer(405), Fault.NOT_KNOWN, Fault.NOT_KNOWN, ""),
        (answer(500), Fault.TOKEN_FAILS, Fault.TOKEN_FAILS, ""),
        (answer(429), Fault.REGISTRY_RATE_LIMIT, Fault.REGISTRY_RATE_LIMIT, ""),
        (answer(451), Fault.REGISTRY_BLOCKED, Fault.REGISTRY_BLOCKED, ""),
        (b"", Fault.TCP_CUT, Fault.TCP_CUT, "closed"),
    ],
)
def test_what_a_token_service_may_answer(
    here: Loopback, said: bytes, mine: Fault, anonymous: Fault, words: str
) -> None:
    async def scenario() -> None:
        async with up(here, bearer(token=said)) as server:
            for password, fault in {PASSWORD: mine, None: anonymous}.items():
                found = await of(here, server, password=password)
                assert (found.fault, found.works, found.steps[-1].what) == (fault, False, "token")
                assert words in found.steps[-1].words
            assert len(server.asked) == 4

    runs(scenario)


@pytest.mark.parametrize(
    ("said", "mine", "anonymous"),
    [
        (json_answer(403, errors("DENIED", "permission_denied: read_package")), Fault.TOKEN_NO_ACCESS, None),
        (json_answer(403, errors("DENIED", ENDED)), Fault.CREDENTIAL_REFUSED, None),
        (json_answer(403, errors("DENIED", POLICY)), Fault.REGISTRY_BLOCKED, Fault.REGISTRY_BLOCKED),
        (json_answer(403, errors("DENIED", "Quota exceeded: rate limit exceeded")), *[Fault.REGISTRY_RATE_LIMIT] * 2),
        (json_answer(401, errors("UNAUTHORIZED", "project team not found")), Fault.IMAGE_NOT_FOUND, None),
        (json_answer(412, errors("PROJECTPOLICYVIOLATION")), Fault.REGISTRY_BLOCKED, Fault.REGISTRY_BLOCKED),
        (asks('Bearer realm="https://r",error="insufficient_scope"'), Fault.TOKEN_NO_ACCESS, None),
        (asks('Bearer realm="https://r",error="invalid_token"'), Fault.TOKEN_FAILS, None),
        (json_answer(401, errors("UNAUTHORIZED")), Fault.TOKEN_NO_ACCESS, None),
        (page(401), Fault.REGISTRY_NONE, Fault.REGISTRY_NONE),
        (page(403), Fault.REGISTRY_BLOCKED, Fault.REGISTRY_BLOCKED),
        (json_answer(404, errors("MANIFEST_UNKNOWN")), Fault.IMAGE_NOT_FOUND, Fault.IMAGE_NOT_FOUND),
        (json_answer(404, errors("NAME_UNKNOWN")), Fault.IMAGE_NOT_FOUND, Fault.IMAGE_NOT_FOUND),
        (page(404), Fault.REGISTRY_NONE, Fault.REGISTRY_NONE),
        (answer(404, b"x", "Content-Type: text/plain"), Fault.REGISTRY_NONE, Fault.REGISTRY_NONE),
        (answer(404, b"x", "Content-Type: text/plain", API), Fault.IMAGE_NOT_FOUND, Fault.IMAGE_NOT_FOUND),
        (answer(404, UNKNOWN, "Content-Type: text/plain"), Fault.IMAGE_NOT_FOUND, Fault.IMAGE_NOT_FOUND),
        (json_answer(429, errors("TOOMANYREQUESTS")), Fault.REGISTRY_RATE_LIMIT, Fault.REGISTRY_RATE_LIMIT),
        (json_answer(451, errors("DENIED")), Fault.REGISTRY_BLOCKED, Fault.REGISTRY_BLOCKED),
        (answer(502), Fault.REGISTRY_BROKEN, Fault.REGISTRY_BROKEN),
        (json_answer(418, {}), Fault.NOT_KNOWN, Fault.NOT_KNOWN),
        (page(200), Fault.REGISTRY_NONE, Fault.REGISTRY_NONE),
        (answer(200, b""), Fault.REGISTRY_NONE, Fault.REGISTRY_NONE),
        (json_answer(200, {"hello": "world"}), Fault.REGISTRY_NONE, Fault.REGISTRY_NONE),
        (stored(b'{"schemaVersion": 1}', OLD), Fault.FORMAT_TOO_OLD, Fault.FORMAT_TOO_OLD),
        (stored(IMAGE, OCI, f"Docker-Content-Digest: {CONFIG}"), Fault.CONTENT_DAMAGED, Fault.CONTENT_DAMAGED),
    ],
)
def test_what_a_registry_may_answer_to_a_token(
    here: Loopback, said: bytes, mine: Fault, anonymous: Fault | None
) -> None:
    """Without a credential a refusal says that one is missing."""

    async def scenario() -> None:
        async with up(here, bearer(manifests={"1": said})) as server:
            for password, fault in {PASSWORD: mine, None: anonymous or Fault.CREDENTIAL_NONE}.items():
                found = await of(here, server, password=password)
                assert (found.fault, found.works, found.steps[-1].what) == (fault, False, "manifest")

    runs(scenario)


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        (asks(BASIC), Fault.CREDENTIAL_REFUSED),
        (json_answer(401, errors("UNAUTHORIZED")), Fault.CREDENTIAL_REFUSED),
        (json_answer(403, errors("DENIED")), Fault.TOKEN_NO_ACCESS),
        (json_answer(403, errors("DENIED", ENDED)), Fault.CREDENTIAL_REFUSED),
        (page(403), Fault.REGISTRY_BLOCKED),
        (json_answer(404, errors("NAME_UNKNOWN")), Fault.IMAGE_NOT_FOUND),
        (answer(503), Fault.REGISTRY_BROKEN),
    ],
)
def test_what_a_registry_may_answer_to_a_password(here: Loopback, said: bytes, fault: Fault) -> None:
    async def scenario() -> None:
        async with up(here, basic(manifests={"1": said})) as server:
            found = await of(here, server)
            assert (found.fault, found.works) == (fault, False)
            assert len(server.asked) == 2

    runs(scenario)


def test_the_words_of_the_registry(here: Loopback) -> None:
    async def scenario() -> None:
        said = json_answer(403, errors("DENIED", "permission_denied: see https://u:p@h.example/x?sig=abc\x1b[1m"))
        async with up(here, bearer(manifests={"1": said})) as server:
            words = (await of(here, server)).steps[-1].words
            assert words == "denied: permission_denied: see https://h.example/x"

    runs(scenario)


def test_hints(here: Loopback) -> None:
    async def scenario() -> None:
        refused = json_answer(401, errors("UNAUTHORIZED"))
        async with up(here, bearer(token=refused)) as server:
            found = await of(here, server)
            assert "for this registry?" in found.hint  # it looks like one of GitHub's
            assert (await of(here, server, password=None)).hint == ""
            assert (await of(here, server, password="no known kind")).hint == ""
        scopes = json_answer(200, {"token": TOKEN}, "X-OAuth-Scopes: repo")
        async with up(here, bearer(token=scopes, manifests={"1": json_answer(403, errors("DENIED"))})) as server:
            assert "read:packages" in (await of(here, server)).hint
        limits = ["RateLimit-Limit: 100;w=21600", "RateLimit-Remaining: 0;w=21600", "Retry-After: 60"]
        async with up(here, bearer(manifests={"1": json_answer(429, {}, *limits)})) as server:
            hint = (await of(here, server)).hint
            assert hint == "it allows 100 pulls in 6 hours, of which 0 are left; it asks to wait for 60 seconds"
        async with up(here, bearer(manifests={"1": json_answer(429, {}, f"RateLimit-Limit: {PASSWORD}")})) as server:
            assert (await of(here, server)).hint == ""

    runs(scenario)


def test_a_digest_is_what_the_content_must_have(here: Loopback) -> None:
    async def scenario() -> None:
        wrong = f"sha256:{'0' * 64}"
        async with up(here, bearer(manifests={IMAGE_DIGEST: stored(IMAGE), wrong: stored(IMAGE)})) as server:
            for digest, fault in {IMAGE_DIGEST: None, wrong: Fault.CONTENT_DAMAGED}.items():
                found = await asked(here.named(server), f"{server.host}/team/app:1@{digest}")
                assert (found.fault, found.works) == (fault, fault is None)
                assert server.asked[-1 if fault else -2].target == f"/v2/team/app/manifests/{digest}"

    runs(scenario)


def test_a_manifest_that_is_not_read(here: Loopback) -> None:
    async def scenario() -> None:
        for said in (
            stored(IMAGE + b" " * MAX_BYTES),
            stored(gzip.compress(IMAGE), OCI, "Content-Encoding: gzip"),
        ):
            async with up(here, bearer(manifests={"1": said})) as server:
                found = await of(here, server)
                assert (found.works, found.fault) == (True, None)
                assert found.not_asked == "what is in the manifest: it is compressed, or larger than 4 MiB"

    runs(scenario)


# -- who gets the credential --


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_takes_a_credential_along(here: Loopback, status: int) -> None:
    """Of the manifest: one is followed without it. Of the token service: none is."""

    async def scenario() -> None:
        async with here.serving(lambda _: stored(IMAGE)) as other:
            to = answer(status, b"", f"Location: https://{other.host}/v2/x/manifests/1")
            async with up(here, Fake(first=to)) as server:
                found = await of(here, server, other)
                assert found.works
                assert "with the credential" in found.not_asked
            assert {one.login for one in other.asked} == {""}
            async with up(here, bearer(token=to)) as server:
                before = len(other.asked)
                found = await of(here, server, other)
                assert (found.works, found.fault, found.not_asked) == (False, None, "where it redirects to")
                assert len(other.asked) == before
            for make in (bearer, basic):
                async with up(here, make(manifests={"1": to})) as server:
                    found = await of(here, server, other)
                    assert found.works
                    assert found.blobs == (Target("localhost", server.port, role="blobs") if make is basic else None)
            assert {one.login for one in other.asked} == {""}

    runs(scenario)


def test_redirects_that_lead_nowhere(here: Loopback) -> None:
    async def scenario() -> None:
        async with serving(lambda _: answer(200)) as plain:
            for target in (
                "",
                f"http://{plain.host}/login",
                "ftp://h/",
                "https://u:p@localhost/",
                "https://[",
                "data:,",
            ):
                async with up(here, Fake(first=answer(302, b"", f"Location: {target}"))) as server:
                    found = await of(here, server, plain)
                    assert (found.works, found.fault) == (False, None), target
                    assert found.not_asked == "the registry redirects to no address that can be asked"
                    assert len(server.asked) == 1
            assert plain.connections == 0
        async with up(here, Fake(first=answer(302, b"", "Location: /again"))) as server:
            found = await of(here, server)
            assert (found.works, found.fault) == (False, None)
            assert len(server.asked) == 2
            assert server.logins == []

        def portal(request: Request) -> bytes:
            return page(200) if "login" in request.target else answer(302, b"", "Location: /login")

        async with here.serving(portal) as server:
            assert (await of(here, server)).fault == Fault.REGISTRY_NONE

    runs(scenario)


def test_a_redirect_to_a_registry_that_wants_a_credential(here: Loopback) -> None:
    """It gets none, so nothing is known: what it says is no fault of the credential."""

    async def scenario() -> None:
        for other in (bearer(token=json_answer(403, errors("DENIED"))), basic()):
            async with up(here, other) as target:
                to = answer(307, b"", f"Location: https://{target.host}/v2/x/manifests/1")
                async with up(here, Fake(first=to)) as server:
                    found = await of(here, server, target)
                    assert (found.works, found.fault) == (False, None)
                    assert "with the credential" in found.not_asked
                    assert (await of(here, server, target, password=None)).fault is not None
                assert target.logins == []
        async with up(here, basic()) as target:
            to = answer(307, b"", f"Location: https://{target.host}/v2/x/manifests/1")
            async with up(here, basic(manifests={"1": to})) as server:
                found = await of(here, server, target)
                assert (found.works, found.fault) == (False, Fault.NOT_KNOWN)
                assert target.logins == []
        async with up(here, bearer()) as target:  # for anybody
            to = answer(307, b"", f"Location: https://{target.host}/v2/team/app/manifests/1")
            async with up(here, Fake(first=to)) as server:
                assert (await of(here, server, target)).works
            assert target.logins == [BEARER]

    runs(scenario)


def test_nothing_goes_to_a_certificate_that_is_not_right(here: Loopback) -> None:
    day, today = timedelta(days=1), datetime.now(UTC)
    wrong = {
        Fault.TLS_UNKNOWN_CA: here.tls(authority=trustme.CA()),
        Fault.TLS_WRONG_NAME: here.tls("other.example"),
        Fault.TLS_EXPIRED: here.tls(not_before=today - 2 * day, not_after=today - day),
        Fault.TLS_NOT_YET_VALID: here.tls(not_before=today + day, not_after=today + 2 * day),
    }

    async def scenario() -> None:
        for fault, context in wrong.items():
            async with serving(bearer().say, context) as server:
                found = await of(here, server)
                assert (found.fault, found.works) == (fault, False)
                assert "certificate" in found.not_asked
                assert server.asked == []
                fake = Fake(f'Bearer realm="https://{server.host}/token"')  # right itself, unlike its token service
                async with up(here, fake) as right:
                    found = await of(here, right, server)
                    assert (found.fault, found.steps[-1].what) == (fault, "token")
                    assert (found.steps[-1].host, found.realm) == (
                        server.host,
                        Target("localhost", server.port, role="realm"),
                    )
                    assert server.asked == []
                    assert right.logins == []

    runs(scenario)


def test_private_addresses_are_for_registries_that_are_named(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    known = names(here, monkeypatch)
    known |= {"public.example": ("127.0.0.1",), "private.example": ("127.0.0.2",)}

    async def scenario() -> None:
        tls = here.tls("public.example", "private.example", "127.0.0.2")
        async with serving(Fake().say, tls, address="127.0.0.2", name="private.example") as private:
            fake = Fake()
            async with serving(fake.say, tls, name="public.example") as server:

                async def of_public(*named: Server) -> Asked:
                    return await asked(here.named(*named), f"{server.host}/team/app:1")

                fake.challenge = f'Bearer realm="https://{private.host}/token"'
                for others in ((), (private,)):
                    found = await of_public(*others)
                    assert (found.works, found.fault) == (False, None)
                    assert found.not_asked.startswith("its token service has a private address")
                fake.first = answer(307, b"", f"Location: https://{private.host}/v2/x/manifests/1")
                for others in ((), (private,)):
                    found = await of_public(*others)
                    assert (found.works, found.fault) == (False, None)
                    assert found.not_asked.startswith("it redirects to a private address")
                assert private.connections == 0
                assert server.logins == []
                fake.first = None
                assert (await of_public(private, server)).works
                assert private.logins == [LOGIN]
            found = await asked(Config(), f"{private.host}/team/app:1")
            assert (found.works, found.fault, found.steps[0].status) == (False, None, 0)
            assert found.not_asked.startswith("it has a private address")
            assert len(private.asked) == 1

    runs(scenario)


def test_a_redirect_and_then_a_token_service_do_not_lead_to_private_addresses(
    here: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second registry is named, and so is its token service: but a public one has led there."""
    known = names(here, monkeypatch)
    known |= dict.fromkeys(("public.example", "second.example"), ("127.0.0.1",))
    known["private.example"] = ("127.0.0.2",)

    async def scenario() -> None:
        tls = here.tls("public.example", "private.example", "second.example")
        async with serving(Fake().say, tls, address="127.0.0.2", name="private.example") as private:
            second = Fake(f'Bearer realm="https://{private.host}/token"')
            async with serving(second.say, tls, name="second.example") as other:
                fake = Fake(first=answer(307, b"", f"Location: https://{other.host}/v2/x/manifests/1"))
                async with serving(fake.say, tls, name="public.example") as server:
                    found = await asked(here.named(private, other), f"{server.host}/team/app:1", None)
                    assert (found.works, len(found.steps)) == (False, 3)
                    assert private.connections == 0

    runs(scenario)


@pytest.mark.parametrize(
    ("challenge", "fault"),
    [
        ('Bearer realm="http://localhost/token"', None),
        ('Bearer realm="ftp://localhost/token"', Fault.TOKEN_FAILS),
        ('Bearer realm="/token"', Fault.TOKEN_FAILS),
        ('Bearer realm="https://u:p@localhost/token"', Fault.TOKEN_FAILS),
        ('Bearer realm="https://localhost:99999/token"', Fault.TOKEN_FAILS),
    ],
)
def test_token_services_that_are_not_asked(here: Loopback, challenge: str, fault: Fault | None) -> None:
    async def scenario() -> None:
        async with up(here, Fake(challenge)) as server:
            found = await asked(here.named(server, "localhost"), f"{server.host}/team/app:1")
            assert (found.works, found.fault) == (False, fault)
            assert "token service" in found.not_asked
            assert len(server.asked) == 1

    runs(scenario)


def test_a_credential_is_for_its_own_registry(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, basic()) as server:
            for key in ("ghcr.io", f"{server.host}/other", "*.example.com"):
                found = await of(here, server, registry=key)
                assert (found.works, found.fault) == (False, None)
                assert "another registry" in found.not_asked
            assert server.connections == 0
            assert (await of(here, server, registry=f"{server.host}/team")).works

    runs(scenario)


@pytest.mark.parametrize("what", ["words", "host", "platforms", "page", "encoded"])
def test_what_says_a_secret_again_is_cut(here: Loopback, what: str) -> None:
    """The registry and its token service know it: `asked` looks for it in all that is said."""

    async def scenario() -> None:
        fake = bearer()

        def say(request: Request) -> bytes:
            seen = f"{request.login} {base64.b64decode(LOGIN.partition(' ')[2]).decode()} {TOKEN}"
            if not request.login or "/token" in request.target:
                return fake.say(request)
            match what:
                case "words":
                    return json_answer(403, errors("DENIED", seen))
                case "encoded":
                    return json_answer(403, errors("DENIED", base64.b64encode(seen.encode()).decode()))
                case "page":
                    return answer(403, f"<html><title>{seen}".encode())
                case "host":
                    return answer(307, b"", f"Location: https://{TOKEN}.example/manifests/{PASSWORD}")
            platform = {"digest": CONFIG, "platform": {"os": PASSWORD, "architecture": TOKEN.lower()}}
            return stored(json.dumps({"manifests": [platform]}).encode(), INDEX)

        async with here.serving(say) as server:
            fake.host = server.host
            found = await of(here, server)
            assert "***" in repr(found)

    runs(scenario)


# -- names --


@pytest.mark.parametrize(
    "image", ["", "ghcr.io/Alice/app", "ghcr.io/../token", "ghcr.io/a?b", "u:p@ghcr.io/a", "ghcr.io:99999/a", "*.io/a"]
)
def test_names_that_are_none(image: str) -> None:
    async def scenario() -> None:
        found = await asked(Config(), image, None)
        assert (found.fault, found.works) == (Fault.IMAGE_NAME_INVALID, False)

    runs(scenario)


def test_where_images_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []

    async def resolve(_self: object, host: str, port: int = 0, family: int = 0) -> list[Any]:
        looked_up.append(f"{host}:{port}")
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)

    async def scenario() -> None:
        for image in ("nginx", "alice/app:1", "docker.io/nginx", "index.docker.io/a/b", "registry-1.docker.io/a/b"):
            found = await asked(Config(), image, None)
            assert (found.fault, found.registry) == (Fault.DNS_NO_SUCH_NAME, "registry-1.docker.io")
        assert {*looked_up} == {"registry-1.docker.io:443"}
        hub = await asked(Config(), "nginx", registry="docker.io")
        assert hub.fault == Fault.DNS_NO_SUCH_NAME
        await asked(Config(), "ghcr.io:5000/a/b", None)
        assert looked_up[-1] == "ghcr.io:5000"

    runs(scenario)


def test_addresses_of_ipv6_and_plain_http(here: Loopback) -> None:
    async def scenario() -> None:
        async with up(here, basic(), name="[::1]", address="::1") as server:
            found = await of(here, server)
            assert found.works
            assert found.blobs == Target("::1", server.port, role="blobs")
        fake = Fake('Bearer realm="http://{host}/token"')
        async with serving(fake.say) as server:
            fake.host = server.host
            found = await asked(here.named(server, plain=True), f"{server.host}/team/app:1")
            assert found.works
            assert found.realm == Target("localhost", server.port, plain=True, role="realm")
            assert (await of(here, server)).fault == Fault.TLS_NONE

    runs(scenario)


def test_a_handshake_that_fails_is_not_the_registry(here: Loopback) -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"\x15\x03\x03\x00\x02\x02\x28")  # the alert handshake_failure
        await writer.drain()
        writer.close()

    async def scenario() -> None:
        async with await asyncio.start_server(refuses, "127.0.0.1") as server:
            host = f"localhost:{server.sockets[0].getsockname()[1]}"
            assert (await asked(here.named(host), f"{host}/a:1")).fault == Fault.TLS_FAILS

    runs(scenario)


# -- no way there --


def test_no_way_there(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guardedhttp, "CONNECT_SECONDS", 0.3)
    monkeypatch.setattr(guardedhttp, "TOTAL_SECONDS", 0.5)

    async def is_silent(_request: Request, _writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async def scenario() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            host = f"127.0.0.1:{bound.getsockname()[1]}"
            assert (await asked(here.named(host), f"{host}/a:1")).fault == Fault.TCP_REFUSED
        with silent_port() as host:
            assert (await asked(here.named(host), f"{host}/a:1")).fault == Fault.TCP_SILENT
        act: Act = is_silent
        async with here.serving(act) as server:
            found = await of(here, server)
            assert (found.fault, found.steps[0].words) == (Fault.REGISTRY_BROKEN, "no answer in time")
            fake = Fake(f'Bearer realm="https://{server.host}/token"')
            async with up(here, fake) as registry:
                assert (await of(here, registry, server)).fault == Fault.TOKEN_FAILS

    runs(scenario)


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (socket.gaierror(socket.EAI_NONAME, ""), Fault.DNS_NO_SUCH_NAME),
        (socket.gaierror(socket.EAI_NODATA, ""), Fault.DNS_NO_SUCH_NAME),
        (socket.gaierror(socket.EAI_AGAIN, ""), Fault.DNS_FAILS),
        (socket.gaierror(socket.EAI_FAIL, ""), Fault.DNS_FAILS),
        (None, Fault.DNS_SILENT),
    ],
)
def test_names_that_are_not_resolved(monkeypatch: pytest.MonkeyPatch, error: OSError | None, fault: Fault) -> None:
    monkeypatch.setattr(guardedhttp, "TOTAL_SECONDS", 0.3)

    async def resolve(_self: object, _host: str, _port: int = 0, _family: int = 0) -> list[Any]:
        if error is not None:
            raise error
        await asyncio.sleep(60)
        return []

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)

    async def scenario() -> None:
        assert (await asked(Config(), "ghcr.io/alice/app:1")).fault == fault

    runs(scenario)


# -- whatever comes --

NOISE = st.text(st.sampled_from('aB1.:/@?#[]%&=-_~,"\\ \t\x80\udc80') | st.characters(codec="latin-1"), max_size=40)
BODIES = st.sampled_from([IMAGE, LIST, HTML, json.dumps({"token": TOKEN}).encode(), b"", b'{"errors": [{}]}'])


def line(text: str) -> str:
    return "".join(one for one in text if one not in "\r\n\0")


@settings(max_examples=150, deadline=None)
@given(
    statuses=st.lists(st.sampled_from([200, 200, 401, 403, 404, 307, 429, 500]), min_size=4, max_size=4),
    bodies=st.lists(BODIES | st.binary(max_size=40), min_size=4, max_size=4),
    realm=NOISE | st.just("here"),
    scope=NOISE,
    location=NOISE | st.just("/v2/a/manifests/1"),
    header=NOISE,
)
def test_no_answer_raises(
    statuses: list[int], bodies: list[bytes], realm: str, scope: str, location: str, header: str
) -> None:
    async def scenario() -> None:
        host, number = "", 0

        def say(_request: Request) -> bytes:
            nonlocal number
            number += 1
            where = f"http://{host}/token" if realm == "here" else line(realm)
            return answer(
                statuses[number - 1],
                bodies[number - 1],
                f'WWW-Authenticate: Bearer realm="{where}",scope="{line(scope)}"',
                f"Location: {line(location)}",
                f"Content-Type: {line(header)}",
                f"Docker-Content-Digest: {line(header)}",
                f"RateLimit-Limit: {line(header)}",
            )

        async with serving(say) as server:
            host = server.host
            found = await asked(
                Config(registries=(Registry(server.host, plain=True),)), f"{server.host}/team/app:1", blob=CONFIG
            )
            assert number <= MAX_REQUESTS
            assert found.works or found.fault is not None or found.not_asked
            assert all(one.words.isprintable() for one in found.steps)

    runs(scenario)
