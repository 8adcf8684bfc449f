"""Others' connections, against a server with the chart's memory: no review is lost or late meanwhile, and it lives."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import attacked
import attacker
import pytest
from memorylimit import memory_limit

LIMIT, MOST = 256 * 1024 * 1024, 200 * 1024 * 1024
"""Bytes: the chart's limit, and what may be resident."""
LATE = 3.0
"""Seconds: what the API server waits for a review, the connection included."""
SECONDS = 4.0


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


@dataclass
class Server:
    process: subprocess.Popen[str]
    tls: int
    plain: int
    log: Path
    highest: int = 0

    def watch(self) -> None:
        with suppress(OSError, ValueError):
            self.highest = max(self.highest, resident(self.process.pid))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    with memory_limit(LIMIT) as group, (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, attacked.__file__], stdout=subprocess.PIPE, stderr=log, text=True, env=environment
        )
        group.write_text(str(process.pid))
        assert process.stdout
        tls, plain = map(int, process.stdout.readline().split())
        for port in (tls, plain):
            until(port)
        yield Server(process, tls, plain, tmp_path / "log")
        process.kill()
        process.communicate()


def until(port: int) -> None:
    """Until it listens."""
    deadline = time.monotonic() + 10
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        else:
            return


@dataclass
class Victim:
    """The API server: it asks on a connection that it keeps, on new ones, and a review that takes a second."""

    server: Server
    body: bytes
    keeps: bool
    took: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    connection: http.client.HTTPSConnection | None = None

    def ask(self) -> None:
        began = time.monotonic()
        try:
            if self.connection is None:
                self.connection = http.client.HTTPSConnection(
                    "127.0.0.1", self.server.tls, context=attacker.CONTEXT, timeout=LATE
                )
            self.connection.request("POST", "/mutate?timeout=3s", self.body, {"content-type": "application/json"})
            status = self.connection.getresponse()
            status.read()
            if status.status != 200:
                self.lost.append(str(status.status))
        except OSError as e:
            self.lost.append(repr(e))
            self.close()
        self.took.append(time.monotonic() - began)
        if not self.keeps:
            self.close()

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def run(self, stop: threading.Event) -> None:
        while not stop.is_set():
            self.ask()
            self.server.watch()
            time.sleep(0.02)
        self.close()


def review(namespace: str, size: int = 0) -> bytes:
    filled = b'"metadata":{"annotations":{"a":"%b"}}' % (b"x" * size)
    return attacker.REVIEW.replace(b'"a"', b'"%b"' % namespace.encode(), 1).replace(b'"metadata":{}', filled)


def under_attack(server: Server, kind: str, port: int, seconds: float = SECONDS) -> list[Victim]:
    victims = [
        Victim(server, review("a"), keeps=True),
        Victim(server, review("a"), keeps=False),
        Victim(server, review("a", 200_000), keeps=False),
        Victim(server, review("slow"), keeps=True),
    ]
    for victim in victims:
        victim.ask()
    stop = threading.Event()
    threads = [threading.Thread(target=victim.run, args=(stop,)) for victim in victims]
    for thread in threads:
        thread.start()
    done = subprocess.run(
        [sys.executable, attacker.__file__, kind, str(port), str(seconds)], capture_output=True, text=True, check=True
    )
    stop.set()
    for thread in threads:
        thread.join()
    print(kind, done.stdout.strip(), "RSS", server.highest >> 20, "MiB")
    for v in victims:
        print("   ", len(v.took), round(sorted(v.took)[len(v.took) // 2] * 1e3), round(max(v.took) * 1e3), v.lost[:3])
    return victims


CASES = [*(kind for kind in attacker.KINDS if kind != "scrape"), "8 bodies", "24 bodies"]


@pytest.mark.parametrize("kind", CASES)
def test_reviews_are_answered(server: Server, kind: str) -> None:
    victims = under_attack(server, kind, server.tls)
    assert server.process.poll() is None
    assert [victim.lost for victim in victims] == [[], [], [], []]
    assert max(max(victim.took) for victim in victims) < LATE
    assert server.highest < MOST


def test_scrapers(server: Server) -> None:
    victims = under_attack(server, "scrape", server.plain)
    assert [victim.lost for victim in victims] == [[], [], [], []]
    assert server.highest < MOST
