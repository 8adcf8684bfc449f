"""What a replica's log goes into: a file, or a pipe with a reader that may stop or go."""

import fcntl
import os
import select
import threading
import time
from contextlib import suppress
from pathlib import Path

_SMALL = 4096
"""Bytes that the pipe holds: a few lines, so that a reader that stops is felt."""
_WAIT = 0.05


class Pipe:
    """A thread reads it into a file."""

    def __init__(self, file: Path) -> None:
        self._read, self._write = os.pipe()
        fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _SMALL)
        self._file, self._end = file, threading.Event()
        self._stuck = False
        self._thread = threading.Thread(target=self._run, name="pipe")
        self._thread.start()

    @property
    def path(self) -> Path:
        """For whoever writes into it."""
        return Path(f"/proc/{os.getpid()}/fd/{self._write}")

    def stop(self) -> None:
        """The reader stops, and the pipe is full."""
        self._stuck = True
        time.sleep(2 * _WAIT)
        other = os.open(self.path, os.O_WRONLY | os.O_NONBLOCK)  # ours is the replica's too, which must block
        with suppress(BlockingIOError):
            while True:
                os.write(other, b" ")
        os.close(other)

    def go_on(self) -> None:
        self._stuck = False

    def gone(self) -> None:
        """The reader goes."""
        self._end.set()
        self._thread.join()

    def close(self) -> None:
        self.gone()
        os.close(self._write)

    def _run(self) -> None:
        with self._file.open("ab", buffering=0) as file:
            while not self._end.wait(_WAIT if self._stuck else 0.0):
                if not self._stuck and select.select([self._read], [], [], _WAIT)[0]:
                    file.write(os.read(self._read, 65536))
        os.close(self._read)
