"""AdmissionReview v1: decode the few fields that matter, encode the answer. One pass over the bytes.

Shapes: k8s.io/api/admission/v1. The API server has already decoded and defaulted the object, so a field of another
type than below means that the sender is no API server.
"""

from collections.abc import Sequence
from typing import Annotated, Any, Generic, TypeVar

import msgspec

from webhook.core import objectmeta, podimages
from webhook.core.errors import MalformedReview
from webhook.core.kinds import KINDS, PatchedKind
from webhook.core.mistakes import opting_out
from webhook.core.names import DISABLED
from webhook.core.objectmeta import MAX_NAME_CHARS, Metadata
from webhook.core.wire import decode_at_once

API_VERSION = "admission.k8s.io/v1"


MAX_LIST_BYTES = 64 * 1024
"""Bytes of a list of imagePullSecrets that are looked at: hundreds of entries. We see pods before the API server has
checked them, and a tenant's pod may have a million."""

EPHEMERAL_CONTAINERS = "ephemeralcontainers"
"""The subresource of a pod by which `kubectl debug` adds containers."""

_NULL = msgspec.Raw(b"null")
R = TypeVar("R", bound="Bare")
Short = Annotated[str, msgspec.Meta(max_length=MAX_NAME_CHARS)]


class TooDeep(MalformedReview):
    """`decode` cannot read it before `wire.cut` has cut it."""


class Reference(msgspec.Struct):
    name: str | None = None


class PodSpec(msgspec.Struct, rename="camel"):
    image_pull_secrets: msgspec.Raw = _NULL
    service_account_name: str | None = None

    @property
    def too_long(self) -> bool:
        return len(self.image_pull_secrets) > MAX_LIST_BYTES

    @property
    def names(self) -> list[str | None] | None:
        """The names in the list, in order; None when there is no list, or one too long. Raises MalformedReview."""
        if self.image_pull_secrets == _NULL or self.too_long:
            return None
        try:
            references = _REFERENCES.decode(self.image_pull_secrets)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise MalformedReview("imagePullSecrets is no list of references") from None
        return None if references is None else [one.name if one else None for one in references]


class Template(msgspec.Struct):
    metadata: Metadata | None = None
    spec: PodSpec | None = None

    @property
    def inject(self) -> str | None:
        """The value of the label."""
        return self.metadata.labels.inject if self.metadata and self.metadata.labels else None

    @property
    def mistakes(self) -> list[str]:
        """What is meant to opt out and does not."""
        annotations = self.metadata.annotations if self.metadata else None
        return opting_out(self.inject, annotated=bool(annotations and annotations.inject is not msgspec.UNSET))


class Spec(PodSpec):
    """A Pod's spec, or that of another kind, which has a template instead. It has what podimages.py reads."""

    template: Template | None = None
    containers: msgspec.Raw = _NULL
    init_containers: msgspec.Raw = _NULL
    ephemeral_containers: msgspec.Raw = _NULL
    volumes: msgspec.Raw = _NULL
    node_selector: msgspec.Raw = _NULL
    affinity: msgspec.Raw = _NULL


class ReadSpec(Spec):
    """The same, its containers already read. None: there are none, which is no pod."""

    containers: tuple[podimages.Container, ...] | None = None  # type: ignore[assignment]  # podimages.py takes both
    init_containers: tuple[podimages.Container, ...] | None = None  # type: ignore[assignment]


class Object(Template):
    spec: Spec | None = None

    @property
    def template(self) -> Template | None:
        return self.spec.template if self.spec else None

    @property
    def mirror(self) -> bool:
        return bool(
            self.metadata and self.metadata.annotations and self.metadata.annotations.mirror is not msgspec.UNSET
        )


class ReadObject(Object):
    spec: ReadSpec | None = None


class Kind(msgspec.Struct):
    group: str = ""
    kind: str = ""


class Bare(msgspec.Struct):
    """What a review of a kind that is not ours is decoded to: its object may have any shape."""

    uid: Short
    kind: Kind
    operation: str


class Request(Bare, rename="camel"):
    namespace: Short = ""
    name: Short = ""
    sub_resource: str = ""
    dry_run: bool | None = None
    object: Object | None = None
    old_object: Object | None = None
    size: int = 0
    """Bytes of the review."""

    @property
    def annotated(self) -> bool:
        """Has the object annotations?"""
        return bool(self.object and self.object.metadata and self.object.metadata.annotations is not None)

    @property
    def called(self) -> str:
        """Its name, or the beginning of the name that it will get."""
        metadata = self.object.metadata if self.object else None
        return self.name or (metadata.begins if metadata else "")


class ReadRequest(Request, rename="camel"):
    object: ReadObject | None = None


class Review(msgspec.Struct, Generic[R], rename="camel"):
    api_version: str
    kind: str
    request: R


