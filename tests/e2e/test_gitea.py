"""Tokens of a real Gitea, from an owner's first namespace to a pod that runs, and back to their end."""

import base64
import json
import sys
from pathlib import Path

import pytest

from controlplane.api import Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.gitea import ADMIN, Gitea
from controlplane.image import Image
from controlplane.node import Node
from controlplane.objects import SECRET
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.webhook import NAMESPACE, Webhook
from webhook.core.dockerconfig import parse
from webhook.core.issued import secret_name
from webhook.core.names import ISSUED, OWNER

pytestmark = pytest.mark.node
NAME = "gitea-alice"


def state(cluster: ControlPlane, name: str) -> Object:
    pod = cluster.api.get("Pod", name, NAME) or {"status": {}}
    return next((one["state"] for one in pod["status"].get("containerStatuses", ())), {})


def login(cluster: ControlPlane) -> tuple[str, str] | None:
    """The one in the owner's pull secret."""
    found = cluster.api.get("Secret", SECRET, NAME)
    if found is None:
        return None
    (credential,) = parse(base64.b64decode(found["data"][".dockerconfigjson"])).credentials
    return credential.login


def test_a_pod_pulls_with_a_token_of_its_owner(
    gitea: Gitea, installed: ControlPlane, webhook: Webhook, node: Node, tmp_path: Path
) -> None:
    cluster, app = installed, need("app")["app"]
    for user in (NAME, "gitea-bob"):
        assert gitea.user(user) == 201
        gitea.push(user, f"{user}/app", Image.of(app, user))
    node.configures(gitea.address, f'server = "https://{gitea.address}"\nca = "{gitea.ca}"\n')
    for key, text in {"username": ADMIN, "password": gitea.password}.items():
        (tmp_path / key).write_text(text)
    files = {f"{key}File": str(tmp_path / key) for key in ("username", "password")}
    config = {
        "issuers": [{"issue": "gitea", "registry": gitea.address, "owners": "gitea-.*", **files}],
        "registries": [{"host": gitea.address, "caFile": str(gitea.ca)}],
        "server": {"address": "127.0.0.1", "metricsPort": free_port()},
    }
    (tmp_path / "issuers.yaml").write_text(json.dumps(config))
    account = cluster.service_account(NAMESPACE, "pullsecret-webhook-issuer")
    words: list[str | Path] = ["issue", "--config", tmp_path / "issuers.yaml", "--kubeconfig", account]
    with Child("issue", [sys.executable, "-m", "webhook", *words], log=tmp_path / "issue.log") as child:
        cluster.namespace(NAME, labels={OWNER: NAME})
        first = child.until(lambda: login(cluster), "the pull secret is there", within=30)
        assert "does not say whether it works" not in child.log.read_text()  # Gitea was asked, and took it
        source = secret_name("gitea", NAME)
        cluster.api.patch("Secret", source, {"metadata": {"annotations": {ISSUED: None}}}, NAMESPACE)
        child.until(lambda: login(cluster) != first, "there is another token", within=30)
        second = login(cluster)
        assert second is not None
        assert [gitea.pulls(one, f"{NAME}/app") for one in (first, second)] == [200, 200]
    assert not [one for one in (gitea.password, first[1], second[1]) if one in child.log.read_text()]
    for name, of in {"own": NAME, "bobs": "gitea-bob"}.items():
        container = {"name": "c", "image": f"{gitea.address}/{of}/app:1", "imagePullPolicy": "Always"}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
        metadata = {"name": name, "namespace": NAME}
        cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    cluster.wait(lambda: "running" in state(cluster, "own"), "the pod runs", within=60)

    def refused() -> str:
        return str(state(cluster, "bobs").get("waiting", {}).get("message", ""))

    assert "pull access denied" in cluster.wait(refused, "bob's image is refused", within=60)
    cluster.api.delete("Namespace", NAME)
