"""The pod of a probe, and every way in which nothing comes of it: a real API server, and the statuses that a kubelet
writes. tests/install/test_helm.py has it on the real node.
"""

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import pytest
import trustme

from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import command
from controlplane.waiting import until
from webhook.commands.cluster_view import ClusterView
from webhook.commands.doctor import examine, nodefacts, nodepod
from webhook.commands.doctor.evidence import Answer, HostSeen, Probed, Request, Target
from webhook.commands.doctor.examine import Wanted
from webhook.commands.doctor.nodepod import NoProbeError, from_node
from webhook.commands.doctor.ownimage import by_digest
from webhook.commands.doctor.packed import packed
from webhook.commands.doctor.verdict import Verdict
from webhook.config.models import Config
from webhook.kube.cluster import Cluster, ClusterError

pytestmark = pytest.mark.cluster
SPACE, NODE = "doctor-node", "probed-node"
REQUEST = Request((Target("ghcr.io"),))
SEEN = Probed(
    datetime(2030, 1, 1, tzinfo=UTC),
    (HostSeen("ghcr.io", 443, "registry", (Answer("10.0.0.2:53", "no such name"),), ()),),
)
DIGEST = f"sha256:{'a' * 64}"
IMAGE = "registry.example/pullsecret-webhook:1"


def node(name: str, ready: str = "True", os: str = "linux", labels: dict[str, str] | None = None) -> Object:
    """A node to the API server only; nothing is scheduled on it."""
    info = dict.fromkeys(
        ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
         "kubeProxyVersion"), "",
    )  # fmt: skip
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels or {}},
        "spec": {"unschedulable": True},
        "status": {
            "nodeInfo": info | {"operatingSystem": os, "architecture": "arm64"},
            "conditions": [{"type": "Ready", "status": ready}],
            "images": [{"names": [IMAGE, f"registry.example/pullsecret-webhook@{DIGEST}"], "sizeBytes": 1}],
        },
    }


@pytest.fixture(scope="module")
def space(cluster: ControlPlane) -> Iterator[ControlPlane]:
    """Its release namespace has one pod of the webhook, on NODE, of an image with a pull secret."""
    api = cluster.api
    cluster.namespace(SPACE)
    cluster.namespace("doctor-empty")
    nodes = (
        node(NODE),
        node("unready", "Unknown"),
        node("windows", os="windows"),
        node("virtual", labels={"type": "virtual-kubelet"}),
        node("fargate", labels={"eks.amazonaws.com/compute-type": "fargate"}),
    )
    for one in nodes:
        api.create(one)
    labels = {"app.kubernetes.io/name": "pullsecret-webhook", "app.kubernetes.io/component": "webhook"}
    spec = {
        "nodeName": NODE,
        "containers": [{"name": "webhook", "image": IMAGE}],
        "imagePullSecrets": [{"name": "ours"}],
        "tolerations": [{"operator": "Exists"}],
    }
    metadata = {"name": "webhook-1", "namespace": SPACE, "labels": labels}
    api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    status = {
        "name": "webhook", "image": IMAGE, "imageID": f"registry.example/pullsecret-webhook@{DIGEST}", "ready": True,
        "restartCount": 0,
    }  # fmt: skip
    told = {"status": {"phase": "Running", "containerStatuses": [status]}}
    api.patch("Pod", "webhook-1", told, SPACE, sub="status")
    yield cluster
    for one in nodes:
        api.delete("Node", one["metadata"]["name"])
    api.delete("Pod", "webhook-1", SPACE, options={"gracePeriodSeconds": 0})


def probes(cluster: ControlPlane) -> list[Object]:
    return [one for one in cluster.api.list("Pod") if one["metadata"]["name"].startswith("pullsecret-probe-")]


@contextmanager
def kubelet(cluster: ControlPlane, tell: Callable[[str], None]) -> Iterator[None]:
    """`tell` gets the name of the probe's pod."""

    def run() -> None:
        (pod,) = until(lambda: probes(cluster), "the probe's pod is there", within=10)
        tell(pod["metadata"]["name"])

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()


def becomes(cluster: ControlPlane, **status: Any) -> Callable[[str], None]:
    return lambda name: cast(None, cluster.api.patch("Pod", name, {"status": status}, SPACE, sub="status"))


def container(**state: Object) -> dict[str, Any]:
    one = {"name": "probe", "image": IMAGE, "imageID": "", "ready": False, "restartCount": 0, "state": state}
    return {"containerStatuses": [one]}


def ended(message: str, code: int = 0) -> dict[str, Any]:
    return container(terminated={"exitCode": code, "reason": "Completed", "message": message})


