"""The proxies do to connections and requests what they are told, and nothing else."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest
import trustme

from faults.link import Rule
from faults.proxy import Proxies, Proxy, Tls

BODY = b"x" * 100_000


class Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_PATCH(self) -> None:
        self.do_POST()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[int]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


@pytest.fixture
def proxies() -> Iterator[Proxies]:
    with Proxies.start() as started:
        yield started


@pytest.fixture
def proxy(proxies: Proxies, server: int, authority: trustme.CA) -> Proxy:
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(client)
    return proxies.add(("127.0.0.1", server), tls=Tls(client, trusting(authority)))


@pytest.fixture
def client(proxy: Proxy, authority: trustme.CA) -> Iterator[httpx.Client]:
    url = f"https://127.0.0.1:{proxy.port}"
    with httpx.Client(base_url=url, verify=trusting(authority), trust_env=False, timeout=1) as made:
        yield made


def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def works(client: httpx.Client) -> bool:
    return client.post("/", content=BODY).content == BODY


def test_what_is_sent_comes_back(client: httpx.Client) -> None:
    assert works(client)
    assert works(client)


def test_a_rule_is_for_its_methods_and_each_nth_request(client: httpx.Client, proxy: Proxy) -> None:
    rule = Rule(429, (("Retry-After", "7"),), one_in=2, methods=frozenset({"PATCH"}))
    with proxy.ruled(rule):
        assert works(client)
        answers = [client.patch("/", content=BODY) for _ in range(4)]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429]
    assert {answer.headers.get("Retry-After") for answer in answers if answer.status_code == 429} == {"7"}
    assert works(client)


def test_a_request_is_delayed(client: httpx.Client, proxy: Proxy) -> None:
    assert works(client)
    with proxy.ruled(Rule(delay=2)), pytest.raises(httpx.ReadTimeout):
        works(client)


@pytest.mark.filterwarnings("ignore:unclosed <ssl.SSLSocket:ResourceWarning")
@pytest.mark.filterwarnings("ignore:.*ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning")
def test_handshakes_are_reset(client: httpx.Client, proxy: Proxy) -> None:
    assert works(client)
    with proxy.resetting():
        for _ in range(4):
            with pytest.raises(httpx.TransportError, match=r"reset|disconnected|EOF"):
                works(client)
    assert works(client)


def test_open_connections_are_cut_and_reset(client: httpx.Client, proxy: Proxy) -> None:
    for end in (proxy.cut, proxy.reset):
        assert works(client)
        end()
        with suppress(httpx.TransportError):  # it may not have seen it yet
            works(client)
        assert works(client)


def test_silent_connections_stay_so_and_new_ones_work(client: httpx.Client, proxy: Proxy) -> None:
    assert works(client)
    proxy.silence()
    with pytest.raises(httpx.ReadTimeout):
        works(client)
    assert works(client)


def test_after_a_stall_all_goes_on(client: httpx.Client, proxy: Proxy) -> None:
    assert works(client)
    with proxy.stalling():
        with pytest.raises(httpx.TimeoutException):
            works(client)
        with pytest.raises(httpx.TimeoutException):
            works(client)
    assert works(client)


def test_bytes_are_handed_on_where_tls_is_not_ended(proxies: Proxies, server: int, authority: trustme.CA) -> None:
    proxy = proxies.add(("127.0.0.1", server))
    with httpx.Client(base_url=f"https://127.0.0.1:{proxy.port}", verify=trusting(authority)) as client:
        assert works(client)
    proxies.remove(proxy)
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", proxy.port), 1)
