"""The images of a pod in a review, and where it must run. Pure.

This is read only if the configuration has mirrors whose names images get, or while a review waits (detach). The API
server has not checked the pod yet: a name may be anything, and a list may have a million entries.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeVar

import msgspec

T = TypeVar("T")

REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
"""Labels of nodes."""
MAX_KEPT_BYTES = 32 * 1024
"""Bytes of all lists together that are kept while a review waits: enough for two hundred containers."""
MAX_READ_BYTES = 128 * 1024
"""Bytes of a list that is read. Whoever reaches the port may send millions of empty containers: to read them would take
the memory of the process.
"""
MAX_IMAGES = 200
"""Containers or volumes in one list of a pod. The images of one with more stay as they are."""
_NULL, _TOO_LONG = msgspec.Raw(b"null"), msgspec.Raw(b'"too long"')
_IMAGE = re.compile(b'image":')
"""Of a volume. It begins with no quote, of which there are many: to look for one took half as long again."""


_UNREADABLE = msgspec.MsgspecError, UnicodeDecodeError, RecursionError


class Container(msgspec.Struct, rename="camel", omit_defaults=True, frozen=True):
    """Or a volume. `name`: as PodImage.of."""

    name: str = ""
    image: str | None = None
    image_pull_policy: str = ""


class _ImageSource(msgspec.Struct, rename="camel", omit_defaults=True):
    reference: str | None = None
    pull_policy: str = ""


class _Volume(msgspec.Struct, omit_defaults=True):
    name: str = ""
    image: _ImageSource | None = None


class _Places(msgspec.Struct, rename={"region": REGION, "zone": ZONE}, omit_defaults=True):
    region: str = ""
    zone: str = ""


class _Requirement(msgspec.Struct, omit_defaults=True):
    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class _Term(msgspec.Struct, rename="camel", omit_defaults=True):
    match_expressions: list[_Requirement] | None = None


class _Terms(msgspec.Struct, rename="camel", omit_defaults=True):
    node_selector_terms: list[_Term] = []


class _NodeAffinity(msgspec.Struct, rename="camel", omit_defaults=True):
    required_during_scheduling_ignored_during_execution: _Terms | None = None


class _Affinity(msgspec.Struct, rename="camel", omit_defaults=True):
    node_affinity: _NodeAffinity | None = None


Containers = tuple[Container, ...]
Written = msgspec.Raw | Containers | None
"""A list of containers as it is in a review, or read."""


class PodLists(Protocol):
    """What is read of a pod's spec only if its images may be rewritten."""

    @property
    def containers(self) -> Written: ...
    @property
    def init_containers(self) -> Written: ...

    ephemeral_containers: msgspec.Raw
    volumes: msgspec.Raw
    node_selector: msgspec.Raw
    affinity: msgspec.Raw


Images = tuple[tuple[str, Containers], ...]
"""The lists of a pod, each with its key; what has no image is there for the others' places."""


class PodImage(msgspec.Struct, frozen=True):
    """`path`: a JSON pointer to its name. `of`: the container, or `volumes/` and the volume, that has it."""

    path: str
    of: str
    image: str
    policy: str


_CONTAINERS = msgspec.json.Decoder(tuple[Container, ...])
_VOLUMES = msgspec.json.Decoder(tuple[_Volume, ...])
_PLACES = msgspec.json.Decoder(_Places)
_AFFINITY = msgspec.json.Decoder(_Affinity)
_DECODERS: Mapping[str, msgspec.json.Decoder[Any]] = {
    "containers": _CONTAINERS,
    "init_containers": _CONTAINERS,
    "ephemeral_containers": _CONTAINERS,
    "volumes": _VOLUMES,
    "node_selector": _PLACES,
    "affinity": _AFFINITY,
}
_ENCODE = msgspec.json.Encoder().encode


