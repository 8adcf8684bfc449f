"""The cluster with a network of its own: pods have addresses, and the API server calls webhooks through their Services.

No test of NetworkPolicies: the cluster's CNI plug-ins do not enforce them."""

import base64
import os
import platform
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from controlplane import plain
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.image import Image
from controlplane.network import Network
from controlplane.networked import Networked
from controlplane.pki import Pki
from controlplane.waiting import until

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("node_binaries")]
NAMESPACE = "net"

RUN = """
import sys
from pathlib import Path
from controlplane.networked import Networked

with Networked.start(Path(sys.argv[1]), {"alice": "password"}):
    print("ready", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def image(networked: Networked) -> str:
    """In the registry; the default account of NAMESPACE may pull it."""
    api = networked.cluster.api
    networked.cluster.namespace(NAMESPACE)
    secret = {".dockerconfigjson": networked.registry.dockerconfigjson("alice")}
    data = {"type": "kubernetes.io/dockerconfigjson", "stringData": secret}
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull", "namespace": NAMESPACE}} | data)
    api.patch("ServiceAccount", "default", {"imagePullSecrets": [{"name": "pull"}]}, NAMESPACE)
    return networked.registry.push("alice/peer", "1", Image.of(need("peer")["peer"]))


@pytest.fixture(scope="module")
def pods(networked: Networked, image: str) -> dict[str, str]:
    """Names and addresses of pods that serve; the one called host is in the node's network."""
    for name in ("one", "two", "host"):
        metadata = {"name": name, "namespace": NAMESPACE}
        spec = {
            "hostNetwork": name == "host",
            "terminationGracePeriodSeconds": 1,
            "containers": [container(image, "serve", 8080)],
        }
        networked.cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    return {name: address(networked.cluster, name) for name in ("one", "two", "host")}


def container(image: str, mode: str, port: int, *args: str) -> dict[str, Any]:
    probe = {"tcpSocket": {"port": port}, "periodSeconds": 1}
    return {"name": "peer", "image": image, "args": [mode, *args], "readinessProbe": probe}


def address(cluster: ControlPlane, name: str) -> str:
    """Once the pod is ready."""

    def ready() -> str | None:
        status = (cluster.api.get("Pod", name, NAMESPACE) or {"status": {}})["status"]
        conditions = {one["type"]: one["status"] for one in status.get("conditions", ())}
        return status["podIP"] if conditions.get("Ready") == "True" else None

    return cluster.wait(ready, f"pod {name} is ready")


def peer(cluster: ControlPlane, pod: str, *args: str) -> str:
    return cluster.kubectl("-n", NAMESPACE, "exec", pod, "--", "/peer", *args).strip()


def test_pods_have_addresses_of_their_own(networked: Networked, pods: dict[str, str]) -> None:
    assert len(set(pods.values())) == 3
    assert pods["host"] == networked.network.address
    (node,) = networked.cluster.api.list("Node")
    assert {"type": "InternalIP", "address": networked.network.address} in node["status"]["addresses"]


def test_pods_reach_each_other(networked: Networked, pods: dict[str, str]) -> None:
    assert peer(networked.cluster, "one", "get", f"http://{pods['two']}:8080/") == "two"
    assert peer(networked.cluster, "two", "get", f"http://{pods['one']}:8080/") == "one"


def test_this_machine_reaches_pods(pods: dict[str, str]) -> None:
    seen = {name: plain.get(f"http://{pod}:8080/").text for name, pod in pods.items()}
    assert seen == {"one": "one\n", "two": "two\n", "host": f"{platform.node()}\n"}


@pytest.mark.parametrize("pod", ["one", "host"])
def test_a_pod_is_known_by_its_mounted_token(networked: Networked, pods: dict[str, str], pod: str) -> None:
    assert peer(networked.cluster, pod, "whoami") == f"system:serviceaccount:{NAMESPACE}:default"


def test_a_webhook_is_called_through_its_service(networked: Networked, image: str, tmp_path: Path) -> None:
    cluster = networked.cluster
    pki = Pki(tmp_path)
    deploy(cluster, image, pki)
    cluster.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/toy", "--timeout=60s")
    register(cluster, pki)
    first = cluster.wait(lambda: admitted_by(cluster), "a replica is called")
    replicas = {pod["metadata"]["name"] for pod in cluster.api.list("Pod", NAMESPACE, labels="app=toy")}
    assert len(replicas) == 2
    assert first in replicas
    cluster.api.delete("Pod", first, NAMESPACE, wait=True)
    second = cluster.wait(lambda: admitted_by(cluster), "another one is called")
    assert second != first
    cluster.api.delete("MutatingWebhookConfiguration", "toy")


