"""The authority and what it issues, as RFC 5280 sees it. OpenSSL's opinion: test_serving.py."""

import base64
import ipaddress
import traceback
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID

from certs.authority import CA_LIFE, LEAF_LIFE, SKEW, Authority
from certs.errors import Unusable
from certs.pair import Pair
from certs.pem import encode, encode_key

Verifies = Callable[[Pair, bytes, str, datetime], bool]

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOST = "pullsecret-webhook.pullsecret-system.svc"

CA = Authority.create(NOW)
CERT, KEY = CA.pem()
LEAF = CA.issue([HOST], NOW)


def test_a_leaf_verifies_for_its_hosts_while_it_lives(verifies: Verifies) -> None:
    leaf = CA.issue([HOST, "webhook.example"], NOW)

    assert verifies(leaf, CERT, HOST, NOW)
    assert verifies(leaf, CERT, "webhook.example", NOW)
    assert verifies(leaf, CERT, HOST, NOW - SKEW)
    assert verifies(leaf, CERT, HOST, NOW + LEAF_LIFE)
    assert not verifies(leaf, CERT, HOST, NOW - SKEW - timedelta(seconds=1))
    assert not verifies(leaf, CERT, HOST, NOW + LEAF_LIFE + timedelta(seconds=1))
    assert not verifies(leaf, CERT, "other.example", NOW)
    assert not verifies(leaf, Authority.create(NOW).pem()[0], HOST, NOW)


def test_authorities_of_the_same_name_are_told_apart(verifies: Verifies) -> None:
    other = Authority.create(NOW)
    both = encode(other.certificate, CA.certificate)

    assert verifies(LEAF, both, HOST, NOW)
    assert verifies(other.issue([HOST], NOW), both, HOST, NOW)
    assert CA.issued(LEAF)
    assert not other.issued(LEAF)


def test_the_authority_signs_servers_and_nothing_else() -> None:
    extensions = CA.certificate.extensions
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)

    assert (constraints.critical, constraints.value) == (True, x509.BasicConstraints(ca=True, path_length=0))
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    assert CA.ends == NOW + CA_LIFE


