"""The webhook's own certificates on a real API server: what the calls promise, and rotations that miss no admission."""

import asyncio
import base64
import json
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from itertools import count, cycle
from typing import Self

import pytest
import trustme

from certs.authority import Authority
from certs.bundle import RELIEF, SOAK, Bundle
from certs.errors import Conflict, NotOurs
from certs.ports import Published, Stored
from controlplane import webhook as deployed
from controlplane.api import ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.objects import SECRET, deployment, names
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from webhook.kube.ca import CaBundle, CaSecret
from webhook.kube.cluster import Cluster

pytestmark = pytest.mark.cluster
CA, CONFIGURATION = "pullsecret-webhook-ca", "pullsecret-webhook"
_numbers = count(1)


def run(cluster: ControlPlane, test: Callable[[Cluster], Awaitable[None]]) -> None:
    async def connected() -> None:
        async with Cluster.connect(str(cluster.kubeconfig)) as connection:
            await test(connection)

    asyncio.run(connected())


def test_of_two_that_create_the_secret_one_does(installed: ControlPlane) -> None:
    name = f"ca-{next(_numbers)}"

    async def test(cluster: Cluster) -> None:
        one, two = (CaSecret(cluster, NAMESPACE, name) for _ in range(2))
        assert await one.read() is None
        await one.write({"ca.crt": b"one"}, over=None)
        with pytest.raises(Conflict, match="has changed since it was read"):
            await two.write({"ca.crt": b"two"}, over=None)
        stored = await two.read()
        assert stored
        assert stored.data == {"ca.crt": b"one"}

    run(installed, test)


def test_a_write_replaces_all_of_what_was_read_or_nothing(installed: ControlPlane) -> None:
    name = f"ca-{next(_numbers)}"

    async def read(secret: CaSecret) -> Stored:
        stored = await secret.read()
        assert stored
        return stored

    async def test(cluster: Cluster) -> None:
        one, two = (CaSecret(cluster, NAMESPACE, name) for _ in range(2))
        await one.write({"ca.crt": b"1", "next.crt": b"1"}, over=None)
        first = await read(two)
        await two.write({"ca.crt": b"2", "tls.crt": b"2"}, over=first)  # another process than the one that created it
        assert (await read(one)).data == {"ca.crt": b"2", "tls.crt": b"2"}
        with pytest.raises(Conflict):
            await one.write({"ca.crt": b"3"}, over=first)
        second = await read(one)
        assert second.data["ca.crt"] == b"2"

        installed.api.delete("Secret", name, NAMESPACE)
        with pytest.raises(Conflict):
            await one.write({"ca.crt": b"4"}, over=second)
        assert await one.read() is None

    run(installed, test)


def test_a_secret_that_is_not_ours_is_left_alone(installed: ControlPlane) -> None:
    name = f"ca-{next(_numbers)}"
    foreign = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}}
    installed.api.create(foreign | {"stringData": {"ca.crt": "theirs"}})

    async def test(cluster: Cluster) -> None:
        with pytest.raises(NotOurs, match=f"{NAMESPACE}/{name} is not managed by"):
            await CaSecret(cluster, NAMESPACE, name).read()

    run(installed, test)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"immutable": True}, "is immutable, and cannot be changed; delete it"),
        (
            {"type": "kubernetes.io/tls"},
            "is of the type kubernetes.io/tls, not Opaque, and cannot be changed; delete it",
        ),
    ],
    ids=["immutable", "type"],
)
def test_a_secret_that_cannot_be_changed_is_named(installed: ControlPlane, wrong: Object, message: str) -> None:
    """It was made from ours, by hand."""
    name = f"ca-{next(_numbers)}"
    metadata = {"name": name, "namespace": NAMESPACE, "labels": {"app.kubernetes.io/managed-by": "pullsecret-webhook"}}
    data = {"stringData": {"tls.crt": "1", "tls.key": "1"}}
    installed.api.create({"apiVersion": "v1", "kind": "Secret", "metadata": metadata} | data | wrong)

    async def test(cluster: Cluster) -> None:
        secret = CaSecret(cluster, NAMESPACE, name)
        with pytest.raises(NotOurs, match=f"{NAMESPACE}/{name} {message}"):
            await secret.read()
        installed.api.delete("Secret", name, NAMESPACE)
        assert await secret.read() is None
        await secret.write({"ca.crt": b"1"}, over=None)

    run(installed, test)


