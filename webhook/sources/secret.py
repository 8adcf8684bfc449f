"""The default source: Secrets in the webhook's own namespace with the label `pullsecret-webhook/owner`.

Their type is kubernetes.io/dockerconfigjson with any number of registries, or kubernetes.io/basic-auth with an
annotation for the registry. They are watched, so a new token takes effect immediately. Secrets of External Secrets,
SOPS or Sealed Secrets work like any other.
"""

import asyncio
import base64
from collections.abc import Callable, Collection, Generator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

from webhook.core import times
from webhook.core.credential import Credential, Credentials, Origin, joined, limits
from webhook.core.dockerconfig import Parsed, parse, parse_dockercfg
from webhook.core.errors import CredentialError, PullsecretError, SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.core.mistakes import unknown
from webhook.core.names import (
    DOCKERCFG_KEY,
    DOCKERCFG_TYPE,
    DOCKERCONFIG_KEY,
    DOCKERCONFIG_TYPE,
    EARLIER,
    EXPIRES,
    GENERATION,
    HANDLE,
    ISSUED,
    ISSUER,
    NAMESPACES,
    OWNER,
    REGISTRY,
)
from webhook.core.notice import Notice, Record
from webhook.core.registry import canonical_registry
from webhook.kube.cluster import Cluster, ClusterError, SecretObject
from webhook.kube.listing import Unread
from webhook.kube.reader import version
from webhook.kube.reflector import Feed
from webhook.kube.views import View
from webhook.kube.watch import Watch
from webhook.sources import Changed

BASIC_AUTH_TYPE = "kubernetes.io/basic-auth"
DEFAULT_REGISTRY = "ghcr.io"
LABELS = (OWNER, ISSUER)
ANNOTATIONS = (OWNER, REGISTRY, NAMESPACES, EXPIRES, ISSUED, GENERATION, HANDLE, EARLIER)
NOTHING = Credentials()
WITHDRAWAL_SECONDS = 10.0
"""Seconds that a deleted source Secret still counts: scripts that renew a token delete it and create it again."""


@dataclass(frozen=True, slots=True)
class SourceSecret:
    """What a source Secret holds. `credentials` None: it is broken, so the owner's credentials are not known.

    `problems`: what is not used of it. `mistake`: what has no effect, beside credentials that are all used.
    """

    version: int
    owner: str | None
    credentials: tuple[Credential, ...] | None
    problems: tuple[str, ...] = ()
    mistake: str = ""


def read(seen: SecretObject, source: str = "") -> SourceSecret:
    """`source`: what the configuration calls the source."""
    owner, labels, annotations = None, seen.metadata.labels or {}, seen.metadata.annotations or {}
    try:
        owner = _owner(seen)
        if odd := unknown(labels, annotations, LABELS, ANNOTATIONS):
            raise CredentialError("; ".join(odd))  # it may be meant as a limit
        parsed = _content(seen)
        namespaces = _namespaces(annotations.get(NAMESPACES))
        expires = _expiry(annotations.get(EXPIRES))
    except PullsecretError as e:
        return SourceSecret(version(seen.metadata), owner, None, (str(e),))
    origin = Origin(source, seen.metadata.namespace, "Secret", seen.metadata.name)
    credentials = tuple(replace(c, expires=expires, namespaces=namespaces, origin=origin) for c in parsed.credentials)
    mistake = _mistake(seen.type or "", annotations.get(REGISTRY), credentials)
    return SourceSecret(version(seen.metadata), owner, credentials, parsed.problems, mistake)


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
        raise CredentialError(f"its label and its annotation {OWNER} differ; write the same owner in both")
    if not (owner := annotation or label):
        raise CredentialError(f"it has no owner; set the label {OWNER}, or an empty label and the annotation {OWNER}")
    return owner


