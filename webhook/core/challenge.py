"""How a registry wants to be asked: its WWW-Authenticate headers.

Sources: RFC 9110, section 11, and the token specification of the distribution registry.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

MAX_HEADER_CHARS = 4096
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][\w-]*)(?=\s+[\w-]+\s*=|\s*(?:,|$))")
_PARAMETER = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"')


@dataclass(frozen=True, slots=True)
class Challenge:
    """`realm`: the address of the token service, and `service` what to ask it for; for Bearer only."""

    scheme: Literal["basic", "bearer"]
    realm: str = ""
    service: str = ""


def challenge(headers: Iterable[str]) -> Challenge | None:
    """The one to answer: Bearer before Basic. None: there is none that a user name and a password answer."""
    found: list[Challenge] = []
    for header in headers:
        found += _read(header[:MAX_HEADER_CHARS])
    return min(found, key=lambda one: one.scheme != "bearer", default=None)


def _read(header: str) -> Iterable[Challenge]:
    # Commas also stand in quoted values: there they are hidden from the search for schemes.
    hidden = _QUOTED.sub(lambda text: '"' + "x" * (len(text[0]) - 2) + '"', header)
    starts = list(_SCHEME.finditer(hidden))
    for number, start in enumerate(starts):
        end = starts[number + 1].start() if number + 1 < len(starts) else len(header)
        texts = {
            name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
            for name, quoted, plain in _PARAMETER.findall(header[start.end() : end])
        }
        if start[1].lower() == "basic":
            yield Challenge("basic")
        elif start[1].lower() == "bearer" and texts.get("realm"):
            yield Challenge("bearer", texts["realm"], texts.get("service", ""))
