"""Mirrors on the real node: who serves an image, with whose credential, when one of both fails.

Two pull-through registries in front of one that stands in for ghcr.io and for Docker Hub; each has a CA of its own. The
node's files are what `pullsecret mirrors hosts-toml` prints, but that the registry is not at its public address.
"""

import base64
import json
import tomllib
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import command
from controlplane.node import Node
from controlplane.objects import SECRET
from controlplane.registry import Registry
from controlplane.webhook import NAMESPACE
from support import planted
from webhook.core.names import OWNER

pytestmark = pytest.mark.node
ROBOT = "robot"
"""As whom the mirrors ask the registry."""


@dataclass(frozen=True)
class World:
    """`ghcr` and `hub` are mirrors of `upstream` under these names."""

    cluster: ControlPlane
    node: Node
    upstream: Registry
    ghcr: Registry
    hub: Registry
    config: Path

    def asks(self, of: str, *, ca: bool = True) -> None:
        """The node asks the mirror of this registry. `ca`: it knows the CA of the mirror."""
        ran = command(self.cluster, "mirrors", "hosts-toml", "--config", str(self.config), "--of", of)
        assert (ran.code, ran.err) == (0, "")
        server = tomllib.loads(ran.out)["server"]
        text = ran.out.replace(f'"{server}"', f'"{self.upstream.url}"\nca = "{self.upstream.ca}"')
        mirror = self.ghcr if of == "ghcr.io" else self.hub
        self.node.configures(of, text if ca else text.replace(f'ca = "{mirror.ca}"\n', ""))

    def pod(self, name: str, image: str, namespace: str = "mirrors-alice", policy: str = "IfNotPresent") -> None:
        container = {"name": "c", "image": image, "imagePullPolicy": policy}
        spec = {"terminationGracePeriodSeconds": 0, "containers": [container]}
        metadata = {"name": name, "namespace": namespace}
        self.cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def runs(self, name: str) -> None:
        self.cluster.wait(lambda: "running" in self._state(name, "mirrors-alice"), f"{name} runs", within=60)

    def refused(self, name: str, namespace: str) -> str:
        def message() -> str | None:
            return self._state(name, namespace).get("waiting", {}).get("message")

        return str(self.cluster.wait(message, f"{name} is refused", within=60))

    def _state(self, name: str, namespace: str) -> dict[str, dict[str, str]]:
        pod = self.cluster.api.get("Pod", name, namespace) or {"status": {}}
        return next((one["state"] for one in pod["status"].get("containerStatuses", ())), {})

    def entries(self, namespace: str) -> dict[str, str]:
        """Keys and user names in the pull secret."""
        secret = self.cluster.api.get("Secret", SECRET, namespace)
        if secret is None:
            return {}
        auths = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"]
        return {key: entry["username"] for key, entry in auths.items()}


def seen(registry: Registry, tag: str) -> set[tuple[str, int]]:
    """Whom the registry saw pull this tag by containerd, and what it answered."""
    found = [one for one in registry.log() if one.path.endswith(f"/manifests/{tag}") and "containerd" in one.agent]
    return {(one.user, one.status) for one in found}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, node_binaries: None) -> Iterator[World]:
    """Apart from the session's cluster, whose webhook knows of no mirrors."""
    folder = tmp_path_factory.mktemp("mirrors")
    users = {name: planted.token() for name in ("alice", "bob", ROBOT)}
    with ExitStack() as stack:
        upstream = stack.enter_context(Registry.start(folder / "upstream", users))
        upstream.set_password(ROBOT, users[ROBOT], owner="alice")
        found = {}
        for name in ("ghcr", "hub"):
            at = stack.enter_context(Registry.start(folder / name, {}, name=name, mirrors=(upstream, ROBOT)))
            for owner in ("alice", "bob"):
                at.set_password(f"{owner}-at-{name}", planted.token(), owner=owner)
            found[name] = at
        ghcr, hub = found["ghcr"], found["hub"]
        settings = {
            "mirrors": [
                {"of": "ghcr.io", "to": ghcr.address, "nodeCaFile": str(ghcr.ca)},
                {"of": "docker.io", "to": hub.address, "nodeCaFile": str(hub.ca), "path": "{owner}/"},
            ],
            "registries": [{"host": at.address, "caFile": str(at.ca)} for at in (ghcr, hub)],
        }
        config = folder / "webhook.yaml"
        config.write_text(yaml.safe_dump(settings))
        cluster = stack.enter_context(ControlPlane.start(folder / "cluster"))
        node = stack.enter_context(Node.start(folder / "node", cluster))
        deployed.install(cluster)
        made = World(cluster, node, upstream, ghcr, hub, config)
        for owner, at_ghcr in (("alice", f"{ghcr.address}/alice"), ("bob", ghcr.address)):
            give(made, owner, at_ghcr)
        replica = stack.enter_context(deployed.running(cluster, settings=settings, name="mirrors"))
        deployed.register(cluster, replica.port)
        for owner in ("alice", "bob"):
            cluster.namespace(f"mirrors-{owner}", labels={OWNER: owner})
            cluster.wait(lambda of=owner: made.entries(f"mirrors-{of}"), f"the pull secret of {owner}")  # type: ignore[misc]
        deployed.wait_called(cluster.api, replica.port, "mirrors-alice")
        yield made


