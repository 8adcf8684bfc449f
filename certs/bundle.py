"""What the CA Secret holds, and the one next thing to do about it, as a total function of (data, published, time).

The Secret is laid out as cert-manager lays out a CA's: `ca.crt` has every certificate to trust, `tls.crt` and `tls.key`
are the pair that signs. An authority is replaced by publishing its successor before it is used:

1. After two thirds of its life a new one is made beside it, `next.crt` and `next.key`, and trusted in `ca.crt`.
2. `caBundle` is published, read back, and the time of that is noted in `next.confirmed`.
3. After a soak the next one becomes the one that signs. Nothing that is published changes with that.
4. The old certificate stays trusted until it ends: no leaf outlives its authority. Its key is gone since (3).

While no pair can sign (its key was lost, it ended) but old certificates are trusted, a new authority takes the same
way, and replicas go on with the leaves that they have; only one that has none is given a leaf by the next authority at
once. Whoever could plant a certificate there could as well have planted a whole pair. To distrust an authority at once,
delete the Secret: then nothing old is left to keep.

Each step holds whoever takes it and whenever; the next one is found by looking again. The Secret is the only memory.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from cryptography import x509

from certs.authority import SKEW, Authority, is_ca, is_issuer, is_whole
from certs.errors import Unusable
from certs.pair import Pair
from certs.pem import encode, readable

TRUSTED = "ca.crt"
SIGNING = "tls.crt", "tls.key"
NEXT = "next.crt", "next.key"
CONFIRMED = "next.confirmed"

SOAK = timedelta(hours=1)
"""Between reading back what was published and signing with it, less the difference of the clocks that note and compare.

