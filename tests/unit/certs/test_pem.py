"""PEM that anybody may have written: read in time that grows with its length only."""

import time

import pytest

from certs.errors import Unusable
from certs.pem import certificates, readable

BEGIN, END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
SHORT, LONG = 4_000, 32_000


@pytest.mark.parametrize("part", [BEGIN, BEGIN + b"\n", BEGIN + b"MIIB\n", BEGIN + b"x" + END, END + BEGIN], ids=repr)
def test_however_many_beginnings_and_ends(part: bytes) -> None:
    """Eight times as much took 64 times as long."""

    def seconds(count: int) -> float:
        data, times = part * count, []
        for _ in range(3):
            began = time.process_time()
            assert readable(data) == ()
            with pytest.raises(Unusable):
                certificates(data, "ca.crt")
            times.append(time.process_time() - began)
        return min(times)

    assert seconds(LONG) < 30 * max(seconds(SHORT), 0.002)