def detach(lists: PodLists) -> None:
    """Keeps what is read of each, and nothing of the review's body. What is too long stays too long."""
    left = MAX_KEPT_BYTES
    for name, decoder in _DECODERS.items():
        raw: Written = getattr(lists, name)
        if raw is not None and raw != _NULL:
            found = raw if isinstance(raw, tuple) else _decoded(decoder, raw)
            kept = _TOO_LONG if found is None else msgspec.Raw(_ENCODE(found))
            kept = kept if len(kept) <= left else _TOO_LONG
            left -= len(kept)
            setattr(lists, name, kept)


def of_new_pod(lists: PodLists) -> Images | None:
    """Of all containers and image volumes. None: they are too many, or cannot be read."""
    containers, first = lists.containers, lists.init_containers
    if isinstance(containers, msgspec.Raw):
        try:
            containers = _CONTAINERS.decode(containers)
        except _UNREADABLE:
            return None
    if containers is None or len(containers) > MAX_IMAGES:
        return None
    found: Images = (("containers", containers),)
    # Nearly no pod has more, and this is part of each review.
    if first is not None and first != _NULL:
        if isinstance(first, msgspec.Raw):
            first = _decoded(_CONTAINERS, first)
        if first is None or len(first) > MAX_IMAGES:
            return None
        found = (("initContainers", first), *found)
    if _IMAGE.search(lists.volumes):
        volumes = _decoded(_VOLUMES, lists.volumes)
        if volumes is None or len(volumes) > MAX_IMAGES:
            return None
        found = (*found, ("volumes", tuple(map(_of_volume, volumes))))
    return found


def of_debugged_pod(lists: PodLists, before: PodLists | None) -> Images | None:
    """Of the ephemeral containers that it did not have `before`; an image that one has cannot be changed."""
    had = before is not None and before.ephemeral_containers != _NULL
    known = _decoded(_CONTAINERS, before.ephemeral_containers) if before is not None and had else ()
    new = _decoded(_CONTAINERS, lists.ephemeral_containers)
    if new is None or known is None or len(new) > MAX_IMAGES:
        return None
    names = {c.name for c in known}
    return (("ephemeralContainers", tuple(Container() if c.name in names else c for c in new)),)


def _of_volume(volume: _Volume) -> Container:
    """Without a name if it has no image: that of a token is another one in each pod."""
    if volume.image is None:
        return Container()
    return Container(f"volumes/{volume.name}", volume.image.reference, volume.image.pull_policy)


def each(images: Images) -> Iterator[PodImage]:
    for key, entries in images:
        last = "image/reference" if key == "volumes" else "image"
        for at, one in enumerate(entries):
            if one.image:
                yield PodImage(f"/spec/{key}/{at}/{last}", one.name, one.image, one.image_pull_policy)


def hard_places(lists: PodLists) -> frozenset[str]:
    """Regions and zones outside of which the scheduler never places the pod."""
    found = set[str]()
    if lists.node_selector != _NULL and (selected := _decoded(_PLACES, lists.node_selector)):
        found |= {selected.region, selected.zone} - {""}
    if lists.affinity != _NULL and (affinity := _decoded(_AFFINITY, lists.affinity)) and affinity.node_affinity:
        required = affinity.node_affinity.required_during_scheduling_ignored_during_execution
        # A node must match one of the terms, so only what all of them say is sure.
        terms = [frozenset(_of_term(term)) for term in required.node_selector_terms] if required else []
        found |= frozenset.intersection(*terms) if terms else frozenset()
    return frozenset(found)


def _of_term(term: _Term) -> Iterator[str]:
    for one in term.match_expressions or ():
        if one.key in (REGION, ZONE) and one.operator == "In" and one.values is not None and len(one.values) == 1:
            yield one.values[0]


def _decoded(decoder: "msgspec.json.Decoder[T]", raw: msgspec.Raw) -> T | None:
    """None: it is too long, has another form, or nests deeper than it can."""
    if len(raw) > MAX_READ_BYTES:
        return None
    try:
        return decoder.decode(raw)
    except _UNREADABLE:
        return None
