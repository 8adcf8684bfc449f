"""Owner rules: where in a namespace's metadata its owner is found. The first rule that finds an owner wins."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from webhook.core.names import OWNER
from webhook.core.shown import quoted

Place = Literal["label", "annotation", "name"]
_LABEL_VALUE = re.compile(r"[A-Za-z0-9](?:[\w.-]{0,61}[A-Za-z0-9])?", re.ASCII)
MAX_OWNER_CHARS = 253
"""Characters. A longer text is no owner: annotations may hold 256 KiB, and no pattern is tried on those."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """The owner is what is left of a text without a prefix and a suffix; the whole of it must match `owner`.

    `prefix` is taken off first, then `suffix`, which must end where the text ends. What they take does not depend on
    `owner`, so a text has one owner, which the chart's policies find in the same way (`_owner.tpl`).
    """

    prefix: re.Pattern[str]
    owner: re.Pattern[str]
    suffix: re.Pattern[str]

    def find(self, text: str) -> str | None:
        if (prefix := self.prefix.match(text)) is None:
            return None
        rest = text[prefix.end() :]
        if (suffix := self.suffix.search(rest)) is None:
            return None
        owner = rest[: suffix.start()]
        return owner if self.owner.fullmatch(owner) else None


@dataclass(frozen=True, slots=True)
class OwnerRule:
    """`key`: of the label or annotation to look at; empty for the name. Without a pattern the whole text is the owner.

    Patterns come from the administrator's configuration; a tenant's text is only ever matched against one.
    """

    place: Place
    key: str = ""
    pattern: Pattern | None = None

    def owner(self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str | None:
        text = self._text(name, labels, annotations)
        if not text or len(text) > MAX_OWNER_CHARS or not text.isprintable():
            return None
        return text if self.pattern is None else self.pattern.find(text) or None

    def mistake(self, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str:
        """Why the text is not the owner that its author means; empty if it may be."""
        text, where = self._text("", labels, annotations) or "", f"the {self.place} {self.key}"
        if len(text) > MAX_OWNER_CHARS:
            return f"{where} is no owner: it has more than {MAX_OWNER_CHARS} characters"
        plain = "".join(letter for letter in text if letter.isprintable()).strip()
        if text and not plain:
            return f"{where} has only spaces or invisible characters; write an owner, or remove it"
        if not text.isprintable():
            return f"{where} is no owner: it has a line break or an invisible character; write {quoted(plain)}"
        if plain != text:
            return f"{where} begins or ends with a space, so it is another owner than {quoted(plain)}"
        return ""

    def _text(self, name: str, labels: Mapping[str, str], annotations: Mapping[str, str]) -> str | None:
        texts = {"label": labels, "annotation": annotations, "name": {"": name}}
        return texts[self.place].get(self.key)


def marks(owner: str) -> tuple[dict[str, str], dict[str, str]]:
    """The labels and annotations by which a source Secret says whose it is: not every owner can be a label's value."""
    if _LABEL_VALUE.fullmatch(owner):
        return {OWNER: owner}, {}
    return {OWNER: ""}, {OWNER: owner}


def find_owner(
    rules: Sequence[OwnerRule], name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> str | None:
    found = deciding(rules, name, labels, annotations)
    return None if found is None else found[1]


def deciding(
    rules: Sequence[OwnerRule], name: str, labels: Mapping[str, str], annotations: Mapping[str, str]
) -> tuple[int, str] | None:
    """The place of the rule that finds an owner, and the owner."""
    found = ((at, rule.owner(name, labels, annotations)) for at, rule in enumerate(rules))
    return next(((at, owner) for at, owner in found if owner), None)
