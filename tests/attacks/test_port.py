"""Somebody who reaches a port, and needs no account for it."""

import sys
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from attacks.conftest import Attack
from attacks.target import Target
from controlplane.process import Child

pytestmark = pytest.mark.cluster
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class Load:
    """So many connections at a time, for so many seconds. `metrics`: on that port."""

    attack: str
    count: int
    seconds: float = 4.0
    metrics: bool = False

    def __str__(self) -> str:
        return f"{self.count} {self.attack}"

    def on(self, attacked: Target, folder: Path) -> None:
        port = attacked.replica.metrics_port if self.metrics else attacked.replica.port
        command = [sys.executable, "-m", "attacks.port", self.attack, str(port), str(self.count), str(self.seconds)]
        with Child("attacker", command, log=folder / "attacker.log", env={"PYTHONPATH": str(TESTS)}) as child:
            child.wait(self.seconds + 30)
            assert child.status == 0, child.tail()


QUICK = [Load("raw", 4_000, 3), Load("large-bodies", 24), Load("names", 16, 3)]
SLOW = [
    Load("handshaken", 5_000, 20),
    Load("rounds", 1_000, 20),
    Load("handshakes", 16, 10),
    Load("unfinished-hello", 2_000, 10),
    Load("unfinished-record", 2_000, 15),
    Load("many-names", 64, 10),
    Load("large-bodies", 8, 25),
    Load("medium-bodies", 300, 15),
    Load("ordinary-bodies", 1_000, 15),
    Load("trickled", 600, 20),
    Load("heads", 2_000, 15),
    Load("unread", 500, 15),
    Load("unread-reviews", 500, 15),
    Load("old-protocol", 64, 10),
    Load("forged", 600, 15),
    Load("forged-accounts", 64, 10),
    Load("forged-large", 32, 10),
    Load("forged-medium", 64, 10),
    Load("forged-ordinary", 300, 10),
    Load("metrics", 1_000, 15, metrics=True),
    Load("metrics-raw", 4_000, 10, metrics=True),
]
LOADS = [*QUICK, *(pytest.param(load, marks=pytest.mark.slow) for load in SLOW)]


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_connections(attacked: Target, attack: Attack, tmp_path: Path, load: Load) -> None:
    with attack(attacked) as outcome:
        load.on(attacked, tmp_path)
    outcome.harmless()


def test_nobody_is_sent_elsewhere(attacked: Target) -> None:
    url = f"https://127.0.0.1:{attacked.replica.port}/mutate/"
    answer = httpx.post(url, headers={"Host": "evil.example"}, verify=False, trust_env=False)
    assert not answer.is_redirect
    assert "location" not in answer.headers