_REFERENCES = msgspec.json.Decoder(list[Reference | None] | None)
_DECODER = msgspec.json.Decoder(Review[Request])
_READER = msgspec.json.Decoder(Review[ReadRequest])
_ACTED_ON = {(*key, operation): kind for key, kind in KINDS.items() for operation in kind.operations}
_BARE = msgspec.json.Decoder(Review[Bare])


class Target(msgspec.Struct, frozen=True):
    """The pod, or the pod template, that a review is about.

    `kind`: of the object; `names`: the pull secrets that it lists, None without a list; `mistakes`: what is meant to
    opt out and does not; `debugged`: the pod runs, and gets ephemeral containers.
    """

    kind: PatchedKind
    names: list[str | None] | None
    account: str
    opted_out: bool
    too_long: bool = False
    mistakes: Sequence[str] = ()
    debugged: bool = False


def decode(body: bytes | bytearray) -> Request:
    """Lists of imagePullSecrets are not looked into yet. Raises MalformedReview, and of that TooDeep."""
    try:
        review = decode_at_once(_DECODER, body)
    except RecursionError:
        raise TooDeep("it nests too deep") from None
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _other_kind(body)
    request = _checked(review)
    request.size = len(body)
    return request


def read(body: bytes | bytearray) -> Request:
    """The same, where images of pods are looked at: the containers are read in this pass, and not once more later."""
    if len(body) > podimages.MAX_READ_BYTES:
        return decode(body)
    try:
        review = _READER.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return decode(body)  # the containers may be what cannot be read, and the rest counts without them
    request = _checked(review)
    request.size = len(body)
    return request


def detached(request: Request) -> Request:
    """The same, for a review that has to wait: nothing of its body stays in memory, and little of what is in it."""
    for whole in filter(None, (request.object, request.old_object)):
        if whole.spec is not None:
            podimages.detach(whole.spec)
        for part in filter(None, (whole, whole.template)):
            if part.metadata is not None:
                objectmeta.detach(part.metadata)
            if part.spec is not None:
                _detach(part.spec)
    return request


def _detach(spec: PodSpec) -> None:
    """What is cut is still too long, and says the same."""
    spec.image_pull_secrets = msgspec.Raw(bytes(memoryview(spec.image_pull_secrets)[: MAX_LIST_BYTES + 1]))
    if spec.service_account_name is not None:
        spec.service_account_name = spec.service_account_name[: MAX_NAME_CHARS + 1]


def _other_kind(body: bytes | bytearray) -> Request:
    try:
        review = decode_at_once(_BARE, body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise MalformedReview("not an AdmissionReview") from None
    request = review.request
    if (request.kind.group, request.kind.kind) in KINDS:
        raise MalformedReview(f"not a valid {request.kind.kind}")
    _checked(review)
    return Request(request.uid, request.kind, request.operation)


def _checked(review: Review[R]) -> R:
    if review.api_version != API_VERSION or review.kind != "AdmissionReview":
        raise MalformedReview(f"only AdmissionReview of {API_VERSION} is answered")
    if not review.request.uid:
        raise MalformedReview("request.uid is missing")
    return review.request


def target(request: Request) -> Target | None:
    """None: the webhook patches nothing in such a review. Raises MalformedReview."""
    kind, debugged = _ACTED_ON.get((request.kind.group, request.kind.kind, request.operation)), False
    if request.sub_resource:
        kind, debugged = _debugged(request), True
    whole = request.object
    if kind is None or whole is None:
        return None
    pod = whole.template if kind.has_template else whole
    if pod is None or pod.spec is None or (pod is whole and whole.mirror):
        return None
    account, out = pod.spec.service_account_name or "default", DISABLED in (whole.inject, pod.inject)
    mistakes = whole.mistakes or pod.mistakes
    return Target(kind, pod.spec.names, account, out, pod.spec.too_long, mistakes, debugged)


def _debugged(request: Request) -> PatchedKind | None:
    if (request.sub_resource, request.operation) != (EPHEMERAL_CONTAINERS, "UPDATE"):
        return None
    kind = KINDS.get((request.kind.group, request.kind.kind))
    return None if kind is None or kind.has_template else kind


def old_names(request: Request) -> list[str | None]:
    """The pull secrets in the template as it was before an UPDATE. Raises MalformedReview."""
    old = request.old_object.template if request.old_object else None
    return old.spec.names or [] if old and old.spec else []


_ENCODE = msgspec.json.Encoder().encode


def answer(uid: str, patch: str = "", warnings: Sequence[str] = ()) -> bytes:
    """`patch`: as `patch.encoded` gives it. Always allowed: this webhook never refuses a pod."""
    response: dict[str, Any] = {"uid": uid, "allowed": True}
    if patch:
        response |= {"patchType": "JSONPatch", "patch": patch}
    if warnings:
        response["warnings"] = warnings
    return _ENCODE({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
