"""Work in the background in steps that a review can wait for."""

import asyncio
from weakref import WeakKeyDictionary

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
