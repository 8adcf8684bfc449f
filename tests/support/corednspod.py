"""CoreDNS as K3s runs it: its folder, and what the API server has of it. The kubelet's part is played here: it brings
ConfigMaps to the pods of CoreDNS as files."""

import asyncio
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from controlplane.api import Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.coredns import coredns
from controlplane.network import LOOPBACK, Network
from webhook.commands.clusterdns.coredns import ConfigMapFolder, CoreDns
from webhook.commands.doctor import resolving
from webhook.core.corefile import Files

COREDNS, CUSTOM = "coredns-of-tests", "coredns-custom"
LABELS = {"k8s-app": "kube-dns"}
CLUSTER = "kubernetes.default.svc.cluster.local"
IN_CLUSTER = "kubernetes cluster.local in-addr.arpa {\n    fallthrough in-addr.arpa\n  }"
IN_TEST = f'template IN A {CLUSTER} {{\n    answer "{{{{ .Name }}}} 5 IN A 10.43.0.1"\n  }}'
"""In place of the plugin kubernetes, which needs a cluster to itself."""
_numbers = count(1)


def k3s(port: int, folder: Path) -> str:
    """Of K3s, but that it reloads more often, and that no other port is taken."""
    return (
        f".:{port} {{\n  errors\n  {IN_CLUSTER}\n  hosts {folder}/NodeHosts {{\n    fallthrough\n  }}\n"
        "  forward . /etc/resolv.conf\n  cache 30\n  loop\n  reload 2s 1s\n  loadbalance\n"
        "  import custom/*.override\n}\nimport custom/*.server\n"
    )


@dataclass
class World:
    """The folder of a CoreDNS, as the Deployment of K3s mounts it."""

    folder: Path
    port: int

    def __post_init__(self) -> None:
        self.said = ""
        """By the CoreDNS that was started last, until it was up."""
        (self.folder / "custom").mkdir(parents=True)
        self.corefile = k3s(self.port, self.folder)
        (self.folder / "NodeHosts").write_text("10.0.0.9 node-9\n")

    def has(self, keys: Mapping[str, str]) -> None:
        """What stands in coredns-custom."""
        custom = self.folder / "custom"
        for file in custom.iterdir():
            if file.name not in keys:
                file.unlink()
        for name, text in keys.items():
            (custom / f".{name}").write_text(text)
            (custom / f".{name}").rename(custom / name)  # as the kubelet: at once

    @property
    def dns(self) -> CoreDns:
        """As it would be read from the cluster."""
        texts = {str(file): file.read_text() for file in (self.folder / "custom").iterdir()}
        named = {path: f"the key {Path(path).name}" for path in texts}
        corefile = str(self.folder / "Corefile")
        folders = (ConfigMapFolder("coredns-custom", str(self.folder / "custom")),)
        return CoreDns(corefile, Files(texts | {corefile: self.corefile}), folders, "k8s-app=kube-dns", named)

    @property
    def text(self) -> str:
        """The Corefile for the CoreDNS of this test."""
        return self.corefile.replace(IN_CLUSTER, IN_TEST)

    def starts(self) -> bool:
        (self.folder / "Corefile").write_text(self.text)
        program = [str(need("coredns")["coredns"]), "-conf", str(self.folder / "Corefile")]
        with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
            assert process.stdout
            timer = threading.Timer(10, process.kill)
            timer.start()
            self.said, up = "", False
            for line in process.stdout:
                self.said += line
                if up := line.startswith("CoreDNS-"):
                    break
            timer.cancel()
            process.kill()
        return up

    def answers(self, *names: str) -> list[tuple[str, ...]]:
        async def asked() -> list[tuple[str, ...]]:
            return [(await resolving.asked("127.0.0.1", name, self.port)).addresses for name in names]

        return asyncio.run(asked())


class InCluster:
    """CoreDNS in the cluster: a Deployment as K3s has it, one pod, and behind its address the real CoreDNS."""

    def __init__(self, cluster: ControlPlane, world: World) -> None:
        self.cluster, self.api, self.world = cluster, cluster.api, world

    def begin(self, address: str) -> None:
        self.api.create(config_map(COREDNS, {"Corefile": self.world.corefile, "NodeHosts": ""}))
        self.api.create(deployment(self.world.folder))
        self.pod(address)

    def end(self) -> None:
        self.api.delete("Deployment", COREDNS, "kube-system")
        for name in (COREDNS, CUSTOM):
            if self.api.get("ConfigMap", name, "kube-system"):
                self.api.delete("ConfigMap", name, "kube-system")
        for one in self.api.list("Pod", "kube-system", labels="k8s-app=kube-dns"):
            self.api.delete("Pod", one["metadata"]["name"], "kube-system", options={"gracePeriodSeconds": 0})

    def pod(self, address: str) -> None:
        name = f"coredns-{next(_numbers)}"
        spec = {"containers": [{"name": "coredns", "image": "coredns"}], "schedulerName": "nobody"}
        metadata = {"name": name, "namespace": "kube-system", "labels": LABELS}
        self.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
        status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
        self.api.patch("Pod", name, {"status": status}, "kube-system", sub="status")

    def custom(self) -> dict[str, str] | None:
        found = self.api.get("ConfigMap", CUSTOM, "kube-system")
        return None if found is None else found.get("data", {})

    @contextmanager
    def served(self, network: Network = LOOPBACK) -> Iterator[None]:
        """CoreDNS runs, and the kubelet brings it what the ConfigMap has."""
        ended = threading.Event()

        def bring() -> None:
            while not ended.wait(0.2):
                self.world.has(self.custom() or {})

        self.world.has(self.custom() or {})
        kubelet = threading.Thread(target=bring)
        with coredns(self.world.folder, self.world.text, network):
            kubelet.start()
            try:
                yield
            finally:
                ended.set()
                kubelet.join()


def config_map(name: str, data: dict[str, str]) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system"},
        "data": data,
    }


def deployment(folder: Path) -> Object:
    """No pod is made of it: its only one is made by hand."""
    items = [{"key": key, "path": key} for key in ("Corefile", "NodeHosts")]
    volumes = [
        {"name": "config-volume", "configMap": {"name": COREDNS, "items": items}},
        {"name": "custom-config-volume", "configMap": {"name": CUSTOM, "optional": True}},
    ]
    mounts = [
        {"name": "config-volume", "mountPath": str(folder), "readOnly": True},
        {"name": "custom-config-volume", "mountPath": str(folder / "custom"), "readOnly": True},
    ]
    container = {
        "name": "coredns",
        "image": "coredns",
        "args": ["-conf", str(folder / "Corefile")],
        "volumeMounts": mounts,
    }
    template = {"metadata": {"labels": LABELS}, "spec": {"containers": [container], "volumes": volumes}}
    spec = {"replicas": 0, "selector": {"matchLabels": LABELS}, "template": template}
    metadata = {"name": COREDNS, "namespace": "kube-system", "labels": LABELS}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
