"""The pods of the token service of the platform's own registry, where the release has them: while none is ready, nobody
pulls from that registry or pushes to it.
"""

from collections.abc import AsyncIterator
from dataclasses import replace

from webhook.commands.cluster_view import ClusterView
from webhook.commands.installation import replicas
from webhook.commands.installation.checklist import Check
from webhook.config.issuers.registry import RegistryIssuer
from webhook.core.errors import PullsecretError
from webhook.core.names import REGISTRY_AUTH, REGISTRY_AUTH_REPLICAS

SECTION, ROLLOUT, PODS = "Token service", "token service replicas", "token service pods"
_LOG = "its log says which file it cannot use: kubectl logs -n {} -l " + REGISTRY_AUTH_REPLICAS


async def checks(view: ClusterView) -> AsyncIterator[Check]:
    config = view.config
    if not any(isinstance(one, RegistryIssuer) and one.token_service for one in config.issuers):
        return
    try:
        found = await replicas.deployment(view.cluster, config, REGISTRY_AUTH)
        if found is None:
            why = f"there is no Deployment {REGISTRY_AUTH} in {config.namespace}; one elsewhere is not looked at"
            yield Check(SECTION, ROLLOUT, "absent", why, "registryAuth.enabled runs it here")
            return
        names = SECTION, ROLLOUT, PODS
        for one in await replicas.of_others(view.cluster, config, found, REGISTRY_AUTH, REGISTRY_AUTH_REPLICAS, names):
            silent = one.name == ROLLOUT and one.result == "wrong" and found.spec.replicas
            yield replace(one, hint=f"{one.hint}; {_LOG.format(config.namespace)}") if silent else one
    except PullsecretError as e:
        yield Check(SECTION, ROLLOUT, "unknown", str(e))
