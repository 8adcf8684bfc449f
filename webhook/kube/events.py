"""Each notice becomes a log line, a metric and an Event in the namespace that it is about.

Events are sent in the background; the same notice is reported again only when it is no longer current (`current_for`).
Events are for people, and a tenant who provokes them must neither load the API server nor hide the Events of others. So
the number of notices that are reported, remembered and waiting is bounded for each namespace; in our own namespace,
which has the Events about sources, for each object and owner.

Annotations of an Event say which source and which owner it is about; recent_events.py reads only those.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import blake2b
from uuid import uuid4

import structlog

from webhook.core.fairqueue import Fair
from webhook.core.metrics import ProcessMetrics
from webhook.core.names import MANAGER, OWNER, SOURCE
from webhook.core.notice import MAX_NAME_BYTES, Notice, Reason
from webhook.kube.cluster import Cluster, ClusterError, is_name

log = structlog.get_logger()
SAME = timedelta(minutes=1)
"""What replicas report in the same of such times becomes one Event in the namespace of a tenant."""
CURRENT_FOR = timedelta(hours=1)
OUTAGE_CURRENT_FOR = timedelta(minutes=10)
"""An outage may be over soon, and a replica that has ended does not report the end of what it has reported."""
OUTAGES: frozenset[Reason] = frozenset({"SourceUnavailable", "SourceFeedBroken", "MirrorSilent"})
MAX_WAITING = 512
"""Events that wait to be sent."""
BURST, PACE = 20, timedelta(seconds=10)
"""Notices of one namespace in a row; then one each pace: at most 380 in the hour that an Event lasts."""
NEWS_BURST, NEWS_PACE = 200, timedelta(seconds=1)
"""The same for news, of all namespaces together: a token that is new everywhere must not become thousands of Events."""
MAX_REMEMBERED, HISTORIES = 32, 4096
"""Notices in one history; histories."""
LEFT_OUT: Reason = "NoticesLeftOut"
CONFLICT = 409

LimitKey = tuple[str, str, str]
"""What a limit is for: a namespace; in our own namespace an object, and the owner if the notice is about one."""


def current_for(reason: str) -> timedelta:
    """A lasting problem is reported again after this time; until then `status` treats a notice as true."""
    return OUTAGE_CURRENT_FOR if reason in OUTAGES else CURRENT_FOR


@dataclass(slots=True)
class _Bucket:
    """`tokens`: as of `at`."""

    at: datetime
    burst: int
    pace: timedelta
    tokens: float = field(init=False)

    def __post_init__(self) -> None:
        self.tokens = self.burst

    def take_token(self, now: datetime) -> bool:
        self.tokens = min(self.burst, self.tokens + max(0.0, (now - self.at) / self.pace))
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


@dataclass(slots=True)
class _History:
    """What was reported for one key, by the notice's hash (keyed per process): when, and the hash of what it is about.
    And what may follow.

    `left_out_at`: when it was last reported that notices are left out; `ended_at`: that some are over.
    """

    bucket: _Bucket
    left_out_at: datetime | None = None
    ended_at: datetime | None = None
    reported: dict[int, tuple[datetime, int]] = field(default_factory=dict)

    def has_current(self, notice: Notice, now: datetime) -> bool:
        last, _ = self.reported.get(hash(notice), (None, 0))
        return last is not None and timedelta(0) <= now - last < current_for(notice.reason)  # clocks are set back

    def remember(self, notice: Notice, now: datetime) -> None:
        if notice.over:
            self.ended_at = now
            return
        self.forget(notice)
        self.reported[hash(notice)] = now, _about(notice, notice.reason)
        if len(self.reported) > MAX_REMEMBERED:
            del self.reported[next(iter(self.reported))]

    def forget(self, notice: Notice) -> None:
        self.reported.pop(hash(notice), None)

    def end(self, notice: Notice) -> None:
        """What is over is reported when it begins again, however soon that is."""
        over = {_about(notice, reason) for reason in notice.over}
        self.reported = {key: one for key, one in self.reported.items() if one[1] not in over}


def _about(notice: Notice, reason: str) -> int:
    return hash((notice.kind, notice.name, notice.source, notice.owner, reason))


class EventRecorder:
    """`own`: our namespace; Events there that are not about single owners are sent first."""

    def __init__(self, metrics: ProcessMetrics, now: Callable[[], datetime], reporter: str, own: str) -> None:
        self._metrics, self._now, self._reporter, self._own = metrics, now, reporter, own
        self._histories: OrderedDict[LimitKey, _History] = OrderedDict()
        self._news = _Bucket(now(), NEWS_BURST, NEWS_PACE)
        self._quiet = _Bucket(now(), NEWS_BURST, NEWS_PACE)
        self._waiting: Fair[LimitKey, tuple[Notice, str]] = Fair(MAX_WAITING)
        self._any_waiting = asyncio.Event()

    def record(self, notice: Notice) -> None:
        """Never waits, never fails. A notice that was reported and is still current is only counted."""
        if notice.news:
            if self._news.take_token(self._now()):
                self._send_soon(notice, uuid4().hex)
            return
        self._metrics.notices.labels(notice.reason).inc()
        now, history = self._now(), self._history(self._key(notice))
        if notice.over:
            history.end(notice)
        elif history.has_current(notice, now):
            return
        if history.bucket.take_token(now):
            # Only now: what one namespace has too much of must not use up what all have together.
            if not notice.quiet or self._quiet.take_token(now):
                self._report(notice, history, now)
            return
        self._metrics.left_out.inc()
        if history.left_out_at is None or now - history.left_out_at >= current_for(LEFT_OUT):
            history.left_out_at = now
            message = "there are more notices than are shown: some are left out for now"
            self._report(replace(notice, reason=LEFT_OUT, message=message, quiet=False), history, now)

    def _report(self, notice: Notice, history: _History, now: datetime) -> None:
        again = history.ended_at is not None and timedelta(0) <= now - history.ended_at < SAME
        history.remember(notice, now)
        write = log.debug if notice.quiet else log.warning if notice.type == "Warning" else log.info
        write(notice.message, reason=notice.reason, about=f"{notice.kind} {notice.namespace}/{notice.name}")
        # A tenant can guess such a name and take it. So only what that tenant alone would miss has one.
        alone = notice.quiet and notice.namespace != self._own and not again
        self._send_soon(notice, _same(notice, now) if alone else uuid4().hex)

    def _send_soon(self, notice: Notice, unique: str) -> None:
        """`unique`: the end of the Event's name."""
        first = notice.namespace == self._own and not notice.owner
        if (dropped := self._waiting.put(self._key(notice), (notice, unique), first=first)) is not None:
            self._not_written(dropped[1][0])
        self._any_waiting.set()

    def _key(self, notice: Notice) -> LimitKey:
        own = notice.namespace == self._own
        return (notice.namespace, notice.name, notice.owner) if own else (notice.namespace, "", "")

    def _history(self, key: LimitKey) -> _History:
        history = self._histories.pop(key, None) or _History(_Bucket(self._now(), BURST, PACE))
        self._histories[key] = history
        if len(self._histories) > HISTORIES:
            self._histories.popitem(last=False)
        return history

    def _not_written(self, notice: Notice) -> None:
        """It became no Event, so it is reported again the next time."""
        if not notice.news:
            self._history(self._key(notice)).forget(notice)

    async def run(self, cluster: Cluster) -> None:
        while True:
            await self._any_waiting.wait()
            notice, unique = self._waiting.get()
            if not self._waiting:
                self._any_waiting.clear()
            if is_name(notice.namespace):
                await self._send(cluster, notice, unique)

    async def _send(self, cluster: Cluster, notice: Notice, unique: str) -> None:
        path = f"/apis/events.k8s.io/v1/namespaces/{notice.namespace}/events"
        try:
            await cluster.call("POST", path, body=self._event(notice, unique))
        except ClusterError as e:
            if e.status == CONFLICT:  # another replica has written it
                return
            log.info("an Event could not be written", namespace=notice.namespace, reason=notice.reason, error=str(e))
            if e.status in {0, 429} or e.status >= 500:
                self._not_written(notice)

    def _event(self, notice: Notice, unique: str) -> dict[str, object]:
        about_source = {key: text for key, text in ((OWNER, notice.owner), (SOURCE, notice.source)) if text}
        metadata = {
            "name": _event_name(notice.name, unique),
            "namespace": notice.namespace,
            "annotations": about_source,
        }
        regarding = {"apiVersion": "v1", "kind": notice.kind, "name": notice.name, "namespace": notice.namespace}
        return {
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": metadata,
            "eventTime": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "reportingController": MANAGER,
            "reportingInstance": self._reporter,
            "action": "Supply",
            "reason": notice.reason,
            "type": notice.type,
            "note": notice.message,
            "regarding": regarding,
        }


def _same(notice: Notice, now: datetime) -> str:
    """The same in all replicas."""
    texts = (notice.reason, notice.message, notice.kind, notice.name, notice.owner, notice.source)
    number = int(now.timestamp() // SAME.total_seconds())
    return blake2b("\0".join((*texts, str(number))).encode()).hexdigest()


def _event_name(about: str, unique: str) -> str:
    suffix = unique[:16]
    return about[: MAX_NAME_BYTES - len(suffix) - 1].rstrip("-.") + "." + suffix
