"""From the rows of a SQL source to credentials, by the names of columns. Pure.

A row that cannot be read is an error for its owner, never a missing credential: the pull secret stays unchanged.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from webhook.core import times
from webhook.core.credential import Credential, Credentials, limits
from webhook.core.errors import CredentialError, SourceUnavailable
from webhook.core.registry import canonical_registry
from webhook.sources.encrypted import Keys, SealedError, is_sealed, unseal

REGISTRIES = {"github": "ghcr.io", "gitlab": "registry.gitlab.com", "bitbucket": ""}
"""Of providers; empty: it has none."""
HOSTED = frozenset({"github.com", "gitlab.com"})
"""Hosts for which `server_url` adds nothing to the provider."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

BY_USER = """\
SELECT provider, server_url, username, access_token AS password, expires_at AS expires, status
FROM git_connections WHERE user_id::text = %(owner)s"""
BY_PROJECT = """\
SELECT c.provider, c.server_url, c.username, c.access_token AS password, c.expires_at AS expires, c.status,
  c.user_id::text AS sealed_for
FROM projects p JOIN project_git_auth a ON a.project_id = p.id JOIN git_connections c ON c.user_id = a.user_id
WHERE p.id::text = %(owner)s"""

Row = Mapping[str, Any]
MAX_ROWS_CHARS = 1024 * 1024
"""Characters of one owner's rows."""


def size(row: Row) -> int:
    """Characters."""
    texts = (one for value in row.values() for one in (value if isinstance(value, list) else (value,)))
    return sum(len(one) for one in texts if isinstance(one, str | bytes))


def credentials(
    rows: Sequence[Row], owner: str, keys: Keys | None, registries: Mapping[str, str], now: datetime
) -> Credentials:
    """Of active and of expired rows (the last token stays until it is replaced). Raises SourceUnavailable."""
    lowered, found = {name.casefold(): registry for name, registry in registries.items()}, []
    for number, row in enumerate(rows, 1):
        try:
            if (one := _credential(row, owner, keys, lowered, now)) is not None:
                found.append(one)
        except (CredentialError, SealedError) as e:
            raise SourceUnavailable(f"row {number}: {e}") from None
    return Credentials(tuple(found))


def _credential(
    row: Row, owner: str, keys: Keys | None, registries: Mapping[str, str], now: datetime
) -> Credential | None:
    """None: the row is revoked, or its provider has no registry."""
    status = row.get("status")
    if status not in (None, "active", "expired", "revoked"):
        raise CredentialError("its status is not valid: expected active, expired or revoked")
    if status == "revoked" or not (registry := _registry(row, registries)):
        return None
    password = _text(row, "password")
    if keys is not None:
        password = unseal(password, _text(row, "sealed_for") if "sealed_for" in row else owner, keys)
    elif is_sealed(password):
        raise CredentialError("its token is encrypted; set decrypt")
    expires = _time(row, "expires")
    if status == "expired" and (expires is None or expires > now):
        expires = LONG_AGO
    return Credential(canonical_registry(registry), _text(row, "username"), password, expires, _namespaces(row))


def _registry(row: Row, registries: Mapping[str, str]) -> str:
    """The column `registry`; or, for a connection to a Git server, the registry of its host or provider.

    Empty: the provider has no registry. Raises CredentialError if the provider is unknown.
    """
    if "registry" in row or "provider" not in row:
        return _text(row, "registry")
    host = _host(row["server_url"]) if row.get("server_url") else None
    if host is not None and host not in HOSTED:
        return registries.get(host, host)
    provider = _text(row, "provider").casefold()
    registry = registries.get(provider, REGISTRIES.get(provider))
    if registry is None:
        raise CredentialError('its provider is unknown; name its registry under registries, or "" if it has none')
    return registry


def _host(url: Any) -> str:
    try:
        host = urlsplit(url if "//" in str(url) else f"//{url}").hostname
    except ValueError:
        host = None
    if not host:
        raise CredentialError("its server_url has no host")
    return host


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise CredentialError(f"its column {name} has no text")
    return value


def _time(row: Row, name: str) -> datetime | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, datetime):
        raise CredentialError(f"its column {name} is not a time")
    try:
        return times.end(value)
    except ValueError as e:
        raise CredentialError(f"its column {name} {e}; write null for no end") from None


def _namespaces(row: Row) -> tuple[str, ...]:
    """Null or no such column: all of the owner's namespaces. An empty list is an error, and never means all."""
    value = row.get("namespaces")
    if value is None:
        return ()
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise CredentialError("its column namespaces is not a list of names; write names, or null for all")
    return limits(value)
