"""The dockerconfigjson format, read as the kubelet reads it and written so that equal credentials give equal bytes.

Source: k8s.io/kubernetes/pkg/credentialprovider/config.go: `auth` wins over username and password; the case of a
field's name does not count; `identitytoken` and `registrytoken` are ignored, so an entry that has only those would
silently never work. One Secret that cannot be parsed fails the whole pull, so nothing is passed on unparsed.
"""

import base64
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from webhook.core.credential import MAX_CREDENTIALS, Credential
from webhook.core.errors import CredentialError, PullsecretError
from webhook.core.names import DOCKERCFG_KEY, DOCKERCFG_TYPE, DOCKERCONFIG_KEY, DOCKERCONFIG_TYPE
from webhook.core.registry import DOCKER_HUB, also_known_as, canonical_registry, spellings
from webhook.core.shown import few


class DockerConfigError(PullsecretError):
    """Not a dockerconfigjson, and why; never with its content."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """`problems`: one line for each entry that was left out, shortened by `shown.few`."""

    credentials: tuple[Credential, ...]
    problems: tuple[str, ...] = ()


DOCKER_LOGIN = '; docker login writes {"auths": {"ghcr.io": {"auth": "..."}}}'
_KEYS = {DOCKERCONFIG_TYPE: DOCKERCONFIG_KEY, DOCKERCFG_TYPE: DOCKERCFG_KEY}
"""Types of Secrets that the kubelet takes credentials from, and where in their data these are."""
MAX_FOREIGN_CHARS = 256 * 1024
"""Characters of a Secret that others wrote, which is only parsed to see whether the kubelet can."""
MAX_PARTS = 20_000
"""Colons and brackets in JSON that is decoded: a hundred for each entry that is read."""
_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw] | None)
"""Go reads null as an empty object."""
_ENTRY = msgspec.json.Decoder(dict[str, Any] | None)
_BASE64 = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def parse(
    data: bytes, *, may_be_empty: bool = False, check: Callable[[Credential], Credential] = lambda c: c
) -> Parsed:
    """Raises DockerConfigError if nothing can be read; a bad entry beside good ones is a problem instead.

    `check` returns a credential, or raises CredentialError.
    """
    if crowded(data):
        raise DockerConfigError(f"it has too much in it; at most {MAX_CREDENTIALS} entries under auths are read")
    try:
        whole = _OBJECT.decode(data) or {}
        parts = _parts(whole, "auths")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        parts = []
    if not any(part is not None for part in parts):
        raise DockerConfigError(_why_unreadable(data))
    auths = {key: entry for part in parts for key, entry in (part or {}).items()}
    if len(auths) > MAX_CREDENTIALS:
        raise DockerConfigError(f"it has {len(auths):,} entries under auths; at most {MAX_CREDENTIALS} are read")
    credentials, problems = dict[Credential, None](), []
    for key in sorted(auths):
        try:
            credentials[check(_credential(key, auths[key], _elsewhere(whole)))] = None
        except CredentialError as e:
            problems.append(str(e))
    if not credentials and (problems or not may_be_empty):
        raise DockerConfigError("; ".join(few(problems)) or f"it has no entry under auths{_elsewhere(whole)}")
    return Parsed(tuple(credentials), few(problems))


def parse_dockercfg(data: bytes) -> Parsed:
    """The older format: what dockerconfigjson has under `auths`. Raises DockerConfigError."""
    if not data.lstrip().startswith(b"{"):
        raise DockerConfigError(
            "it is not a JSON object; kubectl create secret docker-registry writes the newer format"
        )
    return parse(b'{"auths":' + data + b"}")


def _parts(whole: Mapping[str, msgspec.Raw], field: str) -> list[dict[str, msgspec.Raw] | None]:
    """The objects of this name. If there are several, Go reads all of them into one."""
    return [_OBJECT.decode(value) for name, value in whole.items() if name.casefold() == field]


def _elsewhere(names: Iterable[str]) -> str:
    """For an entry without a password: docker login may have left it with a program, and says so in the file."""
    named = [name for name in names if name.casefold() in {"credsstore", "credhelpers"}]
    return f"; by {named[0]}, the password is on the machine where docker login ran; write it here" if named else ""


def crowded(data: bytes) -> bool:
    """Has this JSON far more parts than credentials need? To decode 1 MiB of them takes 0.1 s and 16 MiB of memory, to
    count them a millisecond.
    """
    return sum(map(data.count, (b":", b"{", b"["))) > MAX_PARTS


def of_kubelet(kind: str | None, data: Mapping[str, str]) -> Literal["takes", "passes over", "fails"]:
    """What the kubelet makes of a Secret. One that it cannot parse fails every pull of the pods that refer to it; one
    of another type, or without content, it passes over. `fails` also if there is too much to parse. `data`: in base64.
    """
    encoded = data.get(_KEYS.get(kind or "", ""))
    if not encoded:
        return "passes over"
    if len(encoded) > MAX_FOREIGN_CHARS:
        return "fails"
    try:
        # As in Go, bytes that are not UTF-8 do not matter.
        content = base64.b64decode(encoded).decode(errors="replace").encode()
        if crowded(content):
            return "fails"
        whole = {"auths": msgspec.Raw(content)} if kind == DOCKERCFG_TYPE else _OBJECT.decode(content) or {}
        headers = [part for part in _parts(whole, "httpheaders") if part]
        entries = [entry for part in _parts(whole, "auths") if part for entry in part.values()]
        texts = [msgspec.json.decode(value) for part in headers for value in part.values()]
        if all(map(_is_text, texts)) and all(_is_parsed(_ENTRY.decode(one) or {}) for one in entries):
            return "takes"
    except (msgspec.MsgspecError, ValueError, RecursionError):
        pass
    return "fails"


def _is_parsed(entry: Mapping[str, Any]) -> bool:
    fields = {name.casefold(): value for name, value in entry.items()}
    if not all(_is_text(fields.get(name)) for name in ("username", "password", "email", "auth")):
        return False
    return not fields.get("auth") or b":" in (_base64(fields["auth"]) or b"")


def _is_text(value: object) -> bool:
    return value is None or isinstance(value, str)


def registries(encoded: str) -> tuple[str, ...]:
    """Of the entries in a Secret's base64; none if it cannot be read."""
    try:
        parts = _parts(_OBJECT.decode(base64.b64decode(encoded)) or {}, "auths")
        return tuple(sorted({canonical_registry(key) for part in parts for key in part or ()}))
    except (CredentialError, msgspec.MsgspecError, ValueError, RecursionError):
        return ()


