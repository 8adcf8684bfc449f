"""What the webhook relies on in an API server: the real one does it, and so does the one in memory of the bench."""

import asyncio
import http.client
import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, closing
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import aiohttp
import msgspec
import pytest

from certs.errors import Conflict
from controlplane.api import ApiError
from controlplane.cluster import ControlPlane
from controlplane.kubeconfig import Access
from controlplane.simulated import Simulated
from controlplane.waiting import until
from webhook.kube.ca import CaBundle
from webhook.kube.cluster import MERGE_PATCH, METADATA_ONLY, Cluster, ClusterError, Object
from webhook.kube.lease import Lease
from webhook.kube.listing import Listing, Unread
from webhook.kube.watch import Changed, Replaced, Watch

pytestmark = pytest.mark.cluster
LATER = 30.0
"""Seconds, at most, for what takes a moment."""


@pytest.fixture(scope="module", params=["real", "in memory"])
def cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    if request.param == "real":
        yield request.getfixturevalue("installed")
    else:
        with Simulated.begin(tmp_path_factory.mktemp("simulated")) as simulated:
            yield simulated


@pytest.fixture
def space(cluster: ControlPlane) -> str:
    name = f"contract-{uuid4().hex[:10]}"
    cluster.namespace(name)
    return name


def secret(space: str, name: str = "one", value: str = "MQ==", **metadata: Any) -> dict[str, Any]:
    about = {"name": name, "namespace": space} | metadata
    return {"apiVersion": "v1", "kind": "Secret", "metadata": about, "data": {"key": value}}


def path(space: str, *name: str) -> str:
    return "/".join([f"/api/v1/namespaces/{space}/secrets", *name])


def asked(cluster: ControlPlane, ask: Callable[[Cluster], Awaitable[Any]]) -> Any:
    """By the webhook's own client."""

    async def connected() -> Any:
        async with Cluster.connect(str(cluster.kubeconfig)) as client:
            found = await ask(client)
        await asyncio.sleep(0.05)  # connections of watches close
        return found

    return asyncio.run(connected())


def refused(cluster: ControlPlane, ask: Callable[[Cluster], Awaitable[Any]]) -> ClusterError:
    with pytest.raises(ClusterError) as caught:
        asked(cluster, ask)
    return caught.value


def version(of: dict[str, Any]) -> int:
    return int(of["metadata"]["resourceVersion"])


# -- lists --


@pytest.mark.parametrize("metadata_only", [False, True])
def test_pages_of_one_list_are_of_one_moment(cluster: ControlPlane, space: str, metadata_only: bool) -> None:
    for name in "abcde":
        cluster.api.create(secret(space, name))

    async def listed(client: Cluster) -> tuple[list[dict[str, Any]], int | None]:
        accept = METADATA_ONLY.format("List") if metadata_only else "application/json"
        listing, found = Listing(client, path(space), accept=accept, most=2), []
        async for raw in listing:
            found.append(msgspec.json.decode(raw))
            if len(found) == 1:
                await asyncio.to_thread(cluster.api.delete, "Secret", "d", space)
                await asyncio.to_thread(cluster.api.create, secret(space, "f"))
        return found, listing.version

    found, at = asked(cluster, listed)
    assert [one["metadata"]["name"] for one in found] == [*"abcde"]
    assert at is not None
    assert all(version(one) <= at for one in found)
    assert all(("data" in one) != metadata_only for one in found)
    assert [one["metadata"]["name"] for one in cluster.api.list("Secret", space)] == [*"abcef"]


def test_a_place_in_a_list_that_nobody_gave(cluster: ControlPlane, space: str) -> None:
    error = refused(cluster, lambda client: client.call("GET", path(space), query={"limit": "1", "continue": "x"}))
    assert error.status == 400


def test_selectors(cluster: ControlPlane, space: str) -> None:
    for name, labels in {"a": {"x": "1"}, "b": {"x": "2", "y": ""}, "c": {}}.items():
        cluster.api.create(secret(space, name, labels=labels))

    def found(**query: str) -> list[str]:
        answer = cluster.api.raw("GET", path(space), params=query).json()
        return [one["metadata"]["name"] for one in answer["items"]]

    assert found(fieldSelector="metadata.name=b") == ["b"]
    assert found(labelSelector="x") == ["a", "b"]
    assert found(labelSelector="x=1") == ["a"]
    assert found(labelSelector="x in (2,3),y") == ["b"]
    assert found(labelSelector="!x") == ["c"]
    assert found(labelSelector="x!=1") == ["b", "c"]
    everywhere = cluster.api.raw("GET", "/api/v1/secrets", params={"fieldSelector": "metadata.name=b"}).json()
    assert space in {one["metadata"]["namespace"] for one in everywhere["items"]}
    assert {one["metadata"]["name"] for one in everywhere["items"]} == {"b"}


