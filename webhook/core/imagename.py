"""The name of an image, taken apart as container runtimes do it. Pure.

Source: the grammar of github.com/distribution/reference. Whoever makes a pod chooses the name: what does not follow the
grammar is in no address that is asked.
"""

import re
from dataclasses import dataclass

from webhook.core.registry import repository

MAX_CHARS = 255
"""Of a name without its tag and digest."""
_HOST = re.compile(
    r"(?:[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*|\[[0-9A-Fa-f:]+\])"
    r"(?::[0-9]{1,5})?"
)
_PART = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_PART}(?:/{_PART})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[0-9a-f]{32,128}")


@dataclass(frozen=True, slots=True)
class ImageName:
    """`version`: its digest, else its tag; `latest` if it has neither."""

    host: str
    path: str
    version: str

    def __str__(self) -> str:
        """As nodes list it."""
        return f"{self.host}/{self.path}{'@' if self.digest else ':'}{self.version}"

    @property
    def digest(self) -> str:
        """Empty: it is named by a tag."""
        return self.version if ":" in self.version else ""


def image_name(image: str) -> ImageName | None:
    """None: it is not valid. `nginx` is library/nginx of docker.io."""
    name, at, digest = image.partition("@")
    before, slash, last = name.rpartition("/")
    last, colon, tag = last.partition(":")
    host, _, path = repository(image).partition("/")
    valid = (
        len(before + slash + last) <= MAX_CHARS
        and _HOST.fullmatch(host)
        and _PATH.fullmatch(path)
        and (not colon or _TAG.fullmatch(tag))
        and (not at or is_digest(digest))
    )
    return ImageName(host, path, digest or tag or "latest") if valid else None


def is_repository(text: str) -> bool:
    """Of a registry, without its host, or what such a name begins with up to a slash."""
    return len(text) <= MAX_CHARS and _PATH.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    return len(text) <= MAX_CHARS and _DIGEST.fullmatch(text) is not None
