"""A process that answers one question about certificates and ends.

It gets the question, keys included, through a pipe and answers through another one: nothing is on its command line or
in a file.
"""

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Awaitable, Callable
from contextlib import suppress

import msgspec

from certs.errors import Unanswered
from certs.questions import Answer, Question

ANSWER_SECONDS = 20.0
"""Seconds until an answer. It takes 0.3 if there is a core for it."""

Ask = Callable[[Question], Awaitable[Answer]]
"""Raises `Unanswered`."""


async def ask(question: Question) -> Answer:
    """An `Ask`."""
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            status, answer = await _answered(msgspec.json.encode(question))
    except TimeoutError:
        raise Unanswered(f"the process for certificates gave no answer in {ANSWER_SECONDS:.0f} s") from None
    except (OSError, RuntimeError) as e:  # it cannot be started; uvloop: it ended before it was asked
        raise Unanswered(f"the process for certificates gave no answer ({type(e).__name__})") from None
    if status:
        raise Unanswered(f"the process for certificates ended with status {status}")
    try:
        found: Answer = msgspec.json.decode(answer, type=Answer)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # such as text of what PYTHONPATH loads into it
        raise Unanswered("the answer of the process for certificates cannot be read") from None
    return found


async def _answered(question: bytes) -> tuple[int | None, bytes]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "certs.answers"),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,  # a traceback may quote what it was asked
    )
    try:
        answer, _ = await process.communicate(question)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        status = await process.wait()
    return status, answer
