"""A stand-in for what Google has for an issuer, after the public descriptions of it: the metadata server, the token
service for service accounts' keys (RFC 7523), the one for workload identity federation (RFC 8693), the API IAM Service
Account Credentials, and the token service of Artifact Registry. It verifies signatures, audiences, scopes and times,
and refuses what is not described. Nothing more of Google is true of it.
"""

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from support import planted
from support.named import Names
from support.vendorserver import Said, VendorServer, listening, tls
from support.workload import CLUSTER, key

METADATA, KEYS, FEDERATION = "metadata.google.internal", "oauth2.googleapis.com", "sts.googleapis.com"
IAM, REGISTRY = "iamcredentials.googleapis.com", "europe-docker.pkg.dev"
ATTACHED = "/computeMetadata/v1/instance/service-accounts/default/"
SCOPES = "https://www.googleapis.com/auth/"
EVERYTHING, IDENTITIES, READ = f"{SCOPES}cloud-platform", f"{SCOPES}iam", f"{SCOPES}devstorage.read_only"
POOL = "projects/123/locations/global/workloadIdentityPools/clusters"
PROVIDER = f"//iam.googleapis.com/{POOL}/providers/one"
MAX_SECONDS, EXTENDED_SECONDS = 3600, 43200
_CALL = re.compile(r"/v1/projects/-/serviceAccounts/([^/]+):generateAccessToken")
_ACCOUNT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]@[a-z][a-z0-9.-]+\.iam\.gserviceaccount\.com")
_SCOPED = re.compile(r"repository:([^:]+):pull")


@dataclass
class Account:
    """`creators`: who may make tokens for it. `extended`: may its tokens live longer than an hour?"""

    creators: set[str] = field(default_factory=set)
    keys: dict[str, RSAPrivateKey] = field(default_factory=dict)
    extended: bool = False


@dataclass
class Token:
    who: str
    scopes: frozenset[str]
    ends: float


class Refused(Exception):
    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(status)
        self.status, self.body = status, body


def denied(status: int, name: str, message: str, reason: str = "") -> Refused:
    """In the form of Google's APIs."""
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason}] if reason else []
    return Refused(status, {"error": {"code": status, "message": message, "status": name, "details": details}})


def ungranted(why: str, error: str = "invalid_grant") -> Refused:
    """In the form of OAuth."""
    return Refused(400, {"error": error, "error_description": why})


