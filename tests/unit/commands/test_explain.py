"""What `explain` makes of one pod and one namespace. tests/e2e/test_status_pods.py has each cause on a real node."""

import asyncio
import base64
import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast, get_args

import msgspec
import pytest

from support import planted
from webhook.commands import explain
from webhook.commands.cluster_view import ClusterView
from webhook.commands.pullcause import Cause
from webhook.config import reading
from webhook.kube.cluster import Cluster, ClusterError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ENTRY = {"name": "mutate.pullsecret-webhook.io", "clientConfig": {"url": "https://192.0.2.1", "caBundle": "eA=="}}
Object = dict[str, Any]


def made(name: str, **more: Any) -> Object:
    labels = more.pop("labels", {})
    created = more.pop("created", "2029-06-01T00:00:00Z")
    return {"metadata": {"name": name, "namespace": "team", "labels": labels, "creationTimestamp": created}} | more


def pull_secret(name: str, *registries: str) -> Object:
    auths = {registry: {"username": "alice", "password": planted.token()} for registry in registries}
    data = {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}
    return made(name, type="kubernetes.io/dockerconfigjson", data=data)


def pod(*references: str, said: str = "", **more: Any) -> Object:
    spec: Object = {"containers": [{"name": "c", "image": "ghcr.io/alice/app:1"}], "nodeName": "n1"}
    spec["imagePullSecrets"] = [{"name": name} for name in references]
    waiting = {"waiting": {"reason": "ErrImagePull", "message": said}} if said else {}
    return made("p", spec=spec, status={"containerStatuses": [{"name": "c", "state": waiting}]}, **more)


class Answers:
    def __init__(self, the_pod: Object, labels: Object, *secrets: Object) -> None:
        self.whole = {
            "/api/v1/namespaces/team": made("team", labels=labels),
            "/api/v1/namespaces/team/pods/p": the_pod,
            "mutatingwebhookconfigurations/pullsecret-webhook": made(
                "w", webhooks=[ENTRY], created="2029-07-01T00:00:00Z"
            ),
        } | {f"/api/v1/namespaces/team/secrets/{one['metadata']['name']}": one for one in secrets}
        self.lists = {"/api/v1/namespaces/team/pods": [the_pod]}

    async def call(self, method: str, path: str, **_: Any) -> bytes:
        assert method == "GET"
        for end, found in self.whole.items():
            if path.endswith(end):
                return msgspec.json.encode(found)
        if "/secrets/" in path or "/serviceaccounts/" in path:
            raise ClusterError(404, "NotFound")
        return msgspec.json.encode({"metadata": {}, "items": self.lists.get(path, [])})


OWNED = {"pullsecret-webhook/owner": "alice"}


def explained(the_pod: Object, *secrets: Object, labels: Object = OWNED) -> explain.Explained:
    view = ClusterView(cast(Cluster, Answers(the_pod, labels, *secrets)), reading.convert({}))
    return asyncio.run(explain.pod(view, "p", "team", NOW))


def test_entries_in_the_order_of_the_kubelet() -> None:
    first, second = pull_secret("first", "ghcr.io", "quay.io"), pull_secret("second", "ghcr.io/alice", "ghcr.io")
    found = explained(pod("first", "second", "gone"), first, second, made("opaque", type="Opaque"))
    (image,) = found.images
    assert image.entries == (("ghcr.io/alice", "second"), ("ghcr.io", "first"), ("ghcr.io", "second"))
    assert dict(found.secrets)["gone"] == "is missing"
    shown = explain.text(found)
    assert "entries: ghcr.io/alice of second, then ghcr.io of first, then ghcr.io of second" in shown
    assert not planted.leaks(shown + json.dumps(msgspec.to_builtins(found.document)))


@pytest.mark.parametrize(
    ("the_pod", "labels", "why"),
    [
        (pod(), OWNED, "the pod is older than the webhook's registration (2029-07-01 00:00)"),
        (pod(created="2029-08-01T00:00:00Z"), OWNED, "the namespace had no owner, or the webhook did not answer"),
        (pod(labels={"pullsecret-webhook/inject": "disabled"}), OWNED, "its label pullsecret-webhook/inject: disabled"),
        (pod(), {}, "the namespace has no owner"),
        (pod(), OWNED | {"pullsecret-webhook/inject": "disabled"}, "the namespace's label pullsecret-webhook/inject"),
    ],
)
def test_why_a_pod_has_no_reference(the_pod: Object, labels: Object, why: str) -> None:
    found = explained(the_pod, labels=labels)
    assert found.reference is False
    assert why in found.no_reference
    assert f"reference no: {found.no_reference}" in explain.text(found)


def test_the_next_step_follows_from_the_cause() -> None:
    for said, step in (
        ("x509: certificate is valid for *.github.io, not ghcr.io", "mend it on n1"),
        (
            "dial tcp: lookup ghcr.io: no such host",
            "correct the name of the image if ghcr.io is no registry; if it is one,",
        ),
        (
            "no basic auth credentials",
            "correct the owner of the namespace, or give this owner a source Secret, in the webhook's",
        ),
    ):
        found = explained(pod("ghcr-secret", said=said))
        assert found.next_step.startswith(step)
        assert ("pullsecret doctor pod" in found.next_step) == ("credentials" not in said)
        assert "  webhook   the caBundle" in explain.text(found)


MIRRORED = 'Head "https://mirror.test:5000/v2/alice/app/manifests/1?ns=ghcr.io"'


