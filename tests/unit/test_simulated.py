"""The API server of tests/support/simulated.py answers as the real one, with the real write policy, does.

And so does the one for many namespaces, controlplane/simulated.py.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest

from controlplane.cluster import ControlPlane
from controlplane.simulated import Simulated
from controlplane.waiting import until
from controlplane.webhook import install
from support.simulated import (
    DOCKERCONFIG,
    KEY,
    MANAGED_BY,
    MANAGER,
    NAMESPACE,
    OURS,
    OWNER,
    SECRET,
    UID_OF,
    Object,
    Server,
    at,
    dockerconfig,
    put,
)
from webhook.kube.cluster import Cluster, ClusterError

pytestmark = pytest.mark.cluster
PATH = f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
MERGE = "application/merge-patch+json"
NO_UID = "00000000-0000-0000-0000-000000000000"
CAUGHT_UP = 0.3
"""Seconds after which the policy knows of a change to the namespace."""


class World(Protocol):
    """Somewhere with one namespace and its pull secret. `ask`: as the webhook; all else: as somebody else."""

    def ask(self, method: str, body: Object | None = None, force: bool | None = None) -> Object: ...
    def namespace(self) -> Object: ...
    def label(self, labels: Mapping[str, str | None]) -> None: ...
    def secret(self) -> Object | None: ...
    def create(self, secret: Object) -> None: ...
    def change(self, path: tuple[str, ...], value: Any) -> None: ...
    def delete(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.server = Server()
        self.server.create_namespace({OWNER: "alice"})

    def ask(self, method: str, body: Object | None = None, force: bool | None = None) -> Object:
        return self.server.answer(method, PATH, body, force)

    def namespace(self) -> Object:
        return self.server.listed("namespaces")[0]

    def label(self, labels: Mapping[str, str | None]) -> None:
        self.server.label_namespace({key: value for key, value in labels.items() if value is not None})

    def secret(self) -> Object | None:
        return next(iter(self.server.listed("secrets")), None)

    def create(self, secret: Object) -> None:
        self.server.create_secret(secret)

    def change(self, path: tuple[str, ...], value: Any) -> None:
        self.server.change_secret(path, value)

    def delete(self) -> None:
        self.server.delete_secret()


class Real:
    def __init__(self, cluster: ControlPlane, webhook: Path) -> None:
        self.api, self.webhook = cluster.api, webhook

    def ask(self, method: str, body: Object | None = None, force: bool | None = None) -> Object:
        async def asked() -> bytes:
            async with Cluster.connect(str(self.webhook)) as cluster:
                if force is not None:
                    return await cluster.apply(PATH, body, manager=MANAGER, force=force)
                return await cluster.call(
                    method, PATH, body=body, content_type=MERGE if method == "PATCH" else "application/json"
                )

        answer: Object = msgspec.json.decode(asyncio.run(asked()))
        return answer

    def namespace(self) -> Object:
        found = self.api.get("Namespace", NAMESPACE)
        assert found is not None
        return found

    def label(self, labels: Mapping[str, str | None]) -> None:
        self.api.patch("Namespace", NAMESPACE, {"metadata": {"labels": dict(labels)}})
        time.sleep(CAUGHT_UP)

    def secret(self) -> Object | None:
        return self.api.get("Secret", SECRET, NAMESPACE)

    def create(self, secret: Object) -> None:
        metadata = secret["metadata"] | {"name": SECRET, "namespace": NAMESPACE}
        self.api.create({"apiVersion": "v1", "kind": "Secret"} | secret | {"metadata": metadata})

    def change(self, path: tuple[str, ...], value: Any) -> None:
        patch: Object = {}
        put(patch, path[:-1], {path[-1]: value}) if len(path) > 1 else patch.update({path[0]: value})
        self.api.patch("Secret", SECRET, patch, NAMESPACE)

    def delete(self) -> None:
        self.api.delete("Secret", SECRET, NAMESPACE)


class Story:
    """What was asked and how it was answered: statuses, and what stands then."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.told: list[object] = []

    def see(self, what: str, status: int) -> None:
        secret = self.world.secret()
        seen = None
        if secret is not None:
            uid = self.world.namespace()["metadata"]["uid"]
            references = [reference["uid"] == uid for reference in at(secret, ("metadata", "ownerReferences")) or ()]
            fields = {path: at(secret, path) for path in OURS[:-2]}
            held = "deletionTimestamp" in secret["metadata"], secret["metadata"].get("finalizers")
            seen = (fields, at(secret, OURS[-2]) == uid, references, held)
        self.told.append((what, status, seen))

    def ask(self, what: str, method: str, body: Object | None = None, *, force: bool | None = None) -> None:
        try:
            self.world.ask(method, body, force)
        except ClusterError as e:
            self.see(what + (" (policy)" if "ValidatingAdmissionPolicy" in e.message else ""), e.status)
        else:
            self.see(what, 200)

    def apply(
        self, what: str, token: str = "t", *, owner: str = "alice", uid: str = "", team: str = "", force: bool = False
    ) -> None:
        namespace = team or self.world.namespace()["metadata"]["uid"]
        reference = {"apiVersion": "v1", "kind": "Namespace", "name": NAMESPACE, "uid": namespace}
        metadata = {
            "name": SECRET,
            "namespace": NAMESPACE,
            "labels": {MANAGED_BY: MANAGER},
            "annotations": {OWNER: owner, UID_OF: namespace},
            "ownerReferences": [reference],
        } | ({"uid": uid} if uid else {})
        data = {KEY: dockerconfig(token)}
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": DOCKERCONFIG, "data": data}
        self.ask(f"apply: {what}", "PATCH", body, force=force)

    def uid(self) -> str:
        secret = self.world.secret()
        assert secret is not None
        return str(secret["metadata"]["uid"])

    def delete(self, what: str, uid: str) -> None:
        self.ask(f"delete: {what}", "DELETE", {"preconditions": {"uid": uid}})

    def release(self, what: str, uid: str) -> None:
        self.ask(f"release: {what}", "PATCH", {"metadata": {"uid": uid, "finalizers": None}})


