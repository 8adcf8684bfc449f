"""What the last check of each issuer came to: the process that issues writes it, and `doctor cluster` reads it."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Literal

import msgspec

from webhook.core.shown import short

EVERY, WHILE_FAILING = timedelta(hours=1), timedelta(minutes=5)
"""Between two checks of an issuer, before the jitter."""
MAX_ISSUERS, MAX_WHY_BYTES = 32, 300
"""Of what is kept, in an annotation that is written every few seconds."""
MAX_CHARS = 2**16
"""Of a text that is read; ours has a quarter of that."""
ORDER = ("fails", "unknown", "works")
"""Which are kept if there are too many."""


class Checked(msgspec.Struct, frozen=True, omit_defaults=True):
    """`at`: when, by the clock of who checked. `why`: it fails, or nothing can be said; what others say is quoted in
    it. It is bounded and has no secret.
    """

    at: datetime
    result: Literal["works", "fails", "unknown"]
    why: str = ""


def text(found: Mapping[str, Checked]) -> str:
    """By issuer."""
    first = sorted(found, key=lambda called: (ORDER.index(found[called].result), called))[:MAX_ISSUERS]
    kept = {
        called: Checked(one.at.replace(microsecond=0), one.result, short(one.why, MAX_WHY_BYTES))
        for called in first
        if (one := found[called])
    }
    return msgspec.json.encode(kept).decode()


def read(text: str) -> dict[str, Checked]:
    """Of a text that others may have written: what is none of ours is left out."""
    if len(text) > MAX_CHARS:
        return {}
    try:
        raw = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return {}
    found = {called: _one(bytes(one)) for called, one in raw.items()}
    return {called: one for called, one in found.items() if one is not None}


def _one(raw: bytes) -> Checked | None:
    try:
        kept = msgspec.json.decode(raw, type=Checked)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return None if kept.at.tzinfo is None else kept
