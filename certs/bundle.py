"""What the CA Secret holds, and the one next thing to do: a total function of (data, published, own leaf, time).

The Secret is laid out as cert-manager lays out a CA's: `ca.crt` has every certificate to trust, `tls.crt` and `tls.key`
are the pair that signs. An authority is replaced by publishing its successor before it is used:

1. After two thirds of its life a new one is made beside it, `next.crt` and `next.key`, and trusted in `ca.crt`.
2. `caBundle` is published, read back, and the time of that is noted in `next.confirmed`.
3. After a soak the next one becomes the one that signs. Nothing that is published changes with that.
4. The old certificate stays trusted until it ends: no leaf outlives its authority. Its key is gone since (3).

While no pair can sign (its key was lost, it ended) but old certificates are trusted, a new authority takes the same
way, and replicas go on with the leaves that they have; only one that has none is given a leaf by the next authority at
once. Whoever could plant a certificate there could as well have planted a whole pair.

A Secret that was deleted or replaced does not know the authority whose leaves are served. That one is relieved: its
certificate stays published beside the new authority, and is kept in `tls.crt`, without a key and not in `ca.crt`.
Replicas change their leaves `RELIEF` after the new authority was confirmed; after twice that time the new one signs,
and the old one is trusted no longer. So whoever distrusts an authority deletes the Secret, and to be faster empties the
`caBundle` too: with nothing else published the new authority signs at once.

The certificate that is relieved is never more than one, and is looked for in the `caBundle` alone. Only we and cluster
administrators write that, so nobody gets a certificate published in this way who could not publish it himself.

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

RELIEF = timedelta(minutes=5)
"""From the confirmation of an authority until the leaves of the one that it relieves change, and again until that one
is no longer published: short, as it may have to be distrusted.

