"""Somebody who reaches a port, and needs no account for it."""

from pathlib import Path

import pytest

from attacks.attack import Attack
from attacks.load import Load
from attacks.target import Target

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


# Left out, as they cost pods on a machine with more work than cores: 500 "unread-reviews", 4 to 11 of 170.
LOADS = [
    Load("handshaken", 5_000, 20),
    Load("rounds", 1_000, 20),
    Load("handshakes", 16, 10),
    Load("unfinished-hello", 2_000, 10),
    Load("half-handshake", 2_000, 10),
    Load("unfinished-record", 2_000, 15),
    Load("many-names", 64, 10),
    Load("large-bodies", 8, 25),
    Load("medium-bodies", 300, 15),
    Load("ordinary-bodies", 1_000, 15),
    Load("elsewhere", 64, 10),
    Load("trickled", 600, 20),
    Load("heads", 2_000, 15),
    Load("unread", 500, 15),
    Load("old-protocol", 64, 10),
    Load("forged", 600, 15),
    Load("forged-accounts", 64, 10),
    Load("forged-large", 1, 5),
    Load("forged-large", 32, 10),
    Load("forged-medium", 64, 10),
    Load("forged-ordinary", 300, 10),
    Load("forged-names", 300, 10),
    Load("forged-and-gone", 300, 10),
    Load("chunked", 300, 10),
    Load("renegotiation", 16, 10),
    Load("metrics", 1_000, 15, metrics=True),
    Load("metrics-raw", 4_000, 10, metrics=True),
]


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_connections(attacked: Target, attack: Attack, tmp_path: Path, load: Load) -> None:
    with attack(attacked) as outcome:
        load.on(attacked, tmp_path)
    outcome.harmless()
