"""Before `helm install`: can the cluster take the chart, and may this user install it?"""

from collections.abc import AsyncIterator, Awaitable, Container, Sequence

import msgspec

from webhook.commands.cluster_view import REGISTRATION
from webhook.commands.installation import apiserver, nodeclocks, rights
from webhook.commands.installation.checklist import Check
from webhook.commands.installation.rights import ADMISSION, CLUSTER_WIDE, NET
from webhook.config.models import ALWAYS_EXCLUDED, Config
from webhook.core.errors import PullsecretError
from webhook.core.names import MANAGED_BY, MANAGER, OWNER
from webhook.core.shown import counted, few, quoted, shown, some
from webhook.core.wire import Unreadable
from webhook.kube.cluster import Cluster, ClusterError, Meta, Object, decode, is_name
from webhook.kube.listing import listed

CLUSTER, NAMESPACE = "Cluster", "Namespace"
ENFORCE = "pod-security.kubernetes.io/enforce"
_MOVING = "see docs/moving.md"
MAX_SAID_CHARS = 300
MAX_TOLD = 5
"""Of what is listed; for the others their number."""
PATCHER = "imagepullsecret-patcher"
_PRODUCTS = (
    ("the Kyverno policy", "kyverno.io/v1", ("clusterpolicies", "policies")),
    ("the Kyverno policy", "policies.kyverno.io/v1", ("mutatingpolicies",)),
    ("the MutatingAdmissionPolicy", f"{ADMISSION}/v1", (NET[0],)),
)


class _Condition(msgspec.Struct, frozen=True):
    type: str = ""
    status: str = ""
    message: str = ""


class _NamespaceStatus(msgspec.Struct, frozen=True):
    conditions: list[_Condition] | None = None


class Namespace(msgspec.Struct):
    metadata: Meta
    status: _NamespaceStatus = _NamespaceStatus()


