"""Ways in which people bring manifests into a cluster: each applies a set of them, as often as it is asked to."""

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from controlplane.api import Object, Objects
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.flux import NAMESPACE, Flux
from controlplane.helm import Helm
from controlplane.image import Artifact

REVISION = "deployment.kubernetes.io/revision"


class Tool(ABC):
    """One namespace's workloads. `apply` returns when the tool says that it is done."""

    def __init__(self, cluster: ControlPlane, space: str) -> None:
        self.cluster, self.space = cluster, space
        self.applied = 0
        self.printed: list[str] = []
        """By the last `apply`, if the tool tells of single objects."""

    def apply(self, objects: Objects) -> None:
        self.applied += 1
        self._apply(self._placed(objects))

    def drift(self, objects: Objects) -> str:
        """What the tool would change; nothing if all is as it wants it."""
        return self._diff(self._placed(objects))

    def noticed(self) -> list[str]:
        """Changes that the tool says it has made, since its first `apply`. Those of Flux are said some time later."""
        return []

    def _placed(self, objects: Objects) -> Objects:
        return [self._in_space(obj) if obj["kind"] != "Namespace" else obj for obj in objects]

    def _in_space(self, obj: Object) -> Object:
        return obj | {"metadata": obj["metadata"] | {"namespace": self.space}}

    @abstractmethod
    def _apply(self, objects: Objects) -> None: ...

    def _diff(self, objects: Objects, *flags: str) -> str:
        """Of a client-side diff, fields that the last manifest did not have are not part: see `_replaced`."""
        said = self.cluster.kubectl("diff", *flags, "-f", "-", input=as_list(objects), fine=(0, 1))
        return "\n".join(line for line in said.splitlines() if line[:1] in "+-" and line[:3] not in ("+++", "---"))

    def _replaced(self, objects: Objects) -> str:
        """What would stand there after these objects had taken the place of those that stand, where it differs."""
        command = ("replace", "--dry-run=server", "-o=json", "-f", "-")
        changed = []
        for obj in objects:
            would = json.loads(self.cluster.kubectl(*command, input=json.dumps(obj)))["spec"]
            if would != self._live(name := obj["metadata"]["name"])["spec"]:
                changed.append(f"{name} would become {json.dumps(would)}")
        return "\n".join(changed)

    def _live(self, name: str) -> Object:
        found = self.cluster.api.get("Deployment", name, self.space)
        if found is None:
            raise HarnessError(f"there is no Deployment {self.space}/{name}")
        return found


def as_list(objects: Objects) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


class Apply(Tool):
    """kubectl apply, which compares on the client's side."""

    flags: ClassVar[tuple[str, ...]] = ()

    def _apply(self, objects: Objects) -> None:
        self.printed = self.cluster.kubectl("apply", *self.flags, "-f", "-", input=as_list(objects)).splitlines()


class ServerSide(Apply):
    flags = ("--server-side",)

    def _diff(self, objects: Objects, *flags: str) -> str:
        return super()._diff(objects, *flags, "--server-side")


class Replace(Tool):
    """kubectl create, then kubectl replace.

    With the revision that the Deployment controller has noted: to drop it counts as a change of the Deployment.
    """

    def _apply(self, objects: Objects) -> None:
        verb = "create" if self.applied == 1 else "replace"
        given = objects if verb == "create" else [self._with_revision(obj) for obj in objects]
        self.printed = self.cluster.kubectl(verb, "-f", "-", input=as_list(given)).splitlines()

    def _with_revision(self, obj: Object) -> Object:
        noted = {REVISION: self._live(obj["metadata"]["name"])["metadata"]["annotations"][REVISION]}
        return obj | {"metadata": obj["metadata"] | {"annotations": noted}}

    def _diff(self, objects: Objects, *flags: str) -> str:
        return self._replaced(objects)


