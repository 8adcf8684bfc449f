"""The webhook under the chart's own roles and policies, and what the chart's hooks do, each under its own account.

In a control plane of its own, because uninstalling takes away what other tests need.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.helm import Helm, one
from controlplane.waiting import until
from support import planted
from webhook.commands import uninstall
from webhook.kube import listing
from webhook.kube.cluster import Cluster, SecretObject

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

NAMESPACE, SECRET = deployed.NAMESPACE, "ghcr-secret"
RULES = [
    {"from": "label", "key": "pullsecret-webhook/owner"},
    {"from": "name", "prefix": "project-", "owner": r"\d+", "suffix": "-(development|staging|production)"},
]
VALUES: Object = {
    "config": {"ownerRules": RULES, "excludedNamespaces": ["kube-system"]},
    "failurePolicy": "Fail",
    "uninstall": {"pullSecrets": "delete"},
}
PODS = {"Deployment", "Job", "Pod"}  # nothing here runs any


class Installed:
    def __init__(self, cluster: ControlPlane, objects: list[Object], running: ExitStack) -> None:
        self.cluster, self.objects, self.running = cluster, objects, running

    def pullsecret(self, account: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command as a hook's pod runs it."""
        kubeconfig = self.cluster.service_account(NAMESPACE, account)
        text = one(self.objects, "ConfigMap", account)["data"]["config.yaml"]
        config = self.cluster.folder / f"{account}.yaml"
        config.write_text(text)
        options = ["--config", str(config), "--kubeconfig", str(kubeconfig)]
        command = [sys.executable, "-m", "webhook", *arguments, *options]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=90)

    def secrets(self) -> set[str]:
        found = self.cluster.api.list("Secret", fields=f"metadata.name={SECRET}")
        return {secret["metadata"]["namespace"] for secret in found}


@pytest.fixture(scope="module")
def chart(alone: ControlPlane, helm: Helm) -> Iterator[Installed]:
    """All that the chart has but pods; one replica runs as a process under its account."""
    objects, cluster = helm.render(VALUES), alone
    with ExitStack() as running:
        cluster.api.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        hook = one(objects, "MutatingWebhookConfiguration")
        for obj in objects:
            if obj["kind"] not in PODS and obj is not hook:
                cluster.api.apply(obj)
        replica = running.enter_context(deployed.running(cluster, settings={"ownerRules": RULES}))
        # Ignore: it takes a moment until the replica has published its CA.
        url = {"url": f"https://127.0.0.1:{replica.port}/mutate"}
        for entry in hook["webhooks"]:
            entry |= {"clientConfig": url, "failurePolicy": "Ignore"}
        cluster.api.apply(hook)
        until(lambda: cluster.api.get("ServiceAccount", "default", "pullsecret-webhook-test"), "account", within=20)
        deployed.wait_called(cluster.api, replica.port, "pullsecret-webhook-test")
        yield Installed(cluster, objects, running)


