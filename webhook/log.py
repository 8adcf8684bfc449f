"""Logs to stderr: key=value for people, JSON lines for machines. No line ever holds a token, a body or a header."""

import logging
import sys
from typing import Literal

import structlog

Format = Literal["text", "json"]


def configure(log_format: Format, *, verbose: bool = False) -> None:
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    before: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*before, structlog.processors.ExceptionRenderer(_type_only), renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG if verbose else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    _libraries(before, renderer)


def _libraries(before: list[structlog.typing.Processor], renderer: structlog.typing.Processor) -> None:
    """What uvicorn, asyncio and aiohttp have to say goes the same way; of their exceptions only the types do."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*before, _first_words, structlog.processors.ExceptionRenderer(_type_only)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns of each garbage request, and anybody can send


def unraisable(said: "sys.UnraisableHookArgs") -> None:
    """What happens where nothing can be raised, such as a server name in a handshake that is no ASCII."""
    structlog.get_logger().warning("an error was dropped", type=said.exc_type.__qualname__)


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
    return f"{name} at " + " > ".join(places)
