"""Manifests as the webhook would leave them: our reference in every object that it patches, all else byte for byte.

Text is inserted at the positions of the nodes. What comes out is read again, and must be what was read before plus the
reference, event by event; if not, nothing comes out. Pods of other kinds are patched when they are created, so their
templates stay as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import yaml

from webhook.commands.inject.edit import Edit, Editor
from webhook.commands.inject.manifest import Manifest, ManifestError, Meaning, Node, events
from webhook.core.kinds import KINDS, PatchedKind
from webhook.core.names import DISABLED, INJECT, MIRROR
from webhook.core.patch import FIELD
from webhook.core.shown import MAX_CHARS

__all__ = ["Injected", "ManifestError", "inject"]

Kind = tuple[str | None, str | None]
"""apiVersion and kind."""
NO_KIND: Kind = (None, None)
PATCHED: Mapping[Kind, PatchedKind] = {(kind.api_version, kind.name): kind for kind in KINDS.values()}
LISTS: Mapping[Kind, Kind] = {("v1", "List"): NO_KIND} | {(api, f"{name}List"): (api, name) for api, name in PATCHED}
"""And what their items are that do not say it."""


@dataclass(frozen=True, slots=True)
class Injected:
    """`changed`: what now has the reference, in order, like `Deployment default/app`."""

    text: str
    changed: tuple[str, ...]


def inject(text: str, *, secret: str, templates: bool = True) -> Injected:
    """`secret`: a Kubernetes name; `templates`: whether the webhook patches them, or pods only.

    Raises ManifestError for what cannot be read, or not be changed with certainty.
    """
    manifest = Manifest(text)
    editor = Editor(manifest, secret)
    edits, changed = [], []
    for kind, item in _objects(manifest.documents):
        spec = _pod_spec(kind, item) if templates or not kind.has_template else None
        edit = editor.edit(*spec) if spec else None
        if edit is not None:
            edits.append(edit)
            changed.append(_title(kind, item))
    return Injected(_applied(manifest, edits) if edits else text, tuple(changed))


def _objects(documents: Sequence[Node]) -> Iterator[tuple[PatchedKind, Node]]:
    """What the webhook patches, also in lists, in order."""
    waiting = [(NO_KIND, document) for document in reversed(documents)]
    seen: set[int] = set()
    while waiting:
        default, node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        kind = (node.text("apiVersion"), node.text("kind"))
        kind = default if kind == NO_KIND else kind
        if kind in PATCHED:
            yield PATCHED[kind], node
        elif kind in LISTS and (items := node.get("items")) and items.type is yaml.SequenceStartEvent:
            if id(items) not in seen:  # an alias for all items of another list
                waiting += [(LISTS[kind], item.real) for item in reversed(items.children)]
            seen.add(id(items))


def _pod_spec(kind: PatchedKind, item: Node) -> tuple[Node, Node] | None:
    """The key `spec` of the pod or template, and its value. None: not ours to touch."""
    if _opted_out(item) or (not kind.has_template and item.get("metadata", "annotations", MIRROR)):
        return None
    pod = item.get(*kind.at[:-1])
    if pod is None or _opted_out(pod):
        return None
    spec = pod.pair(kind.at[-1])
    return spec if spec and spec[1].real.type is yaml.MappingStartEvent else None


def _opted_out(item: Node) -> bool:
    return item.text("metadata", "labels", INJECT) == DISABLED


def _title(kind: PatchedKind, item: Node) -> str:
    name = item.text("metadata", "name") or item.text("metadata", "generateName") or "without a name"
    namespace = item.text("metadata", "namespace")
    place = f"{namespace[:MAX_CHARS]}/" if namespace else ""
    title = f"{kind.name} {place}{name[:MAX_CHARS]}"
    return title if title.isprintable() else ascii(title)


def _applied(manifest: Manifest, edits: Sequence[Edit]) -> str:
    parts, at = [], 0
    for edit in edits:
        parts += [manifest.text[at : edit.start], edit.text]
        at = edit.end
    after = "".join([*parts, manifest.text[at:]])
    wrong = _misplaced(after, manifest, edits)
    if wrong is not None:
        how = "cannot be added here by inserting text; write it out as a list with dashes"
        raise wrong.at.start.wrong(f"{FIELD} {how}")
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