def deploy(cluster: ControlPlane, image: str, pki: Pki) -> None:
    pair = pki.server("toy", f"toy.{NAMESPACE}.svc")
    files = {"tls.crt": pair.certificate.read_text(), "tls.key": pair.key.read_text()}
    metadata = {"name": "toy", "namespace": NAMESPACE}
    labels = {"app": "toy"}
    toy = container(image, "admit", 8443, "/tls/tls.crt", "/tls/tls.key")
    pod = {
        "terminationGracePeriodSeconds": 1,
        "containers": [toy | {"volumeMounts": [{"name": "tls", "mountPath": "/tls"}]}],
        "volumes": [{"name": "tls", "secret": {"secretName": "toy"}}],
    }
    template = {"metadata": {"labels": labels}, "spec": pod}
    deployment = {"replicas": 2, "selector": {"matchLabels": labels}, "template": template}
    service = {"selector": labels, "ports": [{"port": 443, "targetPort": 8443}]}
    secret = {"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "stringData": files}
    cluster.api.create(secret | {"metadata": metadata})
    cluster.api.create({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": service})
    cluster.api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": deployment})


def register(cluster: ControlPlane, pki: Pki) -> None:
    service = {"name": "toy", "namespace": NAMESPACE}
    webhook = {
        "name": "toy.example.com",
        "clientConfig": {"service": service, "caBundle": base64.b64encode(pki.ca.read_bytes()).decode()},
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}},
        "failurePolicy": "Ignore",
        "sideEffects": "None",
        "timeoutSeconds": 3,
        "admissionReviewVersions": ["v1"],
    }
    version = "admissionregistration.k8s.io/v1"
    configuration = {"apiVersion": version, "kind": "MutatingWebhookConfiguration", "metadata": {"name": "toy"}}
    cluster.api.create(configuration | {"webhooks": [webhook]})


def admitted_by(cluster: ControlPlane) -> str | None:
    """The pod that labelled a ConfigMap."""
    metadata = {"name": "reviewed", "namespace": NAMESPACE}
    made = cluster.api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}, dry_run=True)
    labels: dict[str, str] = made["metadata"].get("labels", {})
    return labels.get("admitted-by")


def namespace_of(process: Path) -> str:
    try:
        return str((process / "ns" / "net").readlink())
    except OSError:  # gone
        return ""


def left(namespace: str) -> list[str]:
    """Processes in the network namespace, and mounts that hold it."""
    processes = [str(path) for path in Path("/proc").glob("[0-9]*") if namespace_of(path) == namespace]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return processes + [line for line in mounts if namespace in line]


def devices() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def settings() -> dict[str, str]:
    """Of the machine's own network, not of a device."""
    return {str(path): path.read_text() for path in Path("/proc/sys/net/ipv4").glob("ip_*")}


def test_nothing_of_a_network_is_left_when_a_part_fails(tmp_path: Path) -> None:
    before = settings()
    with Network.start(tmp_path) as network:
        assert network.pods
        assert network.pods.device in devices()
        entered = subprocess.run([*network.enter, "readlink", "/proc/self/ns/net"], capture_output=True, check=True)
        namespace = entered.stdout.decode().strip()
        assert left(namespace)
        with (
            pytest.raises(HarnessError, match="no-such-flag"),
            ControlPlane.start(tmp_path / "cluster", network=network, extra_flags=("--no-such-flag",)),
        ):
            pass
    assert network.pods.device not in devices()
    assert left(namespace) == []
    assert settings() == before


def test_two_networks_are_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "sample", lambda candidates, _: candidates)  # both would begin with the same one
    with Network.start(tmp_path / "one") as one, Network.start(tmp_path / "two") as two:
        assert one.pods
        assert two.pods
        assert not one.pods.subnet.overlaps(two.pods.subnet)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", RUN, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        yield process
        with suppress(ProcessLookupError):
            process.kill()


@pytest.mark.parametrize("when", ["early", pytest.param("late", marks=pytest.mark.slow)])
def test_ctrl_c_leaves_nothing_of_a_network(started: subprocess.Popen[str], tmp_path: Path, when: str) -> None:
    assert started.stdout
    if when == "late":
        assert started.stdout.readline() == "ready\n"
    else:
        until((tmp_path / "cluster" / "kube-apiserver.log").exists, "the API server starts")
    (holder,) = children(started.pid, "sleep")
    namespace = namespace_of(Path("/proc", holder))
    until(lambda: len(left(namespace)) > 3, "what is to be left behind by nobody is there", within=10)
    started.send_signal(signal.SIGINT)
    _, said = started.communicate(timeout=60)
    assert said.rstrip().endswith("KeyboardInterrupt")
    assert left(namespace) == []


def children(pid: int, name: str) -> list[str]:
    tasks = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [child for task in tasks for child in task if Path("/proc", child, "comm").read_text() == f"{name}\n"]
