"""PEM in and out. What comes in may be anything: `name` is the file or the Secret's key that a message blames."""

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from certs.errors import Unusable

BROKEN = (ValueError, x509.InvalidVersion)
"""What reading a certificate, or a part of it that is parsed late, may raise."""

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
"""Base64 has no hyphen. If one were allowed, the end of each of many beginnings would be sought in all of the rest."""


def certificates(data: bytes, name: str) -> tuple[x509.Certificate, ...]:
    """All certificates in `data`, at least one. Text around them is ignored (RFC 7468, section 2).

    A last one that breaks off is no text: the file is being written, and OpenSSL would leave it out.
    """
    if not data.strip():
        raise Unusable(f"{name} is empty")
    if not _BLOCK.search(data):
        raise Unusable(f"{name} holds no PEM certificate")
    if _BEGIN in _BLOCK.sub(b"", data):
        raise Unusable(f"{name} breaks off within a certificate")
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except BROKEN:
        raise Unusable(f"{name} holds a certificate that does not parse") from None


def readable(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in `data` that parse, each once; the rest is left out."""
    found: dict[x509.Certificate, None] = {}
    for block in _BLOCK.findall(data):
        try:
            found[x509.load_pem_x509_certificate(block)] = None
        except BROKEN:
            continue
    return tuple(found)


def private_key(data: bytes, name: str) -> PrivateKeyTypes:
    if not data.strip():
        raise Unusable(f"{name} is empty")
    try:
        return load_pem_private_key(data, password=None)
    except TypeError:
        raise Unusable(f"{name} is encrypted; a key without a passphrase is needed") from None
    except UnsupportedAlgorithm:
        raise Unusable(f"{name} holds a kind of key that is not supported") from None
    except ValueError:
        raise Unusable(f"{name} holds no PEM private key that parses") from None


def encode(*chain: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def encode_key(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
