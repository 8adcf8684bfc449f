"""The table of pulls that fail: how the registry does it, which Secrets the pod has, and what the cause is."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from doctor.registries import (
    NO_BLOB,
    PASSWORD,
    RIGHT,
    Serve,
    always,
    basic,
    bearer,
    cut,
    damaged,
    elsewhere,
    error,
    full,
    hang_up,
    http,
    https,
    mainframe,
    nothing,
    raw,
    refuses,
    registry,
    reset,
    schema_1,
    silent,
    speaks_ssh,
    without_scope,
)
from support import planted
from webhook.core.faults import Fault
from webhook.core.names import DISABLED, DOCKERCONFIG_TYPE, INJECT

Resolves = Literal["hosts file", "wrong line", "no route", "poisoned", "NXDOMAIN", "SERVFAIL", "REFUSED", "silent"]
"""How the node finds the address: by a line in its hosts file, which may be wrong or lead nowhere, else by what its DNS
server says.
"""
Where = Literal["container", "init container", "ephemeral container", "volume"]
Login = Mapping[str, str]
NAMESPACE, HTML = "pulls", "text/html"
ASK, NODE = "--ask", "--node"


@dataclass(frozen=True)
class Secret:
    """`logins`: by key in `auths`; the key `` is the registry's own name. None: there is no such Secret."""

    logins: Mapping[str, Login] | None
    kind: str = DOCKERCONFIG_TYPE


@dataclass(frozen=True)
class Served:
    """What the webhook knows. `secret`: the owner's source Secret. `limited`: it is for namespaces that are called
    otherwise. `early`: the pod is older than the webhook.
    """

    secret: Secret
    limited: bool = False
    early: bool = False


@dataclass(frozen=True)
class Case:
    """`said`: what the kubelet's words mean by themselves; None: the pod runs. `is_`: the cause, if it is another one,
    and `looks`: where doctor must look for it besides. `toml`: the node's hosts.toml for this registry, instead of one
    that trusts its CA. `mirror`: whose registry is asked first. `after`: another case, whose pod has brought the image
    to the node. `served`: the pod is in a namespace of its own, whose owner has a pull secret by the webhook. `quick`:
    it is in `make test`.
    """

    name: str
    said: Fault | None
    serve: Serve = nothing
    is_: Fault | None = None
    looks: tuple[str, ...] = ()
    secrets: tuple[Secret, ...] = ()
    resolves: Resolves = "hosts file"
    image: str = ""
    where: Where = "container"
    policy: str = "Always"
    mirror: str = ""
    toml: str | None = None
    after: str = ""
    served: Served | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    quick: bool = False
    host: str = field(init=False)

    def __post_init__(self) -> None:
        host = self.image.partition("/")[0] if self.image else f"{self.name}.test"
        object.__setattr__(self, "host", host)

    @property
    def fault(self) -> Fault | None:
        return self.is_ or self.said

    @property
    def serves(self) -> bool:
        """Has it a registry of its own?"""
        return not self.image or self.serve is not nothing

    @property
    def namespace(self) -> str:
        return NAMESPACE if self.served is None else f"{NAMESPACE}-{self.name}"

    @property
    def secret_names(self) -> list[str]:
        return [f"{self.name}-{n}" for n in range(1, len(self.secrets) + 1)]

    @property
    def pulled(self) -> str:
        return self.image or f"{self.host}/team/app:1"


def login(user: str, password: str) -> Login:
    return {"username": user, "password": password}


def one(user: str, password: str = PASSWORD, key: str = "") -> Secret:
    return Secret({key: login(user, password)})


ALICE, WRONG = one("alice"), one("alice", planted.token())
UNREADABLE = {"auth": "%%%not-base64"}
DENIED = error(403, "DENIED", "requested access to the resource is denied")
READ_PACKAGE = error(403, "DENIED", "permission_denied: read_package")
UNAUTHORIZED = error(401, "UNAUTHORIZED", "authentication required")
MANY = error(429, "TOOMANYREQUESTS", "You have reached your unauthenticated pull rate limit.", "Retry-After: 3600")
FORBIDDEN = always(403, "<html><h1>403 Forbidden</h1>Your client does not have permission</html>", kind=HTML)
MISSING = error(404, "MANIFEST_UNKNOWN", "manifest unknown")
TOKEN = always(200, json.dumps(dict.fromkeys(("token", "access_token"), planted.token())))
NOT_SERVED = Fault.NAMESPACE_NOT_SERVED
"""Of the namespace of all cases that are not `served`."""
GITHUB = ("*.github.io", "*.github.com", "github.io")
PAGES = https(RIGHT, *GITHUB)
"""What stands where the poisoned DNS points: it has the certificate of GitHub Pages."""

