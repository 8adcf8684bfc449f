"""What is found of the pods of the token service."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from webhook.commands.cluster_view import ClusterView
from webhook.commands.installation import tokenservice
from webhook.commands.installation.checklist import Check
from webhook.config import reading
from webhook.kube.cluster import Cluster, ClusterError

SERVICE = {"keyFile": "/token-key", "passwordKeysFile": "/keys"}
ISSUER: dict[str, Any] = {"issue": "registry", "registry": "r.test", "keyFile": "/key"}


class Pods:
    """A cluster that has only this Deployment, with one pod; None: nobody may read it."""

    def __init__(self, wanted: int, ready: int, status: int | None = None) -> None:
        self.wanted, self.ready, self.status = wanted, ready, status

    async def call(self, _method: str, path: str, *, query: dict[str, str] | None = None, **_more: Any) -> bytes:
        if self.status is not None:
            raise ClusterError(self.status, "no")
        space = "/namespaces/pullsecret-webhook"
        if path == f"/api/v1{space}/pods":
            assert query
            labels = "app.kubernetes.io/name=pullsecret-webhook,app.kubernetes.io/component=registry-auth"
            assert query["labelSelector"] == labels
            return msgspec.json.encode({"metadata": {}, "items": [{"metadata": {"name": "tokens-1"}}]})
        assert path == f"/apis/apps/v1{space}/deployments/pullsecret-webhook-registry-auth"
        status = {"updatedReplicas": self.wanted, "readyReplicas": self.ready}
        return msgspec.json.encode({"metadata": {}, "spec": {"replicas": self.wanted}, "status": status})


def found(cluster: Pods, issuer: dict[str, Any] | None = None) -> list[Check]:
    config = reading.convert({"issuers": [issuer or ISSUER | {"tokenService": SERVICE}]})

    async def listed() -> list[Check]:
        return [one async for one in tokenservice.checks(ClusterView(cast(Cluster, cluster), config))]

    return asyncio.run(listed())


@pytest.mark.parametrize(
    ("wanted", "ready", "result", "why"),
    [(2, 2, "right", "2 of 2 ready"), (2, 1, "warning", "1 of 2 ready"), (2, 0, "wrong", "0 of 2 ready")],
)
def test_how_many_are_ready(wanted: int, ready: int, result: str, why: str) -> None:
    replicas, pods = found(Pods(wanted, ready))
    assert (replicas.name, replicas.result, replicas.why) == ("token service replicas", result, why)
    assert ("its log says which file it cannot use: kubectl logs -n" in replicas.hint) == (result == "wrong")
    assert (pods.name, pods.result, pods.why) == ("token service pods", "right", "tokens-1")
    assert {replicas.section, pods.section} == {"Token service"}


def test_one_that_is_scaled_down_has_no_log() -> None:
    replicas, _ = found(Pods(0, 0))
    assert (replicas.result, "kubectl logs" in replicas.hint) == ("wrong", False)
    assert replicas.hint.startswith("kubectl scale deployment pullsecret-webhook-registry-auth -n pullsecret-webhook")


@pytest.mark.parametrize(("status", "result"), [(404, "absent"), (403, "unknown")])
def test_it_may_run_elsewhere(status: int, result: str) -> None:
    (replicas,) = found(Pods(2, 2, status))
    assert (replicas.name, replicas.result) == ("token service replicas", result)
    assert "pullsecret-webhook-registry-auth in pullsecret-webhook" in replicas.why


def test_nothing_is_looked_at_without_one() -> None:
    assert not found(Pods(2, 0), ISSUER)
