"""Plays kubelet and endpoint controller for one replica: probes it, keeps its endpoint, starts it again."""

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import httpx

from controlplane.api import Api, ApiError, Object
from controlplane.webhook import NAMESPACE
from faults.replica import Replica

SERVICE = "pullsecret-webhook"
PERIOD, FAILURES = 2.0, 2
"""The chart's readiness probe: seconds, and how many failures take the endpoint away."""
STARTING = 0.25
"""Seconds between probes until it was ready once. The chart has 2: half of those would be waiting, in each restart."""
SILENT = 60.0
"""Seconds without an answer after which the chart's liveness probe ends it."""
LAG = 1.0
"""Seconds from a process's death to the end of its endpoint."""
BACK_OFF = (0.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0)
"""Seconds that the kubelet waits with a restart after the first, second ... end that nobody else caused."""
_TICK = 0.05


@dataclass(frozen=True)
class Exit:
    """`killed`: by the harness."""

    status: int
    killed: bool


class Kubelet:
    """`lag` is of the endpoint. `start` starts the replica's process."""

    def __init__(self, replica: Replica, api: Api, start: Callable[[Replica], None], lag: float = LAG) -> None:
        self.replica, self._api, self._start = replica, api, start
        self.lag = lag
        self.exits: list[Exit] = []
        self.is_up = False
        """It runs, has not been stopped, and is ready."""
        self._killed = self._frozen = self._leaving = False
        self._ready = self._was_ready = False
        self._published: bool | None = None
        self._failures = 0
        self._answered = self._probed = time.monotonic()
        self._gone: float | None = None
        self._due = 0.0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"kubelet of {replica.name}")

    # -- what the harness does to it --

    def begin(self) -> None:
        self._start(self.replica)
        self._answered = time.monotonic()
        self._thread.start()

    def kill(self, *, after: float = 0.0) -> None:
        """SIGKILL. It is started again at once, or after so many seconds."""
        self._killed, self.is_up = True, False
        self._due = time.monotonic() + after
        self.replica.signal(signal.SIGKILL)

    def freeze(self) -> None:
        self._frozen, self.is_up = True, False
        self.replica.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.replica.signal(signal.SIGCONT)
        self._frozen = False

    def leave(self) -> None:
        """The pod is deleted: its endpoint goes, SIGTERM, and nothing starts again."""
        self._leaving = True
        self.replica.signal(signal.SIGTERM)

    def left(self) -> bool:
        return self._leaving and not self.replica.running

    def end(self) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        self.replica.stop()

    # -- the thread --

    def _run(self) -> None:
        while not self._end.wait(_TICK):
            now = time.monotonic()
            if self.replica.running:
                self._gone = None
                self._look(now)
            else:
                self._ended(now)
            self.is_up = self._ready and self.replica.running and not self._frozen
            self._publish(now)

    def _ended(self, now: float) -> None:
        if self._gone is None:
            self._gone, self._ready = now, False
            own = not self._killed and not self._leaving
            self.exits.append(Exit(self.replica.status or 0, not own))
            if own:
                ends = sum(not one.killed for one in self.exits)
                self._due = now + BACK_OFF[min(ends, len(BACK_OFF)) - 1]
        if now >= self._due and not self._leaving:
            self._killed = False
            self._start(self.replica)
            self._answered, self._was_ready = now, False

    def _look(self, now: float) -> None:
        if now - self._probed < (PERIOD if self._was_ready else STARTING):
            return
        self._probed = now
        said = self.replica.ready()
        self._answered = self._answered if said is None else now
        self._failures = 0 if said else self._failures + 1
        if self._failures == 0 or self._failures >= FAILURES:
            self._ready = self._failures == 0
        self._was_ready |= self._ready
        if time.monotonic() - self._answered > SILENT and not self._frozen:
            self.replica.signal(signal.SIGKILL)

    def _publish(self, now: float) -> None:
        """Again, while the API server does not take it. An endpoint outlives its process for a moment."""
        lingers = self._gone is not None and bool(self._published) and now - self._gone < self.lag
        wanted = (self._ready or lingers) and not self._leaving
        if wanted != self._published:
            try:
                self._api.apply(endpoints(self.replica, ready=wanted))
                self._published = wanted
            except (ApiError, httpx.TransportError):
                self._end.wait(0.2)


def endpoints(replica: Replica, *, ready: bool) -> Object:
    """A slice for each replica: the ports are different."""
    metadata = {"name": replica.name, "namespace": NAMESPACE, "labels": {"kubernetes.io/service-name": SERVICE}}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": metadata,
        "addressType": "IPv4",
        "endpoints": [{"addresses": [replica.front.host], "conditions": {"ready": ready}}],
        "ports": [{"name": "https", "port": replica.front.port, "protocol": "TCP"}],
    }
