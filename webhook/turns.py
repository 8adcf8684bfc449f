"""Work in the background in pieces that a review can wait for."""

import asyncio


class Turns:
    """`await turn()`: one at a time goes on, in a pass of the event loop of its own; in between reviews are answered.

    Without it what arrives together is done in one go. Answers to writes do: etcd commits several at a time.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def __call__(self) -> None:
        async with self._lock:
            await asyncio.sleep(0)