# -- watches --


class Frames:
    """A watch as it comes over the wire."""

    def __init__(self, cluster: ControlPlane, at: str, **query: str) -> None:
        access = Access.read(cluster.kubeconfig)
        context = ssl.create_default_context(cafile=access.ca)
        assert access.pair is not None
        context.load_cert_chain(access.pair.certificate, access.pair.key)
        self._connection = http.client.HTTPSConnection(urlsplit(access.server).netloc, context=context, timeout=LATER)
        self._connection.request("GET", f"{at}?{urlencode({'watch': 'true'} | query)}")
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200

    def next(self) -> tuple[str, dict[str, Any]] | None:
        """None: it has ended."""
        line = self._answer.readline()
        frame = json.loads(line) if line else None
        return None if frame is None else (frame["type"], frame["object"])

    def close(self) -> None:
        self._connection.close()


def test_a_watch_goes_on_from_a_list(cluster: ControlPlane, space: str) -> None:
    cluster.api.create(secret(space, "before"))
    at = cluster.api.raw("GET", path(space)).json()["metadata"]["resourceVersion"]
    cluster.api.create(secret(space))
    with closing(Frames(cluster, path(space), resourceVersion=at)) as frames:
        cluster.api.patch("Secret", "one", {"data": {"key": "Mg=="}}, space)
        cluster.api.delete("Secret", "one", space)
        seen = [frames.next() for _ in range(3)]
    assert [frame[0] for frame in seen if frame] == ["ADDED", "MODIFIED", "DELETED"]
    versions = [version(frame[1]) for frame in seen if frame]
    assert int(at) < versions[0] < versions[1] < versions[2], "a deletion has a version of its own"
    assert seen[1] is not None
    assert seen[1][1]["data"] == {"key": "Mg=="}


def test_a_watch_from_anywhere_begins_with_what_there_is(cluster: ControlPlane, space: str) -> None:
    cluster.api.create(secret(space))
    with closing(Frames(cluster, path(space), resourceVersion="0")) as frames:
        seen = frames.next()
    assert seen is not None
    assert (seen[0], seen[1]["metadata"]["name"]) == ("ADDED", "one")


def test_a_watch_of_metadata(cluster: ControlPlane, space: str) -> None:
    async def watched(client: Cluster) -> dict[str, Any]:
        timeout = aiohttp.ClientTimeout(total=LATER)
        query, accept = {"watch": "true", "resourceVersion": "0"}, METADATA_ONLY.format("")
        response = await client.open("GET", path(space), query=query, accept=accept, timeout=timeout)
        async with response:
            found: dict[str, Any] = json.loads(await response.content.readline())
            return found

    cluster.api.create(secret(space))
    seen = asked(cluster, watched)["object"]
    assert (seen["kind"], seen["metadata"]["name"], "data" in seen) == ("PartialObjectMetadata", "one", False)


def test_a_watch_in_which_something_happened_ends_in_time_with_a_bookmark_before(
    cluster: ControlPlane, space: str
) -> None:
    """One in which nothing happened may have none: then the webhook asks (`Watch._check`)."""
    at = cluster.api.raw("GET", path(space)).json()["metadata"]["resourceVersion"]
    query = {"resourceVersion": at, "timeoutSeconds": "6", "allowWatchBookmarks": "true"}
    with closing(Frames(cluster, path(space), **query)) as frames:
        made = cluster.api.create(secret(space))
        seen = [frames.next() for _ in range(2)]
        assert [frame[0] for frame in seen if frame] == ["ADDED", "BOOKMARK"]
        assert seen[1] is not None
        assert version(seen[1][1]) >= version(made)
        while (more := frames.next()) is not None:
            assert more[0] == "BOOKMARK"


def expires(cluster: ControlPlane) -> None:
    with closing(Frames(cluster, "/api/v1/secrets", resourceVersion="1")) as frames:
        seen = frames.next()
        assert seen is not None
        assert seen[0] == "ERROR"
        assert (seen[1]["code"], seen[1]["reason"]) == (410, "Expired")
        assert frames.next() is None


def test_a_watch_from_too_long_ago(tmp_path: Path) -> None:
    with Simulated.begin(tmp_path) as cluster:
        expires(cluster)