class _NodeInfo(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_version: str = ""
    operating_system: str = ""
    architecture: str = ""


class _NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    node_info: _NodeInfo = _NodeInfo()
    conditions: list[_Condition] | None = None


class Node(msgspec.Struct):
    metadata: Meta
    status: _NodeStatus = _NodeStatus()

    @property
    def ready(self) -> bool:
        return any(one.type == "Ready" and one.status == "True" for one in self.status.conditions or ())


class _Mutating(msgspec.Struct):
    """A policy of another product, whole: only whether it speaks of imagePullSecrets counts."""

    metadata: Meta
    spec: msgspec.Raw = msgspec.Raw(b"{}")


async def checks(cluster: Cluster, namespace: str | None) -> AsyncIterator[Check]:
    """`namespace`: into which it is to be installed. Raises PullsecretError if the API server does not answer."""
    namespace = namespace or Config().namespace
    for one in await apiserver.checks(cluster):
        yield one
    served = await apiserver.resources(cluster, f"{ADMISSION}/v1") or frozenset()
    for one in admission(served):
        yield one
    space = await _space(cluster, namespace)
    may = rights.check(cluster, namespace, net=served.issuperset(NET), new=space is None)
    yield await _known(rights.SECTION, rights.NAME, may)
    yield space if isinstance(space, Check) else target(namespace, space)
    yield await _known(CLUSTER, "earlier installation", _leftovers(cluster))
    yield await _known(CLUSTER, "pull secrets", _pull_secrets(cluster))
    yield await _known(CLUSTER, "other products", _others(cluster))
    yield await _known(CLUSTER, "cert-manager", _cert_manager(cluster))
    yield await _known(CLUSTER, "owners", _owned(cluster))
    yield await _known(nodeclocks.SECTION, "nodes", _nodes(cluster))
    yield await nodeclocks.check(cluster)


async def _known(section: str, name: str, look: Awaitable[Check]) -> Check:
    try:
        return await look
    except PullsecretError as e:
        return Check(section, name, "unknown", str(e))


def admission(served: Container[str]) -> list[Check]:
    """`served`: the kinds of admissionregistration.k8s.io/v1."""
    missing = [kind for kind in CLUSTER_WIDE[ADMISSION] if kind not in served]
    if missing:
        why = f"the API server does not serve {', '.join(missing)} of {ADMISSION}/v1"
        first = Check(apiserver.SECTION, "admission", "wrong", why, "see its flag --runtime-config")
    else:
        first = Check(apiserver.SECTION, "admission", "right", "webhooks and policies are served")
    if all(kind in served for kind in NET):
        return [first, Check(apiserver.SECTION, "safety net", "right", "MutatingAdmissionPolicy v1 is served")]
    why = "there is no MutatingAdmissionPolicy v1 (Kubernetes 1.36), so the chart leaves it out"
    return [first, Check(apiserver.SECTION, "safety net", "absent", why)]


async def _space(cluster: Cluster, name: str) -> Namespace | Check | None:
    if not is_name(name):
        return Check(NAMESPACE, quoted(name), "wrong", "that is not the name of a namespace", "name another with -n")
    try:
        raw = await cluster.call("GET", f"/api/v1/namespaces/{name}")
        return await decode(msgspec.json.Decoder(Namespace), raw)
    except (ClusterError, Unreadable) as e:
        if isinstance(e, ClusterError) and e.status == 404:
            return None
        return Check(NAMESPACE, name, "unknown", f"it cannot be read ({e})")


def target(name: str, space: Namespace | None) -> Check:
    """The namespace into which it is to be installed."""
    if name == "default" or name in ALWAYS_EXCLUDED:
        why = "whoever reads Secrets there reads all owners' tokens, and the webhook does not serve its own namespace"
        return Check(NAMESPACE, name, "wrong", why, f"install it in one of its own, such as -n {Config().namespace}")
    if space is None:
        return Check(NAMESPACE, name, "absent", "it is not there yet", "helm install --create-namespace makes it")
    if space.metadata.deletion_timestamp is not None:
        held = [
            one.message for one in space.status.conditions or () if one.status == "True" and "Remaining" in one.type
        ]
        why = shown(": ".join(["it is being deleted", *filter(None, ["; ".join(few(held))])]), MAX_SAID_CHARS)
        return Check(NAMESPACE, name, "wrong", why, "wait for its end, or remove what holds it")
    level = (space.metadata.labels or {}).get(ENFORCE, "")
    if level in ("restricted", "baseline"):
        why = f"its label {ENFORCE} is {level}: the chart's pods may run, but not with hostNetwork"
        return Check(NAMESPACE, name, "right", why)
    return Check(NAMESPACE, name, "right", "it is there")


async def _leftovers(cluster: Cluster) -> Check:
    """What the chart makes outside of a namespace, under fixed names."""
    found = list[tuple[str, Meta]]()
    for group, kinds in CLUSTER_WIDE.items():
        for kind in kinds:
            objects = listed(cluster, kind, f"/apis/{group}/v1/{kind}", Object, metadata_only=True)
            found += [(kind, one.metadata) async for one in objects if _ours(one.metadata.name)]
    return leftovers(found)


def _ours(name: str) -> bool:
    return name == REGISTRATION or name.startswith(f"{REGISTRATION}-")


def leftovers(found: Sequence[tuple[str, Meta]]) -> Check:
    name = "earlier installation"
    if not found:
        return Check(CLUSTER, name, "absent", "nothing is left of one")
    what = some([f"{kind}/{meta.name}" for kind, meta in found])
    if any(kind == "mutatingwebhookconfigurations" for kind, _ in found):
        why = f"it is installed already, or its registration is left: {what}{_release(found)}"
        hint = "pullsecret doctor cluster, without --pre, looks at it; delete what is left of one that is gone"
        return Check(CLUSTER, name, "wrong", why, hint)
    return Check(CLUSTER, name, "warning", f"left: {what}{_release(found)}", "delete it, or install under that release")


def _release(found: Sequence[tuple[str, Meta]]) -> str:
    for _, meta in found:
        notes = meta.annotations or {}
        if release := notes.get("meta.helm.sh/release-name"):
            where = notes.get("meta.helm.sh/release-namespace", "")
            return f" (of the Helm release {quoted(release)} in {quoted(where)})"
    return ""


async def _pull_secrets(cluster: Cluster) -> Check:
    """Ours are kept by default when the chart is uninstalled."""
    query = {"labelSelector": f"{MANAGED_BY}={MANAGER}"}
    objects = listed(cluster, "Secrets", "/api/v1/secrets", Object, query=query, metadata_only=True)
    number = len([one async for one in objects])
    if not number:
        return Check(CLUSTER, "pull secrets", "absent", "there are none of an earlier installation")
    why = f"{counted(number, 'Secret')} of an earlier installation, which goes on"
    return Check(CLUSTER, "pull secrets", "right", why)


async def _others(cluster: Cluster) -> Check:
    """Only what is surely so: policies that speak of imagePullSecrets, and one product by its name."""
    found = list[str]()
    for what, group_version, kinds in _PRODUCTS:
        served = await apiserver.resources(cluster, group_version)
        for kind in kinds:
            if served is None or kind not in served:
                continue
            async for one in listed(cluster, kind, f"/apis/{group_version}/{kind}", _Mutating):
                if not _ours(one.metadata.name) and mutates_pull_secrets(bytes(one.spec)):
                    found.append(f"{what} {quoted(one.metadata.name)}")
    query = {"fieldSelector": f"metadata.name={PATCHER}"}
    path = "/apis/apps/v1/deployments"
    async for deployment in listed(cluster, "Deployments", path, Object, query=query, metadata_only=True):
        found.append(f"the Deployment {PATCHER} in {quoted(deployment.metadata.namespace)}")
    if not found:
        return Check(CLUSTER, "other products", "right", "none is known that also sets imagePullSecrets")
    return Check(
        CLUSTER, "other products", "warning", f"also set imagePullSecrets: {'; '.join(few(found, MAX_TOLD))}", _MOVING
    )


def mutates_pull_secrets(spec: bytes) -> bool:
    """Of a policy, as JSON. Kyverno's ClusterPolicies also validate, which changes nothing."""
    return b"imagePullSecrets" in spec and (b'"mutate"' in spec or b'"mutations"' in spec)


async def _cert_manager(cluster: Cluster) -> Check:
    there = await apiserver.resources(cluster, "cert-manager.io/v1") is not None
    why = f"it is {'' if there else 'not '}there; the chart needs it only with tls.mode cert-manager"
    return Check(CLUSTER, "cert-manager", "right" if there else "absent", why)


async def _nodes(cluster: Cluster) -> Check:
    return nodes([one async for one in listed(cluster, "nodes", "/api/v1/nodes", Node)])


def nodes(found: Sequence[Node]) -> Check:
    kubelets = sorted({shown(one.status.node_info.kubelet_version, 40) for one in found})
    systems = sorted(
        {f"{info.operating_system}/{info.architecture}" for info in (one.status.node_info for one in found)}
    )
    why = f"{counted(len(found), 'node')}, {some(systems)}, kubelet {some(kubelets)}"
    linux = [one for one in found if one.status.node_info.operating_system == "linux"]
    if not any(one.ready for one in linux):
        why = "no Linux node is ready, and the webhook's pods need one"
        return Check(nodeclocks.SECTION, "nodes", "wrong", why, "see kubectl get nodes")
    if len(linux) < len(found):
        hint = "set nodeSelector: {kubernetes.io/os: linux} in the chart's values"
        return Check(nodeclocks.SECTION, "nodes", "warning", f"{why}: some are not Linux", hint)
    if unready := [one.metadata.name for one in found if not one.ready]:
        why = f"{why}; not ready: {some(unready)}"
        return Check(nodeclocks.SECTION, "nodes", "warning", why, "see kubectl get nodes")
    return Check(nodeclocks.SECTION, "nodes", "right", why)


async def _owned(cluster: Cluster) -> Check:
    objects = listed(cluster, "namespaces", "/api/v1/namespaces", Object, metadata_only=True)
    labels = [one.metadata.labels or {} async for one in objects]
    number = sum(OWNER in one for one in labels)
    why = f"{number:,} of {counted(len(labels), 'namespace')} have the label {OWNER}, which is the default rule"
    return Check(CLUSTER, "owners", "right" if number else "absent", why)
