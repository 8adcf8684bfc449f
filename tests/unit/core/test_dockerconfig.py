"""The dockerconfigjson format as the kubelet reads it. No message ever holds what was read."""

import base64
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.core.credential import Credential, Credentials
from webhook.core.dockerconfig import DockerConfigError, parse, parse_dockercfg, render
from webhook.core.errors import CredentialError
from webhook.core.registry import DOCKER_HUB, MAX_SAME_KEY, canonical_registry, spellings, why_unmatched

TOKEN = planted.token()


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def wrapped(text: str) -> str:
    """As `base64` of a long token: lines of 76 characters."""
    whole = b64(text)
    return f"{whole[:16]}\n{whole[16:]}\n"


def config(**entry: object) -> bytes:
    return json.dumps({"auths": {"ghcr.io": entry}}).encode()


@pytest.mark.parametrize(
    "entry",
    [
        {"username": "alice", "password": TOKEN},
        {"auth": b64(f"alice:{TOKEN}")},
        {"auth": b64(f"alice:{TOKEN}"), "username": "other", "password": "other"},  # auth wins, as in the kubelet
        {"username": "alice", "password": TOKEN, "identitytoken": "ignored"},
        {"username": "alice", "password": TOKEN, "email": "a@example.com"},
        {"auth": b64(f"alice:{TOKEN}").rstrip("=")},  # the kubelet takes it without padding
        {"auth": wrapped(f"alice:{TOKEN}")},  # and Go's decoder leaves out line breaks
        {"auth": None, "username": "alice", "password": TOKEN, "identitytoken": None},  # null is empty in Go
        {"Username": "alice", "PASSWORD": TOKEN},  # names of fields in any case
    ],
)
def test_what_the_kubelet_understands(entry: dict[str, object]) -> None:
    parsed = parse(config(**entry))
    assert parsed.problems == ()
    (credential,) = parsed.credentials
    assert (credential.registry, credential.username, credential.password == TOKEN) == ("ghcr.io", "alice", True)


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"identitytoken": TOKEN}, "only an identitytoken"),
        ({"registrytoken": TOKEN}, "only a registrytoken"),
        ({}, "neither auth nor"),
        ({"auth": ""}, "neither auth nor"),
        ({"username": "alice", "password": ""}, "password for ghcr.io is empty"),
        ({"username": "", "password": TOKEN}, "username for ghcr.io is empty"),
        ({"auth": b64("alice:")}, "password for ghcr.io is empty"),
        ({"auth": b64(f"alice:{TOKEN}\n")}, "line break"),
        ({"auth": TOKEN}, "not the base64"),
        ({"auth": b64(TOKEN)}, "not the base64 of username:password"),
        ({"auth": b64(b64(f"alice:{TOKEN}"))}, "base64-encoded twice"),
        ({"auth": b64("00000000-0000-0000-0000-000000000000:"), "identitytoken": TOKEN}, "only an identitytoken"),
        ({"username": "alice", "password": f"{TOKEN}\n"}, "line break"),
        ({"username": "alice", "password": f" {TOKEN}"}, "begins or ends with a line break or a space"),
        ({"username": "alice\t", "password": TOKEN}, "begins or ends"),
        ({"username": "alice", "password": f"\ufeff{TOKEN}"}, "an invisible character, such as a byte order mark"),
        ({"username": "alice", "password": f"{TOKEN}\u00a0"}, "begins or ends"),
        ({"username": "al\u200bice", "password": TOKEN}, "an invisible character"),
        ({"username": "alice", "password": f"a\x00{TOKEN}"}, "an invisible character"),
        ({"username": "alice", "password": f"a\u202f{TOKEN}"}, "an invisible character"),
        ({"username": "alice", "password": f"{TOKEN}\u180e"}, "an invisible character"),
        ({"username": "alice", "password": f"\u2066{TOKEN}"}, "an invisible character"),
        ({"username": "alice", "password": f"\u3000{TOKEN}"}, "begins or ends"),
        ({"username": "alice", "password": f"\ud800{TOKEN}"}, "an invisible character"),
        ({"username": ["alice"], "password": TOKEN}, "not an object of strings"),
    ],
)
def test_what_it_would_ignore_or_fail_on_is_refused(entry: dict[str, object], why: str) -> None:
    with pytest.raises(DockerConfigError, match=why) as refused:
        parse(config(**entry))
    assert planted.leaks(str(refused.value)) == []


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "it is empty"),
        (b"  \n", "it is empty"),
        (b"{", "it is not JSON"),
        (TOKEN.encode(), "it is not JSON"),
        (b"\xff", "it is not JSON"),
        (b"\xef\xbb\xbf" + config(username="alice", password=TOKEN), "it begins with a byte order mark"),
        (config(username="alice", password=TOKEN).decode().encode("utf-16"), "save it as UTF-8 without one"),
        (b"[]", 'no "auths"'),
        (b"{}", 'no "auths"'),
        (b'{"auths": []}', 'no "auths"'),
        (b'{"auths": {}}', "no entry under auths"),
        (b'{"ghcr.io": {"auth": "x"}}', 'no "auths"'),
        (base64.b64encode(config(username="alice", password=TOKEN)), "base64-encoded twice"),
    ],
)
def test_what_is_no_dockerconfigjson(data: bytes, why: str) -> None:
    with pytest.raises(DockerConfigError, match=why) as refused:
        parse(data)
    assert planted.leaks(str(refused.value)) == []


