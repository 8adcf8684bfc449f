"""The credentials of an owner, as values. A repr never shows the password."""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import chain
from typing import Literal

from webhook.core.errors import CredentialError
from webhook.core.shown import invisible, quoted

_CHOICE = r"\[!?[a-z0-9-]{1,40}\]"
_NAMESPACES = re.compile(rf"[a-z0-9*?](?:(?:[a-z0-9*?-]|{_CHOICE}){{0,61}}(?:[a-z0-9*?]|{_CHOICE}))?")
"""Names, and patterns as in a shell. One that begins with [ is rather a list."""
MAX_NAMESPACES = 100
"""Names and patterns that limit one credential."""
MAX_CREDENTIALS = 200
"""Credentials of one owner in one answer of a source, usable or not."""
MAX_VALUE_CHARS = 32 * 1024
"""Characters of a username or a password. The longest tokens, which contain a signed document, have a few thousand."""


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
class Refusal:
    """The registry refuses a credential. `why`: its status. `left_out`: of pull secrets. `held`: it would be, but the
    registry refuses so many others that this is rather its own fault. `single`: it would be, but the registry's other
    answer was no refusal.
    """

    why: str
    left_out: bool = False
    held: bool = False
    single: bool = False


@dataclass(frozen=True, slots=True)
class Credential:
    """`registry`: as the kubelet matches it (`ghcr.io`, `ghcr.io/acme`). `expires`: as the source has it. `namespaces`:
    names and patterns as in a shell; empty: all of the owner's. `copy_of`: the registry that it is for, if `registry`
    is another name under which it is written, too (mirror.py).
    """

    registry: str
    username: str
    password: str = field(repr=False)
    expires: datetime | None = None
    namespaces: tuple[str, ...] = ()
    origin: Origin = field(default=NOWHERE, compare=False, repr=False)
    refusal: Refusal | None = field(default=None, compare=False, repr=False)
    copy_of: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.registry or any(c.isspace() for c in self.registry):
            raise CredentialError("the registry is empty or has spaces; write a host such as ghcr.io")
        for name, value in (("username", self.username), ("password", self.password)):
            if problem := _problem(value):
                raise CredentialError(f"the {name} for {self.registry} {problem}")
        if ":" in self.username:
            raise CredentialError(f"the username for {self.registry} contains a colon, which HTTP Basic does not allow")

    @property
    def login(self) -> tuple[str, str]:
        return self.username, self.password

    @property
    def expiry(self) -> datetime | None:
        """From this time on it is written nowhere new. All other code about expiry uses this."""
        return self.expires

    def expired(self, now: datetime) -> bool:
        return self.expiry is not None and has_expired(self.expiry, now)

    @property
    def left_out(self) -> bool:
        """Because its registry refuses it."""
        return self.refusal is not None and self.refusal.left_out


def _problem(value: str) -> str:
    """Line breaks inside are legal: the key file of a Google service account is a password. It may end with one."""
    text = value.rstrip("\r\n")
    if not value:
        return "is empty"
    if len(value) > MAX_VALUE_CHARS:
        return f"has more than {MAX_VALUE_CHARS} characters"
    end = text if "\n" in text else value
    if end != end.strip():
        return "begins or ends with a line break or a space; create it without one (printf, --from-literal)"
    if invisible(value):
        return "contains an invisible character, such as a byte order mark or a no-break space; type it again"
    return ""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Credentials:
    """One owner's. Empty: *known to have none*. If no source can answer, that is SourceUnavailable, never empty."""

    items: tuple[Credential, ...] = ()
    any_refused: bool = field(init=False, compare=False, repr=False)
    """By its registry; a review has no time to look."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "any_refused", any(c.refusal is not None for c in self.items))

    def usable_in(self, namespace: str) -> "Credentials":
        if all(not c.namespaces for c in self.items):
            return self
        fits = {limit: _fits(namespace, limit) for limit in {c.namespaces for c in self.items}}
        return replace(self, items=tuple(c for c in self.items if fits[c.namespaces]))

    @property
    def accepted(self) -> "Credentials":
        """Without those that are left out because their registries refuse them."""
        if not any(c.left_out for c in self.items):
            return self
        return replace(self, items=tuple(c for c in self.items if not c.left_out))

    @property
    def weight(self) -> int:
        """Bytes of memory, approximately."""
        return 100 + sum(sum(map(weight, (c.registry, *c.login))) + 400 for c in self.items)

    def next_expiry(self, now: datetime) -> datetime | None:
        return next_expiry((c.expiry for c in self.items if c.expiry is not None), now)

    def unexpired(self, now: datetime) -> "Credentials":
        return replace(self, items=tuple(c for c in self.items if not c.expired(now)))


def _fits(namespace: str, limit: Sequence[str]) -> bool:
    return not limit or namespace in limit or any(fnmatchcase(namespace, one) for one in limit if {*one} & {*"*?["})


def limits(namespaces: Sequence[str]) -> tuple[str, ...]:
    """The namespaces in which a credential may be used. Raises CredentialError for what no namespace can be called."""
    if len(namespaces) > MAX_NAMESPACES:
        raise CredentialError(
            f"there are {len(namespaces):,} namespaces; at most {MAX_NAMESPACES} are read, use patterns"
        )
    for one in namespaces:
        if not _NAMESPACES.fullmatch(one):
            raise CredentialError(f"{quoted(one)} is no namespace; write names or patterns, as in team-a,team-b-*")
    return tuple(namespaces)


def weight(text: str) -> int:
    """Bytes of memory at most, and always the same: `sys.getsizeof` grows when a text is first encoded."""
    return len(text) if text.isascii() else 4 * len(text)


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
