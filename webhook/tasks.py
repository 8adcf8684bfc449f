"""Tasks that run as long as the process."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from webhook.core.backoff import jittered

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
