"""`helm install` into a real cluster: the webhook as pods, from the image, called through its Service.

Under the chart's own RBAC and policies. One story, told in order; `make test-install`."""

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

import pytest

from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.helm import CHART, NAMESPACE, Helm
from controlplane.image import Layout
from controlplane.networked import Networked
from controlplane.waiting import until
from controlplane.webhookimage import Pushed, pushed

pytestmark = [pytest.mark.node, pytest.mark.usefixtures("node_binaries")]
RELEASE = "pullsecret-webhook"
PULL = "webhook-image"
SECRET = "ghcr-secret"
REFERENCE = [{"name": SECRET}]
OWNER = "pullsecret-webhook/owner"


@dataclass
class Installed:
    networked: Networked
    helm: Helm
    image: Pushed
    values: Object = field(default_factory=dict)

    @property
    def cluster(self) -> ControlPlane:
        return self.networked.cluster

    @property
    def api(self) -> Api:
        return self.networked.cluster.api

    def call(self, *words: str, values: Object | None = None) -> str:
        return self.helm.run(*words, "--namespace", NAMESPACE, values=values, within=300)

    def pods(self) -> list[Object]:
        labels = "app.kubernetes.io/component=webhook"
        return [pod for pod in self.api.list("Pod", NAMESPACE, labels=labels) if _ready(pod)]


def _ready(pod: Object) -> bool:
    if "deletionTimestamp" in pod["metadata"]:
        return False
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", ()))


