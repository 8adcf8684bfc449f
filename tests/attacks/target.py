"""The replica that is attacked: in a memory cgroup as large as the chart's limit, its memory watched."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from attacks.memory import Bounded, bounded
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.webhook import Webhook

MIB = 1024 * 1024
LIMIT = 256 * MIB
"""Bytes: `resources.limits.memory` of the chart."""
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")


@dataclass(frozen=True)
class Target:
    replica: Webhook
    box: Bounded

    @property
    def lives(self) -> bool:
        return self.replica.child.running and self.replica.readiness() == "ok"

    @property
    def fate(self) -> str:
        """One word for a table."""
        if self.replica.child.running:
            return "lives" if self.lives else "hangs"
        return "killed" if self.box.killed else f"status {self.replica.child.status}"

    def forget_peak(self) -> None:
        (self._proc / "clear_refs").write_text("5")

    def peak(self) -> float:
        """MiB of memory that were resident at the same time since `forget_peak`; 0 when the process is gone."""
        try:
            found = _PEAK.search((self._proc / "status").read_text())
        except OSError:
            return 0.0
        return int(found[1]) / 1024 if found else 0.0

    @property
    def _proc(self) -> Path:
        return Path("/proc") / str(self.replica.child.pid)


@contextmanager
def target(
    cluster: ControlPlane, name: str, *, port: int | None = None, settings: Object | None = None
) -> Iterator[Target]:
    """Ready when yielded."""
    with (
        bounded(LIMIT) as box,
        deployed.running(cluster, port=port, name=name, settings=settings, enter=box.enter, verbose=False) as replica,
    ):
        yield Target(replica, box)
