"""What a container runtime says about one try to pull an image, and what that means. Pure.

containerd, CRI-O and Docker wrap errors from the left: what was to be done, which request that took, and then either
why there was no answer (`dial tcp ...: connection refused`), or the answer (`: 403 Forbidden`, `: denied: ...`). What
follows an answer is text of whoever answered, where anything may stand: the errors of another host, or a page. So the
first answer ends what is searched for reasons why there was none.

Names of images, addresses and what stands in quotes are masked first: whoever makes a pod chooses them. What is left
of a name has no spaces, and no pattern here is a single word that may stand where a name may.
"""

import re
from dataclasses import dataclass

from webhook.core.faults import Fault, Layer, layer
from webhook.core.registry import asked_at, repository
from webhook.core.registryanswer import CODES, Reply, Role, meaning
from webhook.core.shown import shown

MAX_NAMES = 10
"""What is kept of the names of a certificate."""


@dataclass(frozen=True, slots=True)
class Words:
    """`host`: where the request went, with its port; empty if the text does not say. `address`: what was dialled.
    `server`: the resolver. `names`: of a certificate that is not taken. `mirror`: the request went to a mirror.
    `anonymous`: no credential was sent; None: not said. `partial`: of several hosts that may have been asked, the text
    tells of one, and others may have failed in a lower layer.
    """

    fault: Fault
    host: str = ""
    role: Role = "registry"
    address: str = ""
    server: str = ""
    names: tuple[str, ...] = ()
    status: int = 0
    mirror: bool = False
    blob: str = ""
    anonymous: bool | None = None
    partial: bool = False


_ESCAPED = r"\\+u[0-9a-fA-F]{4}"
"""How JSON of programs in Go has `&`, also where it is quoted again."""
_URL = re.compile(
    r"https?://(?:[^\s/@\"\\]*@)?(?P<host>[^\s/?#\"\\]*)(?P<path>[^\s?#\"\\]*)"
    rf"(?P<query>\?(?:[^\s\"\\]|{_ESCAPED})*)?"
)
_HOST = re.compile(r"[\w.:%\[\]-]+")
_QUERY, _LINK = re.compile(rf"\?(?:[^\s\"'\\]|{_ESCAPED})*"), re.compile(rf"(?<=://)(?:[^\s\"'\\]|{_ESCAPED})+")
_LOGIN = re.compile(r"(?<![^\s\"'/@:])[^\s\"'/@:]{1,64}:[^\s\"'/@]{1,256}@(?!sha\d)")
_DECODED = re.compile(r'(?<=invalid decoded auth: )"[^"]*"?')
"""containerd's error about a login without a colon has the login in it."""
_TRAILING = ":.,;)"
"""What follows an address without quotes."""
_AT, _MASKED = "\x01", "\x02"
"""What stands for an address, and for other text that is masked; of the same length, so that positions stay."""
_CLEAR = str.maketrans(dict.fromkeys(_AT + _MASKED, "?"))
_QUOTED, _INNER = re.compile(r'"[^"]*"'), re.compile(f"[^{_AT}]")
_IN_JSON = re.compile(r'\{"message":"(.*)"\}\s*', re.DOTALL)
_MIRRORS = re.compile(r"\(Mirrors also failed: .*?\]\): ", re.DOTALL)

_STATUS = re.compile(
    r"(?:: (?=[1-5]\d\d(?: [A-Z][a-z]|\s*$))|[Ss]tatus(?: ?[Cc]ode)?(?: from registry)?:? "
    r"|HTTP (?=[1-5]\d\d response body))"
    r"(?P<status>[1-5]\d\d)\b(?:\)| \([^)]*\)|(?: [A-Z][A-Za-z']*(?:[ -][A-Z][A-Za-z']*)*))?"
)
_SAID = re.compile(
    r"pull access denied|server message: |no basic auth credentials|invalid username/password|authentication required"
    r"|requested access to the resource is denied|does not exist or no pull access|too many requests? to registry"
    r"|missing username or secret"
)
"""Answers without a number and without a code."""
_ANSWERS = (_STATUS, CODES, _SAID)

_LOOKUP = re.compile(r"(?:^|(?<=[: ]))lookup (?P<host>\S+?)(?: on (?P<server>\S+?))?: (?P<why>.{0,300})", re.DOTALL)
_NO_NAME = re.compile(
    r"no such host|(?:getaddrinfow: )?No such host is known|Name or service not known|No address associated|"
    r"Name does not resolve|(?:getaddrinfow: )?The requested name is valid"
)
_NO_RESOLVER = re.compile(
    r"(?:read|write|dial) (?:udp|tcp)|i/o timeout|operation was canceled|context (?:canceled|deadline)|\S* ?timed? ?out"
)
_DIALLED = re.compile(r"dial (?:tcp|udp)[46]? (\[?[\w.:%]+\]?:\w+): |->(\S+?): ")