def values_for(image: Pushed) -> Object:
    repository, _, _ = image.name.rpartition(":")
    return {
        "image": {"repository": repository, "tag": "test", "digest": image.digest},
        "imagePullSecrets": [{"name": PULL}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
    }


@pytest.fixture(scope="module")
def installed(networked: Networked, image_layout: Layout, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Helm 4, two replicas, everything as the chart has it but the image and small requests."""
    image = pushed(networked.registry, secrets.token_urlsafe())
    networked.cluster.namespace(NAMESPACE)
    secret = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": image.pull_secret}}
    metadata = {"name": PULL, "namespace": NAMESPACE}
    networked.cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata} | secret)
    helm = Helm(4, tmp_path_factory.mktemp("helm"), networked.cluster.kubeconfig)
    found = Installed(networked, helm, image, values_for(image))
    found.call("install", RELEASE, str(CHART), "--wait", "--timeout", "120s", values=found.values)
    return found


def give(api: Api, owner: str, token: str) -> None:
    metadata = {"name": owner, "namespace": NAMESPACE, "labels": {OWNER: owner}}
    secret = {"type": "kubernetes.io/basic-auth", "stringData": {"username": owner, "password": token}}
    api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata} | secret)


def pod(name: str, space: str, image: str = "ghcr.io/alice/app:none") -> Object:
    spec = {"containers": [{"name": "app", "image": image}], "terminationGracePeriodSeconds": 0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": space}, "spec": spec}


def references(obj: Object) -> list[Object]:
    found: list[Object] = obj["spec"].get("imagePullSecrets", [])
    return found


def refused(do: Callable[[], object]) -> str:
    try:
        do()
    except ApiError as e:
        assert e.status in (403, 422), e
        return e.message
    return ""


def test_two_replicas_are_ready_and_called_through_the_service(installed: Installed) -> None:
    assert len(installed.pods()) == 2
    (hook,) = installed.api.list("MutatingWebhookConfiguration")
    (entry,) = hook["webhooks"]
    assert entry["clientConfig"]["service"]["name"] == "pullsecret-webhook"
    assert entry["clientConfig"]["caBundle"]
    slices = installed.api.list("EndpointSlice", NAMESPACE)
    addresses = {address for one in slices for end in one["endpoints"] for address in end["addresses"]}
    assert addresses == {one["status"]["podIP"] for one in installed.pods()}


def test_a_private_image_runs_without_a_word_about_credentials(installed: Installed) -> None:
    registry = installed.networked.registry
    image = registry.push("alice/app", "install")
    give(installed.api, "alice", registry.users["alice"])
    installed.cluster.namespace("team-a", labels={OWNER: "alice"})
    until(lambda: installed.api.get("Secret", SECRET, "team-a"), "the pull secret stands", within=10)
    until(lambda: references(installed.api.create(pod("probe", "team-a"), dry_run=True)), "it is called", within=10)
    created = installed.api.create(pod("app", "team-a", image))
    assert references(created) == REFERENCE

    def runs() -> bool:
        found = installed.api.get("Pod", "app", "team-a")
        return found is not None and found["status"].get("phase") == "Running"

    installed.cluster.wait(runs, "the pod runs")


def test_without_the_secret_the_same_registry_refuses(installed: Installed) -> None:
    """So that the test before means something."""
    image = installed.networked.registry.push("alice/app", "refused")
    installed.cluster.namespace("stranger")
    installed.api.create(pod("app", "stranger", image))

    def said() -> str:
        status = (installed.api.get("Pod", "app", "stranger") or {"status": {}})["status"]
        states = [one["state"] for one in status.get("containerStatuses", ())]
        return "".join(state.get("waiting", {}).get("message", "") for state in states)

    assert "no basic auth credentials" in installed.cluster.wait(said, "the pull is refused")


def test_helm_test(installed: Installed) -> None:
    try:
        said = installed.call("test", RELEASE, "--logs")
    except HarnessError:
        print(installed.cluster.kubectl("-n", NAMESPACE, "logs", "pullsecret-webhook-test", check=False))
        raise
    assert "Succeeded" in said
    assert SECRET in said


def test_a_token_that_changes_is_everywhere_soon(installed: Installed) -> None:
    before = installed.api.get("Secret", SECRET, "team-a")
    installed.networked.registry.set_password("alice", changed := secrets.token_urlsafe())
    give(installed.api, "alice", changed)

    def rewritten() -> bool:
        now = installed.api.get("Secret", SECRET, "team-a")
        assert now is not None
        assert before is not None
        return bool(now["data"] != before["data"] and now["metadata"]["uid"] == before["metadata"]["uid"])

    until(rewritten, "the pull secret has the new token", within=10)


class Applying:
    """Pods made one after the other for as long as it lasts; those that came out without the reference."""

    def __init__(self, installed: Installed) -> None:
        self._installed, self._end = installed, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.made = 0
        self.missed: list[int] = []

    def _run(self) -> None:
        api = self._installed.cluster.user("traffic", ("system:masters",))
        while not self._end.is_set():
            self.made += 1
            if references(api.create(pod(f"traffic-{self.made}", "team-a"), dry_run=True)) != REFERENCE:
                self.missed.append(self.made)
            time.sleep(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()


def test_an_upgrade_and_a_rollback_lose_no_admission(installed: Installed) -> None:
    before = {one["metadata"]["name"] for one in installed.pods()}
    changed = installed.values | {"verbose": True, "config": {"excludedNamespaces": ["kube-system", "kube-public"]}}
    with Applying(installed) as traffic:
        installed.call("upgrade", RELEASE, str(CHART), "--wait", "--timeout", "120s", values=changed)
        upgraded = {one["metadata"]["name"] for one in installed.pods()}
        installed.call("rollback", RELEASE, "1", "--wait", "--timeout", "120s")
        settled(installed)
    after = {one["metadata"]["name"] for one in installed.pods()}
    assert before.isdisjoint(upgraded)
    assert upgraded.isdisjoint(after)
    assert traffic.made > 100
    assert traffic.missed == []
    (hook,) = installed.api.list("MutatingWebhookConfiguration")
    assert hook["webhooks"][0]["clientConfig"]["caBundle"]


def settled(installed: Installed) -> None:
    """Until the pods of before are gone too."""

    def two() -> bool:
        labels = "app.kubernetes.io/component=webhook"
        return len(installed.api.list("Pod", NAMESPACE, labels=labels)) == 2 == len(installed.pods())

    until(two, "two pods and no others", within=60)


def test_upgrading_to_the_same_changes_nothing(installed: Installed) -> None:
    def generations() -> dict[str, int]:
        kinds = ("Deployment", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy")
        return {
            f"{kind} {one['metadata']['name']}": one["metadata"]["generation"]
            for kind in kinds
            for one in installed.api.list(kind)
        }

    before = generations()
    installed.call("upgrade", RELEASE, str(CHART), "--wait", "--timeout", "120s", values=installed.values)
    assert generations() == before


@pytest.fixture(scope="module")
def tina(installed: Installed) -> Api:
    """A tenant with all rights in her namespace, who may edit namespaces and assign herself."""
    cluster = installed.cluster
    rules = [
        {"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "verbs": ["*"]},
        {"apiGroups": ["pullsecret-webhook"], "resources": ["owners"], "resourceNames": ["tina"], "verbs": ["assign"]},
    ]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "tina"}}
    cluster.api.apply(rbac | {"kind": "ClusterRole", "rules": rules})
    subject = {"kind": "User", "name": "tina", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tina"}
    cluster.api.apply(rbac | {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]})
    cluster.namespace("tinas", labels={OWNER: "tina"})
    admin = role | {"name": "cluster-admin"}
    own = rbac | {"metadata": {"name": "tina", "namespace": "tinas"}}
    cluster.api.apply(own | {"kind": "RoleBinding", "roleRef": admin, "subjects": [subject]})
    return cluster.user("tina")


def test_a_tenant_forges_no_owner(installed: Installed, tina: Api) -> None:
    label = {"metadata": {"labels": {OWNER: "alice"}}}
    annotation = {"metadata": {"annotations": {OWNER: "alice"}}}
    current = installed.api.get("Namespace", "tinas")
    assert current is not None
    forged = current | {"metadata": current["metadata"] | {"labels": current["metadata"]["labels"] | {OWNER: "alice"}}}
    space = {"apiVersion": "v1", "kind": "Namespace"}
    tries: list[Callable[[], object]] = [
        lambda: tina.patch("Namespace", "tinas", label),
        lambda: tina.patch("Namespace", "tinas", annotation),
        lambda: tina.patch("Namespace", "tinas", label, sub="status"),
        lambda: tina.replace(forged, sub="finalize"),
        lambda: tina.replace(forged),
        lambda: tina.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tinas"} | label["metadata"]}
        ),
        lambda: tina.create(space | {"metadata": {"name": "x"} | label["metadata"]}),
        lambda: tina.patch("Namespace", "team-a", {"metadata": {"labels": {OWNER: "tina"}}}),
        lambda: tina.patch("Namespace", "team-a", {"metadata": {"labels": {OWNER: None}}}),
    ]
    for number, attempt in enumerate(tries):
        assert "assign" in refused(attempt), number
    # Deleted, and made anew by her: as herself, never as another one.
    tina.delete("Namespace", "tinas", wait=True)
    assert refused(lambda: tina.create(space | {"metadata": {"name": "tinas"} | label["metadata"]}))
    tina.create(space | {"metadata": {"name": "tinas", "labels": {OWNER: "tina"}}})
    secret = installed.api.get("Secret", SECRET, "tinas")
    assert secret is None or secret["metadata"]["annotations"][OWNER] == "tina"


def test_the_webhooks_own_account_writes_only_what_it_must(installed: Installed) -> None:
    kubeconfig = installed.cluster.service_account(NAMESPACE, "pullsecret-webhook")
    us = installed.cluster.access(kubeconfig)
    space = installed.api.get("Namespace", "team-a")
    assert space is not None
    (hook,) = installed.api.list("MutatingWebhookConfiguration")
    entry = hook["webhooks"][0]

    def secret(namespace: str, **changes: Object | str) -> Object:
        notes = {OWNER: "alice", "pullsecret-webhook/namespace-uid": space["metadata"]["uid"]}
        labels = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
        metadata = {"name": SECRET, "namespace": namespace, "labels": labels, "annotations": notes}
        body = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata} | body | changes

    of_account = {"kubernetes.io/service-account.name": "pullsecret-webhook"}
    metadata = {"name": SECRET, "namespace": NAMESPACE, "annotations": of_account}
    token = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/service-account-token"}
    tries: list[Callable[[], object]] = [
        lambda: us.apply(secret("tinas")),
        lambda: us.apply(secret("kube-system")),
        lambda: us.apply(secret("stranger")),
        lambda: us.apply(token),
        lambda: us.patch("MutatingWebhookConfiguration", RELEASE, {"webhooks": [entry | {"namespaceSelector": {}}]}),
        lambda: us.patch("MutatingWebhookConfiguration", RELEASE, {"webhooks": []}),
        lambda: us.patch("Namespace", "team-a", {"metadata": {"labels": {OWNER: "bob"}}}),
        lambda: us.create(pod("x", "team-a")),
        lambda: us.patch("Secret", "alice", {"stringData": {"password": "x"}}, NAMESPACE),
        lambda: us.delete("MutatingWebhookConfiguration", RELEASE),
    ]
    for number, attempt in enumerate(tries):
        assert refused(attempt), number


def test_one_replica_less_is_enough(installed: Installed) -> None:
    gone = installed.pods()[0]["metadata"]["name"]
    with Applying(installed) as traffic:
        installed.api.delete("Pod", gone, NAMESPACE)
        time.sleep(3)
        settled(installed)
    assert traffic.missed == []


def test_an_uninstallation_leaves_nothing_that_blocks(installed: Installed) -> None:
    installed.call("uninstall", RELEASE, "--wait", "--timeout", "120s")
    cluster_wide = ("MutatingWebhookConfiguration", "ValidatingAdmissionPolicy", "ClusterRole", "ClusterRoleBinding")

    def left() -> list[str]:
        own = [one for kind in cluster_wide for one in installed.api.list(kind)]
        own = [one for one in own if one["metadata"]["name"].startswith("pullsecret-webhook")]
        own += [one for kind in ("Pod", "Job", "Deployment") for one in installed.api.list(kind, NAMESPACE)]
        return [f"{one['kind']} {one['metadata']['name']}" for one in own]

    assert [name for name in left() if not name.startswith("Pod ")] == []
    until(lambda: not left(), "the pods have drained", within=30)
    assert installed.api.get("Secret", SECRET, "team-a"), "what runs can restart: pull secrets are kept by default"
    assert references(installed.api.create(pod("after", "team-a"))) == []
    assert installed.cluster.kubectl("-n", "team-a", "get", "pod", "app", "-o", "jsonpath={.status.phase}") == "Running"
