"""Nobody notices: the same steps by each tool in an owned namespace and in one that is nobody's, compared step by step.

What was seen is docs/gitops-matrix.md, which `make test-gitops WRITE=1` writes anew.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

import planted
from controlplane import webhook as deployed
from controlplane.api import Object, Objects
from controlplane.cluster import ControlPlane
from controlplane.flux import Flux
from controlplane.gitops import Apply, Forced, HelmChart, HelmRelease, Kustomization, Replace, ServerSide, Tool
from controlplane.objects import SECRET, deployment, names, pod, stands
from controlplane.registry import Registry
from controlplane.waiting import until
from controlplane.webhook import Webhook

pytestmark = [pytest.mark.cluster, pytest.mark.gitops]
MATRIX = Path(__file__).parents[2] / "docs" / "gitops-matrix.md"
LABEL = "pullsecret-webhook/owner"
OWN = "own-entry"
DEPLOYMENTS: dict[str, list[str]] = {"plain": [], "listing": [OWN]}
_numbers = count(1)


@dataclass(frozen=True)
class Seen:
    """Of one Deployment. `pods`: the list of the pod of its present template."""

    template: tuple[str, ...]
    pods: tuple[str, ...]
    generation: int
    rollouts: int
    managers: tuple[str, ...]


@dataclass(frozen=True)
class World:
    """`webhook` answers while it is registered."""

    cluster: ControlPlane
    webhook: Webhook
    make: Callable[[str], Tool]
    owner: str
    token: str = field(repr=False)


SLOW = pytest.mark.slow
TOOLS: dict[str, list[pytest.MarkDecorator]] = {
    "kubectl apply": [],
    "kubectl apply --server-side": [SLOW],
    "kubectl replace": [SLOW],
    "server-side apply with force (Argo CD)": [SLOW],
    "Helm 4": [pytest.mark.helm],
    "Helm 4 --server-side=false": [pytest.mark.helm, SLOW],
    "Helm 3": [pytest.mark.helm, SLOW],
    "Flux Kustomization": [SLOW],
    "Flux HelmRelease": [SLOW],
}
STEPS = (
    "created",
    "applied again",
    "image changed",
    "reference removed by hand",
    "owner changed",
    "token changed",
    "webhook uninstalled",
    "webhook installed later",
)
_seen: dict[str, dict[str, str]] = {}


@pytest.fixture(scope="module")
def flux(tmp_path_factory: pytest.TempPathFactory, installed: ControlPlane, registry: Registry) -> Iterator[Flux]:
    with Flux.start(tmp_path_factory.mktemp("flux"), installed, registry) as started:
        yield started


@pytest.fixture(params=[pytest.param(name, marks=marks) for name, marks in TOOLS.items()])
def tool(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def world(
    request: pytest.FixtureRequest, installed: ControlPlane, webhook: Webhook, tool: str, tmp_path: Path
) -> Iterator[World]:
    makers: dict[str, Callable[[str], Tool]] = {
        "kubectl apply": lambda space: Apply(installed, space),
        "kubectl apply --server-side": lambda space: ServerSide(installed, space),
        "kubectl replace": lambda space: Replace(installed, space),
        "server-side apply with force (Argo CD)": lambda space: Forced(installed, space),
        "Helm 4": lambda space: HelmChart(installed, space, tmp_path, 4),
        "Helm 4 --server-side=false": lambda space: HelmChart(installed, space, tmp_path, 4, "--server-side=false"),
        "Helm 3": lambda space: HelmChart(installed, space, tmp_path, 3),
        "Flux Kustomization": lambda space: Kustomization(request.getfixturevalue("flux"), space),
        "Flux HelmRelease": lambda space: HelmRelease(request.getfixturevalue("flux"), space),
    }
    owner, token = f"gitops-{next(_numbers)}", planted.token()
    deployed.give(installed.api, owner, token)
    registered(installed, webhook)
    yield World(installed, webhook, makers[tool], owner, token)
    registered(installed, webhook)


def registered(cluster: ControlPlane, webhook: Webhook) -> None:
    deployed.register(cluster, webhook.port)
    deployed.wait_called(cluster.api, webhook.port, "called")


def unregistered(cluster: ControlPlane) -> None:
    if cluster.api.get("MutatingWebhookConfiguration", "pullsecret-webhook"):
        deployed.unregister(cluster)
    until(lambda: not names(cluster.api.create(pod("called"), dry_run=True)), "nobody is called", within=10)


def manifests(tag: str) -> Objects:
    made = []
    for name, own in DEPLOYMENTS.items():
        one = deployment("", imagePullSecrets=[{"name": entry} for entry in own]) if own else deployment("")
        labels = {"app": name}
        one["metadata"] = {"name": name}
        one["spec"] |= {"replicas": 1, "selector": {"matchLabels": labels}}
        one["spec"]["template"]["metadata"]["labels"] = labels
        one["spec"]["template"]["spec"]["containers"][0]["image"] = f"example.invalid/shop:{tag}"
        made.append(one)
    return made


class Pair:
    """The same steps in an owned namespace and in its twin, which the webhook never touches."""

    def __init__(self, world: World) -> None:
        number = next(_numbers)
        self.world, self.cluster = world, world.cluster
        self.ours, self.twin = world.make(f"gitops-{number}"), world.make(f"gitops-{number}-twin")
        self.cluster.namespace(self.ours.space, labels={LABEL: world.owner})
        self.cluster.namespace(self.twin.space)
        self.tag = "1"

    def apply(self, tag: str = "") -> None:
        self.tag = tag or self.tag
        for tool in (self.ours, self.twin):
            tool.apply(manifests(self.tag))

    def compared(self, *, in_template: bool, in_pods: bool = True, extra: int = 0) -> str:
        """For the matrix. The twin is what would have been without the webhook; `extra`: rollouts on top of that."""
        cell = ""
        for name, own in DEPLOYMENTS.items():
            mine, without = settled(self.cluster, self.ours.space, name), settled(self.cluster, self.twin.space, name)
            assert without.template == without.pods == tuple(own)
            assert mine.template == ((*own, SECRET) if in_template else tuple(own)), name
            # Of a patched template the pod's list begins with the template's.
            assert mine.pods == ((*own, SECRET) if in_pods else tuple(own)), name
            assert mine.rollouts == without.rollouts + extra, name
            assert mine.managers == without.managers, name
            where = "template, pods" if in_template else "pods" if in_pods else "none"
            cell = f"{where}; {mine.rollouts}/{without.rollouts}"
            if not isinstance(
                self.ours, Replace
            ):  # it drops the controller's annotations, which counts too, or not yet
                assert mine.generation == without.generation + extra, name
                cell += f", generation {mine.generation}/{without.generation}"
        return cell

    def no_drift(self) -> None:
        """By the tool's own words; and its dry runs write nothing."""
        writes = self.written()
        assert self.ours.drift(manifests(self.tag)) == ""
        assert self.twin.drift(manifests(self.tag)) == ""
        assert self.written() == writes

    def written(self) -> tuple[Any, list[str]]:
        secret = self.cluster.api.get("Secret", SECRET, self.ours.space)
        lines = self.world.webhook.metrics().splitlines()
        return secret and secret["metadata"]["resourceVersion"], [
            line for line in lines if "secret_writes_total" in line
        ]


