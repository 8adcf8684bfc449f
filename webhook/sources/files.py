"""A value made from files, such as a connection string or a TLS context; made again when a file changes."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def made(paths: Sequence[str | None], make: Callable[[], T]) -> Callable[[], T]:
    """Checks the files at each call, and calls `make` if one has changed. Passes on the errors of `make`, and the next
    call tries again. A path may be None: no file.
    """
    newest = functools.lru_cache(maxsize=1)(lambda _states: make())
    # The states are from before `make` reads, so that the next call sees a change in between.
    return lambda: newest(tuple(_state(path) for path in paths if path is not None))


def _state(path: str) -> object:
    """Differs after any change of the file, also when a symlink in its path points elsewhere."""
    try:
        found = Path(path).stat()
    except OSError as e:
        return e.errno
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
