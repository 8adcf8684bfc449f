"""The dockerconfigjson format, read as the kubelet reads it and written so that equal credentials give equal bytes.

Source: k8s.io/kubernetes/pkg/credentialprovider/config.go: `auth` wins over username and password; `identitytoken`
and `registrytoken` are ignored, so an entry that has only those would silently never work. One Secret that cannot be
parsed fails the whole pull, so nothing is passed on unparsed.
"""

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec

from webhook.core.credential import MAX_CREDENTIALS, Credential, CredentialError, canonical_registry
from webhook.core.errors import PullsecretError
from webhook.core.shown import few


class DockerConfigError(PullsecretError):
    """Not a dockerconfigjson, and why; never with its content."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """`problems`: one line for each entry that was left out, shortened by `shown.few`."""

    credentials: tuple[Credential, ...]
    problems: tuple[str, ...] = ()


class _Entry(msgspec.Struct):
    """Each field may be null, which Go reads as empty."""

    username: str | None = None
    password: str | None = None
    auth: str | None = None
    identitytoken: str | None = None
    registrytoken: str | None = None


class _File(msgspec.Struct):
    auths: dict[str, msgspec.Raw]


MAX_PARTS = 20_000
"""Colons and brackets in JSON that is decoded: a hundred for each entry that is read."""
_FILE = msgspec.json.Decoder(_File)
_ENTRY = msgspec.json.Decoder(_Entry)


def parse(
    data: bytes, *, may_be_empty: bool = False, check: Callable[[Credential], Credential] = lambda c: c
) -> Parsed:
    """Raises DockerConfigError if nothing can be read; a bad entry beside good ones is a problem instead.

    `check` returns a credential, or raises CredentialError.
    """
    if crowded(data):
        raise DockerConfigError(f"it has too much in it; at most {MAX_CREDENTIALS} entries under auths are read")
    try:
        auths = _FILE.decode(data).auths
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise DockerConfigError(_why_unreadable(data)) from None
    if len(auths) > MAX_CREDENTIALS:
        raise DockerConfigError(f"it has {len(auths):,} entries under auths; at most {MAX_CREDENTIALS} are read")
    credentials, problems = [], []
    for key in sorted(auths):
        try:
            credentials.append(check(_credential(key, bytes(auths[key]))))
        except CredentialError as e:
            problems.append(str(e))
    if not credentials and (problems or not may_be_empty):
        raise DockerConfigError("; ".join(few(problems)) or "it has no entry under auths")
    return Parsed(tuple(credentials), few(problems))


def crowded(data: bytes) -> bool:
    """Has this JSON far more parts than credentials need? To decode 1 MiB of them takes 0.1 s and 16 MiB of memory, to
    count them a millisecond.
    """
    return sum(map(data.count, (b":", b"{", b"["))) > MAX_PARTS


def registries(encoded: str) -> tuple[str, ...]:
    """Only the names of the entries in a Secret's base64; none if it cannot be read."""
    try:
        return tuple(sorted(_FILE.decode(base64.b64decode(encoded)).auths))
    except (msgspec.MsgspecError, ValueError, RecursionError):  # base64's errors and Unicode's are ValueErrors
        return ()


def render(credentials: Iterable[Credential]) -> bytes:
    auths = {
        c.registry: {
            "username": c.username,
            "password": c.password,
            "auth": base64.b64encode(f"{c.username}:{c.password}".encode()).decode(),
        }
        for c in credentials
    }
    return msgspec.json.encode({"auths": auths}, order="sorted")


def _credential(key: str, raw: bytes) -> Credential:
    registry = canonical_registry(key)
    try:
        entry = _ENTRY.decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise CredentialError(f"the entry for {registry} is not an object of strings") from None
    if entry.auth:
        username, password = _split(registry, entry.auth)
    elif entry.username or entry.password:
        username, password = entry.username or "", entry.password or ""
    elif entry.identitytoken or entry.registrytoken:
        kind = "identitytoken" if entry.identitytoken else "registrytoken"
        raise CredentialError(
            f"the entry for {registry} has only an {kind}, which the kubelet ignores; use a username and a password"
        )
    else:
        raise CredentialError(f"the entry for {registry} has neither auth nor username and password")
    return Credential(registry, username, password)


def _split(registry: str, auth: str) -> tuple[str, str]:
    plain = _base64(auth)
    if plain is None or b":" not in plain:
        twice = plain is not None and b":" in (_base64(plain.decode("latin-1")) or b"")
        raise CredentialError(
            f"auth for {registry} is base64-encoded twice; encode username:password once"
            if twice
            else f"auth for {registry} is not the base64 of username:password"
        )
    try:
        username, _, password = plain.decode().partition(":")
    except UnicodeDecodeError:
        raise CredentialError(f"auth for {registry} is not UTF-8") from None
    return username, password


def _base64(text: str) -> bytes | None:
    """As in Go, line breaks are ignored; as in the kubelet, padding may be missing."""
    text = text.replace("\r", "").replace("\n", "")
    try:
        return base64.b64decode(text if text.endswith("=") else text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None


def _why_unreadable(data: bytes) -> str:
    if not data.strip():
        return "it is empty"
    inner = _base64(data.decode("latin-1").strip())
    if inner and inner.lstrip().startswith(b"{"):
        return "it is base64-encoded twice; put the JSON under stringData, or encode it once under data"
    try:
        msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "it is not JSON"
    return 'it has no "auths" object; docker login writes {"auths": {"ghcr.io": {"auth": "..."}}}'
