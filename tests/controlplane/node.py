"""A real node: containerd and the kubelet of this machine's kernel, in mount and pid namespaces of their own.

The node is called localhost (so that `kubectl logs` finds it), logs in by a certificate as system:node:localhost (so
that the Node authorizer decides which Secrets it may read), and resolves the names of the given registries to them.
It runs in the cluster's network: on loopback pods have none of their own to speak of, and hostNetwork works there too.
cgroup version 2: see cgroups.py."""

import json
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from signal import SIGKILL
from types import MappingProxyType
from typing import Self

from controlplane.binaries import need
from controlplane.cgroups import cgroup
from controlplane.cluster import ControlPlane
from controlplane.image import Image
from controlplane.machine import check_machine
from controlplane.nodefiles import PAUSE, write_containerd, write_hosts, write_kubelet
from controlplane.ports import free_port
from controlplane.process import Child, Command
from controlplane.progress import step
from controlplane.registry import Registry

_TESTS = Path(__file__).parent.parent  # where the package is imported from
_UNSHARE = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private")


class Node:
    name = "localhost"
    programs = ("containerd", "containerd-shim-runc-v2", "ctr", "kubelet", "runc", "pause")

    def __init__(self, folder: Path, cluster: ControlPlane, programs: dict[str, Path]) -> None:
        self.folder = folder
        self._cluster = cluster
        self._programs = programs

    @classmethod
    @contextmanager
    def start(
        cls,
        folder: Path,
        cluster: ControlPlane,
        registries: Sequence[Registry] = (),
        *,
        etc: Mapping[str, str] = MappingProxyType({}),
        env: Mapping[str, str] = MappingProxyType({}),
    ) -> Iterator[Self]:
        """Ready, and open to the scheduler (which it starts), when yielded. `etc`: files in /etc that are the node's
        own, such as `hosts`; those that this machine has, too. `env`: for containerd and the kubelet.
        """
        check_machine("mount", "unshare")
        node = cls(folder.resolve(), cluster, need(*cls.programs))
        cluster.start_scheduler()
        with ExitStack() as stack:
            node._make_folder(stack)
            name = stack.enter_context(cgroup())
            with step("node (containerd, kubelet)"):
                node._write(name, registries, etc)
                child = stack.enter_context(node._running(env))
                child.until(node._is_ready, "the node is ready; see kubelet.log and containerd.log there", within=60)
            yield node

    def knows(self, registry: Registry) -> None:
        """One more, from the next pull on."""
        write_hosts(self.folder, registry)

    def configures(self, registry: str, toml: str) -> None:
        """containerd's hosts.toml for this name of a registry, which it reads at every pull."""
        folder = self.folder / "certs.d" / registry
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "hosts.toml").write_text(toml)

    def sees(self, file: str, text: str) -> None:
        """One of the files that were given as `etc`, written anew. What runs on the node may notice it 5 s later."""
        with (self.folder / "etc" / file).open("r+") as own:  # in its place: it is mounted
            own.write(text)
            own.truncate()

    def _make_folder(self, stack: ExitStack) -> None:
        images = self.folder / "containerd"
        images.mkdir(parents=True)
        stack.callback(shutil.rmtree, images, ignore_errors=True)  # the logs stay

    def _write(self, cgroup_name: str, registries: Sequence[Registry], etc: Mapping[str, str]) -> None:
        pki, programs, folder, network = self._cluster.pki, self._programs, self.folder, self._cluster.network
        (folder / "pause.tar").write_bytes(Image.of(programs["pause"]).archive(PAUSE))
        write_containerd(folder, programs["runc"], network.pods)
        for registry in registries:
            self.knows(registry)
        (folder / "etc").mkdir()
        for file, text in etc.items():
            (folder / "etc" / file).write_text(text)
        serving = pki.server("kubelet", self.name, "127.0.0.1")
        write_kubelet(folder, cgroup=cgroup_name, port=free_port(), ca=pki.ca, serving=serving)
        kubeconfig = self._cluster.user_kubeconfig(f"system:node:{self.name}", ("system:nodes",))
        containerd = [str(programs["containerd"]), f"--config={folder}/containerd.toml"]
        kubelet = [
            str(programs["kubelet"]),
            f"--config={folder}/kubelet.yaml",
            f"--kubeconfig={kubeconfig}",
            f"--hostname-override={self.name}",
            *([f"--node-ip={network.address}"] if network.pods else []),
        ]
        keep = {self._cluster.folder, _TESTS, *(program.parent for program in programs.values())}
        keep |= {network.pods.plugins} if network.pods else set()
        spec = {
            "folder": str(folder),
            "keep": sorted(map(str, keep)),
            "containerd": containerd,
            "ctr": str(programs["ctr"]),
            "kubelet": kubelet,
        }
        (folder / "spec.json").write_text(json.dumps(spec, indent=2))

    @contextmanager
    def _running(self, more: Mapping[str, str]) -> Iterator[Child]:
        path = f"{self._programs['containerd-shim-runc-v2'].parent}{os.pathsep}{os.environ['PATH']}"
        env = {"PATH": path, "PYTHONPATH": str(_TESTS)} | self._cluster.network.env | dict(more)
        enter = self._cluster.network.enter
        command: Command = [*enter, *_UNSHARE, sys.executable, "-m", "controlplane.inside", self.folder / "spec.json"]
        with Child("node", command, log=self.folder / "node.log", env=env, stop_signal=SIGKILL) as child:
            try:
                yield child
            finally:
                _end(child)

    def _is_ready(self) -> bool:
        found = self._cluster.api.get("Node", self.name) or {"spec": {}, "status": {}}
        conditions = {one["type"]: one["status"] for one in found["status"].get("conditions", ())}
        return conditions.get("Ready") == "True" and not found["spec"].get("taints")


def _end(child: Child) -> None:
    """Kills the node's process 1, not `unshare` around it: that one then returns when the last process is gone."""
    children = Path(f"/proc/{child.pid}/task/{child.pid}/children")
    with suppress(FileNotFoundError, ProcessLookupError):
        for pid in children.read_text().split():
            os.kill(int(pid), SIGKILL)
    child.wait(within=20)
