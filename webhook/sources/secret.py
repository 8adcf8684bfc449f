"""The default source: Secrets in the webhook's own namespace with the label `pullsecret-webhook/owner`.

Their type is kubernetes.io/dockerconfigjson with any number of registries, or kubernetes.io/basic-auth with an
annotation for the registry. They are watched, so a new token takes effect immediately. Secrets of External Secrets,
SOPS or Sealed Secrets work like any other.
"""

import asyncio
import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from webhook.core import times
from webhook.core.credential import Credential, Credentials, Origin, canonical_registry, joined, same
from webhook.core.dockerconfig import Parsed, parse
from webhook.core.errors import PullsecretError, SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.core.names import DOCKERCONFIG_KEY, DOCKERCONFIG_TYPE, EXPIRES, NAMESPACES, OWNER, REGISTRY
from webhook.core.notice import Notice, Record
from webhook.kube.cluster import Cluster, ClusterError, SecretObject
from webhook.kube.listing import Unread
from webhook.kube.reader import version
from webhook.kube.views import View
from webhook.kube.watch import Replaced, Watch, whole
from webhook.sources import Changed

BASIC_AUTH_TYPE = "kubernetes.io/basic-auth"
DEFAULT_REGISTRY = "ghcr.io"
NOTHING = Credentials()


class SourceSecretError(PullsecretError):
    """Why a source Secret cannot be used at all; never with its content."""


@dataclass(frozen=True, slots=True)
class SourceSecret:
    """What a source Secret holds. `credentials` None: it is broken, so the owner's credentials are not known."""

    version: int
    owner: str | None
    credentials: tuple[Credential, ...] | None
    problems: tuple[str, ...] = ()


Change = tuple[SourceSecret | None, SourceSecret | None]
"""Before and after."""


def read(seen: SecretObject, source: str = "") -> SourceSecret:
    """`source`: what the configuration calls the source."""
    owner, annotations = None, seen.metadata.annotations or {}
    try:
        owner = _owner(seen)
        parsed = _content(seen)
        namespaces = _namespaces(annotations.get(NAMESPACES))
        expires = _expiry(annotations.get(EXPIRES))
    except PullsecretError as e:
        return SourceSecret(version(seen.metadata), owner, None, (str(e),))
    origin = Origin(source, seen.metadata.namespace, "Secret", seen.metadata.name)
    credentials = tuple(replace(c, expires=expires, namespaces=namespaces, origin=origin) for c in parsed.credentials)
    return SourceSecret(version(seen.metadata), owner, credentials, parsed.problems)


def credentials_of(secrets: Mapping[str, SourceSecret]) -> Credentials | str:
    """All credentials of one owner's Secrets, in the order of the names; or the name of a broken Secret."""
    parts: list[Credentials] = []
    for name in sorted(secrets):
        credentials = secrets[name].credentials
        if credentials is None:
            return name
        parts.append(Credentials(credentials))
    return joined(parts)


def _owner(seen: SecretObject) -> str:
    label = (seen.metadata.labels or {}).get(OWNER, "")
    annotation = (seen.metadata.annotations or {}).get(OWNER, "")
    if label and annotation and label != annotation:
        raise SourceSecretError(f"its label and its annotation {OWNER} differ; write the same owner in both")
    if not (owner := annotation or label):
        raise SourceSecretError(f"it has no owner; set the label {OWNER}, or an empty label and the annotation {OWNER}")
    return owner


def _content(seen: SecretObject) -> Parsed:
    if seen.type == DOCKERCONFIG_TYPE:
        return parse(_value(seen, DOCKERCONFIG_KEY))
    if seen.type == BASIC_AUTH_TYPE:
        registry = (seen.metadata.annotations or {}).get(REGISTRY, DEFAULT_REGISTRY)
        username, password = (_text(seen, key) for key in ("username", "password"))
        return Parsed((Credential(canonical_registry(registry), username, password),))
    raise SourceSecretError(f"its type is {seen.type or 'Opaque'}; use {DOCKERCONFIG_TYPE} or {BASIC_AUTH_TYPE}")


def _value(seen: SecretObject, key: str) -> bytes:
    text = (seen.data or {}).get(key)
    if text is None:
        raise SourceSecretError(f"it has no key {key}")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise SourceSecretError(f"the key {key} is not base64") from None


def _text(seen: SecretObject, key: str) -> str:
    try:
        return _value(seen, key).decode()
    except UnicodeDecodeError:
        raise SourceSecretError(f"the key {key} is not UTF-8") from None


def _namespaces(text: str | None) -> tuple[str, ...]:
    """Empty without the annotation: all namespaces. An annotation without a name is an error, and never means all."""
    names = tuple(name.strip() for name in (text or "").split(",") if name.strip())
    if text is not None and not names:
        raise SourceSecretError(f"its annotation {NAMESPACES} has no namespace; list some, or remove it")
    return names


