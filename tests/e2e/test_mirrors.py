"""Mirrors on the real node: who serves an image, with whose credential, when one of both fails.

Pull-through registries in front of one that stands in for ghcr.io, Docker Hub and quay.io; each has a CA of its own. Of
the first two nodes ask the mirror: the node's files are what `pullsecret mirrors hosts-toml` prints, but that the
registry is not at its public address. Images of quay.io get their names at the mirror.
"""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import command
from controlplane.mirrorstory import hosts_toml
from controlplane.node import Node
from controlplane.objects import SECRET
from controlplane.registry import Registry
from controlplane.webhook import NAMESPACE
from support import planted
from webhook.core.names import IMAGES, OWNER

pytestmark = pytest.mark.node
ROBOT = "robot"
"""As whom the mirrors ask the registry."""
QUICK = """
from webhook import cli
from webhook.checks import mirrorhealth
mirrorhealth.EVERY_SECONDS = mirrorhealth.AGAIN_SECONDS = 0.5
cli.main()
"""
"""It is known sooner that a mirror does not answer, and that it does."""


@dataclass(frozen=True)
class World:
    """`ghcr`, `hub` and `quay` are mirrors of `upstream` under these names."""

    cluster: ControlPlane
    node: Node
    upstream: Registry
    ghcr: Registry
    hub: Registry
    quay: Registry
    config: Path

    def asks(self, of: str, *, ca: bool = True) -> None:
        """The node asks the mirror of this registry. `ca`: it knows the CA of the mirror."""
        text = hosts_toml(self.cluster, self.config, of, self.upstream)
        mirror = self.ghcr if of == "ghcr.io" else self.hub
        self.node.configures(of, text if ca else text.replace(f'ca = "{mirror.ca}"\n', ""))

    def trusts(self, registry: Registry, *, ca: bool = True) -> None:
        """The node knows the CA of the registry at its address."""
        file = f'ca = "{registry.ca}"\n' if ca else ""
        self.node.configures(registry.address, f'server = "{registry.url}"\n{file}')

    def pod(
        self,
        name: str,
        image: str,
        namespace: str = "mirrors-alice",
        policy: str = "IfNotPresent",
        *,
        dry_run: bool = False,
        **spec: Any,
    ) -> Object:
        return self.cluster.api.create(manifest(name, image, namespace, policy, **spec), dry_run=dry_run)

    def found(self, kind: str, name: str, namespace: str = "mirrors-alice") -> Object:
        found = self.cluster.api.get(kind, name, namespace)
        assert found is not None
        return found

    def named(self, tag: str, image: str, namespace: str = "mirrors-alice") -> None:
        """Waits until new pods of alice's app have this image."""

        def is_so() -> bool:
            made = self.pod("tried", f"quay.io/alice/app:{tag}", namespace, dry_run=True)
            return image_of(made) == image

        self.cluster.wait(is_so, f"new pods have the image {image}")

    def told(self, reason: str, words: str, namespace: str = "mirrors-alice") -> None:
        """By an Event."""

        def found() -> bool:
            events = self.cluster.api.list("Event", namespace)
            return any(words in one["note"] for one in events if one["reason"] == reason)

        self.cluster.wait(found, f"an Event {reason} says: {words}")

    def runs(self, name: str, namespace: str = "mirrors-alice") -> None:
        self.cluster.wait(lambda: "running" in self._state(name, namespace), f"{name} runs", within=60)

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


