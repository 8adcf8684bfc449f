"""Ways in which people bring manifests into a cluster: each applies a set of them, as often as it is asked to."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from controlplane.api import Object, Objects
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.flux import NAMESPACE, Flux
from controlplane.helm import Helm
from controlplane.image import Artifact


class Tool(ABC):
    """One namespace's workloads. `apply` returns when the tool says that it is done."""

    def __init__(self, cluster: ControlPlane, space: str) -> None:
        self.cluster, self.space = cluster, space
        self.applied = 0

    def apply(self, objects: Objects) -> None:
        self.applied += 1
        self._apply([obj | {"metadata": obj["metadata"] | {"namespace": self.space}} for obj in objects])

    def drift(self, objects: Objects) -> str:
        """What the tool would change, in its own words; nothing if all is as it wants it."""
        return self._diff([obj | {"metadata": obj["metadata"] | {"namespace": self.space}} for obj in objects])

    @abstractmethod
    def _apply(self, objects: Objects) -> None: ...

    def _diff(self, objects: Objects, *flags: str) -> str:
        said = self.cluster.kubectl("diff", *flags, "-f", "-", input=as_list(objects), check=False)
        return "\n".join(line for line in said.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---"))


def as_list(objects: Objects) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


class Apply(Tool):
    """kubectl apply, which compares on the client's side."""

    flags: ClassVar[tuple[str, ...]] = ()

    def _apply(self, objects: Objects) -> None:
        self.cluster.kubectl("apply", *self.flags, "-f", "-", input=as_list(objects))


class ServerSide(Apply):
    flags = ("--server-side",)

    def _diff(self, objects: Objects, *flags: str) -> str:
        return super()._diff(objects, *flags, "--server-side")


class Replace(Tool):
    """kubectl create, then kubectl replace."""

    def _apply(self, objects: Objects) -> None:
        self.cluster.kubectl("create" if self.applied == 1 else "replace", "-f", "-", input=as_list(objects))


class Forced(Tool):
    """Server-side apply with force under one manager, as Argo CD does it."""

    _manager = "argocd-controller"

    def _apply(self, objects: Objects) -> None:
        for obj in objects:
            self.cluster.api.apply(obj, manager=self._manager, force=True)

    def _diff(self, objects: Objects, *flags: str) -> str:
        return super()._diff(objects, *flags, "--server-side", "--force-conflicts", f"--field-manager={self._manager}")


class HelmChart(Tool):
    def __init__(self, cluster: ControlPlane, space: str, folder: Path, major: int, *flags: str) -> None:
        super().__init__(cluster, space)
        self._chart, self._flags = folder / space, flags
        self._helm = Helm(major, folder, cluster.kubeconfig)

    def _apply(self, objects: Objects) -> None:
        for name, text in chart(objects).items():
            file = self._chart / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        verb = "install" if self.applied == 1 else "upgrade"
        self._helm.run(verb, "shop", self._chart, "--namespace", self.space, *self._flags)


def chart(objects: Objects) -> Mapping[str, str]:
    files = {"Chart.yaml": json.dumps({"apiVersion": "v2", "name": "shop", "version": "1.0.0"})}
    return files | {f"templates/{obj['metadata']['name']}.yaml": json.dumps(obj) for obj in objects}


class Kustomization(Tool):
    """Flux applies what lies in an OCI artifact; server-side, with a dry run before."""

    def __init__(self, flux: Flux, space: str) -> None:
        super().__init__(flux.cluster, space)
        self._flux = flux

    def _apply(self, objects: Objects) -> None:
        flux, name = self._flux, self.space
        flux.push(name, Artifact.of_flux({"all.yaml": as_list(objects)}))
        if self.applied == 1:
            self.cluster.api.create(flux.source(name))
            self.cluster.api.create(self._made())
        flux.reconcile("OCIRepository", name)
        flux.reconcile("Kustomization", name)

    def _made(self) -> Object:
        source = {"kind": "OCIRepository", "name": self.space}
        spec = {"interval": "1h", "path": "./", "prune": True, "wait": False, "sourceRef": source}
        metadata = {"name": self.space, "namespace": NAMESPACE}
        return {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": metadata,
            "spec": spec,
        }

    def _diff(self, objects: Objects, *flags: str) -> str:
        """As the controller applies them: with its labels."""
        key = "kustomize.toolkit.fluxcd.io"
        labels = {f"{key}/name": self.space, f"{key}/namespace": NAMESPACE}
        labelled = [obj | {"metadata": obj["metadata"] | {"labels": labels}} for obj in objects]
        own = ("--server-side", "--force-conflicts", "--field-manager=kustomize-controller")
        return super()._diff(labelled, *flags, *own)


class HelmRelease(Tool):
    """Flux installs a chart and corrects what drifts from it."""

    def __init__(self, flux: Flux, space: str) -> None:
        super().__init__(flux.cluster, space)
        self._flux = flux

    def _apply(self, objects: Objects) -> None:
        flux, name = self._flux, self.space
        flux.push(name, Artifact.of_chart("shop", "1.0.0", dict(chart(objects))))
        if self.applied == 1:
            self.cluster.api.create(flux.source(name, chart=True))
            self.cluster.api.create(self._made())
        flux.reconcile("OCIRepository", name)
        flux.reconcile("HelmRelease", name)

    def _made(self) -> Object:
        spec = {
            "interval": "1h",
            "releaseName": "shop",
            "targetNamespace": self.space,
            "storageNamespace": self.space,
            "chartRef": {"kind": "OCIRepository", "name": self.space},
            "driftDetection": {"mode": "enabled"},
            "install": {"disableWait": True},
            "upgrade": {"disableWait": True},
        }
        metadata = {"name": self.space, "namespace": NAMESPACE}
        return {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": metadata, "spec": spec}

    def drift(self, objects: Objects) -> str:
        """Of what the controller itself has found, by its Events."""
        drifted = [e for e in self._events() if e.get("reason") == "DriftDetected"]
        return super().drift(objects) + "".join(f"\n{one.get('note', '')}" for one in drifted)

    def _events(self) -> Objects:
        events = self.cluster.api.list("Event", NAMESPACE)
        about = [event for event in events if event.get("regarding", {}).get("name") == self.space]
        if not about:
            raise HarnessError(f"helm-controller has written no Event about {self.space}")
        return about
