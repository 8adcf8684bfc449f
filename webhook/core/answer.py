"""The words in what a registry, or something before it, answers. Pure.

Who answers may have been told a password or a token, and may say it again: what is shown has none of it.
"""

import html
import re
from base64 import b64encode
from collections.abc import Callable, Iterable
from string import ascii_letters, digits

import msgspec

from webhook.core.pulls import text
from webhook.core.shown import quoted, shown

MAX_CHARS = 300
_MAX_ERRORS = 3
_LIKE = 8
"""So many characters in a row of a secret, or all of a shorter one, are not shown."""
_HIDDEN = "***"
_TITLE = re.compile(rb"<title[^<>]{0,100}>([^<]{1,500})", re.IGNORECASE)
_HTML = re.compile(rb"\s*(?:<!--[^>]{0,200}-->\s*)?<(?:!doctype html|html|head|body)\b", re.IGNORECASE)
_XML_CODE = re.compile(rb"<Code>([^<]{1,200})</Code>")
_XML_MESSAGE = re.compile(rb"<Message>([^<]{1,2000})</Message>")
"""Of AWS, and of stores of files that answer as it does."""
_UNESCAPED = frozenset(ascii_letters + digits + "-._~")
_SMALL = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}


class _Error(msgspec.Struct, frozen=True):
    code: str | int | None = None
    message: str | None = None


class _Refused(msgspec.Struct, frozen=True):
    """What registries, their token services and clouds say. The strings are of Docker Hub, OAuth, Quay, GitLab and
    others; those in capitals are of Aliyun, and an `error` of its own is of Google and Azure.
    """

    errors: list[_Error] | None = None
    details: str | None = None
    error_description: str | None = None
    error: str | _Error | None = None
    message: str | None = None
    capital_code: str | None = msgspec.field(default=None, name="Code")
    capital_message: str | None = msgspec.field(default=None, name="Message")


def is_html(body: bytes, media_type: str = "") -> bool:
    return media_type.lower().startswith("text/html") or _HTML.match(body) is not None


def codes(body: bytes) -> frozenset[str]:
    """Of the distribution specification, in capitals."""
    found = _refused(body)
    return frozenset(str(one.code or "").upper() for one in (found.errors or () if found is not None else ()))


def words(body: bytes, media_type: str = "") -> str:
    """What it says, safe to print but for secrets."""
    if is_html(body, media_type):
        title = _TITLE.search(body)
        named = shown(text(" ".join(_text(title[1]).split())), 100) if title is not None else ""
        return f"a page in HTML: {quoted(named)}" if named.strip() else "a page in HTML"
    if (message := _XML_MESSAGE.search(body)) is not None:
        code = _XML_CODE.search(body)
        return _safe(html.unescape(_text((code[1] + b": " if code else b"") + message[1])))
    found = _refused(body)
    if found is not None and found.errors:
        return _safe("; ".join(filter(None, map(_said, found.errors[:_MAX_ERRORS]))))
    if found is not None:
        error = found.error.message if isinstance(found.error, _Error) else found.error
        named = ": ".join(filter(None, (found.capital_code, found.capital_message)))
        said = (found.details, found.error_description, found.message, error, named)
        return _safe(next(filter(None, said), ""))
    return "" if body.lstrip()[:1] in (b"{", b"[") else _safe(_text(body[: 4 * MAX_CHARS]))


def _said(one: _Error) -> str:
    """The code again only if the message does not begin with it."""
    code, message = str(one.code or "").lower(), one.message or ""
    return message if message.lower().startswith(code) else f"{code}: {message}" if message else code


def _refused(body: bytes) -> _Refused | None:
    try:
        return msgspec.json.decode(body, type=_Refused)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None


def _text(body: bytes) -> str:
    return body.decode(errors="replace")


def _safe(said: str) -> str:
    return shown(text(" ".join(said.split())), MAX_CHARS)


def hiding(secrets: Iterable[str]) -> Callable[[str], str]:
    """Replaces parts of secrets in a text: also in small letters, escaped, and inside base64."""
    parts = dict[int, set[str]]()
    for secret in {form for one in secrets for form in _forms(one)}:
        size = min(_LIKE, len(secret))
        parts.setdefault(size, set()).update(secret[at : at + size] for at in range(len(secret) - size + 1))

    def hide(said: str) -> str:
        small, covered = said.translate(_SMALL), [False] * len(said)
        for size, known in parts.items():
            for at in range(len(said) - size + 1):
                if small[at : at + size] in known:
                    covered[at : at + size] = [True] * size
        letters = zip(said, covered, [False, *covered], strict=False)
        return "".join(letter if not hidden else "" if before else _HIDDEN for letter, hidden, before in letters)

    return hide


def _forms(secret: str) -> list[str]:
    data = secret.encode()
    encoded = [_inside(data, offset) for offset in range(3)] if len(data) >= _LIKE else []
    escaped = "".join(chr(one) if chr(one) in _UNESCAPED else f"%{one:02x}" for one in data)
    return [one.translate(_SMALL) for one in (secret, escaped, *encoded) if one]


def _inside(data: bytes, offset: int) -> str:
    """What base64 of a longer text has of it: the ends depend on what is around."""
    whole = b64encode(bytes(offset) + data).decode().rstrip("=")
    return whole[4 if offset else 0 : len(whole) // 4 * 4]
