"""Makes the pull secret of one namespace right. The only writer of pull secrets.

Level-triggered: a caller says which namespace, never what changed, so that the newest knowledge always wins. One write
runs per namespace, and callers share it while the plan is the same. No locks; no await between a plan and its start.
"""

import asyncio
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain

from webhook.core.credential import Credentials
from webhook.core.errors import NamespaceUnknown, SourceUnavailable, WriteConflict, WriteDenied, WriteRefused
from webhook.core.metrics import Metrics
from webhook.core.notice import Record
from webhook.core.pullsecret import (
    Cause,
    Delete,
    ExistingSecret,
    Leave,
    Namespace,
    Plan,
    Planner,
    Step,
    Write,
)
from webhook.fairness import yield_to_reviews
from webhook.kube.lookup import Lookup
from webhook.kube.pullsecrets import PullSecrets
from webhook.kube.views import State
from webhook.sources import Answers
from webhook.standings import Standings
from webhook.tasks import shared
from webhook.withdrawals import Withdrawals
from webhook.writelog import WriteLog

ATTEMPTS = 6
"""Lost races in a row before it gives up; the background tries again."""


@dataclass(frozen=True, slots=True)
class Supplied:
    """`problem`: why the Secret is not right yet, in words for the tenant; empty if it is. `passing`: because of the
    API server, not of the namespace. `digest`: of the right Secret; empty: no Secret. `requeue_after`: seconds until
    the plan changes by itself; None: it does not. `undone`: it was written, and is wrong again already.
    """

    wrote: bool = False
    problem: str = ""
    passing: bool = False
    digest: bytes = b""
    requeue_after: float | None = None
    undone: bool = False


@dataclass(frozen=True, slots=True)
class UpToDate:
    """For exactly these values the plan is to leave the Secret unchanged, until `until`.

    The reference to the credentials is weak, so that withdrawn tokens do not stay in memory.
    """

    namespace: Namespace
    known: "weakref.ref[Credentials]"
    existing: ExistingSecret | None
    until: datetime | None


