"""The webhook's own certificates on a real API server: what the calls promise, and rotations that miss no admission."""

import asyncio
import base64
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count

import pytest

from certs.authority import Authority
from certs.bundle import SOAK
from certs.errors import Conflict, NotOurs
from certs.store import Published, Stored
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from webhook.certstore import CaBundle, CaSecret
from webhook.cluster import Cluster

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
    configuration["webhooks"][0]["failurePolicy"] = "Ignore"
    configuration["webhooks"][0]["objectSelector"] = {"matchLabels": {"nobody": "has-it"}}

    def client_config() -> Object:
        found = installed.api.get("MutatingWebhookConfiguration", name)
        assert found
        return dict(found["webhooks"][0]["clientConfig"])

    async def test(cluster: Cluster) -> None:
        hook = CaBundle(cluster, name, deployed.ENTRY)
        assert await hook.published() is None
        installed.api.apply(configuration)
        assert await CaBundle(cluster, name, "another.entry.io").published() is None
        seen = await hook.published()
        assert seen
        assert seen.bundle == b""
        bundle, other = (Authority.create(datetime.now(UTC)).pem()[0] for _ in range(2))
        await hook.publish(bundle, over=seen)
        assert client_config() == configuration["webhooks"][0]["clientConfig"] | {
            "caBundle": base64.b64encode(bundle).decode()
        }
        with pytest.raises(Conflict, match=f"{name} has changed"):
            await hook.publish(other, over=seen)
        newer = await hook.published()
        assert isinstance(newer, Published)
        assert newer.bundle == bundle

        installed.api.delete("MutatingWebhookConfiguration", name)
        with pytest.raises(Conflict):
            await hook.publish(other, over=newer)

    run(installed, test)


def test_the_clock_is_the_api_servers(installed: ControlPlane) -> None:
    async def test(cluster: Cluster) -> None:
        await cluster.call("GET", "/version")
        assert abs(cluster.now() - datetime.now(UTC)) < timedelta(seconds=5)
        assert cluster._heard[0]  # it told the time

    run(installed, test)


class Admissions(threading.Thread):
    """Dry runs of pods, one after the other: the webhook was not reached for one that comes back without reference."""

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
            if self._api.create(self._pod, dry_run=True)["spec"].get("imagePullSecrets"):
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
    found = cluster.api.get("Secret", CA, NAMESPACE)
    assert found
    return {key: base64.b64decode(value) for key, value in found["data"].items()}


def put(cluster: ControlPlane, **data: bytes) -> None:
    encoded = {key.replace("_", "."): base64.b64encode(value).decode() for key, value in data.items()}
    cluster.api.patch("Secret", CA, {"data": encoded}, NAMESPACE)
    touched = {"metadata": {"annotations": {"test/touched": str(next(_numbers))}}}
    cluster.api.patch("MutatingWebhookConfiguration", CONFIGURATION, touched)  # they look when they see it


def noted_a_soak_ago(cluster: ControlPlane) -> None:
    """As if the time had passed."""
    until(lambda: "next.confirmed" in secret(cluster), "the next CA is noted as published", within=15)
    put(cluster, next_confirmed=(datetime.now(UTC) - SOAK).isoformat(timespec="seconds").encode())


def published(cluster: ControlPlane) -> bytes:
    found = cluster.api.get("MutatingWebhookConfiguration", CONFIGURATION)
    assert found
    return base64.b64decode(found["webhooks"][0]["clientConfig"].get("caBundle", ""))


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


def test_a_deleted_ca_secret_is_made_anew_at_once(cluster: ControlPlane, webhook: Webhook) -> None:
    """Nothing old is trusted then. Until the API server has the new caBundle, pods are admitted without us."""
    before = secret(cluster)["tls.crt"]
    cluster.api.delete("Secret", CA, NAMESPACE)
    touched = {"metadata": {"annotations": {"test/touched": str(next(_numbers))}}}
    cluster.api.patch("MutatingWebhookConfiguration", CONFIGURATION, touched)
    until(lambda: cluster.api.get("Secret", CA, NAMESPACE) is not None, "it is there again", within=15)
    until(lambda: published(cluster) == secret(cluster)["ca.crt"], "it is published", within=15)
    assert secret(cluster)["ca.crt"] == secret(cluster)["tls.crt"] != before
    deployed.wait_called(cluster.api, webhook.port, "called")


def test_a_replaced_registration_has_its_bundle_again_within_seconds(cluster: ControlPlane, webhook: Webhook) -> None:
    """As the chart renders it, which has no caBundle."""
    found = cluster.api.get("MutatingWebhookConfiguration", CONFIGURATION)
    assert found
    rendered = deployed.registration()
    rendered["webhooks"][0]["clientConfig"] = {"url": found["webhooks"][0]["clientConfig"]["url"]}
    before = published(cluster)
    cluster.kubectl("replace", "-f", "-", input=json.dumps(rendered))
    assert published(cluster) == b""
    until(lambda: published(cluster) == before, "it is published again", within=5)
    deployed.wait_called(cluster.api, webhook.port, "called")
