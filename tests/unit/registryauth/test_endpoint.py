"""`pullsecret registry-auth serve` over real TLS: who gets a token, for what, and what is refused."""

import asyncio
import base64
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import jwt
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from starlette.types import Message

from controlplane.waiting import until
from support import planted
from support.signing import key_file, public_file
from support.tokenendpoint import BUILDER, TokenEndpoint, serving
from webhook.cli.exitcodes import UsageError
from webhook.cli.registryauth import registry_auth
from webhook.config import reading
from webhook.config.issuers.registry import RegistryIssuer, TokenService
from webhook.core.registryscope import MAX_SCOPES, Right
from webhook.issuers.registry.pullpassword import pull_password
from webhook.issuers.registry.signingkeys import KeyUnusable, SigningKey, read_key
from webhook.registryauth.endpoint import MAX_FIELDS, MAX_FORM_BYTES, token_app
from webhook.registryauth.process import Watched
from webhook.registryauth.tokens import Login, LoginRefused, Tokens

REGISTRY = "registry.example.com"
OWN, THEIRS = "repository:project-alice/app:pull", "repository:project-bob/app:pull"
HOUR, SECOND = timedelta(hours=1), timedelta(seconds=1)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenEndpoint]:
    with serving(tmp_path_factory.mktemp("endpoint"), REGISTRY, planted.token()) as running:
        yield running


@pytest.fixture
def key(endpoint: TokenEndpoint) -> SigningKey:
    """Which signs passwords."""
    return endpoint.key


@pytest.fixture
def password(key: SigningKey) -> str:
    return pull_password(key, REGISTRY, "project-alice", HOUR)


