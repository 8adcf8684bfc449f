"""What a probe leaves in its pod's status: it always fits, and what a node makes up is not taken."""

import base64
import random
import string
import zlib
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.commands.doctor.evidence import HERE, HOSTS_FILE, Answer, Endpoint, HostSeen, Probed, Request, Target
from webhook.commands.doctor.packed import MAX_BYTES, UnreadableError, packed, unpacked

NOW = datetime(2030, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
REQUEST = Request((Target("ghcr.io"),))
ENDPOINT = Endpoint(
    "140.82.121.34",
    ("10.0.0.2:53", "[fe80::1%eth0]:53", HOSTS_FILE, HERE),
    "open",
    "expired",
    ("expired", "wrong name"),
    ("ghcr.io", "*.ghcr.io"),
    "DigiCert TLS Hybrid ECC SHA384 2020 CA1, DigiCert Inc",
    NOW - timedelta(days=90),
    NOW,
    401,
    registry=True,
    ahead_seconds=-7200.5,
    milliseconds=180,
)
HOST = HostSeen(
    "ghcr.io",
    443,
    "registry",
    (Answer(HOSTS_FILE, "addresses", ("140.82.121.34",)), Answer("127.0.0.53:53", "nothing listens")),
    (ENDPOINT,),
    Answer("10.43.0.10:53", "no such name"),
)
SEEN = Probed(NOW, (HOST,))


def test_it_comes_back_as_it_was() -> None:
    assert unpacked(packed(SEEN), REQUEST) == SEEN


def many(seed: int, hosts: int, endpoints: int) -> Probed:
    """Names that nothing compresses, as long as they may be."""
    chance = random.Random(seed)

    def text(length: int) -> str:
        return "".join(chance.choices(string.ascii_lowercase + string.digits, k=length))

    found = tuple(
        msgspec.structs.replace(
            ENDPOINT,
            address=f"10.{number}.{chance.randrange(256)}.{chance.randrange(256)}",
            names=tuple(text(100) for _ in range(10)),
            issuer=text(100),
        )
        for number in range(endpoints)
    )
    of = [
        msgspec.structs.replace(HOST, host=f"{text(60)}.{text(60)}", role="realm", endpoints=found)
        for _ in range(hosts)
    ]
    return Probed(NOW, tuple(of))


@pytest.mark.parametrize("hosts", [1, 3, 8])
def test_what_is_too_much_is_cut_and_says_so(hosts: int) -> None:
    seen = many(hosts, hosts, 8)
    text = packed(seen)
    assert len(text.encode()) <= MAX_BYTES
    found = unpacked(text, Request(()))
    assert found.cut
    assert found.hosts[0].endpoints[0].address == seen.hosts[0].endpoints[0].address


def test_a_usual_answer_fits_uncut() -> None:
    """Four hosts with eight addresses each, of which all have the certificate of their host."""
    endpoints = tuple(msgspec.structs.replace(ENDPOINT, address=f"10.0.{n}.{n * 7}") for n in range(8))
    names = tuple(f"name-{n}.registry.example.com" for n in range(10))
    of = [
        msgspec.structs.replace(
            HOST,
            host=f"{host}.example.com",
            role="realm",
            endpoints=tuple(msgspec.structs.replace(one, names=(host, *names[1:])) for one in endpoints),
        )
        for host in ("ghcr", "auth", "blobs", "cdn")
    ]
    seen = Probed(NOW, tuple(of))
    assert unpacked(packed(seen), Request(())) == seen
    assert len(msgspec.json.encode(seen)) > 3 * MAX_BYTES


def sent(**changes: Any) -> str:
    """As `packed`, of what the types do not allow."""
    plain = msgspec.to_builtins(SEEN) | changes
    return base64.b85encode(zlib.compress(msgspec.json.encode(plain))).decode()


def host(**changes: Any) -> dict[str, Any]:
    return {"hosts": [msgspec.to_builtins(HOST) | changes]}


def endpoint(**changes: Any) -> dict[str, Any]:
    return host(endpoints=[msgspec.to_builtins(ENDPOINT) | changes])


@pytest.mark.parametrize(
    "changes",
    [
        {"at": "2030-01-02T03:04:05"},
        {"hosts": [msgspec.to_builtins(HOST)] * 2},
        {"hosts": [msgspec.to_builtins(HOST) | {"host": f"a{n}", "role": "realm"} for n in range(9)]},
        host(host="ghcr.io; rm -rf /", role="realm"),
        host(host="ghcr.io\n", role="realm"),
        host(role="blobs"),
        host(port=0),
        host(answers=[{"server": "10.0.0.2:53", "result": "fine"}]),
        host(answers=[{"server": "$(reboot):53", "result": "fails"}]),
        host(answers=[{"server": "10.0.0.2:x", "result": "fails"}]),
        host(answers=[{"server": "10.0.0.2:53", "result": "fails"}] * 8),
        host(answers=[{"server": "10.0.0.2:53", "result": "addresses", "addresses": ["evil"]}]),
        host(answers=[{"server": "10.0.0.2:53", "result": "addresses", "addresses": ["1.2.3.4"] * 9}]),
        host(cluster_dns={"server": "evil", "result": "fails"}),
        host(endpoints=[msgspec.to_builtins(ENDPOINT)] * 9),
        endpoint(address="ghcr.io"),
        endpoint(given_by=["evil"]),
        endpoint(tls="green"),
        endpoint(names=["a\x1b[2J"]),
        endpoint(names=["a" * 104]),
        endpoint(names=["a"] * 11),
        endpoint(issuer="a\u202eb"),
        endpoint(status=-1),
        endpoint(status="401"),
        endpoint(begins="2030-01-02T03:04:05"),
        endpoint(ahead_seconds=1e300),
        endpoint(milliseconds=10**18),
        endpoint(begins="0001-01-01T00:00:00+14:00"),
        endpoint(ends="9999-12-31T23:59:59-14:00"),
        {"at": "9999-12-31T23:59:59Z"},
        {"at": "0001-01-01T00:00:00Z"},
    ],
)  # fmt: skip
def test_what_no_probe_says_is_not_taken(changes: dict[str, Any]) -> None:
    assert unpacked(sent(), REQUEST) == SEEN
    with pytest.raises(UnreadableError):
        unpacked(sent(**changes), REQUEST)


def test_a_number_of_a_thousand_digits_is_not_taken() -> None:
    text = msgspec.json.encode(SEEN).replace(b'"milliseconds":180', b'"milliseconds":1' + b"0" * 1000)
    with pytest.raises(UnreadableError):
        unpacked(base64.b85encode(zlib.compress(text)).decode(), REQUEST)


def test_a_certificate_without_an_end_is_taken() -> None:
    """RFC 5280 has a date for that, the last of the calendar."""
    one = msgspec.structs.replace(ENDPOINT, ends=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    seen = Probed(NOW, (msgspec.structs.replace(HOST, endpoints=(one,)),))
    assert unpacked(packed(seen), REQUEST) == seen


def test_what_would_fill_the_memory_is_not_taken() -> None:
    bomb = zlib.compress(b'{"at": "' + b" " * 50_000_000)
    with pytest.raises(UnreadableError):
        unpacked(base64.b85encode(bomb[:3000]).decode(), REQUEST)
    with pytest.raises(UnreadableError):
        unpacked(base64.b85encode(zlib.compress(b"[" * 200_000)).decode(), REQUEST)


@given(st.text() | st.binary().map(lambda data: base64.b85encode(data).decode()))
def test_any_text_is_refused(text: str) -> None:
    with pytest.raises(UnreadableError):
        unpacked(text, REQUEST)
