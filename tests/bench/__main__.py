"""`make bench` and `make bench-quick`."""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench import alone, creation, first, size
from bench.contenders import HANDMADE, NONE, OURS, USUAL, Arena, arena
from bench.figures import Figure, Goal, Rounds
from bench.measure import rss_mib
from bench.session import report
from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.progress import say, step

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """`chunk`, `solo`: seconds of one contender's turn through the API server, and alone. `single`: of one in which
    pods are created one at a time; in a shorter one are too few of them to compare medians. `pairs`: of processes.
    """

    rounds: int
    chunk: float
    single: float
    solo: float
    pairs: int
    real: bool
    first_pods: int
    starts: int
    many: bool


FULL = Plan(rounds=12, chunk=0.5, single=1.0, solo=0.8, pairs=7, real=True, first_pods=20, starts=5, many=True)
QUICK = Plan(rounds=10, chunk=0.25, single=0.5, solo=0.25, pairs=5, real=False, first_pods=10, starts=2, many=False)


class Run:
    def __init__(self, arena: Arena, plan: Plan) -> None:
        self._arena, self._plan = arena, plan
        self.figures: list[Figure] = []
        self.goals: list[Goal] = []

    def all(self) -> None:
        """Memory first, before anything has grown."""
        self._idle()
        self._alone()
        for dry_run in (True, False) if self._plan.real else (True,):
            for workers in creation.WORKERS:
                self._creation(workers, dry_run=dry_run)
        self._first_pods()
        self._memory("after the load")
        if self._plan.many:
            self._many()

    def _idle(self) -> None:
        self._memory("idle")
        found = self._measured("start to ready", lambda tick: size.started(self._arena, self._plan.starts, tick))
        self.figures.append(Figure(f"start: {OURS}", p50_ms=found.ready_s * 1000, rss_mib=found.rss_mib))
        for contender, program in ((USUAL, "bench-usual"), (HANDMADE, "bench-handmade")):
            took = size.started_go(self._arena, program, self._plan.starts)
            self.figures.append(Figure(f"start: {contender}", p50_ms=took * 1000))
        self.goals += [
            Goal("MiB of memory, idle", found.rss_mib, 60),
            Goal("seconds from start to ready", found.ready_s, 1.5),
            Goal("writes at a restart", found.writes, 0),
        ]

    def _memory(self, when: str) -> None:
        for contender, pid in self._arena.pids.items():
            self.figures.append(Figure(f"{when}: {contender}", rss_mib=rss_mib(pid)))

    def _alone(self) -> None:
        plan = self._plan
        found = self._measured(
            "alone on one core", lambda tick: alone.compared(self._arena, plan.rounds, plan.solo, tick)
        )
        for connections, rounds in found.rounds.items():
            self.figures += rounds.figures(f"alone, {connections} conn", USUAL)
        for contender, mib in found.rss.items():
            self.figures.append(Figure(f"after that: {contender}", rss_mib=mib))
        self._alone_goals(found.rounds[16])
        pairs = self._measured(
            "alone, with mirrors",
            lambda tick: alone.mirrored(self._arena, plan.pairs, plan.rounds, plan.solo / 2, tick),
        )
        self.figures += pairs.figures()
        self.goals.append(Goal("CPU of a review with mirrors, to that without", pairs.ratio, 1.15))

    def _alone_goals(self, at_16: Rounds) -> None:
        limit = alone.limit_to_go(at_16.median(HANDMADE, lambda c: c.cpu))
        self.goals += [
            Goal("CPU of a review alone, to controller-runtime's", at_16.ratio(OURS, USUAL, lambda c: c.cpu), 1 / 8),
            Goal("CPU of a review alone, to the hand-made Go's", at_16.ratio(OURS, HANDMADE, lambda c: c.cpu), limit),
            Goal("reviews a second, to controller-runtime's", at_16.ratio(OURS, USUAL, lambda c: c.rps), 8, least=True),
        ]

    def _creation(self, workers: int, *, dry_run: bool) -> None:
        plan, way = self._plan, "dry-run" if dry_run else "real"
        turn = plan.single if workers == 1 else plan.chunk
        rounds = self._measured(
            f"pods through the API server, {workers} at a time, {way}",
            lambda tick: creation.compared(self._arena, workers, plan.rounds, turn, dry_run=dry_run, tick=tick),
        )
        self.figures += rounds.figures(f"create, {workers} at a time, {way}", NONE)
        self.goals.append(
            Goal(
                f"CPU of a review, {workers} at a time, {way}, to controller-runtime's",
                rounds.ratio(OURS, USUAL, lambda c: c.cpu),
                0.4,
            )
        )
        if workers == 1:
            self.goals.append(
                Goal(f"added median latency, {way}, to the hand-made Go's", rounds.added(OURS, HANDMADE, NONE), 0.8)
            )

    def _first_pods(self) -> None:
        found = self._measured("first pods", lambda tick: first.compared(self._arena, self._plan.first_pods, tick))
        for what, rounds in (("seen earlier", found.earlier), ("comes along", found.together)):
            for one in rounds.figures(f"first pod, namespace {what}", NONE):
                self.figures.append(Figure(one.name, p50_ms=one.p50_ms, added_ms=one.added_ms, ratio=one.ratio))
        self.goals += [
            Goal("requests for a first pod whose namespace was seen earlier", found.earlier_calls.total(), 0),
            Goal("GETs for a first pod that comes with its namespace", found.reads, 1),
            Goal("applies of its Secret", found.calls["patch", "secrets"], 1),
            Goal("other requests for it", found.calls.total() - found.reads - found.calls["patch", "secrets"], 0),
        ]

    def _many(self) -> None:
        self._measured(f"{size.MANY:,} namespaces and Secrets, twice as many accounts", self._fill)
        rss = rss_mib(self._arena.pids[OURS])
        self.figures.append(Figure(f"after writing {size.MANY:,} Secrets: {OURS}", rss_mib=rss))
        found = self._measured("starts with those", lambda tick: size.started(self._arena, self._plan.starts, tick))
        name = f"start with {size.MANY:,}: {OURS}"
        self.figures.append(Figure(name, p50_ms=found.ready_s * 1000, rss_mib=found.rss_mib))
        self.goals += [
            Goal(f"MiB of memory with {size.MANY:,}", found.rss_mib, 80),
            Goal(f"seconds from start to ready with {size.MANY:,}", found.ready_s, 4),
            Goal(f"writes at a restart with {size.MANY:,}", found.writes, 0),
        ]

    def _fill(self, tick: Callable[[], None]) -> None:
        size.fill(self._arena, tick)

    @staticmethod
    def _measured(what: str, measure: Callable[[Callable[[], None]], T]) -> T:
        with step(what, "took") as progress:
            progress.announce()
            return measure(progress.tick)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench", description="The webhook beside others; see tests/bench/README.md.")
    parser.add_argument("--quick", action="store_true", help="dry runs only, short turns, no tens of thousands")
    plan = QUICK if parser.parse_args().quick else FULL
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        need("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
        need("bench-load", "bench-usual", "bench-handmade")
        began = time.monotonic()
        with (
            tempfile.TemporaryDirectory(prefix="pullsecret-bench-", ignore_cleanup_errors=True) as folder,
            arena(Path(folder)) as made,
        ):
            run = Run(made, plan)
            try:
                run.all()
            finally:  # what was measured before something went wrong is not lost
                report(run.figures, run.goals)
    except HarnessError as e:
        say(f"bench: {e}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted; everything that was started has ended")
        return 130
    say(f"took {time.monotonic() - began:.0f} s")
    return 0 if all(goal.reached for goal in run.goals) else 1


if __name__ == "__main__":
    sys.exit(main())
