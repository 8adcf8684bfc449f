"""Limits the queries to a remote that fails: a back-off for each owner, and a circuit breaker for all of them.

- After a failed query the owner waits: longer after each failure, or as long as the remote says (Retry-After).
- The breaker opens when queries in a row fail for a reason that affects all owners, and no owner is in all of these
  queries. (One owner alone, perhaps with a query that breaks the remote, never stops others.) While it is open, queries
  are rejected.
- Half-open: after a delay, one query at a time tests the remote, for the owner that was rejected the longest ago. The
  first answer, even a refusal, closes the breaker.
- When a query may succeed again, `changed` is called for each rejected owner, and the owner's namespaces are requeued.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from webhook.core.backoff import Backoff
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.sources import Changed

BACKOFF_SECONDS = 0.5
"""The first delay after a failure; each further one is twice as long."""
MAX_OWNER_BACKOFF_SECONDS = 60.0
"""The longest delay of one owner that is refused."""
MAX_DOWN_BACKOFF_SECONDS = 3.0
"""The longest delay while the remote is down: queries run one at a time then, and about 5 s after an outage all pull
secrets are to be right.
"""
MAX_RETRY_AFTER_SECONDS = 60.0
"""The longest Retry-After that is kept. A proxy in front of a remote that restarts may say an hour."""
JITTER = 0.25
OWNERS = 100_000
"""Entries at most in each collection by owner that has no other limit."""


@dataclass(slots=True)
class _Pause:
    """`until`: loop time."""

    backoff: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_DOWN_BACKOFF_SECONDS, JITTER))
    until: float = 0.0
    why: str = ""

    def failed(self, e: SourceUnavailable, longest: float) -> None:
        now = clock()
        if now >= self.until:  # concurrent queries fail together: that counts once
            self.backoff.cap = longest
            self.until = now + self.backoff.next()
        self.until = max(self.until, now + max(BACKOFF_SECONDS * 0.75, min(e.retry_after, MAX_RETRY_AFTER_SECONDS)))
        self.why = str(e)


class Breaker:
    """`name`: the source's. `busy`: does a query run? `ask`: starts one."""

    def __init__(
        self, name: str, metrics: Metrics, changed: Changed, busy: Callable[[], bool], ask: Callable[[str], object]
    ) -> None:
        self._name, self._metrics, self._changed, self._busy, self._ask = name, metrics, changed, busy, ask
        self._owners: OrderedDict[str, _Pause] = OrderedDict()
        self._all = _Pause()
        self._failing: set[str] = set()
        """Owners that failed since the last answer, for a reason that affects all owners."""
        self._suspects: frozenset[str] = frozenset()
        """Those who were in each of these queries: one of them may be the reason."""
        self._rejected: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def closed(self) -> bool:
        return not self._all.backoff.delay

    def check(self, owner: str) -> None:
        """Raises SourceUnavailable if no query may start for this owner now."""
        now, own = clock(), self._owners.get(owner)
        if not self.closed and (now < self._all.until or self._busy()):
            self._reject(owner)
            raise SourceUnavailable(self._all.why, everybody=True)
        if own is not None and now < own.until:
            raise SourceUnavailable(own.why)

    def reset(self, owner: str | None) -> None:
        """The owner (None: all) changed: the reason of the back-off may be gone."""
        if owner is not None:
            self._owners.pop(owner, None)
        else:
            self._owners.clear()
            self._all.until = min(self._all.until, clock())

    def answered(self, owner: str) -> bool:
        """Was it open until now?"""
        self._owners.pop(owner, None)
        return self._close()

    def failed(self, owner: str, e: SourceUnavailable) -> bool:
        """Was it open until now, and is this an answer?"""
        own = self._owners.pop(owner, _Pause())
        own.failed(e, MAX_DOWN_BACKOFF_SECONDS if e.everybody else MAX_OWNER_BACKOFF_SECONDS)
        self._owners[owner] = own
        if len(self._owners) > OWNERS:
            self._owners.popitem(last=False)
        asyncio.get_running_loop().call_at(own.until, self._changed, owner)
        if not e.everybody:
            self._failing.discard(owner)
            return self._close()  # a refusal is an answer
        about = e.about or frozenset({owner})
        self._suspects = self._suspects & about if self._failing else about
        self._failing.add(owner)
        if not self._suspects:
            self._open(owner, e)
        return False

    def _open(self, owner: str, e: SourceUnavailable) -> None:
        self._all.failed(e, MAX_DOWN_BACKOFF_SECONDS)
        self._reject(owner)
        self._metrics.down.flag(self._name, on=True)
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_at(self._all.until, self._probe)

    def _reject(self, owner: str) -> None:
        self._rejected.pop(owner, None)
        if len(self._rejected) < OWNERS:
            self._rejected[owner] = None

    def _probe(self) -> None:
        if not self.closed and not self._busy():
            self._ask(next(iter(self._rejected)))

    def _close(self) -> bool:
        failing, self._failing = self._failing, set()
        if self.closed:
            return False
        self._all, rejected = _Pause(), self._rejected
        self._rejected = {}
        self._metrics.down.flag(self._name, on=False)
        for owner in failing:
            if (own := self._owners.get(owner)) is not None:
                own.until = 0.0
        if len(rejected) == OWNERS:  # the dict is full: more owners may have been rejected
            self._changed(None)
            return True
        for owner in sorted(failing.union(rejected)):
            self._changed(owner)
        return True


def clock() -> float:
    """Loop time."""
    return asyncio.get_running_loop().time()
