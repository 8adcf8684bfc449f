"""Nobody notices: the same steps by each tool in an owned namespace and in one that is nobody's, compared step by step.

What was seen is docs/gitops-matrix.md, which `make test-gitops WRITE=1` writes anew.
"""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.api import Object, Objects
from controlplane.cluster import ControlPlane
from controlplane.flux import Flux
from controlplane.gitops import (
    REVISION,
    Apply,
    Forced,
    HelmChart,
    HelmRelease,
    Kustomization,
    Replace,
    ServerSide,
    Tool,
    as_list,
)
from controlplane.objects import SECRET, deployment, names, pod, stands
from controlplane.registry import Registry
from controlplane.waiting import until
from controlplane.webhook import Webhook
from support import planted
from webhook.core.names import IMAGES

pytestmark = [pytest.mark.cluster, pytest.mark.gitops]
MATRIX = Path(__file__).parents[2] / "docs" / "gitops-matrix.md"
LABEL = "pullsecret-webhook/owner"
DEPLOYMENTS: dict[str, list[str]] = {"plain": [], "listing": ["own-z", "own-a"]}
"""By name, each with its own entries; their order is not that of the alphabet."""
_numbers = count(1)


@dataclass(frozen=True)
class Seen:
    """Of one Deployment. `pods`: the list of each pod of its present template; `fields`: who owns which fields."""

    template: tuple[str, ...]
    pods: tuple[tuple[str, ...], ...]
    generation: int
    rollouts: int
    fields: frozenset[tuple[str, str, str]]
    version: str


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
    "kubectl apply": [SLOW],
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
FLUX = ("Flux Kustomization", "Flux HelmRelease")
NO_DIFF = ("Helm 4 --server-side=false", "Helm 3", "Flux HelmRelease")
"""They are asked what a replacement would change, which is the same only while the webhook answers."""
SITUATIONS = ("created while it runs", "from before the webhook", "webhook uninstalled", "owner and token changed")
_seen: dict[str, dict[str, str]] = {}
_parts: dict[str, dict[str, str]] = {}


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
    """No pod of theirs ever becomes ready: with the strategy, those of the present template are made all the same."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": "100%"}}
    made = []
    for name, own in DEPLOYMENTS.items():
        one = deployment("", imagePullSecrets=[{"name": entry} for entry in own]) if own else deployment("")
        labels = {"app": name}
        one["metadata"] = {"name": name}
        one["spec"] |= {"replicas": 1, "selector": {"matchLabels": labels}, "strategy": strategy}
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
        spaces = self.ours.space, self.twin.space
        return compared(self.cluster, *spaces, in_template=in_template, in_pods=in_pods, extra=extra)

    def versions(self) -> list[str]:
        return [settled(self.cluster, self.ours.space, name).version for name in DEPLOYMENTS]

    def new_pods(self) -> None:
        """In the place of those that are there."""
        for tool in (self.ours, self.twin):
            replaced_pods(self.cluster, tool.space)

    def no_drift(self) -> None:
        """By the tool's own words, while the webhook answers; and its dry runs write nothing."""
        writes = self.written()
        assert self.ours.drift(manifests(self.tag)) == ""
        assert self.twin.drift(manifests(self.tag)) == ""
        assert self.written() == writes

    def written(self) -> tuple[Any, list[str]]:
        secret = self.cluster.api.get("Secret", SECRET, self.ours.space)
        return secret and secret["metadata"]["resourceVersion"], writes(self.world.webhook)


def writes(webhook: Webhook) -> list[str]:
    return [line for line in webhook.metrics().splitlines() if "secret_writes_total" in line]