@pytest.mark.parametrize("how", ["ask", "post"])
def test_a_token_for_own_repositories(endpoint: TokenEndpoint, password: str, how: str) -> None:
    asked = [OWN, "repository:project-alice/b:pull,push", THEIRS, "repository:project-alice2/app:pull"]
    answer = getattr(endpoint, how)("project-alice", password, *asked, "registry:catalog:*")
    assert endpoint.granted(answer) == {"project-alice/app": ["pull"], "project-alice/b": ["pull"]}
    said = answer.json()
    assert said["token"] == said["access_token"]
    assert said["expires_in"] == 300
    issued = datetime.strptime(said["issued_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    assert abs(issued - datetime.now(UTC)) < 10 * SECOND
    assert answer.headers["cache-control"] == "no-store"
    key = endpoint.token_key.public
    assert jwt.get_unverified_header(said["token"]) == {"alg": "EdDSA", "typ": "JWT", "kid": key.id}
    claims = jwt.decode(said["token"], key.verifying, algorithms=["EdDSA"], audience=REGISTRY, issuer=REGISTRY)
    assert claims["sub"] == "project-alice"
    assert claims["exp"] - claims["iat"] == 300
    assert claims["nbf"] <= claims["iat"]


@pytest.mark.parametrize("how", ["ask", "post"])
def test_without_a_scope_it_says_whether_the_password_works(endpoint: TokenEndpoint, password: str, how: str) -> None:
    assert endpoint.granted(getattr(endpoint, how)("project-alice", password)) == {}
    assert getattr(endpoint, how)("project-alice", f"{password[:-4]}AAAA").status_code == 401


def test_clients_may_say_more(endpoint: TokenEndpoint, password: str) -> None:
    docker = endpoint.ask("project-alice", password, OWN, account="x", client_id="docker", offline_token="true")
    containerd = endpoint.post("project-alice", password, OWN, client_id="containerd-client", access_type="offline")
    for answer in (docker, containerd):
        assert endpoint.granted(answer) == {"project-alice/app": ["pull"]}
        assert "refresh_token" not in answer.json()


def test_a_token_ends_with_its_password(endpoint: TokenEndpoint, key: SigningKey) -> None:
    for left, life in {2 * HOUR: range(300, 301), 120 * SECOND: range(110, 121), SECOND: range(60, 61)}.items():
        answer = endpoint.ask("project-alice", pull_password(key, REGISTRY, "project-alice", left), OWN)
        assert answer.json()["expires_in"] in life


@pytest.mark.parametrize("how", ["ask", "post"])
def test_who_gets_none(endpoint: TokenEndpoint, key: SigningKey, password: str, how: str, tmp_path: Path) -> None:
    ask = getattr(endpoint, how)
    token = ask("project-alice", password, OWN).json()["token"]
    foreign = read_key(Path(key_file(tmp_path / "other.pem")))
    disguised = SigningKey(foreign.private, key.public)
    unsigned = base64.urlsafe_b64encode(json.dumps({"alg": "none", "kid": key.public.id}).encode()).decode().rstrip("=")
    none = f"{unsigned}.{password.split('.')[1]}."
    for name, secret in [
        ("project-bob", password),
        ("", password),
        ("project-alice", ""),
        ("", ""),
        ("project-alice", "a guess"),
        ("project-alice", planted.token()),
        ("project-alice", token),
        ("project-alice", none),
        ("project-alice", pull_password(key, REGISTRY, "project-alice", -2 * 60 * SECOND)),
        ("project-alice", pull_password(key, "other.example.com", "project-alice", HOUR)),
        ("project-alice", pull_password(foreign, REGISTRY, "project-alice", HOUR)),
        ("project-alice", pull_password(disguised, REGISTRY, "project-alice", HOUR)),
        ("project-alice", pull_password(endpoint.token_key, REGISTRY, "project-alice", HOUR)),
        ("project-alice", pull_password(SigningKey(endpoint.token_key.private, key.public), REGISTRY, "a", HOUR)),
        (BUILDER, planted.token()),
        (BUILDER, ""),
        ("nobody", endpoint.password),
        ("nobody", "0" * 64),
    ]:
        answer = ask(name, secret, OWN)
        assert answer.status_code == 401, f"{name}: {answer.text}"
        assert "token" not in answer.json()
        assert answer.json()["errors"][0]["code"] == "UNAUTHORIZED"
        assert answer.headers["www-authenticate"].startswith("Basic ")
        if secret:
            assert secret not in answer.text


def test_nobody_is_let_in_without_a_password(endpoint: TokenEndpoint) -> None:
    with endpoint.client() as client:
        asked = {"service": REGISTRY, "scope": OWN}
        for headers in ({}, {"Authorization": "Bearer x"}, {"Authorization": "Basic"}, {"Authorization": "Basic !"}):
            assert client.get("/token", params=asked, headers=headers).status_code == 401
        assert client.post("/token", data=asked | {"grant_type": "password"}).status_code == 401


def test_it_has_no_key_that_signs_passwords(plain: TokenEndpoint) -> None:
    """Its answers and its log are the same without the issuer's file."""
    good = pull_password(plain.key, REGISTRY, "project-alice", HOUR)
    away = plain.key_file.rename(plain.folder / "of-the-issuer.pem")
    try:
        assert plain.granted(plain.ask("project-alice", good, OWN)) == {"project-alice/app": ["pull"]}
        with plain.client() as client:
            assert client.get("/readyz").status_code == 200
    finally:
        away.rename(plain.key_file)


@pytest.mark.parametrize("how", ["ask", "post"])
def test_who_pushes(endpoint: TokenEndpoint, how: str) -> None:
    asked = "repository:project-alice/app:pull,push,delete", "repository:base:push", "registry:catalog:*"
    answer = getattr(endpoint, how)(BUILDER, endpoint.password, *asked)
    assert endpoint.granted(answer) == {"project-alice/app": ["pull", "push"], "base": ["push"]}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenEndpoint]:
    """As behind an ingress. Tests change its files, each what it needs."""
    with serving(tmp_path_factory.mktemp("plain"), REGISTRY, planted.token(), plain=True) as running:
        yield running


def test_a_pusher_is_added_and_taken_away_while_it_runs(plain: TokenEndpoint) -> None:
    secret, file, asked = planted.token(), plain.folder / "pushers", "repository:project-alice/app:push"
    digest = subprocess.run(["sha256sum"], input=secret, capture_output=True, text=True, check=True).stdout[:64]
    assert plain.granted(plain.ask(BUILDER, plain.password, asked)) == {"project-alice/app": ["push"]}
    assert plain.ask("ci", secret, asked).status_code == 401
    before = file.read_text()
    file.write_text(f"ci {digest} project-alice\n")
    both = plain.ask("ci", secret, asked, "repository:project-bob/app:push")
    assert plain.granted(both) == {"project-alice/app": ["push"]}
    assert plain.ask(BUILDER, plain.password, asked).status_code == 401
    file.write_text(f"ci {digest}\n")
    assert plain.ask("ci", secret, asked).status_code == 503
    file.write_text(before)
    assert plain.ask("ci", secret, asked).status_code == 401
    assert plain.granted(plain.ask(BUILDER, plain.password, asked)) == {"project-alice/app": ["push"]}
    until(lambda: f"{file}: line 1: expected NAME SHA-256" in plain.log, "it is logged", within=20)
    assert digest not in plain.log


def test_the_key_for_passwords_is_replaced_while_it_runs(plain: TokenEndpoint) -> None:
    old, new = plain.key_file, Path(key_file(plain.folder / "next.pem", "p256"))
    before, after = (pull_password(read_key(file), REGISTRY, "project-alice", HOUR) for file in (old, new))

    def statuses() -> list[int]:
        return [plain.ask("project-alice", one, OWN).status_code for one in (before, after)]

    assert statuses() == [200, 401]
    plain.takes_passwords_of(old, new)
    assert statuses() == [200, 200]
    plain.takes_passwords_of(new)
    assert statuses() == [401, 200]
    new.replace(old)
    file = Path(plain.model["tokenService"]["passwordKeysFile"])
    away = file.rename(plain.folder / "away.json")
    assert statuses() == [503, 503]
    until(lambda: f"{file}: No such file or directory" in plain.log, "it is logged", within=20)
    pushed = plain.ask(BUILDER, plain.password, "repository:base:push")
    assert plain.granted(pushed) == {"base": ["push"]}  # whose passwords are in another file
    away.rename(file)
    assert statuses() == [401, 200]


def test_the_key_for_tokens_is_replaced_while_it_runs(plain: TokenEndpoint) -> None:
    good = pull_password(plain.key, REGISTRY, "project-alice", HOUR)

    def signed_with() -> str:
        token = plain.ask("project-alice", good, OWN).json()["token"]
        return str(jwt.get_unverified_header(token)["kid"])

    file, before = plain.token_key_file, plain.token_key.public.id
    assert signed_with() == before
    Path(key_file(plain.folder / "next.pem", "p256")).replace(file)
    assert signed_with() == plain.token_key.public.id != before
    away = file.rename(plain.folder / "away.pem")
    assert plain.ask("project-alice", good, OWN).status_code == 503
    until(lambda: f"{file}: No such file or directory" in plain.log, "it is logged", within=20)
    away.rename(file)
    assert plain.ask("project-alice", good, OWN).status_code == 200


@contextmanager
def broken(*files: Path) -> Iterator[None]:
    """For a while they have a line that nobody can use."""
    before = {file: file.read_bytes() for file in files}
    for file in files:
        file.write_text("builder\n")
    try:
        yield
    finally:
        for file, content in before.items():
            file.write_bytes(content)


KEY, KEYS, PUSHERS = "token-key.pem", "password-keys.json", "pushers"


@pytest.mark.parametrize(
    ("files", "ready", "pull", "push"),
    [
        ([], 200, 200, 200),
        ([PUSHERS], 200, 200, 503),
        ([KEYS], 200, 503, 200),
        ([KEYS, PUSHERS], 503, 503, 503),
        ([KEY], 503, 503, 503),
    ],
)
def test_a_file_that_cannot_be_used_stops_nobody_who_needs_it_not(
    plain: TokenEndpoint, files: list[str], ready: int, pull: int, push: int
) -> None:
    """All replicas have the same files: if that made them unready, nobody would reach any of them."""
    good = pull_password(plain.key, REGISTRY, "project-alice", HOUR)

    def answers() -> list[int]:
        with plain.client() as client:
            probed = client.get("/readyz")
        asked = plain.ask("project-alice", good, OWN), plain.ask(BUILDER, plain.password, "repository:base:push")
        assert probed.text in {"ok\n", "not ready: a file cannot be used; see the log\n"}
        return [answer.status_code for answer in (probed, *asked)]

    def told() -> tuple[list[str], list[str]]:
        """What it has logged to be wrong, and to be over."""
        lines = [json.loads(line) for line in plain.log.splitlines() if line.startswith("{")]
        wrong = [
            line["about"] for line in lines if line["event"] == "a file cannot be used; mend it, and it is read again"
        ]
        return wrong, [line["over"] for line in lines if line["event"] == "a file can be used again"]

    def is_over() -> bool:
        wrong, over = told()
        return len(wrong) == len(over)

    assert answers() == [200, 200, 200]
    until(is_over, "all that was wrong before is over", within=20)
    already = len(told()[0])
    with broken(*(plain.folder / name for name in files)):
        assert answers() == [ready, pull, push]
        assert answers() == [ready, pull, push]
    assert answers() == [200, 200, 200]
    until(lambda: len(told()[0]) == already + len(files) and is_over(), "each was logged once, and its end", within=20)
    assert {about.split(" ")[0].rstrip(":") for about in told()[0][already:]} == {str(plain.folder / n) for n in files}


def test_a_key_for_tokens_that_could_sign_passwords(plain: TokenEndpoint) -> None:
    """What it has signed is no password, and the others are good."""
    passwords = [pull_password(key, REGISTRY, "project-alice", HOUR) for key in (plain.key, plain.token_key)]

    def answers() -> list[int]:
        with plain.client() as client:
            ready = client.get("/readyz").status_code
        return [ready, *(plain.ask("project-alice", one, OWN).status_code for one in passwords)]

    assert answers() == [200, 200, 401]
    plain.takes_passwords_of(plain.key_file, plain.token_key_file)
    assert answers() == [200, 200, 401]
    until(lambda: "it could sign passwords; make another key for tokens" in plain.log, "it is logged", within=20)
    plain.takes_passwords_of(plain.token_key_file)
    assert answers() == [200, 503, 503]
    plain.takes_passwords_of(plain.key_file)
    assert answers() == [200, 200, 401]


def test_nobody_is_sent_away_when_all_nodes_come_at_once(plain: TokenEndpoint) -> None:
    with ExitStack() as stack:
        connected = [socket.create_connection(("127.0.0.1", httpx.URL(plain.url).port or 0)) for _ in range(500)]
        for one in connected:
            stack.enter_context(one).sendall(b"GET /healthz HTTP/1.1\r\n")
        time.sleep(1)  # for all of them to have a place
        for one in connected:
            one.settimeout(10)
            one.sendall(b"host: x\r\n\r\n")
        assert all(one.recv(100).startswith(b"HTTP/1.1 200 OK") for one in connected)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({}, 400),
        ({"service": ""}, 400),
        ({"service": "other.example.com"}, 400),
        ({"service": [REGISTRY, REGISTRY]}, 400),
        ({"service": REGISTRY, "scope": [OWN] * (MAX_SCOPES + 1)}, 400),
        ({"service": REGISTRY, "scope": "repository:" + "a" * 700 + ":pull"}, 400),
        ({"service": REGISTRY, "x": ["y"] * MAX_FIELDS}, 400),
        ({"service": REGISTRY, "x": "y" * 20_000}, 431),
    ],
)
def test_questions_that_no_client_asks(
    endpoint: TokenEndpoint, password: str, query: dict[str, Any], status: int
) -> None:
    with endpoint.client() as client:
        answer = client.get("/token", params=query, auth=("project-alice", password))
    assert answer.status_code == status


