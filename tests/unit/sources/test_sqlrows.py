"""Rows to credentials, by the names of their columns."""

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from sys import getsizeof
from typing import Any
from uuid import UUID

import pytest

from support import planted
from support.sealed import seal
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import SourceUnavailable
from webhook.sources import sqlrows
from webhook.sources.encrypted import Keys, padded
from webhook.sources.sqlrows import LONG_AGO, MAX_ROWS_BYTES, Rows

NOW = datetime(2030, 1, 1, tzinfo=UTC)
END = datetime(2031, 1, 1, tzinfo=UTC)
KEYS = Keys(padded("x"), {"k": bytes(32)})


def credentials(rows: Sequence[Any], owner: str, keys: Keys | None, registries: Mapping[str, str]) -> Credentials:
    """As they come from a query for one owner."""
    read = Rows([owner], many=False)
    for one in rows:
        read.add(one)
    return sqlrows.credentials(read.of(owner), owner, keys, registries, NOW)


def row(**columns: Any) -> dict[str, Any]:
    return {"registry": "ghcr.io", "username": "u", "password": "p"} | columns


def connection(**columns: Any) -> dict[str, Any]:
    usual = {"provider": "github", "server_url": None, "username": "u", "password": "p", "expires": None}
    return usual | {"status": "active"} | columns


@pytest.mark.parametrize(
    ("found", "registries", "expected"),
    [
        (row(), {}, Credential("ghcr.io", "u", "p")),
        (row(registry="docker.io"), {}, Credential("docker.io", "u", "p")),
        (row(expires=END), {}, Credential("ghcr.io", "u", "p", END)),
        (row(expires=END.replace(tzinfo=None)), {}, Credential("ghcr.io", "u", "p", END)),
        (row(namespaces=["a", "b"]), {}, Credential("ghcr.io", "u", "p", namespaces=("a", "b"))),
        (row(namespaces=None, expires=None, more="x"), {}, Credential("ghcr.io", "u", "p")),
        (row(status="expired"), {}, Credential("ghcr.io", "u", "p", LONG_AGO)),
        (row(status="expired", expires=END), {}, Credential("ghcr.io", "u", "p", LONG_AGO)),
        (row(status="expired", expires=NOW), {}, Credential("ghcr.io", "u", "p", NOW)),
        (row(sealed_for="7"), {}, Credential("ghcr.io", "u", "p")),
        (row(sealed_for=UUID(int=7), more={"a": [1]}), {}, Credential("ghcr.io", "u", "p")),
        (row(status="revoked", password={}, expires=date(2031, 1, 1)), {}, None),
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
        (connection(provider="GitHub"), {}, Credential("ghcr.io", "u", "p")),
        (
            connection(provider="GitLab"),
            {"GITLAB": "registry.example.com"},
            Credential("registry.example.com", "u", "p"),
        ),
        (
            connection(server_url="https://Git.example.com"),
            {"Git.Example.com": "registry.example.com"},
            Credential("registry.example.com", "u", "p"),
        ),
        (connection(provider="Bitbucket"), {}, None),
        (connection(provider="slack"), {"slack": ""}, None),
        (connection(provider="gitlab", server_url="git.example.com"), {"git.example.com": ""}, None),
        (connection(status="revoked", password=None), {}, None),
    ],
)
def test_a_row(found: dict[str, Any], registries: dict[str, str], expected: Credential | None) -> None:
    items = () if expected is None else (expected,)
    assert credentials([found], "o", None, registries).items == items


def test_several_connections_of_one_owner() -> None:
    rows = [connection(provider="gitlab"), connection(status="revoked"), connection(), row(registry="ghcr.io/acme")]
    found = credentials(rows, "o", None, {})
    assert [c.registry for c in found.items] == ["registry.gitlab.com", "ghcr.io", "ghcr.io/acme"]


def test_sealed_tokens_are_opened_for_their_owner() -> None:
    token = planted.token()
    (one,) = credentials([row(password=seal(token, "alice", "k", KEYS))], "alice", KEYS, {}).items
    assert one.password == token
    with pytest.raises(SourceUnavailable, match="row 1: it cannot be decrypted"):
        credentials([row(password=seal(token, "alice", "k", KEYS))], "bob", KEYS, {})


