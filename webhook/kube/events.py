"""Notices become a log line, a metric and an Event in the namespace that they are about.

Events are sent in the background, each text at most as often as `again` says. They are for people, and a tenant who
provokes them must neither load the API server nor keep what is said of others from being read: how much is said, how
much of it is remembered and how much waits is bounded for each namespace, and in our own one, where sources are spoken
of, for each object and owner.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import uuid4

import structlog

from webhook.core.fair import Fair
from webhook.core.metrics import Metrics
from webhook.core.names import MANAGER
from webhook.core.notice import LONGEST_NAME, Notice
from webhook.kube.cluster import Cluster, ClusterError, is_name

log = structlog.get_logger()
_AGAIN = {"SourceUnavailable": timedelta(minutes=10), "SourceFeedBroken": timedelta(minutes=10)}
WAITING = 512
"""Events."""
BURST, PACE = 20, timedelta(seconds=10)
"""So many notices at once, and one more each time: at most 380 of one namespace in the hour that an Event lasts."""
REMEMBERED, PARTIES = 32, 4096
"""Notices of one namespace or owner; and of how many of those."""
LEFT_OUT = "NoticesLeftOut"

Party = tuple[str, str, str]
"""Of whom it is: the namespace alone; or our own one, an object there, and perhaps an owner."""


def again(reason: str) -> timedelta:
    """What goes on being wrong is said again after that. What is over soon by itself is so soon no longer said, and
    `pullsecret status` takes what is said for what is.
    """
    return _AGAIN.get(reason, timedelta(hours=1))


@dataclass(slots=True)
class _Told:
    """What was said of one of them, as hashes (keyed per process), and how much more may be: `room`, as of `at`.

    `left_out`: when it was last said that something is.
    """

    at: datetime
    room: float = BURST
    left_out: datetime | None = None
    said: dict[int, datetime] = field(default_factory=dict)

    def lately(self, notice: Notice, now: datetime) -> bool:
        last = self.said.get(hash(notice))
        return last is not None and timedelta(0) <= now - last < again(notice.reason)  # clocks are set back

    def has_room(self, now: datetime) -> bool:
        self.room = min(BURST, self.room + max(0.0, (now - self.at) / PACE))
        self.at = now
        if self.room < 1:
            return False
        self.room -= 1
        return True

    def remember(self, notice: Notice, now: datetime) -> None:
        self.forget(notice)
        self.said[hash(notice)] = now
        if len(self.said) > REMEMBERED:
            del self.said[next(iter(self.said))]

    def forget(self, notice: Notice) -> None:
        self.said.pop(hash(notice), None)


class Events:
    """`own`: our namespace. What is said of it, but not of single owners, goes first."""

    def __init__(self, metrics: Metrics, now: Callable[[], datetime], reporter: str, own: str) -> None:
        self._metrics, self._now, self._reporter, self._own = metrics, now, reporter, own
        self._parties: OrderedDict[Party, _Told] = OrderedDict()
        self._waiting: Fair[Party, Notice] = Fair(WAITING)
        self._some = asyncio.Event()

    def tell(self, notice: Notice) -> None:
        """Never waits, never fails. A notice that was said a short while ago is only counted."""
        self._metrics.notices.labels(notice.reason).inc()
        now, told = self._now(), self._told(self._party(notice))
        if told.lately(notice, now):
            return
        if told.has_room(now):
            self._say(notice, told, now)
            return
        self._metrics.left_out.inc()
        if told.left_out is None or now - told.left_out >= again(LEFT_OUT):
            told.left_out = now
            words = "there is more to say than is shown: some of it is left out for now"
            self._say(replace(notice, reason=LEFT_OUT, message=words), told, now)

    def _say(self, notice: Notice, told: _Told, now: datetime) -> None:
        told.remember(notice, now)
        say = log.warning if notice.type == "Warning" else log.info
        say(notice.message, reason=notice.reason, about=f"{notice.kind} {notice.namespace}/{notice.name}")
        first = notice.namespace == self._own and not notice.owner
        if (gone := self._waiting.put(self._party(notice), notice, first=first)) is not None:
            self._unsay(gone[1])
        self._some.set()

    def _party(self, notice: Notice) -> Party:
        own = notice.namespace == self._own
        return (notice.namespace, notice.name, notice.owner) if own else (notice.namespace, "", "")

    def _told(self, party: Party) -> _Told:
        if (told := self._parties.get(party)) is None:
            told = self._parties[party] = _Told(self._now())
            if len(self._parties) > PARTIES:
                self._parties.popitem(last=False)
        self._parties.move_to_end(party)
        return told

    def _unsay(self, notice: Notice) -> None:
        """It did not become an Event: the next time it is told, it is said again."""
        self._told(self._party(notice)).forget(notice)

    async def run(self, cluster: Cluster) -> None:
        while True:
            await self._some.wait()
            notice = self._waiting.get()
            if not self._waiting:
                self._some.clear()
            if is_name(notice.namespace):
                await self._send(cluster, notice)

    async def _send(self, cluster: Cluster, notice: Notice) -> None:
        path = f"/apis/events.k8s.io/v1/namespaces/{notice.namespace}/events"
        try:
            await cluster.call("POST", path, body=self._event(notice))
        except ClusterError as e:
            log.info("an Event could not be written", namespace=notice.namespace, reason=notice.reason, error=str(e))
            if e.status in {0, 429} or e.status >= 500:
                self._unsay(notice)

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
            "note": notice.message,
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
