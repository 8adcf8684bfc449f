"""What the CA Secret holds, and the next step: a total function of the data, the published `caBundle`, the own leaf and
the time.

The Secret has the layout of a CA of cert-manager: `ca.crt` has all certificates to trust, `tls.crt` and `tls.key` are
the signing authority. Its successor is published before it is used:

1. After two thirds of its life the next one is created in `next.crt` and `next.key`, and added to `ca.crt`.
2. `caBundle` is published and read back, and the time of that is recorded in `next.confirmed`.
3. After a soak the next authority becomes the signing one. The published `caBundle` stays the same.
4. The old certificate stays trusted until it ends, because no leaf ends later than its authority. Its key is deleted
   in step 3.

If no authority can sign (its key is lost, or it has ended) but old certificates are trusted, a new authority takes the
same steps, and replicas keep their leaves. Only a replica without a leaf gets one from the next authority immediately.
This trusts the old certificates, but a client that can write them into the Secret can also write a whole authority.

A Secret that was deleted or replaced does not have the authority of the leaves in use. That authority is relieved: its
certificate stays published beside the new authority, and is kept in `tls.crt`, without a key and not in `ca.crt`. The
replicas replace their leaves `RELIEF` after the new authority is confirmed. After twice that time the new one signs,
and the old one is no longer trusted. So to distrust an authority, an administrator deletes the Secret. To be faster,
they also empty each `caBundle`: if nothing else is published, the new authority signs immediately.

The webhook configuration has several entries, each with its `caBundle`, and a replica serves one leaf to the callers of
all. They are published in one write. So they differ only if somebody has changed one, or an upgrade has brought a new
one. An entry without a certificate trusts nobody, so there is no leaf that it no longer accepts.

Only one certificate is relieved, and only from the `caBundle`. Only the webhook and cluster administrators write that,
so no other client can get a certificate published in this way.

Each step is correct whichever replica takes it, and at any time. The Secret is the only memory.
"""

from collections.abc import Callable, Collection, Mapping
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
"""From reading back the published `caBundle` until the next authority signs, give or take the clocks of two replicas.

An API server gets a new `caBundle` by a watch, in milliseconds, or in minutes if it has lost its connection. There is
time: when a rotation begins, a third of the old authority's life is left.
"""

RELIEF = timedelta(minutes=5)
"""From the confirmation of an authority until the leaves of the relieved one are replaced, and again until that one is
no longer published. Short, because an administrator may want to distrust it.

An API server notices within a minute and a half that it has lost its watch (it and etcd's client send keep-alives), and
replicas look every minute.
"""

KEPT = 3
"""Trusted certificates besides those of the authorities, the newest first: a limit, in case the Secret breaks often."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """`trusted`: the newest first, with those of both authorities, of which at least one exists.

    `confirmed`: since when `following` is known to be published. `relieved`: the authority of the leaves in use, which
    is published only until `following` signs.
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
        """The authority that signs a leaf now."""
        issuer = self.signing or self.following
        assert issuer
        return issuer

    @property
    def published(self) -> tuple[x509.Certificate, ...]:
        """All that was read, not only what is valid at the moment: so all replicas publish the same."""
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
    """Nothing is left to do."""

    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Publish:
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Write:
    """`why`: one line for the log."""

    bundle: Bundle
    why: str


Step = Use | Publish | Write


def step(
    data: Mapping[str, bytes] | None,
    published: Collection[bytes] | None,
    leaf: Pair | None,
    now: datetime,
    create: Callable[[datetime], Authority],
) -> Step:
    """The next step. `data`: of the Secret; None: it does not exist.

    `published`: the `caBundle` of each entry, read before the Secret; None: there is no webhook configuration. `leaf`:
    what this replica serves. `create`: `Authority.create`.
    """
    held = data or {}
    signing, why = _pair(held, SIGNING, now)
    following, why_not = _pair(held, NEXT, now)
    trusted = _trusted(held, (signing, following), now)
    relieved = None if signing else _relieved(held, trusted, now)
    public = trusted_anywhere(published or ())
    known = (*trusted, relieved) if relieved else trusted
    forgotten = None if relieved in public else _forgotten(known, signing, public, leaf, now)
    if not signing and not following:
        return _begin(create(now), trusted, forgotten or relieved, "it did not exist" if data is None else why)
    if forgotten:
        why = "it held another CA than the one in use; the CA in use stays published until the new one signs"
        return Write(Bundle(trusted, None, following or signing, relieved=forgotten), why)
    bundle = Bundle(trusted, signing, following, _confirmed(held, now) if following else None, relieved)
    if trusted != (found := readable(held.get(TRUSTED, b""))):
        missing = set(trusted) - set(found)
        problem = "lacked a CA" if missing else "held certificates that have expired or are not CA certificates"
        return Write(bundle, f"{TRUSTED} {problem}")
    if not following and any(held.get(name) for name in NEXT):
        return Write(bundle, f"the next CA was removed: {why_not}")
    if signing and not following and signing.due(now):
        new = create(now)
        why = f"the next CA was created; the present one expires at {signing.ends:%Y-%m-%d %H:%M} UTC"
        return Write(Bundle((new.certificate, *trusted), signing, new), why)
    return _published(bundle, published, now)


