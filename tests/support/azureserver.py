"""A stand-in for what Azure has for an issuer, after the public descriptions of it: the token service of Entra ID with
workload identity, the resource manager's API of a container registry with its tokens, and the registry's own token
service. It verifies signatures, audiences, rights and times, and refuses what is not described. Nothing more of Azure
is true of it.
"""

import base64
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4

import jwt
from aiohttp import web

from support import planted
from support.named import Names
from support.vendorserver import Said, VendorServer, listening, tls
from support.workload import CLUSTER, SUBJECT, key

LOGIN, MANAGEMENT, REGISTRY = "login.microsoftonline.com", "management.azure.com", "acmecorp.azurecr.io"
TENANT, CLIENT = "11111111-2222-3333-4444-555555555555", "66666666-7777-8888-9999-000000000000"
RESOURCE = (
    "/subscriptions/aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee/resourceGroups/platform/providers/"
    "Microsoft.ContainerRegistry/registries/acmecorp"
)
AUDIENCE = "api://AzureADTokenExchange"
RIGHTS = (
    "Microsoft.ContainerRegistry/registries/tokens/read",
    "Microsoft.ContainerRegistry/registries/generateCredentials/action",
    "Microsoft.ContainerRegistry/registries/operationStatuses/read",
)
VERSIONS = {"2023-07-01", "2025-04-01", "2025-11-01"}
_PATH = re.compile(
    r"/subscriptions/([^/]+)/resourcegroups/([^/]+)/providers/microsoft\.containerregistry/registries/([^/]+)/.+"
)
_TOKEN = re.compile(r"[A-Za-z0-9-]{5,50}")
_SCOPED = re.compile(r"repository:([^:]+):pull")
_FORM = {"client_id", "client_assertion", "client_assertion_type", "grant_type", "scope"}


@dataclass
class Password:
    value: str
    created: datetime
    expiry: datetime | None


@dataclass
class Token:
    """`repositories`: those that its scope map lets it pull, with `*`."""

    name: str
    repositories: tuple[str, ...]
    enabled: bool = True
    passwords: dict[str, Password] = field(default_factory=dict)


class Refused(Exception):
    """In the form of the resource manager."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": {"code": code, "message": message}}


class NoLogin(Exception):
    """In the form of OAuth."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status, self.body = status, {"error": error, "error_description": f"AADSTS{description} Trace ID: 1"}


