import time
from collections.abc import Callable
from typing import TypeVar

from controlplane.errors import HarnessError

T = TypeVar("T")


class NotInTimeError(HarnessError):
    """A wait ended without the thing waited for."""


def until(predicate: Callable[[], T | None], what: str, *, within: float = 30.0, every: float = 0.05) -> T:
    """The first true value of `predicate`, asked every so many seconds; NotInTimeError names `what` after `within`."""
    deadline = time.monotonic() + within
    while True:
        if found := predicate():
            return found
        if time.monotonic() >= deadline:
            raise NotInTimeError(f"not within {within:g} s: {what}")
        time.sleep(every)
