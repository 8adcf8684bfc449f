"""File mode: what is said about files that are wrong, and that new ones are noticed however they come."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from certs import files
from certs.answers import answer
from certs.authority import Authority
from certs.errors import Unusable
from certs.files import Files
from certs.pair import Pair
from certs.pem import certificates, encode, encode_key, private_key
from certs.questions import Answer, Question
from certs.serving import Serving
from support.certworld import as_pair

Connect = Callable[..., Awaitable[x509.Certificate]]
Listening = Callable[[Serving], AbstractAsyncContextManager[Connect]]

HOST = "pullsecret-webhook.pullsecret-system.svc"
NOW = datetime.now(UTC)
CA = Authority.create(NOW)
OLD, NEW = CA.issue([HOST], NOW), CA.issue([HOST], NOW)


class Mounted:
    """A Secret as the kubelet mounts it: `tls.crt` -> `..data/tls.crt`, `..data` -> a directory of each version."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.version = 0
        self.certificate, self.key = root / "tls.crt", root / "tls.key"
        self.certificate.symlink_to("..data/tls.crt")
        self.key.symlink_to("..data/tls.key")

    def swap(self, certificate: bytes, key: bytes) -> None:
        self.version += 1
        directory = self.root / f"..{self.version}"
        directory.mkdir()
        (directory / "tls.crt").write_bytes(certificate)
        (directory / "tls.key").write_bytes(key)
        (self.root / "..new").symlink_to(directory.name)
        (self.root / "..new").rename(self.root / "..data")

    def swap_pair(self, pair: Pair) -> None:
        self.swap(encode(*pair.chain), encode_key(pair.key))


class Mode:
    """File mode on a mounted Secret that holds OLD, with a clock that can be set and what it reported."""

    def __init__(self, root: Path) -> None:
        self.mounted = Mounted(root)
        self.mounted.swap_pair(OLD)
        self.now = NOW
        self.said: list[str] = []
        self.spoken = asyncio.Event()
        self.asked = 0
        self.serving = Serving()
        self.files = Files(
            self.mounted.certificate,
            self.mounted.key,
            self.serving,
            now=lambda: self.now,
            report=self.say,
            ask=self.ask,
        )

    async def ask(self, question: Question) -> Answer:
        self.asked += 1
        return answer(question)

    def start(self) -> None:
        asyncio.run(self.files.start())

    def refresh(self) -> None:
        asyncio.run(self.files.refresh())

    @property
    def pair(self) -> Pair | None:
        return as_pair(self.serving.leaf) if self.serving.leaf else None

    def say(self, text: str) -> None:
        self.said.append(text.replace(str(self.mounted.root), "/tls"))
        self.spoken.set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        await self.files.start()
        task = asyncio.create_task(self.files.run())
        yield
        assert not task.done()
        task.cancel()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.spoken.clear()
                await self.spoken.wait()


@pytest.fixture
def mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mode:
    monkeypatch.setattr(files, "LOOK_SECONDS", 0.001)
    return Mode(tmp_path)


def test_a_swapped_symlink_is_noticed(mode: Mode, listening: Listening) -> None:
    async def test() -> None:
        async with mode.running(), listening(mode.serving) as connect:
            assert await connect(CA.pem()[0], HOST) == OLD.chain[0]
            mode.mounted.swap_pair(NEW)
            await mode.until(lambda: mode.pair == NEW)
            assert await connect(CA.pem()[0], HOST) == NEW.chain[0]

    asyncio.run(test())
    ends = f"it expires at {NEW.ends:%Y-%m-%d %H:%M} UTC"
    assert mode.said == [f"/tls/tls.crt is served; {ends}"] * 2


def test_files_written_one_after_the_other_are_noticed(mode: Mode) -> None:
    async def test() -> None:
        async with mode.running():
            mode.mounted.certificate.write_bytes(encode(*NEW.chain))
            await mode.until(lambda: "does not belong" in mode.said[-1])
            assert mode.pair == OLD
            mode.mounted.key.write_bytes(encode_key(NEW.key))
            await mode.until(lambda: mode.pair == NEW)

    asyncio.run(test())


