"""Calls to the API server about source Secrets, and what its refusals mean here."""

from collections.abc import Mapping
from typing import Any

import msgspec

from webhook.commands.cluster_view import ClusterView
from webhook.commands.credential import content
from webhook.commands.credential.holdings import NotThere
from webhook.commands.writers import LAST_APPLIED
from webhook.core.errors import PullsecretError
from webhook.core.names import CHECKS_SECRET, OWNER
from webhook.core.shown import quoted, some
from webhook.core.wire import Unreadable
from webhook.kube.cluster import FORBIDDEN, MERGE_PATCH, ClusterError, SecretObject, decode, is_name
from webhook.sources.secret import read

FIELD_MANAGER = "pullsecret-credential"
SECONDS = 30.0
"""Seconds for a call."""
_SECRET = msgspec.json.Decoder(SecretObject)


class SourceSecrets:
    """Of one webhook. `dry_run`: the API server checks what would be written, and writes nothing. All raise
    PullsecretError.
    """

    def __init__(self, view: ClusterView, *, dry_run: bool = False) -> None:
        self._cluster, self._namespace = view.cluster, view.config.namespace
        self._query = {"fieldManager": FIELD_MANAGER} | ({"dryRun": "All"} if dry_run else {})
        self._dry_run = dry_run
        self._own = {view.config.tls.ca_secret, CHECKS_SECRET}

    async def get(self, name: str, owner: str) -> SecretObject:
        """Of this owner, as it is now."""
        seen = await self._there(name)
        if seen is None:
            raise NotThere(f"source Secret {quoted(name)} does not exist in namespace {self._namespace}")
        if _owner(seen) != owner:
            raise NotThere(f"Secret {name} is not a source Secret of {quoted(owner)}")
        return seen

    async def create(self, body: Mapping[str, Any]) -> None:
        name = body["metadata"]["name"]
        if not is_name(name) or name in self._own:
            raise PullsecretError(f"{quoted(name)} is no name for a source Secret; choose another one with --name")
        try:
            path = f"/api/v1/namespaces/{self._namespace}/secrets"
            await self._cluster.call("POST", path, query=self._query, body=body, within=SECONDS)
        except ClusterError as e:
            if e.status == 409 and e.reason == "AlreadyExists":
                raise PullsecretError(await self._why_taken(name)) from None
            if e.status == 404:
                raise PullsecretError(f"namespace {self._namespace} does not exist: is the chart installed?") from None
            raise self._refused(e, "create", name) from None

    async def change(self, seen: SecretObject, data: Mapping[str, Any], annotations: Mapping[str, str | None]) -> None:
        """Only the object that was seen, and only as it was seen. Everything else in it stays."""
        meta = seen.metadata
        marks: dict[str, str | None] = dict(annotations)
        if LAST_APPLIED in (meta.annotations or {}):
            marks[LAST_APPLIED] = None  # it has the old token
        body = {
            "metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "annotations": marks},
            "data": data,
        }
        try:
            await self._cluster.call(
                "PATCH", self._path(meta.name), query=self._query, body=body, content_type=MERGE_PATCH, within=SECONDS
            )
        except ClusterError as e:
            raise self._refused(e, "patch", meta.name) from None

    async def delete(self, seen: SecretObject) -> None:
        """Only the object that was seen, and only as it was seen. One that is gone is no error."""
        meta = seen.metadata
        body: dict[str, Any] = {"preconditions": {"uid": meta.uid, "resourceVersion": meta.resource_version}}
        if self._dry_run:
            body["dryRun"] = ["All"]
        try:
            await self._cluster.call("DELETE", self._path(meta.name), body=body, within=SECONDS)
        except ClusterError as e:
            if e.status != 404:
                raise self._refused(e, "delete", meta.name) from None

    def _path(self, name: str) -> str:
        return f"/api/v1/namespaces/{self._namespace}/secrets/{name}"

    async def _there(self, name: str) -> SecretObject | None:
        if not is_name(name):
            raise NotThere(f"{quoted(name)} is not a valid name of a Secret")
        try:
            return await decode(_SECRET, await self._cluster.call("GET", self._path(name), within=SECONDS))
        except ClusterError as e:
            if e.status == 404:
                return None
            raise self._refused(e, "get", name) from None
        except Unreadable as e:
            raise PullsecretError(f"source Secret {name}: {e}") from None

    async def _why_taken(self, name: str) -> str:
        what = f"Secret {name} exists already in namespace {self._namespace}"
        seen = await self._there(name)
        owner = None if seen is None else _owner(seen)
        if seen is None or owner is None:
            return f"{what}, and is no source Secret; choose another name with --name"
        registries = some(_registries(seen))
        has = f"is a source Secret of {quoted(owner)}{registries and f' for {registries}'}"
        return f"{what}, and {has}; to change it use pullsecret credential rotate, or choose another name with --name"

    def _refused(self, e: ClusterError, verb: str, name: str) -> PullsecretError:
        if e.status == FORBIDDEN and str(e) == f"403 {e.reason}":  # RBAC says more
            what = f"{verb} Secret {name} in namespace {self._namespace}"
            return PullsecretError(f"you may not {what} ({e}): an admission policy, a webhook or a quota forbids it")
        if e.status == 409:
            return PullsecretError(f"source Secret {name} has just changed; run this command again")
        if verb == "patch" and "immutable" in e.message:
            again = "remove it with pullsecret credential rm, then add it again"
            return PullsecretError(f"source Secret {name} is immutable; {again}")
        return PullsecretError(f"source Secret {name} cannot be {_DONE[verb]} ({e})")


_DONE = {"get": "read", "create": "created", "patch": "changed", "delete": "deleted"}


def _owner(seen: SecretObject) -> str | None:
    """None: it is no source Secret, or it is not known whose it is."""
    return read(seen).owner if OWNER in (seen.metadata.labels or {}) else None


def _registries(seen: SecretObject) -> list[str]:
    try:
        return sorted({one.registry for one in content.entries(seen)})
    except PullsecretError:
        return []