@pytest.mark.parametrize(
    ("wrong", "keys", "said"),
    [
        ({"registry": None}, None, "its column registry has no text"),
        ({"username": ""}, None, "the username for ghcr.io is empty"),
        ({"password": 5}, None, "its column password has no text"),
        ({"status": "odd"}, None, "expected active, expired or revoked"),
        ({"expires": "2031"}, None, "its column expires is not a time"),
        ({"namespaces": []}, None, "not a list of names"),
        ({"namespaces": "a"}, None, "not a list of names"),
        ({"namespaces": [["a"]]}, None, "not a list of names"),
        ({"namespaces": ["a", None]}, None, "not a list of names"),
        ({"expires": date(2031, 1, 1)}, None, "its column expires is not a time"),
        ({"password": b"p"}, None, "its column password has no text"),
        ({"password": {"token": "p"}}, None, "its column password has no text"),
        ({"status": ["active"]}, None, "expected active, expired or revoked"),
        ({"password": "00" * 16 + ":" + "00" * 16 + ":00"}, None, "its token is encrypted; set decrypt"),
        ({"password": "v1.k.AAAA"}, None, "its token is encrypted; set decrypt"),
        ({"password": "v2.k.AAAA"}, None, "its token is encrypted; set decrypt"),
        ({"registry": None, "provider": "github"}, None, "its column registry has no text"),
        ({"password": "00" * 16 + ":" + "00" * 16 + ":00"}, KEYS, "cannot be decrypted"),
        ({"password": "in the clear"}, KEYS, "its layout is unknown"),
    ],
)
def test_one_bad_row_leaves_nobody_able_to_say(wrong: dict[str, Any], keys: Keys | None, said: str) -> None:
    good = row(registry="other.example.com", password="p" if keys is None else seal("p", "o", "k", KEYS))
    with pytest.raises(SourceUnavailable, match=f"row 2: .*{said}"):
        credentials([good, row(**wrong)], "o", keys, {})


def test_tokens_are_opened_for_whom_they_were_sealed() -> None:
    token = planted.token()
    sealed = row(password=seal(token, "7", "k", KEYS), sealed_for="7")
    assert credentials([sealed], "a-project", KEYS, {}).items[0].password == token
    for other in ("8", None):
        with pytest.raises(
            SourceUnavailable, match=r"row 1: (it cannot be decrypted|its column sealed_for has no text)"
        ):
            credentials([sealed | {"sealed_for": other}], "7", KEYS, {})


def test_an_end_in_another_zone() -> None:
    east = END.astimezone(timezone(timedelta(hours=8)))
    (found,) = credentials([row(expires=east)], "o", None, {}).items
    assert found.expires is not None
    assert (found.expires, found.expires.tzinfo) == (END, UTC)
    with pytest.raises(SourceUnavailable, match="out of range; write null"):
        credentials([row(expires=datetime(9999, 12, 31, 23, tzinfo=timezone(-timedelta(hours=8))))], "o", None, {})
    for never in (datetime.min.replace(tzinfo=UTC), datetime.min.replace(tzinfo=east.tzinfo)):
        assert credentials([row(expires=never)], "o", None, {}).items[0].expires is None


@pytest.mark.parametrize("provider", ["github-enterprise", "", "git hub"])
def test_of_an_unknown_provider_nobody_can_say(provider: str) -> None:
    with pytest.raises(SourceUnavailable, match="row 2: its provider is unknown; name its registry under registries"):
        credentials([connection(), connection(provider=provider)], "o", None, {})


@pytest.mark.parametrize("server", ["https://", "http://[::1", {"host": "git.example.com"}])
def test_a_server_without_a_host(server: object) -> None:
    with pytest.raises(SourceUnavailable, match="no host"):
        credentials([connection(server_url=server)], "o", None, {})


@pytest.mark.parametrize(
    "value",
    [
        {"namespaces": ["x" * 40] * 100},
        {"password": "\U0001f600" * 10_000},
        {"namespaces": [""] * 1000},
    ],
)
def test_what_rows_weigh_is_the_memory_that_they_take(value: dict[str, Any]) -> None:
    rows, taken = Rows(["o", "other"], many=True), 0
    (one,) = value.values()
    while taken <= MAX_ROWS_BYTES:
        if taken < MAX_ROWS_BYTES // 2:
            assert rows.of("o") is not None
        rows.add(row(owner="o", **value))
        taken += sum(map(getsizeof, one)) if isinstance(one, list) else getsizeof(one)
    with pytest.raises(SourceUnavailable, match="its rows are larger than 1 MiB"):
        rows.of("o")


def test_of_what_no_column_may_have_nothing_is_kept() -> None:
    rows = Rows(["o", "other"], many=True)
    for _ in range(10):
        rows.add(row(owner="o", note="x" * 1_000_000, namespaces=[["x" * 1_000_000]], status={"a": "x" * 1_000_000}))
    assert len(repr(rows.of("o"))) < 10_000
    with pytest.raises(SourceUnavailable, match="row 1: its status is not valid"):
        sqlrows.credentials(rows.of("o"), "o", None, {}, NOW)
