"""What is asked of a registry and who gets the credential: real servers on loopback, of which each fails in its way."""

import asyncio
import base64
import gzip
import socket
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from support import planted
from support.loopback import Loopback, names, silent_port
from support.registryserver import Act, Request, Say, Server, answer, asks, json_answer, serving
from webhook.checks import addresses, guardedhttp, registryclient
from webhook.checks.addresses import LOOKUPS, is_public
from webhook.checks.guardedhttp import GuardedHttp, Unanswered
from webhook.checks.registryclient import RegistryClient, Said
from webhook.config.models import Config, Registry
from webhook.config.sourceconfig import Fields, HttpSource, SqlSource
from webhook.core.check import Why
from webhook.core.credential import Credential
from webhook.core.errors import CredentialError
from webhook.core.registry import DOCKER_HUB, canonical_registry

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HTML = b"<html><body>Please log in</body></html>"
BASIC = 'Basic realm="registry"'
TOKEN = planted.token()
DENIED = {"errors": [{"code": "DENIED", "message": "denied"}]}


@pytest.fixture
def here(tmp_path: Path) -> Loopback:
    return Loopback(tmp_path)


@asynccontextmanager
async def client(config: Config) -> AsyncIterator[RegistryClient]:
    made = RegistryClient(config, lambda: NOW)
    try:
        yield made
    finally:
        await made.close()


async def ask(config: Config, registry: str | Server, password: str = TOKEN, username: str = "alice") -> Said:
    """Nothing of the password is in what is said, printed or logged: not there either where it is encoded."""
    host = registry.host if isinstance(registry, Server) else registry
    with capture_logs() as logs:
        async with client(config) as asking:
            said = await asking.ask(Credential(host, username, password))
    assert not planted.leaks(f"{said!r} {said} {logs}")
    assert logs == []
    return said


def login(password: str = TOKEN, username: str = "alice") -> str:
    return "Basic " + base64.b64encode(f"{username}:{password}".encode()).decode()


