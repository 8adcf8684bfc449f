"""What an answer of a registry, or that there is none, means for a pull: a fault, or none.

Here its headers and what was sent are known. What its words mean is in registryanswer.py, as for those of runtimes.
"""

import re
import socket
from collections.abc import Mapping
from errno import ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, ETIMEDOUT
from typing import Literal

import aiohttp

from webhook.checks.guardedhttp import Response, Unanswered
from webhook.commands.doctor.tlserrors import FAULTS, of_certificate, of_handshake
from webhook.core import registryanswer
from webhook.core.answer import codes, is_html, words
from webhook.core.challenge import challenge
from webhook.core.check import Why
from webhook.core.faults import Fault
from webhook.core.manifest import Manifest, is_of

What = Literal["challenge", "token", "manifest", "blob"]
_API = "Docker-Distribution-Api-Version"
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")


def _said(found: Response) -> str:
    """Words of who refuses. A page is of somebody else."""
    return "" if found.status < 400 or _is_strange(found) else words(found.body, media_type(found))


def _of_any(found: Response) -> Fault | None:
    """What has nothing to do with what was asked."""
    turned_away = registryanswer.turned_away(found.status, _said(found))
    return turned_away or (Fault.REGISTRY_BROKEN if found.status >= 500 else None)


def of_token(found: Response, *, anonymous: bool) -> Fault | None:
    if 300 <= found.status < 400 or (found.status == 200 and _TOKEN.fullmatch(found.token)):
        return None
    if (fault := _of_any(found)) is not None and fault is not Fault.REGISTRY_BROKEN:
        return fault
    if found.status == 405:  # container runtimes use POST first, and GET where that is not known
        return Fault.NOT_KNOWN
    if found.status not in (401, 403) or (found.status == 401 and _is_strange(found)):
        return Fault.TOKEN_FAILS
    if _is_strange(found):
        return Fault.REGISTRY_BLOCKED
    return Fault.TOKEN_ANONYMOUS if anonymous else registryanswer.of_token_service(_said(found))


def of_manifest(found: Response, login: Mapping[str, str], *, anonymous: bool) -> Fault | None:
    """`anonymous`: there is no credential. `login`: what was sent, which may be a token for anybody."""
    if (fault := _of_any(found)) is not None:
        return fault
    known = challenge(found.challenges)
    match found.status:
        case 401 if _is_strange(found) or (known is None and not login):
            return Fault.REGISTRY_NONE
        case 401 if not login:
            return Fault.NOT_KNOWN
        case 401 | 403 if login and anonymous and not _is_strange(found):
            return Fault.CREDENTIAL_NONE
        case 401 if login.get("Authorization", "").startswith("Basic "):
            return Fault.CREDENTIAL_REFUSED
        case 401:
            wrong = known is not None and known.error == "invalid_token"
            return Fault.TOKEN_FAILS if wrong else registryanswer.of_refusal(_said(found)) or Fault.TOKEN_NO_ACCESS
        case 403 if not login or _is_strange(found):
            return Fault.REGISTRY_BLOCKED
        case 403:
            return registryanswer.of_refusal(_said(found)) or Fault.TOKEN_NO_ACCESS
        case 404:
            kind = media_type(found)
            known_to_registry = _API in found.headers or codes(found.body) or not kind.startswith("text/")
            return Fault.IMAGE_NOT_FOUND if known_to_registry else Fault.REGISTRY_NONE
        case 407:
            return Fault.REGISTRY_NONE
    if found.status >= 400:
        return Fault.NOT_KNOWN
    return Fault.REGISTRY_NONE if is_html(found.body, media_type(found)) else None


def of_content(found: Response, read: Manifest | None, digest: str) -> Fault | None:
    if read is None:
        return Fault.REGISTRY_NONE
    if read.old:
        return Fault.FORMAT_TOO_OLD
    right = is_of(found.body, digest or found.headers.get("Docker-Content-Digest", ""))
    return Fault.CONTENT_DAMAGED if right is False else None


def of_blob(found: Response) -> Fault | None:
    if found.status in (401, 403):
        return Fault.BLOB_REFUSED
    return Fault.CONTENT_GONE if found.status in (404, 410) else _of_any(found)


def _is_strange(found: Response) -> bool:
    """A proxy or a portal answers in the place of a registry: with a page, and without a challenge."""
    return challenge(found.challenges) is None and is_html(found.body, media_type(found))


_WAITED = {"name": Fault.DNS_SILENT, "connection": Fault.TCP_SILENT}
_ERRNO = {
    ECONNREFUSED: Fault.TCP_REFUSED,
    EHOSTUNREACH: Fault.TCP_NO_ROUTE,
    ENETUNREACH: Fault.TCP_NO_ROUTE,
    ETIMEDOUT: Fault.TCP_SILENT,
}
_NO_NAME = frozenset(getattr(socket, name, None) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY"))


def of_error(e: Unanswered, what: What) -> Fault | None:
    """None: it was not asked."""
    inner = getattr(e.error, "os_error", e.error)
    match e.why:
        case Why.NO_ANSWER if e.waited_for in _WAITED:
            return _WAITED[e.waited_for]
        case Why.NO_ANSWER:
            return Fault.TOKEN_FAILS if what == "token" else Fault.REGISTRY_BROKEN
        case Why.NO_REGISTRY:
            return Fault.TOKEN_FAILS if what == "token" else Fault.REGISTRY_NONE
        case Why.CERTIFICATE:
            found = getattr(e.error, "certificate_error", None)
            return FAULTS[of_certificate(getattr(found, "verify_code", 0))]
        case Why.HANDSHAKE:
            return FAULTS[of_handshake(getattr(inner, "reason", ""))]
        case Why.NO_ADDRESS if isinstance(e.error, aiohttp.ClientConnectorDNSError):
            return Fault.DNS_NO_SUCH_NAME if getattr(inner, "errno", None) in _NO_NAME else Fault.DNS_FAILS
        case Why.NO_CONNECTION:
            return _ERRNO.get(getattr(inner, "errno", None) or 0, Fault.TCP_CUT)
    return None


_COUNT = re.compile(r"(\d{1,7})(?:;w=(\d{1,7}))?", re.ASCII)


def limits(found: Response) -> list[str]:
    """Docker Hub's headers: how many pulls there may be in how many seconds, and how many are left."""
    limit, left, wait = (
        _COUNT.fullmatch(found.headers.get(name, "").strip())
        for name in ("RateLimit-Limit", "RateLimit-Remaining", "Retry-After")
    )
    said = []
    if limit is not None:
        within = f" in {int(limit[2]) / 3600:g} hours" if limit[2] else ""
        said.append(f"it allows {limit[1]} pulls{within}{f', of which {left[1]} are left' if left is not None else ''}")
    if wait is not None:
        said.append(f"it asks to wait for {wait[1]} seconds")
    return said


def media_type(found: Response) -> str:
    return found.headers.get("Content-Type", "").partition(";")[0].strip().lower()
