"""What the commands have in common that run in pods until SIGTERM."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Literal

import click

from webhook.cli.exitcodes import FAILED, OK
from webhook.core.errors import PullsecretError

LogFormat = Literal["text", "json"]
kubeconfig = click.option(
    "--kubeconfig", metavar="FILE", help="Access to the API server.  [default: the pod's service account]"
)
log_format = click.option(
    "--log-format", type=click.Choice(("text", "json")), help="[default: text on a terminal, otherwise json]"
)


def ends_on_sigterm() -> None:
    """Until the process sets a handler of its own: the kernel drops a signal to process 1 that has no handler.

    Not by `sys.exit`: an import may swallow what a handler raises or make something else of it, and nothing is begun.
    """
    signal.signal(signal.SIGTERM, lambda *_: os._exit(OK))


def run(process: Callable[[], Coroutine[None, None, None]], log_format: LogFormat | None, *, verbose: bool) -> int:
    """Raises PullsecretError for what an administrator must fix."""
    # Imported here: no other command needs these.
    from certs import secrecy  # noqa: PLC0415
    from webhook.serving import lines, log  # noqa: PLC0415
    from webhook.serving.loop import Loop  # noqa: PLC0415

    secrecy.hide_memory()
    if lines.take_over(log.taken_again):
        log.hooks()
    log.configure(log_format or ("text" if sys.stderr.isatty() else "json"), verbose=verbose)
    code = OK
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(process())
    except* PullsecretError as group:
        raise PullsecretError("; ".join(str(e) for e in group.exceptions)) from None
    except* Exception as group:  # noqa: BLE001  # Python's traceback would print their messages
        log.ended(group)
        code = FAILED
    return code
