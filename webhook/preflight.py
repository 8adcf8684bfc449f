"""Before anything runs: is the API server there, and may we do there what we must? One line that names all of it."""

import asyncio
from collections.abc import Sequence

from webhook.cluster import Cluster, ClusterError
from webhook.config import Config
from webhook.errors import PullsecretError

PATIENCE = 10.0
"""Seconds for the API server to answer at all."""


async def check(cluster: Cluster, config: Config) -> None:
    """Raises PullsecretError. What only the source needs is not asked: without it the references are still added."""
    refused = []
    for what, path, query in _needs(config):
        try:
            await _patiently(cluster, path, query)
        except ClusterError as e:
            if e.status in (401, 403):
                refused.append(what if e.status == 403 else f"{what} (not authenticated)")
            elif e.status != 404:
                raise PullsecretError(
                    f"the API server cannot be reached ({e}); check the kubeconfig or the network"
                ) from None
    if refused:
        raise PullsecretError(f"RBAC does not let the webhook {', '.join(refused)}; install the chart's roles")


def _needs(config: Config) -> Sequence[tuple[str, str, dict[str, str]]]:
    name, one = config.pull_secret.name, {"limit": "1"}
    needs = [
        ("list namespaces", "/api/v1/namespaces", one),
        (f"list Secrets named {name}", "/api/v1/secrets", one | {"fieldSelector": f"metadata.name={name}"}),
        ("list serviceaccounts", "/api/v1/serviceaccounts", one),
    ]
    if config.tls.cert_file is None:
        own = f"/api/v1/namespaces/{config.namespace}/secrets/{config.tls.ca_secret}"
        hook = config.tls.webhook_configuration
        path = f"/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{hook}"
        needs += [
            (f"get Secret {config.namespace}/{config.tls.ca_secret}", own, {}),
            (f"get mutatingwebhookconfiguration {hook}", path, {}),
        ]
    return needs


async def _patiently(cluster: Cluster, path: str, query: dict[str, str]) -> None:
    clock = asyncio.get_running_loop().time
    until = clock() + PATIENCE
    while True:
        try:
            await cluster.call("GET", path, query=query, within=5.0)
        except ClusterError as e:
            passing = e.status in (0, 429, 500, 503) and "Certificate" not in e.reason
            if not passing or clock() > until:
                raise
            await asyncio.sleep(0.5)
        else:
            return
