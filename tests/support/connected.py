"""The webhook's own client of the API server, in a test's event loop."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from webhook.kube.cluster import Cluster

END_SECONDS = 10.0


@asynccontextmanager
async def connected(kubeconfig: Path) -> AsyncIterator[Cluster]:
    """Ends when its connections have. One that was cancelled while it spoke TLS waits for the server's goodbye, and a
    loop that ends before leaves its socket open, for which a later test fails.
    """
    async with Cluster.connect(str(kubeconfig)) as cluster:
        yield cluster
    async with asyncio.timeout(END_SECONDS):
        while _open():  # noqa: ASYNC110  # nobody tells
            await asyncio.sleep(0.01)


def _open() -> bool:
    transports = asyncio.get_running_loop()._transports.values()  # type: ignore[attr-defined]  # there is no other list
    return any(one.get_extra_info("socket").fileno() != -1 for one in transports)
