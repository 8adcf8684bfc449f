"""Is something there that must be? Says when it vanishes, and when it is back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from webhook.core.notice import Notice, Reason, Record


@dataclass
class Presence:
    """`gone` and `back`: reason and message of the notices that it vanished and is back. They are about our Service.
    `looks`: so many in a row must find it missing. `source`: as in Notice. What lasts is told `again` after this time:
    Events are kept for an hour.

    What was never there did not vanish, unless it is `expected`: the chart may leave it out, or install it after us.
    """

    gone: tuple[Reason, str]
    back: tuple[Reason, str]
    namespace: str
    service: str
    now: Callable[[], datetime]
    record: Record
    looks: int = 1
    expected: bool = False
    source: str = ""
    again: timedelta = timedelta(minutes=61)
    there: bool | None = None
    """As of the last look; None: not known yet."""
    _missed: int = 0
    _since: datetime | None = None
    _told: datetime | None = None
    """Since when it is gone, and when that was told last."""

    def seen(self, there: bool) -> None:  # all that there is to tell
        self.there = there
        if there:
            if self._told:
                self._record(*self.back, "Normal")
            self._missed, self.expected, self._since, self._told = 0, True, None, None
            return
        self._missed += 1
        now = self.now()
        if self.expected and self._missed >= self.looks and (self._told is None or now - self._told >= self.again):
            self._since, self._told = self._since or now, now
            # With the time, so that what vanishes twice within an hour is told twice.
            reason, message = self.gone
            self._record(reason, f"{message} (since {self._since:%Y-%m-%d %H:%M:%S} UTC)", "Warning")

    def _record(self, reason: Reason, message: str, kind: Literal["Warning", "Normal"]) -> None:
        self.record(Notice(reason, message, self.namespace, "Service", self.service, kind, source=self.source))

    def value(self) -> float | None:
        """For a metric."""
        return None if self.there is None else float(self.there)
