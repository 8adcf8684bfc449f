"""How a registry wants to be asked: its WWW-Authenticate headers.

Sources: RFC 9110, section 11, and the token specification of the distribution registry.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Literal

MAX_HEADER_CHARS = 4096
"""Of all these headers of an answer together."""
# Each part takes all that it can and gives nothing back, also of quotes that nobody closes: time is linear in length.
_PART = re.compile(
    r'=\s*+(?:"(?P<quoted>(?:[^"\\]|\\.)*+)"|(?P<plain>[^\s,"]*+))|(?P<word>[^\s,="]++)|(?P<comma>,)'
    r'|"(?:[^"\\]|\\.)*+(?:"|\\?\Z)',
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Challenge:
    """For Bearer only: `realm`: the address of the token service; `service` and `scope`: what to ask for there.
    `error`: what is wrong with the token that was sent.
    """

    scheme: Literal["basic", "bearer"]
    realm: str = ""
    service: str = ""
    scope: str = ""
    error: str = ""


@dataclass(slots=True)
class _Read:
    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def challenge(headers: Iterable[str]) -> Challenge | None:
    """The one to answer: Bearer before Basic. None: there is none that a user name and a password answer."""
    found, left = list[_Read](), MAX_HEADER_CHARS
    for header in headers:
        found += _read(header[:left])
        left -= len(header)
        if left <= 0:
            break
    for one in found:
        if one.scheme == "bearer" and one.parameters.get("realm"):
            return Challenge(
                "bearer", *(one.parameters.get(name, "") for name in ("realm", "service", "scope", "error"))
            )
    return Challenge("basic") if any(one.scheme == "basic" for one in found) else None


def _read(header: str) -> list[_Read]:
    """A word with a value is a parameter; one without, at the beginning or behind a comma, is a scheme."""
    parts, found, begins = list(_PART.finditer(header)), list[_Read](), True
    for part, after in zip_longest(parts, parts[1:]):
        if (word := part["word"]) is not None:
            value = _value(after)
            if value is not None and found:
                found[-1].parameters[word.lower()] = value
            elif value is None and begins:
                found.append(_Read(word.lower()))
        begins = part["comma"] is not None
    return found


def _value(part: re.Match[str] | None) -> str | None:
    if part is None:
        return None
    quoted: str | None = part["quoted"]
    plain: str | None = part["plain"]
    return plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)
