"""A replica whose own clock is years off: certificates go by the API server's clock, as that is who verifies them."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
import yaml

from certs.pair import Pair
from certs.selfmanaged import SelfManaged
from support.certworld import HOST, ApiServer, Shown, ask, verifies
from webhook.kube.cluster import Cluster, ClusterError

YEARS = timedelta(days=800)


def told(date: str, test: Callable[[Cluster], None], tmp_path: Path) -> None:
    """`test` with a connection to a server that has just answered, with this Date header."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 404 Not Found\r\nDate: {date}\r\n" if date else "HTTP/1.1 404 Not Found\r\n"
        writer.write(f"{head}Content-Length: 2\r\nConnection: close\r\n\r\n{{}}".encode())
        writer.close()

    async def connected() -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            host, port = server.sockets[0].getsockname()
            kubeconfig = tmp_path / "kubeconfig"
            kubeconfig.write_text(
                yaml.safe_dump(
                    {
                        "current-context": "c",
                        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                        "clusters": [{"name": "c", "cluster": {"server": f"http://{host}:{port}"}}],
                        "users": [{"name": "u", "user": {}}],
                    }
                )
            )
            async with Cluster.connect(str(kubeconfig)) as cluster:
                with pytest.raises(ClusterError):
                    await cluster.call("GET", "/version")
                test(cluster)

    asyncio.run(connected())


@pytest.mark.parametrize("off", [-YEARS, timedelta(), YEARS])
def test_leaves_are_valid_by_the_api_servers_clock(off: timedelta, tmp_path: Path) -> None:
    servers = datetime.now(UTC) + off
    api, serving = ApiServer(), Shown()

    def test(cluster: Cluster) -> None:
        managed = SelfManaged(
            api,
            api,
            [HOST],
            serving,  # type: ignore[arg-type]  # the part of it that is used
            now=cluster.now,
            report=lambda _: None,
            ask=ask,
        )
        looking = managed.look()
        with pytest.raises(StopIteration):
            looking.send(None)

    told(format_datetime(servers, usegmt=True), test, tmp_path)
    assert isinstance(serving.pair, Pair)
    assert api.bundle
    assert verifies(serving.pair, api.bundle, HOST, servers)


def test_time_passes_between_two_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    servers = datetime(2030, 1, 1, tzinfo=UTC)

    def test(cluster: Cluster) -> None:
        _, at = cluster._last_date
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: at + 90)
            assert cluster.now() == servers + timedelta(seconds=90)

    told(format_datetime(servers, usegmt=True), test, tmp_path)


@pytest.mark.parametrize("date", ["", "yesterday", "Thu, 32 Jan 2030 00:00:00 GMT", "Thu, 01 Jan 20300 00:00:00 GMT"])
def test_a_server_that_does_not_tell_the_time_leaves_us_our_own(date: str, tmp_path: Path) -> None:
    def test(cluster: Cluster) -> None:
        assert abs(cluster.now() - datetime.now(UTC)) < timedelta(seconds=5)

    told(date, test, tmp_path)
