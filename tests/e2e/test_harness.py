"""The test cluster itself: that it is real, that it keeps its users apart, and that nothing of it is left."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.api import ApiError
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.network import Network
from controlplane.process import Child
from controlplane.waiting import until

PARENT = """
import os, sys, time
from pathlib import Path
from threading import Thread
from controlplane.process import Child

def start():
    print(Child("sleep", ["sleep", "600"], log=Path(sys.argv[1])).pid, flush=True)

thread = Thread(target=start)
thread.start()
thread.join()
time.sleep(600)
"""


def runs(pid: int) -> bool:
    """Not gone, and not a dead orphan that process 1 has yet to collect."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_child_outlives_the_thread_that_started_it_but_not_its_killed_parent(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path / "log")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as parent:
        assert parent.stdout
        child = int(parent.stdout.readline())
        assert runs(child)
        parent.send_signal(signal.SIGKILL)
    until(lambda: not runs(child), "the child is gone too", within=5)


def test_the_death_of_a_child_ends_the_wait_for_it_and_shows_why(tmp_path: Path) -> None:
    command = ["sh", "-c", "echo no such flag; exit 3"]
    with (
        Child("server", command, log=tmp_path / "log") as child,
        pytest.raises(HarnessError, match=r"server ended with status 3\n(.*\n)*.*no such flag"),
    ):
        child.until(lambda: False, "server answers", within=60)


@pytest.mark.cluster
def test_kubectl_and_the_api_see_the_same_cluster(cluster: ControlPlane) -> None:
    cluster.kubectl("create", "configmap", "seen")
    cluster.kubectl("label", "configmap", "seen", "colour=green")
    assert [found["metadata"]["name"] for found in cluster.api.list("ConfigMap", labels="colour=green")] == ["seen"]
    cluster.api.delete("ConfigMap", "seen", wait=True)
    assert "NotFound" in cluster.kubectl("get", "configmap", "seen", check=False)


@pytest.mark.cluster
def test_a_user_without_rights_is_refused(cluster: ControlPlane) -> None:
    with pytest.raises(ApiError, match='User "eve" cannot list resource "secrets"') as refused:
        cluster.user("eve", groups=("tenants", "others")).list("Secret", "kube-system")
    assert (refused.value.status, refused.value.reason) == (403, "Forbidden")


@pytest.mark.cluster
def test_a_group_of_a_user_carries_rights(cluster: ControlPlane) -> None:
    name = {"name": "tenants-read-nodes"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node"}
    group = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "tenants"}
    version = "rbac.authorization.k8s.io/v1"
    binding = {"apiVersion": version, "kind": "ClusterRoleBinding", "metadata": name}
    cluster.api.create(binding | {"roleRef": role, "subjects": [group]})
    alice = cluster.user("alice", groups=("others", "tenants"))
    assert isinstance(alice.list("Node"), list)
    cluster.api.delete("ClusterRoleBinding", "tenants-read-nodes")


@pytest.mark.cluster
def test_a_service_account_speaks_by_its_own_token(cluster: ControlPlane) -> None:
    kubeconfig = cluster.service_account("default", "default")
    who = cluster.kubectl("auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", kubeconfig=kubeconfig)
    assert who == "system:serviceaccount:default:default"
    assert "Forbidden" in cluster.kubectl("get", "secrets", kubeconfig=kubeconfig, check=False)


@pytest.mark.cluster
def test_warnings_of_the_api_server_are_collected(cluster: ControlPlane) -> None:
    spec = {"nodeSelector": {"beta.kubernetes.io/os": "linux"}, "containers": [{"name": "app", "image": "app"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "warned"}, "spec": spec}
    cluster.api.take_warnings()
    cluster.api.create(pod, dry_run=True)
    assert ["deprecated since v1.14" in text for text in cluster.api.take_warnings()] == [True]
    assert cluster.api.take_warnings() == []


@pytest.mark.parametrize(("user", "said"), [(1000, "need root"), (0, "nsenter is missing: install util-linux")])
def test_what_a_network_needs_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: int, said: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(HarnessError, match=said), Network.start(tmp_path):
        pass


@pytest.mark.slow  # test_demo's Ctrl-C is quicker
@pytest.mark.usefixtures("node_binaries")
@pytest.mark.cluster
def test_nothing_is_left_running(tmp_path: Path) -> None:
    with ControlPlane.start(tmp_path, scheduler=True) as own:
        pids = [child.pid for child in own.children]
        assert [runs(pid) for pid in pids] == [True] * 4
    assert [runs(pid) for pid in pids] == [False] * 4
