from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webhook.core.times import NO_TIME, OUT_OF_RANGE, end, in_utc

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(timezones=st.none() | st.just(UTC) | ZONES)
LAST = datetime.max.replace(tzinfo=UTC)


@given(when=TIMES)
@example(when=datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-2))))
@example(when=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=2))))
def test_what_is_written_is_read(when: datetime) -> None:
    """Unless it is another year in UTC, before the first one or after the last. The year 1 is never."""
    offset = when.utcoffset() or timedelta()
    here = when.replace(tzinfo=UTC)
    if when.year == 1:
        assert end(when) is end(when.isoformat()) is None
    elif offset >= timedelta() or here <= LAST + offset:
        assert in_utc(when) == end(when) == end(when.isoformat()) == here - offset
        assert in_utc(when).tzinfo is UTC
    else:
        for written in (when, when.isoformat()):
            with pytest.raises(ValueError, match=OUT_OF_RANGE):
                end(written)


@given(text=st.text(max_size=30) | st.text("0123456789-:.TZ+ ", max_size=30))
@example(text="2030-01-31T12:00:00+24:00")
@example(text="\ud800")
def test_any_other_text_is_read_or_is_no_time(text: str) -> None:
    try:
        when = end(text)
    except ValueError as e:
        assert str(e) in {NO_TIME, OUT_OF_RANGE}
    else:
        assert when is None or when.tzinfo is UTC


@pytest.mark.parametrize(
    ("text", "read_as"),
    [
        ("2030-01-31T12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00:00+02:00", datetime(2030, 1, 31, 10, tzinfo=UTC)),
        ("2030-01-31T12:00:00", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
        ("2030-01-31T12:00:00.5Z", datetime(2030, 1, 31, 12, 0, 0, 500000, tzinfo=UTC)),
    ],
)
def test_a_time_is_in_utc(text: str, read_as: datetime) -> None:
    assert end(text) == read_as
