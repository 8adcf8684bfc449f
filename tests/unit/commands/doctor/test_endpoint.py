"""One address of a registry: real servers on loopback, of which each is wrong in its way, or in several."""

import asyncio
import socket
import ssl
import struct
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from controlplane.ports import free_port
from support.registryserver import Say, Server, answer, asks, json_answer, serving
from webhook.cli import doctoroptions
from webhook.cli.exitcodes import UsageError
from webhook.commands.doctor import endpoint, examine
from webhook.commands.doctor.certificate import MAX_NAMES, About, about, covers
from webhook.commands.doctor.endpoint import Tried, is_host, tried
from webhook.commands.doctor.evidence import Endpoint, Target, Tls
from webhook.commands.doctor.examine import Wanted
from webhook.commands.doctor.looked import OWN_CA
from webhook.commands.doctor.trust import Trust, certificates
from webhook.commands.doctor.verdict import Verdict

OURS, OTHERS = trustme.CA(organization_name="Ours"), trustme.CA(organization_name="Corporate Proxy")
TRUST = Trust(OURS.cert_pem.bytes().decode())
NOW = datetime.now(UTC)
PAST: dict[str, Any] = {"not_before": NOW - timedelta(days=40), "not_after": NOW - timedelta(days=3)}
FUTURE: dict[str, Any] = {"not_before": NOW + timedelta(days=3), "not_after": NOW + timedelta(days=40)}
CHALLENGE = 'Bearer realm="https://auth.example:5001/token",service="x"'


