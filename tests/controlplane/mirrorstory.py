"""What `make demo-mirrors` tells: who serves the images of a Deployment, with whose credential, while mirrors answer
and while they do not. Each step is checked before it is printed.
"""

import json
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Self

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import command
from controlplane.errors import HarnessError
from controlplane.node import Node
from controlplane.registry import Registry
from controlplane.story import new_token, newest_pod, tell

OWNERS = ("alice", "bob")
ROBOT = "robot"
"""As whom the mirrors ask the registry."""
NODES, REWRITTEN = "ghcr.io", "quay.io"
CA_FILE = "/etc/ssl/mirror.crt"
"""On nodes. Here it is where the mirror has written it."""
MANIFEST = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: shop, image: "ghcr.io/alice/shop:TAG"}, {name: cart, image: "quay.io/alice/cart:TAG"}]
"""


def hosts_toml(cluster: ControlPlane, config: Path, of: str, registry: Registry) -> str:
    """What `pullsecret mirrors hosts-toml` prints, but that the registry of this name is ours."""
    ran = command(cluster, "mirrors", "hosts-toml", "--config", str(config), "--of", of)
    if (ran.code, ran.err) != (0, ""):
        raise HarnessError(f"pullsecret mirrors hosts-toml: {ran.err}")
    server = tomllib.loads(ran.out)["server"]
    return ran.out.replace(f'"{server}"', f'"{registry.url}"\nca = "{registry.ca}"')


class MirrorStory:
    """`registry` is ghcr.io and quay.io. `mirrors`: one of each, by this name."""

    def __init__(self, cluster: ControlPlane, node: Node, registry: Registry, mirrors: Mapping[str, Registry]) -> None:
        self._cluster, self._node, self._registry, self._mirrors = cluster, node, registry, mirrors
        self._api = cluster.api

    @classmethod
    @contextmanager
    def start(cls, folder: Path) -> Iterator[Self]:
        users, mirrors = {name: new_token() for name in (*OWNERS, ROBOT)}, {}
        with ExitStack() as stack:
            cluster = stack.enter_context(ControlPlane.start(folder / "c"))
            registry = stack.enter_context(Registry.start(folder / "r", users))
            registry.set_password(ROBOT, users[ROBOT], owner="alice")
            for of in (NODES, REWRITTEN):
                started = Registry.start(folder / of, {}, name=f"mirror.{of}", mirrors=(registry, ROBOT))
                mirrors[of] = stack.enter_context(started)
                for owner in OWNERS:
                    mirrors[of].set_password(f"{owner}-at-mirror", new_token(), owner=owner)
            node = stack.enter_context(Node.start(folder / "n", cluster))
            yield cls(cluster, node, registry, mirrors)

    def told(self) -> None:
        settings = self._settings()
        self._configure_node(settings)
        deployed.install(self._cluster)
        for owner in OWNERS:
            self._give(owner)
            self._cluster.namespace(f"team-{owner}", labels={"pullsecret-webhook/owner": owner})
        with deployed.running(self._cluster, settings=settings) as replica:
            deployed.register(self._cluster, replica.port, deployed.REWRITING)
            deployed.wait_called(self._api, replica.port, "team-alice")
            self._known(answers=True)
            tell("1. Alice applies a Deployment with an image of ghcr.io and one of quay.io. Its pod:")
            self._runs("1", answers=True)
            with self._mirrors[NODES].down(), self._mirrors[REWRITTEN].down():
                took = self._known(answers=False)
                tell(f"2. Both mirrors go down; {took} later the webhook knows. The next version:")
                self._runs("2", answers=False)
            took = self._known(answers=True)
            tell(f"3. They are back; {took} later the webhook knows. The next version:")
            self._runs("3", answers=True)
            tell("   The Deployment has the images that Alice wrote, and one generation for each version.")
            tell("4. Bob applies the same, and his credentials are not for Alice's images:")
            self._refused("3")

    def _settings(self) -> Object:
        tell("The webhook's configuration:\n\n  mirrors:")
        nodes, rewritten = self._mirrors[NODES], self._mirrors[REWRITTEN]
        tell(f'  - {{of: {NODES}, to: "{nodes.address}", path: "{{owner}}/"}}')
        tell(f'  - {{of: {REWRITTEN}, to: "{rewritten.address}", how: rewrite}}\n')
        return {
            "mirrors": [
                {"of": NODES, "to": nodes.address, "path": "{owner}/", "nodeCaFile": CA_FILE},
                {"of": REWRITTEN, "to": rewritten.address, "how": "rewrite"},
            ],
            "registries": [{"host": one.address, "caFile": str(one.ca)} for one in (nodes, rewritten)],
        }

    def _configure_node(self, settings: Object) -> None:
        config = self._cluster.folder / "mirrors.yaml"
        config.write_text(json.dumps(settings))
        text = hosts_toml(self._cluster, config, NODES, self._registry)
        self._node.configures(NODES, text.replace(CA_FILE, str(self._mirrors[NODES].ca)))
        for name, at in ((REWRITTEN, self._registry), (self._mirrors[REWRITTEN].address, self._mirrors[REWRITTEN])):
            self._node.configures(name, f'server = "{at.url}"\nca = "{at.ca}"\n')

    def _give(self, owner: str) -> None:
        at_mirror = f"{owner}-at-mirror"
        logins = dict.fromkeys(self._mirrors, (owner, self._registry.users[owner]))
        logins |= {at.address: (at_mirror, at.users[at_mirror]) for at in self._mirrors.values()}
        deployed.give_logins(self._api, owner, logins)

    def _known(self, *, answers: bool) -> str:
        """Waits until the webhook knows whether the mirror does; a dry run tells. How long that took."""
        container = {"name": "c", "image": f"{REWRITTEN}/alice/tried"}
        metadata = {"name": "tried", "namespace": "team-alice"}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}

        def known() -> bool:
            return (_images(self._api.create(pod, dry_run=True))["c"] != container["image"]) == answers

        began = time.monotonic()
        self._cluster.wait(known, "the webhook knows whether the mirror answers")
        return f"{time.monotonic() - began:.0f} s"

    def _deploy(self, owner: str, tag: str) -> None:
        self._cluster.kubectl("-n", f"team-{owner}", "apply", "-f", "-", input=MANIFEST.replace("TAG", tag))

    def _runs(self, tag: str, *, answers: bool) -> None:
        written = {"shop": f"{NODES}/alice/shop:{tag}", "cart": f"{REWRITTEN}/alice/cart:{tag}"}
        for name in written:
            self._registry.push(f"alice/{name}", tag)
        self._deploy("alice", tag)
        pod = self._cluster.wait(lambda: self._running(tag), "Alice's pod runs", within=60)
        for (name, image), (of, mirror) in zip(_images(pod).items(), self._mirrors.items(), strict=True):
            by, at, user = (f"mirror of {of}", mirror, "alice-at-mirror") if answers else (of, self._registry, "alice")
            logged(at, by, user, 200, f"alice/{name}:{tag}")
            tell(f"   {image:<29}  Running; log of {by}: 200, user {user}")
        found = self._api.get("Deployment", "shop", "team-alice")
        assert found is not None
        if (_images(found["spec"]["template"]), found["metadata"]["generation"]) != (written, int(tag)):
            raise HarnessError("the Deployment is not as it was applied")

    def _running(self, tag: str) -> Object | None:
        """The pod of this version, once all of it runs."""
        pod = newest_pod(self._api, "team-alice")
        states = [one["state"] for one in pod["status"].get("containerStatuses", ())]
        right = all(image.endswith(f":{tag}") for image in _images(pod).values())
        return pod if right and len(states) == 2 and all("running" in state for state in states) else None

    def _refused(self, tag: str) -> None:
        self._deploy("bob", tag)
        by = {
            "shop": (self._registry, NODES, "bob"),  # as the mirror does not know Bob for this path
            "cart": (self._mirrors[REWRITTEN], f"mirror of {REWRITTEN}", "bob-at-mirror"),
        }
        pod = self._cluster.wait(self._failing, "Bob's pod is refused", within=60)
        for name, image in _images(pod).items():
            at, log, user = by[name]
            logged(at, log, user, 403, f"alice/{name}:{tag}")
            tell(f"   {image:<29}  ErrImagePull; log of {log}: 403, user {user}")

    def _failing(self) -> Object | None:
        """Bob's pod, once none of its images could be pulled."""
        pod = newest_pod(self._api, "team-bob")
        states = [one["state"] for one in pod["status"].get("containerStatuses", ())]
        return pod if len(states) == 2 and all("message" in state.get("waiting", {}) for state in states) else None


def logged(registry: Registry, name: str, user: str, status: int, image: str) -> None:
    if (user, status) not in registry.pulls(image):
        raise HarnessError(f"the log of {name} has no {status} for {user} and {image}")


def _images(pod: Object) -> dict[str, str]:
    """By container."""
    return {container["name"]: container["image"] for container in pod["spec"]["containers"]}
