"""What the kubelet says about an image that it cannot pull, and what that means. Pure.

Source: k8s.io/kubernetes/pkg/kubelet/images. The message of a waiting container has what the container runtime says,
one error for each credential that the kubelet tried. A kubelet that cannot parse one of a pod's pull secrets gives the
parser's error as the reason, and pulls nothing.
"""

import re
from enum import StrEnum

from webhook.core import runtimewords
from webhook.core.faults import Fault
from webhook.core.runtimewords import Words
from webhook.core.shown import shown

REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "RegistryUnavailable",
        "ErrImageNeverPull",
        "ImageInspectError",
        "SignatureValidationFailed",
    }
)
"""Reasons of containers that wait for an image that cannot be pulled."""
MAX_SAID_CHARS = 4096
"""Characters of a message that are looked at."""
MAX_TRIES = 10
"""Credentials whose errors are told apart."""
_OF_REASON = {
    "InvalidImageName": Fault.IMAGE_NAME_INVALID,
    "ErrImageNeverPull": Fault.IMAGE_NEVER_PULLED,
    "SignatureValidationFailed": Fault.SIGNATURE_REFUSED,
}
"""Reasons that say all."""
_UNAVAILABLE, _NOT_INSPECTED = "RegistryUnavailable", "ImageInspectError"
_UNTOLD = frozenset({Fault.NOT_KNOWN, Fault.IMAGE_NOT_FOUND, Fault.PULL_TIMED_OUT})
_NO_INTENT = "Failed to record image pull intent"
_BACKING_OFF = re.compile(
    rf'Back-off pulling image "[^"]*"(?:: (?:({"|".join(sorted(REASONS))}): )?)?|Failed to pull image "[^"]*": '
)
"""What stands before the error in a status and in an Event."""
_FAILED = re.compile(
    r"image pull failed for \S+ because the (?:registry is unavailable|signature validation failed)(?:: )?"
)
_NEXT = re.compile(
    r", (?=rpc error: code = |failed to (?:pull and unpack|resolve|authorize) |get image config |unable to pull image "
    r"|Error response from daemon: |(?:[Ee]rror )?(?:initializing source|pinging|reading manifest) "
    r"|[Rr]equesting bearer token: |unable to retrieve auth token: |copying system image )"
)
"""Between two errors: what those of runtimes begin with."""
_BEFORE = re.compile(
    r'.*(?:Head|Get) "[^"]*": |.*failed to resolve (?:image|reference "[^"]*"): |rpc error: ', re.DOTALL
)


class Said(StrEnum):
    """What went wrong, as far as `status` and `explain` tell it."""

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


_COARSE = {
    Fault.IMAGE_NAME_INVALID: Said.NO_NAME,
    Fault.IMAGE_SHORT_NAME: Said.NO_NAME,
    Fault.SECRET_UNREADABLE: Said.UNREADABLE,
    Fault.RUNTIME_PROXY: Said.CONNECTION,
    Fault.RUNTIME_CA_FILE: Said.CERTIFICATE,
    Fault.DNS_NO_SUCH_NAME: Said.ADDRESS,
    Fault.DNS_FAILS: Said.ADDRESS,
    Fault.DNS_SILENT: Said.ADDRESS,
    Fault.TCP_REFUSED: Said.CONNECTION,
    Fault.TCP_SILENT: Said.CONNECTION,
    Fault.TCP_NO_ROUTE: Said.CONNECTION,
    Fault.TCP_CUT: Said.CONNECTION,
    Fault.TLS_NONE: Said.CERTIFICATE,
    Fault.TLS_SILENT: Said.CONNECTION,
    Fault.TLS_WRONG_NAME: Said.CERTIFICATE,
    Fault.TLS_EXPIRED: Said.CERTIFICATE,
    Fault.TLS_NOT_YET_VALID: Said.CERTIFICATE,
    Fault.TLS_UNKNOWN_CA: Said.CERTIFICATE,
    Fault.TLS_FAILS: Said.CONNECTION,
    Fault.REGISTRY_RATE_LIMIT: Said.BUSY,
    Fault.REGISTRY_BROKEN: Said.BROKEN,
    Fault.REGISTRY_BLOCKED: Said.BROKEN,
    Fault.MIRROR_FAILS: Said.BROKEN,
    Fault.TOKEN_FAILS: Said.BROKEN,
    Fault.TOKEN_ANONYMOUS: Said.UNSENT,
    Fault.CREDENTIAL_NONE: Said.UNSENT,
    Fault.TOKEN_REFUSED: Said.UNAUTHORIZED,
    Fault.CREDENTIAL_REFUSED: Said.UNAUTHORIZED,
    Fault.TOKEN_NO_ACCESS: Said.FORBIDDEN,
    Fault.IMAGE_NOT_FOUND: Said.NOT_FOUND,
    Fault.CONTENT_CUT: Said.CONNECTION,
    Fault.PULL_TIMED_OUT: Said.CONNECTION,
}
"""All others: OTHER."""
_ORDER = {fault: at for at, fault in enumerate(Fault)}


def is_stuck(reason: str, message: str) -> bool:
    """Does the container that waits for this reason wait for its image? The kubelet's own reasons are one word."""
    return reason in REASONS or (" " in reason and (reason == message or message.startswith(_NO_INTENT)))


def heard(reason: str, message: str) -> tuple[Words, ...]:
    """What it means, for each credential that was tried. None: the message does not say it."""
    text = message[:MAX_SAID_CHARS]
    backing_off = _BACKING_OFF.match(text)
    if backing_off:
        text, reason = text[backing_off.end() :], backing_off[1] or reason
    if reason in _OF_REASON:
        return (Words(_OF_REASON[reason]),)
    failed = _FAILED.match(text)
    text = text[failed.end() :] if failed else text
    if not text.strip():
        return (Words(Fault.TCP_REFUSED),) if reason == _UNAVAILABLE else ()
    if reason not in REASONS:
        return (_of_kubelet(text),)
    inner = text[1:].removesuffix("]") if text.startswith("[") else text
    words = tuple(map(runtimewords.read, _NEXT.split(inner, MAX_TRIES - 1)))
    if reason == _NOT_INSPECTED and words[0].fault in _UNTOLD:
        return (Words(Fault.RUNTIME_FAILS),)
    return words


def _of_kubelet(text: str) -> Words:
    """Its own error: hardly any but that of the parser of pull secrets."""
    found = runtimewords.read(text)
    if found.fault in {Fault.IMAGE_NAME_INVALID, Fault.NODE_DISK_FULL}:
        return found
    return Words(Fault.RUNTIME_FAILS if text.startswith(_NO_INTENT) else Fault.SECRET_UNREADABLE)


def lowest(words: tuple[Words, ...]) -> Words | None:
    """The one in the lowest layer: a registry that is not reached says nothing about credentials."""
    return min(words, key=lambda one: _ORDER[one.fault], default=None)


def coarse(words: tuple[Words, ...]) -> Said:
    found = lowest(words)
    return _COARSE.get(found.fault, Said.OTHER) if found else Said.NOTHING


def text(message: str) -> str:
    """Safe to print."""
    return runtimewords.safe(message[:MAX_SAID_CHARS], 500)


def end(message: str) -> str:
    """The last part, which says what is wrong."""
    said = text(message)
    return shown(_BEFORE.sub("", _BACKING_OFF.sub("", said))) or said
