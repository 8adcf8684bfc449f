"""The real server over real TLS: limits, health, keep-alive, and what it says when something is wrong."""

import asyncio
import gc
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from types import SimpleNamespace
from unittest.mock import patch

import httpx
import pytest
import structlog
import trustme
import uvicorn.server
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from controlplane import plain
from support import attacker, planted
from webhook.admission import Answer
from webhook.core.errors import NamespaceUnknown
from webhook.core.metrics import IssuerMetrics, Metrics
from webhook.core.review import Request, answer
from webhook.serving import limits, log
from webhook.serving import server as module
from webhook.serving.loop import Loop
from webhook.serving.server import MAX_BODY_BYTES, Mutate, admission_app, listen, metrics_app, seconds_left, server
from webhook.serving.slots import ConnectionSlots

CA = trustme.CA()
TRUST = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
CA.configure_trust(TRUST)
HASTY = SimpleNamespace(**vars(asyncio) | {"sleep": lambda _: asyncio.sleep(0.005)})
"""asyncio as uvicorn sees it: it looks ten times a second whether it is to end, and waits that long for connections."""


class Admission:
    """Stands in for the one behind the routes: allows everything, or fails as told."""

    rewriting = None

    def __init__(self) -> None:
        self.seen: list[Request] = []
        self.counted: list[int] = []
        """Bytes of bodies that are not decoded yet, when a review waits."""
        self.error: Exception | None = None
        self.waits = False

    def at_once(self, request: Request) -> Answer | None:
        if self.waits or self.error:
            return None
        self.seen.append(request)
        return Answer(answer(request.uid), "unchanged")

    async def __call__(self, request: Request, deadline: float) -> Answer:
        self.seen.append(request)
        self.counted.append(limits.LimitedProtocol.arriving.bytes)
        if self.error:
            raise self.error
        return Answer(answer(request.uid), "unchanged")


class Running:
    def __init__(self, port: int) -> None:
        self.admission, self.metrics, self.port = Admission(), Metrics(), port
        self.mutate = Mutate(self.admission, self.metrics)  # type: ignore[arg-type]  # the part of it that is used
        self.missing = ""
        self.server: uvicorn.Server
        self.url = f"https://127.0.0.1:{port}"

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, verify=TRUST, trust_env=False, timeout=10)

    def post(self, body: bytes | str, content_type: str = "application/json") -> httpx.Response:
        with self.client() as client:
            return client.post("/mutate?timeout=3s", content=body, headers={"content-type": content_type})

    @contextmanager
    def connection(self) -> Iterator[ssl.SSLSocket]:
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        with closing(TRUST.wrap_socket(raw, server_hostname="127.0.0.1")) as connection:
            yield connection


@contextmanager
def serving(web: uvicorn.Server, bound: socket.socket) -> Iterator[None]:
    thread = threading.Thread(target=lambda: asyncio.Runner(loop_factory=Loop).run(web.serve([bound])))
    with patch.object(uvicorn.server, "asyncio", HASTY):
        thread.start()
        while not web.started:
            assert thread.is_alive()
            time.sleep(0.001)
        yield
        web.should_exit = True
        thread.join(10)
    assert not thread.is_alive()


