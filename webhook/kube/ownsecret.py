"""A Secret in the release namespace in which the replicas keep something of their own, such as the CA."""

from collections.abc import Mapping
from uuid import uuid4

import msgspec

from certs.errors import ApiTrouble, Conflict, NotOurs
from certs.ports import Stored
from webhook.core.names import MANAGED_BY, MANAGER, is_ours
from webhook.core.wire import Unreadable
from webhook.kube.cluster import MERGE_PATCH, METADATA_ONLY, Cluster, ClusterError, Object, decode

TYPE = "Opaque"


class _Secret(Object):
    """Its decoder makes bytes of base64: of a megabyte in half a millisecond, and `base64` would need two."""

    type: str = ""
    data: dict[str, bytes] | None = None
    immutable: bool | None = None


_SECRET, _WRITTEN = msgspec.json.Decoder(_Secret), msgspec.json.Decoder(Object)


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
        return Stored(seen.data or {}, seen.metadata.resource_version)

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> Stored:
        try:
            answer = await (self._create(data) if over is None else self._replace(data, over))
            return Stored(dict(data), (await decode(_WRITTEN, answer)).metadata.resource_version)
        except (ClusterError, Unreadable) as e:
            if isinstance(e, ClusterError) and (e.status == 409 or (e.status == 404 and over is not None)):
                raise Conflict(
                    f"the {self._what} Secret has changed since it was read; the webhook reads it again"
                ) from None
            raise ApiTrouble(f"the {self._what} {self._secret} cannot be written ({e})") from None

    async def _create(self, data: Mapping[str, bytes]) -> bytes:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": self._metadata, "type": TYPE, "data": data}
        return await self._cluster.apply(self._path, body, manager=self._creator)

    async def _replace(self, data: Mapping[str, bytes], over: Stored) -> bytes:
        removed = dict.fromkeys(over.data.keys() - data.keys())
        return await self._cluster.call(
            "PATCH",
            self._path,
            query={"fieldManager": MANAGER},
            body=msgspec.json.encode({"metadata": {"resourceVersion": over.version}, "data": {**data, **removed}}),
            accept=METADATA_ONLY.format(""),
            content_type=MERGE_PATCH,
        )
