"""What is kept of checks of issuers, in an annotation that others may write, too."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.issuerchecks import MAX_CHARS, MAX_ISSUERS, MAX_WHY_BYTES, Checked, read, text

NOW = datetime(2030, 1, 1, 12, 3, 1, tzinfo=UTC)
names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", fullmatch=True)
results = st.builds(
    Checked,
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001  # with timezones
    st.sampled_from(("works", "fails", "unknown")),
    st.text(max_size=1000),
)


def test_as_it_is_written() -> None:
    found = {"harbor": Checked(NOW, "works"), "gitlab": Checked(NOW, "fails", "HTTP 401")}
    assert json.loads(text(found)) == {
        "gitlab": {"at": "2030-01-01T12:03:01Z", "result": "fails", "why": "HTTP 401"},
        "harbor": {"at": "2030-01-01T12:03:01Z", "result": "works"},
    }
    assert read(text(found)) == found


@given(st.dictionaries(names, results, max_size=100))
def test_it_is_bounded_and_those_that_fail_are_kept(found: dict[str, Checked]) -> None:
    written = text(found)
    assert len(written) < MAX_CHARS
    kept = read(written)
    assert len(kept) == min(len(found), MAX_ISSUERS)
    for called, one in kept.items():
        assert found[called].at - one.at < timedelta(seconds=1)
        assert one.result == found[called].result
        assert len(one.why.encode()) <= MAX_WHY_BYTES
        assert one.why.isprintable()
    failing = [called for called, one in found.items() if one.result == "fails"]
    assert len([called for called in failing if called in kept]) == min(len(failing), MAX_ISSUERS)


@pytest.mark.parametrize(
    "one",
    [
        "1",
        '"works"',
        "{}",
        '{"at":"2030-01-01T12:03:01Z"}',
        '{"at":"2030-01-01T12:03:01","result":"works"}',  # at no place on earth
        '{"at":"99999-01-01T12:03:01Z","result":"works"}',
        '{"at":1,"result":"works"}',
        '{"at":"2030-01-01T12:03:01Z","result":"right"}',
        '{"at":"2030-01-01T12:03:01Z","result":"fails","why":7}',
    ],
)
def test_what_is_none_of_ours_is_left_out(one: str) -> None:
    ours = '"good":{"at":"2030-01-01T12:03:01Z","result":"works"}'
    assert read(f'{{{ours},"bad":{one}}}') == {"good": Checked(NOW, "works")}


@pytest.mark.parametrize(
    "said",
    [
        "",
        "null",
        "[]",
        "{",
        '"',
        "{}" + " " * MAX_CHARS,
        "[" * 20000,
        '{"a":' + "[" * 5000 + "]" * 5000 + "}",
        "\ud800",
    ],
)
def test_what_is_no_such_text_is_nothing(said: str) -> None:
    assert read(said) == {}
