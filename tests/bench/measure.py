"""Load from the client in go/cmd/load, and what processes cost, as the kernel counts it."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Chunk
from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.pki import Pair

ASKING = 2
"""Real-time priority of who asks at fixed times: its own lateness must not count."""


@dataclass(frozen=True)
class Target:
    """`part`: text that every answer must hold, beside its `status`: who answers without a patch is not measured."""

    url: str
    body: Path
    ca: Path
    pair: Pair | None = None
    status: int = 200
    part: str = '"patch"'


def load(
    target: Target,
    connections: int,
    seconds: float,
    *,
    pid: int | None = None,
    core: int | None = None,
    count: int | None = None,
) -> Chunk:
    """One chunk. `pid`: the process whose CPU time counts; `core`: where the client runs."""
    command = ["taskset", "-c", str(core)] if core is not None else []
    command += [*_load(target, connections), "-seconds", str(seconds)]
    command += ["-count", str(count)] if count is not None else []
    before = cpu_seconds(pid) if pid is not None else 0.0
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise HarnessError(f"the load client failed: {done.stderr.strip()}")
    seen = _summary(done.stdout)
    asked = seen["requests"] + connections  # each asks once more, uncounted, at its start
    used = (cpu_seconds(pid) - before) / asked * 1e6 if pid is not None else None
    return Chunk(seen["p50_us"] / 1000, seen["p99_us"] / 1000, seen["requests"] / seen["seconds"], used)


@dataclass
class Steady:
    """`seen` is there when it has ended. Nothing is known of CPU time here."""

    seen: Chunk | None = None

    @property
    def chunk(self) -> Chunk:
        assert self.seen is not None
        return self.seen


@contextmanager
def steadily(target: Target, connections: int, every: float) -> Iterator[Steady]:
    """While it lasts each connection asks once in so many seconds. An answer's time counts from when it was due."""
    command = ["chrt", "--fifo", str(ASKING), *_load(target, connections), "-seconds", "3600", "-every", f"{every}s"]
    found, taken, began = Steady(), stolen_seconds(), time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield found
        child.send_signal(signal.SIGINT)
        said, _ = child.communicate(timeout=60)
    finally:
        child.kill()
        child.wait()
    if child.returncode:
        raise HarnessError("the load client failed")
    seen = _summary(said)
    stolen = (stolen_seconds() - taken) / (time.monotonic() - began) / (os.cpu_count() or 1) * 100
    rate = seen["requests"] / seen["seconds"]
    found.seen = Chunk(seen["p50_us"] / 1000, seen["p99_us"] / 1000, rate, stolen_percent=stolen)


def _load(target: Target, connections: int) -> list[str]:
    command = [str(need("bench-load")["bench-load"]), "-connections", str(connections), "-status", str(target.status)]
    command += ["-url", target.url, "-body", str(target.body), "-ca", str(target.ca), "-part", target.part]
    return command + (["-cert", str(target.pair.certificate), "-key", str(target.pair.key)] if target.pair else [])


def _summary(said: str) -> dict[str, float]:
    seen: dict[str, float] = json.loads(said)
    if seen["errors"]:
        raise HarnessError(
            f"of {seen['requests']} answers {seen['errors']} were wrong, or had no patch: {seen['status_counts']}"
        )
    return seen


def cpu_seconds(pid: int) -> float:
    """Of all threads, to the nanosecond. A thread that ends takes its time with it; the measured ones start few."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def stolen_seconds() -> float:
    """Of all cores, since the machine started: what the host gave to others while something here would run."""
    ticks = Path("/proc/stat").read_text().split("\n", 1)[0].split()
    return int(ticks[8]) / os.sysconf("SC_CLK_TCK")


def rss_mib(pid: int) -> float:
    return _memory(pid, "VmRSS:")


def peak_mib(pid: int) -> float:
    """The most that it ever had."""
    return _memory(pid, "VmHWM:")


def _memory(pid: int, what: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise HarnessError(f"process {pid} has ended")
