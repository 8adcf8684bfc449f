"""YAML and JSON as nodes that know their places in the text, so that text can be inserted where others re-dump.

Made of libyaml's events, without recursion; an alias stays a reference to its anchor, and what was looked up in a node
is remembered. So neither deep nesting nor aliases of aliases ("billion laughs") cost more than their own length.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import yaml

from webhook.core.errors import PullsecretError

# An escaped character beyond U+FFFF is two surrogates in JSON, which libyaml refuses. While it reads, the private
# use area stands in for them: other text of the same length.
SURROGATE = re.compile(r"(\\u)[dD](?=[89a-fA-F])")
OBJECT = re.compile(r"[ \t\r\n]*\{")
END = re.compile(r"[ \t\r\n]*\Z")
MAX_DEPTH = 1000
"""libyaml's time grows with the square of the depth. Kubernetes' own JSON schemas nest about 50 deep."""
MAX_TAGS = 100
"""Declared by `%TAG`. libyaml compares each with all others; Kubernetes' tools need none."""
_TAG = re.compile(r"(?:^|[\r\n\x85\u2028\u2029])%TAG")
STR, NULL, MERGE = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null", "tag:yaml.org,2002:merge"

Meaning = tuple[type[yaml.Event], str | None, str | None, str | None]
"""An event's type, anchor, tag and value."""

_RESOLVER = yaml.resolver.Resolver()


class ManifestError(PullsecretError):
    """One line: which document, which line, what is wrong there and what to do."""

    def __init__(self, document: int, line: int, what: str) -> None:
        super().__init__(f"document {document}, line {line}: {what}")


@dataclass(frozen=True, slots=True)
class Event:
    """`start`, `end`: offsets in the text. `column`: of the end, which for a block collection is its first entry.

    `same`: what does not differ between two texts that mean the same.
    """

    same: Meaning
    start: int
    end: int
    column: int
    document: int
    line: int
    style: str | None
    flow: bool

    @property
    def ends_block(self) -> bool:
        return issubclass(self.same[0], yaml.CollectionEndEvent) and self.start == self.end

    def wrong(self, what: str) -> ManifestError:
        return ManifestError(self.document, self.line, what)


Pair = tuple["Node", "Node"]
"""Key and value."""


@dataclass(eq=False, repr=False)
class Node:
    """`first`, `last`: the events it is made of. `target`: what an alias stands for. `found`: what `pair` has found."""

    start: Event
    stop: Event
    first: int
    last: int
    children: list["Node"] = field(default_factory=list)
    target: "Node | None" = None
    found: dict[str, Pair | None] = field(default_factory=dict)

    @property
    def real(self) -> "Node":
        return self.target or self

    @property
    def type(self) -> type[yaml.Event]:
        return self.start.same[0]

    @property
    def value(self) -> str | None:
        """A scalar's text; None for null and for collections."""
        return None if self.start.same[2] == NULL else self.start.same[3]

    def pair(self, name: str) -> Pair | None:
        """Key and value, maybe an alias, as Kubernetes' tools read them: with YAML's merge keys, the first one wins."""
        if self.type is not yaml.MappingStartEvent:
            return None
        opened = {self: self.merged()}  # in order: each is merged into the one before
        while opened:
            node, merged = next(reversed(opened.items()))
            if name in node.found:
                del opened[node]
                if opened and node.found[name]:
                    next(reversed(opened)).found[name] = node.found[name]
            elif (own := node.pairs.get(name)) or (following := next(merged, None)) is None:
                node.found[name] = own
            elif following in opened:
                raise following.start.wrong("what stands here merges itself (<<); write it out")
            else:
                opened[following] = following.merged()
        return self.found[name]

    def merged(self) -> Iterator["Node"]:
        """The value of `<<` in a mapping: another mapping, or a list of them."""
        if self.type is yaml.SequenceStartEvent:
            yield from (child.real for child in self.children if child.real.type is yaml.MappingStartEvent)
        elif (merge := self.pairs.get("<<")) and merge[0].real.start.same[2] == MERGE:
            yield merge[1].real

    @cached_property
    def pairs(self) -> dict[str, Pair]:
        """Of a mapping; none of anything else."""
        found: dict[str, Pair] = {}
        mapping = self.children if self.type is yaml.MappingStartEvent else []
        for key, value in zip(mapping[::2], mapping[1::2], strict=True):
            name = key.real.start.same[3]
            if name in found:
                raise key.start.wrong(f"a key stands here twice, first in line {found[name][0].start.line}; remove one")
            if name is not None:
                found[name] = (key, value)
        return found

    def get(self, *path: str) -> "Node | None":
        node = self
        for name in path:
            pair = node.pair(name)
            if pair is None:
                return None
            node = pair[1].real
        return node

    def text(self, *path: str) -> str | None:
        """The scalar there, if there is one and it is not null."""
        found = self.get(*path)
        return found.value if found else None


