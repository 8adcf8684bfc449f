"""The test registry and the real node: private images are pulled by the right credential and by no other."""

import os
import ssl
from pathlib import Path
from typing import Any

import httpx
import pytest

from controlplane.cluster import ControlPlane
from controlplane.node import Node
from controlplane.registry import Registry


def status(registry: Registry, user: str, path: str, *, password_of: str) -> int:
    with registry.client(user, registry.users[password_of]) as client:
        return client.get(path).status_code


def seen(registry: Registry, repository: str) -> set[tuple[str, int]]:
    """Who asked for the repository's manifests, and what was answered."""
    return {(one.user, one.status) for one in registry.log() if one.path.startswith(f"/v2/{repository}/manifests/")}


def run(cluster: ControlPlane, namespace: str, image: str, secret: str | None = None) -> None:
    if secret is not None:
        data = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": secret}}
        name = {"name": "pull", "namespace": namespace}
        cluster.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": name} | data)
    spec = {
        "terminationGracePeriodSeconds": 1,
        "imagePullSecrets": [{"name": "pull"}] if secret else [],
        "containers": [{"name": "app", "image": image}],
    }
    metadata = {"name": "app", "namespace": namespace}
    cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def container(cluster: ControlPlane, namespace: str) -> dict[str, Any]:
    pod = cluster.api.get("Pod", "app", namespace)
    assert pod
    states = [one["state"] for one in pod["status"].get("containerStatuses", ())]
    return states[0] if states else {}


def refused(cluster: ControlPlane, namespace: str) -> str:
    """The first error of the pull; the back-off after it, which a slow watcher sees instead, repeats it."""

    def message() -> str | None:
        waiting = container(cluster, namespace).get("waiting", {})
        text: str = waiting.get("message", "")
        return text if waiting.get("reason") == "ErrImagePull" or "ErrImagePull: " in text else None

    return cluster.wait(message, f"the pod in {namespace} cannot pull")


@pytest.mark.cluster
def test_the_registry_keeps_its_users_apart(registry: Registry) -> None:
    registry.push("alice/app", "apart")
    manifest = "/v2/alice/app/manifests/apart"
    assert status(registry, "alice", manifest, password_of="alice") == 200
    assert status(registry, "alice", manifest, password_of="bob") == 401
    assert status(registry, "nobody", manifest, password_of="alice") == 401
    assert status(registry, "bob", manifest, password_of="bob") == 403
    assert status(registry, "bob", "/v2/_catalog", password_of="bob") == 403
    anonymous = httpx.get(f"{registry.url}{manifest}", verify=ssl.create_default_context(cafile=registry.ca))
    assert anonymous.headers["www-authenticate"].startswith("Basic")
    assert [one.status for one in registry.log() if one.path == manifest] == [201, 200, 401, 401, 403, 401]


@pytest.mark.cluster
def test_with_tokens_passwords_are_for_the_token_service_only(tmp_path: Path, node_binaries: None) -> None:
    with Registry.start(tmp_path, {"alice": "right"}, tokens=True) as registry:

        def asked(path: str, password: str, **headers: str) -> httpx.Response:
            with registry.client("alice", password) as client:
                auth = None if headers else httpx.USE_CLIENT_DEFAULT
                return client.get(path, params={"service": "test registry"}, headers=headers, auth=auth)

        assert asked("/token", "wrong").status_code == 401
        assert (
            f'Bearer realm="{registry.url}/token",service="test registry"'
            in (asked("/v2/", "right").headers["www-authenticate"])
        )
        made = asked("/token", "right").json()["token"]
        assert asked("/v2/", "right", Authorization=f"Bearer {made}").status_code == 200
        assert asked("/v2/", "right", Authorization=f"Bearer {made[:-8]}AAAAAAAA").status_code == 401


@pytest.mark.cluster
def test_a_user_cannot_copy_another_ones_layers(registry: Registry) -> None:
    with registry.client("bob", registry.users["bob"]) as client:
        digest = "sha256:" + "0" * 64
        path = "/v2/bob/app/blobs/uploads/"
        assert client.post(path, params={"mount": digest, "from": "bob/other"}).status_code == 202
        assert client.post(path, params={"mount": digest, "from": "alice/app"}).status_code == 403


@pytest.mark.cluster
def test_a_changed_password_counts_at_once(registry: Registry) -> None:
    registry.set_password("carol", "first")
    with registry.client("carol", "first") as first, registry.client("carol", "second") as second:
        assert (first.get("/v2/").status_code, second.get("/v2/").status_code) == (200, 401)
        registry.set_password("carol", "second")
        assert (first.get("/v2/").status_code, second.get("/v2/").status_code) == (401, 200)
        registry.remove_user("carol")
        assert (first.get("/v2/").status_code, second.get("/v2/").status_code) == (401, 401)


@pytest.mark.node
def test_the_right_pull_secret_runs_the_image(cluster: ControlPlane, registry: Registry, node: Node) -> None:
    cluster.namespace("right")
    image = registry.push("alice/right", "1")
    run(cluster, "right", image, registry.dockerconfigjson("alice"))
    cluster.wait(lambda: container(cluster, "right").get("running"), "the pod runs")
    assert ("alice", 200) in seen(registry, "alice/right")
    cluster.wait(lambda: cluster.kubectl("-n", "right", "logs", "app") == "app up\n", "its output is readable")


@pytest.mark.node
def test_without_a_secret_the_registry_refuses(cluster: ControlPlane, registry: Registry, node: Node) -> None:
    cluster.namespace("without")
    run(cluster, "without", registry.push("alice/without", "1"))
    assert "no basic auth credentials" in refused(cluster, "without")
    assert ("", 401) in seen(registry, "alice/without")
    assert ("", 200) not in seen(registry, "alice/without")


@pytest.mark.node
def test_anothers_secret_does_not_open_the_image(cluster: ControlPlane, registry: Registry, node: Node) -> None:
    cluster.namespace("anothers")
    image = registry.push("alice/anothers", "1")
    run(cluster, "anothers", image, registry.dockerconfigjson("bob"))
    assert "403 Forbidden" in refused(cluster, "anothers")
    assert ("bob", 403) in seen(registry, "alice/anothers")


def traces(folder: Path) -> list[str]:
    """Processes and mounts that name the folder."""
    commands = [path.read_text() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()]
    mounts = Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in (*commands, *mounts) if str(folder) in line]


def own_cgroups() -> set[Path]:
    return set(Path("/sys/fs/cgroup").glob(f"*/pullsecret-node-{os.getpid()}-*"))


@pytest.mark.slow  # test_demo's whole story looks for the same
@pytest.mark.usefixtures("node_binaries")
@pytest.mark.node
def test_nothing_of_a_node_is_left(registry: Registry, tmp_path: Path) -> None:
    others = own_cgroups()
    with ControlPlane.start(tmp_path / "cluster") as own, Node.start(tmp_path / "node", own, [registry]):
        own.namespace("short")
        run(own, "short", registry.push("bob/short", "1"), registry.dockerconfigjson("bob"))
        own.wait(lambda: container(own, "short").get("running"), "the pod runs")
        assert traces(tmp_path)
        assert own_cgroups() > others
    assert traces(tmp_path) == []
    assert own_cgroups() == others
