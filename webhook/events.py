"""Notices become a log line, a metric and an Event in the namespace that they are about.

Events are sent in the background, each text at most as often as `again` says and never more than a few hundred
waiting: they are for people, and a tenant who provokes them must not be able to load the API server.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from webhook.cluster import Cluster, ClusterError, is_name
from webhook.metrics import Metrics
from webhook.names import MANAGER
from webhook.notice import Notice

log = structlog.get_logger()
_AGAIN = {"SourceUnavailable": timedelta(minutes=10), "SourceFeedBroken": timedelta(minutes=10)}
WAITING = 256
REMEMBERED = 4096
LONGEST_NOTE, LONGEST_NAME = 1024, 253
"""Bytes and characters that the API takes."""


def again(reason: str) -> timedelta:
    """What goes on being wrong is said again after that. What is over soon by itself is so soon no longer said, and
    `pullsecret status` takes what is said for what is.
    """
    return _AGAIN.get(reason, timedelta(hours=1))


class Events:
    def __init__(self, metrics: Metrics, now: Callable[[], datetime], reporter: str) -> None:
        self._metrics, self._now, self._reporter = metrics, now, reporter
        self._said: OrderedDict[Notice, datetime] = OrderedDict()
        self._queue: asyncio.Queue[Notice] = asyncio.Queue(WAITING)

    def tell(self, notice: Notice) -> None:
        """Never waits, never fails. A notice that was said a short while ago is only counted."""
        self._metrics.notices.labels(notice.reason).inc()
        now = self._now()
        if (last := self._said.get(notice)) is not None and now - last < again(notice.reason):
            return
        self._said[notice] = now
        self._said.move_to_end(notice)
        if len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        about = f"{notice.kind} {notice.namespace}/{notice.name}"
        say = log.warning if notice.type == "Warning" else log.info
        say(notice.message, reason=notice.reason, about=about)
        if not self._queue.full():
            self._queue.put_nowait(notice)

    async def run(self, cluster: Cluster) -> None:
        while True:
            notice = await self._queue.get()
            if not is_name(notice.namespace):
                continue
            path = f"/apis/events.k8s.io/v1/namespaces/{notice.namespace}/events"
            try:
                await cluster.call("POST", path, body=self._event(notice))
            except ClusterError as e:
                log.info(
                    "an Event could not be written", namespace=notice.namespace, reason=notice.reason, error=str(e)
                )

    def _event(self, notice: Notice) -> dict[str, object]:
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": _event_name(notice.name), "namespace": notice.namespace},
            "eventTime": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": MANAGER,
            "reportingInstance": self._reporter,
            "action": "Supply",
            "reason": notice.reason,
            "type": notice.type,
            "note": notice.message.encode()[:LONGEST_NOTE].decode(errors="ignore"),
            "regarding": {
                "apiVersion": "v1",
                "kind": notice.kind,
                "name": notice.name,
                "namespace": notice.namespace,
            },
        }


def _event_name(about: str) -> str:
    suffix = uuid4().hex[:16]
    return about[: LONGEST_NAME - len(suffix) - 1].rstrip("-.") + "." + suffix
