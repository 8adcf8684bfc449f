"""Pods created through the real API server, by 1 and by 16 workers, dry-run and real."""

from collections.abc import Callable

from bench.contenders import SPACES, Arena
from bench.figures import Rounds
from bench.measure import load

WORKERS = (1, 16)


def compared(
    arena: Arena, workers: int, rounds: int, seconds: float, *, dry_run: bool, tick: Callable[[], None]
) -> Rounds:
    """`seconds`: of one turn. Each round begins with another contender."""
    found, contenders = Rounds(), list(SPACES)
    for number in range(rounds):
        first = number % len(contenders)
        for contender in contenders[first:] + contenders[:first]:
            target = arena.creation(contender, dry_run=dry_run)
            found.add(contender, load(target, workers, seconds, pid=arena.pids.get(contender)))
            if not dry_run:
                _clear(arena, SPACES[contender])
            tick()
    return found


def _clear(arena: Arena, space: str) -> None:
    arena.cluster.api.raw("DELETE", f"/api/v1/namespaces/{space}/pods", params={"gracePeriodSeconds": "0"})