def compared(
    cluster: ControlPlane, ours: str, twin: str, *, in_template: bool, in_pods: bool = True, extra: int = 0
) -> str:
    """What both namespaces have, as the tables' cells say it."""
    cell = ""
    for name, own in DEPLOYMENTS.items():
        mine, without = settled(cluster, ours, name), settled(cluster, twin, name)
        assert (without.template, set(without.pods)) == (tuple(own), {tuple(own)}), name
        assert mine.template == ((*own, SECRET) if in_template else tuple(own)), name
        # Of a patched template the pod's list begins with the template's.
        assert set(mine.pods) == {(*own, SECRET) if in_pods else tuple(own)}, name
        assert len(mine.pods) == len(without.pods), name
        assert mine.rollouts == without.rollouts + extra, name
        assert mine.generation == without.generation + extra, name
        assert mine.fields == without.fields, name
        where = "template, pods" if in_template else "pods" if in_pods else "none"
        cell = f"{where}; {mine.rollouts}/{without.rollouts}, generation {mine.generation}/{without.generation}"
    return cell


def replaced_pods(cluster: ControlPlane, space: str) -> None:
    """All new, by the hand of the ReplicaSets; no node has them, so they are gone at once."""
    for one in cluster.api.list("Pod", space, labels="app"):
        cluster.api.delete("Pod", one["metadata"]["name"], space, wait=True)


def settled(cluster: ControlPlane, space: str, name: str) -> Seen:
    """Once the controllers have made all pods of the present template, and have said so."""

    def current() -> tuple[Object, Objects, Objects] | None:
        found = cluster.api.get("Deployment", name, space)
        assert found is not None
        sets = cluster.api.list("ReplicaSet", space, labels=f"app={name}")
        status, wanted = found["status"], found["spec"]["replicas"]
        revision = found["metadata"]["annotations"].get(REVISION)
        newest = [one for one in sets if one["metadata"]["annotations"].get(REVISION) == revision]
        image = image_of(found["spec"]["template"])
        if status.get("observedGeneration") != found["metadata"]["generation"] or len(newest) != 1:
            return None
        hashed = f"pod-template-hash={newest[0]['metadata']['labels']['pod-template-hash']}"
        pods = [one for one in cluster.api.list("Pod", space, labels=hashed) if is_of(one, name)]
        right = all(image_before(one) == image for one in pods)
        done = len(pods) == wanted == status.get("updatedReplicas") and right
        return (found, sets, pods) if done else None

    found, sets, pods = until(current, f"the pods of {space}/{name}", within=30)
    meta = found["metadata"]
    fields = frozenset(
        (one["manager"], one["operation"], json.dumps(one["fieldsV1"], sort_keys=True))
        for one in meta["managedFields"]
        if one.get("subresource") != "status"
    )
    lists = tuple(tuple(names(one)) for one in pods)
    return Seen(tuple(names(found)), lists, meta["generation"], len(sets), fields, meta["resourceVersion"])


def image_of(pod: Object) -> str:
    return str(pod["spec"]["containers"][0]["image"])


def image_before(pod: Object) -> str:
    """It got its name at a mirror."""
    annotation = pod["metadata"].get("annotations", {}).get(IMAGES, "{}")
    return str(json.loads(annotation).get("c", image_of(pod)))


def is_of(made: Object, name: str) -> bool:
    """Made by the controllers, and not a debugger's copy, which keeps labels or not as it likes."""
    return "ownerReferences" in made["metadata"] and made["metadata"]["labels"]["app"] == name


def test_over_its_life(world: World, tool: str) -> None:
    """From its creation to after the webhook is gone; a table's row."""
    row, pair, cluster = _seen.setdefault(tool, {}), Pair(world), world.cluster
    pair.apply()
    row["created"] = pair.compared(in_template=True)
    stands(cluster, pair.ours.space, world.token)
    assert pair.twin.drift(manifests("other")), "drift would be found"
    for _ in range(2):
        before = pair.written(), pair.versions()
        pair.apply()
        row["applied again"] = pair.compared(in_template=True)
        assert (pair.written(), pair.versions()) == before
        assert pair.ours.printed == as_printed(tool, pair.twin.printed)
        pair.no_drift()
    pair.apply("2")
    row["image changed"] = pair.compared(in_template=True)
    pair.no_drift()
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
    pair.new_pods()
    pair.apply()
    row["owner changed"] = pair.compared(in_template=True)
    pair.no_drift()
    deployed.give(cluster.api, other, newer := planted.token())
    stands(cluster, pair.ours.space, newer)
    pair.new_pods()
    pair.apply()
    row["token changed"] = pair.compared(in_template=True)
    pair.no_drift()

    unregistered(cluster)
    pair.apply()
    # A replace writes what stands in the manifest and nothing else: without the webhook it takes the reference away.
    kept = tool != "kubectl replace"
    row["webhook uninstalled"] = pair.compared(in_template=kept, in_pods=kept, extra=0 if kept else 1)
    if tool not in NO_DIFF:
        assert pair.ours.drift(manifests("2")) == ""
    if tool in FLUX:
        said_the_same(pair)