@pytest.fixture(params=["at once", "waiting"])
def running(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """Every test with both ways from a request to its answer."""
    monkeypatch.setattr(limits.LimitedProtocol, "arriving", limits.Arriving())  # other tests end theirs without a word
    bound = listen("127.0.0.1", 0)
    running = Running(bound.getsockname()[1])
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert("127.0.0.1").configure_cert(context)
    app = admission_app(running.mutate, lambda: running.missing)
    running.admission.waits = request.param == "waiting"
    running.server = server(app, context=context, at_once=running.mutate.at_once)
    with serving(running.server, bound):
        yield running


def review(**request: object) -> str:
    pod: dict[str, object] = {"metadata": {}, "spec": {"containers": []}}
    whole = {"uid": "u-1", "kind": {"group": "", "kind": "Pod"}, "operation": "CREATE", "object": pod} | request
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": whole})


def read_all(connection: socket.socket) -> bytes:
    data = b""
    while chunk := connection.recv(65536):
        data += chunk
    return data


def test_a_review_is_answered_and_counted(running: Running) -> None:
    response = running.post(review())
    assert response.status_code == 200
    assert response.json()["response"] == {"uid": "u-1", "allowed": True}
    with running.client() as client:
        assert client.get("/mutate").status_code == 405
        assert client.get("/other").status_code == 404
    count = running.metrics.registry.get_sample_value("pullsecret_webhook_reviews_total", {"outcome": "unchanged"})
    assert count == 1


def test_health_and_readiness(running: Running) -> None:
    with running.client() as client:
        assert (client.get("/healthz").status_code, client.get("/readyz").text) == (200, "ok\n")
        running.missing = "namespaces, certificate"
        answered = client.get("/readyz")
        assert (answered.status_code, answered.text) == (503, "not ready: namespaces, certificate\n")
        assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/yaml", ""])
def test_other_content_types_are_415(running: Running, content_type: str) -> None:
    assert running.post(review(), content_type).status_code == 415


@pytest.mark.parametrize("path", ["/mutate/", "/healthz/", "//evil.example", "/"])
def test_nobody_is_sent_elsewhere(running: Running, path: str) -> None:
    """Least of all to a host that the client named."""
    with running.connection() as connection:
        connection.sendall(b"POST %b HTTP/1.1\r\nhost: evil.example\r\ncontent-length: 0\r\n\r\n" % path.encode())
        answered = connection.recv(1000)
        assert answered.startswith(b"HTTP/1.1 404 ")
        assert b"evil.example" not in answered


def test_content_type_may_have_parameters(running: Running) -> None:
    assert running.post(review(), "Application/JSON; charset=utf-8").status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"x"',
        b"\xff\xfe",
        b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}',
        b"[" * 100_000,
        b'{"a":' * 50_000,
        review(uid="").encode(),
        review(object={"spec": "x"}).encode(),
        review().replace("/v1", "/v1beta1").encode(),
        review().replace("AdmissionReview", "Pod").encode(),
    ],
)
def test_what_is_no_review_is_400_in_one_line_without_the_body(running: Running, body: bytes) -> None:
    response = running.post(body)
    assert response.status_code == 400
    assert response.text.count("\n") == 1
    assert len(response.text) < 120
    assert running.admission.seen == []


def test_a_told_length_over_the_limit_is_413_before_it_is_sent(running: Running) -> None:
    with running.connection() as connection:
        head = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}content-length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 413 ")


@pytest.mark.parametrize("path", ["/mutate", "/healthz"])
def test_chunks_are_refused(running: Running, path: str) -> None:
    """What they say in trailers has no end, and no client of ours sends any."""
    with running.connection() as connection:
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
        connection.sendall(f"{head}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n".encode())
        assert connection.recv(1000).startswith(b"HTTP/1.1 400 ")
        with suppress(OSError):
            for number in range(1000):
                connection.sendall(b"x-%d: %b\r\n" % (number, b"y" * 1000))
            assert read_all(connection) == b""


