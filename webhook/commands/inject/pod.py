"""A Pod of a manifest as the webhook would read it in a review.

Only what it reads is taken from the nodes, and a list that many pods share by aliases is taken once.
"""

from collections.abc import Mapping
from typing import TypeAlias

import msgspec
import yaml

from webhook.commands.inject.manifest import STR, Manifest, Node, Pair
from webhook.core.names import APPLIED_BY_HELM, APPLIED_BY_KUBECTL, IMAGES
from webhook.core.objectmeta import Metadata
from webhook.core.podimages import REGION, ZONE
from webhook.core.review import Kind, Object, Request

Shape: TypeAlias = "list[Shape] | Mapping[str, Shape] | None"
"""What is looked for: a list of such things, a mapping with these keys, or a text."""

_TEXT: Shape = None
_CONTAINERS: Shape = [{"name": _TEXT, "image": _TEXT, "imagePullPolicy": _TEXT}]
_EXPRESSIONS: Shape = [{"key": _TEXT, "operator": _TEXT, "values": [_TEXT]}]
_REQUIRED: Shape = {"nodeSelectorTerms": [{"matchExpressions": _EXPRESSIONS}]}
POD: Shape = {
    "metadata": {
        "annotations": {IMAGES: _TEXT, APPLIED_BY_KUBECTL: _TEXT, APPLIED_BY_HELM: _TEXT},
        "ownerReferences": [{"apiVersion": _TEXT}],
        "managedFields": [{"operation": _TEXT}],
    },
    "spec": {
        "initContainers": _CONTAINERS,
        "containers": _CONTAINERS,
        "volumes": [{"name": _TEXT, "image": {"reference": _TEXT, "pullPolicy": _TEXT}}],
        "nodeSelector": {REGION: _TEXT, ZONE: _TEXT},
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": _REQUIRED}},
    },
}
"""What core/review.py, core/objectmeta.py and core/podimages.py read, but for what decides on the reference."""

_ENCODE = msgspec.json.Encoder().encode
_NULL, _NONE = msgspec.Raw(b"null"), msgspec.Raw(b"[]")
_OBJECT = msgspec.json.Decoder(Object)


class Reviews:
    def __init__(self, manifest: Manifest) -> None:
        self._text = manifest.text
        self._lists: dict[tuple[Node, int], msgspec.Raw] = {}

    def __call__(self, pod: Node) -> Request:
        """Of its creation. As long as its text: that is about what the API server would send."""
        read = _OBJECT.decode(_ENCODE(self._read(pod, POD)))
        read.metadata = read.metadata or Metadata()  # the API server sends it in each review, like containers
        if read.spec is not None and read.spec.containers == _NULL:
            read.spec.containers = _NONE
        size = len(self._text[pod.start.start : pod.stop.end].encode())
        return Request("", Kind("", "Pod"), "CREATE", object=read, size=size)

    def _read(self, node: Node, shape: Shape) -> object:
        """None: it is not there, or something else, with which the API server refuses the pod."""
        if shape is None:
            return node.value if node.start.same[2] == STR else None
        if isinstance(shape, list):
            return self._list(node, shape) if node.type is yaml.SequenceStartEvent and node.children else None
        if node.type is not yaml.MappingStartEvent:
            return None
        found = ((key, of, node.pair(key)) for key, of in shape.items())
        read = ((key, self._read(pair[1].real, of)) for key, of, pair in found if pair is not None)
        return {key: value for key, value in read if value is not None}

    def _list(self, node: Node, shape: list[Shape]) -> msgspec.Raw:
        key = node, id(shape)
        if key not in self._lists:
            nothing: object = {} if isinstance(shape[0], Mapping) else ""  # what Go reads where null stands in a list
            read = (self._read(child.real, shape[0]) for child in node.children)
            self._lists[key] = msgspec.Raw(_ENCODE([nothing if value is None else value for value in read]))
        return self._lists[key]


def pair_at(pod: Node, pointer: str) -> Pair:
    """The key and the value that a JSON pointer leads to, which is there."""
    node, found = pod, None
    for word in pointer.split("/")[1:]:
        if node.type is yaml.SequenceStartEvent:
            node = node.children[int(word)].real
        elif (found := node.pair(word)) is not None:
            node = found[1].real
    assert found is not None
    return found
