"""Encrypted tokens: both layouts, against Node.js's own crypto, and whatever is not what it seems."""

import json
import os
import shutil
import subprocess
from base64 import b64encode

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from support import planted
from support.sealed import seal
from webhook.sources.encrypted import Keys, SealedError, is_sealed, padded, read_keys, unseal

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))
KEYS = Keys(padded("a passphrase"), {"k1": KEY, "k2": OTHER})
NODE = """
const crypto = require('crypto');
const cases = JSON.parse(require('fs').readFileSync(0));
console.log(JSON.stringify(cases.map(([passphrase, text]) => {
  const key = Buffer.from(passphrase.padEnd(32, '0').slice(0, 32));
  const iv = crypto.randomBytes(16);
  const cipher = crypto.createCipheriv('aes-256-gcm', key, iv);
  const out = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return [iv, cipher.getAuthTag(), out].map(part => part.toString('hex')).join(':');
})));
"""
NODE_V1 = """
const crypto = require('crypto');
const [owner, keyId, key, text] = JSON.parse(require('fs').readFileSync(0));
const nonce = crypto.randomBytes(12);
const cipher = crypto.createCipheriv('aes-256-gcm', Buffer.from(key, 'base64'), nonce);
cipher.setAAD(Buffer.from('pullsecret-webhook/v1\\0' + owner));
const out = Buffer.concat([nonce, cipher.update(text, 'utf8'), cipher.final(), cipher.getAuthTag()]);
console.log(JSON.stringify(`v1.${keyId}.${out.toString('base64')}`));
"""
# Made by Node.js 20, for machines that have none.
VECTORS = [
    ("short", "ghp_x", "e589beae7811c96418f400ff590b2bbb:38385b2511fc71326383c24a38809e68:7a2d981299"),
    (
        "a passphrase of more than thirty-two characters",
        "gho_abc",
        "78f7bfd06d46baaf869380e70a9d16fe:2f5b419c1abc7ceabb5030582f83262c:8cdb29b165aaca",
    ),
    ("exactly-thirty-two-characters-ab", "é", "508299503302508569ae1ed6398d6da6:a6b94e2b362f968477c98b6e64453f31:3fe9"),
]


VECTOR_V1 = ("émile", "ghp_x", "v1.k1.c/cmfG0aJVvEMz9ml4OV64G2QeTKQr6GgV1D/D7Nisp+")
"""Owner, text, and it encrypted with KEY as k1."""


def node(program: str, given_to_it: object) -> object:
    done = subprocess.run(
        ["node", "-e", program], input=json.dumps(given_to_it), capture_output=True, text=True, check=True
    )
    answer: object = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(("passphrase", "text", "sealed"), VECTORS, ids=[v[0] for v in VECTORS])
def test_what_node_has_sealed_before(passphrase: str, text: str, sealed: str) -> None:
    assert unseal(sealed, "whoever", Keys(padded(passphrase))) == text


def test_what_node_has_sealed_before_for_one_owner() -> None:
    owner, text, sealed = VECTOR_V1
    assert unseal(sealed, owner, KEYS) == text
    with pytest.raises(SealedError):
        unseal(sealed, "emile", KEYS)


@pytest.mark.skipif(
    shutil.which("node") is None, reason="Node.js is not installed; the vectors above, in both layouts, were made by it"
)
def test_what_node_seals() -> None:
    token = planted.token()
    passphrases = ["x", "0" * 32, "p" * 31, "p" * 32, "p" * 33, "with spaces and ~!@#$%"]
    sealed = node(NODE, [[one, token] for one in passphrases])
    assert isinstance(sealed, list)
    assert [unseal(one, "o", Keys(padded(p))) == token for p, one in zip(passphrases, sealed, strict=True)] == [
        True
    ] * 6
    made = node(NODE_V1, ["émile", "k1", b64encode(KEY).decode(), token])
    assert unseal(str(made), "émile", KEYS) == token


@given(st.text(), st.text(max_size=40), st.sampled_from(["k1", "k2"]))
def test_there_and_back(text: str, owner: str, key: str) -> None:
    assume(not is_sealed(text))
    sealed = seal(text, owner, key, KEYS)
    assert is_sealed(sealed)
    assert unseal(sealed, owner, KEYS) == text
    with pytest.raises(SealedError, match="cannot be decrypted"):
        unseal(sealed, owner + "x", KEYS)


