"""Manifests as the webhook would leave them: our reference in every object that it patches, the images of Pods with
their names at mirrors, all else byte for byte.

Text is inserted and replaced at the positions of the nodes. What comes out is read again, and must be what was read
before plus these changes, event by event; if not, nothing comes out. Pods of other kinds are patched when they are
created, so their templates stay as they are.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import yaml

from webhook.commands.inject.edit import Edit, Editor
from webhook.commands.inject.manifest import Manifest, ManifestError, Meaning, Node, Pair, events
from webhook.commands.inject.pod import Reviews, pair_at
from webhook.core.kinds import KINDS, PatchedKind
from webhook.core.names import DISABLED, IMAGES, INJECT, MIRROR, REGION
from webhook.core.review import Request
from webhook.core.rewrite import Kept, Rewritten
from webhook.core.shown import MAX_CHARS

__all__ = ["Injected", "Manifest", "ManifestError", "Namespaces", "inject", "namespaces"]

Kind = tuple[str | None, str | None]
"""apiVersion and kind."""
NO_KIND: Kind = (None, None)
PATCHED: Mapping[Kind, PatchedKind] = {(kind.api_version, kind.name): kind for kind in KINDS.values()}
LISTS: Mapping[Kind, Kind] = {("v1", "List"): NO_KIND} | {(api, f"{name}List"): (api, name) for api, name in PATCHED}
"""And what their items are that do not say it."""
MAKERS: frozenset[Kind] = frozenset(
    [("apps/v1", name) for name in ("DaemonSet", "ReplicaSet", "StatefulSet")]
    + [("batch/v1", "CronJob"), ("batch/v1", "Job"), ("v1", "ReplicationController")]
)
"""Kinds whose templates stay as they are; their pods get the reference when they are created."""
NAMESPACE: Kind = ("v1", "Namespace")
_OF_INTEREST: frozenset[str | None] = frozenset(name for _, name in (*PATCHED, *LISTS, *MAKERS, NAMESPACE))

Result = Literal["added", "there", "later", "excluded", "opted out", "static"]
"""`there`: it has the reference. `later`: its pods get it when they are created. `excluded`, `opted out`: it or its
namespace. `static`: the mirror of a static pod, which the API server does not change.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """`title`: like `Deployment default/app`. `images`: names in a Pod that were replaced, and those in their places;
    `kept`: why others stay.
    """

    title: str
    result: Result
    images: tuple[tuple[str, str], ...] = ()
    kept: tuple[Kept, ...] = ()


@dataclass(frozen=True, slots=True)
class Injected:
    """`outcomes`: of what is a pod or makes pods, in order."""

    text: str
    outcomes: tuple[Outcome, ...]

    @property
    def changed(self) -> tuple[str, ...]:
        return tuple(one.title for one in self.outcomes if one.result == "added" or one.images)


@dataclass(frozen=True, slots=True)
class Namespaces:
    """What manifests say about namespaces: which are opted out, and the regions of those that have one."""

    opted_out: frozenset[str] = frozenset()
    regions: Mapping[str, str] = field(default_factory=dict)

    def __or__(self, other: "Namespaces") -> "Namespaces":
        return Namespaces(self.opted_out | other.opted_out, {**self.regions, **other.regions})


def namespaces(manifest: Manifest) -> Namespaces:
    """Raises ManifestError for what cannot be read with certainty."""
    items = [item for kind, item in _objects(manifest.documents) if kind == NAMESPACE]
    named = [(name, item) for item in items if (name := item.text("metadata", "name"))]
    return Namespaces(
        frozenset(name for name, item in named if _opted_out(item)),
        {name: region for name, item in named if (region := item.text("metadata", "labels", REGION))},
    )


def inject(
    manifest: Manifest,
    *,
    secret: str,
    templates: bool = True,
    namespace: str = "",
    excluded: Callable[[str], bool] = lambda _namespace: False,
    opted_out: frozenset[str] = frozenset(),
    rewritten: Callable[[Request, str], Rewritten] | None = None,
) -> Injected:
    """`secret`: a Kubernetes name; `templates`: whether the webhook patches them, or pods only. `namespace`: of what
    names none. `excluded`, `opted_out`: namespaces that the webhook leaves alone. `rewritten`: which images of a Pod
    get other names, by the review of its creation in a namespace; None: no mirror is for that.

    Raises ManifestError for what cannot be changed with certainty.
    """
    editor, reviews = Editor(manifest, secret), Reviews(manifest)
    edits, outcomes = list[Edit](), []
    for kind, item in _objects(manifest.documents):
        if kind == NAMESPACE:
            continue
        within = item.text("metadata", "namespace") or namespace
        found = Rewritten()
        result: Result
        if excluded(within) or within in opted_out:
            result = "excluded" if excluded(within) else "opted out"
        elif (patched := PATCHED.get(kind)) is None or (patched.has_template and not templates):
            result = "later"
        elif (reason := _left_alone(patched, item)) is not None:
            result = reason
        elif (spec := _pod_spec(patched, item)) is None:
            continue
        else:
            edit = editor.reference(*spec)
            edits += [edit] if edit else []
            result = "added" if edit else "there"
            if rewritten is not None and not patched.has_template:
                found = rewritten(reviews(item), within)
                edits += _renamed(editor, item, spec, found)
        images = tuple((pair_at(item, pointer)[1].real.value or "", new) for pointer, new in found.names)
        outcomes.append(Outcome(_title(kind[1] or "", within, item), result, images, found.kept))
    edits.sort(key=lambda edit: edit.first)
    return Injected(_applied(manifest, edits) if edits else manifest.text, tuple(outcomes))