An API server learns of a new `caBundle` by a watch, in milliseconds, or minutes after it has lost its connection. There
is no hurry: when a rotation begins, a third of the old authority's life is left.
"""

KEPT = 3
"""Certificates that are trusted besides those of the pairs, newest first: a bound, should the Secret break often."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`trusted`: newest first, with those of both authorities. At least one of these is there.

    `confirmed`: since when `following` is known to be part of what is published.
    """

    trusted: tuple[x509.Certificate, ...]
    signing: Authority | None
    following: Authority | None = None
    confirmed: datetime | None = None

    def __post_init__(self) -> None:
        own = [authority.certificate for authority in (self.signing, self.following) if authority]
        assert own
        assert all(certificate in self.trusted for certificate in own)

    @property
    def issuer(self) -> Authority:
        """Who gives a leaf to a replica that needs one now."""
        issuer = self.signing or self.following
        assert issuer
        return issuer

    def ca_bundle(self) -> bytes:
        """What to publish: what was read, not what is valid at the moment, so that all replicas publish the same."""
        return encode(*self.trusted)

    def data(self) -> dict[str, bytes]:
        data = {TRUSTED: self.ca_bundle()}
        for names, authority in ((SIGNING, self.signing), (NEXT, self.following)):
            if authority:
                data |= zip(names, authority.pem(), strict=True)
        if self.confirmed:
            data[CONFIRMED] = self.confirmed.astimezone(UTC).isoformat(timespec="seconds").encode()
        return data


@dataclass(frozen=True, slots=True)
class Use:
    """Nothing is left to do: all is published that has to be."""

    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Publish:
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Write:
    """`why`: one line for people."""

    bundle: Bundle
    why: str


Step = Use | Publish | Write


def step(
    data: Mapping[str, bytes] | None, published: bytes | None, now: datetime, create: Callable[[datetime], Authority]
) -> Step:
    """What to do about the Secret's data; None: there is no Secret.

    `published` is the `caBundle` as it was read before the Secret; None: nothing is installed that it could be part of.
    `create` is `Authority.create`.
    """
    if data is None:
        return _begin({}, "there was no CA", now, create)
    signing, why = _pair(data, SIGNING, now)
    following, why_not = _pair(data, NEXT, now)
    if not signing and not following:
        return _begin(data, why, now, create)
    trusted = _trusted(data, (signing, following), now)
    bundle = Bundle(trusted, signing, following, _confirmed(data, now) if following else None)
    if trusted != (found := readable(data.get(TRUSTED, b""))):
        lacked = "lacked a CA" if set(trusted) - set(found) else "held certificates that are over or no CA's"
        return Write(bundle, f"{TRUSTED} {lacked}")
    if not following and any(data.get(name) for name in NEXT):
        return Write(bundle, f"the next CA is dropped: {why_not}")
    if signing and not following and signing.due(now):
        new = create(now)
        why = f"the next CA is made, the one that signs ends at {signing.ends:%Y-%m-%d %H:%M} UTC"
        return Write(Bundle((new.certificate, *trusted), signing, new), why)
    return _published(bundle, published, now)


def _published(bundle: Bundle, published: bytes | None, now: datetime) -> Step:
    """What to do about a Secret that is in order."""
    following = bundle.following
    if published is None:
        return Use(bundle)
    if published != bundle.ca_bundle():
        if following and bundle.confirmed and following.certificate not in readable(published):
            return Write(replace(bundle, confirmed=None), "the next CA is no longer published")
        return Publish(bundle)
    if following and not bundle.confirmed:
        return Write(replace(bundle, confirmed=now), "the next CA is published")
    if following and bundle.confirmed and now - bundle.confirmed >= SOAK:
        return Write(Bundle(bundle.trusted, following), "the next CA signs from now on")
    return Use(bundle)


def _begin(data: Mapping[str, bytes], why: str, now: datetime, create: Callable[[datetime], Authority]) -> Write:
    """There is no authority that could sign. Without old certificates no leaf is left that a soak would be good for."""
    new, old = create(now), _trusted(data, (), now)
    trusted = (new.certificate, *old)
    return Write(Bundle(trusted, None, new) if old else Bundle(trusted, new), why)


def _pair(data: Mapping[str, bytes], names: tuple[str, str], now: datetime) -> tuple[Authority | None, str]:
    """The authority, or why there is none."""
    certificate, key = names
    try:
        return Authority.parse(data.get(certificate, b""), data.get(key, b""), now, names=names), ""
    except Unusable as e:
        return None, str(e)


def _trusted(
    data: Mapping[str, bytes], authorities: tuple[Authority | None, ...], now: datetime
) -> tuple[x509.Certificate, ...]:
    """What should be trusted: in the order in which it is, and all of it is if nothing is wrong.

    Certificates of pairs that cannot be used count too: leaves of theirs may be alive.
    """
    own = [authority.certificate for authority in authorities if authority]
    found = readable(data.get(TRUSTED, b""))
    held = readable(b"".join(data.get(name, b"") for name, _ in (NEXT, SIGNING)))
    every = tuple(dict.fromkeys((*(c for c in held if c not in found), *found)))
    others = [c for c in every if c not in own and _may_be_needed(c, now)][:KEPT]
    return tuple(c for c in every if c in own or c in others)


def _may_be_needed(certificate: x509.Certificate, now: datetime) -> bool:
    return is_ca(certificate) and is_whole(certificate) and now - SKEW < certificate.not_valid_after_utc


def _confirmed(data: Mapping[str, bytes], now: datetime) -> datetime | None:
    """None also for a time that is still to come: a clock was wrong when it was noted."""
    try:
        time = datetime.fromisoformat(data.get(CONFIRMED, b"").decode())
    except ValueError:
        return None
    return time if time.tzinfo == UTC and time <= now + SKEW else None


def stale(leaf: Pair | None, bundle: Bundle, now: datetime) -> bool:
    """Does this process need a new leaf? Also when another authority signs than did before.

    Not yet, while no authority signs and the leaf is good for the length of a soak.
    """
    if leaf is None or now < leaf.begins or not any(is_issuer(c, leaf.chain[0]) for c in bundle.trusted):
        return True
    if bundle.signing is None:
        return now >= leaf.ends - SOAK
    return leaf.due(now) or not bundle.signing.issued(leaf)
