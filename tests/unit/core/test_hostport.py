"""A host and its port in one word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.core.hostport import joined, split


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("ghcr.io", "ghcr.io", ""),
        ("ghcr.io:5000", "ghcr.io", "5000"),
        ("10.0.0.2:53", "10.0.0.2", "53"),
        ("[::1]:53", "::1", "53"),
        ("[::1]", "::1", ""),
        ("::1", "::1", ""),
        ("ghcr.io:", "ghcr.io:", ""),
        ("ghcr.io:٣", "ghcr.io:٣", ""),
        ("ghcr.io:123456", "ghcr.io:123456", ""),
        ("", "", ""),
    ],
)
def test_split(text: str, host: str, port: str) -> None:
    assert split(text) == (host, port)


@given(st.sampled_from(["ghcr.io", "10.0.0.2", "::1", "fe80::1%eth0"]), st.integers(0, 65535))
def test_what_is_joined_is_split(host: str, port: int) -> None:
    assert split(joined(host, port)) == (host, str(port))
