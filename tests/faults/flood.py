"""`python -m faults.flood PORT SILENT DRIBBLING GARBAGE`: connections that nobody needs, until it is told to end.

What any pod may do. A process of its own: ten thousand handshakes would take the harness's time.
"""

import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from controlplane.process import Child

_THREADS = 8
_WAIT = 5.0
_HEAD = b"POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"


@contextmanager
def flood(log: Path, port: int, *, silent: int, dribbling: int = 0, garbage: int = 0) -> Iterator[Child]:
    command = [sys.executable, "-m", "faults.flood", *map(str, (port, silent, dribbling, garbage))]
    with Child("flood", command, log=log) as child:
        yield child


def opened(log: Path) -> bool:
    """Has each connection been tried?"""
    return log.exists() and log.read_text().endswith("opened\n")


def main(port: int, silent: int, dribbling: int, garbage: int) -> None:
    kept: list[socket.socket] = []
    makes: list[Callable[[int], None]] = [
        *[lambda at: kept.append(_Handshake(at).detached())] * silent,
        *[lambda at: threading.Thread(target=_dribble, args=(at,), daemon=True).start()] * dribbling,
        *[_garbage] * garbage,
    ]
    with ThreadPoolExecutor(_THREADS) as workers:
        for make in makes:
            workers.submit(_tried, make, port)
    print("opened", flush=True)
    while True:
        time.sleep(1)


def _tried(make: Callable[[int], None], port: int) -> None:
    with suppress(OSError):
        make(port)


class _Handshake:
    def __init__(self, port: int) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.tls = context.wrap_socket(socket.create_connection(("127.0.0.1", port), _WAIT))

    def detached(self) -> socket.socket:
        """Without what Python keeps of TLS: the other side's memory is what counts."""
        return socket.socket(fileno=self.tls.detach())


def _dribble(port: int) -> None:
    """A request that never ends."""
    with suppress(OSError):
        tls = _Handshake(port).tls
        tls.sendall(_HEAD)
        while True:
            tls.sendall(b" ")
            time.sleep(0.5)


def _garbage(port: int) -> None:
    plain = socket.create_connection(("127.0.0.1", port), _WAIT)
    plain.sendall(bytes(range(256)) * 4)
    plain.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
