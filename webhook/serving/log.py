"""Logs to stderr: key=value for people, JSON lines for machines. No line ever holds a token, a body or a header.

`serve` lets nobody wait for them and each is bounded (lines.py).
"""

import logging
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Literal

import structlog

from webhook.core.shown import CUT
from webhook.serving.lines import MAX_LINE_BYTES, Seldom

Format = Literal["text", "json"]
VALUE_CHARS = (256, 32)
"""Letters of each value in a line that is too long, and in one that is so still: JSON may write twelve for one."""
FIRST_PLACES, LAST_PLACES = 5, 20
"""Places of a trace that are shown: where there is no end of calls it has a thousand."""


class _Logger:
    """structlog's own holds a lock while it writes, and what the garbage collector brings up then waits for ever."""

    def __init__(self) -> None:
        self.msg = self.debug = self.info = self.warning = self.error = self.critical = self._write

    def _write(self, line: str) -> None:
        sys.stderr.write(line + "\n")


def configure(log_format: Format, *, verbose: bool = False) -> None:
    seldom = Seldom()
    renderer = _bounded(
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    before: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[_seldom(seldom), *before, structlog.processors.ExceptionRenderer(_type_only), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=_Logger,
    )
    _libraries(before, renderer, seldom)


def _seldom(seldom: Seldom) -> structlog.typing.Processor:
    def processor(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if not seldom.may(event["event"], event.get("about")):
            raise structlog.DropEvent
        return event

    return processor


def _bounded(renderer: structlog.typing.Processor) -> structlog.typing.Processor:
    """What is too long is cut where it is a text: half a JSON object is none."""

    def bounded(logger: object, method: str, event: structlog.typing.EventDict) -> str:
        line = str(renderer(logger, method, dict(event)))
        for most in VALUE_CHARS:
            if len(line) < MAX_LINE_BYTES:
                break
            line = str(renderer(logger, method, {key: _cut(value, most) for key, value in event.items()}))
        return line

    return bounded


def _cut(value: object, most: int) -> object:
    text = str(value)
    return value if len(text) <= most else text[:most] + CUT


def _libraries(before: list[structlog.typing.Processor], renderer: structlog.typing.Processor, seldom: Seldom) -> None:
    """What uvicorn, asyncio and aiohttp have to say goes the same way; of their exceptions only the types do."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, _first_words, structlog.processors.ExceptionRenderer(_type_only)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    handler.addFilter(lambda record: seldom.may(record.msg))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of each garbage request, and anybody can send


def hooks() -> None:
    """What nobody catches is told by its type and place too, not by Python's own traceback."""
    sys.unraisablehook = Unraisable()
    threading.excepthook = _of_thread
    sys.excepthook = lambda _type, e, _trace: ended(e)


def ended(e: BaseException) -> None:
    """The process ends because of it."""
    for one in _each(e):
        structlog.get_logger().critical("our own bug: the process ends", exc_info=one)


def taken_again(lost: int) -> None:
    structlog.get_logger().warning("log lines were dropped, as nobody took them", lines=lost)


def _each(e: BaseException) -> Iterator[BaseException]:
    """A group has no place of its own."""
    if isinstance(e, BaseExceptionGroup):
        for one in e.exceptions:
            yield from _each(one)
    else:
        yield e


class Unraisable:
    """What happens where nothing can be raised, such as a server name in a handshake that is no ASCII: anybody who
    reaches the port can cause it thousands of times in a second. So each type is said once a minute, with its count.
    """

    EVERY = 60.0
    """Seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()
        self._said: dict[str, float] = {}

    def __call__(self, said: "sys.UnraisableHookArgs") -> None:
        name = said.exc_type.__qualname__
        self._counts[name] += 1
        now = self._clock()
        if now - self._said.get(name, -math.inf) >= self.EVERY:
            self._said[name] = now
            structlog.get_logger().warning("errors were dropped", type=name, count=self._counts.pop(name))


def _of_thread(said: threading.ExceptHookArgs) -> None:
    structlog.get_logger().warning("a thread ended by an error", type=said.exc_type.__qualname__)


def _first_words(_logger: object, _method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Libraries go on, in further lines, with what they work on; asyncio with the arguments of its callbacks too."""
    text = str(event["event"]).partition("\n")[0]
    event["event"] = text.partition("(")[0] if event["_record"].name == "asyncio" else text
    return event


def _type_only(exc_info: object) -> str:
    """Where it was raised and its type. Messages of foreign exceptions may quote bodies, so they stay out."""
    if not isinstance(exc_info, tuple) or exc_info[0] is None:
        return ""
    name, trace = exc_info[0].__qualname__, exc_info[2]
    places = []
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    if len(places) > FIRST_PLACES + LAST_PLACES:
        places[FIRST_PLACES:-LAST_PLACES] = [CUT]
    return f"{name} at " + " > ".join(places)
