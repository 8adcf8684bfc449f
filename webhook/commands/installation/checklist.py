"""What `doctor cluster` has found, as data and as text. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from webhook.core.shown import counted

Result = Literal["right", "wrong", "warning", "unknown", "absent"]
MARKS: dict[Result, str] = {"right": "✔", "wrong": "✗", "warning": "!", "unknown": "?", "absent": "-"}
PLAIN_MARKS: dict[Result, str] = {**MARKS, "right": "+", "wrong": "x"}
"""For a terminal that cannot show the others."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at. `why`: what was seen; `hint`: what to do. Warning: the webhook works, but a human
    should know; unknown: it could not be looked at; absent: it is not there and need not be.
    """

    section: str
    name: str
    result: Result
    why: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Checklist:
    checks: Sequence[Check]

    @property
    def needs_a_human(self) -> bool:
        return any(one.result == "wrong" for one in self.checks)

    @property
    def unseen(self) -> bool:
        """Could nothing be looked at but the API server itself?"""
        first = self.checks[0].section if self.checks else ""
        return all(one.result in ("unknown", "absent") for one in self.checks if one.section != first)

    @property
    def document(self) -> dict[str, Any]:
        """For JSON."""
        return {"needs_a_human": self.needs_a_human, "checks": [asdict(one) for one in self.checks]}


def line(check: Check, marks: dict[Result, str] = MARKS) -> str:
    text = f"{marks[check.result]} {check.name}"
    return f"{text}: {check.why}" if check.why else text


def summary(checks: Iterable[Check]) -> str:
    results = Counter(check.result for check in checks)
    parts = [f"{results['right']} right", f"{results['wrong']} wrong"]
    if results["warning"]:
        parts.append(counted(results["warning"], "warning"))
    if results["unknown"]:
        parts.append(f"{results['unknown']} could not be looked at")
    return ", ".join(parts)
