"""Calls to the API server about pull secrets, namespaces and accounts, and what its refusals mean for us."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from webhook.core.errors import NamespaceUnknown, WriteConflict, WriteDenied, WriteRefused
from webhook.core.names import DOCKERCONFIG_KEY, DOCKERCONFIG_TYPE, MANAGED_BY, MANAGER, WRITE_POLICY
from webhook.core.pullsecret import ExistingSecret, Namespace
from webhook.core.wire import Unreadable
from webhook.fairness import yield_to_reviews
from webhook.kube.cluster import (
    MERGE_PATCH,
    AccountObject,
    Cluster,
    ClusterError,
    NamespaceObject,
    SecretObject,
    decode,
    is_name,
)
from webhook.kube.reader import Reader
from webhook.kube.views import Account, State, account_key

RECENT_SECONDS = 0.2
"""Seconds for which one write may use the read of a namespace by a review. If the namespace was created again since,
the write policy refuses the write, as it does between any read and its write."""
IN_FORCE_SECONDS, NOT_IN_FORCE_SECONDS = 300.0, 30.0
"""Seconds for which an answer about the write policy holds. A new policy takes some seconds to act."""
UNSERVED_SECONDS = 1.0
"""Seconds for which reviews use the answer that a namespace is not served, or does not exist."""
MAX_LOOKS = 16
"""Namespaces that are read for reviews at the same time: anybody who reaches our port can send reviews with invented
names, and must not load the API server with them."""
MAX_UNSERVED = 4096
"""Namespaces that are remembered as not served."""
WATCH_LAG_SECONDS = 0.05
"""Seconds that a review waits for the watch to report an object that was just created; 1 to 5 ms is usual."""

NAMESPACE_SECONDS, ACCOUNT_SECONDS = 1.0, 0.5
"""Seconds that a review waits for a namespace or an account to be read."""

_BY_RBAC = re.compile(r'" cannot [a-z]+ resource "')
"""In the API server's message when it knows no role that allows a call. It may have just started, and read none yet."""

_SECRET = msgspec.json.Decoder(SecretObject)
_NAMESPACE = msgspec.json.Decoder(NamespaceObject)
_ACCOUNT = msgspec.json.Decoder(AccountObject)


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


class WritePolicy:
    """Does the chart's write policy check our writes against the namespace's owner at that moment?

    A dry run of a write that it refuses shows it: a pull secret in our own namespace, which has no owner. That a policy
    and its binding exist does not show that they are in force.
    """

    def __init__(self, cluster: Cluster, name: str, namespace: str) -> None:
        self._cluster, self._name, self._namespace = cluster, name, namespace
        self._holds, self._until = False, 0.0

    async def holds(self) -> bool:
        """False also without an answer. Tried now and then, and only while there is something to write."""
        clock = asyncio.get_running_loop().time
        if clock() >= self._until:
            self._until = clock() + NOT_IN_FORCE_SECONDS  # other callers use the old answer meanwhile
            self._holds = await self._refused()
            self._until = clock() + (IN_FORCE_SECONDS if self._holds else NOT_IN_FORCE_SECONDS)
        return self._holds

    async def _refused(self) -> bool:
        path = f"/api/v1/namespaces/{self._namespace}/secrets/{self._name}"
        metadata = {"name": self._name, "namespace": self._namespace, "labels": {MANAGED_BY: MANAGER}}
        empty = {DOCKERCONFIG_KEY: "e30="}  # {}, the least that the API server accepts
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": DOCKERCONFIG_TYPE, "data": empty}
        try:
            await self._cluster.apply(path, body, manager=MANAGER, force=True, dry_run=True)
        except ClusterError as e:
            return e.status in (403, 422) and f"ValidatingAdmissionPolicy '{WRITE_POLICY}'" in e.message
        return False