def render(credentials: Sequence[Credential]) -> bytes:
    """Several credentials for one registry get one spelling of its key each; the first one gets the usual one."""
    auths: dict[str, dict[str, str]] = {}
    for c in credentials:
        _add(auths, c.registry, c)
    for c in credentials:
        if other := also_known_as(c.registry):
            _add(auths, other, c)
    # For images of docker.io the kubelet uses Docker Hub's usual key only if no other key matches.
    if any(key.startswith("docker.io/") for key in auths):
        for c in credentials:
            if DOCKER_HUB in (c.registry, also_known_as(c.registry)):
                _add(auths, "docker.io", c)
    return msgspec.json.encode({"auths": auths}, order="sorted")


def _add(auths: dict[str, dict[str, str]], registry: str, c: Credential) -> None:
    auth = base64.b64encode(f"{c.username}:{c.password}".encode()).decode()
    entry = {"username": c.username, "password": c.password, "auth": auth}
    for key in spellings(registry):
        if auths.setdefault(key, entry) == entry:
            return


def _credential(key: str, raw: msgspec.Raw, elsewhere: str) -> Credential:
    registry = canonical_registry(key)
    try:
        entry = {name.casefold(): value or "" for name, value in (_ENTRY.decode(raw) or {}).items()}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise CredentialError(f"the entry for {registry} is not an object") from None
    fields = [entry.get(name, "") for name in ("username", "password", "auth", "identitytoken", "registrytoken")]
    if not all(isinstance(value, str) for value in fields):
        raise CredentialError(f"the entry for {registry} is not an object of strings")
    username, password, auth, identity, token = fields
    if auth:
        username, password = _split(registry, auth)
    elif ":" in username:  # in HTTP, all behind the first colon is the password
        username, password = f"{username}:{password}".split(":", 1)
    if not password and (identity or token):
        kind = "identitytoken" if identity else "registrytoken"
        raise CredentialError(
            f"the entry for {registry} has only an {kind}, which the kubelet ignores; use a username and a password"
        )
    if not username and not password:
        raise CredentialError(f"the entry for {registry} has neither auth nor username and password{elsewhere}")
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
    padded = text if text.endswith("=") else text + "=" * (-len(text) % 4)
    return base64.b64decode(padded) if _BASE64.fullmatch(padded) else None


def _why_unreadable(data: bytes) -> str:
    if not data.strip():
        return "it is empty"
    inner = _base64(data.decode("latin-1").strip())
    if inner and inner.lstrip().startswith(b"{"):
        return "it is base64-encoded twice; put the JSON under stringData, or encode it once under data"
    try:
        whole = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "it is not JSON"
    elsewhere = _elsewhere(whole) if isinstance(whole, dict) else ""
    return f'it has no "auths" object{elsewhere or DOCKER_LOGIN}'
