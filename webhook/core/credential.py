"""The credentials of an owner, as values. A repr never shows the password."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain
from typing import Literal

from webhook.core.errors import PullsecretError

DOCKER_HUB = "https://index.docker.io/v1/"
_DOCKER_HUB_NAMES = frozenset({"docker.io", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REGISTRY = re.compile(
    r"(?:[A-Za-z0-9*][A-Za-z0-9._*-]{0,252}|\[[0-9A-Fa-f:]{2,45}\])(?::\d{1,5})?(?:/[\w./*~-]{1,252})?", re.ASCII
)
"""Host, optional port, optional path; the kubelet accepts `*` in host and path."""
MAX_CREDENTIALS = 200
"""Credentials of one owner in one answer of a source, usable or not."""
MAX_REGISTRY_CHARS, MAX_VALUE_CHARS = 600, 32 * 1024
"""Characters. The longest tokens of registries, which contain a signed document, have a few thousand."""

_NO_REGISTRY = (
    "the name of a registry is not valid: expected a host with a dot or a port and perhaps a path, as in ghcr.io/acme"
)


_TOO_WIDE = (
    "the name of a registry has * in the last two parts of its host, which matches hosts of others too; write these "
    "parts without *, as in *.example.com"
)
"""A token goes to every host that matches, and a pod may name any host: `*.io` also matches evil.io."""


class CredentialError(PullsecretError):
    """What cannot be used as a credential, or as a list of them, and what to write instead; never with its content."""


def canonical_registry(registry: str) -> str:
    """The key that the kubelet looks up: Docker Hub has one odd name, all others are host[:port][/path].

    As in the kubelet, the version of the API is left out (https://ghcr.io/v2/). A slash after a path stays: without it
    `ghcr.io/acme/` would match ghcr.io/acme-labs/app too.

    For the kubelet `*` matches inside one part of a host's name. It is refused in the last two parts, and in an IP
    address.
    """
    bare = registry.strip().removeprefix("https://").removeprefix("http://")
    if len(bare) > MAX_REGISTRY_CHARS:
        raise CredentialError(_NO_REGISTRY)
    if "@" in bare:  # not quoted: it may be https://user:password@host
        raise CredentialError("the name of a registry contains @; write its host alone, such as ghcr.io")
    if bare and not _REGISTRY.fullmatch(bare.rstrip("/")):  # not quoted: it may be a token
        raise CredentialError(_NO_REGISTRY)
    host, _, path = bare.partition("/")
    # The first part of an image's name is a host if it has a dot, a port or capitals. Capitals alone suggest a token.
    if host and not {".", ":"} & {*host} and host != "localhost":
        raise CredentialError(_NO_REGISTRY)
    if "*" in host and _too_wide(host):
        raise CredentialError(_TOO_WIDE)
    path = re.sub("^v[12]/", "", path)
    if host in _DOCKER_HUB_NAMES:
        return f"docker.io/{path}" if path.strip("/") not in {"", "v1", "v2"} else DOCKER_HUB
    return f"{host}/{path}" if path.strip("/") else host


def _too_wide(host: str) -> bool:
    labels = [label for label in host.partition(":")[0].split(".") if label]
    return "*" in "".join(labels[-2:]) or labels[-1].isdigit()


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a credential comes from: a configured source, and the object that its notices are about (the source Secret,
    or our Service).
    """

    source: str = ""
    namespace: str = ""
    kind: Literal["Secret", "Service"] = "Service"
    name: str = ""

    def __str__(self) -> str:
        return f"source Secret {self.name}" if self.kind == "Secret" else f"source {self.source}"


NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class Credential:
    """`registry`: as the kubelet matches it (`ghcr.io`, `ghcr.io/acme`). `expires`: as the source has it. Without
    `namespaces`: for all of the owner's.
    """

    registry: str
    username: str
    password: str = field(repr=False)
    expires: datetime | None = None
    namespaces: tuple[str, ...] = ()
    origin: Origin = field(default=NOWHERE, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.registry or any(c.isspace() for c in self.registry):
            raise CredentialError("the registry is empty or has spaces; write a host such as ghcr.io")
        for name, value in (("username", self.username), ("password", self.password)):
            if not value:
                raise CredentialError(f"the {name} for {self.registry} is empty")
            if len(value) > MAX_VALUE_CHARS:
                raise CredentialError(f"the {name} for {self.registry} has more than {MAX_VALUE_CHARS} characters")
            if _CONTROL.search(value):
                raise CredentialError(
                    f"the {name} for {self.registry} contains a line break or another control character; "
                    "create it without one (printf, --from-literal)"
                )
        if ":" in self.username:
            raise CredentialError(f"the username for {self.registry} contains a colon, which HTTP Basic does not allow")

    @property
    def expiry(self) -> datetime | None:
        """From this time on it is written nowhere new. All other code about expiry uses this."""
        return self.expires

    def expired(self, now: datetime) -> bool:
        return self.expiry is not None and has_expired(self.expiry, now)


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Credentials:
    """One owner's. Empty: *known to have none*. If no source can answer, that is SourceUnavailable, never empty."""

    items: tuple[Credential, ...] = ()

    def usable_in(self, namespace: str) -> "Credentials":
        if all(not c.namespaces for c in self.items):
            return self
        return replace(self, items=tuple(c for c in self.items if not c.namespaces or namespace in c.namespaces))

    @property
    def weight(self) -> int:
        """Bytes of memory, approximately."""
        return 100 + sum(len(c.registry) + len(c.username) + len(c.password) + 400 for c in self.items)

    def next_expiry(self, now: datetime) -> datetime | None:
        return next_expiry((c.expiry for c in self.items if c.expiry is not None), now)

    def unexpired(self, now: datetime) -> "Credentials":
        return replace(self, items=tuple(c for c in self.items if not c.expired(now)))


def joined(parts: Iterable[Credentials]) -> Credentials:
    """Sorted by registry, and for one registry in the order of the parts."""
    return Credentials(tuple(sorted(chain.from_iterable(part.items for part in parts), key=lambda c: c.registry)))


def in_order(items: Iterable[Credential]) -> tuple[Credential, ...]:
    """Sorts those of one source, which may return them in any order. For one registry the last to expire is first."""

    def key(c: Credential) -> tuple[str, tuple[str, ...], float, str, str]:
        expiry = math.inf if c.expiry is None else c.expiry.timestamp()
        return c.registry, c.namespaces, -expiry, c.username, c.password

    return tuple(sorted(items, key=key))


def same(one: Credentials | None, other: Credentials) -> bool:
    """Equal, and from the same places."""
    return one == other and [c.origin for c in one.items] == [c.origin for c in other.items]


def has_expired(expiry: datetime, now: datetime) -> bool:
    return expiry <= now


def next_expiry(expiries: Iterable[datetime], now: datetime) -> datetime | None:
    return min((expiry for expiry in expiries if not has_expired(expiry, now)), default=None)
