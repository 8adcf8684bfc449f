"""Connections to PostgreSQL, few at a time. Each is made by the question that needs it, in that question's time.

So a question hears itself why there is none, nothing logs in while nobody asks, and a server that is down is left alone
as long as whoever asks leaves it alone.
"""

import asyncio
import select
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.datetime import TimestampLoader, TimestamptzLoader

IDLE_SECONDS = 60.0
"""Seconds after which a connection that nobody needs is closed."""
ALIVE: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""A peer that is gone is noticed within half a minute."""
_SESSION = "SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO', false)"
"""Whatever the role's are: with others the driver cannot read all times. By a query, as poolers refuse `options`."""

Connection = psycopg.AsyncConnection[DictRow]


class _Timestamptz(TimestamptzLoader):
    """`infinity` is no end."""

    def load(self, data: Buffer) -> datetime | None:  # type: ignore[override]
        return None if bytes(data) == b"infinity" else super().load(data)


class _Timestamp(TimestampLoader):
    def load(self, data: Buffer) -> datetime | None:  # type: ignore[override]
        return None if bytes(data) == b"infinity" else super().load(data)


async def connected(address: str) -> Connection:
    # No prepared statements: a pooler in between may hand out another server's connection.
    connection = await psycopg.AsyncConnection.connect(
        address, autocommit=True, prepare_threshold=None, row_factory=dict_row, client_encoding="utf8", **ALIVE
    )
    connection.adapters.register_loader("timestamptz", _Timestamptz)
    connection.adapters.register_loader("timestamp", _Timestamp)
    try:
        await connection.execute(_SESSION)
    except BaseException:
        await connection.close()
        raise
    return connection


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: Connection
    address: str
    since: float


class Pool:
    """Of `size` at most, those being made included. `address` is asked before each use; one to another is closed."""

    def __init__(self, size: int, address: Callable[[], str]) -> None:
        self._free, self._address = asyncio.Semaphore(size), address
        self._idle: deque[_Idle] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Whoever is cancelled with one, or breaks off, closes it."""
        async with self._free:
            address = self._address()
            connection = await self._one(address)
            try:
                yield connection
            except psycopg.Error:
                await self._give_back(connection, address)
                raise
            except BaseException:
                await connection.close()
                raise
            await self._give_back(connection, address)

    async def close(self) -> None:
        """Keeps none from now on."""
        self._closed = True
        await self._clear()

    async def _clear(self) -> None:
        while self._idle:
            await self._idle.pop().connection.close()

    async def _one(self, address: str) -> Connection:
        while self._idle:
            idle = self._idle.pop()
            if idle.address == address and not _has_ended(idle.connection):
                return idle.connection
            await idle.connection.close()
        return await connected(address)

    async def _give_back(self, connection: Connection, address: str) -> None:
        if self._closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            await connection.close()
            return
        self._idle.append(_Idle(connection, address, asyncio.get_running_loop().time()))
        self._wait()

    def _wait(self) -> None:
        if self._timer is None and self._idle:
            self._timer = asyncio.get_running_loop().call_at(self._idle[0].since + IDLE_SECONDS, self._drop_unneeded)

    def _drop_unneeded(self) -> None:
        self._timer, now = None, asyncio.get_running_loop().time()
        while self._idle and now - self._idle[0].since >= IDLE_SECONDS:
            idle = self._idle.popleft()
            idle.connection.pgconn.finish()
        self._wait()


def _has_ended(connection: Connection) -> bool:
    """Has the server said something that it was not asked for? A connection that rests hears of nothing but its end.

    Without a round trip, and without waiting for a server that is gone to be told to stop, as a question would.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