def runs(scenario: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(scenario())  # type: ignore[arg-type]


def with_basic(right: str = TOKEN) -> Say:
    def say(request: Request) -> bytes:
        return json_answer(200, {}) if request.login == login(right) else asks(BASIC)

    return say


# -- right and wrong --


def test_basic(here: Loopback) -> None:
    async def scenario() -> None:
        async with here.serving(with_basic()) as registry:
            assert await ask(here.named(registry), registry) == Said(Why.NONE)
            assert [(one.target, bool(one.login)) for one in registry.asked] == [("/v2/", False), ("/v2/", True)]
            assert registry.logins == [login()]
            assert await ask(here.named(registry), registry, planted.token()) == Said(Why.UNAUTHORIZED)
            assert {one.headers["host"] for one in registry.asked} == {registry.host}
            assert not any("cookie" in one.headers for one in registry.asked)

    runs(scenario)


def with_tokens(realm: Callable[[], str], tokens: Say) -> Say:
    def say(request: Request) -> bytes:
        if request.target.startswith("/token"):
            return tokens(request)
        return asks(f'Bearer realm="{realm()}",service="registry.example.com"')

    return say


def issues(request: Request) -> bytes:
    if request.login == login():
        return json_answer(200, {"token": "t", "access_token": "t", "expires_in": 300})
    return json_answer(401, {"details": "incorrect username or password"})


def test_a_token_without_a_scope_from_the_service_of_the_registry(here: Loopback) -> None:
    async def scenario() -> None:
        async with (
            here.serving(issues) as tokens,
            here.serving(with_tokens(lambda: f"https://{tokens.host}/token?a=b", issues)) as registry,
        ):
            config = here.named(registry, tokens)
            assert await ask(config, registry) == Said(Why.NONE)
            assert registry.logins == []
            assert [one.target for one in tokens.asked] == ["/token?a=b&service=registry.example.com"]
            assert tokens.logins == [login()]
            assert await ask(config, registry, planted.token()) == Said(Why.UNAUTHORIZED)

    runs(scenario)


def test_how_to_ask_is_remembered_for_a_while(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with here.serving(with_basic()) as registry, client(here.named(registry)) as asking:
            for _ in range(3):
                assert await asking.ask(Credential(registry.host, "alice", TOKEN)) == Said(Why.NONE)
            assert [bool(one.login) for one in registry.asked] == [False, True, True, True]
            monkeypatch.setattr(registryclient, "CHALLENGE_SECONDS", -1.0)
            asking._challenges.clear()
            for _ in range(2):
                await asking.ask(Credential(registry.host, "alice", TOKEN))
            assert [bool(one.login) for one in registry.asked[4:]] == [False, True, False, True]
            monkeypatch.setattr(registryclient, "CHALLENGES", 1)
            await asking.ask(Credential(registry.host, "alice", TOKEN))
            assert len(asking._challenges) == 1

    runs(scenario)


@pytest.mark.parametrize(
    "password", ['{\n  "type": "service_account",\r\n\t"key": "..."\n}', "pässwörd", "密码", "a:b", "x" * 5000, " a "]
)
@pytest.mark.parametrize("username", ["alice", "_json_key", "Ünïcödé", "$oauthtoken"])
def test_any_login_arrives_as_it_is(here: Loopback, username: str, password: str) -> None:
    async def scenario() -> None:
        async with here.serving(lambda request: json_answer(200, {}) if request.login else asks(BASIC)) as registry:
            assert await ask(here.named(registry), registry, password, username) == Said(Why.NONE)
            assert registry.logins == [login(password, username)]

    try:
        Credential("r", username, password)
    except CredentialError:
        return
    runs(scenario)


@pytest.mark.parametrize(
    ("tokens", "why"),
    [
        (json_answer(200, {"token": "t"}), Why.NONE),
        (json_answer(200, {"access_token": "t"}), Why.NONE),
        (json_answer(200, {}), Why.NO_REGISTRY),
        (json_answer(200, {"token": "", "access_token": None}), Why.NO_REGISTRY),
        (json_answer(200, {"token": ["t"]}), Why.NO_REGISTRY),
        (json_answer(200, ["token"]), Why.NO_REGISTRY),
        (answer(200, HTML), Why.NO_REGISTRY),
        (answer(200, gzip.compress(b'{"token": "t"}'), "Content-Encoding: gzip"), Why.NO_REGISTRY),
        (answer(200, b'{"a":' * 10_000), Why.NO_REGISTRY),
        (answer(200, b'{"token": "\xff"}'), Why.NO_REGISTRY),
        (answer(204), Why.NO_REGISTRY),
        (json_answer(400, {"error": "invalid_scope"}), Why.NO_REGISTRY),
        (json_answer(401, {"errors": []}), Why.UNAUTHORIZED),
        (answer(401, HTML, "WWW-Authenticate: Basic realm=x"), Why.UNAUTHORIZED),
        (answer(401, HTML, "WWW-Authenticate: Negotiate"), Why.NO_REGISTRY),
        (answer(401, HTML), Why.NO_REGISTRY),
        (json_answer(403, DENIED), Why.FORBIDDEN),
        (answer(403, HTML), Why.NO_REGISTRY),
        (answer(404, HTML), Why.NO_REGISTRY),
        (json_answer(404, {}), Why.NO_REGISTRY),
        (answer(407, HTML, "Proxy-Authenticate: Basic"), Why.NO_REGISTRY),
        (answer(302, b"", "Location: /login"), Why.REDIRECT),
        (answer(429), Why.BUSY),
        (json_answer(500, {"errors": []}), Why.BROKEN),
        (answer(502, HTML), Why.BROKEN),
        (answer(504), Why.BROKEN),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Why.NO_REGISTRY),
        (b"", Why.NO_CONNECTION),
        (b"HTTP/1.1 200 X\r\nContent-Length: 9\r\n\r\nshort", Why.NO_CONNECTION),
    ],
)
def test_what_a_token_service_may_answer(here: Loopback, tokens: bytes, why: Why) -> None:
    async def scenario() -> None:
        realm = [""]
        async with here.serving(with_tokens(lambda: realm[0], lambda _: tokens)) as registry:
            realm[0] = f"https://{registry.host}/token"
            assert (await ask(here.named(registry), registry)).why == why
            assert registry.logins == [login()]

    runs(scenario)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (json_answer(200, {}), Why.NO_CHALLENGE),
        (answer(200, b"", "Docker-Distribution-Api-Version: registry/2.0"), Why.NO_CHALLENGE),
        (answer(200, HTML), Why.NO_REGISTRY),  # a page of a proxy
        (answer(200), Why.NO_REGISTRY),
        (answer(401, HTML), Why.NO_REGISTRY),
        (json_answer(401, {}), Why.NO_REGISTRY),
        (asks("Digest realm=x"), Why.NO_REGISTRY),
        (asks("Bearer service=x"), Why.NO_REGISTRY),
        (asks(", , ,"), Why.NO_REGISTRY),
        (asks("Bearer realm=x"), Why.NO_REGISTRY),
        (asks("Bearer realm=/token"), Why.NO_REGISTRY),
        (asks('Bearer realm="//localhost/token"'), Why.NO_REGISTRY),
        (asks('Bearer realm="ftp://localhost/token"'), Why.NO_REGISTRY),
        (asks('Bearer realm="file:///etc/passwd"'), Why.NO_REGISTRY),
        (asks('Bearer realm="https://u@localhost/token"'), Why.NO_REGISTRY),
        (asks('Bearer realm="https://u:p@localhost/token"'), Why.NO_REGISTRY),
        (asks('Bearer realm="https://:p@localhost/token"'), Why.NO_REGISTRY),
        (asks('Bearer realm="https://localhost:99999/token"'), Why.NO_REGISTRY),
        (asks('Bearer realm="https://[::1/token"'), Why.NO_REGISTRY),
        (asks('Bearer realm="https://xn--a.example/token"'), Why.NO_ADDRESS),
        (asks('Bearer realm="https://\udc80.example/token"'), Why.NO_REGISTRY),
        (asks('Bearer realm="https://localhost/token",service="\udc80"'), Why.NO_CONNECTION),
        (asks('Bearer realm="http://localhost/token"'), Why.PLAIN_TOKENS),
        (answer(301, b"", "Location: https://localhost/v2/"), Why.REDIRECT),
        (answer(307, b"", "Location: /v2/"), Why.REDIRECT),
        (answer(403, HTML), Why.NO_REGISTRY),
        (json_answer(403, DENIED), Why.NO_REGISTRY),
        (answer(404, HTML), Why.NO_REGISTRY),
        (answer(407, HTML), Why.NO_REGISTRY),
        (answer(429, HTML), Why.BUSY),
        (answer(500), Why.BROKEN),
        (answer(502, HTML), Why.BROKEN),
        (answer(503), Why.BROKEN),
        (answer(101), Why.NO_REGISTRY),
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", Why.NO_REGISTRY),
        (b"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic\r\nContent-Length: x\r\n\r\n", Why.NO_REGISTRY),
        (b"HTTP/1.1 401 X\r\nWWW-Authenticate: " + b"x" * 100_000 + b"\r\n\r\n", Why.NO_REGISTRY),
        (b"HTTP/1.1 401 X\r\n" + b"WWW-Authenticate: NTLM\r\n" * 5000 + b"\r\n", Why.NO_REGISTRY),
        (b"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic\r\nContent-Length: 9\r\n\r\nshort", Why.NO_CONNECTION),
        (b"", Why.NO_CONNECTION),
    ],
)
def test_what_does_not_say_how_to_ask_gets_no_credential(here: Loopback, said: bytes, why: Why) -> None:
    async def scenario() -> None:
        async with here.serving(lambda _: said) as registry:
            assert (await ask(here.named(registry, "localhost"), registry)).why == why
            assert registry.logins == []
            assert len(registry.asked) == 1

    runs(scenario)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(401, HTML, "WWW-Authenticate: Basic realm=x"), Why.UNAUTHORIZED),  # nginx in front of a registry
        (answer(401, b"Not Authorized"), Why.NO_REGISTRY),
        (answer(401, HTML, "WWW-Authenticate: NTLM"), Why.NO_REGISTRY),
        (json_answer(401, DENIED), Why.UNAUTHORIZED),
        (json_answer(403, DENIED), Why.FORBIDDEN),
        (answer(403, HTML), Why.NO_REGISTRY),
        (answer(407, HTML), Why.NO_REGISTRY),
        (answer(302, b"", "Location: /"), Why.REDIRECT),
        (answer(503, HTML), Why.BROKEN),
        (answer(431), Why.NO_REGISTRY),
        (answer(200, HTML), Why.NONE),
    ],
)
def test_what_a_registry_may_answer_to_a_password(here: Loopback, said: bytes, why: Why) -> None:
    async def scenario() -> None:
        async with here.serving(lambda request: said if request.login else asks(BASIC)) as registry:
            assert (await ask(here.named(registry), registry)).why == why
            assert registry.logins == [login()]

    runs(scenario)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("  7 ", 7.0),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(seconds=90), usegmt=True), 0.0),
        ("9" * 1000, 999_999_999.0),
        ("soon", 0.0),
        ("-7", 0.0),
        ("7.5", 0.0),
        ("\udc80", 0.0),
        ("Mon, 99 Jan 2030 00:00:00 GMT", 0.0),
        ("", 0.0),
    ],
)
def test_how_long_it_wants_to_be_left_alone(here: Loopback, status: int, header: str, seconds: float) -> None:
    async def scenario() -> None:
        busy = answer(status, b"", f"Retry-After: {header}")
        async with here.serving(lambda request: busy if request.login else asks(BASIC)) as registry:
            why = Why.BUSY if status == 429 else Why.BROKEN
            assert await ask(here.named(registry), registry) == Said(why, seconds)
        async with here.serving(lambda _: busy) as registry:
            assert await ask(here.named(registry), registry) == Said(why, seconds, of_all=True)
            assert registry.logins == []

    runs(scenario)