def settled(cluster: ControlPlane, space: str, name: str) -> Seen:
    """Once the controllers have made a pod of the present template."""

    def current() -> tuple[Object, Objects, Object] | None:
        found = cluster.api.get("Deployment", name, space)
        assert found is not None
        if found["status"].get("observedGeneration") != found["metadata"]["generation"]:
            return None
        sets = cluster.api.list("ReplicaSet", space, labels=f"app={name}")
        key = "deployment.kubernetes.io/revision"
        revision = found["metadata"]["annotations"].get(key)
        newest = [one for one in sets if one["metadata"]["annotations"].get(key) == revision]
        wanted = found["spec"]["template"]["spec"]["containers"][0]["image"]
        for one in newest:
            label = one["metadata"]["labels"]["pod-template-hash"]
            for made in cluster.api.list("Pod", space, labels=f"pod-template-hash={label}"):
                if made["spec"]["containers"][0]["image"] == wanted:
                    return found, sets, made
        return None

    found, sets, made = until(current, f"the pod of {space}/{name}", within=30)
    managers = tuple(
        sorted({one["manager"] for one in found["metadata"]["managedFields"] if f'"{SECRET}' in json.dumps(one)})
    )
    return Seen(tuple(names(found)), tuple(names(made)), found["metadata"]["generation"], len(sets), managers)


