"""How the reference is written into a pod's spec: which text, where, and what it means.

In the manner of its surroundings: block or flow style, indented lists or not, quotes and line ends.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import yaml

from webhook.commands.inject.manifest import STR, Manifest, Meaning, Node, events, resolved
from webhook.core.patch import FIELD

BREAK = re.compile(r"\r\n|[\n\r]")
GAP = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
PLAIN = re.compile(r"[a-z][-a-z0-9.]*[a-z0-9]")
"""Numbers and YAML 1.1's `y` and `n` are other things to other readers than to ours."""


@dataclass(frozen=True, slots=True)
class Edit:
    """`text` in place of the text from `start` to `end`; it means `events` in place of those from `first` to `last`."""

    at: Node
    start: int
    end: int
    text: str
    first: int
    last: int
    events: Sequence[Meaning]


@dataclass(frozen=True, slots=True)
class Words:
    """Keys, values and lists as their surroundings write them: like YAML, like JSON, like JSON without spaces."""

    quoted: bool
    compact: bool

    def __call__(self, word: str) -> str:
        plain = not self.quoted and PLAIN.fullmatch(word.lower()) and resolved(word) == STR
        return word if plain else json.dumps(word)

    def pair(self, key: str, value: str) -> str:
        return f"{self(key)}{':' if self.compact else ': '}{value}"

    def reference(self, secret: str) -> str:
        return f"{{{self.pair('name', self(secret))}}}"


class Editor:
    def __init__(self, manifest: Manifest, secret: str) -> None:
        self._manifest, self._text, self._secret = manifest, manifest.text, secret
        field = [event.same for event in events(json.dumps({FIELD: [{"name": secret}]}))][2:-2]  # within the document
        self._field, self._list, self._reference = field, field[1:], field[2:-1]
        # Looked at once, however many aliases the list has.
        self._has_ours = cache(lambda entries: any(entry.real.text("name") == secret for entry in entries.children))

    def edit(self, key: Node, value: Node) -> Edit | None:
        """`key`, `value`: a pod's spec. None: it has the reference."""
        spec = value.real
        field = spec.pair(FIELD)
        key, value = field or (key, value)  # of what is edited
        words, entries = self._words(key, value), value.real
        if field is None:
            edit = self._add_field(spec, words)
        elif entries.value is None and entries.type is yaml.ScalarEvent:
            edit = self._replace_null(entries, words)
        elif entries.type is not yaml.SequenceStartEvent:
            raise key.start.wrong(f"{FIELD} is no list; write a list, or leave it out")
        elif self._has_ours(entries):
            return None
        else:
            edit = self._append(entries, words)
        if edit.at.first in self._manifest.shared:
            shared = "cannot be added, because an anchor and its aliases share this part; write the part out"
            raise key.start.wrong(f"{FIELD} {shared}")
        return edit

    def _words(self, key: Node, value: Node) -> Words:
        quoted = key.start.style == '"'
        return Words(quoted, quoted and self._text[key.stop.end : value.start.start] == ":")

    def _add_field(self, spec: Node, words: Words) -> Edit:
        """As the first key: where a mapping begins is certain, where it ends depends on comments and block scalars."""
        start, flow = spec.start.end, spec.start.flow
        indent = " " * spec.start.column
        if flow:
            new = words.pair(FIELD, f"[{words.reference(self._secret)}]")
            if spec.children and (gap := GAP.match(self._text, start)):
                start = gap.end()
                new += ","
        else:
            item = f"- {words.pair('name', words(self._secret))}"
            new = f"{words(FIELD)}:{self._newline(start)}{indent}{' ' * self._offset(spec)}{item}"
        head = self._head(start)
        if spec.children and head is not None:
            start = self._above_comments(start - len(head))
            new = f"{head}{new}{self._newline(start)}"
        elif not flow:
            new += self._newline(start) + indent
        elif spec.children and not words.compact:
            new += " "
        return Edit(spec, start, start, new, spec.first + 1, spec.first + 1, self._field)

    def _replace_null(self, null: Node, words: Words) -> Edit:
        start, end = null.start.start, null.stop.end
        new = f"[{words.reference(self._secret)}]"
        if self._text[start - 1] == ":" and not words.compact:
            new = f" {new}"
        return Edit(null, start, end, new, null.first, null.last + 1, self._list)

    def _append(self, entries: Node, words: Words) -> Edit:
        if not entries.start.flow:
            start, new = self._block_item(entries, words)
        elif not entries.children:
            start, new = entries.start.end, words.reference(self._secret)
        else:
            last = entries.children[-1]
            head = self._head(last.start.start)
            gap = self._newline(last.start.start) + head if head is not None else "" if words.compact else " "
            start, new = last.stop.end, f",{gap}{words.reference(self._secret)}"
        return Edit(entries, start, start, new, entries.last, entries.last, self._reference)

    def _block_item(self, entries: Node, words: Words) -> tuple[int, str]:
        """The line under the last entry, which may have a comment behind it."""
        item = f"{' ' * self._dash(entries)}- {words.pair('name', words(self._secret))}"
        earlier = (self._manifest.events[index] for index in range(entries.last - 1, 0, -1))
        end = next(one.end for one in earlier if not one.ends_block)
        if BREAK.match(self._text, end - 1):  # a block scalar ends where the next line begins
            return end, item + self._newline(end)
        newline = BREAK.search(self._text, end)
        return (newline.end(), item + newline[0]) if newline else (len(self._text), self._newline(end) + item)

    def _offset(self, mapping: Node) -> int:
        """How far this mapping indents lists; not at all, like kubectl, if it has none."""
        for value in mapping.children[1::2]:
            if value.type is yaml.SequenceStartEvent and not value.start.flow:
                return self._dash(value) - mapping.start.column
        return 0

    def _dash(self, entries: Node) -> int:
        """The column of a block list's dashes. The start event of one that is not indented ends after its dash."""
        return entries.start.column - (self._text[entries.start.end : entries.start.end + 1] != "-")

    def _newline(self, start: int) -> str:
        """As the lines around end."""
        found = BREAK.search(self._text, start) or BREAK.search(self._text)
        return found[0] if found else "\n"

    def _head(self, start: int) -> str | None:
        """The part of the line before this position, if it is white space only."""
        before = start
        while before and self._text[before - 1] in " \t":
            before -= 1
        return self._text[before:start] if not before or self._text[before - 1] == "\n" else None

    def _above_comments(self, start: int) -> int:
        """A comment above a key speaks of that key and stays with it."""
        while start:
            above = self._text.rfind("\n", 0, start - 1) + 1
            line = self._text[above:start].strip()
            if line and not line.startswith("#"):
                break
            start = above
        return start
