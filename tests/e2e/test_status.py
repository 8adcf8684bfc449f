"""`pullsecret status` of a real cluster in which some things are as they should be and some are not."""

import base64
import json
import re
import resource
import signal
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.api import ApiError
from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.objects import SECRET, pod, stands
from controlplane.webhook import NAMESPACE, Webhook
from support import planted, statusdocument
from support.steps import at_once
from webhook.core.check import KEY, KEY_BYTES, RECORDS, Check, Checks, Why, decoded, encoded
from webhook.core.credential import Credential
from webhook.core.names import CHECKS_SECRET, ENFORCE_MOUNTABLE, INJECT, MANAGED_BY, MANAGER, OWNER
from webhook.core.pullsecret import Fingerprint, Namespace, Planner

pytestmark = pytest.mark.cluster
_numbers = count(1)


def status(cluster: ControlPlane, owners: str, *arguments: str) -> Ran:
    """Of these owners only: others' namespaces in the cluster are other tests'."""
    rule = {"from": "label", "key": OWNER, "owner": f"{owners}.*"}
    config = cluster.folder / "status.yaml"
    config.write_text(json.dumps({"ownerRules": [rule]}))
    return command(cluster, "status", *arguments, "--config", str(config))


def lines(ran: Ran) -> dict[str, dict[str, Any]]:
    assert ran.err == ""
    return {line["namespace"]: line for line in statusdocument.read(ran.out)["namespaces"]}


def test_each_namespace_says_what_is_right_and_what_is_not(cluster: ControlPlane, webhook: Webhook) -> None:
    api, group = cluster.api, f"shown{next(_numbers)}"
    good, poor, ended, moved = (f"{group}-{name}" for name in ("good", "poor", "ended", "moved"))
    token = planted.token()
    deployed.give(api, good, token, expires="2099-01-31T12:00:00Z")
    deployed.give(api, ended, planted.token())
    for owner in (good, poor, ended):
        cluster.namespace(owner, labels={OWNER: owner})
    written = stands(cluster, good, token)
    assert written
    cluster.wait(lambda: api.get("Secret", SECRET, ended), "the Secret that is about to end")
    deployed.give(api, ended, planted.token(), expires="2020-01-01T00:00:00Z")

    cluster.namespace(moved)  # its pod and its Secret are from before it had an owner
    deployed.give(api, moved, planted.token())
    private = {"containers": [{"name": "c", "image": f"ghcr.io/{moved}/app"}]}
    api.create(pod(moved, "before", **private))
    api.create(pod(moved, "public"))
    out = pod(moved, "out", **private)
    out["metadata"]["labels"] = {INJECT: "disabled"}
    api.create(out)
    foreign = {"name": SECRET, "namespace": moved}
    data = {".dockerconfigjson": base64.b64encode(b'{"auths":{}}').decode()}
    kind = "kubernetes.io/dockerconfigjson"
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": foreign, "type": kind, "data": data})
    api.patch("Namespace", moved, {"metadata": {"labels": {OWNER: moved}}})
    api.create(pod(good, "with"))

    def shown() -> dict[str, dict[str, Any]] | None:
        found = lines(status(cluster, group, "-o", "json"))
        return found if found[ended]["expires"] else None

    found = cluster.wait(shown, "the end stands in the Secret")
    assert set(found) == {good, poor, ended, moved}
    when, _ = found[good].pop("written"), found[good].pop("checks")
    assert when == next(
        one["time"] for one in written["metadata"]["managedFields"] if one["manager"] == "pullsecret-webhook"
    )
    uid = written["metadata"]["uid"]
    assert found[good] == {
        "namespace": good,
        "owner": good,
        "state": "right",
        "registries": ["ghcr.io"],
        "expires": "2099-01-31T12:00:00Z",
        "problem": "",
        "note": "",
        "pods_without": [],
        "pods_barred": [],
        "accounts_barring": [],
        "pods_failing": [],
        "rule": "the label pullsecret-webhook/owner (ownerRules[0])",
        "uid": uid,
        "unmirrored": [],
        "issued": [],
        "needs_a_human": False,
    }
    assert found[poor]["state"] == "none"
    assert found[poor]["note"] == f"no credential is known: no source Secret is for owner {poor}"
    assert found[ended]["problem"] == f"a credential of {ended} expired at 2020-01-01 00:00; renew it"
    assert found[moved]["problem"].startswith("the Secret is not the webhook's")
    assert found[moved]["pods_without"] == ["before"]

    told = status(cluster, group)
    assert told.code == 1
    assert told.out.splitlines()[-1] == (
        "4 namespaces: 1 right, 1 without a known credential, 2 wrong; 1 pod without the reference; 2 need attention"
    )
    assert status(cluster, group, "-n", good).code == 0
    assert status(cluster, group, "-n", moved).code == 1
    assert set(lines(status(cluster, group, "-A", "--problems", "-o", "json"))) == {ended, moved}
    assert set(lines(status(cluster, group, "--owner", good, "-o", "json"))) == {good}
    assert status(cluster, group, "--owner", good).code == 0
    wide = status(cluster, group, "--owner", good, "-o", "wide").out
    assert wide.splitlines()[0].endswith(" PODS  OWNER RULE                                          UID")
    assert wide.splitlines()[1].endswith(f"  -     the label pullsecret-webhook/owner (ownerRules[0])  {uid}")
    unserved = status(cluster, group, "-n", "default")
    assert (unserved.code, "the namespace has no owner" in unserved.out) == (0, True)


