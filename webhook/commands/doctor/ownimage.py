"""The image of the webhook's own pods, which the probe runs."""

import re
from dataclasses import dataclass

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.core.errors import PullsecretError
from webhook.core.names import MIRROR, REPLICAS
from webhook.core.registry import repository
from webhook.kube.cluster import ClusterError, LocalReference, Meta, is_name
from webhook.kube.listing import Listing, kept

_DIGEST = re.compile(r"(?P<name>[^@]+)@sha256:[0-9a-f]{64}", re.ASCII)


class _ContainerStatus(msgspec.Struct, frozen=True):
    name: str = ""
    image_id: str = msgspec.field(name="imageID", default="")


class _Container(msgspec.Struct, frozen=True):
    name: str = ""
    image: str = ""


class _OwnSpec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""
    containers: tuple[_Container, ...] = ()
    image_pull_secrets: tuple[LocalReference, ...] | None = None


class _OwnStatus(msgspec.Struct, frozen=True, rename="camel"):
    phase: str = ""
    container_statuses: tuple[_ContainerStatus, ...] | None = None


class _Own(msgspec.Struct):
    """A pod of the chart's Deployment."""

    metadata: Meta
    spec: _OwnSpec = _OwnSpec()
    status: _OwnStatus = _OwnStatus()


_OWN = msgspec.json.Decoder(_Own)
_WEBHOOK = "webhook"
"""The container's name in the chart."""


@dataclass(frozen=True, slots=True)
class OwnImage:
    name: str
    pull_secrets: tuple[str, ...]


async def read(view: ClusterView, node: str) -> OwnImage:
    """As the webhook's running pods have it, that of the node itself first. Raises PullsecretError.

    A kubelet may make mirror pods in any namespace, of any image and with any label: a node that was taken over must
    not choose what runs on another one.
    """
    namespace, own = view.config.namespace, list[_Own]()
    try:
        path = f"/api/v1/namespaces/{namespace}/pods"
        async for raw in Listing(view.cluster, path, {"labelSelector": REPLICAS}):
            one = await kept(raw, _OWN, lambda pod: pod, lambda _: None)
            mirrors = one is not None and MIRROR in (one.metadata.annotations or {})
            if one is not None and one.status.phase == "Running" and not mirrors:
                own.append(one)
    except ClusterError as e:
        raise PullsecretError(
            f"the webhook's pods in {namespace}, whose image it runs, cannot be listed ({e})"
        ) from None
    for pod in sorted(own, key=lambda one: one.spec.node_name != node):
        named = next((one.image for one in pod.spec.containers if one.name == _WEBHOOK), "")
        ran = next((one.image_id for one in pod.status.container_statuses or () if one.name == _WEBHOOK), "")
        if named and ran:
            references = (one.name for one in pod.spec.image_pull_secrets or ())
            return OwnImage(by_digest(named, ran), tuple(filter(is_name, references)))
    raise PullsecretError(
        f"no pod of the webhook runs in {namespace}, and the probe runs its image; is the chart installed?"
    )


def by_digest(named: str, ran: str) -> str:
    """What runs, not what the tag is by now. An image that was brought to the nodes by hand has only its own name."""
    found = _DIGEST.fullmatch(ran)
    if "@" in named or found is None or repository(found["name"]) != repository(named):
        return named
    return ran
