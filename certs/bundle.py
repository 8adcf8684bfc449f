"""What the CA Secret holds, and what should be done about it, as total functions of (data, time).

The Secret is laid out as cert-manager lays out a CA's: `ca.crt` has every certificate to trust, `tls.crt` and `tls.key`
are the pair that signs. Any number of authorities may be trusted, one signs.

A Secret that can't be used gets a new authority. The old certificates that still parse stay trusted: for up to a minute
other replicas go on with leaves that were signed by them, and whoever could plant a certificate there could as well
have planted a whole pair. To distrust an authority at once, delete the Secret: then nothing old is left to keep.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509

from certs.authority import LEAF_LIFE, Authority, is_ca
from certs.errors import Unusable
from certs.pair import Pair
from certs.pem import encode, readable

TRUSTED, CERTIFICATE, KEY = "ca.crt", "tls.crt", "tls.key"

KEPT = 3
"""Old certificates that are kept, newest first: a bound, in case the Secret is broken again and again."""


@dataclass(frozen=True, slots=True)
class Bundle:
    """The authority that signs, and others that are trusted besides it."""

    authority: Authority
    others: tuple[x509.Certificate, ...] = ()

    def ca_bundle(self) -> bytes:
        """What to publish: what was read, not what is valid at the moment, so that all replicas publish the same."""
        return encode(self.authority.certificate, *self.others)

    def data(self) -> dict[str, bytes]:
        certificate, key = self.authority.pem()
        return {TRUSTED: self.ca_bundle(), CERTIFICATE: certificate, KEY: key}


@dataclass(frozen=True, slots=True)
class Use:
    bundle: Bundle


@dataclass(frozen=True, slots=True)
class Write:
    """`why`: one line for people."""

    bundle: Bundle
    why: str


Step = Use | Write


def step(data: Mapping[str, bytes] | None, now: datetime, create: Callable[[datetime], Authority]) -> Step:
    """What to do about the Secret's data; None: there is no Secret. `create` is `Authority.create`.

    An authority is replaced while it can still sign a leaf of full life, so that no leaf has to end early.
    """
    if data is None:
        return Write(Bundle(create(now)), "there was no CA")
    trusted = readable(data.get(TRUSTED, b""))
    try:
        authority = Authority.parse(data.get(CERTIFICATE, b""), data.get(KEY, b""), now, names=(CERTIFICATE, KEY))
    except Unusable as e:
        return Write(Bundle(create(now), _kept(data, now)), str(e))
    if authority.ends - now < LEAF_LIFE:
        return Write(Bundle(create(now), _kept(data, now)), f"the CA ends at {authority.ends:%Y-%m-%d %H:%M} UTC")
    others = tuple(certificate for certificate in trusted if certificate != authority.certificate)
    bundle = Bundle(authority, others)
    return Use(bundle) if len(others) < len(trusted) else Write(bundle, f"{TRUSTED} lacked the CA that signs")


def _kept(data: Mapping[str, bytes], now: datetime) -> tuple[x509.Certificate, ...]:
    old = readable(data.get(CERTIFICATE, b"") + data.get(TRUSTED, b""))
    return tuple(c for c in old if is_ca(c) and now < c.not_valid_after_utc)[:KEPT]


def stale(leaf: Pair | None, bundle: Bundle, now: datetime) -> bool:
    """Does this process need a new leaf? Also when another authority signs than did before."""
    return leaf is None or leaf.due(now) or not bundle.authority.issued(leaf)