_DNS = [
    Case("nxdomain", Fault.DNS_NO_SUCH_NAME, resolves="NXDOMAIN", quick=True),
    Case("nxdomain-on-the-node-only", Fault.DNS_NO_SUCH_NAME, https(RIGHT), resolves="NXDOMAIN"),
    Case("servfail", Fault.DNS_FAILS, https(RIGHT), resolves="SERVFAIL"),
    Case("dns-refused", Fault.DNS_FAILS, https(RIGHT), resolves="REFUSED"),
    Case("dns-slow", Fault.DNS_SILENT, https(RIGHT), resolves="silent"),
    Case(
        "ghcr-poisoned-dns",
        Fault.TLS_WRONG_NAME,
        https(basic),
        Fault.DNS_WRONG_ADDRESS,
        (NODE,),
        resolves="poisoned",
        image="ghcr.io/997899594/11444a:latest",
        quick=True,
    ),
    Case("wrong-line", Fault.TLS_WRONG_NAME, https(RIGHT), Fault.DNS_WRONG_ADDRESS, (NODE,), resolves="wrong line"),
]
_TCP = [
    Case("refused", Fault.TCP_REFUSED, quick=True),
    Case("no-route", Fault.TCP_NO_ROUTE, https(RIGHT), resolves="no route"),
    Case("tcp-timeout", Fault.TCP_SILENT, full),
    Case("reset", Fault.TCP_CUT, raw(reset)),
    Case("eof", Fault.TCP_CUT, raw(hang_up)),
]
_TLS = [
    Case("wrong-name", Fault.TLS_WRONG_NAME, PAGES),
    Case("unknown-ca", Fault.TLS_UNKNOWN_CA, https(RIGHT, trusted=False), quick=True),
    Case("expired", Fault.TLS_EXPIRED, https(RIGHT, days=(-40, -3))),
    Case("not-yet", Fault.TLS_NOT_YET_VALID, https(RIGHT, days=(3, 30))),
    Case("clock", Fault.TLS_NOT_YET_VALID, https(RIGHT, days=(3, 30), ahead_days=4), Fault.CLOCK_WRONG, (NODE,)),
    Case(
        "expired-and-wrong-name-and-unknown",
        Fault.TLS_EXPIRED,
        https(RIGHT, "*.github.io", trusted=False, days=(-40, -3)),
    ),
    Case("wrong-name-and-unknown", Fault.TLS_WRONG_NAME, https(RIGHT, "*.github.io", trusted=False)),
    Case("no-san", Fault.TLS_WRONG_NAME, https(RIGHT, "10.1.2.3")),
    Case("plain-http", Fault.TLS_NONE, http(RIGHT)),
    Case("no-tls", Fault.TLS_NONE, raw(speaks_ssh)),
    Case("tls-alert", Fault.TLS_FAILS, raw(refuses)),
    Case("tls-silent", Fault.TLS_SILENT, raw(silent)),
]
_HTTP = [
    Case("http-429", Fault.REGISTRY_RATE_LIMIT, https(MANY), quick=True),
    Case("http-403-html", Fault.TOKEN_NO_ACCESS, https(FORBIDDEN), Fault.REGISTRY_BLOCKED, (ASK,)),
    Case("http-451", Fault.REGISTRY_BLOCKED, https(always(451))),
    Case("http-500", Fault.REGISTRY_BROKEN, https(error(500, "UNKNOWN", "unknown error"))),
    Case("http-503", Fault.REGISTRY_BROKEN, https(always(503, "upstream connect error", kind="text/plain"))),
    Case("captive-portal", Fault.REGISTRY_NONE, https(always(200, "<html>login</html>", kind=HTML))),
    Case("html-manifest", Fault.REGISTRY_NONE, https(registry(manifest=always(200, "<html>login</html>", kind=HTML)))),
    Case("redirect-login", Fault.TCP_REFUSED, https(always(302, "", "Location: http://127.0.0.1:1/login"))),
]
_TOKEN = [
    Case("token-403", Fault.TOKEN_ANONYMOUS, https(bearer(DENIED)), NOT_SERVED),
    Case("token-401", Fault.TOKEN_ANONYMOUS, https(bearer(UNAUTHORIZED)), NOT_SERVED),
    Case("token-refused", Fault.TOKEN_REFUSED, https(bearer(UNAUTHORIZED)), secrets=(ALICE,), quick=True),
    Case("token-429", Fault.REGISTRY_RATE_LIMIT, https(bearer(MANY))),
    Case("token-500", Fault.TOKEN_FAILS, https(bearer(always(500, "oops", kind="text/plain")))),
    Case("token-html", Fault.TOKEN_FAILS, https(bearer(always(200, "<html>", kind=HTML)))),
    Case("token-empty", Fault.TOKEN_FAILS, https(bearer(always(200)))),
    Case(
        "realm-wrong-name",
        Fault.TLS_WRONG_NAME,
        https(bearer(TOKEN, realm="https://wrong-name-elsewhere.test/token")),
    ),
    Case(
        "realm-nxdomain",
        Fault.DNS_NO_SUCH_NAME,
        https(bearer(TOKEN, realm="https://auth.nxdomain.test/token")),
    ),
    Case("token-without-access", Fault.TOKEN_NO_ACCESS, https(bearer(TOKEN, then=without_scope)), secrets=(ALICE,)),
    Case("token-ok-then-404", Fault.IMAGE_NOT_FOUND, https(bearer(TOKEN, then=registry(manifest=MISSING)))),
    Case(
        "token-ok-then-403",
        Fault.TOKEN_NO_ACCESS,
        https(bearer(TOKEN, then=registry(manifest=READ_PACKAGE))),
        secrets=(ALICE,),
        quick=True,
    ),
]
_SECRETS = [
    Case("right", None, https(basic), secrets=(ALICE,), quick=True),
    Case("basic-none", Fault.CREDENTIAL_NONE, https(basic), NOT_SERVED),
    Case("basic-wrong", Fault.CREDENTIAL_REFUSED, https(basic), secrets=(WRONG,)),
    Case("basic-denied", Fault.TOKEN_NO_ACCESS, https(basic), secrets=(one("bob"),)),
    Case("basic-two-wrong", Fault.CREDENTIAL_REFUSED, https(basic), secrets=(WRONG, one("bob")), quick=True),
    Case("two-and-the-second-is-right", None, https(basic), secrets=(WRONG, ALICE)),
    Case("basic-bad-auth", Fault.SECRET_UNREADABLE, https(basic), secrets=(Secret({"": UNREADABLE}),)),
    Case(
        "basic-one-bad-one-good",
        Fault.SECRET_UNREADABLE,
        https(basic),
        secrets=(ALICE, Secret({"other.example": UNREADABLE})),
        quick=True,
    ),
    Case(
        "basic-wrong-type",
        Fault.CREDENTIAL_NONE,
        https(basic),
        Fault.SECRET_WRONG_TYPE,
        secrets=(Secret({"": login("alice", PASSWORD)}, "Opaque"),),
    ),
    Case("basic-missing-secret", Fault.CREDENTIAL_NONE, https(basic), Fault.SECRET_MISSING, secrets=(Secret(None),)),
    Case(
        "basic-wrong-key",
        Fault.CREDENTIAL_NONE,
        https(basic),
        Fault.SECRET_NO_ENTRY,
        secrets=(one("alice", key="https://basic-wrong-key.test:5000"),),
        quick=True,
    ),
    Case(
        "basic-path-key",
        Fault.CREDENTIAL_NONE,
        https(basic),
        Fault.SECRET_NO_ENTRY,
        secrets=(one("alice", key="basic-path-key.test/other"),),
    ),
    Case(
        "basic-identitytoken",
        Fault.CREDENTIAL_NONE,
        https(basic),
        Fault.SECRET_NO_ENTRY,
        secrets=(Secret({"": {"identitytoken": planted.token()}}),),
    ),
]
_CONTENT = [
    Case("tag-404", Fault.IMAGE_NOT_FOUND, https(registry(manifest=MISSING))),
    Case("repo-404", Fault.IMAGE_NOT_FOUND, https(registry(manifest=error(404, "NAME_UNKNOWN", "name not known")))),
    Case("platform", Fault.PLATFORM_MISSING, https(registry(content=mainframe)), quick=True),
    Case("schema1", Fault.FORMAT_TOO_OLD, https(registry(content=schema_1))),
    Case("blob-404", Fault.CONTENT_GONE, https(registry(blob=NO_BLOB))),
    Case("blob-403", Fault.BLOB_REFUSED, https(registry(blob=always(403, "<Error/>", kind="application/xml")))),
    Case("blob-cut", Fault.CONTENT_CUT, https(registry(blob=cut))),
    Case("blob-corrupt", Fault.CONTENT_DAMAGED, https(registry(blob=damaged))),
    Case(
        "blob-redirect-wrong-name", Fault.TLS_WRONG_NAME, https(registry(blob=elsewhere("wrong-name-elsewhere.test")))
    ),
    Case("blob-redirect-refused", Fault.TCP_REFUSED, https(registry(blob=elsewhere("refused.test"))), quick=True),
    Case("blob-redirect-403", Fault.BLOB_REFUSED, https(registry(blob=elsewhere("forbidden-elsewhere.test")))),
]
_MIRRORS = [
    Case(
        "mirror-404-then-upstream-401",
        Fault.IMAGE_NOT_FOUND,
        https(basic),
        NOT_SERVED,
        (ASK,),
        mirror="tag-404",
    ),
    Case(
        "mirror-404-then-upstream-x509", Fault.IMAGE_NOT_FOUND, PAGES, Fault.TLS_WRONG_NAME, (NODE,), mirror="tag-404"
    ),
    Case(
        "mirror-403-then-upstream-404",
        Fault.TOKEN_NO_ACCESS,
        https(MISSING),
        Fault.MIRROR_FAILS,
        mirror="mirror-says-no",
    ),
    Case(
        "mirror-refused-then-upstream-401",
        Fault.TCP_REFUSED,
        https(basic),
        Fault.MIRROR_FAILS,
        mirror="refused",
        quick=True,
    ),
    Case("mirror-x509-then-upstream-401", Fault.TLS_WRONG_NAME, https(basic), Fault.MIRROR_FAILS, mirror="wrong-name"),
    Case("mirror-500-then-upstream-401", Fault.MIRROR_FAILS, https(basic), mirror="http-500"),
]
_RUNTIME = [
    Case("proxy", Fault.RUNTIME_PROXY, https(RIGHT), image="proxy.proxied/team/app:1"),
    Case("hosts-toml-broken", Fault.TLS_UNKNOWN_CA, https(RIGHT), toml='server = "https://x\n'),
    Case("hosts-toml-ca-missing", Fault.RUNTIME_CA_FILE, https(RIGHT), toml='ca = "/nonexistent.crt"\n'),
]
_KUBELET = [
    Case("invalid-name", Fault.IMAGE_NAME_INVALID, image="ghcr.io/Alice/App:1", quick=True),
    Case("never", Fault.IMAGE_NEVER_PULLED, image="ghcr.io/alice/never:1", policy="Never"),
    Case(
        "never-present",
        Fault.IMAGE_NEVER_PULLED,
        is_=Fault.IMAGE_NEEDS_CREDENTIAL,
        image="right.test/team/app:1",
        policy="Never",
        after="right",
    ),
    Case(
        "present-without-credential",
        Fault.CREDENTIAL_NONE,
        is_=NOT_SERVED,
        image="right.test/team/app:1",
        policy="IfNotPresent",
        after="right",
    ),
    Case("init", Fault.IMAGE_NOT_FOUND, image="tag-404.test/team/app:1", where="init container"),
    Case("ephemeral", Fault.IMAGE_NOT_FOUND, image="tag-404.test/team/app:1", where="ephemeral container"),
    Case("volume", Fault.IMAGE_NOT_FOUND, image="tag-404.test/team/app:1", where="volume"),
]
_SERVED = [
    Case("served", None, https(basic), served=Served(ALICE)),
    Case(
        "served-early",
        Fault.CREDENTIAL_NONE,
        https(basic),
        Fault.SECRET_NO_REFERENCE,
        served=Served(ALICE, early=True),
    ),
    Case(
        "served-limited", Fault.CREDENTIAL_NONE, https(basic), Fault.OWNER_LIMITED, served=Served(ALICE, limited=True)
    ),
    Case("served-unknown", Fault.CREDENTIAL_NONE, https(basic), Fault.OWNER_UNKNOWN, served=Served(Secret(None))),
    Case("served-wrong", Fault.CREDENTIAL_REFUSED, https(basic), served=Served(WRONG)),
    Case(
        "served-elsewhere",
        Fault.CREDENTIAL_NONE,
        https(basic),
        Fault.SECRET_NO_ENTRY,
        served=Served(one("alice", key="other.example")),
    ),
    Case(
        "served-opted-out",
        Fault.CREDENTIAL_NONE,
        https(basic),
        Fault.POD_OPTED_OUT,
        served=Served(ALICE),
        labels={INJECT: DISABLED},
        quick=True,
    ),
]
CASES = [*_DNS, *_TCP, *_TLS, *_HTTP, *_TOKEN, *_SECRETS, *_CONTENT, *_MIRRORS, *_RUNTIME, *_KUBELET, *_SERVED]
ELSEWHERE: Mapping[str, Serve] = {
    "wrong-name-elsewhere.test": PAGES,
    "forbidden-elsewhere.test": https(always(403, "<Error/>", kind="application/xml")),
    "mirror-says-no.test": https(error(403, "DENIED", "mirror says no")),
    "open.test": https(RIGHT),
    "own.test": nothing,
}
"""Hosts that cases lead to, or that the bed needs for itself."""