@dataclass(frozen=True, kw_only=True)
class Supply:
    """`policy`: does an admission policy compare each write with the namespace's present owner and UID?"""

    state: State
    source: Answers
    store: PullSecrets
    lookup: Lookup
    policy: Callable[[], Awaitable[bool]]
    planner: Planner
    now: Callable[[], datetime]
    metrics: Metrics
    record: Record
    withdrawals: Withdrawals | None = None
    """None: no withdrawal is held back."""
    mine: Callable[[str], bool] = lambda _namespace: True
    """Does this replica look at the namespace, when no review asks for it?"""
    writes: WriteLog = field(default_factory=WriteLog)
    _running: dict[str, tuple[Step, asyncio.Task[Supplied | None]]] = field(init=False, default_factory=dict)
    _up_to_date: dict[str, UpToDate] = field(init=False, default_factory=dict)
    _right: dict[str, bytes] = field(init=False, default_factory=dict)
    """By namespace: the digest of the last right Secret, to tell why it is written again."""
    standings: Standings = field(init=False)
    """As of the last time that each namespace was supplied."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "standings", Standings(self.planner.name, self.now, self.record, self.mine))

    def is_up_to_date(self, namespace: Namespace) -> bool:
        """Is there nothing to write, as far as is known now? False also if a source must be asked first.

        Compares by identity: a plan builds the whole Secret to compare digests, which takes a third of a review's time,
        and after every change of a value there is another object.
        """
        known = self.source.known(namespace.owner) if namespace.owner is not None else None
        if known is None:
            return False
        existing, before = self.state.pull_secrets.get(namespace.name), self._up_to_date.get(namespace.name)
        if (
            before is not None
            and before.namespace is namespace
            and before.known() is known
            and before.existing is existing
            and (before.until is None or self.now() < before.until)
        ):
            return True
        plan = self.planner(namespace, known, existing, self.now())
        if not isinstance(plan.step, Leave) or plan.step.problem:
            return False
        self._up_to_date[namespace.name] = UpToDate(namespace, weakref.ref(known), existing, plan.until)
        return True

    def left_to_others(self, name: str) -> None:
        """Another replica looks at the namespace: what this one knows of it gets old."""
        self.standings.gone(name)
        namespace = self.state.namespaces.get(name)
        if self.withdrawals is not None and namespace is not None and namespace.owner is not None:
            self.withdrawals.ended(namespace.owner)

    def secret_changed(self, name: str) -> None:
        """The Secret was written or deleted. If it differs from our plan, another replica may have a newer answer of
        the source: ours is invalidated, so that we ask again before we undo the other replica's write.
        """
        namespace = self.state.namespaces.get(name)
        if namespace is None or namespace.owner is None or namespace.left_alone or self._deletes(name):
            return
        if not self.is_up_to_date(namespace):
            self.source.invalidate(namespace.owner)

    def _deletes(self, name: str) -> bool:
        """Is it our own delete, perhaps to create it again?"""
        existing, (step, _) = self.state.pull_secrets.get(name), self._running.get(name, (None, None))
        deletes = isinstance(step, Delete) or (isinstance(step, Write) and step.over is not None and not step.in_place)
        return deletes and (existing is None or existing.terminating)

    async def plan(self, name: str) -> Plan:
        """From the newest knowledge. Waits for nothing but the source."""
        namespace = self.state.namespaces.get(name)
        answer = await self._credentials(namespace) if namespace is not None else None
        # The views may have changed while the source was asked: no await from here to the start of a task.
        newest = self.state.namespaces.get(name)
        if newest is None:
            self._up_to_date.pop(name, None)
            self._right.pop(name, None)
            self.standings.gone(name)
            return Plan(Leave("the namespace is gone"))
        if namespace is not None and newest.owner != namespace.owner:
            return await self.plan(name)
        known = answer if isinstance(answer, Credentials) else None
        plan = self.planner(newest, known, self.state.pull_secrets.get(name), self.now())
        return replace(plan, outage=True) if isinstance(answer, SourceUnavailable) and answer.everybody else plan

    async def _credentials(self, namespace: Namespace) -> Credentials | SourceUnavailable:
        if namespace.owner is None or namespace.left_alone:
            return Credentials()
        try:
            return await self.source.credentials(namespace.owner)
        except SourceUnavailable as e:
            return e

    async def __call__(self, name: str, *, in_background: bool = False) -> Supplied:
        """Returns when the Secret is right, or why it is not. A cancelled caller does not cancel the write.

        What is undone while our answer is on its way, or by our write itself since something changes what we apply, is
        written again; `in_background`: when the caller asks again. It does so ever later, or this would be a
        tug-of-war without a pause.
        """
        wrote = False
        for attempt in range(ATTEMPTS):
            if attempt > 1:  # the API server's own caches may lack the namespace that it just returned
                await asyncio.sleep(0.02 * 2**attempt)
            plan = await self.plan(name)
            step, running = plan.step, self._running.get(name)
            if running is not None and running[0] != step:
                await asyncio.wait({running[1]})  # a write of an older plan: wait for it, then plan again
                continue
            if isinstance(step, Leave):
                return self._supplied(name, plan, step, wrote=wrote)
            if in_background and wrote and isinstance(step, Write) and step.cause(self._right.get(name)) == "restored":
                self.standings.failed(name)
                return Supplied(wrote, digest=step.digest, undone=True)
            if isinstance(step, Delete) and (wait := self._seconds_held(step)):
                self.standings.withdrawn(name)
                return Supplied(wrote, digest=step.over.digest, requeue_after=wait)
            done = await shared(running[1] if running is not None else self._start(name, step))
            if done is None:  # something changed: plan again
                continue
            if done.problem:
                self.standings.failed(name)
                return done
            wrote = True
        self.standings.failed(name)
        return Supplied(wrote, "others write the pull secret at the same time")

    def _supplied(self, name: str, plan: Plan, step: Leave, *, wrote: bool) -> Supplied:
        namespace, existing = self.state.namespaces.get(name), self.state.pull_secrets.get(name)
        if namespace is not None:
            self.standings.left(namespace, plan, existing)
        if namespace is not None and namespace.owner is not None:
            if self.withdrawals is not None and not step.why:
                self.withdrawals.ended(namespace.owner)
            if existing is not None and existing.ours and not step.why:
                self._right[name] = existing.digest
            refusals = plan.refusals(namespace.owner, name, self.planner.name)
            for notice in chain(plan.notices(namespace.owner), refusals):
                self.record(notice)
        digest = existing.digest if existing is not None and existing.ours else b""
        left = (plan.until - self.now()).total_seconds() if plan.until is not None else None
        return Supplied(wrote, step.why if step.problem else "", digest=digest, requeue_after=left)

    def _seconds_held(self, step: Delete) -> float:
        """Until this may be done; 0: now."""
        if self.withdrawals is None or not step.withdrawn or step.over.owner is None:
            return 0.0
        return self.withdrawals.seconds_left(step.over.owner)

    def _start(self, name: str, step: Write | Delete) -> asyncio.Task[Supplied | None]:
        task = asyncio.create_task(self._do(name, step), name=f"supply {name}")
        self._running[name] = (step, task)
        task.add_done_callback(lambda _: self._running.pop(name, None))
        return task

    async def _do(self, name: str, step: Write | Delete) -> Supplied | None:
        """One step. None: plan again."""
        action = "apply" if isinstance(step, Write) else "delete"
        await yield_to_reviews()
        try:
            # An old view must not put a token into a namespace that was created again or has a new owner. So we read
            # the namespace first, except for an update in place under the policy: the Secret's UID also identifies the
            # namespace, and the policy compares the owner. With reads, a new token for all takes a third longer.
            if not (isinstance(step, Write) and step.in_place and await self.policy()):
                await self.lookup.namespace(name, recent=True)
            if (await self.plan(name)).step != step:
                return None
            if isinstance(step, Write):
                if not await self._write(name, step):
                    return None
            else:
                await self._delete(name, step.over, step.why)
                if step.withdrawn:
                    self.standings.withdrawn(name)
                self.record(step.notice(self.planner.name))
        except (WriteConflict, WriteDenied) as e:
            self.metrics.writes.labels(action, type(e).__name__).inc()
            return await self._look_again(name, step, e)
        except (WriteRefused, NamespaceUnknown) as e:
            self.metrics.writes.labels(action, type(e).__name__).inc()
            return Supplied(problem=str(e), passing=e.passing)
        self._count(action, "ok")
        return Supplied(wrote=True)

    def _count(self, action: str, result: str) -> None:
        self.metrics.writes.labels(action, result).inc()
        self.metrics.last_write.set(self.now().timestamp())

    async def _write(self, name: str, step: Write) -> bool:
        """False: something changed during the delete."""
        cause = step.cause(self._right.get(name))
        if step.over is not None and not step.in_place:
            await self._delete(name, step.over, cause)
            if (await self.plan(name)).step != Write(step.body):
                return False
        await self._apply(name, step, step.over if step.in_place else None, cause)
        return True

    async def _apply(
        self,
        name: str,
        step: Write,
        over: ExistingSecret | None,
        cause: Cause,
        *,
        force: bool = False,
        by: str = "",
    ) -> None:
        """`by`: who changed what is restored, if that is known."""
        asked = self.state.pull_secrets.moment(name)
        ours = await self.store.apply(step.body, over, force=force)
        self.state.pull_secrets.answered(name, ours, asked)
        self._right[name] = step.digest
        self.writes.wrote(self.planner.name, ours, cause, by if cause == "restored" else "")
        if cause == "changed":
            self.record(step.news())

    async def _delete(self, name: str, over: ExistingSecret, why: str) -> None:
        if not over.terminating:
            await self.store.delete(over)
        asked = self.state.pull_secrets.moment(name)
        seen = await self.store.read(name)
        if seen is not None and seen.uid == over.uid and seen.terminating:
            await self.store.release(seen)  # a foreign finalizer holds it, but it is ours
            seen = await self.store.read(name)
        if seen is not None:
            self._found(name, seen, asked)
            raise WriteConflict("another Secret took its place")
        known = self.state.pull_secrets.get(name)
        version = known.version if known is not None and known.uid == over.uid else 0
        self.state.pull_secrets.forget(name, max(over.version, version))
        self._right.pop(name, None)
        self.writes.deleted(self.planner.name, over, why)

    async def _look_again(self, name: str, step: Write | Delete, lost: WriteConflict | WriteDenied) -> Supplied | None:
        """After a lost race. A foreign edit of *our* Secret is overwritten by force; a foreign Secret never is."""
        asked = known, _ = self.state.pull_secrets.moment(name)  # the watch may overtake the answer
        try:
            seen = await self.store.read(name)
            if seen is not None:
                self._found(name, seen, asked)
            elif known is not None and self.state.pull_secrets.forget(name, known.version):
                self.secret_changed(name)
            await self.lookup.namespace(name)
            conflict = lost if isinstance(lost, WriteConflict) else None
            ours = isinstance(step, Write) and step.in_place and seen is not None and seen.ours
            if (
                conflict is not None
                and ours
                and seen is not None
                and step.over is not None
                and seen.uid == step.over.uid
            ):
                await self.lookup.namespace(name, recent=True)  # uses up the GET above: no later write may rely on it
                again = (await self.plan(name)).step
                if isinstance(again, Write) and again.in_place:
                    cause = again.cause(self._right.get(name))
                    await self._apply(name, again, seen, cause, force=True, by=conflict.by)
                    self._count("apply", "forced")
                    return Supplied(wrote=True)
        except (WriteConflict, WriteDenied):
            return None
        except (WriteRefused, NamespaceUnknown) as e:
            return Supplied(problem=str(e), passing=e.passing)
        return None

    def _found(self, name: str, seen: ExistingSecret, asked: tuple[ExistingSecret | None, int]) -> None:
        """Updates the view before the watch does, which then has no change to report."""
        if self.state.pull_secrets.answered(name, seen, asked):
            self.secret_changed(name)