def test_a_bad_entry_among_good_ones_is_named_and_left_out() -> None:
    auths = {"ghcr.io": {"username": "alice", "password": TOKEN}, "harbor.example.com": {"auth": "x"}}
    parsed = parse(json.dumps({"auths": auths}).encode())
    assert [credential.registry for credential in parsed.credentials] == ["ghcr.io"]
    (problem,) = parsed.problems
    assert "harbor.example.com" in problem


@pytest.mark.parametrize(
    ("key", "registry"),
    [
        ("ghcr.io", "ghcr.io"),
        ("https://ghcr.io/", "ghcr.io"),
        ("ghcr.io/acme", "ghcr.io/acme"),
        ("registry.example.com:5000", "registry.example.com:5000"),
        ("registry:5000/acme", "registry:5000/acme"),
        ("localhost", "localhost"),
        ("[::1]:5000", "[::1]:5000"),
        ("docker.io", "docker.io"),
        ("https://docker.io/v1/", "docker.io"),
        ("https://index.docker.io/v1/", DOCKER_HUB),
        ("index.docker.io", DOCKER_HUB),
        ("registry-1.docker.io/v2", "registry-1.docker.io/v2"),
        ("https://index.docker.io/v1", DOCKER_HUB),
        ("docker.io/acme", "docker.io/acme"),
        ("https://index.docker.io/v1/acme/", "index.docker.io/acme/"),
        ("https://user:pass@ghcr.io?a=b#c", "ghcr.io"),
        ("ghcr.io:/acme", "ghcr.io/acme"),
        ("ghcr.io/%61cme", "ghcr.io/acme"),
        ("ghcr.io/acme/", "ghcr.io/acme/"),
        ("https://ghcr.io/v2/", "ghcr.io"),
        ("https://ghcr.io/v2/acme", "ghcr.io/acme"),
        ("ghcr.io/v2-tools", "ghcr.io/v2-tools"),
    ],
)
def test_registries_have_one_name(key: str, registry: str) -> None:
    assert canonical_registry(key) == registry


def test_a_password_is_in_no_repr() -> None:
    credential = Credential("ghcr.io", "alice", TOKEN)
    assert planted.leaks(repr(credential) + str(Credentials((credential,)))) == []


@pytest.mark.parametrize("key", [f"https://alice:{TOKEN}@ghcr.io", f"{TOKEN}@ghcr.io/acme"])
def test_a_password_in_a_registry_counts_for_nothing_and_is_not_shown(key: str) -> None:
    """As with the kubelet, which reads only the host."""
    with pytest.raises(DockerConfigError, match=r"auth for ghcr\.io(/acme)? is not the base64") as refused:
        parse(json.dumps({"auths": {key: {"auth": "x"}}}).encode())
    assert planted.leaks(str(refused.value)) == []
    (credential,) = parse(json.dumps({"auths": {key: {"auth": b64("alice:x")}}}).encode()).credentials
    assert not planted.leaks(repr(credential))


