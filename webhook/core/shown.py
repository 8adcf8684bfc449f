"""Text that others wrote, as people read it: one line, bounded, without what steers a terminal or cannot be seen.

Names of kinds, owners, registries, managers, Events: whoever has a namespace may write anything into them. An
administrator reads them among our own words and may copy what stands there into a shell.
"""

import re
from collections.abc import Sequence

MAX_CHARS = 200
"""Characters. Names of objects have 253 at most; those that are longer than this one are cut."""
MAX_NAMED, MAX_FEW = 5, 3
"""Of a list, as names in a row and as messages; then how many more there are."""
CUT = "..."

# Letters to Unicode, and yet nothing is seen of them: fillers, blanks, selectors of variants. All else that cannot be
# seen (controls, directions, zero widths, line breaks) is not printable.
_UNSEEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_PLAIN = re.compile(r"[A-Za-z0-9*\[](?:[\w.:@/+=*~\]-]*[\w/*\]-])?", re.ASCII)
_QUOTED = str.maketrans({'"': "'", "`": "?", "$": "?", "\\": "?"})
_WORD = re.compile(r"[A-Za-z0-9](?:[\w./-]{0,315}[A-Za-z0-9])?", re.ASCII)
"""Names of objects and keys of labels: no option, nothing that a shell reads, no longer than Kubernetes' longest."""


def shown(text: str, longest: int = MAX_CHARS) -> str:
    """On one line; what cannot be shown is `?`, what is cut off is `...`."""
    line = "".join(letter if letter.isprintable() else "?" for letter in _UNSEEN.sub("?", text[:longest]))
    return line if len(text) <= longest else line + CUT


def short(text: str, most: int) -> str:
    """On one line, in at most `most` bytes."""
    line = shown(text, most)
    data = line.encode()
    return line if len(data) <= most else data[: most - len(CUT)].decode(errors="ignore") + CUT


def quoted(text: str, longest: int = MAX_CHARS) -> str:
    """In quotes unless it is a word, such as a name, a registry or an address; a shell finds nothing to run in it."""
    line = shown(text, longest)
    return line if _PLAIN.fullmatch(line) else f'"{line.translate(_QUOTED)}"'


def some(texts: Sequence[str]) -> str:
    """The first of them."""
    more = f" and {len(texts) - MAX_NAMED} more" if len(texts) > MAX_NAMED else ""
    return f"{', '.join(map(quoted, texts[:MAX_NAMED]))}{more}"


def few(texts: Sequence[str]) -> tuple[str, ...]:
    """The first messages of them."""
    more = len(texts) - MAX_FEW
    return (*texts[:MAX_FEW], f"and {more:,} more") if more > 0 else tuple(texts)


def command(pattern: str, *words: str) -> str:
    """To copy into a shell. Empty if one of the words is none that may stand there as it is."""
    return pattern.format(*words) if all(_WORD.fullmatch(word) for word in words) else ""
