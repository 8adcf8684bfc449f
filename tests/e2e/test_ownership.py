"""Whose a namespace is, over time: many at once, changed, taken back, made anew while a stale replica writes."""

import base64
import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.node import Node
from controlplane.objects import SECRET, names, password, pod, stands
from controlplane.registry import Registry
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from support import planted

pytestmark = pytest.mark.cluster
LABEL = "pullsecret-webhook/owner"
_numbers = count(1)


def space_of(name: str, owner: str | None) -> Object:
    labels = {} if owner is None else {LABEL: owner}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def account(namespace: str) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "own", "namespace": namespace}}


def owner_with_token(cluster: ControlPlane) -> tuple[str, str]:
    owner, token = f"whose-{next(_numbers)}", planted.token()
    deployed.give(cluster.api, owner, token)
    return owner, token


@pytest.mark.parametrize("many", [50, pytest.param(200, marks=pytest.mark.slow)])
def test_many_namespaces_with_their_first_pods(installed: ControlPlane, webhook: Webhook, many: int) -> None:
    """Of ten owners, all at once: each first pod has its reference, and each Secret is its owner's."""
    owners = [owner_with_token(installed) for _ in range(10)]
    spaces = {f"rush-{many}-{number}": owners[number % len(owners)] for number in range(many)}

    def arrive(name: str) -> list[str]:
        installed.api.create(space_of(name, spaces[name][0]))
        installed.api.create(account(name))
        return names(installed.api.create(pod(name, serviceAccountName="own")))

    with ThreadPoolExecutor(16) as workers:
        assert list(workers.map(arrive, spaces)) == [[SECRET]] * len(spaces)
    for name, (_, token) in spaces.items():
        stands(installed, name, token)


def test_label_added_changed_and_removed(installed: ControlPlane, webhook: Webhook) -> None:
    (alice, hers), (bob, his) = owner_with_token(installed), owner_with_token(installed)
    installed.namespace("relabelled")

    def label(owner: str | None) -> None:
        installed.api.patch("Namespace", "relabelled", {"metadata": {"labels": {LABEL: owner}}})

    def pods_get(expected: list[str]) -> None:
        until(lambda: names(installed.api.create(pod("relabelled"), dry_run=True)) == expected, "pods get it", within=5)

    pods_get([])
    label(alice)
    stands(installed, "relabelled", hers)
    pods_get([SECRET])
    label(bob)
    stands(installed, "relabelled", his)
    label(None)
    stands(installed, "relabelled", None)
    pods_get([])


@contextmanager
def forging(api: Api, body: Object) -> Iterator[Callable[[], int]]:
    """Writes this Secret by force, as fast as it goes, as a replica would that has heard of nothing; counts."""
    end, tried = threading.Event(), 0

    def run() -> None:
        nonlocal tried
        while not end.is_set():
            tried += 1
            try:
                api.apply(body, manager="pullsecret-webhook", force=True)
            except ApiError as error:
                assert error.status in (403, 404, 409, 422), error

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        yield lambda: tried
    finally:
        end.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("cycles", [1, pytest.param(12, marks=[pytest.mark.slow, pytest.mark.timeout(600)])])
def test_made_anew_under_another_owner_while_a_stale_replica_writes(
    installed: ControlPlane, webhook: Webhook, cycles: int
) -> None:
    """No token ever stands in a namespace that is not its owner's: every version of the Secret is looked at."""
    owners = [owner_with_token(installed) for _ in range(2)]
    tokens, whose = dict(owners), {}
    name, tried = f"made-anew-{cycles}", 0
    since = installed.api.raw("GET", "/api/v1/secrets", params={"limit": "1"}).json()["metadata"]["resourceVersion"]
    own = installed.access(installed.service_account(NAMESPACE, deployed.ACCOUNT))

    def create(number: int) -> Object:
        owner, token = owners[number % 2]
        whose[installed.api.create(space_of(name, owner))["metadata"]["uid"]] = owner
        stood = stands(installed, name, token)
        assert stood is not None
        return stood

    stale = create(0)
    for number in range(1, cycles + 1):
        with forging(own, written(stale)) as tries:
            installed.api.delete("Namespace", name, wait=True)
            stale = create(number)
            enough = tries() + 50
            until(lambda: tries() > enough, "the stale one writes on", within=20)  # noqa: B023  # called at once
            tried += tries()
        assert password(installed, name) == owners[number % 2][1]
    assert tried > 50 * cycles
    seen = versions(installed, name, since)
    assert len({one["metadata"]["uid"] for one in seen}) > cycles
    for one in seen:
        assert content(one) == tokens[whose[one["metadata"]["annotations"]["pullsecret-webhook/namespace-uid"]]]


def written(secret: Object) -> Object:
    """What a replica would apply to make this Secret."""
    metadata = {key: secret["metadata"][key] for key in ("name", "namespace", "labels", "annotations")}
    owners = {"ownerReferences": secret["metadata"]["ownerReferences"]}
    body = {key: secret[key] for key in ("type", "data")}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata | owners} | body


def content(secret: Object) -> str:
    config = json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))
    return str(config["auths"]["ghcr.io"]["password"])


def versions(cluster: ControlPlane, namespace: str, since: str) -> list[Object]:
    """Of our Secret there, each that ever stood, as the API server's own history has it."""
    query = {"watch": "1", "resourceVersion": since, "timeoutSeconds": "2", "fieldSelector": f"metadata.name={SECRET}"}
    lines = cluster.api.raw("GET", f"/api/v1/namespaces/{namespace}/secrets", params=query).text.splitlines()
    return [event["object"] for event in map(json.loads, lines) if event["type"] != "BOOKMARK"]


@pytest.mark.node
def test_the_old_owners_cached_image_does_not_start_for_the_new_one(
    installed: ControlPlane, webhook: Webhook, registry: Registry, node: Node
) -> None:
    for owner in ("old", "new"):
        registry.set_password(owner, planted.token())
        deployed.give(installed.api, owner, registry.users[owner])
    image = registry.push("old/app", "1")
    installed.namespace("handed-over", labels={LABEL: "old"})

    def create(name: str) -> None:
        containers = [{"name": "c", "image": image, "imagePullPolicy": "IfNotPresent"}]
        one = pod("handed-over", name, terminationGracePeriodSeconds=0, containers=containers, nodeSelector={})
        installed.api.create(one)

    def state(name: str) -> Any:
        found = installed.api.get("Pod", name, "handed-over")
        assert found is not None
        return (found["status"].get("containerStatuses") or [{"state": {}}])[0]["state"]

    create("hers")
    installed.wait(lambda: state("hers").get("running"), "the old owner's pod runs", within=60)
    installed.api.patch("Namespace", "handed-over", {"metadata": {"labels": {LABEL: "new"}}})
    stands(installed, "handed-over", registry.users["new"])
    create("his")
    refused = installed.wait(lambda: state("his").get("waiting", {}).get("message"), "the new owner's is refused")
    assert "403 Forbidden" in refused
    assert state("hers").get("running")
