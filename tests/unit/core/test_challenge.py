import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.challenge import MAX_HEADER_CHARS, Challenge, challenge

BASIC = Challenge("basic")
HUB = Challenge("bearer", "https://auth.docker.io/token", "registry.docker.io")
FULL = Challenge("bearer", "https://auth.docker.io/token", "registry.docker.io", "a,b c", "x")


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], None),
        ([""], None),
        (["Basic"], BASIC),
        (['basic realm="a, Bearer realm=b"'], BASIC),
        (['Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'], HUB),
        (["BEARER  REALM = https://auth.docker.io/token ,\tService=registry.docker.io"], HUB),
        (['Bearer realm="https://auth.docker.io/token", service="registry.docker.io", scope="a,b c", error="x"'], FULL),
        (['Basic realm="r", Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'], HUB),
        (['Basic realm="r"', 'Bearer realm="https://auth.docker.io/token",service="registry.docker.io"'], HUB),
        (['Bearer realm="https://h/t?a=b"'], Challenge("bearer", "https://h/t?a=b")),
        (["Bearer realm=https://h/t?a=b"], Challenge("bearer", "https://h/t?a=b")),
        ([r'Bearer realm="https://h/\t",service="a\"b\\c"'], Challenge("bearer", "https://h/t", r'a"b\c')),
        (["Bearer"], None),
        (["Bearer service=s"], None),
        (['Bearer realm=""'], None),
        (['Bearer realm="https://h/never closed'], None),
        (['Bearer error_description=some words, realm="https://h/"'], Challenge("bearer", "https://h/")),
        (
            ['Bearer error=e, Scope="repository:a/b:pull", realm=r'],
            Challenge("bearer", "r", "", "repository:a/b:pull", "e"),
        ),
        (["NTLM, Negotiate, Digest realm=x"], None),
        (["Negotiate YWJjZA==, Basic realm=x"], BASIC),
        (["NTLM", "Bearer", "Basic"], BASIC),
        (["realm=https://h/"], None),
        (['"Basic"'], None),
        (["Digest Basic"], None),
    ],
)
def test_the_challenge_to_answer(headers: list[str], found: Challenge | None) -> None:
    assert challenge(headers) == found


@given(st.lists(st.text(st.sampled_from('aB1-=,"\\ \t\x80\udc80\n') | st.characters()), max_size=5))
def test_any_headers_are_read(headers: list[str]) -> None:
    challenge(headers)


SCHEMES = st.sampled_from(["Basic", "Bearer", "Digest"])
VALUES = st.text(st.sampled_from('ab,= "\\;/'), min_size=1, max_size=8)


@given(challenges=st.lists(st.tuples(SCHEMES, VALUES, VALUES), min_size=1, max_size=4), one_line=st.booleans())
def test_whatever_values_hold_they_are_values(challenges: list[tuple[str, str, str]], *, one_line: bool) -> None:
    def quoted(value: str) -> str:
        return '"' + value.replace("\\", r"\\").replace('"', r"\"") + '"'

    texts = [f"{scheme} realm={quoted(realm)}, service={quoted(service)}" for scheme, realm, service in challenges]
    found = challenge([", ".join(texts)] if one_line else texts)
    bearer = [Challenge("bearer", realm, service) for scheme, realm, service in challenges if scheme == "Bearer"]
    basic = [BASIC for scheme, _, _ in challenges if scheme == "Basic"]
    assert found == next(iter(bearer + basic), None)


@pytest.mark.parametrize(
    "part", ["a", '"', '"\\', '\\"', 'a="\\', '\\"a', ", ", "a ", "= ", 'a=",', "=", "a=", 'a=b "', ",a\t"]
)
@pytest.mark.parametrize("begin", ["", "Bearer ", 'Bearer realm="'])
def test_a_hostile_header_takes_no_time(begin: str, part: str) -> None:
    """All that is looked at, as one header or as many: the event loop waits for it."""
    whole = begin + part * (MAX_HEADER_CHARS // len(part))
    for headers in ([whole] * 100, [part] * 100_000):
        best = min(_seconds(headers) for _ in range(3))
        assert best < 0.5, best


def _seconds(headers: list[str]) -> float:
    began = time.perf_counter()
    challenge(headers)
    return time.perf_counter() - began