class Losing:
    """The answer to a creation is lost on the way."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def call(self, method: str, path: str, **options: Any) -> bytes:
        answer = await self._cluster.call(method, path, **options)
        if method == "POST":
            raise ClusterError(0, "TimeoutError", words="no answer in time")
        return answer


class Late(Losing):
    """And the creation comes after the first deletion."""

    async def call(self, method: str, path: str, **options: Any) -> bytes:
        if method == "POST":
            self._creation: dict[str, Any] | None = {"path": path} | options
            raise ClusterError(0, "TimeoutError", words="no answer in time")
        try:
            return await self._cluster.call(method, path, **options)
        finally:
            if method == "DELETE" and self._creation is not None:
                await self._cluster.call("POST", **self._creation)
                self._creation = None


def look(
    cluster: ControlPlane,
    name: str = NODE,
    *,
    release: str = SPACE,
    namespace: str | None = None,
    kubeconfig: str | None = None,
    through: Callable[[Cluster], Any] = lambda cluster: cluster,
    stop: float | None = None,
) -> Probed | str:
    async def run() -> Probed:
        async with Cluster.connect(kubeconfig or str(cluster.kubeconfig)) as api:
            view = ClusterView(through(api), Config(namespace=release))
            async with asyncio.timeout(stop):
                return await from_node(view, name, REQUEST, namespace=namespace, voice=print)

    try:
        found: Probed | str = asyncio.run(run())
    except NoProbeError as e:
        found = str(e)
    finally:
        assert probes(cluster) == [], "whatever happens, its pod is deleted"
    return found


def test_what_the_probe_has_seen(space: ControlPlane) -> None:
    pods = list[Object]()

    def tell(name: str) -> None:
        pods.append(space.api.get("Pod", name, SPACE) or {})
        becomes(space, **container(running={}))(name)
        becomes(space, phase="Succeeded", **ended(packed(SEEN)))(name)

    with kubelet(space, tell):
        assert look(space) == SEEN
    (pod,) = pods
    spec = pod["spec"]
    (one,) = spec["containers"]
    assert one["image"] == f"registry.example/pullsecret-webhook@{DIGEST}"
    assert one["imagePullPolicy"] == "IfNotPresent"
    assert spec["imagePullSecrets"] == [{"name": "ours"}]
    assert (spec["nodeName"], spec["hostNetwork"], spec["dnsPolicy"]) == (NODE, True, "Default")
    assert (spec["restartPolicy"], spec["activeDeadlineSeconds"], spec["terminationGracePeriodSeconds"]) == (
        "Never", 60, 0,
    )  # fmt: skip
    assert not spec["automountServiceAccountToken"]
    assert "volumes" not in spec
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["securityContext"]["runAsNonRoot"]
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["metadata"]["labels"]["pullsecret-webhook/inject"] == "disabled"
    assert "app.kubernetes.io/name" not in pod["metadata"]["labels"], "no Service takes it for a replica"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("unready", "node unready is not ready, so no pod starts there; see kubectl describe node unready"),
        ("windows", "node windows runs windows, and the webhook's image is for Linux"),
        ("virtual", "virtual is a virtual node, on which no pod has the node's network"),
        ("fargate", "fargate is a virtual node, on which no pod has the node's network"),
        ("nowhere", "there is no node nowhere; kubectl get nodes lists them"),
        ("../pods", "../pods is not a valid name of a node"),
    ],
)
def test_a_node_on_which_none_can_run(space: ControlPlane, name: str, why: str) -> None:
    assert look(space, name) in (why, why.replace("../pods", '"../pods"'))


def test_a_node_that_somebody_names_is_there(space: ControlPlane, tmp_path: Path) -> None:
    """Else the verdict would be about another machine."""
    config = tmp_path / "webhook.yaml"
    config.write_text("{}")
    ran = command(space, "doctor", "registry", "127.0.0.1:1", "--node", "nowhere", "--config", str(config))
    assert (ran.code, ran.out) == (3, "")
    assert "there is no node nowhere" in ran.err


def test_what_is_known_of_a_node(space: ControlPlane) -> None:
    async def run() -> None:
        async with Cluster.connect(str(space.kubeconfig)) as api:
            facts = await nodefacts.read(ClusterView(api, Config()), NODE)
        assert facts is not None
        assert (facts.os, facts.architecture, facts.ready, facts.virtual) == ("linux", "arm64", True, False)
        assert IMAGE in facts.images

    asyncio.run(run())


def test_without_a_pod_of_the_webhook_there_is_no_image(space: ControlPlane) -> None:
    said = look(space, release="doctor-empty")
    assert said == "no pod of the webhook runs in doctor-empty, and the probe runs its image; is the chart installed?"


def test_a_node_does_not_choose_the_image_of_the_probe(space: ControlPlane) -> None:
    """A kubelet may make a mirror pod wherever it likes, whatever is in it."""
    labels = {"app.kubernetes.io/name": "pullsecret-webhook", "app.kubernetes.io/component": "webhook"}
    metadata = {"name": "a-mirror", "namespace": "doctor-empty", "labels": labels}
    spec = {"nodeName": "unready", "containers": [{"name": "webhook", "image": "evil.example/pullsecret-webhook"}]}
    status = {
        "name": "webhook", "image": "", "imageID": f"evil.example/pullsecret-webhook@{DIGEST}", "ready": True,
        "restartCount": 0,
    }  # fmt: skip
    told = {"status": {"phase": "Running", "containerStatuses": [status]}}
    pod = {"apiVersion": "v1", "kind": "Pod", "spec": spec}
    space.api.create(pod | {"metadata": metadata | {"annotations": {"kubernetes.io/config.mirror": "x"}}})
    space.api.patch("Pod", "a-mirror", told, "doctor-empty", sub="status")
    try:
        assert str(look(space, release="doctor-empty")).startswith("no pod of the webhook runs in doctor-empty")
    finally:
        space.api.delete("Pod", "a-mirror", "doctor-empty", options={"gracePeriodSeconds": 0})


def test_a_namespace_that_is_not_there_or_has_no_room(space: ControlPlane) -> None:
    assert look(space, namespace="nowhere") == "there is no namespace nowhere for the probe's pod"
    assert "is not a valid name of a namespace" in str(look(space, namespace="a/b"))
    space.namespace("doctor-full")
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": "doctor-full"}}
    space.api.create(quota | {"spec": {"hard": {"pods": "0"}}})
    until(
        lambda: (space.api.get("ResourceQuota", "none", "doctor-full") or {}).get("status", {}).get("hard"), "counted"
    )
    assert look(space, namespace="doctor-full") == (
        "the ResourceQuota none in doctor-full leaves no room for the probe's pod; name another namespace for it with "
        "--probe-namespace, such as kube-system"
    )


def test_a_policy_that_refuses_it(space: ControlPlane) -> None:
    """Its own words are shown: they are about our pod."""
    kind, name = "ValidatingAdmissionPolicy", "doctor-no-host-network"
    rules = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
    in_space = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": SPACE}}}
    validations = [{"expression": "!object.spec.?hostNetwork.orValue(false)", "message": "ask the network team"}]
    policy = {"apiVersion": "admissionregistration.k8s.io/v1", "metadata": {"name": name}}
    spec = {"matchConstraints": in_space | {"resourceRules": rules}, "validations": validations}
    space.api.create(policy | {"kind": kind, "spec": spec})
    binding = {"policyName": name, "validationActions": ["Deny"]}
    space.api.create(policy | {"kind": f"{kind}Binding", "spec": binding})
    pod = {"containers": [{"name": "c", "image": "x"}], "hostNetwork": True}
    metadata = {"name": "tried", "namespace": SPACE}

    def denied() -> bool:
        try:
            space.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}, dry_run=True)
        except Exception as e:  # noqa: BLE001  # whatever it is, it has the words
            return "network team" in str(e)
        return False

    try:
        until(denied, "the policy is in force")
        said = str(look(space))
    finally:
        space.api.delete(f"{kind}Binding", name)
        space.api.delete(kind, name)
        until(lambda: not denied(), "the policy is gone")
    assert said.startswith(f"the API server refuses the probe's pod in {SPACE}: ")
    assert "ask the network team" in said


def test_who_may_not_make_a_pod(space: ControlPlane) -> None:
    """And not read nodes either: then it is tried."""
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "looker", "namespace": SPACE}}
    subject = {"kind": "User", "name": "looker", "apiGroup": "rbac.authorization.k8s.io"}
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}]
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "looker"}
    kubeconfig = str(space.user_kubeconfig("looker"))
    assert look(space, kubeconfig=kubeconfig) == (
        f"the webhook's pods in {SPACE}, whose image it runs, cannot be listed (403 Forbidden: looker may not list "
        f"pods in the namespace {SPACE})"
    )
    space.api.create(rbac | {"kind": "Role", "rules": rules})
    space.api.create(rbac | {"kind": "RoleBinding", "roleRef": reference, "subjects": [subject]})
    said = f"the probe's pod in {SPACE} cannot be created (403 Forbidden: looker may not create pods in the namespace "
    until(lambda: str(look(space, kubeconfig=kubeconfig)).startswith(said), "only the creation is refused", within=10)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        (ended("pullsecret: a host is not valid\n", 1), f"the probe on node {NODE} ended with status 1: "),
        (ended("x"), f"what the probe on node {NODE} has left cannot be used: it is not what a probe writes"),
        (ended(packed(Probed(SEEN.at, ()))[:-3]), f"what the probe on node {NODE} has left cannot be used: "),
        (ended(""), f"the probe on node {NODE} ended with status 0: "),
        (
            {"phase": "Failed", "reason": "OutOfcpu", "message": "Node didn't have enough resource: cpu"},
            f"the kubelet of node {NODE} refuses the probe's pod: \"Node didn't have enough resource: cpu\"",
        ),
    ],
)
def test_a_probe_that_fails(space: ControlPlane, status: dict[str, Any], why: str) -> None:
    with kubelet(space, becomes(space, **status)):
        assert str(look(space)).startswith(why)


@pytest.mark.parametrize(
    ("status", "why"),
    [
        ({"phase": "Pending"}, "the kubelet there has not taken its pod up; see kubectl describe node probed-node"),
        (
            container(waiting={"reason": "ContainerCreating"}),
            f"perhaps the image registry.example/pullsecret-webhook@{DIGEST} is being pulled; try again in a minute",
        ),
        (
            container(waiting={"reason": "ErrImagePull", "message": "get https://r.example/v2?sig=secret: EOF"}),
            f"its image registry.example/pullsecret-webhook@{DIGEST}, the webhook's own, cannot be pulled there: get ",
        ),
        (
            container(waiting={"reason": "CreateContainerConfigError", "message": "no such user"}),
            "CreateContainerConfigError: no such user",
        ),
    ],
)  # fmt: skip
def test_a_probe_that_does_not_start(
    space: ControlPlane, status: dict[str, Any], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodepod, "START_SECONDS", 0.9)
    with kubelet(space, becomes(space, **status)):
        said = str(look(space))
    assert said.startswith(f"the probe did not start on node {NODE} in 1 s: {why}")
    assert "secret:" not in said, "no query of an address is shown"


def test_a_probe_that_does_not_end(
    space: ControlPlane, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(nodepod, "RUN_SECONDS", 1.0)
    monkeypatch.setattr(nodepod, "QUIET_SECONDS", 0.5)
    with kubelet(space, becomes(space, **container(running={}))):
        assert look(space) == f"the probe on node {NODE} has started, and did not end in 1 s"
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"waiting for the probe on node {NODE} (pod pullsecret-probe-")


def test_a_pod_that_somebody_deletes(space: ControlPlane) -> None:
    def tell(name: str) -> None:
        space.api.delete("Pod", name, SPACE)

    with kubelet(space, tell):
        assert "somebody has deleted it" in str(look(space))


def test_whoever_does_not_wait_leaves_no_pod(space: ControlPlane) -> None:
    with pytest.raises(TimeoutError):
        look(space, stop=1.0)


_CALL = """
import asyncio, sys
from webhook.commands.cluster_view import ClusterView
from webhook.commands.doctor.evidence import Request, Target
from webhook.commands.doctor.nodepod import from_node
from webhook.config.models import Config
from webhook.kube.cluster import Cluster

