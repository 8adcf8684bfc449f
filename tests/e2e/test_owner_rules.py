"""The examples in docs/examples/owners: all at once in one cluster under the chart's policies for them, and alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import webhook as deployed
from controlplane.api import ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.flux import Flux
from controlplane.gitops import HelmRelease
from controlplane.helm import Helm, one
from controlplane.objects import SECRET, deployment, names, password, pod, stands
from controlplane.registry import Registry
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE
from support import planted
from webhook.config import reading
from webhook.core.names import OWNER
from webhook.core.owner import find_owner

pytestmark = [pytest.mark.cluster, pytest.mark.helm]
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "owners"
BOUND = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"}
POLICIES = {"ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"}


@dataclass(frozen=True)
class Space:
    """A namespace as that platform makes it. `protected`: does the example have the owner policy look after its key?"""

    name: str
    owner: str
    labels: dict[str, str]
    annotations: dict[str, str]
    protected: bool


def labelled(name: str, key: str, owner: str, *, protected: bool = False) -> Space:
    return Space(name, owner, {key: owner}, {}, protected)


def annotated(name: str, key: str, owner: str, *, protected: bool = False) -> Space:
    return Space(name, owner, {}, {key: owner}, protected)


SPACES = {
    "plain-labels": labelled("mine", "platform.example.com/user", "u-17", protected=True),
    "capsule": labelled("oil-production", "capsule.clastix.io/tenant", "oil"),
    "rancher": annotated("shop", "field.cattle.io/projectId", "c-m-abc:p-xyz"),
    "openshift": annotated("project", "openshift.io/requester", "𠮷田@example.com", protected=True),
    "flux-tenants": labelled("dev-team", "toolkit.fluxcd.io/tenant", "dev-team", protected=True),
    "kubesphere": labelled("demo", "kubesphere.io/workspace", "demo-workspace"),
    "project-names": Space("project-42-production", "42", {}, {}, protected=True),
}


def example(name: str) -> Any:
    return yaml.safe_load((EXAMPLES / f"{name}.yaml").read_text())


@dataclass(frozen=True)
class Platform:
    """A cluster in which all the rules are in force."""

    cluster: ControlPlane
    tokens: dict[str, str]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    files = [example(name) for name in SPACES]
    rules = [rule for file in files for rule in file["config"]["ownerRules"]]
    keys = [key for file in files for key in file.get("ownerPolicy", {}).get("protectedElsewhere", [])]
    values = {"config": {"ownerRules": rules}, "ownerPolicy": {"protectedElsewhere": keys}}
    rendered = Helm(4, tmp_path_factory.mktemp("helm")).render(values)
    with ControlPlane.start(tmp_path_factory.mktemp("platform")) as cluster:
        cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        for obj in rendered:
            if obj["kind"] in BOUND | POLICIES and "helm.sh/hook" not in obj["metadata"].get("annotations", {}):
                cluster.api.apply(obj)
        tokens = {space.owner: planted.token() for space in SPACES.values()}
        for number, (owner, token) in enumerate(tokens.items()):
            cluster.api.create(source(f"source-{number}", owner, token))
        entry = one(rendered, "MutatingWebhookConfiguration")["webhooks"][0]
        with deployed.running(cluster, settings=values["config"]) as replica:
            deployed.register(cluster, replica.port, namespaceSelector=entry["namespaceSelector"])
            cluster.namespace("called", labels={OWNER: "nobody"})
            deployed.wait_called(cluster.api, replica.port, "called")
            yield Platform(cluster, tokens)


def source(name: str, owner: str, token: str) -> Object:
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {OWNER: ""}, "annotations": {OWNER: owner}}
    content = {"username": "robot", "password": token}
    kind = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/basic-auth"}
    return kind | {"stringData": content}


def test_there_is_a_case_for_each_example() -> None:
    assert set(SPACES) == {file.stem for file in EXAMPLES.iterdir()}


@pytest.mark.parametrize("name", SPACES)
def test_all_rules_in_one_cluster(platform: Platform, name: str) -> None:
    cluster, space = platform.cluster, SPACES[name]
    cluster.namespace(space.name, labels=space.labels, annotations=space.annotations)
    stands(cluster, space.name, platform.tokens[space.owner])
    assert names(cluster.api.create(pod(space.name))) == [SECRET]


@pytest.mark.parametrize("name", SPACES)
def test_who_may_claim_an_owner(platform: Platform, name: str) -> None:
    """A tenant that may do everything with namespaces, but assign nothing, and who protects the key."""
    cluster, space = platform.cluster, SPACES[name]
    tenant = cluster.user("tenant", ("tenants",))
    rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["*"]}
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole", "metadata": {"name": "tenants"}}
    cluster.api.apply(role | {"rules": [rule]})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tenants"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "tenants"}
    cluster.api.apply(role | {"kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]})
    metadata = {"name": f"stolen-{name}", "labels": space.labels, "annotations": space.annotations}
    if name == "project-names":
        metadata["name"] = "project-42-staging"
    until(lambda: allowed(tenant.create, {**named("tenant-own"), "kind": "Namespace"}), "its role counts", within=10)
    stolen = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
    assert allowed(lambda obj: tenant.create(obj, dry_run=True), stolen) != space.protected


def named(name: str) -> Object:
    return {"apiVersion": "v1", "metadata": {"name": name}}


def allowed(do: Any, obj: Object) -> bool:
    try:
        do(obj)
    except ApiError as error:
        if error.reason == "AlreadyExists":
            return True
        assert error.status == 403, error
        return False
    return True


@pytest.mark.parametrize("name", SPACES)
def test_each_alone_is_a_configuration_that_finds_its_owner(name: str, tmp_path: Path) -> None:
    values, space = example(name), SPACES[name]
    settings = reading.convert(values["config"])
    assert find_owner(settings.rules, space.name, space.labels, space.annotations) == space.owner
    assert find_owner(settings.rules, "somebody-elses", {}, {}) is None
    rendered = Helm(4, tmp_path).render(values)
    assert {obj["kind"] for obj in rendered} >= POLICIES


@pytest.mark.parametrize(("major", "stage"), [(4, "development"), pytest.param(3, "staging", marks=pytest.mark.slow)])
def test_helm_makes_the_namespace_and_its_first_pods(
    platform: Platform, tmp_path: Path, major: int, stage: str
) -> None:
    """`--create-namespace` gives no labels, so the name says whose it is."""
    cluster, name = platform.cluster, f"project-42-{stage}"
    chart = tmp_path / "app"
    (chart / "templates").mkdir(parents=True)
    (chart / "Chart.yaml").write_text("{apiVersion: v2, name: app, version: 1.0.0}\n")
    template = {"metadata": {"labels": {"app": "app"}}, "spec": pod("")["spec"]}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "app"}}, "template": template}
    made = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "app"}, "spec": spec}
    (chart / "templates" / "app.yaml").write_text(json.dumps(made))
    helm = Helm(major, tmp_path, cluster.kubeconfig)
    helm.run("install", "app", chart, "--namespace", name, "--create-namespace")
    (first,) = until(lambda: cluster.api.list("Pod", name), "the pod", within=30)
    assert names(first) == [SECRET]
    assert password(cluster, name) == platform.tokens["42"]
    assert cluster.api.get("Deployment", "app", name)["metadata"]["generation"] == 1  # type: ignore[index]


@pytest.mark.slow
def test_flux_makes_the_namespace_and_its_first_pods(platform: Platform, registry: Registry, tmp_path: Path) -> None:
    """A HelmRelease with `install.createNamespace`."""
    cluster, name = platform.cluster, "project-43-production"
    cluster.api.create(source("source-43", "43", token := planted.token()))
    app = deployment(name)
    app["spec"]["replicas"] = 1
    with Flux.start(tmp_path / "flux", cluster, registry) as flux:
        HelmRelease(flux, name).apply([app])
    (first,) = until(lambda: cluster.api.list("Pod", name), "the pod", within=30)
    made = cluster.api.get("Deployment", "d", name)
    assert made is not None
    assert (names(first), names(made), made["metadata"]["generation"]) == ([SECRET], [SECRET], 1)
    assert password(cluster, name) == token
