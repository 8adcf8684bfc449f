"""Events as the webhook writes them of notices, in the form in which the API server lists them in core/v1."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, cast

from webhook.core.metrics import Metrics
from webhook.core.notice import Notice
from webhook.kube.cluster import Cluster
from webhook.kube.events import EventRecorder

Object = dict[str, Any]


class _Api:
    """Takes what is posted; after the last one the writer is stopped."""

    def __init__(self, expected: int) -> None:
        self.expected, self.posted = expected, list[Object]()

    async def call(self, _method: str, _path: str, *, body: Object) -> bytes:
        self.posted.append(body)
        if len(self.posted) == self.expected:
            raise asyncio.CancelledError
        return b"{}"


def written(notices: Sequence[Notice], own: str, at: datetime) -> list[Object]:
    """All of them must become Events: not more than the burst of each, and each once."""

    async def post() -> list[Object]:
        events, api = EventRecorder(Metrics(), lambda: at, "webhook-1", own), _Api(len(notices))
        for notice in notices:
            events.record(notice)
        with suppress(asyncio.CancelledError):
            async with asyncio.timeout(5):
                await events.run(cast(Cluster, api))
        return api.posted

    return [_core(body) for body in asyncio.run(post())]


def _core(body: Object) -> Object:
    same = {key: body[key] for key in ("metadata", "eventTime", "reason", "type")}
    return same | {"involvedObject": body["regarding"], "message": body["note"]}
