"""What `adopt` and `status` read with an administrator's kubeconfig: namespaces and their owners, the Secrets of our
name, and the source Secrets. Databases and HTTP services cannot be queried from here.
"""

import base64
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from operator import itemgetter
from sys import intern
from typing import TypeVar

import msgspec

from certs.errors import ApiTrouble
from webhook.config import reading
from webhook.config.models import Config, Tls
from webhook.config.reading import ConfigError
from webhook.core.check import KEY, RECORDS, Checks, decoded
from webhook.core.credential import Credential, Credentials
from webhook.core.dockerconfig import MAX_PARTS, DockerConfigError, parse
from webhook.core.errors import PullsecretError
from webhook.core.issued import IssuedBy, read_issued
from webhook.core.mistakes import near_owner
from webhook.core.names import CHECKS_SECRET, DOCKERCONFIG_KEY, ISSUER, OWNER
from webhook.core.owner import deciding
from webhook.core.pullsecret import Fingerprint, Namespace
from webhook.core.registry import DOCKER_HUB
from webhook.core.shown import few, quoted, shown
from webhook.core.wire import Unreadable
from webhook.kube.cluster import (
    FORBIDDEN,
    Cluster,
    ClusterError,
    Forbidden,
    NamespaceObject,
    Object,
    SecretMeta,
    SecretObject,
    decode,
    is_name,
)
from webhook.kube.listing import listed
from webhook.kube.ownsecret import OwnSecret
from webhook.kube.reader import Reader
from webhook.sources.secret import SourceSecret, credentials_of, read

CONFIG_KEY = "config.yaml"
FINGERPRINT = Fingerprint(b"")
"""Without a key: fingerprints are compared within one run and never shown."""
REGISTRATION = Tls().webhook_configuration
"""The chart's names do not depend on the name of the release."""
_REGISTRATION_PATH = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{REGISTRATION}"
_WHAT = f"the MutatingWebhookConfiguration {REGISTRATION}"
_CONFIG_PATH = "/api/v1/namespaces/{}/configmaps/{}"
USE_FLAG = "name the configuration file with --config FILE"
NO_OWNER = "the namespace has no owner"
T = TypeVar("T")
SourceSecrets = Mapping[str, Mapping[str, SourceSecret]]
"""By owner and name."""


class Manager(msgspec.Struct, rename={"fields": "fieldsV1"}):
    """A field manager of the object, and when it wrote last."""

    manager: str = ""
    time: datetime | None = None
    fields: msgspec.Raw = msgspec.Raw(b"{}")


class PullSecretMeta(SecretMeta):
    managed_fields: list[Manager] | None = None


class PullSecretObject(SecretObject):
    """A Secret of our name, ours or not."""

    metadata: PullSecretMeta

    @property
    def content(self) -> tuple[tuple[str, ...], str]:
        """The registries in it, and what is wrong with it."""
        credentials, problem = self.credentials
        return tuple(dict.fromkeys(c.registry for c in credentials)), problem

    @property
    def credentials(self) -> tuple[tuple[Credential, ...], str]:
        """Those in it, and what is wrong with it."""
        try:
            parsed = parse(base64.b64decode((self.data or {}).get(DOCKERCONFIG_KEY, ""), validate=True), most=MAX_PARTS)
        except DockerConfigError as e:
            return (), str(e)
        except ValueError:
            return (), "it is not base64"
        return parsed.credentials, shown("; ".join(parsed.problems))

    @property
    def written(self) -> tuple[datetime, str] | None:
        """When the content was written last, and by whom."""
        managers = self.metadata.managed_fields or ()
        wrote = [(one.time, one.manager) for one in managers if one.time and b'"f:data"' in bytes(one.fields)]
        return max(wrote, key=itemgetter(0), default=None)


class _Service(msgspec.Struct, frozen=True):
    namespace: str = ""
    name: str = ""


class _Client(msgspec.Struct, frozen=True, rename="camel"):
    service: _Service | None = None
    ca_bundle: str | None = None


class _Called(msgspec.Struct, rename="camel"):
    name: str = ""
    client_config: _Client = _Client()


class Registration(msgspec.Struct):
    """A MutatingWebhookConfiguration."""

    webhooks: list[_Called] | None = None


_NAMESPACE, _PULL_SECRET = msgspec.json.Decoder(NamespaceObject), msgspec.json.Decoder(PullSecretObject)


class _ConfigMap(msgspec.Struct):
    data: dict[str, str] | None = None


async def deployed_config(cluster: Cluster) -> Config:
    """The configuration of the running webhook. Raises ConfigError.

    Its ConfigMap has the namespace and the name of the Service in the MutatingWebhookConfiguration. Only cluster
    administrators can write the latter, but every tenant can label a ConfigMap.
    """
    registration = await _there(cluster, _REGISTRATION_PATH, _WHAT, Registration)
    services = {webhook.client_config.service for webhook in registration.webhooks or ()}
    if len(services) != 1 or (service := services.pop()) is None:
        raise ConfigError(f"{_WHAT} does not call one Service; {USE_FLAG}")
    if not (is_name(service.namespace) and is_name(service.name)):
        raise ConfigError(f"{_WHAT} names no Service; {USE_FLAG}")
    return await config_of(cluster, service.name, service.namespace)


