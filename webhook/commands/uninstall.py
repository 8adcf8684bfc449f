"""Deletes what the webhook created in the cluster: its MutatingWebhookConfiguration, the pull secrets, its CA, and what
registries said about credentials.
"""

import asyncio

from webhook.config.models import Config
from webhook.core.errors import PullsecretError
from webhook.core.names import CHECKS_SECRET, is_ours
from webhook.kube.cluster import Cluster, ClusterError, Meta, SecretObject
from webhook.kube.listing import listed

MAX_DELETIONS = 16
"""Deletions at the same time, to spare the API server."""


async def registration(cluster: Cluster, config: Config) -> str:
    name = config.tls.webhook_configuration
    path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}"
    gone = await _delete(cluster, path)
    return f"mutatingwebhookconfiguration {name} {'deleted' if gone else 'did not exist'}"


async def secrets(cluster: Cluster, config: Config) -> str:
    """Deletes only Secrets with our label. A Secret of that name without it is not ours."""
    name = config.pull_secret.name
    query = {"fieldSelector": f"metadata.name={name}"}
    secrets = listed(cluster, f"the Secrets {name}", "/api/v1/secrets", SecretObject, query=query, metadata_only=True)
    found = [item.metadata async for item in secrets]
    ours = [meta for meta in found if is_ours(meta.labels)]
    slots = asyncio.Semaphore(MAX_DELETIONS)

    async def delete(meta: Meta) -> bool:
        async with slots:
            return await _delete(cluster, f"/api/v1/namespaces/{meta.namespace}/secrets/{name}", meta.uid)

    gone = sum(await asyncio.gather(*map(delete, ours)))
    own = config.tls.ca_secret, CHECKS_SECRET
    for one in own:
        await _delete(cluster, f"/api/v1/namespaces/{config.namespace}/secrets/{one}")
    return f"{gone} Secrets {name} deleted, {len(found) - len(ours)} of others kept; {' and '.join(own)} deleted"


async def _delete(cluster: Cluster, path: str, uid: str = "") -> bool:
    """Whether it existed."""
    try:
        await cluster.call("DELETE", path, body={"preconditions": {"uid": uid}} if uid else {}, within=30.0)
    except ClusterError as e:
        if e.status == 404 or (uid and e.status == 409):  # 409: it was replaced; the new one may not be ours
            return False
        raise PullsecretError(f"{path.rpartition('/')[2]} cannot be deleted ({e})") from None
    return True
