"""Where certs/ keeps the CA (a Secret in the release namespace) and publishes it (the caBundle)."""

import base64

import msgspec

from certs.errors import ApiTrouble, Conflict
from certs.ports import Published
from webhook.core.names import MANAGER
from webhook.core.wire import Unreadable
from webhook.kube.cluster import Cluster, ClusterError, Object, decode
from webhook.kube.ownsecret import OwnSecret

STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"


class CaSecret(OwnSecret):
    """certs/ports.py says what it must do."""

    def __init__(self, cluster: Cluster, namespace: str, name: str) -> None:
        super().__init__(cluster, namespace, name, "CA", "set tls.caSecret to another name")


class _Client(msgspec.Struct, rename="camel"):
    ca_bundle: str | None = None


class _Entry(msgspec.Struct, rename="camel"):
    name: str
    client_config: _Client


class _Configuration(Object):
    webhooks: list[_Entry] | None = None


_CONFIGURATION = msgspec.json.Decoder(_Configuration)


class CaBundle:
    """Written by a strategic merge patch, keyed by the entries' names: it changes no field that the chart sets.

    Of all entries, also those that a newer chart has and this version does not know: the configuration is the
    webhook's own, and one without a CA cannot be called. `entry`: the one that must be there.
    """

    def __init__(self, cluster: Cluster, configuration: str, entry: str) -> None:
        self._cluster, self._name, self._entry = cluster, configuration, entry
        self._path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{configuration}"

    async def published(self) -> Published | None:
        try:
            seen = await decode(_CONFIGURATION, await self._cluster.call("GET", self._path))
        except (ClusterError, Unreadable) as e:
            if isinstance(e, ClusterError) and e.status == 404:
                return None
            raise ApiTrouble(f"the MutatingWebhookConfiguration {self._name} cannot be read ({e})") from None
        bundles = {one.name: from_base64(one.client_config.ca_bundle or "") for one in seen.webhooks or ()}
        return Published(bundles, seen.metadata.resource_version) if self._entry in bundles else None

    async def publish(self, bundle: bytes, over: Published) -> None:
        ca_bundle = base64.b64encode(bundle).decode()
        entries = [{"name": name, "clientConfig": {"caBundle": ca_bundle}} for name in over.bundles]
        body = {"metadata": {"resourceVersion": over.version}, "webhooks": entries}
        query = {"fieldManager": MANAGER}
        try:
            await self._cluster.call("PATCH", self._path, query=query, body=body, content_type=STRATEGIC_MERGE_PATCH)
        except ClusterError as e:
            if e.status in (404, 409):
                raise Conflict(f"the webhook configuration {self._name} has changed; it is read again") from None
            raise ApiTrouble(f"the caBundle of {self._name} cannot be published ({e})") from None


def from_base64(text: str) -> bytes:
    """Empty if it is none: then it is not ours, and is written anew."""
    try:
        return base64.b64decode(text)
    except ValueError:
        return b""
