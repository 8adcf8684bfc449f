"""The other ways in, and values that change how the pods run, each with real pods and the main job.

One after the other into the same cluster, and each leaves nothing behind."""

import subprocess
import time
from pathlib import Path

import pytest

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.binaries import need
from controlplane.command import command
from controlplane.errors import HarnessError
from controlplane.helm import CHART, NAMESPACE, Helm, documents
from controlplane.release import NAME, PODS, SECRET, Release, Traffic
from controlplane.waiting import until

pytestmark = [
    pytest.mark.node,
    pytest.mark.helm,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("node_binaries"),
]
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "install"
MUST_ANSWER: Object = {"failurePolicy": "Fail", "config": {"excludedNamespaces": ["kube-system"]}}
CA = "pullsecret-webhook-ca"


def gone(release: Release) -> None:
    until(lambda: not release.left(), f"nothing is left (still: {release.left()})", within=60)


def test_helm_3_and_pull_secrets_deleted_in_the_end(release: Release, tmp_path: Path) -> None:
    helm = release.helm(3, tmp_path)
    delete: Object = {"uninstall": {"pullSecrets": "delete"}}
    helm.install(delete)
    release.runs_without_a_word_about_credentials("dave", "by-helm-3")
    assert "Succeeded" in helm("test", NAME)
    with Traffic(release, "by-helm-3") as traffic:
        helm.upgrade(delete | {"verbose": True})
        helm.rollback()
        release.settled()
    assert traffic.made > 100
    assert traffic.missed == []
    assert release.api.get("Secret", CA, NAMESPACE)
    helm.uninstall()
    gone(release)
    assert release.api.list("Secret", fields=f"metadata.name={SECRET}") == []
    assert release.api.get("Secret", CA, NAMESPACE) is None
    assert release.api.get("Secret", "dave", NAMESPACE), "what the platform gave is the platform's"


@pytest.mark.parametrize("major", [3, 4])
def test_a_failed_helm_test_says_why_and_leaves_no_role(release: Release, tmp_path: Path, major: int) -> None:
    """Nor another account: only the pod, until the next one."""
    helm, space = release.helm(major, tmp_path), f"nobodys-{major}"
    release.cluster.namespace(space)
    helm.install({"test": {"namespace": space}})
    with pytest.raises(HarnessError, match=f"a pod in {space} does not get {SECRET}: check that the namespace"):
        helm("test", NAME, "--logs")
    assert release.api.list("Role", space) == release.api.list("RoleBinding", space) == []
    assert release.api.get("ServiceAccount", f"{NAME}-test", NAMESPACE) is None
    helm.uninstall()
    until(lambda: release.left() == [f"Pod {NAME}-test"], "only the pod of the test is left", within=60)
    release.api.delete("Pod", f"{NAME}-test", NAMESPACE, wait=True)


def test_uninstalling_stops_nothing_where_the_webhook_must_answer(release: Release, tmp_path: Path) -> None:
    """With failurePolicy Fail, a registration that outlived the pods would refuse all of theirs."""
    helm = release.helm(4, tmp_path)
    helm.install(MUST_ANSWER)
    release.runs_without_a_word_about_credentials("gina", "must-answer")
    with Traffic(release, "must-answer") as traffic:
        helm.uninstall()
        made = traffic.made
        until(lambda: traffic.made > made + 20, "pods are created as before", within=10)
        # The API server forgets the safety net's policy a moment after it was deleted.
        until(lambda: traffic.missed, "neither the webhook nor the safety net is called any more", within=30)
    gone(release)


def lost(release: Release) -> Object:
    """An image that cannot be pulled."""
    return {"image": release.values["image"] | {"digest": f"sha256:{'0' * 64}"}}


@pytest.mark.parametrize("major", [3, 4])
def test_a_first_try_that_never_came_up_goes_and_the_second_one_comes(
    release: Release, tmp_path: Path, major: int
) -> None:
    helm = release.helm(major, tmp_path)
    helm("install", NAME, str(CHART), values=release.values | lost(release))
    until(lambda: release.api.list("Pod", NAMESPACE, labels=PODS), "its pods are there", within=20)
    ran = command(release.cluster, "status")
    assert (ran.code, "the webhook: no replica behind the Service" in ran.out) == (1, True)
    started = time.monotonic()
    helm.uninstall()
    assert time.monotonic() - started < 30
    gone(release)
    helm.install()
    helm.uninstall()
    gone(release)


