"""Owner rules: where in a namespace's metadata its owner is found. The first rule that says something wins."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

MAX_OWNER_CHARS = 253
"""Characters. A longer text is no owner: annotations may hold 256 KiB, and no pattern is tried on those."""


@dataclass(frozen=True, slots=True)
class OwnerRule:
    """`find` gives the text to look at (a label, an annotation, the name), or None.

    With a pattern the whole text must match it and the group `owner` is the owner. Patterns come from the
    administrator's configuration; a tenant's text is only ever matched against one.
    """

    find: Callable[[str, Mapping[str, str], Mapping[str, str]], str | None]
    pattern: re.Pattern[str] | None = None

    def owner(self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str | None:
        text = self.find(name, labels, annotations)
        if not text or len(text) > MAX_OWNER_CHARS:
            return None
        if self.pattern is not None:
            match = self.pattern.fullmatch(text)
            text = match.group("owner") if match else None
        return text if text and text.isprintable() else None


def by_label(key: str, pattern: re.Pattern[str] | None = None) -> OwnerRule:
    return OwnerRule(lambda _name, labels, _annotations: labels.get(key), pattern)


def by_annotation(key: str, pattern: re.Pattern[str] | None = None) -> OwnerRule:
    return OwnerRule(lambda _name, _labels, annotations: annotations.get(key), pattern)


def by_name(pattern: re.Pattern[str]) -> OwnerRule:
    return OwnerRule(lambda name, _labels, _annotations: name, pattern)


def find_owner(
    rules: Sequence[OwnerRule], name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> str | None:
    for rule in rules:
        if (owner := rule.owner(name, labels, annotations)) is not None:
            return owner
    return None
