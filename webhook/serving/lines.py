"""Standard error that nobody waits for: a thread writes, and what is not taken in time is dropped and counted.

A full disk, a pipe whose reader is gone or has stopped reading must cost log lines and nothing else. So `Lines` takes
the place of sys.stderr; then what Python itself, its warnings and libraries write goes that way too.
"""

import atexit
import io
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from queue import Empty, SimpleQueue

MAX_LINE_BYTES = 4096
"""Bytes of a line."""
MAX_WAITING_LINES = 1000
"""Lines."""
WRITE_BYTES = 65536
"""Bytes that are written in one go: for each the thread needs the interpreter's lock, and may wait 5 ms for it."""
FLUSH_SECONDS = 0.5
"""Seconds at the end of the process for what still waits."""
CUT = b"... (cut)\n"


@dataclass(slots=True)
class _Dropped:
    """Because too many waited, because they could not be written, and because the same was said too often."""

    waiting: int = 0
    failed: int = 0
    repeated: int = 0

    @property
    def lost(self) -> int:
        return self.waiting + self.failed


_dropped = _Dropped()


def dropped() -> int:
    return _dropped.lost + _dropped.repeated


class Seldom:
    """No more than a hundred lines a minute that say the same: anybody who connects can make us say some."""

    MOST, SECONDS = 100, 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._counts, self._end = clock, dict[int, int](), 0.0

    def may(self, *what: object) -> bool:
        if (now := self._clock()) >= self._end:
            self._counts, self._end = {}, now + self.SECONDS
        key = hash(what)
        self._counts[key] = count = self._counts.get(key, 0) + 1
        if count > self.MOST:
            _dropped.repeated += 1
        return count <= self.MOST


class Lines(io.TextIOBase):
    """`again`: called on the writing thread when lines are taken again, with how many were dropped meanwhile.

    No lock: what is written may come from anywhere, also from the garbage collector in the midst of another write.
    """

    def __init__(self, descriptor: int, again: Callable[[int], None]) -> None:
        self._descriptor, self._again = descriptor, again
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._part, self._told, self._torn = "", _dropped.lost, False
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    def write(self, text: str) -> int:
        """Whole lines are queued; the beginning of one waits for its end."""
        if not text.endswith("\n"):
            self._part = (self._part + text)[:MAX_LINE_BYTES]
            return len(text)
        line, self._part = self._part + text, ""
        data = line[: MAX_LINE_BYTES + 1].encode(errors="replace")
        if self._queue.qsize() >= MAX_WAITING_LINES:
            _dropped.waiting += 1
        else:
            self._queue.put(data if len(data) <= MAX_LINE_BYTES else data[: MAX_LINE_BYTES - len(CUT)] + CUT)
        return len(text)

    def flush(self) -> None:
        """Nobody waits."""

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def finish(self) -> None:
        """Waits for what is queued, but not for long."""
        if self._part:
            self.write("\n")
        done = threading.Event()
        self._queue.put(done)
        done.wait(FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            batch, done = self._batch()
            taken = self._take(batch)
            if done is not None:
                done.set()
            if taken and self._queue.empty() and (lost := _dropped.lost - self._told):
                self._told += lost
                self._again(lost)

    def _batch(self) -> tuple[bytes, threading.Event | None]:
        """What waits, until somebody wants to know that it is written."""
        batch = bytearray()
        item = self._queue.get()
        try:
            while not isinstance(item, threading.Event):
                batch += item
                if len(batch) >= WRITE_BYTES:
                    return bytes(batch), None
                item = self._queue.get_nowait()
        except Empty:
            return bytes(batch), None
        return bytes(batch), item

    def _take(self, batch: bytes) -> bool:
        """After a line of which only a part was written, the next one begins a new one."""
        left = b"\n" + batch if self._torn else batch
        try:
            while left:
                count = self._write(left)
                self._torn = left[count - 1] != ord("\n") if count else self._torn
                left = left[count:]
        except OSError:
            _dropped.failed += left.count(b"\n")
            return False
        return True

    def _write(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # somebody who shares it wants it so
            poll = select.poll()
            poll.register(self._descriptor, select.POLLOUT)
            poll.poll()
            return 0


def take_over(again: Callable[[int], None]) -> bool:
    """What is written to standard error from here on is written by a thread. False: it is no file, but a test's."""
    try:
        descriptor = sys.stderr.fileno()
    except io.UnsupportedOperation:
        return False
    sys.stderr = lines = Lines(descriptor, again)
    atexit.register(lines.finish)
    return True