def test_a_failed_uninstallation_leaves_no_role(release: Release, tmp_path: Path) -> None:
    """Its image cannot be pulled: the Job ends, and stays; --no-hooks does without, as the chart's README says."""
    helm = release.helm(4, tmp_path)
    helm("install", NAME, str(CHART), values=release.values | MUST_ANSWER | lost(release))
    started = time.monotonic()
    with pytest.raises(HarnessError, match="Job Failed"):
        helm("uninstall", NAME, "--wait")
    assert 55 < time.monotonic() - started < 90
    hook = f"{NAME}-uninstall"
    existing = release.left()
    assert f"Job {hook}" in existing
    for kind in ("ServiceAccount", "ConfigMap", "ClusterRole", "ClusterRoleBinding"):
        assert f"{kind} {hook}" not in existing
    helm("uninstall", NAME, "--no-hooks", "--wait", "--timeout", "60s")

    def others() -> list[str]:
        return [one for one in release.left() if hook not in one]

    until(lambda: not others(), f"only the Job is left (and {others()})", within=60)
    release.api.delete("Job", hook, NAMESPACE, options={"propagationPolicy": "Foreground"}, wait=True)
    gone(release)


@pytest.mark.parametrize("major", [3, 4])
def test_a_forced_upgrade_has_its_bundle_again_within_seconds(release: Release, tmp_path: Path, major: int) -> None:
    """It replaces the registration by what the chart renders, which has no caBundle."""
    helm = release.helm(major, tmp_path)
    helm.install()

    before, flags = (
        deployed.ca_bundle(release.api),
        {3: ("--force",), 4: ("--force-replace", "--server-side=false")}[major],
    )
    version = release.api.list("MutatingWebhookConfiguration")[0]["metadata"]["resourceVersion"]
    helm("upgrade", NAME, str(CHART), *flags, values=release.values | {"verbose": True})
    until(lambda: deployed.ca_bundle(release.api) == before, "the bundle is published again", within=5)
    assert release.api.list("MutatingWebhookConfiguration")[0]["metadata"]["resourceVersion"] != version
    helm.uninstall()
    gone(release)


def test_helm_template_and_kubectl_apply(release: Release, tmp_path: Path) -> None:
    for tool, program in (("helm", "helm4"), ("kubectl", "kubectl")):
        (tmp_path / tool).symlink_to(need(program)[program])
    values = tmp_path / "values.yaml"
    values.write_text(str(release.values))
    env = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "KUBECONFIG": str(release.cluster.kubeconfig),
        "CHART": str(CHART),
    }
    call = [str(EXAMPLES / "kubectl-apply.sh"), "--values", str(values)]
    subprocess.run(call, check=True, capture_output=True, timeout=120, env=env)
    until(lambda: len(release.pods()) == 2, "two pods are ready", within=60)
    release.runs_without_a_word_about_credentials("erin", "by-kubectl")
    # As the script says: the registration first, so that nobody calls what is going away.
    release.api.delete("MutatingWebhookConfiguration", NAME)
    text = Helm(4, tmp_path).run("template", NAME, CHART, "--namespace", NAMESPACE, "--no-hooks", "--values", values)
    release.cluster.kubectl("delete", "--ignore-not-found", "-f", "-", input=text)
    gone(release)
    assert len(documents(text)) > 10


def test_a_single_node_on_its_own_network(release: Release, tmp_path: Path) -> None:
    """values-k3s.yaml with hostNetwork: the one pod has the node's address and ports, and gives them up to the next."""
    helm = release.helm(4, tmp_path)
    values: Object = {"hostNetwork": True, "replicas": 1, "ports": {"https": 10443, "metrics": 10080}}
    single = (str(CHART), "--values", str(CHART / "values-k3s.yaml"))
    helm("install", NAME, *single, values=release.values | values)
    until(lambda: "host namespaces" in refusal(release), "the restricted namespace does not take it", within=20)
    release.allow("privileged")
    helm.upgrade(values | {"verbose": True})
    (pod,) = release.pods()
    assert pod["status"]["podIP"] == pod["status"]["hostIP"]
    (slice_,) = release.api.list("EndpointSlice", NAMESPACE)
    assert [port["port"] for port in slice_["ports"] if port["name"] == "https"] == [10443]
    release.runs_without_a_word_about_credentials("frank", "on-the-node")
    helm.upgrade(values)
    release.settled(1)
    (after,) = release.api.list("Pod", NAMESPACE, labels=PODS)
    assert after["metadata"]["uid"] != pod["metadata"]["uid"]
    release.runs_without_a_word_about_credentials("frank", "on-the-node-too")
    helm.uninstall()
    gone(release)
    release.allow("restricted")


def refusal(release: Release) -> str:
    """Why the ReplicaSet has no pods."""
    sets = release.api.list("ReplicaSet", NAMESPACE)
    return " ".join(one["message"] for found in sets for one in found["status"].get("conditions", ()))
