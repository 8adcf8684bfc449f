"""A certificate chain and its private key."""

from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from certs.errors import Unusable
from certs.pem import encode, encode_key


@dataclass(frozen=True, slots=True)
class Pair:
    """`chain`: the server's certificate, then intermediate ones, if any.

    Raises `Unusable` when the key does not match. Pairs with equal chains are equal: the certificate fixes the key.
    """

    chain: tuple[x509.Certificate, ...]
    key: PrivateKeyTypes = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        require_match(self.chain[0], self.key)

    @property
    def begins(self) -> datetime:
        return self.chain[0].not_valid_before_utc

    @property
    def ends(self) -> datetime:
        return self.chain[0].not_valid_after_utc

    def due(self, now: datetime) -> bool:
        return due(self.chain[0], now)

    def pem(self) -> bytes:
        """Chain and *private key*, as OpenSSL reads them from one file."""
        return encode(*self.chain) + encode_key(self.key)


def due(certificate: x509.Certificate, now: datetime) -> bool:
    """Is it time for a new one? After two thirds of its life, so that a third is left if the renewal fails."""
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    return now >= begins + (ends - begins) * 2 / 3


def require_match(certificate: x509.Certificate, key: PrivateKeyTypes) -> None:
    try:
        matches = certificate.public_key() == key.public_key()
    except (UnsupportedAlgorithm, ValueError):
        raise Unusable("the certificate is for a key of an unsupported type") from None
    if not matches:
        raise Unusable("the private key does not belong to the certificate")
