"""Half an hour in which nothing is broken: namespaces come and go, owners and tokens change, and nothing may grow."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

from faults.fault import Fault
from faults.news import first_pod
from faults.scene import Scene

LATE = 5.0
"""Seconds after a change within which a namespace must be right."""
_ROOM = 20
"""Namespaces that are there besides the first ones."""
_SAMPLE, _CLEAN = 10.0, 20.0
_GROWTH_MIB, _GROWTH_FILES = 5.0, 5


@dataclass(frozen=True)
class Sample:
    rss: float
    files: int


class Soak:
    def __init__(self, scene: Scene) -> None:
        self._scene, self._tenants = scene, scene.tenants
        self._extra: list[str] = []
        self._samples: list[list[Sample]] = []
        self._late: dict[str, float] = {}

    def run(self, seconds: float) -> None:
        end, sampled, cleaned, turn = time.monotonic() + seconds, 0.0, 0.0, 0
        while (now := time.monotonic()) < end:
            turn += 1
            self._change(turn)
            self._look()
            if now - sampled > _SAMPLE:
                self._samples.append([Sample(one.rss_now(), one.files()) for one in self._scene.replicas])
                sampled = now
            if now - cleaned > _CLEAN:
                self._tenants.pods_away()
                cleaned = now
            time.sleep(max(0.0, now + 0.5 - time.monotonic()))
        self._scene.remarks += self.remarks()

    def _change(self, turn: int) -> None:
        owners = self._tenants.owners
        first_pod(self._tenants, self._scene.load, owners[turn % len(owners)])
        if turn % 2 == 0:
            spaces = self._tenants.spaces
            self._tenants.label(spaces[turn % len(spaces)], owners[(turn // 2) % len(owners)])
        if turn % 3 == 0:
            self._tenants.rotate(owners[(turn // 3) % len(owners)])
        if len(spaces := self._tenants.spaces) > _ROOM + 12:
            self._tenants.remove(spaces[12])

    def _look(self) -> None:
        for space in self._tenants.wrong():
            since = time.monotonic() - self._tenants.changed[space]
            self._late[space] = max(since, self._late.get(space, 0.0))

    def remarks(self) -> list[str]:
        worst = max(self._late.values(), default=0.0)
        found = [f"a namespace was wrong for {worst:.0f} s after a change"] if worst > LATE else []
        for number in range(len(self._scene.replicas)):
            of = [samples[number] for samples in self._samples]
            memory, files = _growth([one.rss for one in of]), _growth([one.files for one in of])
            found += [f"memory grew by {memory:.0f} MiB"] if memory > _GROWTH_MIB else []
            found += [f"{files:.0f} more descriptors"] if files > _GROWTH_FILES else []
        return found


def _growth(values: Sequence[float]) -> float:
    """From the second quarter to the last: the first one is warming up."""
    quarter = max(1, len(values) // 4)
    return statistics.median(values[-quarter:]) - statistics.median(values[quarter : 2 * quarter] or values)


def soak(minutes: float) -> Fault:
    def act(scene: Scene) -> None:
        Soak(scene).run(minutes * 60)

    return Fault("soak", f"{minutes:g} minutes of changes, no fault", act, news=None)
