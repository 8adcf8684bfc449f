"""What is made of files, such as a connection string or a TLS context: made anew when one is not what it was."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")


class Made(Generic[T]):
    """`made()` looks at the files' state each time, and calls `make` if it is another one. What `make` raises, it
    raises, and tries again the next time. A path may be None: there is no such file.
    """

    def __init__(self, paths: Sequence[str | None], make: Callable[[], T]) -> None:
        self._paths, self._make = paths, make
        self._last: tuple[object, T] | None = None

    def __call__(self) -> T:
        seen = tuple(map(_state, self._paths))  # before reading: a change in between is seen the next time
        if self._last is None or self._last[0] != seen:
            self._last = None
            self._last = seen, self._make()
        return self._last[1]


def _state(path: str | None) -> object:
    """What changes when a file does, also when only a symlink on the way to it is put elsewhere."""
    if path is None:
        return None
    try:
        found = Path(path).stat()
    except OSError as e:
        return e.errno
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size
