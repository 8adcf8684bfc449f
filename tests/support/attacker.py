"""What somebody who reaches a port can do, as a process of its own: `python attacker.py KIND PORT SECONDS`.

It opens connections of the KIND as fast as it can, keeps all that are not cut off, and says how many there were.
"""

import itertools
import selectors
import socket
import ssl
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

MOST = 5000
"""Connections that one attack opens."""
HEAD = b"POST /mutate?timeout=3s HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
LARGEST = 8 * 1024 * 1024
REVIEW = (
    b'{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"",'
    b'"kind":"Pod"},"operation":"CREATE","namespace":"a","object":{"metadata":{},"spec":{}}}}'
)


def untrusting() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


CONTEXT = untrusting()


def hello(name: str) -> bytes:
    """The first message of a handshake."""
    out = ssl.MemoryBIO()
    with suppress(ssl.SSLWantReadError):
        CONTEXT.wrap_bio(ssl.MemoryBIO(), out, server_hostname=name).do_handshake()
    return out.read()


HELLO = hello("name.example")
ODD_HELLO = hello("x" * 40).replace(b"x" * 40, b"\xff" * 40)


def raw(port: int, data: bytes = b"") -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=5)
    if data:
        connection.sendall(data)
    return connection


def tls(port: int, data: bytes = b"") -> ssl.SSLSocket:
    connection = CONTEXT.wrap_socket(raw(port))
    if data:
        connection.sendall(data)
    return connection


def reset(port: int, data: bytes = HELLO) -> socket.socket:
    """In the middle of the handshake."""
    connection = raw(port, data)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    return connection


def raw_reset(port: int) -> socket.socket:
    return reset(port, b"")


def part_of_hello(port: int) -> socket.socket:
    return raw(port, HELLO[:-1])


def half(port: int) -> socket.socket:
    return tls(port, HEAD[:40])


def half_body(port: int) -> socket.socket:
    return tls(port, HEAD % 250_000 + b"x" * 249_999)


def reviewed(port: int) -> socket.socket:
    connection = tls(port, HEAD % len(REVIEW) + REVIEW)
    connection.recv(4096)
    return connection


def large_reviewed(port: int) -> socket.socket:
    large = REVIEW.replace(b'"metadata":{}', b'"metadata":{"annotations":{"a":"%b"}}' % (b"x" * 250_000))
    connection = tls(port, HEAD % len(large) + large)
    connection.recv(4096)
    return connection


def scrape(port: int) -> socket.socket:
    return raw(port, b"GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n" * 8)


KINDS: dict[str, Callable[[int], socket.socket]] = {
    "raw": raw,
    "raw reset": raw_reset,
    "part of hello": part_of_hello,
    "hello": lambda port: raw(port, HELLO),
    "odd name": lambda port: raw(port, ODD_HELLO),
    "reset": reset,
    "idle": tls,
    "half a request": half,
    "half a body": half_body,
    "reviewed": reviewed,
    "large reviewed": large_reviewed,
    "scrape": scrape,
}


def flood(kind: str, port: int, until: float) -> int:
    """Opens as fast as it can."""
    kept: list[socket.socket] = []
    opened = 0
    while time.monotonic() < until and opened < MOST:
        with suppress(OSError):
            kept.append(KINDS[kind](port))
        opened += 1
        if len(kept) >= 15_000:
            kept[:1000] = []
    time.sleep(max(0, until - time.monotonic()))
    return opened


class Bodies:
    """Some connections that send a body of 8 MiB but for its last byte, and anew when they are cut off."""

    def __init__(self, port: int, count: int) -> None:
        self._port, self._selector, self.renewed = port, selectors.DefaultSelector(), 0
        for _ in range(count):
            self._open()

    def _open(self) -> None:
        with suppress(OSError):
            connection = tls(self._port, HEAD % LARGEST)
            connection.setblocking(False)
            self._selector.register(connection, selectors.EVENT_READ | selectors.EVENT_WRITE, self._sending())
        self.renewed += 1

    @staticmethod
    def _sending() -> Iterator[bytes]:
        chunk = b"x" * 65536
        return itertools.chain(itertools.repeat(chunk, LARGEST // len(chunk) - 1), [chunk[:-1]])

    def run(self, until: float) -> int:
        while time.monotonic() < until:
            for key, events in self._selector.select(0.1):
                self._step(key, events)
        return self.renewed

    def _step(self, key: selectors.SelectorKey, events: int) -> None:
        connection = key.fileobj
        assert isinstance(connection, ssl.SSLSocket)
        try:
            if events & selectors.EVENT_READ:
                if not connection.recv(65536):
                    raise ConnectionResetError
            elif (chunk := next(key.data, None)) is not None:
                connection.sendall(chunk)
            else:
                self._selector.modify(connection, selectors.EVENT_READ, key.data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
            pass
        except OSError:
            self._selector.unregister(connection)
            connection.close()
            self._open()


def main(kind: str, port: int, seconds: float) -> int:
    until = time.monotonic() + seconds
    if kind.endswith(" bodies"):
        return Bodies(port, int(kind.split(maxsplit=1)[0])).run(until)
    return flood(kind, port, until)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