def ordinary_life(story: Story) -> None:
    story.ask("nothing there", "GET")
    story.apply("a UID, but nothing there", uid=NO_UID)
    story.apply("create")
    story.ask("there", "GET")
    story.apply("unchanged")
    story.apply("a new token", "new", uid=story.uid())
    story.apply("another's UID", uid=NO_UID)
    story.apply("another's UID, by force", uid=NO_UID, force=True)
    story.apply("for an earlier namespace", team=NO_UID)
    story.apply("for another owner", owner="bob")
    story.world.label({OWNER: "bob"})
    story.apply("for the owner before", uid=story.uid())
    story.apply("across owners", owner="bob", uid=story.uid())
    story.world.label({OWNER: None})
    story.apply("without an owner", uid=story.uid())
    story.delete("another's UID", NO_UID)
    story.delete("ours", story.uid())
    story.delete("gone", NO_UID)
    story.release("gone", NO_UID)
    story.world.label({OWNER: "alice"})


def edits(story: Story) -> None:
    data, owner = ("data", KEY), ("metadata", "annotations", OWNER)
    label = ("metadata", "labels", MANAGED_BY)
    story.apply("create")
    for path, value in ((data, dockerconfig("edited")), (("metadata", "annotations", UID_OF), "x"), (owner, "bob")):
        story.world.change(path, value)
        story.apply(f"{path} edited", uid=story.uid())
        story.apply(f"{path} edited, by force", uid=story.uid(), force=True)
    story.world.change(owner, "alice")
    story.apply("put back")
    for path in (("metadata", "ownerReferences"), owner):
        story.world.change(path, None)
        story.apply(f"{path} taken away", uid=story.uid())
    story.world.change(owner, "alice")
    story.world.change(label, None)
    story.apply("not ours any more", uid=story.uid())
    story.apply("not ours any more, by force", uid=story.uid(), force=True)
    story.delete("not ours any more", story.uid())
    story.world.change(label, MANAGER)
    story.apply("ours again", uid=story.uid())
    story.delete("ours again", story.uid())


def finalizers(story: Story) -> None:
    story.apply("create")
    story.world.change(("metadata", "finalizers"), ["example.org/held"])
    story.delete("held", story.uid())
    story.delete("held still", story.uid())
    story.apply("terminating", "late", uid=story.uid())
    story.release("another's UID", NO_UID)
    story.release("ours", story.uid())
    story.apply("create again")
    story.delete("ours", story.uid())


def secrets_of_others(story: Story) -> None:
    ours = {"labels": {MANAGED_BY: MANAGER}}
    for metadata, kind in (({}, DOCKERCONFIG), (ours, DOCKERCONFIG), (ours, "Opaque")):
        story.world.create({"metadata": metadata, "type": kind, "data": {KEY: dockerconfig("the tenant's own")}})
        story.apply(f"{kind} {metadata}")
        story.apply(f"{kind} {metadata}, by force", force=True)
        story.delete("by us", story.uid())
        if story.world.secret() is not None:
            story.world.delete()
    story.apply("create")
    story.world.change(("immutable",), True)
    story.apply("immutable", "new", uid=story.uid())
    story.apply("immutable, by force", "new", uid=story.uid(), force=True)
    story.delete("immutable", story.uid())


@pytest.fixture(scope="module")
def real(binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """A cluster of its own, without the webhook, which would take part in the story."""
    with ControlPlane.start(tmp_path_factory.mktemp("alone")) as cluster:
        install(cluster)
        real = in_a_namespace(cluster)
        until(lambda: _denies(real), "the write policy is in force", within=20)
        yield real


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    """The one for many namespaces (controlplane/simulated.py)."""
    with Simulated.begin(tmp_path_factory.mktemp("large")) as cluster:
        yield in_a_namespace(cluster)


def in_a_namespace(cluster: ControlPlane) -> Real:
    cluster.namespace(NAMESPACE, labels={OWNER: "alice"})
    return Real(cluster, cluster.service_account("pullsecret-webhook", "pullsecret-webhook"))


def _denies(real: Real) -> bool:
    story = Story(real)
    story.apply("too early", owner="bob")
    if real.secret() is not None:
        real.delete()
    return "(policy)" in str(story.told)


STORIES = (ordinary_life, edits, finalizers, secrets_of_others)


@pytest.mark.parametrize("record", STORIES, ids=lambda record: record.__name__)
def test_the_simulated_api_server_answers_as_the_real_one(real: Real, record: Callable[[Story], None]) -> None:
    told_alike(InMemory(), real, record)


@pytest.mark.parametrize("record", STORIES, ids=lambda record: record.__name__)
def test_the_large_one_answers_as_the_simulated_one(large: Real, record: Callable[[Story], None]) -> None:
    """And so as the real one."""
    told_alike(InMemory(), large, record)


def told_alike(simulated: World, other: World, record: Callable[[Story], None]) -> None:
    expected, happened = Story(simulated), Story(other)
    record(expected)
    record(happened)
    for one, seen in zip(expected.told, happened.told, strict=True):
        assert one == seen
