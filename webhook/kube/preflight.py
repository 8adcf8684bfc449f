"""Before the server starts: does the API server answer, and does RBAC allow what the webhook needs?

The webhook waits for an API server that does not answer: if the process ended, the kubelet would restart it later and
later. An API server that has just started knows neither tokens nor roles yet, and refuses everything for some seconds.
If it still refuses after that, one line names all missing permissions, and the process ends.
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
"""Seconds in a row for which an API server that has just started may refuse."""
MAX_BACKOFF_SECONDS = 1.0
"""Seconds between attempts, at most."""
LOG_AGAIN_SECONDS = 60.0
"""Seconds after which the same problem is logged again."""


async def check(cluster: Cluster, config: Config) -> None:
    """Raises PullsecretError. Does not check what only the source needs: without it references are still added."""
    clock = asyncio.get_running_loop().time
    log_again: dict[str, float] = {}
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
        if clock() >= log_again.get(problem, 0.0):
            log.warning("not started yet; trying again", problem=problem)
            log_again = {problem: clock() + LOG_AGAIN_SECONDS}
        await asyncio.sleep(jittered(MAX_BACKOFF_SECONDS))


async def _refused(cluster: Cluster, config: Config) -> list[str]:
    """The permissions that are missing. Raises ClusterError when the API server does not answer."""
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
    """No answer, or a request to try later. A wrong certificate or address stays wrong."""
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