async def run():
    async with Cluster.connect(sys.argv[1]) as api:
        view = ClusterView(api, Config(namespace=sys.argv[2]))
        await from_node(view, sys.argv[3], Request((Target("ghcr.io"),)), voice=print)

try:
    asyncio.run(run())
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_leaves_no_pod(space: ControlPlane) -> None:
    call = [sys.executable, "-c", _CALL, str(space.kubeconfig), SPACE, NODE]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        until(lambda: probes(space), "the probe's pod is there", within=20)
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=20)
    assert said == "interrupted\n"
    assert probes(space) == []


@pytest.mark.parametrize("through", [Losing, Late])
def test_a_creation_whose_answer_is_lost_leaves_no_pod(space: ControlPlane, through: type[Losing]) -> None:
    assert look(space, through=through) == f"the probe's pod in {SPACE} cannot be created (no answer in time)"


def test_a_pod_that_cannot_be_deleted_is_told(space: ControlPlane, capsys: pytest.CaptureFixture[str]) -> None:
    class Kept:
        def __init__(self, cluster: Cluster) -> None:
            self._cluster = cluster

        async def call(self, method: str, path: str, **options: Any) -> bytes:
            if method == "DELETE":
                await self._cluster.call(method, path, **options)
                raise ClusterError(500, "InternalError")
            return await self._cluster.call(method, path, **options)

    with kubelet(space, becomes(space, phase="Succeeded", **ended(packed(SEEN)))):
        assert look(space, through=Kept) == SEEN
    (line,) = capsys.readouterr().out.splitlines()
    assert "could not be deleted (500 InternalError); it ends by itself within a minute" in line
    assert f" -n {SPACE}" in line