def manifest(name: str, image: str, namespace: str, policy: str = "IfNotPresent", **spec: Any) -> Object:
    container = {"name": "c", "image": image, "imagePullPolicy": policy}
    spec = {"terminationGracePeriodSeconds": 0, "containers": [container]} | spec
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def image_of(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def started(pod: Object) -> tuple[str, int]:
    """Which container runs, and how many did before."""
    (status,) = pod["status"]["containerStatuses"]
    return status["containerID"], status["restartCount"]


def seen(registry: Registry, tag: str) -> set[tuple[str, int]]:
    """Whom the registry saw pull alice's app, and what it answered."""
    return registry.pulls(f"alice/app:{tag}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, node_binaries: None) -> Iterator[World]:
    """Apart from the session's cluster, whose webhook knows of no mirrors."""
    folder = tmp_path_factory.mktemp("mirrors")
    users = {name: planted.token() for name in ("alice", "bob", ROBOT)}
    with ExitStack() as stack:
        upstream = stack.enter_context(Registry.start(folder / "upstream", users))
        upstream.set_password(ROBOT, users[ROBOT], owner="alice")
        found = {}
        for name in ("ghcr", "hub", "quay"):
            at = stack.enter_context(Registry.start(folder / name, {}, name=name, mirrors=(upstream, ROBOT)))
            for owner in ("alice", "bob"):
                at.set_password(f"{owner}-at-{name}", planted.token(), owner=owner)
            found[name] = at
        ghcr, hub, quay = found["ghcr"], found["hub"], found["quay"]
        settings = {
            "mirrors": [
                {"of": "ghcr.io", "to": ghcr.address, "nodeCaFile": str(ghcr.ca)},
                {"of": "docker.io", "to": hub.address, "nodeCaFile": str(hub.ca), "path": "{owner}/"},
                {"of": "quay.io", "to": quay.address, "how": "rewrite"},
            ],
            "registries": [{"host": at.address, "caFile": str(at.ca)} for at in (ghcr, hub, quay)],
        }
        config = folder / "webhook.yaml"
        config.write_text(yaml.safe_dump(settings))
        cluster = stack.enter_context(ControlPlane.start(folder / "cluster"))
        node = stack.enter_context(Node.start(folder / "node", cluster))
        deployed.install(cluster)
        made = World(cluster, node, upstream, ghcr, hub, quay, config)
        node.configures("quay.io", f'server = "{upstream.url}"\nca = "{upstream.ca}"\n')
        made.trusts(quay)
        for owner, at_ghcr in (("alice", f"{ghcr.address}/alice"), ("bob", ghcr.address)):
            give(made, owner, at_ghcr)
        program = ("-c", QUICK)
        replica = stack.enter_context(deployed.running(cluster, settings=settings, name="mirrors", program=program))
        deployed.register(cluster, replica.port, deployed.REWRITING)
        for owner in ("alice", "bob"):
            cluster.namespace(f"mirrors-{owner}", labels={OWNER: owner})
            cluster.wait(lambda of=owner: made.entries(f"mirrors-{of}"), f"the pull secret of {owner}")  # type: ignore[misc]
        deployed.wait_called(cluster.api, replica.port, "mirrors-alice")
        yield made


def give(world: World, owner: str, at_ghcr: str) -> None:
    """Its credentials for the registry under its names, and for the mirrors."""
    upstream, ghcr, hub, quay = world.upstream, world.ghcr, world.hub, world.quay
    logins = {
        "ghcr.io": (owner, upstream.users[owner]),
        "quay.io": (owner, upstream.users[owner]),
        "https://index.docker.io/v1/": (owner, upstream.users[owner]),
        at_ghcr: (f"{owner}-at-ghcr", ghcr.users[f"{owner}-at-ghcr"]),
        hub.address: (f"{owner}-at-hub", hub.users[f"{owner}-at-hub"]),
        quay.address: (f"{owner}-at-quay", quay.users[f"{owner}-at-quay"]),
    }
    deployed.give_logins(world.cluster.api, owner, logins)


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


def test_images_of_new_pods_get_their_names_at_the_mirror(world: World) -> None:
    for tag in ("c", "init", "volume"):
        world.upstream.push("alice/app", tag)
    sidecar = {"name": "init", "image": "quay.io/alice/app:init", "restartPolicy": "Always"}
    volume = {"name": "files", "image": {"reference": "quay.io/alice/app:volume"}}
    world.pod("named", "quay.io/alice/app:c", initContainers=[sidecar], volumes=[volume])
    world.runs("named")
    pod = world.found("Pod", "named")
    spec, at = pod["spec"], f"{world.quay.address}/alice/app"
    assert (image_of(pod), spec["initContainers"][0]["image"]) == (f"{at}:c", f"{at}:init")
    assert spec["volumes"][0]["image"]["reference"] == f"{at}:volume"
    assert json.loads(pod["metadata"]["annotations"][IMAGES]) == {
        "c": "quay.io/alice/app:c",
        "init": "quay.io/alice/app:init",
        "volumes/files": "quay.io/alice/app:volume",
    }
    for tag in ("c", "init", "volume"):
        assert ("alice-at-quay", 200) in seen(world.quay, tag)
        assert not seen(world.upstream, tag)


def test_a_template_keeps_its_images_and_its_pods_do_not(world: World) -> None:
    image, api = world.upstream.push("alice/app", "deployed").replace("ghcr.io", "quay.io"), world.cluster.api
    labels = {"app": "deployed"}
    template = {"metadata": {"labels": labels}, "spec": manifest("", image, "")["spec"]}
    made = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "deployed", "namespace": "mirrors-alice"},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }
    for _ in range(2):  # the second time it changes nothing
        api.apply(made)
        (pod,) = world.cluster.wait(lambda: api.list("Pod", "mirrors-alice", labels="app=deployed"), "its pod is made")
        world.runs(pod["metadata"]["name"])
    assert image_of(pod) == f"{world.quay.address}/alice/app:deployed"
    found = world.found("Deployment", "deployed")
    assert (found["metadata"]["generation"], image_of(found["spec"]["template"])) == (1, image)
    assert len(api.list("ReplicaSet", "mirrors-alice", labels="app=deployed")) == 1
    assert ("alice-at-quay", 200) in seen(world.quay, "deployed")


