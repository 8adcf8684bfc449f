"""The folder of built and unpacked programs, shared by all checkouts of one user."""

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from controlplane.progress import say


def cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "pullsecret-webhook"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def alone() -> Iterator[None]:
    """One run at a time fills the cache; the others wait for what it makes."""
    with (cache() / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run that is building programs ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def draft() -> Iterator[Path]:
    """A folder beside the final ones: what is complete is renamed out of it, the rest goes with it."""
    with tempfile.TemporaryDirectory(dir=cache(), prefix=".draft-") as folder:
        yield Path(folder)
