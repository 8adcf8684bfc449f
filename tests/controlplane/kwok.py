"""kwok: nodes that are not there, on which pods are Running without having been pulled."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.api import Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.process import Child
from controlplane.progress import step

_ANNOTATION = "kwok.x-k8s.io/node"
_SIZE = {"cpu": "64", "memory": "256Gi", "pods": "1000"}
_NODE_READY = """
conditions:
{{ range NodeConditions }}
- {lastHeartbeatTime: {{ Now | Quote }}, lastTransitionTime: {{ Now | Quote }}, message: {{ .message | Quote }},
   reason: {{ .reason | Quote }}, status: {{ .status | Quote }}, type: {{ .type | Quote }}}
{{ end }}
phase: Running
"""
_POD_RUNNING = """
conditions:
- {lastTransitionTime: {{ Now | Quote }}, status: "True", type: Initialized}
- {lastTransitionTime: {{ Now | Quote }}, status: "True", type: Ready}
- {lastTransitionTime: {{ Now | Quote }}, status: "True", type: ContainersReady}
containerStatuses:
{{ range .spec.containers }}
- {image: {{ .image | Quote }}, name: {{ .name | Quote }}, ready: true, restartCount: 0,
   state: {running: {startedAt: {{ Now | Quote }}}}}
{{ end }}
phase: Running
startTime: {{ Now | Quote }}
"""


@dataclass(frozen=True)
class Nodes:
    """A pod goes to one of them by `spec.nodeName`: there is no scheduler."""

    names: Sequence[str]
    child: Child


@contextmanager
def nodes(folder: Path, cluster: ControlPlane, count: int) -> Iterator[Nodes]:
    """Ready when yielded."""
    program = need("kwok")["kwok"]
    folder.mkdir()
    stages, log = folder / "stages.yaml", folder / "kwok.log"
    stages.write_text("\n---\n".join(json.dumps(stage) for stage in _stages()))
    command: list[str | Path] = [program, "--config", stages, "--kubeconfig", cluster.kubeconfig]
    command += [f"--manage-nodes-with-annotation-selector={_ANNOTATION}=fake", "--node-lease-duration-seconds=40"]
    names = [f"kwok-{number}" for number in range(count)]
    with step(f"{count} nodes that are not there (kwok)"):
        for name in names:
            cluster.api.create(_node(name))
    with Child("kwok", command, log=log) as child:
        child.until(lambda: all(_ready(cluster, name) for name in names), "the nodes are Ready", within=60)
        yield Nodes(names, child)


def _node(name: str) -> Object:
    metadata = {"name": name, "annotations": {_ANNOTATION: "fake"}, "labels": {"kubernetes.io/hostname": name}}
    status = {"allocatable": _SIZE, "capacity": _SIZE}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}


def _ready(cluster: ControlPlane, name: str) -> bool:
    node = cluster.api.get("Node", name)
    conditions = node["status"].get("conditions", ()) if node else ()
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _stages() -> list[Object]:
    """What becomes of a node without Ready, and of a pod that waits."""
    ready = {"key": '.status.conditions.[] | select( .type == "Ready" ) | .status', "operator": "NotIn"}
    waits = {"key": ".status.phase", "operator": "In", "values": ["Pending"]}
    return [
        _stage("Node", [ready | {"values": ["True"]}], _NODE_READY),
        _stage("Pod", [waits, {"key": ".metadata.deletionTimestamp", "operator": "DoesNotExist"}], _POD_RUNNING),
    ]


def _stage(kind: str, when: list[Object], status: str) -> Object:
    return {
        "apiVersion": "kwok.x-k8s.io/v1alpha1",
        "kind": "Stage",
        "metadata": {"name": f"{kind.lower()}-ready"},
        "spec": {
            "resourceRef": {"apiGroup": "v1", "kind": kind},
            "selector": {"matchExpressions": when},
            "next": {"statusTemplate": status},
        },
    }