@pytest.mark.parametrize(
    ("said", "cause", "why"),
    [
        (f"unexpected status from HEAD request to {MIRRORED[6:-1]}: 401 Unauthorized", "refused", " refuses the cred"),
        (f"unexpected status from HEAD request to {MIRRORED[6:-1]}: 403 Forbidden", "denied", " denies the credential"),
        (f"failed to do request: {MIRRORED}: dial tcp 1.2.3.4:5000: connect: connection refused", "connection", ": "),
        (f"failed to do request: {MIRRORED}: x509: certificate signed by unknown authority", "certificate", ": "),
    ],
)
def test_what_a_mirror_says_is_not_said_of_the_registry(said: str, cause: Cause, why: str) -> None:
    written = pull_secret("ghcr-secret", "ghcr.io")
    written["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
    (failing,) = explained(pod("ghcr-secret", said=said), written).line.pods_failing
    assert failing.cause == cause
    assert f"the mirror mirror.test:5000{why}" in failing.why
    assert "registry" not in failing.why
    theirs = explained(pod("own", said=said), pull_secret("own", "ghcr.io"), labels=OWNED | OPTED_OUT)
    assert "the mirror mirror.test:5000" in theirs.line.pods_failing[0].why
    (plain,) = explained(pod("ghcr-secret", said=said.replace("?ns=ghcr.io", "")), written).line.pods_failing
    assert "the registry" in plain.why


def test_a_pod_is_not_created_again_before_the_webhook_is_well() -> None:
    credential = pull_secret("ghcr-secret", "ghcr.io")
    credential["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
    found = explained(pod(said="no basic auth credentials"), credential)
    assert [one.cause for one in found.line.pods_failing] == ["no-reference"]
    assert found.next_step.startswith("the caBundle")
    well = replace(found, webhook=())
    assert well.next_step == "create the pod again: kubectl delete pod p -n team, if something makes it anew"


def test_every_cause_has_a_next_step() -> None:
    assert {*explain.NEXT} | {"no-reference", "no-secret", "not-served"} == {*get_args(Cause)}


MISTAKE = "the label pullsecret-webhook/Owner means nothing; did you mean pullsecret-webhook/owner?"
OPTED_OUT = {"pullsecret-webhook/inject": "disabled"}


@pytest.mark.parametrize(
    ("labels", "step"),
    [
        ({}, "give the namespace an owner, then create the pod again"),
        (OWNED | OPTED_OUT, "remove the label pullsecret-webhook/inject from the namespace, then create the pod again"),
        (
            {"pullsecret-webhook/Owner": "alice"},
            f"correct the namespace ({MISTAKE}), then create the pod again",
        ),
    ],
)
def test_the_next_step_where_the_namespace_is_not_served(labels: Object, step: str) -> None:
    assert explained(pod(said="no basic auth credentials"), labels=labels).next_step == step


def test_a_secret_that_is_not_ours_and_has_no_entry_is_not_mended_by_a_credential() -> None:
    found = explained(pod("ghcr-secret", said="no basic auth credentials"), made("ghcr-secret", type="Opaque"))
    assert [one.cause for one in found.line.pods_failing] == ["no-entry"]
    assert found.next_step == "the Secret is not the webhook's; see pullsecret adopt -n team --dry-run"


def test_a_secret_that_the_webhook_cannot_write_waits_for_the_webhook() -> None:
    found = explained(pod("ghcr-secret", said="no basic auth credentials"))
    line = replace(found.line, state="wrong", problem="the Secret is missing; is the webhook running?")
    (failing,) = line.pods_failing
    line = replace(line, pods_failing=(replace(failing, cause="no-secret", why=line.problem),))
    images = tuple(replace(one, failing=line.pods_failing) for one in found.images)
    waits = replace(found, line=line, images=images)
    assert waits.next_step.startswith("the caBundle")
    assert replace(waits, webhook=()).next_step == line.problem
    gone = replace(waits, line=replace(line, state="withdrawn", problem="there is no Secret; an Event says so"))
    assert gone.next_step.startswith("give the owner a credential again;")


@pytest.mark.parametrize("labels", [{}, OWNED | OPTED_OUT])
@pytest.mark.parametrize(
    ("said", "cause", "step"),
    [
        ("unexpected status from HEAD request to https://ghcr.io/v2/x: 401 Unauthorized", "refused", "write a new"),
        ("ghcr.io/alice/app:1: not found", "not-found", "correct the name of the image or its tag"),
        ("no basic auth credentials", "not-served", ""),
    ],
)
def test_a_pod_that_is_left_alone_may_have_pull_secrets_of_its_own(
    labels: Object, said: str, cause: Cause, step: str
) -> None:
    found = explained(pod("own", said=said), pull_secret("own", "ghcr.io"), labels=labels)
    (failing,) = found.line.pods_failing
    assert failing.cause == cause
    assert failing.why.endswith("its pull secrets are own") == (cause != "not-served")
    assert found.next_step.startswith(step)
    alone = explained(pod(said=said), labels=labels)
    assert [one.cause for one in alone.line.pods_failing] == ["not-served"]


def test_that_a_namespace_is_excluded_matters_more_than_that_it_has_no_owner() -> None:
    view = ClusterView(cast(Cluster, Answers(pod(), {})), reading.convert({"excludedNamespaces": ["team"]}))
    found = asyncio.run(explain.namespace(view, "team", NOW))
    assert found.unserved.endswith("or in excludedNamespaces")
