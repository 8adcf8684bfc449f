"""Child processes that never outlive us.

Each child gets a log file, a session of its own (a Ctrl-C in the terminal reaches only us, and we stop the
children in the right order), and SIGKILL from the kernel should we die without stopping it."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from controlplane.errors import HarnessError
from controlplane.waiting import NotInTimeError, until

T = TypeVar("T")
Command = Sequence[str | Path]

# The kernel sends the death signal when the *thread* that forked ends, not the process: every child is forked by
# this one thread, which lives as long as the interpreter.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")

# Were we killed before setpriv has asked for the signal, it would never come: then the child sees another parent.
_UNLESS_ORPHANED = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'


class Child:
    """A running process; as a context manager it is stopped at the end."""

    def __init__(
        self,
        name: str,
        command: Command,
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = name
        self.log = log
        self._stop_signal = stop_signal
        self._command, self._env = [str(word) for word in command], env
        self.again()

    def again(self) -> None:
        """Starts it anew after its end, with the same command and log."""
        self._process = _spawner.submit(_spawn, self._command, self.log, self._env).result()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self.status is None

    @property
    def status(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def check(self) -> None:
        """Raises, with the end of the log, if the process is gone."""
        if not self.running:
            raise HarnessError(f"{self.name} ended with status {self.status}\n{self.tail()}")

    def until(self, predicate: Callable[[], T | None], what: str, *, within: float) -> T:
        """As `waiting.until`, but the child's death ends the wait, and either error shows the end of its log."""

        def asked() -> T | None:
            self.check()
            return predicate()

        try:
            return until(asked, what, within=within)
        except NotInTimeError as error:
            raise HarnessError(f"{error}\n{self.tail()}") from None

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def stop(self, within: float = 15.0) -> None:
        if not self.running:
            return
        self._process.send_signal(self._stop_signal)
        self.wait(within)

    def wait(self, within: float) -> None:
        """For its end; by SIGKILL if it takes longer."""
        try:
            self._process.wait(within)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def tail(self, lines: int = 12) -> str:
        return f"the end of {self.log}:\n{last_lines(self.log, lines)}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()


def last_lines(file: Path, count: int) -> str:
    text = file.read_text(errors="replace") if file.exists() else ""
    return "\n".join(f"  {line[:400]}" for line in text.splitlines()[-count:]) or "  (empty)"


def _spawn(command: list[str], log: Path, env: Mapping[str, str] | None) -> subprocess.Popen[bytes]:
    # setpriv and not a preexec_fn: no Python runs between fork and exec, which is unsafe beside other threads.
    if shutil.which("setpriv") is None:
        raise HarnessError("setpriv is missing: install util-linux")
    bound = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", _UNLESS_ORPHANED, "sh", str(os.getpid())]
    with log.open("ab") as output:
        return subprocess.Popen(
            [*bound, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(env or {}),
            start_new_session=True,
        )