def keep_checks(cluster: ControlPlane, *asked: tuple[str, str, str, Check]) -> None:
    """As the webhook does: registry, user name, password, and what the registry said."""
    path = "Secret", CHECKS_SECRET, NAMESPACE
    kept = (cluster.api.get(*path) or {}).get("data", {})
    checks = Checks(base64.b64decode(kept.get(KEY, "")) or b"k" * KEY_BYTES)
    records = decoded(base64.b64decode(kept.get(RECORDS, "")))
    for registry, username, password, check in asked:
        records[checks.digest(Credential(registry, username, password))] = check.record
    data = {KEY: checks.key, RECORDS: at_once(encoded(records))}
    metadata = {"name": CHECKS_SECRET, "namespace": NAMESPACE, "labels": {MANAGED_BY: MANAGER}}
    body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque"}
    cluster.api.apply(body | {"data": {key: base64.b64encode(value).decode() for key, value in data.items()}})


def test_what_registries_said_is_beside_each_registry(cluster: ControlPlane, webhook: Webhook) -> None:
    """They were asked before; the webhook asks nothing again and leaves out what was refused twice."""
    api, group = cluster.api, f"asked{next(_numbers)}"
    good, partly, poor = (f"{group}-{name}" for name in ("good", "partly", "poor"))
    tokens = {owner: planted.token() for owner in (good, partly, poor)}
    at = int(time.time()) - 3600
    works, refused = Check(Why.NONE, at), Check(Why.UNAUTHORIZED, at, times=2)
    keep_checks(
        cluster,
        ("ghcr.io", good, tokens[good], works),
        ("ghcr.io", partly, tokens[partly], refused),
        ("quay.io", partly, tokens[partly], works),
        ("ghcr.io", poor, tokens[poor], refused),
    )
    for owner, token in tokens.items():
        deployed.give(api, owner, token)
        if owner == partly:
            meta = {"name": f"{owner}-quay", "namespace": NAMESPACE, "labels": {OWNER: owner}}
            meta["annotations"] = {"pullsecret-webhook/registry": "quay.io"}
            secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/basic-auth"}
            api.create(secret | {"stringData": {"username": owner, "password": token}})
        cluster.namespace(owner, labels={OWNER: owner})
    cluster.wait(lambda: stands(cluster, good, tokens[good]), "the Secret of the first owner")

    wanted = ["right", "refused", "refused"]

    def settled() -> dict[str, dict[str, Any]] | None:
        found = lines(status(cluster, group, "-o", "json"))
        return found if [found[owner]["state"] for owner in (good, partly, poor)] == wanted else None

    found = cluster.wait(settled, "all is as the checks say")
    when = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert found[good]["checks"] == [{"registry": "ghcr.io", "result": "works", "why": "", "at": when}]
    assert found[partly]["registries"] == ["quay.io"]
    assert {one["registry"]: one["result"] for one in found[partly]["checks"]} == {
        "ghcr.io": "refused",
        "quay.io": "works",
    }
    assert found[poor]["problem"].startswith(
        "there is no Secret; the registry refuses the credential for ghcr.io (HTTP"
    )
    told = status(cluster, group)
    assert told.code == 1
    assert re.search(rf"^{partly} .* ghcr.io \(refused\), quay.io \(works\)$", told.out, re.MULTILINE)
    assert status(cluster, group, "-n", good).code == 0
    assert not planted.leaks(told.out)


