"""The keys and certificates of one test cluster or registry: a certificate authority in memory, leaves in files."""

import datetime as dt
from dataclasses import dataclass
from pathlib import Path

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Pair:
    certificate: Path
    key: Path


class Pki:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._ca = trustme.CA(organization_name="test cluster")
        self.ca = folder / "ca.crt"
        self._ca.cert_pem.write_to_path(str(self.ca))

    def server(self, name: str, *hosts: str, days: tuple[int, int] | None = None) -> Pair:
        """A serving certificate for these DNS names and addresses. `days` from now on which it begins and ends."""
        now = dt.datetime.now(dt.UTC)
        begins, ends = (now + dt.timedelta(days=day) for day in days) if days else (None, None)
        leaf = self._ca.issue_cert(*hosts, not_before=begins, not_after=ends)
        return self._write(name, leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes())

    def client(self, file: str, user: str, groups: tuple[str, ...] = ()) -> Pair:
        """A client certificate: the API server reads the user from the common name, the groups from the organisations.

        Signed here because trustme writes exactly one organisation, and a subject alternative name that Go's
        verifier refuses when it is empty."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(_name(user, groups), key.public_key())
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        return self._write(file, certificate.public_bytes(Encoding.PEM), pem)

    def _sign(self, subject: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(x509.load_pem_x509_certificate(self._ca.cert_pem.bytes()).subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(days=30))
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        )
        authority = load_pem_private_key(self._ca.private_key_pem.bytes(), password=None)
        assert isinstance(authority, ec.EllipticCurvePrivateKey)
        return builder.sign(authority, hashes.SHA256())

    def _write(self, name: str, certificate: bytes, key: bytes) -> Pair:
        pair = Pair(self._folder / f"{name}.crt", self._folder / f"{name}.key")
        pair.certificate.write_bytes(certificate)
        pair.key.touch(mode=0o600)
        pair.key.write_bytes(key)
        return pair


def _name(user: str, groups: tuple[str, ...]) -> x509.Name:
    organisations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organisations, x509.NameAttribute(NameOID.COMMON_NAME, user)])
