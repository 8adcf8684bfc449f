"""Times that others wrote, in UTC, so that all other code can compare them, and how they are printed.

The text of a ValueError continues the name of a time: "the annotation x" + "is not an RFC 3339 time".
"""

import re
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

NO_END = "is neither a time such as 2030-01-31T12:00:00Z, nor a duration such as 90d, 12w or 36h, nor never"
NO_TIME = "is not an RFC 3339 time such as 2030-01-31T12:00:00Z or 2030-01-31"
OUT_OF_RANGE = "is out of range"
_RFC_3339 = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)?)?", re.ASCII)
"""Also a day alone, and a time without a zone, as some languages print one in UTC. Python itself reads more: weeks, and
numbers such as 20300131, which may be meant as seconds.
"""
_DURATION = re.compile(r"(\d{1,6})([hdw])", re.ASCII)
_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


def end(value: datetime | float | str) -> datetime | None:
    """When something ends: a time, RFC 3339, or seconds since 1970. Raises ValueError.

    None: never. Services write that as -1, as 0, or as the year 1, which is the empty time of Go and others.
    """
    try:
        when = _read(value)
    except (ValueError, OverflowError, OSError):
        raise ValueError(NO_TIME if isinstance(value, str) else OUT_OF_RANGE) from None
    return None if when is None or when.year == 1 else in_utc(when)


def ends(text: str, now: datetime) -> datetime | None:
    """As people say when something ends: a time, as in `end`, a duration from now on, or never. Raises ValueError."""
    if text.strip().lower() == "never":
        return None
    if (found := _DURATION.fullmatch(text.strip())) is not None:
        try:
            return (now + int(found[1]) * _UNITS[found[2]]).replace(microsecond=0)
        except OverflowError:
            raise ValueError(OUT_OF_RANGE) from None
    try:
        return end(text.strip())
    except ValueError:
        raise ValueError(NO_END) from None


def _read(value: datetime | float | str) -> datetime | None:
    if isinstance(value, str):
        text = value.upper()
        if not _RFC_3339.fullmatch(text):
            raise ValueError
        return datetime.fromisoformat(text)
    if isinstance(value, datetime):
        return value
    return None if value in (-1, 0) else datetime.fromtimestamp(value, UTC)


def in_utc(when: datetime) -> datetime:
    """A time without a time zone counts as UTC. Raises ValueError: the year may be 9999 there, and 10000 in UTC."""
    try:
        return when.astimezone(UTC) if when.tzinfo else when.replace(tzinfo=UTC)
    except OverflowError:
        raise ValueError(OUT_OF_RANGE) from None


def to_the_minute(when: datetime | None) -> str:
    """In UTC, for people; "-" if there is none."""
    return "-" if when is None else f"{when.astimezone(UTC):%Y-%m-%d %H:%M}"


def retry_after(value: str, now: datetime) -> float:
    """Seconds, of the HTTP header: a number or a date. 0.0 if it is neither."""
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        when = parsedate_to_datetime(value)
    except (ValueError, TypeError, OverflowError):
        return 0.0
    return max(0.0, (when.replace(tzinfo=when.tzinfo or UTC) - now).total_seconds())