def tls(*names: str, by: trustme.CA = OURS, **validity: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    by.issue_cert(*(names or ("ghcr.test",)), **validity).configure_cert(context)
    return context


def as_registry(_: object) -> bytes:
    return asks(CHALLENGE)


T = TypeVar("T")


def run(scenario: Awaitable[T]) -> T:
    async def within() -> T:
        return await scenario

    return asyncio.run(within())


async def at(port: int, seconds: float = 10, **target: Any) -> Tried:
    asked: dict[str, Any] = {"host": "ghcr.test", "port": port} | target
    return await tried(Target(**asked), "127.0.0.1", ("here",), TRUST, asyncio.get_running_loop().time() + seconds)


def seen(context: ssl.SSLContext | None, say: Say = as_registry, **target: Any) -> Tried:
    async def scenario() -> Tried:
        async with serving(say, context) as server:
            found = await at(server.port, **target)
            no_credential(server)
            return found

    return run(scenario())


def no_credential(server: Server) -> None:
    assert server.logins == []
    assert {one.target for one in server.asked} <= {"/v2/"}


# -- TLS --


def test_a_registry_that_is_right() -> None:
    found = seen(tls("ghcr.test", "*.ghcr.test"))
    one = found.endpoint
    assert (one.tcp, one.tls, one.faults, one.status, one.registry) == ("open", "right", (), 401, True)
    assert (one.names, one.issuer, one.given_by) == (("ghcr.test", "*.ghcr.test"), "Ours", ("here",))
    assert one.begins is not None
    assert one.ends is not None
    assert one.begins < NOW < one.ends
    assert found.realm == Target("auth.example", 5001, role="realm")
    assert one.milliseconds < 5000


@pytest.mark.parametrize(
    ("context", "faults"),
    [
        (tls("*.github.test"), ("wrong name",)),
        (tls(by=OTHERS), ("unknown CA",)),
        (tls(**PAST), ("expired",)),
        (tls(**FUTURE), ("not yet valid",)),
        (tls("github.test", by=OTHERS), ("wrong name", "unknown CA")),
        (tls(by=OTHERS, **PAST), ("expired", "unknown CA")),
        (tls("github.test", **PAST), ("expired", "wrong name")),
        (tls("github.test", by=OTHERS, **FUTURE), ("not yet valid", "wrong name", "unknown CA")),
    ],
)
def test_each_fault_of_a_certificate_is_seen_by_itself(context: ssl.SSLContext, faults: tuple[Tls, ...]) -> None:
    found = seen(context)
    one = found.endpoint
    assert (one.tcp, one.tls, one.faults) == ("open", faults[0], faults)
    assert one.names in (("ghcr.test",), ("github.test",), ("*.github.test",))
    assert one.issuer in ("Ours", "Corporate Proxy")
    assert one.begins is not None
    assert one.status == 401, "what it is, is seen all the same"
    assert found.realm is None, "what it names is not followed"


def self_signed(*names: x509.GeneralName, key: ec.EllipticCurvePrivateKey | None = None) -> ssl.SSLContext:
    """A CA that names no key of its issuer, and a leaf without names if there are none."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ghcr.test")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(NOW - timedelta(1)).not_valid_after(NOW + timedelta(9))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    made = builder.sign(key, hashes.SHA256())
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.pem = made.public_bytes(Encoding.PEM)  # type: ignore[attr-defined]
    context.own_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())  # type: ignore[attr-defined]
    return context


def loaded(context: Any, folder: Any) -> ssl.SSLContext:
    (folder / "pem").write_bytes(context.pem + context.own_key)
    context.load_cert_chain(folder / "pem")
    found: ssl.SSLContext = context
    return found


def test_a_certificate_without_names_is_wrong_whatever_its_subject_is(tmp_path: Any) -> None:
    """As for Go: the subject does not count."""
    one = seen(loaded(self_signed(), tmp_path)).endpoint
    assert (one.faults, one.names) == (("wrong name", "unknown CA"), ())


def test_a_private_ca_that_newer_pythons_refuse_and_container_runtimes_take(tmp_path: Any) -> None:
    """Without an AuthorityKeyIdentifier, and trusted by itself."""
    context: Any = self_signed(x509.DNSName("ghcr.test"))
    loaded(context, tmp_path)

    async def scenario() -> Tried:
        async with serving(as_registry, context) as server:
            trust = Trust(context.pem.decode())
            return await tried(
                Target("ghcr.test", server.port), "127.0.0.1", (), trust, asyncio.get_running_loop().time() + 9
            )

    assert run(scenario()).endpoint.tls == "right"


def test_an_address_as_the_name_of_a_registry() -> None:
    assert seen(tls("127.0.0.1"), host="127.0.0.1").endpoint.tls == "right"
    assert seen(tls("127.0.0.2"), host="127.0.0.1").endpoint.faults == ("wrong name",)


def test_an_address_of_ipv6() -> None:
    async def scenario() -> Tried:
        async with serving(as_registry, tls("::1"), address="::1") as server:
            until = asyncio.get_running_loop().time() + 9
            found = await tried(Target("::1", server.port), "::1", (), TRUST, until)
            assert [one.headers["host"] for one in server.asked] == [f"[::1]:{server.port}"]
            return found

    one = run(scenario()).endpoint
    assert (one.tls, one.names, one.registry) == ("right", ("::1",), True)


def test_of_many_names_the_first_are_told() -> None:
    one = seen(tls(*(f"a{number}.test" for number in range(30)), "ghcr.test")).endpoint
    assert (one.tls, len(one.names)) == ("right", MAX_NAMES)


def test_a_port_without_tls() -> None:
    found = seen(None, lambda _: asks('Bearer realm="http://auth.example/token"'))
    one = found.endpoint
    assert (one.tcp, one.tls, one.faults, one.status, one.registry) == ("open", "no TLS", ("no TLS",), 401, True)
    assert found.realm is None


def test_plain_http_where_it_is_wanted() -> None:
    found = seen(None, lambda _: asks('Bearer realm="http://auth.example/token"'), plain=True)
    one = found.endpoint
    assert (one.tls, one.status, one.registry) == ("not tried", 401, True)
    assert found.realm == Target("auth.example", 80, plain=True, role="realm")


@asynccontextmanager
async def raw(act: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[int]:
    ended = list[asyncio.StreamWriter]()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(writer)
        await act(reader, writer)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        await asyncio.sleep(0.05)  # for what has connected and is not accepted yet
        server.close()
        for writer in ended:
            writer.transport.abort()


async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    taken: socket.socket = writer.get_extra_info("socket")
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.close()


async def ssh(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")


async def alert(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """TLS, but nothing of it that we speak."""
    writer.write(b"\x15\x03\x03\x00\x02\x02\x28")


async def waits_for_a_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """HTTP without TLS, which takes a handshake for a request that has not ended."""
    if (await reader.read(1)) == b"\x16":
        await reader.read()
    writer.write(answer(404))


async def refuses_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server with TLS whose handshake gets lost."""
    if (await reader.read(1)) == b"\x16":
        await reader.read()
    writer.write(answer(400, b"Client sent an HTTP request to an HTTPS server."))


@pytest.mark.parametrize(
    ("act", "found"),
    [
        (silent, "silent"),
        (reset, "cut"),
        (closed, "cut"),
        (ssh, "no TLS"),
        (alert, "fails"),
        (waits_for_a_line, "no TLS"),
        (refuses_http, "silent"),
    ],
)
def test_how_a_handshake_fails(act: Any, found: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "HANDSHAKE_SECONDS", 0.5)

    async def scenario() -> Tried:
        async with raw(act) as port:
            return await at(port)

    one = run(scenario()).endpoint
    assert (one.tcp, one.tls, one.faults) == ("open", found, (found,))


# -- TCP --


def test_nothing_listens() -> None:
    assert run(at(free_port())).endpoint == Endpoint("127.0.0.1", ("here",), "refused")


def test_a_port_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The queue of a listener that nobody serves is full."""
    monkeypatch.setattr(endpoint, "CONNECT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        port = full.getsockname()[1]
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        assert run(at(port)).endpoint.tcp == "silent"
        for one in waiting:
            one.close()


def test_no_way_there() -> None:
    async def scenario() -> Tried:
        return await tried(Target("ghcr.test"), "fe80::1%none", (), TRUST, asyncio.get_running_loop().time() + 5)

    assert run(scenario()).endpoint.tcp == "no route"


def test_a_look_ends_in_time() -> None:
    async def scenario() -> Tried:
        async with raw(silent) as port:
            began = asyncio.get_running_loop().time()
            found = await at(port, seconds=0.4)
            assert asyncio.get_running_loop().time() - began < 1.4
            return found

    assert run(scenario()).endpoint.tls == "silent"


# -- HTTP --


@pytest.mark.parametrize(
    ("said", "status", "registry"),
    [
        (asks('Basic realm="x"'), 401, True),
        (json_answer(200, {}), 200, True),
        (answer(200, b"", "Docker-Distribution-Api-Version: registry/2.0"), 200, True),
        (answer(200, b"<html>Please log in</html>"), 200, False),
        (answer(401, b"", "WWW-Authenticate: Negotiate"), 401, False),
        (answer(302, b"", "Location: https://portal.example"), 302, False),
        (answer(404, b"", "Docker-Distribution-Api-Version: registry/2.0"), 404, False),
        (b"SSH-2.0\r\n\r\n", 0, False),
        (b"HTTP/1.1 999 X\r\n\r\n", 0, False),
        (b"HTTP/1.1 200 X\r\nA: " + b"b" * 100_000 + b"\r\n\r\n", 0, False),
        (b"", 0, False),
    ],
)
def test_is_it_a_registry(said: bytes, status: int, registry: bool) -> None:
    one = seen(tls(), lambda _: said).endpoint
    assert (one.tls, one.status, one.registry) == ("right", status, registry)


@pytest.mark.parametrize(
    "realm",
    [
        "", "ftp://auth.example/", "https://", "https://auth example/", "https://[::1/", "https://a:99999/", "/token",
        "https://a:0/",
    ],
)  # fmt: skip
def test_what_is_no_token_service(realm: str) -> None:
    found = seen(tls(), lambda _: asks(f'Bearer realm="{realm}"'))
    assert (found.realm, found.endpoint.status) == (None, 401)


def test_a_user_and_a_query_of_a_realm_are_not_told() -> None:
    found = seen(tls(), lambda _: asks('Bearer realm="https://alice:secret@[::1]/token?key=secret"'))
    assert found.realm == Target("::1", 443, role="realm")
    assert "secret" not in repr(found)


@pytest.mark.parametrize("hours", [-30, 0, 5])
def test_a_clock_that_is_wrong(hours: int) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(hours=hours), usegmt=True)
    ahead = seen(tls(), lambda _: asks(f'Basic realm="x"\r\nDate: {date}')).endpoint.ahead_seconds
    assert ahead is not None
    assert abs(ahead - hours * 3600) < 30


@pytest.mark.parametrize(
    "date",
    [
        "today",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 01 Jan 1500 00:00:00 GMT",
        f"Mon, 01 Jan 2020 00:00:00 +{'9' * 20}",
    ],
)
def test_a_clock_that_is_none(date: str) -> None:
    assert seen(tls(), lambda _: asks(f'Basic realm="x"\r\nDate: {date}')).endpoint.ahead_seconds is None


# -- names --


@pytest.mark.parametrize(
    ("name", "host", "same"),
    [
        ("ghcr.io", "GHCR.io", True),
        ("*.github.io", "a.github.io", True),
        ("*.github.io", "github.io", False),
        ("*.github.io", "a.b.github.io", False),
        ("a*.github.io", "ab.github.io", False),
        ("*", "ghcr", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("*.0.0.1", "10.0.0.1", False),
    ],
)
def test_which_names_cover_a_host(name: str, host: str, same: bool) -> None:
    assert covers(name, host) is same


@pytest.mark.parametrize("text", ["", "-a", "a..b", "a b", "a\n", "a" * 64, "a." * 130 + "a", "ghcr.io/x", "ghcr.io:1"])
def test_what_is_no_host(text: str) -> None:
    assert not is_host(text)


@given(st.binary(max_size=200))
def test_what_is_no_certificate_is_taken(data: bytes) -> None:
    assert about(data) == About()
    assert About().wrong("ghcr.io") == []


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09"),  # version 10
        (b"\x55\x04\x03\x0c", b"\x55\x04\x03\x03"),  # a common name that is bits, not text
        (b"\x02\x13\x3f", b"\x02\x13\xbf"),  # a negative serial number, of which the library warns
    ],
)
def test_a_certificate_that_is_odd_ends_nothing(before: bytes, after: bytes) -> None:
    """Whoever answers chooses it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a\x00")])
    made = x509.CertificateBuilder(name, name, key.public_key(), 2**150 - 1, NOW, NOW + timedelta(days=1))
    data = made.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)
    assert about(data).issuer == "a?"
    assert before in data
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert about(data.replace(before, after)).issuer in ("", "a?")


