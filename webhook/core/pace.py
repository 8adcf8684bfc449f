"""How soon a namespace may be reconciled again, from what happened to it lately. Loop times are handed in."""

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field

from webhook.core.backoff import Backoff

BACKOFF_SECONDS, MAX_BACKOFF_SECONDS = 0.5, 300.0
"""The first and the longest delay of a namespace."""
JITTER = 0.25
MAX_OUTAGE_BACKOFF_SECONDS = 3.0
"""The longest delay while the API server fails. About 5 s after an outage all pull secrets are to be right."""
RETRIES_PER_SECOND = 50
"""Of all namespaces together while the API server fails: the more fail, the longer each one waits."""
CALM_SECONDS = 10.0
"""Time without a write, or twice the last delay if that is longer, after which the back-off is reset."""
SWEPT = 2
"""Paces that are looked at for each new one, in turn: those of calm (or deleted) namespaces are dropped."""


@dataclass(slots=True)
class Pace:
    """Of one namespace. `own`: back-off because of the namespace; `passing`: because of the API server. `undone`: how
    often a right Secret was. `digest`: of the right Secret at the last reconcile. `last`, `until`: loop times of the
    last write or failure, and of the earliest next reconcile.
    """

    own: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_BACKOFF_SECONDS, JITTER))
    passing: Backoff = field(default_factory=lambda: Backoff(BACKOFF_SECONDS, MAX_OUTAGE_BACKOFF_SECONDS, JITTER))
    undone: int = 0
    digest: bytes | None = None
    last: float = 0.0
    until: float = 0.0

    def calm(self, now: float) -> bool:
        return now - self.last > max(CALM_SECONDS, 2 * self.own.delay, 2 * self.passing.delay)

    def earliest(self, *, urgent: bool) -> float:
        """Loop time of the next reconcile. `urgent`: there is news."""
        return min(self.until, self.last + BACKOFF_SECONDS) if urgent else self.until

    def failed(self, now: float) -> None:
        """Because of the namespace."""
        self._wait(now, self.own)

    def server_failed(self, now: float, failing: int) -> None:
        """`failing`: namespaces that wait for the API server."""
        self.passing.cap = max(MAX_OUTAGE_BACKOFF_SECONDS, failing / RETRIES_PER_SECOND)
        self._wait(now, self.passing)

    def wrote(self, digest: bytes, now: float) -> int:
        """Returns how often what is right has been undone, if this was written for that reason; else 0."""
        self.passing.reset()
        if self.digest != digest:  # news, which must not wait
            self.digest, self.last = digest, now
            self.until = max(self.until, now + BACKOFF_SECONDS)
            return 0
        self._wait(now, self.own)
        self.undone += 1
        return self.undone

    def _wait(self, now: float, backoff: Backoff) -> None:
        self.last = now
        self.until = now + backoff.next()


class Paces:
    """Of the namespaces to which something happened lately."""

    def __init__(self) -> None:
        self._of: OrderedDict[str, Pace] = OrderedDict()

    def __iter__(self) -> Iterator[str]:
        return iter(self._of)

    def __len__(self) -> int:
        return len(self._of)

    def get(self, namespace: str) -> Pace | None:
        return self._of.get(namespace)

    def forget(self, namespace: str) -> None:
        self._of.pop(namespace, None)

    def begun(self, namespace: str, now: float) -> Pace:
        """Something happens to it now. After calm it begins afresh."""
        pace = self._of.get(namespace)
        if pace is None or pace.calm(now):
            pace = Pace(digest=pace.digest if pace is not None else None)
            self._drop_calm(now)
            self._of[namespace] = pace
            self._of.move_to_end(namespace)
        return pace

    def right(self, namespace: str, digest: bytes, now: float) -> None:
        """There was nothing to write."""
        if (pace := self._of.get(namespace)) is not None:
            pace.passing.reset()
            pace.digest = digest
            if pace.calm(now):
                del self._of[namespace]

    def _drop_calm(self, now: float) -> None:
        for _ in range(min(SWEPT, len(self._of))):
            namespace, pace = next(iter(self._of.items()))
            if pace.calm(now):
                del self._of[namespace]
            else:
                self._of.move_to_end(namespace)  # to take it out and put it back would make the table anew at times
