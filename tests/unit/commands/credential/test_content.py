"""What a command makes of a source Secret, read back as the webhook reads it."""

import base64
import json
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.commands.credential import content
from webhook.commands.credential.content import New
from webhook.core.credential import Credential
from webhook.core.errors import CredentialError
from webhook.core.names import EXPIRES, OWNER, REGISTRY
from webhook.core.registry import DOCKER_HUB
from webhook.kube.cluster import SecretObject, is_name
from webhook.sources.secret import SourceSecret, read

NAMESPACE = "pullsecret-webhook"
ENDS = datetime(2030, 1, 31, 12, tzinfo=UTC)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def secret(kind: str, data: dict[str, str], **annotations: str) -> SecretObject:
    meta = {"name": "mine", "namespace": NAMESPACE, "labels": {OWNER: "alice"}, "annotations": annotations}
    return msgspec.convert({"metadata": meta, "type": f"kubernetes.io/{kind}", "data": data}, SecretObject)


def basic(username: str = "alice", password: str = "", **annotations: str) -> SecretObject:
    data = {"username": encoded(username), "password": encoded(password or planted.token())}
    return secret("basic-auth", data, **annotations)


def config(auths: dict[str, Any], **more: Any) -> SecretObject:
    return secret("dockerconfigjson", {".dockerconfigjson": encoded(json.dumps({"auths": auths} | more))})


def login(username: str, password: str | None = None) -> dict[str, str]:
    return {"username": username, "password": password or planted.token()}


def document(found: SecretObject) -> dict[str, Any]:
    data = found.data or {}
    whole: dict[str, Any] = json.loads(base64.b64decode(next(iter(data.values()))))
    return whole


def rotated(seen: SecretObject, registry: str, password: str, username: str | None = None) -> SecretObject:
    return content.patched(seen, content.with_login(seen, registry, username, password), {})


def credentials(found: SecretObject | SourceSecret) -> dict[str, tuple[str, str]]:
    source = read(found) if isinstance(found, SecretObject) else found
    assert source.credentials is not None, source.problems
    return {c.registry: c.login for c in source.credentials}


# -- a new one --


@pytest.mark.parametrize("owner", ["alice", "alice@example.com", "kube:admin", "Ä b", "-", "x" * 64, "x" * 253])
def test_a_new_one_is_read_as_it_was_meant(owner: str) -> None:
    new = New(owner, "ghcr.io/acme", "robot", planted.token(), ENDS, ("team-a", "team-b-*"))
    body = content.created(new, NAMESPACE, new.name)
    found = content.read_back(body, owner)
    assert found.credentials == (Credential("ghcr.io/acme", "robot", new.password, ENDS, ("team-a", "team-b-*")),)
    assert (found.problems, found.mistake) == ((), "")
    assert body["metadata"]["labels"][OWNER] in {owner, ""}
    assert len(body["metadata"]["labels"][OWNER]) <= 63


@given(st.text(min_size=1, max_size=80), st.sampled_from(["ghcr.io", "ghcr.io/acme", DOCKER_HUB, "[::1]:5000"]))
def test_whatever_an_owner_is_called_its_secret_has_a_name(owner: str, registry: str) -> None:
    name = New(owner, registry, "u", "p").name
    assert is_name(name)
    assert len(name) <= 135


def test_nobody_gets_the_name_of_anothers() -> None:
    several = [
        New("alice", "ghcr.io", "u", "p"),
        New("alice-ghcr", "io", "u", "p"),
        New("Alice", "ghcr.io", "u", "p"),
        New("alice", "ghcr.io", "u", "p", namespaces=("team-a",)),
        New("alice", "ghcr-io", "u", "p"),
        New("pullsecret-webhook", "ca", "u", "p"),
    ]
    names = {one.name for one in several}
    assert len(names) == len(several)
    assert not names & {"pullsecret-webhook-ca", "pullsecret-webhook-checks"}
    assert New("alice", "ghcr.io", "other", "other").name == several[0].name  # so that a second one is noticed


@pytest.mark.parametrize(
    ("username", "password", "why"),
    [
        ("alice", "token\n", "line break or a space"),
        ("alice", "", "is empty"),
        ("", "token", "the username for ghcr.io is empty"),
        ("a:b", "token", "colon"),
        ("alice", "to\ufeffken", "invisible"),
        ("alice", "\udc80", "invisible"),
    ],
)
def test_what_the_webhook_would_not_use_is_not_written(username: str, password: str, why: str) -> None:
    with pytest.raises(CredentialError, match=why):
        content.created(New("alice", "ghcr.io", username, password), NAMESPACE, "mine")


def test_limits_and_owners_that_are_none_are_refused() -> None:
    body = content.created(New("alice", "ghcr.io", "u", "p", namespaces=("Team A",)), NAMESPACE, "mine")
    with pytest.raises(CredentialError, match="is no namespace"):
        content.read_back(body, "alice")
    for owner in ("", "x" * 254, "a\nb", "a\x1b[2J"):
        with pytest.raises(CredentialError, match="the owner is not valid"):
            content.checked_owner(owner)