@pytest.mark.slow
def test_a_watch_from_before_the_real_one_started(binaries: None, tmp_path: Path) -> None:
    """It remembers all since its start."""
    with ControlPlane.start(tmp_path) as cluster:
        cluster.namespace("before")
        with cluster.without_etcd():
            pass
        expires(cluster)


def test_a_watch_from_a_version_that_is_yet_to_come_says_nothing(cluster: ControlPlane, space: str) -> None:
    at = cluster.api.raw("GET", path(space)).json()["metadata"]["resourceVersion"]
    query = {"resourceVersion": str(int(at) + 1_000_000), "timeoutSeconds": "3", "allowWatchBookmarks": "true"}
    with closing(Frames(cluster, path(space), **query)) as frames:
        cluster.api.create(secret(space))
        assert frames.next() is None


def test_what_leaves_a_selection_is_gone_for_its_watch(cluster: ControlPlane, space: str) -> None:
    at = cluster.api.raw("GET", path(space)).json()["metadata"]["resourceVersion"]
    with closing(Frames(cluster, path(space), resourceVersion=at, labelSelector="x=1")) as frames:
        cluster.api.create(secret(space))
        for value in ("1", None):
            cluster.api.patch("Secret", "one", {"metadata": {"labels": {"x": value}}}, space)
        cluster.api.patch("Secret", "one", {"metadata": {"labels": {"x": "1"}}}, space)
        cluster.api.delete("Secret", "one", space)
        seen = [frames.next() for _ in range(4)]
    assert [frame[0] for frame in seen if frame] == ["ADDED", "DELETED", "ADDED", "DELETED"]


class Health:
    def works(self) -> None: ...
    def failed(self, error: ClusterError) -> None: ...
    def left_out(self, one: Unread) -> None: ...


def test_the_webhooks_own_watch(cluster: ControlPlane, space: str) -> None:
    async def watched(client: Cluster) -> list[object]:
        watch = Watch(client, path(space), Object, lambda one: (one.metadata.name, one.metadata.uid), Health())
        seen: list[object] = []
        async with asyncio.timeout(LATER), aclosing(watch.events()) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Replaced):
                    seen.append(("all", sorted(event.items)))
                    await asyncio.to_thread(cluster.api.create, secret(space, "two"))
                elif isinstance(event, Changed):
                    seen.append((event.key, event.gone))
                    if event.gone:
                        return seen
                    await asyncio.to_thread(cluster.api.delete, "Secret", "two", space)
        raise AssertionError("it never ends")

    cluster.api.create(secret(space))
    assert asked(cluster, watched) == [("all", ["one"]), ("two", False), ("two", True)]


# -- writes --


def applied(
    cluster: ControlPlane, space: str, manager: str = "ours", *, force: bool = False, dry_run: bool = False, **of: Any
) -> dict[str, Any]:
    body = secret(space, **of) | {"type": "Opaque"}
    raw = asked(
        cluster,
        lambda client: client.apply(path(space, "one"), body, manager=manager, force=force, dry_run=dry_run),
    )
    found: dict[str, Any] = msgspec.json.decode(raw)
    return found


def test_an_apply_that_changes_nothing_writes_nothing(cluster: ControlPlane, space: str) -> None:
    first = applied(cluster, space)
    again = applied(cluster, space)
    assert version(again) == version(first)
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert version(applied(cluster, space, value="Mg==")) > version(first)


def test_an_apply_is_a_creation(cluster: ControlPlane, space: str) -> None:
    headers = {"Content-Type": "application/apply-patch+yaml"}
    answers = [
        cluster.api.raw("PATCH", path(space, "one"), json=secret(space), params={"fieldManager": "x"}, headers=headers)
        for _ in range(2)
    ]
    assert [answer.status_code for answer in answers] == [201, 200]


def test_a_field_of_another_manager_is_a_conflict(cluster: ControlPlane, space: str) -> None:
    applied(cluster, space)
    assert applied(cluster, space, "another")["data"] == {"key": "MQ=="}, "the same value is no conflict"
    with pytest.raises(ClusterError) as caught:
        applied(cluster, space, "another", value="Mg==")
    assert (caught.value.status, caught.value.reason) == (409, "Conflict")
    assert 'conflict with "ours"' in caught.value.message
    assert applied(cluster, space, "another", value="Mg==", force=True)["data"] == {"key": "Mg=="}
    with pytest.raises(ClusterError) as caught:
        applied(cluster, space)
    assert 'conflict with "another"' in caught.value.message


