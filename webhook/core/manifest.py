"""What a registry has under the name of an image: one image, or a list with one for each platform. Pure.

Sources: the OCI image specification, and the matching of github.com/containerd/platforms.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from webhook.core.imagename import is_digest
from webhook.core.shown import shown

MAX_BYTES = 4 * 1024 * 1024
"""As in registries and container runtimes."""
_OCI, _DOCKER = "application/vnd.oci.image.", "application/vnd.docker.distribution.manifest."
ACCEPT = ", ".join((f"{_OCI}index.v1+json", f"{_OCI}manifest.v1+json", f"{_DOCKER}list.v2+json", f"{_DOCKER}v2+json"))
_OLD = f"{_DOCKER}v1+"
_MAX_SHOWN, _MAX_CHARS = 64, 60
"""Platforms of a list that are shown, and characters of each."""
_HASHES = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_ARM = ("v8", "v7", "v6", "v5")
"""A processor of one version runs what is for the ones behind it."""


class Platform(msgspec.Struct, frozen=True):
    os: str | None = None
    architecture: str | None = None
    variant: str | None = None

    def __str__(self) -> str:
        parts = filter(None, (self.os, self.architecture, self.variant))
        return shown("/".join(parts), _MAX_CHARS)


class _Entry(msgspec.Struct, frozen=True):
    digest: str | None = None
    platform: Platform | None = None


class _Document(msgspec.Struct, frozen=True, rename="camel"):
    schema_version: int | None = None
    media_type: str | None = None
    config: _Entry | None = None
    manifests: list[_Entry] | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """`config`: the digest of an image's configuration; empty for a list. `old`: of a format that container runtimes do
    not take any more.
    """

    config: str = ""
    old: bool = False
    entries: tuple[_Entry, ...] | None = None

    @property
    def platforms(self) -> tuple[str, ...]:
        """Of a list, those that are known: attestations have `unknown`."""
        found = (str(one.platform) for one in self.entries or () if one.platform is not None)
        return tuple(dict.fromkeys(one for one in found if one and "unknown" not in one))[:_MAX_SHOWN]

    def for_platform(self, platform: str) -> str | None:
        """The digest of what a list has for it: the best match. None: it has nothing. Empty: it has no digest."""
        order = _runs(platform)
        found = [(order.index(key), one) for one in self.entries or () if (key := _key(one.platform)) in order]
        return None if not found else _digest(min(found, key=lambda each: each[0])[1])


def manifest(body: bytes, media_type: str = "") -> Manifest | None:
    """`media_type`: of the answer; the one in the document counts more. None: it is none."""
    try:
        found = msgspec.json.decode(body, type=_Document)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    if found.schema_version == 1 or (found.media_type or media_type).startswith(_OLD):
        return Manifest(old=True)
    if found.manifests is not None:
        return Manifest(entries=tuple(found.manifests))
    return Manifest(_digest(found.config)) if found.config is not None else None


def is_of(body: bytes, digest: str) -> bool | None:
    """Has the content this digest? None: it is not known."""
    kind, _, value = digest.partition(":")
    made = _HASHES.get(kind)
    return made(body).hexdigest() == value if made is not None and is_digest(digest) else None


def _digest(entry: _Entry) -> str:
    return entry.digest if entry.digest is not None and is_digest(entry.digest) else ""


_Key = tuple[str, str, str]
_ANY: _Key = ("", "", "")
"""An entry without a platform is taken by any node."""


def _key(one: Platform | None) -> _Key:
    if one is None:
        return _ANY
    os, architecture, variant = ((part or "").lower() for part in (one.os, one.architecture, one.variant))
    usual = {"arm64": "v8", "arm": "v7", "amd64": "v1"}.get(architecture, "")
    return os, architecture, variant or usual


def _runs(platform: str) -> Sequence[_Key]:
    """What a node of this platform runs, the best first. What Kubernetes tells of a node has no variant: any of `arm`
    may fit.
    """
    os, architecture, variant = (*platform.lower().split("/"), "", "", "")[:3]
    variants: Iterable[str] = [variant]
    if architecture == "arm":
        variants = _ARM[_ARM.index(variant) :] if variant in _ARM else _ARM
    own = [_key(Platform(os, architecture, one)) for one in variants]
    if architecture == "arm64":
        own += [(os, "arm", one) for one in _ARM]
    if architecture == "amd64":
        own.append((os, "386", ""))
    return [*dict.fromkeys(own), _ANY]
