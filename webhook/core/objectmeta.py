"""The metadata of an object in a review: of a pod, of a pod template, or of what has the template. Pure.

Only what decides is decoded: of labels and annotations a tenant's object may have any number. What is not needed of
each pod stays bytes until it is asked for.
"""

import re

import msgspec

from webhook.core import podimages
from webhook.core.names import APPLIED_BY_HELM, APPLIED_BY_KUBECTL, IMAGES, INJECT, MIRROR
from webhook.core.rewrite import MAX_ORIGINALS_BYTES, Made

MAX_NAME_CHARS = 253
"""Characters, as in the API: of a namespace's name there are 63, of a UID 36."""

_NULL, _ANYTHING, _APPLIED = msgspec.Raw(b"null"), msgspec.Raw(b"[]"), msgspec.Raw(b'[{"operation":"Apply"}]')
_OPERATED = msgspec.Raw(b'[{"apiVersion":"operator.example.com/v1"}]')
_REPLICA_SET = re.compile(rb'\[{"apiVersion":"apps/v1",[^{]{0,1024}+')
"""How the API server writes that the one owner is a ReplicaSet, or another controller of that group."""
_KUBERNETES = frozenset({"v1", "apps/v1", "batch/v1"})
"""The API versions of what Kubernetes itself makes pods of."""


class Labels(msgspec.Struct, rename={"inject": INJECT}):
    inject: str | None = None


class Annotations(
    msgspec.Struct,
    rename={
        "mirror": MIRROR,
        "inject": INJECT,
        "images": IMAGES,
        "by_kubectl": APPLIED_BY_KUBECTL,
        "by_helm": APPLIED_BY_HELM,
    },
):
    """Of `inject`, which is a label, it only counts that it is there; and of what tools write when they apply."""

    mirror: str | msgspec.UnsetType | None = msgspec.UNSET
    inject: str | msgspec.UnsetType | None = msgspec.UNSET
    images: str | None = None
    by_kubectl: msgspec.Raw = _NULL
    by_helm: msgspec.Raw = _NULL


class Manager(msgspec.Struct):
    """Of an object's fields."""

    operation: str = ""


class OwnerReference(msgspec.Struct, rename="camel"):
    api_version: str = ""


class Metadata(msgspec.Struct, rename="camel"):
    """The labels and annotations that matter: the others, a tenant's any number, are skipped over.

    `generate_name`: only for the log.
    """

    labels: Labels | None = None
    annotations: Annotations | None = None
    generate_name: msgspec.Raw = _NULL
    owner_references: msgspec.Raw = _NULL
    managed_fields: msgspec.Raw = _NULL

    @property
    def begins(self) -> str:
        """The beginning of the name that the object will get; empty if that is no text."""
        try:
            return f"{_TEXT.decode(self.generate_name) or ''}..."
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return ""

    @property
    def made(self) -> Made:
        """By somebody who may apply this object again, by a controller that is none of Kubernetes, or else."""
        if _REPLICA_SET.fullmatch(self.owner_references):  # nearly all; to decode it takes a microsecond
            return ""
        if self.owner_references == _NULL:
            return "applied" if self._is_applied() else ""
        return "operated" if self._is_operated() else ""

    def _is_applied(self) -> bool:
        annotations = self.annotations
        if annotations is not None and (annotations.by_kubectl != _NULL or annotations.by_helm != _NULL):
            return True
        if len(self.managed_fields) > podimages.MAX_READ_BYTES:
            return False  # of such a pod no image is looked at
        try:
            managers = _MANAGERS.decode(self.managed_fields)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return False
        return any(one.operation == "Apply" for one in managers or ())

    def _is_operated(self) -> bool:
        if len(self.owner_references) > podimages.MAX_READ_BYTES:
            return True
        try:
            references = _OWNERS.decode(self.owner_references)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return True
        return any(one.api_version not in _KUBERNETES for one in references or ())


_TEXT = msgspec.json.Decoder(str | None)
_MANAGERS = msgspec.json.Decoder(list[Manager] | None)
_OWNERS = msgspec.json.Decoder(list[OwnerReference] | None)


def detach(metadata: Metadata) -> None:
    """Keeps little, which says the same, and nothing of the review's body. What is cut is still too long."""
    if metadata.labels is not None and metadata.labels.inject is not None:
        metadata.labels.inject = metadata.labels.inject[: MAX_NAME_CHARS + 1]
    if (annotations := metadata.annotations) is not None:
        # That they are there is all that counts.
        annotations.mirror = annotations.mirror and ""
        annotations.inject = annotations.inject and ""
        annotations.by_kubectl, annotations.by_helm = _there(annotations.by_kubectl), _there(annotations.by_helm)
        if (images := annotations.images) is not None:
            annotations.images = images[: MAX_ORIGINALS_BYTES + 1] if images.isascii() else ""
    made = metadata.made  # it stays so, in few bytes
    metadata.managed_fields = _APPLIED if made == "applied" else _NULL
    metadata.owner_references = _OPERATED if made == "operated" else _there(metadata.owner_references)
    name = metadata.generate_name
    metadata.generate_name = msgspec.Raw(bytes(name)) if len(name) <= MAX_NAME_CHARS else _NULL


def _there(raw: msgspec.Raw) -> msgspec.Raw:
    return _NULL if raw == _NULL else _ANYTHING
