"""A few connections to PostgreSQL. The query that needs a new one opens it, within its own time limit.

So the query gets the reason itself if that fails, and nothing connects while there are no queries or while the breaker
rejects them.
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
from psycopg import sql
from psycopg.abc import Buffer
from psycopg.pq import TransactionStatus
from psycopg.rows import DictRow, dict_row
from psycopg.types.datetime import TimestampLoader, TimestamptzLoader

IDLE_SECONDS = 60.0
"""Seconds after which an unused connection is closed."""
ALIVE: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""Seconds, seconds and a number: a dead peer is noticed within half a minute."""
_SESSION = sql.SQL("SELECT set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO', false)").format()
"""With other settings of the role, the driver cannot read all times. A query, because poolers refuse `options`."""

Connection = psycopg.AsyncConnection[DictRow]


class _Timestamptz(TimestamptzLoader):
    """`infinity` means that it does not expire."""

    def load(self, data: Buffer) -> datetime | None:  # type: ignore[override]
        return None if bytes(data) == b"infinity" else super().load(data)


class _Timestamp(TimestampLoader):
    def load(self, data: Buffer) -> datetime | None:  # type: ignore[override]
        return None if bytes(data) == b"infinity" else super().load(data)


async def connected(address: str, *first: sql.Composed) -> Connection:
    """`first`: statements that are executed at once. If one fails, the connection is closed."""
    # No prepared statements: a pooler may send each query over another connection.
    connection = await psycopg.AsyncConnection.connect(
        address, autocommit=True, prepare_threshold=None, row_factory=dict_row, client_encoding="utf8", **ALIVE
    )
    connection.adapters.register_loader("timestamptz", _Timestamptz)
    connection.adapters.register_loader("timestamp", _Timestamp)
    try:
        for statement in (_SESSION, *first):
            await connection.execute(statement)
    except BaseException:
        await connection.close()
        raise
    return connection


@dataclass(frozen=True, slots=True)
class _Idle:
    connection: Connection
    address: str
    timer: asyncio.TimerHandle


class Pool:
    """At most `size`, including those that are being opened. If `address` changes, older connections are closed."""

    def __init__(self, size: int, address: Callable[[], str]) -> None:
        self._free, self._address = asyncio.Semaphore(size), address
        self._idle: deque[_Idle] = deque()
        self._closed = False

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """It is closed if its user is cancelled or fails, except by an error of the database."""
        async with self._free:
            address = self._address()
            connection = await self._take(address)
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
        """From now on no connection is kept."""
        self._closed = True
        while self._idle:
            await self._newest().connection.close()

    async def _take(self, address: str) -> Connection:
        while self._idle:
            idle = self._newest()
            if idle.address == address and not _has_ended(idle.connection):
                return idle.connection
            await idle.connection.close()
        return await connected(address)

    async def _give_back(self, connection: Connection, address: str) -> None:
        if self._closed or connection.info.transaction_status is not TransactionStatus.IDLE:
            await connection.close()
            return
        timer = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._close_oldest)
        self._idle.append(_Idle(connection, address, timer))

    def _newest(self) -> _Idle:
        idle = self._idle.pop()
        idle.timer.cancel()
        return idle

    def _close_oldest(self) -> None:
        """The timers of those that are idle end in the order of the deque."""
        idle = self._idle.popleft()
        idle.connection.pgconn.finish()


def _has_ended(connection: Connection) -> bool:
    """Has the server sent something? An idle connection receives nothing but its end.

    A query instead would take a round trip, or a timeout if the server is gone.
    """
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    return bool(poll.poll(0))
