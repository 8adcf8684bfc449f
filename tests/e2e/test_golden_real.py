"""The golden cases that say `real: true`, against the real API server, under its own RBAC and policies."""

import base64
import json
from pathlib import Path

import pytest

import goldencase
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from controlplane.webhook import Webhook
from goldencase import FOLDER, Case

pytestmark = pytest.mark.cluster
FILES = [path for path in sorted(FOLDER.glob("*.yaml")) if "\nreal: true\n" in path.read_text()]
SECRET = "ghcr-secret"
CORE = {"apiVersion": "v1"}


def set_up(cluster: ControlPlane, case: Case, team: str) -> None:
    """The namespace gets its labels last: the webhook is to find all else as the case has it."""
    labels: Object = {}
    for obj in case.cluster:
        name, kind = obj["metadata"]["name"], obj["kind"]
        if kind == "Namespace":
            cluster.namespace(name)
            labels = obj["metadata"].get("labels", {})
        elif kind == "ServiceAccount" and name == "default":
            change = {"metadata": {"annotations": obj["metadata"].get("annotations", {})}}
            cluster.api.patch(kind, name, obj | change, team)
        else:
            cluster.api.create(CORE | obj)
    cluster.api.patch("Namespace", team, {"metadata": {"labels": labels}})


def written(cluster: ControlPlane, team: str) -> str:
    """What stands, in the words of `writes`; nothing when there is no Secret, or one that is not ours."""
    secret = cluster.api.get("Secret", SECRET, team)
    if secret is None or "annotations" not in secret["metadata"]:
        return ""
    auths = sorted(json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"])
    return f"create {secret['metadata']['annotations']['pullsecret-webhook/owner']}: {', '.join(auths)}"


def seen(cluster: ControlPlane, team: str) -> bool:
    """The API server's own namespace selector has caught up with the labels."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    probe = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "probe", "namespace": team},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    return SECRET in goldencase.names(cluster.api.create(probe, dry_run=True))


def reasons(cluster: ControlPlane, team: str) -> set[str]:
    return {str(event.get("reason")) for event in cluster.api.list("Event", team)}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, cluster: ControlPlane, webhook: Webhook) -> None:
    team, alice = f"golden-{path.stem}", f"alice-{path.stem}"
    case = goldencase.load(path, team=team, alice=alice)
    assert case.config == {}
    set_up(cluster, case, team)
    expect = case.expect
    if expect.patch:
        until(lambda: seen(cluster, team), "the API server calls us for the namespace", within=10)
    if expect.writes:
        until(lambda: written(cluster, team) == expect.writes[-1], "the Secret stands", within=10)
    cluster.api.take_warnings()
    obj = case.review.object
    assert obj is not None
    obj["metadata"]["namespace"] = team
    created = cluster.api.create(obj, dry_run=case.review.dry_run)
    warnings = [text for text in cluster.api.take_warnings() if "imagePullSecrets" in text or SECRET in text]
    expected = goldencase.patched(case.review, expect.patch)
    assert goldencase.names(created) == goldencase.names(expected)
    assert len(warnings) == len(expect.warnings)
    for said, part in zip(warnings, expect.warnings, strict=True):
        assert part in said
    until(lambda: reasons(cluster, team) >= set(expect.notices), f"Events {expect.notices}", within=5)
    if not case.review.dry_run and (expect.patch or expect.writes):  # not one that is opted out
        assert written(cluster, team) == (expect.writes[-1] if expect.writes else "")
