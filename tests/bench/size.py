"""Memory, and the time from exec to ready: with few objects known, and with tens of thousands."""

import json
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench.contenders import Arena, go
from bench.measure import Target, load, rss_mib
from controlplane import webhook as deployed
from controlplane.ports import free_port
from controlplane.waiting import until

MANY = 10_000
"""Namespaces, with a pull secret and two service accounts each."""
QUIET = 3.0
"""Seconds after ready in which what a start writes would be written."""


@dataclass(frozen=True)
class Start:
    """`writes`: requests other than GET and dry runs that the start made when nothing was to do."""

    ready_s: float
    rss_mib: float
    writes: int


def started(arena: Arena, times: int, tick: Callable[[], None]) -> Start:
    """The median of some starts, one after the other; the memory is that some seconds after ready."""
    seconds, memory, writes = [], [], 0
    for number in range(times):
        before = len(arena.calls())
        began = time.perf_counter()
        with deployed.running(
            arena.cluster, name=f"start-{number}", python=arena.shipped.python, env=arena.shipped.env
        ) as replica:
            seconds.append(time.perf_counter() - began)
            time.sleep(QUIET)
            memory.append(rss_mib(replica.child.pid))
            writes += sum(verb not in ("get", "try") for verb, _, _ in arena.calls()[before:])
        tick()
    return Start(statistics.median(seconds), statistics.median(memory), writes)


def started_go(arena: Arena, program: str, times: int) -> float:
    """Seconds from exec until one of the Go contenders takes connections, the median."""
    seconds = []
    for _ in range(times):
        port = free_port()
        began = time.perf_counter()
        with go(arena.cluster, program, port):
            seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


def fill(arena: Arena, tick: Callable[[], None]) -> None:
    """Namespaces of one owner; the running webhook writes their Secrets, the controller makes one account each."""
    api, folder = arena.cluster.api, arena.cluster.folder
    body = folder / "namespace.json"
    labels = {"pullsecret-webhook/owner": "alice"}
    body.write_text(json.dumps({"metadata": {"generateName": "many-", "labels": labels}}))
    target = Target(arena.cluster.server + "/api/v1/namespaces", body, arena.cluster.ca, arena.pair, 201, "many-")
    load(target, 8, 600, count=MANY - 8)  # each of the 8 connections makes one more, uncounted
    tick()
    names = [space["metadata"]["name"] for space in api.list("Namespace") if "many-" in space["metadata"]["name"]]
    assert len(names) == MANY, len(names)
    with ThreadPoolExecutor(8) as workers:
        for number, _ in enumerate(workers.map(lambda name: _account(arena, name), names)):
            if number % 500 == 0:
                tick()
    until(lambda: _ticked(tick, arena.webhook.known("secrets") >= MANY), "every pull secret stands", within=600)
    until(
        lambda: _ticked(tick, arena.webhook.known("serviceaccounts") >= 2 * MANY), "the accounts are known", within=120
    )


def _account(arena: Arena, space: str) -> None:
    metadata = {"name": "builder", "namespace": space}
    arena.cluster.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})


def _ticked(tick: Callable[[], None], done: bool) -> bool:
    tick()
    return done
