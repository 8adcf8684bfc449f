"""Background work in steps that are short enough for a review to wait."""

import asyncio
from collections.abc import AsyncIterator, Generator, Iterable
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

_locks: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = WeakKeyDictionary()


async def yield_to_reviews() -> None:
    """Lets one caller at a time go on, each in its own pass of the event loop; between them reviews are answered.

    Without it, one pass does all work that arrives together, such as answers to writes: etcd commits several at a time.
    """
    async with _locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
        await asyncio.sleep(0)


async def few_at_a_time(items: Iterable[T], few: int = 100) -> AsyncIterator[T]:
    """The items. After each `few` of them reviews are answered, and other tasks run: what was so may not be so then."""
    for number, item in enumerate(items, 1):
        yield item
        if number % few == 0:
            await yield_to_reviews()


async def let_go(many: dict[K, V]) -> None:
    """Frees what only this holds, in steps."""
    while many:
        for _ in range(min(500, len(many))):
            many.popitem()
        await yield_to_reviews()


async def in_steps(work: Generator[None, None, T]) -> T:
    """What a generator returns that stops after each step."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            value: T = done.value
            return value
        await yield_to_reviews()
