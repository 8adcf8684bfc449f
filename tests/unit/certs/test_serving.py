"""Real handshakes with real clients, on both event loops, while certificates come and go."""

import asyncio
import os
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path

import pytest
import trustme
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256

from certs.authority import Authority
from certs.errors import Unusable
from certs.pair import Pair
from certs.pem import certificates, private_key
from certs.serving import Serving
from support.certworld import as_leaf, as_pair

Connect = Callable[..., Awaitable[x509.Certificate]]
Listening = Callable[[Serving], AbstractAsyncContextManager[Connect]]

HOST = "pullsecret-webhook.pullsecret-system.svc"
HOSTS = (HOST, "127.0.0.1")


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Callable[[Awaitable[None]], None]:
    def run(test: Awaitable[None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(test)  # type: ignore[arg-type]

    return run


@pytest.fixture
def now() -> datetime:
    """The wall clock, because OpenSSL looks at its own."""
    return datetime.now().astimezone()


Run = Callable[[Awaitable[None]], None]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("host", HOSTS)
def test_a_client_is_shown_the_newest_certificate(
    run: Run, listening: Listening, now: datetime, version: ssl.TLSVersion, host: str
) -> None:
    """Also one that sends no server name, as the API server does when it calls an IP address."""
    ca, serving = Authority.create(now), Serving()
    asked: list[str | None] = []
    contexts = {serving.listening}
    choose = serving.listening.sni_callback
    assert choose is not None

    def listen_in(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> int | None:
        asked.append(name)
        answer = choose(connection, name, context)  # type: ignore[arg-type]
        contexts.add(connection.context)
        return answer

    serving.listening.sni_callback = listen_in  # type: ignore[assignment,unused-ignore]

    async def test() -> None:
        async with listening(serving) as connect:
            for pair in (ca.issue(HOSTS, now), ca.issue(HOSTS, now)):
                serving.serve(as_leaf(pair))
                assert await connect(ca.pem()[0], host, version) == pair.chain[0]

    run(test())
    assert asked == [host if host == HOST else None] * 2
    assert len(contexts) == 3  # nothing is ever loaded into one that is in use


@pytest.mark.parametrize("host", HOSTS)
def test_before_there_is_a_certificate_handshakes_fail(
    run: Run, listening: Listening, now: datetime, host: str
) -> None:
    ca, serving = Authority.create(now), Serving()
    complaints: list[object] = []
    states = [serving.ready]

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with listening(serving) as connect:
            with pytest.raises((ssl.SSLError, ConnectionError)):  # neither loop sends the alert
                await connect(ca.pem()[0], host)
            serving.serve(as_leaf(ca.issue(HOSTS, now)))
            states.append(serving.ready)
            await connect(ca.pem()[0], host)

    run(test())
    assert states == [False, True]
    assert complaints == []


def refused(serving: Serving, client: ssl.SSLContext) -> tuple[str, bytes]:
    """What OpenSSL says about a client's first message, and the alert that it wants to be sent."""
    nothing, hello, answer = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client.wrap_bio(nothing, hello, server_hostname=HOST).do_handshake()
    with pytest.raises(ssl.SSLError) as refusal:
        serving.listening.wrap_bio(hello, answer, server_side=True).do_handshake()
    return str(refusal.value.reason), answer.read()[5:]


def test_the_alert_before_there_is_a_certificate_blames_the_server() -> None:
    assert refused(Serving(), ssl.create_default_context()) == ("CALLBACK_FAILED", b"\x02\x50")  # fatal, internal_error


def test_tls_1_1_is_refused(now: datetime) -> None:
    serving = Serving()
    serving.serve(as_leaf(Authority.create(now).issue([HOST], now)))
    client = ssl.create_default_context()
    client.set_ciphers("ALL:@SECLEVEL=0")  # or this OpenSSL would not even ask
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1

    assert refused(serving, client) == ("UNSUPPORTED_PROTOCOL", b"\x02\x46")  # fatal, protocol_version


def test_renegotiation_is_off() -> None:
    assert ssl.OP_NO_RENEGOTIATION in Serving().listening.options


def test_clients_refuse_what_they_should(run: Run, listening: Listening, now: datetime) -> None:
    ca, serving = Authority.create(now), Serving()
    serving.serve(as_leaf(ca.issue([HOST], now)))

    async def test() -> None:
        async with listening(serving) as connect:
            with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
                await connect(ca.pem()[0], "other.example")
            with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
                await connect(ca.pem()[0], "127.0.0.1")
            with pytest.raises(ssl.SSLCertVerificationError, match=r"certificate signature failure|unable to get"):
                await connect(Authority.create(now).pem()[0], HOST)

    run(test())


def test_two_authorities_of_the_same_name_can_be_trusted_at_once(run: Run, listening: Listening, now: datetime) -> None:
    old, new, serving = Authority.create(now), Authority.create(now), Serving()
    both = new.pem()[0] + old.pem()[0]

    async def test() -> None:
        async with listening(serving) as connect:
            for authority in (old, new):
                serving.serve(as_leaf(authority.issue([HOST], now)))
                await connect(both, HOST)
                assert serving.leaf is not None
                assert authority.issued(as_pair(serving.leaf))

    run(test())


def test_no_handshake_is_lost_while_certificates_change(run: Run, listening: Listening, now: datetime) -> None:
    ca, serving = Authority.create(now), Serving()
    served = [ca.issue(HOSTS, now) for _ in range(100)]
    shown: list[x509.Certificate] = []

    async def client(connect: Connect, host: str, version: ssl.TLSVersion, progress: asyncio.Event) -> None:
        while serving.leaf != as_leaf(served[-1]):
            shown.append(await connect(ca.pem()[0], host, version))
            progress.set()

    async def test() -> None:
        progress = asyncio.Event()
        serving.serve(as_leaf(served[0]))
        async with listening(serving) as connect, asyncio.timeout(20), asyncio.TaskGroup() as clients:
            for host in HOSTS:
                for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    clients.create_task(client(connect, host, version, progress))
            for pair in served[1:]:
                await progress.wait()
                progress.clear()
                serving.serve(as_leaf(pair))

    run(test())
    assert len(shown) >= 100
    assert len(set(shown)) > 20  # four clients in step are shown every fourth
    assert set(shown) <= {pair.chain[0] for pair in served}


def test_a_chain_is_shown_whole(run: Run, listening: Listening) -> None:
    root = trustme.CA()
    issued = root.create_child_ca().issue_cert(HOST)
    chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    serving = Serving()
    serving.serve(as_leaf(Pair(certificates(chain, "chain"), private_key(issued.private_key_pem.bytes(), "key"))))

    async def test() -> None:
        async with listening(serving) as connect:
            assert await connect(root.cert_pem.bytes(), HOST) == certificates(chain, "chain")[0]

    run(test())


def small_rsa(now: datetime) -> Pair:
    key = rsa.generate_private_key(65537, 1024)
    name = x509.Name([])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now.replace(year=now.year + 1))
    return Pair((builder.sign(key, SHA256()),), key)


def test_what_openssl_refuses_leaves_the_certificate_before_it(run: Run, listening: Listening, now: datetime) -> None:
    ca, serving = Authority.create(now), Serving()
    good = ca.issue(HOSTS, now)
    serving.serve(as_leaf(good))

    with pytest.raises(Unusable, match=r"^OpenSSL refuses the certificate: EE_KEY_TOO_SMALL$"):
        serving.serve(as_leaf(small_rsa(now)))

    async def test() -> None:
        async with listening(serving) as connect:
            assert await connect(ca.pem()[0], HOST) == good.chain[0]

    run(test())
    assert serving.leaf == as_leaf(good)


def test_keys_leave_nothing_on_disk_and_no_descriptor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, now: datetime
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "not there"))
    ca, serving = Authority.create(now), Serving()
    before = sorted(Path("/proc/self/fd").iterdir())
    for _ in range(5):
        serving.serve(as_leaf(ca.issue(HOSTS, now)))

    assert serving.ready
    assert sorted(Path("/proc/self/fd").iterdir()) == before


def refuses(name: str) -> int:
    raise PermissionError(name)


@pytest.mark.parametrize("memory_files", [None, refuses], ids=["not there", "refused"])
def test_without_memory_files_a_temporary_one_is_used(
    memory_files: Callable[[str], int] | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, now: datetime
) -> None:
    if memory_files is None:
        monkeypatch.delattr(os, "memfd_create")
    else:
        monkeypatch.setattr(os, "memfd_create", memory_files)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def watched(self: ssl.SSLContext, path: str) -> None:
        modes.append(Path(path).stat().st_mode & 0o777)
        load(self, path)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    serving = Serving()
    serving.serve(as_leaf(Authority.create(now).issue(HOSTS, now)))

    assert serving.ready
    assert modes == [0o600]
    assert list(tmp_path.iterdir()) == []


def test_its_repr_shows_no_key(now: datetime) -> None:
    serving = Serving()
    pair = Authority.create(now).issue(HOSTS, now)
    serving.serve(as_leaf(pair))

    assert "PRIVATE" not in f"{serving!r}{vars(serving)}"
    assert "key" not in repr(serving.leaf)
