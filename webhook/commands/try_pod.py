"""Does a new pod get the reference? A dry run shows it: the API server calls the webhook and stores nothing."""

import asyncio
from dataclasses import dataclass
from typing import Any

import msgspec

from webhook.config.models import Config
from webhook.core.errors import PullsecretError
from webhook.core.names import DISABLED, WEBHOOK_ALONE
from webhook.core.review import Object
from webhook.kube.cluster import Cluster, ClusterError, decode

RETRY_SECONDS = 1.0
"""Seconds between two tries: a new namespace has no service account yet, and the API server's selectors lag."""


_POD = msgspec.json.Decoder(Object)


async def run(cluster: Cluster, config: Config, namespace: str, within: float) -> None:
    """`within`: seconds. Raises PullsecretError when the pod does not get the reference in time."""
    clock = asyncio.get_running_loop().time
    until = clock() + within
    name = config.pull_secret.name
    while (problem := await _problem(cluster, namespace, name)) is not None:
        if clock() > until:
            raise PullsecretError(f"a pod in {namespace} does not get {name}: {problem}")
        await asyncio.sleep(RETRY_SECONDS)


async def _problem(cluster: Cluster, namespace: str, name: str) -> str | None:
    tried = await once(cluster, namespace, name)
    if tried.refusal is not None:
        return f"the API server refuses the pod ({tried.refusal})"
    if tried.gets:
        return None
    look = f"pullsecret explain namespace {namespace}"
    return f"check that the namespace has an owner and that the webhook's pods are ready, with {look}"


@dataclass(frozen=True, slots=True)
class Tried:
    """Does a pod get the reference? `refusal`: why there is no pod."""

    gets: bool
    refusal: ClusterError | None = None


async def once(cluster: Cluster, namespace: str, name: str) -> Tried:
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        raw = await cluster.call("POST", path, query={"dryRun": "All"}, body=_pod(), within=15.0)
    except ClusterError as e:
        return Tried(gets=False, refusal=e)
    spec = (await decode(_POD, raw)).spec
    return Tried(gets=spec is not None and name in (spec.names or []))


def _pod() -> dict[str, Any]:
    """The safety net leaves it to the webhook. The restricted Pod Security Standard, quotas and limits allow it."""
    few = {"cpu": "1m", "memory": "8Mi"}
    container = {
        "name": "try",
        "image": "example.invalid/try",
        "resources": {"requests": few, "limits": few},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "pullsecret-try-", "labels": {WEBHOOK_ALONE: DISABLED}},
        "spec": {
            "containers": [container],
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    }
