"""Regular expressions that Python reads as the API server does, which has RE2; and what is wrong in all others."""

import re

from webhook.core.shown import shown

_ESCAPE = r"\\(?:[dDwWsS]|[^A-Za-z0-9])"
_CLASS = rf"\[\^?(?:[^\\\[^]|{_ESCAPE})(?:[^\\\[\]]|{_ESCAPE})*\]"
_NUMBER = r"(?:0|[1-9][0-9]{0,2})"
_REPETITION = rf"(?:[*+?]|\{{{_NUMBER}(?:,{_NUMBER}?)?\}})\??"
EXPRESSION = rf"(?:\((?:\?:)?|\||\)\??\??|(?:{_CLASS}|{_ESCAPE}|[^\\\[(){{^$|*+?])(?:{_REPETITION})?)*"
"""It is one of them itself, because Helm checks `config` by the same schema. It cannot say whether parentheses match.

Groups are not repeated: the two disagree about how often a group that may match nothing is repeated.
"""

_READ, _REPEATED = re.compile(EXPRESSION), re.compile(_REPETITION)
_IN_CLASS = re.compile(rf"\[\^?\]?(?:[^\\\[\]]|{_ESCAPE})*")
_NAMED = re.compile(r"\(\?P?<\w*>")
_LONGEST = 20
"""Characters of a part that a message shows."""


def fault(text: str) -> str:
    """The first part that EXPRESSION does not allow, and what to write instead. Empty: it allows all of it."""
    read = _READ.match(text)
    at = read.end() if read else 0
    if at == len(text):
        return ""
    rest = text[at - 1 :] if text[:at].endswith("(") and text[at] == "?" else text[at:]
    if named := _NAMED.match(rest):
        around = "write owner: with what it matches, and prefix: and suffix: with what is before and behind it"
        return f"named groups such as {shown(named[0], _LONGEST)}...) are not read; {around}"
    if rest.startswith("(?"):
        return f"{shown(rest[:3])} is not read; the only group that begins with (? is (?:...)"
    if rest[0] in "^$":
        return rf"{rest[0]} is not needed: each part is matched where it belongs; leave it out, or write \{rest[0]}"
    if repetition := _REPEATED.match(rest):
        return _misplaced(text[:at], repetition[0])
    if rest[0] == "{":
        return r"{ is not read, but {2}, {2,} and {2,3} are, up to 999; for the character itself write \{"
    return _escaped(rest) if rest[0] == "\\" else _class(rest)


def _misplaced(before: str, repetition: str) -> str:
    if before.endswith(")"):
        return f"a group with {repetition} behind it is not read, but (...)? is; write out what is repeated"
    if not before or before[-1] in "(|:":
        return rf"there is nothing before {repetition} that it repeats; for the character itself write \{repetition[0]}"
    return rf"{repetition} behind another repetition is not read; leave it out, or write \{repetition[0]}"


def _escaped(rest: str) -> str:
    r"""`rest` begins with a `\`."""
    if len(rest) == 1:
        return r"\ at the end is not read; for the character itself write \\"
    return rf"{shown(rest[:2])} is not read; before a letter or digit, \ is only in \d \w \s \D \W \S"


def _class(rest: str) -> str:
    """`rest` begins with a `[`."""
    inside = _IN_CLASS.match(rest)
    behind = rest[inside.end() :] if inside else ""
    if behind.startswith("[:") and ":]" in behind:
        return f"{shown(behind[: behind.find(':]') + 2], _LONGEST)} is not read; write the characters, as in [A-Za-z]"
    if behind.startswith("["):
        return r"[ inside [...] is not read; write \[ there"
    if behind.startswith("\\"):
        return _escaped(behind)
    return r"[ has no ] behind it, or nothing between them; for the character itself write \["
