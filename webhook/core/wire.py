"""JSON of the API server, also where users nest it too deep for a recursive decoder.

`fieldsV1` has no schema, and the API server accepts 10,000 levels of it from every user who may write an object.
"""

import re
import sys
from collections.abc import Generator
from typing import TypeVar

import msgspec

from webhook.core.errors import PullsecretError

KEPT_LEVELS = 100
"""Levels that stay when JSON is cut. What we read is on the first ten."""
MAX_DEPTH = 12_000
"""Levels: more than the API server accepts. msgspec needs 50 bytes of the stack for each."""
STEP_BRACKETS = 2_000
"""Brackets in a step: about a millisecond."""

_TOKEN = re.compile(rb'(?:[^"\[\]{}]++|"[^"\\]*+(?:\\.[^"\\]*+)*+")*+([\[{]|[\]}]|"|\Z)', re.DOTALL)
"""Up to the next bracket outside of strings, or to a quote that is never closed."""

T = TypeVar("T")
Bytes = bytes | bytearray | msgspec.Raw


class Unreadable(PullsecretError):
    """An object, or a whole answer, that does not have the form of the Kubernetes API."""


def decode_at_once(decoder: msgspec.json.Decoder[T], data: Bytes) -> T:
    """Raises RecursionError for what has to be cut first, and what the decoder raises."""
    try:
        return decoder.decode(data)
    except RecursionError:
        before = sys.getrecursionlimit()
        sys.setrecursionlimit(
            MAX_DEPTH
        )  # a hundred times faster than `cut`; later Pythons go by what is left of the stack
        try:
            return decoder.decode(data)
        finally:
            sys.setrecursionlimit(before)


def cut(data: Bytes) -> Generator[None, None, bytes]:
    """The same JSON with null for each object and array below KEPT_LEVELS. Yields after each step: it may be long."""
    data, parts, depth, kept = bytes(data), list[bytes](), 0, 0
    for number, token in enumerate(_TOKEN.finditer(data)):
        if number % STEP_BRACKETS == STEP_BRACKETS - 1:
            yield
        bracket = token[1]
        if bracket in (b"{", b"["):
            depth += 1
            if depth == KEPT_LEVELS + 1:
                parts += data[kept : token.start(1)], b"null"
        elif bracket in (b"}", b"]"):
            if depth == KEPT_LEVELS + 1:
                kept = token.end()
            depth -= 1
        else:
            break
    return b"".join((*parts, data[kept:] if depth <= KEPT_LEVELS else b""))
