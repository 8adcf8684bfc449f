"""The HTTP source: against a real HTTPS service, and against one that sends whatever it likes."""

import asyncio
import gzip
import json
import re
import shutil
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import trustme

from support import planted, tokenservice
from support.background import Background
from support.sourcecontract import OWNERS, Contract, Place, credential
from webhook.config.sourceconfig import HttpSource
from webhook.core.credential import Credential, Credentials, Origin
from webhook.core.errors import SourceUnavailable
from webhook.sources import http
from webhook.sources.batched import Batched
from webhook.sources.cached import Cached
from webhook.sources.http import QUERIES, HttpRemote
from webhook.sources.remote import MAX_OWNERS, Answer

NOW = datetime(2030, 1, 1, tzinfo=UTC)
AUTHS = json.dumps({"auths": {"ghcr.io": {"username": "u", "password": planted.token()}}}).encode()


def now() -> datetime:
    return NOW


# -- the contract --


class WithPost(HttpRemote):
    """Asks about one owner alone with POST, too."""

    async def ask(self, owner: str, before: Answer | None) -> Answer:
        found = (await self.ask_many([owner]))[owner]
        if isinstance(found, SourceUnavailable):
            raise found
        return found


class Service(Place):
    def __init__(self, service: tokenservice.TokenService, kind: type[HttpRemote], **more: str) -> None:
        super().__init__()
        self.service = service
        http = kind(HttpSource(url=service.query, ca_file=service.ca_file, **more), now)  # type: ignore[arg-type]
        remote = Batched(http, QUERIES, lambda: None) if http.many else http
        self.source = Cached(Origin("http"), remote, self.heard.append, self.report, self.metrics, now)

    async def gives(self, owner: str, *credentials: Credential) -> None:
        new = owner not in self.service.owners
        self.service.give(owner, *credentials)
        if not new:
            await asyncio.sleep(0.03)  # what it said before is old

    async def goes_down(self) -> None:
        self.service.up = False
        await asyncio.sleep(0.03)

    async def comes_back(self) -> None:
        self.service.up = True


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[Place]:
    run = asyncio.create_task(place.source.run())
    await asyncio.sleep(0)
    try:
        yield place
    finally:
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run


class TestHttp(Contract):
    @pytest.fixture(autouse=True)
    def _service(self, tmp_path: Path) -> Iterator[None]:
        with tokenservice.serving(tmp_path) as self.service:
            yield

    def place(self) -> AbstractAsyncContextManager[Place]:
        return running(Service(self.service, HttpRemote))


class TestHttpForMany(TestHttp):
    def place(self) -> AbstractAsyncContextManager[Place]:
        return running(Service(self.service, HttpRemote, batch_url=self.service.batch_url))


class TestHttpWithPostAlone(TestHttp):
    def place(self) -> AbstractAsyncContextManager[Place]:
        return running(Service(self.service, WithPost, batch_url=self.service.batch_url))


# -- a real service --


def ask(config: HttpSource, owner: str = "alice", before: Answer | None = None) -> Answer:
    async def asked() -> Answer:
        remote = HttpRemote(config, now)
        try:
            return await remote.ask(owner, before)
        finally:
            await remote.close()

    return asyncio.run(asked())


def refused(config: HttpSource, owner: str = "alice", before: Answer | None = None) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as caught:
        ask(config, owner, before)
    assert not planted.leaks(str(caught.value))
    assert caught.value.__cause__ is None
    return caught.value


@pytest.fixture
def service(tmp_path: Path) -> Iterator[tokenservice.TokenService]:
    with tokenservice.serving(tmp_path) as served:
        served.give("alice", credential())
        yield served


def to(service: tokenservice.TokenService, **changes: object) -> HttpSource:
    return HttpSource(**{"url": service.url, "ca_file": service.ca_file} | changes)  # type: ignore[arg-type]


def test_an_owner_goes_into_the_path_escaped_or_not_at_all(service: tokenservice.TokenService) -> None:
    for owner in (*OWNERS, ".", "..", "%2e%2e", "a\r\nX: y", "\udc80"):
        service.give(owner, given := credential())
        service.asked.clear()
        try:
            answer = ask(to(service), owner)
        except SourceUnavailable as e:
            assert "name" in str(e)
            assert not service.asked
            assert owner in {".", "..", "\udc80"} or set(owner) & set("/\\%\r\n")
        else:
            assert answer.credentials.items == (given,)
            (asked,) = service.asked
            assert asked.owner == owner
            assert asked.raw_path.count("/") == 3
            assert not set(asked.raw_path) & set("?#;@:' +")
            assert not set(owner) & set("/\\%\r\n")


