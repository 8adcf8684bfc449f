"""What an administrator sees of the webhook's work with a kubeconfig of their own: for `adopt` and `status`.

Namespaces and whose they are, the Secrets of our name, and what the source Secrets say. Sources that are no Secrets
cannot be asked from here.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from webhook import config as configuration
from webhook.cluster import Cluster, ClusterError, Meta, NamespaceObject, SecretMeta, SecretObject, is_name
from webhook.config import Config, ConfigError
from webhook.credential import Credentials, canonical_registry
from webhook.dockerconfig import DockerConfigError, Parsed, parse
from webhook.errors import PullsecretError
from webhook.listing import listed
from webhook.names import DOCKERCONFIG_KEY, MANAGED_BY, MANAGER, OWNER
from webhook.pullsecret import Fingerprint, Namespace
from webhook.sources.secret import SourceSecret, merge, read
from webhook.state import Reader
from webhook.wire import Unreadable, decode

CONFIG_KEY = "config.yaml"
FINGERPRINT = Fingerprint(b"")
"""Compares within one run and is never shown, so it needs no key."""
CHART = {"labelSelector": f"app.kubernetes.io/name={MANAGER}"}


class Manager(msgspec.Struct, rename="camel"):
    """One who wrote fields of the object, and when last."""

    manager: str = ""
    operation: str = ""
    time: datetime | None = None
    fields_v1: msgspec.Raw = msgspec.field(default=msgspec.Raw(b"{}"), name="fieldsV1")

    @property
    def wrote_data(self) -> bool:
        return b'"f:data"' in bytes(self.fields_v1)


class PullSecretMeta(SecretMeta):
    managed_fields: list[Manager] | None = None


class PullSecretObject(SecretObject):
    """A Secret of our name, whoever wrote it."""

    metadata: PullSecretMeta

    @property
    def ours(self) -> bool:
        return (self.metadata.labels or {}).get(MANAGED_BY) == MANAGER

    @property
    def parsed(self) -> Parsed:
        """Raises DockerConfigError."""
        try:
            return parse(base64.b64decode((self.data or {}).get(DOCKERCONFIG_KEY, ""), validate=True))
        except (binascii.Error, ValueError):
            raise DockerConfigError("it is not base64") from None

    @property
    def written(self) -> Manager | None:
        """Who wrote the content last."""
        wrote = [manager for manager in self.metadata.managed_fields or () if manager.wrote_data and manager.time]
        return max(wrote, key=lambda manager: manager.time.timestamp() if manager.time else 0.0, default=None)


_NAMESPACE, _PULL_SECRET = msgspec.json.Decoder(NamespaceObject), msgspec.json.Decoder(PullSecretObject)


class _ConfigMap(msgspec.Struct):
    metadata: Meta
    data: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class SourceSecrets:
    """The source Secrets, by owner and name."""

    of_owner: Mapping[str, Mapping[str, SourceSecret]]

    def usable(self, namespace: Namespace, now: datetime) -> Credentials | None:
        """What the webhook would write there, ended ones too. None: a Secret is broken, so nobody can say."""
        found = merge(self.of_owner.get(namespace.owner or "", {}), now)
        return found.usable_in(namespace.name) if isinstance(found, Credentials) else None


async def deployed_config(cluster: Cluster) -> Config:
    """The configuration of the running webhook: the chart's ConfigMap. Raises ConfigError."""
    path = "/api/v1/configmaps"
    maps = [one async for one in listed(cluster, "ConfigMaps", path, _ConfigMap, query=CHART)]
    found = [one for one in maps if CONFIG_KEY in (one.data or {})]
    if len(found) != 1:
        places = ", ".join(one.metadata.namespace for one in found) or "none"
        raise ConfigError(
            f"the owner rules stand in the chart's ConfigMap; found in: {places}; name a file with --config"
        )
    return configuration.parse((found[0].data or {})[CONFIG_KEY])


@dataclass(frozen=True)
class Outside:
    cluster: Cluster
    config: Config

    @property
    def reader(self) -> Reader:
        return Reader(self.config.rules, self.config.excluded, FINGERPRINT, self.config.pull_secret.name)

    async def namespace(self, name: str) -> Namespace:
        """Raises PullsecretError when there is none."""
        if not is_name(name):
            raise PullsecretError(f"{name} is no name of a namespace")
        try:
            raw = await self.cluster.call("GET", f"/api/v1/namespaces/{name}", within=30.0)
            return self.reader.namespace(await decode(_NAMESPACE, raw))
        except (ClusterError, Unreadable) as e:
            raise PullsecretError(f"namespace {name} cannot be read ({e})") from None

    async def served(self) -> dict[str, Namespace]:
        """All namespaces that the webhook serves and that stay."""
        objects = listed(self.cluster, "namespaces", "/api/v1/namespaces", NamespaceObject, metadata_only=True)
        reader = self.reader
        read = [reader.namespace(one) async for one in objects]
        return {one.name: one for one in sorted(read, key=lambda one: one.name) if one.served and not one.terminating}

    def path(self, namespace: str) -> str:
        return f"/api/v1/namespaces/{namespace}/secrets/{self.config.pull_secret.name}"

    async def pull_secret(self, namespace: str) -> PullSecretObject | None:
        try:
            return await decode(_PULL_SECRET, await self.cluster.call("GET", self.path(namespace), within=30.0))
        except (ClusterError, Unreadable) as e:
            if isinstance(e, ClusterError) and e.status == 404:
                return None
            raise PullsecretError(f"the Secret {self.config.pull_secret.name} cannot be read ({e})") from None

    async def source_secrets(self) -> SourceSecrets:
        path = f"/api/v1/namespaces/{self.config.namespace}/secrets"
        found: dict[str, dict[str, SourceSecret]] = {}
        async for one in listed(self.cluster, "the source Secrets", path, SecretObject, query={"labelSelector": OWNER}):
            secret = read(one)
            if secret.owner is not None:
                found.setdefault(secret.owner, {})[one.metadata.name] = secret
        return SourceSecrets(found)


def covered(registry: str, by: Iterable[str]) -> bool:
    """Would an image that `registry` is for also find one of these entries? As the kubelet matches: by prefix."""
    own = canonical_registry(registry)
    return any(own == other or (_host(own) == _host(other) and own.startswith(other)) for other in by)


def _host(registry: str) -> str:
    return registry.partition("/")[0]