def test_swaps_between_the_two_reads_are_no_mismatch(mode: Mode, monkeypatch: pytest.MonkeyPatch) -> None:
    read, later = files._contents, [OLD, NEW]

    def slow(path: Path) -> bytes:
        contents = read(path)
        if later and path == mode.mounted.certificate:
            mode.mounted.swap_pair(later.pop())
        return contents

    monkeypatch.setattr(files, "_contents", slow)
    mode.start()

    assert mode.pair == OLD
    assert mode.mounted.version == 3


ROOT = trustme.CA()
ISSUED = ROOT.create_child_ca().issue_cert(HOST)
CHAIN = b"".join(blob.bytes() for blob in ISSUED.cert_chain_pems)
FIRST = len(ISSUED.cert_chain_pems[0].bytes())
BEGIN = len(b"-----BEGIN CERTIFICATE-----")
INCOMPLETE = {CHAIN[: FIRST + more] for more in range(-1, BEGIN)}
"""What nothing tells from the file of somebody who has no more than the first certificate."""
CHAINED = Pair(certificates(CHAIN, "chain"), private_key(ISSUED.private_key_pem.bytes(), "key"))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(["certificate", "key"]), st.floats(0, 1)), max_size=8),
    st.sampled_from([NEW, CHAINED]),
)
def test_of_what_is_half_written_nothing_is_served(pieces: list[tuple[str, float]], to_come: Pair) -> None:
    """Somebody writes both files in place, and each is looked at when some of it is there."""
    with tempfile.TemporaryDirectory() as root:
        mode = Mode(Path(root))
        mode.start()
        whole = {"certificate": encode(*to_come.chain), "key": encode_key(to_come.key)}
        for file, part in pieces:
            text = whole[file][: round(part * len(whole[file]))]
            assume(text not in INCOMPLETE)
            getattr(mode.mounted, file).write_bytes(text)
            mode.refresh()
            assert mode.pair in {OLD, to_come}
        for file, text in whole.items():
            getattr(mode.mounted, file).write_bytes(text)
        mode.refresh()

    assert mode.pair == to_come
    assert "PRIVATE" not in "".join(mode.said)


@pytest.mark.parametrize(
    "more",
    [BEGIN, BEGIN + 40, len(CHAIN) - FIRST - 20, len(CHAIN) - FIRST - 2],
    ids=["after the first line", "in the content", "in the last line", "before the end"],  # certificates vary in length
)
def test_a_chain_that_breaks_off_is_not_served(mode: Mode, more: int) -> None:
    mode.start()
    mode.mounted.swap(CHAIN[: FIRST + more], encode_key(CHAINED.key))
    mode.refresh()

    assert mode.said[-1] == "/tls/tls.crt ends within a certificate; the previous certificate is still served"
    assert mode.pair == OLD


def test_a_chain_that_breaks_off_between_two_certificates_is_put_right_by_the_next_look(mode: Mode) -> None:
    mode.start()
    mode.mounted.swap(encode(CHAINED.chain[0]), encode_key(CHAINED.key))
    mode.refresh()
    assert mode.pair == Pair(CHAINED.chain[:1], CHAINED.key)
    mode.mounted.swap_pair(CHAINED)
    mode.refresh()
    assert mode.pair == CHAINED


@pytest.mark.parametrize("gone", ["tls.crt", "tls.key", "..data"])
def test_files_that_go_and_come_again_change_nothing_meanwhile(mode: Mode, gone: str) -> None:
    """`..data` without its target: the Secret was deleted, or the volume is being mounted anew."""
    mode.start()
    (mode.mounted.root / gone).rename(mode.mounted.root / "away")
    mode.refresh()
    assert mode.said[-1].endswith("No such file or directory; the previous certificate is still served")
    assert mode.pair == OLD

    (mode.mounted.root / "away").rename(mode.mounted.root / gone)
    mode.mounted.swap_pair(NEW)
    mode.refresh()
    assert mode.pair == NEW