_NO_ANSWER = (
    (Fault.IMAGE_NAME_INVALID, r"invalid reference format|couldn't parse image name"),
    (Fault.IMAGE_SHORT_NAME, r"short[- ]name (?:mode|resolution) (?:is )?enforc|did not resolve to an alias"),
    (Fault.IMAGE_NEVER_PULLED, r"is not present with pull policy of Never"),
    (Fault.SECRET_UNREADABLE, r"invalid decoded auth: "),
    (Fault.RUNTIME_PROXY, r"proxyconnect tcp|socks connect tcp|invalid proxy address"),
    # Of a proxy that refuses CONNECT Go tells the text of the status alone; its own errors begin with small letters.
    (Fault.RUNTIME_PROXY, rf"{_AT}\"?: (?!EOF)[A-Z][\w' -]+\.?\]?\s*$"),
    (Fault.RUNTIME_CA_FILE, r"unable to read CA cert|failed to load (?:CA|X\.?509|system roots)|for client cert"),
    (Fault.NODE_DISK_FULL, r"no space left on device|disk quota exceeded|not enough space on the disk"),
    (Fault.NODE_BUSY, r"^pull QPS exceeded$"),
    (Fault.RUNTIME_FAILS, r"code = Unavailable desc = (?:connection error|error reading|closing transport|transport)"),
    (Fault.RUNTIME_FAILS, r"connect to the Docker daemon|unknown service runtime\.|read-only file system"),
    (Fault.RUNTIME_FAILS, r"content digest sha256:\w+: not found"),
    (Fault.DNS_NO_SUCH_NAME, r": no such host"),
    # What ends early while it is read is the content; what ends before is the connection.
    (Fault.CONTENT_CUT, r"(?:short read|during read|number of bytes|failed to copy): .{0,200}EOF\b"),
    (Fault.CONTENT_CUT, r"(?:tar file|(?:extract|register) layer)\b.{0,300}EOF\b"),
    (Fault.TCP_REFUSED, r"connection refused|actively refused it"),
    (Fault.TCP_NO_ROUTE, r"no route to host|(?:network|host) is (?:unreachable|down)|unreachable (?:host|network)"),
    (Fault.TCP_NO_ROUTE, r"cannot assign requested address"),
    (Fault.TLS_SILENT, r"TLS handshake timeout"),
    (Fault.TCP_SILENT, r"i/o timeout|(?:connection|operation) timed out|\(Client\.Timeout|did not properly respond"),
    (Fault.TCP_SILENT, r"request canceled while waiting|timeout awaiting response"),
    (Fault.TCP_SILENT, rf"(?:{_AT}\"?|dial tcp \S+): (?:context deadline exceeded|operation was canceled)"),
    (Fault.REGISTRY_NONE, r"malformed HTTP (?:response|status|version)"),
    (Fault.TCP_CUT, r"connection (?:was )?(?:reset|aborted|lost)|forcibly closed|: (?:unexpected )?EOF(?!\w)"),
    (Fault.TCP_CUT, r"server closed idle connection|sent GOAWAY|stream error: |closed network connection|broken pipe"),
    (Fault.TLS_NONE, r"HTTP response to HTTPS client|not look like a TLS handshake|oversized record received"),
    (Fault.TLS_WRONG_NAME, r"certificate is (?:not )?valid for|contain any IP SANs|legacy Common Name"),
    (Fault.TLS_NOT_YET_VALID, r"not yet valid: current time \S+ is before"),
    (Fault.TLS_EXPIRED, r"certificate (?:has expired|is not yet valid)"),
    (Fault.TLS_UNKNOWN_CA, r"unknown authority|certificate is not trusted"),
    (Fault.TLS_FAILS, r"(?:^|: )(?:x509|tls): "),
    (Fault.TOKEN_FAILS, r"decode token response|did not include a token|no realm specified|find supported auth scheme"),
    (Fault.SIGNATURE_REFUSED, r"Source image rejected|signature was required"),
    (Fault.REGISTRY_NONE, r"\(text/html\)|(?:media|MIME) type \S*text/html"),
    (Fault.PLATFORM_MISSING, r"no match for platform|no matching manifest for|no image found in"),
    (Fault.PLATFORM_MISSING, r"image operating system|is incompatible with a |cannot be used on this platform"),
    (Fault.FORMAT_TOO_OLD, r"schema 1 |no longer supported since containerd"),
    (Fault.CONTENT_DAMAGED, r"unexpected commit (?:digest|size)|wrong diff id|[Dd]igest did not match|expected size"),
    (Fault.CONTENT_DAMAGED, r"verification failed for|invalid (?:tar )?header|invalid checksum|corrupt input"),
    (Fault.CONTENT_DAMAGED, r"mismatched image rootfs"),
    (Fault.CONTENT_GONE, r"could not fetch content|content at \S+ not found"),
    (Fault.RUNTIME_FAILS, r"failed to (?:extract layer|register layer|unpack image)|(?:extraction|commit) snapshot"),
)  # fmt: skip
"""In the order of the layers, but that what wraps an error comes after it."""
_NO_ANSWERS = [(fault, re.compile(pattern, re.DOTALL)) for fault, pattern in _NO_ANSWER]
_TIMED_OUT = r"context (?:deadline exceeded|canceled)|request canceled|code = (?:Canceled|DeadlineExceeded)"
_AT_LAST = [
    (Fault.IMAGE_NOT_FOUND, re.compile(r": not found|(?:image|[Tt]ag|repository) \S+ not found|code = NotFound")),
    (Fault.PULL_TIMED_OUT, re.compile(_TIMED_OUT)),
    (Fault.CREDENTIAL_NONE, re.compile(r"no credentials on this request")),
]
"""Where nothing else is said."""

