"""Which replica leads: a Lease, as Kubernetes' own controllers hold one (coordination.k8s.io/v1).

A replica leads for as long as it has renewed the Lease lately, by its own clock: the others take it over only when they
have seen no renewal for as long as it lasts, each by its own clock too. So clocks need not agree.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import msgspec
import structlog

from webhook.core.backoff import jittered
from webhook.core.names import MANAGED_BY, MANAGER
from webhook.core.wire import Unreadable
from webhook.kube.cluster import MERGE_PATCH, Cluster, ClusterError, Meta, decode

log = structlog.get_logger()
DURATION_SECONDS = 15
"""Seconds without a renewal after which another replica takes over."""
RENEW_SECONDS = 2.0
"""Seconds, at most, between two renewals, or two looks at the Lease of another one."""
WRITE_SECONDS = 5.0
"""Seconds for a call of who leads: one that was begun in time has ended before another replica begins."""
GIVE_UP_SECONDS = DURATION_SECONDS - WRITE_SECONDS - 3.0
"""Seconds without a renewal after which a leader begins nothing more; what it has begun ends before others take over.
"""
CONFLICT, NOT_FOUND = 409, 404


class _Spec(msgspec.Struct, rename="camel", frozen=True):
    holder_identity: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class Found(msgspec.Struct):
    """A Lease, as it was read."""

    metadata: Meta
    spec: _Spec = _Spec()


_LEASE = msgspec.json.Decoder(Found)


@dataclass(frozen=True, slots=True)
class Held:
    """`holder` empty: it was given back. `renewed`: by the holder's clock. `annotations`: as anybody may write them."""

    holder: str
    renewed: datetime | None
    annotations: Mapping[str, str] = field(default_factory=dict)


async def held(cluster: Cluster, namespace: str, name: str) -> Held | None:
    """None: nobody has taken it yet. Raises ClusterError and Unreadable."""
    try:
        path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"
        found = await decode(_LEASE, await cluster.call("GET", path))
    except ClusterError as e:
        if e.status == NOT_FOUND:
            return None
        raise
    try:
        renewed = None if found.spec.renew_time is None else datetime.fromisoformat(found.spec.renew_time)
    except ValueError:
        raise Unreadable("its renewTime is no time") from None
    return Held(found.spec.holder_identity or "", renewed, found.metadata.annotations or {})


class LeaseObject:
    """The calls about one Lease. `me`: this process, different from all others, also from an earlier one of the same
    pod. `lasts`: seconds, for those who read it; `within`: seconds of a call.

    All raise ClusterError and Unreadable.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, name: str, me: str, *, lasts: int = DURATION_SECONDS, within: float
    ) -> None:
        self._cluster, self._me, self._lasts, self._within = cluster, me, lasts, within
        self._name, self._namespace = name, namespace
        self._path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases/{name}"

    async def read(self) -> Found | None:
        """None: there is none."""
        try:
            return await decode(_LEASE, await self._cluster.call("GET", self._path, within=self._within))
        except ClusterError as e:
            if e.status == NOT_FOUND:
                return None
            raise

    async def create(self) -> Found:
        """What stands then, perhaps another one's already. By apply, which RBAC can limit to one name, as it cannot
        limit POST.
        """
        metadata = {"name": self._name, "namespace": self._namespace, "labels": {MANAGED_BY: MANAGER}}
        body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata}
        answer = await self._cluster.apply(self._path, body, manager=MANAGER, within=self._within)
        return await decode(_LEASE, answer)

    async def take(self, over: Found, annotations: Mapping[str, str] | None = None) -> bool:
        """Takes it, or renews it. False: somebody has changed it since it was read."""
        now, moved = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}", over.spec.holder_identity != self._me
        spec = {
            "holderIdentity": self._me,
            "leaseDurationSeconds": self._lasts,
            "renewTime": now,
            "leaseTransitions": (over.spec.lease_transitions or 0) + moved,
        }
        return await self._write(over, spec | ({"acquireTime": now} if moved else {}), annotations)

    async def give_back(self, over: Found) -> bool:
        """The next one need not wait. False: somebody has changed it since it was read."""
        return await self._write(over, {"holderIdentity": ""})

    async def _write(self, over: Found, spec: dict[str, Any], annotations: Mapping[str, str] | None = None) -> bool:
        metadata: dict[str, Any] = {"resourceVersion": over.metadata.resource_version}
        body = {"metadata": metadata | ({"annotations": {**annotations}} if annotations else {}), "spec": spec}
        query = {"fieldManager": MANAGER}
        try:
            await self._cluster.call(
                "PATCH", self._path, within=self._within, query=query, body=body, content_type=MERGE_PATCH
            )
        except ClusterError as e:
            if e.status == CONFLICT:
                return False
            raise
        return True


class Lease:
    """`me`: as of LeaseObject."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, me: str) -> None:
        self._object = LeaseObject(cluster, namespace, name, me, within=WRITE_SECONDS)
        self._me, self._name = me, name
        self.annotations: Mapping[str, str] = {}
        """Written with the next renewal. What is not named here stays as it is."""
        self._renewed: float | None = None
        """Loop time before the call that renewed it last; None: another one leads."""
        self._seen: tuple[str | None, str | None, float] = None, None, 0.0
        """Holder and time of renewal that were seen last, and the loop time at which they were new."""

    def leads(self) -> bool:
        """Is there time to begin something, and to end it?"""
        now = asyncio.get_running_loop().time()
        return self._renewed is not None and now - self._renewed < GIVE_UP_SECONDS

    async def run(self, lead: Callable[[], Awaitable[None]]) -> None:
        """Calls `lead` each time that this process leads, and cancels it when it no longer does."""
        work: asyncio.Task[None] | None = None
        try:
            while True:
                began = asyncio.get_running_loop().time()
                if await self._take():
                    self._renewed = began
                elif work is None:
                    self._renewed = None
                if work is None and self.leads():
                    log.info("leading", lease=self._name, identity=self._me)
                    work = asyncio.ensure_future(lead())
                elif work is not None and (work.done() or not self.leads()):
                    log.info("no longer leading", lease=self._name)
                    ended, work = work, None
                    await _ended(ended)
                await asyncio.sleep(jittered(RENEW_SECONDS))
        finally:
            try:
                if work is not None:
                    await _ended(work)
            finally:
                await self._release()

    async def _take(self) -> bool:
        """Renews it, or takes it if it is free. False: not now."""
        loop = asyncio.get_running_loop()
        try:
            found = await self._object.read() or await self._object.create()
            holder, renewed = found.spec.holder_identity, found.spec.renew_time
            if (holder, renewed) != self._seen[:2]:
                self._seen = holder, renewed, loop.time()
            if holder and holder != self._me and loop.time() - self._seen[2] < DURATION_SECONDS:
                self._renewed = None  # even if this one has led until now: somebody edited or deleted the Lease
                return False
            return await self._object.take(found, self.annotations)
        except (ClusterError, Unreadable) as e:
            return self._failed(e)

    def _failed(self, error: Exception) -> bool:
        log.warning("the Lease cannot be read or written", lease=self._name, error=str(error))
        return False

    async def _release(self) -> None:
        if self._renewed is None:
            return
        self._renewed = None
        try:
            found = await self._object.read()
            if found is not None and found.spec.holder_identity == self._me:
                await self._object.give_back(found)
        except (ClusterError, Unreadable) as e:
            self._failed(e)


async def _ended(work: "asyncio.Task[None]") -> None:
    """Raises what it raised."""
    work.cancel()
    try:
        await work
    except asyncio.CancelledError:
        if not work.cancelled():
            raise
