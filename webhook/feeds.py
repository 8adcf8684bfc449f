"""From watches into views: what is learned, and which namespaces are to be looked at because of it."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

from webhook.cluster import AccountObject, Cluster, ClusterError, NamespaceObject, SecretObject
from webhook.metrics import Metrics
from webhook.state import Reader, State, Versioned, View, account_key, version
from webhook.watch import HasMeta, Replaced, Watch

log = structlog.get_logger()
W = TypeVar("W", bound=HasMeta)
V = TypeVar("V", bound=Versioned)


@dataclass(frozen=True)
class Feed(Generic[W, V]):
    """`changed` is called with the key of each object that is not what it was."""

    watch: Watch[W]
    view: View[V]
    key: Callable[[W], str]
    read: Callable[[W], V]
    changed: Callable[[str], None]

    async def run(self) -> None:
        async for event in self.watch.events():
            if isinstance(event, Replaced):
                items = {self.key(item): self.read(item) for item in event.items}
                for key in self.view.replace(items, event.version):
                    self.changed(key)
            else:
                self._hear(event.item, gone=event.gone)

    def _hear(self, item: W, *, gone: bool) -> None:
        key, at = self.key(item), version(item.metadata)
        if self.view.forget(key, at) if gone else self.view.learn(key, self.read(item)):
            self.changed(key)
        self.view.told(at)


def failures(resource: str, metrics: Metrics) -> Callable[[ClusterError], None]:
    """Counts each failure, and logs one line for a row of equal ones."""
    said = ""

    def failed(error: ClusterError) -> None:
        nonlocal said
        metrics.watch_failures.labels(resource).inc()
        if str(error) != said and error.status != 410:
            log.warning("cannot watch; trying again", resource=resource, error=str(error))
            said = str(error)

    return failed


def runs(
    cluster: Cluster, state: State, reader: Reader, secret: str, metrics: Metrics, look: Callable[[str], None]
) -> tuple[Coroutine[None, None, None], ...]:
    """The feeds of all three views, to be run as tasks. Metadata is enough of namespaces."""
    namespaces = Feed(
        Watch(cluster, "/api/v1/namespaces", NamespaceObject, failures("namespaces", metrics), metadata_only=True),
        state.namespaces,
        lambda seen: seen.metadata.name,
        reader.namespace,
        look,
    )
    standing = Feed(
        Watch(
            cluster,
            "/api/v1/secrets",
            SecretObject,
            failures("secrets", metrics),
            query={"fieldSelector": f"metadata.name={secret}"},  # also what RBAC by name asks for
        ),
        state.standing,
        lambda seen: seen.metadata.namespace,
        reader.standing,
        look,
    )
    accounts = Feed(
        Watch(cluster, "/api/v1/serviceaccounts", AccountObject, failures("serviceaccounts", metrics)),
        state.accounts,
        lambda seen: account_key(seen.metadata.namespace, seen.metadata.name),
        reader.account,
        lambda _key: None,
    )
    return namespaces.run(), standing.run(), accounts.run()
