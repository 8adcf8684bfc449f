"""What the issuer's account can do on the real API server, were it stolen; and that it can do its work.

Each attempt against the policy is right but for one thing.
"""

import asyncio
import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from controlplane.webhook import Webhook
from support import planted
from support.connected import connected
from webhook.core.credential import Credential
from webhook.core.issued import Earlier, Issued, secret_name
from webhook.core.metrics import Metrics
from webhook.core.names import (
    CHECKS_SECRET,
    DOCKERCONFIG_TYPE,
    EARLIER,
    EXPIRES,
    GENERATION,
    HANDLE,
    ISSUED,
    ISSUER,
    ISSUER_ACCOUNT,
    ISSUER_POLICY,
    MANAGED_BY,
    MANAGER,
    NAMESPACES,
    OWNER,
)
from webhook.kube.cluster import Cluster
from webhook.kube.issuedsecrets import IssuedSecrets
from webhook.kube.lease import Lease
from webhook.kube.reflector import Health

pytestmark = pytest.mark.cluster
RELEASE, ACCOUNT, LEASE = deployed.NAMESPACE, ISSUER_ACCOUNT, "pullsecret-webhook-issuer"
CA, KIND = "pullsecret-webhook-ca", "registry"
NAME, STANDS, PERSONS = (secret_name(KIND, owner) for owner in ("new", "stands", "persons"))
NOTES = {EXPIRES: "2030-01-01T00:00:00Z", ISSUED: "2029-01-01T00:00:00Z", GENERATION: "1"}
OTHER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}
COPIED = {"replicator.v1.mittwald.de/replicate-to": ".*"}
POLICY = f"ValidatingAdmissionPolicy '{ISSUER_POLICY}'"


def refused(do: Callable[[], object]) -> str:
    """The refusal, or nothing."""
    try:
        do()
    except ApiError as e:
        assert e.status in (403, 422), e
        return e.message
    return ""


def secret(name: str = NAME, owner: str = "new", *, kind: str = DOCKERCONFIG_TYPE, **changed: object) -> Object:
    """What the issuer writes, with other metadata, or `data` or `immutable`."""
    body: Object = {"data": {".dockerconfigjson": "e30="} if kind == DOCKERCONFIG_TYPE else {}}
    body |= {key: changed.pop(key) for key in ("data", "immutable") if key in changed}
    own = {"name": name, "namespace": RELEASE, "labels": {OWNER: owner, ISSUER: KIND}, "annotations": NOTES}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": own | changed, "type": kind} | body


@pytest.fixture(scope="module")
def kubeconfig(installed: ControlPlane) -> Path:
    return installed.service_account(RELEASE, ACCOUNT)


@pytest.fixture(scope="module")
def us(installed: ControlPlane, webhook: Webhook, kubeconfig: Path) -> Iterator[Api]:
    """The issuer's account, beside a webhook that has its CA. `STANDS` is the issuer's, to which others have added;
    PERSONS has the name alone.
    """
    api = installed.access(kubeconfig)
    wrong = secret(labels={OWNER: "new"})
    until(lambda: POLICY in refused(lambda: api.create(wrong, dry_run=True)), "the policy is in force", within=20)
    until(lambda: installed.api.get("Secret", CA, RELEASE), "the webhook has a CA", within=10)
    checks: Object = {"name": CHECKS_SECRET, "namespace": RELEASE, "labels": {MANAGED_BY: MANAGER}}
    installed.api.apply({"apiVersion": "v1", "kind": "Secret", "metadata": checks})  # as if registries had been asked
    api.create(secret(STANDS, "stands"))
    release = installed.api.get("Namespace", RELEASE)
    assert release
    there = {"apiVersion": "v1", "kind": "Namespace", "name": RELEASE, "uid": release["metadata"]["uid"]}
    added: Object = {"labels": {"a": "b"}, "annotations": {"c": "d"}, "ownerReferences": [there]}
    added["finalizers"] = ["example.com/hold"]
    installed.api.patch("Secret", STANDS, {"metadata": added, "data": {"more": "e30="}}, RELEASE)
    installed.api.create(secret(PERSONS, "persons", labels={OWNER: "persons"}, annotations={}))
    yield api
    installed.api.patch("Secret", STANDS, {"metadata": {"finalizers": None, "ownerReferences": None}}, RELEASE)
    for name in (STANDS, PERSONS):
        installed.api.delete("Secret", name, RELEASE)


