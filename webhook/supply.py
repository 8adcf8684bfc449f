"""Make one namespace's pull secret what it should be. The only writer of pull secrets.

Level-triggered: it is told *where*, never *what*, so that the newest knowledge always wins. One running write a
namespace, joined by all who come while the plan is still the same; no locks, and no await between a plan and its start.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from webhook.core.credential import Credentials
from webhook.core.errors import NamespaceUnknown, SourceUnavailable, WriteConflict, WriteDenied, WriteRefused
from webhook.core.metrics import Metrics
from webhook.core.notice import Notice, Record
from webhook.core.pullsecret import Delete, ExistingSecret, Leave, Namespace, Plan, Planner, Step, Write
from webhook.fairness import yield_to_reviews
from webhook.kube.views import State
from webhook.sources import Answers

ATTEMPTS = 6
"""Lost races in a row before we let others go first; the background comes back."""


class Store(Protocol):
    """store.PullSecrets. All raise WriteConflict, WriteDenied or WriteRefused."""

    async def apply(
        self, body: Mapping[str, Any], over: ExistingSecret | None, *, force: bool = False
    ) -> ExistingSecret: ...
    async def delete(self, over: ExistingSecret) -> None: ...
    async def release(self, over: ExistingSecret) -> None: ...
    async def read(self, namespace: str) -> ExistingSecret | None: ...


class Fresh(Protocol):
    async def __call__(self, name: str, *, recent: bool = False) -> Namespace | None:
        """A live GET of a namespace, learned by the view; with `recent`, of a moment ago. Raises NamespaceUnknown."""
        ...


@dataclass(frozen=True, slots=True)
class Supplied:
    """`problem`: why the Secret is not yet what it should be, in words for the tenant; empty when it is. `passing`:
    that lies with the API server, not in the namespace. `digest`: the digest of what is right here; empty: no Secret.
    `requeue_after`: seconds after which something else may be right; None: only a change makes it so.
    """

    wrote: bool = False
    problem: str = ""
    passing: bool = False
    digest: bytes = b""
    requeue_after: float | None = None


@dataclass(frozen=True, slots=True)
class UpToDate:
    """For these very values the plan is, `until` then, to leave the Secret as it stands.

    The credentials only for as long as a source keeps them: tokens that were withdrawn are not to live on here.
    """

    namespace: Namespace
    known: "weakref.ref[Credentials]"
    existing: ExistingSecret | None
    until: datetime | None


class Supply:
    def __init__(
        self,
        state: State,
        source: Answers,
        store: Store,
        fresh: Fresh,
        policy: Callable[[], Awaitable[bool]],
        planner: Planner,
        now: Callable[[], datetime],
        metrics: Metrics,
        record: Record,
    ) -> None:
        """`policy`: does the API server itself compare what is written with the namespace's present owner and UID?"""
        self._state, self._source, self._store, self._fresh, self._policy = state, source, store, fresh, policy
        self._planner, self._now, self._metrics, self._record = planner, now, metrics, record
        self._running: dict[str, tuple[Step, asyncio.Task[Supplied | None]]] = {}
        self._up_to_date: dict[str, UpToDate] = {}

    def is_up_to_date(self, namespace: Namespace) -> bool:
        """Is there nothing to write, by what is known at this moment? False also means: it takes asking to tell.

        Compared by identity: a plan makes the whole Secret to compare digests, which is a third of a review's time,
        and every change of what is known puts another object into its place.
        """
        known = self._source.known(namespace.owner) if namespace.owner is not None else None
        if known is None:
            return False
        existing, before = self._state.pull_secrets.get(namespace.name), self._up_to_date.get(namespace.name)
        if (
            before is not None
            and before.namespace is namespace
            and before.known() is known
            and before.existing is existing
            and (before.until is None or self._now() < before.until)
        ):
            return True
        plan = self._planner(namespace, known, existing, self._now())
        if not isinstance(plan.step, Leave):
            return False
        self._up_to_date[namespace.name] = UpToDate(namespace, weakref.ref(known), existing, plan.until)
        return True

    def secret_changed(self, name: str) -> None:
        """Somebody wrote or deleted the Secret here. If it is not as it should be by what is known, that is perhaps
        because another replica asked its source later than we did: we ask again before we undo that.
        """
        namespace, existing = self._state.namespaces.get(name), self._state.pull_secrets.get(name)
        if namespace is None or namespace.owner is None or not namespace.enabled or self._deletes(name, existing):
            return
        known = self._source.known(namespace.owner)
        if known is None or not isinstance(self._planner(namespace, known, existing, self._now()).step, Leave):
            self._source.invalidate(namespace.owner)

    def _deletes(self, name: str, existing: ExistingSecret | None) -> bool:
        """Is it we who just delete it, perhaps to create it anew?"""
        step, _ = self._running.get(name, (None, None))
        deletes = isinstance(step, Delete) or (isinstance(step, Write) and step.over is not None and not step.in_place)
        return deletes and (existing is None or existing.terminating)

    async def plan(self, name: str) -> Plan:
        """From the newest knowledge. No I/O of its own; a source may wait for its own."""
        namespace = self._state.namespaces.get(name)
        known = await self._credentials(namespace) if namespace is not None else None
        # What was known may have changed while the source was asked: no await from here to the start of a task.
        newest = self._state.namespaces.get(name)
        if newest is None:
            self._up_to_date.pop(name, None)
            return Plan(Leave("the namespace is gone"))
        if namespace is not None and newest.owner != namespace.owner:
            return await self.plan(name)
        return self._planner(newest, known, self._state.pull_secrets.get(name), self._now())

    async def _credentials(self, namespace: Namespace) -> Credentials | None:
        if namespace.owner is None or not namespace.enabled:
            return Credentials()
        try:
            return await self._source.credentials(namespace.owner)
        except SourceUnavailable:
            return None

    async def __call__(self, name: str) -> Supplied:
        """Returns when the Secret is right, or says why it is not. A cancelled caller cancels nothing but itself."""
        wrote = False
        for attempt in range(ATTEMPTS):
            if attempt > 1:  # the API server's own caches may be behind the namespace that it just showed us
                await asyncio.sleep(0.02 * 2**attempt)
            plan = await self.plan(name)
            step, running = plan.step, self._running.get(name)
            if running is not None and running[0] != step:
                await asyncio.wait({running[1]})  # older knowledge is being written: let it finish, look again
                continue
            if isinstance(step, Leave):
                return self._supplied(name, plan, step, wrote=wrote)
            done = await asyncio.shield(running[1] if running is not None else self._start(name, step))
            if done is None:  # the world is newer than we are
                continue
            if done.problem:
                return done
            wrote = True
        return Supplied(wrote, "others write the pull secret at the same time")

    def _supplied(self, name: str, plan: Plan, step: Leave, *, wrote: bool) -> Supplied:
        namespace, existing = self._state.namespaces.get(name), self._state.pull_secrets.get(name)
        if namespace is not None and namespace.owner is not None:
            for notice in plan.notices(namespace.owner):
                self._record(notice)
        digest = existing.digest if existing is not None and existing.ours else b""
        left = (plan.until - self._now()).total_seconds() if plan.until is not None else None
        return Supplied(wrote, step.why if step.problem else "", digest=digest, requeue_after=left)

    def _start(self, name: str, step: Write | Delete) -> asyncio.Task[Supplied | None]:
        task = asyncio.create_task(self._do(name, step), name=f"supply {name}")
        self._running[name] = (step, task)
        task.add_done_callback(lambda _: self._running.pop(name, None))
        return task

    async def _do(self, name: str, step: Write | Delete) -> Supplied | None:
        """One step. None: plan anew."""
        action = "apply" if isinstance(step, Write) else "delete"
        await yield_to_reviews()
        try:
            # A stale view must not put a token into a namespace that was created anew, or changed hands. With the
            # policy in force one in place cannot: the UID makes it this very Secret, and so this very namespace, and
            # its owner the policy compares. A token that changes everywhere would cost a third more time.
            if not (isinstance(step, Write) and step.in_place and await self._policy()):
                await self._fresh(name, recent=True)
            if (await self.plan(name)).step != step:
                return None
            if isinstance(step, Write):
                if not await self._write(name, step):
                    return None
            else:
                await self._delete(name, step.over)
                self._record(Notice("PullSecretDeleted", step.why, name, "Secret", self._planner.name, "Normal"))
        except (WriteConflict, WriteDenied) as e:
            self._metrics.writes.labels(action, type(e).__name__).inc()
            return await self._look_again(name, step, conflict=isinstance(e, WriteConflict))
        except (WriteRefused, NamespaceUnknown) as e:
            self._metrics.writes.labels(action, type(e).__name__).inc()
            return _refused(e)
        self._metrics.writes.labels(action, "ok").inc()
        return Supplied(wrote=True)

    async def _write(self, name: str, step: Write) -> bool:
        """False: while the one before was deleted, something changed again."""
        if step.over is not None and not step.in_place:
            await self._delete(name, step.over)
            if (await self.plan(name)).step != Write(step.body):
                return False
        await self._apply(name, step.body, step.over if step.in_place else None)
        return True

    async def _apply(
        self, name: str, body: Mapping[str, Any], over: ExistingSecret | None, *, force: bool = False
    ) -> None:
        asked = self._state.pull_secrets.moment(name)
        ours = await self._store.apply(body, over, force=force)
        self._state.pull_secrets.answered(name, ours, asked)

    async def _delete(self, name: str, over: ExistingSecret) -> None:
        if not over.terminating:
            await self._store.delete(over)
        asked = self._state.pull_secrets.moment(name)
        seen = await self._store.read(name)
        if seen is not None and seen.uid == over.uid and seen.terminating:
            await self._store.release(seen)  # somebody's finalizer holds it; it is ours, and it must go
            seen = await self._store.read(name)
        if seen is not None:
            self._find(name, seen, asked)
            raise WriteConflict("another Secret took its place")
        self._state.pull_secrets.forget(name, max(over.version, self._known_version(name, over.uid)))

    def _known_version(self, name: str, uid: str) -> int:
        known = self._state.pull_secrets.get(name)
        return known.version if known is not None and known.uid == uid else 0

    async def _look_again(self, name: str, step: Write | Delete, *, conflict: bool) -> Supplied | None:
        """After a lost race. Somebody's edit of a field of *our* Secret is taken back by force; of others' never."""
        asked = known, _ = self._state.pull_secrets.moment(name)  # what is told until the answer is here may be newer
        try:
            seen = await self._store.read(name)
            if seen is not None:
                self._find(name, seen, asked)
            elif known is not None and self._state.pull_secrets.forget(name, known.version):
                self.secret_changed(name)
            await self._fresh(name)
            force = conflict and isinstance(step, Write) and step.in_place and seen is not None and seen.ours
            if force and seen is not None and step.over is not None and seen.uid == step.over.uid:
                await self._fresh(name, recent=True)  # the look of just now: no later write is to make use of it
                again = (await self.plan(name)).step
                if isinstance(again, Write) and again.in_place:
                    await self._apply(name, again.body, seen, force=True)
                    self._metrics.writes.labels("apply", "forced").inc()
                    return Supplied(wrote=True)
        except (WriteConflict, WriteDenied):
            return None
        except (WriteRefused, NamespaceUnknown) as e:
            return _refused(e)
        return None

    def _find(self, name: str, others: ExistingSecret, asked: tuple[ExistingSecret | None, int]) -> None:
        """Before the watch tells, which is then no news."""
        if self._state.pull_secrets.answered(name, others, asked):
            self.secret_changed(name)


def _refused(e: WriteRefused | NamespaceUnknown) -> Supplied:
    return Supplied(problem=str(e), passing=isinstance(e, NamespaceUnknown) or e.passing)
