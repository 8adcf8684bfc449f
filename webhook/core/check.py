"""What a registry said about a credential, as values, and how they are kept in a Secret.

A credential is known by a keyed digest, so that neither the Secret nor a replica's memory needs its password. The key
is in the same Secret: whoever reads it can test guesses of a password, and read the source Secrets anyway.
"""

import hashlib
import struct
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import islice
from typing import Literal

from webhook.core.credential import Credential, Credentials, Refusal

KEY, RECORDS, ASKING = "key", "checks", "asking"
"""Keys of the Secret. `asking`: the replica that asks at present, and when it began."""
KEY_BYTES, DIGEST_BYTES = 32, 12
MAX_CHECKS = 40_000
"""Checks that are kept, the newest: 18 bytes each, and a Secret holds 1 MiB."""
STEP_CHECKS = 200
"""Checks in a step: 0.1 ms, when they have to be fetched from memory."""
AGAIN_SECONDS = 30.0
"""Seconds until a registry is asked again about a credential that it has refused, or that is not known."""
_RECORD = struct.Struct(">BBI")
"""How often it was asked, with a bit for `held` and one for `single`; why; when."""
_TIMES, _SINGLE, _HELD = 0x0F, 0x40, 0x80

Result = Literal["works", "refused", "unknown"]


class Why(IntEnum):
    """Why a credential is refused, or why it is not known whether it works. The numbers are kept in the Secret."""

    NONE = 0
    UNAUTHORIZED = 1
    FORBIDDEN = 2
    NO_ANSWER = 10
    NO_ADDRESS = 11
    NO_CONNECTION = 12
    CERTIFICATE = 13
    HANDSHAKE = 14
    NO_CHALLENGE = 15
    BUSY = 16
    BROKEN = 17
    REDIRECT = 18
    PRIVATE = 19
    PATTERN = 20
    NO_REGISTRY = 21
    PLAIN_TOKENS = 22
    PRIVATE_TOKENS = 23
    CA_FILE = 24


WORDS: Mapping[Why, str] = {
    Why.NONE: "",
    Why.UNAUTHORIZED: "HTTP 401",
    Why.FORBIDDEN: "HTTP 403",
    Why.NO_ANSWER: "it did not answer in time",
    Why.NO_ADDRESS: "its name cannot be resolved",
    Why.NO_CONNECTION: "it cannot be reached",
    Why.CERTIFICATE: "its certificate is not trusted, has expired, or is for another host",
    Why.HANDSHAKE: "the TLS handshake failed",
    Why.NO_CHALLENGE: "it does not ask for a credential",
    Why.BUSY: "it has too many requests (HTTP 429)",
    Why.BROKEN: "it fails (HTTP 5xx)",
    Why.REDIRECT: "it redirects, and credentials are not sent elsewhere",
    Why.PRIVATE: "it has a private address, and is not named in the configuration's registries",
    Why.PATTERN: "a name with * is no host that can be asked",
    Why.NO_REGISTRY: "its answer is not that of a registry",
    Why.PLAIN_TOKENS: "its token service is not https",
    Why.PRIVATE_TOKENS: "its token service has a private address; name both hosts in the configuration's registries",
    Why.CA_FILE: "its caFile in the configuration's registries cannot be read",
}
_NEVER = frozenset(
    {
        Why.NO_CHALLENGE,
        Why.REDIRECT,
        Why.PRIVATE,
        Why.PATTERN,
        Why.NO_REGISTRY,
        Why.PLAIN_TOKENS,
        Why.PRIVATE_TOKENS,
    }
)
"""Reasons that half a minute does not change."""


@dataclass(frozen=True, slots=True)
class Check:
    """`at`: seconds since 1970. `times`: how often it was asked. `held`: refused, but so were many others of this
    registry at the same time, which is rather its fault: the credential stays in the pull secrets. `single`: refused,
    but not by the answer before: a proxy may answer in the registry's place, so it takes two refusals.
    """

    why: Why
    at: int
    times: int = 1
    held: bool = False
    single: bool = False

    @property
    def result(self) -> Result:
        return "works" if self.why == Why.NONE else "refused" if self.why <= Why.FORBIDDEN else "unknown"

    @property
    def settled(self) -> bool:
        """Is it asked no more?"""
        return self.why == Why.NONE or self.times > 1 or self.why in _NEVER

    @property
    def refusal(self) -> Refusal | None:
        if self.result != "refused":
            return None
        left_out = self.times > 1 and not (self.held or self.single)
        return Refusal(WORDS[self.why], left_out=left_out, held=self.held, single=self.single)

    def __str__(self) -> str:
        return WORDS[self.why]

    @property
    def record(self) -> bytes:
        flags = self.times | (_HELD if self.held else 0) | (_SINGLE if self.single else 0)
        return _RECORD.pack(flags, self.why, self.at)

    @classmethod
    def of_record(cls, record: bytes) -> "Check | None":
        """None: it is of a later version."""
        flags, why, at = _RECORD.unpack(record)
        if why not in WORDS:
            return None
        return cls(Why(why), at, flags & _TIMES, held=bool(flags & _HELD), single=bool(flags & _SINGLE))


@dataclass(frozen=True)
class Checks:
    """`records`: by digest, as they are kept, the newest last. `key`: random, the same for all replicas."""

    key: bytes = field(repr=False)
    records: dict[bytes, bytes] = field(default_factory=dict, repr=False)

    def digest(self, c: Credential) -> bytes:
        found = hashlib.blake2b(key=self.key[: hashlib.blake2b.MAX_KEY_SIZE], digest_size=DIGEST_BYTES)
        for text in (c.registry, c.username, c.password):
            data = text.encode()
            found.update(len(data).to_bytes(8, "big") + data)
        return found.digest()

    def get(self, digest: bytes) -> Check | None:
        record = self.records.get(digest)
        return None if record is None else Check.of_record(record)

    def of(self, c: Credential) -> Check | None:
        return self.get(self.digest(c))

    def marked(self, known: Credentials) -> Credentials:
        """With the refusals. The same object if there are none."""
        if not self.records:
            return known
        refusals = [check.refusal if (check := self.of(c)) is not None else None for c in known.items]
        if not any(refusals):
            return known
        pairs = zip(known.items, refusals, strict=True)
        return Credentials(tuple(replace(c, refusal=refusal) if refusal else c for c, refusal in pairs))


def times(record: bytes) -> int:
    """How often it was asked."""
    return record[0] & _TIMES


def forget_oldest(records: dict[bytes, bytes]) -> None:
    """Leaves the newest MAX_CHECKS."""
    for digest in [*islice(records, max(0, len(records) - MAX_CHECKS))]:
        del records[digest]


def encoded(records: dict[bytes, bytes]) -> Generator[None, None, bytes]:
    """The newest first. Yields after each step: meanwhile records may come or change, but none may go.

    All that are there at the first step are in it, as they are then or later.
    """
    digests, parts = [*reversed(records)], list[bytes]()
    for at in range(0, len(digests), STEP_CHECKS):
        parts.append(b"".join([digest + records[digest] for digest in digests[at : at + STEP_CHECKS]]))
        yield
    return b"".join(parts)


def entries(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Digests and records, the newest last. What cannot be read is left out, so that its credentials are asked about
    again.
    """
    size = DIGEST_BYTES + _RECORD.size
    for at in reversed(range(0, min(len(data) // size, MAX_CHECKS) * size, size)):
        yield data[at : at + DIGEST_BYTES], data[at + DIGEST_BYTES : at + size]


def decoded(data: bytes) -> dict[bytes, bytes]:
    """In one go, for commands."""
    return dict(entries(data))