# -- what it needs --


def test_it_can_do_its_work(us: Api, kubeconfig: Path, installed: ControlPlane) -> None:
    """By the code of the process: owners in a label and in an annotation, from the first write to the removal."""
    now = datetime.now(UTC).replace(microsecond=0)

    async def work() -> None:
        async with connected(kubeconfig) as cluster:
            await cluster.call("GET", "/api/v1/namespaces")
            secrets = IssuedSecrets(cluster, RELEASE, KIND)
            health = Health("issued secrets", Metrics(), lambda _notice: None, view=secrets)
            watch = asyncio.create_task(secrets.run(health))
            await asyncio.wait_for(secrets.synced.wait(), 10)
            for owner in ("works", "works@example.com"):
                first = Issued(1, now, now + timedelta(hours=1), "robot-1")
                credential = Credential("r.test/works/", "works", planted.token())
                await secrets.write(owner, first, (credential,))
                await secrets.confirm(owner)
                await secrets.write(owner, first.followed_by(Issued(2, now, now + timedelta(hours=2))), (credential,))
                found = secrets.found(owner)[1]
                assert found
                assert (found.generation, found.earlier) == (2, (Earlier("robot-1", first.ends),))
                await secrets.write(owner, found.without(*found.earlier), None)
                await secrets.remove(owner)
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    asyncio.run(work())
    event = {"apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"}}
    event |= {"eventTime": now.strftime("%Y-%m-%dT%H:%M:%S.000000Z"), "type": "Warning", "reason": "IssueFailed"}
    event |= {"action": "Issue", "reportingController": "tests", "reportingInstance": "tests"}
    event |= {"regarding": {"apiVersion": "v1", "kind": "Namespace", "name": "default"}}
    assert refused(lambda: us.create(event, dry_run=True)) == ""


def test_one_of_two_leads_under_its_account(us: Api, kubeconfig: Path, installed: ControlPlane) -> None:
    """Both find no Lease, and make it."""
    led = list[str]()

    async def replica(cluster: Cluster, me: str, begun: asyncio.Event) -> None:
        async def lead() -> None:
            led.append(me)
            begun.set()
            await asyncio.sleep(3600)

        await Lease(cluster, RELEASE, LEASE, me).run(lead)

    async def both() -> None:
        async with connected(kubeconfig) as cluster:
            begun = asyncio.Event()
            tasks = [asyncio.create_task(replica(cluster, me, begun)) for me in ("one", "other")]
            await asyncio.wait_for(begun.wait(), 30)
            held = installed.api.get("Lease", LEASE, RELEASE)
            assert held
            assert [held["spec"]["holderIdentity"]] == led
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(both())
    installed.api.delete("Lease", LEASE, RELEASE)


# -- what the policy refuses --

