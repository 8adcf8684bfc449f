"""JSON answers by a mapping of fields: what is read, and what is said of the rest, never with its content."""

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from support import planted
from webhook.config.sourceconfig import Fields
from webhook.core.credential import MAX_CREDENTIALS, Credential
from webhook.core.errors import PullsecretError
from webhook.sources.jsonanswer import read

TOKEN = planted.token()
ONE = {"registry": "ghcr.io", "username": "alice", "password": TOKEN}


def said(value: Any, fields: Fields) -> tuple[Credential, ...]:
    found = read(json.dumps(value).encode(), fields)
    assert not found.problems
    return found.credentials


def test_fields_are_where_the_configuration_says() -> None:
    plain = Credential("ghcr.io", "alice", TOKEN)
    assert said([ONE], Fields()) == (plain,)
    assert said(ONE, Fields()) == (plain,)
    assert said({"data": {"items": [ONE]}}, Fields(items="data.items")) == (plain,)
    elsewhere = {"host": {"name": "ghcr.io"}, "user": "alice", "secret": {"value": TOKEN}}
    assert said([elsewhere], Fields(registry="host.name", username="user", password="secret.value")) == (plain,)
    fixed = Fields(default_registry="ghcr.io", default_username="alice")
    assert said([{"password": TOKEN}, {"password": TOKEN, "registry": "quay.io", "username": None}], fixed) == (
        plain,
        Credential("quay.io", "alice", TOKEN),
    )
    assert said([], Fields()) == ()
    assert said({"items": []}, Fields(items="items")) == ()


@pytest.mark.parametrize(
    "end", ["2030-01-31T12:00:00Z", "2030-01-31T12:00:00", "2030-01-31T13:00:00+01:00", 1896091200]
)
def test_an_end_is_a_time_or_a_number(end: object) -> None:
    (found,) = said([ONE | {"expires": end}], Fields())
    assert found.expires == datetime(2030, 1, 31, 12, tzinfo=UTC)
    assert found.expires.tzinfo is UTC


@pytest.mark.parametrize("never", [None, -1, 0, "0001-01-01T00:00:00Z", "0001-01-01T00:00:00", -62_135_596_800])
def test_what_services_write_for_never_is_no_end(never: object) -> None:
    assert said([ONE | {"expires": never}], Fields())[0].expires is None


@given(seconds=st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False))
@example(seconds=1e300)
def test_seconds_are_a_time_or_out_of_range(seconds: float) -> None:
    try:
        when = said([ONE | {"expires": seconds}], Fields())[0].expires
    except PullsecretError as e:
        assert "its end is not an RFC 3339 time" in str(e)
    else:
        assert (when is None) == (seconds in (-1, 0))
        if when is not None:
            assert when.tzinfo is UTC
            assert when.timestamp() == pytest.approx(seconds, abs=1e-3)


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        ("x", "credential 1: it is not an object"),
        ({}, "credential 1: it has no string at registry"),
        (ONE | {"username": 1}, "credential 1: it has no string at username"),
        (ONE | {"password": ""}, "credential 1: the password for ghcr.io is empty"),
        (ONE | {"password": "a\n"}, "a line break"),
        (ONE | {"registry": TOKEN + " " + TOKEN}, "the name of a registry is not valid"),
        (ONE | {"expires": TOKEN}, "its end is not an RFC 3339 time"),
        (ONE | {"expires": True}, "its end is not an RFC 3339 time"),
        (
            ONE | {"expires": "20300131"},
            "its end is not an RFC 3339 time such as 2030-01-31T12:00:00Z or 2030-01-31, nor",
        ),
        (ONE | {"expires": 1e300}, "its end is not an RFC 3339 time"),
        (ONE | {"expires": []}, "its end is not an RFC 3339 time"),
        (ONE | {"expires": "9999-12-31T23:59:59-05:00"}, "its end is not an RFC 3339 time"),  # the year 10000 in UTC
    ],
)
def test_one_that_cannot_be_used_is_a_problem_among_others_and_an_error_alone(item: Any, problem: str) -> None:
    found = read(json.dumps([ONE, item]).encode(), Fields())
    assert len(found.credentials) == 1
    assert problem in found.problems[0]
    assert not planted.leaks(repr(found.problems))
    with pytest.raises(PullsecretError) as refused:
        read(json.dumps([item]).encode(), Fields())
    assert not planted.leaks(str(refused.value))


