"""How a manifest is changed: which text, where, and what it means.

In the manner of its surroundings: block or flow style, indented lists or not, quotes and line ends.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import yaml

from webhook.commands.inject.manifest import STR, Manifest, Meaning, Node, Pair, resolved
from webhook.core.names import IMAGES
from webhook.core.patch import FIELD

BREAK = re.compile(r"\r\n|[\n\r]")
GAP = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
PROPERTIES = re.compile(rf"(?:[&!]\S*{GAP.pattern})*")
"""The anchor and the tag of a scalar, and what stands between them and its text."""
PLAIN = re.compile(r"[a-z][-a-z0-9./]*[a-z0-9]")
"""Numbers and YAML 1.1's `y` and `n` are other things to other readers than to ours."""

Tree: TypeAlias = "str | Sequence[Mapping[str, str]] | Mapping[str, Tree]"
"""What is added. A list or a mapping in it has one entry."""


@dataclass(frozen=True, slots=True)
class Change:
    """`what` cannot be done if it comes out wrong, and what to do then, in words for people."""

    what: str
    instead: str


REFERENCE = Change(f"{FIELD} cannot be added", "by inserting text; write it out as a list with dashes")
IMAGE = Change("the image cannot get its name at the mirror", "by replacing text; write it in quotes, in one line")
ANNOTATION = Change(
    f"the annotation {IMAGES} cannot be written", "by inserting text; write out metadata.annotations, a line for each"
)


@dataclass(frozen=True, slots=True)
class Edit:
    """`text` in place of the text from `start` to `end`; it means `events` in place of those from `first` to `last`."""

    change: Change
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
        if not self.quoted and PLAIN.fullmatch(word.lower()) and resolved(word) == STR:
            return word
        if not self.quoted and '"' in word:
            return "'" + word.replace("'", "''") + "'"
        return json.dumps(word, ensure_ascii=False)

    def pair(self, key: str, value: str) -> str:
        return f"{self(key)}{':' if self.compact else ': '}{value}"

    def flow(self, tree: Tree) -> str:
        if isinstance(tree, str):
            return self(tree)
        if isinstance(tree, Mapping):
            ((key, value),) = tree.items()
            return f"{{{self.pair(key, self.flow(value))}}}"
        return f"[{self.flow(tree[0])}]"


