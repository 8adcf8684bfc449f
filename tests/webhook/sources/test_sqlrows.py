"""Rows to credentials, by the names of their columns."""

from datetime import UTC, datetime
from typing import Any

import pytest

import planted
from webhook.credential import Credential
from webhook.sealed import Keys, padded, seal
from webhook.sources.sqlrows import LONG_AGO, RowError, credentials

END = datetime(2031, 1, 1, tzinfo=UTC)
KEYS = Keys(padded("x"), {"k": bytes(32)})


def row(**columns: Any) -> dict[str, Any]:
    return {"registry": "ghcr.io", "username": "u", "password": "p"} | columns


def connection(**columns: Any) -> dict[str, Any]:
    usual = {"provider": "github", "server_url": None, "username": "u", "password": "p", "expires": None}
    return usual | {"status": "active"} | columns


@pytest.mark.parametrize(
    ("found", "registries", "expected"),
    [
        (row(), {}, Credential("ghcr.io", "u", "p")),
        (row(registry="docker.io"), {}, Credential("https://index.docker.io/v1/", "u", "p")),
        (row(expires=END), {}, Credential("ghcr.io", "u", "p", END)),
        (row(expires=END.replace(tzinfo=None)), {}, Credential("ghcr.io", "u", "p", END)),
        (row(namespaces=["a", "b"]), {}, Credential("ghcr.io", "u", "p", namespaces=("a", "b"))),
        (row(namespaces=None, expires=None, more="x"), {}, Credential("ghcr.io", "u", "p")),
        (row(status="expired"), {}, Credential("ghcr.io", "u", "p", LONG_AGO)),
        (row(status="expired", expires=END), {}, Credential("ghcr.io", "u", "p", END)),
        (row(status="revoked"), {}, None),
        (connection(), {}, Credential("ghcr.io", "u", "p")),
        (connection(server_url="https://github.com"), {}, Credential("ghcr.io", "u", "p")),
        (connection(), {"github": "ghcr.io/acme"}, Credential("ghcr.io/acme", "u", "p")),
        (connection(provider="gitlab", server_url=""), {}, Credential("registry.gitlab.com", "u", "p")),
        (
            connection(provider="gitlab", server_url="https://git.example.com"),
            {},
            Credential("git.example.com", "u", "p"),
        ),
        (
            connection(provider="gitlab", server_url="https://git.example.com/x"),
            {"git.example.com": "registry.example.com:5050"},
            Credential("registry.example.com:5050", "u", "p"),
        ),
        (connection(provider="gitea", server_url="git.example.com"), {}, Credential("git.example.com", "u", "p")),
        (connection(provider="bitbucket"), {}, None),
        (connection(status="revoked", password=None), {}, None),
    ],
)
def test_a_row(found: dict[str, Any], registries: dict[str, str], expected: Credential | None) -> None:
    items = () if expected is None else (expected,)
    assert credentials([found], "o", None, registries).items == items


def test_several_connections_of_one_owner() -> None:
    rows = [connection(provider="gitlab"), connection(status="revoked"), connection(), row(registry="ghcr.io/acme")]
    found = credentials(rows, "o", None, {})
    assert [c.registry for c in found.items] == ["ghcr.io", "ghcr.io/acme", "registry.gitlab.com"]


def test_sealed_tokens_are_opened_for_their_owner() -> None:
    token = planted.token()
    (one,) = credentials([row(password=seal(token, "alice", "k", KEYS))], "alice", KEYS, {}).items
    assert one.password == token
    with pytest.raises(RowError, match="row 1: it does not open"):
        credentials([row(password=seal(token, "alice", "k", KEYS))], "bob", KEYS, {})


@pytest.mark.parametrize(
    ("wrong", "keys", "said"),
    [
        ({"registry": None}, None, "no text in its column registry"),
        ({"username": ""}, None, "the username for ghcr.io is empty"),
        ({"password": 5}, None, "no text in its column password"),
        ({"status": "odd"}, None, "none of active, expired and revoked"),
        ({"expires": "2031"}, None, "its column expires is no time"),
        ({"namespaces": []}, None, "no list of names"),
        ({"namespaces": "a"}, None, "no list of names"),
        ({"password": "00" * 16 + ":" + "00" * 16 + ":00"}, None, "its token is encrypted; set decrypt"),
        ({"password": "v1.k.AAAA"}, None, "its token is encrypted; set decrypt"),
        ({"password": "00" * 16 + ":" + "00" * 16 + ":00"}, KEYS, "does not open"),
        ({"password": "in the clear"}, KEYS, "not encrypted in a layout"),
    ],
)
def test_one_bad_row_leaves_nobody_able_to_say(wrong: dict[str, Any], keys: Keys | None, said: str) -> None:
    good = row(registry="other.example.com", password="p" if keys is None else seal("p", "o", "k", KEYS))
    with pytest.raises(RowError, match=f"row 2: .*{said}"):
        credentials([good, row(**wrong)], "o", keys, {})


@pytest.mark.parametrize("server", ["https://", "http://[::1"])
def test_a_server_without_a_host(server: str) -> None:
    with pytest.raises(RowError, match="no host"):
        credentials([connection(server_url=server)], "o", None, {})