async def readable_config(cluster: Cluster) -> tuple[Config, bool]:
    """For commands that only read: while the registration is missing, the ConfigMap of the chart's usual names will do;
    for a user who may read neither, the default values. Returns whether it is the webhook's own. Raises ConfigError.
    """
    try:
        return await deployed_config(cluster), True
    except _UnreadError as e:
        if e.status == FORBIDDEN:
            return Config(), False
        if e.what != _WHAT:
            raise
        with suppress(ConfigError):
            return await config_of(cluster, Tls().service, Config().namespace), True
        raise


class _UnreadError(ConfigError):
    def __init__(self, text: str, what: str, status: int) -> None:
        super().__init__(text)
        self.what, self.status = what, status


async def config_of(cluster: Cluster, name: str, namespace: str) -> Config:
    """In the ConfigMap of this name. Raises ConfigError."""
    what = f"the ConfigMap {name} in namespace {namespace}"
    path = _CONFIG_PATH.format(namespace, name)
    data = (await _there(cluster, path, what, _ConfigMap)).data or {}
    if CONFIG_KEY not in data:
        raise ConfigError(f"{what} has no {CONFIG_KEY}; {USE_FLAG}")
    return reading.parse(data[CONFIG_KEY])


async def _there(cluster: Cluster, path: str, what: str, kind: type[T]) -> T:
    try:
        return await decode(msgspec.json.Decoder(kind), await cluster.call("GET", path, within=30.0))
    except ClusterError as e:
        why = "does not exist: is the chart installed?" if e.status == 404 else f"cannot be read ({e});"
        raise _UnreadError(f"{what} {why} {USE_FLAG}", what, e.status) from None
    except Unreadable:
        raise ConfigError(f"{what} cannot be decoded; {USE_FLAG}") from None


@dataclass(frozen=True)
class ClusterView:
    """`unread`: what this user may not read, told once. `unconfigured`: why the configuration is not known, so that the
    default values count; empty: it is.
    """

    cluster: Cluster
    config: Config
    unread: dict[str, None] = field(default_factory=dict)
    unconfigured: str = ""

    async def may(self, what: str, look: Awaitable[T], otherwise: T) -> T:
        """What is left out if this user may not read it."""
        try:
            return await look
        except Forbidden:
            self.cannot_read(what)
            return otherwise

    def cannot_read(self, what: str) -> None:
        self.unread[what] = None

    @property
    def reader(self) -> Reader:
        config = self.config
        return Reader(config.rules, config.excluded, FINGERPRINT, config.pull_secret.name, config.regions)

    async def namespace(self, name: str) -> Namespace:
        """Raises PullsecretError when it does not exist."""
        return self.reader.namespace(await self.namespace_object(name))

    async def namespace_object(self, name: str) -> NamespaceObject:
        if not is_name(name):
            raise PullsecretError(f"{quoted(name)} is not a valid name of a namespace")
        try:
            raw = await self.cluster.call("GET", f"/api/v1/namespaces/{name}", within=30.0)
            return await decode(_NAMESPACE, raw)
        except (ClusterError, Unreadable) as e:
            raise PullsecretError(f"namespace {name} cannot be read ({e})") from None

    def rule(self, seen: NamespaceObject) -> str:
        """The owner rule that found the owner."""
        meta = seen.metadata
        found = deciding(self.config.rules, meta.name, meta.labels or {}, meta.annotations or {})
        if found is None:
            return ""
        rule = self.config.rules[found[0]]
        return f"the {rule.place}{rule.key and f' {rule.key}'} (ownerRules[{found[0]}])"

    def why_unserved(self, namespace: Namespace) -> str:
        return namespace.left_alone or NO_OWNER

    async def served(self) -> tuple[dict[str, Namespace], list[Namespace], dict[str, str]]:
        """All namespaces that the webhook serves, by name, without those that are being deleted; those without an
        owner, perhaps because of a mistake in their labels or annotations; and the owner rules of the former.
        """
        objects = listed(self.cluster, "namespaces", "/api/v1/namespaces", NamespaceObject, metadata_only=True)
        reader, rules, read = self.reader, dict[str, str](), list[Namespace]()
        async for one in objects:
            read.append(space := reader.namespace(one))
            if space.served:
                rules[space.name] = intern(self.rule(one))
        read.sort(key=lambda one: one.name)
        served = {one.name: one for one in read if one.served and not one.terminating}
        mistaken = [
            one for one in read if one.mistakes and one.owner is None and not one.left_alone and not one.terminating
        ]
        return served, mistaken, rules

    def path(self, namespace: str) -> str:
        return f"/api/v1/namespaces/{namespace}/secrets/{self.config.pull_secret.name}"

    async def pull_secret(self, namespace: str) -> PullSecretObject | None:
        try:
            return await decode(_PULL_SECRET, await self.cluster.call("GET", self.path(namespace), within=30.0))
        except (ClusterError, Unreadable) as e:
            if isinstance(e, ClusterError) and e.status == 404:
                return None
            kind = Forbidden if isinstance(e, ClusterError) and e.status == FORBIDDEN else PullsecretError
            raise kind(f"the Secret {self.config.pull_secret.name} cannot be read ({e})") from None

    def pull_secrets(self) -> AsyncIterator[PullSecretObject]:
        """In all namespaces."""
        name = self.config.pull_secret.name
        query = {"fieldSelector": f"metadata.name={name}"}
        return listed(self.cluster, f"the Secrets {name}", "/api/v1/secrets", PullSecretObject, query=query)

    async def checks(self) -> Checks | None:
        """What registries said about credentials. None: it is not known here."""
        if not self.config.check:
            return None
        try:
            stored = await OwnSecret(self.cluster, self.config.namespace, CHECKS_SECRET, "check").read()
        except ApiTrouble:
            return None
        if stored is None or not (key := stored.data.get(KEY)):
            return None
        return Checks(key, decoded(stored.data.get(RECORDS, b"")))

    async def source_secrets(self) -> SourceSecrets:
        found: dict[str, dict[str, SourceSecret]] = {}
        async for name, secret in self.each_source_secret():
            if secret.owner is not None:
                found.setdefault(secret.owner, {})[name] = secret
        return found

    async def issued(self) -> Mapping[str, IssuedBy]:
        """Source Secrets that issuers write, by name."""
        path, found = f"/api/v1/namespaces/{self.config.namespace}/secrets", dict[str, IssuedBy]()
        models = {one.called: one for one in self.config.issuers}
        query = {"labelSelector": ISSUER}
        async for one in listed(self.cluster, "the source Secrets", path, Object, query=query, metadata_only=True):
            labels, annotations = one.metadata.labels or {}, one.metadata.annotations or {}
            issuer, owner = labels.get(ISSUER, ""), annotations.get(OWNER, "") or labels.get(OWNER, "")
            known, model = read_issued(annotations), models.get(issuer)
            by = IssuedBy(issuer)
            if known is not None:
                renewed = known.renewed_at(owner) if model is not None and model.is_for(owner) else None
                by = IssuedBy(issuer, known.generation, known.issued, renewed, known.ends)
            found[one.metadata.name] = by
        return found

    async def each_source_secret(self) -> AsyncIterator[tuple[str, SourceSecret]]:
        """By name, also those of which it is not known whose they are."""
        path = f"/api/v1/namespaces/{self.config.namespace}/secrets"
        async for one in listed(self.cluster, "the source Secrets", path, SecretObject, query={"labelSelector": OWNER}):
            yield one.metadata.name, read(one)