class Manifest:
    def __init__(self, text: str) -> None:
        """Raises ManifestError."""
        self.text, self.events = text, list(events(text))
        self.documents: list[Node] = []
        self.shared: set[int] = set()
        """The events of the nodes that have an alias: to edit one would edit several places."""
        for node in sorted(self._build(), key=lambda node: node.first):
            if node.first not in self.shared:  # nor in a node that is: such nodes lie within one another or apart
                self.shared.update(range(node.first, node.last + 1))

    def _build(self) -> list[Node]:
        """All that have an alias."""
        anchors, known = list[Node](), dict[str | None, Node]()
        opened: list[Node] = []
        for index, event in enumerate(self.events):
            kind, anchor = event.same[:2]
            if kind is yaml.DocumentStartEvent:
                known = {}
            elif issubclass(kind, yaml.CollectionEndEvent):
                opened[-1].stop, opened[-1].last = event, index
                opened.pop()
            elif issubclass(kind, yaml.NodeEvent):
                node = Node(event, event, index, index)
                (opened[-1].children if opened else self.documents).append(node)
                if kind is yaml.AliasEvent:
                    if anchor not in known:
                        raise event.wrong("an alias without its anchor; anchors do not reach beyond their document")
                    node.target = known[anchor]
                    anchors.append(known[anchor])
                elif anchor is not None:
                    known[anchor] = node
                if issubclass(kind, yaml.CollectionStartEvent):
                    opened.append(node)
        return anchors


def events(text: str) -> Iterator[Event]:
    """Of all documents, one after the other. Raises ManifestError where it becomes unreadable."""
    line, document, before = 1, 0, 0
    for start, end in _parts(text):
        line, before = line + text.count("\n", before, start), start
        part, depth = SURROGATE.sub(r"\1e", text[start:end]), 0
        if len(_TAG.findall(part)) > MAX_TAGS:
            raise ManifestError(document + 1, line, f"more than {MAX_TAGS} lines begin with %TAG; leave them out")
        try:
            for event in yaml.parse(part, Loader=yaml.CSafeLoader):
                document += isinstance(event, yaml.DocumentStartEvent)
                depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
                if depth > MAX_DEPTH:
                    raise _event(event, start, line, document).wrong(f"nested deeper than {MAX_DEPTH}; flatten it")
                if not isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent):
                    yield _event(event, start, line, document)
        except (yaml.YAMLError, UnicodeEncodeError) as e:
            raise _unreadable(e, part, line, max(document, 1)) from None


def _parts(text: str) -> list[tuple[int, int]]:
    """What YAML can read in one go: JSON may follow JSON without `---`, as `jq -c` prints it."""
    at = start = int(text.startswith("\ufeff"))  # libyaml does not count a byte order mark
    parts: list[tuple[int, int]] = []
    try:
        while (found := OBJECT.match(text, at)) is not None:
            first = found.end() - 1
            _, at = json.JSONDecoder().raw_decode(text, first)
            parts.append((first, at))
    except (ValueError, RecursionError):
        return [(start, len(text))]
    return parts if parts and END.match(text, at) else [(start, len(text))]


def resolved(word: str, implicit: tuple[bool, bool] = (True, False)) -> str:
    """The tag that a scalar without one has; by default a plain one."""
    return str(_RESOLVER.resolve(yaml.ScalarNode, word, implicit))  # type: ignore[no-untyped-call]  # typeshed's gap


def _event(event: yaml.Event, offset: int, line: int, document: int) -> Event:
    seen: Any = event
    tag = getattr(event, "tag", None)
    if isinstance(event, yaml.ScalarEvent):
        tag = tag or resolved(seen.value, seen.implicit)
    return Event(
        (type(event), getattr(event, "anchor", None), tag, getattr(event, "value", None)),
        seen.start_mark.index + offset,
        seen.end_mark.index + offset,
        seen.end_mark.column,
        document,
        seen.start_mark.line + line,
        getattr(event, "style", None),
        bool(getattr(event, "flow_style", False)),
    )


def _unreadable(e: yaml.YAMLError | UnicodeEncodeError, part: str, line: int, document: int) -> ManifestError:
    """libyaml's words, but never a part of the text: a manifest may hold a password."""
    if isinstance(e, yaml.MarkedYAMLError) and e.problem_mark is not None:
        why = " ".join(filter(None, (e.context, e.problem)))
        return ManifestError(document, line + e.problem_mark.line, f"neither YAML nor JSON ({why}); correct it")
    if isinstance(e, UnicodeEncodeError):
        line += part.count("\n", 0, e.start)
    elif isinstance(e, yaml.reader.ReaderError):
        line += part.encode().count(b"\n", 0, e.position)
    return ManifestError(document, line, "a character that YAML does not allow; remove it, or write it as an escape")
