"""What a replica's log goes into: a file, or a pipe with a reader that may stop or go."""

import os
import select
import threading
from pathlib import Path

_SMALL = 4096
"""Bytes that the pipe holds: a few lines, so that a reader that stops is felt."""


class Pipe:
    """A thread reads it into a file."""

    def __init__(self, file: Path) -> None:
        self._read, self._write = os.pipe()
        os.set_inheritable(self._write, False)
        _shrink(self._write)
        self._file, self._end = file, threading.Event()
        self.stuck = False
        self._thread = threading.Thread(target=self._run, name="pipe")
        self._thread.start()

    @property
    def path(self) -> Path:
        """For whoever writes into it."""
        return Path(f"/proc/{os.getpid()}/fd/{self._write}")

    def gone(self) -> None:
        """The reader goes."""
        self._end.set()
        self._thread.join()

    def close(self) -> None:
        self.gone()
        os.close(self._write)

    def _run(self) -> None:
        with self._file.open("ab", buffering=0) as file:
            while not self._end.wait(0.05 if self.stuck else 0.0):
                if not self.stuck and select.select([self._read], [], [], 0.1)[0]:
                    file.write(os.read(self._read, 65536))
        os.close(self._read)


def _shrink(pipe: int) -> None:
    import fcntl

    fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _SMALL)
