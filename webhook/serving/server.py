"""HTTP: the routes of the admission server, and the server itself.

`/mutate` is an ASGI callable behind Starlette's router. Most reviews do not reach it: fastpath.py answers those that
need no waiting, with `Mutate.at_once`.
"""

import asyncio
import functools
import re
import resource
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any, cast
from urllib.parse import parse_qs

import structlog
import uvicorn
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from webhook.admission import Admission, Answer
from webhook.core import review
from webhook.core.errors import MalformedReview, NamespaceUnknown, PullsecretError
from webhook.core.metrics import Metrics, ProcessMetrics
from webhook.core.shown import shown
from webhook.core.wire import cut
from webhook.fairness import in_steps
from webhook.serving.fastpath import DECODED, AtOnce, ReviewProtocol
from webhook.serving.limits import LimitedProtocol
from webhook.serving.listener import Listener

log = structlog.get_logger()
MAX_BODY_BYTES = 8 * 1024 * 1024
"""Bytes of a body: the API accepts objects of 1.5 MiB, and the review of an UPDATE has two of them."""
KEEP_ALIVE_SECONDS = 120
"""Seconds. The API server closes idle connections after 90. If we closed first, a POST could be lost for good."""
DEFAULT_TIMEOUT_SECONDS, MARGIN_SECONDS = 3.0, 0.7
"""Seconds: the timeout when the URL has none (the API server always sends one); the part left for the way back."""
MAX_CONNECTIONS = 256
"""To the TLS port. An API server keeps 25 idle ones and uses one for each review under way. One costs up to 0.2 MiB."""
MAX_SCRAPERS = 32
"""Connections to the metrics port."""
MAX_FILES = 4096
"""Open files: the silent connections to both ports, those with a slot, and our own calls."""
PAGE_SECONDS = 0.1
"""Seconds for which a page of metrics is reused: ten pages a second take a hundredth of the event loop's time."""
MAX_TIMEOUT_SECONDS = 30.0
"""Seconds, as in the API. The client chooses the timeout, and the review stays in memory for that time."""
LINGER_SECONDS, CLOSING_SECONDS = 5.0, 1.0
"""Seconds after SIGTERM: still accepting, because endpoints lag; then answering with `Connection: close`."""
_OK = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
_TIMEOUT = re.compile(r"(\d{1,4}(?:\.\d{1,9})?)(ms|s|m)?")


def seconds_left(query: bytes) -> float:
    """From `?timeout=3s`, as the API server writes it, less the margin."""
    text = parse_qs(query.decode("latin-1")).get("timeout", [""])[0] if query else ""
    match = _TIMEOUT.fullmatch(text)
    timeout = float(match[1]) * {"ms": 0.001, "m": 60.0}.get(match[2], 1.0) if match else DEFAULT_TIMEOUT_SECONDS
    timeout = min(timeout, MAX_TIMEOUT_SECONDS)
    return max(timeout - MARGIN_SECONDS, timeout * 0.3)


