"""Before the server starts: does the API server answer, and does RBAC allow what the webhook needs?

The webhook waits for an API server that does not answer: if the process ended, the kubelet would restart it later and
later. An API server that has just started knows neither tokens nor roles yet, and refuses everything for some seconds.
If it still refuses after that, one line names all missing permissions, and the process ends.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from webhook.config.models import Config
from webhook.config.sourceconfig import SecretsSource
from webhook.core.backoff import jittered
from webhook.core.errors import PullsecretError
from webhook.core.names import REPLICA_LEASES
from webhook.core.shares import slots_of
from webhook.kube.cluster import Cluster, ClusterError

log = structlog.get_logger()
STARTING_SECONDS = 25.0
"""Seconds in a row for which an API server that has just started may refuse."""
MAX_BACKOFF_SECONDS = 1.0
"""Seconds between attempts, at most."""
LOG_AGAIN_SECONDS = 60.0
"""Seconds after which the same problem is logged again."""


async def check(cluster: Cluster, rights: Sequence["Right"]) -> None:
    """Raises PullsecretError. Does not check what only the source needs: without it references are still added."""
    clock = asyncio.get_running_loop().time
    log_again: dict[str, float] = {}
    refused_since: float | None = None
    while True:
        try:
            refused = await _refused(cluster, rights)
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


@dataclass(frozen=True, slots=True)
class Right:
    """What RBAC must let the webhook do. `namespace` empty: in all of them; `name` empty: with all objects."""

    verb: str
    resource: str
    group: str = ""
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.verb} {self.resource}"
        named = f" named {self.name}" if self.name else ""
        return what + named + (f" in {self.namespace}" if self.namespace else "")

    @property
    def attributes(self) -> dict[str, str]:
        """As reviews of access want it."""
        return {
            "verb": self.verb,
            "group": self.group,
            "resource": self.resource,
            "namespace": self.namespace,
            "name": self.name,
        }

    @property
    def request(self) -> tuple[str, dict[str, str]]:
        """The path and the query of a GET that needs it; of the verbs get and list."""
        path = f"/apis/{self.group}/v1" if self.group else "/api/v1"
        path += f"/namespaces/{self.namespace}/{self.resource}" if self.namespace else f"/{self.resource}"
        if self.verb == "get":
            return f"{path}/{self.name}", {}
        return path, {"limit": "1"} | ({"fieldSelector": f"metadata.name={self.name}"} if self.name else {})


async def _refused(cluster: Cluster, rights: Sequence[Right]) -> list[str]:
    """The permissions that are missing. Raises ClusterError when the API server does not answer."""
    refused = []
    for right in rights:
        path, query = right.request
        try:
            await cluster.call("GET", path, query=query, within=5.0)
        except ClusterError as e:
            if e.status in (401, 403):
                refused.append(str(right) if e.status == 403 else f"{right} (not authenticated)")
            elif e.status != 404:
                raise
    return refused


def _passes(e: ClusterError) -> bool:
    """No answer, or a request to try later. A wrong certificate or address stays wrong."""
    wrong = "Certificate" in e.reason or "url" in e.reason.lower()
    return e.status in (408, 429) or e.status >= 500 or (e.status == 0 and not wrong)


def needs(config: Config) -> Sequence[Right]:
    """Without these it does not start."""
    rights = [
        Right("list", "namespaces"),
        Right("list", "secrets", name=config.pull_secret.name),
        Right("list", "serviceaccounts"),
    ]
    if config.tls.cert_file is None:
        hooks = "mutatingwebhookconfigurations"
        rights += [
            Right("get", "secrets", namespace=config.namespace, name=config.tls.ca_secret),
            Right("get", hooks, "admissionregistration.k8s.io", name=config.tls.webhook_configuration),
        ]
    return rights


def needs_to_share(config: Config) -> Sequence[Right]:
    """Without these it starts, and each replica does everything."""
    names = [f"{REPLICA_LEASES}{number}" for number in range(slots_of(config.replicas))]
    verbs = ("get", "create", "patch")
    return [Right(verb, "leases", "coordination.k8s.io", config.namespace, name) for name in names for verb in verbs]


def needs_to_issue(config: Config, lease: str) -> Sequence[Right]:
    """Of the issuer's account."""
    secrets = [Right(verb, "secrets", "", config.namespace) for verb in ("list", "watch", "create", "patch", "delete")]
    leases = [Right(v, "leases", "coordination.k8s.io", config.namespace, lease) for v in ("get", "create", "patch")]
    namespaces = [Right(verb, "namespaces") for verb in ("list", "watch")]
    return [*namespaces, *secrets, *leases, Right("create", "events", "events.k8s.io")]


def needs_to_begin_issuing(config: Config, lease: str) -> Sequence[Right]:
    """Those of these that a question can find out."""
    return [right for right in needs_to_issue(config, lease) if right.verb in {"get", "list"}]


def needs_to_supply(config: Config) -> Sequence[Right]:
    """Without these it starts, and pull secrets are not right, or nobody is told."""
    name = config.pull_secret.name
    rights = [Right(verb, "secrets", name=name) for verb in ("patch", "create", "delete")]
    if any(isinstance(source, SecretsSource) for source in config.sources):
        rights.append(Right("list", "secrets", namespace=config.namespace))
    return [*rights, Right("create", "events", "events.k8s.io")]
