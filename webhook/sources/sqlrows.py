"""From the rows of a SQL source to credentials, by the names of columns. Pure.

A row that cannot be read is an error for its owner, never a missing credential: the pull secret stays unchanged. A
row of an owner who was not asked for is an error for all who were: it may be one of theirs, spelled differently.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from webhook.core import times
from webhook.core.credential import MAX_CREDENTIALS, Credential, Credentials, limits, weight
from webhook.core.errors import CredentialError, SourceUnavailable
from webhook.core.registry import canonical_registry
from webhook.sources.encrypted import Keys, SealedError, is_sealed, unseal
from webhook.sources.remote import MAX_SIZE

REGISTRIES = {"github": "ghcr.io", "gitlab": "registry.gitlab.com", "bitbucket": ""}
"""Of providers; empty: it has none."""
HOSTED = frozenset({"github.com", "gitlab.com"})
"""Hosts for which `server_url` adds nothing to the provider."""
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

BY_USER = """\
SELECT user_id::text AS owner, provider, server_url, username, access_token AS password, expires_at AS expires, status
FROM git_connections WHERE user_id::text = ANY(%(owners)s)"""
BY_PROJECT = """\
SELECT p.id::text AS owner, c.provider, c.server_url, c.username, c.access_token AS password, c.expires_at AS expires,
  c.status, c.user_id::text AS sealed_for
FROM projects p JOIN project_git_auth a ON a.project_id = p.id JOIN git_connections c ON c.user_id = a.user_id
WHERE p.id::text = ANY(%(owners)s)"""

Row = Mapping[str, Any]
COLUMNS = frozenset(
    {"registry", "provider", "server_url", "username", "password", "expires", "status", "sealed_for", "namespaces"}
)
MAX_ROWS_BYTES = 1024 * 1024
"""Of one owner, in memory."""
PER_NAME = 64
"""Bytes that each text of a list takes by itself."""
UNREADABLE = object()
"""In the place of a value that no column may have, so that it takes no memory; an error only if the column is read."""


def kept(row: Mapping[str, Any]) -> Row:
    """What is read of a row: texts, times and lists of texts."""
    return {name: _kept(row[name]) for name in COLUMNS & row.keys()}


def _kept(value: Any) -> Any:
    flat = isinstance(value, list) and all(isinstance(one, str) for one in value)
    return value if flat or isinstance(value, str | datetime | None) else UNREADABLE


def size(row: Row) -> int:
    """Bytes of memory of what is `kept`, apart from what each row takes."""
    return sum(_size(value) for value in row.values())


def _size(value: Any) -> int:
    if isinstance(value, list):
        return sum(PER_NAME + weight(one) for one in value)
    return weight(value) if isinstance(value, str) else 0


class Rows:
    """The rows of a query about these owners, sorted by owner, as far as they are within the limits."""

    def __init__(self, owners: Sequence[str], *, many: bool) -> None:
        """`many`: each row says in its column `owner` whose it is."""
        self._many = many
        self._of: dict[str, list[Row]] = {owner: [] for owner in owners}
        self._room = dict.fromkeys(owners, MAX_ROWS_BYTES)
        self._too_many: dict[str, str] = {}
        self._left, self._rest = len(owners) * MAX_CREDENTIALS, MAX_SIZE

    def add(self, whole: Mapping[str, Any]) -> None:
        """Raises SourceUnavailable, and then the query must end. `about` are owners who have too much by themselves."""
        owner, row = self._owner(whole), kept(whole)
        weighs = size(row)
        self._left, self._rest = self._left - 1, self._rest - weighs
        self._room[owner] -= weighs
        if len(self._of[owner]) == MAX_CREDENTIALS:
            self._drop(owner, f"it has more than {MAX_CREDENTIALS} rows")
        elif self._room[owner] < 0:
            self._drop(owner, "its rows are larger than 1 MiB")
        if owner not in self._too_many:
            self._of[owner].append(row)
        if len(self._of) == len(self._too_many) == 1:
            raise SourceUnavailable(self._too_many[owner])
        if self._left < 0 or self._rest < 0:
            if about := frozenset(self._too_many):
                raise SourceUnavailable(next(iter(self._too_many.values())), about=about)
            raise SourceUnavailable(f"the rows of {len(self._of)} owners are too many for one query")

    def of(self, owner: str) -> Sequence[Row]:
        """Raises SourceUnavailable."""
        if (why := self._too_many.get(owner)) is not None:
            raise SourceUnavailable(why)
        return self._of[owner]

    def count(self, owner: str) -> int:
        return len(self._of[owner])

    def _drop(self, owner: str, why: str) -> None:
        self._too_many.setdefault(owner, why)
        self._of[owner].clear()

    def _owner(self, row: Mapping[str, Any]) -> str:
        if not self._many:
            return next(iter(self._of))
        owner = row.get("owner", 0)
        if isinstance(owner, str) and owner in self._of:
            return owner
        if isinstance(owner, str | None):
            raise SourceUnavailable("a row is of an owner who was not asked for; select what is compared AS owner")
        raise SourceUnavailable("its rows have no text in a column owner; add user_id::text AS owner", everybody=True)


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
    host = None
    with suppress(ValueError):
        if isinstance(url, str):
            host = urlsplit(url if "//" in url else f"//{url}").hostname
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
