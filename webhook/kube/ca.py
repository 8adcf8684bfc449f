"""Where certs/ keeps the CA (a Secret in the release namespace) and publishes it (the caBundle)."""

import base64
from collections.abc import Mapping
from uuid import uuid4

import msgspec

from certs.errors import ApiTrouble, Conflict, NotOurs
from certs.ports import Published, Stored
from webhook.core.names import MANAGED_BY, MANAGER, is_ours
from webhook.core.wire import Unreadable
from webhook.kube.cluster import MERGE_PATCH, Cluster, ClusterError, Object, SecretObject, decode

TYPE = "Opaque"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


class CaSecret:
    """Created by server-side apply, so that RBAC which names the Secret is enough.

    Each process has its own field manager: if two create the Secret, the second gets a conflict, because both set the
    same fields. Later writes are merge patches, which can remove fields that others applied.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        self._cluster, self._secret = cluster, f"Secret {namespace}/{name}"
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        self._metadata = {"name": name, "namespace": namespace, "labels": {MANAGED_BY: MANAGER}}
        self._creator = f"{MANAGER}-{uuid4().hex[:12]}"

    async def read(self) -> Stored | None:
        try:
            seen = await decode(_SECRET, await self._cluster.call("GET", self._path))
        except (ClusterError, Unreadable) as e:
            if isinstance(e, ClusterError) and e.status == 404:
                return None
            raise ApiTrouble(f"the CA {self._secret} cannot be read ({e})") from None
        if not is_ours(seen.metadata.labels):
            todo = "rename it, or set tls.caSecret to another name"
            raise NotOurs(f"the {self._secret} is not managed by {MANAGER}; {todo}")
        if seen.type != TYPE or seen.immutable:
            wrong = "is immutable" if seen.immutable else f"is of the type {seen.type}, not {TYPE}"
            todo = "delete it, and the webhook creates a new CA"
            raise NotOurs(f"the {self._secret} {wrong}, and cannot be changed; {todo}")
        return Stored({key: _bytes(text) for key, text in (seen.data or {}).items()}, seen.metadata.resource_version)

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> None:
        encoded = {key: base64.b64encode(value).decode() for key, value in data.items()}
        try:
            if over is None:
                body = {"apiVersion": "v1", "kind": "Secret", "metadata": self._metadata, "type": TYPE, "data": encoded}
                await self._cluster.apply(self._path, body, manager=self._creator)
            else:
                removed = dict.fromkeys(over.data.keys() - data.keys())
                body = {"metadata": {"resourceVersion": over.version}, "data": encoded | removed}
                query = {"fieldManager": MANAGER}
                await self._cluster.call("PATCH", self._path, query=query, body=body, content_type=MERGE_PATCH)
        except ClusterError as e:
            if e.status == 409 or (e.status == 404 and over is not None):
                raise Conflict("the CA Secret has changed since it was read; the webhook reads it again") from None
            raise ApiTrouble(f"the CA {self._secret} cannot be written ({e})") from None


class _Client(msgspec.Struct, rename="camel"):
    ca_bundle: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    name: str
    client_config: _Client


class _Configuration(Object):
    webhooks: list[_Entry] | None = None


_SECRET, _CONFIGURATION = msgspec.json.Decoder(SecretObject), msgspec.json.Decoder(_Configuration)


class CaBundle:
    """Written by a strategic merge patch, keyed by the entry's name: it changes no field that the chart sets."""

    def __init__(self, cluster: Cluster, configuration: str, entry: str) -> None:
        self._cluster, self._name, self._entry = cluster, configuration, entry
        self._path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{configuration}"

    async def published(self) -> Published | None:
        try:
            seen = await decode(_CONFIGURATION, await self._cluster.call("GET", self._path))
        except (ClusterError, Unreadable) as e:
            if isinstance(e, ClusterError) and e.status == 404:
                return None
            raise ApiTrouble(f"the MutatingWebhookConfiguration {self._name} cannot be read ({e})") from None
        for entry in seen.webhooks or ():
            if entry.name == self._entry:
                return Published(_bytes(entry.client_config.ca_bundle or ""), seen.metadata.resource_version)
        return None

    async def publish(self, bundle: bytes, over: Published) -> None:
        ca_bundle = base64.b64encode(bundle).decode()
        entry = {"name": self._entry, "clientConfig": {"caBundle": ca_bundle}}
        body = {"metadata": {"resourceVersion": over.version}, "webhooks": [entry]}
        query = {"fieldManager": MANAGER}
        try:
            await self._cluster.call("PATCH", self._path, query=query, body=body, content_type=STRATEGIC_MERGE_PATCH)
        except ClusterError as e:
            if e.status in (404, 409):
                raise Conflict(f"the webhook configuration {self._name} has changed; it is read again") from None
            raise ApiTrouble(f"the caBundle of {self._name} cannot be published ({e})") from None


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""
