"""Where a password comes from: standard input, or a terminal without echo. Never an argument, which other users of the
machine see, and which stays in the history of a shell.
"""

import getpass
import sys

from webhook.core.credential import MAX_VALUE_CHARS
from webhook.core.errors import PullsecretError

MAX_BYTES = 4 * MAX_VALUE_CHARS
"""Of UTF-8."""


class NoPassword(PullsecretError):
    """None was given, or none that can be read."""


def given(prompt: str, *, from_stdin: bool) -> str:
    """Without the line end that `echo` and editors write. Raises NoPassword."""
    if sys.stdin.isatty():
        try:
            typed = getpass.getpass(f"{prompt}: ")
        except EOFError:
            typed = ""
        except UnicodeDecodeError:
            raise NoPassword("what was typed is not UTF-8") from None
        if not typed:
            raise NoPassword("no password was given")
        return typed
    if not from_stdin:
        raise NoPassword(
            "there is no terminal to ask for the password; give it on standard input, with --password-stdin"
        )
    data = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise NoPassword(f"standard input has more than {MAX_BYTES:,} bytes, which is no password")
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise NoPassword("standard input is not UTF-8; save the password as UTF-8") from None
    if not (found := text.removesuffix("\n").removesuffix("\r")):
        raise NoPassword("standard input is empty; write the password to it")
    return found