def _content(seen: SecretObject) -> Parsed:
    if seen.type == DOCKERCONFIG_TYPE:
        return parse(_value(seen, DOCKERCONFIG_KEY))
    if seen.type == DOCKERCFG_TYPE:
        return parse_dockercfg(_value(seen, DOCKERCFG_KEY))
    if seen.type == BASIC_AUTH_TYPE:
        registry = (seen.metadata.annotations or {}).get(REGISTRY, DEFAULT_REGISTRY)
        username, password = (_text(seen, key) for key in ("username", "password"))
        return Parsed((Credential(canonical_registry(registry), username, password),))
    raise CredentialError(f"its type is {seen.type or 'Opaque'}; use {DOCKERCONFIG_TYPE} or {BASIC_AUTH_TYPE}")


def _mistake(kind: str, registry: str | None, credentials: Sequence[Credential]) -> str:
    """An annotation for the registry, where the content has others. It is not quoted: it may be a token."""
    if kind == BASIC_AUTH_TYPE or registry is None:
        return ""
    with suppress(CredentialError):
        if canonical_registry(registry) in {one.registry for one in credentials}:
            return ""
    there = "under auths" if kind == DOCKERCONFIG_TYPE else "in its content"
    return f"its annotation {REGISTRY} has no effect, because its type is {kind}; write the registry {there}"


def _value(seen: SecretObject, key: str) -> bytes:
    text = (seen.data or {}).get(key)
    if text is None:
        raise CredentialError(f"it has no key {key}")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise CredentialError(f"the key {key} is not base64") from None


def _text(seen: SecretObject, key: str) -> str:
    try:
        return _value(seen, key).decode()
    except UnicodeDecodeError:
        raise CredentialError(f"the key {key} is not UTF-8") from None


