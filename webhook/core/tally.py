"""How many there are of each kind, counted as they change: to count thousands at each scrape would delay reviews."""

from collections import Counter
from collections.abc import Iterable, Mapping


class Tally:
    """`kinds`: those that are there from the beginning, so that a graph has a zero before the first."""

    def __init__(self, kinds: Iterable[str]) -> None:
        self._of: dict[str, str] = {}
        self._counts = Counter(dict.fromkeys(kinds, 0))

    def put(self, key: str, kind: str | None) -> None:
        """None: it is no longer counted."""
        before = self._of.pop(key, None)
        if before is not None:
            self._counts[before] -= 1
        if kind is not None:
            self._of[key] = kind
            self._counts[kind] += 1

    def counts(self) -> Mapping[str, int]:
        return self._counts