def test_what_stops_the_webhook_is_said(cluster: ControlPlane, webhook: Webhook) -> None:
    owner = f"stopped{next(_numbers)}"
    cluster.namespace(owner)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": owner}}
    cluster.api.create(quota | {"spec": {"hard": {"count/secrets": "0"}}})
    cluster.wait(
        lambda: cluster.api.get("ResourceQuota", "none", owner)["status"].get("hard"),  # type: ignore[index]
        "the quota counts",
    )
    deployed.give(cluster.api, owner, planted.token())
    cluster.api.patch("Namespace", owner, {"metadata": {"labels": {OWNER: owner}}})

    def problem() -> str:
        text = str(lines(status(cluster, owner, "-o", "json"))[owner]["problem"])
        return text if "says" in text else ""

    words = f'the Secret is missing; an Event in {owner} says: "the pull secret is not up to date: a quota'
    assert cluster.wait(problem, "the Event is there").startswith(words)
    told = status(cluster, owner, "-n", owner)
    assert (told.code, words in told.out) == (1, True)


def test_what_is_in_the_way_in_the_namespace_is_said(cluster: ControlPlane, webhook: Webhook) -> None:
    """An account that enforces mountable secrets, a Secret of the tenant's own, a label that is mistyped."""
    api, group = cluster.api, f"way{next(_numbers)}"
    strict, opaque, typo = (f"{group}-{name}" for name in ("strict", "opaque", "typo"))
    token = planted.token()
    for owner in (strict, opaque):
        deployed.give(api, owner, token)
    cluster.namespace(opaque)
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": SECRET, "namespace": opaque}})
    api.patch("Namespace", opaque, {"metadata": {"labels": {OWNER: opaque}}})
    cluster.namespace(typo, labels={"pullsecret-webhook/Owner": typo})
    cluster.namespace(strict, labels={OWNER: strict})
    stands(cluster, strict, token)
    api.patch("ServiceAccount", "default", {"metadata": {"annotations": {ENFORCE_MOUNTABLE: "true"}}}, strict)
    private = pod(strict, "p", containers=[{"name": "c", "image": f"ghcr.io/{strict}/app"}])

    def refused() -> bool:
        """The webhook knows of the account. Until then the API server, which knows at once, refuses its reference."""
        try:
            made = api.create(private, dry_run=True)
        except ApiError as e:
            assert "does not reference that imagePullSecret" in e.message
            return False
        return not made["spec"].get("imagePullSecrets")

    cluster.wait(refused, "the account counts")
    api.create(private)
    barred = "pods without the reference, because their service account forbids it: p; add the pull secret to the "
    found = {name: status(cluster, group, "-n", name) for name in (strict, opaque, typo)}
    api.delete("Namespace", typo)  # other tests would see it
    for name, words in (
        (strict, f"{barred}imagePullSecrets of default, then create the pods again"),
        (opaque, f"the Secret is not the webhook's; see pullsecret adopt -n {opaque} --dry-run"),
        (typo, "did you mean pullsecret-webhook/owner?"),
    ):
        assert (found[name].code, words in found[name].out) == (1, True)
    assert set(lines(status(cluster, group, "--problems", "-o", "json"))) >= {strict, opaque}


