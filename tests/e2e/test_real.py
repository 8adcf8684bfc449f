"""What happens over time on a real API server, with the webhook under its own RBAC and both policies.

The golden cases show one review each; here are the rows that need a sequence of events."""

import asyncio
import base64
import json
import re
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from controlplane import plain
from controlplane import webhook as deployed
from controlplane.api import ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.command import command
from controlplane.objects import SECRET, deployment, names, password, pod, stands
from controlplane.ports import free_port
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from support import planted
from webhook.kube.cluster import Cluster
from webhook.kube.writepolicy import WritePolicy
from webhook.writelog import WRITTEN

pytestmark = pytest.mark.cluster
_numbers = count(1)


def owner_name() -> str:
    return f"owner-{next(_numbers)}"


def give(cluster: ControlPlane, owner: str, token: str) -> None:
    deployed.give(cluster.api, owner, token)


def owned(cluster: ControlPlane, owner: str) -> str:
    name = f"{owner}-ns-{next(_numbers)}"
    cluster.namespace(name, labels={"pullsecret-webhook/owner": owner})
    return name


def uid(secret: Object | None) -> str:
    assert secret is not None
    return str(secret["metadata"]["uid"])


def reasons(cluster: ControlPlane, namespace: str) -> set[str]:
    return {event.get("reason", "") for event in cluster.api.list("Event", namespace)}


def writes(webhook: Webhook, namespace: str) -> list[dict[str, str]]:
    """Its log lines about the pull secret of this namespace."""
    lines = [json.loads(line) for line in webhook.log.splitlines() if line.startswith("{")]
    about = f"Secret {namespace}/{SECRET}"
    return [line for line in lines if line["event"] == WRITTEN and line["about"] == about]


