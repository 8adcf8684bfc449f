"""An API server in memory, and a loop on which nothing happens by itself: for tests of every order of events.

As much of the API server as one who writes the pull secret of one namespace can tell apart: resourceVersions, UIDs,
server-side apply with field managers, preconditions, finalizers, the write policy, and watches that lag. That it
answers as the real one does is a test of its own (tests/unit/test_simulated.py).
"""

import asyncio
import base64
import copy
import json
import math
import selectors
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from webhook.kube.cluster import ClusterError

Object = dict[str, Any]

NAMESPACE, SECRET = "team", "ghcr-secret"
OWNER, UID_OF = "pullsecret-webhook/owner", "pullsecret-webhook/namespace-uid"
MANAGED_BY, MANAGER = "app.kubernetes.io/managed-by", "pullsecret-webhook"
DOCKERCONFIG, KEY = "kubernetes.io/dockerconfigjson", ".dockerconfigjson"
OURS: tuple[tuple[str, ...], ...] = (
    ("type",),
    ("data", KEY),
    ("metadata", "labels", MANAGED_BY),
    ("metadata", "annotations", OWNER),
    ("metadata", "annotations", UID_OF),
    ("metadata", "ownerReferences"),
)
"""The fields of a pull secret that have a manager: those that the webhook applies."""


class _Waiting(selectors.SelectSelector):
    """Nothing comes from outside. Where a loop would wait, this one stops."""

    def __init__(self, idle: Callable[[float | None], None]) -> None:
        super().__init__()
        self._idle = idle

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout != 0:
            self._idle(timeout)
        return []


class Stepping(asyncio.SelectorEventLoop):
    """A loop with its own clock. `settle` does what can be done now, `sleep` puts the clock on to the next timer."""

    def __init__(self) -> None:
        self._now = 0.0
        self._next: float | None = None
        super().__init__(_Waiting(self._idle))

    def time(self) -> float:
        return self._now

    def _idle(self, timeout: float | None) -> None:
        self._next = timeout
        self.stop()

    def settle(self) -> None:
        self.run_forever()

    def until(self, moment: float) -> None:
        """Puts the clock on to this moment, timer by timer."""
        self.settle()
        while self._next is not None and self._now + self._next <= moment:
            self.sleep()
        self.wake(moment)

    def wake(self, moment: float) -> None:
        """As after a pause of the process: all that was due meanwhile is done now."""
        self._now = max(self._now, moment)
        self.settle()

    def sleep(self) -> bool:
        """False: nothing waits for time to pass."""
        self.settle()
        if self._next is None:
            return False
        self._now = math.nextafter(self._now + self._next, math.inf)  # a timer of this very moment is not yet due
        self.settle()
        return True


