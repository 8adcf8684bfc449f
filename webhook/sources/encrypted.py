"""Decrypts tokens that a database stores encrypted. Pure; no message contains a token, a key or a part of one.

Two layouts, which differ in their shape:

- `ivHex:tagHex:cipherHex`: AES-256-GCM with an IV of 16 bytes. The key is a passphrase, padded with "0" or cut to 32
  bytes. Platforms have tokens in this layout: the key is only as good as the passphrase, and nothing binds a token to
  its owner.
- `v1.KEYID.BASE64`: AES-256-GCM with a nonce of 12 bytes before the ciphertext. The id selects a random key of 32
  bytes, so that keys can be rotated. The owner is the associated data, so that a row of another owner is refused.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from webhook.core.errors import PullsecretError

_PADDED = re.compile(r"([0-9a-fA-F]{32}):([0-9a-fA-F]{32}):((?:[0-9a-fA-F]{2})+)")
_VERSIONED = re.compile(r"v1\.([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9+/]+={0,2})")
_KEY_LINE = re.compile(r"([A-Za-z0-9_-]{1,64}) \s*([A-Za-z0-9+/]{43}=)")
_LIKE_SEALED = re.compile(r"[0-9a-fA-F]{16,}:[0-9a-fA-F]{32}:[0-9a-fA-F]*|v\d+\.[^.]*\..*", re.DOTALL)
"""Also what cannot be decrypted: another IV, another version, cut off. (GitHub's old `v1.HEX` has one dot.)"""
KEY, NONCE, TAG = 32, 12, 16
"""Bytes."""


class SealedError(PullsecretError):
    """Why a token cannot be decrypted, and what to check."""


@dataclass(frozen=True)
class Keys:
    """`passphrase` is for the first layout, `by_id` for the second."""

    passphrase: bytes | None = field(default=None, repr=False)
    by_id: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def padded(passphrase: str) -> bytes:
    """Like JavaScript's `passphrase.padEnd(32, "0").slice(0, 32)`. Raises SealedError."""
    if not passphrase or not passphrase.isascii():
        raise SealedError("the passphrase is empty or not ASCII")
    return passphrase.ljust(KEY, "0")[:KEY].encode()


def read_keys(text: str) -> dict[str, bytes]:
    """A line for each key: its id, a space, 32 bytes in base64. Raises SealedError."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if (match := _KEY_LINE.fullmatch(line.strip())) is None:
            raise SealedError(f"line {number} of the keys is not valid: expected an id, a space and 32 bytes in base64")
        if match[1] in keys:
            raise SealedError(f"line {number} of the keys repeats an id")
        keys[match[1]] = base64.b64decode(match[2])
    if not keys:
        raise SealedError("the file of keys has no key")
    return keys


def is_sealed(text: str) -> bool:
    """Does it look like ciphertext? No registry's token does, so it must not get into a pull secret."""
    return bool(_LIKE_SEALED.fullmatch(text.strip()))


def unseal(text: str, owner: str, keys: Keys) -> str:
    """Raises SealedError; also if the result is sealed again."""
    from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # 10 MiB, which only those need who decrypt

    try:
        opened = _open(text, owner, keys).decode()
    except InvalidTag:
        raise SealedError("it cannot be decrypted: another key, another owner, or damaged data") from None
    except UnicodeDecodeError:
        raise SealedError("its content is not text") from None
    if is_sealed(opened):
        raise SealedError("it is encrypted twice; encrypt the token only once")
    return opened


def _open(text: str, owner: str, keys: Keys) -> bytes:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

    if match := _PADDED.fullmatch(text):
        if keys.passphrase is None:
            raise SealedError("it is encrypted with a passphrase; set decrypt.passphraseFile")
        iv, tag, cipher = map(bytes.fromhex, match.groups())
        return AESGCM(keys.passphrase).decrypt(iv, cipher + tag, None)
    if (match := _VERSIONED.fullmatch(text)) is None:
        raise SealedError("its layout is unknown: expected ivHex:tagHex:cipherHex or v1.KEYID.BASE64")
    if (key := keys.by_id.get(match[1])) is None:
        raise SealedError("it is encrypted with a key that decrypt.keysFile does not have")
    try:
        whole = base64.b64decode(match[2], validate=True)
    except ValueError:
        raise SealedError("it is not base64") from None
    if len(whole) < NONCE + TAG:
        raise SealedError("it is too short")
    return AESGCM(key).decrypt(whole[:NONCE], whole[NONCE:], b"pullsecret-webhook/v1\0" + owner.encode())