def test_an_owner_goes_into_the_query_escaped(service: tokenservice.TokenService) -> None:
    for owner in (*OWNERS, ".", "..", "a\r\nX: y", "&owner=bob"):
        service.give(owner, given := credential())
        assert ask(to(service, url=service.query), owner).credentials.items == (given,)
        assert service.asked[-1].owner == owner
        assert "x" not in service.asked[-1].headers
    refused(to(service, url=service.query), "\udc80")


def test_404_is_none_and_other_refusals_are_nobody_could_say(service: tokenservice.TokenService) -> None:
    assert ask(to(service), "nobody").credentials == Credentials()
    for status, everybody in {400: False, 403: False, 410: False, 401: True, 429: True, 500: True, 503: True}.items():
        service.status = status
        e = refused(to(service))
        assert str(status) in str(e)
        assert e.everybody is everybody
    for status in (204, 206, 304, 301, 302, 307):
        service.status = status
        assert str(status) in str(refused(to(service)))


def test_redirects_are_not_followed(service: tokenservice.TokenService, tmp_path: Path) -> None:
    with tokenservice.serving(tmp_path / "other") as other:
        service.status, service.headers = 307, {"Location": other.url.replace("{owner}", "alice")}
        assert "redirects are not followed" in str(refused(to(service)))
        assert not other.asked


def test_cache_control_etag_and_age(service: tokenservice.TokenService) -> None:
    for header, fresh_for in {
        "max-age=60": 60,
        "private, Max-Age=60, must-revalidate": 60,
        'max-age="60"': 60,
        "no-store": 0,
        "no-cache, max-age=60": 0,
        "max-age=0": 0,
        "max-age=-5": 42,
        "max-age=x": 42,
        "public": 42,
        "max-age=999999999999999999999": 999999999,
    }.items():
        service.headers = {"Cache-Control": header}
        assert ask(to(service, max_age=42.0)).fresh_for == fresh_for, header
    service.headers = {"Cache-Control": "max-age=60", "Age": "50"}
    assert ask(to(service)).fresh_for == 10
    service.headers = {}
    assert ask(to(service)).fresh_for == 300
    assert ask(to(service), "nobody").fresh_for == http.NOT_FOUND_MAX_SECONDS

    first = ask(to(service))
    assert first.validator.startswith('"')
    again = ask(to(service), before=first)
    assert service.answers[-1][0] == 304
    assert again == first
    service.give("alice", new := credential())
    assert ask(to(service), before=again).credentials.items == (new,)
    service.headers = {"Cache-Control": "no-store"}
    assert ask(to(service)).validator == ""


def test_a_304_says_how_long_or_what_the_200_said_goes_on(service: tokenservice.TokenService) -> None:
    service.headers = {"Cache-Control": "max-age=60"}
    first = ask(to(service))
    for headers, fresh_for in (({}, 60), ({"Cache-Control": "max-age=7"}, 7), ({"Cache-Control": "public"}, 300)):
        service.headers = headers
        assert ask(to(service), before=first).fresh_for == fresh_for
        assert service.answers[-1][0] == 304


def test_all_lines_of_cache_control_count() -> None:
    async def scenario() -> float:
        async with sent(answers(ok(AUTHS, "Cache-Control: private", "Cache-Control: max-age=60"))) as remote:
            return (await remote.ask("alice", None)).fresh_for

    assert asyncio.run(scenario()) == 60


def test_the_files_count_however_the_scheme_is_written(service: tokenservice.TokenService) -> None:
    assert ask(to(service, url=service.url.replace("https:", "HTTPS:"))).credentials.items


def test_retry_after_is_seconds_or_a_date(service: tokenservice.TokenService) -> None:
    service.status = 503
    for header, seconds in {
        "7": 7.0,
        format_datetime(NOW + timedelta(seconds=90), usegmt=True): 90.0,
        format_datetime(NOW - timedelta(seconds=90), usegmt=True): 0.0,
        "soon": 0.0,
        "-1": 0.0,
        "": 0.0,
        "\u0663": 0.0,
    }.items():
        service.headers = {"Retry-After": header}
        assert refused(to(service)).retry_after == seconds, header