def as_printed(tool: str, twin: list[str]) -> list[str]:
    """A client-side apply names the order of the list that it wants, as the one that stands has another entry.

    The API server finds nothing to change then: the resourceVersion stays."""
    if tool != "kubectl apply":
        return twin
    assert twin == ["deployment.apps/plain unchanged", "deployment.apps/listing unchanged"]
    return ["deployment.apps/plain unchanged", "deployment.apps/listing configured"]


def said_the_same(pair: Pair) -> None:
    """Flux tells of each change that it makes, some time later: a last one, made by hand, shows that all was said."""
    before = pair.ours.noticed(), pair.twin.noticed()
    container = {"name": "c", "image": "example.invalid/shop:by-hand"}
    change = {"spec": {"template": {"spec": {"containers": [container]}}}}
    for tool in (pair.ours, pair.twin):
        pair.cluster.api.patch("Deployment", "plain", change, tool.space, how="strategic")
    pair.apply()
    until(
        lambda: pair.ours.noticed() != before[0] and pair.twin.noticed() != before[1],
        "Flux says that it has found the change by hand",
        within=30,
    )
    until(lambda: pair.ours.noticed() == pair.twin.noticed(), "Flux has said the same of both", within=10)


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
    pair.new_pods()
    pair.compared(in_template=False)
    pair.apply("2")
    _seen.setdefault(tool, {})["webhook installed later"] = pair.compared(in_template=False)
    pair.no_drift()


@pytest.mark.slow  # test_mirrors.py has a Deployment whose pods are at a mirror
def test_pods_with_images_at_a_mirror(world: World, registry: Registry) -> None:
    """What is applied stays as it is, and nothing drifts: the pods alone have other images."""
    owner, token, cluster = f"gitops-{next(_numbers)}", planted.token(), world.cluster
    registry.set_password(owner, token)
    logins = {"example.invalid": (owner, token), registry.address: (owner, token)}
    deployed.give_logins(cluster.api, owner, logins)
    settings = {
        "mirrors": [{"of": "example.invalid", "to": registry.address, "how": "rewrite"}],
        "registries": [{"host": registry.address, "caFile": str(registry.ca)}],
    }
    with deployed.running(cluster, settings=settings, name=owner) as replica:
        registered(cluster, replica)
        pair = Pair(replace(world, webhook=replica, owner=owner, token=token))
        tried = pod(pair.ours.space)
        named = f"{registry.address}/app"
        until(lambda: image_of(cluster.api.create(tried, dry_run=True)) == named, "images get other names", within=20)
        for tag in ("1", "1", "2"):
            pair.apply(tag)
            pair.compared(in_template=True)
            pair.no_drift()
            for space, host in ((pair.ours.space, registry.address), (pair.twin.space, "example.invalid")):
                pods = [one for one in cluster.api.list("Pod", space) if "deletionTimestamp" not in one["metadata"]]
                assert {image_of(one) for one in pods} == {f"{host}/shop:{tag}"}
        registered(cluster, world.webhook)


@pytest.mark.slow
def test_flux_makes_the_namespace_and_its_first_pods(installed: ControlPlane, webhook: Webhook, flux: Flux) -> None:
    """A Kustomization that has both, as a tenant's repository may."""
    owner, token, space = f"gitops-{next(_numbers)}", planted.token(), f"gitops-first-{next(_numbers)}"
    registered(installed, webhook)
    deployed.give(installed.api, owner, token)
    made = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": space, "labels": {LABEL: owner}}}
    Kustomization(flux, space).apply([made, *manifests("1")])
    for name, own in DEPLOYMENTS.items():
        seen = settled(installed, space, name)
        assert (seen.template, seen.pods) == ((*own, SECRET), ((*own, SECRET),))
        assert (seen.generation, seen.rollouts) == (1, 1)
    stands(installed, space, token)


