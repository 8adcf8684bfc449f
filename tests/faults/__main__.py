"""`make test-faults`."""

import argparse
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from controlplane.binaries import need
from controlplane.errors import HarnessError
from controlplane.progress import say, step
from faults.arena import Arena, arena
from faults.catalogue import FAULTS
from faults.fault import Fault
from faults.figures import Row, goals, table, write
from faults.trial import trial


def main() -> int:
    options = _options()
    if options.list:
        print("\n".join(f"{fault.name:20} {fault.what}" for fault in FAULTS.values()))
        return 0
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows: list[Row] = []
    began = time.monotonic()
    try:
        need("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
        with (
            tempfile.TemporaryDirectory(prefix="pullsecret-faults-", ignore_cleanup_errors=True) as folder,
            arena(Path(folder), net=options.net) as made,
        ):
            rows.extend(_row(made, FAULTS[name], options.rounds) for name in options.names or FAULTS)
    except HarnessError as e:
        say(f"faults: {e}")
        return 1
    except KeyboardInterrupt:
        say("faults: interrupted; everything that was started has ended")
        return 130
    finally:
        _report(rows)
    say(f"took {time.monotonic() - began:.0f} s")
    return 1 if any(row.missed for row in rows) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="faults", description="What faults cost; see tests/faults/README.md.")
    parser.add_argument("names", nargs="*", metavar="FAULT", help="only these; see --list")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each, instead of its own number")
    parser.add_argument(
        "--net",
        action=argparse.BooleanOptionalAction,
        help="with the chart's policy that adds the reference when no replica did (default: if the chart has one)",
    )
    parser.add_argument("--list", action="store_true", help="say which faults there are")
    options = parser.parse_args()
    if unknown := [name for name in options.names if name not in FAULTS]:
        parser.error(f"no such fault: {', '.join(unknown)}; see --list")
    return options


def _row(made: Arena, fault: Fault, rounds: int | None) -> Row:
    found = []
    for number in range(1, (rounds or fault.rounds) + 1):
        with step(f"{fault.name}, round {number}: {fault.what}", "took") as progress:
            progress.announce()
            found.append(trial(made, fault, progress.tick))
    row = Row(fault, found, made.net)
    say(f"  {goals([row]) or 'all goals reached'}")
    if file := os.environ.get("JSON"):
        write(row, Path(file))
    return row


def _report(rows: list[Row]) -> None:
    if rows:
        print(table(rows))
        print(goals(rows) or "all goals reached")


if __name__ == "__main__":
    sys.exit(main())
