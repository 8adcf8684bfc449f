"""Others' connections, against a server with the chart's memory: no review is lost or late meanwhile, and it lives."""

import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support import attacked, attacker
from support.memorylimit import memory_limit
from webhook.serving.server import MAX_CONNECTIONS
from webhook.serving.slots import MAX_SILENT

LIMIT, MOST = 256 * 1024 * 1024, 200 * 1024 * 1024
"""Bytes: the chart's limit, and what may be resident."""
LEFT = 16 * 1024 * 1024
"""Bytes that a flood may leave behind."""
ITS_OWN = 8
"""Descriptors that the process may open for itself when it is first asked."""
LATE = 3.0
"""Seconds: what the API server waits for a review, the connection included."""


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

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))


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


def under_attack(server: Server, kind: str, port: int, seconds: float) -> list[Victim]:
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
    subprocess.run([sys.executable, attacker.__file__, kind, str(port), str(seconds)], check=True)
    stop.set()
    for thread in threads:
        thread.join()
    return victims


QUICK = ["raw", "half a body", "8 bodies"]
SLOW = [kind for kind in (*attacker.KINDS, "24 bodies") if kind not in (*QUICK, "scrape")]


@pytest.mark.parametrize("kind", [*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in SLOW)])
def test_no_review_is_lost_or_late(server: Server, kind: str) -> None:
    unharmed(server, under_attack(server, kind, server.tls, 2.0 if kind in QUICK else 5.0))


@pytest.mark.slow
def test_reviews_while_the_metrics_port_is_flooded(server: Server) -> None:
    unharmed(server, under_attack(server, "scrape", server.plain, 5.0))


def unharmed(server: Server, victims: list[Victim]) -> None:
    assert server.process.poll() is None
    assert [victim.lost for victim in victims] == [[], [], [], []]
    assert max(max(victim.took) for victim in victims) < LATE
    assert server.highest < MOST
    assert server.log.stat().st_size < 10_000


@pytest.mark.parametrize(
    ("kind", "seconds"), [("raw", 1.0), pytest.param("raw", 5.0, marks=pytest.mark.slow), ("scrape", 1.0)]
)
def test_probes_while_their_port_is_flooded(server: Server, kind: str, seconds: float) -> None:
    """The kubelet connects anew for each. It would end a process that does not answer in time."""
    flood = subprocess.Popen([sys.executable, attacker.__file__, kind, str(server.plain), str(seconds)])
    said, longest = set(), 0.0
    while flood.poll() is None:
        began = time.monotonic()
        probe = http.client.HTTPConnection("127.0.0.1", server.plain, timeout=LATE)
        probe.request("GET", "/healthz")
        said.add(probe.getresponse().status)
        probe.close()
        longest = max(longest, time.monotonic() - began)
        time.sleep(0.02)
    assert (flood.returncode, said) == (0, {200})
    assert longest < LATE


@pytest.mark.parametrize(
    ("kind", "bound"), [("raw", MAX_SILENT), ("part of hello", MAX_SILENT), ("idle", MAX_CONNECTIONS)]
)
def test_connections_are_bounded(server: Server, kind: str, bound: int) -> None:
    most = server.descriptors() + bound + ITS_OWN
    with ExitStack() as stack:
        kept = [stack.enter_context(attacker.KINDS[kind](server.tls)) for _ in range(bound + 50)]
        deadline = time.monotonic() + 20
        while server.descriptors() > most and time.monotonic() < deadline:
            time.sleep(0.05)
        assert server.descriptors() <= most
        with suppress(ConnectionError):
            assert kept[0].recv(1) == b""  # the first one went


def test_memory_comes_back(server: Server) -> None:
    """What a flood leaves, the next one begins with."""
    attacker.reviewed(server.tls).close()
    before = resident(server.process.pid)
    for connection in [attacker.half_body(server.tls) for _ in range(200)]:
        connection.close()
    deadline = time.monotonic() + 10
    while resident(server.process.pid) > before + LEFT and time.monotonic() < deadline:
        time.sleep(0.1)
    assert resident(server.process.pid) < before + LEFT