class Forced(Tool):
    """As Argo CD does it: each object with its tracking id, by server-side apply with force, tried by a dry run."""

    _manager = "argocd-controller"

    def _placed(self, objects: Objects) -> Objects:
        return [obj | {"metadata": obj["metadata"] | self._tracked(obj)} for obj in objects]

    def _tracked(self, obj: Object) -> Object:
        name = obj["metadata"]["name"]
        tracking = f"shop:apps/Deployment:{self.space}/{name}"
        return {"namespace": self.space, "annotations": {"argocd.argoproj.io/tracking-id": tracking}}

    def _apply(self, objects: Objects) -> None:
        for obj in objects:
            tried = self.cluster.api.apply(obj, manager=self._manager, force=True, dry_run=True)
            done = self.cluster.api.apply(obj, manager=self._manager, force=True)
            if _content(tried) != _content(done):
                raise HarnessError(f"the dry run of {self.space}/{obj['metadata']['name']} had another answer")

    def _diff(self, objects: Objects, *flags: str) -> str:
        return super()._diff(objects, *flags, "--server-side", "--force-conflicts", f"--field-manager={self._manager}")


def _content(obj: Object) -> Object:
    """Without what each request is given anew: a Service's address."""
    spec = {key: value for key, value in obj.get("spec", {}).items() if key not in ("clusterIP", "clusterIPs")}
    return {key: value for key, value in obj.items() if key not in ("metadata", "status")} | {"spec": spec}


class HelmChart(Tool):
    def __init__(self, cluster: ControlPlane, space: str, folder: Path, major: int, *flags: str) -> None:
        super().__init__(cluster, space)
        self._chart, self._flags = folder / space, flags
        self._applies = major == 4 and not flags
        self._helm = Helm(major, folder, cluster.kubeconfig)

    def _apply(self, objects: Objects) -> None:
        self._run("install" if self.applied == 1 else "upgrade", objects, *self._flags)

    def try_install(self, objects: Objects) -> None:
        self._run("install", self._placed(objects), "--dry-run=server", *self._flags)

    def _run(self, verb: str, objects: Objects, *flags: str) -> None:
        for name, text in chart(objects).items():
            file = self._chart / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self._helm.run(verb, "shop", self._chart, "--namespace", self.space, *flags)

    def _diff(self, objects: Objects, *flags: str) -> str:
        """Helm has no diff: by the API, of the objects as Helm sends them."""
        self._run("upgrade", objects, "--dry-run=server", *self._flags)
        sent = [obj | {"metadata": obj["metadata"] | self._marks} for obj in objects]
        if not self._applies:
            return self._replaced(sent)
        return super()._diff(sent, *flags, "--server-side", "--force-conflicts", "--field-manager=helm")

    @property
    def _marks(self) -> Object:
        key = "meta.helm.sh/release"
        annotations = {f"{key}-name": "shop", f"{key}-namespace": self.space}
        return {"labels": {"app.kubernetes.io/managed-by": "Helm"}, "annotations": annotations}


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

    def noticed(self) -> list[str]:
        return notes(self, lambda event: " configured" in event.get("note", ""))


def notes(tool: Tool, wanted: Callable[[Object], bool]) -> list[str]:
    """Of the Events about what is called like the namespace; each line once for each time that it was said."""
    about = [e for e in tool.cluster.api.list("Event", NAMESPACE) if e.get("regarding", {}).get("name") == tool.space]
    times = {e["metadata"]["name"]: e.get("deprecatedCount") or 1 for e in about}
    return sorted(
        line.replace(tool.space, "NAMESPACE")
        for event in about
        if wanted(event)
        for line in event["note"].splitlines() * times[event["metadata"]["name"]]
    )


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
            "install": {"disableWait": True, "createNamespace": True},
            "upgrade": {"disableWait": True},
        }
        metadata = {"name": self.space, "namespace": NAMESPACE}
        return {"apiVersion": "helm.toolkit.fluxcd.io/v2", "kind": "HelmRelease", "metadata": metadata, "spec": spec}

    def _diff(self, objects: Objects, *flags: str) -> str:
        return self._replaced(objects)

    def noticed(self) -> list[str]:
        return notes(self, lambda event: event.get("reason") == "DriftDetected")