def test_forms_that_no_client_sends(endpoint: TokenEndpoint, password: str) -> None:
    form = {"service": REGISTRY, "username": "project-alice", "password": password}
    with endpoint.client() as client:
        for data, status in [
            (form, 400),
            (form | {"grant_type": "refresh_token", "refresh_token": password}, 400),
            (form | {"grant_type": "password", "x": "y" * MAX_FORM_BYTES}, 413),
        ]:
            assert client.post("/token", data=data).status_code == status
        assert client.post("/token", json=form | {"grant_type": "password"}).status_code == 415
        assert client.put("/token", data=form).status_code == 405
        assert client.get("/token/").status_code == 404


FIELDS = st.sampled_from(["service", "scope", "grant_type", "username", "password", "account", "\x00", ""])
WORDS = st.sampled_from([REGISTRY, OWN, "password", "project-alice", "a.b.c", "e30.e30.", "%ff", "+", ""]) | st.text()
ASKED = st.lists(st.tuples(FIELDS, WORDS), max_size=8).map(lambda pairs: urlencode(pairs, errors="replace").encode())


@given(ASKED | st.binary(), ASKED | st.binary(), st.binary(), st.binary(max_size=40))
def test_whatever_is_asked(endpoint: TokenEndpoint, query: bytes, form: bytes, login: bytes, header: bytes) -> None:
    """No password, no token, and no error of ours."""
    (model,) = reading.convert({"issuers": [endpoint.model]}).issuers
    assert isinstance(model, RegistryIssuer)
    assert model.token_service
    app = token_app([Tokens(REGISTRY, model.token_service)], lambda: "")

    async def ask(method: str, body: bytes, authorization: bytes) -> int:
        headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"authorization", authorization)]
        scope = {"type": "http", "method": method, "path": "/token", "headers": headers, "query_string": query}
        said: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Message) -> None:
            said.append(message)

        await app(scope, receive, send)
        status: int = said[0]["status"]
        return status

    basic = b"Basic " + base64.b64encode(login)
    for method, body, authorization in [("POST", form, b""), ("GET", b"", basic), ("GET", b"", header)]:
        assert asyncio.run(ask(method, body, authorization)) in {400, 401}