def test_secret_is_there_before_the_first_pod(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    give(cluster, owner, token)
    stands(cluster, owned(cluster, owner), token)


def test_namespace_and_first_pod_in_one_apply(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    give(cluster, owner, token)
    name = f"{owner}-fresh"
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own", "namespace": name}}
    space = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pullsecret-webhook/owner": owner}},
    }
    objects = [space, account, pod(name, serviceAccountName="own")]
    cluster.kubectl("apply", "-f", "-", input="\n---\n".join(json.dumps(obj) for obj in objects))
    created = cluster.api.get("Pod", "p", name)
    assert created is not None
    assert names(created) == [SECRET]
    assert password(cluster, name) == token  # not later: the admission waited for it


def test_credential_that_comes_later_follows(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    name = owned(cluster, owner)
    assert names(cluster.api.create(pod(name))) == [SECRET]
    assert cluster.api.get("Secret", SECRET, name) is None
    give(cluster, owner, token)
    stands(cluster, name, token, within=5)


def test_changed_token_reaches_every_namespace_of_its_owner_and_no_other(
    cluster: ControlPlane, webhook: Webhook
) -> None:
    (alice, bob), old = (owner_name(), owner_name()), planted.token()
    give(cluster, alice, old)
    give(cluster, bob, others := planted.token())
    spaces, foreign = [owned(cluster, alice) for _ in range(3)], owned(cluster, bob)
    before = [uid(stands(cluster, name, old)) for name in spaces]
    untouched = stands(cluster, foreign, others)
    give(cluster, alice, new := planted.token())
    assert [uid(stands(cluster, name, new, within=5)) for name in spaces] == before  # in place
    assert cluster.api.get("Secret", SECRET, foreign) == untouched


def test_owner_change_makes_a_new_object(cluster: ControlPlane, webhook: Webhook) -> None:
    (alice, bob), hers = (owner_name(), owner_name()), planted.token()
    give(cluster, alice, hers)
    give(cluster, bob, his := planted.token())
    name = owned(cluster, alice)
    before = uid(stands(cluster, name, hers))
    cluster.api.patch("Namespace", name, {"metadata": {"labels": {"pullsecret-webhook/owner": bob}}})
    after = stands(cluster, name, his, within=5)
    assert uid(after) != before
    assert after is not None
    assert after["metadata"]["annotations"]["pullsecret-webhook/owner"] == bob


def test_owner_without_credential_does_not_inherit_the_secret_before(cluster: ControlPlane, webhook: Webhook) -> None:
    alice, token = owner_name(), planted.token()
    give(cluster, alice, token)
    name = owned(cluster, alice)
    stands(cluster, name, token)
    cluster.api.patch("Namespace", name, {"metadata": {"labels": {"pullsecret-webhook/owner": owner_name()}}})
    stands(cluster, name, None, within=5)


@pytest.mark.parametrize(
    "labels",
    [{"pullsecret-webhook/owner": None}, {"pullsecret-webhook/inject": "disabled"}],
    ids=["unowned", "opted-out"],
)
def test_secret_goes_when_the_namespace_is_no_longer_served(
    cluster: ControlPlane, webhook: Webhook, labels: dict[str, str | None]
) -> None:
    owner, token = owner_name(), planted.token()
    give(cluster, owner, token)
    name = owned(cluster, owner)
    stands(cluster, name, token)
    cluster.api.patch("Namespace", name, {"metadata": {"labels": labels}})
    stands(cluster, name, None, within=5)
    until(lambda: "PullSecretDeleted" in reasons(cluster, name), "an Event says so", within=5)


def test_withdrawn_credential_leaves_every_namespace(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    give(cluster, owner, token)
    name = owned(cluster, owner)
    before = stands(cluster, name, token)
    cluster.api.delete("Secret", owner, NAMESPACE)  # as scripts do that renew a token
    time.sleep(2)
    give(cluster, owner, renewed := planted.token())
    after = stands(cluster, name, renewed, within=5)
    assert before is not None
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    cluster.api.delete("Secret", owner, NAMESPACE)
    stands(cluster, name, None, within=20)
    until(lambda: "PullSecretWithdrawn" in reasons(cluster, name), "an Event says so", within=5)
    assert "NoCredential" not in reasons(cluster, name)  # one word is enough
    assert names(cluster.api.create(pod(name))) == [SECRET]
    told = command(cluster, "status", "-n", name, "--config", str(cluster.folder / "webhook.yaml"))
    assert (told.code, re.search(rf"^{name} +{owner} +withdrawn ", told.out, re.MULTILINE) is not None) == (1, True)
    words = f'there is no Secret; an Event in {name} says: "the owner has no credential for this namespace any more;'
    assert words in told.out


def test_a_slip_costs_nobody_its_pull_secret(cluster: ControlPlane, webhook: Webhook) -> None:
    """All source Secrets of many owners are deleted, and come back."""
    tokens = {f"slip-{number}": planted.token() for number in range(40)}
    spaces = {}
    for owner, token in tokens.items():
        give(cluster, owner, token)
        spaces[owner] = owned(cluster, owner)
    before = {owner: uid(stands(cluster, spaces[owner], token)) for owner, token in tokens.items()}
    for owner in tokens:
        cluster.api.delete("Secret", owner, NAMESPACE)
    until(lambda: "WithdrawalsHeld" in reasons(cluster, NAMESPACE), "an Event says so", within=30)
    until(lambda: "pullsecret_webhook_withdrawals_held 40.0" in webhook.metrics(), "all are held", within=10)
    for owner, token in tokens.items():
        assert password(cluster, spaces[owner]) == token
        give(cluster, owner, token)
    until(lambda: "pullsecret_webhook_withdrawals_held 0.0" in webhook.metrics(), "they are back", within=10)
    assert {owner: uid(stands(cluster, spaces[owner], token)) for owner, token in tokens.items()} == before


def test_a_mistake_in_a_namespace_is_told_there(cluster: ControlPlane, webhook: Webhook) -> None:
    name = owner_name()
    cluster.namespace(name, labels={"pullsecret-webhook/onwer": "alice"})
    until(lambda: "NamespaceMistake" in reasons(cluster, name), "an Event says so", within=5)
    cluster.api.delete("Namespace", name)


def test_edited_and_deleted_secrets_are_restored(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    give(cluster, owner, token)
    name = owned(cluster, owner)
    stands(cluster, name, token)
    wrong = base64.b64encode(b'{"auths":{"ghcr.io":{"username":"a","password":"b"}}}').decode()
    cluster.api.patch("Secret", SECRET, {"data": {".dockerconfigjson": wrong}}, name)
    stands(cluster, name, token, within=5)
    cluster.api.delete("Secret", SECRET, name)
    stands(cluster, name, token, within=10)
    give(cluster, owner, new := planted.token())
    stands(cluster, name, new, within=10)
    until(lambda: "PullSecretUpdated" in reasons(cluster, name), "an Event about the new token", within=5)
    created, edited, deleted, changed = writes(webhook, name)
    assert [line["why"] for line in (created, edited, deleted, changed)] == ["created", *["restored"] * 2, "changed"]
    assert edited["by"].startswith("python")  # the field manager, from the user agent of this test
    for line in (created, edited, deleted, changed):
        assert (line["owner"], line["registries"], line["level"]) == (owner, "ghcr.io", "info")


def test_additions_of_others_stay(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    give(cluster, owner, token)
    name = owned(cluster, owner)
    stands(cluster, name, token)
    cluster.api.patch("Secret", SECRET, {"metadata": {"labels": {"team": "a"}}}, name)
    give(cluster, owner, new := planted.token())
    after = stands(cluster, name, new)
    assert after is not None
    assert after["metadata"]["labels"]["team"] == "a"


def test_tug_of_war_backs_off_and_is_said(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    give(cluster, owner, token)
    name = owned(cluster, owner)
    versions = set()
    until_time = time.monotonic() + 30
    while time.monotonic() < until_time and "TugOfWar" not in reasons(cluster, name):
        if (secret := cluster.api.get("Secret", SECRET, name)) and password(cluster, name) == token:
            versions.add(secret["metadata"]["resourceVersion"])
            cluster.api.patch("Secret", SECRET, {"data": {".dockerconfigjson": "e30="}}, name)
        time.sleep(0.02)
    assert "TugOfWar" in reasons(cluster, name)
    assert 3 <= len(versions) <= 8  # restored again and again, ever later: undamped it would be hundreds
    cluster.api.delete("Namespace", name)  # or its Secret would stay wrong for a while


def test_finalizer_of_a_tenant_does_not_hold_another_owners_secret(cluster: ControlPlane, webhook: Webhook) -> None:
    (alice, bob), hers = (owner_name(), owner_name()), planted.token()
    give(cluster, alice, hers)
    give(cluster, bob, his := planted.token())
    name = owned(cluster, alice)
    before = uid(stands(cluster, name, hers))
    cluster.api.patch("Secret", SECRET, {"metadata": {"finalizers": ["example.com/hold"]}}, name)
    cluster.api.patch("Namespace", name, {"metadata": {"labels": {"pullsecret-webhook/owner": bob}}})
    assert uid(stands(cluster, name, his, within=5)) != before


def test_dry_run_answers_the_same_and_writes_nothing(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    name = owned(cluster, owner)
    assert names(cluster.api.create(pod(name), dry_run=True)) == [SECRET]
    give(cluster, owner, token)
    stands(cluster, name, token)
    cluster.api.patch("Namespace", name, {"metadata": {"annotations": {"seen": "1"}}})
    before = cluster.api.get("Secret", SECRET, name)
    assert names(cluster.api.create(pod(name), dry_run=True)) == [SECRET]
    assert names(cluster.api.create(deployment(name), dry_run=True)) == [SECRET]
    assert cluster.api.get("Secret", SECRET, name) == before

    def answered() -> list[tuple[str, str, str]]:
        """As the log has it, which no review waits for."""
        whole, _, _ = webhook.log.rpartition("\n")
        lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
        mine = [line for line in lines if line["event"] == "a review was answered" and f" {name}/" in line["about"]]
        return [(line["about"].partition(" ")[0], line["outcome"], line["dry_run"]) for line in mine]

    expected = [(kind, "injected", "yes") for kind in ("Pod", "Pod", "Deployment")]
    until(lambda: answered() == expected, "the log has each review", within=5)


def test_deployments_keep_their_generation(cluster: ControlPlane, webhook: Webhook) -> None:
    """Applied again without our entry: neither a roll-out nor a loss. One from before us: never touched."""
    owner = owner_name()
    name = owned(cluster, owner)
    manifest = deployment(name)
    assert names(cluster.api.create(manifest)) == [SECRET]
    again = cluster.api.apply(manifest, manager="kubectl")
    assert (names(again), again["metadata"]["generation"]) == ([SECRET], 1)
    cluster.api.patch(
        "Deployment", "d", [{"op": "remove", "path": "/spec/template/spec/imagePullSecrets"}], name, how="json"
    )
    back = cluster.api.get("Deployment", "d", name)
    assert back is not None
    assert (names(back), back["metadata"]["generation"]) == ([SECRET], 1)


def test_deployment_from_before_is_not_rolled_out(cluster: ControlPlane, webhook: Webhook) -> None:
    name = f"{owner_name()}-old"
    cluster.namespace(name)
    cluster.api.create(deployment(name))
    cluster.api.patch("Namespace", name, {"metadata": {"labels": {"pullsecret-webhook/owner": owner_name()}}})
    time.sleep(0.5)  # for the API server's own selector
    changed = cluster.api.patch("Deployment", "d", {"metadata": {"labels": {"a": "b"}}}, name)
    assert names(changed) == []
    scaled = cluster.api.patch("Deployment", "d", {"spec": {"template": {"metadata": {"labels": {"c": "d"}}}}}, name)
    assert names(scaled) == []


def test_writes_that_a_quota_forbids_do_not_stop_the_pod(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    name = owned(cluster, owner)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": name}}
    cluster.api.create(quota | {"spec": {"hard": {"count/secrets": "0"}}})
    cluster.wait(lambda: (cluster.api.get("ResourceQuota", "none", name) or {}).get("status"), "the quota is counted")
    give(cluster, owner, token)
    until(lambda: "SupplyFailed" in reasons(cluster, name), "an Event says so", within=10)
    cluster.api.take_warnings()
    assert names(cluster.api.create(pod(name))) == [SECRET]
    assert any("quota" in warning for warning in cluster.api.take_warnings())
    cluster.api.delete("ResourceQuota", "none", name)
    stands(cluster, name, token, within=30)


def test_broken_source_secret_is_named_and_harms_nobody_else(cluster: ControlPlane, webhook: Webhook) -> None:
    (alice, bob), hers = (owner_name(), owner_name()), planted.token()
    give(cluster, alice, hers)
    name = owned(cluster, alice)
    stands(cluster, name, hers)
    cluster.api.patch("Secret", alice, {"data": {"password": ""}}, NAMESPACE)
    said = f'source_secret_broken{{secret="{alice}"}} 1.0'
    until(lambda: said in webhook.metrics(), "a metric names it", within=5)
    until(lambda: "SourceSecretBroken" in reasons(cluster, NAMESPACE), "an Event names it", within=5)
    assert alice in webhook.log
    give(cluster, bob, his := planted.token())
    stands(cluster, owned(cluster, bob), his)
    assert password(cluster, name) == hers  # what stands stays: nobody can say what alice has now
    give(cluster, alice, new := planted.token())
    stands(cluster, name, new)
    assert said not in webhook.metrics()


def test_emptied_ca_bundle_is_published_again(cluster: ControlPlane, webhook: Webhook) -> None:
    before = deployed.ca_bundle(cluster.api)
    assert before
    for which in ((), (deployed.ENTRY,), (deployed.TEMPLATES_ENTRY,)):
        deployed.patch_entries(cluster.api, *which, clientConfig={"caBundle": ""})
        until(lambda: deployed.ca_bundle(cluster.api) == before, f"the caBundle is back {which}", within=10)


def test_restart_writes_nothing_when_all_is_right(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = owner_name(), planted.token()
    give(cluster, owner, token)
    name = owned(cluster, owner)
    before = stands(cluster, name, token)
    with deployed.running(cluster, name="second") as second:
        until(lambda: '"event": "synced"' in second.log, "the second replica has begun", within=5)
        time.sleep(1)
        assert "secret_writes_total{" not in second.metrics()
        assert cluster.api.get("Secret", SECRET, name) == before


def test_two_replicas_end_with_the_newest_token(cluster: ControlPlane, webhook: Webhook) -> None:
    owner = owner_name()
    with deployed.running(cluster, name="other"):
        give(cluster, owner, planted.token())
        spaces = [owned(cluster, owner) for _ in range(5)]
        for _ in range(8):
            give(cluster, owner, newest := planted.token())
            time.sleep(0.05)
        for name in spaces:
            stands(cluster, name, newest, within=20)


def test_draining_replica_answers_on(cluster: ControlPlane, webhook: Webhook) -> None:
    """Endpoints lag behind readiness: for seconds after SIGTERM the API server still sends it reviews."""
    owner = owner_name()
    name = owned(cluster, owner)
    with deployed.running(cluster, name="drained") as drained:
        deployed.register(cluster, drained.port)
        try:
            deployed.wait_called(cluster.api, drained.port, name)
            until(lambda: "reviews_total{" in drained.metrics(), "the new replica is called")
            drained.child.signal(signal.SIGTERM)
            until(lambda: drained.readiness() == "not ready: draining", "it is not ready any more", within=3)
            end = time.monotonic() + 4
            while time.monotonic() < end:
                with ThreadPoolExecutor(4) as pool:
                    answers = list(pool.map(lambda _: names(cluster.api.create(pod(name), dry_run=True)), range(20)))
                assert answers == [[SECRET]] * 20
        finally:
            deployed.register(cluster, webhook.port)
            deployed.wait_called(cluster.api, webhook.port, name)


def test_what_fail_stops_while_no_replica_answers(cluster: ControlPlane, webhook: Webhook) -> None:
    """Pods, but not those that a pattern excludes; and no Deployment, whose pods wait."""
    served, excluded = owned(cluster, owner_name()), "left-out-and-starts"
    deployed.register(cluster, free_port(), matchConditions=[deployed.not_excluded()])
    deployed.patch_entries(cluster.api, deployed.ENTRY, failurePolicy="Fail")
    cluster.namespace(excluded, labels={"pullsecret-webhook/owner": owner_name()})
    try:

        def refused() -> bool:
            try:
                cluster.api.create(pod(served), dry_run=True)
            except ApiError as e:
                assert "failed calling webhook" in e.message
                return True
            return False

        until(refused, "a pod is refused", within=10)
        assert names(cluster.api.create(pod(excluded))) == []
        assert names(cluster.api.create(deployment(served), dry_run=True)) == []
    finally:
        deployed.register(cluster, webhook.port)
        deployed.wait_called(cluster.api, webhook.port, served)
    cluster.api.delete("Namespace", excluded)


def test_source_that_nobody_lets_us_read(cluster: ControlPlane, webhook: Webhook) -> None:
    """A replica that may not list the source Secrets adds references, keeps what stands and ends others' Secrets."""
    (alice, bob), hers = (owner_name(), owner_name()), planted.token()
    give(cluster, alice, hers)
    kept, changed = owned(cluster, alice), owned(cluster, alice)
    stands(cluster, kept, hers)
    before = stands(cluster, kept, hers)
    stands(cluster, changed, hers)
    role = cluster.api.get("Role", "pullsecret-webhook", NAMESPACE)
    assert role is not None
    only_ca = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["pullsecret-webhook-ca"]}
    cluster.api.patch("Role", "pullsecret-webhook", {"rules": [only_ca | {"verbs": ["get", "patch"]}]}, NAMESPACE)
    webhook.child.signal(signal.SIGSTOP)  # the replica that knows the source must not help
    try:
        with deployed.running(cluster, name="blind") as blind:
            deployed.register(cluster, blind.port)
            until(
                lambda: "cannot be listed" in blind.log or "watch_failures" in blind.metrics(), "it says so", within=10
            )
            deployed.wait_called(cluster.api, blind.port, kept)
            assert names(cluster.api.create(pod(kept))) == [SECRET]
            assert cluster.api.get("Secret", SECRET, kept) == before
            cluster.api.patch("Namespace", changed, {"metadata": {"labels": {"pullsecret-webhook/owner": bob}}})
            stands(cluster, changed, None, within=5)
            assert names(cluster.api.create(pod(changed))) == [SECRET]
    finally:
        webhook.child.signal(signal.SIGCONT)
        cluster.api.patch("Role", "pullsecret-webhook", {"rules": role["rules"]}, NAMESPACE)
        deployed.register(cluster, webhook.port)
        deployed.wait_called(cluster.api, webhook.port, kept)


def test_own_account_cannot_write_what_it_must_not(cluster: ControlPlane, webhook: Webhook) -> None:
    """Under RBAC and the write policy, with the webhook's own token."""
    (alice, bob), hers = (owner_name(), owner_name()), planted.token()
    give(cluster, alice, hers)
    name = owned(cluster, alice)
    stands(cluster, name, hers)
    us = cluster.access(cluster.service_account(NAMESPACE, deployed.ACCOUNT))
    space = cluster.api.get("Namespace", name)
    assert space is not None
    good: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": SECRET,
            "namespace": name,
            "labels": {"app.kubernetes.io/managed-by": "pullsecret-webhook"},
            "annotations": {
                "pullsecret-webhook/owner": alice,
                "pullsecret-webhook/namespace-uid": space["metadata"]["uid"],
            },
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(b'{"auths":{}}').decode()},
    }
    changes: list[Object] = [
        {"name": "other"},
        {"labels": {}},
        {"annotations": good["metadata"]["annotations"] | {"pullsecret-webhook/owner": bob}},
        {"annotations": good["metadata"]["annotations"] | {"pullsecret-webhook/namespace-uid": "0"}},
        {"namespace": "kube-system"},
    ]
    for change in changes:
        with pytest.raises(ApiError) as refused:
            us.apply(good | {"metadata": good["metadata"] | change}, manager="pullsecret-webhook")
        assert refused.value.status in (403, 422)
    with pytest.raises(ApiError) as posted:
        us.create(good | {"metadata": good["metadata"] | {"name": "posted"}})
    assert posted.value.status == 403
    foreign = f"{name}-foreign"
    cluster.namespace(foreign, labels={"pullsecret-webhook/owner": f"{alice}-none"})
    cluster.api.create(
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": foreign}, "type": "Opaque"}
    )
    with pytest.raises(ApiError) as deleted:
        us.delete("Secret", SECRET, foreign)
    assert deleted.value.status in (403, 422)
    with pytest.raises(ApiError) as listed:
        us.list("Secret", name)
    assert listed.value.status == 403
    us.apply(good, manager="pullsecret-webhook")  # and what it is for, it may


def test_tenants_cannot_take_an_owner(cluster: ControlPlane, webhook: Webhook) -> None:
    """A tenant who may do everything with namespaces, /status and /finalize included, may still not assign owners."""
    name, mine, other = f"tenant-{next(_numbers)}", owner_name(), owner_name()
    rules = [
        {"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "verbs": ["*"]}
    ]
    assign = [
        {"apiGroups": ["pullsecret-webhook"], "resources": ["owners"], "resourceNames": [mine], "verbs": ["assign"]}
    ]
    for role, content in ((name, rules), (f"{name}-assign", assign)):
        rbac = "rbac.authorization.k8s.io"
        cluster.api.apply(
            {"apiVersion": f"{rbac}/v1", "kind": "ClusterRole", "metadata": {"name": role}, "rules": content}
        )
        cluster.api.apply(
            {
                "apiVersion": f"{rbac}/v1",
                "kind": "ClusterRoleBinding",
                "metadata": {"name": role},
                "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role},
                "subjects": [{"kind": "User", "name": name, "apiGroup": rbac}],
            }
        )
    tenant = cluster.user(name)

    def space(suffix: str, **metadata: object) -> Object:
        return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{name}-{suffix}", **metadata}}

    key = "pullsecret-webhook/owner"
    tenant.create(space("mine", labels={key: mine}))
    tenant.create(space("none"))
    forgeries: list[Callable[[], object]] = [
        lambda: tenant.create(space("a", labels={key: other})),
        lambda: tenant.create(space("b", annotations={key: other})),
        lambda: tenant.create(space("c") | {"metadata": {"name": "project-7-production"}}),
        lambda: tenant.patch("Namespace", f"{name}-none", {"metadata": {"labels": {key: other}}}),
        lambda: tenant.patch("Namespace", f"{name}-mine", {"metadata": {"labels": {key: other}}}),
        lambda: tenant.patch("Namespace", f"{name}-none", {"metadata": {"labels": {key: other}}}, sub="status"),
        lambda: tenant.replace(
            space("none", labels={key: other}) | {"spec": {"finalizers": ["kubernetes"]}}, sub="finalize"
        ),
    ]
    for forge in forgeries:
        with pytest.raises(ApiError) as refused:
            forge()
        assert refused.value.status == 403, refused.value
    assert (tenant.get("Namespace", f"{name}-none") or {})["metadata"].get("labels", {}).get(key) is None


def test_no_planted_token_is_seen_anywhere(cluster: ControlPlane, webhook: Webhook) -> None:
    """After all of the above (tests run in file order): logs, metrics and Events of the whole session."""
    for log in cluster.folder.glob("*.log"):
        if log.name.startswith(("etcd", "kube-")):
            continue
        assert planted.leaks(log.read_text()) == [], log.name
    assert planted.leaks(webhook.metrics()) == []
    events = cluster.api.list("Event")
    assert events
    assert planted.leaks(json.dumps(events)) == []
    assert planted.leaks(" ".join(cluster.api.take_warnings())) == []


def test_metrics_stand_on_their_own_port(cluster: ControlPlane, webhook: Webhook) -> None:
    answer = plain.get(f"http://127.0.0.1:{webhook.metrics_port}/metrics")
    assert answer.status_code == 200
    assert 'pullsecret_webhook_known_objects{resource="namespaces"}' in answer.text
    assert plain.get(f"http://127.0.0.1:{webhook.metrics_port}/mutate").status_code == 404


def test_whether_the_write_policy_is_in_force_is_found_out_by_trying(cluster: ControlPlane, webhook: Webhook) -> None:
    """Without its binding the policy stands there and holds nobody."""
    account = str(cluster.service_account(NAMESPACE, deployed.ACCOUNT))

    seen: list[bool] = []

    async def holds() -> bool:
        async with Cluster.connect(account) as connected:
            return await WritePolicy(connected, SECRET, NAMESPACE, seen.append).holds()

    def in_force() -> bool:
        return asyncio.run(holds())

    assert in_force()
    assert seen == [True]
    assert "pullsecret_webhook_write_policy_in_force 1.0" in webhook.metrics()
    kind, name = "ValidatingAdmissionPolicyBinding", "pullsecret-webhook-writes"
    binding = cluster.api.get(kind, name)
    assert binding is not None
    cluster.api.delete(kind, name)
    try:
        until(lambda: not in_force(), "the policy holds nobody", within=20)
        assert seen[-1] is False
    finally:
        cluster.api.create(binding | {"metadata": {"name": name}})
    until(in_force, "the policy holds again", within=20)
    assert cluster.api.get("Secret", SECRET, NAMESPACE) is None  # to try leaves nothing