NEW: dict[str, tuple[str, Object]] = {
    "a name of another kind": ("only Secrets named issued-", secret("alice")),
    "the CA": ("only Secrets named issued-", secret(CA)),
    "the checks": ("only Secrets named issued-", secret(CHECKS_SECRET)),
    "no label": ("only Secrets named issued-", secret(labels={OWNER: "new"})),
    "the label of another issuer": ("only Secrets named issued-", secret(labels={OWNER: "new", ISSUER: "harbor"})),
    "the label as a part": ("only Secrets named issued-", secret(labels={OWNER: "new", ISSUER: "regis"})),
    "an empty label": ("only Secrets named issued-", secret(labels={OWNER: "new", ISSUER: ""})),
    "a longer name": ("only Secrets named issued-", secret(f"{NAME}-{'0' * 16}")),
    "no digits": ("only Secrets named issued-", secret(f"issued-{KIND}-{'x' * 16}")),
    "digits and more": ("only Secrets named issued-", secret(f"{NAME}.x")),
    "the server names it": ("only Secrets named issued-", secret("", generateName=f"issued-{KIND}-")),
    "a token of an account": (
        "only dockerconfigjson Secrets",
        secret(
            kind="kubernetes.io/service-account-token",
            annotations=NOTES | {"kubernetes.io/service-account.name": "default"},
        ),
    ),
    "opaque": ("only dockerconfigjson Secrets", secret(kind="Opaque")),
    "no owner": ("the owner is named", secret(labels={ISSUER: KIND})),
    "another label": ("labels and annotations of others", secret(labels={OWNER: "new", ISSUER: KIND, "a": "b"})),
    "another annotation": ("labels and annotations of others", secret(annotations=NOTES | COPIED)),
    "namespaces": ("labels and annotations of others", secret(annotations=NOTES | {NAMESPACES: "tinas"})),
    "owned by another": ("owner references and finalizers stay", secret(ownerReferences=[OTHER])),
    "a finalizer": ("owner references and finalizers stay", secret(finalizers=["example.com/hold"])),
    "another key": ("only the key", secret(data={".dockerconfigjson": "e30=", "more": "e30="})),
    "immutable": ("no Secret is made immutable", secret(immutable=True)),
}


@pytest.mark.parametrize(("message", "made"), NEW.values(), ids=NEW)
def test_what_is_new_is_right_in_everything(us: Api, message: str, made: Object) -> None:
    assert refused(lambda: us.create(secret(), dry_run=True)) == ""
    said = refused(lambda: us.create(made, dry_run=True))
    assert POLICY in said
    assert message in said


def test_only_in_the_release_namespace(us: Api, installed: ControlPlane) -> None:
    """Were its roles too wide."""
    made, path = secret(namespace="default"), "/api/v1/namespaces/{}/secrets"
    wide = {
        "Impersonate-User": f"system:serviceaccount:{RELEASE}:{ACCOUNT}",
        "Impersonate-Group": "system:masters",
    }

    def create(body: Object, namespace: str) -> object:
        return installed.api.raw("POST", path.format(namespace), json=body, headers=wide, params={"dryRun": "All"})

    assert refused(lambda: create(secret(), RELEASE)) == ""
    assert "in the release namespace only" in refused(lambda: create(made, "default"))


CHANGED: dict[str, tuple[str, Object]] = {
    "owner": ("the owner is named when", {"metadata": {"labels": {OWNER: "bob"}}}),
    "owner in the annotation": ("the owner is named when", {"metadata": {"annotations": {OWNER: "bob"}}}),
    "owner in the annotation alone": (
        "the owner is named when",
        {"metadata": {"labels": {OWNER: ""}, "annotations": {OWNER: "stands"}}},
    ),
    "no owner": ("the owner is named when", {"metadata": {"labels": {OWNER: None}}}),
    "another issuer": ("only Secrets named issued-", {"metadata": {"labels": {ISSUER: "harbor"}}}),
    "no issuer": ("only Secrets named issued-", {"metadata": {"labels": {ISSUER: None}}}),
    "no labels": ("only Secrets named issued-", {"metadata": {"labels": None}}),
    "a label": ("labels and annotations of others", {"metadata": {"labels": {"x": "y"}}}),
    "a label of others": ("labels and annotations of others", {"metadata": {"labels": {"a": "x"}}}),
    "no label of others": ("labels and annotations of others", {"metadata": {"labels": {"a": None}}}),
    "an annotation": ("labels and annotations of others", {"metadata": {"annotations": COPIED}}),
    "an annotation of others": ("labels and annotations of others", {"metadata": {"annotations": {"c": "x"}}}),
    "no annotation of others": ("labels and annotations of others", {"metadata": {"annotations": {"c": None}}}),
    "no expiry": ("labels and annotations of others", {"metadata": {"annotations": {EXPIRES: None}}}),
    "finalizers": ("finalizers stay", {"metadata": {"finalizers": ["example.com/hold", "example.com/too"]}}),
    "no finalizers": ("finalizers stay", {"metadata": {"finalizers": None}}),
    "owner references": ("owner references", {"metadata": {"ownerReferences": [OTHER]}}),
    "no owner references": ("owner references", {"metadata": {"ownerReferences": None}}),
    "a key": ("only the key", {"data": {"else": "e30="}}),
    "a key of others": ("only the key", {"data": {"more": "e30K"}}),
    "immutable": ("no Secret is made immutable", {"immutable": True}),
}