BOTH = ("deployment/plain", "deployment/listing")
COMMANDS: dict[str, list[tuple[str, ...]]] = {
    "set image": [("set", "image", *BOTH, "c=example.invalid/shop:3")],
    "rollout restart": [("rollout", "restart", *BOTH)],
    "rollout undo": [("rollout", "undo", one) for one in BOTH],
    "scale": [("scale", "--replicas=2", *BOTH)],
}
DEBUG = "debug", "debug --copy-to"


@pytest.mark.parametrize("situation", [*SITUATIONS[:2], *(pytest.param(one, marks=SLOW) for one in SITUATIONS[2:])])
def test_commands_that_change_a_part(installed: ControlPlane, webhook: Webhook, situation: str) -> None:
    """kubectl set image, rollout restart and undo, scale, and debug; a column of the second table."""
    column, owner = _parts.setdefault(situation, {}), f"gitops-{next(_numbers)}"
    deployed.give(installed.api, owner, planted.token())
    ours, twin = spaces = [f"gitops-parts-{next(_numbers)}" for _ in range(2)]
    before = situation == "from before the webhook"
    (unregistered(installed) if before else registered(installed, webhook))
    try:
        for space, labels in zip(spaces, ({LABEL: owner}, {}), strict=True):
            installed.namespace(space, labels=labels)
            Apply(installed, space).apply(manifests("1"))
        for space in spaces:
            for name in DEPLOYMENTS:
                settled(installed, space, name)
        become(installed, webhook, situation, ours)
        for name, commands in COMMANDS.items():
            for space in spaces:
                for command in commands:
                    installed.kubectl("-n", space, *command)
            column[name] = compared(installed, ours, twin, in_template=not before)
        for name in DEBUG:
            column[name] = debugged(installed, spaces, *(("--copy-to",) if name != "debug" else ()))
    finally:
        registered(installed, webhook)


def become(cluster: ControlPlane, webhook: Webhook, situation: str, space: str) -> None:
    if situation == "from before the webhook":
        registered(cluster, webhook)
    if situation == "webhook uninstalled":
        unregistered(cluster)
    if situation == "owner and token changed":
        owner = f"gitops-{next(_numbers)}"
        deployed.give(cluster.api, owner, planted.token())
        cluster.api.patch("Namespace", space, {"metadata": {"labels": {LABEL: owner}}})
        deployed.give(cluster.api, owner, newer := planted.token())
        stands(cluster, space, newer)


def debugged(cluster: ControlPlane, spaces: list[str], *flags: str) -> str:
    """One pod of each Deployment, in both namespaces; with --copy-to, the copies."""
    for name, own in DEPLOYMENTS.items():
        for space, expected in zip(spaces, ([*own, SECRET], own), strict=True):
            pods = cluster.api.list("Pod", space, labels=f"app={name}")
            target = min(one["metadata"]["name"] for one in pods if names(one) == expected)
            copied = f"{name}-copy" if flags else target
            how = [f"{flag}={copied}" for flag in flags] or ["--target=c"]
            cluster.kubectl("-n", space, "debug", target, "--image=example.invalid/debug", "--quiet", *how)
            after = cluster.api.get("Pod", copied, space)
            assert after is not None
            kind = "containers" if flags else "ephemeralContainers"
            assert [one["image"] for one in after["spec"][kind]][-1] == "example.invalid/debug"
            assert names(after) == expected
    return "copies" if flags else "pods, as they were"


