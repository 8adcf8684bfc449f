"""Looks again and again, and prints what has changed.

Each look reads all anew, as the command does without --watch: to watch the nine kinds of objects that it reads would
keep every pod and Event of the cluster coming. What a look costs the API server is bounded by the pause after it.
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NoReturn, TypeVar

import click

from webhook.cli import printed
from webhook.cli.exitcodes import UnseenError

PAUSE_SECONDS = 5.0
"""The shortest pause."""
SHARE = 10
"""A pause is at least so many times as long as the look before it."""
R = TypeVar("R")


def watched(look: Callable[[], R], show: Callable[[R], str], output: str) -> NoReturn:
    """Until Ctrl-C. Raises UnseenError if the first look fails; later it is tried again."""
    before, trouble = "", ""
    while True:
        began = time.monotonic()
        try:
            text = show(look())
        except UnseenError as e:
            if not before:
                raise
            if str(e) != trouble:
                trouble = str(e)
                printed.error(f"{trouble}; looking again")
        else:
            trouble = ""
            if text != before:
                click.echo(_apart(output, first=not before) + text)
                before = text
        time.sleep(max(PAUSE_SECONDS, SHARE * (time.monotonic() - began)))


def _apart(output: str, *, first: bool) -> str:
    """What stands between one print and the next."""
    if output in ("json", "yaml"):
        return "---\n" if output == "yaml" and not first else ""
    when = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n"
    return when if first else f"\n{when}"
