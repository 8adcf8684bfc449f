"""All that makes pods, by the real controllers: each pod has the reference, of the templates only a Deployment's."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.objects import SECRET, names, password, pod
from controlplane.waiting import until
from controlplane.webhook import Webhook
from support import planted

pytestmark = pytest.mark.cluster
OWNER = "workloads"
LABELS = {"app": "w"}
LISTS = [pytest.param([], id="no list"), pytest.param(["own", "another"], id="list of its own")]
_numbers = count(1)


@pytest.fixture(scope="module")
def token(installed: ControlPlane, webhook: Webhook) -> str:
    deployed.give(installed.api, OWNER, made := planted.token())
    return made


@pytest.fixture
def space(installed: ControlPlane, token: str) -> str:
    name = f"workloads-{next(_numbers)}"
    installed.namespace(name, labels={"pullsecret-webhook/owner": OWNER})
    return name


@pytest.fixture(scope="module")
def fake_node(installed: ControlPlane) -> Iterator[str]:
    """For the DaemonSet controller, which makes a pod for each node. Nothing runs there."""
    name = "workloads-node"
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"workloads": "here"}}}
    installed.api.create(node)
    yield name
    installed.api.delete("Node", name)


def spec(own: list[str]) -> Object:
    found: Object = pod("")["spec"]
    if own:
        found["imagePullSecrets"] = [{"name": name} for name in own]
    return found | {"initContainers": [{"name": "before", "image": "example.invalid/init"}]}


def workload(kind: str, pods: Object, **of_kind: object) -> Object:
    version = {"ReplicationController": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}.get(kind, "apps/v1")
    template = {"metadata": {"labels": LABELS}, "spec": pods}
    body = {"template": template} | ({"selector": {"matchLabels": LABELS}} if version == "apps/v1" else {}) | of_kind
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, "spec": body}


def cron_job(pods: Object) -> Object:
    made = workload("CronJob", pods)
    template = made["spec"].pop("template")
    template["spec"]["restartPolicy"] = "Never"
    made["spec"] |= {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": template}}}
    return made


MAKERS: dict[str, Callable[[Object], Object]] = {
    "ReplicaSet": lambda pods: workload("ReplicaSet", pods, replicas=2),
    "ReplicationController": lambda pods: workload("ReplicationController", pods, replicas=1, selector=LABELS),
    "Deployment": lambda pods: workload("Deployment", pods, replicas=1),
    "StatefulSet": lambda pods: workload("StatefulSet", pods, replicas=1, serviceName="w"),
    "DaemonSet": lambda pods: workload("DaemonSet", pods | {"nodeSelector": {"workloads": "here"}}),
    "Job": lambda pods: workload("Job", pods | {"restartPolicy": "Never"}),
    "CronJob": cron_job,
}


def pods_of(cluster: ControlPlane, space: str, number: int) -> list[Object]:
    def all_made() -> list[Object] | None:
        pods = cluster.api.list("Pod", space)
        return pods if len(pods) >= number else None

    return until(all_made, f"{number} pods in {space}", within=20)


def an_hour_ago() -> str:
    return (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")


def template(made: Object) -> Any:
    return made["spec"].get("jobTemplate", made)["spec"]["template"]


@pytest.mark.parametrize("own", LISTS)
@pytest.mark.parametrize("kind", MAKERS)
def test_pods_of(installed: ControlPlane, fake_node: str, space: str, token: str, kind: str, own: list[str]) -> None:
    made = MAKERS[kind](spec(own))
    made["metadata"]["namespace"] = space
    created = installed.api.create(made)
    if kind == "CronJob":  # a time that was missed, so that its controller makes a Job at once
        installed.api.patch("CronJob", "w", {"status": {"lastScheduleTime": an_hour_ago()}}, space, sub="status")
    for one in pods_of(installed, space, created["spec"].get("replicas", 1)):
        assert names(one) == [*own, SECRET]
        assert [c["name"] for c in one["spec"]["initContainers"]] == ["before"]
    assert password(installed, space) == token
    now = installed.api.get(kind, "w", space)
    assert now is not None
    assert now["metadata"]["generation"] == 1
    assert template(now)["spec"] == template(created)["spec"]
    in_template = [one["name"] for one in template(now)["spec"].get("imagePullSecrets", [])]
    assert in_template == ([*own, SECRET] if kind == "Deployment" else own)


@pytest.mark.parametrize("own", LISTS)
def test_pods_of_a_custom_controller(installed: ControlPlane, space: str, own: list[str]) -> None:
    """With generateName and an owner that no built-in controller knows."""
    parent = installed.api.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "parent", "namespace": space}}
    )
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": parent["metadata"]["uid"]}
    made = pod(space) | {"spec": spec(own)}
    made["metadata"] = {
        "generateName": "worker-",
        "namespace": space,
        "ownerReferences": [reference | {"controller": True}],
    }
    created = [installed.api.create(made) for _ in range(2)]
    assert [names(one) for one in created] == [[*own, SECRET]] * 2


@pytest.mark.parametrize("own", LISTS)
def test_an_ephemeral_container_is_none_of_our_business(
    installed: ControlPlane, space: str, webhook: Webhook, own: list[str]
) -> None:
    before = installed.api.create(pod(space) | {"spec": spec(own)})
    asked = webhook.answered()
    debugger = {"name": "debugger", "image": "example.invalid/debug", "targetContainerName": "c"}
    change = {"spec": {"ephemeralContainers": [debugger]}}
    after = installed.api.patch("Pod", "p", change, space, how="strategic", sub="ephemeralcontainers")
    assert [c["name"] for c in after["spec"]["ephemeralContainers"]] == ["debugger"]
    assert names(after) == names(before) == [*own, SECRET]
    assert webhook.answered() == asked
