"""A cgroup of the node's own, under which the kubelet puts all pods, and which is removed at the end.

Version 1 is what this was run on. The version 2 branch follows the kernel's documentation and what the kubelet asks of
its root (every controller that the machine has must be there); it has not been run yet."""

import itertools
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from controlplane.errors import HarnessError
from controlplane.waiting import until

_ROOT = Path("/sys/fs/cgroup")
_PREFIX = "pullsecret-node-"
_count = itertools.count()


@contextmanager
def cgroup() -> Iterator[str]:
    """Yields its name; the name holds our process id, so that what a killed run left behind is recognised."""
    _sweep()
    name = f"{_PREFIX}{os.getpid()}-{next(_count)}"
    try:
        if (_ROOT / "cgroup.controllers").exists():
            _make_v2(name)
        else:
            _make_v1(name)
        yield name
    finally:
        until(lambda: _removed(name), f"cgroup {name} removed", within=20, every=0.1)


def _make_v1(name: str) -> None:
    for controller in _ROOT.iterdir():
        if controller.is_dir():
            (controller / name).mkdir(exist_ok=True)
    for setting in ("cpuset.cpus", "cpuset.mems"):  # a new cpuset is empty, and nothing can be put into an empty one
        (_ROOT / "cpuset" / name / setting).write_text((_ROOT / "cpuset" / setting).read_text())


def _make_v2(name: str) -> None:
    available = (_ROOT / "cgroup.controllers").read_text().split()
    try:
        (_ROOT / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in available))
    except OSError as error:
        raise HarnessError(f"cannot hand controllers down from {_ROOT}: {error}; inside a container?") from error
    (_ROOT / name).mkdir(exist_ok=True)


def _removed(name: str) -> bool:
    """Children first; one with a process in it stays, and is tried again."""
    left = [folder for folder in (_ROOT / name, *_ROOT.glob(f"*/{name}")) if folder.is_dir()]
    for folder in left:
        for path, _, _ in os.walk(folder, topdown=False):
            with suppress(OSError):
                Path(path).rmdir()
    return not any(folder.is_dir() for folder in left)


def _sweep() -> None:
    for name in {path.name for pattern in (f"{_PREFIX}*", f"*/{_PREFIX}*") for path in _ROOT.glob(pattern)}:
        if not Path("/proc", name.removeprefix(_PREFIX).partition("-")[0]).exists():
            _removed(name)
