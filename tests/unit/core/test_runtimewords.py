"""What container runtimes say of one try to pull an image: kinds of wordings, and what changes nothing about them."""

import re
import string
import time
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from support import planted
from webhook.core.faults import Fault
from webhook.core.pulls import MAX_SAID_CHARS, MAX_TRIES, end, heard, text
from webhook.core.runtimewords import MAX_NAMES, Words, read


def _yaml(name: str) -> object:
    return yaml.load(Path(__file__).with_name(name).read_text(), yaml.CSafeLoader)


def _kinds() -> Iterator[tuple[str, str]]:
    """Fault and text."""
    kinds = _yaml("pulls_kinds.yaml")
    assert isinstance(kinds, dict)
    for fault, texts in kinds["texts"].items():
        for told in texts:
            begin, parted, rest = told.partition(" | ")
            yield fault, kinds["begins"][begin] + rest if parted else told


def _whole() -> Iterator[str]:
    for name in ("pulls_measured.yaml", "pulls_reported.yaml"):
        rows = _yaml(name)
        assert isinstance(rows, list)
        yield from (row["text"] for row in rows)


KINDS = [*_kinds()]
TEXTS = [*_whole(), *(told for _, told in KINDS)]


@pytest.mark.parametrize(("fault", "told"), KINDS)
def test_kinds(fault: str, told: str) -> None:
    assert [one.fault for one in heard("ErrImagePull", told)] == [fault]


_WORDS = """
no-such-host 401 403-forbidden toomanyrequests denied unauthorized x509 tls eof lookup proxyconnect i o timeout schema1
v2s1 blobs manifests token unknown connection-refused permission_denied insufficient_scope text html 404 not-found 429
sha256 pinging registry image reference tag status code http proxy name manifest blob throttling embargo acr firewall
docker anonymous oauth short read
"""
WORDS = _WORDS.split()
TAGS = ["EOF", "GOAWAY", "Client.Timeout", "Forbidden", "ThrottlingException", "DENIED", "StatusCode", "403"]
"""Names of images are written in small letters, tags are not."""
HOSTS = [
    "no-such-host.example",
    "x509.example:401",
    "denied.example",
    "lookup.io",
    "toomanyrequests.io",
    "eof.example:443",
]
NAMED = [told for told in TEXTS if re.search(r"\b(?:team/app|t/a)\b", told)]


def renamed(told: str, path: str, tag: str) -> str:
    """The same about another image of the same registry."""
    told = re.sub(r"\b(?:team/app|t/a):(?!30443)[\w.-]+", f"{path}:{tag}", told)
    told = re.sub(r"(?<=/manifests/)(?!sha256:)[\w.-]+?(?=[\"?:]|\s|$)", tag, told)
    told = re.sub(r"(?<=\[manifests )[^\]]+|(?<=manifest )[\w.-]+(?= in )", tag, told)
    told = re.sub(r"\b(?:team/app|t/a)\b", path, told)
    return re.sub(r"(?<=%3A)(?:team%2Fapp|t%2Fa)(?=%3A)", quote(path, safe=""), told)


def same_about(told: str, path: str, tag: str) -> None:
    others = heard("ErrImagePull", renamed(told, path, tag))
    for one, other in zip(heard("ErrImagePull", told), others, strict=True):
        for key in ("fault", "host", "role", "status", "anonymous", "mirror", "partial", "address", "server", "blob"):
            assert getattr(other, key) == getattr(one, key), key


@pytest.mark.parametrize("name", [*WORDS, *TAGS])
def test_the_name_of_an_image_means_nothing(name: str) -> None:
    for told in NAMED:
        same_about(told, f"{name.lower()}/{name.lower()}", name)


PARTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=4)


@given(st.sampled_from(NAMED), PARTS, PARTS, st.sampled_from("/-._"))
def test_names_of_several_words_mean_nothing(told: str, path: list[str], tag: list[str], between: str) -> None:
    same_about(told, between.join(path), between.replace("/", "-").join(tag))


def test_names_are_replaced() -> None:
    tagged = [told for told in NAMED if re.search(r"\b(?:team/app|t/a):(?!30443)\w", told)]
    assert len(tagged) > 100
    for told in tagged:
        other = renamed(told, "denied/401", "tag-x")
        assert "tag-x" in other
        assert not re.search(r"\b(?:team/app|t/a)\b", other)


@given(st.sampled_from([told for told in TEXTS if "x.io" in told]), st.sampled_from(HOSTS))
def test_the_name_of_a_registry_means_nothing(told: str, host: str) -> None:
    (one,), (other,) = heard("ErrImagePull", told), heard("ErrImagePull", told.replace("x.io", host))
    assert (other.fault, other.role, other.status) == (one.fault, one.role, one.status)
    assert other.host == one.host.replace("x.io", host)


