"""What is in a source Secret, and what a command changes in it. Pure.

Whatever comes of it is read as the webhook reads it, before it is written: so a mistake is told to whoever makes it,
and no other credential in the Secret is changed.
"""

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec

from webhook.core.credential import Credential
from webhook.core.dockerconfig import DockerConfigError, crowded, parse
from webhook.core.errors import CredentialError
from webhook.core.names import (
    DOCKERCFG_KEY,
    DOCKERCFG_TYPE,
    DOCKERCONFIG_KEY,
    DOCKERCONFIG_TYPE,
    EXPIRES,
    NAMESPACES,
    REGISTRY,
)
from webhook.core.owner import MAX_OWNER_CHARS, OwnerRule, marks
from webhook.core.registry import also_known_as, canonical_registry
from webhook.core.shown import quoted
from webhook.kube.cluster import SecretObject
from webhook.sources.secret import BASIC_AUTH_TYPE, DEFAULT_REGISTRY, SourceSecret, read

USERNAME, PASSWORD = "username", "password"  # keys of a basic-auth Secret
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
MAX_PART_CHARS = 60
"""Characters of the owner, and of the registry, in the name of a new Secret."""
DIGEST_CHARS = 12
"""Characters that make such a name different for each owner, registry and limit, whatever these are called."""


@dataclass(frozen=True, slots=True)
class New:
    """A credential that a command gets. `registry`: as `canonical_registry` gives it."""

    owner: str
    registry: str
    username: str
    password: str = field(repr=False)
    expires: datetime | None = None
    namespaces: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its source Secret. Whoever chooses the owner or the registry chooses no other Secret's name by it."""
        limits = ",".join(sorted(self.namespaces))
        digest = hashlib.sha256(json.dumps([self.owner, self.registry, limits]).encode()).hexdigest()
        host = self.registry.removeprefix("https://")
        words = [_NOT_IN_NAMES.sub("-", text.lower())[:MAX_PART_CHARS].strip("-") for text in (self.owner, host)]
        return "-".join([*filter(None, words), digest[:DIGEST_CHARS]])


def checked_owner(owner: str) -> str:
    """Raises CredentialError."""
    if OwnerRule("name").owner(owner, {}, {}) is None:
        raise CredentialError(f"the owner is not valid: write 1 to {MAX_OWNER_CHARS} printable characters")
    return owner


def same_key(one: str, other: str) -> bool:
    """Docker Hub has several names."""
    return (also_known_as(one) or one) == (also_known_as(other) or other)


def created(new: New, namespace: str, name: str) -> dict[str, Any]:
    """The whole Secret. Raises CredentialError for what the webhook would not use."""
    Credential(new.registry, new.username, new.password)  # before it is encoded: it may be no Unicode
    labels, annotations = marks(new.owner)
    annotations |= {REGISTRY: new.registry}
    if new.namespaces:
        annotations[NAMESPACES] = ",".join(new.namespaces)
    if new.expires is not None:
        annotations[EXPIRES] = _stamp(new.expires)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace, "labels": labels, "annotations": annotations},
        "type": BASIC_AUTH_TYPE,
        "data": {USERNAME: _encoded(new.username.encode()), PASSWORD: _encoded(new.password.encode())},
    }


def read_back(secret: Mapping[str, Any] | SecretObject, owner: str) -> SourceSecret:
    """As the webhook reads it. Raises CredentialError if it would use nothing of it."""
    seen = secret if isinstance(secret, SecretObject) else msgspec.convert(secret, SecretObject)
    found = read(seen)
    if found.credentials is None:
        raise CredentialError("; ".join(found.problems))
    if found.owner != owner:
        raise CredentialError(f"it would be of owner {quoted(found.owner or '')}")
    return found


@dataclass(frozen=True, slots=True)
class Entry:
    """One credential of a Secret, as it stands there. `key`: under `auths`; empty in a basic-auth Secret. `login` None:
    it is broken.
    """

    key: str
    registry: str
    login: tuple[str, str] | None = field(repr=False)


def entries(seen: SecretObject) -> Sequence[Entry]:
    """All whose registry can be read, also broken ones, in the order in which the webhook prefers them. Raises
    CredentialError.
    """
    if seen.type == BASIC_AUTH_TYPE:
        registry = canonical_registry((seen.metadata.annotations or {}).get(REGISTRY, DEFAULT_REGISTRY))
        return [Entry("", registry, _basic(seen))]
    _, auths = _document(seen)
    return [*_entries(auths)]


