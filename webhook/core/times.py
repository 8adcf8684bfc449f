"""Times as others write them, in UTC: where all that come after may print and compare them.

What raises ValueError says what the time is, to be read after its name: "the annotation x is no RFC 3339 time".
"""

from datetime import UTC, datetime

NO_TIME = "is no RFC 3339 time such as 2030-01-31T12:00:00Z"
OUT_OF_RANGE = "is out of range"


def read(text: str) -> datetime:
    """RFC 3339. Raises ValueError."""
    try:
        return in_utc(as_written(text))
    except ValueError:
        raise ValueError(NO_TIME) from None


def as_written(text: str) -> datetime:
    """In the time zone that stands there, if one does. Raises ValueError."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(NO_TIME) from None


def in_utc(when: datetime) -> datetime:
    """One without a time zone is taken for UTC. Raises ValueError: elsewhere it may be the year 9999 still."""
    try:
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(OUT_OF_RANGE) from None


def of_seconds(since_1970: float) -> datetime:
    """Raises ValueError."""
    try:
        return datetime.fromtimestamp(since_1970, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(OUT_OF_RANGE) from None