def test_hints_of_github_and_nothing_that_somebody_wants_read(here: Loopback) -> None:
    async def scenario() -> None:
        headers: list[str] = []

        def say(request: Request) -> bytes:
            return json_answer(200, {}, *headers) if request.login else asks(BASIC)

        async with here.serving(say) as registry:

            async def hint(**given: str) -> str:
                headers[:] = [f"{name.replace('_', '-')}: {value}" for name, value in given.items()]
                said = await ask(here.named(registry), registry)
                assert said.why == Why.NONE
                return said.hint

            ends = "GitHub_Authentication_Token_Expiration"
            assert await hint() == ""
            assert await hint(X_OAuth_Scopes="read:packages, repo") == ""
            assert await hint(X_OAuth_Scopes="repo, user") == 'its scopes are "repo, user"; it needs read:packages'
            assert await hint(**{ends: "2030-02-01 00:00:00 UTC"}) == (
                'GitHub says that it ends at "2030-02-01 00:00:00 UTC"'
            )
            assert "+0200" in await hint(**{ends: "2030-02-01 00:00:00 +0200"})
            for text in (TOKEN, login(), "run: kubectl delete ns \x1b[1m", "x" * 5000):
                assert await hint(X_OAuth_Scopes=text, **{ends: text}) in {"", 'its scopes are "x"'}

    runs(scenario)


