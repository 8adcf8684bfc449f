"""Connections from a process of their own to a replica's port."""

import sys
from dataclasses import dataclass
from pathlib import Path

from attacks.target import Target
from controlplane.process import Child

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
