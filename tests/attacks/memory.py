"""A cgroup that bounds memory, as the chart's limit does: who takes more is killed by the kernel.

Both versions of cgroups; version 1 is what this was run on."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from controlplane.errors import HarnessError
from controlplane.waiting import until

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "pullsecret-attacked-"
_count = itertools.count()


@dataclass(frozen=True)
class Bounded:
    folder: Path

    @property
    def enter(self) -> tuple[str, ...]:
        """Before a command: it, and what it starts, is held to the limit."""
        return ("sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.folder / "cgroup.procs"))

    @property
    def killed(self) -> int:
        """How often the kernel had to kill."""
        for name in ("memory.events", "memory.oom_control"):
            if (file := self.folder / name).exists():
                counts = dict(line.split() for line in file.read_text().splitlines())
                return int(counts.get("oom_kill", 0))
        return 0


@contextmanager
def bounded(limit: int) -> Iterator[Bounded]:
    """`limit`: bytes. The name holds our process id: what a killed run left behind is recognised and removed."""
    root = _ROOT if (_ROOT / "cgroup.controllers").exists() else _ROOT / "memory"
    _sweep(root)
    folder = root / f"{_PREFIX}{os.getpid()}-{next(_count)}"
    try:
        folder.mkdir()
    except PermissionError:
        raise HarnessError("to bound memory takes root") from None
    try:
        if root == _ROOT:
            (folder / "memory.max").write_text(str(limit))
            _no_swap(folder / "memory.swap.max", 0)
        else:
            (folder / "memory.limit_in_bytes").write_text(str(limit))
            _no_swap(folder / "memory.memsw.limit_in_bytes", limit)
        yield Bounded(folder)
    finally:
        until(lambda: _removed(folder), f"cgroup {folder.name} removed", within=20, every=0.1)


def _no_swap(setting: Path, limit: int) -> None:
    """A kernel that does not count swap has no such file."""
    if setting.exists():
        setting.write_text(str(limit))


def _removed(folder: Path) -> bool:
    with suppress(OSError):
        folder.rmdir()
    return not folder.is_dir()


def _sweep(root: Path) -> None:
    for folder in root.glob(f"{_PREFIX}*"):
        if not Path("/proc", folder.name.removeprefix(_PREFIX).partition("-")[0]).exists():
            _removed(folder)
