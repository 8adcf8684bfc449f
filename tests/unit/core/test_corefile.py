"""Corefiles by hand; tests/e2e/test_doctor_dns.py holds this against CoreDNS itself."""

from collections.abc import Mapping

import pytest

from webhook.core.corefile import Corefile, CorefileError, Files, Zone, clashes, read, zones

K3S = """\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
    }
    hosts /etc/coredns/NodeHosts {
      ttl 60
      reload 15s
      fallthrough
    }
    prometheus :9153
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
    loadbalance
    import /etc/coredns/custom/*.override
}
import /etc/coredns/custom/*.server
"""


def of(text: str, others: Mapping[str, str] | None = None, *unseen: str) -> Corefile:
    files = {"/etc/coredns/Corefile": text} | {f"/etc/coredns/{name}": one for name, one in (others or {}).items()}
    return read("/etc/coredns/Corefile", Files(files, unseen))


def why_not(text: str, others: Mapping[str, str] | None = None, *unseen: str) -> str:
    """File, line and words."""
    with pytest.raises(CorefileError) as caught:
        of(text, others, *unseen)
    return f"{caught.value.file.removeprefix('/etc/coredns/')}:{caught.value.line}: {caught.value.words}"


def plugins(corefile: Corefile) -> list[list[str]]:
    return [[" ".join((one.name, *one.arguments)) for one in block.plugins] for block in corefile.blocks]


def test_k3s() -> None:
    found = of(K3S, {"custom/b.server": "b.test { log\n }\n", "custom/a.server": "a.test:54 {\nwhoami\n}"})
    assert [list(map(str, block.zones)) for block in found.blocks] == [[".:53"], ["a.test:54"], ["b.test:53"]]
    assert [block.file.rpartition("/")[2] for block in found.blocks] == ["Corefile", "a.server", "b.server"]
    assert found.imports == ("/etc/coredns/custom/*.server",)
    assert found.blocks[0].has("loop")
    assert not found.blocks[1].has("loop")
    assert clashes(found) == ()


def test_words() -> None:
    text = '\ufeff.:53 { # here\nlog "a \\" {\n b" c#d e\nerrors\r\n"cache" 30\n}'
    assert plugins(of(text)) == [['log a " {\n b c e', "errors", "cache 30"]]


def test_a_server_block_without_braces() -> None:
    assert plugins(of(". {\nlog\n}\nx.test,\ny.test\nerrors\ncache 30\n")) == [["log"], ["errors", "cache 30"]]


def test_snippets_and_overrides() -> None:
    text = "(both) {\n errors\n cache {\n  success 1\n }\n}\n. {\n import both\n import custom/*.override\n}"
    found = of(text, {"custom/a.override": "log\n", "custom/b.override": "hosts", "custom/c.server": "c.test {\n}\n"})
    assert plugins(found) == [["errors", "cache { success 1 }", "log", "hosts"]]
    assert found.imports == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (". {\nlog", "Corefile:2: a server block has no }"),
        (". {\nlog {\n", "Corefile:2: a plugin has no }"),
        (". {\nlog\n{\n}\n}", "Corefile:3: a { of a plugin is on a line of its own"),
        (". {\nlog }\n}", "Corefile:2: there is a } without a {"),
        ("a.test, {\n}", "Corefile:1: an address is missing behind a comma"),
        ("a.test,", "Corefile:1: it ends behind a comma"),
        ("a..test {\n}", "Corefile:1: a..test is no zone"),
        ("(s)\n", "Corefile:1: a server block has no }"),
        ("(s) {\n", "Corefile:1: a snippet has no }"),
        ("(s) {\n}\n(s) {\n}", "Corefile:3: the snippet s is declared twice"),
        ("(s) {\nimport s\n}\n. {\nimport s\n}", "Corefile:2: there are too many imports; one may import itself"),
        (". {\nimport\n}", "Corefile:2: an import names no file"),
        (". {\nimport a b\n}", "Corefile:2: an import names no file, or several"),
        (". {\nimport nowhere\n}", "Corefile:2: it imports nowhere, and there is no such file"),
        (". {\nimport a*b*\n}", "Corefile:2: the import a*b* has more than one wildcard"),
        ("{$ZONE}:53 {\n}", 'Corefile:1: "{?ZONE}:53" is taken from the environment, which is not known here'),
    ],
)
def test_what_cannot_be_read(text: str, why: str) -> None:
    if text == "(s)\n":  # a zone of that name: CoreDNS reads it so too
        assert [str(zone) for block in of(text).blocks for zone in block.zones] == ["(s):53"]
        return
    assert why_not(text) == why


