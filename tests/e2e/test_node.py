"""What the kubelet makes of it: a pod that came before its owner's credential starts once that is there."""

from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.node import Node
from controlplane.registry import Registry
from controlplane.webhook import Webhook
from support import planted

pytestmark = pytest.mark.node


def state(cluster: ControlPlane, namespace: str, pod: str) -> dict[str, Any]:
    found = cluster.api.get("Pod", pod, namespace)
    assert found is not None
    statuses = found["status"].get("containerStatuses") or [{"state": {}}]
    return dict(statuses[0]["state"])


def create(cluster: ControlPlane, namespace: str, image: str) -> None:
    spec = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": image}]}
    metadata = {"name": "p", "namespace": namespace}
    cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_credential_after_the_pod_heals_it(
    cluster: ControlPlane, webhook: Webhook, registry: Registry, node: Node
) -> None:
    registry.set_password("late", planted.token())
    cluster.namespace("late", labels={"pullsecret-webhook/owner": "late"})
    create(cluster, "late", registry.push("late/app", "1"))
    cluster.wait(
        lambda: state(cluster, "late", "p").get("waiting", {}).get("reason") == "ErrImagePull", "it is refused"
    )
    deployed.give(cluster.api, "late", registry.users["late"])
    cluster.wait(lambda: state(cluster, "late", "p").get("running"), "the pod runs", within=60)


def test_pod_without_credentials_pulls_as_its_owner(
    cluster: ControlPlane, webhook: Webhook, registry: Registry, node: Node
) -> None:
    registry.set_password("robot", planted.token())
    deployed.give(cluster.api, "robot", registry.users["robot"])
    cluster.namespace("robot", labels={"pullsecret-webhook/owner": "robot"})
    create(cluster, "robot", registry.push("robot/app", "1"))
    cluster.wait(lambda: state(cluster, "robot", "p").get("running"), "the pod runs", within=60)
    asked = [(one.user, one.status) for one in registry.log() if one.path.startswith("/v2/robot/app/manifests/")]
    assert ("robot", 200) in asked