class Editor:
    """Raises ManifestError where an edit would change more than it should."""

    def __init__(self, manifest: Manifest, secret: str) -> None:
        self._manifest, self._text, self._secret = manifest, manifest.text, secret
        self._list = [{"name": secret}]
        # Looked at once, however many aliases the list has.
        self._has_ours = cache(lambda entries: any(entry.real.text("name") == secret for entry in entries.children))

    def reference(self, key: Node, value: Node) -> Edit | None:
        """`key`, `value`: a pod's spec. None: it has the reference."""
        spec = value.real
        field = spec.pair(FIELD)
        key, value = field or (key, value)  # of what is edited
        words, entries = self._words(key, value), value.real
        if field is None:
            edit = self._add(REFERENCE, spec, words, FIELD, self._list)
        elif entries.value is None and entries.type is yaml.ScalarEvent:
            edit = self._replace_null(REFERENCE, entries, words, self._list)
        elif entries.type is not yaml.SequenceStartEvent:
            raise key.start.wrong(f"{FIELD} is no list; write a list, or leave it out")
        elif self._has_ours(entries):
            return None
        else:
            edit = self._append(entries, words)
        return self._alone(key, edit)

    def image(self, pair: Pair, name: str) -> Edit:
        """In place of the one that is there."""
        key, image = pair[0], pair[1].real
        start, end = self._scalar(image)
        inner, value = self._text[start:end], image.value or ""
        if image.start.style == '"' and inner[1:-1] != value:  # it has escapes
            text = json.dumps(name)
        else:
            start += inner.rfind(value)
            end, text = start + len(value), name
        return self._alone(key, _replaced(IMAGE, image, start, end, text, name))

    def annotation(self, pod: Node, near: Pair, name: str, text: str) -> Edit:
        """In the pod's metadata, which are made if they are not there. `near`: a pair of the pod."""
        mapping, outer, path = pod, pod, ("metadata", "annotations", name)
        for depth, key in enumerate(path, 1):
            pair, tree = mapping.pair(key), _nested(path[depth:], text)
            if pair is None:
                return self._alone(near[0], self._add(ANNOTATION, mapping, self._words(*near), key, tree, outer))
            near, outer, mapping = pair, mapping, pair[1].real
            if mapping.type is yaml.ScalarEvent and mapping.value is None:
                return self._alone(near[0], self._replace_null(ANNOTATION, mapping, self._words(*near), tree))
            wanted, word = (yaml.MappingStartEvent, "mapping") if path[depth:] else (yaml.ScalarEvent, "text")
            if mapping.type is not wanted:
                raise near[0].start.wrong(f"{key} is no {word}; write a {word}, or leave it out")
        start, end = self._scalar(mapping)
        words = Words(quoted=mapping.start.style == '"', compact=False)
        return self._alone(near[0], _replaced(ANNOTATION, mapping, start, end, words(text), text))

    def _alone(self, key: Node, edit: Edit) -> Edit:
        if edit.at.first in self._manifest.shared:
            shared = "because an anchor and its aliases share this part; write the part out"
            raise key.start.wrong(f"{edit.change.what}, {shared}")
        return edit

    def _words(self, key: Node, value: Node) -> Words:
        quoted = key.start.style == '"'
        return Words(quoted, quoted and self._text[key.stop.end : value.start.start] == ":")

    def _scalar(self, scalar: Node) -> tuple[int, int]:
        """Where its text is, with its quotes. A block scalar ends where the next line begins."""
        start, end = scalar.start.start, scalar.stop.end
        found = PROPERTIES.match(self._text, start, end)
        start = found.end() if found else start
        return start, start + len(self._text[start:end].rstrip())

    def _add(
        self, change: Change, mapping: Node, words: Words, name: str, tree: Tree, outer: Node | None = None
    ) -> Edit:
        """As the first key: where a mapping begins is certain, where it ends depends on comments and block scalars.
        `outer`: what the mapping is in, or it itself.
        """
        start, flow = mapping.start.end, mapping.start.flow
        indent = " " * mapping.start.column
        if flow:
            new = words.pair(name, words.flow(tree))
            if mapping.children and (gap := GAP.match(self._text, start)):
                start = gap.end()
                new += ","
        else:
            steps = self._offset(mapping), self._step(mapping, outer or mapping)
            new = self._block(words, name, tree, self._newline(start) + indent, steps)
        head = self._head(start)
        if mapping.children and head is not None:
            start = self._above_comments(start - len(head))
            new = f"{head}{new}{self._newline(start)}"
        elif not flow:
            new += self._newline(start) + indent
        elif mapping.children and not words.compact:
            new += " "
        meaning = [*_meaning(name), *_meaning(tree)]
        return Edit(change, mapping, start, start, new, mapping.first + 1, mapping.first + 1, meaning)

    def _block(self, words: Words, name: str, tree: Tree, newline: str, steps: tuple[int, int]) -> str:
        """`newline`: to the column of the mapping. `steps`: how far lists and mappings in it are indented."""
        to_list, to_mapping = steps
        if isinstance(tree, str):
            return words.pair(name, words(tree))
        if not isinstance(tree, Mapping):
            ((key, value),) = tree[0].items()
            return f"{words(name)}:{newline}{' ' * to_list}- {words.pair(key, words(value))}"
        ((key, inner),) = tree.items()
        newline += " " * to_mapping
        return f"{words(name)}:{newline}{self._block(words, key, inner, newline, steps)}"

    def _replace_null(self, change: Change, null: Node, words: Words, tree: Tree) -> Edit:
        start, end = null.start.start, null.stop.end
        new = words.flow(tree)
        if self._text[start - 1] == ":" and not words.compact:
            new = f" {new}"
        return Edit(change, null, start, end, new, null.first, null.last + 1, [*_meaning(tree)])

    def _append(self, entries: Node, words: Words) -> Edit:
        reference = words.flow(self._list[0])
        if not entries.start.flow:
            start, new = self._block_item(entries, words)
        elif not entries.children:
            start, new = entries.start.end, reference
        else:
            last = entries.children[-1]
            head = self._head(last.start.start)
            gap = self._newline(last.start.start) + head if head is not None else "" if words.compact else " "
            start, new = last.stop.end, f",{gap}{reference}"
        return Edit(REFERENCE, entries, start, start, new, entries.last, entries.last, [*_meaning(self._list[0])])

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

    def _step(self, *mappings: Node) -> int:
        """How far the first of them that has a mapping indents it; by two if none has."""
        steps = (
            value.start.column - mapping.start.column
            for mapping in mappings
            for value in mapping.children[1::2]
            if value.type is yaml.MappingStartEvent and not value.start.flow
        )
        return next((step for step in steps if step > 0), 2)

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


def _nested(path: Sequence[str], tree: Tree) -> Tree:
    for key in reversed(path):
        tree = {key: tree}
    return tree


def _replaced(change: Change, scalar: Node, start: int, end: int, text: str, value: str) -> Edit:
    """Its anchor and its tag stay."""
    kind, anchor, tag, _ = scalar.start.same
    return Edit(change, scalar, start, end, text, scalar.first, scalar.last + 1, [(kind, anchor, tag, value)])


def _meaning(tree: Tree) -> Iterator[Meaning]:
    if isinstance(tree, str):
        yield yaml.ScalarEvent, None, STR, tree
    elif isinstance(tree, Mapping):
        yield yaml.MappingStartEvent, None, None, None
        for key, value in tree.items():
            yield from (*_meaning(key), *_meaning(value))
        yield yaml.MappingEndEvent, None, None, None
    else:
        yield yaml.SequenceStartEvent, None, None, None
        for entry in tree:
            yield from _meaning(entry)
        yield yaml.SequenceEndEvent, None, None, None