def give(world: World, owner: str, at_ghcr: str) -> None:
    """Its credentials for the registry under both names, and for both mirrors."""
    upstream, ghcr, hub = world.upstream, world.ghcr, world.hub
    logins = {
        "ghcr.io": (owner, upstream.users[owner]),
        "https://index.docker.io/v1/": (owner, upstream.users[owner]),
        at_ghcr: (f"{owner}-at-ghcr", ghcr.users[f"{owner}-at-ghcr"]),
        hub.address: (f"{owner}-at-hub", hub.users[f"{owner}-at-hub"]),
    }
    auths = {key: {"username": user, "password": password} for key, (user, password) in logins.items()}
    metadata = {"name": owner, "namespace": NAMESPACE, "labels": {OWNER: owner}}
    content = {".dockerconfigjson": json.dumps({"auths": auths})}
    kind = "kubernetes.io/dockerconfigjson"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": kind, "stringData": content}
    world.cluster.api.apply(secret)


def test_while_all_is_well_the_mirrors_serve(world: World) -> None:
    world.asks("ghcr.io")
    world.asks("docker.io")
    world.upstream.push("alice/app", "up")
    world.upstream.push("alice/app", "hub")
    world.pod("up", "ghcr.io/alice/app:up")
    world.pod("hub", "alice/app:hub")
    world.pod("theirs", "ghcr.io/alice/app:up", "mirrors-bob")
    world.runs("up")
    world.runs("hub")
    assert ("alice-at-ghcr", 200) in seen(world.ghcr, "up")
    assert ("alice-at-hub", 200) in seen(world.hub, "hub")
    assert {user for tag in ("up", "hub") for user, _ in seen(world.upstream, tag)} <= {"", "bob", "bob-at-ghcr"}
    assert "403 Forbidden" in world.refused("theirs", "mirrors-bob")
    assert ("bob-at-ghcr", 403) in seen(world.ghcr, "up")


def test_the_webhook_shows_a_mirror_s_password_to_nobody_else(world: World) -> None:
    def asked(registry: Registry) -> set[str]:
        return {one.user for one in registry.log() if one.path == "/v2/" and "pullsecret" in one.agent}

    world.cluster.wait(lambda: "alice-at-ghcr" in asked(world.ghcr), "the mirror was asked about the credential")
    assert not {"alice-at-ghcr", "alice-at-hub"} & asked(world.upstream)
    assert not {"alice", "alice-at-hub"} & asked(world.ghcr)


def test_status_knows_what_is_written_for_mirrors(world: World) -> None:
    def line() -> Object | None:
        ran = command(world.cluster, "status", "-n", "mirrors-alice", "-o", "json", "--config", str(world.config))
        (found,) = json.loads(ran.out)["namespaces"]
        said = {one["result"] for one in found["checks"] if one["registry"] == f"{world.ghcr.address}/alice"}
        return found if said == {"works"} else None

    found = world.cluster.wait(line, "it is known what the mirror said")
    assert (found["state"], found["problem"], found["note"]) == ("right", "", "")
    assert {*found["registries"]} >= {"ghcr.io", "ghcr.io/alice", "docker.io/alice/"}
    asked = {one["registry"] for one in found["checks"]}
    assert not {"ghcr.io/alice", "docker.io/alice/"} & asked


@pytest.mark.parametrize("fault", ["down", "credential", "ca"])
def test_when_the_mirror_fails_the_registry_serves(world: World, fault: str) -> None:
    world.asks("ghcr.io", ca=fault != "ca")
    world.upstream.push("alice/app", fault)
    password = world.ghcr.users["alice-at-ghcr"]
    if fault == "credential":
        world.ghcr.set_password("alice-at-ghcr", planted.token())
    with world.ghcr.down() if fault == "down" else nullcontext():
        world.pod(fault, f"ghcr.io/alice/app:{fault}")
        world.runs(fault)
    world.ghcr.set_password("alice-at-ghcr", password)
    assert ("alice", 200) in seen(world.upstream, fault)
    at_mirror = {"down": set(), "ca": set(), "credential": {("", 401), ("alice", 401), ("alice-at-ghcr", 401)}}
    assert seen(world.ghcr, fault) == at_mirror[fault]


def test_while_the_registry_is_down_the_mirror_serves(world: World) -> None:
    world.asks("ghcr.io")
    before = len(world.ghcr.log())
    with world.upstream.down():
        world.pod("alone", "ghcr.io/alice/app:up", policy="Always")
        world.runs("alone")
    assert {one.user for one in world.ghcr.log()[before:] if one.status == 200} == {"alice-at-ghcr"}


def test_with_the_owner_the_entries_for_mirrors_change(world: World) -> None:
    ghcr, hub, docker_hub = world.ghcr.address, world.hub.address, "https://index.docker.io/v1/"
    alices, bobs = ({"ghcr.io": of, docker_hub: of, "docker.io": of, hub: f"{of}-at-hub"} for of in ("alice", "bob"))
    alices |= {f"{ghcr}/alice": "alice-at-ghcr", "ghcr.io/alice": "alice-at-ghcr", "docker.io/alice/": "alice-at-hub"}
    bobs |= {ghcr: "bob-at-ghcr", "https://ghcr.io": "bob-at-ghcr", "docker.io/bob/": "bob-at-hub"}
    assert world.entries("mirrors-alice") == alices
    world.cluster.api.patch("Namespace", "mirrors-alice", {"metadata": {"labels": {OWNER: "bob"}}})
    world.cluster.wait(lambda: world.entries("mirrors-alice") == bobs, "the entries are those of bob")