@pytest.mark.parametrize("key", [TOKEN, f"https://{TOKEN}", f"{TOKEN}/acme", f"{TOKEN} ", "acme"])
def test_a_password_in_a_registry_s_place_is_refused_and_not_shown(key: str) -> None:
    """The kubelet takes no host without a dot or a port for one, so nothing that ever worked is lost."""
    with pytest.raises(DockerConfigError, match=r"expected a host with a dot or a port") as refused:
        parse(json.dumps({"auths": {key: {"auth": b64("alice:x")}}}).encode())
    assert planted.leaks(str(refused.value)) == []


@pytest.mark.parametrize(
    "key",
    [
        *(
            "*.example.com",
            "*.azurecr.io",
            "*.dkr.ecr.*.amazonaws.com",
            "registry.*.aliyuncs.com",
            "my*.example.com:5000",
        ),
        *("*.*.example.com/acme", "https://*.example.com/v2/"),
    ],
)
def test_a_wildcard_for_the_parts_of_one_domain_is_taken(key: str) -> None:
    assert "*" in canonical_registry(key)


@pytest.mark.parametrize(
    "key",
    [
        *(
            "*.*",
            "*.io",
            "ghcr.*",
            "*:443",
            "*.*:443",
            "*.*.*",
            "*.com.",
            "*..com",
            "*.",
            "a.*.io",
            "g*r.io",
            "ghcr.i*",
        ),
        *(
            "https://*.io/v1/",
            "*.io/acme",
            "*.1",
            "10.0.*.1",
            "*.0.0.1:5000",
            "docker.*",
            "*.*./x",
            "a.b*.c",
            "*..",
            "**.**",
        ),
    ],
)
def test_a_wildcard_for_others_hosts_is_refused(key: str) -> None:
    with pytest.raises(CredentialError, match=r"write these parts without \*, as in \*\.example\.com"):
        canonical_registry(key)
    auths = {"ghcr.io": {"username": "alice", "password": TOKEN}, key: {"username": "alice", "password": TOKEN}}
    parsed = parse(json.dumps({"auths": auths}).encode())
    assert [credential.registry for credential in parsed.credentials] == ["ghcr.io"]
    assert len(parsed.problems) == 1


@pytest.mark.parametrize("registry", ["", "ghcr.io x", " "])
def test_a_registry_without_a_host_is_refused(registry: str) -> None:
    with pytest.raises(CredentialError, match=r"write a host such as ghcr\.io"):
        Credential(registry, "alice", "x")


KEY_FILE = '{\n  "type": "service_account",\n  "private_key": "-----BEGIN\\n"\n}\n'
"""As Google hands it out: a password of several lines."""


@pytest.mark.parametrize("password", [KEY_FILE, KEY_FILE.rstrip(), KEY_FILE.replace("\n", "\r\n"), "a\tb", "a b"])
def test_a_password_of_several_lines_stays_as_it_is(password: str) -> None:
    for entry in ({"username": "_json_key", "password": password}, {"auth": b64(f"_json_key:{password}")}):
        (credential,) = parse(config(**entry)).credentials
        assert (credential.username, credential.password) == ("_json_key", password)


def test_behind_the_first_colon_all_is_the_password() -> None:
    (credential,) = parse(config(username="a:b", password="c")).credentials
    assert credential.login == ("a", "b:c")
    with pytest.raises(CredentialError, match="colon"):
        Credential("ghcr.io", "a:b", "c")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (
            {"credsStore": "desktop"},
            'no "auths" object; credsStore says that the password is kept where docker login',
        ),
        ({"auths": {}, "credHelpers": {"ghcr.io": "x"}}, "no entry under auths; credHelpers says"),
        (
            {"auths": {"ghcr.io": {}}, "credsStore": "desktop"},
            "nor username and password; credsStore says that",
        ),
        (
            {"auths": {"ghcr.io": {"auth": b64("alice:")}}, "credsStore": "pass"},
            r"the entry for ghcr\.io has no password; credsStore says that",
        ),
    ],
)
def test_what_docker_login_leaves_is_named(data: dict[str, object], why: str) -> None:
    with pytest.raises(DockerConfigError, match=why):
        parse(json.dumps(data).encode())


