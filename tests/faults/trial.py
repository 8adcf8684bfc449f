"""One round of a fault, and what was seen of it."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from controlplane.errors import HarnessError
from faults.arena import Arena
from faults.fault import Fault
from faults.scene import Scene, scene
from support import planted

CALM = 3.0
"""Seconds without a lost pod and with all right, after which a round is over."""
PATIENCE = 90.0
"""Seconds after the fault's end at which a round is over though not all is right."""
_BEFORE = 0.5
"""Seconds of load before the fault."""
_EVERY = 0.1
_TOLD = 20


@dataclass(frozen=True)
class Round:
    """`right`: seconds from the fault's end. `wrong`: namespaces and what is wrong in each, when it was over.

    `losses`: of the first lost pods, seconds since the beginning and since its namespace changed. `answers`: what the
    replicas that are left have said, by result. `remarks`: goals of the fault's own that were missed.
    """

    pods: int
    refused: int
    stray: int
    lost_up: int
    lost: int
    right: float
    wrong: dict[str, str]
    restarts: int
    rss: float
    lines: float
    slowest: float
    leaks: bool
    losses: tuple[tuple[float, float], ...] = ()
    answers: dict[str, int] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()


def trial(arena: Arena, fault: Fault, tick: Callable[[], None]) -> Round:
    """On replicas and tenants of its own."""
    with scene(arena, replicas=fault.replicas, spec=fault.spec(), source=fault.source) as made:
        return measured(made, fault, tick)


def measured(
    made: Scene, fault: Fault, tick: Callable[[], None], calm: float = CALM, patience: float = PATIENCE
) -> Round:
    made.anew(fault.rate)
    began, lines = time.monotonic(), _lines(made)
    with made.load.running():
        time.sleep(_BEFORE)
        end = _faulty(made, fault)
        right = _righted(made, end, tick, calm, patience)
    minutes = (time.monotonic() - began) / 60
    return _round(made, began, right, (_lines(made) - lines) / len(made.replicas) / minutes)


def _lines(made: Scene) -> int:
    return sum(replica.lines() for replica in made.replicas)


def _faulty(made: Scene, fault: Fault) -> float:
    """The time at which the fault ended and nothing new came any more."""
    failed: list[BaseException] = []

    def news() -> None:
        try:
            if fault.news is not None:
                made.news.all(fault.news)
        except BaseException as e:  # noqa: BLE001  # raised in the other thread
            failed.append(e)

    thread = threading.Thread(target=news, name="news")
    thread.start()
    try:
        fault.act(made)
    finally:
        thread.join()
    if failed:
        raise HarnessError(f"the news: {failed[0]}") from failed[0]
    return time.monotonic()


def _righted(made: Scene, end: float, tick: Callable[[], None], calm: float, patience: float) -> float:
    """Seconds from the end until all was right and stayed so."""
    last = end
    while (now := time.monotonic()) - last < calm and now - end < patience:
        tick()
        wrong = made.tenants.wrong()
        last = max(last, now if wrong else last, *(pod.ended for pod in made.load.lost))
        time.sleep(_EVERY)
    return last - end


def _round(made: Scene, began: float, right: float, lines: float) -> Round:
    pods, lost = made.load.pods, made.load.lost
    exits = [one for kubelet in made.kubelets for one in kubelet.exits]
    logs = "".join(replica.log.read_text(errors="replace") for replica in made.replicas if replica.log.exists())
    return Round(
        pods=sum(pod.owned for pod in pods),
        refused=sum(pod.refused for pod in pods),
        stray=sum(not pod.owned and not pod.right for pod in pods),
        lost_up=len(lost) if made.arena.net else sum(not made.downs.meet(pod.began, pod.ended) for pod in lost),
        lost=len(lost),
        right=right,
        wrong=made.tenants.wrong(),
        restarts=sum(not one.killed for one in exits),
        rss=max(replica.rss() for replica in made.replicas),
        lines=lines,
        slowest=max((pod.ended - pod.began for pod in pods), default=0.0),
        leaks=bool(planted.leaks(logs)),
        losses=tuple((pod.began - began, pod.began - made.tenants.changed[pod.space]) for pod in lost[:_TOLD]),
        answers=dict(sum((replica.answers() for replica in made.replicas), Counter())),
        remarks=tuple(made.remarks),
    )