def test_a_container_for_debugging_is_pulled_from_the_mirror(world: World) -> None:
    world.upstream.push("alice/app", "debug")
    debug = ("debug", "named", "--image=quay.io/alice/app:debug", "--container=d", "--profile=general", "--quiet")
    world.cluster.kubectl("-n", "mirrors-alice", *debug)

    def runs() -> bool:
        statuses = world.found("Pod", "named")["status"].get("ephemeralContainerStatuses", ())
        return any("running" in one["state"] for one in statuses)

    world.cluster.wait(runs, "the container for debugging runs")
    (container,) = world.found("Pod", "named")["spec"]["ephemeralContainers"]
    assert container["image"] == f"{world.quay.address}/alice/app:debug"
    assert ("alice-at-quay", 200) in seen(world.quay, "debug")


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client", "server"])
def test_a_pod_that_is_applied_keeps_its_images_and_is_not_restarted(world: World, how: tuple[str, ...]) -> None:
    name = f"applied{''.join(how)}"
    world.upstream.push("alice/app", name)
    text = json.dumps(manifest(name, f"quay.io/alice/app:{name}", "mirrors-alice"))
    world.cluster.kubectl("apply", *how, "-f", "-", input=text)
    world.runs(name)
    before = world.found("Pod", name)
    world.cluster.kubectl("apply", *how, "-f", "-", input=text)
    after = world.found("Pod", name)
    assert image_of(after) == f"quay.io/alice/app:{name}"
    assert (after["metadata"]["generation"], started(after)) == (1, started(before))
    assert ("alice", 200) in seen(world.upstream, name)
    assert not seen(world.quay, name)
    world.told("ImageNotRewritten", "the pod is applied from a manifest")


def test_an_image_on_the_node_is_for_whom_the_mirror_gives_it(world: World) -> None:
    """The kubelet keeps by the name of the image whose credential has pulled it."""
    pulls = sum("containerd" in one.agent for one in world.quay.log())
    world.pod("again", "quay.io/alice/app:c")
    world.runs("again")
    assert sum("containerd" in one.agent for one in world.quay.log()) == pulls
    theirs = world.pod("named", "quay.io/alice/app:c", "mirrors-bob")
    assert image_of(theirs) == f"{world.quay.address}/alice/app:c"
    assert "403 Forbidden" in world.refused("named", "mirrors-bob")
    assert ("bob-at-quay", 403) in seen(world.quay, "c")


def test_while_the_registry_is_down_pods_run_from_the_mirror(world: World) -> None:
    asked = len(world.quay.log())
    with world.upstream.down():
        world.pod("cached", "quay.io/alice/app:c", policy="Always")
        world.runs("cached")
    assert {one.user for one in world.quay.log()[asked:] if one.status == 200} == {"alice-at-quay"}


