"""May this user install the chart?"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

import msgspec

from webhook.commands.installation.checklist import Check
from webhook.config.models import Config
from webhook.kube import preflight
from webhook.kube.cluster import Cluster, decode
from webhook.kube.preflight import Right

SECTION, NAME = "Rights", "to install"
ADMISSION, RBAC = "admissionregistration.k8s.io", "rbac.authorization.k8s.io"
NET = "mutatingadmissionpolicies", "mutatingadmissionpolicybindings"
"""The safety net's."""
CLUSTER_WIDE = {
    ADMISSION: ("mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings"),
    RBAC: ("clusterroles", "clusterrolebindings"),
}
IN_NAMESPACE = {
    "": ("configmaps", "resourcequotas", "secrets", "serviceaccounts", "services"),  # Helm's release is in a Secret
    "apps": ("deployments",),
    "policy": ("poddisruptionbudgets",),
    RBAC: ("roles", "rolebindings"),
}
"""What the chart makes with its default values, which a test compares."""
VERBS = "create", "patch"
REPLICAS = 2
"""By default."""


class _Decision(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct):
    status: _Decision = _Decision()


_REVIEW = msgspec.json.Decoder(_Review)


async def check(cluster: Cluster, namespace: str, *, net: bool, new: bool) -> Check:
    """In this namespace. `net`: with the safety net; `new`: the namespace is not there yet."""
    needed = [Right("create", "namespaces")] if new else []
    wide = {**CLUSTER_WIDE, ADMISSION: (*CLUSTER_WIDE[ADMISSION], *(NET if net else ()))}
    for groups, place in ((wide, ""), (IN_NAMESPACE, namespace)):
        needed += [
            Right(verb, kind, group, place) for group, kinds in groups.items() for kind in kinds for verb in VERBS
        ]
    allowed = await asyncio.gather(*(_may(cluster, right) for right in needed))
    missing = [right for right, may in zip(needed, allowed, strict=True) if not may]
    if not missing and not await _may(cluster, Right("escalate", "clusterroles", RBAC)):
        # Who may not escalate must have what the webhook's account is given.
        config = Config(replicas=REPLICAS)
        needs = (preflight.needs, preflight.needs_to_supply, preflight.needs_to_share)
        given = [right for rights in needs for right in rights(config)]
        missing = [right for right in given if not await _may(cluster, right)]
    return told(missing)


def told(missing: Sequence[Right]) -> Check:
    """All on one line, so that an administrator can be asked for them."""
    if missing:
        verbs = dict[Right, list[str]]()
        for one in missing:
            verbs.setdefault(replace(one, verb=""), []).append(one.verb)
        same = dict[tuple[str, str, str], list[str]]()
        for of, may in verbs.items():
            same.setdefault((" and ".join(may), of.namespace, of.name), []).append(of.resource)
        texts = [str(Right(may, ", ".join(of), "", *where)) for (may, *where), of in same.items()]
        why = f"you may not {'; '.join(texts)}"
        return Check(SECTION, NAME, "wrong", why, "let a cluster administrator install it")
    return Check(SECTION, NAME, "right", "you may create all that the chart has")


async def _may(cluster: Cluster, right: Right) -> bool:
    """The user whom the API server sees."""
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": right.attributes},
    }
    raw = await cluster.call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body, within=30.0)
    return (await decode(_REVIEW, raw)).status.allowed
