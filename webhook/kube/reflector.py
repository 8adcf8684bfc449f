"""Feeds the views from watches, and calls back with the namespace to reconcile when a view has changed."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

import structlog

from webhook.core.metrics import ProcessMetrics
from webhook.core.notice import About, Notice, Record
from webhook.fairness import in_steps
from webhook.kube.cluster import AccountObject, Cluster, ClusterError, NamespaceObject, Object, SecretObject, is_name
from webhook.kube.listing import Unread
from webhook.kube.reader import Reader
from webhook.kube.views import Namespaces, State, Versioned, View, account_key
from webhook.kube.watch import Replaced, Watch

log = structlog.get_logger()
LOG_AGAIN_SECONDS = 60.0
"""Seconds until the same failure is logged again, if the watch worked meanwhile."""
MAX_FAILURES, MAX_FAILURE_CHARS = 16, 200
"""Failures that are remembered as logged, and characters of each."""
W = TypeVar("W", bound=Object)
V = TypeVar("V", bound=Versioned)


@dataclass(frozen=True)
class Feed(Generic[W, V]):
    """`changed` is called with the key of each object that has changed; before it `secret_changed`, but not for the
    first list. Our own error in these two ends no feed.
    """

    watch: Watch[W, V]
    view: View[V]
    changed: Callable[[str], None] = lambda _key: None
    secret_changed: Callable[[str], None] = lambda _key: None

    async def run(self) -> None:
        async for event in self.watch.events():
            if isinstance(event, Replaced):
                first = not self.view.synced.is_set()
                for key in await in_steps(self.view.replace(event.items, event.version)):
                    self._report(key, first=first)
                    await asyncio.sleep(0)  # there may be thousands, and a review must not wait for all
                self.view.told.set()
            else:
                key, item = event.key, event.item
                if self.view.forget(key, item.version) if event.gone else self.view.learn(key, item):
                    self._report(key)
                self.view.observed(item.version)
            del event  # else the list of all objects is kept until the next change, which may take days

    def _report(self, key: str, *, first: bool = False) -> None:
        try:
            if not first:
                self.secret_changed(key)
            self.changed(key)
        except Exception:
            log.exception("our own bug: a change was not handled", about=key)


@dataclass
class Health:
    """Counts and reports the failures of one watch, and tells its view whether the watch works.

    `kind`: of its objects, if an Event can be about them; `gone`: called with each object that cannot be read.
    """

    resource: str
    metrics: ProcessMetrics
    record: Record
    kind: About | None = None
    view: View[Any] | None = None
    gone: Callable[[Unread], None] = lambda _one: None
    _logged: dict[str, float] = field(default_factory=dict)
    _worked: float = 0.0

    def works(self) -> None:
        self._worked = time.monotonic()
        if self.view is not None:
            self.view.in_touch()

    def failed(self, error: ClusterError) -> None:
        if self.view is not None:
            self.view.out_of_touch()
        self.metrics.watch_failures.labels(self.resource).inc()
        if error.status != 410:
            self._log("cannot watch; trying again", str(error)[:MAX_FAILURE_CHARS])

    def left_out(self, one: Unread) -> None:
        self.metrics.unreadable.labels(self.resource).inc()
        if one.bug is not None:
            self._log("our own bug: an object is left out", type(one.bug).__name__, exc_info=one.bug)
        if self.kind is not None and is_name(one.name):
            message = f"the webhook leaves this object out: {one.why}"
            self.record(Notice("Unreadable", message, one.namespace or one.name, self.kind, one.name))
        else:
            self._log("an object is left out", str(one)[:MAX_FAILURE_CHARS])
        self.gone(one)

    def _log(self, what: str, why: str, exc_info: Exception | None = None) -> None:
        """Once for each `why`; again after LOG_AGAIN_SECONDS if the watch has worked since."""
        now, last = time.monotonic(), self._logged.get(why)
        if last is not None and not (self._worked >= last and now - last >= LOG_AGAIN_SECONDS):
            return
        if len(self._logged) >= MAX_FAILURES:
            self._logged.clear()
        self._logged[why] = now
        log.warning(what, resource=self.resource, error=why, exc_info=exc_info)


@dataclass(frozen=True)
class _Feeds:
    cluster: Cluster
    metrics: ProcessMetrics
    record: Record

    def feed(
        self,
        view: View[V],
        kind: About,
        item: type[W],
        key: Callable[[str, str], str],
        value: Callable[[W], V],
        changed: Callable[[str], None] = lambda _key: None,
        **options: Any,
    ) -> Feed[W, V]:
        def gone(one: Unread) -> None:
            name = key(one.namespace, one.name)
            if one.version is not None and view.forget(name, one.version):
                changed(name)

        def keep(seen: W) -> tuple[str, V]:
            return key(seen.metadata.namespace, seen.metadata.name), value(seen)

        resource = f"{kind.lower()}s"
        health = Health(resource, self.metrics, self.record, kind=kind, view=view, gone=gone)
        return Feed(Watch(self.cluster, f"/api/v1/{resource}", item, keep, health, **options), view, changed)


def namespaces(
    cluster: Cluster,
    view: Namespaces,
    reader: Reader,
    metrics: ProcessMetrics,
    record: Record,
    look: Callable[[str], None] = lambda _name: None,
) -> Coroutine[None, None, None]:
    """The feed of namespaces, to be run as a task. Metadata is enough."""
    return (
        _Feeds(cluster, metrics, record)
        .feed(view, "Namespace", NamespaceObject, lambda _, name: name, reader.namespace, look, metadata_only=True)
        .run()
    )


def runs(
    cluster: Cluster,
    state: State,
    reader: Reader,
    metrics: ProcessMetrics,
    record: Record,
    look: Callable[[str], None],
    secret_changed: Callable[[str], None],
) -> tuple[Coroutine[None, None, None], ...]:
    """The feeds of all three views, to be run as tasks.

    `secret_changed`: the pull secret of this namespace was written or deleted, perhaps by this process, which may not
    have the API server's answer yet.
    """
    feeds = _Feeds(cluster, metrics, record)
    query = {"fieldSelector": f"metadata.name={reader.secret}"}  # RBAC by name requires it too
    secrets = feeds.feed(
        state.pull_secrets, "Secret", SecretObject, lambda space, _: space, reader.existing, look, query=query
    )
    accounts = feeds.feed(state.accounts, "ServiceAccount", AccountObject, account_key, reader.account)
    of_namespaces = namespaces(cluster, state.namespaces, reader, metrics, record, look)
    return of_namespaces, replace(secrets, secret_changed=secret_changed).run(), accounts.run()
