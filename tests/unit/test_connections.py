"""Connections to the API server and to sources that are reset, on the loop that the server runs on.

In a process of its own: what must not happen would end it.
"""

import asyncio
import os
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import yaml

from certs.authority import Authority
from webhook.config.sourceconfig import HttpSource
from webhook.core.errors import SourceUnavailable
from webhook.kube.cluster import Cluster, ClusterError
from webhook.serving.loop import Loop
from webhook.sources.http import HttpRemote

CALLS, AT_A_TIME = 500, 10


def test_no_connection_that_is_reset_ends_the_process_or_is_a_bug_of_ours() -> None:
    """Nor are connections of others touched: libuv and Python both closed the descriptor of one that was reset."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-P", "-X", "faulthandler", __file__]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert set(lines["the API server"].split()) <= {
        "ClientConnectorError",
        "ClientConnectorSSLError",
        "ClientConnectionResetError",
        "ClientOSError",
        "ServerDisconnectedError",
    }
    assert "pullsecret-webhook itself" not in lines["the source"]
    assert "RuntimeError" not in lines["the source"]
    assert lines["others"] == "right"
    assert lines["descriptors"] == "as before"


@contextmanager
def resetting() -> Iterator[int]:
    """A port on which each connection is accepted and reset, as by a load balancer without backends."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as bound:

        def run() -> None:
            while True:
                try:
                    connection, _ = bound.accept()
                except OSError:
                    return
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        threading.Thread(target=run, daemon=True).start()
        yield bound.getsockname()[1]


def kubeconfig(folder: Path, port: int) -> str:
    cluster = {"server": f"https://127.0.0.1:{port}", "insecure-skip-tls-verify": True}
    file = folder / f"kubeconfig-{port}"
    named = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "x",
        "clusters": [{"name": "x", "cluster": cluster}],
        "users": [{"name": "x", "user": {"token": "t"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
    }
    file.write_text(yaml.safe_dump(named))
    return str(file)


async def echo(folder: Path) -> asyncio.Server:
    """Over TLS; answers with what was asked for."""
    now = datetime.now(UTC)
    pair = Authority.create(now).issue(["127.0.0.1"], now)
    file = folder / "pair.pem"
    file.write_bytes(pair.pem())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
            await asyncio.sleep(0.001)
            writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(path), path))
            await writer.drain()
        finally:
            writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)


async def many(ask: Callable[[int], Awaitable[str]]) -> Counter[str]:
    said: Counter[str] = Counter()
    for number in range(CALLS // AT_A_TIME):
        said.update(await asyncio.gather(*(ask(number * AT_A_TIME + one) for one in range(AT_A_TIME))))
    return said


async def main(folder: Path) -> None:
    with resetting() as port:
        healthy = await echo(folder)
        other = kubeconfig(folder, healthy.sockets[0].getsockname()[1])
        async with Cluster.connect(kubeconfig(folder, port)) as cluster, Cluster.connect(other) as well:
            source = HttpRemote(HttpSource(url=f"https://127.0.0.1:{port}/{{owner}}"), lambda: datetime.now(UTC))

            async def call(_: int) -> str:
                try:
                    return str(await cluster.call("GET", "/"))
                except ClusterError as e:
                    return e.reason

            async def ask(number: int) -> str:
                try:
                    return str(await source.ask(f"o{number}", None))
                except SourceUnavailable as e:
                    return str(e)

            async def right(number: int) -> str:
                path = f"/{number}"
                return "right" if await well.call("GET", path) == path.encode() else "wrong"

            await call(0), await ask(0), await right(0)
            await asyncio.sleep(0.1)
            before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            said = await asyncio.gather(many(call), many(ask), many(right))
            await asyncio.sleep(0.5)
            after = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
            await source.close()
        healthy.close()
    for who, each in zip(("the API server", "the source", "others"), said, strict=True):
        print(f"{who}: {' '.join(each)}")
    print(f"descriptors: {'as before' if after <= before + 3 else after - before}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name, asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(main(Path(name)))
