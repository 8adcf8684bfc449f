"""Where a command says what: its result, its progress, and what may be a mistake."""

from collections.abc import Callable
from dataclasses import dataclass

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Voice:
    result: Say
    progress: Say
    warning: Say
