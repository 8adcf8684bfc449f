"""What the kubelet says about an image that it cannot pull, and what that means. Pure.

Sources: k8s.io/kubernetes/pkg/kubelet/images and what containerd, CRI-O and Docker say. A kubelet that cannot parse one
of a pod's pull secrets gives the parser's error as the reason, and pulls nothing.
"""

import re
from enum import StrEnum

from webhook.core.shown import shown

REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "RegistryUnavailable"})
"""Reasons of containers that wait for an image that cannot be pulled."""
MAX_SAID_CHARS = 4096
"""Characters of a message that are looked at."""
_QUERY, _USER = re.compile(r"\?[^\s\"'\\]*"), re.compile(r"(?<=://)[^\s/@]+@")
_NAMES = re.compile(r'\\?"[^"]*"|https?://\S*')
"""Of images and in addresses: whoever makes a pod chooses them."""
_BACKING_OFF = re.compile(r'Back-off pulling image "[^"]*"(?:: \w+: )?')
_BEFORE = re.compile(
    r'.*(?:Head|Get) "[^"]*": |.*failed to resolve (?:image|reference "[^"]*"): |rpc error: ', re.DOTALL
)


class Said(StrEnum):
    """What went wrong, as far as the kubelet says it."""

    UNREADABLE = "unreadable"
    NO_NAME = "no name"
    ADDRESS = "address"
    CERTIFICATE = "certificate"
    CONNECTION = "connection"
    BUSY = "busy"
    BROKEN = "broken"
    UNSENT = "unsent"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not found"
    OTHER = "other"
    NOTHING = "nothing"


_WORD = r"(?<![\w/.-])"  # not in the name of an image
_PATTERNS = [
    (Said.ADDRESS, r"dial tcp: lookup |\blookup \S+( on \S+)?: |no such host|proxyconnect tcp"),
    (Said.CERTIFICATE, r"x509: |unable to read CA cert|server gave HTTP response|not look like a TLS handshake"),
    (Said.BUSY, r"\b429 Too Many|toomanyrequests"),
    (Said.CONNECTION, r"connection (refused|reset)|i/o timeout|no route to host|network is unreachable|: EOF\b"),
    (Said.CONNECTION, r"handshake timeout|code = Canceled|DeadlineExceeded|deadline exceeded|unexpected EOF"),
    (Said.BROKEN, r" 5\d\d [A-Z]| 451 "),
    (Said.UNSENT, r"no basic auth credentials|fetch anonymous token: .* 40[13] "),
    (Said.UNAUTHORIZED, rf"\b401 [A-Z(]|{_WORD}(unauthorized|invalid username/password|authentication required)"),
    (Said.FORBIDDEN, rf"\b403 [A-Z(]|{_WORD}(denied|insufficient_scope)"),
    (Said.OTHER, r"no match for platform|could not fetch content|unexpected media type"),
    (Said.NOT_FOUND, r": not found|\b404 Not Found|manifest unknown|name unknown"),
]  # fmt: skip
_SAYS = [(said, re.compile(pattern, re.DOTALL)) for said, pattern in _PATTERNS]


def is_stuck(reason: str, message: str) -> bool:
    """Does the container that waits for this reason wait for its image? The kubelet's own reasons are one word."""
    return reason in REASONS or (" " in reason and reason == message)


def what(reason: str, message: str) -> Said:
    """The first of these that the text has: a registry that is not reached says nothing about credentials."""
    if reason == "InvalidImageName":
        return Said.NO_NAME
    if reason not in REASONS:
        return Said.UNREADABLE
    text = _NAMES.sub('""', _BACKING_OFF.sub("", message[:MAX_SAID_CHARS]))
    if not text.strip():
        return Said.CONNECTION if reason == "RegistryUnavailable" else Said.NOTHING
    return next((said for said, pattern in _SAYS if pattern.search(text)), Said.OTHER)


def text(message: str) -> str:
    """Safe to print. A query in an address may be a signature, and what stands before `@` a password."""
    return shown(_USER.sub("", _QUERY.sub("", message[:MAX_SAID_CHARS])), 500)


def end(message: str) -> str:
    """The last part, which says what is wrong."""
    said = text(message)
    return shown(_BEFORE.sub("", _BACKING_OFF.sub("", said))) or said
