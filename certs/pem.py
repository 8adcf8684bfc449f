"""Reads and writes PEM. The input may be anything. `name`: of the file or of the Secret's key, for messages."""

import re

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from certs.errors import Unusable

BROKEN = (ValueError, x509.InvalidVersion)
"""What the parser of certificates may raise."""

_BEGIN = b"-----BEGIN CERTIFICATE-----"
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
"""Base64 has no hyphen. If the pattern allowed one, the search would be quadratic in the number of BEGIN lines."""


def certificates(data: bytes, name: str) -> tuple[x509.Certificate, ...]:
    """All certificates in `data`, at least one. Text around them is ignored (RFC 7468, section 2).

    An incomplete last one is an error: the file is being written, and OpenSSL would ignore it.
    """
    if not data.strip():
        raise Unusable(f"{name} is empty")
    if not _BLOCK.search(data):
        raise Unusable(f"{name} holds no PEM certificate")
    if _BEGIN in _BLOCK.sub(b"", data):
        raise Unusable(f"{name} ends within a certificate")
    try:
        return tuple(x509.load_pem_x509_certificates(data))
    except BROKEN:
        raise Unusable(f"{name} holds a certificate that cannot be parsed") from None


def readable(data: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates in `data` that can be parsed, each once."""
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
        raise Unusable(f"{name} holds a key of an unsupported type") from None
    except ValueError:
        raise Unusable(f"{name} holds no PEM private key that can be parsed") from None


def encode(*chain: x509.Certificate) -> bytes:
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in chain)


def encode_key(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