def test_a_bundle_is_published_over_what_was_read_or_not_at_all(installed: ControlPlane) -> None:
    name = f"configuration-{next(_numbers)}"
    configuration = deployed.registration()
    configuration["metadata"] = {"name": name}
    for entry in configuration["webhooks"]:
        entry |= {"failurePolicy": "Ignore", "objectSelector": {"matchLabels": {"nobody": "has-it"}}}

    def entries() -> list[Object]:
        found = installed.api.get("MutatingWebhookConfiguration", name)
        assert found
        return list(found["webhooks"])

    async def test(cluster: Cluster) -> None:
        hook = CaBundle(cluster, name, deployed.ENTRY)
        assert await hook.published() is None
        installed.api.apply(configuration)
        assert await CaBundle(cluster, name, "another.entry.io").published() is None
        seen = await hook.published()
        assert seen
        assert seen.bundles == {deployed.ENTRY: b"", deployed.TEMPLATES_ENTRY: b""}
        bundle, other = (Authority.create(datetime.now(UTC)).pem()[0] for _ in range(2))
        before = entries()
        await hook.publish(bundle, over=seen)
        for entry in before:
            entry["clientConfig"]["caBundle"] = base64.b64encode(bundle).decode()
        assert entries() == before
        with pytest.raises(Conflict, match=f"{name} has changed"):
            await hook.publish(other, over=seen)
        newer = await hook.published()
        assert isinstance(newer, Published)
        assert [*newer.bundles.values()] == [bundle, bundle]

        installed.api.delete("MutatingWebhookConfiguration", name)
        with pytest.raises(Conflict):
            await hook.publish(other, over=newer)

    run(installed, test)


def test_the_clock_is_the_api_servers(installed: ControlPlane) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.call("GET", "/version")
        assert abs(cluster.now() - datetime.now(UTC)) < timedelta(seconds=5)
        assert cluster._last_date[0]  # it told the time

    run(installed, test)


class Admissions(threading.Thread):
    """Dry runs of pods, one after the other: the webhook was not reached for one that comes back without reference, or
    is refused."""

    def __init__(self, cluster: ControlPlane, namespace: str) -> None:
        super().__init__()
        self._api = cluster.access(cluster.kubeconfig)
        self._pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "probe", "namespace": namespace},
            "spec": {"containers": [{"name": "c", "image": "example.invalid/probe"}]},
        }
        self.answered, self.missed, self.stop = 0, 0, False

    def run(self) -> None:
        while not self.stop:
            try:
                reached = self._api.create(self._pod, dry_run=True)["spec"].get("imagePullSecrets")
            except ApiError:
                reached = False
            if reached:
                self.answered += 1
            else:
                self.missed += 1


@contextmanager
def admissions(cluster: ControlPlane) -> Iterator[Admissions]:
    name = f"rotated-{next(_numbers)}"
    cluster.namespace(name, labels={"pullsecret-webhook/owner": name})
    thread = Admissions(cluster, name)
    thread.start()
    try:
        yield thread
    finally:
        thread.stop = True
        thread.join(10)


def secret(cluster: ControlPlane) -> dict[str, bytes]:
    """Nothing while it is not there."""
    found = cluster.api.get("Secret", CA, NAMESPACE) or {"data": {}}
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


def put(cluster: ControlPlane, **data: bytes) -> None:
    encoded = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()}
    cluster.api.patch("Secret", CA, {"data": encoded}, NAMESPACE)
    touch(cluster)


def touch(cluster: ControlPlane) -> None:
    """The replicas look when they see it."""
    touched = {"metadata": {"annotations": {"test/touched": str(next(_numbers))}}}
    cluster.api.patch("MutatingWebhookConfiguration", CONFIGURATION, touched)


def noted_a_soak_ago(cluster: ControlPlane, soak: timedelta = SOAK) -> None:
    """As if the time had passed."""
    until(lambda: "next.confirmed" in secret(cluster), "the next CA is noted as published", within=15)
    put(cluster, next_confirmed=(datetime.now(UTC) - soak).isoformat(timespec="seconds").encode())


def published(cluster: ControlPlane) -> bytes:
    return base64.b64decode(deployed.ca_bundle(cluster.api))


def test_ca_rotation_misses_no_admission(cluster: ControlPlane, webhook: Webhook) -> None:
    aged = Authority.create(datetime.now(UTC) - timedelta(days=300))
    certificate, key = aged.pem()
    with deployed.running(cluster, name="second-of-two"), admissions(cluster) as admitted:
        until(lambda: admitted.answered > 10, "pods are admitted", within=10)
        first = secret(cluster)
        put(cluster, ca_crt=certificate + first["ca.crt"], next_crt=certificate, next_key=key)
        noted_a_soak_ago(cluster)
        until(lambda: secret(cluster)["tls.crt"] == certificate, "the aged CA signs", within=15)
        until(lambda: "next.crt" in secret(cluster), "the one after it is made", within=15)
        new = secret(cluster)["next.crt"]
        assert secret(cluster)["ca.crt"] == new + certificate + first["ca.crt"]
        noted_a_soak_ago(cluster)
        until(lambda: secret(cluster)["tls.crt"] == new, "the one after it signs", within=15)
        assert set(secret(cluster)) == {"ca.crt", "tls.crt", "tls.key"}
        assert published(cluster) == secret(cluster)["ca.crt"]
        before = admitted.answered
        until(lambda: admitted.answered > before + 50, "pods are admitted", within=20)

    assert admitted.missed == 0
    assert "PRIVATE" not in webhook.log