def test_a_fault_is_told_where_it_is() -> None:
    broken = {"custom/a.server": "a.test {\n", "custom/b.server": "b.test {\n}\n"}
    assert why_not(K3S, broken) == "custom/a.server:1: a } is missing"
    assert why_not(K3S, {"custom/a.override": "log\n}\n"}) == "custom/a.override:2: there is a } without a {"


def test_what_cannot_be_seen_is_not_guessed() -> None:
    assert "cannot be read from here" in why_not(K3S, {}, "/etc/coredns/custom")
    assert "cannot be read from here" in why_not(K3S, {}, "/etc/coredns/custom/secret.server")
    assert len(of(K3S, {}, "/tmp").blocks) == 1


@pytest.mark.parametrize(
    ("text", "others", "words"),
    [
        (K3S, {"custom/x.override": "hosts {\n 1.2.3.4 x.test\n}"}, "has the plugin hosts twice"),
        (K3S, {"custom/x.server": ".:53 {\n}"}, 'two server blocks have the zone ".:53"'),
        (K3S, {"custom/x.server": "a.test {\n}", "custom/y.server": "dns://A.test.:53 {\n}"}, "the zone a.test:53"),
        (". . {\n}", {}, 'the zone ".:53"'),
        ("10.0.0.0/23 1.0.10.in-addr.arpa {\n}", {}, "the zone 1.0.10.in-addr.arpa:53"),
        (". {\nbind 127.0.0.1\n}\n. {\n}", {}, 'the zone ".:53"'),
        (". {\nbind 127.0.0.1 127.0.0.1\n}", {}, 'has the plugin "bind 127.0.0.1" twice'),
        ("(s) {\nlog\n}\n. {\nimport s\nimport s\n}", {}, "imports the line of a plugin log twice"),
    ],
)
def test_what_coredns_takes_only_once(text: str, others: Mapping[str, str], words: str) -> None:
    found = clashes(of(text, others))
    assert len(found) == 1
    assert words in found[0].words
    assert {file.rpartition("/")[2] for file in found[0].files} <= {"Corefile", "x.override", "x.server", "y.server"}


@pytest.mark.parametrize(
    "text",
    [
        ". {\nforward a.test 1.1.1.1\nforward . 8.8.8.8\nlog\nlog\n}",
        ".:53 tls://.:853 .:54 {\n}",
        ". {\nbind 127.0.0.1\n}\n. {\nbind 127.0.0.2\n}",
        ". {\nview v {\n expr true\n}\n}\n. {\n}",
    ],
)
def test_what_it_takes_twice(text: str) -> None:
    assert clashes(of(text)) == ()


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("GHCR.io", [Zone("ghcr.io.", "53")]),
        ("tls://a.test", [Zone("a.test.", "853", "tls")]),
        ("a.test:+0053", [Zone("a.test.", "53")]),
        ("a.test:x", [Zone("a.test:x.", "53")]),
        ("10.1.0.0/16", [Zone("1.10.in-addr.arpa.", "53")]),
        ("10.0.0.0/0:54", [Zone("in-addr.arpa.", "54")]),
        ("2001:db8::/31", [Zone("8.b.d.0.1.0.0.2.ip6.arpa.", "53"), Zone("9.b.d.0.1.0.0.2.ip6.arpa.", "53")]),
        ("10.0.0.0/33", [Zone("10.0.0.0/33.", "53")]),
    ],
)
def test_zones(key: str, found: list[Zone]) -> None:
    assert list(zones(key)) == found


@pytest.mark.parametrize("key", ["", ":53", "a.test:", "a.test:65536", "a.test:-1", "0::/8", f"{'a' * 64}.test"])
def test_no_zones(key: str) -> None:
    with pytest.raises(ValueError, match=r"no |nothing"):
        list(zones(key))
