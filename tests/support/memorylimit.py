"""A memory cgroup, in which a process is killed that needs more, as in a pod. Needs root."""

import itertools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_count = itertools.count()


@contextmanager
def memory_limit(size: int) -> Iterator[Path]:
    """Yields the file to write a process id to."""
    name = f"pullsecret-memory-{os.getpid()}-{next(_count)}"
    if (_ROOT / "cgroup.controllers").exists():
        with suppress(OSError):  # it is handed down already, or making the folder's limit fails with a better message
            (_ROOT / "cgroup.subtree_control").write_text("+memory")
        folder, limit = _ROOT / name, "memory.max"
    else:
        folder, limit = _ROOT / "memory" / name, "memory.limit_in_bytes"
    folder.mkdir()
    try:
        (folder / limit).write_text(str(size))
        yield folder / "cgroup.procs"
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """A process that was killed leaves a moment later."""
    deadline = time.monotonic() + 10
    while folder.is_dir() and time.monotonic() < deadline:
        with suppress(OSError):
            folder.rmdir()
        time.sleep(0.05)
