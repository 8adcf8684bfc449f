"""The pods of the cases, and their Secrets."""

import base64
import json

from controlplane.api import Object
from doctor.cases import Case, Secret
from webhook.core.names import DOCKERCONFIG_KEY


def pod(case: Case, namespace: str, runs: str) -> Object:
    """`runs`: an image that can be pulled, for its main container where that is not the one that cannot."""
    image = {"image": case.pulled, "imagePullPolicy": case.policy}
    main = image if case.where == "container" else {"image": runs}
    spec = {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "imagePullSecrets": [{"name": name} for name in case.secret_names],
        "containers": [{"name": "c"} | main],
    }
    if case.where == "init container":
        spec["initContainers"] = [{"name": "i"} | image]
    if case.where == "volume":
        spec["volumes"] = [{"name": "v", "image": {"reference": case.pulled, "pullPolicy": case.policy}}]
        spec["containers"] = [{"name": "c", "volumeMounts": [{"name": "v", "mountPath": "/v"}]} | main]
    metadata = {"name": case.name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


def secret(name: str, namespace: str, host: str, content: Secret) -> Object | None:
    """None: there is none."""
    if content.logins is None:
        return None
    config = json.dumps({"auths": {key or host: login for key, login in content.logins.items()}})
    data = {DOCKERCONFIG_KEY: base64.b64encode(config.encode()).decode()}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": content.kind, "data": data}
