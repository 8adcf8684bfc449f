"""JSON Patch (RFC 6902) that adds references to a list of imagePullSecrets, and names images anew; nothing else.

Written by hand: to compare two whole pods costs about 1,000 us, the operations below cost nothing. Each patch is
applied once with `jsonpatch`, to the part of the object that it touches, before it is sent: a patch that does not apply
makes the API server reject the pod, whatever the webhook's failurePolicy is. The patch that nearly every pod gets
depends on nothing in the pod, so it is proved only once. That of an image is proved once for each place in a pod.
"""

import base64
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypedDict

import jsonpatch
import msgspec

from webhook.core.kinds import POD_SPEC
from webhook.core.names import IMAGES

FIELD = "imagePullSecrets"
_ANNOTATIONS, _IMAGES = "/metadata/annotations", IMAGES.replace("~", "~0").replace("/", "~1")
_ENCODE = msgspec.json.Encoder().encode


class Operation(TypedDict):
    op: str
    path: str
    value: Any


class PatchDoesNotApply(Exception):
    """Our own bug: the review is answered with HTTP 500 and the cluster's failurePolicy decides."""


def add_references(present: Sequence[str | None] | None, missing: Sequence[str], at: Sequence[str]) -> list[Operation]:
    """`at`: the keys that lead to the pod's spec; `present`: the names in its list, None when it has no list."""
    if not missing:
        return []
    path = "/" + "/".join((*at, FIELD))
    references = [{"name": name} for name in missing]
    if present is None:
        operations: list[Operation] = [{"op": "add", "path": path, "value": references}]
    else:
        operations = [{"op": "add", "path": path + "/-", "value": reference} for reference in references]
    _prove(operations, present, missing, at)
    return operations


def encoded(operations: list[Operation]) -> str:
    """As an AdmissionReview carries a patch; empty without operations."""
    return base64.b64encode(_ENCODE(operations)).decode() if operations else ""


@lru_cache(maxsize=4)
def first_reference(name: str, at: tuple[str, ...]) -> str:
    """`encoded(add_references(None, [name], at))`, the same for nearly every pod: proved and encoded once."""
    return encoded(add_references(None, [name], at))


def new_names(names: Sequence[tuple[str, str]], originals: str, *, annotated: bool) -> list[Operation]:
    """`names`: a JSON pointer to each image that gets another name, and the name. `originals`: the annotation that says
    which they had; empty: none is written. `annotated`: the pod has annotations.
    """
    for path, _ in names:
        _prove_path(path)
    operations: list[Operation] = [{"op": "replace", "path": path, "value": name} for path, name in names]
    if originals and annotated:
        operations.append({"op": "add", "path": f"{_ANNOTATIONS}/{_IMAGES}", "value": originals})
    elif originals:
        operations.append({"op": "add", "path": _ANNOTATIONS, "value": {IMAGES: originals}})
    return operations


def of_images(
    present: tuple[str | None, ...] | None,
    missing: tuple[str, ...],
    names: tuple[tuple[str, str], ...],
    originals: str,
    annotated: bool,  # a cached function is called faster without keywords
) -> str:
    """The whole patch of a pod whose images get other names, encoded."""
    return encoded([*add_references(present, missing, POD_SPEC), *new_names(names, originals, annotated=annotated)])


kept_of_images = lru_cache(maxsize=256)(of_images)
"""The same, kept: a Deployment's pods are all alike. For small pods, of which 256 take little memory."""


@lru_cache(maxsize=1024)
def _prove_path(path: str) -> None:
    """It leads to one image, in a pod whose list is just long enough. Different paths do not touch each other."""
    _, _, key, at, *rest = path.split("/")
    image: dict[str, Any] = {"image": ""} if len(rest) == 1 else {"image": {"reference": ""}}
    before = {"spec": {key: [*({} for _ in range(int(at))), image]}}
    try:
        after = jsonpatch.apply_patch(before, [{"op": "replace", "path": path, "value": "new"}], in_place=True)
        last = after["spec"][key][int(at)]["image"]
        found = last if len(rest) == 1 else last["reference"]
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, LookupError, TypeError) as e:
        raise PatchDoesNotApply(type(e).__name__) from None
    if found != "new":
        raise PatchDoesNotApply("unexpected result")


def _prove(
    operations: list[Operation], present: Sequence[str | None] | None, missing: Sequence[str], at: Sequence[str]
) -> None:
    before: dict[str, Any] = {} if present is None else {FIELD: [{"name": name} for name in present]}
    for key in reversed(at):
        before = {key: before}
    try:
        after = jsonpatch.apply_patch(before, operations, in_place=True)
        for key in at:
            after = after[key]
        names = [reference["name"] for reference in after[FIELD]]
    except (jsonpatch.JsonPatchException, jsonpatch.JsonPointerException, LookupError, TypeError) as e:
        raise PatchDoesNotApply(type(e).__name__) from None
    if names != [*(present or ()), *missing]:
        raise PatchDoesNotApply("unexpected result")