@dataclass(frozen=True, slots=True)
class Outlook:
    """What source Secrets say about an owner beside the credentials that are usable in the namespace. `limited`: the
    registries of those that are limited to other namespaces. `unknown`: that no source Secret is for this owner.
    `broken`: which of them are broken, and why.
    """

    limited: tuple[str, ...] = ()
    unknown: str = ""
    broken: str = ""


NO_OUTLOOK = Outlook()


def outlook(secrets: SourceSecrets, namespace: Namespace) -> Outlook:
    owner = namespace.owner or ""
    found = credentials_of(secrets.get(owner, {}))
    if not isinstance(found, Credentials):
        return Outlook(broken=broken(secrets[owner]))
    if not found.items:
        return Outlook(unknown=unknown(owner, secrets))
    here = {c.registry for c in found.usable_in(namespace.name).items}
    return Outlook(tuple(dict.fromkeys(c.registry for c in found.items if c.registry not in here)))


def broken(secrets: Mapping[str, SourceSecret]) -> str:
    """Which of an owner's source Secrets are broken, and why. Empty: none."""
    words = [
        f"source Secret {quoted(name)} is broken: {shown('; '.join(few(one.problems)))}"
        for name, one in sorted(secrets.items())
        if one.credentials is None
    ]
    return "; ".join(few(words))


def unknown(owner: str, owners: Iterable[str]) -> str:
    """That no source Secret is for this owner. `owners`: those for whom there are some."""
    near = near_owner(owner, owners)
    return f"no source Secret is for owner {quoted(owner)}{near and f'; did you mean {quoted(near)}?'}"


def usable(secrets: SourceSecrets, namespace: Namespace) -> Credentials | None:
    """The owner's credentials for the namespace, also expired ones. None: a source Secret is broken."""
    found = credentials_of(secrets.get(namespace.owner or "", {}))
    return found.usable_in(namespace.name) if isinstance(found, Credentials) else None


def covered(registry: str, by: Iterable[str]) -> bool:
    """Does every image that matches `registry` also match one of `by`? The kubelet matches by prefix."""
    host = registry.partition("/")[0]
    return any(
        (registry.startswith(other) and host == other.partition("/")[0])
        or (other == DOCKER_HUB and host == "docker.io")
        for other in by
    )