_ANONYMOUS, _LOGGED_IN = "fetch anonymous token", "fetch oauth token"
_TOKEN = re.compile(r"fetch \w+ token|bearer token|auth token")
_TOKEN_QUERY, _MIRROR_QUERY = re.compile(r"[?&](?:scope|service)="), re.compile(r"\?(?:.*&)?ns=")
_BLOBS = re.compile(
    r"httpRead\w*Seeker|(?:reading|writing|fetching|storing) blob\b|(?:pulling|parsing) image configuration"
    r"|content descriptor|short read: |failed to copy: "
)
_PINGED = re.compile(r"pinging (?:container|docker) registry ")
_COMMITTED = re.compile(r'commit on ref "(?:config|layer)-')
_PATH = re.compile(r"/(manifests|blobs)/[^/]+/?$")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_IMAGE = re.compile(
    r'(?:image|reference) "(?P<quoted>[^"\s]+)"|docker://(?P<docker>[^\s]+)|resolve image: (?P<bare>\S+): not found'
    r"|manifest \S+ in (?P<named>\S+): |registry (?P<pinged>\S+): "
)
_VALID_FOR, _BUT_NOT = "certificate is valid for ", ", not "

_AT_ROLE: dict[tuple[Fault, Role], Fault] = {
    (Fault.REGISTRY_NONE, "realm"): Fault.TOKEN_FAILS,
    (Fault.CONTENT_GONE, "registry"): Fault.IMAGE_NOT_FOUND,
}
_OF_A_REQUEST = frozenset(fault for fault in Fault if layer(fault) in range(Layer.DNS, Layer.UNKNOWN)) | {
    Fault.RUNTIME_PROXY,
    Fault.RUNTIME_CA_FILE,
}
_NOT_THERE = frozenset({Fault.IMAGE_NOT_FOUND, Fault.CONTENT_GONE})


def read(text: str) -> Words:
    """`text`: one error of a runtime, bounded by the caller."""
    text = _IN_JSON.sub(lambda found: found[1], text.translate(_CLEAR))
    tried = _MIRRORS.search(text)
    text = text[tried.end() :] if tried else text
    masked, urls = _mask(text)
    answer = _first_answer(masked)
    head = masked[: answer.start()] if answer else masked
    url = next((one for one in reversed(urls) if one.start() < len(head)), None)
    role = _role(text, head, url)
    mirror = bool(url and _MIRROR_QUERY.match(url["query"] or ""))
    sent = True if _LOGGED_IN in head else False if _ANONYMOUS in head else None
    fault = _unanswered(head, role)
    if fault is not None or answer is None:
        answer, status = None, 0
        fault = fault or next((one for one, pattern in _AT_LAST if pattern.search(head)), Fault.NOT_KNOWN)
    else:
        status = int(answer.groupdict().get("status") or 0)
        said, page, pinged = masked[answer.start() :], text[answer.start() :], bool(_PINGED.search(head))
        fault = meaning(Reply(said, page, status, role, mirror=mirror, pinged=pinged), sent=sent)
    if fault is Fault.CREDENTIAL_NONE:
        sent = False
    lookup = _LOOKUP.search(head)
    digest = _DIGEST.search(text, url.start() if url else 0)
    return Words(
        fault,
        _host(url, lookup) or (_of_image(text, head) if role == "registry" and fault in _OF_A_REQUEST else ""),
        role,
        address=_address(head),
        server=_name(lookup["server"] or "") if lookup else "",
        names=_names(text) if fault is Fault.TLS_WRONG_NAME else (),
        status=status,
        mirror=mirror,
        blob=digest[0] if digest and role == "blobs" else "",
        anonymous=None if sent is None else not sent,
        # Where hosts were asked in turn, the error of one hides those of the others, above all "not found".
        partial=bool(tried) or mirror or (url is None and answer is None and fault in _NOT_THERE),
    )


