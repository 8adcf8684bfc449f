"""Which questions a remote is spared while it fails: a back-off for each owner, and a circuit breaker for all of them.

- An owner whose question failed waits, longer and longer, or for as long as the remote asked (Retry-After).
- The breaker opens when failures of two owners in a row say that they are everybody's. (One owner alone, whose question
  is perhaps what breaks the remote, never brings it down for others.) While it is open nobody may ask.
- Half-open: after a pause one question at a time finds out if the remote is back, on behalf of whoever was turned away
  the longest ago. The first answer, be it a refusal, closes the breaker.
- Whoever was turned away is called by `changed` when there is hope again, and asks anew.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from webhook.core.backoff import Backoff
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.sources import Changed

log = structlog.get_logger()

BACKOFF_SECONDS = 0.5
"""The first pause after a failure; each is twice as long as the one before."""
MAX_OWNER_BACKOFF_SECONDS = 60.0
"""Of one owner who is refused."""
MAX_DOWN_BACKOFF_SECONDS = 3.0
"""While the remote is down. It is asked by one question at a time then, and when it is back we are to be right again in
about 5.
"""
MAX_RETRY_AFTER_SECONDS = 60.0
"""That a remote may ask us to wait. A proxy in front of one that restarts may say an hour."""
JITTER = 0.25
OWNERS = 100_000
"""Of whom something is remembered."""


@dataclass(slots=True)
class _Pause:
    """`until`: loop time."""

    backoff: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_DOWN_BACKOFF_SECONDS, JITTER))
    until: float = 0.0
    why: str = ""

    def failed(self, e: SourceUnavailable, longest: float) -> None:
        now = _clock()
        if now >= self.until:  # those who asked at the same time fail at the same time: that counts once
            self.backoff.cap = longest
            self.until = now + self.backoff.next()
        self.until = max(self.until, now + max(BACKOFF_SECONDS * 0.75, min(e.retry_after, MAX_RETRY_AFTER_SECONDS)))
        self.why = str(e)


class Breaker:
    """`busy`: is a question under way? `ask`: asks one. `name`: the source's."""

    def __init__(
        self, name: str, metrics: Metrics, changed: Changed, busy: Callable[[], bool], ask: Callable[[str], object]
    ) -> None:
        self._name, self._metrics, self._changed, self._busy, self._ask = name, metrics, changed, busy, ask
        self._owners: OrderedDict[str, _Pause] = OrderedDict()
        self._all = _Pause()
        self._failing: set[str] = set()
        """Who failed since the last answer, for a reason that is everybody's."""
        self._turned_away: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        return not self._all.backoff.delay

    def check(self, owner: str) -> None:
        """Raises SourceUnavailable if the owner may not ask now."""
        now, own = _clock(), self._owners.get(owner)
        if not self.closed and (now < self._all.until or self._busy()):
            self._turn_away(owner)
            raise SourceUnavailable(self._all.why, everybody=True)
        if own is not None and now < own.until:
            raise SourceUnavailable(own.why)

    def reset(self, owner: str | None) -> None:
        """There are news, of this owner or of everybody: reasons to wait may be gone."""
        if owner is not None:
            self._owners.pop(owner, None)
        else:
            self._owners.clear()
            self._all.until = min(self._all.until, _clock())

    def answered(self, owner: str) -> None:
        self._owners.pop(owner, None)
        self._close()

    def failed(self, owner: str, e: SourceUnavailable) -> None:
        own = self._owners.pop(owner, _Pause())
        own.failed(e, MAX_DOWN_BACKOFF_SECONDS if e.everybody else MAX_OWNER_BACKOFF_SECONDS)
        self._owners[owner] = own
        if len(self._owners) > OWNERS:
            self._owners.popitem(last=False)
        asyncio.get_running_loop().call_at(own.until, self._changed, owner)
        if not e.everybody:
            self._failing.discard(owner)
            self._close()  # it answered, if only with a refusal
            return
        self._failing.add(owner)
        if len(self._failing) > 1:
            self._open(owner, e)

    def _open(self, owner: str, e: SourceUnavailable) -> None:
        self._all.failed(e, MAX_DOWN_BACKOFF_SECONDS)
        self._turn_away(owner)
        self._metrics.down.flag(self._name, on=True)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._all.until, self._probe)

    def _turn_away(self, owner: str) -> None:
        self._turned_away.pop(owner, None)
        if len(self._turned_away) < OWNERS:
            self._turned_away[owner] = None

    def _probe(self) -> None:
        if not self.closed and not self._busy():
            self._ask(next(iter(self._turned_away)))

    def _close(self) -> None:
        failing, self._failing = self._failing, set()
        if self.closed:
            return
        self._all, turned_away = _Pause(), self._turned_away
        self._turned_away = {}
        self._metrics.down.flag(self._name, on=False)
        log.info("a source answers again", source=self._name)
        for owner in failing:
            if (own := self._owners.get(owner)) is not None:
                own.until = 0.0
        if len(turned_away) == OWNERS:  # and perhaps more
            self._changed(None)
            return
        for owner in sorted(failing.union(turned_away)):
            self._changed(owner)


def _clock() -> float:
    return asyncio.get_running_loop().time()
