"""The private keys that sign pull passwords and registry tokens, from files that are read again when they change."""

import base64
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from certs.errors import Unusable
from certs.pem import private_key
from webhook.core.errors import PullsecretError
from webhook.sources.files import made

MAX_KEY_BYTES = 64 * 1024


class KeyUnusable(PullsecretError):
    """A file has no key that can sign. The message names the file, and has nothing of its content."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """`public`: the members of its JSON Web Key that say which key it is. `id`: their thumbprint (RFC 7638)."""

    private: Ed25519PrivateKey | EllipticCurvePrivateKey = field(repr=False)
    public: Mapping[str, str]
    id: str

    @property
    def algorithm(self) -> str:
        return "EdDSA" if isinstance(self.private, Ed25519PrivateKey) else "ES256"

    @property
    def verifying(self) -> Ed25519PublicKey | EllipticCurvePublicKey:
        return self.private.public_key()

    @property
    def jwk(self) -> dict[str, str]:
        """Without the private part."""
        return {**self.public, "kid": self.id, "alg": self.algorithm, "use": "sig"}


class SigningKeys:
    """Of one issuer. The first one signs."""

    def __init__(self, files: Sequence[str]) -> None:
        self._keys = [made((file,), functools.partial(read_key, Path(file))) for file in files]

    @property
    def first(self) -> SigningKey:
        """Raises KeyUnusable."""
        return self._keys[0]()

    def named(self, key_id: str) -> SigningKey | None:
        """None: it is none of them. Raises KeyUnusable if that cannot be said."""
        trouble: KeyUnusable | None = None
        for read in self._keys:
            try:
                if (key := read()).id == key_id:
                    return key
            except KeyUnusable as e:
                trouble = e
        if trouble is not None:
            raise trouble
        return None


def read_key(file: Path) -> SigningKey:
    """Raises KeyUnusable."""
    try:
        with file.open("rb") as opened:
            key = private_key(opened.read(MAX_KEY_BYTES), str(file))
    except OSError as e:
        raise KeyUnusable(f"{file}: {e.strerror}") from None
    except Unusable as e:
        raise KeyUnusable(str(e)) from None
    if isinstance(key, Ed25519PrivateKey):
        return _key(key, OKPAlgorithm.to_jwk(key.public_key(), as_dict=True))
    if isinstance(key, EllipticCurvePrivateKey) and isinstance(key.curve, SECP256R1):
        return _key(key, ECAlgorithm.to_jwk(key.public_key(), as_dict=True))
    raise KeyUnusable(
        f"{file} has a private key of another kind; make one with openssl genpkey -algorithm ed25519 -out FILE"
    )


def jwks(keys: Iterable[SigningKey]) -> str:
    """What a registry needs to tell whether a token is signed by one of these, as its file has it."""
    return json.dumps({"keys": [key.jwk for key in keys]}, indent=2)


def _key(private: Ed25519PrivateKey | EllipticCurvePrivateKey, jwk: Mapping[str, str]) -> SigningKey:
    public = {name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk}  # sorted, as the thumbprint wants it
    text = json.dumps(public, separators=(",", ":"))
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return SigningKey(private, public, digest.rstrip(b"=").decode())
