"""The Secrets that hold what an issuer has minted: one for each owner, in the webhook's own namespace.

Read by a watch, so that nothing is polled. Written only over what was read: a Secret that another replica has changed
since then stays as it is.
"""

import base64
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import msgspec

from webhook.core.credential import Credential
from webhook.core.dockerconfig import render
from webhook.core.errors import WriteConflict, WriteRefused
from webhook.core.issued import Issued, read_issued, secret_name
from webhook.core.names import DOCKERCONFIG_KEY, DOCKERCONFIG_TYPE, EARLIER, HANDLE, ISSUER, MANAGER, OWNER
from webhook.core.owner import marks
from webhook.core.wire import Unreadable
from webhook.kube.cluster import MERGE_PATCH, Cluster, ClusterError, Object, decode
from webhook.kube.lease import WRITE_SECONDS
from webhook.kube.listing import accept
from webhook.kube.reader import version
from webhook.kube.reflector import Feed
from webhook.kube.views import View
from webhook.kube.watch import Health, Watch

CONFLICT, NOT_FOUND = 409, 404


class _List(msgspec.Struct):
    items: list[Object] | None = None


_SECRET, _LIST = msgspec.json.Decoder(Object), msgspec.json.Decoder(_List)


@dataclass(frozen=True, slots=True)
class Found:
    """`issued` None: its annotations cannot be read. `resource_version`: as the API server has it."""

    version: int
    resource_version: str
    uid: str
    issued: Issued | None


class IssuedSecrets(View[Found]):
    """By owner. `issuer`: the name that the configuration has for it."""

    def __init__(self, cluster: Cluster, namespace: str, issuer: str) -> None:
        super().__init__()
        self._cluster, self._namespace, self._issuer = cluster, namespace, issuer
        self._path = f"/api/v1/namespaces/{namespace}/secrets"

    async def run(self, health: Health) -> None:
        query = {"labelSelector": f"{ISSUER}={self._issuer}"}
        # Only metadata: the process that issues keeps no password that it has stored.
        watch = Watch(self._cluster, self._path, Object, self._keep, health, query=query, metadata_only=True)
        await Feed(watch, self).run()

    def _keep(self, seen: Object) -> tuple[str, Found]:
        return _owner(seen), _found(seen)

    def found(self, owner: str) -> tuple[bool, Issued | None]:
        known = self.get(owner)
        return known is not None, None if known is None else known.issued

    def owners(self) -> Collection[str]:
        return [owner for owner, _ in self.items()]

    async def confirm(self, owner: str) -> None:
        """Raises WriteConflict and WriteRefused. A list, because the account may list Secrets and get none."""
        before, name = self.get(owner), secret_name(self._issuer, owner)
        query, header = {"fieldSelector": f"metadata.name={name}"}, accept("List", metadata_only=True)
        try:
            raw = await self._cluster.call("GET", self._path, within=WRITE_SECONDS, query=query, accept=header)
            items = (await decode(_LIST, raw)).items or ()
        except (ClusterError, Unreadable) as e:
            raise WriteRefused(f"the Secret {name} cannot be read ({e})") from None
        there = [(one.metadata.uid, one.metadata.resource_version) for one in items]
        if there != ([(before.uid, before.resource_version)] if before else []):
            raise WriteConflict(_changed(name))

    async def write(self, owner: str, issued: Issued, credentials: tuple[Credential, ...] | None) -> None:
        """Raises WriteConflict and WriteRefused."""
        asked = before, _ = self.moment(owner)
        name = secret_name(self._issuer, owner)
        labels, annotations = marks(owner)
        metadata: dict[str, Any] = {
            "labels": labels | {ISSUER: self._issuer},
            "annotations": annotations | issued.annotations,
        }
        data = {} if credentials is None else {"data": _content(credentials)}
        if before is None:
            metadata |= {"name": name, "namespace": self._namespace}
            body = {"apiVersion": "v1", "kind": "Secret", "type": DOCKERCONFIG_TYPE, "metadata": metadata, **data}
            there = (
                f"there is a Secret {name} that is not this owner's, or lacks the label {ISSUER}={self._issuer}; give "
                "it both back, or delete it"
            )
            raw = await self._call("POST", self._path, there, body=body)
        else:
            metadata["annotations"] = {HANDLE: None, EARLIER: None} | metadata["annotations"]
            metadata |= {"resourceVersion": before.resource_version, "uid": before.uid}
            body = {"metadata": metadata, **data}
            path = f"{self._path}/{name}"
            raw = await self._call("PATCH", path, _changed(name), body=body, content_type=MERGE_PATCH)
        try:
            self.answered(owner, _found(await decode(_SECRET, raw)), asked)
        except Unreadable as e:
            raise WriteRefused(f"the answer about Secret {name} cannot be read ({e})") from None

    async def remove(self, owner: str) -> None:
        """Raises WriteConflict and WriteRefused."""
        before = self.get(owner)
        if before is None:
            return
        preconditions = {"uid": before.uid, "resourceVersion": before.resource_version}
        name = secret_name(self._issuer, owner)
        await self._call("DELETE", f"{self._path}/{name}", _changed(name), body={"preconditions": preconditions})
        self.forget(owner, before.version)

    async def _call(self, method: str, path: str, conflict: str, **options: Any) -> bytes:
        try:
            return await self._cluster.call(
                method, path, within=WRITE_SECONDS, query={"fieldManager": MANAGER}, **options
            )
        except ClusterError as e:
            if e.status in {CONFLICT, NOT_FOUND}:
                raise WriteConflict(conflict) from None
            raise WriteRefused(f"the Secret cannot be written ({e})") from None


def _changed(name: str) -> str:
    return f"the Secret {name} has changed since it was read, or another Secret says that it is this owner's"


def _found(seen: Object) -> Found:
    meta = seen.metadata
    return Found(version(meta), meta.resource_version, meta.uid, read_issued(meta.annotations or {}))


def _owner(seen: Object) -> str:
    meta = seen.metadata
    return (meta.annotations or {}).get(OWNER, "") or (meta.labels or {}).get(OWNER, "")


def _content(credentials: tuple[Credential, ...]) -> dict[str, str]:
    return {DOCKERCONFIG_KEY: base64.b64encode(render(credentials)).decode()}