def at(obj: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    found: Any = obj
    for key in path:
        found = (found or {}).get(key)
    return found


def put(obj: Object, path: tuple[str, ...], value: Any) -> None:
    """None: taken away."""
    for key in path[:-1]:
        obj = obj.setdefault(key, {})
    if value is None:
        obj.pop(path[-1], None)
    else:
        obj[path[-1]] = value


def dockerconfig(token: str) -> str:
    return base64.b64encode(json.dumps({"auths": {"ghcr.io": {"username": "u", "password": token}}}).encode()).decode()


def token_in(secret: Object) -> str | None:
    """None: nothing that a kubelet could use."""
    try:
        auths = json.loads(base64.b64decode(at(secret, ("data", KEY)) or ""))["auths"]
        return str(auths["ghcr.io"]["password"])
    except (ValueError, LookupError):
        return None


@dataclass(frozen=True)
class Event:
    kind: Literal["ADDED", "MODIFIED", "DELETED"]
    obj: Object


@dataclass
class Server:
    """The namespace `team`, its pull secret, and the source Secrets. `log`: what watches of each kind will be told.

    `wrote` is called after each write by the webhook that changed the pull secret, with what stands then.
    """

    wrote: Callable[[Object], None] = lambda _: None
    version: int = 0
    namespace: Object | None = None
    secret: Object | None = None
    managers: dict[tuple[str, ...], set[str]] = field(default_factory=dict)
    sources: dict[str, Object] = field(default_factory=dict)
    log: dict[str, list[Event]] = field(default_factory=lambda: {"namespaces": [], "secrets": [], "sources": []})
    denies: int = 0
    """Writes that the policy will refuse although they are right, because its own cache is behind."""
    writes: int = 0

    # -- what everybody may see --

    def listed(self, what: str) -> list[Object]:
        existing: dict[str, list[Object | None]] = {
            "namespaces": [self.namespace],
            "secrets": [self.secret],
            "sources": [*self.sources.values()],
        }
        return [copy.deepcopy(obj) for obj in existing[what] if obj is not None]

    def _record(self, what: str, kind: Literal["ADDED", "MODIFIED", "DELETED"], obj: Object) -> None:
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self.log[what].append(Event(kind, copy.deepcopy(obj)))

    def _uid(self) -> str:
        return f"uid-{self.version + 1}"

    # -- what the webhook asks --

    def answer(self, method: str, path: str, body: Object | None, force: bool | None) -> Object:
        """`force` None: no server-side apply. Raises ClusterError."""
        if path == f"/api/v1/namespaces/{NAMESPACE}":
            return self._found(self.namespace)
        assert path == f"/api/v1/namespaces/{NAMESPACE}/secrets/{SECRET}"
        if method == "GET":
            return self._found(self.secret)
        body = body or {}
        if method == "DELETE":
            return self._delete(body)
        return self._release(body) if force is None else self._apply(body, force=force)

    def _found(self, obj: Object | None) -> Object:
        if obj is None:
            raise ClusterError(404, "NotFound")
        return copy.deepcopy(obj)

    def _apply(self, body: Object, *, force: bool) -> Object:
        if self.namespace is None:
            raise ClusterError(404, "NotFound")
        if self.secret is None:
            return self._create(body)
        after = copy.deepcopy(self.secret)
        taken = set()
        for path in OURS:
            if at(after, path) != at(body, path):
                taken |= {path} if self.managers.get(path, set()) - {MANAGER} else set()
                put(after, path, at(body, path))
        if taken and not force:
            others = sorted(set().union(*(self.managers[path] for path in taken)) - {MANAGER})
            named = "\n".join(f'conflicts with "{other}" using v1' for other in others)
            raise ClusterError(409, "Conflict", f"Apply failed with {len(taken)} conflicts: {named}")
        self._same(body, after)
        self._policy("UPDATE", after)
        for path in OURS:
            self.managers[path] = {MANAGER} if path in taken else self.managers.get(path, set()) | {MANAGER}
        return self._update(after)

    def _create(self, body: Object) -> Object:
        assert self.namespace is not None
        if at(body, ("metadata", "uid")) is not None:
            raise ClusterError(409, "Conflict", "uid mismatch")
        if at(self.namespace, ("metadata", "deletionTimestamp")):
            raise ClusterError(403, "Forbidden", "because it is being terminated")
        self._policy("CREATE", body)
        self._place(body, {MANAGER})
        assert self.secret is not None
        self.writes += 1
        self.wrote(self.secret)
        return copy.deepcopy(self.secret)

    def _update(self, after: Object) -> Object:
        if after != self.secret:
            self.secret = after
            self._record("secrets", "MODIFIED", after)
            self.writes += 1
            self.wrote(after)
        return copy.deepcopy(after)

    def _delete(self, body: Object) -> Object:
        if self.secret is None:
            raise ClusterError(404, "NotFound")
        if at(body, ("preconditions", "uid")) != self.secret["metadata"]["uid"]:
            raise ClusterError(409, "Conflict", "the UID in the precondition does not match")
        self._policy("DELETE", self.secret)
        self.writes += 1
        self.delete_secret()
        return {}

    def _release(self, body: Object) -> Object:
        """A merge patch that takes the finalizers off."""
        if self.secret is None:
            raise ClusterError(404, "NotFound")
        after = copy.deepcopy(self.secret)
        after["metadata"].pop("finalizers", None)
        self._same(body, after)
        self._policy("UPDATE", after)
        self.writes += 1
        self.change_secret(("metadata", "finalizers"), None)
        return after

    def _same(self, body: Object, after: Object) -> None:
        """What may never change."""
        assert self.secret is not None
        if at(body, ("metadata", "uid")) not in (None, self.secret["metadata"]["uid"]):
            raise ClusterError(422, "Invalid", "metadata.uid: Invalid value: field is immutable")
        data = self.secret.get("data")
        if after["type"] != self.secret["type"] or (self.secret.get("immutable") and after.get("data") != data):
            raise ClusterError(422, "Invalid", "field is immutable")

    def _policy(self, operation: str, now: Object) -> None:
        """install/write-policy.yaml."""
        before = self.secret or {}
        namespace = self.namespace or {}
        releases = (
            operation == "UPDATE"
            and at(before, ("metadata", "deletionTimestamp")) is not None
            and all(
                at(now, path) == at(before, path)
                for path in (("data",), ("type",), ("metadata", "annotations"), ("metadata", "labels"))
            )
        )
        writes = operation != "DELETE" and not releases
        owner = at(namespace, ("metadata", "labels", OWNER)) or ""
        is_ours = [at(obj, ("metadata", "labels", MANAGED_BY)) == MANAGER for obj in (before, now)]
        allowed = [
            not writes or now["type"] == DOCKERCONFIG,
            operation == "CREATE" or is_ours[0],
            is_ours[1],
            not writes or (owner != "" and at(now, ("metadata", "annotations", OWNER)) == owner),
            not writes or at(now, ("metadata", "annotations", UID_OF)) == at(namespace, ("metadata", "uid")),
            operation != "UPDATE"
            or at(before, ("metadata", "annotations", OWNER)) == at(now, ("metadata", "annotations", OWNER)),
        ]
        behind = writes and self.denies > 0
        self.denies -= behind
        if behind or not all(allowed):
            raise ClusterError(422, "Invalid", "ValidatingAdmissionPolicy 'pullsecret-webhook-writes' denied request")

    # -- what administrators, tenants and controllers do --

    def create_namespace(self, labels: Mapping[str, str]) -> None:
        self.namespace = {"metadata": {"name": NAMESPACE, "uid": self._uid(), "labels": dict(labels)}}
        self._record("namespaces", "ADDED", self.namespace)

    def label_namespace(self, labels: Mapping[str, str]) -> None:
        assert self.namespace is not None
        self.namespace["metadata"]["labels"] = dict(labels)
        self._record("namespaces", "MODIFIED", self.namespace)

    def delete_namespace(self) -> None:
        assert self.namespace is not None
        self.namespace["metadata"]["deletionTimestamp"] = "now"
        self._record("namespaces", "MODIFIED", self.namespace)

    def finish_namespace(self) -> None:
        """What the namespace controller does with one that is being deleted."""
        assert self.namespace is not None
        if self.secret is not None:
            self.delete_secret()
        if self.secret is None:
            self._record("namespaces", "DELETED", self.namespace)
            self.namespace = None

    def create_secret(self, secret: Object) -> None:
        self._place(secret, {"tenant"})

    def _place(self, secret: Object, managers: set[str]) -> None:
        secret = copy.deepcopy(secret)
        secret["metadata"] |= {"name": SECRET, "namespace": NAMESPACE, "uid": self._uid()}
        self.secret = secret
        self.managers = {path: set(managers) for path in OURS if at(secret, path) is not None}
        self._record("secrets", "ADDED", secret)

    def change_secret(self, path: tuple[str, ...], value: Any) -> None:
        """As a tenant, who then manages that field. One that was only held by a finalizer is gone with it."""
        assert self.secret is not None
        put(self.secret, path, value)
        if path in OURS:
            self.managers[path] = {"tenant"} if value is not None else set()
        metadata = self.secret["metadata"]
        if "deletionTimestamp" in metadata and "finalizers" not in metadata:
            self._gone()
        else:
            self._record("secrets", "MODIFIED", self.secret)

    def delete_secret(self) -> None:
        assert self.secret is not None
        metadata = self.secret["metadata"]
        if "finalizers" not in metadata:
            self._gone()
        elif "deletionTimestamp" not in metadata:
            metadata["deletionTimestamp"] = "now"
            self._record("secrets", "MODIFIED", self.secret)

    def _gone(self) -> None:
        assert self.secret is not None
        self._record("secrets", "DELETED", self.secret)
        self.secret = None

    def set_source(self, owner: str, data: str | None) -> None:
        """`data` None: the owner's source Secret is deleted."""
        name = f"source-{owner}"
        before = self.sources.pop(name, None)
        if data is None:
            if before is not None:
                self._record("sources", "DELETED", before)
            return
        self.sources[name] = obj = {
            "metadata": {"name": name, "namespace": "release", "uid": name, "labels": {OWNER: owner}},
            "type": DOCKERCONFIG,
            "data": {KEY: data},
        }
        self._record("sources", "ADDED" if before is None else "MODIFIED", obj)


@dataclass
class Exchange:
    """A request on its way there, or its answer on its way back. `what` is for people who read a failed test."""

    what: str
    act: Callable[[], Any]
    back: "asyncio.Future[Any]"
    lost: Exception
    result: Any = None
    acted: bool = False

    def go(self) -> bool:
        """One way. True: that was all of it."""
        if not self.acted:
            self.acted = True
            try:
                self.result = self.act()
            except Exception as e:  # noqa: BLE001  # whatever it is, the caller gets it
                self.result = e
            return self.back.done()  # nobody waits for it any more
        if not self.back.done():
            if isinstance(self.result, Exception):
                self.back.set_exception(self.result)
            else:
                self.back.set_result(self.result)
        return True

    def lose(self) -> None:
        """The caller gives up on it. What is on its way there may still arrive."""
        if not self.back.done():
            self.back.set_exception(self.lost)


@dataclass
class Wire:
    """The calls of one replica that are under way, in the place of webhook.cluster.Cluster."""

    server: Server
    under_way: list[Exchange]
    name: str = ""
    asked: list[str] = field(default_factory=list)

    async def exchange(self, what: str, act: Callable[[], Any], lost: Exception) -> Any:
        """Raises `lost` when the caller has to give up."""
        self.asked.append(what)
        one = Exchange(f"{self.name} {what}", act, asyncio.get_running_loop().create_future(), lost)
        self.under_way.append(one)
        return await one.back

    async def call(self, method: str, path: str, *, body: Object | None = None, **_: Any) -> bytes:
        sent = copy.deepcopy(body)
        return await self._asked(
            f"{method} {path.rpartition('/')[2]}", lambda: self.server.answer(method, path, sent, None)
        )

    async def apply(self, path: str, body: Object, *, manager: str, force: bool = False, **_: Any) -> bytes:
        assert manager == MANAGER
        sent = copy.deepcopy(body)
        return await self._asked("FORCE" if force else "APPLY", lambda: self.server.answer("PATCH", path, sent, force))

    async def _asked(self, what: str, act: Callable[[], Object]) -> bytes:
        return msgspec.json.encode(await self.exchange(what, act, ClusterError(0, "TimeoutError")))
