"""What signatures of requests share: the key, and the time at the one who checks them. Pure but for the clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

MAX_AHEAD = timedelta(days=2)
"""No node's clock is wrong by more: its certificates and Leases would not work. What is signed for a time to come is
good then, for whoever has got it.
"""


@dataclass(frozen=True, slots=True)
class AccessKey:
    """`token`: of a session, which ends; empty: the key lasts."""

    id: str
    secret: str = field(repr=False)
    token: str = field(default="", repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        return self.secret, self.token


class VendorClock:
    """The time as a vendor has it. Signatures that are minutes off are refused, and a node's clock may be wrong."""

    def __init__(self) -> None:
        self._ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self._ahead

    def learn(self, date: datetime | None) -> bool:
        """From an answer that refuses our time. False: it does not say what time it is, or none that can be so."""
        ahead = timedelta.max if date is None else date - datetime.now(UTC)
        if abs(ahead) > MAX_AHEAD:
            return False
        self._ahead = ahead
        return True