@pytest.mark.helm
@pytest.mark.slow
@pytest.mark.parametrize("major", [4, 3])
def test_no_dry_run_writes_the_secret(installed: ControlPlane, webhook: Webhook, tmp_path: Path, major: int) -> None:
    """Not even when it is missing, can be written, and is waited for by nothing but the next real review."""
    owner, token, space = f"gitops-{next(_numbers)}", planted.token(), f"gitops-dry-{next(_numbers)}"
    registered(installed, webhook)
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": space}}
    installed.namespace(space)
    installed.api.create(quota | {"spec": {"hard": {"count/secrets": "0"}}})
    installed.wait(lambda: (installed.api.get("ResourceQuota", "none", space) or {}).get("status"), "it is counted")
    deployed.give(installed.api, owner, token)
    installed.api.patch("Namespace", space, {"metadata": {"labels": {LABEL: owner}}})
    # Each time it is tried again later: until there is time for all that follows.
    until(lambda: waits(webhook, space) >= 15, "the background waits for long", within=60)
    installed.api.delete("ResourceQuota", "none", space, wait=True)
    assert names(installed.api.create(pod(space), dry_run=True)) == [SECRET]
    before = writes(webhook)
    assert any("apply" in line for line in before)
    given = manifests("1")
    text = as_list([one | {"metadata": one["metadata"] | {"namespace": space}} for one in given])
    for command in (("apply",), ("apply", "--server-side"), ("create",)):
        installed.kubectl(*command, "--dry-run=server", "-f", "-", input=text)
    for tool in (Apply(installed, space), ServerSide(installed, space), Forced(installed, space)):
        assert SECRET in tool.drift(given), "the webhook has answered, and the tool shows what it would get"
    for one in given:
        tried = one | {"metadata": one["metadata"] | {"namespace": space}}
        assert SECRET in names(installed.api.apply(tried, dry_run=True))
    HelmChart(installed, space, tmp_path, major).try_install(given)
    assert installed.api.get("Secret", SECRET, space) is None
    assert writes(webhook) == before
    installed.api.create(pod(space))
    assert installed.api.get("Secret", SECRET, space) is not None, "a real one writes at once"
    assert writes(webhook) != before
    stands(installed, space, token)


def waits(webhook: Webhook, space: str) -> float:
    """Seconds that the background lets this namespace wait, by the log."""
    said = [json.loads(line) for line in webhook.log.splitlines() if "a namespace waits" in line]
    return max((line["seconds"] for line in said if line["namespace"] == space), default=0.0)


def test_the_tables_in_the_docs_are_what_was_seen() -> None:
    """For the tools of this run. With WRITE=1 they are written."""
    text = MATRIX.read_text()
    complete = {tool: [row[step] for step in STEPS] for tool, row in _seen.items() if set(row) == set(STEPS)}
    text = checked(text, "tool", STEPS, list(TOOLS), complete)
    commands = (*COMMANDS, *DEBUG)
    columns = {name: column for name, column in _parts.items() if set(column) == set(commands)}
    written = rows(text, "command")
    merged = {
        command: [
            columns[situation][command] if situation in columns else cell
            for situation, cell in zip(SITUATIONS, written.get(command, [""] * len(SITUATIONS)), strict=True)
        ]
        for command in commands
    }
    text = checked(text, "command", SITUATIONS, list(commands), merged)
    if os.environ.get("WRITE"):
        MATRIX.write_text(text)


def checked(text: str, corner: str, heads: tuple[str, ...], firsts: list[str], seen: dict[str, list[str]]) -> str:
    """The text with these rows in the table with this corner; they must be there already unless they are written."""
    written = rows(text, corner)
    if not os.environ.get("WRITE"):
        assert list(written) == firsts
        assert {first: written[first] for first in seen} == seen
    merged = {first: seen.get(first) or written[first] for first in firsts}
    lines = [[corner, *heads], ["---"] * (len(heads) + 1), *([first, *cells] for first, cells in merged.items())]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    before, _, rest = text.partition(f"| {corner} |")
    after = rest.partition("\n\n")[1:] if "\n\n" in rest else ("", "")
    return before + table + after[0].removeprefix("\n") + after[1]


def rows(text: str, corner: str) -> dict[str, list[str]]:
    table = text.partition(f"| {corner} |")[2].partition("\n\n")[0].splitlines()[2:]
    lines = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]
    return {line[0]: line[1:] for line in lines}
