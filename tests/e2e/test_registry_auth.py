"""The platform's own registry: stock distribution, our token service, and passwords that our issuer signs.

The registry's configuration is the one in docs/registry.md, with addresses and files of here.
"""

import base64
import json
import re
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from controlplane.api import Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.image import Image, push
from controlplane.node import Node
from controlplane.objects import SECRET
from controlplane.pki import Pki
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.stockregistry import StockRegistry
from controlplane.webhook import NAMESPACE, Webhook
from support import planted
from support.signing import key_file, public_file
from support.tokenendpoint import BUILDER, TokenEndpoint, serving
from webhook.core.issued import secret_name
from webhook.core.names import ISSUED, OWNER
from webhook.issuers.registry.pullpassword import pull_password, signed
from webhook.issuers.registry.signingkeys import SigningKey, read_key

pytestmark = pytest.mark.node
PAGE = (Path(__file__).parents[2] / "docs" / "registry.md").read_text()
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
ALICE, BOB = "project-signed-alice", "project-signed-bob"


@dataclass(frozen=True)
class World:
    """`keys`: the file that the registry reads when it starts, with the public parts of keys for tokens."""

    registry: StockRegistry
    endpoint: TokenEndpoint
    keys: Path
    app: Path

    def publish(self, *files: Path) -> None:
        public_file(self.keys, *map(str, files))

    def password(self, below: str, life: timedelta = HOUR, key: SigningKey | None = None) -> str:
        return pull_password(key or self.endpoint.key, self.registry.address, below, life)

    def knows(self, key: SigningKey) -> bool:
        """Does the registry take a token that this key has signed?"""
        claims = {"iss": self.registry.address, "aud": self.registry.address, "sub": ALICE, "access": []}
        with self.registry.client(signed(key, claims, HOUR)) as client:
            return client.get("/v2/").status_code == 200

    def pull(self, name: str, password: str, repository: str, tag: str = "1") -> int:
        """As containerd: what the registry asks for is asked of the token service. Its status, if that gives none."""
        path = f"/v2/{repository}/manifests/{tag}"
        with self.registry.client() as client:
            challenge = client.get(path).headers["www-authenticate"]
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        assert (asked["realm"], asked["service"]) == (self.endpoint.realm, self.registry.address)
        answer = self.endpoint.post(name, password, asked["scope"])
        if answer.status_code != 200:
            return -answer.status_code
        with self.registry.client(answer.json()["access_token"]) as client:
            return client.get(path).status_code

    def push(self, repository: str, tag: str = "1") -> str:
        scope = f"repository:{repository}:pull,push"
        token = self.endpoint.ask(BUILDER, self.endpoint.password, scope).json()["token"]
        with self.registry.client(token) as client:
            push(client, repository, tag, Image.of(self.app, f"{repository}:{tag}"))
        return f"{self.registry.address}/{repository}:{tag}"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, node_binaries: None) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("registry-auth")
    (text,) = re.findall(r"```yaml\n(version: 0\.1\n.*?)```", PAGE, re.DOTALL)
    pki = Pki(folder / "pki")
    registry, keys = StockRegistry(folder, pki), folder / "jwks.json"
    with ExitStack() as stack:
        endpoint = stack.enter_context(serving(folder, registry.address, planted.token(), pki=pki))

        def here(config: dict[str, Any]) -> None:
            token = config["auth"]["token"]
            assert token["service"] == token["issuer"]
            token |= {"realm": endpoint.realm, "jwks": str(keys)}
            token |= dict.fromkeys(("service", "issuer"), registry.address)

        made = World(registry, endpoint, keys, need("app")["app"])
        made.publish(endpoint.token_key_file)
        stack.enter_context(registry.serving(text, here))
        for repository in (f"{ALICE}/app", f"{BOB}/app", f"{ALICE}2/app"):
            made.push(repository)
        yield made


