"""A value made from files, such as a connection string or a TLS context; made again when a file changes."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class Made(Generic[T]):
    """`made()` checks the files at each call, and calls `make` if one has changed. It passes on the errors of `make`,
    and the next call tries again. A path may be None: no file.
    """

    def __init__(self, paths: Sequence[str | None], make: Callable[[], T]) -> None:
        self._paths, self._make = paths, make
        self._last: tuple[object, T] | None = None

    def __call__(self) -> T:
        seen = tuple(map(_state, self._paths))  # before reading, so that the next call sees a change in between
        if self._last is None or self._last[0] != seen:
            self._last = None
            self._last = seen, self._make()
        return self._last[1]


def _state(path: str | None) -> object:
    """Differs after any change of the file, also when a symlink in its path points elsewhere."""
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except OSError as e:
        return e.errno
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
