"""What an issuer has minted for one owner, as the Secret that holds it says, and what is to be done next. Pure.

A credential is renewed at half of its life: an outage of the issuer as long as that does no harm. The one before stays
until it has ended by itself, because a node may be pulling with it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import msgspec

from webhook.core.names import EARLIER, EXPIRES, GENERATION, HANDLE, ISSUED
from webhook.core.times import in_utc

RENEWED_AT, SPREAD = 0.5, 0.1
"""The parts of its life after which a credential is renewed: from the first on, spread over the second by owner."""
LATE_AT = 0.75
"""The part of its life after which people are told that it is not renewed yet."""
SLACK = timedelta(minutes=2)
"""After its end, until a credential is taken away at the issuer: clocks differ, and registries allow a minute."""
MAX_EARLIER, MAX_HANDLE_CHARS = 20, 500
"""Replaced credentials that are remembered, and characters of what names one at the issuer."""
MAX_LIFE = timedelta(days=3650)
LONG_AGO, NEVER = datetime.fromtimestamp(0, UTC), datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Earlier:
    """A replaced credential that is not taken away yet. `ends`: until then it may be in use."""

    handle: str
    ends: datetime


@dataclass(frozen=True, slots=True)
class Issued:
    """`generation`: counts what was minted for this owner. `issued`, `ends`: on our clock. `handle`: names it at the
    issuer, to take it away; empty: it just ends.
    """

    generation: int
    issued: datetime
    ends: datetime
    handle: str = ""
    earlier: tuple[Earlier, ...] = ()

    def renewed_at(self, owner: str) -> datetime:
        return self.issued + (self.ends - self.issued) * (RENEWED_AT + SPREAD * _part(owner))

    def is_late(self, now: datetime) -> bool:
        return now >= self.issued + (self.ends - self.issued) * LATE_AT

    def followed_by(self, new: "Issued") -> "Issued":
        """`new`, which remembers this one."""
        earlier = (*self.earlier, *([Earlier(self.handle, self.ends)] if self.handle else ()))
        return replace(new, generation=self.generation + 1, earlier=earlier[-MAX_EARLIER:])

    def without(self, gone: Earlier) -> "Issued":
        return replace(self, earlier=tuple(one for one in self.earlier if one != gone))

    @property
    def annotations(self) -> dict[str, str]:
        texts = {ISSUED: _text(self.issued), EXPIRES: _text(self.ends), GENERATION: str(self.generation)}
        if self.handle:
            texts[HANDLE] = self.handle
        if self.earlier:
            texts[EARLIER] = _ENCODE([(one.handle, _text(one.ends)) for one in self.earlier]).decode()
        return texts


@dataclass(frozen=True, slots=True)
class IssuedBy:
    """For people: what an issuer noted about the credential that it minted; None: that cannot be read. `renewed`: from
    when on it is renewed; None: by no issuer of the configuration.
    """

    issuer: str
    generation: int | None = None
    issued: datetime | None = None
    renewed: datetime | None = None
    ends: datetime | None = None


def read_issued(annotations: Mapping[str, str]) -> Issued | None:
    """None: nobody can tell what it was; then the first one is minted again. Without the time at which it was issued it
    was long ago: the next one is minted at once, and this one is remembered.
    """
    try:
        generation, handle = int(annotations[GENERATION]), annotations.get(HANDLE, "")
        ends = in_utc(datetime.fromisoformat(annotations[EXPIRES]))
        issued = in_utc(datetime.fromisoformat(annotations[ISSUED])) if ISSUED in annotations else LONG_AGO
        earlier = _EARLIER.decode(annotations.get(EARLIER, "[]"))
        whole = tuple(Earlier(handle, in_utc(datetime.fromisoformat(at))) for handle, at in earlier)
    except (KeyError, ValueError, OverflowError, msgspec.MsgspecError):
        return None
    valid = 0 < generation < 10**9 and issued < ends and len(handle) <= MAX_HANDLE_CHARS
    # Nothing can be added to the last day that there is.
    valid = valid and all(at <= NEVER - MAX_LIFE for at in (ends, *(one.ends for one in whole)))
    return Issued(generation, issued, ends, handle, whole[-MAX_EARLIER:]) if valid else None


@dataclass(frozen=True, slots=True)
class Mint:
    """The next credential, with this generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class End:
    """A credential that has ended is taken away at the issuer."""

    gone: Earlier


@dataclass(frozen=True, slots=True)
class Remove:
    """The Secret: its owner has no namespace, and its credential has ended."""


@dataclass(frozen=True, slots=True)
class Wait:
    until: datetime


Step = Mint | End | Remove | Wait


def next_step(owner: str, found: Issued | None, now: datetime, *, exists: bool, wanted: bool) -> Step:
    """`found` None although the Secret `exists`: it cannot be read. `wanted`: the owner has a namespace."""
    if found is None:
        return Mint(1) if wanted else Remove() if exists else Wait(NEVER)
    renewed_at = found.renewed_at(owner)
    # From a time to come: a clock was wrong. Nobody knows whether it works, nor when it ends.
    if wanted and (now >= renewed_at or found.issued > now + SLACK):
        return Mint(found.generation + 1)
    for one in found.earlier:
        if now >= one.ends + SLACK:
            return End(one)
    ended = now >= found.ends + SLACK
    if not wanted and ended:
        return End(Earlier(found.handle, found.ends)) if found.handle else Remove()
    moments = [one.ends + SLACK for one in found.earlier]
    return Wait(min([*moments, renewed_at if wanted else found.ends + SLACK]))


def secret_name(issuer: str, owner: str) -> str:
    """One for each owner and issuer. Owners are any text, names of Secrets are not."""
    return f"issued-{issuer}-{hashlib.sha256(owner.encode()).hexdigest()[:16]}"


def _part(owner: str) -> float:
    """From 0 to 1, always the same for an owner: those who came together are not renewed together for ever."""
    return int.from_bytes(hashlib.sha256(b"renewal of " + owner.encode()).digest()[:4], "big") / 2**32


def _text(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


_ENCODE = msgspec.json.Encoder().encode
_EARLIER = msgspec.json.Decoder(list[tuple[str, str]])
