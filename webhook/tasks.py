"""Tasks that run as long as the process, and tasks that several wait for."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import structlog

from webhook.core.backoff import jittered

T = TypeVar("T")
log = structlog.get_logger()
MAX_RESTART_SECONDS = 2.0
"""The longest delay before a failed task is started again."""


async def for_ever(what: str, run: Callable[[], Awaitable[None]]) -> None:
    """For tasks that can start again from nothing: an error of a library, or of ours, must not end the process."""
    while True:
        try:
            return await run()
        except Exception:
            log.exception("our own bug: the task starts again", what=what)
        await asyncio.sleep(jittered(MAX_RESTART_SECONDS))


async def shared(task: asyncio.Task[T]) -> T:
    """What a task returns or raises that others may wait for too: a caller that is cancelled does not cancel it.

    As `asyncio.shield`, which since Python 3.14 logs an error of the task if a caller was cancelled.
    """
    try:
        if not task.done():
            await asyncio.wait((task,))
        return task.result()
    finally:
        del task  # an error keeps this frame: if it kept the task, both would stay until a garbage collection