@pytest.mark.slow  # the webhook looks every 15 s; test_expirynotices.py does not wait for it
def test_an_end_is_shown_before_it_comes(cluster: ControlPlane, webhook: Webhook) -> None:
    owner = f"ending{next(_numbers)}"
    end = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    token = planted.token()
    deployed.give(cluster.api, owner, token, expires=end.isoformat())
    cluster.namespace(owner, labels={OWNER: owner})
    stands(cluster, owner, token)
    shown = lines(status(cluster, owner, "-n", owner, "-o", "json"))[owner]
    assert (shown["state"], shown["note"]) == ("right", "a credential expires soon")
    assert datetime.fromisoformat(shown["expires"]) == end

    def told() -> str | None:
        events = cluster.api.list("Event", owner)
        return next((e.get("note") or e["message"] for e in events if e["reason"] == "CredentialExpires"), None)

    assert f"expires at {end:%Y-%m-%d %H:%M} UTC" in cluster.wait(told, "the Event")
    [shown_there] = re.findall(r"^pullsecret_webhook_pull_secrets_expiring (.*)$", webhook.metrics(), re.MULTILINE)
    assert float(shown_there) >= 1


def config_map(namespace: str, owner: str, name: str = "pullsecret-webhook") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": {"app.kubernetes.io/name": "pullsecret-webhook"}}
    rules = {"ownerRules": [{"from": "name", "owner": owner}]}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.yaml": json.dumps(rules)}}


def nothing_else_is_wrong(ran: Ran) -> None:
    """There is no replica behind the Service; by other rules the labels of other tests' namespaces mean nothing; and
    pods of other tests may be unable to pull."""
    assert ran.code == 1
    assert ran.out.startswith("the webhook: no replica behind the Service pullsecret-webhook in pullsecret-webhook")
    last = ran.out.splitlines()[-1].removesuffix("; the webhook itself needs it too")
    assert last != ran.out.splitlines()[-1]
    assert re.search(r" 0 wrong; (?:\d+ pods? cannot pull; )?0 pods without the reference; \d+ needs? attention$", last)


def test_the_configuration_is_the_one_beside_the_service_that_is_called(
    cluster: ControlPlane, webhook: Webhook
) -> None:
    """Whatever somebody else calls a ConfigMap, and whatever labels it has."""
    owner, mallory = f"found{next(_numbers)}", f"mallory{next(_numbers)}"
    cluster.namespace(owner)
    cluster.namespace(mallory)
    for decoy in (config_map(mallory, mallory), config_map("default", mallory), config_map(NAMESPACE, mallory, "x")):
        cluster.api.create(decoy)
    nothing = command(cluster, "status")  # here the API server calls an address
    assert (nothing.code, nothing.out) == (2, "")
    assert "does not call one Service; name the configuration file with --config FILE" in nothing.err
    cluster.api.apply(deployed.registration())
    try:
        missing = command(cluster, "adopt", "--all", "--dry-run")
        cluster.api.create(config_map(NAMESPACE, owner))
        found, adopted = command(cluster, "status"), command(cluster, "adopt", "--all", "--dry-run")
        stranger = command(cluster, "adopt", "--all", "--kubeconfig", str(cluster.user_kubeconfig("stranger")))
        named = status(cluster, "nobody-at-all")
    finally:
        for namespace, name in (
            (NAMESPACE, "pullsecret-webhook"),
            (NAMESPACE, "x"),
            ("default", "pullsecret-webhook"),
            (mallory, "pullsecret-webhook"),
        ):
            if cluster.api.get("ConfigMap", name, namespace):
                cluster.api.delete("ConfigMap", name, namespace)
        deployed.register(cluster, webhook.port)
    assert (missing.code, missing.out) == (2, "")
    assert "the ConfigMap pullsecret-webhook in namespace pullsecret-webhook" in missing.err
    assert "does not exist: is the chart installed?" in missing.err
    nothing_else_is_wrong(found)
    assert found.out.splitlines()[-1].startswith("1 namespace: 0 right, 1 without a known credential")
    assert adopted.out.splitlines()[-1] == "0 would be adopted, 0 with nothing to do, 0 refused"
    assert (stranger.code, "cannot be read (403 Forbidden: stranger may not get " in stranger.err) == (2, True)
    nothing_else_is_wrong(named)
    assert named.out.splitlines()[-1].startswith("0 namespaces")