def _renamed(editor: Editor, pod: Node, spec: Pair, found: Rewritten) -> Iterator[Edit]:
    """`spec`: that of the pod."""
    for pointer, name in found.names:
        yield editor.image(pair_at(pod, pointer), name)
    if found.names:
        yield editor.annotation(pod, spec, IMAGES, found.originals)


def _objects(documents: Sequence[Node]) -> Iterator[tuple[Kind, Node]]:
    """What the webhook patches, what makes pods, and Namespaces, also in lists, in order."""
    waiting = [(NO_KIND, document) for document in reversed(documents)]
    seen: set[int] = set()
    while waiting:
        default, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        kind = _kind(node, default)
        if kind in PATCHED or kind in MAKERS or kind == NAMESPACE:
            yield kind, node
        elif kind in LISTS and (items := node.get("items")) and items.type is yaml.SequenceStartEvent:
            if id(items) not in seen:  # an alias for all items of another list
                waiting += [(LISTS[kind], item.real) for item in reversed(items.children)]
            seen.add(id(items))


def _kind(node: Node, default: Kind) -> Kind:
    """`default`: of what does not say it. An object of a kind that is not looked at may have a key twice."""
    try:
        kind = node.text("apiVersion"), node.text("kind")
    except ManifestError:
        pairs = list(zip(node.children[::2], node.children[1::2], strict=True))
        named = {value.real.value for key, value in pairs if key.real.value == "kind"}
        if (named or {default[1]}) & _OF_INTEREST or any(key.real.value == "<<" for key, _ in pairs):
            raise
        return NO_KIND
    return default if kind == NO_KIND else kind


def _left_alone(kind: PatchedKind, item: Node) -> Literal["opted out", "static"] | None:
    pod = item.get(*kind.at[:-1])
    if _opted_out(item) or (pod is not None and _opted_out(pod)):
        return "opted out"
    return "static" if not kind.has_template and item.get("metadata", "annotations", MIRROR) else None


def _pod_spec(kind: PatchedKind, item: Node) -> tuple[Node, Node] | None:
    """The key `spec` of the pod or template, and its value. None: there is none."""
    pod = item.get(*kind.at[:-1])
    spec = pod.pair(kind.at[-1]) if pod is not None else None
    return spec if spec and spec[1].real.type is yaml.MappingStartEvent else None


def _opted_out(item: Node) -> bool:
    return item.text("metadata", "labels", INJECT) == DISABLED


def _title(kind: str, namespace: str, item: Node) -> str:
    name = item.text("metadata", "name") or item.text("metadata", "generateName") or "without a name"
    place = f"{namespace[:MAX_CHARS]}/" if namespace else ""
    title = f"{kind} {place}{name[:MAX_CHARS]}"
    return title if title.isprintable() else ascii(title)


def _applied(manifest: Manifest, edits: Sequence[Edit]) -> str:
    parts, at = [], 0
    for edit in edits:
        parts += [manifest.text[at : edit.start], edit.text]
        at = edit.end
    after = "".join([*parts, manifest.text[at:]])
    wrong = _misplaced(after, manifest, edits)
    if wrong is not None:
        raise wrong.at.start.wrong(f"{wrong.change.what} here {wrong.change.instead}")
    return after


def _misplaced(after: str, manifest: Manifest, edits: Sequence[Edit]) -> Edit | None:
    """The first edit that made something else of the text than it should."""
    edit, read = edits[0], (event.same for event in events(after))
    try:
        for edit, same in _expected(manifest, edits):
            if next(read, None) != same:
                return edit
        return edit if next(read, None) else None
    except ManifestError:
        return edit


def _expected(manifest: Manifest, edits: Sequence[Edit]) -> Iterator[tuple[Edit, Meaning]]:
    at, last = 0, edits[0]
    for edit in edits:
        yield from ((last, event.same) for event in manifest.events[at : edit.first])
        yield from ((edit, same) for same in edit.events)
        at, last = edit.last, edit
    yield from ((last, event.same) for event in manifest.events[at:])