def _expiry(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return times.read(text)
    except ValueError as e:
        raise SourceSecretError(f"its annotation {EXPIRES} {e}") from None


class SecretSource:
    """Credentials by owner, from one view of source Secrets."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        changed: Changed,
        record: Record,
        metrics: Metrics,
        name: str = "secrets",
    ) -> None:
        self._cluster, self._namespace = cluster, namespace
        self._changed, self._record, self._metrics, self._name = changed, record, metrics, name
        self._secrets: View[SourceSecret] = View()
        self._of_owner: dict[str, dict[str, SourceSecret]] = {}
        self._merged: dict[str, Credentials | str] = {}
        self._unread: set[str] = set()
        self._behind = False
        """The watch has failed: until it works again, another replica may know something newer."""
        self._invalidated: set[str] = set()
        """Owners with a pull secret that something else wrote since then."""
        self._failure = "the source Secrets have not been listed yet"
        self.settled = asyncio.Event()

    def known(self, owner: str) -> Credentials | None:
        if not self._secrets.synced.is_set() or owner in self._invalidated:
            return None
        found = self._merged.get(owner, NOTHING)
        return found if isinstance(found, Credentials) else None

    def invalidate(self, owner: str) -> None:
        """While the watch fails there is nothing to ask again: the owner's credentials are not known."""
        if self._behind:
            self._invalidated.add(owner)

    async def credentials(self, owner: str) -> Credentials:
        if (known := self.known(owner)) is not None:
            return known
        if not self._secrets.synced.is_set():
            raise SourceUnavailable(self._failure)
        if owner in self._invalidated:
            raise SourceUnavailable("the watch of source Secrets is behind")
        raise SourceUnavailable(f"source Secret {self._merged.get(owner)} is broken")

    async def run(self) -> None:
        watch = Watch(
            self._cluster,
            f"/api/v1/namespaces/{self._namespace}/secrets",
            SecretObject,
            whole,
            self,
            query={"labelSelector": OWNER},
        )
        async for event in watch.events():
            if isinstance(event, Replaced):
                self.replace(event.items, event.version)
            elif event.gone:
                self.forget(event.item)
            else:
                self.learn(event.item)

    def works(self) -> None:
        self._behind = False
        invalidated, self._invalidated = self._invalidated, set()
        for owner in sorted(invalidated):
            self._changed(owner)

    def left_out(self, one: Unread) -> None:
        """Keeps the last known state of a Secret that cannot be read."""
        self._unread.add(one.name)
        self._metrics.broken_sources.flag(one.name, on=True)
        self._metrics.unreadable.labels("source secrets").inc()
        self._record(Notice("SourceSecretBroken", one.why, self._namespace, "Secret", one.name))

    def failed(self, error: ClusterError) -> None:
        self._failure = f"the source Secrets cannot be listed ({error})"
        self._metrics.watch_failures.labels("source secrets").inc()
        self._behind = True
        self.settled.set()

    def replace(self, items: list[SecretObject], at: int) -> None:
        unread = {name: known for name in self._unread if (known := self._secrets.get(name)) is not None}
        read_items = unread | {item.metadata.name: read(item, self._name) for item in items}
        self._unread.clear()
        first, before = not self._secrets.synced.is_set(), dict(self._secrets.items())
        changed = self._secrets.replace(read_items, at)
        self._apply({name: (before.get(name), self._secrets.get(name)) for name in changed})
        if first:
            self._changed(None)
        self.settled.set()

    def learn(self, item: SecretObject) -> None:
        name, secret = item.metadata.name, read(item, self._name)
        before = self._secrets.get(name)
        if self._secrets.learn(name, secret):
            self._apply({name: (before, secret)})

    def forget(self, item: SecretObject) -> None:
        name, before = item.metadata.name, self._secrets.get(item.metadata.name)
        if self._secrets.forget(name, version(item.metadata)):
            self._apply({name: (before, None)})

    def _apply(self, changes: Mapping[str, Change]) -> None:
        """Updates the whole index before it merges: a list may remove one Secret and change another."""
        owners: set[str] = set()
        for name, (before, after) in changes.items():
            self._report(name, after)
            if before is not None and before.owner is not None:
                del self._of_owner[before.owner][name]
                owners.add(before.owner)
            if after is not None and after.owner is not None:
                self._of_owner.setdefault(after.owner, {})[name] = after
                owners.add(after.owner)
        for owner in sorted(owners):
            self._merge(owner)
            self._changed(owner)

    def _merge(self, owner: str) -> None:
        if not self._of_owner[owner]:
            del self._of_owner[owner]
            self._merged.pop(owner, None)
            return
        before, found = self._merged.get(owner), credentials_of(self._of_owner[owner])
        if not (isinstance(before, Credentials) and isinstance(found, Credentials) and same(before, found)):
            self._merged[owner] = found  # otherwise the answer stays the same object

    def _report(self, name: str, after: SourceSecret | None) -> None:
        problems = after.problems if after else ()
        self._metrics.broken_sources.flag(name, on=bool(problems))
        if after is None:
            message = "its credentials are withdrawn"
            self._record(Notice("SourceSecretRemoved", message, self._namespace, "Secret", name, "Normal"))
        if problems:
            self._record(Notice("SourceSecretBroken", "; ".join(problems), self._namespace, "Secret", name))

    def expired(self, now: Callable[[], datetime]) -> list[str]:
        """Source Secrets with an expired credential."""
        at = now()
        return [name for name, secret in self._secrets.items() if any(c.expired(at) for c in secret.credentials or ())]