@dataclass
class Google(VendorServer):
    """`attached`: the principal that the metadata server speaks for. `readers`: who may pull, by repository. `bodies`,
    `headers`: of all requests.
    """

    content_type = "application/json; charset=utf-8"
    accounts: dict[str, Account] = field(default_factory=dict)
    tokens: dict[str, Token] = field(default_factory=dict)
    readers: dict[str, set[str]] = field(default_factory=dict)
    attached: str = ""
    scopes: frozenset[str] = frozenset({EVERYTHING, IDENTITIES})
    enabled: bool = True
    bodies: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    # -- what its administrator does --

    def account(self, email: str, *creators: str) -> Account:
        assert _ACCOUNT.fullmatch(email)
        found = self.accounts.setdefault(email, Account())
        found.creators |= {*creators}
        return found

    def key_file(self, email: str, number: int = 0) -> dict[str, str]:
        """Of an account, as Google hands it out once."""
        name = f"{number:040x}"
        self.accounts[email].keys[name] = key(number)
        pem = key(number).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return {
            "type": "service_account",
            "project_id": "platform",
            "private_key_id": name,
            "private_key": pem.decode(),
            "client_email": email,
            "client_id": "1",
            "token_uri": f"https://{KEYS}/token",
            "universe_domain": "googleapis.com",
        }

    def has(self, token: str) -> Token | None:
        found = self.tokens.get(token)
        return found if found is not None and found.ends > self.now().timestamp() else None

    # -- what it answers --

    async def seen(self, request: web.BaseRequest) -> str:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        query = f"?{request.query_string}" if request.query_string else ""
        return f"{request.method} {request.host}{request.path}{query}"

    async def answer(self, request: web.BaseRequest) -> Said:
        try:
            return self._answer(request, await request.read())
        except Refused as e:
            return e.status, e.body

    def _answer(self, request: web.BaseRequest, body: bytes) -> tuple[int, Any, Mapping[str, str]]:
        secure = request.transport is not None and request.transport.get_extra_info("ssl_object") is not None
        if secure != (request.host != METADATA):
            raise Refused(404, {})
        match request.host, request.method, request.path:
            case "metadata.google.internal", "GET", path if path.startswith(ATTACHED):
                return 200, self._attached(request), {"Metadata-Flavor": "Google", "Server": "Metadata Server for VM"}
            case "oauth2.googleapis.com", "POST", "/token":
                return 200, self._by_key(_form(request, body)), {}
            case "sts.googleapis.com", "POST", "/v1/token":
                return 200, self._federated(_form(request, body)), {}
            case "iamcredentials.googleapis.com", "POST", path if call := _CALL.fullmatch(path):
                return 200, self._generated(request, call[1], body), {}
            case host, "GET", "/v2/" | "/v2/token" if host == REGISTRY:
                return self._registry(request)
        raise Refused(404, {"error": {"code": 404, "message": "Not Found", "status": "NOT_FOUND"}})

    def _new(self, who: str, scopes: frozenset[str], seconds: float) -> str:
        token = f"ya29.{planted.token()}"
        self.tokens[token] = Token(who, scopes, self.now().timestamp() + seconds)
        return token

    def _attached(self, request: web.BaseRequest) -> dict[str, Any]:
        if request.headers.get("Metadata-Flavor") != "Google" or "X-Forwarded-For" in request.headers:
            raise Refused(403, {})
        if not self.attached:
            raise Refused(404, {})
        if (request.path, request.query.get("recursive")) == (ATTACHED, "true"):
            return {"aliases": ["default"], "email": "p.svc.id.goog", "scopes": sorted(self.scopes)}
        if request.path != f"{ATTACHED}token":
            raise Refused(404, {})
        scopes = frozenset(request.query.get("scopes", "").split(",")) - {""}
        token = self._new(self.attached, scopes & self.scopes or self.scopes, 1800)
        return {"access_token": token, "expires_in": 1800, "token_type": "Bearer"}

    def _by_key(self, form: Mapping[str, str]) -> dict[str, Any]:
        if form.keys() != {"grant_type", "assertion"}:
            raise ungranted("Required parameter is missing", "invalid_request")
        if form["grant_type"] != "urn:ietf:params:oauth:grant-type:jwt-bearer":
            raise ungranted("Invalid grant_type", "unsupported_grant_type")
        try:
            head = jwt.get_unverified_header(form["assertion"])
            email = jwt.decode(form["assertion"], options={"verify_signature": False})["iss"]
            public = self.accounts[email].keys[head["kid"]].public_key()
            # Times are those of its own clock, below.
            claims = jwt.decode(
                form["assertion"],
                public,
                algorithms=["RS256"],
                audience=f"https://{KEYS}/token",
                options={"verify_exp": False, "verify_iat": False, "require": ["exp", "iat", "iss", "aud", "scope"]},
            )
        except KeyError:
            raise ungranted("Invalid grant: account not found") from None
        except jwt.InvalidTokenError:
            raise ungranted("Invalid JWT Signature.") from None
        now = self.now().timestamp()
        if not (claims["iat"] <= now + 300 and now < claims["exp"] <= claims["iat"] + MAX_SECONDS):
            raise ungranted(
                "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe."
            )
        token = self._new(f"serviceAccount:{email}", frozenset(claims["scope"].split()), MAX_SECONDS - 1)
        return {"access_token": token, "expires_in": MAX_SECONDS - 1, "token_type": "Bearer"}

    def _federated(self, form: Mapping[str, str]) -> dict[str, Any]:
        kind = "urn:ietf:params:oauth:token-type:"
        wanted = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
            "audience": PROVIDER,
            "requested_token_type": f"{kind}access_token",
            "subject_token_type": f"{kind}jwt",
        }
        if form.keys() != {*wanted, "scope", "subject_token"} or not form["scope"]:
            raise ungranted("Invalid or missing parameters", "invalid_request")
        if any(form[one] != text for one, text in wanted.items()):
            raise ungranted("Invalid value for a parameter", "invalid_request")
        try:
            claims = jwt.decode(
                form["subject_token"],
                key(9).public_key(),
                algorithms=["RS256"],
                audience=f"https:{PROVIDER}",
                issuer=CLUSTER,
                options={"require": ["exp", "iat", "sub"]},
            )
        except jwt.InvalidTokenError as e:
            raise ungranted(f"The given credential is rejected by the attribute condition or is invalid: {e}") from None
        # Without a service account, a token lives for what the subject token has left.
        seconds = min(MAX_SECONDS - 1, int(claims["exp"] - datetime.now(UTC).timestamp()))
        who = f"principal://iam.googleapis.com/{POOL}/subject/{claims['sub']}"
        token = self._new(who, frozenset(form["scope"].split()), seconds)
        return {
            "access_token": token,
            "issued_token_type": f"{kind}access_token",
            "token_type": "Bearer",
            "expires_in": seconds,
        }

    def _generated(self, request: web.BaseRequest, email: str, body: bytes) -> dict[str, Any]:
        caller = self.has(request.headers.get("Authorization", "").removeprefix("Bearer "))
        if caller is None:
            raise denied(401, "UNAUTHENTICATED", "Request had invalid authentication credentials.")
        if not self.enabled:
            message = "IAM Service Account Credentials API has not been used in project 123 before or it is disabled."
            raise denied(403, "PERMISSION_DENIED", message, "SERVICE_DISABLED")
        if not caller.scopes & {EVERYTHING, IDENTITIES}:
            message = "Request had insufficient authentication scopes."
            raise denied(403, "PERMISSION_DENIED", message, "ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        if request.content_type != "application/json":
            raise denied(400, "INVALID_ARGUMENT", "Invalid content type.")
        asked = json.loads(body)
        if asked.keys() - {"scope", "lifetime", "delegates"} or not asked.get("scope"):
            raise denied(400, "INVALID_ARGUMENT", "Invalid JSON payload received.")
        account = self.accounts.get(email)
        if account is None or caller.who not in account.creators:
            message = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist)."
            raise denied(403, "PERMISSION_DENIED", message, "IAM_PERMISSION_DENIED")
        lifetime = re.fullmatch(r"([0-9]{1,6})s", asked.get("lifetime", f"{MAX_SECONDS}s"))
        if lifetime is None or not 0 < int(lifetime[1]) <= (EXTENDED_SECONDS if account.extended else MAX_SECONDS):
            message = "The access token lifetime cannot exceed 3600 seconds."
            raise denied(400, "INVALID_ARGUMENT", message)
        seconds = int(lifetime[1])
        token = self._new(f"serviceAccount:{email}", frozenset(asked["scope"]), seconds)
        ends = self.now() + timedelta(seconds=seconds)
        return {"accessToken": token, "expireTime": f"{ends:%Y-%m-%dT%H:%M:%SZ}"}

    def _registry(self, request: web.BaseRequest) -> tuple[int, Any, Mapping[str, str]]:
        if request.path == "/v2/":
            asks = f'Bearer realm="https://{REGISTRY}/v2/token",service="{REGISTRY}"'
            return 401, {"errors": [{"code": "UNAUTHORIZED"}]}, {"WWW-Authenticate": asks}
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        user, _, password = base64.b64decode(text).decode().partition(":")
        token = self.has(password) if (kind, user) == ("Basic", "oauth2accesstoken") else None
        # A scope of Cloud Storage counts for Artifact Registry, too.
        if token is None or not token.scopes & {EVERYTHING, READ}:
            return 401, {"errors": [{"code": "UNAUTHORIZED", "message": "authentication failed"}]}, {}
        for scope in request.query.getall("scope", []):
            name = _SCOPED.fullmatch(scope)
            repository = "/".join(name[1].split("/")[:2]) if name is not None else ""
            if token.who not in self.readers.get(repository, set()):
                message = f'Permission "artifactregistry.repositories.downloadArtifacts" denied on "{repository}"'
                return 403, {"errors": [{"code": "DENIED", "message": message}]}, {}
        return 200, {"token": "e30.e30.c2ln", "expires_in": 3600}, {}


