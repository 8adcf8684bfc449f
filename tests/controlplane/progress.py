"""Short status lines on standard error: what is being waited for and how long it took.

On a terminal a line is renewed in place; in a log a long step says at its start what it does and then reports
every half minute, so that a build of minutes does not look like a hang."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_QUIET = 30.0
_CLEAR = "\r\033[K"
_GREEN, _RED, _DIM, _PLAIN = "\033[32m", "\033[31m", "\033[2m", "\033[0m"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Step:
    def __init__(self, what: str) -> None:
        self._what = what
        self._began = self._said = time.monotonic()
        self._live = sys.stderr.isatty()

    def announce(self) -> None:
        """Says what begins here, where nothing is renewed in place."""
        if not self._live:
            say(f"{self._what} ...")

    def tick(self) -> None:
        """To be called about every second while the step lasts."""
        now = time.monotonic()
        if self._live:
            self._write(f"{_CLEAR}{self._what} ... {_DIM}{duration(now - self._began)}{_PLAIN}")
        elif now - self._said >= _QUIET:
            self._said = now
            say(f"{self._what} ... {duration(now - self._began)}")

    def end(self, result: str, colour: str) -> None:
        text = f"{result} {duration(time.monotonic() - self._began)}"
        if self._live:
            self._write(f"{_CLEAR}{self._what} ... {colour}{text}{_PLAIN}\n")
        else:
            say(f"{self._what} ... {text}")

    @staticmethod
    def _write(text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


@contextmanager
def step(what: str, done: str = "ready in") -> Iterator[Step]:
    current = Step(what)
    current.tick()
    try:
        yield current
    except BaseException:
        current.end("failed after", _RED)
        raise
    current.end(done, _GREEN)


def duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