def test_a_connection_serves_one_question(endpoint: TokenEndpoint, password: str) -> None:
    """Others need the place."""
    assert endpoint.ask("project-alice", password).headers["connection"] == "close"


def test_nothing_secret_is_in_its_log(endpoint: TokenEndpoint, password: str) -> None:
    endpoint.ask("project-mallory", password, OWN)
    endpoint.ask("project-mallory", f"{password}x", OWN)
    told = ("another user's", "its signature is wrong")
    until(lambda: all(one in endpoint.log for one in told), "both are logged", within=10)
    assert "project-" not in endpoint.log
    assert password.split(".")[1] not in endpoint.log
    assert not planted.leaks(endpoint.log)


def test_a_renewed_certificate_is_served(endpoint: TokenEndpoint) -> None:
    where = "127.0.0.1", httpx.URL(endpoint.url).port or 0
    before = ssl.get_server_certificate(where)
    folder = endpoint.folder / "pki"
    renewed = trustme.CA().issue_cert("127.0.0.1")
    kept = {file: file.read_bytes() for file in (folder / "token-service.crt", folder / "token-service.key")}
    renewed.cert_chain_pems[0].write_to_path(str(folder / "token-service.crt"))
    renewed.private_key_pem.write_to_path(str(folder / "token-service.key"))
    until(lambda: ssl.get_server_certificate(where) != before, "the other certificate is served", within=5)
    for file, content in kept.items():
        file.write_bytes(content)
    until(lambda: ssl.get_server_certificate(where) == before, "the first one is served again", within=5)


