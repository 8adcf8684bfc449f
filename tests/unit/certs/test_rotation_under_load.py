"""The CA is replaced again and again while clients connect as fast as they can: no handshake and no request fails."""

import asyncio
import http.client
import socket
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pytest
import uvloop
from cryptography import x509

from certs.authority import Authority
from certs.bundle import CONFIRMED, SOAK
from certs.pem import readable
from certs.selfmanaged import SelfManaged
from certs.serving import Serving
from support.certworld import HOST, ApiServer, as_pair, ask
from webhook.admission import Answer
from webhook.core.metrics import Metrics
from webhook.core.review import Request, answer
from webhook.serving.server import Mutate, admission_app, listen, server

REVIEW = b"""{"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": {"uid": "u-1",
"kind": {"group": "", "kind": "Pod"}, "operation": "CREATE",
"object": {"metadata": {}, "spec": {"containers": []}}}}"""


class Allowing:
    rewriting = None

    async def __call__(self, request: Request, _deadline: float) -> Answer:
        return Answer(answer(request.uid), "unchanged")


class Server:
    """As webhook.app puts it together, in a thread: certificates are managed in the loop that serves."""

    def __init__(self, api: ApiServer) -> None:
        self.serving = Serving()
        self._bound = listen("127.0.0.1", 0)
        self.address = self._bound.getsockname()
        app = admission_app(Mutate(Allowing(), Metrics()), lambda: "")  # type: ignore[arg-type]
        self._web = server(app, context=self.serving.listening)
        self.said: list[str] = []
        self._managed = SelfManaged(
            api,
            api,
            [HOST],
            self.serving,
            now=lambda: datetime.now(UTC),
            report=self.said.append,
            ask=ask,
        )
        self._loop = uvloop.new_event_loop()

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._web.serve([self._bound])))
        thread.start()
        try:
            self._call(self._started())
            yield
        finally:
            self._web.should_exit = True
            thread.join(10)
            self._loop.close()

    async def _started(self) -> None:
        while not self._web.started:  # noqa: ASYNC110  # uvicorn has nothing to wait for
            await asyncio.sleep(0.01)

    def look(self) -> None:
        self._call(self._managed.look())

    def _call(self, coroutine: Coroutine[None, None, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)


@lru_cache(8)
def trusting(bundle: bytes, version: ssl.TLSVersion) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=bundle.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    context.minimum_version = context.maximum_version = version
    return context


class Client(threading.Thread):
    """A handshake for each request, verified against what is published when it begins."""

    def __init__(self, api: ApiServer, address: tuple[str, int], version: ssl.TLSVersion) -> None:
        super().__init__()
        self._api, self._address, self._version = api, address, version
        self.answered = 0
        self.shown: set[x509.Certificate] = set()
        self.failures: list[str] = []
        self.progress = threading.Event()
        self.stop = False

    def run(self) -> None:
        while not self.stop:
            try:
                self._ask()
            except (OSError, http.client.HTTPException, AssertionError) as e:  # SSLError is an OSError
                self.failures.append(repr(e))
            self.answered += 1
            self.progress.set()

    def _ask(self) -> None:
        assert self._api.bundle
        context = trusting(self._api.bundle, self._version)
        with (
            socket.create_connection(self._address, timeout=10) as raw,
            context.wrap_socket(raw, server_hostname=HOST) as connection,
        ):
            shown = connection.getpeercert(binary_form=True)
            assert shown
            self.shown.add(x509.load_der_x509_certificate(shown))
            head = f"POST /mutate?timeout=3s HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: application/json\r\n"
            head += f"Content-Length: {len(REVIEW)}\r\nConnection: close\r\n\r\n"
            connection.sendall(head.encode() + REVIEW)
            response = http.client.HTTPResponse(connection)
            response.begin()
            assert response.status == 200
            assert b'"allowed":true' in response.read()

    def soak(self) -> None:
        """Until it has begun and ended a request that it had not begun before."""
        wanted = self.answered + 2
        while self.answered < wanted:
            self.progress.clear()
            assert self.progress.wait(10), "no request ends"


@contextmanager
def connecting(api: ApiServer, address: tuple[str, int]) -> Iterator[list[Client]]:
    versions = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3] * 2
    clients = [Client(api, address, version) for version in versions]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        for client in clients:
            client.stop = True
        for client in clients:
            client.join(10)


def noted_a_soak_ago(api: ApiServer) -> None:
    """As if the time had passed."""
    assert api.data
    assert CONFIRMED in api.data
    noted = datetime.now(UTC) - SOAK
    api.change(api.data | {CONFIRMED: noted.isoformat(timespec="seconds").encode()})


@pytest.mark.parametrize("rotations", [15, pytest.param(100, marks=pytest.mark.slow)])
def test_no_handshake_fails_while_the_authority_is_replaced(monkeypatch: pytest.MonkeyPatch, rotations: int) -> None:
    create = Authority.create
    monkeypatch.setattr(Authority, "create", lambda now: create(now - timedelta(days=300)))  # each is due at once
    api = ApiServer()
    web = Server(api)
    leaves, signed = set(), set()
    with web.running():
        web.look()
        with connecting(api, web.address) as clients:
            for _ in range(rotations):
                for client in clients:
                    client.soak()
                noted_a_soak_ago(api)
                web.look()
                assert web.serving.leaf
                leaves.add(as_pair(web.serving.leaf).chain[0])
                signed.add(api.data["tls.crt"] if api.data else b"")

    assert [client.failures for client in clients] == [[]] * len(clients)
    assert (len(leaves), len(signed)) == (rotations, rotations)
    assert all(len(client.shown & leaves) > rotations / 2 for client in clients)
    assert web.said.count("the CA Secret was written: the next CA signs from now on") == rotations
    assert len(readable(api.bundle or b"")) <= 5
