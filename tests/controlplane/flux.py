"""Flux: its source-, kustomize- and helm-controller as plain processes beside a test cluster."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import ClassVar

import httpx

from controlplane import crds, plain
from controlplane.api import Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.image import Artifact, push
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.progress import step
from controlplane.registry import Registry
from controlplane.waiting import until

NAMESPACE = "flux-system"
CONTROLLERS = ("source-controller", "kustomize-controller", "helm-controller")
_USER = "flux"
_REQUESTED = "reconcile.fluxcd.io/requestedAt"


class Flux:
    """Reads OCI artifacts from `registry`, where it is a user of its own."""

    def __init__(self, cluster: ControlPlane, registry: Registry, children: list[Child]) -> None:
        self.cluster, self.registry, self.children = cluster, registry, children

    @classmethod
    @contextmanager
    def start(cls, folder: Path, cluster: ControlPlane, registry: Registry) -> Iterator["Flux"]:
        programs = need(*CONTROLLERS)
        crds.install_flux(cluster)
        cluster.namespace(NAMESPACE)
        registry.set_password(_USER, secrets.token_urlsafe())
        with ExitStack() as stack:
            flux = cls(cluster, registry, [])
            with step("Flux"):
                for name in CONTROLLERS:
                    flux._run(stack, programs[name], folder / name)
            flux.credentials(NAMESPACE)
            yield flux

    reach: ClassVar[Object] = {"secretRef": {"name": "registry"}, "certSecretRef": {"name": "registry-ca"}}
    """Of an OCIRepository, where `credentials` are."""

    def url(self, name: str) -> str:
        return f"oci://{self.registry.address}/{_USER}/{name}"

    def push(self, name: str, artifact: Artifact, tag: str = "1.0.0") -> None:
        with self.registry.client(_USER, self.registry.users[_USER]) as client:
            push(client, f"{_USER}/{name}", tag, artifact)

    def source(self, name: str, *, chart: bool = False) -> Object:
        """An OCIRepository of what was pushed under that name; made once, read again with `reconcile`."""
        helm = {"mediaType": "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "operation": "copy"}
        spec = {
            "interval": "1h",
            "url": self.url(name),
            "ref": {"tag": "1.0.0"},
            **self.reach,
        } | ({"layerSelector": helm} if chart else {})
        return {"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "OCIRepository"} | _named(name) | {"spec": spec}

    def reconcile(self, kind: str, name: str, namespace: str = NAMESPACE, within: float = 60) -> None:
        """Asks for it, and waits until it was done and is ready."""
        token = secrets.token_hex(8)
        self.cluster.api.patch(kind, name, {"metadata": {"annotations": {_REQUESTED: token}}}, namespace)

        def done() -> bool:
            for child in self.children:
                child.check()
            found = self.cluster.api.get(kind, name, namespace) or {}
            status = found.get("status", {})
            ready = [one["status"] == "True" for one in status.get("conditions", ()) if one["type"] == "Ready"]
            generation = found["metadata"]["generation"]
            return (
                status.get("lastHandledReconcileAt") == token
                and status.get("observedGeneration") == generation
                and ready == [True]
            )

        until(done, f"Flux has reconciled {kind} {name}", within=within)

    def _run(self, stack: ExitStack, program: Path, folder: Path) -> None:
        folder.mkdir(parents=True)
        health = f"127.0.0.1:{free_port()}"
        command: list[str | Path] = [program, f"--health-addr={health}", f"--metrics-addr=127.0.0.1:{free_port()}"]
        command += ["--events-addr=", "--enable-leader-election=false", "--watch-all-namespaces=true"]
        if program.name == "source-controller":
            storage = f"127.0.0.1:{free_port()}"
            command += [f"--storage-path={folder}", f"--storage-addr={storage}", f"--storage-adv-addr={storage}"]
        env = {"KUBECONFIG": str(self.cluster.kubeconfig), "RUNTIME_NAMESPACE": NAMESPACE, "TMPDIR": str(folder)}
        child = stack.enter_context(Child(program.name, command, log=folder / "log", env=env))
        child.until(lambda: _answers(f"http://{health}/readyz"), f"{program.name} is ready", within=60)
        self.children.append(child)

    def credentials(self, namespace: str) -> None:
        """What a source in this namespace needs to read from the registry."""
        registry = self.registry
        config = registry.dockerconfigjson(_USER).replace(registry.name, registry.address)
        secret = {"apiVersion": "v1", "kind": "Secret"}
        pull = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": config}}
        self.cluster.api.create(secret | _named("registry", namespace) | pull)
        self.cluster.api.create(
            secret | _named("registry-ca", namespace) | {"stringData": {"ca.crt": registry.ca.read_text()}}
        )


def _named(name: str, namespace: str = NAMESPACE) -> Object:
    return {"metadata": {"name": name, "namespace": namespace}}


def _answers(url: str) -> bool:
    try:
        return plain.get(url).is_success
    except httpx.TransportError:
        return False