def pod(namespace: str) -> Object:
    spec = {"containers": [{"name": "c", "image": "example.invalid/x"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": namespace}, "spec": spec}


def test_main_job_under_the_charts_roles_and_policies(chart: Installed) -> None:
    """By label and by name."""
    cluster, token = chart.cluster, planted.token()
    deployed.give(cluster.api, "alice", token)
    deployed.give(cluster.api, "42", planted.token())
    cluster.namespace("team-a", labels={"pullsecret-webhook/owner": "alice"})
    cluster.namespace("project-42-staging")
    for name in ("team-a", "project-42-staging"):
        created = cluster.api.create(pod(name))
        assert created["spec"]["imagePullSecrets"] == [{"name": SECRET}]
    until(lambda: {"team-a", "project-42-staging"} <= chart.secrets(), "the pull secrets", within=10)


def test_helm_test_sees_the_reference(chart: Installed) -> None:
    (container,) = one(chart.objects, "Pod")["spec"]["containers"]
    done = chart.pullsecret("pullsecret-webhook-test", *container["args"][:6])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    for line in ("+ a new pod: in pullsecret-webhook-test gets ghcr-secret", "+ registration", "+ caBundle", "+ CA"):
        assert f"  {line}\n" in done.stdout.replace("✔", "+"), line
    assert "  ? policies: " in done.stdout
    assert chart.cluster.api.list("Pod", "pullsecret-webhook-test") == []


def test_helm_test_without_a_namespace_says_what_to_do(chart: Installed) -> None:
    for command in (("try", "--namespace", ""), ("doctor", "cluster", "--try-in", "")):
        done = chart.pullsecret("pullsecret-webhook-test", *command)
        assert done.returncode == 2
        assert "name a namespace that has an owner (in the chart: test.namespace)" in done.stderr


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("kube-system", "kube-system is not a namespace that the webhook serves"),
        ("Not/a/name", "is not a namespace that the webhook serves"),
    ],
)
def test_a_namespace_that_is_not_served(chart: Installed, name: str, words: str) -> None:
    done = chart.pullsecret("pullsecret-webhook-test", "try", "--namespace", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr


def test_helm_test_says_what_is_wrong(chart: Installed) -> None:
    done = chart.pullsecret("pullsecret-webhook-test", "try", "--namespace", "team-a", "--within", "1")
    assert done.returncode == 1
    assert (
        "the API server refuses the pod (403 Forbidden: system:serviceaccount:" in done.stderr
    )  # its role is for one namespace
    done = chart.pullsecret("pullsecret-webhook-test", "doctor", "cluster", "--try-in", "team-a")
    assert done.returncode == 1
    assert "a new pod: the API server refuses the pod in team-a (403 Forbidden: system:serviceaccount:" in done.stdout
    opted_out = {"metadata": {"labels": {"pullsecret-webhook/inject": "disabled"}}}
    chart.cluster.api.patch("Namespace", "pullsecret-webhook-test", opted_out)
    done = chart.pullsecret("pullsecret-webhook-test", "try", "--namespace", "pullsecret-webhook-test", "--within", "1")
    assert done.returncode == 1
    assert "does not get ghcr-secret: check that the namespace has an owner" in done.stderr
    assert done.stderr.rstrip().endswith("with pullsecret explain namespace pullsecret-webhook-test")
    done = chart.pullsecret("pullsecret-webhook-test", "doctor", "cluster", "--try-in", "pullsecret-webhook-test")
    assert done.returncode == 1
    assert "a new pod: in pullsecret-webhook-test does not get ghcr-secret" in done.stdout


def test_accounts_of_hooks_may_do_nothing_else(chart: Installed) -> None:
    def may(account: str, *what: str) -> bool:
        kubeconfig = chart.cluster.service_account(NAMESPACE, account)
        said = chart.cluster.kubectl("auth", "can-i", *what, kubeconfig=kubeconfig, check=False).splitlines()
        assert {"yes", "no"} & {*said}
        return "yes" in said

    hook = "mutatingwebhookconfigurations/pullsecret-webhook"
    assert may("pullsecret-webhook-uninstall", "delete", hook)
    assert not may("pullsecret-webhook-uninstall", "delete", "mutatingwebhookconfigurations/other")
    assert may("pullsecret-webhook-cleanup", "delete", "secret/ghcr-secret", "-n", "team-a")
    assert not may("pullsecret-webhook-cleanup", "get", "secret/ghcr-secret", "-n", "team-a")
    assert not may("pullsecret-webhook-cleanup", "delete", "secret/other", "-n", "team-a")
    assert not may("pullsecret-webhook-cleanup", "delete", "secret/pullsecret-webhook-ca", "-n", "team-a")
    assert not may("pullsecret-webhook-test", "create", "pods", "-n", "team-a")
    assert may("pullsecret-webhook-test", "get", hook)
    assert may("pullsecret-webhook-test", "list", "pods", "-n", NAMESPACE)
    assert not may("pullsecret-webhook-test", "create", "pods", "-n", NAMESPACE)
    assert not may("pullsecret-webhook-test", "get", "secrets", "-n", NAMESPACE)
    assert not may("pullsecret-webhook-test", "list", "pods", "-n", "team-a")


# -- in this order: what follows ends the installation --


def test_uninstalling_removes_the_registration(chart: Installed) -> None:
    for words in ("deleted", "did not exist"):
        done = chart.pullsecret("pullsecret-webhook-uninstall", "uninstall", "registration")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"mutatingwebhookconfiguration pullsecret-webhook {words}\n"
    assert chart.cluster.api.list("MutatingWebhookConfiguration") == []
    assert "imagePullSecrets" not in chart.cluster.api.create(pod("pullsecret-webhook-test"), dry_run=True)["spec"]


def test_pages_are_followed_and_only_what_was_seen_is_deleted(
    chart: Installed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PAGE_SIZE", 1)
    kubeconfig = chart.cluster.service_account(NAMESPACE, "pullsecret-webhook-cleanup")

    async def listed() -> tuple[set[str], bool]:
        async with Cluster.connect(str(kubeconfig)) as cluster:
            query = {"fieldSelector": f"metadata.name={SECRET}"}
            secrets = listing.listed(cluster, "secrets", "/api/v1/secrets", SecretObject, query=query)
            found = {item.metadata.namespace async for item in secrets}
            path = f"/api/v1/namespaces/team-a/secrets/{SECRET}"
            return found, await uninstall._delete(cluster, path, "00000000-0000-0000-0000-000000000000")

    assert asyncio.run(listed()) == (chart.secrets(), False)
    assert len(chart.secrets()) == 2


def test_uninstalling_removes_our_secrets_and_no_others(chart: Installed) -> None:
    chart.running.close()  # as Helm has done when this hook comes
    cluster = chart.cluster
    cluster.namespace("foreign")
    data = {".dockerconfigjson": "e30="}
    foreign = {"name": SECRET, "namespace": "foreign"}
    kind = "kubernetes.io/dockerconfigjson"
    cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": foreign, "type": kind, "data": data})
    assert chart.secrets() == {"team-a", "project-42-staging", "foreign"}
    done = chart.pullsecret("pullsecret-webhook-cleanup", "uninstall", "secrets")
    assert (done.returncode, done.stderr) == (0, "")
    own = "pullsecret-webhook-ca and pullsecret-webhook-checks deleted"
    assert done.stdout == f"2 Secrets ghcr-secret deleted, 1 of others kept; {own}\n"
    assert chart.secrets() == {"foreign"}
    assert cluster.api.get("Secret", "pullsecret-webhook-ca", NAMESPACE) is None
    assert cluster.api.get("Secret", "alice", NAMESPACE)  # what the platform gave is the platform's


def test_what_may_not_be_removed_is_said(chart: Installed) -> None:
    done = chart.pullsecret("pullsecret-webhook-test", "uninstall", "secrets")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the Secrets ghcr-secret cannot be listed (403 Forbidden: system:serviceaccount:" in done.stderr
    done = chart.pullsecret("pullsecret-webhook-test", "uninstall", "registration")
    assert done.returncode == 1
    assert "pullsecret-webhook cannot be deleted (403 Forbidden: system:serviceaccount:" in done.stderr
