"""Times that others wrote, in UTC, so that all other code can print and compare them.

The text of a ValueError continues the name of a time: "the annotation x" + "is not an RFC 3339 time".
"""

from datetime import UTC, datetime

NO_TIME = "is not an RFC 3339 time such as 2030-01-31T12:00:00Z"
OUT_OF_RANGE = "is out of range"


def read(text: str) -> datetime:
    """RFC 3339. Raises ValueError."""
    try:
        return in_utc(datetime.fromisoformat(text))
    except ValueError:
        raise ValueError(NO_TIME) from None


def in_utc(when: datetime) -> datetime:
    """A time without a time zone counts as UTC. Raises ValueError: the year may be 9999 there, and 10000 in UTC."""
    try:
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(OUT_OF_RANGE) from None
