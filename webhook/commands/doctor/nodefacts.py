"""What the API server knows of a node: does the probe fit there, and what is there already?"""

from dataclasses import dataclass

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.core.errors import PullsecretError
from webhook.core.shown import quoted
from webhook.core.wire import Unreadable
from webhook.kube.cluster import FORBIDDEN, ClusterError, Meta, decode, is_name


class _NodeInfo(msgspec.Struct, frozen=True, rename="camel"):
    architecture: str = ""
    operating_system: str = ""


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""


class _NodeImage(msgspec.Struct, frozen=True):
    names: list[str] | None = None


class _NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    node_info: _NodeInfo = _NodeInfo()
    conditions: list[_Condition] | None = None
    images: list[_NodeImage] | None = None


class _Node(msgspec.Struct):
    metadata: Meta
    status: _NodeStatus = _NodeStatus()


_NODE = msgspec.json.Decoder(_Node)


@dataclass(frozen=True, slots=True)
class NodeFacts:
    """`images`: names of images on the node; the kubelet tells of the 50 largest only. `virtual`: it has no kubelet."""

    os: str
    architecture: str
    ready: bool
    virtual: bool
    images: frozenset[str]


async def read(view: ClusterView, node: str) -> NodeFacts | None:
    """None: this user may not read nodes. Raises PullsecretError."""
    if not is_name(node):
        raise PullsecretError(f"{quoted(node)} is not a valid name of a node")
    try:
        found = await decode(_NODE, await view.cluster.call("GET", f"/api/v1/nodes/{node}", within=30.0))
    except ClusterError as e:
        if e.status == 404:
            raise PullsecretError(f"there is no node {node}; kubectl get nodes lists them") from None
        if e.status == FORBIDDEN:
            view.cannot_read("nodes")
            return None
        raise PullsecretError(f"the node {node} cannot be read ({e})") from None
    except Unreadable as e:
        raise PullsecretError(f"the node {node} cannot be read ({e})") from None
    status, labels = found.status, found.metadata.labels or {}
    return NodeFacts(
        status.node_info.operating_system,
        status.node_info.architecture,
        any(one.type == "Ready" and one.status == "True" for one in status.conditions or ()),
        labels.get("type") == "virtual-kubelet" or labels.get("eks.amazonaws.com/compute-type") == "fargate",
        frozenset(name for image in status.images or () for name in image.names or ()),
    )


def unfit(node: str, facts: NodeFacts) -> str:
    """Why no probe can run on the node. Empty: it can."""
    if facts.virtual:
        return f"{node} is a virtual node, on which no pod has the node's network"
    if not facts.ready:
        return f"node {node} is not ready, so no pod starts there; see kubectl describe node {node}"
    if facts.os not in ("linux", ""):
        return f"node {node} runs {quoted(facts.os)}, and the webhook's image is for Linux"
    return ""
