"""What an attack came to: pods of the victim that were lost, memory, and whether the process lives."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from attacks.platform import VICTIM, Platform
from attacks.target import MIB, Target
from attacks.victim import Victim

HIGHEST = 200
"""MiB. The rest of the limit is for what nobody has thought of."""

LOUDEST = 0.3
"""MiB of log during one attack, whose length is some seconds."""


@dataclass
class Outcome:
    """All zero until the attack is over. Seconds."""

    lost: int = 0
    made: int = 0
    before: float = 0.0
    peak: float = 0.0
    """MiB."""
    median: float = 0.0
    longest: float = 0.0
    logged: float = 0.0
    """MiB."""
    fate: str = ""

    def __str__(self) -> str:
        times = f"median {self.median * 1000:.0f} ms, longest {self.longest * 1000:.0f} ms"
        memory = f"{self.before:.0f} to {self.peak:.0f} MiB"
        return f"{self.lost} of {self.made} lost, {memory}, {self.fate}; {times}, log {self.logged:.2f} MiB"

    def harmless(self) -> None:
        assert (self.lost, self.fate) == (0, "lives"), str(self)
        assert self.peak < HIGHEST, str(self)
        assert self.logged < LOUDEST, str(self)


@contextmanager
def attacking(platform: Platform, attacked: Target, *, after: float = 1.0) -> Iterator[Outcome]:
    """The victim makes pods during it, and for `after` seconds more."""
    outcome = Outcome()
    attacked.forget_peak()
    outcome.before = attacked.peak()
    before = attacked.replica.child.log.stat().st_size
    with Victim(platform.alice, VICTIM) as victim:
        yield outcome
        time.sleep(after)
    outcome.lost, outcome.made, outcome.median, outcome.longest = (
        victim.lost, victim.made, victim.median, max(victim.seconds, default=0.0),
    )  # fmt: skip
    outcome.logged = (attacked.replica.child.log.stat().st_size - before) / MIB
    outcome.peak, outcome.fate = attacked.peak(), attacked.fate


Attack = Callable[[Target], AbstractContextManager[Outcome]]
"""The fixture `attack`: `attacking`, on the platform that is there."""
