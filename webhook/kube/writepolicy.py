"""Are the chart's policies on what our accounts write in force?"""

import asyncio
from collections.abc import Callable

from webhook.core.names import (
    DOCKERCONFIG_KEY,
    DOCKERCONFIG_TYPE,
    ISSUER_POLICY,
    MANAGED_BY,
    MANAGER,
    WRITE_POLICY,
)
from webhook.kube.cluster import Cluster, ClusterError

IN_FORCE_SECONDS, NOT_IN_FORCE_SECONDS = 300.0, 30.0
"""Seconds for which an answer about the write policy holds. A new policy takes some seconds to act."""


class WritePolicy:
    """Does the chart's write policy check our writes against the namespace's owner at that moment?

    A dry run of a write that it refuses shows it: a pull secret in our own namespace, which has no owner. That a policy
    and its binding exist does not show that they are in force. `seen` is told of each answer.
    """

    def __init__(
        self, cluster: Cluster, name: str, namespace: str, seen: Callable[[bool], None] = lambda _: None
    ) -> None:
        self._cluster, self._name, self._namespace, self._seen = cluster, name, namespace, seen
        self._holds, self._until = False, 0.0

    async def holds(self) -> bool:
        """False also without an answer. Tried now and then."""
        clock = asyncio.get_running_loop().time
        if clock() >= self._until:
            self._until = clock() + NOT_IN_FORCE_SECONDS  # other callers use the old answer meanwhile
            refused = await tried(self._cluster, self._name, self._namespace)
            self._holds = refused is True
            self._until = clock() + (IN_FORCE_SECONDS if self._holds else NOT_IN_FORCE_SECONDS)
            if isinstance(refused, bool):
                self._seen(refused)
        return self._holds

    async def run(self) -> None:
        """For ever, so that it is known even while there is nothing to write."""
        while True:
            before, holds = self._holds, await self.holds()
            vanished = before and not holds
            # One that is left out on purpose is not looked for twice a minute.
            await asyncio.sleep((NOT_IN_FORCE_SECONDS if vanished else IN_FORCE_SECONDS) + 1.0)


async def tried(cluster: Cluster, name: str, namespace: str) -> bool | ClusterError:
    """Is such a write refused by the policy? ClusterError: the API server gave no answer, or somebody else refused it.

    `cluster`: as the webhook's account; `name`: of pull secrets; `namespace`: the webhook's own.
    """
    body = _secret({"name": name, "namespace": namespace, "labels": {MANAGED_BY: MANAGER}})
    try:
        await cluster.apply(_path(namespace, name), body, manager=MANAGER, force=True, dry_run=True)
    except ClusterError as e:
        return _refused_by(WRITE_POLICY, e)
    return False


async def tried_to_issue(cluster: Cluster, namespace: str) -> bool | ClusterError:
    """The same of the issuer policy, with a Secret without an issuer's label. `cluster`: as the issuer's account."""
    body = _secret({"name": "issued", "namespace": namespace})
    try:
        query = {"fieldManager": MANAGER, "dryRun": "All"}
        await cluster.call("POST", _path(namespace), query=query, body=body)
    except ClusterError as e:
        return _refused_by(ISSUER_POLICY, e)
    return False


def _path(namespace: str, *name: str) -> str:
    return "/".join([f"/api/v1/namespaces/{namespace}/secrets", *name])


def _secret(metadata: object) -> dict[str, object]:
    empty = {DOCKERCONFIG_KEY: "e30="}  # {}, the least that the API server accepts
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": DOCKERCONFIG_TYPE, "data": empty}


def _refused_by(policy: str, error: ClusterError) -> bool | ClusterError:
    by_policy = error.status in (403, 422) and f"ValidatingAdmissionPolicy '{policy}'" in error.message
    return True if by_policy else error
