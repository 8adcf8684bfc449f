"""Webhooks without an API server in front of them: one core each, TLS, connections kept open, the captured review."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from bench.contenders import HANDMADE, OURS, REVIEW, USUAL, Arena, go, published_ca
from bench.figures import Rounds
from bench.measure import Target, load
from controlplane import webhook as deployed
from controlplane.ports import free_port

CONNECTIONS = (1, 16)
SERVER, CLIENT = 0, 1
"""Cores."""


def compared(arena: Arena, rounds: int, seconds: float, tick: Callable[[], None]) -> dict[int, Rounds]:
    """By number of connections. Each contender is a process of its own that has never seen another core."""
    found = {connections: Rounds() for connections in CONNECTIONS}
    with ExitStack() as stack:
        targets, pids = {}, {}
        for contender, program in ((USUAL, "bench-usual"), (HANDMADE, "bench-handmade")):
            port = free_port()
            pids[contender] = stack.enter_context(go(arena.cluster, program, port, core=SERVER)).pid
            targets[contender] = _target(port, arena.cluster.ca)
        ours = stack.enter_context(deployed.running(arena.cluster, name="alone"))
        _pin(ours.child.pid)
        pids[OURS] = ours.child.pid
        targets[OURS] = _target(ours.port, published_ca(arena.cluster, arena.cluster.folder / "published.crt"))
        contenders = list(targets)
        for number in range(rounds):
            first = number % len(contenders)
            for contender in contenders[first:] + contenders[:first]:
                for connections in CONNECTIONS:
                    chunk = load(targets[contender], connections, seconds, pid=pids[contender], core=CLIENT)
                    found[connections].add(contender, chunk)
                tick()
    return found


def _target(port: int, ca: Path) -> Target:
    return Target(f"https://127.0.0.1:{port}/mutate?timeout=3s", REVIEW, ca)


def _pin(pid: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {SERVER})