class Mutate:
    """The ASGI endpoint. `closing`: answers close their connections, so that clients go to another replica. `verbose`:
    each review is a log line.
    """

    def __init__(self, admission: Admission, metrics: Metrics, *, verbose: bool = False) -> None:
        self._admission, self._reviews, self._verbose = admission, metrics.reviews, verbose
        self._decode = review.decode if admission.rewriting is None else review.read
        self.closing = False

    def at_once(self, body: bytes) -> bytes | review.Request | None:
        """The whole HTTP response if there is nothing to wait for; otherwise the request, or None if an error came.

        Then `__call__` handles it, and reports the error if it comes again.
        """
        began = time.perf_counter()
        try:
            request = self._decode(body)
            answer = None if self.closing else self._admission.at_once(request)
        except Exception:  # noqa: BLE001  # `__call__` meets and reports it
            return None
        if answer is None:
            return review.detached(request)
        self._reviews.took(time.perf_counter() - began)
        self._reviews.count(answer.outcome)
        if self._verbose:
            _log(request, answer)
        return _OK % (len(answer.body), answer.body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = b"" if scope.get(DECODED) else await _body(scope, receive)
            began = time.perf_counter()
            request = scope.get(DECODED) or review.detached(await _decoded(body))
            del body  # it may have megabytes, and the review may wait
            deadline = asyncio.get_running_loop().time() + seconds_left(scope["query_string"])
            answer = await self._admission(request, deadline)
        except ClientDisconnect:
            return
        except MalformedReview as e:
            response = self._problem(e.status, str(e), "malformed")
        except NamespaceUnknown as e:
            log.warning("a review could not be answered", error=str(e))
            response = self._problem(500, str(e), "failed")
        except Exception:
            # Never `allowed: false`: an answer of 500 lets the cluster's failurePolicy decide.
            log.exception("our own bug: a review could not be answered")
            response = self._problem(500, "internal error; see the log of pullsecret-webhook", "failed")
        else:
            self._reviews.took(time.perf_counter() - began)
            self._reviews.count(answer.outcome)
            if self._verbose:
                _log(request, answer)
            response = Response(answer.body, media_type="application/json")
        if self.closing or response.status_code == 413:
            response.headers["connection"] = "close"
        await response(scope, receive, send)

    def _problem(self, status: int, text: str, outcome: str) -> Response:
        self._reviews.count(outcome)
        if self._verbose:
            log.debug("a review was not answered", outcome=outcome, why=text)
        return PlainTextResponse(f"{text}\n", status)


def _log(request: review.Request, answer: Answer) -> None:
    rest = {"why": answer.why} if answer.why else {}
    if request.dry_run:
        rest["dry_run"] = "yes"
    log.debug(
        "a review was answered",
        about=f"{shown(request.kind.kind)} {shown(request.namespace)}/{shown(request.called)}",
        operation=shown(request.operation),
        outcome=answer.outcome,
        **rest,
    )


async def _decoded(body: bytes | bytearray) -> review.Request:
    try:
        return review.decode(body)
    except review.TooDeep:
        return review.decode(await in_steps(cut(body)))


async def _body(scope: Scope, receive: Receive) -> bytearray:
    """Raises MalformedReview with 415 or 413, before it reads if the headers show it; ClientDisconnect."""
    headers = dict(scope["headers"])
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        raise MalformedReview("the content type must be application/json", 415)
    length = headers.get(b"content-length", b"0").lstrip(b"0")
    if length.isdigit() and (len(length) > 9 or int(length) > MAX_BODY_BYTES):
        raise MalformedReview(f"the body is larger than {MAX_BODY_BYTES} bytes", 413)
    body = bytearray()
    async for part in Request(scope, receive).stream():
        body += part
        if len(body) > MAX_BODY_BYTES:
            raise MalformedReview(f"the body is larger than {MAX_BODY_BYTES} bytes", 413)
    return body


def admission_app(mutate: Mutate, ready: Callable[[], str]) -> Router:
    """`ready`: what is still missing; empty when nothing is."""
    routes = Route("/mutate", mutate, methods=["POST"]), Route("/healthz", _healthz), _readyz(ready)
    return Router(routes, redirect_slashes=False)  # a redirect would go to the host that the client named


async def _healthz(_: Request) -> Response:
    return PlainTextResponse("ok\n")


def _readyz(ready: Callable[[], str]) -> Route:
    async def readyz(_: Request) -> Response:
        missing = ready()
        return PlainTextResponse(f"not ready: {missing}\n" if missing else "ok\n", 503 if missing else 200)

    return Route("/readyz", readyz)


def metrics_app(metrics: ProcessMetrics, ready: Callable[[], str] | None = None) -> Router:
    """Plain HTTP, so that /metrics and /healthz answer before there is a certificate. `ready`: of a process that has no
    other port.

    The page is kept for a moment: clients that request it again and again must not make reviews wait.
    """
    page, made = b"", -PAGE_SECONDS

    async def show(_: Request) -> Response:
        nonlocal page, made
        if time.monotonic() >= made + PAGE_SECONDS:
            page, made = generate_latest(metrics.registry), time.monotonic()
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    routes = [Route("/metrics", show), Route("/healthz", _healthz), *([_readyz(ready)] if ready else ())]
    return Router(routes, redirect_slashes=False)


class _Server(uvicorn.Server):
    """A Listener accepts the connections. The app handles signals: it still accepts for a while after SIGTERM."""

    def __init__(self, config: uvicorn.Config, most: int) -> None:
        super().__init__(config)
        self.most = most

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        allow_files()
        make = cast(Callable[..., LimitedProtocol], self.config.http_protocol_class)
        protocol = functools.partial(make, self.config, self.server_state, {})
        listeners = [Listener(bound, protocol, self.most, self.config.ssl) for bound in sockets or ()]
        self.servers = cast(Any, listeners)  # uvicorn only closes them
        self.started = True

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Without uvicorn's signal handlers. Also closes the listeners when cancelled: else uvloop waits for them."""
        try:
            await self._serve(sockets)
        finally:
            for listener in getattr(self, "servers", ()):
                listener.close()


def allow_files() -> None:
    """Raises the limit of open files: silent connections alone would use up the usual 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = MAX_FILES if hard == resource.RLIM_INFINITY else min(MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def listen(address: str, port: int) -> socket.socket:
    """Binds the socket before uvicorn does, for a clear message if the port is in use. Raises PullsecretError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, port))
    except OSError as e:
        bound.close()
        raise PullsecretError(f"cannot listen on {address} port {port}: {e.strerror}; choose another") from None
    return bound


def server(
    app: Router, *, context: ssl.SSLContext | None = None, at_once: AtOnce | None = None, most: int | None = None
) -> uvicorn.Server:
    """`at_once`: answers a review without the app, if it can (fastpath.py). `most`: connections."""
    protocol: object = functools.partial(ReviewProtocol, at_once) if at_once else LimitedProtocol
    config = uvicorn.Config(
        app,
        http=protocol,  # type: ignore[arg-type]  # uvicorn only calls it
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=5,
        ssl_context_factory=(lambda *_: context) if context else None,
    )
    return _Server(config, most or (MAX_CONNECTIONS if context else MAX_SCRAPERS))