# -- who gets the credential --


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("kind", ["basic", "token"])
def test_no_redirect_takes_the_credential_along(here: Loopback, status: int, kind: str) -> None:
    async def scenario() -> None:
        async with here.serving(lambda _: json_answer(200, {"token": "t"})) as other:
            for target in (f"https://{other.host}/v2/", "/elsewhere", f"//{other.host}/", f"http://{other.host}/"):
                where = [""]

                def say(request: Request, target: str = target, where: list[str] = where) -> bytes:
                    if request.login:
                        return answer(status, b"", f"Location: {target}")
                    return asks(BASIC if kind == "basic" else f'Bearer realm="{where[0]}"')

                async with here.serving(say) as registry:
                    where[0] = f"https://{registry.host}/token"
                    config = here.named(registry, other)
                    assert await ask(config, registry) == Said(Why.REDIRECT)
                    assert len(registry.logins) == 1
            assert other.connections == 0

    runs(scenario)


@pytest.fixture
def world(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, ...]]:
    return names(here, monkeypatch)


def test_a_public_registry_does_not_lead_to_private_addresses(
    here: Loopback, world: dict[str, tuple[str, ...]]
) -> None:
    """Neither by its own address nor by the one of its token service: also if that one may be asked as a registry."""
    world |= {"public.example": ("127.0.0.1",), "tokens.example": ("127.0.0.1",), "private.example": ("127.0.0.2",)}

    async def scenario() -> None:
        names = "public.example", "tokens.example", "private.example", "127.0.0.2"
        async with (
            serving(issues, here.tls(*names), address="127.0.0.2", name="private.example") as private,
            serving(issues, here.tls(*names), name="tokens.example") as tokens,
        ):
            realm = [""]
            asked = with_tokens(lambda: realm[0], issues)
            async with serving(asked, here.tls(*names), name="public.example") as registry:
                for realm[0], why in {
                    f"https://{tokens.host}/token": Why.NONE,
                    f"https://{private.host}/token": Why.PRIVATE_TOKENS,
                    f"https://127.0.0.2:{private.port}/token": Why.PRIVATE_TOKENS,
                    f"https://127.2:{private.port}/token": Why.NO_ADDRESS,
                    "https://nowhere.example/token": Why.NO_ADDRESS,
                    f"https://[::1]:{private.port}/": Why.PRIVATE_TOKENS,
                    "https://169.254.169.254/latest/meta-data": Why.PRIVATE_TOKENS,
                }.items():
                    assert await ask(Config(), registry) == Said(why), realm
                    named = here.named(private, f"127.0.0.2:{private.port}", f"[::1]:{private.port}")
                    assert await ask(named, registry) == Said(why), realm
                assert registry.logins == []
                assert private.connections == 0
                assert len(tokens.logins) == 2
                realm[0] = f"https://{private.host}/token"
                assert await ask(here.named(private, registry), registry) == Said(Why.NONE)
                assert await ask(Config(), private) == Said(Why.PRIVATE, of_all=True)
                assert len(private.asked) == 1

    runs(scenario)