def test_the_leaf_is_a_servers_and_no_authority() -> None:
    certificate = LEAF.chain[0]
    extensions = certificate.extensions
    names = extensions.get_extension_for_class(x509.SubjectAlternativeName)
    ca_id = CA.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest

    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert (names.critical, len(certificate.subject)) == (True, 0)  # RFC 5280, 4.2.1.6: one makes the other so
    assert list(extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert extensions.get_extension_for_class(x509.KeyUsage).value.digital_signature
    assert extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier == ca_id
    with pytest.raises(x509.ExtensionNotFound):
        extensions.get_extension_for_class(x509.BasicConstraints)
    with pytest.raises(Unusable, match="the certificate is not a CA certificate"):
        Authority(certificate, LEAF.key)  # type: ignore[arg-type]


def test_hosts_are_dns_names_and_addresses() -> None:
    leaf = CA.issue([HOST, "127.0.0.1", "fd00::1"], NOW)
    names = leaf.chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    assert names.get_values_for_type(x509.DNSName) == [HOST]
    assert names.get_values_for_type(x509.IPAddress) == [
        ipaddress.ip_address("127.0.0.1"),
        ipaddress.ip_address("fd00::1"),
    ]


@pytest.mark.parametrize("hosts", [[], [""], [HOST, ""]])
def test_a_leaf_for_nobody_is_a_mistake(hosts: list[str]) -> None:
    with pytest.raises(ValueError, match="needs at least one host"):
        CA.issue(hosts, NOW)


def test_a_leaf_never_outlives_its_authority() -> None:
    late = CA.ends - timedelta(days=1)

    assert CA.issue([HOST], late).ends == CA.ends
    assert LEAF.ends == NOW + LEAF_LIFE


def test_a_leaf_is_due_after_two_thirds_of_its_life() -> None:
    due = LEAF.begins + (LEAF.ends - LEAF.begins) * 2 / 3

    assert not LEAF.due(due - timedelta(seconds=1))
    assert LEAF.due(due)
    assert LEAF.due(LEAF.ends + timedelta(days=99))


def test_parse_is_the_inverse_of_pem() -> None:
    parsed = Authority.parse(CERT, KEY, NOW, names=("tls.crt", "tls.key"))

    assert parsed == CA
    assert parsed.pem() == (CERT, KEY)


def test_of_several_certificates_the_first_is_the_authoritys() -> None:
    both = CERT + Authority.create(NOW).pem()[0]

    assert Authority.parse(both, KEY, NOW, names=("tls.crt", "tls.key")) == CA


def test_an_authority_of_a_maker_whose_clock_is_ahead_is_used() -> None:
    assert Authority.parse(CERT, KEY, NOW - SKEW, names=("tls.crt", "tls.key")) == CA


def test_one_that_no_client_accepts_yet_is_refused() -> None:
    with pytest.raises(Unusable, match=r"^tls.crt is not valid before 2026-11-23 11:00 UTC$"):
        Authority.parse(CERT, KEY, NOW - SKEW - timedelta(seconds=1), names=("tls.crt", "tls.key"))


def test_an_authority_is_due_after_two_thirds_of_its_life() -> None:
    due = NOW - SKEW + (CA_LIFE + SKEW) * 2 / 3

    assert not CA.due(due - timedelta(seconds=1))
    assert CA.due(due)


def signed_by_another() -> bytes:
    """As a whole one looks when a bit of it has turned over."""
    other = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder().subject_name(CA.certificate.subject).issuer_name(CA.certificate.subject)
    builder = builder.public_key(CA.key.public_key()).serial_number(1).not_valid_before(NOW).not_valid_after(CA.ends)
    for extension in CA.certificate.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    return encode(builder.sign(other, SHA256()))


def without_identifier() -> bytes:
    key = CA.key
    builder = x509.CertificateBuilder().subject_name(CA.certificate.subject).issuer_name(CA.certificate.subject)
    builder = builder.public_key(key.public_key()).serial_number(1).not_valid_before(NOW).not_valid_after(CA.ends)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    return encode(builder.sign(key, SHA256()))


ENCRYPTED = CA.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
RSA = encode_key(rsa.generate_private_key(65537, 2048))
OTHER_KEY = encode_key(ec.generate_private_key(ec.SECP256R1()))
BROKEN_CERT = CERT.replace(CERT.splitlines()[3], b"A" * 64)

P256, P239 = bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030106")
"""The object identifiers of the curve that we use and of one that nobody supports."""


V3, V4 = bytes.fromhex("a003020102"), bytes.fromhex("a003020103")
"""The version field of a certificate, and of one that does not exist."""


def replaced(pem: bytes, old: bytes, new: bytes) -> bytes:
    first, *lines, last = pem.splitlines()
    der = base64.b64decode(b"".join(lines))
    assert old in der
    return b"\n".join([first, base64.b64encode(der.replace(old, new)), last])


UNUSABLE = {
    "empty certificate": (b"", KEY, "tls.crt is empty"),
    "blank certificate": (b" \n", KEY, "tls.crt is empty"),
    "empty key": (CERT, b"", "tls.key is empty"),
    "garbage for a certificate": (b"\x00\xff", KEY, "tls.crt holds no PEM certificate"),
    "swapped": (KEY, CERT, "tls.crt holds no PEM certificate"),
    "certificate cut off": (CERT[:200], KEY, "tls.crt holds no PEM certificate"),
    "certificate overwritten": (BROKEN_CERT, KEY, "tls.crt holds a certificate that cannot be parsed"),
    "certificate no base64": (CERT.replace(b"MII", b"!!!"), KEY, "tls.crt holds a certificate that cannot be parsed"),
    "garbage for a key": (CERT, b"\x00\xff", "tls.key holds no PEM private key that can be parsed"),
    "certificate for a key": (CERT, CERT, "tls.key holds no PEM private key that can be parsed"),
    "key cut off": (CERT, KEY[:100], "tls.key holds no PEM private key that can be parsed"),
    "key encrypted": (CERT, ENCRYPTED, "tls.key is encrypted; a key without a passphrase is needed"),
    "key of another kind": (CERT, RSA, "tls.key is not an EC key"),
    "key on another curve": (CERT, replaced(KEY, P256, P239), "tls.key holds a key of an unsupported type"),
    "certificate on another curve": (
        replaced(CERT, P256, P239),
        KEY,
        "the certificate is for a key of an unsupported type",
    ),
    "key of another": (CERT, OTHER_KEY, "the private key does not belong to the certificate"),
    "leaf": (encode(*LEAF.chain), encode_key(LEAF.key), "the certificate is not a CA certificate"),
    "signed by another": (signed_by_another(), KEY, "the CA certificate is not signed by its own key"),
    "another version": (replaced(CERT, V3, V4), KEY, "tls.crt holds a certificate that cannot be parsed"),
    "no identifier": (without_identifier(), KEY, "the CA certificate has no subject key identifier"),
}


@pytest.mark.parametrize(("certificate", "key", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_what_cannot_be_used_is_refused_with_a_reason(certificate: bytes, key: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as refusal:
        Authority.parse(certificate, key, NOW, names=("tls.crt", "tls.key"))

    assert str(refusal.value) == reason
    told = "".join(traceback.format_exception(refusal.value))
    assert not [line for line in key.splitlines() if len(line) > 40 and line.decode() in told]


def test_an_expired_authority_is_refused() -> None:
    with pytest.raises(Unusable, match=r"^tls.crt expired at 2027-11-23 12:00 UTC$"):
        Authority.parse(CERT, KEY, CA.ends, names=("tls.crt", "tls.key"))