@dataclass
class Azure(VendorServer):
    """`polls`: how often it is not done yet. `bodies`: of all requests. Of the registry, `lag`: how often it does not
    know a password yet. `closed`: it does not answer. `pulls`: its requests, which are none of `calls`.
    """

    content_type = "application/json; charset=utf-8"
    rights: set[str] = field(default_factory=lambda: {*RIGHTS})
    tokens: dict[str, Token] = field(default_factory=dict)
    logins: dict[str, float] = field(default_factory=dict)
    polls: int = 1
    lag: int = 0
    closed: bool = False
    pulls: int = 0
    running: dict[str, tuple[int, Any]] = field(default_factory=dict)
    bodies: list[bytes] = field(default_factory=list)

    # -- what its administrator does --

    def token(self, name: str, *repositories: str) -> Token:
        assert _TOKEN.fullmatch(name)
        return self.tokens.setdefault(name.lower(), Token(name, repositories))

    # -- what it answers --

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.host == REGISTRY:
            status, said, headers = self._registry(request)
            return self.response(status, said, headers)
        return await super().handle(request)

    async def seen(self, request: web.BaseRequest) -> str:
        self.bodies.append(await request.read())
        query = f"?{request.query_string}" if request.query_string else ""
        return f"{request.method} {request.host}{request.path}{query}"

    async def answer(self, request: web.BaseRequest) -> Said:
        try:
            return self._answer(request, await request.read())
        except (Refused, NoLogin) as e:
            return e.status, e.body

    def _answer(self, request: web.BaseRequest, body: bytes) -> tuple[int, Any, Mapping[str, str]]:
        if request.host == LOGIN and (request.method, request.path) == ("POST", f"/{TENANT}/oauth2/v2.0/token"):
            return 200, self._logged_in(request, body), {}
        if request.host == MANAGEMENT:
            return self._managed(request, body)
        raise Refused(404, "NotFound", "There is nothing here.")

    def _logged_in(self, request: web.BaseRequest, body: bytes) -> dict[str, Any]:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True)
        form = dict(pairs)
        if request.content_type != "application/x-www-form-urlencoded" or {one for one, _ in pairs} != _FORM:
            raise NoLogin(400, "invalid_request", "900144: The request body must contain other parameters.")
        if len(pairs) != len(form) or form["grant_type"] != "client_credentials":
            raise NoLogin(400, "unsupported_grant_type", "70003: The app requested an unsupported grant type.")
        if form["client_id"] != CLIENT:
            raise NoLogin(400, "unauthorized_client", "700016: Application was not found in the directory.")
        if form["scope"] != f"https://{MANAGEMENT}/.default":
            raise NoLogin(400, "invalid_scope", "70011: The provided value for the input parameter scope is not valid.")
        if form["client_assertion_type"] != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer":
            raise NoLogin(400, "invalid_request", "900145: Wrong client_assertion_type.")
        try:
            claims = jwt.decode(
                form["client_assertion"],
                key(9).public_key(),
                algorithms=["RS256"],
                audience=AUDIENCE,
                issuer=CLUSTER,
                options={"require": ["exp", "iat", "sub"]},
            )
        except jwt.InvalidTokenError as e:
            raise NoLogin(401, "invalid_client", f"700024: Client assertion is not good: {e}") from None
        if claims["sub"] != SUBJECT:
            what = "7002138: No matching federated identity record found for presented assertion subject."
            raise NoLogin(401, "invalid_client", what)
        login = f"eyJ0.{planted.token()}"
        self.logins[login] = self.now().timestamp() + 3599
        return {"token_type": "Bearer", "expires_in": 3599, "ext_expires_in": 3599, "access_token": login}

    def _managed(self, request: web.BaseRequest, body: bytes) -> tuple[int, Any, Mapping[str, str]]:
        kind, _, login = request.headers.get("Authorization", "").partition(" ")
        if kind != "Bearer" or self.logins.get(login, 0.0) <= self.now().timestamp():
            raise Refused(401, "ExpiredAuthenticationToken", "The access token expiry UTC time is in the past.")
        if request.query.get("api-version") not in VERSIONS:
            raise Refused(400, "NoRegisteredProviderFound", "No registered resource provider found for API version.")
        self._is_there(request.path)
        path = request.path[len(RESOURCE) + 1 :]
        match request.method, path.split("/"):
            case "GET", ["tokens", name]:
                self._needs(RIGHTS[0])
                return 200, self._shown(self._known(name)), {}
            case "POST", ["generateCredentials"]:
                self._needs(RIGHTS[1])
                if request.content_type != "application/json":
                    raise Refused(415, "UnsupportedMediaType", "The content type is not supported.")
                return self._generate(json.loads(body))
            case "GET", ["operationStatuses", number] if number in self.running:
                self._needs(RIGHTS[2])
                left, result = self.running[number]
                self.running[number] = left - 1, result
                return (202, None, self._location(number)) if left else (200, result, {})
        raise Refused(404, "NotFound", "There is nothing here.")

    @staticmethod
    def _is_there(path: str) -> None:
        """What is asked for is below the registry, and all above it is there. Names are the same in capitals."""
        found = _PATH.fullmatch(path.lower())
        if found is None:
            raise Refused(404, "NotFound", "There is nothing here.")
        subscription, group, registry = found.groups()
        _, _, our_subscription, _, our_group, *_, our_registry = RESOURCE.split("/")
        if subscription != our_subscription:
            raise Refused(404, "SubscriptionNotFound", f"The subscription '{subscription}' could not be found.")
        if group != our_group:
            raise Refused(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")
        if registry != our_registry:
            message = "Can not perform requested operation on nested resource. "
            raise Refused(404, "ParentResourceNotFound", f"{message}Parent resource '{registry}' not found.")

    def _needs(self, right: str) -> None:
        if right not in self.rights:
            message = f"The client does not have authorization to perform action '{right}' over scope '{RESOURCE}'."
            raise Refused(403, "AuthorizationFailed", message)

    def _known(self, name: str) -> Token:
        """Names of resources are the same in capitals."""
        found = self.tokens.get(name.lower())
        if found is None:
            raise Refused(404, "ResourceNotFound", f"The resource {name} could not be found.")
        return found

    def _shown(self, token: Token) -> dict[str, Any]:
        passwords = [
            {"creationTime": _text(one.created), "name": name} | ({"expiry": _text(one.expiry)} if one.expiry else {})
            for name, one in sorted(token.passwords.items())
        ]
        properties = {
            "creationDate": _text(self.now()),
            "provisioningState": "Succeeded",
            "scopeMapId": f"{RESOURCE}/scopeMaps/{token.name}",
            "credentials": {"passwords": passwords} if passwords else {},
            "status": "enabled" if token.enabled else "disabled",
        }
        return {
            "type": "Microsoft.ContainerRegistry/registries/tokens",
            "id": f"{RESOURCE}/tokens/{token.name}",
            "name": token.name,
            "properties": properties,
        }

    def _generate(self, asked: Any) -> tuple[int, Any, Mapping[str, str]]:
        if asked.keys() - {"tokenId", "name", "expiry"} or asked.get("name") not in {"password1", "password2"}:
            raise Refused(400, "InvalidParameter", "The parameters are not valid.")
        prefix, _, name = asked["tokenId"].rpartition("/")
        if prefix.lower() != f"{RESOURCE.lower()}/tokens":
            raise Refused(400, "InvalidTokenId", "The token is of another registry.")
        token, expiry = self._known(name), datetime.fromisoformat(asked["expiry"])
        if expiry <= self.now():
            raise Refused(400, "InvalidExpiry", "The expiry is in the past.")
        token.passwords[asked["name"]] = Password(planted.token(), self.now(), expiry)
        shown = self._shown(token)["properties"]["credentials"]["passwords"]
        for one in shown:
            one["value"] = token.passwords[one["name"]].value if one["name"] == asked["name"] else None
        result = {"username": token.name, "passwords": shown}
        if not self.polls:
            return 200, result, {}
        number = f"registries-{uuid4()}"
        self.running[number] = self.polls - 1, result
        return 202, None, self._location(number)

    @staticmethod
    def _location(number: str) -> dict[str, str]:
        where = f"https://{MANAGEMENT}{RESOURCE}/operationStatuses/{number}?api-version=2025-11-01"
        return {"Location": where, "Retry-After": "1"}

    def _registry(self, request: web.BaseRequest) -> tuple[int, bytes, Mapping[str, str]]:
        self.pulls += 1
        unauthorized = json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}).encode()
        if (request.method, request.path) == ("GET", "/v2/"):
            asks = f'Bearer realm="https://{REGISTRY}/oauth2/token",service="{REGISTRY}"'
            return 401, unauthorized, {"WWW-Authenticate": asks}
        if (request.method, request.path, request.query.get("service")) != ("GET", "/oauth2/token", REGISTRY):
            return 404, b"", {}
        if self.closed:
            return 503, b"", {}
        kind, _, text = request.headers.get("Authorization", "").partition(" ")
        name, _, password = base64.b64decode(text).decode().partition(":")
        token = self.tokens.get(name.lower()) if kind == "Basic" else None
        good = token is not None and token.enabled
        good = good and any(
            one.value == password and (one.expiry is None or one.expiry > self.now())
            for one in (token.passwords.values() if token is not None else ())
        )
        if self.lag:
            self.lag -= 1
            good = False
        if token is None or not good:
            return 401, unauthorized, {}
        given = [
            f"{scope[1]}:pull"
            for text in request.query.getall("scope", [])
            if (scope := _SCOPED.fullmatch(text)) is not None
            and any(fnmatchcase(scope[1], one) for one in token.repositories)
        ]
        claims = base64.urlsafe_b64encode(json.dumps(given).encode()).decode().rstrip("=")
        return 200, json.dumps({"access_token": f"e30.{claims}.c2ln"}).encode(), {}


def allowed(access_token: str) -> list[str]:
    """What a token of the registry opens, as REPOSITORY:pull."""
    claims = access_token.split(".")[1]
    found: list[str] = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    return found


def _text(at: datetime) -> str:
    """With seven digits, of which Python knows six."""
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"


@asynccontextmanager
async def serving(names: Names) -> AsyncIterator[Azure]:
    azure, context = Azure(), tls(names.authority, LOGIN, MANAGEMENT, REGISTRY)
    async with listening(azure, context) as (port,):
        names.ports.update(dict.fromkeys((LOGIN, MANAGEMENT, REGISTRY), port))
        try:
            yield azure
        finally:
            names.ports.clear()
