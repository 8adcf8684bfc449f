"""Times that others wrote, in UTC, so that all other code can print and compare them.

The text of a ValueError continues the name of a time: "the annotation x" + "is not an RFC 3339 time".
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

NO_TIME = "is not an RFC 3339 time such as 2030-01-31T12:00:00Z"
OUT_OF_RANGE = "is out of range"


def end(value: datetime | float | str) -> datetime | None:
    """When something ends: a time, RFC 3339, or seconds since 1970. Raises ValueError.

    None: never. Services write that as -1, as 0, or as the year 1, which is the empty time of Go.
    """
    try:
        when = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        raise ValueError(NO_TIME) from None
    if isinstance(when, datetime):
        return None if when.year == 1 else in_utc(when)
    try:
        return None if when in (-1, 0) else datetime.fromtimestamp(when, UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(OUT_OF_RANGE) from None


def in_utc(when: datetime) -> datetime:
    """A time without a time zone counts as UTC. Raises ValueError: the year may be 9999 there, and 10000 in UTC."""
    try:
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(OUT_OF_RANGE) from None


def retry_after(value: str, now: datetime) -> float:
    """Seconds, of the HTTP header: a number or a date. 0.0 if it is neither."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds())
