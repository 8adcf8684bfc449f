"""Objects that tests make, and what they look for in them."""

import base64
import json

from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.waiting import until

SECRET = "ghcr-secret"


def pod(namespace: str, name: str = "p", **spec: object) -> Object:
    """One that no node takes: its image is nowhere, and a node has room for a hundred pods."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "containers": [{"name": "c", "image": "example.invalid/app"}],
            "nodeSelector": {"tests": "nowhere"},
            **spec,
        },
    }


def deployment(namespace: str, **spec: object) -> Object:
    template = {"metadata": {"labels": {"app": "d"}}, "spec": pod(namespace)["spec"] | spec}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "d"}}, "template": template},
    }


def names(obj: Object) -> list[str]:
    spec = obj["spec"].get("template", obj)["spec"]
    return [reference["name"] for reference in spec.get("imagePullSecrets") or []]


def password(cluster: ControlPlane, namespace: str) -> str | None:
    """What stands in the namespace for ghcr.io."""
    secret = cluster.api.get("Secret", SECRET, namespace)
    if secret is None or "deletionTimestamp" in secret["metadata"]:
        return None
    config = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    return str(config.get("auths", {}).get("ghcr.io", {}).get("password"))


def stands(cluster: ControlPlane, namespace: str, token: str | None, within: float = 10.0) -> Object | None:
    """Waits until exactly this token stands (None: no Secret). No token in the error."""
    until(lambda: password(cluster, namespace) == token, f"the right token in {namespace}", within=within)
    return cluster.api.get("Secret", SECRET, namespace)
