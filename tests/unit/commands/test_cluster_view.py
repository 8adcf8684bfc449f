"""Where an administrator's commands find the configuration."""

import asyncio
import json
from typing import Any, cast

import pytest

from webhook.commands.cluster_view import deployed_config
from webhook.config.reading import ConfigError
from webhook.kube.cluster import Cluster, ClusterError

WEBHOOK = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/pullsecret-webhook"
MAP = "/api/v1/namespaces/platform/configmaps/pullsecret-webhook"
SERVICE = {"service": {"namespace": "platform", "name": "pullsecret-webhook", "path": "/mutate"}}
CALLED = {"webhooks": [{"clientConfig": SERVICE}]}
CONFIG = {"data": {"config.yaml": "pullSecret: {name: found}"}}


class Objects:
    def __init__(self, found: dict[str, Any]) -> None:
        self.found = found

    async def call(self, method: str, path: str, **_more: Any) -> bytes:
        assert method == "GET"
        found = self.found.get(path, 404)
        if isinstance(found, int):
            raise ClusterError(found, {403: "Forbidden", 404: "NotFound"}[found])
        return json.dumps(found).encode()


def test_it_is_beside_the_service_that_the_api_server_calls() -> None:
    config = asyncio.run(deployed_config(cast(Cluster, Objects({WEBHOOK: CALLED, MAP: CONFIG}))))
    assert config.pull_secret.name == "found"


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ({}, "the MutatingWebhookConfiguration pullsecret-webhook does not exist: is the chart installed?"),
        ({WEBHOOK: 403}, "the MutatingWebhookConfiguration pullsecret-webhook cannot be read (403 Forbidden)"),
        ({WEBHOOK: {}}, "does not call one Service"),
        ({WEBHOOK: {"webhooks": [{"clientConfig": {"url": "https://127.0.0.1"}}]}}, "does not call one Service"),
        (
            {
                WEBHOOK: {
                    "webhooks": [*CALLED["webhooks"], {"clientConfig": {"service": {"namespace": "x", "name": "y"}}}]
                }
            },
            "does not call one Service",
        ),
        ({WEBHOOK: {"webhooks": [{"clientConfig": {"service": {"namespace": "../x", "name": "y"}}}]}}, "no Service"),
        ({WEBHOOK: {"webhooks": "x"}}, "cannot be decoded"),
        ({WEBHOOK: CALLED}, "the ConfigMap pullsecret-webhook in namespace platform does not exist"),
        ({WEBHOOK: CALLED, MAP: 403}, "cannot be read (403 Forbidden)"),
        ({WEBHOOK: CALLED, MAP: {"data": None}}, "has no config.yaml"),
    ],
)
def test_where_it_is_not_found_the_message_says_what_is_missing(found: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        asyncio.run(deployed_config(cast(Cluster, Objects(found))))
    assert why in str(refused.value)
    assert str(refused.value).endswith("name the configuration file with --config FILE")
