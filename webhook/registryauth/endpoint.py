"""HTTP: what a registry's clients ask at its `realm`, as the token specification of the distribution registry has it.

GET with the password as HTTP Basic, and POST with a form (OAuth 2), which containerd tries first. Every node, and
whoever else reaches the port, may ask: sizes are bounded, and no line of the log has a name or a password.
"""

import base64
import binascii
import functools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qs

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

from webhook.core.errors import PullsecretError
from webhook.core.registryscope import TooMuch, scopes
from webhook.issuers.registry.signingkeys import KeyUnusable
from webhook.registryauth.pushers import PushersUnusable
from webhook.registryauth.tokens import LoginRefused, Tokens

log = structlog.get_logger()
MAX_FORM_BYTES = 16 * 1024
"""As much as the head of a request may have, where the other form of the question is."""
MAX_FIELDS = 64
_FORM = "application/x-www-form-urlencoded"
_CODES = {400: "UNSUPPORTED", 401: "UNAUTHORIZED", 413: "UNSUPPORTED", 415: "UNSUPPORTED", 503: "UNAVAILABLE"}
Fields = Mapping[str, Sequence[str]]


class _NotAnswered(PullsecretError):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def token_app(registries: Sequence[Tokens], ready: Callable[[], str]) -> Router:
    """`ready`: why it is not; empty: it is."""
    known = {one.registry: one for one in registries}

    async def healthz(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def readyz(_: Request) -> Response:
        missing = ready()
        return PlainTextResponse(f"not ready: {missing}\n" if missing else "ok\n", 503 if missing else 200)

    token = Route("/token", functools.partial(_token, known), methods=["GET", "POST"])
    return Router([token, Route("/healthz", healthz), Route("/readyz", readyz)], redirect_slashes=False)


async def _token(known: Mapping[str, Tokens], request: Request) -> Response:
    try:
        response: Response = JSONResponse(await _answer(known, request))
    except ClientDisconnect:
        return Response(status_code=400)
    except _NotAnswered as e:
        response = _problem(e.status, str(e))
    except TooMuch as e:
        response = _problem(400, str(e))
    except LoginRefused as e:
        log.info("a login was refused", about=str(e))
        response = _problem(401, str(e))
        response.headers["www-authenticate"] = 'Basic realm="registry"'
    except (KeyUnusable, PushersUnusable) as e:
        log.error("no token can be given out", about=str(e))  # noqa: TRY400  # what an administrator must mend
        response = _problem(503, "the token service cannot use a file; see its log")
    response.headers["cache-control"] = "no-store"
    response.headers["connection"] = "close"  # a node asks once for a pull; others need the place
    return response


async def _answer(known: Mapping[str, Tokens], request: Request) -> dict[str, object]:
    if request.method == "POST":
        fields = await _form(request)
        if _one(fields, "grant_type") != "password":
            raise _NotAnswered(400, "the only grant_type here is password")
        name, password = _one(fields, "username"), _one(fields, "password")
    else:
        fields = _fields(request.scope["query_string"])
        name, password = _basic(request.headers.get("authorization", ""))
    tokens = known.get(_one(fields, "service"))
    if tokens is None:
        raise _NotAnswered(400, "no registry of this service is known here; see its auth.token.service")
    if not name and not password:
        raise LoginRefused("nobody gets a token without a password")
    login, asked = tokens.login(name, password), scopes(fields.get("scope", ()))
    token, now = tokens.token(login, asked), datetime.now(UTC)
    return {
        "token": token,
        "access_token": token,
        "expires_in": int(login.life.total_seconds()),
        "issued_at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
    }


async def _form(request: Request) -> Fields:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise _NotAnswered(415, f"the content type must be {_FORM}")
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:
            raise _NotAnswered(413, f"the form is larger than {MAX_FORM_BYTES >> 10} KiB")
    return _fields(bytes(body))


def _fields(text: bytes) -> Fields:
    try:
        return parse_qs(text.decode("latin-1"), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise _NotAnswered(400, f"there are more than {MAX_FIELDS} fields") from None


def _one(fields: Fields, name: str) -> str:
    """Empty: it is missing."""
    found = fields.get(name, ("",))
    if len(found) > 1:
        raise _NotAnswered(400, f"{name} is there more than once")
    return found[0]


def _basic(header: str) -> tuple[str, str]:
    """Empty: there is none."""
    scheme, _, encoded = header.partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return name, password


def _problem(status: int, why: str) -> Response:
    return JSONResponse({"errors": [{"code": _CODES[status], "message": why}]}, status)