def safe(text: str, longest: int) -> str:
    """A query in an address may be a signature, and what stands before `@` a password, in which anything may stand."""
    text = _LINK.sub(lambda found: _without_login(found[0]), _DECODED.sub('"..."', text))
    return shown(_LOGIN.sub("", _QUERY.sub("", text)), longest)


def _without_login(link: str) -> str:
    bare = link.rstrip(_TRAILING)
    place, _, query = bare.partition("?")
    before, _, after = place.rpartition("@")
    if "@" in query:  # of a login or of a query
        place = re.split("[/:]", place, maxsplit=1)[0]
    elif before and not after.startswith("sha"):
        place = after
    return place + link[len(bare) :]


def _mask(text: str) -> tuple[str, list[re.Match[str]]]:
    urls = [*_URL.finditer(text)]
    parts, end = [], 0
    for one in urls:
        length = len(one[0].rstrip(_TRAILING))
        parts += [text[end : one.start()], _AT * length]
        end = one.start() + length
    masked = "".join([*parts, text[end:]])
    return _QUOTED.sub(lambda found: f'"{_INNER.sub(_MASKED, found[0][1:-1])}"', masked), urls


def _first_answer(masked: str) -> re.Match[str] | None:
    found = [one for one in (pattern.search(masked) for pattern in _ANSWERS) if one is not None]
    return min(found, key=lambda one: one.start(), default=None)


def _unanswered(head: str, role: Role) -> Fault | None:
    lookup = _LOOKUP.search(head)
    for fault, pattern in _NO_ANSWERS:
        if lookup is not None and fault is Fault.DNS_NO_SUCH_NAME:
            return _of_lookup(lookup["why"])
        if pattern.search(head):
            return _AT_ROLE.get((fault, role), fault)
    return None


def _of_lookup(why: str) -> Fault:
    if _NO_NAME.match(why):
        return Fault.DNS_NO_SUCH_NAME
    return Fault.DNS_SILENT if _NO_RESOLVER.match(why) else Fault.DNS_FAILS


def _role(text: str, head: str, url: re.Match[str] | None) -> Role:
    if _TOKEN.search(head):
        return "realm"
    path = _PATH.search(url["path"].rstrip(_TRAILING)) if url else None
    if path:
        return "blobs" if path[1] == "blobs" else "registry"
    if url and _TOKEN_QUERY.search(url["query"] or ""):
        return "realm"
    return "blobs" if _BLOBS.search(head) or _COMMITTED.search(text) else "registry"


def _host(url: re.Match[str] | None, lookup: re.Match[str] | None) -> str:
    if url is None:
        return _name(lookup["host"].rpartition("@")[2]) if lookup else ""
    host = url["host"].rstrip(_TRAILING).rpartition("@")[2]
    return "" if "@" in f"{url['path']}{url['query']}" else shown(host)


def _name(host: str) -> str:
    """Of a malformed proxy the whole address is looked up, with its query."""
    return shown(host) if _HOST.fullmatch(host) else ""


def _of_image(text: str, head: str) -> str:
    image = _IMAGE.search(text, 0, len(head)) or _IMAGE.search(text)
    if image is None:
        return ""
    name = next(filter(None, image.groups()))
    return shown(name if image["pinged"] else asked_at(repository(name).partition("/")[0]) or "")


def _address(head: str) -> str:
    dialled = _DIALLED.search(head)
    return shown(dialled[1] or dialled[2]) if dialled and "dial udp" not in dialled[0] and "lookup " not in head else ""


def _names(text: str) -> tuple[str, ...]:
    _, found, rest = text.partition(_VALID_FOR)
    listed, found, _ = rest.partition(_BUT_NOT)
    names = [safe(name, 260) for name in listed.split(", ")] if found else []
    return tuple(names[:MAX_NAMES])
