"""What is logged of exceptions is where they came from and their type. Their messages may quote bodies, with tokens."""

import asyncio
import gc
import json
import logging
import re
from collections.abc import Iterator
from typing import Any, cast

import pytest
import structlog

from support import planted
from webhook.serving import log


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    root = logging.getLogger()
    level = root.level
    yield
    structlog.reset_defaults()
    root.handlers.clear()
    root.setLevel(level)


def fail(message: str) -> None:
    raise ValueError(message)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    out, err = capsys.readouterr()
    assert out == ""
    assert not planted.leaks(err)
    return [json.loads(line) for line in err.splitlines()]


def test_an_exception_shows_its_type_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    try:
        fail(planted.token())
    except ValueError:
        structlog.get_logger().exception("our own bug", namespace="team")
    (line,) = lines(capsys)
    place = r" at test_log.py:(\d+) test_an_exception_shows_its_type_and_place > test_log.py:(\d+) fail"
    assert re.fullmatch("ValueError" + place, line.pop("exception"))
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "our own bug", "namespace": "team", "level": "error"}


class Dropped:
    exc_type = UnicodeDecodeError


def test_errors_that_cannot_be_raised_are_counted_and_said_once_a_minute(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    now = 0.0
    unraisable = log.Unraisable(lambda: now)
    for _ in range(1000):
        unraisable(cast(Any, Dropped))
    now = 61.0
    unraisable(cast(Any, Dropped))
    assert [(line["type"], line["count"]) for line in lines(capsys)] == [
        ("UnicodeDecodeError", 1),
        ("UnicodeDecodeError", 1000),
    ]


def test_of_an_exception_with_causes_only_the_last_shows(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    try:
        try:
            fail(planted.token())
        except ValueError as e:
            raise RuntimeError(planted.token()) from e
    except RuntimeError:
        structlog.get_logger().exception("our own bug")
    (line,) = lines(capsys)
    assert line["exception"].startswith("RuntimeError at test_log.py:")
    assert "ValueError" not in line["exception"]


@pytest.mark.parametrize("library", ["uvicorn", "asyncio", "aiohttp.client"])
def test_exceptions_of_libraries_too(library: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    try:
        fail(planted.token())
    except ValueError:
        logging.getLogger(library).exception("it broke in %s", "there")
    (line,) = lines(capsys)
    assert line["event"] == "it broke in there"
    assert line["exception"].startswith("ValueError at test_log.py:")
    assert line["level"] == "error"


def test_exceptions_in_text(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text")
    for say in (structlog.get_logger().exception, logging.getLogger("aiohttp").exception):
        try:
            fail(planted.token())
        except ValueError:
            say("it broke")
    err = capsys.readouterr().err
    assert not planted.leaks(err)
    assert err.count("ValueError at test_log.py:") == 2
    assert "Traceback" not in err
    assert "\x1b" not in err


def test_no_exception_at_hand(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    structlog.get_logger().exception("one")
    logging.getLogger("aiohttp").error("two", exc_info=True)  # noqa: LOG014  # that is the case
    assert [(line["event"], line.get("exception", "")) for line in lines(capsys)] == [("one", ""), ("two", "")]


def test_each_entry_is_one_line_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")
    odd = 'a\r\x1b[31m"\u2028é\nb'
    structlog.get_logger().warning(odd, key=odd, thing=object)
    logging.getLogger("uvicorn").warning("%s", odd)
    err = capsys.readouterr().err
    ours, library = [json.loads(line) for line in err.removesuffix("\n").split("\n")]
    assert ours["event"] == ours["key"] == odd
    assert library["event"] == odd.partition("\n")[0]
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("verbose", "said"), [(False, ["info", "library warning"]), (True, ["debug", "info", "library warning"])]
)
def test_how_much_is_said(verbose: bool, said: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json", verbose=verbose)
    structlog.get_logger().debug("debug")
    structlog.get_logger().info("info")
    logging.getLogger("uvicorn").info("library info")
    logging.getLogger("uvicorn").warning("library warning")
    assert [line["event"] for line in lines(capsys)] == said


def test_configured_again_nothing_is_said_twice(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("text")
    log.configure("json")
    logging.getLogger("uvicorn").warning("once")
    assert [line["event"] for line in lines(capsys)] == ["once"]


def test_what_the_loop_says_of_callbacks_and_tasks_that_failed(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")

    async def task() -> None:
        fail(planted.token())

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(fail, planted.token())
        failed = loop.create_task(task())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert failed.done()
        del failed
        gc.collect()

    asyncio.run(main())
    callback, never_retrieved = lines(capsys)
    assert callback["event"].startswith("Exception in callback fail")
    assert never_retrieved["event"] == "Task exception was never retrieved"
    for line in callback, never_retrieved:
        assert re.fullmatch(r"ValueError at .*test_log\.py:\d+ fail", line["exception"])
