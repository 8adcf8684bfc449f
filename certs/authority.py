"""The webhook's own certificate authority, as RFC 5280 and Go's verifier (the API server) require it.

It may sign server certificates, but no other authority (path length 0). All authorities have the same name; while two
are trusted, subject and authority key identifiers (RFC 5280, 4.2.1.1 and 4.2.1.2) distinguish them.
"""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Self, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from certs.errors import Unusable
from certs.pair import Pair, due, require_match
from certs.pem import certificates, encode, encode_key, private_key

CA_LIFE = timedelta(days=365)
LEAF_LIFE = timedelta(days=7)

SKEW = timedelta(hours=1)
"""How much clocks may differ. Certificates begin so long in the past: for verifiers with a slow clock, and so that a
replica with a slow clock does not replace what another replica has just created."""

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)

_NAME = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "pullsecret-webhook CA")])


@dataclass(frozen=True, slots=True)
class Authority:
    """Raises `Unusable` when the key does not match, or when the certificate is not that of a self-signed CA."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False, compare=False)

    def __post_init__(self) -> None:
        require_match(self.certificate, self.key)
        if not is_ca(self.certificate):
            raise Unusable("the certificate is not a CA certificate")
        if _extension(self.certificate, x509.SubjectKeyIdentifier) is None:
            raise Unusable("the CA certificate has no subject key identifier")
        if not is_whole(self.certificate):
            raise Unusable("the CA certificate is not signed by its own key")

    @classmethod
    def create(cls, now: datetime) -> Self:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_NAME, _NAME, key.public_key()).not_valid_before(now - SKEW)
        builder = builder.not_valid_after(now + CA_LIFE)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_usage(key_cert_sign=True), critical=True)
        return cls(builder.sign(key, SHA256()), key)

    @classmethod
    def parse(cls, certificate: bytes, key: bytes, now: datetime, *, names: tuple[str, str]) -> Self:
        """From PEM. `names`: of the certificate and the key, for messages. Raises `Unusable` with the reason."""
        first = certificates(certificate, names[0])[0]
        secret = private_key(key, names[1])
        if not isinstance(secret, ec.EllipticCurvePrivateKey):
            raise Unusable(f"{names[1]} is not an EC key")
        authority = cls(first, secret)
        if now >= authority.ends:
            raise Unusable(f"{names[0]} expired at {authority.ends:%Y-%m-%d %H:%M} UTC")
        if now < first.not_valid_before_utc:
            raise Unusable(f"{names[0]} is not valid before {first.not_valid_before_utc:%Y-%m-%d %H:%M} UTC")
        return authority

    @property
    def ends(self) -> datetime:
        return self.certificate.not_valid_after_utc

    def due(self, now: datetime) -> bool:
        return due(self.certificate, now)

    def issue(self, hosts: Sequence[str], now: datetime) -> Pair:
        """A server certificate for these DNS names and IP addresses. It ends no later than the authority.

        The subject is empty, because clients ignore common names; so subjectAltName is critical (RFC 5280, 4.2.1.6).
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(x509.Name([]), self.certificate.subject, key.public_key()).not_valid_before(now - SKEW)
        builder = builder.not_valid_after(min(now + LEAF_LIFE, self.ends))
        builder = builder.add_extension(_alternative_names(hosts), critical=True)
        builder = builder.add_extension(_usage(digital_signature=True), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        builder = builder.add_extension(self._identifier(), critical=False)
        return Pair((builder.sign(self.key, SHA256()),), key)

    def issued(self, pair: Pair) -> bool:
        return is_issuer(self.certificate, pair.chain[0])

    def pem(self) -> tuple[bytes, bytes]:
        """The certificate and the *private key*."""
        return encode(self.certificate), encode_key(self.key)

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        own = _extension(self.certificate, x509.SubjectKeyIdentifier)
        assert own is not None
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def is_issuer(certificate: x509.Certificate, of: x509.Certificate) -> bool:
    try:
        of.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def is_ca(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def is_whole(certificate: x509.Certificate) -> bool:
    """Is it signed by its own key? Then nothing in it was altered."""
    return is_issuer(certificate, certificate)


def _extension(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """None also when it cannot be parsed: a certificate that parses may have broken extensions."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        return None


def _builder(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _usage(*, digital_signature: bool = False, key_cert_sign: bool = False) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=key_cert_sign,
        crl_sign=False,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(hosts: Sequence[str]) -> x509.SubjectAlternativeName:
    if not hosts or not all(hosts):
        raise ValueError("a server certificate needs at least one host name or IP address, and none may be empty")
    return x509.SubjectAlternativeName([_general_name(host) for host in hosts])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
