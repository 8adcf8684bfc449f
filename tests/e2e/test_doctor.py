"""`pullsecret doctor` on a cluster without the chart, with statuses as a kubelet writes them. The causes on a real node
are in tests/doctor.
"""

import json
from typing import Any

import pytest

from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.objects import pod

pytestmark = pytest.mark.cluster
SPACE, IMAGE = "doctored", "registry.invalid/team/app:1"
PULL = f'failed to pull and unpack image "{IMAGE}": failed to resolve image: '
BROKEN = f"unexpected status from HEAD request to https://{IMAGE}: 503 Service Unavailable"
NO_BASIC = (
    f"{PULL}pull access denied, repository does not exist or may require authorization: authorization failed: "
    "no basic auth credentials"
)


def told(cluster: ControlPlane, name: str, minute: int, message: str) -> None:
    """An Event, as a kubelet writes it."""
    about = {"apiVersion": "v1", "kind": "Pod", "namespace": SPACE, "name": name}
    event = {"apiVersion": "v1", "kind": "Event", "metadata": {"name": f"{name}.{minute}", "namespace": SPACE},
             "involvedObject": about, "type": "Warning", "reason": "Failed", "message": message,
             "lastTimestamp": f"2026-01-01T00:{minute:02}:00Z"}  # fmt: skip
    cluster.api.raw("POST", f"/api/v1/namespaces/{SPACE}/events", json=event)


@pytest.fixture(scope="module")
def space(cluster: ControlPlane) -> ControlPlane:
    cluster.namespace(SPACE)
    return cluster


def doctor(cluster: ControlPlane, *arguments: str) -> Ran:
    """Without a configuration: as if the chart were not there."""
    return command(cluster, "doctor", *arguments, "-n", SPACE)


def waits(cluster: ControlPlane, name: str, message: str, **spec: Any) -> None:
    spec = {"containers": [{"name": "c", "image": IMAGE}], **spec}
    cluster.api.create(pod(SPACE, name, **spec))
    state = {"waiting": {"reason": "ErrImagePull", "message": message}}
    told = {"phase": "Pending", "containerStatuses": [{"name": "c", "image": IMAGE, "imageID": "", "ready": False,
            "restartCount": 0, "state": state}]}  # fmt: skip
    cluster.api.patch("Pod", name, {"status": told}, SPACE, sub="status")


def test_a_cluster_without_the_chart_is_looked_at_all_the_same(space: ControlPlane) -> None:
    waits(space, "bare", NO_BASIC)
    ran = doctor(space, "pod", "bare")
    assert (ran.code, ran.err) == (1, "")
    assert f"bare cannot pull {IMAGE}: the kubelet had no credential for it.   [CREDENTIAL-NONE]" in ran.out
    assert "Not looked at: the registry (--ask); the node (--node); the webhook (" in ran.out
    assert "owner" not in ran.out.partition("What to do:")[2].partition("Not looked at")[0]


def test_the_secrets_of_the_pod_are_what_counts(space: ControlPlane) -> None:
    waits(space, "missing", NO_BASIC, imagePullSecrets=[{"name": "regcred"}])
    found = json.loads(doctor(space, "pod", "missing", "-o", "json").out)
    (verdict,) = found["verdicts"]
    assert (found["cause"], verdict["layer"]) == ("SECRET-MISSING", "secret")
    assert {"what": "pull secrets", "text": "regcred: is missing"} in verdict["evidence"]
    assert verdict["todo"][0].startswith("Create the Secret regcred")


def test_where_the_status_says_nothing_the_newest_event_does(space: ControlPlane) -> None:
    """As with older kubelets: their status says only that they back off."""
    silent = f'Back-off pulling image "{IMAGE}"'
    waits(space, "silent", silent)
    ran = doctor(space, "pod", "silent")
    assert (ran.code, ran.err) == (1, "")
    assert f"silent cannot pull {IMAGE}: the kubelet does not say why.   [NOT-KNOWN]" in ran.out
    told(space, "silent", 1, f'Failed to pull image "{IMAGE}": {NO_BASIC}')
    told(space, "silent", 5, f'Failed to pull image "{IMAGE}": {PULL}{BROKEN}')
    told(space, "silent", 6, "Error: ImagePullBackOff")
    told(space, "silent", 7, f'Failed to pull image "other.invalid/x": {NO_BASIC}')
    told(space, "bare", 8, f'Failed to pull image "{IMAGE}": {NO_BASIC}')
    ran = doctor(space, "pod", "silent")
    assert f"{IMAGE}: registry.invalid fails (503).   [REGISTRY-BROKEN]" in ran.out
    config = space.folder / "events.yaml"
    config.write_text(json.dumps({"ownerRules": [{"from": "label", "key": "nobody/s"}]}))
    explained = command(space, "explain", "pod", "silent", "-n", SPACE, "--config", str(config))
    assert "503 Service Unavailable" in explained.out


def test_what_two_credentials_met_is_shown(space: ControlPlane) -> None:
    status = f"{PULL}unexpected status from HEAD request to https://{IMAGE}: "
    waits(space, "two", f"[{status}401 Unauthorized, {status}403 Forbidden]")
    ran = doctor(space, "pod", "two")
    assert "401 Unauthorized, " in ran.out
    assert "403 Forbidden]" in ran.out
    assert "A 403 may also be" not in ran.out


def test_what_could_not_be_looked_at_is_no_success(space: ControlPlane) -> None:
    asked = doctor(space, "image", IMAGE, "--ask")
    assert (asked.code, asked.err) == (3, "")
    assert "but the registry could not be asked from here" in asked.out
    absent = doctor(space, "pod", "nobody")
    assert (absent.code, absent.out) == (3, "")
    assert absent.err == f"pullsecret: there is no pod nobody in namespace {SPACE}\n"
    nowhere = command(space, "doctor", "registry", "registry.invalid", "--node", "nowhere")
    assert (nowhere.code, nowhere.out) == (3, "")
    assert "there is no node nowhere" in nowhere.err


def test_wrong_arguments(space: ControlPlane) -> None:
    for arguments in (("registry", "*.example"), ("registry", "a b"), ("image", IMAGE, "--ca-file", "/nowhere")):
        ran = command(space, "doctor", *arguments)
        assert (ran.code, ran.out) == (2, ""), arguments
        assert ran.err.startswith("pullsecret: ")
