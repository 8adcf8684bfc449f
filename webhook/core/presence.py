"""Is something there that must be? Says when it vanishes, and when it is back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from webhook.core.notice import Notice, Reason, Record


@dataclass
class Presence:
    """`gone` and `back`: reason and message of the notices that it vanished and is back. They are about our Service.
    `looks`: so many in a row must find it missing.

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
    there: bool | None = None
    """As of the last look; None: not known yet."""
    _missed: int = 0
    _told: bool = False
    """It is told that it is gone."""

    def seen(self, there: bool) -> None:  # all that there is to tell
        self.there = there
        if there:
            if self._told:
                self.record(Notice(*self.back, self.namespace, "Service", self.service, "Normal"))
            self._missed, self.expected, self._told = 0, True, False
            return
        self._missed += 1
        if self.expected and not self._told and self._missed >= self.looks:
            self._told = True
            # With the time, so that what vanishes twice within an hour is told twice.
            reason, message = self.gone
            message += f" (since {self.now():%Y-%m-%d %H:%M:%S} UTC)"
            self.record(Notice(reason, message, self.namespace, "Service", self.service))

    def value(self) -> float | None:
        """For a metric."""
        return None if self.there is None else float(self.there)
