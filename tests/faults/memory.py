"""A limit of memory for one process, as a container has it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.cgroups import cgroup

_ROOT = Path("/sys/fs/cgroup")


@contextmanager
def limit(mib: int) -> Iterator[Path]:
    """Yields the folder in whose `cgroup.procs` a process is put."""
    with cgroup() as name:
        if (_ROOT / "cgroup.controllers").exists():
            folder, file = _ROOT / name, "memory.max"
        else:
            folder, file = _ROOT / "memory" / name, "memory.limit_in_bytes"
        (folder / file).write_text(str(mib * 1024 * 1024))
        yield folder
