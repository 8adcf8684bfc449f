"""The platform's own database, PostgreSQL: one query with the owner as its only parameter.

A trigger that says NOTIFY with the owner's name brings a change at once; without it the answer's age decides when to
ask again. Whatever goes wrong is *nobody could say*. Of the database's own messages only their code is shown: they may
quote a row. The driver is imported here and nowhere else, so it costs nothing where no database is asked.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from webhook.errors import SourceUnavailable
from webhook.sealed import Keys, SealedError, padded, read_keys
from webhook.sourceconfig import LOOPBACK, SqlSource
from webhook.sources import Changed
from webhook.sources.cached import Answer
from webhook.sources.sqlrows import BY_PROJECT, BY_USER, RowError, credentials

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # what it logs may have parts of the connection string

PRESETS = {"git-connections": BY_USER, "git-connections-by-project": BY_PROJECT}
MOST_ROWS = 200
"""Of one owner."""
IDLE = 60.0
"""Seconds after which a connection that nobody needs is closed."""
ALIVE: dict[str, Any] = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3}
"""For the one that only listens: a peer that is gone is noticed within half a minute."""
_WORDS = {
    "42501": "the role may not read what the query reads",
    "42P01": "the query names a table that is not there",
    "42703": "the query names a column that is not there",
    "42601": "the query has a syntax error",
    "57014": "the query took too long",
    "57P01": "it is shutting down",
}
_REFUSALS = {
    "password authentication failed": "the password is refused",
    "no pg_hba.conf entry": "the server lets nobody in from here, or not so (pg_hba.conf)",
    "too many connections": "it has no connections left",
    "remaining connection slots": "it has no connections left",
    "the database system is": "it is starting up or shutting down",
    "certificate": "its certificate is not trusted",
    "does not exist": "there is no such database or role",
}
"""In what libpq says when it gets no connection: that has no code."""
Connection = psycopg.AsyncConnection[DictRow]


@dataclass(frozen=True)
class _Read:
    """A file as it stood."""

    path: Path
    what: str
    content: str

    @classmethod
    def of(cls, path: str, what: str) -> "_Read":
        try:
            return cls(Path(path), what, Path(path).read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError):
            raise _down(f"{what} cannot be read") from None


class SqlRemote:
    """Files are read for each question, which is rare; the pool is made anew when the connection string changes."""

    def __init__(self, config: SqlSource) -> None:
        self._config = config
        self._query = (config.query or PRESETS[config.preset or "git-connections"]).encode()
        self._pool: AsyncConnectionPool[Connection] | None = None
        self._conninfo = ""

    async def ask(self, owner: str, before: Answer | None) -> Answer:  # noqa: ARG002  # a remote's interface
        if "\0" in owner:
            raise SourceUnavailable("its name cannot be in a database")
        keys = self._keys()
        try:
            async with asyncio.timeout(self._config.timeout), self._connection() as connection:
                cursor = await connection.execute(self._query, {"owner": owner})
                rows = await cursor.fetchmany(MOST_ROWS + 1)
        except (TimeoutError, PoolTimeout):
            raise _down(await self._why()) from None
        except psycopg.DataError as e:
            raise SourceUnavailable(f"the database cannot read its name ({e.sqlstate})") from None
        except psycopg.Error as e:
            raise _down(_words(e)) from None
        if len(rows) > MOST_ROWS:
            raise SourceUnavailable(f"it has more than {MOST_ROWS} rows")
        try:
            found = credentials(rows, owner, keys, self._config.registries)
        except RowError as e:
            raise SourceUnavailable(str(e)) from None
        return Answer(found, self._config.max_age)

    async def run(self, changed: Changed) -> None:
        try:
            if self._config.listen is None:
                await asyncio.Future()
            else:
                await self._listen(self._config.listen, changed)
        except psycopg.Error as e:
            raise _down(f"its notifications break off: {_words(e)}") from None
        except TimeoutError:
            raise _down("its notifications cannot be had in time") from None
        except asyncio.CancelledError:
            await self._close()
            raise

    async def _listen(self, channel: str, changed: Changed) -> None:
        async with asyncio.timeout(self._config.timeout):
            connection = await psycopg.AsyncConnection.connect(
                self._address(), autocommit=True, prepare_threshold=None, **ALIVE
            )
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
            changed(None)  # whatever changed while nobody listened
            async for notification in connection.notifies():
                changed(notification.payload or None)
        raise _down("its notifications have ended")

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[Connection]:
        address = self._address()
        if self._pool is None or address != self._conninfo:
            await self._close()
            self._conninfo = address
            self._pool = AsyncConnectionPool(
                address,
                min_size=0,
                max_size=self._config.connections,
                timeout=self._config.timeout,
                max_idle=IDLE,
                open=False,
                check=AsyncConnectionPool.check_connection,  # one from before a restart is not handed out
                # No prepared statements: a pooler in between may hand out another server's connection.
                kwargs={"autocommit": True, "prepare_threshold": None, "row_factory": dict_row},
            )
            await self._pool.open()
        async with self._pool.connection() as connection:
            yield connection

    async def _why(self) -> str:
        """The pool only says that there was none in time: one attempt of our own learns the reason."""
        try:
            async with asyncio.timeout(self._config.timeout):
                async with await psycopg.AsyncConnection.connect(self._address()):
                    return f"no answer within {self._config.timeout:g} s"
        except TimeoutError:
            return f"no connection within {self._config.timeout:g} s"
        except psycopg.Error as e:
            return _words(e)

    async def _close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await pool.close(timeout=1.0)

    def _address(self) -> str:
        address = _Read.of(self._config.url_file, "the file with the connection string").content
        try:
            parts: dict[str, Any] = conninfo_to_dict(address)
        except psycopg.Error:
            raise _down("the connection string is none; write postgresql://USER:PASSWORD@HOST/DATABASE") from None
        verified = parts.get("sslmode") in ("verify-full", "verify-ca")
        if not (verified or self._config.plain or _is_local(str(parts.get("host", "")))):
            raise _down("the connection string does not verify the server; add sslmode=verify-full (and sslrootcert)")
        return address

    def _keys(self) -> Keys | None:
        decrypt = self._config.decrypt
        if decrypt is None:
            return None
        try:
            return Keys(
                padded(_Read.of(decrypt.passphrase_file, "the passphrase").content)
                if decrypt.passphrase_file
                else None,
                read_keys(_Read.of(decrypt.keys_file, "the file of keys").content) if decrypt.keys_file else {},
            )
        except SealedError as e:
            raise _down(str(e)) from None


def _is_local(host: str) -> bool:
    return host in LOOPBACK or host.startswith("/")


def _words(e: psycopg.Error) -> str:
    if e.sqlstate in _WORDS:
        return f"{_WORDS[e.sqlstate]} ({e.sqlstate})"
    if e.sqlstate:
        return f"it refuses ({e.sqlstate})"
    said = str(e)
    return next((words for part, words in _REFUSALS.items() if part in said), "it cannot be reached")


def _down(message: str) -> SourceUnavailable:
    return SourceUnavailable(message, everybody=True)