def test_over_its_life(world: World, tool: str) -> None:
    """From its creation to after the webhook is gone; a table's row."""
    row, pair, cluster = _seen.setdefault(tool, {}), Pair(world), world.cluster
    pair.apply()
    row["created"] = pair.compared(in_template=True)
    stands(cluster, pair.ours.space, world.token)
    for _ in range(2):
        before = pair.written()
        pair.apply()
        row["applied again"] = pair.compared(in_template=True)
        assert pair.written() == before
        pair.no_drift()
    pair.apply("2")
    row["image changed"] = pair.compared(in_template=True)
    pair.apply()
    pair.compared(in_template=True)
    for name, own in DEPLOYMENTS.items():
        entry = f"/spec/template/spec/imagePullSecrets/{len(own)}"
        cluster.api.patch("Deployment", name, [{"op": "remove", "path": entry}], pair.ours.space, how="json")
    row["reference removed by hand"] = pair.compared(in_template=True)
    pair.apply()
    pair.compared(in_template=True)
    pair.no_drift()

    other, token = f"gitops-{next(_numbers)}", planted.token()
    deployed.give(cluster.api, other, token)
    cluster.api.patch("Namespace", pair.ours.space, {"metadata": {"labels": {LABEL: other}}})
    stands(cluster, pair.ours.space, token)
    pair.apply()
    row["owner changed"] = pair.compared(in_template=True)
    deployed.give(cluster.api, other, newer := planted.token())
    stands(cluster, pair.ours.space, newer)
    pair.apply()
    row["token changed"] = pair.compared(in_template=True)
    pair.no_drift()

    unregistered(cluster)
    pair.apply()
    # A replace writes what stands in the manifest and nothing else: without the webhook it takes the reference away.
    kept = tool != "kubectl replace"
    row["webhook uninstalled"] = pair.compared(in_template=kept, in_pods=kept, extra=0 if kept else 1)
    assert pair.ours.drift(manifests("2")) == ""


def test_installed_when_it_was_there_already(world: World, tool: str) -> None:
    """What runs is not rolled out; each new pod has the reference, and the template stays as it is."""
    unregistered(world.cluster)
    pair = Pair(world)
    pair.apply()
    pair.compared(in_template=False, in_pods=False)
    registered(world.cluster, world.webhook)
    for _ in range(2):
        pair.apply()
        pair.compared(in_template=False, in_pods=False)
        pair.no_drift()
    pair.apply("2")
    _seen.setdefault(tool, {})["webhook installed later"] = pair.compared(in_template=False)
    pair.no_drift()


def test_commands_that_change_a_part(installed: ControlPlane, webhook: Webhook) -> None:
    """kubectl set image, rollout restart, rollout undo, scale, and an ephemeral container."""
    owner = f"gitops-{next(_numbers)}"
    deployed.give(installed.api, owner, planted.token())
    registered(installed, webhook)
    makers = {"ours": {LABEL: owner}, "twin": {}}
    commands = [
        ("set", "image", "deployment/plain", "deployment/listing", "c=example.invalid/shop:3"),
        ("rollout", "restart", "deployment/plain", "deployment/listing"),
        ("rollout", "undo", "deployment/plain"),
        ("rollout", "undo", "deployment/listing"),
        ("scale", "--replicas=2", "deployment/plain", "deployment/listing"),
    ]
    spaces = {kind: f"gitops-parts-{kind}" for kind in makers}
    for kind, labels in makers.items():
        installed.namespace(spaces[kind], labels=labels)
        Apply(installed, spaces[kind]).apply(manifests("1"))
    for command in commands:
        for space in spaces.values():
            installed.kubectl("-n", space, *command)
        for name, own in DEPLOYMENTS.items():
            mine, without = (settled(installed, space, name) for space in spaces.values())
            assert mine.template == mine.pods == (*own, SECRET), command
            assert (mine.generation, mine.rollouts) == (without.generation, without.rollouts), command
    (one, *_) = installed.api.list("Pod", spaces["ours"], labels="app=plain")
    debug = ("debug", one["metadata"]["name"], "--image=example.invalid/debug", "--target=c", "--quiet")
    installed.kubectl("-n", spaces["ours"], *debug)
    after = installed.api.get("Pod", one["metadata"]["name"], spaces["ours"])
    assert after is not None
    assert len(after["spec"]["ephemeralContainers"]) == 1
    assert names(after) == [SECRET]


def test_the_table_in_the_docs_is_what_was_seen() -> None:
    """For the tools of this run. With WRITE=1 it is written."""
    written = rows(MATRIX.read_text())
    complete = {tool: [row[step] for step in STEPS] for tool, row in _seen.items() if set(row) == set(STEPS)}
    assert set(written) == set(TOOLS)
    if os.environ.get("WRITE"):
        merged = written | complete
        head = MATRIX.read_text().partition("| tool |")[0]
        lines = [["tool", *STEPS], ["---"] * (len(STEPS) + 1), *([tool, *cells] for tool, cells in merged.items())]
        MATRIX.write_text(head + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    for tool, cells in complete.items():
        assert rows(MATRIX.read_text())[tool] == cells, tool


def rows(text: str) -> dict[str, list[str]]:
    lines = [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines() if line[:2] == "| "]
    return {line[0]: line[1:] for line in lines if line[0] not in ("tool", "---")}