def test_a_pod_with_very_many_images_is_not_looked_at_for_hours(space: ControlPlane) -> None:
    """Neither from here nor from the node, and names that are none stop nothing."""
    hosts = ["127.0.0.1:99999", "a..b.example", *(f"127.0.0.1:{port}" for port in range(1, 21))]
    containers = [{"name": f"c{number}", "image": f"{host}/x:1"} for number, host in enumerate(hosts)]
    spec = {"nodeName": NODE, "containers": containers, "tolerations": [{"operator": "Exists"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "many", "namespace": "doctor-empty"}, "spec": spec}
    space.api.create(pod)
    waiting = {"reason": "ErrImagePull", "message": "dial tcp 127.0.0.1:1: connect: connection refused"}
    told = [
        {
            "name": one["name"],
            "image": "",
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"waiting": waiting},
        }
        for one in containers
    ]
    space.api.patch(
        "Pod", "many", {"status": {"phase": "Pending", "containerStatuses": told}}, "doctor-empty", sub="status"
    )
    connections = list[tuple[Any, ...]]()

    async def run() -> tuple[Verdict, ...]:
        async with Cluster.connect(str(space.kubeconfig)) as api:
            view = ClusterView(api, Config(namespace="doctor-empty"))
            return await examine.pod(view, "many", "doctor-empty", Wanted(ask=True, node=""))

    sys.addaudithook(lambda event, args: connections.append(args) if event == "socket.connect" else None)
    try:
        verdicts = asyncio.run(run())
    finally:
        space.api.delete("Pod", "many", "doctor-empty", options={"gracePeriodSeconds": 0})
    assert [one.image for one in verdicts] == [one["image"] for one in containers]
    assert all(one.code == "TCP-REFUSED" for one in verdicts)
    asked = [one.image for one in verdicts if any(label == "asked from here" for label, _ in one.rows)]
    assert len(asked) == examine.MAX_LOOKED
    assert "the name of the image has no host" in verdicts[0].not_looked[0]
    assert "the first 5 images" in verdicts[-1].not_looked[0]
    assert [args for args in connections if args[1][1] in range(1, 21)] == [], (
        "a tenant leads nobody to private addresses"
    )