def trusted_anywhere(published: Collection[bytes]) -> tuple[x509.Certificate, ...]:
    """By at least one entry, in the order of the entries."""
    return tuple(dict.fromkeys(certificate for one in published for certificate in readable(one)))


def trusted_everywhere(published: Collection[bytes]) -> tuple[x509.Certificate, ...]:
    """By each entry that trusts somebody."""
    found = [certificates for one in published if (certificates := readable(one))]
    return tuple(c for c in found[0] if all(c in other for other in found)) if found else ()


def _published(bundle: Bundle, published: Collection[bytes] | None, now: datetime) -> Step:
    """The next step for a Secret that is in order."""
    following = bundle.following
    if published is None:
        return Use(bundle)
    wanted = bundle.ca_bundle()
    if any(one != wanted for one in published):
        if following and bundle.confirmed and following.certificate not in trusted_everywhere(published):
            return Write(replace(bundle, confirmed=None), "the next CA is no longer published")
        return Publish(bundle)
    if following and not bundle.confirmed:
        return Write(replace(bundle, confirmed=now), "the next CA is published")
    if following and bundle.soaked(2 * RELIEF if bundle.relieved else SOAK, now):
        return Write(Bundle(bundle.trusted, following), "the next CA signs from now on")
    return Use(bundle)


def _begin(new: Authority, old: tuple[x509.Certificate, ...], relieved: x509.Certificate | None, why: str) -> Write:
    """No authority can sign. Without old certificates no leaf is valid, so the new one signs without a soak."""
    trusted = (new.certificate, *old)
    if old or relieved:
        return Write(Bundle(trusted, None, new, relieved=relieved), why)
    return Write(Bundle(trusted, new), why)


def _relieved(
    data: Mapping[str, bytes], trusted: tuple[x509.Certificate, ...], now: datetime
) -> x509.Certificate | None:
    """The certificate without a key. One that is also in `ca.crt` is not relieved: only its key was lost."""
    found = (c for c in readable(data.get(SIGNING[0], b"")) if c not in trusted and _may_be_needed(c, now))
    return next(found, None)


def _forgotten(
    known: tuple[x509.Certificate, ...],
    signing: Authority | None,
    published: tuple[x509.Certificate, ...],
    leaf: Pair | None,
    now: datetime,
) -> x509.Certificate | None:
    """The published authority of the leaf in use, if the Secret does not know it: then the Secret was replaced.

    A replica without a leaf assumes that the leaves of the others are from the newest authority that is old enough to
    sign. If the newest one of all signs, there is none: the others were removed from the Secret on purpose.
    """
    found = [c for c in published if _may_be_needed(c, now)]
    if leaf:
        issuers = [] if _trusts(known, leaf) else [c for c in found if is_issuer(c, leaf.chain[0])]
    elif signing and signing.certificate in found[:1]:
        issuers = []
    else:
        old_enough = [c for c in found if c.not_valid_before_utc + SKEW + SOAK <= now]
        issuers = [c for c in (old_enough[:1] or found[-1:]) if c not in known]
    return issuers[0] if issuers else None


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
    """What `ca.crt` should have, in its present order.

    The next authority's certificate counts even if its key is lost: it may already have signed leaves.
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
    """None also for a time in the future: a clock was wrong when it was recorded."""
    try:
        time = datetime.fromisoformat(data.get(CONFIRMED, b"").decode())
    except ValueError:
        return None
    return time if time.tzinfo == UTC and time <= now + SKEW else None


def stale(leaf: Pair | None, bundle: Bundle, now: datetime) -> bool:
    """Does this process need a new leaf? Yes also if the signing authority has changed.

    While no authority signs, a leaf stays until `SOAK` before its end, unless its authority is relieved.
    """
    if leaf is None or now < leaf.begins or not _trusts(bundle.published, leaf):
        return True
    if bundle.signing is None:
        relieved = bundle.relieved is not None and bundle.soaked(RELIEF, now)
        return now >= leaf.ends - SOAK or (relieved and not bundle.issuer.issued(leaf))
    return leaf.due(now) or not bundle.signing.issued(leaf)


def _trusts(certificates: tuple[x509.Certificate, ...], leaf: Pair) -> bool:
    return any(is_issuer(certificate, leaf.chain[0]) for certificate in certificates)