def small_rsa() -> Pair:
    key = rsa.generate_private_key(65537, 1024)
    builder = x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([])).serial_number(1)
    builder = builder.public_key(key.public_key()).not_valid_before(NOW).not_valid_after(NOW + timedelta(days=1))
    return Pair((builder.sign(key, SHA256()),), key)


SMALL = small_rsa()

WRONG = {
    "certificate empty": (b"", encode_key(OLD.key), "/tls/tls.crt is empty"),
    "key empty": (encode(*OLD.chain), b"", "/tls/tls.key is empty"),
    "no PEM": (b"x", encode_key(OLD.key), "/tls/tls.crt holds no PEM certificate"),
    "key is a certificate": (
        encode(*OLD.chain),
        encode(*OLD.chain),
        "/tls/tls.key holds no PEM private key that can be parsed",
    ),
    "a key that is too small": (
        encode(*SMALL.chain),
        encode_key(SMALL.key),
        "/tls/tls.crt: OpenSSL refuses the certificate: EE_KEY_TOO_SMALL",
    ),
    "another's key": (
        encode(*OLD.chain),
        encode_key(NEW.key),
        "/tls/tls.crt and /tls/tls.key: the private key does not belong to the certificate",
    ),
}


@pytest.mark.parametrize(("certificate", "key", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_files_end_the_start(mode: Mode, certificate: bytes, key: bytes, reason: str) -> None:
    mode.mounted.swap(certificate, key)

    with pytest.raises(Unusable) as refusal:
        mode.start()
    assert str(refusal.value).replace(str(mode.mounted.root), "/tls") == reason
    assert not mode.serving.ready


def test_missing_and_unreadable_files_end_the_start(mode: Mode) -> None:
    mode.mounted.key.unlink()
    with pytest.raises(Unusable, match=r"tls.key: No such file or directory$"):
        mode.start()

    mode.mounted.key.mkdir()
    with pytest.raises(Unusable, match=r"tls.key: Is a directory$"):
        mode.start()


@pytest.mark.parametrize(("certificate", "key", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_files_later_are_said_once_and_change_nothing(
    mode: Mode, certificate: bytes, key: bytes, reason: str
) -> None:
    mode.start()
    mode.mounted.swap(certificate, key)
    for _ in range(3):
        mode.refresh()
    assert mode.said[1:] == [f"{reason}; the previous certificate is still served"]
    assert mode.pair == OLD
    assert mode.asked == 2  # the same files are not asked about again

    mode.mounted.swap_pair(NEW)
    mode.refresh()
    assert mode.pair == NEW
    mode.mounted.swap(certificate, key)
    mode.refresh()
    assert mode.said[-1] == mode.said[1]


def test_an_expired_certificate_is_served_with_a_warning(mode: Mode) -> None:
    warning = f"/tls/tls.crt expired at {OLD.ends:%Y-%m-%d %H:%M} UTC and is still served"
    mode.start()
    mode.now = OLD.ends - timedelta(seconds=1)
    mode.refresh()
    assert warning not in mode.said

    mode.now = OLD.ends
    for _ in range(3):
        mode.refresh()
    assert mode.said.count(warning) == 1
    assert mode.pair == OLD


def test_one_that_is_expired_at_the_start_is_served_too(mode: Mode) -> None:
    mode.now = OLD.ends + timedelta(days=1)
    mode.start()

    assert mode.pair == OLD
    assert mode.said[-1].endswith("and is still served")


def test_its_repr_shows_no_key(mode: Mode) -> None:
    mode.start()

    assert "PRIVATE" not in f"{mode.files!r}{vars(mode.files)}{mode.said}"