SEALED = ("0" * 32 + ":" + "1" * 32 + ":" + TOKEN.encode().hex(), "v1.k1." + b64encode(TOKEN.encode() * 3).decode())


@pytest.mark.parametrize("sealed", SEALED, ids=["padded", "versioned"])
def test_a_password_that_nobody_decrypted_is_refused(sealed: str) -> None:
    why = "the password for ghcr.io is encrypted; the service must decrypt it"
    entry = {"username": "alice", "password": sealed}
    fine = {"username": "alice", "password": TOKEN}
    for prefix, fields, alone, among in (
        (
            "credential 0: ",
            Fields(),
            [ONE | {"password": sealed}],
            [ONE | {"password": sealed}, ONE | {"registry": "quay.io"}],
        ),
        ("", "auths", {"auths": {"ghcr.io": entry}}, {"auths": {"ghcr.io": entry, "quay.io": fine}}),
    ):
        with pytest.raises(PullsecretError) as refused:
            read(json.dumps(alone).encode(), fields)  # type: ignore[arg-type]
        assert str(refused.value) == prefix + why
        found = read(json.dumps(among).encode(), fields)  # type: ignore[arg-type]
        assert [c.registry for c in found.credentials] == ["quay.io"]
        assert found.problems == (prefix + why,)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "it is not JSON"),
        (TOKEN.encode(), "it is not JSON"),
        (b"[" * 15_000, "it is not JSON"),
        (b"[" * 50_000, "it has too much in it"),
        (b'"x"', "no list of credentials at its top"),
        (b"null", "no list of credentials at its top"),
    ],
)
def test_what_has_no_list_is_no_answer(answer: bytes, why: str) -> None:
    with pytest.raises(PullsecretError) as refused:
        read(answer, Fields())
    assert why in str(refused.value)
    assert not planted.leaks(str(refused.value))
    with pytest.raises(PullsecretError, match=r"at data.items"):
        read(b'{"data": {}}', Fields(items="data.items"))


values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["items", "registry", "username", "password", "expires"]), inner, max_size=5)
    ),
    max_leaves=15,
)


@given(st.binary(max_size=30) | values.map(lambda v: json.dumps(v).encode()), st.sampled_from(["", "items"]))
def test_any_answer_is_read_or_refused(answer: bytes, items: str) -> None:
    for fields in (Fields(items=items), "auths"):
        try:
            found = read(answer, fields)
        except PullsecretError as refused:
            assert str(refused)
        else:
            assert all(c.registry and c.username and c.password for c in found.credentials)


@pytest.mark.parametrize("answer", [Fields(), "auths"])
@pytest.mark.parametrize("good", [True, False])
def test_of_many_problems_few_are_named_and_of_too_many_entries_none_is_read(answer: Any, good: bool) -> None:
    def answered(bad: int) -> bytes:
        if answer == "auths":
            entries: dict[str, Any] = {f"r{number}.io": {} for number in range(bad)}
            return json.dumps(
                {"auths": entries | ({"ghcr.io": {"username": "a", "password": TOKEN}} if good else {})}
            ).encode()
        return json.dumps([*([ONE] if good else []), *[{}] * bad]).encode()

    if good:
        problems = "; ".join(read(answered(100), answer).problems)
    else:
        with pytest.raises(PullsecretError) as refused:
            read(answered(100), answer)
        problems = str(refused.value)
    assert problems.endswith("; and 97 more")
    assert problems.count(";") == 3
    with pytest.raises(PullsecretError, match=rf"{MAX_CREDENTIALS + 5} .*at most {MAX_CREDENTIALS} are read"):
        read(answered(MAX_CREDENTIALS + 5 - good), answer)
    with pytest.raises(PullsecretError, match=rf"too much in it; at most {MAX_CREDENTIALS} .*are read"):
        read(answered(349_000), answer)
