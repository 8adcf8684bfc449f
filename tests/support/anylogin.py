"""A registry that takes any login, where a registry only has to be there: an issuer asks it whether a new credential
works, a webhook whether a mirror answers.
"""

import asyncio
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

from support import registryserver
from support.registryserver import Act, Request, Say, Server, asks, json_answer

CHALLENGE = 'Basic realm="registry"'
START_SECONDS = 10.0


def any_login(request: Request) -> bytes:
    """Asks for a login, and takes each."""
    return json_answer(200, {}) if request.login else asks(CHALLENGE)


@contextmanager
def serving(
    act: Act | Say = any_login, tls: ssl.SSLContext | None = None, *, address: str = "127.0.0.1"
) -> Iterator[Server]:
    """On a thread of its own: whoever asks has a loop of its own, or is another process."""
    started, ended = Future[Server](), threading.Event()

    async def served() -> None:
        async with registryserver.serving(act, tls, name=address, address=address) as server:
            started.set_result(server)
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(served()), name="registry")
    thread.start()
    try:
        yield started.result(START_SECONDS)
    finally:
        ended.set()
        thread.join()