def test_what_others_answer_is_not_why_nobody_answered() -> None:
    told = (
        "failed to resolve image: unexpected status from HEAD request to https://mirror.example/v2/a/manifests/1?ns=x: "
        '500 Internal Server Error\nunknown: Get "https://x.io/v2/": dial tcp: lookup x.io: no such host'
    )
    words = read(told)
    assert (words.fault, words.host, words.status, words.mirror) == (Fault.MIRROR_FAILS, "mirror.example", 500, True)
    assert (words.server, words.address) == ("", "")


FRAGMENTS = [
    *(told[: len(told) // 2] for told in TEXTS[::7]),
    *(told[len(told) // 2 :] for told in TEXTS[::7]),
    *WORDS,
    *TAGS,
    "https://",
    "http://a",
    "docker://",
    '"',
    '\\"',
    "[",
    "]",
    ": ",
    ", ",
    "@",
    "?",
    "<html>",
    "\n",
    "\x00",
    "\u202e",
    "lookup ",
    "dial tcp ",
    "(Mirrors also failed: [",
    "]): ",
    '{"message":"',
    "current time x is after ",
    "certificate is valid for ",
    ", not ",
    "short read: ",
    "due to ",
    "Status ",
    ": 403 ",
]
SECRETS = [
    "https://robot:{}@x.io/v2/",
    'Get "https://robot:{}@x.io/v2/": EOF',
    "https://robot:{}?x@x.io/v2/: EOF",
    "https://robot:a/{}@x.io/v2/: EOF",
    "https://robot@{}@x.io/v2/: EOF",
    "https://cdn.example/d?sig={}",
    'Get "https://cdn.example/d?mail=a@b&sig={}": EOF',
    "https://cdn.example/d?a=b&sig={}: dial tcp: i/o timeout",
    "dial tcp: lookup robot:{}@proxy: no such host",
    "proxyconnect tcp: dial tcp: lookup robot:{}@proxy: no such host",
    "proxyconnect tcp: dial tcp: lookup docker://proxy.example/x?sig={}: no such host",
    "dial tcp: lookup x.io on proxy.example?sig={}: no such host",
    'Get "https://cdn.example/x?a=b\\u0026sig={}": EOF',
    '403 response body: x: "{\\"message\\":\\"see https://cdn.example/x?a=b\\\\u0026sig={}\\"}"',
    'failed to get credentials: invalid decoded auth: "{}"',
    ": 403 Forbidden\ndenied: see https://robot:{}@x.io?x={}",
]
ANY = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=20), max_size=40).map("".join)


def strings(words: Words) -> Iterator[str]:
    for field in fields(words):
        value = getattr(words, field.name)
        yield from [value] if isinstance(value, str) else value if isinstance(value, tuple) else ()


@given(ANY)
def test_any_text_means_something_short(told: str) -> None:
    for words in heard("ErrImagePull", told):
        assert words.fault in Fault
        assert len(words.names) <= MAX_NAMES
        assert all(len(one) < 300 and one.isprintable() for one in strings(words))


BEFORE = st.lists(st.sampled_from(FRAGMENTS), max_size=2).map("".join)


@pytest.mark.parametrize("secret", SECRETS)
@settings(max_examples=20)
@given(before=BEFORE, between=st.sampled_from(["", ": ", "\n", '"']))
def test_no_secret_is_shown(secret: str, before: str, between: str) -> None:
    told = f"{before}{between} {secret.replace('{}', planted.token())}"
    shown = [text(told), end(told), *(one for words in heard("ErrImagePull", told) for one in strings(words))]
    assert not planted.leaks("\n".join(shown))


def test_what_is_no_secret_is_shown() -> None:
    told = 'failed to resolve reference "x.io/t/a:1@sha256:ab": Get "https://x.io:443/v2/t/a": EOF'
    assert text(told) == told
    assert text("Get https://u:p@x.io/v2/?a=b: EOF") == "Get https://x.io/v2/: EOF"


def test_what_stands_in_quotes_means_nothing() -> None:
    told = 'failed to pull image "x: 401 Unauthorized: dial tcp: lookup y: no such host": x.io/t/a:1: not found'
    assert read(told).fault is Fault.IMAGE_NOT_FOUND
    assert read("odd: \x01: Forbidden").fault is Fault.NOT_KNOWN


def test_many_credentials() -> None:
    words = heard("ErrImagePull", f"[{', '.join(['rpc error: code = Unknown desc = EOF'] * 50)}]")
    assert len(words) == MAX_TRIES


@pytest.mark.parametrize(
    "piece", [*FRAGMENTS, *string.printable, "a:", "a@", "a:b@", "://", "http://a:b@", "lookup a: "]
)
def test_time(piece: str) -> None:
    told = (piece * MAX_SAID_CHARS)[:MAX_SAID_CHARS]
    began = time.process_time()
    heard("ErrImagePull", told)
    text(told)
    assert time.process_time() - began < 0.5