def _entries(auths: Mapping[str, Any]) -> Iterator[Entry]:
    for key in sorted(auths):
        try:
            registry = canonical_registry(key)
        except CredentialError:
            continue
        try:
            (one,) = parse(json.dumps({"auths": {key: auths[key]}}).encode()).credentials
        except (DockerConfigError, CredentialError):
            yield Entry(key, registry, None)
        else:
            yield Entry(key, registry, one.login)


def with_login(seen: SecretObject, registry: str, username: str | None, password: str) -> dict[str, Any]:
    """What to change in its data. `username` None: it stays. Raises CredentialError.

    Of several credentials for the registry in the Secret the preferred one changes, under all its keys; and broken ones
    do, which nobody can use.
    """
    found = [one for one in entries(seen) if same_key(one.registry, registry)]
    if not found:
        raise CredentialError(f"it has no credential for {registry}")
    preferred = next((one.login for one in found if one.login is not None), None)
    if username is None and preferred is None:
        raise CredentialError("its user name cannot be read; name it with --username")
    login = username or (preferred or ("", ""))[0], password
    Credential(registry, *login)
    if seen.type == BASIC_AUTH_TYPE:
        return {key: _encoded(text.encode()) for key, text in zip((USERNAME, PASSWORD), login, strict=True)}
    document, auths = _document(seen)
    entry = {USERNAME: login[0], PASSWORD: login[1], "auth": _encoded(":".join(login).encode())}
    for one in found:
        if one.login in (preferred, None):
            auths[one.key] = entry
    return _written(seen, document)


def without(seen: SecretObject, registry: str) -> dict[str, Any] | None:
    """What to change in its data; None: nothing would be left of it. Raises CredentialError."""
    gone = {one.key for one in entries(seen) if same_key(one.registry, registry)}
    if seen.type == BASIC_AUTH_TYPE:
        return None if gone else {}
    document, auths = _document(seen)
    for key in gone:
        del auths[key]
    return _written(seen, document) if auths else None


def patched(seen: SecretObject, data: Mapping[str, Any], annotations: Mapping[str, str | None]) -> SecretObject:
    """As a merge patch leaves it."""
    marks = {**(seen.metadata.annotations or {}), **annotations}
    meta = msgspec.structs.replace(
        seen.metadata, annotations={key: text for key, text in marks.items() if text is not None}
    )
    return msgspec.structs.replace(seen, metadata=meta, data={**(seen.data or {}), **data})


def others(secret: SourceSecret, registry: str) -> list[tuple[str, tuple[str, str]]]:
    """Its credentials for other registries."""
    return [(c.registry, c.login) for c in secret.credentials or () if not same_key(c.registry, registry)]


def expiry(expires: datetime | None) -> dict[str, str | None]:
    """The annotation. None removes it."""
    return {EXPIRES: None if expires is None else _stamp(expires)}


def _stamp(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _basic(seen: SecretObject) -> tuple[str, str] | None:
    try:
        username, password = (base64.b64decode((seen.data or {})[key], validate=True) for key in (USERNAME, PASSWORD))
        return username.decode(), password.decode()
    except (KeyError, ValueError):
        return None


UNREADABLE = "its content cannot be read, so nothing in it can be changed; write it anew"


def _document(seen: SecretObject) -> tuple[Any, dict[str, Any]]:
    """Its JSON, and what is under `auths` in it: a part of it, to be changed."""
    key = {DOCKERCONFIG_TYPE: DOCKERCONFIG_KEY, DOCKERCFG_TYPE: DOCKERCFG_KEY}.get(seen.type)
    if key is None:
        raise CredentialError(f"its type is {quoted(seen.type or 'Opaque')}, which the webhook does not read")
    try:
        data = base64.b64decode((seen.data or {})[key], validate=True)
        if crowded(data):
            raise CredentialError(UNREADABLE)
        document = json.loads(data)
        auths = document if seen.type == DOCKERCFG_TYPE else _auths(document)
    except (KeyError, ValueError, RecursionError):
        raise CredentialError(UNREADABLE) from None
    if not isinstance(auths, dict):
        raise CredentialError(UNREADABLE)
    return document, auths


def _auths(document: Any) -> Any:
    """The case of the name does not count, as everywhere in this format."""
    names = [name for name in document if name.lower() == "auths"] if isinstance(document, dict) else []
    return document[names[0]] if len(names) == 1 else None


def _written(seen: SecretObject, document: Any) -> dict[str, Any]:
    key = DOCKERCONFIG_KEY if seen.type == DOCKERCONFIG_TYPE else DOCKERCFG_KEY
    return {key: _encoded(json.dumps(document).encode())}