def test_the_webhook_itself_comes_first(cluster: ControlPlane, webhook: Webhook) -> None:
    """As somebody's mistake leaves it: a policy or a role without its binding, no registration, no replica."""
    api, binding = cluster.api, "pullsecret-webhook-writes"
    assert status(cluster, "nobody-at-all").code == 0
    api.delete("ValidatingAdmissionPolicyBinding", binding)
    try:
        loose = status(cluster, "nobody-at-all")
    finally:
        deployed.install(cluster)
    assert loose.code == 1
    assert loose.out.startswith(f"the webhook: the ValidatingAdmissionPolicy {binding} has no binding that denies")
    api.delete("ClusterRoleBinding", "pullsecret-webhook")
    try:
        powerless = status(cluster, "nobody-at-all")
    finally:
        deployed.install(cluster)
    assert powerless.code == 1
    assert powerless.out.startswith(
        "the webhook: the service account pullsecret-webhook in pullsecret-webhook may not list namespaces, "
    )
    assert "ClusterRoleBinding and RoleBinding pullsecret-webhook there? upgrade the release" in powerless.out
    deployed.unregister(cluster)
    try:
        gone = status(cluster, "nobody-at-all")
        without_configuration = command(cluster, "status")
        cluster.api.create(config_map(NAMESPACE, "nobody-at-all"))
        found = command(cluster, "status")
        cluster.api.apply(deployed.registration())
        dead = status(cluster, "nobody-at-all", "-o", "json")
    finally:
        if cluster.api.get("ConfigMap", "pullsecret-webhook", NAMESPACE):
            cluster.api.delete("ConfigMap", "pullsecret-webhook", NAMESPACE)
        deployed.register(cluster, webhook.port)
    why = "the webhook: the MutatingWebhookConfiguration pullsecret-webhook is missing, so new pods get no reference"
    assert (gone.code, gone.out.startswith(why)) == (1, True)
    assert without_configuration.code == 2
    assert (found.code, found.out.startswith(why)) == (1, True)
    wrong = {one["part"]: one["why"] for one in json.loads(dead.out)["webhook"] if one["result"] == "wrong"}
    assert dead.code == 1
    assert "no replica behind the Service pullsecret-webhook in pullsecret-webhook is ready" in wrong["replicas"]
    assert "is empty" in wrong.get("caBundle", "is empty")  # the webhook publishes it at once
    cluster.wait(lambda: status(cluster, "nobody-at-all").code == 0, "all is well again")


@pytest.mark.parametrize("changes", [False, pytest.param(True, marks=pytest.mark.slow)])  # test_watching.py has all
def test_it_goes_on_until_somebody_ends_it(cluster: ControlPlane, webhook: Webhook, changes: bool) -> None:
    owner = f"watched{next(_numbers)}"
    config = cluster.folder / f"{owner}.yaml"
    config.write_text(json.dumps({"ownerRules": [{"from": "label", "key": OWNER, "owner": owner}]}))
    arguments = ["status", "--watch", "-o", "json", "--config", str(config), "--kubeconfig", str(cluster.kubeconfig)]
    arguments += ["--owner", owner]
    with Popen([sys.executable, "-m", "webhook", *arguments], stdout=PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            assert _document(running.stdout)["namespaces"] == []
            if changes:
                cluster.namespace(owner, labels={OWNER: owner})
                (line,) = _document(running.stdout)["namespaces"]
                assert (line["namespace"], line["state"]) == (owner, "none")
            running.send_signal(signal.SIGINT)
            assert (running.wait(10), running.stdout.read()) == (130, "")
        finally:
            running.kill()


def _document(lines: Iterable[str]) -> dict[str, Any]:
    """The next one of those that are printed."""
    whole = ""
    for line in lines:
        whole += line
        if line == "}\n":
            break
    return statusdocument.read(whole)


def test_it_only_reads(cluster: ControlPlane, webhook: Webhook) -> None:
    """As a user who may read these and nothing else."""
    resources = ["namespaces", "secrets", "events", "pods", "serviceaccounts"]
    rules = [{"apiGroups": [""], "resources": resources, "verbs": ["get", "list"]}]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1"}
    cluster.api.apply(rbac | {"kind": "ClusterRole", "metadata": {"name": "status"}, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "status"}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "onlooker"}]
    binding = rbac | {"kind": "ClusterRoleBinding", "metadata": {"name": "status"}}
    cluster.api.apply(binding | {"roleRef": reference, "subjects": subjects})
    kubeconfig = str(cluster.user_kubeconfig("onlooker"))
    seen = status(cluster, "nobody-at-all", "--kubeconfig", kubeconfig)
    assert (seen.code, "rights" in seen.out.splitlines()[0]) == (0, True)
    nobody = status(cluster, "nobody-at-all", "--kubeconfig", str(cluster.user_kubeconfig("stranger")))
    assert nobody.code == 3
    assert nobody.err == (
        "pullsecret: namespaces cannot be listed (403 Forbidden: stranger may not list namespaces); name a namespace "
        "that you may read with -n\n"
    )
    assert status(cluster, "nobody-at-all", "--as", "stranger") == nobody
    assert status(cluster, "nobody-at-all", "--as", "onlooker").code == 0
    pretends = status(cluster, "nobody-at-all", "--as", "admin", "--kubeconfig", kubeconfig)
    assert (
        pretends.code,
        "does not let this user act as admin (403 Forbidden: onlooker may not impersonate users)" in pretends.err,
    ) == (3, True)