def test_two_fields_of_another_manager(cluster: ControlPlane, space: str) -> None:
    cluster.api.create(secret(space, labels={"x": "1"}), manager="tests")
    with pytest.raises(ClusterError) as caught:
        applied(cluster, space, value="Mg==", labels={"x": "2"})
    assert caught.value.message.count('conflicts with "tests"') >= 1


def test_a_field_that_is_no_longer_applied_goes(cluster: ControlPlane, space: str) -> None:
    applied(cluster, space, labels={"x": "1", "y": "1"})
    cluster.api.patch("Secret", "one", {"metadata": {"labels": {"z": "1"}}}, space)
    assert applied(cluster, space, labels={"x": "1"})["metadata"]["labels"] == {"x": "1", "z": "1"}


def test_a_dry_run_writes_nothing(cluster: ControlPlane, space: str) -> None:
    assert applied(cluster, space, dry_run=True)["data"] == {"key": "MQ=="}
    assert cluster.api.get("Secret", "one", space) is None


def test_managed_fields_say_who_applied_what(cluster: ControlPlane, space: str) -> None:
    (entry,) = applied(cluster, space, labels={"x": "1"})["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"], entry["apiVersion"]) == ("ours", "Apply", "v1")
    assert entry["fieldsV1"] == {
        "f:data": {"f:key": {}},
        "f:metadata": {"f:labels": {"f:x": {}}},
        "f:type": {},
    }


def test_a_merge_patch_over_an_old_version(cluster: ControlPlane, space: str) -> None:
    first = cluster.api.create(secret(space))
    over = {"metadata": {"resourceVersion": first["metadata"]["resourceVersion"]}}
    second = cluster.api.patch("Secret", "one", over | {"data": {"key": "Mg=="}}, space)
    error = refused(
        cluster,
        lambda client: client.call(
            "PATCH", path(space, "one"), body=over | {"data": {"key": "Mw=="}}, content_type=MERGE_PATCH
        ),
    )
    assert (error.status, error.reason) == (409, "Conflict")
    assert version(cluster.api.patch("Secret", "one", {"data": {"key": "Mg=="}}, space)) == version(second)


def test_a_deletion_of_another_object(cluster: ControlPlane, space: str) -> None:
    cluster.api.create(secret(space))
    options = {"preconditions": {"uid": str(uuid4())}}
    error = refused(cluster, lambda client: client.call("DELETE", path(space, "one"), body=options))
    assert (error.status, error.reason) == (409, "Conflict")


@pytest.mark.parametrize(
    ("method", "options"),
    [("GET", {}), ("DELETE", {}), ("PATCH", {"body": {"data": {}}, "content_type": MERGE_PATCH})],
)
def test_nothing_of_that_name(
    cluster: ControlPlane, space: str, method: Literal["GET", "DELETE", "PATCH"], options: dict[str, Any]
) -> None:
    error = refused(cluster, lambda client: client.call(method, path(space, "none"), **options))
    assert (error.status, error.reason, error.message) == (404, "NotFound", 'secrets "none" not found')


def test_nothing_in_a_namespace_that_is_not_there(cluster: ControlPlane) -> None:
    with pytest.raises(ClusterError) as caught:
        applied(cluster, "not-there")
    assert (caught.value.status, caught.value.message) == (404, 'namespaces "not-there" not found')


def test_the_same_name_twice(cluster: ControlPlane, space: str) -> None:
    cluster.api.create(secret(space))
    with pytest.raises(ApiError) as caught:
        cluster.api.create(secret(space))
    assert (caught.value.status, caught.value.reason) == (409, "AlreadyExists")


def test_a_namespace_has_an_account_and_takes_all_with_it(cluster: ControlPlane, space: str) -> None:
    cluster.api.create(secret(space))
    assert cluster.api.get("ServiceAccount", "default", space)
    at = cluster.api.raw("GET", "/api/v1/namespaces").json()["metadata"]["resourceVersion"]
    query = {"resourceVersion": at, "fieldSelector": f"metadata.name={space}"}
    with closing(Frames(cluster, "/api/v1/namespaces", **query)) as frames:
        cluster.api.delete("Namespace", space)
        seen = frames.next()
        assert seen is not None
        assert seen[0] == "MODIFIED"
        assert seen[1]["metadata"]["deletionTimestamp"]
        until(lambda: cluster.api.get("Secret", "one", space) is None, "the Secret is gone", within=LATER)
        while seen is not None and seen[0] == "MODIFIED":
            seen = frames.next()
        assert seen is not None
        assert seen[0] == "DELETED"


