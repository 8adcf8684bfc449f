"""The ways in that docs/examples/install shows, each run or checked by the API server. No pods run here."""

import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import crds
from controlplane import webhook as deployed
from controlplane.api import ApiError, Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.errors import HarnessError
from controlplane.gitops import Forced, as_list
from controlplane.helm import CHART, NAMESPACE, REPOSITORY, Helm, documents, one
from support import planted

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples" / "install"
ONE_ENTRY = Path(__file__).with_name("one-entry.tpl")
KINDS = ("ClusterRole", "ClusterRoleBinding", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy")
BUNDLE = "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCk1PPT0KLS0tLS1FTkQgQ0VSVElGSUNBVEUtLS0tLQo="


@pytest.fixture(scope="module")
def own(alone: ControlPlane) -> ControlPlane:
    """With the kinds of others."""
    crds.install(alone)
    return alone


def example(name: str) -> list[Object]:
    return documents((EXAMPLES / name).read_text())


def script(cluster: ControlPlane, major: int, name: str, *arguments: str) -> str:
    """Runs it with this Helm and the pinned kubectl as the only ones on PATH."""
    call = [str(EXAMPLES / name), "--set", f"image.repository={REPOSITORY}", *arguments]
    done = subprocess.run(
        call, capture_output=True, text=True, check=False, timeout=120, env=environment(cluster, major)
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment(cluster: ControlPlane, major: int) -> dict[str, str]:
    folder = cluster.folder / f"bin{major}"
    folder.mkdir(exist_ok=True)
    for command, program in (("helm", f"helm{major}"), ("kubectl", "kubectl")):
        link = folder / command
        link.unlink(missing_ok=True)
        link.symlink_to(need(program)[program])
    return {
        "PATH": f"{folder}:/usr/bin:/bin",
        "HOME": str(cluster.folder),
        "KUBECONFIG": str(cluster.kubeconfig),
        "CHART": str(CHART),
    }


def publish(cluster: ControlPlane) -> None:
    """The caBundle, as the webhook does it."""
    deployed.patch_entries(cluster.api, clientConfig={"caBundle": BUNDLE})


def existing(cluster: ControlPlane) -> dict[str, Any]:
    """What an upgrade might have touched: the whole registration, and generations of the rest."""
    api = cluster.api
    registration = api.get("MutatingWebhookConfiguration", "pullsecret-webhook")
    assert registration
    deployment = api.get("Deployment", "pullsecret-webhook", NAMESPACE)
    policies = [api.get("ValidatingAdmissionPolicy", f"pullsecret-webhook-{name}") for name in ("owner", "writes")]
    made = [deployment, *policies]
    return {
        "webhooks": registration["webhooks"],
        "generations": [obj["metadata"]["generation"] for obj in made if obj],
    }


def left(cluster: ControlPlane) -> list[str]:
    """What of ours stands in the cluster outside of the namespace."""
    found = [o for kind in KINDS for o in cluster.api.list(kind)]
    return [o["metadata"]["name"] for o in found if o["metadata"]["name"].startswith("pullsecret-webhook")]


@pytest.mark.parametrize("major", [4, pytest.param(3, marks=pytest.mark.slow)])
def test_helm_installs_upgrades_rolls_back_and_leaves_nothing(own: ControlPlane, major: int) -> None:
    """No pod ever runs here, as where the image cannot be pulled."""
    helm = Helm(major, own.folder, own.kubeconfig)
    script(own, major, "helm.sh")
    publish(own)
    first = existing(own)
    assert deployed.ca_bundle(own.api) == BUNDLE
    script(own, major, "helm.sh")
    assert existing(own) == first  # the same again changes nothing
    script(own, major, "helm.sh", "--set", "config.deployments=supply,config.pullSecret.name=registry")
    changed = existing(own)
    assert deployed.ca_bundle(own.api) == BUNDLE
    assert changed["generations"] > first["generations"]
    assert "'registry'" in changed["webhooks"][1]["matchConditions"][0]["expression"]
    helm.run("rollback", "pullsecret-webhook", "1", "--namespace", NAMESPACE)
    assert existing(own)["webhooks"] == first["webhooks"]
    started = time.monotonic()
    helm.run("uninstall", "pullsecret-webhook", "--namespace", NAMESPACE, "--wait")
    assert time.monotonic() - started < 30
    assert left(own) == []
    assert own.api.list("Job", NAMESPACE) == []


@pytest.mark.parametrize("major", [4, pytest.param(3, marks=pytest.mark.slow)])
def test_upgraded_from_one_entry_and_back(own: ControlPlane, tmp_path: Path, major: int) -> None:
    """The entry that stays keeps its caBundle, so pods lose nothing meanwhile."""
    helm, release = Helm(major, tmp_path, own.kubeconfig), ("pullsecret-webhook", "--namespace", NAMESPACE)
    earlier = tmp_path / "earlier"
    shutil.copytree(CHART, earlier)
    shutil.copy(ONE_ENTRY, earlier / "templates" / "webhook.yaml")
    image: Object = {"image": {"repository": REPOSITORY}}
    helm.run("install", release[0], earlier, *release[1:], "--create-namespace", values=image)
    deployed.patch_entries(own.api, deployed.ENTRY, clientConfig={"caBundle": BUNDLE})
    first = existing(own)["webhooks"]

    def upgrade() -> Object:
        helm.run("upgrade", release[0], CHART, *release[1:])
        pods, templates = existing(own)["webhooks"]
        assert (pods["clientConfig"]["caBundle"], "matchConditions" in pods) == (BUNDLE, False)
        return dict(templates)

    assert "caBundle" not in upgrade()["clientConfig"]
    publish(own)
    helm.run("rollback", release[0], "1", *release[1:])
    assert existing(own)["webhooks"] == first
    assert [(one["name"], len(one["matchConditions"])) for one in first] == [(deployed.ENTRY, 2)]
    assert "caBundle" not in upgrade()["clientConfig"]
    helm.run("uninstall", *release, "--wait")
    assert left(own) == []


def test_the_first_steps_of_the_readme(own: ControlPlane, tmp_path: Path) -> None:
    """Each command, and what it prints. No pods run here: the webhook is a process, and nothing waits for its pods."""
    readme = (ROOT / "README.md").read_text()
    (secret,) = re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL)
    (steps,) = re.findall(r"```console\n(.*?)```", readme, re.DOTALL)
    (tmp_path / "alice.yaml").write_text(secret.replace("REGISTRY-TOKEN", planted.token()))
    (tmp_path / "charts").symlink_to(CHART.parent)
    steps = steps.replace("\\\n", "")
    install, *others = re.findall(r"^\$ (.*)\n((?:[^$].*\n)*)", steps, re.MULTILINE)

    def run(command: str) -> str:
        call, env = shlex.split(command), environment(own, 4)
        call[0] = str(own.folder / "bin4" / call[0])
        done = subprocess.run(call, cwd=tmp_path, env=env, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "Next:" in run(install[0].replace(" --wait", ""))
    with deployed.running(own) as replica:
        url = {"service": None, "url": f"https://127.0.0.1:{replica.port}/mutate"}
        deployed.patch_entries(own.api, clientConfig=url)
        own.namespace("team-b", labels={"pullsecret-webhook/owner": "bob"})
        deployed.wait_called(own.api, replica.port, "team-b")
        own.namespace("team-a")
        for command, prints in others:
            assert run(command).strip() == prints.strip()
            if " label " in command:  # the API server's own selector lags a moment behind
                deployed.wait_called(own.api, replica.port, "team-a")
    own.api.delete("Pod", "shop", "team-a")
    Helm(4, tmp_path, own.kubeconfig).run("uninstall", "pullsecret-webhook", "--namespace", NAMESPACE, "--wait")
    assert left(own) == []


@pytest.mark.slow
def test_certificates_from_files_after_the_webhooks_own(own: ControlPlane, tmp_path: Path) -> None:
    """What values.yaml says of --force-conflicts."""
    helm = Helm(4, tmp_path, own.kubeconfig)
    helm.run("install", "r", CHART, "--namespace", NAMESPACE, "--create-namespace")
    publish(own)
    other = (CHART / "ci" / "files-values.yaml").read_text().partition("caBundle: ")[2].rstrip("}\n")
    assert other != BUNDLE
    files: Object = {"tls": {"mode": "files", "files": {"secretName": "x", "caBundle": other}}}
    upgrade = ("upgrade", "r", CHART, "--namespace", NAMESPACE)
    with pytest.raises(HarnessError, match="caBundle"):
        helm.run(*upgrade, values=files)
    helm.run(*upgrade, "--force-conflicts", values=files)
    assert deployed.ca_bundle(own.api) == other
    helm.run("uninstall", "r", "--namespace", NAMESPACE, "--wait")
    assert left(own) == []


def test_template_and_kubectl_apply(own: ControlPlane) -> None:
    script(own, 4, "kubectl-apply.sh")
    publish(own)
    first = existing(own)
    script(own, 4, "kubectl-apply.sh")
    assert existing(own) == first
    assert own.api.list("Job", NAMESPACE) == []  # no hook was applied with the rest
    assert own.api.get("Pod", "pullsecret-webhook-test", NAMESPACE) is None
    text = Helm(4, own.folder).run("template", "pullsecret-webhook", CHART, "--namespace", NAMESPACE, "--no-hooks")
    own.kubectl("delete", "-f", "-", input=text)
    assert left(own) == []


def test_applied_as_argo_cd_does_it_nothing_drifts(own: ControlPlane, helm: Helm) -> None:
    """Forced, by a manager of its own; the hooks are for Argo CD to run."""
    argo = Forced(own, NAMESPACE)
    objects = helm.render({}, "--no-hooks")
    argo.apply(objects)
    publish(own)
    assert argo.drift(objects) == ""
    argo.apply(objects)
    assert deployed.ca_bundle(own.api) == BUNDLE
    changed = helm.render({"failurePolicy": "Fail", "config": {"excludedNamespaces": ["kube-system"]}}, "--no-hooks")
    assert "failurePolicy: Fail" in argo.drift(changed)  # drift would be seen
    own.kubectl("delete", "-f", "-", input=as_list(objects))
    assert left(own) == []


@pytest.mark.parametrize("name", ["flux.yaml", "k3s.yaml", "delegate-owner.yaml"])
def test_manifests_pass_the_strict_dry_run(own: ControlPlane, name: str) -> None:
    said = own.kubectl(
        *("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", EXAMPLES / name), check=False
    )
    assert {line.rpartition(" serverside-applied")[2] for line in said.splitlines()} == {" (server dry run)"}, said
    assert len(said.splitlines()) == len(example(name))


def test_flux_values(helm: Helm) -> None:
    source, release = one(example("flux.yaml"), "OCIRepository"), one(example("flux.yaml"), "HelmRelease")
    assert release["spec"]["chartRef"] == {"kind": "OCIRepository", "name": source["metadata"]["name"]}
    entries = one(helm.render(release["spec"]["values"]), "MutatingWebhookConfiguration")["webhooks"]
    assert all("flux-system" in one["namespaceSelector"]["matchExpressions"][-1]["values"] for one in entries)
    (ignored,) = release["spec"]["driftDetection"]["ignore"]
    assert ignored["paths"] == [f"/webhooks/{number}/clientConfig/caBundle" for number in range(len(entries))]


def test_k3s_values_are_those_of_a_single_node(helm: Helm) -> None:
    spec = one(example("k3s.yaml"), "HelmChart")["spec"]
    values = yaml.safe_load(spec["valuesContent"])
    single = yaml.safe_load((CHART / "values-k3s.yaml").read_text())
    assert single.items() <= values.items()
    objects = helm.render(values, namespace=spec["targetNamespace"])
    assert one(objects, "Deployment")["spec"]["replicas"] == 1
    assert spec["version"] == yaml.safe_load((CHART / "Chart.yaml").read_text())["version"]


def test_air_gapped_values_name_no_other_registry(helm: Helm, tmp_path: Path) -> None:
    """From the packaged chart, as it is carried over."""
    helm.run("package", CHART, "--destination", tmp_path)
    (package,) = tmp_path.glob("*.tgz")
    text = (EXAMPLES / "air-gapped-values.yaml").read_text()
    assert package.name in text
    values = ("--values", EXAMPLES / "air-gapped-values.yaml")
    objects = documents(helm.run("template", "r", package, "--namespace", NAMESPACE, *values))
    images = set(re.findall(r"'image': '([^']+)'", str(objects)))
    assert {image.partition("/")[0] for image in images} == {"registry.internal.example"}
    assert all("@sha256:" in image for image in images)


def test_delegation_is_what_the_owner_policy_asks(own: ControlPlane, helm: Helm) -> None:
    for obj in (*example("delegate-owner.yaml"), *helm.render({}, "--show-only", "templates/owner-policy.yaml")):
        own.api.apply(obj)
    rule = {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["create"]}
    api = "rbac.authorization.k8s.io"
    role = {"apiVersion": f"{api}/v1", "kind": "ClusterRole", "metadata": {"name": "makers"}, "rules": [rule]}
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "makers"},
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "makers"},
        "subjects": [{"apiGroup": api, "kind": "Group", "name": "team-a-admins"}],
    }
    for obj in (role, binding):
        own.api.create(obj)
    admin = own.user("anna", ("team-a-admins",))

    def refused(owner: str) -> bool:
        metadata = {"name": "x", "labels": {"pullsecret-webhook/owner": owner}}
        try:
            admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, dry_run=True)
        except ApiError as error:
            return "only those who may assign" in error.message
        return False

    own.wait(lambda: refused("team-b"), "the policy is in force")
    assert not refused("team-a")
