"""Those who may push, such as the platform's builder: a file with a line for each, `NAME SHA-256 REPOSITORIES`.

They are few, the administrator knows each, and one must be able to end at once, by taking a line away: so they have
static passwords, and none that are signed. Of a long random password, as the docs have it, a plain hash tells nothing;
a slow one would let whoever reaches the port keep us busy.
"""

import functools
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from webhook.core.errors import PullsecretError
from webhook.core.imagename import is_repository
from webhook.core.registryscope import PULL, PUSH, Right
from webhook.sources.files import made

MAX_BYTES = 64 * 1024
_NAME, _DIGEST = re.compile(r"[A-Za-z0-9][\w.@+-]{0,99}", re.ASCII), re.compile("[0-9a-f]{64}")
_ALL = "*"
_NOBODY = "0" * 64
_EXPECTED = "expected NAME SHA-256 REPOSITORIES, such as builder 5e88...42d8 *"


class PushersUnusable(PullsecretError):
    """The file cannot be read. The message names the line, and has nothing of its content."""


@dataclass(frozen=True, slots=True)
class Pusher:
    """`digest`: of the password, in hexadecimal."""

    digest: str = field(repr=False)
    right: Right


class Pushers:
    """`file` None: nobody may push."""

    def __init__(self, file: str | None) -> None:
        self.known = made((file,), functools.partial(_read, file))
        """Who may push now, by name. Raises PushersUnusable when it is called."""

    def right(self, name: str, password: str) -> Right | None:
        """None: there is no such name, or it has another password. Raises PushersUnusable."""
        found, digest = self.known().get(name), hashlib.sha256(password.encode()).hexdigest()
        equal = hmac.compare_digest(digest, found.digest if found else _NOBODY)
        return found.right if found and equal else None


def _read(file: str | None) -> Mapping[str, Pusher]:
    if file is None:
        return {}
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(MAX_BYTES + 1)
        if len(text) > MAX_BYTES:
            raise PushersUnusable(f"{file} is larger than {MAX_BYTES >> 10} KiB")
        return pushers(text.decode())
    except OSError as e:
        raise PushersUnusable(f"{file}: {e.strerror}") from None
    except ValueError as e:
        raise PushersUnusable(f"{file}: {'not UTF-8' if isinstance(e, UnicodeDecodeError) else e}") from None


def pushers(text: str) -> dict[str, Pusher]:
    """By name. Empty lines, and those that begin with #, do not count. Raises ValueError."""
    found: dict[str, Pusher] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if len(words) != 3 or not _NAME.fullmatch(words[0]) or not _DIGEST.fullmatch(words[1]):
            raise ValueError(f"line {number}: {_EXPECTED}")
        name, digest, below = words
        if below != _ALL and not is_repository(below):
            raise ValueError(f"line {number}: no repository's name begins so; write project-alice, or {_ALL} for all")
        if name in found:
            raise ValueError(f"line {number}: this name has a line already; give each a name of its own")
        found[name] = Pusher(digest, Right(None if below == _ALL else below, frozenset({PULL, PUSH})))
    return found