@pytest.mark.parametrize(("message", "change"), CHANGED.values(), ids=CHANGED)
def test_of_its_own_it_changes_the_credential_alone(us: Api, message: str, change: Object) -> None:
    said = refused(lambda: us.patch("Secret", STANDS, change, RELEASE))
    assert POLICY in said
    assert message in said


def test_what_others_have_added_stands_in_no_way(us: Api) -> None:
    """A renewal, as `kube/issuedsecrets.py` writes it, and the next one, which has nothing to take away any more."""
    content = base64.b64encode(b'{"auths":{}}').decode()
    for more in ({HANDLE: "robot-1", EARLIER: "[]"}, {HANDLE: None, EARLIER: None}):
        metadata = {"labels": {OWNER: "stands", ISSUER: KIND}, "annotations": NOTES | {GENERATION: "2"} | more}
        made = us.patch("Secret", STANDS, {"metadata": metadata, "data": {".dockerconfigjson": content}}, RELEASE)
        assert made["metadata"]["labels"]["a"] == "b"


TAKEN: dict[str, Object] = {
    "content": {"data": {".dockerconfigjson": "e30K"}},
    "label": {"metadata": {"labels": {ISSUER: KIND}}},
    "label and owner": {"metadata": {"labels": {ISSUER: KIND, OWNER: "bob"}}},
    "finalizer": {"metadata": {"finalizers": ["example.com/hold"]}},
}


@pytest.mark.parametrize("name", [CA, CHECKS_SECRET, "stolen", PERSONS])
def test_what_others_wrote_is_neither_changed_nor_taken_over_nor_deleted(
    us: Api, installed: ControlPlane, name: str
) -> None:
    """The webhook's CA and checks, a person's source Secret, and one with an issuer's name."""
    if name == "stolen":
        deployed.give(installed.api, "stolen", planted.token())
    before = installed.api.get("Secret", name, RELEASE)
    assert before
    tries: list[Callable[[], object]] = [
        lambda change=change: us.patch("Secret", name, change, RELEASE)  # type: ignore[misc]
        for change in TAKEN.values()
    ]
    tries += [
        lambda: us.delete("Secret", name, RELEASE),
        lambda: us.apply(before | {"metadata": secret(name)["metadata"]}, manager="pullsecret-webhook"),
    ]
    assert [said for said in map(refused, tries) if POLICY not in said] == []
    after = installed.api.get("Secret", name, RELEASE)
    assert after
    for key in ("uid", "labels", "annotations", "finalizers"):
        assert after["metadata"].get(key) == before["metadata"].get(key)
    content = ".dockerconfigjson"
    assert after.get("data", {}).get(content) == before.get("data", {}).get(content)
    if name == "stolen":
        installed.api.delete("Secret", name, RELEASE)


# -- what RBAC refuses --

