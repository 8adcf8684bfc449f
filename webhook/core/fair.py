"""A bounded queue of what several have to say, in which nobody keeps the others waiting."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Fair(Generic[K, T]):
    """One of each in turn; first of all those who go `first`. When it is full, whoever has the most in it loses."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._first: OrderedDict[K, deque[T]] = OrderedDict()
        self._others: OrderedDict[K, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def put(self, whose: K, item: T, *, first: bool) -> tuple[K, T] | None:
        """What had to go for it, and whose that was: perhaps this very item."""
        (self._first if first else self._others).setdefault(whose, deque()).append(item)
        self._count += 1
        if self._count <= self._most:
            return None
        everybody = [*self._others.items(), *self._first.items()]
        loser, _ = max(everybody, key=lambda one: len(one[1]))
        return loser, self._taken(self._others if loser in self._others else self._first, loser, newest=True)

    def get(self) -> T:
        """There must be one."""
        queues = self._first or self._others
        whose = next(iter(queues))
        item = self._taken(queues, whose)
        if whose in queues:
            queues.move_to_end(whose)
        return item

    def _taken(self, queues: "OrderedDict[K, deque[T]]", whose: K, *, newest: bool = False) -> T:
        items = queues[whose]
        item = items.pop() if newest else items.popleft()
        self._count -= 1
        if not items:
            del queues[whose]
        return item
