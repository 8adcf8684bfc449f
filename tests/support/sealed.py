"""Encrypts tokens in the layout `v1.KEYID.BASE64`, as docs/sql-source.md describes it."""

import base64
import os

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from webhook.sources.encrypted import Keys


def seal(text: str, owner: str, key_id: str, keys: Keys) -> str:
    nonce = os.urandom(12)
    sealed = AESGCM(keys.by_id[key_id]).encrypt(nonce, text.encode(), b"pullsecret-webhook/v1\0" + owner.encode())
    return f"v1.{key_id}.{base64.b64encode(nonce + sealed).decode()}"