ELSEWHERE, HERE = "/api/v1/namespaces/default", f"/api/v1/namespaces/{RELEASE}"
RBAC, ADMISSION = "/apis/rbac.authorization.k8s.io/v1", "/apis/admissionregistration.k8s.io/v1"
LEASES = "/apis/coordination.k8s.io/v1/namespaces"
MERGE = {"Content-Type": "application/merge-patch+json"}
BIND: Object = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": "stolen"},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
    "subjects": [{"kind": "ServiceAccount", "name": ACCOUNT, "namespace": RELEASE}],
}
ANY_LEASE: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "another"}}
FORBIDDEN: dict[str, tuple[str, str, Object | None]] = {
    "secrets elsewhere": ("GET", f"{ELSEWHERE}/secrets", None),
    "secrets everywhere": ("GET", "/api/v1/secrets", None),
    "a secret elsewhere": ("POST", f"{ELSEWHERE}/secrets", secret(namespace="default")),
    "all secrets at once": ("DELETE", f"{HERE}/secrets", None),
    "a secret replaced": ("PUT", f"{HERE}/secrets/{STANDS}", secret(STANDS, "stands")),
    "another lease": ("POST", f"{LEASES}/{RELEASE}/leases", ANY_LEASE),
    "its lease by another way": ("POST", f"{LEASES}/{RELEASE}/leases", ANY_LEASE | {"metadata": {"name": LEASE}}),
    "a lease of others": ("PATCH", f"{LEASES}/kube-system/leases/kube-scheduler", {"spec": {"holderIdentity": "x"}}),
    "a lease deleted": ("DELETE", f"{LEASES}/{RELEASE}/leases/{LEASE}", None),
    "an owner": ("PATCH", "/api/v1/namespaces/default", {"metadata": {"labels": {OWNER: "bob"}}}),
    "a token": ("POST", f"{HERE}/serviceaccounts/pullsecret-webhook/token", {"spec": {}}),
    "a service account": ("PATCH", f"{HERE}/serviceaccounts/default", {"metadata": {"labels": {"a": "b"}}}),
    "a pod": ("POST", f"{HERE}/pods", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}}),
    "a role": ("PATCH", f"{RBAC}/namespaces/{RELEASE}/roles/{ACCOUNT}", {"rules": []}),
    "a binding": ("POST", f"{RBAC}/clusterrolebindings", BIND),
    "its policy": ("DELETE", f"{ADMISSION}/validatingadmissionpolicies/{ACCOUNT}", None),
    "its policy's binding": ("DELETE", f"{ADMISSION}/validatingadmissionpolicybindings/{ACCOUNT}", None),
    "the registration": ("PATCH", f"{ADMISSION}/mutatingwebhookconfigurations/pullsecret-webhook", {"webhooks": []}),
    "events read": ("GET", "/apis/events.k8s.io/v1/events", None),
    "the configuration": ("PATCH", f"{HERE}/configmaps/pullsecret-webhook", {"data": {}}),
}


@pytest.mark.parametrize(("method", "path", "body"), FORBIDDEN.values(), ids=FORBIDDEN)
def test_rbac_gives_nothing_more(us: Api, method: str, path: str, body: Object | None) -> None:
    headers = MERGE if method == "PATCH" else None
    said = refused(lambda: us.raw(method, path, json=body, headers=headers, params={"dryRun": "All"}))
    assert f'User "system:serviceaccount:{RELEASE}:{ACCOUNT}" cannot' in said


def test_it_acts_for_nobody_else(us: Api) -> None:
    headers = {"Impersonate-User": f"system:serviceaccount:{RELEASE}:{deployed.ACCOUNT}"}
    assert "cannot impersonate" in refused(lambda: us.raw("GET", f"{HERE}/secrets", headers=headers))


def test_the_webhooks_account_still_writes_no_source_secret(us: Api, installed: ControlPlane) -> None:
    webhook = installed.access(installed.service_account(RELEASE, deployed.ACCOUNT))
    tries: list[Callable[[], object]] = [
        lambda: webhook.create(secret(), dry_run=True),
        lambda: webhook.apply(secret(STANDS, "stands"), dry_run=True),
        lambda: webhook.delete("Secret", STANDS, RELEASE),
    ]
    for said in map(refused, tries):
        assert "cannot" in said


def test_what_it_can_read(us: Api, installed: ControlPlane) -> None:
    """RBAC has no right to the metadata alone: docs/threat-model.md says what this means."""
    token = planted.token()
    deployed.give(installed.api, "read", token)
    found = {one["metadata"]["name"]: one for one in us.list("Secret", RELEASE)}
    assert base64.b64decode(found["read"]["data"]["password"]).decode() == token
    assert found[CA]["data"].keys() >= {"tls.key"}
    installed.api.delete("Secret", "read", RELEASE)
