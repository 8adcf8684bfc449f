"""The API server's part in golden cases, as far as pull secrets go: conflicts, UIDs, finalizers, the write policy."""

import asyncio
import base64
import copy
import json
from collections.abc import Mapping
from typing import Any

import msgspec

from webhook.core.errors import WriteConflict, WriteDenied, WriteRefused
from webhook.core.names import DOCKERCONFIG_KEY, MANAGED_BY, MANAGER, OWNER
from webhook.core.pullsecret import ExistingSecret
from webhook.kube.cluster import SecretObject
from webhook.kube.pullsecrets import PullSecrets
from webhook.kube.reader import Reader

Object = dict[str, Any]


def described(secret: Object) -> str:
    """Whose it is and for which registries; never more of its content."""
    auths = json.loads(base64.b64decode(secret["data"][DOCKERCONFIG_KEY])).get("auths", {})
    return f"{secret['metadata']['annotations'][OWNER]}: {', '.join(sorted(auths))}"


class Store(PullSecrets):
    """`writes` says what was done, in order. `refuses`: why nothing may be; `slow`: seconds that a write takes."""

    def __init__(self, reader: Reader, refuses: str = "", slow: float = 0.0) -> None:
        self._reader, self._refuses, self._slow = reader, refuses, slow
        self._version = 1000
        self._edited: set[str] = set()
        self.secrets: dict[str, Object] = {}
        self.writes: list[str] = []

    def place(self, secret: Object, *, edited: bool = False) -> ExistingSecret:
        """`edited`: a field that we once wrote belongs to somebody else now."""
        self._version += 1
        metadata = secret["metadata"]
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"secret-{self._version}")
        self.secrets[metadata["namespace"]] = secret
        if edited:
            self._edited.add(metadata["uid"])
        return self._seen(secret)

    def _seen(self, secret: Object) -> ExistingSecret:
        return self._reader.existing(msgspec.convert(secret, SecretObject))

    async def _asked(self) -> None:
        if self._slow:
            await asyncio.sleep(self._slow)
        if self._refuses:
            raise WriteRefused(self._refuses)

    async def apply(
        self, body: Mapping[str, Any], over: ExistingSecret | None, *, force: bool = False
    ) -> ExistingSecret:
        await self._asked()
        secret: Object = copy.deepcopy(dict(body))
        stands = self.secrets.get(secret["metadata"]["namespace"])
        if over is not None and (stands is None or stands["metadata"]["uid"] != over.uid):
            raise WriteConflict("conflict")
        if stands is not None:
            self._allow(stands, secret, force=force)
            kept = ("uid", "finalizers", "deletionTimestamp")
            secret["metadata"] |= {key: stands["metadata"][key] for key in kept if key in stands["metadata"]}
        self.writes.append(f"{'update' if stands else 'create'} {described(secret)}")
        return self.place(secret)

    def _allow(self, stands: Object, secret: Object, *, force: bool) -> None:
        uid, ours = stands["metadata"]["uid"], stands["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER
        if (not ours or uid in self._edited) and not force:
            raise WriteConflict("conflict")
        if not ours or stands["metadata"]["annotations"][OWNER] != secret["metadata"]["annotations"][OWNER]:
            raise WriteDenied("denied by an admission policy")
        if stands.get("immutable") or stands["type"] != secret["type"]:
            raise WriteRefused("the API server did not accept it (422 Invalid)")
        self._edited.discard(uid)

    async def delete(self, over: ExistingSecret) -> None:
        await self._asked()
        if secret := self._same(over):
            self.writes.append(f"delete {over.owner}")
            if secret["metadata"].get("finalizers"):
                self.place(secret | {"metadata": secret["metadata"] | {"deletionTimestamp": "2030-01-01T00:00:00Z"}})
            else:
                del self.secrets[over.namespace]

    async def release(self, over: ExistingSecret) -> None:
        await self._asked()
        if secret := self._same(over):
            assert "deletionTimestamp" in secret["metadata"], "finalizers are only ever taken off what is being deleted"
            self.writes.append(f"release {over.owner}")
            del self.secrets[over.namespace]

    def _same(self, over: ExistingSecret) -> Object | None:
        secret = self.secrets.get(over.namespace)
        if secret is not None and secret["metadata"]["uid"] != over.uid:
            raise WriteConflict("conflict")
        return secret

    async def read(self, namespace: str) -> ExistingSecret | None:
        secret = self.secrets.get(namespace)
        return self._seen(secret) if secret else None
