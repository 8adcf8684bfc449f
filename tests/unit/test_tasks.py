"""A task that several wait for."""

import asyncio

import pytest

from webhook.tasks import shared


def test_a_caller_that_is_cancelled_ends_nobody_elses_wait_and_leaves_no_message() -> None:
    said: list[object] = []

    async def test() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
        go = asyncio.Event()

        async def work() -> None:
            await go.wait()
            raise ValueError

        task = asyncio.create_task(work())
        leaves, stays = asyncio.create_task(shared(task)), asyncio.create_task(shared(task))
        await asyncio.sleep(0)
        leaves.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaves
        go.set()
        with pytest.raises(ValueError):  # noqa: PT011  # it has no text
            await stays
        with pytest.raises(ValueError):  # noqa: PT011
            await shared(task)

    asyncio.run(test())
    assert said == []
