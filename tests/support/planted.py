"""Tokens that must never be seen outside of a Secret. Every test that needs a token plants one of these."""

import base64
import itertools

PREFIX = "ghp_PlantedToken"
_numbers = itertools.count(1)


def token() -> str:
    """A new one each time, so that old and new can be told apart."""
    return f"{PREFIX}{next(_numbers):05d}"


def _encoded() -> list[str]:
    """The prefix inside any base64 text: it may start at each of three offsets, where its ends are not its own."""
    forms = []
    for offset in range(3):
        text = base64.b64encode(b"\0" * offset + PREFIX.encode()).decode().rstrip("=")
        forms.append(text[4 if offset else 0 : len(text) // 4 * 4])
    return forms


FORMS = (PREFIX, *_encoded())


def leaks(text: str) -> list[str]:
    """The forms of a planted token that are in the text; twice encoded ones are found one level down."""
    return [form for form in FORMS if form in text]
