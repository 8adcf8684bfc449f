"""The examples in docs/examples/registries, each against a registry of that name: who pulls what on the real node.

All examples stand at the same time, each with an owner and a namespace of its own, whose pods mention no credentials.
Another owner has credentials of its own for every one of these registries, which open nothing of theirs.
"""

import json
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.node import Node
from controlplane.objects import SECRET
from controlplane.registry import LogEntry, Registry
from controlplane.webhook import NAMESPACE, Webhook
from support import planted
from webhook.core.names import OWNER

pytestmark = pytest.mark.node
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "registries"
STRANGER = "stranger"


@dataclass(frozen=True)
class Pull:
    """`user` is whom the registry must see; `password` the placeholder in the example."""

    image: str
    user: str
    password: str

    @property
    def host(self) -> str:
        """containerd's rule: what has no dot is no host but a repository of Docker Hub's."""
        first = self.image.partition("/")[0]
        return first if "." in first else "docker.io"

    @property
    def repository(self) -> str:
        return self.image.removeprefix(f"{self.host}/")


GHCR = Pull("ghcr.io/alice/app", "alice", "GHCR-TOKEN")
HUB = Pull("docker.io/alice/app", "alice", "HUB-TOKEN")
HUB_SHORT = Pull("alice/short", "alice", "HUB-TOKEN")
ALIYUN = Pull("registry.cn-hangzhou.aliyuncs.com/acme/app", "puller@1234567890123456", "ALIYUN-PASSWORD")
PROJECT = Pull("registry.internal/project-a/app", "robot$project-a+pull", "ROBOT-SECRET")
PULLS = {
    "ghcr": [GHCR],
    "docker-hub": [HUB, HUB_SHORT],
    "aliyun": [ALIYUN],
    "tencent": [Pull("ccr.ccs.tencentyun.com/acme/app", "100012345678", "TENCENT-PASSWORD")],
    "gitlab": [Pull("registry.gitlab.com/acme/shop/app", "gitlab+deploy-token-1234567", "GITLAB-TOKEN")],
    "quay": [Pull("quay.io/acme/app", "acme+puller", "QUAY-TOKEN")],
    "internal": [PROJECT],
    "several": [GHCR, Pull("ghcr.io/acme/app", "acme-bot", "ACME-TOKEN"), HUB, HUB_SHORT, ALIYUN, PROJECT],
}
FIRST = {pull: example for example, pulls in reversed(PULLS.items()) for pull in pulls}
"""The example in which a pull comes first."""
ELSEWHERE = ["registry.internal/project-b/app", "registry.internal/project-ab/app", "ghcr.io/carol/app"]
"""The paths in `several` are not for these."""
BEGINS_ALIKE = "ghcr.io/alice-labs/app"


class World:
    """The registries, and pods that pull from them."""

    def __init__(self, cluster: ControlPlane, registries: dict[str, Registry]) -> None:
        self.cluster, self.registries = cluster, registries

    def seen(self, image: str) -> set[tuple[str, int]]:
        """Who asked for the image on behalf of a pod, and what was answered."""
        name, _, tag = image.partition(":")
        pull = Pull(name, "", "")
        path = f"/v2/{pull.repository}/manifests/{tag}"
        return {(one.user, one.status) for one in self.registries[pull.host].log() if one.path == path and _pulls(one)}

    def users(self, pull: Pull) -> set[str]:
        """Who was let through to anything of the repository's."""
        path, log = f"/v2/{pull.repository}/", self.registries[pull.host].log()
        return {one.user for one in log if one.path.startswith(path) and one.status < 400 and _pulls(one)}

    def owned(self, owner: str, source: Object, images: Iterable[str]) -> None:
        """A namespace of the owner, with a pod for each image once its pull secret is there."""
        name = f"registries-{owner}"  # the cluster is shared, so the owners are not those of the examples
        source["metadata"] |= {"name": name, "labels": {OWNER: name}}
        self.cluster.api.apply(source)
        self.cluster.namespace(name, labels={OWNER: name})
        self.cluster.wait(lambda: self.cluster.api.get("Secret", SECRET, name), f"the pull secret in {name}")
        for image in images:
            spec = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": image}]}
            metadata = {"name": _name(image), "namespace": name}
            self.cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def running(self, owner: str, image: str) -> None:
        self.cluster.wait(lambda: "running" in self._state(owner, image), f"{image} runs for {owner}", within=60)

    def refused(self, owner: str, image: str) -> str:
        """What the pod says; the back-off after the first error repeats it."""

        def message() -> str | None:
            waiting = self._state(owner, image).get("waiting", {})
            text = str(waiting.get("message", ""))
            return text if waiting.get("reason") == "ErrImagePull" or "ErrImagePull: " in text else None

        return self.cluster.wait(message, f"{image} is refused to {owner}", within=60)

    def _state(self, owner: str, image: str) -> Object:
        pod = self.cluster.api.get("Pod", _name(image), f"registries-{owner}")
        assert pod is not None
        return next((one["state"] for one in pod["status"].get("containerStatuses", ())), {})


