"""A Secret in the release namespace in which the replicas keep something of their own, such as the CA."""

import base64
from collections.abc import Mapping
from uuid import uuid4

import msgspec

from certs.errors import ApiTrouble, Conflict, NotOurs
from certs.ports import Stored
from webhook.core.names import MANAGED_BY, MANAGER, is_ours
from webhook.core.wire import Unreadable
from webhook.kube.cluster import MERGE_PATCH, Cluster, ClusterError, SecretObject, decode

TYPE = "Opaque"
_SECRET = msgspec.json.Decoder(SecretObject)


class OwnSecret:
    """`what`: is in it, and `otherwise`: what to do if there is another Secret of its name, both for messages.

    Created by server-side apply, so that RBAC which names the Secret is enough.

    Each process has its own field manager: if two create the Secret, the second gets a conflict, because both set the
    same fields. Later writes are merge patches, which can remove fields that others applied.
    """

    def __init__(self, cluster: Cluster, namespace: str, name: str, what: str, otherwise: str = "") -> None:
        self._cluster, self._secret, self._what = cluster, f"Secret {namespace}/{name}", what
        self._todo = f"rename it, or {otherwise}" if otherwise else "rename it"
        self._path = f"/api/v1/namespaces/{namespace}/secrets/{name}"
        self._metadata = {"name": name, "namespace": namespace, "labels": {MANAGED_BY: MANAGER}}
        self._creator = f"{MANAGER}-{uuid4().hex[:12]}"

    async def read(self) -> Stored | None:
        try:
            seen = await decode(_SECRET, await self._cluster.call("GET", self._path))
        except (ClusterError, Unreadable) as e:
            if isinstance(e, ClusterError) and e.status == 404:
                return None
            raise ApiTrouble(f"the {self._what} {self._secret} cannot be read ({e})") from None
        if not is_ours(seen.metadata.labels):
            raise NotOurs(f"the {self._secret} is not managed by {MANAGER}; {self._todo}")
        if seen.type != TYPE or seen.immutable:
            wrong = "is immutable" if seen.immutable else f"is of the type {seen.type}, not {TYPE}"
            todo = "delete it, and the webhook creates a new one"
            raise NotOurs(f"the {self._secret} {wrong}, and cannot be changed; {todo}")
        return Stored(
            {key: from_base64(text) for key, text in (seen.data or {}).items()}, seen.metadata.resource_version
        )

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
                raise Conflict(
                    f"the {self._what} Secret has changed since it was read; the webhook reads it again"
                ) from None
            raise ApiTrouble(f"the {self._what} {self._secret} cannot be written ({e})") from None


def from_base64(text: str) -> bytes:
    """Empty if it is none: then it is not ours, and is written anew."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""