def test_of_several_addresses_the_public_ones_are_asked(here: Loopback, world: dict[str, tuple[str, ...]]) -> None:
    async def scenario() -> None:
        async with serving(with_basic(), here.tls("mixed.example"), name="mixed.example") as registry:
            # Nobody listens at 127.0.0.2, but 127.0.0.3 would be reached by the port that the first one has.
            world["mixed.example"] = ("127.0.0.2", "10.0.0.1", "127.0.0.1")
            assert await ask(Config(), registry) == Said(Why.NONE)
            world["mixed.example"] = ("10.0.0.1", "127.0.0.2", "169.254.169.254", "::1", "fe80::1%eth0")
            assert await ask(Config(), registry) == Said(Why.PRIVATE, of_all=True)
            assert len(registry.asked) == 2

    runs(scenario)


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.0.0.1", "127.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "127.0.1",
     "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
     "[0:0:0:0:0:0:0:1]"],
)  # fmt: skip
def test_this_machine_is_not_asked_under_any_name(here: Loopback, host: str) -> None:
    """Without another resolver than the system's."""

    async def scenario() -> None:
        async with here.serving(with_basic()) as registry:
            assert (await ask(Config(), f"{host}:{registry.port}")).why in {Why.PRIVATE, Why.NO_ADDRESS}
            assert (await ask(here.named("localhost", "localhost:1"), f"{host}:{registry.port}")).why != Why.NONE
            assert registry.connections == 0

    runs(scenario)


def test_a_port_is_part_of_the_name_in_the_configuration(here: Loopback) -> None:
    async def scenario() -> None:
        async with here.serving(with_basic()) as registry:
            assert (await ask(here.named(registry), "localhost:1")).why == Why.PRIVATE
            assert (await ask(here.named("localhost:1"), "localhost:1")).why == Why.NO_CONNECTION
            assert (await ask(here.named(registry.host.upper()), registry)).why == Why.NONE

    runs(scenario)


def test_ipv6(here: Loopback) -> None:
    async def scenario() -> None:
        async with here.serving(with_basic(), name="[::1]", address="::1") as registry:
            assert (await ask(here.named(registry), registry)).why == Why.NONE
            assert (await ask(here.named(f"[0:0::1]:{registry.port}"), registry)).why == Why.NONE
            assert (await ask(Config(), registry)).why == Why.PRIVATE

    runs(scenario)


def test_plain_http_where_the_configuration_says_so(here: Loopback) -> None:
    async def scenario() -> None:
        async with serving(with_basic()) as registry:
            assert (await ask(here.named(registry, plain=True), registry)).why == Why.NONE
            assert (await ask(here.named(registry), registry)).why == Why.HANDSHAKE
            assert len(registry.asked) == 2
        realm = [""]
        async with (
            serving(issues) as tokens,
            serving(with_tokens(lambda: realm[0], issues)) as registry,
        ):
            realm[0] = f"http://{tokens.host}/token"
            assert (await ask(here.named(registry, tokens, plain=True), registry)).why == Why.NONE
            assert (await ask(here.named(registry, plain=True), registry)).why == Why.PRIVATE_TOKENS

    runs(scenario)


def test_an_answer_that_nobody_foresaw_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def request(*_: object, **__: object) -> None:
        raise LookupError(TOKEN)

    monkeypatch.setattr(GuardedHttp, "request", request)

    async def scenario() -> None:
        with capture_logs() as logs:
            async with client(Config()) as asking:
                assert await asking.ask(Credential("ghcr.io", "alice", TOKEN)) == Said(Why.NO_REGISTRY)
                assert await asking.answers("ghcr.io") is Why.NO_REGISTRY
        assert [one["kind"] for one in logs] == ["LookupError"] * 2
        assert not planted.leaks(str(logs))

    runs(scenario)