def test_an_owner_pulls_its_own_repositories_and_no_others(world: World) -> None:
    password = world.password(ALICE)
    assert world.pull(ALICE, password, f"{ALICE}/app") == 200
    for other in (f"{BOB}/app", f"{ALICE}2/app"):
        assert world.pull(ALICE, password, other) == 401
    assert world.pull(BOB, password, f"{BOB}/app") == -401
    assert world.pull(BOB, world.password(BOB), f"{BOB}/app") == 200


def test_what_has_ended_opens_nothing(world: World) -> None:
    assert world.pull(ALICE, world.password(ALICE, -2 * MINUTE), f"{ALICE}/app") == -401


def test_a_password_is_no_token(world: World) -> None:
    with world.registry.client(world.password(ALICE)) as client:
        assert client.get(f"/v2/{ALICE}/app/manifests/1").status_code == 401


def test_each_key_is_good_for_one_thing(world: World) -> None:
    """Who takes the token service signs no password, and who takes the issuer's key signs no token."""
    password = world.password(ALICE, key=world.endpoint.token_key)
    assert world.pull(ALICE, password, f"{ALICE}/app") == -401
    assert world.knows(world.endpoint.token_key)
    assert not world.knows(world.endpoint.key)


def test_an_owner_pushes_and_deletes_nothing(world: World) -> None:
    answer = world.endpoint.ask(ALICE, world.password(ALICE), f"repository:{ALICE}/app:pull,push,delete")
    with world.registry.client(answer.json()["token"]) as client:
        assert client.get(f"/v2/{ALICE}/app/manifests/1").status_code == 200
        assert client.post(f"/v2/{ALICE}/app/blobs/uploads/").status_code == 401
        assert client.get("/v2/_catalog").status_code == 401
        from_bob = {"mount": f"sha256:{'0' * 64}", "from": f"{BOB}/app"}
        assert client.post(f"/v2/{ALICE}/app/blobs/uploads/", params=from_bob).status_code == 401


def written(cluster: ControlPlane) -> tuple[str, str]:
    """Which pull secret, and its content."""
    found = cluster.api.get("Secret", SECRET, "signed-alice")
    assert found is not None
    return found["metadata"]["uid"], found["data"][".dockerconfigjson"]


def state(cluster: ControlPlane, name: str, namespace: str) -> Object:
    pod = cluster.api.get("Pod", name, namespace) or {"status": {}}
    return next((one["state"] for one in pod["status"].get("containerStatuses", ())), {})


def test_a_pod_pulls_with_a_password_that_was_signed_for_its_owner(
    world: World, installed: ControlPlane, webhook: Webhook, node: Node, tmp_path: Path
) -> None:
    """From the owner's first namespace to the running pod, with nothing but the two processes and a key."""
    cluster, registry = installed, world.registry
    node.configures(registry.address, f'server = "{registry.url}"\nca = "{registry.ca}"\n')
    config = {
        "issuers": [world.endpoint.model | {"owners": "signed-.*"}],
        "registries": [
            {"host": host, "caFile": str(registry.ca)}
            for host in (registry.address, world.endpoint.url.removeprefix("https://"))
        ],
        "server": {"address": "127.0.0.1", "metricsPort": free_port()},
    }
    (tmp_path / "issuers.yaml").write_text(json.dumps(config))
    account = cluster.service_account(NAMESPACE, "pullsecret-webhook-issuer")
    command: list[str | Path] = ["issue", "--config", tmp_path / "issuers.yaml", "--kubeconfig", account]
    with Child("issue", [sys.executable, "-m", "webhook", *command], log=tmp_path / "issue.log") as child:
        cluster.namespace("signed-alice", labels={OWNER: "signed-alice"})
        source = secret_name("registry", "signed-alice")
        child.until(lambda: cluster.api.get("Secret", source, NAMESPACE), "the source Secret is there", within=30)
        cluster.wait(lambda: cluster.api.get("Secret", SECRET, "signed-alice"), "the pull secret is there")
        assert "does not say whether it works" not in child.log.read_text()  # the registry was asked, and took it
        before = written(cluster)
        time.sleep(1)  # what is signed in the same second is the same
        cluster.api.patch("Secret", source, {"metadata": {"annotations": {ISSUED: None}}}, NAMESPACE)
        child.until(lambda: written(cluster)[1] != before[1], "there is another password", within=30)
        assert written(cluster)[0] == before[0]
    images = {"own": world.push(f"{ALICE}/app", "pod"), "bobs": world.push(f"{BOB}/app", "pod")}
    for name, image in images.items():
        container = {"name": "c", "image": image, "imagePullPolicy": "Always"}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
        metadata = {"name": name, "namespace": "signed-alice"}
        cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    cluster.wait(lambda: "running" in state(cluster, "own", "signed-alice"), "the pod runs", within=60)

    def refused() -> str:
        return str(state(cluster, "bobs", "signed-alice").get("waiting", {}).get("message", ""))

    assert "401 Unauthorized" in cluster.wait(refused, "bob's image is refused", within=60)
    cluster.api.delete("Namespace", "signed-alice")
    log = world.endpoint.log + registry.log() + child.log.read_text()
    assert world.password(ALICE).split(".")[0] not in log


