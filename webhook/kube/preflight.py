"""Before anything is served: is the API server there, and may we do there what we must?

An API server that does not answer is waited for: it will be there, and a process that ended meanwhile would be started
again by the kubelet later and later. One that has just started knows neither tokens nor roles yet, and refuses for some
seconds what it takes after that. What waiting does not change is one line that names all of it, and ends the process.
"""

import asyncio
from collections.abc import Sequence

import structlog

from webhook.config.models import Config
from webhook.core.backoff import jittered
from webhook.core.errors import PullsecretError
from webhook.kube.cluster import Cluster, ClusterError

log = structlog.get_logger()
STARTING_SECONDS = 25.0
"""Seconds in a row for which refusals are taken for those of an API server that has just started."""
MAX_BACKOFF_SECONDS = 1.0
"""Seconds between attempts, at most."""
LOG_AGAIN_SECONDS = 60.0
"""Seconds after which it is said again what is waited for."""


async def check(cluster: Cluster, config: Config) -> None:
    """Raises PullsecretError. What only the source needs is not asked: without it the references are still added."""
    clock = asyncio.get_running_loop().time
    said: dict[str, float] = {}
    refused_since: float | None = None
    while True:
        try:
            refused = await _refused(cluster, config)
        except ClusterError as e:
            if not _passes(e):
                raise PullsecretError(
                    f"the API server cannot be reached ({e}); check the kubeconfig or the network"
                ) from None
            refused_since, problem = None, f"the API server cannot be reached ({e})"
        else:
            if not refused:
                return
            problem = f"RBAC does not let the webhook {', '.join(refused)}"
            refused_since = refused_since or clock()
            if clock() - refused_since >= STARTING_SECONDS:
                raise PullsecretError(f"{problem}; install the chart's roles")
        if clock() >= said.get(problem, 0.0):
            log.warning("not started yet; trying again", problem=problem)
            said = {problem: clock() + LOG_AGAIN_SECONDS}
        await asyncio.sleep(jittered(MAX_BACKOFF_SECONDS))


async def _refused(cluster: Cluster, config: Config) -> list[str]:
    """What we may not do. Raises ClusterError when nobody could say."""
    refused = []
    for what, path, query in _needs(config):
        try:
            await cluster.call("GET", path, query=query, within=5.0)
        except ClusterError as e:
            if e.status in (401, 403):
                refused.append(what if e.status == 403 else f"{what} (not authenticated)")
            elif e.status != 404:
                raise
    return refused


def _passes(e: ClusterError) -> bool:
    """No answer, or one that says "later". A wrong certificate or address stays wrong."""
    wrong = "Certificate" in e.reason or "url" in e.reason.lower()
    return e.status in (408, 429) or e.status >= 500 or (e.status == 0 and not wrong)


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
