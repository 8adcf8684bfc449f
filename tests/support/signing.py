"""Key files as an administrator makes them."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, SECP384R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

from certs.pem import encode_key
from webhook.issuers.registry.signingkeys import jwks, read_key

Kind = Literal["ed25519", "p256", "p384"]
_MADE: Mapping[Kind, Callable[[], PrivateKeyTypes]] = {
    "ed25519": Ed25519PrivateKey.generate,
    "p256": lambda: generate_private_key(SECP256R1()),
    "p384": lambda: generate_private_key(SECP384R1()),
}


def key_file(file: Path, kind: Kind = "ed25519") -> str:
    file.write_bytes(encode_key(_MADE[kind]()))
    return str(file)


def public_file(file: Path, *keys: str) -> str:
    """With the public parts of these key files, as an administrator has them printed."""
    file.write_text(jwks(read_key(Path(key)).public for key in keys))
    return str(file)