def test_when_it_ends_it_still_answers_for_a_while(tmp_path: Path) -> None:
    with serving(tmp_path, REGISTRY, planted.token(), plain=True) as endpoint:
        endpoint.child.signal(signal.SIGTERM)

        def draining() -> bool:
            with endpoint.client() as client:
                return client.get("/readyz").text == "not ready: draining\n"

        until(draining, "it is not ready", within=5)
        asked = "repository:base:pull"
        assert endpoint.granted(endpoint.ask(BUILDER, endpoint.password, asked)) == {"base": ["pull"]}
        endpoint.child.signal(signal.SIGKILL)


def jwks(*keys: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "webhook", "registry-auth", "jwks", *keys]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_keys_for_the_registry(tmp_path: Path) -> None:
    files = [key_file(tmp_path / "one.pem"), key_file(tmp_path / "two.pem", "p256")]
    ran = jwks(*files)
    assert (ran.returncode, ran.stderr) == (0, "")
    found = jwt.PyJWKSet.from_dict(json.loads(ran.stdout)).keys
    assert [one.key_id for one in found] == [read_key(Path(file)).public.id for file in files]
    assert [one.algorithm_name for one in found] == ["EdDSA", "ES256"]
    assert '"d"' not in ran.stdout
    wrong = jwks(files[0], str(tmp_path / "gone.pem"))
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert wrong.stderr == f"pullsecret: {tmp_path}/gone.pem: No such file or directory\n"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--plain"], "no issuer of the kind registry with a tokenService"),
        (["--config", "ISSUER", "--plain"], "no issuer of the kind registry with a tokenService"),
        (["--config", "CONFIG"], "passwords need TLS: give --tls-cert and --tls-key, or --plain"),
        (["--config", "CONFIG", "--tls-cert", "a"], "give --tls-cert and --tls-key"),
        (["--config", "CONFIG", "--plain", "--tls-key", "a"], "--plain is for HTTP without TLS"),
    ],
)
def test_arguments_that_do_not_fit(tmp_path: Path, words: list[str], why: str) -> None:
    service = {"keyFile": "/gone.pem", "passwordKeysFile": "/gone.json"}
    model = {"issue": "registry", "registry": REGISTRY, "keyFile": "/other.pem"}
    files = {"ISSUER": tmp_path / "issuer.yaml", "CONFIG": tmp_path / "config.yaml"}
    files["ISSUER"].write_text(json.dumps({"issuers": [model]}))
    files["CONFIG"].write_text(json.dumps({"issuers": [model | {"tokenService": service}]}))
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(UsageError, match=re.escape(why)):
            registry_auth.main(["serve", *(str(files.get(one, one)) for one in words)], standalone_mode=False)
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("wrong", ["gone", "both"])
def test_without_its_own_key_it_does_not_start(tmp_path: Path, wrong: str) -> None:
    key, keys = key_file(tmp_path / "key.pem"), tmp_path / "keys.json"
    public_file(keys, key)
    token_key = tmp_path / "token-key.pem"
    if wrong == "both":
        token_key.write_bytes(Path(key).read_bytes())
    service = {"keyFile": str(token_key), "passwordKeysFile": str(keys)}
    model = {"issue": "registry", "registry": REGISTRY, "keyFile": key, "tokenService": service}
    (tmp_path / "config.yaml").write_text(json.dumps({"issuers": [model]}))
    command = [sys.executable, "-m", "webhook", "registry-auth", "serve", "--config", str(tmp_path / "config.yaml")]
    ran = subprocess.run([*command, "--plain"], capture_output=True, text=True, timeout=20, check=False)
    assert ran.returncode == 1
    said = {
        "gone": f"{token_key}: No such file or directory",
        "both": f"{token_key} has a key that is in {keys}, too: it could sign passwords; make another key for tokens",
    }
    assert ran.stderr == f"pullsecret: {said[wrong]}\n"