# -- another token --


def test_a_basic_one_gets_the_new_token_and_keeps_its_user() -> None:
    token, annotations = planted.token(), {REGISTRY: "quay.io", "platform/team": "7"}
    after = rotated(basic("robot", **annotations), "quay.io", token)
    assert credentials(after) == {"quay.io": ("robot", token)}
    assert after.metadata.annotations == annotations
    assert credentials(rotated(basic("robot"), "ghcr.io", token, "other")) == {"ghcr.io": ("other", token)}


def test_the_other_entries_stay_as_they_are() -> None:
    token, other = planted.token(), {"auth": encoded(f"bob:{planted.token()}"), "email": "bob@example.com"}
    seen = config({"https://ghcr.io/v1/": login("alice"), "quay.io": other}, HttpHeaders={"X": "y"})
    after = document(rotated(seen, "ghcr.io", token))
    assert after["auths"]["quay.io"] == other
    assert after["HttpHeaders"] == {"X": "y"}
    assert after["auths"]["https://ghcr.io/v1/"] == {
        "username": "alice",
        "password": token,
        "auth": encoded(f"alice:{token}"),
    }
    assert [*after["auths"]] == ["https://ghcr.io/v1/", "quay.io"]


def test_docker_hub_has_several_names() -> None:
    token, old = planted.token(), planted.token()
    seen = config({DOCKER_HUB: login("alice", old), "docker.io": login("alice", old)})
    for name in ("docker.io", DOCKER_HUB, "registry-1.docker.io"):
        assert {*credentials(rotated(seen, name, token)).values()} == {("alice", token)}


def test_of_several_for_one_registry_the_preferred_one_changes() -> None:
    token, second = planted.token(), planted.token()
    seen = config({"ghcr.io": login("first"), "https://ghcr.io": login("second", second)})
    after = document(rotated(seen, "ghcr.io", token))["auths"]
    assert (after["ghcr.io"]["username"], after["ghcr.io"]["password"]) == ("first", token)
    assert after["https://ghcr.io"] == login("second", second)


def test_what_is_broken_is_repaired() -> None:
    token = planted.token()
    assert credentials(rotated(basic(password=f"{planted.token()}\n"), "ghcr.io", token)) == {
        "ghcr.io": ("alice", token)
    }
    broken = config({"ghcr.io": {"identitytoken": planted.token()}})
    assert read(broken).credentials is None
    with pytest.raises(CredentialError, match="name it with --username"):
        rotated(broken, "ghcr.io", token)
    assert credentials(rotated(broken, "ghcr.io", token, "alice")) == {"ghcr.io": ("alice", token)}


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (basic(**{REGISTRY: "quay.io"}), "it has no credential for ghcr.io"),
        (config({"quay.io": login("bob")}), "it has no credential for ghcr.io"),
        (secret("dockerconfigjson", {".dockerconfigjson": "%"}), "cannot be read"),
        (secret("dockerconfigjson", {".dockerconfigjson": encoded('{"auths":[]}')}), "cannot be read"),
        (secret("dockerconfigjson", {}), "cannot be read"),
        (secret("tls", {}), "its type is kubernetes.io/tls"),
    ],
)
def test_what_cannot_be_changed_is_told(seen: SecretObject, why: str) -> None:
    with pytest.raises(CredentialError, match=why):
        rotated(seen, "ghcr.io", planted.token(), "alice")


def test_the_older_format() -> None:
    token = planted.token()
    seen = secret("dockercfg", {".dockercfg": encoded(json.dumps({"ghcr.io": login("alice"), "quay.io": login("b")}))})
    after = rotated(seen, "ghcr.io", token)
    assert credentials(after)["ghcr.io"] == ("alice", token)
    left = content.patched(seen, content.without(seen, "ghcr.io") or {}, {})
    assert [*credentials(left)] == ["quay.io"]


# -- without one --


def test_without_its_last_one_nothing_is_left() -> None:
    assert content.without(basic(), "ghcr.io") is None
    assert content.without(config({"ghcr.io": login("a"), "https://ghcr.io": login("b")}), "ghcr.io") is None
    assert content.without(basic(), "quay.io") == {}


def test_without_one_the_others_stay() -> None:
    other = login("bob")
    seen = config({"ghcr.io": login("alice"), "quay.io": other}, HttpHeaders={"X": "y"})
    data = content.without(seen, "ghcr.io")
    assert data is not None
    assert document(content.patched(seen, data, {})) == {"auths": {"quay.io": other}, "HttpHeaders": {"X": "y"}}


def test_an_annotation_is_set_and_removed() -> None:
    seen = basic(**{EXPIRES: "2029-01-01"})
    assert read(content.patched(seen, {}, content.expiry(ENDS))).credentials == (
        Credential("ghcr.io", "alice", credentials(seen)["ghcr.io"][1], ENDS),
    )
    assert EXPIRES not in (content.patched(seen, {}, content.expiry(None)).metadata.annotations or {})
