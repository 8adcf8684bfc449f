"""The platform's own PostgreSQL database: one query with the owners, or one owner, as its only parameter.

A trigger that sends NOTIFY with the owner's name reports a change immediately; without it, the age of an answer decides
when to ask again. Every error means SourceUnavailable. Of the database's own messages only the code is shown: they may
quote a row. Only this module and sqlpool.py import the driver, so it costs nothing without a SQL source.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from webhook.config.sourceconfig import LOOPBACK, SqlSource
from webhook.core.errors import SourceUnavailable
from webhook.fairness import yield_to_reviews
from webhook.sources import Changed
from webhook.sources.encrypted import Keys, SealedError, padded, read_keys
from webhook.sources.files import made
from webhook.sources.remote import Answer, down
from webhook.sources.sqlpool import Connection, Pool, connected
from webhook.sources.sqlrows import BY_PROJECT, BY_USER, Rows, credentials

logging.getLogger("psycopg").setLevel(logging.CRITICAL)  # its log lines may have parts of the connection string

PRESETS = {"git-connections": BY_USER, "git-connections-by-project": BY_PROJECT}
_WORDS = {
    "42501": "the role may not read the tables of the query",
    "42P01": "the query uses a table that does not exist",
    "42703": "the query uses a column that does not exist",
    "42601": "the query has a syntax error",
    "42P18": "the type of %(owner)s is unknown; write it without quotes, and compare it with a text",
    "42883": "the query uses a function or compares types that do not fit; write user_id::text = ANY(%(owners)s)",
    "57014": "the query took too long",
    "57P01": "it is shutting down",
}
_REFUSALS = {
    "password authentication failed": "the password is refused",
    "no pg_hba.conf entry": "pg_hba.conf does not allow this connection",
    "too many connections": "it has no connections left",
    "remaining connection slots": "it has no connections left",
    "too many clients": "it has no connections left",
    "the database system is": "it is starting up or shutting down",
    "certificate": "its certificate is not trusted",
    "does not exist": "the database or the role does not exist",
}
"""By parts of libpq's messages about failed connections, which have no code."""
_OF_ALL = frozenset({"08", "28", "42", "53", "55", "57", "58"})
"""Classes of codes that are about the connection, the role, the query or the server. Any other error may come from one
owner's rows, such as 39000 of pgcrypto.
"""
STEP = 16
"""Rows that are read, or turned into credentials, without a pause."""


