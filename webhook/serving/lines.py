"""Standard error that does not block: a thread writes the lines. Lines that it cannot write in time are dropped and
counted.

A full disk, or a pipe whose reader is gone or does not read, must cost log lines and nothing else. `Lines` replaces
sys.stderr, so that this is also true for Python itself, its warnings and libraries.
"""

import atexit
import io
import os
import select
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from queue import SimpleQueue

MAX_LINE_BYTES = 4096
MAX_WAITING_LINES = 1000
WRITE_BYTES = 65536
"""Bytes in one write. Before each write the thread may wait 5 ms for Python's global lock."""
FLUSH_SECONDS = 0.5
"""Seconds at the end of the process for the lines that still wait."""
CUT = b"... (cut)\n"
_dropped = Counter(waiting=0, failed=0, repeated=0)
"""Lines, because too many waited, because the write failed, and because the same line came too often."""


def dropped() -> int:
    return _dropped.total()


class Seldom:
    """At most a hundred equal lines a minute: every client that connects can cause some of them."""

    MOST, SECONDS = 100, 60.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._counts, self._end = clock, dict[int, int](), 0.0

    def may(self, *what: object) -> bool:
        if (now := self._clock()) >= self._end:
            self._counts, self._end = {}, now + self.SECONDS
        key = hash(what)
        self._counts[key] = count = self._counts.get(key, 0) + 1
        if count > self.MOST:
            _dropped["repeated"] += 1
        return count <= self.MOST


class Lines(io.TextIOBase):
    """`again`: called by the writing thread with the number of dropped lines, as soon as it can write again.

    No lock, because `write` may be called from anywhere, also from the garbage collector during another write.
    """

    def __init__(self, descriptor: int, again: Callable[[int], None]) -> None:
        self._descriptor, self._again = descriptor, again
        self._queue: SimpleQueue[bytes | threading.Event] = SimpleQueue()
        self._part, self._reported, self._torn = "", 0, False
        threading.Thread(target=self._run, name="stderr", daemon=True).start()

    def write(self, text: str) -> int:
        """Queues whole lines. The beginning of a line waits for its end."""
        if not text.endswith("\n"):
            self._part = (self._part + text)[:MAX_LINE_BYTES]
            return len(text)
        line, self._part = self._part + text, ""
        data = line[: MAX_LINE_BYTES + 1].encode(errors="replace")
        if self._queue.qsize() >= MAX_WAITING_LINES:
            _dropped["waiting"] += 1
        else:
            self._queue.put(data if len(data) <= MAX_LINE_BYTES else data[: MAX_LINE_BYTES - len(CUT)] + CUT)
        return len(text)

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def finish(self) -> None:
        """Waits for the queued lines, at most for FLUSH_SECONDS."""
        if self._part:
            self.write("\n")
        done = threading.Event()
        self._queue.put(done)
        done.wait(FLUSH_SECONDS)

    def _run(self) -> None:
        while True:
            batch, done = self._batch()
            written = self._write_all(batch)
            if done is not None:
                done.set()
            lost = _dropped["waiting"] + _dropped["failed"] - self._reported
            if written and lost and self._queue.empty():
                self._reported += lost
                self._again(lost)

    def _batch(self) -> tuple[bytes, threading.Event | None]:
        """The queued lines, up to the first event, which is set when they are written."""
        batch = bytearray()
        while not isinstance(item := self._queue.get(), threading.Event):
            batch += item
            if len(batch) >= WRITE_BYTES or self._queue.empty():  # nobody else takes from it
                return bytes(batch), None
        return bytes(batch), item

    def _write_all(self, batch: bytes) -> bool:
        """False: the write failed. If a line was written only in part, the next one still begins on a new line."""
        left = b"\n" + batch if self._torn else batch
        while left:
            try:
                count = os.write(self._descriptor, left)
            except BlockingIOError:  # a process that shares the pipe made it non-blocking
                select.select([], [self._descriptor], [])
            except OSError:
                _dropped["failed"] += left.count(b"\n")
                return False
            else:
                self._torn = left[count - 1] != ord("\n")
                left = left[count:]
        return True


def take_over(again: Callable[[int], None]) -> bool:
    """From now on a thread writes to standard error. False: it has no file descriptor, as in a test."""
    try:
        descriptor = sys.stderr.fileno()
    except io.UnsupportedOperation:
        return False
    sys.stderr = lines = Lines(descriptor, again)
    atexit.register(lines.finish)
    return True
