"""What others wrote becomes no part of a key; tests/e2e/test_doctor_dns.py has CoreDNS read keys."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.commands.clusterdns.key import Host, Key, Resolver, address, dns_name
from webhook.core import corefile
from webhook.core.corefile import Files
from webhook.core.registry import asked_at, blob_hosts, canonical_registry


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("GHCR.io", "ghcr.io"),
        ("a-b.example.com.", "a-b.example.com"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("localhost", None),
        ("10.0.0.1", None),
        ("-a.test", None),
        ("a..test", None),
        ("a_b.test", None),
        ("bücher.example", None),
        ("a.test\n", None),
        ("a.test {", None),
        (f"{'a' * 64}.test", None),
        (f"{'a.' * 127}test", None),
    ],
)
def test_names(text: str, found: str | None) -> None:
    assert dns_name(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("140.82.121.34", "140.82.121.34"),
        ("10.0.0.7", "10.0.0.7"),
        ("2001:DB8:0::7", "2001:db8::7"),
        ("127.0.0.1", None),
        ("::1", None),
        ("0.0.0.0", None),
        ("169.254.169.254", None),
        ("224.0.0.1", None),
        ("fe80::1%eth0", None),
        ("2001:db8::7%x y", None),
        ("010.0.0.1", None),
        ("1.2.3.4 ghcr.io", None),
    ],
)
def test_addresses(text: str, found: str | None) -> None:
    assert address(text) == found


def one_block(key: Key) -> list[list[str]]:
    """Its plugins, as CoreDNS reads them."""
    (block,) = corefile.read("/Corefile", Files({"/Corefile": key.text})).blocks
    assert block.zones == key.zones
    return [[one.name, *one.arguments] for one in block.plugins]


def test_a_key_with_addresses() -> None:
    hosts = Host("ghcr.io", ("140.82.121.34", "2001:db8::7")), Host("blobs.test", ("185.199.108.154",))
    key = Key(hosts, None, "5353")
    lines = ["140.82.121.34", "ghcr.io", "2001:db8::7", "ghcr.io", "185.199.108.154", "blobs.test", "192.0.2.1"]
    assert one_block(key) == [
        ["errors"],
        ["cache", "30"],
        ["hosts", "{", *lines, key.marker, "fallthrough", "}"],
        ["forward", ".", "/etc/resolv.conf"],
    ]
    assert list(map(str, key.zones)) == ["ghcr.io:5353", "blobs.test:5353"]


def test_a_key_with_a_resolver() -> None:
    key = Key((Host("ghcr.io"),), Resolver(("1.1.1.1", "2606:4700::1111"), "one.test"))
    to = ["tls://1.1.1.1", "tls://[2606:4700::1111]"]
    assert one_block(key)[3] == ["forward", ".", *to, "{", "tls_servername", "one.test", "}"]


def test_each_text_has_a_marker_of_its_own() -> None:
    resolver = Resolver(("1.1.1.1",), "one.test")
    hosts = [Host("ghcr.io"), Host("ghcr.io", ("1.2.3.4",)), Host("ghcr.io", ("1.2.3.5",)), Host("quay.io")]
    keys = [Key((one,), resolver, port) for one in hosts for port in ("53", "5353")] + [Key((hosts[0],))]
    assert len({one.marker for one in keys}) == len(keys) == len({one.text for one in keys})
    assert Key((hosts[1],)).marker == Key((Host("ghcr.io", ("1.2.3.4",)),)).marker
    assert all(dns_name(one.marker) == one.marker for one in keys)


@given(st.text(alphabet='aB.-_{}#"\\ \n$%:/1é', max_size=12))
def test_no_text_breaks_out(text: str) -> None:
    name, found = dns_name(text), address(text)
    if name is not None:
        assert len(one_block(Key((Host(name, ("1.2.3.4",)),), Resolver(("1.1.1.1",), name)))) == 4
    if found is not None:
        assert len(one_block(Key((Host("ghcr.io", (found,)),)))) == 4


def test_hosts_of_blobs_are_names_and_known_as_images_are_called() -> None:
    for registry in ("ghcr.io", "docker.io", "quay.io", "registry.gitlab.com", "gcr.io"):
        host = asked_at(canonical_registry(registry))
        assert host
        assert blob_hosts(host)
        assert all(dns_name(one) == one for one in blob_hosts(host))
    assert blob_hosts("registry.example.com") == ()
