"""The first pod of a new namespace: when the namespace was seen earlier, and when both come at once.

Beside no mutation alone: to the others a first pod is as any other, for they write no Secret.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bench.contenders import LABEL, NONE, OURS, SPACES, Arena
from bench.figures import Chunk, Rounds
from controlplane.api import Object
from controlplane.waiting import until

Calls = Counter[tuple[str, str]]
"""By verb and resource."""
LATER = 1.0
"""Seconds after which the background has looked too (refresh.PART), and the audit log is written."""


@dataclass(frozen=True)
class FirstPods:
    """`calls`: the most that one namespace's arrival cost; `earlier_calls`: that one pod cost in a namespace that had
    been seen."""

    earlier: Rounds
    together: Rounds
    calls: Calls
    earlier_calls: Calls

    @property
    def reads(self) -> int:
        return sum(count for (verb, _), count in self.calls.items() if verb == "get")


def compared(arena: Arena, rounds: int, tick: Callable[[], None]) -> FirstPods:
    earlier, together = Rounds(), Rounds()
    spaces, before = [], {}
    for number in range(rounds):
        for contender in (NONE, OURS) if number % 2 else (OURS, NONE):
            space = f"earlier-{number}-{SPACES[contender]}"
            _seen_earlier(arena, contender, space)
            if contender == OURS:
                before[space] = _calls(arena, space)
            earlier.add(contender, _chunk(_pod(arena, contender, space)))
            space = f"together-{number}-{SPACES[contender]}"
            together.add(contender, _chunk(_at_once(arena, contender, space)))
            if contender == OURS:
                spaces.append(space)
            tick()
    time.sleep(LATER)
    calls, earlier_calls = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for space in spaces:
        calls |= _calls(arena, space)
    for space, seen in before.items():
        earlier_calls |= _calls(arena, space) - seen
    return FirstPods(earlier, together, calls, earlier_calls)


def _chunk(seconds: float) -> Chunk:
    return Chunk(seconds * 1000, seconds * 1000, 0.0)


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


def _seen_earlier(arena: Arena, contender: str, space: str) -> None:
    _namespace(arena, contender, space)
    _account(arena, space)
    if contender == OURS:
        until(lambda: arena.cluster.api.get("Secret", "ghcr-secret", space), "the pull secret stands", within=10)
    time.sleep(LATER)


def _at_once(arena: Arena, contender: str, space: str) -> float:
    _namespace(arena, contender, space)
    _account(arena, space)
    return _pod(arena, contender, space)


def _calls(arena: Arena, space: str) -> Calls:
    """GETs of a namespace carry its name as `namespace` too."""
    return Counter((verb, resource) for verb, resource, of in arena.calls() if of == space)
