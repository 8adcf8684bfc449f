"""The webhook installed as pods of its own image into a `Networked` cluster, and the main job there."""

import secrets
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from controlplane import webhook as deployed
from controlplane.api import Api, Object
from controlplane.cluster import ControlPlane
from controlplane.helm import CHART, NAMESPACE, Helm
from controlplane.networked import Networked
from controlplane.waiting import until
from controlplane.webhookimage import Pushed

NAME = "pullsecret-webhook"
PULL = "webhook-image"  # the pull secret of our own image, in the release namespace
SECRET = "ghcr-secret"
REFERENCE = [{"name": SECRET}]
OWNER = "pullsecret-webhook/owner"
PODS = "app.kubernetes.io/component=webhook"
_POLICIES = ("ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")
_CLUSTER_WIDE = ("Namespace", "MutatingWebhookConfiguration", *_POLICIES, "ClusterRole", "ClusterRoleBinding")
_ACCOUNTS = ("ServiceAccount", "Role", "RoleBinding")
_IN_NAMESPACE = ("Pod", "Job", "Deployment", "Service", "ConfigMap", "PodDisruptionBudget", "ResourceQuota", *_ACCOUNTS)


@dataclass
class Release:
    """`image` lies in the cluster's registry; its pull secret comes into the release namespace, which is restricted."""

    networked: Networked
    image: Pushed

    def __post_init__(self) -> None:
        self.allow("restricted")
        secret = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": self.image.pull_secret}}
        self.api.apply(
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": PULL, "namespace": NAMESPACE}} | secret
        )

    def allow(self, level: str) -> None:
        """Which pods the release namespace takes, as a Pod Security Standard."""
        metadata = {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": level}}
        self.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    @property
    def cluster(self) -> ControlPlane:
        return self.networked.cluster

    @property
    def api(self) -> Api:
        return self.networked.cluster.api

    @property
    def values(self) -> Object:
        """The image, and requests that fit beside the tests."""
        repository, _, _ = self.image.name.rpartition(":")
        return {
            "image": {"repository": repository, "tag": "test", "digest": self.image.digest},
            "imagePullSecrets": [{"name": PULL}],
            "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        }

    def helm(self, major: int, folder: Path) -> "HelmRelease":
        return HelmRelease(self, Helm(major, folder, self.cluster.kubeconfig))

    def pods(self) -> list[Object]:
        """Those that are ready and not about to end."""
        return [pod for pod in self.api.list("Pod", NAMESPACE, labels=PODS) if _ready(pod)]

    def settled(self, replicas: int = 2) -> None:
        """Until the pods of before are gone too."""

        def alone() -> bool:
            return len(self.api.list("Pod", NAMESPACE, labels=PODS)) == replicas == len(self.pods())

        until(alone, f"{replicas} pods and no others", within=60)

    def runs_without_a_word_about_credentials(self, owner: str, space: str) -> None:
        """The main job, in a new namespace of this owner."""
        registry = self.networked.registry
        if owner not in registry.users:
            registry.set_password(owner, secrets.token_urlsafe())
        image = registry.push(f"{owner}/app", space)
        deployed.give(self.api, owner, registry.users[owner])
        self.cluster.namespace(space, labels={OWNER: owner})
        until(lambda: self.api.get("Secret", SECRET, space), "the pull secret stands", within=10)
        deployed.wait_called(self.api, 443, space)
        created = self.api.create(pod("app", space, image))
        assert references(created) == REFERENCE

        def runs() -> bool:
            found = self.api.get("Pod", "app", space)
            return found is not None and found["status"].get("phase") == "Running"

        self.cluster.wait(runs, "the pod runs", within=60)

    def left(self) -> list[str]:
        """What is there of an installation, but for its namespace and the Secrets in it."""
        own = [one for kind in _CLUSTER_WIDE for one in self.api.list(kind)]
        own += [one for kind in _IN_NAMESPACE for one in self.api.list(kind, NAMESPACE)]
        found = [f"{one['kind']} {one['metadata']['name']}" for one in own if one["metadata"]["name"].startswith(NAME)]
        return [one for one in found if one != f"Namespace {NAMESPACE}"]


@dataclass
class HelmRelease:
    release: Release
    _helm: Helm

    def __call__(self, *words: str, values: Object | None = None) -> str:
        return self._helm.run(*words, "--namespace", NAMESPACE, values=values, within=300)

    def install(self, values: Object | None = None) -> None:
        chart = ("install", NAME, str(CHART), "--wait", "--timeout", "120s")
        self(*chart, values=self.release.values | (values or {}))

    def upgrade(self, values: Object | None = None) -> None:
        chart = ("upgrade", NAME, str(CHART), "--wait", "--timeout", "120s")
        self(*chart, values=self.release.values | (values or {}))

    def rollback(self) -> None:
        self("rollback", NAME, "1", "--wait", "--timeout", "120s")

    def uninstall(self) -> None:
        self("uninstall", NAME, "--wait", "--timeout", "120s")


class Traffic:
    """Pods made one after the other, by dry run, for as long as it lasts; those that came out without the reference."""

    def __init__(self, release: Release, space: str) -> None:
        self._space, self._end = space, threading.Event()
        self._api = release.cluster.user("traffic", ("system:masters",))
        self._thread = threading.Thread(target=self._run)
        self.made = 0
        self.missed: list[int] = []

    def _run(self) -> None:
        while not self._end.is_set():
            self.made += 1
            if references(self._api.create(pod(f"traffic-{self.made}", self._space), dry_run=True)) != REFERENCE:
                self.missed.append(self.made)
            time.sleep(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def pod(name: str, space: str, image: str = "ghcr.io/alice/app:none") -> Object:
    spec = {"containers": [{"name": "app", "image": image}], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": space}, "spec": spec}


def references(obj: Object) -> list[Object]:
    found: list[Object] = obj["spec"].get("imagePullSecrets", [])
    return found


def _ready(obj: Object) -> bool:
    if "deletionTimestamp" in obj["metadata"]:
        return False
    return any(one["type"] == "Ready" and one["status"] == "True" for one in obj["status"].get("conditions", ()))