@pytest.mark.parametrize("named", [True, False])
def test_a_tenant_sees_the_own_namespace(cluster: ControlPlane, webhook: Webhook, named: bool) -> None:
    """With the usual role `edit`, and with `view`, which may not read Secrets; with and without the configuration."""
    owner = f"tenant{next(_numbers)}"
    token = planted.token()
    deployed.give(cluster.api, owner, token)
    cluster.namespace(owner, labels={OWNER: owner})
    stands(cluster, owner, token)
    group = "rbac.authorization.k8s.io"
    for role in ("edit", "view"):
        reference = {"apiGroup": group, "kind": "ClusterRole", "name": role}
        subject = {"apiGroup": group, "kind": "User", "name": f"{owner}-{role}"}
        binding = {"apiVersion": f"{group}/v1", "kind": "RoleBinding", "metadata": {"name": role, "namespace": owner}}
        cluster.api.create(binding | {"roleRef": reference, "subjects": [subject]})

    def seen(role: str, *arguments: str) -> Ran:
        words = ["-n", owner, "--kubeconfig", str(cluster.user_kubeconfig(f"{owner}-{role}")), *arguments]
        return status(cluster, owner, *words) if named else command(cluster, "status", *words)

    edits, views = seen("edit"), seen("view")
    for ran in (edits, views):
        assert (ran.code, ran.err) == (0, "")
        assert ran.out.startswith("could not be read: ")
        above = ran.out.splitlines()[0]
        assert "source Secrets" in above
        assert f"Events in {NAMESPACE}" in above
        assert f"Events in {owner}" not in above
        assert "the webhook's registration, replicas, policies, rights" in above
        assert ("the configuration, so the default values count" in above) is not named
    assert re.search(rf"^{owner} +{owner} +right .* ghcr.io$", edits.out, re.MULTILINE)
    assert re.search(rf"^{owner} +{owner} +unknown ", views.out, re.MULTILINE)
    assert "the pull secret cannot be read with these rights" in views.out
    assert json.loads(seen("edit", "-o", "json").out)["unread"]
    assert seen("edit", "-n", "default").code == 3


