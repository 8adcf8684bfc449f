"""A bounded queue for several keys, such as tenants, in which no key delays the others."""

from collections import OrderedDict, deque
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Fair(Generic[K, T]):
    """Takes one item of each key in turn; those put as `first` come first. When full, the key with most items loses."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._first: OrderedDict[K, deque[T]] = OrderedDict()
        self._others: OrderedDict[K, deque[T]] = OrderedDict()

    def __len__(self) -> int:
        return self._count

    def put(self, key: K, item: T, *, first: bool) -> tuple[K, T] | None:
        """Returns the key and the item that were dropped for it: perhaps this item."""
        (self._first if first else self._others).setdefault(key, deque()).append(item)
        self._count += 1
        if self._count <= self._most:
            return None
        longest, _ = max([*self._others.items(), *self._first.items()], key=lambda one: len(one[1]))
        return longest, self._take(self._others if longest in self._others else self._first, longest, newest=True)

    def get(self) -> T:
        """The queue must not be empty."""
        queues = self._first or self._others
        key = next(iter(queues))
        item = self._take(queues, key)
        if key in queues:
            queues.move_to_end(key)
        return item

    def _take(self, queues: "OrderedDict[K, deque[T]]", key: K, *, newest: bool = False) -> T:
        items = queues[key]
        item = items.pop() if newest else items.popleft()
        self._count -= 1
        if not items:
            del queues[key]
        return item