def test_the_service_is_known_by_its_certificate(service: tokenservice.TokenService, tmp_path: Path) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    assert "certificate" in str(refused(to(service, ca_file=str(other))))
    assert "certificate" in str(refused(to(service, ca_file=None)))
    assert "certificate" in str(refused(to(service, url=service.url.replace("localhost", "127.0.0.1"))))
    assert not service.asked
    assert refused(to(service, url="https://nowhere.invalid/{owner}")).everybody
    assert "connection refused" in str(refused(to(service, url="https://localhost:1/{owner}")))


def test_files_are_read_again(tmp_path: Path) -> None:
    first, second = planted.token(), planted.token()
    token = tmp_path / "token"
    with tokenservice.serving(tmp_path / "service", mutual=True, token=first) as service:
        service.give("alice", given := credential())
        files = {f"{name}_file": str(tmp_path / f"tls.{name}") for name in ("ca", "cert", "key")}
        shutil.copy(service.ca_file, files["ca_file"])
        config = to(service, token_file=str(token), **files)

        async def scenario() -> None:
            remote = HttpRemote(config, now)

            async def why() -> str:
                with pytest.raises(SourceUnavailable) as caught:
                    await remote.ask("alice", None)
                assert caught.value.everybody
                assert not planted.leaks(str(caught.value))
                return str(caught.value)

            assert await why() == f"tokenFile {token}: No such file or directory"
            for wrong in (b"", b"\n", b"two\nlines", b"a\r\nX-Evil: 1", b"\xff", b"a b"):
                token.write_bytes(wrong)
                assert "is empty or holds more than one line" in await why()
            token.write_text(first + "\n")
            assert "No such file" in await why()
            pair = files["cert_file"], files["key_file"]
            for one, name in zip(service.client[::-1], pair, strict=True):
                shutil.copy(one, name)
            assert "not PEM, or key and certificate do not match" in await why()
            for one, name in zip(service.client, pair, strict=True):
                shutil.copy(one, name)
            assert (await remote.ask("alice", None)).credentials.items == (given,)
            service.token = second
            assert "access denied" in await why()
            token.write_text(second)
            assert (await remote.ask("alice", None)).credentials.items == (given,)
            before = service.asked[-1].client
            renewed = service.authority.issue_cert("webhook@example.com")
            renewed.cert_chain_pems[0].write_to_path(pair[0])
            renewed.private_key_pem.write_to_path(pair[1])
            assert (await remote.ask("alice", None)).credentials.items == (given,)
            assert service.asked[-1].client not in {before, ""}
            trustme.CA().cert_pem.write_to_path(files["ca_file"])
            assert "certificate" in await why()
            shutil.copy(service.ca_file, files["ca_file"])
            assert (await remote.ask("alice", None)).credentials.items == (given,)
            await remote.close()

        asyncio.run(scenario())
        assert re.search("handshake failed|reset by peer|closed before the answer", str(refused(to(service))))


def test_a_key_with_a_password_is_named_and_nobody_is_asked_for_it(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import ec

    key, cert = tmp_path / "key", trustme.CA().issue_cert("x.example.com")
    made = ec.generate_private_key(ec.SECP256R1())
    key.write_bytes(
        made.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.BestAvailableEncryption(b"not to be asked for"))
    )
    cert.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    config = HttpSource(url="https://localhost:1/{owner}", cert_file=str(tmp_path / "cert"), key_file=str(key))
    assert "without a password" in str(refused(config))