def _pulls(one: LogEntry) -> bool:
    return "containerd" in one.agent


def _name(image: str) -> str:
    return re.sub("[^a-z0-9]", "-", image)


def _source(example: str, tokens: dict[str, str]) -> Object:
    """As an administrator has it, with passwords."""
    text = (EXAMPLES / f"{example}.yaml").read_text()
    for placeholder in {pull.password for pull in PULLS[example]}:
        assert text.count(placeholder) == 1
        text = text.replace(placeholder, tokens[placeholder])
    source: Object = yaml.safe_load(text)
    assert source["metadata"]["namespace"] == NAMESPACE
    return source


def _strangers(tokens: dict[str, str]) -> Object:
    """By host."""
    keys = {host: "https://index.docker.io/v1/" if host == "docker.io" else host for host in tokens}
    auths = {keys[host]: {"username": STRANGER, "password": token} for host, token in tokens.items()}
    content = {
        "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": json.dumps({"auths": auths})},
    }
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"namespace": NAMESPACE}} | content


@pytest.fixture(scope="module")
def registries(
    registry: Registry, node: Node, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Registry]]:
    """By host; `registry` is one of them."""
    with ExitStack() as stack:
        found = {registry.name: registry}
        for host in sorted({pull.host for pull in FIRST} - {registry.name}):
            found[host] = stack.enter_context(Registry.start(tmp_path_factory.mktemp("registry"), {}, name=host))
            node.knows(found[host])
        yield found


@pytest.fixture(scope="module")
def world(cluster: ControlPlane, webhook: Webhook, registries: dict[str, Registry], node: Node) -> Iterator[World]:
    """Everything is asked for at once; the tests look what came of it."""
    tokens = {pull.password: planted.token() for pull in FIRST}
    for pull in FIRST:
        owner = pull.repository.partition("/")[0]
        registries[pull.host].set_password(pull.user, tokens[pull.password], owner=owner)
    foreign = {host: planted.token() for host in registries}
    for host, token in foreign.items():
        registries[host].set_password(STRANGER, token)
    world = World(cluster, registries)
    for example, pulls in PULLS.items():
        for pull in pulls:
            registries[pull.host].push(pull.repository, example)
        others = [f"{image}:1" for image in (*ELSEWHERE, BEGINS_ALIKE)] if example == "several" else []
        world.owned(example, _source(example, tokens), [*(f"{pull.image}:{example}" for pull in pulls), *others])
    world.owned(STRANGER, _strangers(foreign), [f"{pull.image}:{example}" for pull, example in FIRST.items()])
    yield world
    for name in (*PULLS, STRANGER):
        cluster.api.delete("Secret", f"registries-{name}", NAMESPACE)
        cluster.api.delete("Namespace", f"registries-{name}")


def test_there_is_a_case_for_each_example() -> None:
    assert set(PULLS) == {file.stem for file in EXAMPLES.iterdir()}


@pytest.mark.parametrize("example", PULLS)
def test_an_example_pulls(world: World, example: str) -> None:
    for pull in PULLS[example]:
        image = f"{pull.image}:{example}"
        world.running(example, image)
        assert (pull.user, 200) in world.seen(image)
        assert {user for user, _ in world.seen(image)} <= {"", pull.user, STRANGER}
        assert world.users(pull) == {pull.user}


@pytest.mark.parametrize("pull", FIRST, ids=lambda pull: pull.image)
def test_another_owners_credential_does_not_open_it(world: World, pull: Pull) -> None:
    image = f"{pull.image}:{FIRST[pull]}"
    assert "403 Forbidden" in world.refused(STRANGER, image)
    assert (STRANGER, 403) in world.seen(image)


@pytest.mark.parametrize("image", ELSEWHERE)
def test_a_credential_is_not_sent_for_other_paths(world: World, image: str) -> None:
    assert "no basic auth credentials" in world.refused("several", f"{image}:1")
    assert world.seen(f"{image}:1") == {("", 401)}


def test_a_path_without_a_slash_is_for_all_that_begins_so(world: World) -> None:
    assert "403 Forbidden" in world.refused("several", f"{BEGINS_ALIKE}:1")
    assert world.seen(f"{BEGINS_ALIKE}:1") == {("", 401), (GHCR.user, 403)}
