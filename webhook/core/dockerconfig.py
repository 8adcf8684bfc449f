"""The dockerconfigjson format, read as the kubelet reads it and written so that equal credentials give equal bytes.

Source: k8s.io/kubernetes/pkg/credentialprovider/config.go: `auth` wins over username and password; the case of a
field's name does not count; `identitytoken` and `registrytoken` are ignored, so an entry that has only those would
silently never work. One Secret that cannot be parsed fails the whole pull, so nothing is passed on unparsed.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from webhook.core.credential import MAX_CREDENTIALS, Credential
from webhook.core.errors import CredentialError, PullsecretError
from webhook.core.names import DOCKERCFG_KEY, DOCKERCFG_TYPE, DOCKERCONFIG_KEY, DOCKERCONFIG_TYPE
from webhook.core.registry import also_known_as, canonical_registry, spellings
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
_FOLDED = str.maketrans("\u017f\u212a", "sk")
"""What Go also takes for these letters in the name of a field."""
_KEYS_OF = msgspec.json.Decoder(dict[str, dict[str, msgspec.Raw]])
_BASE64 = re.compile("(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class _Object(list[tuple[str, Any]]):
    """A JSON object with all its fields, in order. Go lets the last one of a name count, and so do most; but it reads
    all of them.
    """

    def named(self, name: str) -> Iterator[Any]:
        return (value for key, value in self if key.translate(_FOLDED).lower() == name)

    def text(self, name: str) -> str:
        """Raises ValueError for what is no text."""
        return _text(self.named(name))


def _text(values: Iterable[Any]) -> str:
    """The last one. Null counts for nothing. Raises ValueError for what is no text."""
    found = [value for value in values if value is not None]
    if not all(isinstance(value, str) for value in found):
        raise ValueError
    return str(found[-1]) if found else ""


def _zero(_: str) -> float:
    """All numbers are the same here, however long."""
    return 0.0


def _no_number(_: str) -> float:
    """Go does not know NaN and Infinity."""
    raise ValueError


_JSON = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_zero, parse_float=_zero, parse_constant=_no_number)
"""Raises ValueError and RecursionError."""


def _objects(values: Iterable[Any]) -> _Object:
    """Go reads objects of the same name into one, and null as an empty one. Raises ValueError."""
    whole = _Object()
    for value in values:
        if not isinstance(value, _Object | None):
            raise ValueError  # noqa: TRY004  # one error for all that Go refuses
        if value is None:
            whole.clear()
        else:
            whole.extend(value)
    return whole


def parse(
    data: bytes,
    *,
    may_be_empty: bool = False,
    check: Callable[[Credential], Credential] = lambda c: c,
    most: int = MAX_CREDENTIALS,
) -> Parsed:
    """Raises DockerConfigError if nothing can be read; a bad entry beside good ones is a problem instead.

    `check` returns a credential, or raises CredentialError. `most`: entries.
    """
    if crowded(data):
        raise DockerConfigError(f"it has too much in it; at most {MAX_CREDENTIALS} entries under auths are read")
    try:
        whole = _objects([_JSON.decode(data.decode())])
        values = [*whole.named("auths")]
        auths = dict(_objects(values))
    except (ValueError, RecursionError):
        values = []
    if all(value is None for value in values):
        raise DockerConfigError(_why_unreadable(data))
    if len(auths) > most:
        raise DockerConfigError(f"it has {len(auths):,} entries under auths; at most {most} are read")
    credentials, problems = dict[Credential, None](), []
    for key in sorted(auths):
        try:
            credentials[check(_credential(key, auths[key], whole))] = None
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
    try:
        return parse(b'{"auths":' + data + b"}")
    except DockerConfigError:
        if _newer(data):
            todo = f"use the type {DOCKERCONFIG_TYPE} and the key {DOCKERCONFIG_KEY}"
            raise DockerConfigError(f'it has "auths", as the newer format has; {todo}') from None
        raise


def _newer(data: bytes) -> bool:
    try:
        return any(True for _ in _objects([_JSON.decode(data.decode())]).named("auths"))
    except (ValueError, RecursionError):
        return False


def _elsewhere(whole: _Object) -> str:
    """For an entry without a password: docker login may have left it with a program, and says so in the file."""
    named = next((key for key, value in whole if key.lower() in {"credsstore", "credhelpers"} and value), "")
    return f"; {named} says that the password is kept where docker login ran: write it here" if named else ""


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
        content = binascii.a2b_base64(encoded).decode(errors="replace")
        if crowded(content.encode()):
            return "fails"
        whole = _objects([_JSON.decode(content)])
        auths = [whole] if kind == DOCKERCFG_TYPE else [*whole.named("auths")]
        headers = [] if kind == DOCKERCFG_TYPE else [*whole.named("httpheaders")]
        for value in auths:
            for _, entry in _objects([value]):
                _kubelet_reads(_objects([entry]))
        for value in headers:
            _text(text for _, text in _objects([value]))
    except (ValueError, RecursionError):
        return "fails"
    return "takes"


def _kubelet_reads(entry: _Object) -> None:
    """Raises ValueError."""
    _, _, _, auth = (entry.text(name) for name in ("username", "password", "email", "auth"))
    if auth and b":" not in (_base64(auth) or b""):
        raise ValueError


def registries(encoded: str) -> tuple[str, ...]:
    """Of the entries in a Secret's base64 that we wrote; none if it cannot be read."""
    try:
        keys = _KEYS_OF.decode(base64.b64decode(encoded)).get("auths", ())
        return tuple(sorted({canonical_registry(key) for key in keys}))
    # base64's errors and Unicode's are ValueErrors
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
    return msgspec.json.encode({"auths": auths}, order="sorted")


def _add(auths: dict[str, dict[str, str]], registry: str, c: Credential) -> None:
    auth = base64.b64encode(f"{c.username}:{c.password}".encode()).decode()
    entry = {"username": c.username, "password": c.password, "auth": auth}
    for key in spellings(registry):
        if auths.setdefault(key, entry) == entry:
            return


def _credential(key: str, value: Any, whole: _Object) -> Credential:
    registry = canonical_registry(key)
    try:
        entry = _objects([value])
        fields = [entry.text(name) for name in ("username", "password", "auth", "identitytoken", "registrytoken")]
    except ValueError:
        raise CredentialError(f"the entry for {registry} is not an object of strings") from None
    username, password, auth, identity, token = fields
    if auth:
        username, password = _split(registry, auth)
    elif ":" in username:  # in HTTP, all behind the first colon is the password
        username, password = f"{username}:{password}".split(":", 1)
    if not password and (identity or token):
        kind = "an identitytoken" if identity else "a registrytoken"
        raise CredentialError(
            f"the entry for {registry} has only {kind}, which the kubelet ignores; use a username and a password"
        )
    if not username and not password:
        raise CredentialError(f"the entry for {registry} has neither auth nor username and password{_elsewhere(whole)}")
    if not password and (elsewhere := _elsewhere(whole)):
        raise CredentialError(f"the entry for {registry} has no password{elsewhere}")
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
    if data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        return "it begins with a byte order mark, as some editors write it; save it as UTF-8 without one"
    inner = _base64(data.decode("latin-1").strip())
    if inner and inner.lstrip().startswith(b"{"):
        return "it is base64-encoded twice; put the JSON under stringData, or encode it once under data"
    try:
        whole = _JSON.decode(data.decode())
    except (ValueError, RecursionError):
        return "it is not JSON"
    elsewhere = _elsewhere(whole) if isinstance(whole, _Object) else ""
    return f'it has no "auths" object{elsewhere or DOCKER_LOGIN}'
