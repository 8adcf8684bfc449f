"""Text that others wrote, as people read it: one line, bounded, no control characters, nothing invisible.

A tenant may write anything into names of kinds, owners, registries, managers and into Events. An administrator reads
them inside our own messages, and may copy them into a shell.
"""

import re
import unicodedata
from collections.abc import Sequence

MAX_CHARS = 200
"""Characters. Also the name of an object, which may have 253, is cut."""
MAX_NAMED, MAX_FEW = 5, 3
"""Names and messages of a list that are shown; for the others their number."""
CUT = "..."

# Unicode calls these printable, but they are invisible: fillers, blanks, variation selectors. All other invisible ones
# (controls, directions, zero widths, line breaks) are not printable.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp", "Zs"})
"""Categories of controls, directions and zero widths, surrogates, line breaks and spaces."""
_SEEN = frozenset("\t\r\n \u3000")
"""Line breaks and spaces that people type; the last one is that of Chinese and Japanese keyboards."""
_PLAIN = re.compile(r"[A-Za-z0-9*\[](?:[\w.:@/+=*~\]-]*[\w/*\]-])?", re.ASCII)
_QUOTED = str.maketrans({'"': "'", "`": "?", "$": "?", "\\": "?"})
_WORD = re.compile(r"[A-Za-z0-9](?:[\w./-]{0,315}[A-Za-z0-9])?", re.ASCII)
"""Names of objects and keys of labels: no option, no shell syntax, not longer than Kubernetes' longest."""


def shown(text: str, longest: int = MAX_CHARS) -> str:
    """On one line; `?` is an invisible character, `...` a part that was cut off."""
    line = "".join(letter if letter.isprintable() else "?" for letter in _UNSEEN.sub("?", text[:longest]))
    return line if len(text) <= longest else line + CUT


def invisible(text: str) -> bool:
    """Has it a character that nobody types and nobody sees? What is part of emoji does not count."""
    return any(unicodedata.category(letter) in _HIDDEN for letter in {*text} - _SEEN)


def short(text: str, most: int) -> str:
    """On one line, in at most `most` bytes."""
    line = shown(text, most)
    data = line.encode()
    return line if len(data) <= most else data[: most - len(CUT)].decode(errors="ignore") + CUT


def quoted(text: str, longest: int = MAX_CHARS) -> str:
    """In quotes unless it is one word, such as a name, a registry or an address; a shell runs nothing of it."""
    line = shown(text, longest)
    return line if _PLAIN.fullmatch(line) else f'"{line.translate(_QUOTED)}"'


def some(texts: Sequence[str]) -> str:
    """The first names."""
    return cut([quoted(text) for text in texts[:MAX_NAMED]], len(texts))


def cut(texts: Sequence[str], number: int) -> str:
    """The first of `number` texts that may be shown as they are."""
    more = f" and {number - MAX_NAMED} more" if number > MAX_NAMED else ""
    return f"{', '.join(texts[:MAX_NAMED])}{more}"


def few(texts: Sequence[str], most: int = MAX_FEW) -> tuple[str, ...]:
    """The first messages."""
    more = len(texts) - most
    return (*texts[:most], f"and {more:,} more") if more > 0 else tuple(texts)


def counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def needs_attention(number: int) -> str:
    return f"{number:,} need{'s' if number == 1 else ''} attention"


def command(pattern: str, *words: str) -> str:
    """A command to copy into a shell. Empty if a word would need quotes there."""
    return pattern.format(*words) if all(_WORD.fullmatch(word) for word in words) else ""
