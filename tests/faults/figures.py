"""What was seen of each fault, as a table, and which goals were missed."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from faults.fault import Fault
from faults.trial import Round

HEAD = ("fault", "rounds", "pods", "refused", "lost (up)", "right after", "wrong", "restarts", "MiB", "lines/min", "")

MIB = 200
"""Of memory, which a replica may have at most: the chart's limit is 256."""


@dataclass(frozen=True)
class Row:
    fault: Fault
    rounds: Sequence[Round]
    net: bool

    @property
    def missed(self) -> list[str]:
        """The goals that were not reached, in words."""
        refused, stray, restarts = (self.sum(name) for name in ("refused", "stray", "restarts"))
        found = [f"{refused} pods refused"] if refused else []
        found += [f"{stray} references where nobody owns the namespace"] if stray else []
        if (lost := self.sum("lost_up")) and (self.net or not self.fault.uncaught):
            found.append(f"{lost} pods without reference")
        wrong = {space: how for one in self.rounds for space, how in one.wrong.items()}
        if wrong:
            found.append("wrong at the end: " + ", ".join(sorted(set(wrong.values()))) + f" in {len(wrong)} namespaces")
        if (worst := max(one.right for one in self.rounds)) > self.fault.right:
            found.append(f"right after {worst:.1f} s (goal {self.fault.right:g} s)")
        if (most := max(one.rss for one in self.rounds)) > MIB:
            found.append(f"a replica had {most:.0f} MiB of memory (goal {MIB} MiB)")
        found += [f"{restarts} ends that nobody outside caused"] if restarts else []
        found += ["a token in a log"] if any(one.leaks for one in self.rounds) else []
        return found + [remark for one in self.rounds for remark in one.remarks]

    def sum(self, name: str) -> int:
        return sum(getattr(one, name) for one in self.rounds)

    def cells(self) -> list[str]:
        right = [one.right for one in self.rounds]
        lost = f"{self.sum('lost')} ({self.sum('lost_up')})"
        if self.fault.uncaught and not self.net:
            lost += " n/a"
        return [
            self.fault.name,
            str(len(self.rounds)),
            f"{self.sum('pods'):,}",
            str(self.sum("refused")),
            lost,
            f"{statistics.median(right):.1f} / {max(right):.1f} s",
            str(sum(len(one.wrong) for one in self.rounds)),
            str(self.sum("restarts")),
            f"{max(one.rss for one in self.rounds):.0f}",
            f"{statistics.median(one.lines for one in self.rounds):.0f}",
            "MISSED" if self.missed else "",
        ]


def table(rows: Iterable[Row]) -> str:
    """In Markdown."""
    cells = [list(HEAD), *(row.cells() for row in rows)]
    widths = [max(len(line[at]) for line in cells) for at in range(len(HEAD))]
    lines = [_line(line, widths) for line in cells]
    rule = "| " + " | ".join("-" * width for width in widths) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def goals(rows: Iterable[Row]) -> str:
    """What is missed; empty: nothing."""
    return "\n".join(f"MISSED  {row.fault.name}: {what}" for row in rows for what in row.missed)


def write(row: Row, file: Path) -> None:
    """A line for each round is added."""
    with file.open("a") as to:
        for one in row.rounds:
            to.write(json.dumps({"fault": row.fault.name, "net": row.net, **asdict(one)}) + "\n")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (text.ljust(width) for text, width in zip(cells, widths, strict=True))
    return "| " + " | ".join([first, *rest]) + " |"
