"""Tokens that lie encrypted in somebody's database, opened. Pure; no message ever has a token, a key or a part of one.

Two layouts, told apart by their shape:

- `ivHex:tagHex:cipherHex`, AES-256-GCM with an IV of 16 bytes, and as key a passphrase padded with "0" to 32 bytes (a
  longer one is cut there). What platforms already have: the key is only as good as the passphrase, and nothing binds a
  token to its owner.
- `v1.KEYID.BASE64`, AES-256-GCM with a nonce of 12 bytes before the ciphertext, a random key of 32 bytes chosen by its
  id (so that keys can be rotated), and the owner as associated data (so that a row moved to another owner is refused).
"""

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from webhook.core.errors import PullsecretError

_PADDED = re.compile(r"([0-9a-fA-F]{32}):([0-9a-fA-F]{32}):((?:[0-9a-fA-F]{2})+)")
_VERSIONED = re.compile(r"v1\.([A-Za-z0-9_-]{1,64})\.([A-Za-z0-9+/]+={0,2})")
_LIKE_SEALED = re.compile(r"[0-9a-fA-F]{16,}:[0-9a-fA-F]{32}:[0-9a-fA-F]*|v\d+\.[^.]*\..*", re.DOTALL)
"""Wider than what is opened: another IV, another version, cut off. (GitHub's old `v1.HEX` has one dot.)"""
KEY, NONCE, TAG = 32, 12, 16
"""Bytes."""


class SealedError(PullsecretError):
    """A token that cannot be opened, and what to look at."""


@dataclass(frozen=True)
class Keys:
    """`passphrase` for the first layout, `by_id` for the second; what is not there opens nothing."""

    passphrase: bytes | None = field(default=None, repr=False)
    by_id: Mapping[str, bytes] = field(default_factory=dict, repr=False)


def padded(passphrase: str) -> bytes:
    """As `passphrase.padEnd(32, "0").slice(0, 32)` makes it. Raises SealedError."""
    if not passphrase or not passphrase.isascii():
        raise SealedError("the passphrase is empty or not ASCII")
    return passphrase.ljust(KEY, "0")[:KEY].encode()


def read_keys(text: str) -> dict[str, bytes]:
    """A line for each key: its id, a space, 32 bytes in base64. Raises SealedError."""
    keys: dict[str, bytes] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, encoded = line.strip().partition(" ")
        try:
            key = base64.b64decode(encoded.strip(), validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name):
            raise SealedError(f"line {number} of the keys is not valid: expected an id, a space and 32 bytes in base64")
        if name in keys:
            raise SealedError(f"line {number} of the keys repeats an id")
        keys[name] = key
    if not keys:
        raise SealedError("there is no key in the file of keys")
    return keys


def is_sealed(text: str) -> bool:
    """Looks like ciphertext, so it is not to be handed out. By its shape: no registry's token looks like this."""
    return bool(_LIKE_SEALED.fullmatch(text.strip()))


def seal(text: str, owner: str, key_id: str, keys: Keys) -> str:
    """In the second layout."""
    nonce = os.urandom(NONCE)
    sealed = AESGCM(keys.by_id[key_id]).encrypt(nonce, text.encode(), _bound(owner))
    return f"v1.{key_id}.{base64.b64encode(nonce + sealed).decode()}"


def unseal(text: str, owner: str, keys: Keys) -> str:
    """Raises SealedError; also if what comes out is sealed again."""
    opened = _opened(text, owner, keys)
    if is_sealed(opened):
        raise SealedError("what is in it is encrypted once more; encrypt the token itself")
    return opened


def _opened(text: str, owner: str, keys: Keys) -> str:
    try:
        if match := _PADDED.fullmatch(text):
            return _open_padded(match[1], match[2], match[3], keys).decode()
        if match := _VERSIONED.fullmatch(text):
            return _open_versioned(match[1], match[2], owner, keys).decode()
    except InvalidTag:
        raise SealedError("it does not open: another key, another owner's, or damaged") from None
    except UnicodeDecodeError:
        raise SealedError("what is in it is no text") from None
    raise SealedError("it is not encrypted in a layout that is known (ivHex:tagHex:cipherHex, or v1.KEYID.BASE64)")


def _open_padded(iv: str, tag: str, cipher: str, keys: Keys) -> bytes:
    if keys.passphrase is None:
        raise SealedError("it is encrypted with a passphrase; set decrypt.passphraseFile")
    return AESGCM(keys.passphrase).decrypt(bytes.fromhex(iv), bytes.fromhex(cipher + tag), None)


def _open_versioned(key_id: str, encoded: str, owner: str, keys: Keys) -> bytes:
    if (key := keys.by_id.get(key_id)) is None:
        raise SealedError("it is encrypted with a key that decrypt.keysFile does not have")
    try:
        whole = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise SealedError("it is not base64") from None
    if len(whole) < NONCE + TAG:
        raise SealedError("it is too short")
    return AESGCM(key).decrypt(whole[:NONCE], whole[NONCE:], _bound(owner))


def _bound(owner: str) -> bytes:
    return b"pullsecret-webhook/v1\0" + owner.encode()
