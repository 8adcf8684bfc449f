"""Work in steps that a review can wait for."""

import asyncio
from collections.abc import Generator
from typing import TypeVar
from weakref import WeakKeyDictionary

T = TypeVar("T")

_locks: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock]" = WeakKeyDictionary()


async def yield_to_reviews() -> None:
    """One at a time goes on from here, each in a pass of the event loop of its own; in between reviews are answered.

    Without it what arrives together is done in one go. Answers to writes do: etcd commits several at a time.
    """
    loop = asyncio.get_running_loop()
    lock = _locks.get(loop)
    if lock is None:
        lock = _locks[loop] = asyncio.Lock()
    async with lock:
        await asyncio.sleep(0)


async def in_steps(work: Generator[None, None, T]) -> T:
    """What a generator returns that stops after each step."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            value: T = done.value
            return value
        await yield_to_reviews()