def test_a_pod_gets_no_key_that_is_beside_a_certificate(space: ControlPlane, tmp_path: Path) -> None:
    ca, pods = trustme.CA(), list[Object]()
    (tmp_path / "all.pem").write_bytes(ca.private_key_pem.bytes() + ca.cert_pem.bytes())

    def tell(name: str) -> None:
        pods.append(space.api.get("Pod", name, SPACE) or {})
        becomes(space, **ended("x"))(name)

    async def run() -> None:
        async with Cluster.connect(str(space.kubeconfig)) as api:
            view, wanted = ClusterView(api, Config(namespace=SPACE)), Wanted(node=NODE, ca_file=tmp_path / "all.pem")
            await examine.registry(view, "127.0.0.1:1", wanted)

    with kubelet(space, tell):
        asyncio.run(run())
    told = str(pods)
    assert "BEGIN CERTIFICATE" in told
    assert "PRIVATE KEY" not in told


@pytest.mark.parametrize(
    ("named", "ran", "runs"),
    [
        ("r.example/a:1", f"r.example/a@{DIGEST}", f"r.example/a@{DIGEST}"),
        ("a:1", f"docker.io/library/a@{DIGEST}", f"docker.io/library/a@{DIGEST}"),
        (f"r.example/a:1@{DIGEST}", f"r.example/a@{DIGEST}", f"r.example/a:1@{DIGEST}"),
        ("localhost/a:dev", DIGEST, "localhost/a:dev"),
        ("r.example/a:1", f"docker.io/library/import-2026@{DIGEST}", "r.example/a:1"),
        ("r.example/a:1", "r.example/a@sha256:evil", "r.example/a:1"),
    ],
)
def test_which_image_it_runs(named: str, ran: str, runs: str) -> None:
    assert by_digest(named, ran) == runs