def _namespaces(text: str | None) -> tuple[str, ...]:
    """Empty without the annotation: all namespaces. An annotation without a name is an error, and never means all."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    if text is not None and not names:
        raise CredentialError(f"its annotation {NAMESPACES} has no namespace; list some, or remove it")
    return limits(names)


def _expiry(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        return times.end(text)
    except ValueError as e:
        raise CredentialError(f"its annotation {EXPIRES} {e}") from None


class SecretSource(View[SourceSecret]):
    """A view of the source Secrets by name, with the credentials of each owner."""

    def __init__(
        self,
        cluster: Cluster,
        namespace: str,
        changed: Changed,
        record: Record,
        metrics: Metrics,
        name: str = "secrets",
    ) -> None:
        super().__init__()
        self._cluster, self._namespace = cluster, namespace
        self._tell, self._record, self._metrics, self._name = changed, record, metrics, name
        self._of_owner: dict[str, dict[str, SourceSecret]] = {}
        self._merged: dict[str, Credentials | str] = {}
        """By owner: `credentials_of` the Secrets that count, if it was needed yet."""
        self._unread: set[str] = set()
        """Since the watch failed."""
        self._failing = False
        """The watch has failed: until it works again, another replica may know something newer."""
        self._invalidated: set[str] = set()
        """Owners with a pull secret that something else wrote since then."""
        self._deleted: dict[str, SourceSecret] = {}
        """Deleted source Secrets that still count."""
        self._failure = "the source Secrets have not been listed yet"
        self.settled = asyncio.Event()
        self.on_change.append(self._index)

    def known(self, owner: str) -> Credentials | None:
        if not self.synced.is_set() or owner in self._invalidated:
            return None
        found = self._credentials(owner)
        return found if isinstance(found, Credentials) else None

    def _credentials(self, owner: str) -> Credentials | str:
        if owner not in self._merged and owner in self._of_owner:
            self._merged[owner] = credentials_of(self._of_owner[owner])
        return self._merged.get(owner, NOTHING)

    async def prefetch(self, owners: Collection[str]) -> None:
        """All is known."""

    def invalidate(self, owner: str) -> None:
        """While the watch fails there is nothing to ask again: the owner's credentials are not known."""
        if self._failing:
            self._invalidated.add(owner)

    async def credentials(self, owner: str) -> Credentials:
        if (known := self.known(owner)) is not None:
            return known
        if not self.synced.is_set():
            raise SourceUnavailable(self._failure, everybody=True)
        if owner in self._invalidated:
            raise SourceUnavailable("the watch of source Secrets is behind", everybody=True)
        raise SourceUnavailable(f"source Secret {self._credentials(owner)} is broken")

    def able(self) -> bool:
        return self.synced.is_set() and not self.behind()

    async def run(self) -> None:
        path = f"/api/v1/namespaces/{self._namespace}/secrets"
        watch = Watch(self._cluster, path, SecretObject, self.keep, self, query={"labelSelector": OWNER})
        await Feed(watch, self).run()

    def keep(self, seen: SecretObject) -> tuple[str, SourceSecret]:
        return seen.metadata.name, read(seen, self._name)

    def works(self) -> None:
        self.in_touch()
        self._failing = False
        invalidated, self._invalidated = self._invalidated, set()
        for owner in sorted(invalidated):
            self._tell(owner)

    def left_out(self, one: Unread) -> None:
        """Keeps the last known state of a Secret that cannot be read."""
        self._unread.add(one.name)
        self._metrics.broken_sources.flag(one.name, on=True)
        self._metrics.unreadable.labels("source secrets").inc()
        self._record(Notice("SourceSecretBroken", one.why, self._namespace, "Secret", one.name))

    def failed(self, error: ClusterError) -> None:
        self._failure = f"the source Secrets cannot be listed ({error})"
        self._metrics.watch_failures.labels("source secrets").inc()
        self.out_of_touch()
        self._failing = True
        self._unread.clear()  # the next list shows again which of them cannot be read: one may be deleted
        self.settled.set()

    def replace(self, items: Mapping[str, SourceSecret], version: int) -> Generator[None, None, set[str]]:
        unread = {name: known for name in self._unread if (known := self.get(name)) is not None}
        self._unread.clear()
        first = not self.synced.is_set()
        changed = yield from super().replace({**unread, **items}, version)
        if first:
            self._tell(None)
        self.settled.set()
        return changed

    def _index(self, key: str, before: SourceSecret | None, after: SourceSecret | None) -> None:
        before = before or self._deleted.pop(key, None)
        self._report(key, after)
        if after is None and before is not None:
            self._deleted[key] = before
            asyncio.get_running_loop().call_later(WITHDRAWAL_SECONDS, self._withdraw, key, before)
        else:
            self._change(key, before, after)

    def _withdraw(self, key: str, deleted: SourceSecret) -> None:
        if self._deleted.get(key) is deleted:  # otherwise it was created again
            del self._deleted[key]
            message = "it was deleted: its credentials are withdrawn, and leave the namespaces of its owner"
            self._record(Notice("SourceSecretRemoved", message, self._namespace, "Secret", key))
            self._change(key, deleted, None)

    def _change(self, key: str, before: SourceSecret | None, after: SourceSecret | None) -> None:
        for owner in sorted({one.owner for one in (before, after) if one is not None and one.owner is not None}):
            secrets = self._of_owner.setdefault(owner, {})
            secrets.pop(key, None)
            if after is not None and after.owner == owner:
                secrets[key] = after
            if not secrets:
                del self._of_owner[owner]
            if not secrets or _held(before, owner) != _held(after, owner):
                self._merged.pop(owner, None)  # otherwise the answer stays the same object
            self._tell(owner)

    def _report(self, name: str, after: SourceSecret | None) -> None:
        problems = after.problems if after else ()
        self._metrics.broken_sources.flag(name, on=bool(problems))
        if problems:
            self._record(Notice("SourceSecretBroken", "; ".join(problems), self._namespace, "Secret", name))
        if after is not None and after.mistake:
            self._record(Notice("SourceSecretMistake", after.mistake, self._namespace, "Secret", name))

    def expired(self, now: Callable[[], datetime]) -> list[str]:
        """Source Secrets with an expired credential."""
        at = now()
        return [name for name, secret in self.items() if any(c.expired(at) for c in secret.credentials or ())]


def _held(secret: SourceSecret | None, owner: str) -> tuple[Credential, ...] | None:
    """What it contributes to the owner's credentials."""
    return secret.credentials if secret is not None and secret.owner == owner else ()
