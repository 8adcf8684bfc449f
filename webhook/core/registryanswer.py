"""What an answer means that a pull cannot go on with. Pure.

The status counts most, where it is told (Docker and CRI-O often tell only the code of the error, such as `denied`).
But registries use one status for several things: 401 also for who may not read a repository (Quay, Harbor), and 403
also for tokens that have ended (ECR). There their words count.
"""

import re
from dataclasses import dataclass
from typing import Literal

from webhook.core.faults import Fault

Role = Literal["registry", "realm", "blobs"]
"""Whom a request went to: the registry, the service that gives tokens for it, or the host of its blobs."""


@dataclass(frozen=True, slots=True)
class Reply:
    """`said`: from the status or the code of the error on, without names that others chose; `page`: the same as it is,
    which may be HTML. `status` 0: not told. `mirror`: of a mirror. `pinged`: to a request for nothing but `/v2/`.
    """

    said: str
    page: str
    status: int
    role: Role = "registry"
    mirror: bool = False
    pinged: bool = False


CODES = re.compile(
    r"(?:^|(?<=: )|(?<=\n)|(?<=desc = ))(?i:(?P<code>toomanyrequests|denied|unauthorized|insufficient_scope|unknown|"
    r"(?:name|manifest|blob)[ _]unknown|repository name not known))(?=[:,\n\]]|$)"
)
"""Of errors, as the specification of registries has them, and runtimes write them."""
_ABSENT = frozenset({"name unknown", "manifest unknown", "repository name not known"})
_PAGE = re.compile(r"character '<'|<!doctype|<html", re.IGNORECASE)
_NO_ROUTE = "404 page not found"
"""What servers in Go say that know no such path."""
_BUSY = re.compile(r"too many requests|rate limit|(?:rate|limit) exceeded|exceeded your .{0,40}quota", re.IGNORECASE)
_BLOCKED = re.compile(r"client with IP|due to .{0,80}polic(?:y|ies)")
_UNSENT = re.compile(r"no basic auth|missing username or secret|not login yet|[Uu]nauthenticated request")
_WRONG_LOGIN = "invalid username/password"
"""CRI-O, of 401 from a token service, also if no login was sent."""
_WRONG = re.compile(
    r"token (?:has expired|is expired|is invalid)|included in the request is (?:invalid|expired)|: invalid_token"
    r"|(?:incorrect|bad) (?:username|credentials)|password or token is incorrect"
    r"|(?<!may have )invalid (?:username|credential|token)|cannot be authenticated",
    re.IGNORECASE,
)
_NO_RIGHT = re.compile(
    r"not (?:have|allowed|authorized|permitted)|permission \S+ denied|: permission_denied: |unauthorized to access"
    r"|needed permissions|access forbidden|: insufficient_scope|no pull access|pull access denied|requested access",
    re.IGNORECASE,
)
_NO_PROJECT = re.compile(r"project \S+ not found")
"""Harbor, with 401."""


def meaning(reply: Reply, *, sent: bool | None) -> Fault:
    """`sent`: was a credential sent? None: not told."""
    said, status, role = reply.said, reply.status, reply.role
    code = _code(said)
    refused = status in {401, 403} or (not status and code in {"denied", "unauthorized"})
    if code == "toomanyrequests":
        return Fault.REGISTRY_RATE_LIMIT
    if status == 407:
        return Fault.RUNTIME_PROXY
    if (fault := turned_away(status, said)) is not None:
        return fault
    if status == 403 and _PAGE.search(reply.page):
        return Fault.REGISTRY_BLOCKED
    if _UNSENT.search(said):
        return Fault.CREDENTIAL_NONE
    if role == "realm" or _WRONG_LOGIN in said:
        if status and not refused:
            return Fault.TOKEN_FAILS
        if sent is False:
            return Fault.TOKEN_ANONYMOUS
        return of_token_service(said)
    if role == "blobs" and (refused or status in {404, 410}):
        return Fault.BLOB_REFUSED if refused else Fault.CONTENT_GONE
    if status and status not in {401, 403, 404}:
        return Fault.MIRROR_FAILS if reply.mirror else Fault.REGISTRY_BROKEN
    return _of_registry(reply, code)


def turned_away(status: int, said: str = "") -> Fault | None:
    """Why nobody gets an answer, whatever is asked. None: it is not so."""
    if status == 429 or _BUSY.search(said):
        return Fault.REGISTRY_RATE_LIMIT
    return Fault.REGISTRY_BLOCKED if status in {402, 412, 451} or _BLOCKED.search(said) else None


def of_token_service(said: str) -> Fault:
    """Of one that refuses a credential."""
    return Fault.TOKEN_NO_ACCESS if _NO_RIGHT.search(said) else Fault.TOKEN_REFUSED


def of_refusal(said: str) -> Fault | None:
    """What the words of a registry that refuses tell beyond its status. None: nothing."""
    if _NO_PROJECT.search(said):
        return Fault.IMAGE_NOT_FOUND
    if _WRONG.search(said):
        return Fault.CREDENTIAL_REFUSED
    return Fault.TOKEN_NO_ACCESS if _NO_RIGHT.search(said) else None


def _code(said: str) -> str:
    found = CODES.search(said)
    return found["code"].lower().replace("_", " ") if found else ""


def _of_registry(reply: Reply, code: str) -> Fault:
    said, status = reply.said, reply.status
    if status == 404:
        nobody = reply.pinged or _NO_ROUTE in reply.page or _PAGE.search(reply.page)
        return Fault.REGISTRY_NONE if nobody else Fault.IMAGE_NOT_FOUND
    if (fault := of_refusal(said)) is not None:
        return fault
    if status == 403 or code in {"denied", "insufficient scope"}:
        # GitHub's token service says this; Docker does not tell who said it.
        return Fault.TOKEN_REFUSED if said.startswith("denied: denied") else Fault.TOKEN_NO_ACCESS
    if status == 401 or code == "unauthorized" or "authentication required" in said:
        return Fault.CREDENTIAL_REFUSED
    if code in _ABSENT or (code and "not found" in said):
        return Fault.IMAGE_NOT_FOUND
    return Fault.CONTENT_GONE if code == "blob unknown" else Fault.NOT_KNOWN
