"""Webhooks without an API server in front of them: one core each, TLS, connections kept open, the captured review."""

import base64
import json
import os
import ssl
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.contenders import HANDMADE, OURS, REVIEW, USUAL, Arena, go, published_ca
from bench.figures import Figure, Rounds, middle
from bench.measure import Target, load, rss_mib
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.ports import free_port
from controlplane.waiting import until
from support import anylogin

CONNECTIONS = (1, 16)
SERVER, CLIENT = 0, 1
"""Cores."""


FAST_US, TO_GO, TO_GO_SLOW = 65.0, 0.6, 1.0
"""CPU of a review of the hand-made Go server up to which a machine is a fast one, and how much of it ours may take
there and elsewhere: where caches are slow or shared, to fill them again costs both about as much (README.md).
"""

LISTED = f"{OURS}, a list of its own"
"""A pod that brings imagePullSecrets: its patch depends on it, and is proved for this review alone."""
MIRRORED = f"{OURS}, named at a mirror"
"""The same review where its image gets its name at a mirror."""


@dataclass(frozen=True)
class Alone:
    """By number of connections; and MiB of memory after all of it."""

    rounds: dict[int, Rounds]
    rss: dict[str, float]


@dataclass(frozen=True)
class Pairs:
    """A review with mirrors beside one without, at the most connections: by pair of processes."""

    of: Sequence[Rounds]

    @property
    def ratio(self) -> float:
        """Of their CPU: the median of the pairs."""
        return statistics.median(rounds.ratio(MIRRORED, OURS, lambda c: c.cpu) for rounds in self.of)

    def figures(self) -> list[Figure]:
        """Each is the median of the pairs' own."""
        found = [rounds.figures(f"in pairs, {CONNECTIONS[-1]} conn", OURS) for rounds in self.of]
        return [middle(same) for same in zip(*found, strict=True)]


def limit_to_go(handmade_us: float) -> float:
    """Of our CPU to the hand-made Go server's."""
    return TO_GO if handmade_us <= FAST_US else TO_GO_SLOW


def compared(arena: Arena, rounds: int, seconds: float, tick: Callable[[], None]) -> Alone:
    """Each contender is a process of its own that has never seen another core."""
    found = {connections: Rounds() for connections in CONNECTIONS}
    with ExitStack() as stack:
        targets, pids = {}, {}
        for contender, program in ((USUAL, "bench-usual"), (HANDMADE, "bench-handmade")):
            port = free_port()
            pids[contender] = stack.enter_context(go(arena.cluster, program, port, core=SERVER)).pid
            targets[contender] = _target(port, arena.cluster.ca)
        ours = stack.enter_context(_running(arena, "alone"))
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


def mirrored(arena: Arena, pairs: int, rounds: int, seconds: float, tick: Callable[[], None]) -> Pairs:
    """Two processes of the same code differ by up to a tenth for as long as they live, so there are several pairs."""
    ca = published_ca(arena.cluster, arena.cluster.folder / "published.crt")
    return Pairs([_pair(arena, ca, rounds, seconds, tick) for _ in range(pairs)])


def _pair(arena: Arena, ca: Path, rounds: int, seconds: float, tick: Callable[[], None]) -> Rounds:
    found = Rounds()
    with _running(arena, "alone") as plain, _mirrored(arena, ca) as named:
        replicas = {OURS: plain, MIRRORED: named}
        for replica in replicas.values():
            _pin(replica.child.pid)
        for number in range(rounds):
            for contender in [OURS, MIRRORED] if number % 2 else [MIRRORED, OURS]:
                replica = replicas[contender]
                target = _target(replica.port, ca)
                chunk = load(target, CONNECTIONS[-1], seconds, pid=replica.child.pid, core=CLIENT)
                found.add(contender, chunk)
            tick()
    return found


def _running(arena: Arena, name: str, settings: Object | None = None) -> AbstractContextManager[deployed.Webhook]:
    """As the image starts it."""
    shipped = arena.shipped
    return deployed.running(
        arena.cluster, name=name, settings=settings, verbose=False, python=shipped.python, env=shipped.env
    )


@contextmanager
def _mirrored(arena: Arena, ca: Path) -> Iterator[deployed.Webhook]:
    """A replica with a mirror of the captured review's registry, when it names the image there."""
    with anylogin.serving() as mirror:
        host = mirror.host
        settings = {
            "mirrors": [{"of": "ghcr.io", "to": host, "how": "rewrite"}],
            "registries": [{"host": host, "plain": True}],
            "check": False,
        }
        token = "a-token-of-the-bench"
        deployed.give_logins(arena.cluster.api, "alice", {"ghcr.io": ("alice", token), host: ("alice", token)})
        with (
            _running(arena, "mirrored", settings) as replica,
            httpx.Client(verify=ssl.create_default_context(cafile=ca), trust_env=False) as client,
        ):
            headers = {"Content-Type": "application/json"}

            def named() -> bool:
                url = f"https://127.0.0.1:{replica.port}/mutate?timeout=3s"
                answer = client.post(url, content=REVIEW.read_bytes(), headers=headers).json()
                return host in base64.b64decode(answer["response"]["patch"]).decode()

            until(named, "the image is named at the mirror", within=20)
            yield replica


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
