"""Webhooks without an API server in front of them: one core each, TLS, connections kept open, the captured review."""

import json
import os
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench.contenders import HANDMADE, OURS, REVIEW, USUAL, Arena, go, published_ca
from bench.figures import Rounds
from bench.measure import Target, load, rss_mib
from controlplane import webhook as deployed
from controlplane.ports import free_port

CONNECTIONS = (1, 16)
SERVER, CLIENT = 0, 1
"""Cores."""


LISTED = f"{OURS}, a list of its own"
"""A pod that brings imagePullSecrets: its patch depends on it, and is proved for this review alone."""


@dataclass(frozen=True)
class Alone:
    """By number of connections; and MiB of memory after all of it."""

    rounds: dict[int, Rounds]
    rss: dict[str, float]


def compared(arena: Arena, rounds: int, seconds: float, tick: Callable[[], None]) -> Alone:
    """Each contender is a process of its own that has never seen another core."""
    found = {connections: Rounds() for connections in CONNECTIONS}
    with ExitStack() as stack:
        targets, pids = {}, {}
        for contender, program in ((USUAL, "bench-usual"), (HANDMADE, "bench-handmade")):
            port = free_port()
            pids[contender] = stack.enter_context(go(arena.cluster, program, port, core=SERVER)).pid
            targets[contender] = _target(port, arena.cluster.ca)
        ours = stack.enter_context(deployed.running(arena.cluster, name="alone", verbose=False))
        _pin(ours.child.pid)
        pids[OURS] = pids[LISTED] = ours.child.pid
        ca = published_ca(arena.cluster, arena.cluster.folder / "published.crt")
        targets[OURS], targets[LISTED] = _target(ours.port, ca), _target(ours.port, ca, _listed(arena.cluster.folder))
        contenders = list(targets)
        for number in range(rounds):
            first = number % len(contenders)
            for contender in contenders[first:] + contenders[:first]:
                for connections in CONNECTIONS:
                    chunk = load(targets[contender], connections, seconds, pid=pids[contender], core=CLIENT)
                    found[connections].add(contender, chunk)
                tick()
        return Alone(found, {contender: rss_mib(pid) for contender, pid in pids.items() if contender != LISTED})


def _target(port: int, ca: Path, review: Path = REVIEW) -> Target:
    return Target(f"https://127.0.0.1:{port}/mutate?timeout=3s", review, ca)


def _listed(folder: Path) -> Path:
    review = json.loads(REVIEW.read_bytes())
    review["request"]["object"]["spec"]["imagePullSecrets"] = [{"name": "own"}]
    file = folder / "listed.json"
    file.write_text(json.dumps(review, separators=(",", ":")))
    return file


def _pin(pid: int) -> None:
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), {SERVER})
