"""What signatures of requests share: the key, and the time at the one who checks them. Pure but for the clock."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta


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
        """From an answer that refuses our time. False: it does not say what time it is."""
        if date is not None:
            self._ahead = date - datetime.now(UTC)
        return date is not None