def test_a_mirror_that_the_node_does_not_trust(world: World) -> None:
    world.upstream.push("alice/app", "untrusted")
    world.trusts(world.quay, ca=False)
    world.pod("untrusted", "quay.io/alice/app:untrusted")
    assert "x509: certificate signed by unknown authority" in world.refused("untrusted", "mirrors-alice")
    ran = command(world.cluster, "doctor", "pod", "untrusted", "-n", "mirrors-alice", "--config", str(world.config))
    assert (ran.code, ran.err) == (1, "")
    assert f"does not know the CA of {world.quay.address}.   [TLS-UNKNOWN-CA]" in ran.out
    assert (
        f"it was quay.io/alice/app:untrusted; the webhook gave it its name at the mirror {world.quay.address}"
        in ran.out
    )
    assert "Or use how: node with nodeCaFile for this mirror" in ran.out
    world.trusts(world.quay)


def test_while_the_mirror_is_down_new_pods_run_from_the_registry(world: World) -> None:
    image = world.upstream.push("alice/app", "silent").replace("ghcr.io", "quay.io")
    with world.quay.down():
        world.named("silent", image)
        world.pod("silent", image)
        world.runs("silent")
        assert image_of(world.found("Pod", "silent")) == image
        world.told("MirrorSilent", f"the mirror {world.quay.address} cannot be used", NAMESPACE)
        assert f"it is not pulled from {world.quay.address}: the mirror does not answer" in explained(world, "silent")
    assert IMAGES not in world.found("Pod", "silent")["metadata"].get("annotations", {})
    assert ("alice", 200) in seen(world.upstream, "silent")
    world.told("ImageNotRewritten", "the mirror does not answer")
    world.named("silent", f"{world.quay.address}/alice/app:silent")
    world.told("MirrorAnswers", f"the mirror {world.quay.address} answers", NAMESPACE)
    assert f"one that is created now gets {world.quay.address}/alice/app:silent;" in explained(world, "silent")


def explained(world: World, pod: str) -> str:
    ran = command(world.cluster, "explain", "pod", pod, "-n", "mirrors-alice", "--config", str(world.config))
    assert ran.err == ""
    return ran.out


def test_what_the_mirror_refuses_is_not_used(world: World) -> None:
    image = world.upstream.push("alice/app", "dead").replace("ghcr.io", "quay.io")
    right = world.quay.users["alice-at-quay"]
    world.quay.users["alice-at-quay"] = planted.token()
    give(world, "alice", f"{world.ghcr.address}/alice")
    world.named("dead", image)
    world.pod("dead", image)
    world.runs("dead")
    assert ("alice", 200) in seen(world.upstream, "dead")
    world.told("ImageNotRewritten", "the mirror refuses it; write a new one at its source")
    world.quay.users["alice-at-quay"] = right
    give(world, "alice", f"{world.ghcr.address}/alice")
    world.named("dead", f"{world.quay.address}/alice/app:dead")


def test_with_the_owner_the_entries_for_mirrors_change(world: World) -> None:
    ghcr, hub, docker_hub = world.ghcr.address, world.hub.address, "https://index.docker.io/v1/"
    alices, bobs = (
        dict.fromkeys(("ghcr.io", "quay.io", docker_hub, "docker.io"), of)
        | {hub: f"{of}-at-hub", world.quay.address: f"{of}-at-quay"}
        for of in ("alice", "bob")
    )
    alices |= {f"{ghcr}/alice": "alice-at-ghcr", "ghcr.io/alice": "alice-at-ghcr", "docker.io/alice/": "alice-at-hub"}
    bobs |= {ghcr: "bob-at-ghcr", "https://ghcr.io": "bob-at-ghcr", "docker.io/bob/": "bob-at-hub"}
    assert world.entries("mirrors-alice") == alices
    goes_to(world, "mirrors-alice", "bob", bobs)
    world.named("c", f"{world.quay.address}/alice/app:c")  # which the mirror refuses to bob


def test_an_owner_without_a_credential_for_the_mirror_has_the_registry_s(world: World) -> None:
    deployed.give(world.cluster.api, "carol", planted.token())
    goes_to(world, "mirrors-bob", "carol", {"ghcr.io": "carol"})
    assert image_of(world.pod("carol-s", "quay.io/alice/app:c", "mirrors-bob")) == "quay.io/alice/app:c"
    world.told("ImageNotRewritten", "the pull secret has no entry for the mirror", "mirrors-bob")


def goes_to(world: World, namespace: str, owner: str, entries: dict[str, str]) -> None:
    world.cluster.api.patch("Namespace", namespace, {"metadata": {"labels": {OWNER: owner}}})
    world.cluster.wait(lambda: world.entries(namespace) == entries, f"the entries are those of {owner}")
