"""What we write, held against what the user's own Secrets would give, by the kubelet's own code."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.keyring import Keyring, keyring, secret
from webhook.core.credential import Credentials, joined
from webhook.core.dockerconfig import of_kubelet, parse, render
from webhook.core.merge import merged
from webhook.core.mirror import MirrorRule, mirrored
from webhook.core.registry import canonical_registry, matching, repository, spellings

pytestmark = pytest.mark.cluster

NOW = datetime(2030, 1, 1, tzinfo=UTC)
HOSTS = ["ghcr.io", "docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com", "localhost"]
HOSTS += ["harbor.example.com", "harbor.example.com:5000", "eu.example.com:5000", "[::1]:5000", "10.0.0.1"]
PATHS = ["", "/", "/acme", "/acme/", "/acme/app", "/v2-tools", "/v1", "//", "/%61cme", "/Acme"]
IMAGES = [f"{host}/{path}" for host in HOSTS for path in ("app", "acme", "acme/app", "acme-labs/app", "v2-tools/app")]
IMAGES += ["us.example.com:5000/acme/app", "app", "acme/app"]

keys = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "", "https://", "http://"]),
        st.sampled_from(["", "", "", "user:pass@", "user@"]),
        st.sampled_from([*HOSTS, "*.example.com:5000", "ghcr.io:", "Harbor.example.com"]),
        st.sampled_from(["", "", "/v1", "/v2", "/v2/v1"]),
        st.sampled_from(PATHS),
        st.sampled_from(["", "", "", "?a=b", "#c"]),
    ),
)
words = st.sampled_from(["alice", "bob", "robot$a+b", "\u540d"])
passwords = st.sampled_from(["p", "q:r", '{\n  "type": "service_account"\n}\n', "a\tb", "\u5bc6", "x y"])
entries = st.one_of(
    st.builds(lambda u, p: {"username": u, "password": p}, words, passwords),
    st.builds(lambda u, p: {"Username": u, "PASSWORD": p, "email": "x"}, words, passwords),
    st.builds(lambda u, p: {"auth": _auth(u, p), "username": "other", "identitytoken": None}, words, passwords),
    st.builds(lambda u, p: {"auth": _auth(u, p).rstrip("=") + "\n"}, words, passwords),
    st.builds(lambda u, p: {"username": f"{u}:x", "password": p}, words, passwords),
)
others = st.just(dict[str, Any]()) | st.dictionaries(
    st.sampled_from(["docker.io", "https://index.docker.io/v1/", "docker.io/acme", "ghcr.io"]),
    st.just({"username": "pod", "password": "own"}),
    max_size=2,
)
files = st.lists(st.dictionaries(keys, entries, min_size=1, max_size=4), min_size=1, max_size=3)


def _has_host(image: str) -> bool:
    """To the kubelet; others are images of Docker Hub, also those of localhost without a port."""
    return bool({".", ":"} & {*image.partition("/")[0]})


def _auth(username: str, password: str) -> str:
    data: str = secret(f"{username}:{password}".encode())["data"][".dockerconfigjson"]
    return data


@pytest.fixture(scope="module")
def kubelet() -> Iterator[Keyring]:
    with keyring() as process:
        yield process


@given(files, others)
@settings(max_examples=500, deadline=None)
def test_ours_pulls_whatever_the_user_s_own_secrets_pull(
    kubelet: Keyring, drawn: Sequence[dict[str, Any]], beside: dict[str, Any]
) -> None:
    compare(kubelet, drawn, beside)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@given(files, others)
@settings(max_examples=100_000, deadline=None)
def test_ours_pulls_whatever_100_000_users_own_secrets_pull(
    kubelet: Keyring, drawn: Sequence[dict[str, Any]], beside: dict[str, Any]
) -> None:
    compare(kubelet, drawn, beside)


def compare(kubelet: Keyring, drawn: Sequence[dict[str, Any]], beside: dict[str, Any]) -> None:
    """`beside`: what another Secret of the pod has."""
    contents = [json.dumps({"auths": auths}).encode() for auths in drawn]
    read = [parse(content) for content in contents]
    assert not any(one.problems for one in read)
    found = merged(joined([Credentials(one.credentials) for one in read]), "team", NOW)
    pods = [secret(json.dumps({"auths": beside}).encode())]
    own = kubelet.ask([*(secret(content) for content in contents), *pods], IMAGES)
    ours = kubelet.ask([secret(render(found.items)), *pods], IMAGES)
    assert own is not None
    assert ours is not None
    left_out = {f"{c.username}:{c.password}" for c in found.left_out}
    for image, before, after in zip(IMAGES, own, ours, strict=True):
        assert {*before} - left_out <= {*after}, image
        if _has_host(image) and "docker" not in image:
            assert {*after} <= {*before}, f"{image}: a credential goes where the user did not send it"


RULES = [
    MirrorRule("ghcr.io", "harbor.example.com:5000"),
    MirrorRule("docker.io", "harbor.example.com", "{owner}/"),
    MirrorRule("eu.example.com:5000", "harbor.example.com/acme"),
]


@given(files)
@settings(max_examples=300, deadline=None)
def test_what_is_written_for_mirrors_hides_nothing_and_goes_only_where_they_are(
    kubelet: Keyring, drawn: Sequence[dict[str, Any]]
) -> None:
    read = [parse(json.dumps({"auths": auths}).encode()) for auths in drawn]
    known = joined([Credentials(one.credentials) for one in read])
    plain, with_mirrors = merged(known, "team", NOW), merged(mirrored(known, RULES, "acme"), "team", NOW)
    before = kubelet.ask([secret(render(plain.items))], IMAGES)
    after = kubelet.ask([secret(render(with_mirrors.items))], IMAGES)
    assert before is not None
    assert after is not None
    theirs = {f"{c.username}:{c.password}" for c in known.items if any(rule.covers(c.registry) for rule in RULES)}
    for image, tried, more in zip(IMAGES, before, after, strict=True):
        left_out = {f"{c.username}:{c.password}" for c in with_mirrors.left_out}
        assert {*tried} - left_out <= {*more}, image
        host = repository(image).partition("/")[0]
        if host != "docker.io" and _has_host(image):
            assert {*more} - {*tried} <= theirs, image
        if host not in {rule.of for rule in RULES} and _has_host(image):
            assert {*more} == {*tried} or "docker" in image, image


def test_an_entry_without_a_password_is_named_and_not_written(kubelet: Keyring) -> None:
    """The kubelet would pull without logging in. That is not written: it is what `docker login` leaves behind, too."""
    dead, image = {"username": "old", "password": "p"}, "ghcr.io/acme/public"
    content = json.dumps({"auths": {"ghcr.io": dead, "https://ghcr.io": {}}}).encode()
    read = parse(content)
    (tried,) = kubelet.ask([secret(content)], [image]) or [[]]
    assert {*tried} == {"old:p", ":"}
    assert kubelet.ask([secret(render(read.credentials))], [image]) == [["old:p"]]
    assert read.problems == ("the entry for ghcr.io has neither auth nor username and password",)


odd: st.SearchStrategy[Any] = st.sampled_from(
    [None, "", "alice", "dXNlcg==", "dXNlcjpw", "dXNlcjpw=", " dXNlcjpw", "dXN=", "a:b", 5, True, [], {}]
)
fields = st.sampled_from(["username", "Password", "AUTH", "auth", "email", "identitytoken", "x"])
values = st.dictionaries(fields, odd, max_size=3) | odd
auths = st.dictionaries(st.sampled_from(["ghcr.io", "", "%", "x y"]), values, max_size=2) | odd
wholes = st.dictionaries(st.sampled_from(["auths", "Auths", "HttpHeaders", "credsStore"]), auths, max_size=3) | odd
contents = st.one_of(
    wholes.map(lambda whole: json.dumps(whole).encode()),
    st.tuples(wholes, wholes).map(lambda two: json.dumps({"auths": two[0], "AUTHS": two[1]}).lower().encode()),
    st.sampled_from([b"", b"{", b" null ", b'{"auths": {"ghcr.io": {"auth": "\xff"}}}', b'{"auths": {}} x', b"NaN"]),
)


@given(st.sampled_from(["dockerconfigjson", "dockercfg", "basic-auth"]), contents)
@settings(max_examples=1_000, deadline=None)
def test_what_the_kubelet_fails_on_is_known(kubelet: Keyring, kind: str, content: bytes) -> None:
    foreign = secret(content, f"kubernetes.io/{kind}", f".{kind}")
    good = secret(b'{"auths": {"ghcr.io": {"username": "alice", "password": "p"}}}')
    found = kubelet.ask([foreign, good], ["ghcr.io/alice/app"])
    assert (of_kubelet(foreign["type"], foreign["data"]) == "fails") == (found is None)


MANY = [*IMAGES, "nginx:1", "localhost/app@sha256:0", "localhost:5000/app:1", "eu.example.com:5000/acme", "[::1]/app"]
MANY += [
    "a.b.example.com/x",
    "xay.example.com/x",
    "ay.example.com:5000/v1/x",
    "index.docker.io/nginx",
    "ghcr.io/acme/app",
]
patterns = st.sampled_from(["*.example.com", "x*y.example.com", "*a*.example.com:5000", "*.*.example.com", "[::1]"])


@given(st.lists(keys | patterns, min_size=1, max_size=6))
@settings(max_examples=1_000, deadline=None)
def test_which_entries_match_an_image_and_in_which_order(kubelet: Keyring, drawn: Sequence[str]) -> None:
    names = [*dict.fromkeys(map(canonical_registry, drawn))]
    auths = {spellings(name)[0]: {"username": str(number), "password": "p"} for number, name in enumerate(names)}
    found = kubelet.ask([secret(json.dumps({"auths": auths}).encode())], [repository(image) for image in MANY])
    assert found is not None
    for image, tried in zip(MANY, found, strict=True):
        assert tuple(names[int(login.partition(":")[0])] for login in tried) == matching(names, image), image
