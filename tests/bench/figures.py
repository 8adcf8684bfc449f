"""What was measured: one figure a row, medians over rounds, ratios paired by round."""

import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path


@dataclass(frozen=True)
class Figure:
    """None: not measured here. `added_ms`, `ratio`: to the row that `against` names, median of the rounds' own."""

    name: str
    p50_ms: float | None = None
    p99_ms: float | None = None
    added_ms: float | None = None
    ratio: float | None = None
    cpu_us: float | None = None
    rps: float | None = None
    rss_mib: float | None = None


@dataclass(frozen=True)
class Chunk:
    """One contender's turn in one round. `cpu_us` None: it has no process of its own, or it was not looked at.
    `stolen_percent`: of all cores' time meanwhile, in which the host ran something else; 0.0 also if not looked at.
    """

    p50_ms: float
    p99_ms: float
    rps: float
    cpu_us: float | None = None
    stolen_percent: float = 0.0

    @property
    def cpu(self) -> float:
        assert self.cpu_us is not None
        return self.cpu_us


class Rounds:
    """Chunks by contender, in the order of rounds."""

    def __init__(self) -> None:
        self._of: defaultdict[str, list[Chunk]] = defaultdict(list)

    def add(self, contender: str, chunk: Chunk) -> None:
        self._of[contender].append(chunk)

    def median(self, contender: str, what: Callable[[Chunk], float]) -> float:
        return statistics.median(what(chunk) for chunk in self._of[contender])

    def paired(
        self, contender: str, other: str, what: Callable[[Chunk], float], how: Callable[[float, float], float]
    ) -> float:
        pairs = zip(self._of[contender], self._of[other], strict=True)
        return statistics.median(how(what(mine), what(others)) for mine, others in pairs)

    def ratio(self, contender: str, other: str, what: Callable[[Chunk], float]) -> float:
        return self.paired(contender, other, what, lambda mine, others: mine / others if others else float("nan"))

    def added(self, contender: str, other: str, to: str) -> float:
        """What `contender` adds to the median of `to`, to what `other` adds; the median of the rounds' own."""
        three = zip(self._of[contender], self._of[other], self._of[to], strict=True)
        return statistics.median((mine.p50_ms - bare.p50_ms) / (its.p50_ms - bare.p50_ms) for mine, its, bare in three)

    def _cpu(self, contender: str) -> float | None:
        known = [chunk.cpu_us for chunk in self._of[contender] if chunk.cpu_us is not None]
        return statistics.median(known) if known else None

    def figures(self, what: str, against: str) -> list[Figure]:
        return [
            Figure(
                name=f"{what}: {contender}",
                p50_ms=self.median(contender, lambda c: c.p50_ms),
                p99_ms=self.median(contender, lambda c: c.p99_ms),
                added_ms=self.paired(contender, against, lambda c: c.p50_ms, lambda mine, others: mine - others),
                ratio=self.ratio(contender, against, lambda c: c.p50_ms),
                cpu_us=self._cpu(contender),
                rps=self.median(contender, lambda c: c.rps),
            )
            for contender in self._of
        ]


def middle(measured: Sequence[Figure]) -> Figure:
    """One row, measured several times: the median of each column."""
    name = measured[0].name
    columns = {field.name: [getattr(one, field.name) for one in measured] for field in fields(Figure)}
    del columns["name"]
    return Figure(name, **{key: None if None in all_ else statistics.median(all_) for key, all_ in columns.items()})


@dataclass(frozen=True)
class Goal:
    """What is to be reached: `value` at most `limit` (or at least, with `least`)."""

    what: str
    value: float
    limit: float
    least: bool = False

    @property
    def reached(self) -> bool:
        return self.value >= self.limit if self.least else self.value <= self.limit


def table(figures: Iterable[Figure]) -> str:
    columns = [field.name for field in fields(Figure)]
    rows = [columns, *([_cell(column, getattr(one, column)) for column in columns] for one in figures)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(columns))]
    return "\n".join(_line(row, widths) for row in rows)


def goals(reached: Sequence[Goal]) -> str:
    lines = []
    for goal in reached:
        word, bound = ("reached" if goal.reached else "MISSED "), ("at least" if goal.least else "at most")
        lines.append(f"{word}  {goal.what}: {goal.value:.3g} ({bound} {goal.limit:g})")
    return "\n".join(lines)


def write(figures: Iterable[Figure], file: Path) -> None:
    rounded = [
        {key: round(value, 3) if isinstance(value, float) else value for key, value in asdict(one).items()}
        for one in figures
    ]
    file.write_text(json.dumps(rounded, indent=1) + "\n")


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    numbers = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
    return "  ".join([row[0].ljust(widths[0]), *numbers]).rstrip()


def _cell(column: str, value: str | float | None) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if column in ("rps", "cpu_us") else f"{value:.2f}"
