"""A benchmark that is run from the command line: what each needs, what it tells meanwhile and at its end."""

import os
import signal
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from bench.figures import Figure, Goal, goals, table, write
from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.progress import say, step

T = TypeVar("T")
Tick = Callable[[], None]


class Found(Protocol):
    def figures(self) -> list[Figure]: ...

    def goals(self) -> list[Goal]: ...


def ended(measured: Callable[[Path], Found], *, real: bool = True) -> int:
    """`measured`: what is found, with a folder for files; `real`: on a control plane. How the process ends."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        need(*(("etcd", "kube-apiserver", "kube-controller-manager", "kubectl") if real else ()))
        with tempfile.TemporaryDirectory(prefix="pullsecret-bench-", ignore_cleanup_errors=True) as folder:
            found = measured(Path(folder))
    except HarnessError as e:
        say(f"bench: {e}")
        return 1
    except KeyboardInterrupt:
        say("bench: interrupted; everything that was started has ended")
        return 130
    report(found.figures(), found.goals())
    return 0 if all(goal.reached for goal in found.goals()) else 1


def report(figures: Sequence[Figure], wanted: Sequence[Goal]) -> None:
    print(table(figures))
    print()
    print(goals(wanted))
    if file := os.environ.get("JSON"):
        write(figures, Path(file))
        say(f"written to {file}")


def stepped(what: str, measure: Callable[[Tick], T]) -> T:
    with step(what, "took") as progress:
        progress.announce()
        return measure(progress.tick)