def test_fields_that_are_there_twice_are_read_as_go_reads_them() -> None:
    one, two = (json.dumps({host: {"username": host[0], "password": "p"}}) for host in ("a.io", "b.io"))
    parsed = parse(f'{{"auths": {one}, "Auths": {two}, "auths": {one}}}'.encode())
    assert [c.registry for c in parsed.credentials] == ["a.io", "b.io"]
    with pytest.raises(DockerConfigError, match='no "auths"'):
        parse(f'{{"auths": null, "x": {one}}}'.encode())


def test_the_older_format_is_read() -> None:
    (credential,) = parse_dockercfg(b'{"ghcr.io": {"username": "alice", "password": "x"}}').credentials
    assert (credential.registry, credential.login) == ("ghcr.io", ("alice", "x"))
    for data in (b"", b"x", b"[]"):
        with pytest.raises(DockerConfigError, match="not a JSON object"):
            parse_dockercfg(data)
    with pytest.raises(DockerConfigError, match=r"use the type kubernetes\.io/dockerconfigjson and the key"):
        parse_dockercfg(config(username="alice", password="x"))
    with pytest.raises(DockerConfigError, match="auth for ghcr"):
        parse_dockercfg(b'{"ghcr.io": {"auth": "x"}}')


def written(*items: Credential) -> dict[str, str]:
    return {key: entry["username"] for key, entry in json.loads(render(items))["auths"].items()}


def test_each_of_several_credentials_for_one_registry_has_a_spelling_of_its_own() -> None:
    several = [Credential("ghcr.io", f"u{n}", "p") for n in range(3)]
    assert written(*several) == {"ghcr.io": "u0", "https://ghcr.io": "u1", "https://ghcr.io/v1/": "u2"}
    paths = [replace(one, registry="ghcr.io/acme") for one in several]
    assert written(*paths) == {"ghcr.io/acme": "u0", "https://ghcr.io/acme": "u1", "https://ghcr.io/v1/acme": "u2"}
    hub = [replace(one, registry=DOCKER_HUB) for one in several]
    assert written(*hub) == {DOCKER_HUB: "u0", "https://index.docker.io": "u1", "https://index.docker.io/v2/": "u2"}


@pytest.mark.parametrize("registry", ["ghcr.io", "ghcr.io/acme", "ghcr.io/v1/acme", DOCKER_HUB, "docker.io/a"])
def test_there_are_as_many_spellings_as_are_needed(registry: str) -> None:
    assert {canonical_registry(one) for one in spellings(registry)} == {registry}
    assert len(spellings(registry)) >= MAX_SAME_KEY


def test_docker_hub_under_another_name_has_that_name_and_the_usual_one() -> None:
    other = Credential("registry-1.docker.io", "a", "p")
    assert written(other) == {"registry-1.docker.io": "a", DOCKER_HUB: "a"}
    assert written(replace(other, registry="docker.io")) == {"docker.io": "a", DOCKER_HUB: "a"}
    hub = Credential(DOCKER_HUB, "c", "p")
    assert written(other, hub) == {"registry-1.docker.io": "a", DOCKER_HUB: "c", "https://index.docker.io": "a"}
    # A key docker.io/acme would hide what another Secret of the pod has for Docker Hub.
    path = Credential("registry.hub.docker.com/acme", "b", "p")
    assert written(path) == {"registry.hub.docker.com/acme": "b"}


