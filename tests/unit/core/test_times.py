import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webhook.core.times import NO_END, NO_TIME, OUT_OF_RANGE, end, ends, in_utc, to_the_minute

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
        ("2030-01-31 12:00:00Z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31t12:00:00z", datetime(2030, 1, 31, 12, tzinfo=UTC)),
        ("2030-01-31T12:00:00.123456789Z", datetime(2030, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)),
        ("2030-01-31T12:00:00.5Z", datetime(2030, 1, 31, 12, 0, 0, 500000, tzinfo=UTC)),
    ],
)
def test_a_time_is_in_utc(text: str, read_as: datetime) -> None:
    assert end(text) == read_as


@pytest.mark.parametrize(
    "text",
    [
        *("20300131", "20300131T120000Z", "2030-W05-1", "2030-031", "2030-01-31T12Z", "2030-01-31T12:00Z", "-1", "0"),
        *("2030-01-31x12:00:00Z", "2030-01-31T12:00:00+0200", "2030-01-31 12:00:00 UTC", "2030-01-31\n", "31.01.2030"),
        *("2030-02-30", "0000-00-00 00:00:00", "\uff12\uff10\uff13\uff10-01-31", "never", "", " 2030-01-31"),
    ],
)
def test_what_may_mean_something_else_is_no_time(text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(NO_TIME)}$"):
        end(text)


@pytest.mark.parametrize("seconds", [-1, 0, -1.0, 0.0, -62_135_596_800, -62_135_500_000])
def test_never_in_seconds(seconds: float) -> None:
    """The last ones are in the year 1."""
    assert end(seconds) is None


@pytest.mark.parametrize("seconds", [1e300, -1e300, 1_900_000_000_000, -62_135_596_800_000, float("nan"), float("inf")])
def test_seconds_out_of_range(seconds: float) -> None:
    with pytest.raises(ValueError, match=OUT_OF_RANGE):
        end(seconds)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("90d", datetime(2030, 4, 1, 12, tzinfo=UTC)),
        ("2w", datetime(2030, 1, 15, 12, tzinfo=UTC)),
        (" 36h ", datetime(2030, 1, 3, tzinfo=UTC)),
        ("2030-01-31", datetime(2030, 1, 31, tzinfo=UTC)),
        ("2030-01-31T12:00:00+02:00", datetime(2030, 1, 31, 10, tzinfo=UTC)),
        ("never", None),
        ("Never", None),
    ],
)
def test_as_people_say_it(text: str, when: datetime | None) -> None:
    assert ends(text, datetime(2030, 1, 1, 12, 0, 0, 5, tzinfo=UTC)) == when


@pytest.mark.parametrize("text", ["", "soon", "90", "90m", "-1d", "1d2h", "20300131", "1.5d", "٣d"])
def test_what_nobody_can_mean_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(NO_END)):
        ends(text, LAST)


def test_too_far_away() -> None:
    with pytest.raises(ValueError, match=OUT_OF_RANGE):
        ends("999999w", LAST)


def test_people_read_times_to_the_minute_in_utc() -> None:
    assert to_the_minute(datetime(2030, 1, 31, 12, 30, 59, tzinfo=UTC)) == "2030-01-31 12:30"
    assert to_the_minute(datetime(2030, 1, 31, 1, tzinfo=timezone(timedelta(hours=2)))) == "2030-01-30 23:00"
    assert to_the_minute(None) == "-"
