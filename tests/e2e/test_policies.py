"""What the policies refuse: the webhook's own account, were it stolen, and people who say whose a namespace is."""

from collections.abc import Callable
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from controlplane.webhook import Webhook

pytestmark = pytest.mark.cluster
CONFIGURATION = "pullsecret-webhook"
RELEASE = deployed.NAMESPACE


@pytest.fixture(scope="module")
def account(installed: ControlPlane, webhook: Webhook) -> Api:
    """The webhook's own, while it runs; the policies are in force."""
    api = installed.access(installed.service_account(RELEASE, deployed.ACCOUNT))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "ghcr-secret", "namespace": "default"}}
    until(lambda: refused(lambda: api.apply(secret, dry_run=True)), "the write policy is in force", within=10)
    return api


def refused(do: Callable[[], object]) -> str:
    """The refusal, or nothing."""
    try:
        do()
    except ApiError as e:
        assert e.status in (403, 422), e
        return e.message
    return ""


def entries(api: Api) -> list[Object]:
    found = api.get("MutatingWebhookConfiguration", CONFIGURATION)
    assert found is not None
    return list(found["webhooks"])


EVERYTHING = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"], "scope": "*"}


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "change",
    [
        lambda one: [one | {"rules": [*one["rules"], EVERYTHING]}],
        lambda one: [one, one | {"name": "another.pullsecret-webhook.io"}],
        lambda one: [one | {"name": "other.pullsecret-webhook.io"}],
        lambda one: [one | {"namespaceSelector": {}}],
        lambda one: [one | {"objectSelector": {"matchLabels": {"a": "b"}}}],
        lambda one: [one | {"matchConditions": [{"name": "all", "expression": "true"}]}],
        lambda one: [one | {"clientConfig": one["clientConfig"] | {"url": "https://192.0.2.1/"}}],
        lambda one: [one | {"failurePolicy": "Fail"}],
        lambda one: [one | {"timeoutSeconds": 30}],
        lambda _one: [],
    ],
    ids=["rules", "another", "renamed", "namespaces", "objects", "conditions", "url", "failure", "timeout", "none"],
)
def test_of_its_configuration_the_account_changes_nothing_but_the_bundle(
    account: Api, installed: ControlPlane, change: Callable[[Object], list[Object]], number: int
) -> None:
    webhooks = entries(installed.api)
    webhooks[number : number + 1] = change(webhooks[number])
    said = refused(lambda: account.patch("MutatingWebhookConfiguration", CONFIGURATION, {"webhooks": webhooks}))
    assert "changes nothing but the caBundle" in said


@pytest.mark.parametrize("part", ["labels", "annotations", "finalizers", "ownerReferences"])
def test_nor_its_metadata(account: Api, part: str) -> None:
    reference = {"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": "u"}
    values: dict[str, Any] = {"labels": {"a": "b"}, "annotations": {"a": "b"}}
    values |= {"finalizers": ["example.com/hold"], "ownerReferences": [reference]}
    body = {"metadata": {part: values[part]}}
    assert "nothing but the caBundle" in refused(
        lambda: account.patch("MutatingWebhookConfiguration", CONFIGURATION, body)
    )


def test_the_bundle_it_may_change_and_the_webhook_restores_it(account: Api, installed: ControlPlane) -> None:
    for name in (deployed.ENTRY, deployed.TEMPLATES_ENTRY):
        emptied = deployed.patch_entries(account, name, clientConfig={"caBundle": None})
        assert [one["name"] for one in emptied["webhooks"] if "caBundle" not in one["clientConfig"]] == [name]
        until(lambda: deployed.ca_bundle(installed.api), "the bundle is published again", within=10)


@pytest.mark.parametrize("name", ["ghcr-secret", "pullsecret-webhook-ca", "pullsecret-webhook-checks"])
def test_no_token_of_another_service_account(account: Api, installed: ControlPlane, name: str) -> None:
    metadata = {"name": name, "namespace": RELEASE, "annotations": {"kubernetes.io/service-account.name": "default"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/service-account-token"}
    assert refused(lambda: account.apply(secret, manager="thief", dry_run=True))
    found = installed.api.get("Secret", name, RELEASE)
    assert found is None or found["type"] == "Opaque"


def grants(cluster: ControlPlane, user: str, owner: str) -> Api:
    """One who may edit namespaces, and assign this one owner."""
    rules = [
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "create", "update", "patch"]},
        {
            "apiGroups": ["pullsecret-webhook"],
            "resources": ["owners"],
            "resourceNames": [owner],
            "verbs": ["assign"],
        },
    ]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": user}}
    cluster.api.apply(rbac | {"kind": "ClusterRole", "rules": rules})
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": user},
        "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
    }
    cluster.api.apply(rbac | {"kind": "ClusterRoleBinding"} | binding)
    return cluster.user(user)


def test_a_label_that_hides_what_a_name_claims_is_not_taken_away(account: Api, installed: ControlPlane) -> None:
    """Without its label the namespace would belong to the project in its name."""
    tina, space = grants(installed, "tina", "tina"), "project-77-production"
    installed.namespace(space, labels={"pullsecret-webhook/owner": "tina"})
    removed = {"metadata": {"labels": {"pullsecret-webhook/owner": None}}}
    assert space in refused(lambda: tina.patch("Namespace", space, removed))
    # Nor replaced by what no owner rule looks at.
    moved = {"metadata": removed["metadata"] | {"annotations": {"pullsecret-webhook/owner": "tina"}}}
    assert space in refused(lambda: tina.patch("Namespace", space, moved))
    other = "project-78-production"
    installed.namespace(other)
    claimed = {"metadata": {"labels": {"pullsecret-webhook/owner": "tina"}}}
    assert other in refused(lambda: tina.patch("Namespace", other, claimed))
    installed.namespace("tinas", labels={"pullsecret-webhook/owner": "tina"})
    assert refused(lambda: tina.patch("Namespace", "tinas", removed)) == ""


def test_who_may_assign_every_owner_changes_any(account: Api, installed: ControlPlane) -> None:
    """Of three claims, the name's and the owners' before and after, each is asked about."""
    name = "project-79-production"
    installed.namespace(name, labels={"pullsecret-webhook/owner": "alice"})
    for owner in ("bob", None):
        installed.api.patch("Namespace", name, {"metadata": {"labels": {"pullsecret-webhook/owner": owner}}})
