"""`make test-faults`."""

import argparse
import os
import signal
import sys
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import httpx

from controlplane.api import ApiError
from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.progress import say, step
from faults.arena import Arena, arena
from faults.catalogue import FAULTS
from faults.fault import Fault
from faults.figures import Row, goals, table, write
from faults.soak import soak
from faults.trial import Round, trial

SOAK = 30.0
"""Minutes."""


def main() -> int:
    options = _options()
    if options.list:
        print("\n".join(f"{fault.name:20} {fault.what}" for fault in FAULTS.values()))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = Run(options.net, options.rounds)
    began = time.monotonic()
    try:
        need("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
        run.all([FAULTS[name] for name in options.names] or [*FAULTS.values()])
    except HarnessError as e:
        say(f"faults: {e}")
        return 1
    except KeyboardInterrupt:
        say("faults: interrupted; everything that was started has ended")
        return 130
    finally:
        run.report()
    say(f"took {time.monotonic() - began:.0f} s")
    return 1 if run.failed else 0


class Run:
    def __init__(self, net: bool, rounds: int | None) -> None:
        self._net, self._number = net, rounds
        self.rows: list[Row] = []
        self.broken: list[str] = []

    @property
    def failed(self) -> bool:
        return bool(self.broken) or any(row.missed for row in self.rows)

    def all(self, faults: Sequence[Fault]) -> None:
        """On one control plane after the other: who cannot be measured may have left it in a state of its own."""
        left = deque(faults)
        while left:
            with (
                tempfile.TemporaryDirectory(prefix="pullsecret-faults-", ignore_cleanup_errors=True) as folder,
                arena(Path(folder), net=self._net) as made,
            ):
                while left and self._measured(made, left.popleft()):
                    pass

    def _measured(self, made: Arena, fault: Fault) -> bool:
        found: list[Round] = []
        try:
            for number in range(1, (self._number or fault.rounds) + 1):
                with step(f"{fault.name}, round {number}: {fault.what}", "took") as progress:
                    progress.announce()
                    found.append(trial(made, fault, progress.tick))
        except (HarnessError, ApiError, httpx.TransportError) as e:
            self.broken.append(f"BROKEN  {fault.name}: {type(e).__name__} {e}")
            say(self.broken[-1])
            return False
        row = Row(fault, found, made.net)
        self.rows.append(row)
        say(f"  {goals([row]) or 'all goals reached'}")
        if file := os.environ.get("JSON"):
            write(row, Path(file))
        return True

    def report(self) -> None:
        if self.rows:
            print(table(self.rows))
            print("\n".join([*self.broken, goals(self.rows) or "all goals of these reached"]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description="What faults cost; see tests/faults/README.md.")
    parser.add_argument("names", nargs="*", metavar="FAULT", help="only these; see --list")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each, instead of its own number")
    parser.add_argument(
        "--net",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="with the chart's policy that adds the reference when no replica did",
    )
    parser.add_argument(
        "--soak", type=float, default=SOAK, metavar="MINUTES", help=f"of the last part (default {SOAK})"
    )
    parser.add_argument("--list", action="store_true", help="say which faults there are")
    options = parser.parse_args()
    FAULTS["soak"] = soak(options.soak)
    if unknown := [name for name in options.names if name not in FAULTS]:
        parser.error(f"no such fault: {', '.join(unknown)}; see --list")
    return options


if __name__ == "__main__":
    sys.exit(main())
