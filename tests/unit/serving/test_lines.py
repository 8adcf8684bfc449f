"""Standard error that is full, gone, or read by nobody costs lines and nothing else: a real process, real pipes."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import planted
from webhook.serving.lines import MAX_LINE_BYTES, MAX_WAITING_LINES, Seldom, dropped

SAYS = """
import sys, time, warnings
import structlog
from webhook.serving import lines, log

lines.take_over(log.taken_again)
log.configure("json")
log.hooks()
say = structlog.get_logger().info
number = 0
for tick in range(10):
    began = time.monotonic()
    for _ in range(400):
        number += 1
        say("a line " + "x" * 300, about=number)
    warnings.warn(f"raw {tick}")
    print("raw, too", file=sys.stderr)
    print(time.monotonic() - began, flush=True)
    time.sleep(0.02)
print("dropped", lines.dropped(), flush=True)
if sys.argv[1:] == ["wait"]:
    sys.stdin.readline()
    say("again")
    time.sleep(0.2)
say("the last words")
print("done", time.monotonic(), flush=True)
"""


@contextmanager
def saying(stderr: int, *how: str, source: str = SAYS) -> "Iterator[subprocess.Popen[str]]":
    process = subprocess.Popen(
        [sys.executable, "-c", source, *how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ends(process: "subprocess.Popen[str]") -> tuple[float, int]:
    """The longest time for 400 lines, and how many were dropped by then. The process ends at once."""
    out, _ = process.communicate(timeout=30)
    *ticks, count, done = out.splitlines()
    assert process.returncode == 0
    assert done.startswith("done")
    assert time.monotonic() - float(done.split()[1]) < 5.0
    return max(map(float, ticks)), int(count.split()[1])


def test_a_pipe_that_nobody_reads() -> None:
    reader, writer = os.pipe()
    try:
        with saying(writer) as process:
            longest, count = ends(process)
    finally:
        os.close(reader)
        os.close(writer)
    assert longest < 2.0
    assert count > 4000 - MAX_WAITING_LINES - 500  # what fits into the pipe, into the queue and into the thread's hand


def test_a_pipe_that_does_not_block() -> None:
    """Somebody else who has it may have set that."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        with saying(writer) as process:
            ends(process)
    finally:
        os.close(reader)
        os.close(writer)


def test_a_pipe_whose_reader_is_gone() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with saying(writer) as process:
            longest, count = ends(process)
    finally:
        os.close(writer)
    assert longest < 2.0
    assert count > 3500


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full, a disk that is always full, is Linux's")
def test_a_full_disk() -> None:
    with Path("/dev/full").open("wb") as full, saying(full.fileno()) as process:
        longest, count = ends(process)
    assert longest < 2.0
    assert count > 3500


def test_when_lines_are_taken_again_it_is_said_how_many_were_lost() -> None:
    reader, writer = os.pipe()
    with saying(writer, "wait") as process:
        os.close(writer)
        assert process.stdout is not None
        assert process.stdin is not None
        while not (line := process.stdout.readline()).startswith("dropped"):
            pass
        count = int(line.split()[1])
        with os.fdopen(reader, encoding="utf-8") as file:
            process.stdin.write("\n")
            process.stdin.flush()
            shown = file.read().splitlines()
        assert process.wait(timeout=30) == 0
    whole = [json.loads(line) for line in shown if line.startswith("{")]
    lost = [line["lines"] for line in whole if line["event"].startswith("log lines were dropped")]
    assert count <= sum(lost) <= count + 1  # "again" may have come before there was room
    assert whole[-1]["event"] == "the last words"


def test_all_lines_are_whole_and_in_order_when_somebody_reads() -> None:
    with saying(subprocess.PIPE) as process:
        out, err = process.communicate(timeout=30)
    assert "dropped 0" in out
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert [line["about"] for line in lines if "about" in line] == list(range(1, 4001))
    assert lines[-1]["event"] == "the last words"
    assert err.count("UserWarning: raw ") == 10
    assert err.count("raw, too\n") == 10


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_line_is_long(log_format: str) -> None:
    source = f"""
import sys, structlog
from webhook.serving import lines, log
lines.take_over(log.taken_again)
log.configure({log_format!r})
def deeper(): deeper()
for text in ("x" * 10_000_000, "\\u00e9" * 3000, '"' * 3000, "\\U0001f600" * 2000, "a\\n" * 2000):
    structlog.get_logger().warning(text, one=text, two=[text] * 3)
try: deeper()
except RecursionError: structlog.get_logger().exception("deep")
print("y" * 10_000_000, file=sys.stderr)
for _ in range(100): sys.stderr.write("z" * 1000)
sys.stderr.write("\\ud800")
"""
    with saying(subprocess.PIPE, source=source) as process:
        out, err = process.communicate(timeout=30)
    assert (out, process.returncode) == ("", 0)
    assert max(len(line.encode()) for line in err.split("\n")) <= MAX_LINE_BYTES
    assert "..." in err
    if log_format == "json":
        shown = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
        assert [line["event"][:1] for line in shown] == ["x", "é", '"', "\U0001f600", "a", "d"]
        assert re.fullmatch(r"RecursionError at .*> \.\.\. > .*deeper", shown[-1]["exception"])


def test_the_same_line_is_not_said_for_ever() -> None:
    now = 0.0
    seldom, before = Seldom(lambda: now), dropped()
    assert sum(seldom.may("one", None) for _ in range(10_000)) == Seldom.MOST
    assert seldom.may("another", None)
    assert dropped() - before == 10_000 - Seldom.MOST
    now = Seldom.SECONDS
    assert seldom.may("one", None)


CRASHES = """
import sys
from webhook import app, cli

async def serve(config, kubeconfig):
    import asyncio
    async def fails():
        raise ValueError(sys.argv[1])
    async with asyncio.TaskGroup() as group:
        group.create_task(fails())
        async with asyncio.TaskGroup() as inner:
            inner.create_task(fails())

app.serve = serve
cli.main(["serve", "--log-format", sys.argv[2]])
"""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_what_ends_the_process_is_told_by_type_and_place(log_format: str) -> None:
    with saying(subprocess.PIPE, planted.token(), log_format, source=CRASHES) as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert not planted.leaks(err)
    assert "Traceback" not in err
    if log_format == "json":
        for line in map(json.loads, err.splitlines()):
            assert (line["event"], line["level"]) == ("our own bug: the process ends", "critical")
            assert re.fullmatch(r"ValueError at .*<string>:\d+ fails", line["exception"])
    else:
        assert "ValueError at" in err


@pytest.mark.parametrize("stderr", ["stuck", "gone"])
def test_the_process_ends_also_when_nobody_takes_its_last_words(stderr: str) -> None:
    reader, writer = os.pipe()
    if stderr == "gone":
        os.close(reader)
    else:
        os.set_blocking(writer, False)
        while True:
            try:
                os.write(writer, b"x" * 4096)
            except BlockingIOError:
                break
        os.set_blocking(writer, True)
    with saying(writer, "a text", "json", source=CRASHES) as process:
        assert process.wait(timeout=20) == 1
    os.close(writer)
    if stderr == "stuck":
        os.close(reader)


HANGS = """
import sys, threading
from webhook.serving import lines, log
lines.take_over(log.taken_again)
log.configure("json")
print("ready", flush=True)
threading.Event().wait()
"""


def test_a_signal_is_heard_while_nobody_reads() -> None:
    reader, writer = os.pipe()
    with saying(writer, source=HANGS) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM
    os.close(reader)
    os.close(writer)
