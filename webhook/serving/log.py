"""Logs to stderr: key=value for people, JSON lines for machines. No line ever holds a token, a body or a header.

In `serve` no caller waits for a log line, and the length of a line is limited (lines.py).
"""

import logging
import math
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Literal

import structlog
from structlog.typing import EventDict, Processor

from webhook.core.shown import CUT
from webhook.serving.lines import MAX_LINE_BYTES, Seldom

log = structlog.get_logger()
VALUE_CHARS = (MAX_LINE_BYTES, 256, 32)
"""Characters of each value in a line, and in one that is still too long after that: JSON may write twelve for one."""
FIRST_PLACES, LAST_PLACES = 5, 20
"""Places of a traceback that are shown. That of an endless recursion has a thousand."""


class _Logger:
    """Without a lock. structlog's logger holds one while it writes: a line of the garbage collector would deadlock."""

    def msg(self, line: str) -> None:
        sys.stderr.write(line + "\n")

    debug = info = warning = error = critical = msg


def configure(log_format: Literal["text", "json"], *, verbose: bool = False) -> None:
    seldom = Seldom()
    renderer = partial(
        _bounded,
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    )
    before: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[partial(_seldom, seldom), *before, structlog.processors.ExceptionRenderer(_type_only), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=_Logger,
    )
    _libraries(before, renderer, seldom)


def _seldom(seldom: Seldom, _logger: object, _method: str, event: EventDict) -> EventDict:
    if not seldom.may(event["event"], event.get("about")):
        raise structlog.DropEvent
    return event


def _bounded(renderer: Processor, logger: object, method: str, event: EventDict) -> str:
    """Cuts the values of a line that is too long, not the line: half a JSON object cannot be parsed."""
    for most in VALUE_CHARS:
        line = str(renderer(logger, method, {key: _cut(value, most) for key, value in event.items()}))
        if len(line) < MAX_LINE_BYTES:
            break
    return line


def _cut(value: object, most: int) -> object:
    text = str(value)
    return value if len(text) <= most else text[:most] + CUT


def _libraries(before: list[Processor], renderer: Processor, seldom: Seldom) -> None:
    """Log lines of uvicorn, asyncio and aiohttp get the same form, with only the types of their exceptions."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, _first_words, structlog.processors.ExceptionRenderer(_type_only)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(lambda record: seldom.may(record.msg))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # every client can cause its warnings


def hooks() -> None:
    """Uncaught exceptions are also logged by type and place only: Python's traceback would have their messages."""
    sys.unraisablehook = Unraisable()
    threading.excepthook = lambda error: log.warning("a thread ended with an error", type=error.exc_type.__qualname__)
    sys.excepthook = lambda _type, e, _trace: ended(e)


def ended(e: BaseException) -> None:
    """Logs the exception that ends the process; of a group, which has no place of its own, each exception in it."""
    if isinstance(e, BaseExceptionGroup):
        for one in e.exceptions:
            ended(one)
    else:
        log.critical("our own bug: the process ends", exc_info=e)


def taken_again(lost: int) -> None:
    log.warning("log lines were dropped: standard error was blocked or failed", lines=lost)


class Unraisable:
    """Logs exceptions that Python cannot raise, for example for a server name in a handshake that is not ASCII. Every
    client can cause thousands of them a second. So each type is logged once a minute, with its count.
    """

    EVERY = 60.0
    """Seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._logged: dict[str, float] = {}
        """By type: when."""

    def __call__(self, error: "sys.UnraisableHookArgs") -> None:
        name = error.exc_type.__qualname__
        self._counts[name] += 1
        now = self._clock()
        if now - self._logged.get(name, -math.inf) >= self.EVERY:
            self._logged[name] = now
            log.warning("errors could not be raised", type=name, count=self._counts.pop(name))


def _first_words(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Cuts what may quote data: further lines of a library's message, and the arguments of callbacks in asyncio's."""
    text = str(event["event"]).partition("\n")[0]
    event["event"] = text.partition("(")[0] if event["_record"].name == "asyncio" else text
    return event


def _type_only(exc_info: object) -> str:
    """The type and the places of the traceback, without the message: that of a library may quote a body."""
    if not isinstance(exc_info, tuple) or exc_info[0] is None:
        return ""
    places = [
        f"{frame.f_code.co_filename.rpartition('/')[2]}:{line} {frame.f_code.co_name}"
        for frame, line in traceback.walk_tb(exc_info[2])
    ]
    if len(places) > FIRST_PLACES + LAST_PLACES:
        places[FIRST_PLACES:-LAST_PLACES] = [CUT]
    return f"{exc_info[0].__qualname__} at " + " > ".join(places)