def test_a_tenant_is_told_in_the_own_namespace_and_of_the_end(cluster: ControlPlane, webhook: Webhook) -> None:
    """Where `kubectl get events` looks: what is wrong with the pull secret, and that it is right again."""
    api, group = cluster.api, f"told{next(_numbers)}"
    none, elsewhere, broken, ended, foreign = (f"{group}-{why}" for why in ("none", "else", "bad", "ended", "theirs"))
    token, gone = planted.token(), planted.token()
    deployed.give(api, elsewhere, planted.token(), namespaces="others-*")
    deployed.give(api, broken, planted.token(), expires="soon")
    deployed.give(api, ended, gone, expires="2020-01-01T00:00:00Z")
    deployed.give(api, foreign, planted.token())
    cluster.namespace(foreign)
    data = {".dockerconfigjson": base64.b64encode(b'{"auths":{}}').decode()}
    kind = "kubernetes.io/dockerconfigjson"
    meta = {"name": SECRET, "namespace": foreign}
    api.create({"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "data": data})
    api.patch("Namespace", foreign, {"metadata": {"labels": {OWNER: foreign}}})
    for name in (none, elsewhere, broken, ended):
        cluster.namespace(name, labels={OWNER: name})
    spaces = (none, elsewhere, broken, ended, foreign)

    def told(kind: str) -> dict[str, list[tuple[str, str]]]:
        """By namespace, reasons and messages of Events about the pull secret."""
        return {
            name: [
                (one["reason"], one["note"])
                for one in api.list("Event", name)
                if one["type"] == kind and one["regarding"]["name"] == SECRET
            ]
            for name in spaces
        }

    cluster.wait(lambda: all(told("Warning").values()), "each is told")
    words = {name: dict(events) for name, events in told("Warning").items()}
    assert words[none].keys() == {"NoCredential"}
    assert f"owner {none} has no credential, so there is no pull secret" in words[none]["NoCredential"]
    assert f"owner {elsewhere} are limited to other namespaces" in words[elsewhere]["CredentialElsewhere"]
    assert f"the source has for owner {broken} is broken" in words[broken]["CredentialUnknown"]
    assert f"owner {ended} for ghcr.io has expired; it is not in" in words[ended]["CredentialExpired"]
    assert "so it stays as it is" in words[foreign]["ForeignSecret"]
    assert not any(told("Normal").values())
    why = f"source Secret {broken} is broken: its annotation pullsecret-webhook/expires is not an RFC 3339"
    ran = status(cluster, group, "-n", broken)
    assert (ran.code, f"there is no Secret, and {why}" in ran.out) == (1, True)
    for owner in spaces:
        deployed.give(api, owner, token)
    for owner, annotation in ((elsewhere, "namespaces"), (broken, "expires"), (ended, "expires")):
        left = {"metadata": {"annotations": {f"pullsecret-webhook/{annotation}": None}}}
        api.patch("Secret", owner, left, namespace=NAMESPACE)
    api.delete("Secret", SECRET, foreign)
    cluster.wait(lambda: all(told("Normal").values()), "each is told that it is over")
    assert {name: [reason for reason, _ in events] for name, events in told("Normal").items()} == {
        name: ["PullSecretRight"] for name in spaces
    }
    assert {name: len(events) for name, events in told("Warning").items()} == dict.fromkeys(spaces, 1)
    assert not planted.leaks(json.dumps([told("Warning"), told("Normal")]))


SPACES, OWNERS, PODS = 2000, 500, 2


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_thousand_namespaces(binaries: None, tmp_path: Path) -> None:
    """Written here as the webhook writes them; each has pods, half of them without the reference. A cluster of its own,
    for no scheduler should have to go through them for other tests."""
    with ControlPlane.start(tmp_path) as cluster:
        cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        _many(cluster)


def _many(cluster: ControlPlane) -> None:
    api, token, planner = cluster.api, planted.token(), Planner(SECRET, Fingerprint(b""))

    def make(number: int) -> None:
        name, owner = f"many-{number}", f"many{number % OWNERS}"
        if number < OWNERS:
            deployed.give(api, owner, token)
        metadata = {"name": name, "labels": {OWNER: owner}}
        made = api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        space = Namespace(name, made["metadata"]["uid"], 1, owner)
        api.create(dict(planner.body(space, [Credential("ghcr.io", owner, token)])))
        for which in range(PODS):
            listed: dict[str, Any] = {"imagePullSecrets": [{"name": SECRET}]} if which % 2 == 0 else {}
            listed |= {"containers": [{"name": "c", "image": "ghcr.io/many/app"}]}
            api.create(pod(name, f"p{which}", automountServiceAccountToken=False, **listed))

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(make, range(SPACES)))
    works = Check(Why.NONE, int(time.time()))
    keep_checks(cluster, *(("ghcr.io", f"many{number}", token, works) for number in range(OWNERS)))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    found = lines(status(cluster, "many", "-o", "json"))
    took = time.monotonic() - began
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert len(found) == SPACES
    assert {line["state"] for line in found.values()} == {"right"}
    assert {one["result"] for line in found.values() for one in line["checks"]} == {"works"}
    assert all(line["pods_without"] == ["p1"] for line in found.values())
    assert took < 30, took
    assert grown < 64, grown