def test_nothing_is_taken_from_the_environment(
    service: tokenservice.TokenService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine localhost login u password p\n")
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "http_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("no_proxy", raising=False)
    assert ask(to(service)).credentials.items
    assert "authorization" not in service.asked[-1].headers
    assert "cookie" not in service.asked[-1].headers


# -- many owners --


def many(config: HttpSource, *owners: str) -> dict[str, Answer | SourceUnavailable]:
    async def asked() -> dict[str, Answer | SourceUnavailable]:
        remote = HttpRemote(config, now)
        try:
            return {**await remote.ask_many(owners)}
        finally:
            await remote.close()

    return asyncio.run(asked())


def many_refused(config: HttpSource) -> SourceUnavailable:
    with pytest.raises(SourceUnavailable) as caught:
        many(config, "alice", "bob")
    assert not planted.leaks(str(caught.value))
    return caught.value


def batch(service: tokenservice.TokenService, **changes: object) -> HttpSource:
    return to(service, **{"batch_url": service.batch_url} | changes)


def test_one_post_is_about_many_owners_whatever_their_names_are(service: tokenservice.TokenService) -> None:
    given = {owner: credential() for owner in (*OWNERS, ".", "..", "a\r\nX: y", '"', "\\")}
    for owner, one in given.items():
        service.give(owner, one)
    names = (*given, "nobody")
    found = many(batch(service), *names)
    assert [*found] == [*names]
    nobody = found.pop("nobody")
    assert isinstance(nobody, Answer)
    assert nobody.credentials == Credentials()
    for owner, answer in found.items():
        assert isinstance(answer, Answer)
        assert answer.credentials.items == (given[owner],)
        assert answer.validator == ""
    assert service.batches == [names]


def test_who_is_left_out_is_not_known_to_have_none(service: tokenservice.TokenService) -> None:
    service.left_out = {"bob"}
    found = many(batch(service), "alice", "bob", "nobody")
    assert isinstance(found["alice"], Answer)
    assert isinstance(found["nobody"], Answer)
    bob = found["bob"]
    assert isinstance(bob, SourceUnavailable)
    assert str(bob) == "its answer leaves this owner out; it must have null for who has no credentials"
    assert not bob.everybody


def test_one_answers_time_is_that_of_all(service: tokenservice.TokenService) -> None:
    def times(**headers: str) -> list[float]:
        service.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        found = many(batch(service, max_age=42.0), "alice", "nobody").values()
        return [answer.fresh_for for answer in found if isinstance(answer, Answer)]

    assert times(Cache_Control="max-age=60") == [60, 60]
    assert times(Cache_Control="max-age=60", Age="50") == [10, 10]
    assert times(Cache_Control="no-store") == [0, 0]
    assert times() == [42, http.NOT_FOUND_MAX_SECONDS]


def test_the_token_goes_with_a_post_and_an_error_is_about_the_service_or_perhaps_about_an_owner(tmp_path: Path) -> None:
    (file := tmp_path / "token").write_text(token := planted.token())
    with tokenservice.serving(tmp_path / "service", token=token) as service:
        assert "HTTP 401: access denied" in str(many_refused(batch(service)))
        config = batch(service, token_file=str(file))
        assert [*many(config, "alice", "bob")] == ["alice", "bob"]
        service.headers = {"Retry-After": "7"}
        for status, everybody in {400: False, 413: False, 422: False, 403: True, 429: True, 500: True}.items():
            service.status = status
            e = many_refused(config)
            assert (e.everybody, e.retry_after) == (everybody, 7.0)
        service.status = 405
        assert "nothing there takes a POST" in str(many_refused(config))
        service.status = 307
        assert "redirects are not followed; set batchUrl" in str(many_refused(config))
    assert many_refused(config).everybody


def test_an_owner_who_cannot_be_in_the_path_is_asked_about_with_a_post(service: tokenservice.TokenService) -> None:
    service.give("a/b", given := credential())
    assert ask(batch(service), "a/b").credentials.items == (given,)
    service.left_out = {"a/b"}
    assert "leaves this owner out" in str(refused(batch(service), "a/b"))
    assert ask(batch(service)).validator, "all others as before"


def test_many_through_the_source_as_it_is_configured(service: tokenservice.TokenService) -> None:
    names = [f"owner-{number}" for number in range(MAX_OWNERS)]
    for name in names:
        service.give(name, credential())
    service.left_out = {"owner-7"}

    async def scenario() -> None:
        remote = Batched(HttpRemote(batch(service), now), QUERIES, lambda: None)
        found = await asyncio.gather(*(remote.ask(name, None) for name in names), return_exceptions=True)
        wrong = [name for name, answer in zip(names, found, strict=True) if not isinstance(answer, Answer)]
        assert wrong == ["owner-7"]
        await remote.close()

    asyncio.run(scenario())
    assert len(service.batches) == len(service.asked) == 1


def test_a_thousand_owners_take_few_requests(service: tokenservice.TokenService) -> None:
    names = [f"owner-{number}" for number in range(1000)]
    given = credential()
    for name in names:
        service.give(name, given)
    service.headers = {"Cache-Control": "max-age=3600"}

    async def main() -> None:
        remote = HttpRemote(batch(service, timeout=20.0), now)
        background = Background(Batched(remote, QUERIES, lambda: None), names)
        async with background.running():
            await background.until(lambda: len(background.has) == 4 * len(names))
        assert {*background.has.values()} == {given.password}

    asyncio.run(main())
    assert -(-len(names) // MAX_OWNERS) <= len(service.asked) <= 10 + QUERIES
    assert sorted(owner for owners in service.batches for owner in owners) == sorted(names)


# -- a service that sends whatever it likes --

Writes = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def answers(raw: bytes, *, then: bytes = b"", pause: float = 0.0) -> Writes:
    """Sends `raw`, and `then` again and again."""

    async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(raw)
        await writer.drain()
        while then:
            writer.write(then)
            await writer.drain()
            await asyncio.sleep(pause)

    return write


@asynccontextmanager
async def sent(write: Writes, **changes: object) -> AsyncIterator[HttpRemote]:
    """A remote that asks somebody who answers with `write`."""
    writers: list[asyncio.StreamWriter] = []

    async def served(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await write(reader, writer)
        writer.close()

    server = await asyncio.start_server(served, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"http://127.0.0.1:{port}/{{owner}}"
    both = {"url": url, "batch_url": f"http://127.0.0.1:{port}/"}
    remote = HttpRemote(HttpSource(**both | {"timeout": 0.3} | changes), now)  # type: ignore[arg-type]
    try:
        yield remote
    finally:
        await remote.close()
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.01)


def why(write: Writes) -> str:
    async def asked() -> str:
        async with sent(write) as remote:
            began = asyncio.get_running_loop().time()
            with pytest.raises(SourceUnavailable) as caught:
                await remote.ask("alice", None)
            assert asyncio.get_running_loop().time() - began < 1.0
            assert not planted.leaks(str(caught.value))
            return str(caught.value)

    return asyncio.run(asked())


def ok(body: bytes, *headers: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (answers(b""), "the connection was closed before the answer"),
        (answers(b"", then=b"\0" * 100), "the request failed"),
        (answers(b"HTTP/1.1 200 OK\r\n", then=b"X-More: and more\r\n", pause=0.01), ""),
        (answers(b"HTTP/1.1 200 OK\r\nX: ", then=b"y" * 5000), "the request failed"),
        (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", then=b" ", pause=0.05), "no answer within 0.3 s"),
        (answers(CHUNKED, then=b"1\r\n \r\n", pause=0.05), "no answer within 0.3 s"),
        (answers(CHUNKED, then=b"10000\r\n" + b" " * 65536 + b"\r\n"), "larger than 1 MiB"),
        (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", then=b" " * 65536), "larger than 1 MiB"),
        (answers(b"HTTP/1.1 200 OK\r\n\r\n", then=b" " * 65536), "larger than 1 MiB"),
        (answers(ok(gzip.compress(AUTHS), "Content-Encoding: gzip")), "compressed"),
        (answers(ok(gzip.compress(b" " * 10**7), "Content-Encoding: gzip")), "compressed"),
        (answers(ok(gzip.compress(AUTHS))), "it is not JSON"),
        (answers(CHUNKED[:-2] + b"Content-Encoding: br\r\n\r\n0\r\n\r\n"), "compressed"),
        (answers(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"), "its answer is incomplete"),
        (answers(ok(b"")), "it is empty"),
        (answers(ok(b"<html>" + AUTHS)), "it is not JSON"),
        (answers(ok(b"[" * 10_000)), "it is not JSON"),
        (answers(ok(b"[" * 100_000)), "it has too much in it"),
        (answers(ok(b"{}")), 'it has no "auths" object'),
        (answers(ok(b'{"auths": null}')), 'it has no "auths" object'),
        (answers(ok(b'{"auths": {"ghcr.io": {"identitytoken": "x"}}}')), "which the kubelet ignores"),
        (answers(ok(b"\xff")), "it is not JSON"),
        (answers(ok(b"\xff\xfe")), "it begins with a byte order mark"),
        (answers(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "HTTP 304"),
        (answers(b"HTTP/1.1 100 Continue\r\n\r\n"), ""),
        (answers(b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/\r\n\r\n"), "redirects are not followed"),
    ],
)
def test_whatever_it_sends_takes_bounded_time_and_memory_and_is_no_answer(write: Writes, message: str) -> None:
    assert message in why(write)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (answers(ok(b"")), "its answer cannot be used: expected"),
        (answers(ok(AUTHS)), "its answer cannot be used: expected"),
        (answers(ok(b"[]")), "its answer cannot be used: expected"),
        (answers(ok(b'{"owners": null}')), "its answer cannot be used: expected"),
        (answers(ok(b'{"owners": {"alice": ' + b"[" * 100_000)), "its answer cannot be used: expected"),
        (answers(ok(b'{"owners": {"\xff": null}}')), "its answer cannot be used: expected"),
        (
            answers(ok(b'{"owners": {"alice": null, "bob": null, "carol": null}}')),
            "more owners than it was asked about",
        ),
        (answers(ok(b'{"owners": {"alice": {"auths": {}}, "alice": null}}')), "has an owner twice"),
        (answers(ok(b'{"owners": {"alice": null}, "owners": {"alice": null}}')), "has an owner twice"),
        (answers(CHUNKED, then=b"10000\r\n" + b" " * 65536 + b"\r\n"), "larger than 4 MiB"),
        (answers(ok(gzip.compress(AUTHS), "Content-Encoding: gzip")), "compressed"),
        (answers(CHUNKED, then=b"1\r\n \r\n", pause=0.05), "no answer within 0.5 s"),
        (answers(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "nothing there takes a POST"),
        (answers(b"HTTP/1.1 304 Not Modified\r\n\r\n"), "HTTP 304"),
    ],
)
def test_whatever_it_sends_about_many_is_no_answer_for_any(write: Writes, message: str) -> None:
    async def asked() -> str:
        async with sent(write, timeout=0.5) as remote:
            with pytest.raises(SourceUnavailable) as caught:
                await remote.ask_many(["alice", "bob"])
            assert not planted.leaks(str(caught.value))
            return str(caught.value)

    assert message in asyncio.run(asked())


def test_an_answer_about_far_more_than_were_asked_for_takes_no_memory() -> None:
    body = b'{"owners": {' + b", ".join(b'"%d": 0' % number for number in range(300_000)) + b"}}"

    async def asked() -> int:
        async with sent(answers(ok(body)), timeout=5.0) as remote:
            with pytest.raises(SourceUnavailable, match="more owners than it was asked about"):
                await remote.ask_many(["alice", "bob"])
            tracemalloc.start()
            with pytest.raises(SourceUnavailable):
                http._parts(body, MAX_OWNERS)
            return tracemalloc.get_traced_memory()[1]

    try:
        assert asyncio.run(asked()) < 1_000_000
    finally:
        tracemalloc.stop()


def test_what_is_wrong_about_one_owner_is_wrong_for_that_owner_alone() -> None:
    parts = {
        "html": b'"<html>"',
        "list": b"[]",
        "large": b'{"auths": {"' + b"x" * http.MAX_ANSWER_BYTES + b'": {}}}',
        "crowded": b"[" + b"{}," * 100_000 + b"{}]",
        "deep": b"[" * 500 + b"]" * 500,
        "sealed": b'{"auths": {"ghcr.io": {"identitytoken": "x"}}}',
        "none": b'{"auths": {}}',
        "null": b" null ",
        "good": AUTHS,
    }
    body = b", ".join(f'"{owner}": '.encode() + part for owner, part in parts.items())

    async def asked() -> dict[str, Answer | SourceUnavailable]:
        async with sent(answers(ok(b'{"owners": {' + body + b'}, "more": 1}')), timeout=5.0) as remote:
            return {**await remote.ask_many([*parts, "left out"])}

    found = asyncio.run(asked())
    items = {owner: len(answer.credentials.items) for owner, answer in found.items() if isinstance(answer, Answer)}
    assert items == {"none": 0, "null": 0, "good": 1}
    assert not any(answer.everybody for answer in found.values() if isinstance(answer, SourceUnavailable))
    assert "larger than 1 MiB" in str(found["large"])


def test_an_etag_that_would_split_the_next_head_is_not_sent_back() -> None:
    async def scenario() -> None:
        heads: list[bytes] = []

        async def write(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            etag = [b'"a\tb"', b"unquoted", b'"' + b"x" * 600 + b'"', 'W/"\u00e9"'.encode()][len(heads) % 4]
            writer.write(ok(AUTHS).replace(b"Connection:", b"ETag: " + etag + b"\r\nConnection:"))

        before: Answer | None = None
        async with sent(write) as remote:
            for _ in range(5):
                before = await remote.ask("alice", before)
        assert len(heads) == 5
        assert b"if-none-match" not in b"".join(heads).lower()

    asyncio.run(scenario())


def test_an_empty_list_is_known_to_be_empty() -> None:
    async def scenario() -> Answer:
        async with sent(answers(ok(b'{"auths": {}}'))) as remote:
            return await remote.ask("alice", None)

    assert asyncio.run(scenario()).credentials == Credentials()
