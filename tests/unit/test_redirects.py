"""Nobody is followed to another place, with a token or without."""

import asyncio
import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import planted
from webhook.kube.cluster import Cluster, ClusterError


@contextmanager
def server(status: int, location: str, asked: list[str]) -> Iterator[int]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_PATCH(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield found.server_address[1]
        finally:
            found.shutdown()
            thread.join()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_the_api_server_sends_us_nowhere(tmp_path: Path, status: int, method: str) -> None:
    asked: list[str] = []
    there: list[str] = []

    async def call(kubeconfig: Path) -> None:
        async with Cluster.connect(str(kubeconfig)) as cluster:
            await cluster.call(method, "/api/v1/namespaces", body={} if method == "PATCH" else None)

    with server(200, "", there) as elsewhere, server(status, f"http://127.0.0.1:{elsewhere}/stolen", asked) as port:
        whole = {
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
            "clusters": [{"name": "x", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
            "users": [{"name": "x", "user": {"token": planted.token()}}],
        }
        kubeconfig = tmp_path / "kubeconfig"
        kubeconfig.write_text(json.dumps(whole))
        with pytest.raises(ClusterError, match="Redirected"):
            asyncio.run(call(kubeconfig))
    assert asked == ["/api/v1/namespaces"]
    assert there == []