class SqlRemote:
    """Checks its files before each query, so that a new connection string takes effect with the next one."""

    def __init__(self, config: SqlSource) -> None:
        self._config, self.many = config, config.many
        query = config.query or PRESETS[config.preset or "git-connections"]
        # With the type, `owner = %(owners)s` is an error. Without it, nobody would seem to have any credentials.
        self._query = query.replace("%(owners)s", "%(owners)s::text[]").encode()
        decrypt = config.decrypt
        self._address = made((config.url_file,), self._read_address)
        self._keys = made((decrypt.passphrase_file, decrypt.keys_file) if decrypt else (), self._read_keys)
        self._pool = Pool(config.connections, self._address)

    async def ask(self, owner: str, before: Answer | None) -> Answer:  # noqa: ARG002  # a remote's interface
        found = (await self.ask_many([owner]))[owner]
        if isinstance(found, SourceUnavailable):
            raise found
        return found

    async def ask_many(self, owners: Sequence[str]) -> Mapping[str, Answer | SourceUnavailable]:
        """Of several only if `many`."""
        keys = self._keys()
        sent = [owner for owner in owners if "\0" not in owner]
        answers: dict[str, Answer | SourceUnavailable] = {
            owner: SourceUnavailable("the owner's name has a NUL character, which PostgreSQL cannot store")
            for owner in owners
            if "\0" in owner
        }
        if not sent:
            return answers
        rows, now, read = await self._rows(sent), datetime.now(UTC), 0
        for owner in sent:
            try:
                found = credentials(rows.of(owner), owner, keys, self._config.registries, now)
                answers[owner] = Answer(found, self._config.max_age)
            except SourceUnavailable as e:
                answers[owner] = e.with_traceback(None)  # its frames would keep the rows
            if (read := read + 1 + rows.count(owner)) > STEP:
                read = 0
                await yield_to_reviews()
        return answers

    async def run(self, changed: Changed) -> None:
        try:
            if self._config.listen is None:
                await asyncio.Future()
            else:
                await self._listen(self._config.listen, changed)
        except psycopg.Error as e:
            raise down(f"its notifications failed: {_words(e)}") from None
        except TimeoutError:
            raise down("its notifications failed: no answer in time") from None

    async def close(self) -> None:
        await self._pool.close()

    async def _rows(self, owners: Sequence[str]) -> Rows:
        """Takes at most twice the time limit: after the first one the driver cancels the query on the server."""
        limit, connection = self._config.timeout, None
        try:
            async with asyncio.timeout(2 * limit), asyncio.timeout(limit), self._pool.connection() as connection:
                return await self._fetched(connection, owners)
        except TimeoutError:
            raise down(f"no {'connection' if connection is None else 'answer'} within {limit:g} s") from None
        except psycopg.DataError as e:
            raise SourceUnavailable(_unreadable(e)) from None
        except psycopg.Error as e:
            everybody = e.sqlstate is None or e.sqlstate[:2] in _OF_ALL
            raise SourceUnavailable(_words(e), everybody=everybody) from None

    async def _fetched(self, connection: Connection, owners: Sequence[str]) -> Rows:
        rows, number = Rows(owners, many=self.many), 0
        values = {"owners": list(owners)} if self.many else {"owner": owners[0]}
        answer = connection.cursor().stream(self._query, values)  # only one row at a time in memory
        async with aclosing(answer):  # type: ignore[type-var]  # it is a generator, but not annotated as one
            async for row in answer:
                rows.add(row)
                if (number := number + 1) % STEP == 0:
                    await yield_to_reviews()
        return rows

    async def _listen(self, channel: str, changed: Changed) -> None:
        listen = sql.SQL("LISTEN {}").format(sql.Identifier(channel))
        async with asyncio.timeout(2 * self._config.timeout), asyncio.timeout(self._config.timeout):
            connection = await connected(self._address(), listen)
        async with connection:
            changed(None)  # changes before LISTEN were missed
            async for notification in connection.notifies():
                changed(notification.payload or None)
                await yield_to_reviews()  # thousands may come together
        raise down("its notifications failed: the connection is closed")

    def _read_address(self) -> str:
        address = _read(self._config.url_file, "the file with the connection string").strip()
        try:
            parts: dict[str, Any] = conninfo_to_dict(address)
        except psycopg.Error:
            raise down(
                "the connection string is not valid: expected postgresql://USER:PASSWORD@HOST/DATABASE"
            ) from None
        if not (parts.get("sslmode") == "verify-full" or self._config.plain or _is_local(parts)):
            raise down("the connection string does not verify the server; add sslmode=verify-full (and sslrootcert)")
        return address

    def _read_keys(self) -> Keys | None:
        decrypt = self._config.decrypt
        if decrypt is None:
            return None
        try:
            return Keys(
                # A space may be part of it; the end of the line is not.
                padded(_read(decrypt.passphrase_file, "the passphrase").strip("\r\n"))
                if decrypt.passphrase_file
                else None,
                read_keys(_read(decrypt.keys_file, "the file of keys")) if decrypt.keys_file else {},
            )
        except SealedError as e:
            raise down(str(e)) from None


def _read(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        raise down(f"{what} cannot be read") from None


def _is_local(parts: dict[str, Any]) -> bool:
    """Are all hosts local? `hostaddr` and a service file override the host."""
    hosts = str(parts.get("host", "")).split(",")
    elsewhere = parts.get("hostaddr") or parts.get("service")
    return not elsewhere and all(host in LOOPBACK or host.startswith("/") for host in hosts)


def _unreadable(e: psycopg.DataError) -> str:
    if e.sqlstate is None:  # from the driver, about a value that it received
        return "its rows have a value that cannot be read, such as a time after the year 9999; write null for no end"
    return f"the database cannot read the owner's name ({e.sqlstate})"


def _words(e: psycopg.Error) -> str:
    if e.sqlstate:
        return f"{_WORDS.get(e.sqlstate, 'the database reports an error')} ({e.sqlstate})"
    if isinstance(e, psycopg.ProgrammingError):
        return "the query is not valid: expected one SELECT statement"
    text = str(e)
    return next((words for part, words in _REFUSALS.items() if part in text), "it cannot be reached")
