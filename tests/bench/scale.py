"""`make bench-scale`: how a changed token spreads.

With two replicas, PostgreSQL, and 2,000 namespaces of 500 owners with a pod in each.
"""

import os
import statistics
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Chunk, Figure, Goal
from bench.platform import EACH, OWNERS, Platform, platform
from bench.rotation import EVERYBODY, Restart, Rotations, Spread
from bench.session import ended, stepped
from controlplane.binaries import need
from controlplane.errors import HarnessError

ROUNDS = 5
SINGLE = 20
"""Owners whose rotation is measured alone, one after the other."""


@dataclass(frozen=True)
class Round:
    """`plain`: seconds and the API server's CPU of as many plain applies."""

    calm: Chunk
    all: Spread
    plain: tuple[float, float]
    restart: Restart


@dataclass(frozen=True)
class Found:
    """`empty`, `peak`: MiB at most, of the larger replica, before the first namespace and in all. `disturbed`: pods."""

    singles: Sequence[Spread]
    rounds: Sequence[Round]
    empty: float
    peak: float
    disturbed: int

    def figures(self) -> list[Figure]:
        single = sorted(one.seconds * 1000 for one in self.singles)
        together, alone = self._median(lambda r: r.all.seconds), self._median(lambda r: r.plain[0])
        size = len(EVERYBODY)
        return [
            Figure("one owner's rotation", statistics.median(single), single[-1]),
            Figure(
                "everybody's rotation",
                together * 1000,
                ratio=self.slower,
                cpu_us=self._median(lambda r: r.all.replicas) / size * 1e6,
                rps=size / together,
                rss_mib=self.peak,
            ),
            Figure("before the first namespace", rss_mib=self.empty),
            Figure("as many plain applies", alone * 1000, rps=size / alone),
            Figure(
                "the API server, rotation",
                ratio=self._median(lambda r: r.all.apiserver / r.plain[1]),
                cpu_us=self._median(lambda r: r.all.apiserver) / size * 1e6,
            ),
            Figure("the API server, plain applies", cpu_us=self._median(lambda r: r.plain[1]) / size * 1e6),
            _reviews("a review, in calm", [r.calm for r in self.rounds]),
            _reviews("a review, in one owner's rotation", [one.reviews for one in self.singles], self._waits_in_one()),
            _reviews(
                "a review, while another replica starts",
                [r.restart.reviews for r in self.rounds],
                self._waits_in_restart(),
            ),
            _reviews("a review, in everybody's rotation", [r.all.reviews for r in self.rounds], self._waits()),
        ]

    def goals(self) -> list[Goal]:
        writes = [one.writes for one in (*self.singles, *(r.all for r in self.rounds))]
        due = len(self.singles) * EACH + len(self.rounds) * len(EVERYBODY)
        return [
            Goal("seconds until one owner's rotation is everywhere", max(one.seconds for one in self.singles), 2),
            Goal("everybody's rotation, to as many plain applies", self.slower, 1.3),
            Goal("writes at a restart of all replicas", max(r.restart.writes for r in self.rounds), 0),
            Goal("Secrets that were changed twice", sum(one.changes for one in writes) - due, 0),
            Goal("conflicts and refusals", sum(one.refused for one in writes), 0),
            Goal("applies that changed nothing, to those that did", sum(one.again for one in writes) / due, 0.05),
            Goal("p99 of a review in everybody's rotation, to calm", self._waits(), 1.5),
            Goal("p99 of a review in one owner's rotation, to calm", self._waits_in_one(), 1.5),
            Goal("p99 of a review while another replica starts, to calm", self._waits_in_restart(), 1.5),
            Goal("pods that were disturbed", self.disturbed, 0),
            Goal("MiB of memory, at most", self.peak, 100),
        ]

    @property
    def slower(self) -> float:
        return self._median(lambda r: r.all.seconds / r.plain[0])

    def _waits(self) -> float:
        return self._median(lambda r: r.all.reviews.p99_ms / r.calm.p99_ms)

    def _waits_in_one(self) -> float:
        """A rotation of one is over before the hundredth review: the median of their worst, so to speak."""
        calm = self._median(lambda r: r.calm.p99_ms)
        return statistics.median(one.reviews.p99_ms for one in self.singles) / calm

    def _waits_in_restart(self) -> float:
        return self._median(lambda r: r.restart.reviews.p99_ms / r.calm.p99_ms)

    def _median(self, what: Callable[[Round], float]) -> float:
        return statistics.median(what(one) for one in self.rounds)


def _reviews(name: str, chunks: Sequence[Chunk], ratio: float | None = None) -> Figure:
    p50, p99 = statistics.median(c.p50_ms for c in chunks), statistics.median(c.p99_ms for c in chunks)
    return Figure(name, p50, p99, ratio=ratio)


def measured(made: Platform) -> Found:
    rotations, rounds = Rotations(made), []
    with rotations.up():
        empty = rotations.peak()
        stepped(f"{len(EVERYBODY):,} namespaces of {OWNERS} owners, a pod in each", rotations.fill)
        singles = stepped(
            f"rotations of {SINGLE} owners, one at a time",
            lambda tick: [rotations.one(number, tick) for number in range(SINGLE)],
        )
        peak = rotations.peak()
    for number in range(1, ROUNDS + 1):
        with rotations.up():
            calm = stepped(f"round {number}: reviews and nothing else", rotations.calm)
            together = stepped(f"round {number}: everybody's rotation", rotations.all)
            peak = max(peak, rotations.peak())
        plain = stepped(f"round {number}: as many plain applies", rotations.plain)
        rounds.append(Round(calm, together, plain, stepped(f"round {number}: a restart", rotations.restart)))
    peak = max(peak, *(one.restart.peak for one in rounds))
    return Found(singles, rounds, empty, peak, rotations.disturbed())


def run(folder: Path) -> Found:
    need("bench-load", "bench-apply", "kwok")
    if os.geteuid() != 0:
        raise HarnessError("only root may give what is measured precedence over what would be elsewhere; use sudo")
    with platform(folder) as made:
        return measured(made)


if __name__ == "__main__":
    sys.exit(ended(run))
