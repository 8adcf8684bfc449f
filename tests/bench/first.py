"""The first pod of a new namespace: when the namespace was seen earlier, and when both come at once."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bench.contenders import LABEL, NONE, OURS, SPACES, Arena
from bench.figures import Chunk, Rounds
from controlplane.api import Object
from controlplane.waiting import until


@dataclass(frozen=True)
class FirstPods:
    """`calls`: the most that one namespace's arrival cost, by verb and resource."""

    earlier: Rounds
    together: Rounds
    calls: Counter[tuple[str, str]]


def compared(arena: Arena, rounds: int, tick: Callable[[], None]) -> FirstPods:
    earlier, together = Rounds(), Rounds()
    most: Counter[tuple[str, str]] = Counter()
    for number in range(rounds):
        for contender in (NONE, OURS) if number % 2 else (OURS, NONE):
            earlier.add(contender, _chunk(_seen_earlier(arena, contender, f"earlier-{number}-{SPACES[contender]}")))
            space = f"together-{number}-{SPACES[contender]}"
            together.add(contender, _chunk(_at_once(arena, contender, space)))
            if contender == OURS:
                until(lambda space=space: _calls(arena, space), "the write is in the audit log", within=5)  # type: ignore[misc]
                most |= _calls(arena, space)
            tick()
    return FirstPods(earlier, together, most)


def _chunk(seconds: float) -> Chunk:
    return Chunk(seconds * 1000, seconds * 1000, 0.0, 0.0)


def _labels(contender: str) -> Object:
    owned = {} if contender == NONE else {"pullsecret-webhook/owner": "alice"}
    return {LABEL: SPACES[contender]} | owned


def _namespace(arena: Arena, contender: str, name: str) -> None:
    metadata = {"name": name, "labels": _labels(contender)}
    arena.cluster.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})


def _account(arena: Arena, space: str) -> None:
    """Our own: a pod whose account is not there yet makes the API server itself wait and try again."""
    metadata = {"name": "app", "namespace": space}
    arena.cluster.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})


def _pod(arena: Arena, contender: str, space: str) -> float:
    spec = {"serviceAccountName": "app", "containers": [{"name": "app", "image": "ghcr.io/alice/app"}]}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "first", "namespace": space}, "spec": spec}
    began = time.perf_counter()
    created = arena.cluster.api.create(pod)
    took = time.perf_counter() - began
    assert bool(created["spec"].get("imagePullSecrets")) == (contender == OURS), created["spec"]
    if contender == OURS:
        assert arena.cluster.api.get("Secret", "ghcr-secret", space), "the pod is there before its Secret"
    return took


def _seen_earlier(arena: Arena, contender: str, space: str) -> float:
    _namespace(arena, contender, space)
    _account(arena, space)
    if contender == OURS:
        until(lambda: arena.cluster.api.get("Secret", "ghcr-secret", space), "the pull secret stands", within=10)
    time.sleep(0.3)
    return _pod(arena, contender, space)


def _at_once(arena: Arena, contender: str, space: str) -> float:
    _namespace(arena, contender, space)
    _account(arena, space)
    return _pod(arena, contender, space)


def _calls(arena: Arena, space: str) -> Counter[tuple[str, str]]:
    """GETs of a namespace carry its name as `namespace` too."""
    return Counter((verb, resource) for verb, resource, of in arena.calls() if of == space)


def worst_calls(found: FirstPods) -> tuple[int, int]:
    """GETs and writes."""
    reads = sum(count for (verb, _), count in found.calls.items() if verb == "get")
    writes = sum(count for (verb, _), count in found.calls.items() if verb != "get")
    return reads, writes


def added_ms(rounds: Rounds) -> float:
    return rounds.paired(OURS, NONE, lambda c: c.p50_ms, lambda mine, others: mine - others)