def test_docker_hub_has_one_place_whatever_it_is_called(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    async def resolve(_self: object, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        asked.append(f"{host}:{port}")
        raise OSError

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)

    async def scenario() -> None:
        for key in (DOCKER_HUB, "docker.io", "docker.io/acme", "registry-1.docker.io", "registry.hub.docker.com"):
            assert (await ask(Config(), key)).why == Why.NO_ADDRESS
        async with client(Config()) as asking:  # Docker Hub can be a mirror
            assert await asking.answers("docker.io") == Why.NO_ADDRESS
        assert {*asked} == {"registry-1.docker.io:443"}
        asked.clear()
        for key in ("*.example.com", "*.example.com/acme"):
            assert await ask(Config(), key) == Said(Why.PATTERN)
        assert asked == []
        for key in ("ghcr.io/acme/", "ghcr.io:5000/acme"):
            await ask(Config(), key)
        assert asked == ["ghcr.io:443", "ghcr.io:5000"]

    runs(scenario)


def test_what_the_configuration_names() -> None:
    fields = Fields(default_registry="https://docker.io")
    sources = (
        HttpSource(url="https://t.example/{owner}", answer=fields),
        HttpSource(url="https://t.example/{owner}"),
        SqlSource(
            url_file="/u",
            preset="git-connections",
            registries={"a": "https://git.example:5050/v2/", "b": "", "c": "*.example.com", "d": "no host"},
        ),
    )
    registries = (Registry("git.example:5050", ca_file="f"), Registry("[::1]:5000"))
    assert Config(sources=sources, registries=registries).named_registries == {
        "registry-1.docker.io": Registry("registry-1.docker.io"),
        "git.example:5050": registries[0],
        "[::1]:5000": registries[1],
    }
    RegistryClient(Config(registries=(Registry("xn--a.example"), Registry("a:99999"))), lambda: NOW)


# -- no way there --


def test_names_and_ports_where_nobody_is(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        for name in ("nowhere.invalid", "xn--a.example", "a..example", "h.example:99999", "h.example:0", "a_b.invalid"):
            assert (await ask(Config(), name)).why == Why.NO_ADDRESS, name
            assert (await ask(Config(registries=(Registry(name),)), name)).why == Why.NO_ADDRESS, name
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            refused = f"localhost:{bound.getsockname()[1]}"
            assert (await ask(here.named(refused), refused)).why == Why.NO_CONNECTION

    runs(scenario)


def test_a_queue_that_is_full(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a firewall that drops what is sent: nobody answers."""
    monkeypatch.setattr(guardedhttp, "CONNECT_SECONDS", 0.3)

    async def scenario() -> None:
        with silent_port() as host:
            assert (await ask(here.named(host), host)).why == Why.NO_ANSWER

    runs(scenario)


async def resets(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def is_silent(_request: Request, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def never_ends(_request: Request, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 401 X\r\nWWW-Authenticate: Basic\r\n\r\n")
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def drips(_request: Request, writer: asyncio.StreamWriter) -> None:
    for byte in asks(BASIC):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def goes_on(_request: Request, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("act", "why"),
    [(resets, Why.NO_CONNECTION), (is_silent, Why.NO_ANSWER), (drips, Why.NO_ANSWER), (goes_on, Why.NO_ANSWER)],
)
def test_servers_that_do_not_answer(here: Loopback, monkeypatch: pytest.MonkeyPatch, act: Act, why: Why) -> None:
    monkeypatch.setattr(guardedhttp, "TOTAL_SECONDS", 0.5)

    async def scenario() -> None:
        async with here.serving(act) as registry:
            assert (await ask(here.named(registry), registry)).why == why
            assert registry.logins == []

    runs(scenario)


def test_of_an_endless_body_only_the_beginning_is_read(here: Loopback) -> None:
    async def scenario() -> None:
        async def act(request: Request, writer: asyncio.StreamWriter) -> None:
            if not request.login:
                await never_ends(request, writer)
            writer.write(json_answer(200, {}))

        async with here.serving(act) as registry:
            assert await ask(here.named(registry), registry) == Said(Why.NONE)

    runs(scenario)


def test_certificates(here: Loopback) -> None:
    async def scenario() -> None:
        day = timedelta(days=1)
        today = datetime.now(UTC)
        for context in (
            here.tls(authority=trustme.CA()),
            here.tls("other.example"),
            here.tls(not_before=today - 2 * day, not_after=today - day),
            here.tls(not_before=today + day, not_after=today + 2 * day),
        ):
            async with serving(with_basic(), context) as registry:
                assert await ask(here.named(registry), registry) == Said(Why.CERTIFICATE, of_all=True)
                assert registry.asked == []
        async with here.serving(with_basic()) as registry:
            system = Config(registries=(Registry(registry.host),))
            assert await ask(system, registry) == Said(Why.CERTIFICATE, of_all=True)
            # The CA of one registry counts for no other.
            other = Config(registries=(Registry(registry.host), Registry("other.example", ca_file=here.ca_file)))
            assert await ask(other, registry) == Said(Why.CERTIFICATE, of_all=True)

    runs(scenario)


def test_certificates_to_trust_in_place_of_those_of_the_system(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a registry that the configuration does not name."""
    monkeypatch.setattr(addresses, "is_public", lambda _address: True)

    async def scenario() -> None:
        async with here.serving(with_basic()) as registry:
            for ca_file, why in {None: Why.CERTIFICATE, here.ca_file: Why.NONE}.items():
                asking = RegistryClient(Config(), lambda: NOW, ca_file)
                assert (await asking.ask(Credential(registry.host, "alice", TOKEN))).why == why
                await asking.close()

    runs(scenario)


def test_certificates_to_trust_beside_those_of_the_system(
    here: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "is_public", lambda _address: True)
    monkeypatch.setenv("SSL_CERT_FILE", here.ca_file)
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))

    async def scenario() -> None:
        async with here.serving(with_basic()) as registry:
            named = Config(registries=(Registry(registry.host, ca_file=str(other)),))
            for config, ca_file in ((Config(), str(other)), (named, None)):
                beside = GuardedHttp(config, ca_file, public=True)
                assert (await beside.request(beside.url(registry.host), {})).status == 401
                await beside.close()
                alone = GuardedHttp(config, ca_file)
                with pytest.raises(Unanswered):
                    await alone.request(alone.url(registry.host), {})
                await alone.close()

    runs(scenario)


def test_a_file_with_certificates_is_read_again(here: Loopback) -> None:
    async def scenario() -> None:
        file = here.folder / "mounted.pem"
        async with here.serving(with_basic()) as registry:
            config = Config(registries=(Registry(registry.host, ca_file=str(file)),))
            async with client(config) as asking:

                async def why() -> Why:
                    return (await asking.ask(Credential(registry.host, "alice", TOKEN))).why

                assert await why() == Why.CA_FILE
                file.write_text("no certificate")
                assert await why() == Why.CA_FILE
                assert registry.connections == 0
                file.write_bytes(here.authority.cert_pem.bytes())
                assert await why() == Why.NONE

    runs(scenario)


def test_tls_that_fails(here: Loopback) -> None:
    async def scenario() -> None:
        def listening(end: Callable[[socket.socket], None]) -> socket.socket:
            bound = socket.create_server(("127.0.0.1", 0))

            def accept() -> None:
                connection, _ = bound.accept()
                connection.recv(4096)
                end(connection)

            threading.Thread(target=accept, daemon=True).start()
            return bound

        def reset(connection: socket.socket) -> None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()

        for end in (reset, socket.socket.close):
            with listening(end) as bound:
                host = f"127.0.0.1:{bound.getsockname()[1]}"
                assert (await ask(here.named(host), host)).why in {Why.NO_CONNECTION, Why.HANDSHAKE}

    runs(scenario)


def test_few_names_are_resolved_at_once_however_long_that_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's name server may never answer. The thread goes on when nobody waits for it any more."""
    monkeypatch.setattr(guardedhttp, "TOTAL_SECONDS", 0.2)
    resolving: list[str] = []
    release = asyncio.Event()

    async def resolve(_self: object, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        resolving.append(host)
        await release.wait()
        raise OSError

    monkeypatch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)

    async def scenario() -> None:
        async with client(Config()) as asking:
            hosts = [f"slow{number}.example" for number in range(6)]
            for _ in range(2):
                said = await asyncio.gather(*(asking.ask(Credential(host, "u", TOKEN)) for host in hosts))
                assert {one.why for one in said} == {Why.NO_ANSWER}
            assert len(resolving) == LOOKUPS
            await asyncio.sleep(0.3)  # by then those that wait for their turn have given up, too
            release.set()
            await asyncio.sleep(0.01)
            assert (await asking.ask(Credential("slow9.example", "u", TOKEN))).why == Why.NO_ADDRESS
            assert resolving[LOOKUPS:] == ["slow9.example"]

    runs(scenario)


# -- addresses --

PRIVATE = [
    "127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254", "100.64.0.1", "100.100.100.200", "198.18.0.1", "192.0.2.1", "224.0.0.1", "239.1.1.1",
    "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1", "fd00:ec2::254", "fec0::1",
    "ff02::1", "ff0e::1", "2001:db8::1", "100::1", "4000::1", "5f00::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
    "::ffff:a9fe:a9fe", "::127.0.0.1", "::ffff:0:127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::10.0.0.1", "2002:a00:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "140.82.112.34", "172.32.0.1", "100.128.0.1", "2606:50c0:8000::154", "2a04:4e42::223",
    "64:ff9b::1.1.1.1", "::ffff:1.1.1.1", "2002:101:101::1",
]  # fmt: skip


def test_public_addresses() -> None:
    assert [one for one in PRIVATE if is_public(one)] == []
    assert [one for one in PUBLIC if not is_public(one)] == []


@given(st.ip_addresses(v=4))
def test_an_address_inside_another_counts_the_same(inner: Any) -> None:
    packed = int(inner)
    for wrapped in (f"::ffff:{inner}", f"64:ff9b::{inner}", f"2002:{packed >> 16:x}:{packed & 0xFFFF:x}::1"):
        assert is_public(wrapped) == is_public(str(inner))


# -- whatever comes --

NOISE = st.text(
    st.sampled_from('aB1.:/@?#[]%&=-_~,"\\ \t\x80\udc80\udcff') | st.characters(codec="latin-1"), max_size=40
)
REALMS = st.one_of(
    NOISE,
    st.builds("https://{}".format, NOISE),
    st.builds(
        "https://{}/token".format, st.sampled_from(["xn--a.example", "[::1", "a:99999", "a:b", "1", "%00", "a%2fb"])
    ),
)


@settings(max_examples=150)
@given(
    realm=REALMS,
    service=NOISE,
    retry=NOISE | st.datetimes().map(format_datetime),
    scopes=NOISE,
    status=st.sampled_from([200, 401, 401, 401, 403, 429]),
    body=st.binary(max_size=20) | st.just(b'{"token": "t"}'),
)
def test_no_answer_raises(realm: str, service: str, retry: str, scopes: str, status: int, body: bytes) -> None:
    def line(text: str) -> str:
        return "".join(one for one in text if one not in "\r\n\0")

    async def scenario() -> None:
        said = answer(
            status,
            body,
            line(f'WWW-Authenticate: Bearer realm="{realm}",service="{service}"'),
            line(f"Retry-After: {retry}"),
            line(f"X-OAuth-Scopes: {scopes}"),
        )
        async with serving(lambda _: said) as registry:
            said_then = await ask(Config(registries=(Registry(registry.host, plain=True),)), registry)
            assert isinstance(said_then, Said)

    runs(scenario)


@settings(max_examples=200)
@given(text=st.text(st.sampled_from("axn-.*:/[]019_%\u00e4"), min_size=1, max_size=30) | NOISE)
def test_no_name_raises(text: str) -> None:
    async def scenario() -> None:
        assert (await ask(Config(), name)).why != Why.NONE

    async def resolve(_self: object, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        raise OSError

    try:
        name = canonical_registry(text)
    except CredentialError:
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aiohttp.ThreadedResolver, "resolve", resolve)
        patch.setattr(aiohttp.TCPConnector, "_wrap_create_connection", _no_connection)
        runs(scenario)


async def _no_connection(*_args: object, **_options: object) -> None:
    raise OSError


def test_a_defect_is_logged_without_what_it_is_about(here: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    def defect(_headers: object) -> None:
        raise AssertionError(TOKEN)

    monkeypatch.setattr(registryclient, "challenge", defect)

    async def scenario() -> None:
        async with here.serving(with_basic()) as registry, client(here.named(registry)) as asking:
            with capture_logs() as logs:
                assert await asking.ask(Credential(registry.host, "alice", TOKEN)) == Said(Why.NO_REGISTRY)
            assert [(one["log_level"], one["kind"]) for one in logs] == [("error", "AssertionError")]
            assert not planted.leaks(str(logs))

    runs(scenario)