def test_ca_secret_without_its_key_is_repaired_and_misses_no_admission(cluster: ControlPlane, webhook: Webhook) -> None:
    with admissions(cluster) as admitted:
        until(lambda: admitted.answered > 10, "pods are admitted", within=10)
        put(cluster, tls_key=b"")
        noted_a_soak_ago(cluster)
        until(lambda: secret(cluster).get("tls.key"), "it has a CA that signs", within=15)
        before = admitted.answered
        until(lambda: admitted.answered > before + 50, "pods are admitted", within=20)

    assert admitted.missed == 0
    assert "the CA Secret was written: tls.key is empty" in webhook.log


class Alternating(threading.Thread):
    """As a Service does it: hands each new connection to the next one of some ports."""

    def __init__(self, *ports: int) -> None:
        super().__init__()
        self._targets = cycle(ports)
        self._loop = asyncio.new_event_loop()
        self._server = self._loop.run_until_complete(asyncio.start_server(self._hand_on, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(10)

    def run(self) -> None:
        self._loop.run_forever()
        self._server.close()
        for task in (tasks := asyncio.all_tasks(self._loop)):
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _hand_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", next(self._targets))
        await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        with suppress(ConnectionError, asyncio.CancelledError):  # cancelled when the test ends
            while data := await reader.read(65536):
                writer.write(data)
    finally:
        writer.close()


def foreign() -> bytes:
    """A CA Secret's data from another cluster, say."""
    authority = Authority.create(datetime.now(UTC))
    data = Bundle((authority.certificate,), authority).data()
    return json.dumps({key: base64.b64encode(value).decode() for key, value in data.items()}).encode()


def delete(cluster: ControlPlane) -> None:
    cluster.api.delete("Secret", CA, NAMESPACE)


def replace(cluster: ControlPlane) -> None:
    cluster.api.patch("Secret", CA, {"data": json.loads(foreign())}, NAMESPACE)


def garble(cluster: ControlPlane) -> None:
    put(cluster, ca_crt=b"x", tls_crt=b"x", tls_key=b"x")


def served(replica: Webhook) -> str:
    return ssl.get_server_certificate(("127.0.0.1", replica.port))


@pytest.mark.parametrize(
    "ways",
    [
        pytest.param([delete], id="deleted"),
        pytest.param([replace], id="replaced", marks=pytest.mark.slow),
        pytest.param(
            [delete, garble, delete, replace, delete] * 2,
            id="ten times",
            marks=[pytest.mark.slow, pytest.mark.timeout(300)],  # a minute alone
        ),
    ],
)
def test_a_ca_secret_that_is_deleted_or_replaced_refuses_nobody(
    cluster: ControlPlane, webhook: Webhook, ways: list[Callable[[ControlPlane], None]]
) -> None:
    with (
        deployed.running(cluster, name="second-of-two") as second,
        Alternating(webhook.port, second.port) as both,
        admissions(cluster) as one,
        admissions(cluster) as other,
    ):
        until(lambda: min(one.answered, other.answered) > 10, "pods are admitted", within=10)
        deployed.register(cluster, both.port, failurePolicy="Fail")
        try:
            for way in ways:
                relieved(cluster, (webhook, second), way)
                before = one.answered
                until(lambda least=before + 20: one.answered > least, "pods are admitted", within=20)  # type: ignore[misc]
        finally:
            deployed.register(cluster, webhook.port)

    assert (one.missed, other.missed) == (0, 0)


def relieved(cluster: ControlPlane, replicas: tuple[Webhook, Webhook], way: Callable[[ControlPlane], None]) -> None:
    """From a CA that was in order to the next one, as if the time had passed."""
    old, leaves = secret(cluster)["tls.crt"], [served(replica) for replica in replicas]
    way(cluster)
    touch(cluster)
    until(lambda: "next.confirmed" in secret(cluster), "the next CA is noted as published", within=15)
    new = secret(cluster)["next.crt"]
    assert new != old == secret(cluster)["tls.crt"]
    assert published(cluster) == new + old
    assert [served(replica) for replica in replicas] == leaves
    noted_a_soak_ago(cluster, RELIEF)
    until(lambda: not {*leaves} & {served(replica) for replica in replicas}, "leaves have changed", within=15)
    assert published(cluster) == new + old
    noted_a_soak_ago(cluster, 2 * RELIEF)
    until(lambda: published(cluster) == new, "the old one is published no longer", within=15)
    assert secret(cluster)["ca.crt"] == secret(cluster)["tls.crt"] == new


def test_a_ca_is_distrusted_at_once_when_it_is_published_no_longer(cluster: ControlPlane, webhook: Webhook) -> None:
    """Until the API server has the new caBundle, pods are admitted without us."""
    before = secret(cluster)["tls.crt"]
    cluster.api.delete("Secret", CA, NAMESPACE)
    deployed.patch_entries(cluster.api, clientConfig={"caBundle": ""})
    until(lambda: secret(cluster), "it is there again", within=15)
    until(lambda: published(cluster) == secret(cluster)["ca.crt"], "it is published", within=15)
    assert secret(cluster)["ca.crt"] == secret(cluster)["tls.crt"] != before
    deployed.wait_called(cluster.api, webhook.port, "called")


def test_a_replaced_registration_has_its_bundle_again_within_seconds(cluster: ControlPlane, webhook: Webhook) -> None:
    """As the chart renders it, which has no caBundle."""
    found = cluster.api.get("MutatingWebhookConfiguration", CONFIGURATION)
    assert found
    rendered = deployed.registration()
    for entry in rendered["webhooks"]:
        entry["clientConfig"] = {"url": found["webhooks"][0]["clientConfig"]["url"]}
    before = published(cluster)
    cluster.kubectl("replace", "-f", "-", input=json.dumps(rendered))
    assert published(cluster) == b""
    until(lambda: published(cluster) == before, "it is published again", within=5)
    deployed.wait_called(cluster.api, webhook.port, "called")


def test_an_upgrade_from_one_entry_and_back_misses_no_admission(cluster: ControlPlane, webhook: Webhook) -> None:
    """A replica that runs gives the new entry its CA: until then Deployments go without, and their pods do not."""
    two = deployed.registration()
    for entry in two["webhooks"]:
        entry["clientConfig"] = {"url": f"https://127.0.0.1:{webhook.port}/mutate"}
    pods, templates = two["webhooks"]
    conditions = [one for one in templates["matchConditions"] if one["name"] == "created-or-lost-our-reference"]
    rules = [*pods["rules"], *templates["rules"]]
    one = two | {"webhooks": [pods | {"failurePolicy": "Fail", "matchConditions": conditions, "rules": rules}]}
    two["webhooks"][0] = pods | {"failurePolicy": "Fail"}

    def injected() -> bool:
        return names(cluster.api.create(deployment("called"), dry_run=True)) == [SECRET]

    with admissions(cluster) as admitted:
        until(lambda: admitted.answered > 10, "pods are admitted", within=10)
        before = deployed.ca_bundle(cluster.api)
        for _ in range(3):
            for configuration in (one, two):
                cluster.api.apply(configuration)
                until(lambda: deployed.ca_bundle(cluster.api) == before, "all entries have the CA", within=10)
                until(injected, "Deployments get the reference", within=10)
                answered = admitted.answered
                until(lambda least=answered + 20: admitted.answered > least, "pods are admitted", within=20)  # type: ignore[misc]
        deployed.register(cluster, webhook.port)
    assert admitted.missed == 0


def test_a_registration_that_vanishes_is_told_and_so_is_its_return(cluster: ControlPlane, webhook: Webhook) -> None:
    """Also by a replica whose certificate comes from files, and its CA from somebody else."""
    pair = trustme.CA().issue_cert("127.0.0.1")
    pair.private_key_pem.write_to_path(key := cluster.folder / "files.key")
    pair.cert_chain_pems[0].write_to_path(certificate := cluster.folder / "files.crt")
    tls = {"certFile": str(certificate), "keyFile": str(key)}

    def known(replica: Webhook, value: str) -> bool:
        return f"pullsecret_webhook_registered {value}" in replica.metrics()

    def told(reason: str) -> bool:
        events = cluster.api.list("Event", NAMESPACE)
        return any(one.get("reason") == reason and one["regarding"]["kind"] == "Service" for one in events)

    with deployed.running(cluster, name="files", settings={"tls": tls}) as other:
        until(lambda: known(webhook, "1.0") and known(other, "1.0"), "it is known to be there", within=10)
        deployed.unregister(cluster)
        try:
            until(lambda: told("RegistrationGone"), "that it is gone is told", within=10)
            until(lambda: known(webhook, "0.0") and known(other, "0.0"), "it is known to be gone", within=10)
        finally:
            deployed.register(cluster, webhook.port)
        until(lambda: told("RegistrationBack"), "that it is back is told", within=10)
        deployed.wait_called(cluster.api, webhook.port, "called")
        until(lambda: known(webhook, "1.0") and known(other, "1.0"), "it is there", within=10)
        assert "RegistrationGone" in other.log
