"""Where certs/ keeps the CA (a Secret in the release namespace) and publishes it (the caBundle)."""

import base64
import binascii
from collections.abc import Mapping
from uuid import uuid4

import msgspec

from certs.errors import ApiTrouble, Conflict, NotOurs
from certs.store import Stored
from webhook.cluster import Cluster, ClusterError, SecretObject
from webhook.names import MANAGED_BY, MANAGER

STRATEGIC = "application/strategic-merge-patch+json"


class CaSecret:
    """Server-side apply, so that RBAC which names the Secret is enough, also for creating it.

    Without a resourceVersion, the field manager of each process is its own: then the second of two that create is
    refused with a conflict, as both set the same fields.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster, self._namespace, self._name = cluster, namespace, name
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        self._once = f"{MANAGER}-{uuid4().hex[:12]}"

    async def read(self) -> Stored | None:
        try:
            seen = msgspec.json.decode(await self._cluster.call("GET", self._path), type=SecretObject)
        except ClusterError as e:
            if e.status == 404:
                return None
            raise ApiTrouble(f"the CA Secret {self._namespace}/{self._name} cannot be read ({e})") from None
        if (seen.metadata.labels or {}).get(MANAGED_BY) != MANAGER:
            raise NotOurs(
                f"the Secret {self._namespace}/{self._name} is not managed by {MANAGER}; rename it, "
                "or set tls.caSecret to another name"
            )
        return Stored({key: _bytes(text) for key, text in (seen.data or {}).items()}, seen.metadata.resource_version)

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> None:
        metadata: dict[str, object] = {
            "name": self._name,
            "namespace": self._namespace,
            "labels": {MANAGED_BY: MANAGER},
        }
        if over is not None:
            metadata["resourceVersion"] = over.version
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": metadata,
            "type": "Opaque",
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }
        try:
            await self._cluster.apply(self._path, body, manager=self._once, force=over is not None)
        except ClusterError as e:
            if e.status == 409:
                raise Conflict("another replica wrote the CA Secret first") from None
            raise ApiTrouble(f"the CA Secret {self._namespace}/{self._name} cannot be written ({e})") from None


class _Client(msgspec.Struct, rename="camel"):
    ca_bundle: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    name: str
    client_config: _Client


class _Configuration(msgspec.Struct):
    webhooks: list[_Entry] | None = None


class CaBundle:
    """Strategic merge patch, keyed by the entry's name: the chart's owner of the other fields never notices."""

    def __init__(self, cluster: Cluster, configuration: str, entry: str) -> None:
        self._cluster, self._name, self._entry = cluster, configuration, entry
        self._path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{configuration}"

    async def published(self) -> bytes | None:
        try:
            seen = msgspec.json.decode(await self._cluster.call("GET", self._path), type=_Configuration)
        except ClusterError as e:
            if e.status == 404:
                return None
            raise ApiTrouble(f"the MutatingWebhookConfiguration {self._name} cannot be read ({e})") from None
        for entry in seen.webhooks or ():
            if entry.name == self._entry:
                return _bytes(entry.client_config.ca_bundle or "")
        return None

    async def publish(self, bundle: bytes) -> None:
        ca_bundle = base64.b64encode(bundle).decode()
        body = {"webhooks": [{"name": self._entry, "clientConfig": {"caBundle": ca_bundle}}]}
        query = {"fieldManager": MANAGER}
        try:
            await self._cluster.call("PATCH", self._path, query=query, body=body, content_type=STRATEGIC)
        except ClusterError as e:
            if e.status != 404:
                raise ApiTrouble(f"the caBundle of {self._name} cannot be published ({e})") from None


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return b""
