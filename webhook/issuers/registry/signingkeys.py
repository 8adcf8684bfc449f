"""The private keys that sign pull passwords and registry tokens, and the public ones that tell whether one of them did;
from files that are read again when they change.

Passwords and tokens have keys of their own: whoever takes the token service has none that signs passwords.
"""

import base64
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from jwt.algorithms import ECAlgorithm, OKPAlgorithm

from certs.errors import Unusable
from certs.pem import private_key
from webhook.core.errors import PullsecretError
from webhook.sources.files import made

MAX_KEY_BYTES = 64 * 1024
PRINTED_BY = "pullsecret registry-auth jwks"


class _KeySet(msgspec.Struct):
    keys: list[dict[str, str]]


class KeyUnusable(PullsecretError):
    """A file has no key that can be used. The message names the file, and has nothing of its content."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """`members`: those of its JSON Web Key that say which key it is. `id`: their thumbprint (RFC 7638)."""

    verifying: Ed25519PublicKey | EllipticCurvePublicKey
    members: Mapping[str, str]
    id: str

    @property
    def algorithm(self) -> str:
        return "EdDSA" if isinstance(self.verifying, Ed25519PublicKey) else "ES256"

    @property
    def jwk(self) -> dict[str, str]:
        return {**self.members, "kid": self.id, "alg": self.algorithm, "use": "sig"}


@dataclass(frozen=True, slots=True)
class SigningKey:
    private: Ed25519PrivateKey | EllipticCurvePrivateKey = field(repr=False)
    public: PublicKey


def signing_key(file: str) -> Callable[[], SigningKey]:
    """The one in the file now. Raises KeyUnusable when it is called."""
    return made((file,), functools.partial(read_key, Path(file)))


def public_keys(file: str) -> Callable[[], Mapping[str, PublicKey]]:
    """Those in the file now, by their id. Raises KeyUnusable when it is called."""
    return made((file,), functools.partial(read_public_keys, Path(file)))


def read_key(file: Path) -> SigningKey:
    """Raises KeyUnusable."""
    try:
        key = private_key(_content(file), str(file))
    except Unusable as e:
        raise KeyUnusable(str(e)) from None
    if isinstance(key, Ed25519PrivateKey | EllipticCurvePrivateKey) and (public := _public(key.public_key())):
        return SigningKey(key, public)
    raise KeyUnusable(
        f"{file} has a private key of another kind; make one with openssl genpkey -algorithm ed25519 -out FILE"
    )


def read_public_keys(file: Path) -> dict[str, PublicKey]:
    """By their id. Raises KeyUnusable."""
    try:
        listed = msgspec.json.decode(_content(file), type=_KeySet).keys
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise KeyUnusable(f"{file} is no JSON Web Key Set; write what {PRINTED_BY} prints") from None
    if not listed:
        raise KeyUnusable(f"{file} has no key; write what {PRINTED_BY} prints")
    found = [_parsed(file, one) for one in listed]
    return {one.id: one for one in found}


def jwks(keys: Iterable[PublicKey]) -> str:
    """What tells whether something is signed by one of these, as a file has it."""
    return json.dumps({"keys": [key.jwk for key in keys]}, indent=2)


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(MAX_KEY_BYTES)
    except OSError as e:
        raise KeyUnusable(f"{file}: {e.strerror}") from None


def _parsed(file: Path, one: Mapping[str, str]) -> PublicKey:
    """`kid` and `alg` do not count: both follow from the key."""
    if "d" in one:
        raise KeyUnusable(f"{file} has a private key, which must not be there; write what {PRINTED_BY} prints")
    try:
        public = _public((OKPAlgorithm if one.get("kty") == "OKP" else ECAlgorithm).from_jwk(dict(one)))
    except (jwt.InvalidKeyError, ValueError):
        public = None
    if public is None:
        raise KeyUnusable(f"{file} has a key that is neither Ed25519 nor P-256; write what {PRINTED_BY} prints")
    return public


def _public(key: object) -> PublicKey | None:
    """None: it is of another kind."""
    if isinstance(key, Ed25519PublicKey):
        return _with_id(key, OKPAlgorithm.to_jwk(key, as_dict=True))
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return _with_id(key, ECAlgorithm.to_jwk(key, as_dict=True))
    return None


def _with_id(key: Ed25519PublicKey | EllipticCurvePublicKey, jwk: Mapping[str, str]) -> PublicKey:
    members = {
        name: jwk[name] for name in ("crv", "kty", "x", "y") if name in jwk
    }  # sorted, as the thumbprint wants it
    text = json.dumps(members, separators=(",", ":"))
    digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest())
    return PublicKey(key, members, digest.rstrip(b"=").decode())