@given(st.data())
def test_nothing_damaged_opens(data: st.DataObject) -> None:
    sealed = data.draw(st.sampled_from([VECTORS[0][2], seal("ghp_x", "o", "k1", KEYS)]))
    at = data.draw(st.integers(0, len(sealed) - 1))
    other = data.draw(st.sampled_from("0123456789abcdefABZ.:/+="))
    damaged = sealed[:at] + other + sealed[at + 1 :]
    keys = Keys(padded("short"), {"k1": KEY})
    if damaged.lower() == sealed.lower() and ":" in sealed:
        return  # hexadecimal digits have two cases
    if damaged != sealed:
        with pytest.raises(SealedError) as error:
            unseal(damaged, "o", keys)
        assert "ghp_x" not in str(error.value)


IV, TAG = "0f" * 16, "1e" * 16


@pytest.mark.parametrize(
    "text",
    [
        VECTORS[0][2],
        VECTORS[0][2].upper(),
        f" {VECTORS[0][2]}\n",
        f"{IV[:24]}:{TAG}:00",
        f"{IV}:{TAG}:0",
        f"{IV}:{TAG}:",
        "v1.k1.AAAA",
        "v1.k1.AA-_",
        "v1.k1.",
        "v2.k1.AAAA",
        "v10.key/1.x:y",
    ],
)
def test_what_looks_like_ciphertext(text: str) -> None:
    assert is_sealed(text)


@pytest.mark.parametrize(
    "text", ["ghp_x", "v1.0123abcd", "user:password", f"{IV}:{TAG}", f"{IV}:x:{TAG}", "eyJhbGciOi.eyJzdWIi.c2ln", ""]
)
def test_what_does_not(text: str) -> None:
    assert not is_sealed(text)


def test_what_is_sealed_twice_is_not_handed_out() -> None:
    for inner in (VECTORS[0][2], seal("ghp_x", "o", "k1", KEYS)):
        with pytest.raises(SealedError, match="encrypted twice"):
            unseal(seal(inner, "o", "k1", KEYS), "o", KEYS)


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("ghp_plain", KEYS, "its layout is unknown"),
        ("", KEYS, "its layout is unknown"),
        (VECTORS[0][2], KEYS, "cannot be decrypted"),
        (VECTORS[0][2], Keys(), "set decrypt.passphraseFile"),
        (":".join(reversed(VECTORS[0][2].split(":"))), KEYS, "its layout is unknown"),
        (seal("t", "o", "k1", KEYS), Keys(by_id={"k1": OTHER}), "cannot be decrypted"),
        (seal("t", "o", "k1", KEYS).replace(".k1.", ".k2."), KEYS, "cannot be decrypted"),
        (seal("t", "o", "k1", KEYS), Keys(by_id={"k3": KEY}), "a key that decrypt.keysFile does not have"),
        ("v1.k1.AAAA", KEYS, "too short"),
        ("v1.k1.AAAAA", KEYS, "not base64"),
        ("v2.k1.AAAA", KEYS, "its layout is unknown"),
    ],
    ids=range(11),  # what is sealed is another text each time
)
def test_what_does_not_open_is_said(text: str, keys: Keys, said: str) -> None:
    with pytest.raises(SealedError, match=said):
        unseal(text, "o", keys)


def test_keys_are_read_a_line_each() -> None:
    first, second = (b64encode(key).decode() for key in (KEY, OTHER))
    assert read_keys(f"# old\n2025 {first}\n\n2026   {second}\n") == {"2025": KEY, "2026": OTHER}


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "k1", "k1 AAAA", "k 1 AAAA", f"k1 {'x' * 43}", f"bad.id {b64encode(KEY).decode()}"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(SealedError):
        read_keys(text)


def test_an_id_is_there_once() -> None:
    line = f"k1 {b64encode(KEY).decode()}\n"
    with pytest.raises(SealedError, match=r"line 2 .* repeats"):
        read_keys(line * 2)


@pytest.mark.parametrize("passphrase", ["", "pässword"])
def test_what_is_no_passphrase_is_refused(passphrase: str) -> None:
    with pytest.raises(SealedError, match="empty or not ASCII"):
        padded(passphrase)


def test_keys_do_not_show() -> None:
    secret = os.urandom(16).hex()
    assert secret not in repr(Keys(padded(secret), {"k": secret.encode()[:32]}))