@pytest.mark.parametrize(
    ("registry", "why"),
    [
        ("harbor.example.com/v2", "no image has /v2 behind harbor.example.com; write harbor.example.com"),
        ("harbor.example.com/harbor/projects", "no image has /harbor/projects behind harbor.example.com"),
        ("harbor.example.com:443", "with the port; write harbor.example.com"),
        ("harbor.example.com:443/acme", "with the port; write harbor.example.com/acme"),
        ("Harbor.example.com/a", "capitals match only images that are written with them; write harbor.example.com/a"),
        ("hub.docker.com", "write docker.io"),
        ("github.com/acme", "write ghcr.io/acme"),
        ("index.docker.io/acme", "write docker.io/acme"),
        ("github.com/orgs/acme/packages", "no image comes from github.com; write ghcr.io/acme"),
        ("hub.docker.com/r/acme/app/tags", "write docker.io/acme/app"),
        ("auth.docker.io/token", "write docker.io"),
        ("gitlab.com/acme/app/-/packages", "write registry.gitlab.com/acme/app"),
        ("harbor.example.com:443/v2", "write harbor.example.com, or harbor.example.com/ and the name"),
        ("Harbor.example.com:443", "write harbor.example.com"),
        ("quay.io/repository/acme/app", "no image has /repository/acme/app behind quay.io; write quay.io, or quay.io/"),
        ("harbor.example.com/_catalog", "no image has /_catalog behind"),
        ("gitlab.example.com/a/-/container_registry", "no image has /a/-/container_registry behind"),
        ("harbor.example.com//library", "no image has //library behind"),
        ("art.example.com/artifactory/api/docker/local/v2", "behind art.example.com; write art.example.com"),
        ("ghcr.io/acme/*", "a path is the beginning of a name, without *; write ghcr.io/acme/"),
        ("ghcr.io/*", "without *; write ghcr.io"),
        ("ghcr.io.", "no image has the host ghcr.io.: it has only letters"),
        ("my_harbor.example.com", "no image has the host my_harbor.example.com"),
        *(
            (right, "")
            for right in (
                "ghcr.io",
                "a.b:5000",
                "a.b/v2/x",
                "a.b/v2-x",
                DOCKER_HUB,
                "a.b/harbor/app",
                "a.b:80",
                "[::1]:5000",
                "a-b.example.com",
                "*.dkr.ecr.*.amazonaws.com",
                "quay.io/repo",
                "a.b/c/",
                "a.b/c__d/e---f.",
            )
        ),
    ],
)
def test_a_name_that_no_image_has_is_told(registry: str, why: str) -> None:
    told = why_unmatched(registry)
    assert why in told
    assert bool(why) == bool(told)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "registry", ["a" * 251 + "_b", "a.b/" + "a-" * 120 + "_", "a" * 250 + ".-", "a.b/" + "a" * 250 + "~"]
)
def test_a_name_that_no_image_has_is_told_at_once(registry: str) -> None:
    assert why_unmatched(registry)


printable = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cf", "Z")), min_size=1, max_size=30)
credentials = st.builds(
    Credential,
    st.sampled_from(["ghcr.io", "harbor.example.com", "a.example.com:5000/team", DOCKER_HUB]),
    printable.filter(lambda text: ":" not in text),
    printable,
)


@given(st.lists(credentials, min_size=1, unique_by=lambda credential: credential.registry))
def test_what_is_written_is_read_and_order_does_not_matter(items: list[Credential]) -> None:
    text = render(items)
    assert text == render(items[::-1])
    assert set(parse(text).credentials) == set(items)
    for entry in json.loads(text)["auths"].values():
        assert base64.b64decode(entry["auth"]).decode() == f"{entry['username']}:{entry['password']}"


@given(st.binary(max_size=200) | st.text(alphabet='{}[]":,authsx0 \n').map(str.encode))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        assert parse(data).credentials
    except DockerConfigError as refused:
        assert "\n" not in str(refused)


@pytest.mark.parametrize("key", ["ghcr.io/a" + "/" * 1_000_000, "a" * 1_000_000, "ghcr.io" + "/a" * 500_000])
def test_a_name_without_end_is_none(key: str) -> None:
    with pytest.raises(DockerConfigError, match="the name of a registry is not valid") as refused:
        parse(json.dumps({"auths": {key: {"username": "a", "password": "b"}}}).encode())
    assert len(str(refused.value)) < 200