def test_an_image_without_cas_is_told(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert not Trust("").public
    (tmp_path / "ca.pem").write_bytes(OURS.cert_pem.bytes())
    assert Trust("").public
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "nowhere"))
    assert not Trust("").public


def test_a_ca_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="no certificate in PEM"):
        Trust("-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")


def test_only_the_certificates_of_a_file_are_taken(tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    two = [one.cert_pem.bytes().strip() for one in (OURS, OTHERS)]
    key = OURS.private_key_pem.bytes()
    file.write_bytes("# Autoridad de Certificación\n".encode() + two[0] + b"\n# \xe9\n" + key + two[1])
    assert certificates(file).encode() == b"\n".join(two)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xe9",
        OURS.private_key_pem.bytes(),
        b"-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n",
        b"-----BEGIN CERTIFICATE-----\n\xe9\n-----END CERTIFICATE-----\n",
    ],
)
def test_a_file_without_certificates(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"."):
        certificates(file)
    with pytest.raises(UsageError, match="has no certificates in PEM"):
        doctoroptions.check(None, file, None)


@pytest.mark.parametrize(("given", "told"), [(None, True), (OTHERS, False), (OURS, False)])
def test_who_has_a_ca_of_their_own_is_told_to_name_it(tmp_path: Path, given: trustme.CA | None, told: bool) -> None:
    file = tmp_path / "ca.pem"
    if given is not None:
        given.cert_pem.write_to_path(str(file))

    async def scenario() -> Verdict:
        async with serving(as_registry, tls("127.0.0.1")) as server:
            wanted = Wanted(ca_file=file if given is not None else None)
            return await examine.registry(None, f"127.0.0.1:{server.port}", wanted)

    found = run(scenario())
    assert (OWN_CA in found.not_looked) is told
