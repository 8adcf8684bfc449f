"""Proxies that can be told to misbehave, on an event loop in a thread of their own.

One that stands before the API server ends TLS, so that it can answer requests by itself; one that stands before a
replica hands bytes on.
"""

import asyncio
import itertools
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from faults.link import BROKEN, End, Link, Rule, reset

T = TypeVar("T")
_LIMIT = 1024 * 1024
"""Bytes that are read ahead: a request's body comes in one piece."""
_HANDSHAKE = 10.0
_CLOSING = 0.05
"""Seconds for what asyncio does after a connection was closed."""


@dataclass(frozen=True)
class Tls:
    """The contexts towards the client and towards the server."""

    client: ssl.SSLContext
    server: ssl.SSLContext


class Proxy:
    """One client, one server. What it does wrong is said by `with` blocks and by calls."""

    def __init__(self, loop: asyncio.AbstractEventLoop, host: str, target: tuple[str, int], tls: Tls | None) -> None:
        self._loop, self._target, self._tls = loop, target, tls
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._rule: Rule | None = None
        self._requests, self._accepted = itertools.count(), itertools.count()
        self._resets = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._listener = socket.create_server((host, 0), backlog=1024)
        self._listener.setblocking(False)
        self.host, self.port = self._listener.getsockname()[:2]

    # -- called by the harness --

    def cut(self) -> None:
        """Closes all connections."""
        self._each(lambda link: link.close())

    def reset(self) -> None:
        self._each(lambda link: link.reset())

    def silence(self) -> None:
        """Nothing comes through the connections that are open now any more, for ever; new ones work."""
        self._each(lambda link: link.free.clear())

    @contextmanager
    def stalling(self) -> Iterator[None]:
        """Nothing comes through, neither through the open connections nor through new ones."""
        self._do(self._flows.clear)
        self.silence()
        try:
            yield
        finally:
            self._each(lambda link: link.free.set())
            self._do(self._flows.set)

    @contextmanager
    def resetting(self) -> Iterator[None]:
        """Each new connection is reset in its handshake, and those that are open at once."""
        self._resets = True
        self.reset()
        try:
            yield
        finally:
            self._resets = False

    @contextmanager
    def ruled(self, rule: Rule) -> Iterator[None]:
        self._rule = rule
        try:
            yield
        finally:
            self._rule = None

    # -- on the loop --

    def _do(self, what: Callable[[], None]) -> None:
        async def done() -> None:
            what()

        asyncio.run_coroutine_threadsafe(done(), self._loop).result(10)

    def _each(self, what: Callable[[Link], None]) -> None:
        def done() -> None:
            for link in (*self._links,):
                what(link)

        self._do(done)

    async def run(self) -> None:
        while True:
            connection, _ = await self._loop.sock_accept(self._listener)
            task = self._loop.create_task(self._serve(connection, next(self._accepted)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        self._listener.close()
        for link in (*self._links,):
            link.reset()
        for task in (*self._tasks,):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(_CLOSING)

    async def _serve(self, connection: socket.socket, number: int) -> None:
        if self._resets:
            await self._reset(connection, number)
            return
        with suppress(*BROKEN):
            await self._flows.wait()
            client = await _end(connection, self._tls.client if self._tls else None)
            try:
                server = await self._connect()
            except BROKEN:
                client.writer.close()
                return
            link = Link(client, server)
            self._links.add(link)
            try:
                await link.run(self._decide if self._tls else None)
            finally:
                self._links.discard(link)

    async def _reset(self, connection: socket.socket, number: int) -> None:
        """At once, or when the handshake has begun: who waits for that meets another path of the client."""
        if number % 2:
            with suppress(OSError, TimeoutError):
                await asyncio.wait_for(self._loop.sock_recv(connection, 64), 1)
        reset(connection)
        connection.close()

    async def _connect(self) -> End:
        tls, name = (self._tls.server, self._target[0]) if self._tls else (None, None)
        reader, writer = await asyncio.open_connection(*self._target, limit=_LIMIT, ssl=tls, server_hostname=name)
        return End(reader, writer)

    def _decide(self, method: str) -> Rule | None:
        rule = self._rule
        if rule is None or (rule.methods and method not in rule.methods):
            return None
        return rule if next(self._requests) % rule.one_in == 0 else None


async def _end(connection: socket.socket, tls: ssl.SSLContext | None) -> End:
    """An accepted connection as streams."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=_LIMIT, loop=loop)
    protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
    within = _HANDSHAKE if tls else None
    transport, _ = await loop.connect_accepted_socket(
        lambda: protocol, connection, ssl=tls, ssl_handshake_timeout=within
    )
    return End(reader, asyncio.StreamWriter(transport, protocol, reader, loop))


class Proxies:
    """The thread with the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies")
        self._open: dict[Proxy, asyncio.Task[None]] = {}

    @classmethod
    @contextmanager
    def start(cls) -> Iterator["Proxies"]:
        made = cls()
        made._thread.start()
        try:
            yield made
        finally:
            for proxy in (*made._open,):
                made.remove(proxy)
            made._loop.call_soon_threadsafe(made._loop.stop)
            made._thread.join(10)
            made._loop.close()

    def add(self, target: tuple[str, int], *, host: str = "127.0.0.1", tls: Tls | None = None) -> Proxy:
        async def begin() -> Proxy:
            proxy = Proxy(self._loop, host, target, tls)
            self._open[proxy] = self._loop.create_task(proxy.run())
            return proxy

        return self._run(begin())

    def remove(self, proxy: Proxy) -> None:
        async def end() -> None:
            task = self._open.pop(proxy)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await proxy.close()

        self._run(end())

    def _run(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(20)
