"""What the kubelet makes of it: pods that start, with the credentials that people really have."""

import json
import time
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.node import Node
from controlplane.objects import SECRET, names
from controlplane.registry import Registry
from controlplane.webhook import Webhook
from support import planted

pytestmark = pytest.mark.node


def state(cluster: ControlPlane, namespace: str, pod: str) -> dict[str, Any]:
    found = cluster.api.get("Pod", pod, namespace)
    assert found is not None
    statuses = found["status"].get("containerStatuses") or [{"state": {}}]
    return dict(statuses[0]["state"])


def create(cluster: ControlPlane, namespace: str, image: str, **more: Any) -> None:
    spec = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": image}], **more}
    metadata = {"name": "p", "namespace": namespace}
    cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def test_credential_after_the_pod_heals_it(
    cluster: ControlPlane, webhook: Webhook, registry: Registry, node: Node
) -> None:
    registry.set_password("late", planted.token())
    cluster.namespace("late", labels={"pullsecret-webhook/owner": "late"})
    create(cluster, "late", registry.push("late/app", "1"))
    cluster.wait(
        lambda: state(cluster, "late", "p").get("waiting", {}).get("reason") == "ErrImagePull", "it is refused"
    )
    deployed.give(cluster.api, "late", registry.users["late"])
    cluster.wait(lambda: state(cluster, "late", "p").get("running"), "the pod runs", within=60)


def test_pod_without_credentials_pulls_as_its_owner(
    cluster: ControlPlane, webhook: Webhook, registry: Registry, node: Node
) -> None:
    registry.set_password("robot", planted.token())
    deployed.give(cluster.api, "robot", registry.users["robot"])
    cluster.namespace("robot", labels={"pullsecret-webhook/owner": "robot"})
    create(cluster, "robot", registry.push("robot/app", "1"))
    cluster.wait(lambda: state(cluster, "robot", "p").get("running"), "the pod runs", within=60)
    asked = [(one.user, one.status) for one in registry.log() if one.path.startswith("/v2/robot/app/manifests/")]
    assert ("robot", 200) in asked


def runs(cluster: ControlPlane, namespace: str) -> None:
    cluster.wait(lambda: state(cluster, namespace, "p").get("running"), f"the pod in {namespace} runs", within=60)


def write(cluster: ControlPlane, name: str, namespace: str, kind: str, data: dict[str, str], owner: str = "") -> None:
    labels = {"pullsecret-webhook/owner": owner} if owner else {}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": data})


KEY_FILE = '{\n  "type": "service_account"\n}\n'
DOCKERCONFIG = "kubernetes.io/dockerconfigjson"


def test_credentials_as_people_have_them_pull(
    cluster: ControlPlane, webhook: Webhook, registry: Registry, node: Node
) -> None:
    """Beside a dead one for the same registry; a password of several lines; the older format."""
    owners = {"twice": planted.token(), "_json_key": KEY_FILE, "older": planted.token()}
    for user, password in owners.items():
        registry.set_password(user, password, owner=f"of-{user}".replace("_", "").lower())
    dead, good = {"username": "aaa", "password": "revoked"}, {"username": "twice", "password": owners["twice"]}
    two = {".dockerconfigjson": json.dumps({"auths": {"ghcr.io": dead, "https://ghcr.io": good}})}
    write(cluster, "twice", deployed.NAMESPACE, DOCKERCONFIG, two, "twice")
    basic = {"username": "_json_key", "password": KEY_FILE}
    write(cluster, "json-key", deployed.NAMESPACE, "kubernetes.io/basic-auth", basic, "json-key")
    old = json.dumps({"ghcr.io": {"username": "older", "password": owners["older"]}})
    write(cluster, "older", deployed.NAMESPACE, "kubernetes.io/dockercfg", {".dockercfg": old}, "older")
    for owner, user in {"twice": "twice", "json-key": "_json_key", "older": "older"}.items():
        cluster.namespace(f"have-{owner}", labels={"pullsecret-webhook/owner": owner})
        repository = f"of-{user}".replace("_", "").lower()
        create(cluster, f"have-{owner}", registry.push(f"{repository}/app", "1"))
    for owner in ("twice", "json-key", "older"):
        runs(cluster, f"have-{owner}")


def test_a_foreign_secret_makes_no_pod_worse(
    cluster: ControlPlane, webhook: Webhook, registry: Registry, node: Node
) -> None:
    """One that the kubelet cannot parse is not referred to. One that it passes over is, and the pod heals."""
    token = planted.token()
    registry.set_password("foreign", token)
    deployed.give(cluster.api, "foreign", token)
    entries = {"ghcr.io": {"username": "foreign", "password": token}}
    good = {".dockerconfigjson": json.dumps({"auths": entries})}
    found = {
        "unparsable": (DOCKERCONFIG, {".dockerconfigjson": '{"auths": {"old.example.com": {"auth": "dXNlcg=="}}}'}),
        "older": ("kubernetes.io/dockercfg", {".dockercfg": json.dumps(entries)}),
        "opaque": ("Opaque", {"placeholder": "x"}),
    }
    for name, (kind, data) in found.items():
        cluster.namespace(f"foreign-{name}")
        write(cluster, SECRET, f"foreign-{name}", kind, data)
        write(cluster, "good", f"foreign-{name}", DOCKERCONFIG, good)
        owner = {"metadata": {"labels": {"pullsecret-webhook/owner": "foreign"}}}
        cluster.api.patch("Namespace", f"foreign-{name}", owner)
    time.sleep(1)  # until the API server itself knows the labels
    for name in found:
        own = {"imagePullSecrets": [{"name": "good"}]} if name == "unparsable" else {}
        create(cluster, f"foreign-{name}", registry.push("foreign/app", name), **own)
    references = {name: names(cluster.api.get("Pod", "p", f"foreign-{name}") or {}) for name in found}
    assert references == {"unparsable": ["good"], "older": [SECRET], "opaque": [SECRET]}
    cluster.wait(lambda: state(cluster, "foreign-opaque", "p").get("waiting"), "it cannot be pulled")
    cluster.api.delete("Secret", SECRET, "foreign-opaque")
    for name in found:
        runs(cluster, f"foreign-{name}")