An API server that has lost its watch notices that within a minute and a half (it and etcd's client send keep-alives),
and replicas look every minute.
"""

KEPT = 3
"""Certificates that are trusted besides those of the pairs, newest first: a bound, should the Secret break often."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`trusted`: newest first, with those of both authorities. At least one of these is there.

    `confirmed`: since when `following` is known to be part of what is published. `relieved`: who gave the leaves that
    are served, but is published only until `following` signs.
    """

    trusted: tuple[x509.Certificate, ...]
    signing: Authority | None
    following: Authority | None = None
    confirmed: datetime | None = None
    relieved: x509.Certificate | None = None

    def __post_init__(self) -> None:
        own = [authority.certificate for authority in (self.signing, self.following) if authority]
        assert own
        assert all(certificate in self.trusted for certificate in own)
        assert not self.relieved or (not self.signing and self.relieved not in self.trusted)

    @property
    def issuer(self) -> Authority:
        """Who gives a leaf to a replica that needs one now."""
        issuer = self.signing or self.following
        assert issuer
        return issuer

    @property
    def published(self) -> tuple[x509.Certificate, ...]:
        """What to publish: what was read, not what is valid at the moment, so that all replicas publish the same."""
        return (*self.trusted, self.relieved) if self.relieved else self.trusted

    def ca_bundle(self) -> bytes:
        return encode(*self.published)

    def soaked(self, time: timedelta, now: datetime) -> bool:
        """Has `following` been published for so long?"""
        return self.confirmed is not None and now - self.confirmed >= time

    def data(self) -> dict[str, bytes]:
        data = {TRUSTED: encode(*self.trusted)}
        if self.relieved:
            data[SIGNING[0]] = encode(self.relieved)
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
    data: Mapping[str, bytes] | None,
    published: bytes | None,
    leaf: Pair | None,
    now: datetime,
    create: Callable[[datetime], Authority],
) -> Step:
    """What to do about the Secret's data; None: there is no Secret.

    `published` is the `caBundle` as it was read before the Secret; None: nothing is installed that it could be part of.
    `leaf` is what this replica serves, `create` is `Authority.create`.
    """
    held = data or {}
    signing, why = _pair(held, SIGNING, now)
    following, why_not = _pair(held, NEXT, now)
    trusted = _trusted(held, (signing, following), now)
    relieved = None if signing else _relieved(held, trusted, now)
    public = readable(published or b"")
    known = (*trusted, relieved) if relieved else trusted
    forgotten = None if relieved in public else _forgotten(known, signing, public, leaf, now)
    if not signing and not following:
        return _begin(create(now), trusted, forgotten or relieved, "there was no CA" if data is None else why)
    if forgotten:
        why = "it held another CA than the one in use, which stays published until the new one signs"
        return Write(Bundle(trusted, None, following or signing, relieved=forgotten), why)
    bundle = Bundle(trusted, signing, following, _confirmed(held, now) if following else None, relieved)
    if trusted != (found := readable(held.get(TRUSTED, b""))):
        lacked = "lacked a CA" if set(trusted) - set(found) else "held certificates that are over or no CA's"
        return Write(bundle, f"{TRUSTED} {lacked}")
    if not following and any(held.get(name) for name in NEXT):
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
    if following and bundle.soaked(2 * RELIEF if bundle.relieved else SOAK, now):
        return Write(Bundle(bundle.trusted, following), "the next CA signs from now on")
    return Use(bundle)


def _begin(new: Authority, old: tuple[x509.Certificate, ...], relieved: x509.Certificate | None, why: str) -> Write:
    """There is no authority that could sign. Without old certificates no leaf is left that a soak would be good for."""
    trusted = (new.certificate, *old)
    if old or relieved:
        return Write(Bundle(trusted, None, new, relieved=relieved), why)
    return Write(Bundle(trusted, new), why)


def _relieved(
    data: Mapping[str, bytes], trusted: tuple[x509.Certificate, ...], now: datetime
) -> x509.Certificate | None:
    """The certificate without a key: one that is in `ca.crt` is not to go, its key was lost."""
    found = (c for c in readable(data.get(SIGNING[0], b"")) if c not in trusted and _may_be_needed(c, now))
    return next(found, None)


def _forgotten(
    known: tuple[x509.Certificate, ...],
    signing: Authority | None,
    published: tuple[x509.Certificate, ...],
    leaf: Pair | None,
    now: datetime,
) -> x509.Certificate | None:
    """Who is published and gave the leaf that is served, but is not known to the Secret, which is another one then.

    A replica without a leaf supposes that the newest one gave those of the others which has been there for long enough
    to sign. It supposes nothing when the newest of all signs: the others were taken out of the Secret on purpose.
    """
    found = [c for c in published if _may_be_needed(c, now)]
    if leaf:
        givers = [] if _vouched_for(leaf, known) else [c for c in found if is_issuer(c, leaf.chain[0])]
    elif signing and signing.certificate in found[:1]:
        givers = []
    else:
        old_enough = [c for c in found if c.not_valid_before_utc + SKEW + SOAK <= now]
        givers = [c for c in (old_enough[:1] or found[-1:]) if c not in known]
    return givers[0] if givers else None


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

    The next one's certificate counts also without its key: it may have given leaves already.
    """
    own = [authority.certificate for authority in authorities if authority]
    found = readable(data.get(TRUSTED, b""))
    held = (*readable(data.get(NEXT[0], b"")), *own)
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

    Not yet, while no authority signs and the leaf is good for the length of a soak, unless its own one is relieved.
    """
    if leaf is None or now < leaf.begins or not _vouched_for(leaf, bundle.published):
        return True
    if bundle.signing is None:
        relieved = bundle.relieved is not None and bundle.soaked(RELIEF, now)
        return now >= leaf.ends - SOAK or (relieved and not bundle.issuer.issued(leaf))
    return leaf.due(now) or not bundle.signing.issued(leaf)


def _vouched_for(leaf: Pair, certificates: tuple[x509.Certificate, ...]) -> bool:
    return any(is_issuer(certificate, leaf.chain[0]) for certificate in certificates)