def test_keys_for_tokens_of_two_registries_that_sign_each_others_passwords(tmp_path: Path) -> None:
    """Whoever takes the token service has both."""
    keys, models, said = {one: key_file(tmp_path / f"{one}.pem") for one in "ab"}, [], []
    for one, other in ("ab", "ba"):
        file = public_file(tmp_path / f"{one}.json", keys[other])
        service = {"keyFile": keys[one], "passwordKeysFile": file}
        models.append({"issue": "registry", "name": one, "registry": f"{one}.example.com", "tokenService": service})
        said.append(
            f"{keys[other]} has a key that is in {file}, too: it could sign passwords; make another key for tokens"
        )
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"issuers": [one | {"keyFile": "/issuer.pem"} for one in models]}))
    command = [sys.executable, "-m", "webhook", "registry-auth", "serve", "--config", str(config), "--plain"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (1, f"pullsecret: {'; '.join(said)}\n")


def test_a_key_for_tokens_of_another_registry_signs_no_password_here(endpoint: TokenEndpoint, tmp_path: Path) -> None:
    (model,) = reading.convert({"issuers": [endpoint.model]}).issuers
    assert isinstance(model, RegistryIssuer)
    assert model.token_service
    theirs = Path(key_file(tmp_path / "theirs.pem"))
    other = TokenService(key_file=str(theirs), password_keys_file=model.token_service.password_keys_file)
    public = public_file(tmp_path / "keys.json", str(endpoint.key_file), str(theirs))
    tokens = Tokens(REGISTRY, structs.replace(model.token_service, password_keys_file=public), [other])
    good, bad = (pull_password(key, REGISTRY, "project-alice", HOUR) for key in (endpoint.key, read_key(theirs)))
    assert tokens.login("project-alice", good).right.below == "project-alice"
    with pytest.raises(LoginRefused, match="no key for passwords of this registry"):
        tokens.login("project-alice", bad)
    (fault,) = tokens.condition().faults
    assert fault.why.startswith(f"{theirs} has a key that is in {public}, too")
    assert tokens.condition().works
    theirs.unlink()  # which the other registry is told about, and nothing can be signed with it
    assert tokens.condition().faults == []


def test_it_starts_with_what_it_can_do(tmp_path: Path) -> None:
    with serving(tmp_path, REGISTRY, planted.token(), plain=True, pushers="builder\n") as running:
        good = pull_password(running.key, REGISTRY, "project-alice", HOUR)
        assert running.granted(running.ask("project-alice", good, OWN)) == {"project-alice/app": ["pull"]}
        assert running.ask(BUILDER, running.password, OWN).status_code == 503


def test_each_registry_is_by_itself(endpoint: TokenEndpoint) -> None:
    (model,) = reading.convert({"issuers": [endpoint.model]}).issuers
    assert isinstance(model, RegistryIssuer)
    assert model.token_service
    gone = TokenService(key_file="/gone.pem", password_keys_file="/gone.json")
    good, bad = Tokens(REGISTRY, model.token_service), Tokens("other.example.com", gone)
    assert Watched([bad, good]).look() == Watched([good]).look() == ""
    assert Watched([bad]).look() == "a file cannot be used; see the log"
    with pytest.raises(KeyUnusable, match=r"^/gone\.pem: No such file"):
        bad.token(Login("a", Right("a", frozenset())), ())
