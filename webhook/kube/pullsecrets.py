"""Calls to the API server about pull secrets, and what its refusals mean for us."""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from webhook.core.errors import WriteConflict, WriteDenied, WriteRefused
from webhook.core.names import MANAGER
from webhook.core.pullsecret import ExistingSecret
from webhook.core.shown import some
from webhook.core.wire import Unreadable
from webhook.fairness import yield_to_reviews
from webhook.kube.cluster import MERGE_PATCH, Cluster, ClusterError, SecretObject, decode
from webhook.kube.reader import Reader

_BY_RBAC = re.compile(r'" cannot [a-z]+ resource "')
"""In the API server's message when it knows no role that allows a call. It may have just started, and read none yet."""

_CONFLICT = re.compile(r'conflicts? with "([^"]{1,128})"')
"""In its message when others manage fields that we apply."""

_SECRET = msgspec.json.Decoder(SecretObject)


class PullSecrets:
    """The Secrets of our name. Server-side apply without force: RBAC that names the Secret is enough, and a field of
    another manager is a conflict instead of being overwritten. All raise WriteConflict, WriteDenied or WriteRefused.
    """

    def __init__(self, cluster: Cluster, reader: Reader, name: str) -> None:
        self._cluster, self._reader, self._name = cluster, reader, name

    def _path(self, namespace: str) -> str:
        return f"/api/v1/namespaces/{namespace}/secrets/{self._name}"

    async def apply(
        self, body: Mapping[str, Any], over: ExistingSecret | None, *, force: bool = False
    ) -> ExistingSecret:
        """Onto `over` (checked by UID), or creates it."""
        path = self._path(body["metadata"]["namespace"])
        if over is not None:
            body = {**body, "metadata": {**body["metadata"], "uid": over.uid}}
        try:
            raw = await self._cluster.apply(path, body, manager=MANAGER, force=force)
        except ClusterError as e:
            raise _meaning(e) from None
        await yield_to_reviews()
        return await self._existing(raw)

    async def delete(self, over: ExistingSecret) -> None:
        """Only the object with this UID: a Secret that has replaced it stays. A missing one is no error."""
        await self._call("DELETE", over.namespace, body={"preconditions": {"uid": over.uid}})

    async def release(self, over: ExistingSecret) -> None:
        """Removes the finalizers of a Secret that is being deleted. A missing one is no error."""
        patch = {"metadata": {"uid": over.uid, "finalizers": None}}
        await self._call("PATCH", over.namespace, body=patch, content_type=MERGE_PATCH)

    async def read(self, namespace: str) -> ExistingSecret | None:
        raw = await self._call("GET", namespace)
        return None if raw is None else await self._existing(raw)

    async def _call(self, method: str, namespace: str, **options: Any) -> bytes | None:
        """None: there is no such Secret."""
        try:
            return await self._cluster.call(method, self._path(namespace), **options)
        except ClusterError as e:
            if e.status == 404:
                return None
            raise _meaning(e) from None

    async def _existing(self, raw: bytes) -> ExistingSecret:
        try:
            return self._reader.existing(await decode(_SECRET, raw))
        except (Unreadable, ValueError) as e:
            raise WriteRefused(f"the existing Secret cannot be read ({type(e).__name__})") from None


def _meaning(e: ClusterError) -> WriteConflict | WriteDenied | WriteRefused:
    if e.status in (403, 422) and "ValidatingAdmissionPolicy" in e.message:
        return WriteDenied("denied by an admission policy")
    replaced = e.status == 422 and "metadata.uid" in e.message  # another object is where the one was that we knew
    if e.status == 409 or replaced:
        return WriteConflict("conflict", by=some(list(dict.fromkeys(_CONFLICT.findall(e.message)))))
    if e.status == 403 and "exceeded quota" in e.message:
        return WriteRefused("a quota of the namespace forbids it")
    if e.status == 403 and "because it is being terminated" in e.message:
        return WriteRefused("the namespace is being terminated")
    if e.status == 403:
        why = "the API server forbids it; compare the webhook's RBAC with its chart"
        return WriteRefused(why, passing=_BY_RBAC.search(e.message) is not None)
    if e.status == 404:
        return WriteRefused("the namespace is gone")
    passing = e.status in (0, 401, 408, 429) or e.status >= 500
    return WriteRefused(f"the API server did not accept it ({e})", passing=passing)