# -- the webhook's own calls --


def test_one_of_two_leads_and_the_other_one_after_it(cluster: ControlPlane, space: str) -> None:
    async def told(client: Cluster) -> list[str]:
        order: list[str] = []

        def lead(name: str) -> Callable[[], Awaitable[None]]:
            async def leading() -> None:
                order.append(name)
                await asyncio.Event().wait()

            return leading

        @asynccontextmanager
        async def running(name: str) -> AsyncIterator[None]:
            task = asyncio.create_task(Lease(client, space, "lead", name).run(lead(name)))
            try:
                yield
            finally:
                task.cancel()
                await asyncio.wait({task})

        async def led(count: int) -> None:
            async with asyncio.timeout(LATER):
                while len(order) < count:  # noqa: ASYNC110  # what it waits for is in the code under test
                    await asyncio.sleep(0.05)

        async with running("first"):
            await led(1)
            second = running("second")
            await second.__aenter__()
            await asyncio.sleep(3)
            assert order == ["first"]
        await led(2)
        await second.__aexit__(None, None, None)
        return order

    assert asked(cluster, told) == ["first", "second"]


def test_the_ca_goes_into_each_entry_over_what_was_read(cluster: ControlPlane, space: str) -> None:
    entries = [
        {
            "name": f"{name}.example.com",
            "clientConfig": {"url": "https://127.0.0.1:1/x"},
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "namespaceSelector": {"matchLabels": {"nobody": "has"}},
            "failurePolicy": "Ignore",
        }
        for name in "ab"
    ]
    kind = "MutatingWebhookConfiguration"
    configuration = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": {"name": space}}
    cluster.api.apply(configuration | {"webhooks": entries})
    pem = Access.read(cluster.kubeconfig).ca.read_bytes()

    async def published(client: Cluster) -> dict[str, bytes]:
        bundle = CaBundle(client, space, "a.example.com")
        over = await bundle.published()
        assert over is not None
        await bundle.publish(pem, over)
        with pytest.raises(Conflict):
            await bundle.publish(b"", over)
        again = await bundle.published()
        assert again is not None
        return dict(again.bundles)

    try:
        assert asked(cluster, published) == {"a.example.com": pem, "b.example.com": pem}
        cluster.api.apply(configuration | {"webhooks": entries})
        found = cluster.api.get(kind, space)
        assert found is not None
        assert all(entry["clientConfig"]["caBundle"] for entry in found["webhooks"]), "another manager's field stays"
    finally:
        cluster.api.delete(kind, space)


def test_an_event_of_a_name_that_is_taken(cluster: ControlPlane, space: str) -> None:
    event = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": "one", "namespace": space},
        "eventTime": "2030-01-01T00:00:00.000000Z",
        "reportingController": "tests",
        "reportingInstance": "tests",
        "action": "Test",
        "reason": "Test",
        "type": "Normal",
        "note": "",
        "regarding": {"apiVersion": "v1", "kind": "Secret", "name": "one", "namespace": space},
    }
    cluster.api.create(event)
    with pytest.raises(ApiError) as caught:
        cluster.api.create(event)
    assert caught.value.status == 409


# -- who asks, and how --


def test_nobody_in_particular(cluster: ControlPlane) -> None:
    access = Access.read(cluster.kubeconfig)
    context = ssl.create_default_context(cafile=access.ca)
    netloc = urlsplit(access.server).netloc
    with closing(http.client.HTTPSConnection(netloc, context=context, timeout=LATER)) as connection:
        connection.request("GET", "/api/v1/namespaces", headers={"Authorization": "Bearer wrong"})
        answer = connection.getresponse()
        assert (answer.status, json.loads(answer.read())["reason"]) == (401, "Unauthorized")


def test_an_account_by_its_token(cluster: ControlPlane) -> None:
    account = cluster.access(cluster.service_account("pullsecret-webhook", "pullsecret-webhook"))
    assert account.raw("GET", "/api/v1/namespaces", params={"limit": "1"}).headers["Date"]
    account.close()


def test_http_2_is_offered(cluster: ControlPlane) -> None:
    access = Access.read(cluster.kubeconfig)
    context = ssl.create_default_context(cafile=access.ca)
    context.set_alpn_protocols(["h2", "http/1.1"])
    host, port = urlsplit(access.server).hostname, urlsplit(access.server).port
    assert host is not None
    assert port is not None
    with socket.create_connection((host, port)) as plain, context.wrap_socket(plain, server_hostname=host) as tls:
        assert tls.selected_alpn_protocol() == "h2"
