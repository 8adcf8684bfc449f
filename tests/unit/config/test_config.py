"""The configuration file: what is wrong is named by path and value, with what to write instead."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.config.base import END
from webhook.config.expressions import EXPRESSION, fault
from webhook.config.models import AnnotationRule, Config, LabelRule, NameRule
from webhook.config.reading import ConfigError, load, parse, schema
from webhook.config.sourceconfig import HttpSource, SecretsSource
from webhook.core.mirror import MirrorRule
from webhook.core.names import OWNER
from webhook.core.rewrite import RewriteRule

FULL = """
ownerRules:
- {from: label, key: example.com/owner, prefix: "team-"}
- {from: annotation, key: example.com/tenant}
- {from: name, owner: "[a-z]+", suffix: "-dev"}
pullSecret: {name: registry-token, whenUnowned: keep}
deployments: supply
excludedNamespaces: [monitoring]
namespace: platform
server: {address: 127.0.0.1, port: 9443, metricsPort: 9090}
tls: {hosts: [webhook.example.com], caSecret: ca}
"""


def test_everything_has_a_default() -> None:
    for text in ("", "# nothing\n", "{}", "---\n"):
        config = parse(text)
        assert config == Config()
        (rule,) = config.rules
        assert rule.owner("n", {OWNER: "alice"}, {}) == "alice"
    assert Config().tls.names("ns") == ("pullsecret-webhook.ns.svc", "pullsecret-webhook.ns.svc.cluster.local")


def test_everything_can_be_set() -> None:
    config = parse(FULL)
    assert [rule.owner("x-dev", {"example.com/owner": "team-a"}, {}) for rule in config.rules] == ["a", None, "x"]
    assert (config.pull_secret.name, config.pull_secret.when_unowned, config.deployments) == (
        "registry-token",
        "keep",
        "supply",
    )
    assert [config.excluded(name) for name in ("monitoring", "platform", "kube-system", "team", "monitoring-2")] == [
        *[True] * 3,
        *[False] * 2,
    ]
    assert config.tls.names("platform") == ("webhook.example.com",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ownerRule: []", "ownerRule: no such key; did you mean ownerRules?"),
        ("pullSecret: {nam: x}", "pullSecret.nam: no such key; did you mean name?"),
        ("server: {zzz: 1}", "server.zzz: no such key; known here: address, port, metricsPort"),
        ("ownerRules: [{from: label, kye: x}]", "ownerRules[0].kye: no such key; did you mean key?"),
        (
            "ownerRules: [{from: lable, key: x}]",
            "ownerRules[0].from: 'lable' is not one of the places to look; write one of",
        ),
        ("ownerRules: [{key: x}]", "ownerRules[0].from: missing; write one of label, annotation, name"),
        ("ownerRules: []", "ownerRules is empty"),
        (
            "ownerRules: [{from: name, pattern: a}]",
            "ownerRules[0].pattern: no such key; known here: from, prefix, owner,",
        ),
        ("ownerRules: [{from: name, prefix: 'a('}]", "ownerRules[0]: prefix 'a(' is no regular expression"),
        (
            "ownerRules: [{from: name, owner: ''}]",
            "ownerRules[0].owner: write a regular expression for the owner",
        ),
        ("ownerRules: [{from: label, key: 'a b'}]", "ownerRules[0].key: write the key of a label"),
        ("ownerRules: x", "ownerRules: expected a list, got a text (it is 'x')"),
        ("mirrors: [{of: ghcr.io}]", "mirrors[0]: to is missing"),
        ("mirrors: [{of: 'https://ghcr.io', to: m.test}]", "mirrors[0].of: write the host of the registry as images"),
        ("mirrors: [{of: ghcr.io, to: 'https://m.test'}]", "mirrors[0].to: write the mirror: its host, port and path,"),
        ("mirrors: [{of: ghcr, to: m.test}]", "mirrors[0]: of 'ghcr': the name of a registry is not valid"),
        ("mirrors: [{of: ghcr.io, to: mirror}]", "mirrors[0]: to 'mirror': the name of a registry is not valid"),
        ("mirrors: [{of: github.com, to: m.test}]", "mirrors[0]: of 'github.com': no image comes from github.com;"),
        ("mirrors: [{of: index.docker.io, to: m.test}]", "images of Docker Hub are called docker.io; write docker.io"),
        ("mirrors: [{of: registry-1.docker.io, to: m.test}]", "in the names of images Docker Hub is docker.io"),
        ("mirrors: [{of: ghcr.io, to: ghcr.io/x}]", "mirrors[0]: of and to are both ghcr.io; a registry is no mirror"),
        ("mirrors: [{of: ghcr.io, to: m.test, path: '{user}/'}]", "path '{user}/': no repository's name begins so;"),
        ("mirrors: [{of: ghcr.io, to: m.test, path: /x}]", "path '/x': no repository's name begins so;"),
        ("mirrors: [{of: ghcr.io, to: m.test, nodeCaFile: ca.crt}]", "mirrors[0].nodeCaFile: write a file on the"),
        (
            "mirrors: [{of: ghcr.io, to: m.test/a}, {of: ghcr.io, to: m.test/a/b}]",
            "mirrors names m.test as a mirror of ghcr.io twice; once is enough",
        ),
        (
            "mirrors: [{of: ghcr.io, to: m.test/a, nodeCaFile: /a}, {of: docker.io, to: m.test/b}]",
            "mirrors has two nodeCaFile for m.test; a host has one, so write the same in each",
        ),
        (
            "mirrors: [{of: ghcr.io, to: m.test}, {of: m.test, to: other.test}]",
            "mirrors has m.test as a mirror of ghcr.io, and as a registry with mirrors; leave one out",
        ),
        ("mirrors: [{of: ghcr.io, to: m.test, how: swap}]", "mirrors[0].how: write "),
        (
            "mirrors: [{of: ghcr.io/acme, to: m.test}]",
            "nodes ask a mirror for all images of a registry: write ghcr.io, ",
        ),
        ("mirrors: [{of: ghcr.io/, to: m.test}]", "nodes ask a mirror for all images of a registry: write ghcr.io, or"),
        ("mirrors: [{of: ghcr.io, to: m.test, region: x}]", "mirrors[0]: region is for how: rewrite; leave it out"),
        ("mirrors: [{of: ghcr.io, to: m.test, namespace: x}]", "namespace is for how: rewrite; leave it out"),
        ("mirrors: [{of: ghcr.io, to: m.test, how: rewrite, path: x}]", "path is for how: node; leave it out"),
        ("mirrors: [{of: ghcr.io, to: m.test, how: rewrite, nodeCaFile: /x}]", "nodeCaFile is for how: node; leave it"),
        ("mirrors: [{of: ghcr.io, to: m.test, how: rewrite, region: 'a b'}]", "mirrors[0].region: write the region or"),
        (
            "mirrors: [{of: ghcr.io, to: m.test/a..b, how: rewrite}]",
            "to 'm.test/a..b': no image has /a..b behind m.test",
        ),
        (
            "mirrors: [{of: ghcr.io, to: 'm.test:443', how: rewrite}]",
            "only images that are written with the port; write",
        ),
        ("mirrors: [{of: ghcr.io, to: index.docker.io/x, how: rewrite}]", "images of Docker Hub are called docker.io;"),
        ("mirrors: [{of: ghcr.io, to: github.com/x, how: rewrite}]", "no image comes from github.com; write ghcr.io/x"),
        (
            "mirrors: [{of: ghcr.io/acme, to: ghcr.io/copy, how: rewrite}]",
            "of and to are both ghcr.io; a registry is no",
        ),
        (
            "mirrors: [{of: docker.io, to: registry-1.docker.io, how: rewrite}]",
            "of and to are both docker.io; a registry",
        ),
        (
            "mirrors: [{of: ghcr.io, to: m.test}, {of: ghcr.io/acme, to: n.test, how: rewrite}]",
            "mirrors has mirrors of ghcr.io with how: node and with how: rewrite; an image with another name",
        ),
        (
            "mirrors: [{of: ghcr.io, to: m.test, how: rewrite}, {of: ghcr.io/acme, to: n.test, how: rewrite}]",
            "mirrors has ghcr.io/acme behind ghcr.io, which has its images too; write ghcr.io/acme first",
        ),
        (
            "mirrors: [{of: a.io, to: m.io, how: rewrite, region: a}, {of: a.io/b, to: n.io, how: rewrite, region: a}]",
            "mirrors has a.io/b behind a.io, which has its images too; write a.io/b first",
        ),
        (
            "mirrors: [{of: ghcr.io, to: m.test, how: rewrite}, {of: ghcr.io/, to: m.test, how: rewrite, region: a}]",
            "mirrors names m.test as a mirror of ghcr.io twice; once is enough",
        ),
        (
            "mirrors: [{of: quay.io, to: n.test, how: rewrite}, {of: n.test/x, to: m.test, how: rewrite}]",
            "mirrors has n.test as a mirror of quay.io, and as a registry with mirrors; leave one out",
        ),
        ("deployments: never", "deployments: write one of inject, supply (it is 'never')"),
        (
            "pullSecret: {name: Foo_}",
            "pullSecret.name: write the name of the pull secret in every namespace: lower-case",
        ),
        (
            "pullSecret: {name: a..b}",
            "pullSecret.name: write the name of the pull secret in every namespace: lower-case",
        ),
        (
            "pullSecret: {name: a-.b}",
            "pullSecret.name: write the name of the pull secret in every namespace: lower-case",
        ),
        (f"pullSecret: {{name: {'a' * 254}}}", "pullSecret.name: write the name of the pull secret in every namespace"),
        ("pullSecret: {whenUnowned: burn}", "pullSecret.whenUnowned: write one of delete, keep (it is 'burn')"),
        ("server: {port: 99999}", "server.port: write a number from 1 to 65535 (it is 99999)"),
        ("server: {port: yes}", "server.port: write a number from 1 to 65535 (it is True)"),
        ("server: {port: 8080}", "server: port and metricsPort are both 8080"),
        ("tls: {certFile: a}", "tls: certFile and keyFile go together"),
        ("tls: {certFile: a, keyFile: b, hosts: [c]}", "tls: hosts is for the webhook's own certificate"),
        (
            "excludedNamespaces: [ok, Bad]",
            'excludedNamespaces[1]: write the name of a namespace, or a pattern such as "kube-*": at most 63',
        ),
        *(
            (f"excludedNamespaces: ['{pattern}']", "excludedNamespaces[0]: write the name of a namespace, or a pattern")
            for pattern in ("*", "**", "*-*", "a?", "[ab]", "-a*", "a*-", "a" * 64)
        ),
        (
            "excludedNamespaces: [*-system]",
            "line 1: an anchor or an alias; write out what it stands for, or put a text that begins with * or & in",
        ),
        ("excludedNamespaces: [a.b]", "excludedNamespaces[0]: write the name of a namespace"),
        ("namespace: a.b", "namespace: write the webhook's own namespace, which is never served: at most 63"),
        (f"namespace: {'a' * 64}", "namespace: write the webhook's own namespace"),
        ("tls: {service: a.b}", "tls.service: write the name of the webhook's Service: at most 63 lower-case letters"),
        ("ownerRules: [{from: label, key: a..b/c}]", "ownerRules[0].key: write the key of a label"),
        ("ownerRules: [{from: label, key: a-.b/c}]", "ownerRules[0].key: write the key of a label"),
        (f"ownerRules: [{{from: label, key: {'a' * 254}/{'b' * 63}}}]", "ownerRules[0].key: write the key of a label"),
        ("[]", "the whole file: expected a mapping, got a list"),
        ("a:\n- [", "line 2: "),
        ("namespace: a\nnamespace: b", "line 2: namespace is there twice"),
        ("server: {port: 1, port: 2}", "line 1: port is there twice"),
        ("{[a]: b}", "line 1: a key that is no text; write a name"),
        ("server: {port: 0x_}", "line 1: a value that is not valid for its type"),
        ("namespace: !!timestamp x", "line 1: a value that is not valid for its type"),
        ("namespace: 2001-99-99_", "namespace: write the webhook's own namespace, which is never served: at most 63"),
        ("ownerRules: [{from: [a], key: x}]", "ownerRules[0].from: something that is no text is not one of the places"),
        ("!!python/object:os.system {}", "line 1: could not determine a constructor"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('pullSecret: {name: "a\\n"}', "pullSecret.name: write the name of the pull secret"),
        ("pullSecret:\n  name: |\n    ghcr-secret\n", "pullSecret.name: write the name of the pull secret"),
        ('excludedNamespaces: ["a\\n"]', "excludedNamespaces[0]: write the name of a namespace"),
        ('ownerRules: [{from: label, key: "a\\n"}]', "ownerRules[0].key: write the key of a label"),
        ('ownerRules: [{from: name, owner: "a$\\n"}]', "ownerRules[0].owner: "),
        (
            'sources: [{from: sql, urlFile: a, query: "%(owner)s", listen: "a\\n"}]',
            "sources[0].listen: write a channel: lower-case letters, digits and _",
        ),
    ],
)
def test_a_line_break_at_the_end_belongs_to_the_text(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert message in str(refused.value)


def patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        yield from [node["pattern"]] if isinstance(node.get("pattern"), str) else []
    for below in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from patterns(below)


def test_patterns_are_the_same_for_helm_which_has_no_end_but_a_dollar() -> None:
    ours, helms = [*patterns(msgspec.json.schema(Config))], [*patterns(schema())]
    assert ours
    assert all(one.startswith("^") and one.endswith(END) for one in ours)
    assert helms == [one.removesuffix(END) + "$" for one in ours]


def owner_rule(part: str) -> str:
    return json.dumps({"ownerRules": [{"from": "name", "prefix": part}]})


NOT_IN_RE2 = r"before a letter or digit, \ is only in \d \w \s \D \W \S"
NAMED = "write owner: with what it matches, and prefix: and suffix: with what is before and behind it"
GROUPS = "the only group that begins with (? is (?:...)"
BRACE = r"{ is not read, but {2}, {2,} and {2,3} are, up to 999; for the character itself write \{"


@pytest.mark.parametrize(
    ("part", "said"),
    [
        *((part, NOT_IN_RE2) for part in (r"a\1", r"\b", r"\A", r"\Z", r"\pL", r"\x41", r"[\b]", r"[a\Q]")),
        (r"x-\1", r"\1 is not read; before"),
        *((part, r"\ at the end is not read; for the character itself write \\") for part in ("\\", "[a\\")),
        ("team-(?<owner>.+)", f"named groups such as (?<owner>...) are not read; {NAMED}"),
        ("(?P<owner>[a-z]+)-x", f"named groups such as (?P<owner>...) are not read; {NAMED}"),
        *((part, GROUPS) for part in ("(?=x)", "(?<!x)", "(?<=x)", "(?i)x", "(?P=a)", "(?>a)", "(?#c)", "(?(1)a|b)")),
        *((part, GROUPS) for part in ("a(?", "(?<", "((?", "(?|a)")),
        ("^a", r"^ is not needed: each part is matched where it belongs; leave it out, or write \^"),
        ("a$", r"$ is not needed: each part is matched where it belongs; leave it out, or write \$"),
        ("[[:alpha:]]", "[:alpha:] is not read; write the characters, as in [A-Za-z]"),
        ("[^_[:digit:]]", "[:digit:] is not read; write the characters, as in [A-Za-z]"),
        *((part, r"[ inside [...] is not read; write \[ there") for part in ("[a[]", "[[a]", "[a[:x")),
        *((part, r"[ has no ] behind it, or nothing between them; for") for part in ("[", "[]", "[^]", "a[b", "[a\\]")),
        *((part, "behind another repetition is not read") for part in ("a++", "a*+", "a?+", "a{2}+", "a**", "(a)?*")),
        *((part, "that it repeats; for the character itself write") for part in ("+", "(*)", "(?:*)", "a|{2}", "{2}")),
        *((part, BRACE) for part in ("a{,3}", "a{01}", "a{", "a{1000}", "{{owner}}")),
        *((part, "behind it is not read, but (...)? is; write out what") for part in ("(a|b)*", "(a*){2}", "(a)+?")),
    ],
)
def test_what_python_and_re2_read_differently_is_refused(part: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"^ownerRules\[0\].prefix: ") as refused:
        parse(owner_rule(part))
    assert said in str(refused.value)
    assert len(str(refused.value)) < 200


@given(st.text("ab()[]{}?*+|\\^$<>P:=!23,dwZ\n", max_size=12))
def test_an_expression_has_a_fault_or_is_allowed(part: str) -> None:
    assert bool(re.fullmatch(EXPRESSION, part)) == (not fault(part))


@pytest.mark.parametrize("part", ["a)(b", "(a", "a)", "[z-a]", "[\\d-z]", "a{3,2}"])
def test_each_part_is_a_regular_expression_of_its_own(part: str) -> None:
    with pytest.raises(ConfigError, match=r"^ownerRules\[0\]: prefix .* is no regular expression: "):
        parse(owner_rule(part))


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (r"\d\W\S", "1-x"),
        ("[]a]+", "a]"),
        ("[^]a]", "b"),
        (r"[\^$(?i)\[]+", "(?$[^"),
        ("(?:a|b)?(c)?", "ac"),
        ("a}", "a}"),
    ],
)
def test_what_they_read_alike_is_not(part: str, text: str) -> None:
    (rule,) = parse(owner_rule(part)).rules
    assert rule.owner(text + "-x", {}, {}) == "-x"


def test_digits_and_letters_are_ascii() -> None:
    (rule,) = parse('ownerRules: [{from: annotation, key: a, owner: "\\\\w+"}]').rules
    assert [rule.owner("n", {}, {"a": text}) for text in ("a_1", "é")] == ["a_1", None]


LAUGHS = "a: &a [x, x]\n" + "".join(f"b{n}: &b{n} [*a, *a, *a]\n" for n in range(9))
MERGES = "m: &m {x: 1}\n" + "".join(f"m{n}:\n  <<: [*m, *m, *m]\n" for n in range(9))
DEEP = 100_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LAUGHS, "line 1: an anchor or an alias; write out what it stands for"),
        (MERGES, "line 1: an anchor or an alias; write out what it stands for"),
        ("a: 1\nb: *a", "line 2: an anchor or an alias; write out what it stands for"),
        ("&a [*a]", "line 1: an anchor or an alias; write out what it stands for"),
        *((deep, "line 1: nested deeper than 20; flatten it") for deep in ("[" * DEEP, "- " * DEEP, "? " * DEEP)),
        ('{"a":' * DEEP + "1" + "}" * DEEP, "line 1: nested deeper than 20; flatten it"),
        ("server: {port: " + "9" * 5000 + "}", "line 1: a value that is not valid for its type"),
        ("server: {port: 0x" + "f" * 5000 + "}", "server.port: write a number from 1 to 65535 (it is a large number)"),
        ("deployments: " + "x" * DEEP, "deployments: write one of inject, supply (it is 'xxx"),
        ("x" * 1000 + ": 1", "...: no such key"),
        ("".join(f"k{n}: 1\n" for n in range(5000)), "; and 4997 more"),
        ("ownerRules: [{from: name, owner: '" + "(" * DEEP + "'}]", "((...' is no regular expression"),
        (
            "ownerRules: [{from: name, suffix: '" + "a" * DEEP + "^'}]",
            "ownerRules[0].suffix: ^ is not needed",
        ),
        ("? " + "x" * 9999 + "\n: 1\n? " + "x" * 9999 + "\n: 1\n", "line 3: xxx"),
        ("#" * 1_100_000, "it has more than 1048576 characters"),
    ],
    ids=range(17),
)
def test_nothing_is_long_or_takes_long_that_is_said_of_a_file(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    said = str(refused.value)
    assert message in said
    assert said.isprintable()
    assert len(said) < 1010


def test_mirrors() -> None:
    text = "mirrors: [{of: ghcr.io, to: 'm.test:5000/ghcr', path: 'team-{owner}/'}, {of: docker.io, to: 'm.test:5000'}]"
    config = parse(text)
    assert config.mirror_rules == (
        MirrorRule("ghcr.io", "m.test:5000/ghcr", "team-{owner}/"),
        MirrorRule("docker.io", "m.test:5000"),
    )
    assert [*config.named_registries] == ["m.test:5000"]  # so it may have a private address
    assert config.in_short["mirrors"] == '"m.test:5000/ghcr of ghcr.io", "m.test:5000 of docker.io"'


@pytest.mark.parametrize(
    "others",
    [
        "{of: ghcr.io, to: n.test, how: rewrite}",
        "{of: ghcr.io, to: m.test/other, how: rewrite}",
        "{of: quay.io/acme, to: m.test, how: rewrite}, {of: quay.io, to: m.test, how: rewrite}",
        "{of: quay.io, to: m.test, how: rewrite, region: a}, {of: quay.io, to: m.test, how: rewrite, region: b}",
        "{of: quay.io, to: n.test, how: rewrite, region: a}, {of: quay.io/acme, to: m.test, how: rewrite, region: b}",
        "{of: quay.io, to: m.test, how: rewrite, region: a}, {of: quay.io, to: m.test, how: rewrite}",
        "{of: quay.io, to: m.test, how: rewrite}, {of: quay.io/acme, to: n.test, how: rewrite, region: a}",
        "{of: quay.io, to: m.test}",
        "{of: docker.io, to: 'm.test:5000', how: rewrite, namespace: mirrors}",
    ],
)
def test_mirrors_that_go_together(others: str) -> None:
    config = parse(f"mirrors: [{{of: ghcr.io/, to: m.test, how: rewrite}}, {others}]")
    assert config.rewrite_rules[0] == RewriteRule("ghcr.io", "m.test")
    assert len(config.mirror_rules) + len(config.rewrite_rules) == len(config.mirrors)


def test_in_short() -> None:
    assert Config().in_short == {
        "owner_rules": "label pullsecret-webhook/owner",
        "sources": "secrets",
        "excluded_namespaces": "kube-node-lease, kube-public, kube-system, pullsecret-webhook",
        "pull_secret": "ghcr-secret",
        "deployments": "inject",
        "check": "on",
    }
    rules = (
        LabelRule(key="team", suffix="-x"),
        NameRule(prefix="project-", owner=r"[0-9]+", suffix="-(staging|production)"),
        AnnotationRule(key="a/b", owner="[a-z]+"),
        NameRule(),
    )
    http = HttpSource(url="https://h.example.com/{owner}")
    few = Config(owner_rules=rules, sources=(http, SecretsSource(), http), check=False).in_short
    assert (few["sources"], few["check"]) == ("http, secrets, http-2", "off")
    assert few["owner_rules"] == (
        "label team suffix -x; name prefix project- owner [0-9]+ suffix -(staging|production); "
        "annotation a/b owner [a-z]+; and 1 more"
    )


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("kube-*", ["kube-", "kube-flannel", "kube-a-b"], ["kube", "my-kube-x"]),
        ("*-system", ["-system", "cert-manager-system"], ["system", "x-systems"]),
        ("*a*", ["a", "bab"], ["b"]),
        ("a*b*c", ["abc", "a-b-c"], ["ab", "abcd"]),
    ],
)
def test_patterns_of_excluded_namespaces(pattern: str, yes: list[str], no: list[str]) -> None:
    config = parse(f"excludedNamespaces: ['{pattern}']")
    assert [name for name in (*yes, *no) if config.excluded(name)] == yes


def test_no_list_of_excluded_namespaces_leaves_out_the_clusters_own() -> None:
    config = parse("excludedNamespaces: [a, kube-system]")
    assert config.never_served == ("kube-system", "kube-public", "kube-node-lease", "pullsecret-webhook", "a")
    assert all(map(config.excluded, config.never_served))


def test_what_looks_like_a_date_is_a_text() -> None:
    assert parse("excludedNamespaces: [2030-01-01]").excluded("2030-01-01")


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    binary, wrong = tmp_path / "binary", tmp_path / "wrong.yaml"
    binary.write_bytes(b"\xff\xfe")
    wrong.write_text("x: 1")
    for path, message in ((tmp_path / "none", "No such file"), (binary, "not UTF-8"), (wrong, "x: no such key")):
        with pytest.raises(ConfigError, match=message) as refused:
            load(path)
        assert str(refused.value).startswith(f"{path}: ")


def test_schema_names_every_key() -> None:
    definitions = schema()["$defs"]
    assert set(definitions["Config"]["properties"]) == set(msgspec.to_builtins(Config()))
    assert definitions["Config"]["additionalProperties"] is False
    assert set(definitions["LabelRule"]["required"]) >= {"from", "key"}


keys = st.sampled_from([*msgspec.to_builtins(Config()), "from", "key", "prefix", "owner", "port", "name", "x"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["label", "name", "a", ""]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)


odd = st.text(max_size=60) | st.text("{}[],:&*!|>?-<\"' \nax0_1%#", max_size=60)


@given(odd | st.dictionaries(keys, values, max_size=4).map(json.dumps))
def test_any_text_is_a_configuration_or_refused_in_one_line(text: str) -> None:
    try:
        parse(text)
    except ConfigError as refused:
        assert "\n" not in str(refused).strip()