class Lookup:
    """Reads what a view does not know (yet) from the API server into the view."""

    def __init__(self, cluster: Cluster, reader: Reader, state: State) -> None:
        self._cluster, self._reader, self._state = cluster, reader, state
        self._reads: dict[str, asyncio.Task[None]] = {}
        self._looks: dict[str, asyncio.Task[Namespace | None]] = {}
        self._places = asyncio.Semaphore(MAX_LOOKS)
        self._unserved: dict[str, tuple[float, Namespace | None]] = {}

    async def namespace(self, name: str, *, recent: bool = False) -> Namespace | None:
        """As the API server has it now. None: no such namespace. Raises NamespaceUnknown.

        `recent`: a read that another caller has just started or finished is enough, if no other write has used it.
        """
        if not is_name(name):
            return None
        read = self._reads.pop(name, None) if recent else None
        if read is None:
            read = asyncio.create_task(self._read(name), name=f"read namespace {name}")
            if not recent:
                self._reads[name] = read
            read.add_done_callback(lambda task: self._keep(name, task))
        await asyncio.shield(read)
        return self._state.namespaces.get(name)

    async def namespace_in_review(self, name: str) -> Namespace | None:
        """The same for a review: it cannot wait for long, and its sender may invent thousands of names.

        After a timeout the read goes on, for the next caller.
        """
        clock = asyncio.get_running_loop().time
        if (last := self._unserved.get(name)) is not None and clock() - last[0] < UNSERVED_SECONDS:
            return last[1]
        try:
            async with asyncio.timeout(NAMESPACE_SECONDS):
                if name not in self._looks:
                    await self._places.acquire()
                    self._look(name)
                found = await asyncio.shield(self._looks[name])
        except TimeoutError:
            raise NamespaceUnknown(f"namespace {name} could not be read within {NAMESPACE_SECONDS:g} s") from None
        self._unserved.pop(name, None)
        if found is None or not found.served:
            self._unserved[name] = (clock(), found)
            if len(self._unserved) > MAX_UNSERVED:
                del self._unserved[next(iter(self._unserved))]
        return found

    def _look(self, name: str) -> None:
        """The caller has acquired a place. The look releases it at its end; if another look runs already, this does."""
        if name in self._looks:
            self._places.release()
            return
        look = self._looks[name] = asyncio.create_task(self.namespace(name), name=f"look at namespace {name}")
        look.add_done_callback(lambda _: self._looked(name, look))

    def _looked(self, name: str, look: asyncio.Task[Namespace | None]) -> None:
        del self._looks[name]
        self._places.release()
        if not look.cancelled():
            look.exception()  # marks it as retrieved: perhaps no caller waits any more

    def _keep(self, name: str, read: asyncio.Task[None]) -> None:
        failed = read.cancelled() or read.exception() is not None
        read.get_loop().call_later(0.0 if failed else RECENT_SECONDS, self._drop, name, read)

    def _drop(self, name: str, read: asyncio.Task[None]) -> None:
        if self._reads.get(name) is read:
            del self._reads[name]

    async def _read(self, name: str) -> None:
        """Into the view. Raises NamespaceUnknown."""
        view = self._state.namespaces
        before = known, _ = view.moment(name)  # what the view learns during the call is newer than the answer
        try:
            raw = await self._cluster.call("GET", f"/api/v1/namespaces/{name}")
            view.answered(name, self._reader.namespace(await decode(_NAMESPACE, raw)), before)
        except Unreadable as e:
            raise NamespaceUnknown(f"namespace {name} could not be read: {e}") from None
        except ClusterError as e:
            if e.status != 404:
                raise NamespaceUnknown(f"namespace {name} could not be read ({e})") from None
            if known is not None:
                view.forget(name, known.version)

    async def account(self, namespace: str, name: str) -> Account | None:
        """As the API server has it now. None: it does not exist or cannot be read, so it refuses no reference."""
        if not is_name(namespace) or not is_name(name):
            return None
        key, view = account_key(namespace, name), self._state.accounts
        # The API server has checked that it exists, so the watch is about to report it: mostly no call is needed.
        if view.synced.is_set() and (known := await view.arrival(key, WATCH_LAG_SECONDS)) is not None:
            return known
        try:
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
            raw = await self._cluster.call("GET", path, within=ACCOUNT_SECONDS)
            account = self._reader.account(await decode(_ACCOUNT, raw))
        except (ClusterError, Unreadable):
            return None
        view.learn(key, account)
        return account


def _meaning(e: ClusterError) -> WriteConflict | WriteDenied | WriteRefused:
    if e.status in (403, 422) and "ValidatingAdmissionPolicy" in e.message:
        return WriteDenied("denied by an admission policy")
    replaced = e.status == 422 and "metadata.uid" in e.message  # another object is where the one was that we knew
    if e.status == 409 or replaced:
        return WriteConflict("conflict")
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