def _form(request: web.BaseRequest, body: bytes) -> dict[str, str]:
    if request.content_type != "application/x-www-form-urlencoded":
        raise ungranted("Invalid content type", "invalid_request")
    pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
    if len(dict(pairs)) != len(pairs):
        raise ungranted("A parameter is given twice", "invalid_request")
    return dict(pairs)


def federation_file(token_file: str, impersonated: str = "") -> dict[str, Any]:
    """As `gcloud iam workload-identity-pools create-cred-config` writes it."""
    url = f"https://{IAM}/v1/projects/-/serviceAccounts/{impersonated}:generateAccessToken"
    through = {"service_account_impersonation_url": url}
    return {
        "universe_domain": "googleapis.com",
        "type": "external_account",
        "audience": PROVIDER,
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": f"https://{FEDERATION}/v1/token",
        "credential_source": {"file": token_file},
        **(through if impersonated else {"token_info_url": f"https://{FEDERATION}/v1/introspect"}),
    }


@asynccontextmanager
async def serving(names: Names) -> AsyncIterator[Google]:
    google, context = Google(), tls(names.authority, KEYS, FEDERATION, IAM, REGISTRY)
    async with listening(google, None, context) as (plain, secure):
        names.ports.update({METADATA: plain, KEYS: secure, FEDERATION: secure, IAM: secure, REGISTRY: secure})
        try:
            yield google
        finally:
            names.ports.clear()
    await asyncio.sleep(0)