def test_a_request_that_begins_where_another_ends_has_its_time_too(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WHOLE_REQUEST_SECONDS", 0.3)
    with running.connection() as connection:
        connection.sendall(whole("a") + whole("b")[:200])
        assert b" 408 " in read_all(connection)


def test_over_the_bound_the_largest_that_is_on_its_way_goes(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SMALL_BYTES", 100)
    monkeypatch.setattr(limits, "ORDINARY_BYTES", 500)
    monkeypatch.setattr(limits, "MAX_ARRIVING_BYTES", 1000)
    with running.connection() as large, running.connection() as ordinary, suppress(OSError):
        large.sendall(asked("x" * 800, b"content-length: 100000"))
        ordinary.sendall(asked("x" * 300, b"content-length: 301"))  # newer, but smaller
        assert read_all(large) == b""
        ordinary.sendall(b"x")
        assert ordinary.recv(1000).startswith(b"HTTP/1.1 400 ")  # it is no review, but it was taken
    with running.connection() as connection:
        connection.sendall(whole("a", size=500))  # and is counted once, whichever way it goes
        assert answers(connection, 1) == ["a"]
    assert limits.LimitedProtocol.arriving.bytes == 0


def test_if_all_are_of_ordinary_size_the_one_goes_that_began_first(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SMALL_BYTES", 100)
    monkeypatch.setattr(limits, "MAX_ARRIVING_BYTES", 1000)
    with running.connection() as first, running.connection() as second, suppress(OSError):
        first.sendall(asked("x" * 400, b"content-length: 401"))
        while limits.LimitedProtocol.arriving.bytes < 400:
            time.sleep(0.01)
        second.sendall(asked("x" * 700, b"content-length: 701"))
        assert read_all(first) == b""
        second.sendall(b"x")
        assert second.recv(1000).startswith(b"HTTP/1.1 400 ")


def test_a_handshake_that_does_not_come_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 0.3)
    bound = listen("127.0.0.1", 0)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    CA.issue_cert("127.0.0.1").configure_cert(context)
    with serving(server(metrics_app(Metrics()), context=context), bound):
        began = time.monotonic()
        with closing(socket.create_connection(bound.getsockname(), timeout=5)) as connection, suppress(ConnectionError):
            assert connection.recv(100) == b""
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("pieces", [(3,), (5,), (20,), (-1,), (3, 8, 30)])
def test_a_handshake_may_begin_in_pieces(running: Running, pieces: tuple[int, ...]) -> None:
    """Each a moment after the one before."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = TRUST.wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with closing(socket.create_connection(("127.0.0.1", running.port), timeout=5)) as connection:
        with suppress(ssl.SSLWantReadError):
            client.do_handshake()
        hello, sent = outgoing.read(), 0
        for end in pieces:
            connection.sendall(hello[sent:end])
            sent = end
            time.sleep(0.05)
        connection.sendall(hello[sent:])
        while True:
            incoming.write(connection.recv(65536))
            with suppress(ssl.SSLWantReadError):
                client.do_handshake()
                break
        assert client.version() == "TLSv1.3"


RECORD = b"\x16\x03\x01"


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        RECORD + b"\x40\x00\x01\x00\x3f\xfc" + bytes(1000),  # larger than there are any
        RECORD + b"\x04\x00\x01\x01\xff\xf0" + bytes(1000),  # goes on in other records
        RECORD + b"\x04\x00\x02\x00\x03\xfc" + bytes(1000),  # another message
        RECORD + b"\x00\x01\x01",
    ],
)
def test_what_is_no_client_hello_is_hung_up_on(running: Running, sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HANDSHAKE_SECONDS", 30.0)
    with closing(socket.create_connection(("127.0.0.1", running.port), timeout=5)) as connection:
        connection.sendall(sent)
        with suppress(ConnectionError):
            assert connection.recv(100) == b""


@pytest.mark.parametrize("handshake", ["done", "given up", "refused"])
def test_connections_are_freed_when_they_end(running: Running, handshake: str) -> None:
    """At once, and not when Python looks for objects that hold each other."""

    def connects() -> None:
        if handshake == "done":
            with running.connection() as connection:
                connection.sendall(whole("a") + b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
                answers(connection, 1)
            return
        incoming, hello = ssl.MemoryBIO(), ssl.MemoryBIO()
        with suppress(ssl.SSLWantReadError):
            TRUST.wrap_bio(incoming, hello, server_hostname="127.0.0.1").do_handshake()
        with socket.create_connection(("127.0.0.1", running.port), timeout=10) as connection:
            connection.sendall(hello.read())
            assert connection.recv(1), "it has begun"
            if handshake == "refused":
                connection.sendall(b"this is no TLS")
                with suppress(ConnectionResetError):
                    read_all(connection)

    def alive() -> int:
        return sum(isinstance(thing, limits.LimitedProtocol | limits.Deadline) for thing in gc.get_objects())

    gc.collect()
    before = alive()  # of other tests
    gc.disable()
    try:
        for _ in range(20):
            connects()
        deadline = time.monotonic() + 5
        while alive() > before and time.monotonic() < deadline:
            time.sleep(0.05)
        assert alive() <= before
    finally:
        gc.enable()


def test_a_review_of_eight_mib_is_answered(running: Running) -> None:
    text = review(object={"metadata": {"annotations": {"a": "x" * (MAX_BODY_BYTES - 2000)}}, "spec": {}})
    assert running.post(text).status_code == 200


@pytest.mark.parametrize("running", ["waiting"], indirect=True)
def test_the_body_of_a_review_that_waits_is_not_kept_and_not_counted(running: Running) -> None:
    with running.connection() as connection:
        connection.sendall(whole("a", size=200_000))
        assert answers(connection, 1) == ["a"]
    assert running.admission.counted == [0]
    assert limits.LimitedProtocol.arriving.bytes == 0


def test_a_large_head_is_refused(running: Running) -> None:
    with running.connection() as connection:
        connection.sendall(b"POST /mutate HTTP/1.1\r\nhost: x\r\nx-large: " + b"a" * limits.HEAD_BYTES * 2)
        assert read_all(connection).startswith(b"HTTP/1.1 431 ")
    with running.client() as client:
        assert client.get("/healthz", headers={"x": "a" * 8000}).status_code == 200


@pytest.mark.parametrize(
    "sent",
    [b"POST /mutate HT", b"POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"],
    ids=["half a head", "half a body"],
)
def test_a_request_that_does_not_come_whole_is_ended(
    running: Running, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WHOLE_REQUEST_SECONDS", 0.3)
    with running.connection() as connection:
        connection.sendall(sent)
        began = time.monotonic()
        ended = read_all(connection)
    assert time.monotonic() - began < 3
    assert ended.startswith((b"HTTP/1.1 408 ", b"HTTP/1.1 415 "))


def test_a_kept_connection_may_rest_and_each_request_has_its_own_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WHOLE_REQUEST_SECONDS", 0.3)
    with running.client() as client:
        for _ in range(3):
            assert client.post("/mutate", content=review(), headers={"content-type": "application/json"}).is_success
            time.sleep(0.4)
    with running.connection() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        time.sleep(0.5)
        connection.sendall(b"GET /hea")
        assert b"HTTP/1.1 408 " in read_all(connection)


def test_a_connection_may_be_opened_long_before_it_is_used(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the API server does: what it dials in a burst and does not need at once it keeps for the next one."""
    monkeypatch.setattr(limits, "WHOLE_REQUEST_SECONDS", 0.3)
    with running.connection() as connection:
        time.sleep(0.6)
        connection.sendall(whole("a"))
        assert answers(connection, 1) == ["a"]


def test_a_connection_that_is_never_used_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = listen("127.0.0.1", 0)
    web = server(metrics_app(Metrics()))
    web.config.timeout_keep_alive = 0.3  # type: ignore[assignment]  # whole seconds would be long for a test
    with serving(web, bound), closing(socket.create_connection(bound.getsockname(), timeout=5)) as connection:
        assert connection.recv(100) == b""


def test_a_process_without_another_port_says_there_whether_it_is_ready() -> None:
    missing = ["namespaces"]
    bound = listen("127.0.0.1", 0)
    base = f"http://127.0.0.1:{bound.getsockname()[1]}"
    with serving(server(metrics_app(IssuerMetrics(), lambda: ", ".join(missing))), bound):
        answer = plain.get(f"{base}/readyz")
        assert (answer.status_code, answer.text) == (503, "not ready: namespaces\n")
        missing.clear()
        assert plain.get(f"{base}/readyz").status_code == 200
        assert plain.get(f"{base}/healthz").status_code == 200


def test_a_review_that_is_half_here_at_the_end_is_answered(running: Running) -> None:
    data = whole("a")
    with running.connection() as connection:
        connection.sendall(data[:-40])
        time.sleep(0.1)
        running.server.should_exit = True
        time.sleep(0.3)
        connection.sendall(data[-40:])
        assert b'"uid":"a"' in read_all(connection)


@pytest.mark.parametrize("sent", [b"", attacker.HELLO[:3], attacker.HELLO[:-1], attacker.HELLO])
def test_who_has_not_finished_a_handshake_is_hung_up_on_at_the_end(running: Running, sent: bytes) -> None:
    with closing(socket.create_connection(("127.0.0.1", running.port), timeout=2)) as connection:
        connection.sendall(sent)
        with running.connection():  # by now the first one is accepted
            running.server.should_exit = True
        with suppress(ConnectionError):
            while connection.recv(65536):
                pass


def test_while_closing_each_answer_ends_its_connection(running: Running) -> None:
    assert "connection" not in running.post(review()).headers
    running.mutate.closing = True
    assert running.post(review()).headers["connection"] == "close"


@pytest.fixture
def reset_logging() -> Iterator[None]:
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers.clear()


@pytest.mark.usefixtures("reset_logging")
def test_our_own_bug_is_500_without_a_word_of_it(running: Running, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("json")  # as `serve` does it
    running.admission.error = RuntimeError(planted.token())
    response = running.post(review(object={"spec": {"x": planted.token()}}))
    assert response.status_code == 500
    assert response.text == "internal error; see the log of pullsecret-webhook\n"
    said = capsys.readouterr().err
    assert "RuntimeError at " in said
    assert planted.leaks(response.text + said) == []


def test_an_unknown_namespace_is_500_so_that_the_failure_policy_decides(running: Running) -> None:
    running.admission.error = NamespaceUnknown("namespace a could not be read (503 ServiceUnavailable)")
    response = running.post(review())
    assert (response.status_code, response.text.count("\n")) == (500, 1)


def test_metrics_page(monkeypatch: pytest.MonkeyPatch) -> None:
    bound = listen("127.0.0.1", 0)
    monkeypatch.setattr(module, "PAGE_SECONDS", 60.0)
    web = server(metrics_app(Metrics()))
    made: list[bytes] = []

    def make(registry: CollectorRegistry) -> bytes:
        made.append(generate_latest(registry))
        return made[-1]

    monkeypatch.setattr(module, "generate_latest", make)
    with serving(web, bound), httpx.Client(trust_env=False) as client:
        for _ in range(20):
            response = client.get(f"http://127.0.0.1:{bound.getsockname()[1]}/metrics")
    assert len(made) == 1
    assert response.headers["content-type"].startswith("text/plain")
    assert "pullsecret_webhook_review_seconds_count 0.0" in response.text


def test_without_a_place_a_review_is_answered_and_its_connection_ended(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running.client() as client:
        kept = client.post("/mutate", content=review(), headers={"content-type": "application/json"})
        assert "connection" not in kept.headers
        monkeypatch.setattr(ConnectionSlots, "sent_review", lambda *_: False)
        last = client.post("/mutate", content=review(), headers={"content-type": "application/json"})
        assert (last.status_code, last.json()["response"]) == (200, {"uid": "u-1", "allowed": True})
        assert last.headers["connection"] == "close"
    with running.connection() as connection:
        body = review().encode()
        head = b"POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
        connection.sendall(head % len(body) + body)
        assert b"\r\nconnection: close\r\n" in read_all(connection)  # to its end, which comes at once


@pytest.mark.parametrize(
    ("query", "seconds"),
    [
        (b"timeout=3s", 2.3),
        (b"timeout=10s", 9.3),
        (b"timeout=2500ms", 1.8),
        (b"timeout=1s", 0.3),
        (b"timeout=1m", 29.3),
        (b"", 2.3),
        (b"timeout=", 2.3),
        (b"timeout=-3s", 2.3),
        (b"timeout=1e9s", 2.3),
        (b"timeout=\xff", 2.3),
        (b"a=b&timeout=5s", 4.3),
    ],
)
def test_seconds_left(query: bytes, seconds: float) -> None:
    assert seconds_left(query) == pytest.approx(seconds)


HEAD = b"POST /mutate?timeout=3s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"


def asked(body: str, *headers: bytes) -> bytes:
    return HEAD + b"".join(header + b"\r\n" for header in headers) + b"\r\n" + body.encode()


def whole(uid: str, *headers: bytes, size: int = 0) -> bytes:
    body = review(uid=uid).ljust(size)
    return asked(body, b"content-length: %d" % len(body), *headers)


def answers(connection: ssl.SSLSocket, count: int) -> list[str]:
    """The uids, in the order in which they are answered."""
    data = b""
    while data.count(b'"uid":') < count:
        chunk = connection.recv(65536)
        assert chunk, data
        data += chunk
    return [part.split(b'"')[1].decode() for part in data.split(b'"uid":')[1:]]


def test_requests_that_come_together_are_answered_in_order(running: Running) -> None:
    with running.connection() as connection:
        connection.sendall(whole("a") + whole("b", b"expect: 100-continue") + whole("c"))
        assert answers(connection, 3) == ["a", "b", "c"]
        connection.sendall(whole("d"))
        assert answers(connection, 1) == ["d"]


def test_a_review_may_come_in_pieces(running: Running) -> None:
    data = whole("a") + whole("b")
    with running.connection() as connection:
        for at in range(0, len(data), 50):
            connection.sendall(data[at : at + 50])
            time.sleep(0.001)
        assert answers(connection, 2) == ["a", "b"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([b"content-length: x"], 400),
        ([b"content-length: 1", b"content-length: 2"], 400),
        ([b"content-length: 5", b"transfer-encoding: chunked"], 400),
        ([b"transfer-encoding: chunked"], 400),
        ([], 400),  # no body at all
        ([b"content-length: " + b"0" * 5000 + b"5"], 400),  # more digits than Python makes a number of
    ],
)
def test_odd_lengths(running: Running, headers: list[bytes], status: int) -> None:
    with running.connection() as connection:
        connection.sendall(asked("5\r\nhello\r\n0\r\n\r\n", *headers))
        assert connection.recv(1000).startswith(b"HTTP/1.1 %d " % status)


def test_a_client_that_asks_for_it_is_hung_up_on(running: Running) -> None:
    with running.connection() as connection:
        connection.sendall(whole("a", b"connection: close"))
        assert b'"uid":"a"' in read_all(connection)


@pytest.mark.parametrize("running", ["at once"], indirect=True)
def test_an_answer_at_once_starts_no_task(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    monkeypatch.setattr(HttpToolsProtocol, "_start_asgi_task", lambda *_: started.append("task"))
    with running.connection() as connection:
        connection.sendall(whole("a") * 20)
        assert answers(connection, 20) == ["a"] * 20
    assert started == []


def send_without_end(connection: ssl.SSLSocket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(0.5)
    some = whole("a") * 100
    for _ in range(200 * 1024 * 1024 // len(some)):
        connection.sendall(some)


def test_unread_answers_do_not_pile_up(running: Running) -> None:
    """A client that only sends: at some point nothing more is taken from it, or it is hung up on."""
    with running.connection() as connection, pytest.raises(OSError, match=r"timed out|reset|[Bb]roken pipe|EOF"):
        send_without_end(connection)


def test_who_does_not_read_is_hung_up_on(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "UNREAD_SECONDS", 0.3)
    with running.connection() as connection:
        with suppress(OSError):
            send_without_end(connection)
        deadline = time.monotonic() + 5
        while running.server.server_state.connections and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not running.server.server_state.connections
