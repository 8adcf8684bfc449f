"""The pods of the cases with all that they need in the cluster, and what the kubelet says about them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.webhook import Webhook
from doctor.cases import CASES, NAMESPACE, Case, Secret, Served
from webhook.core.names import DOCKERCONFIG_KEY, NAMESPACES, OWNER

OPEN = "open.test/team/app:1"
"""What all may pull."""
REPLICA = "pullsecret-webhook-0"
_KINDS = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")
_STARTING = {None, "ContainerCreating", "PodInitializing"}


@dataclass(frozen=True)
class Heard:
    """What a container waits for, in the kubelet's words."""

    reason: str
    message: str


@dataclass(frozen=True)
class Pods:
    """Of these cases, and of those that they come after."""

    cluster: ControlPlane
    cases: Sequence[Case]

    @classmethod
    def of(cls, cluster: ControlPlane, cases: Sequence[Case]) -> "Pods":
        named = {case.name for case in cases} | {case.after for case in cases}
        return cls(cluster, [case for case in CASES if case.name in named])

    def prepare(self) -> None:
        """What is older than the webhook."""
        self.cluster.namespace(NAMESPACE)
        for case in self.cases:
            for name, content in zip(case.secret_names, case.secrets, strict=True):
                self._give(name, NAMESPACE, case.host, content)
            if case.served is not None:
                self._serve(case, case.served)

    def create(self, webhook: Webhook) -> None:
        """Those last that need an image on the node."""
        self.cluster.namespace("called", labels={OWNER: "nobody"})
        deployed.wait_called(self.cluster.api, webhook.port, "called")
        for case in sorted(self.cases, key=lambda case: bool(case.after)):
            if case.after:
                self.runs(next(one for one in self.cases if one.name == case.after))
            if case.served is None or not case.served.early:
                self.cluster.api.create(_pod(case))
            if case.where == "ephemeral container":
                change = {"spec": {"ephemeralContainers": [{"name": "e"} | _image(case)]}}
                sub = "ephemeralcontainers"
                self.cluster.api.patch("Pod", case.name, change, case.namespace, how="strategic", sub=sub)

    def heard(self, case: Case) -> Heard:
        """The words of the first failure, or of the back-off that repeats them. containerd tries a silent registry
        up to five times.
        """

        def found() -> Heard | None:
            for status in self._statuses(case):
                waiting = status["state"].get("waiting", {})
                if waiting.get("reason") not in _STARTING:
                    return Heard(waiting["reason"], waiting.get("message", ""))
            return None

        return self.cluster.wait(found, f"the pod {case.name} cannot be pulled", within=180)

    def runs(self, case: Case) -> None:
        def running() -> bool:
            return any("running" in status["state"] for status in self._statuses(case))

        self.cluster.wait(running, f"the pod {case.name} runs", within=60)

    def probes(self) -> None:
        """Until the node has the image of the probes."""

        def running() -> bool:
            found = self.cluster.api.get("Pod", REPLICA, deployed.NAMESPACE)
            return found is not None and found["status"].get("phase") == "Running"

        self.cluster.wait(running, "the image of the probes is on the node", within=60)

    def _serve(self, case: Case, served: Served) -> None:
        self.cluster.namespace(case.namespace, labels={OWNER: case.name})
        annotations = {NAMESPACES: "elsewhere-*"} if served.limited else {}
        metadata = {"labels": {OWNER: case.name}, "annotations": annotations}
        self._give(case.name, deployed.NAMESPACE, case.host, served.secret, metadata)
        if served.early:
            self.cluster.api.create(_pod(case))

    def _give(self, name: str, namespace: str, host: str, secret: Secret, metadata: Object | None = None) -> None:
        if secret.logins is None:
            return
        config = json.dumps({"auths": {key or host: login for key, login in secret.logins.items()}})
        named = {"name": name, "namespace": namespace} | (metadata or {})
        data = {DOCKERCONFIG_KEY: base64.b64encode(config.encode()).decode()}
        self.cluster.api.create(
            {"apiVersion": "v1", "kind": "Secret", "metadata": named, "type": secret.kind, "data": data}
        )

    def _statuses(self, case: Case) -> list[dict[str, Any]]:
        found = self.cluster.api.get("Pod", case.name, case.namespace)
        assert found is not None
        return [one for kind in _KINDS for one in found["status"].get(kind, ())]


def _pod(case: Case) -> Object:
    image, volume = _image(case), case.where == "volume"
    main = {"name": "c"} | (image if case.where == "container" else {"image": OPEN})
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "imagePullSecrets": [{"name": name} for name in case.secret_names],
        "initContainers": [{"name": "i"} | image] if case.where == "init container" else [],
        "containers": [main | ({"volumeMounts": [{"name": "v", "mountPath": "/v"}]} if volume else {})],
        "volumes": [{"name": "v", "image": {"reference": case.pulled, "pullPolicy": case.policy}}] if volume else [],
    }
    metadata = {"name": case.name, "namespace": case.namespace, "labels": dict(case.labels)}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def _image(case: Case) -> Object:
    return {"image": case.pulled, "imagePullPolicy": case.policy}


def replica(namespace: str, image: str) -> Object:
    """A pod that looks like one of the chart's: doctor finds there which image its probes run."""
    labels = {"app.kubernetes.io/name": "pullsecret-webhook", "app.kubernetes.io/component": "webhook"}
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "webhook", "image": image, "command": ["sleep", "infinity"]}],
    }
    metadata = {"name": REPLICA, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