def test_one_key_of_a_secret_is_changed_by_the_commands_of_the_page(installed: ControlPlane, tmp_path: Path) -> None:
    """And its other keys stay."""
    (makes, changes), names = (
        re.findall(r"^ *kubectl (.*--dry-run=client.*|.*--patch-file.*)$", PAGE, re.MULTILINE),
        "abc",
    )
    before = {name: base64.b64encode(name.encode()).decode() for name in ("password-keys.json", *names)}
    metadata = {"name": "token-service", "namespace": NAMESPACE, "labels": {"mine": "1"}}
    made = installed.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": before})
    (tmp_path / "password-keys.json").write_text("next")
    try:
        there = makes.removesuffix(" |").replace("=password", f"={tmp_path}/password").split()
        installed.kubectl(*changes.split(), input=installed.kubectl(*there))
        found = installed.api.get("Secret", "token-service", NAMESPACE)
        assert found is not None
        assert found["data"] == before | {"password-keys.json": base64.b64encode(b"next").decode()}
        assert {**found["metadata"], "resourceVersion": "", "managedFields": ""} == {
            **made["metadata"],
            "resourceVersion": "",
            "managedFields": "",
        }
    finally:
        installed.api.delete("Secret", "token-service", NAMESPACE)


def test_the_next_key_for_passwords_is_published_before_it_signs(world: World) -> None:
    """The next one is of the other kind. Nothing starts anew: the token service reads its files again."""
    endpoint, old = world.endpoint, world.endpoint.key_file
    new = Path(key_file(endpoint.folder / "next.pem", "p256"))
    before, after = (world.password(ALICE, key=read_key(file)) for file in (old, new))

    def pulls() -> list[int]:
        return [world.pull(ALICE, one, f"{ALICE}/app") for one in (before, after)]

    assert pulls() == [200, -401]
    endpoint.takes_passwords_of(old, new)
    assert pulls() == [200, 200]
    new.replace(old)  # now it signs
    assert pulls() == [200, 200]
    endpoint.takes_passwords_of(old)
    assert pulls() == [-401, 200]


def test_the_next_key_for_tokens_is_published_before_it_signs(world: World) -> None:
    endpoint, file = world.endpoint, world.endpoint.token_key_file
    new = Path(key_file(endpoint.folder / "next-token-key.pem", "p256"))
    keys = [read_key(one) for one in (file, new)]

    def known() -> list[bool]:
        return [world.knows(one) for one in keys]

    world.publish(file, new)
    assert known() == [True, False]
    world.registry.restart()
    assert known() == [True, True]
    new.replace(file)
    password = world.password(ALICE)
    assert world.pull(ALICE, password, f"{ALICE}/app") == 200
    world.publish(file)
    world.registry.restart()
    assert known() == [False, True]
    assert world.pull(ALICE, password, f"{ALICE}/app") == 200
