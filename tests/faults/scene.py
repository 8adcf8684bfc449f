"""What one fault has for itself: replicas, tenants and load."""

import random
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from controlplane.errors import HarnessError
from controlplane.process import last_lines
from controlplane.waiting import until
from faults.arena import Arena
from faults.kubelet import Kubelet
from faults.load import Load
from faults.news import News
from faults.proxy import Proxy
from faults.replica import Replica, Spec
from faults.sources import Source
from faults.tenants import Tenants

RATE = 12.0
"""Pods a second."""
_TICK = 0.02


@dataclass
class Downs:
    """When no replica was up, as monotonic times; the last one may be open."""

    spans: list[tuple[float, float]] = field(default_factory=list)
    since: float | None = None

    def note(self, now: float, *, up: bool) -> None:
        if up and self.since is not None:
            self.spans.append((self.since, now))
            self.since = None
        elif not up and self.since is None:
            self.since = now

    def meet(self, began: float, ended: float) -> bool:
        spans = [*self.spans, *([(self.since, float("inf"))] if self.since is not None else [])]
        return any(down < ended and began < up for down, up in spans)


class Scene:
    """What one fault has for itself."""

    def __init__(self, arena: Arena, kubelets: list[Kubelet], spec: Spec, source: Source) -> None:
        self.arena, self.kubelets, self.source = arena, kubelets, source
        self.tenants = Tenants(arena.api, source.give)
        self.anew(RATE)
        self._spec, self._stack, self._end = spec, ExitStack(), threading.Event()

    def anew(self, rate: float) -> None:
        """Nothing has been seen yet. `rate`: pods a second."""
        self.load = Load(self.arena.creator, self.tenants, rate, random.Random(1))
        self.news = News(self.tenants, self.load)
        self.downs = Downs()
        self.remarks: list[str] = []
        for kubelet in self.kubelets:
            kubelet.exits.clear()

    def settle(self) -> None:
        """All is as before any fault."""
        _until_up(self.kubelets)
        until(lambda: not self.tenants.wrong(), "all is right before the fault", within=30)

    @property
    def apis(self) -> list[Proxy]:
        """Before the API server, one for each replica."""
        return [kubelet.replica.api for kubelet in self.kubelets]

    @property
    def fronts(self) -> list[Proxy]:
        return [kubelet.replica.front for kubelet in self.kubelets]

    @property
    def replicas(self) -> list[Replica]:
        return [kubelet.replica for kubelet in self.kubelets]

    def add(self) -> Kubelet:
        """A further replica; ready when returned."""
        self.arena.admit()
        kubelet = self._stack.enter_context(self.arena.replica(self._spec))
        kubelet.begin()
        self.kubelets = [*self.kubelets, kubelet]
        _until_up([kubelet])
        return kubelet

    def replace(self, old: Kubelet) -> None:
        """As a Deployment does it: the new one is ready before the old one is told to go."""
        self.add()
        old.leave()
        until(old.left, f"{old.replica.name} has gone", within=30)
        self.kubelets = [one for one in self.kubelets if one is not old]

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Meanwhile it is noted when no replica is up."""
        watcher = threading.Thread(target=self._note, name="downs")
        watcher.start()
        try:
            yield
        finally:
            self._end.set()
            watcher.join()
            self._stack.close()

    def note(self) -> None:
        self.downs.note(time.monotonic(), up=any(kubelet.is_up for kubelet in (*self.kubelets,)))

    def _note(self) -> None:
        while not self._end.wait(_TICK):
            self.note()


@contextmanager
def scene(arena: Arena, *, replicas: int, spec: Spec, source: str) -> Iterator[Scene]:
    """Replicas that are ready and called, and tenants for whom all is right."""
    found = arena.sources.use(source)
    whole = Spec({**spec.settings, **found.settings}, spec.before + found.before, spec.piped, spec.memory_mib)
    arena.admit()
    with ExitStack() as stack:
        kubelets = [stack.enter_context(arena.replica(whole)) for _ in range(replicas)]
        for kubelet in kubelets:
            kubelet.begin()
        made = Scene(arena, kubelets, whole, found)
        _until_up(kubelets)
        made.tenants.populate()
        try:
            made.settle()
            _called(made)
            stack.enter_context(made.noted())
            yield made
        finally:
            made.tenants.away()


def _until_up(kubelets: list[Kubelet]) -> None:
    """Says the end of a log if one of them is not ready in time."""
    try:
        until(lambda: all(kubelet.is_up for kubelet in kubelets), "the replicas are ready", within=60)
    except HarnessError as e:
        logs = [last_lines(kubelet.replica.log, 8) for kubelet in kubelets if not kubelet.is_up]
        raise HarnessError("\n".join([str(e), *logs])) from None


def _called(made: Scene) -> None:
    """The API server calls the replicas, not the net."""
    spaces = made.tenants.spaces

    def all_right() -> bool:
        found = [made.load.one(space, alone=True) for space in spaces[:4]]
        return all(pod is not None and pod.right for pod in found)

    until(all_right, "the replicas are called", within=30)
