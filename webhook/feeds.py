"""From watches into views: what is learned, and which namespaces are to be looked at because of it."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

from webhook.cluster import AccountObject, Cluster, ClusterError, NamespaceObject, SecretObject
from webhook.metrics import Metrics
from webhook.state import Reader, State, Versioned, View, account_key
from webhook.watch import HasMeta, Replaced, Watch

log = structlog.get_logger()
W = TypeVar("W", bound=HasMeta)
V = TypeVar("V", bound=Versioned)


@dataclass(frozen=True)
class Feed(Generic[W, V]):
    """What the watch keeps of an object is its key and its value. `changed` is called with the key of each object that
    is not what it was; before that `heard`, but not of the first list.
    """

    watch: Watch[W, tuple[str, V]]
    view: View[V]
    changed: Callable[[str], None]
    heard: Callable[[str], None] = lambda _key: None

    async def run(self) -> None:
        async for event in self.watch.events():
            if isinstance(event, Replaced):
                first = not self.view.synced.is_set()
                for key in self.view.replace(dict(event.items), event.version):
                    if not first:
                        self.heard(key)
                    self.changed(key)
                    await asyncio.sleep(0)  # there may be thousands, and a review must not wait for all
            else:
                self._hear(*event.item, gone=event.gone)

    def _hear(self, key: str, item: V, *, gone: bool) -> None:
        if self.view.forget(key, item.version) if gone else self.view.learn(key, item):
            self.heard(key)
            self.changed(key)
        self.view.told(item.version)


def failures(resource: str, metrics: Metrics, view: View[Any] | None = None) -> Callable[[ClusterError], None]:
    """Counts each failure, and logs one line for a row of equal ones. `view`: what knows no better from then on."""
    said = ""

    def failed(error: ClusterError) -> None:
        nonlocal said
        if view is not None:
            view.out_of_touch()
        metrics.watch_failures.labels(resource).inc()
        if str(error) != said and error.status != 410:
            log.warning("cannot watch; trying again", resource=resource, error=str(error))
            said = str(error)

    return failed


def runs(
    cluster: Cluster,
    state: State,
    reader: Reader,
    secret: str,
    metrics: Metrics,
    look: Callable[[str], None],
    heard: Callable[[str], None],
) -> tuple[Coroutine[None, None, None], ...]:
    """The feeds of all three views, to be run as tasks. Metadata is enough of namespaces.

    `heard`: somebody wrote or deleted the Secret in this namespace; perhaps we, whose answer is still on its way.
    """
    namespaces = Feed(
        Watch(
            cluster,
            "/api/v1/namespaces",
            NamespaceObject,
            lambda seen: (seen.metadata.name, reader.namespace(seen)),
            failures("namespaces", metrics, state.namespaces),
            works=state.namespaces.in_touch,
            metadata_only=True,
        ),
        state.namespaces,
        look,
    )
    standing = Feed(
        Watch(
            cluster,
            "/api/v1/secrets",
            SecretObject,
            lambda seen: (seen.metadata.namespace, reader.standing(seen)),
            failures("secrets", metrics, state.standing),
            works=state.standing.in_touch,
            query={"fieldSelector": f"metadata.name={secret}"},  # also what RBAC by name asks for
        ),
        state.standing,
        look,
        heard,
    )
    accounts = Feed(
        Watch(
            cluster,
            "/api/v1/serviceaccounts",
            AccountObject,
            lambda seen: (account_key(seen.metadata.namespace, seen.metadata.name), reader.account(seen)),
            failures("serviceaccounts", metrics, state.accounts),
            works=state.accounts.in_touch,
        ),
        state.accounts,
        lambda _key: None,
    )
    return namespaces.run(), standing.run(), accounts.run()
