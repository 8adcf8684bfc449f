"""What the Deployment and the pods of the webhook say of it."""

from typing import Any

import msgspec
import pytest

from webhook.commands.installation import replicas
from webhook.commands.installation.replicas import Deployment, Pod
from webhook.config import reading

CONFIG = reading.convert({})


def deployment(wanted: int = 2, generation: int = 3, labels: dict[str, str] | None = None, **status: Any) -> Deployment:
    well = {"observedGeneration": 3, "updatedReplicas": 2, "readyReplicas": 2} | status
    container = {"image": "registry.example.com/webhook:0.1.0"}
    volumes = [{"name": "config", "configMap": {"name": "c"}}, {"name": "tls", "secret": {"secretName": "own-tls"}}]
    body = {
        "metadata": {"name": "pullsecret-webhook", "generation": generation, "labels": labels or {}},
        "spec": {"replicas": wanted, "template": {"spec": {"containers": [container], "volumes": volumes}}},
        "status": well,
    }
    return msgspec.convert(body, Deployment)


def condition(type_: str, status: str, message: str = "") -> dict[str, str]:
    return {"type": type_, "status": status, "message": message}


PSA = 'pods "x" is forbidden: violates PodSecurity "restricted:latest": host namespaces (hostNetwork=true)'
QUOTA = 'pods "x" is forbidden: exceeded quota: pods'


@pytest.mark.parametrize(
    ("found", "result", "why", "hint"),
    [
        (deployment(), "right", "2 of 2 ready", ""),
        (None, "wrong", "Deployment pullsecret-webhook in pullsecret-webhook is missing", "upgrade the release"),
        (deployment(readyReplicas=1), "warning", "1 of 2 ready", ""),
        (deployment(readyReplicas=0), "wrong", "0 of 2 ready", "see kubectl get pods -n pullsecret-webhook"),
        (deployment(0, readyReplicas=0), "wrong", "0 of 0 ready", "kubectl scale deployment pullsecret-webhook -n"),
        (deployment(updatedReplicas=1), "warning", "1 of the newest version", "see kubectl get pods"),
        (deployment(generation=4), "warning", "is an upgrade under way?", "see kubectl get pods"),
        (deployment(conditions=[condition("Progressing", "False")]), "wrong", "does not start", "see kubectl get pods"),
        (deployment(conditions=[condition("Progressing", "True")]), "right", "2 of 2 ready", ""),
        (deployment(conditions=[condition("ReplicaFailure", "True", PSA)]), "wrong", "hostNetwork=true", "privileged"),
        (deployment(conditions=[condition("ReplicaFailure", "True", QUOTA)]), "wrong", "exceeded quota", "remove what"),
    ],
)
def test_rollout(found: Deployment | None, result: str, why: str, hint: str) -> None:
    said = replicas.rollout(found, CONFIG)
    assert (said.result, why in said.why, hint in said.hint) == (result, True, True), said


def test_the_version_is_the_commands() -> None:
    label = "app.kubernetes.io/version"
    assert replicas.version(deployment(labels={label: "0.1.0"}), "0.1.0").result == "right"
    assert replicas.version(deployment(), "0.1.0").result == "right"
    other = replicas.version(deployment(labels={label: "0.2.0"}), "0.1.0")
    assert (other.result, "this one is 0.1.0" in other.hint) == ("warning", True)
    assert other.why == "0.2.0, image registry.example.com/webhook:0.1.0"


def test_the_secret_of_the_certificate_is_that_of_its_volume() -> None:
    assert [deployment().secret_of(name) for name in ("tls", "config", "other")] == ["own-tls", "", ""]


def pod(name: str, *, ending: bool = False, scheduled: str = "True", **container: Any) -> Pod:
    metadata = {"name": name} | ({"deletionTimestamp": "2030-01-01T00:00:00Z"} if ending else {})
    conditions = [condition("PodScheduled", scheduled, "0/1 nodes are available: 1 Insufficient memory.")]
    body = {"metadata": metadata, "status": {"conditions": conditions, "containerStatuses": [container]}}
    return msgspec.convert(body, Pod)


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


KILLED = {"terminated": {"reason": "OOMKilled", "exitCode": 137}}
RUNS = pod("good", state={"running": {}})
PULL = 'failed to pull "r/w:1": failed to resolve image: unexpected status from HEAD request: 403 Forbidden'


@pytest.mark.parametrize(
    ("there", "result", "why", "hint"),
    [
        ([RUNS], "right", "good", ""),
        ([], "right", "there are none", ""),
        ([RUNS, pod("old", ending=True, state=waiting("ImagePullBackOff", PULL))], "right", "good", ""),
        ([pod("new", state=waiting("ContainerCreating"))], "right", "new", ""),
        (
            [RUNS, pod("bad", state=waiting("ErrImagePull", PULL))],
            "wrong",
            "bad cannot pull its image: unexpected status from HEAD request: 403 Forbidden",
            "see pullsecret doctor pod bad -n release",
        ),
        (
            [pod("bad", state=waiting("CrashLoopBackOff", "back-off 5m0s"), lastState=KILLED, restartCount=4)],
            "wrong",
            "bad waits (CrashLoopBackOff): it ended with 137 (OOMKilled)",
            "see kubectl describe pod bad -n release",
        ),
        ([pod("bad", scheduled="False")], "wrong", "bad has no node: 0/1 nodes are available", "describe pod bad"),
        (
            [pod("again", state={"running": {}}, lastState=KILLED, restartCount=2)],
            "warning",
            "again restarted 2 times: it ended with 137 (OOMKilled)",
            "kubectl logs again -n release --previous; after OOMKilled, raise resources.limits.memory",
        ),
    ],
)
def test_pods(there: list[Pod], result: str, why: str, hint: str) -> None:
    said = replicas.pods(there, "release")
    assert (said.result, said.why.startswith(why), hint in said.hint) == (result, True, True), said
