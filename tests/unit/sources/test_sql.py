"""The SQL source on a real PostgreSQL, as the least privileged role of docs/examples/sources, over verified TLS."""

import asyncio
import os
import resource
import secrets
import signal
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta, timezone
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from controlplane.postgres import Postgres
from controlplane.waiting import until
from support import planted
from support.background import Background
from support.sealed import seal
from support.sourcecontract import Contract, Place, running
from webhook.config.sourceconfig import Decrypt, SqlSource
from webhook.core.credential import MAX_CREDENTIALS, Credential, Origin, in_order
from webhook.core.errors import SourceUnavailable
from webhook.sources import sql
from webhook.sources.batched import Batched
from webhook.sources.cached import Cached
from webhook.sources.encrypted import Keys
from webhook.sources.remote import MAX_OWNERS, Answer, Remote
from webhook.sources.sql import SqlRemote

pytestmark = pytest.mark.cluster
EXAMPLES = Path(__file__).parents[3] / "docs" / "examples" / "sources"
CHANNEL = "pullsecret_owner_changed"
TABLES = """
CREATE TABLE git_connections (
  id serial PRIMARY KEY, user_id text NOT NULL, provider text NOT NULL, provider_account_id text, username text,
  access_token text, refresh_token text, expires_at timestamptz, status text NOT NULL DEFAULT 'active', purpose text,
  server_url text NOT NULL DEFAULT '', server_type text, metadata jsonb,
  UNIQUE (user_id, provider, server_url));
CREATE TABLE projects (id serial PRIMARY KEY, name text);
CREATE TABLE project_git_auth (project_id int REFERENCES projects (id), user_id text);
"""
_numbers = count(1)


class Database:
    """One of its own on the server, with the examples' role. `ask` is a question of the remote."""

    def __init__(self, server: Postgres, folder: Path) -> None:
        self.server, self.name = server, f"platform_{next(_numbers)}"
        self.password = secrets.token_urlsafe()
        self.url_file = folder / "url"
        with server.admin() as admin:
            admin.execute(f"CREATE DATABASE {self.name}")
            admin.execute("DROP ROLE IF EXISTS pullsecret")
        with server.admin(self.name) as admin:
            admin.execute(TABLES)
            for file in ("git-connections.sql", "git-connections-by-project.sql"):
                admin.execute((EXAMPLES / file).read_bytes())
            admin.execute(f"ALTER ROLE pullsecret PASSWORD '{self.password}'")
        self.url_file.write_text(self.url() + "\n")

    def url(self, **changes: Any) -> str:
        return self.server.url("pullsecret", self.password, self.name, **changes)

    def run(self, query: str, *values: Any) -> list[Any]:
        with self.server.admin(self.name) as admin:
            done = admin.execute(query.encode(), values)
            return done.fetchall() if done.description else []

    def drop(self) -> None:
        with self.server.admin(self.name) as admin:
            admin.execute("DROP OWNED BY pullsecret")
        with self.server.admin() as admin:
            admin.execute(f"DROP DATABASE {self.name} WITH (FORCE)")
            admin.execute("DROP ROLE pullsecret")

    def connect(self, owner: str, token: str | None, provider: str = "github", **columns: Any) -> None:
        names = ("user_id", "provider", "username", "access_token", *columns)
        marks = ", ".join(["%s"] * len(names))
        self.run(
            f"INSERT INTO git_connections ({', '.join(names)}) VALUES ({marks})",
            *(owner, provider, "robot", token, *columns.values()),
        )

    def config(self, **more: Any) -> SqlSource:
        preset = {} if "query" in more else {"preset": "git-connections"}
        return SqlSource(**{"url_file": str(self.url_file), "timeout": 2.0, **preset, **more})

    def ask(self, owner: str, **more: Any) -> tuple[Credential, ...]:
        async def asked(remote: SqlRemote) -> tuple[Credential, ...]:
            return in_order((await remote.ask(owner, None)).credentials.items)

        found: tuple[Credential, ...] = self.tried(asked, **more)
        return found

    def refused(self, owner: str, **more: Any) -> SourceUnavailable:
        with pytest.raises(SourceUnavailable) as error:
            self.ask(owner, **more)
        assert not planted.leaks(str(error.value))
        assert self.password not in str(error.value)
        return error.value

    def tried(self, what: Callable[[SqlRemote], Awaitable[Any]], **more: Any) -> Any:
        async def main() -> Any:
            remote = SqlRemote(self.config(**more))
            try:
                return await what(remote)
            finally:
                await remote.close()

        return asyncio.run(main())


@pytest.fixture
def database(postgres: Postgres, tmp_path: Path) -> Any:
    made = Database(postgres, tmp_path)
    yield made
    made.drop()


class Sql(Place):
    def __init__(self, database: Database, query: str, **more: Any) -> None:
        super().__init__()
        self.database = database
        remote: Remote = SqlRemote(database.config(query=query, **more))
        if isinstance(remote, SqlRemote) and remote.many:
            remote = Batched(remote, 4, lambda: None)
        self.source = Cached(Origin("sql"), remote, self.heard.append, self.report, self.metrics, now)

    async def gives(self, owner: str, *credentials: Credential) -> None:
        await asyncio.to_thread(self._write, owner, credentials)

    def _write(self, owner: str, credentials: tuple[Credential, ...]) -> None:
        with self.database.server.admin(self.database.name) as admin, admin.transaction():
            admin.execute("DELETE FROM c WHERE owner = %s", [owner])
            for one in credentials:
                values = [owner, one.registry, one.username, one.password]
                admin.execute("INSERT INTO c VALUES (%s, %s, %s, %s)", values)
            admin.execute("SELECT pg_notify(%s, %s)", [CHANNEL, owner])

    async def goes_down(self) -> None:
        await asyncio.to_thread(self.database.server.down)

    async def comes_back(self) -> None:
        await asyncio.to_thread(self.database.server.up)


def now() -> datetime:
    return datetime.now(UTC)


@pytest.mark.usefixtures("table")
class TestSql(Contract):
    """With notifications: what is said is good for a day."""

    query = "SELECT owner, registry, username, password FROM c WHERE owner = ANY(%(owners)s)"
    more: dict[str, Any] = {"listen": CHANNEL, "max_age": 86400.0}  # noqa: RUF012

    @pytest.fixture(autouse=True)
    def _database(self, database: Database) -> None:
        database.run("CREATE TABLE c (owner text, registry text, username text, password text)")
        database.run("GRANT SELECT ON c TO pullsecret")
        self.database = database

    @pytest.fixture
    def table(self) -> None:
        pass

    def place(self) -> AbstractAsyncContextManager[Place]:
        return self._listening()

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[Place]:
        place = Sql(self.database, self.query, **self.more)
        async with running(place):
            if "listen" in self.more:
                await place.until(lambda: None in place.heard)
            yield place


@pytest.mark.usefixtures("table")
class TestSqlWithoutNotifications(TestSql):
    """An answer's age decides."""

    more: dict[str, Any] = {"max_age": 0.0}  # noqa: RUF012


@pytest.mark.usefixtures("table")
class TestSqlForOneOwner(TestSql):
    """A query for one owner at a time."""

    query = "SELECT registry, username, password FROM c WHERE owner = %(owner)s"


def test_a_connection_is_a_credential(database: Database) -> None:
    token, end = planted.token(), datetime(2031, 5, 1, tzinfo=UTC)
    database.connect("7", token, expires_at=end)
    assert database.ask("7") == (Credential("ghcr.io", "robot", token, end),)
    assert database.ask("8") == ()


def test_the_role_can_do_no_more(database: Database) -> None:
    for query, sqlstate in [
        ("SELECT refresh_token AS password FROM git_connections WHERE user_id = %(owner)s", "42501"),
        ("UPDATE git_connections SET status = 'active' WHERE user_id = %(owner)s RETURNING 1", "25006"),
        ("SELECT rolpassword AS password FROM pg_authid WHERE rolname = %(owner)s", "42501"),
    ]:
        assert sqlstate in str(database.refused("1", query=query))


def test_rows_that_a_policy_hides_are_not_missing(database: Database) -> None:
    database.connect("7", planted.token())
    database.run("ALTER TABLE git_connections ENABLE ROW LEVEL SECURITY")
    assert "42501" in str(database.refused("7"))
    database.run("CREATE POLICY seen ON git_connections FOR SELECT TO pullsecret USING (true)")
    assert "42501" in str(database.refused("7")), "a policy that hides nothing is still one"
    database.run("ALTER ROLE pullsecret BYPASSRLS")
    assert len(database.ask("7")) == 1


@pytest.mark.parametrize("owner", ["' OR '1'='1", "7; DROP TABLE git_connections", "7'--", "%(owner)s", "$1", "7\x00"])
def test_an_owner_that_looks_like_sql(database: Database, owner: str) -> None:
    database.connect("7", planted.token())
    if "\0" in owner:
        assert not database.refused(owner).everybody
    else:
        assert database.ask(owner) == ()
    assert len(database.ask("7")) == 1


def test_several_connections(database: Database) -> None:
    tokens = [planted.token() for _ in range(4)]
    database.connect("7", tokens[0])
    database.connect("7", tokens[1], "gitlab", server_url="https://git.example.com")
    database.connect("7", tokens[2], "gitlab", status="revoked")
    database.connect("7", tokens[3], "gitea", server_url="https://gitea.example.com", status="expired")
    found = database.ask("7", registries={"git.example.com": "registry.example.com"})
    assert [(c.registry, c.password) for c in found] == [
        ("ghcr.io", tokens[0]),
        ("gitea.example.com", tokens[3]),
        ("registry.example.com", tokens[1]),
    ]
    assert found[1].expires is not None
    assert found[1].expires < now()


def test_a_project_has_its_users_connections(database: Database) -> None:
    database.connect("7", token := planted.token())
    ((project,),) = database.run("INSERT INTO projects (name) VALUES ('p') RETURNING id")
    database.run("INSERT INTO project_git_auth VALUES (%s, '7')", project)
    found = database.ask(str(project), preset="git-connections-by-project")
    assert [c.password for c in found] == [token]
    assert database.ask("999", preset="git-connections-by-project") == ()
    assert database.ask("no number", preset="git-connections-by-project") == ()


def test_encrypted_tokens(database: Database, tmp_path: Path) -> None:
    keys, file = Keys(by_id={"k1": secrets.token_bytes(32)}), tmp_path / "keys"
    database.connect("7", seal(token := planted.token(), "7", "k1", keys))
    assert str(database.refused("7")) == "row 1: its token is encrypted; set decrypt"
    file.write_text(f"k1 {b64encode(keys.by_id['k1']).decode()}\n")
    decrypt = Decrypt(keys_file=str(file))
    assert [c.password for c in database.ask("7", decrypt=decrypt)] == [token]
    file.write_text(f"k1 {b64encode(bytes(32)).decode()}\n")
    wrong = database.refused("7", decrypt=decrypt)
    assert "cannot be decrypted: another key" in str(wrong)
    assert not wrong.everybody
    file.unlink()
    assert "the file of keys cannot be read" in str(database.refused("7", decrypt=decrypt))


def test_down_slow_and_restarted(database: Database) -> None:
    database.connect("7", planted.token())

    async def asked(remote: SqlRemote) -> None:
        assert (await remote.ask("7", None)).credentials.items
        await asyncio.to_thread(database.server.down)
        try:
            with pytest.raises(SourceUnavailable) as error:
                await remote.ask("7", None)
            assert error.value.everybody
            assert "cannot be reached" in str(error.value)
        finally:
            await asyncio.to_thread(database.server.up)
        assert (await remote.ask("7", None)).credentials.items  # by a new connection, without a word
        await asyncio.gather(*(remote.ask("7", None) for _ in range(3)))  # several are kept
        await asyncio.to_thread(database.server.down)
        await asyncio.to_thread(database.server.up)
        assert (await remote.ask("7", None)).credentials.items  # so also when none was asked for meanwhile

    database.tried(asked)
    slow = "SELECT 'a' AS registry, %(owner)s AS username, 'p' AS password FROM pg_sleep(30)"
    began = time.monotonic()
    assert database.refused("7", query=slow, timeout=0.5).everybody
    assert time.monotonic() - began < 5
    still = "SELECT pid FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(30)%%' AND pid <> pg_backend_pid()"
    until(lambda: not database.run(still), "the query is cancelled", within=5)


def test_out_of_connections(database: Database) -> None:
    database.connect("7", token := planted.token())
    database.run("ALTER ROLE pullsecret CONNECTION LIMIT 0")
    full = database.refused("7", timeout=1.0)
    assert full.everybody
    assert "it has no connections left" in str(full)
    database.run("ALTER ROLE pullsecret CONNECTION LIMIT 20")
    assert [c.password for c in database.ask("7")] == [token]


def test_many_owners_at_once_through_few_connections(database: Database) -> None:
    tokens = {str(number): planted.token() for number in range(60)}
    for owner, token in tokens.items():
        database.connect(owner, token)

    async def asked(remote: SqlRemote) -> None:
        found = await asyncio.gather(*(remote.ask(owner, None) for owner in tokens))
        assert [one.credentials.items[0].password for one in found] == [*tokens.values()]
        ((used,),) = database.run("SELECT count(*) FROM pg_stat_activity WHERE usename = 'pullsecret'")
        assert used <= 2

    database.tried(asked, connections=2)


# -- one query for many owners --

MANY = "SELECT owner, registry, username, password FROM t WHERE owner = ANY(%(owners)s)"
"""A query of `table`, in which a tenant may have filled in anything."""


def table(database: Database, *rows: tuple[str | None, str]) -> None:
    """Owners and passwords."""
    database.run("CREATE TABLE t (owner text, registry text, username text, password text, ends text)")
    database.run("GRANT SELECT ON t TO pullsecret")
    with database.server.admin(database.name) as admin, admin.cursor() as cursor:
        cursor.executemany("INSERT INTO t VALUES (%s, 'ghcr.io', 'u', %s)", rows)


def asked_about(database: Database, *owners: str, **more: Any) -> dict[str, str | tuple[str, ...]]:
    """At the same moment, as the process asks: their passwords, or why not. And how many queries that took."""

    async def asked(remote: SqlRemote) -> dict[str, str | tuple[str, ...]]:
        sent: list[int] = []
        many = Batched(remote, 4, lambda: sent.append(1))
        found = await asyncio.gather(*(many.ask(owner, None) for owner in owners), return_exceptions=True)
        answers: dict[str, str | tuple[str, ...]] = {"queries": str(len(sent))}
        for owner, answer in zip(owners, found, strict=True):
            if isinstance(answer, Answer):
                answers[owner] = tuple(sorted(c.password for c in answer.credentials.items))
            else:
                assert isinstance(answer, SourceUnavailable), answer
                assert not planted.leaks(str(answer))
                answers[owner] = str(answer)
        return answers

    found: dict[str, str | tuple[str, ...]] = database.tried(asked, **more)
    return found


@pytest.mark.parametrize("more", [{"preset": "git-connections"}, {"query": MANY}])
def test_one_query_answers_all(database: Database, more: dict[str, Any]) -> None:
    tokens = {f"{number}": planted.token() for number in range(MAX_OWNERS)}
    table(database, *tokens.items())
    for owner, token in tokens.items():
        database.connect(owner, token)
    database.connect("7", second := planted.token(), "gitlab")
    database.run("INSERT INTO t VALUES ('7', 'gitlab.com', 'u', %s)", second)
    found = asked_about(database, *tokens, **more)
    assert found.pop("queries") == "1"
    assert found == {
        owner: tuple(sorted((token, second) if owner == "7" else (token,))) for owner, token in tokens.items()
    }


@pytest.mark.parametrize("preset", ["git-connections", "git-connections-by-project"])
def test_the_index_of_the_example_is_used_for_many_owners(database: Database, preset: str) -> None:
    database.run("INSERT INTO git_connections (user_id, provider) SELECT n, 'github' FROM generate_series(1, 100000) n")
    database.run("INSERT INTO projects SELECT generate_series(1, 100000)")
    database.run("INSERT INTO project_git_auth SELECT n, n FROM generate_series(1, 100000) n")
    database.run("CREATE INDEX ON projects ((id::text))")
    database.run("CREATE INDEX ON project_git_auth (project_id)")
    database.run("ANALYZE")
    owners = [str(number) for number in range(MAX_OWNERS)]
    with database.server.admin(database.name) as admin:
        plan = admin.execute(b"EXPLAIN " + sql.PRESETS[preset].encode(), {"owners": owners}).fetchall()
    assert "Seq Scan" not in repr(plan)


def test_owners_are_sent_as_they_are(database: Database) -> None:
    odd = [
        "'",
        '"',
        "{",
        "}",
        ",",
        "\\",
        'a","b',
        "NULL",
        "null",
        "",
        " ",
        "山田",
        "{a,b}",
        "%(owners)s",
        "x'; DROP TABLE t; --",
    ]
    tokens = {owner: planted.token() for owner in odd}
    table(database, *tokens.items())
    found = asked_about(database, *odd, "nobody", "a\0b", query=MANY)
    assert found.pop("queries") == "2", "NULL and null are not in one query"
    assert "NUL" in str(found.pop("a\0b"))
    assert found.pop("nobody") == ()
    assert [owner for owner, token in tokens.items() if found[owner] != (token,)] == []


def test_an_owner_who_breaks_the_query_or_has_too_much_is_alone_in_that(database: Database) -> None:
    tokens = {f"{number}": planted.token() for number in range(100)}
    table(database, *tokens.items())
    database.run(
        "UPDATE t SET ends = CASE owner WHEN '17' THEN '9999-12-31 23:59:59-08' ELSE '2031-01-01 00:00+00' END"
    )
    database.run("INSERT INTO t SELECT '18', 'ghcr.io', n::text, 'p' FROM generate_series(1, 500) n")
    database.run("INSERT INTO t SELECT '19', 'ghcr.io', n::text, repeat('p', 20000) FROM generate_series(1, 60) n")
    database.run("INSERT INTO t VALUES ('20', 'ghcr.io', 'u', null)")
    query = MANY.replace(" FROM", ", ends::timestamptz AS expires FROM")
    found = asked_about(database, *tokens, query=query)
    assert "such as a time after the year 9999" in str(found.pop("17"))
    assert f"more than {MAX_CREDENTIALS} rows" in str(found.pop("18"))
    assert found.pop("19") == "its rows are larger than 1 MiB"
    assert found.pop("20") == "row 2: its column password has no text"
    assert int(str(found.pop("queries"))) <= 17
    assert found == {owner: (tokens[owner],) for owner in found}
    assert len(found) == 96


@pytest.mark.parametrize(
    ("password", "code"),
    [
        ("(SELECT password FROM t AS one WHERE one.owner = t.owner)", "21000"),
        ("fails(owner)", "P0001"),
        ("pgp_sym_decrypt(decode(password, 'base64'), 'k')", "39000"),
    ],
)
def test_an_error_of_the_database_about_one_owner_is_that_owners(database: Database, password: str, code: str) -> None:
    database.run("CREATE EXTENSION pgcrypto")
    owners = [f"{number}" for number in range(64)]
    table(database)
    database.run(
        "INSERT INTO t SELECT n, 'ghcr.io', 'u', encode(pgp_sym_encrypt('p', 'k'), 'base64') FROM "
        "generate_series(0, 63) n"
    )
    database.run("INSERT INTO t VALUES ('17', 'ghcr.io', 'u', 'AAAA')")
    database.run(
        "CREATE FUNCTION fails(text) RETURNS text LANGUAGE plpgsql AS "
        "'BEGIN IF $1 = ''17'' THEN RAISE ''no''; END IF; RETURN ''p''; END'"
    )
    found = asked_about(database, *owners, query=MANY.replace("password FROM", f"{password} AS password FROM"))
    assert found.pop("17") == f"the database reports an error ({code})"
    assert int(str(found.pop("queries"))) == 1 + 2 * 6
    assert {*map(type, found.values())} == {tuple}
    assert not database.refused("17", query=MANY.replace("password FROM", f"{password} AS password FROM")).everybody


def test_rows_that_are_too_many_together_are_asked_for_in_parts(database: Database) -> None:
    table(database)
    owners = [str(number) for number in range(12)]
    database.run("INSERT INTO t SELECT mod(n, 12), 'ghcr.io', n, repeat('p', 20000) FROM generate_series(1, 12 * 40) n")
    found = asked_about(database, *owners, query=MANY, timeout=20.0)
    assert int(str(found.pop("queries"))) > 1
    assert {owner: len(passwords) for owner, passwords in found.items()} == dict.fromkeys(owners, 40)


def test_who_has_a_row_that_is_too_large_takes_no_halves(database: Database) -> None:
    tokens = {f"{number}": planted.token() for number in range(100)}
    table(database, *tokens.items())
    database.run("INSERT INTO t VALUES ('17', 'ghcr.io', 'u', repeat('p', 5000000))")
    found = asked_about(database, *tokens, query=MANY, timeout=20.0)
    assert found.pop("17") == "its rows are larger than 1 MiB"
    assert found.pop("queries") == "2"
    assert found == {owner: (tokens[owner],) for owner in found}


def test_an_endless_answer_is_not_read_to_its_end(database: Database) -> None:
    table(database)
    endless = "SELECT 'evil' AS owner, 'ghcr.io' AS registry, generate_series(1, 10000000000)::text AS username"
    query = f"{endless}, 'p' AS password WHERE 'evil' = ANY(%(owners)s)"
    began = time.monotonic()
    found = asked_about(database, "evil", "alice", "bob", query=query, timeout=20.0)
    assert time.monotonic() - began < 15
    assert f"more than {MAX_CREDENTIALS} rows" in str(found["evil"])
    assert found["alice"] == found["bob"] == ()


def test_a_row_of_somebody_else_is_no_answer_for_anybody(database: Database) -> None:
    """It may be of one who was asked for: without it, that one would seem to have nothing."""
    table(database, ("alice", planted.token()), ("BOB", planted.token()), (None, planted.token()))
    ignores_case = MANY.replace("owner = ANY", "lower(owner) = ANY")
    found = asked_about(database, "alice", "bob", "carol", query=ignores_case)
    assert "a row is of an owner who was not asked for" in str(found["bob"])
    assert len(found["alice"]) == 1
    assert found["carol"] == ()
    assert "not asked for" in str(database.refused("alice", query=f"{MANY} OR owner IS NULL"))
    for query, said in [
        (MANY.replace("owner,", ""), "its rows have no text in a column owner"),
        (MANY.replace("owner,", "1 AS owner,"), "its rows have no text in a column owner"),
        (MANY.replace("owner = ", "length(owner) = "), "types that do not fit; write user_id::text = ANY"),
        (MANY.replace("ANY", ""), "types that do not fit; write user_id::text = ANY"),
    ]:
        down = database.refused("alice", query=query)
        assert said in str(down)
        assert down.everybody


def test_a_column_that_ignores_case_gives_nobody_the_rows_of_another(database: Database) -> None:
    database.run("CREATE EXTENSION citext")
    database.run("CREATE TABLE t (owner citext, registry text, username text, password text)")
    database.run("GRANT SELECT ON t TO pullsecret")
    database.run("INSERT INTO t VALUES ('Alice', 'ghcr.io', 'u', %s)", token := planted.token())
    query = MANY.replace("%(owners)s", "%(owners)s::citext[]")
    found = asked_about(database, "alice", "bob", "Alice", query=query)
    assert "a row is of an owner who was not asked for" in str(found["alice"])
    assert (found["bob"], found["Alice"]) == ((), (token,))


def test_a_thousand_owners_take_few_queries(database: Database) -> None:
    """At the start, when the connection for notifications has broken off, and when all of them get a new token."""
    owners = [str(number) for number in range(1000)]
    database.run(
        "INSERT INTO git_connections (user_id, provider, username, access_token) "
        "SELECT n, 'github', 'u', 'first' FROM generate_series(0, 999) n"
    )

    async def main() -> None:
        sent: list[int] = []
        config = database.config(listen=CHANNEL, max_age=86400.0, timeout=20.0)
        background = Background(Batched(SqlRemote(config), config.connections, lambda: sent.append(1)), owners)
        fewest = -(-len(owners) // MAX_OWNERS)

        async def arrives(token: str, most: int) -> None:
            await background.until(lambda: {*background.has.values()} == {token} and len(background.has) == 4000)
            assert fewest <= len(sent) <= most
            sent.clear()

        async with background.running(listens=True):
            await arrives("first", 10 + config.connections)
            await asyncio.to_thread(database.run, "ALTER TABLE git_connections DISABLE TRIGGER USER")
            await asyncio.to_thread(database.run, "UPDATE git_connections SET access_token = 'second'")
            await asyncio.to_thread(database.run, "ALTER TABLE git_connections ENABLE TRIGGER USER")
            ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%%'"
            await asyncio.to_thread(database.run, ended)
            await arrives("second", 10 + config.connections)
            await asyncio.to_thread(database.run, "UPDATE git_connections SET access_token = 'third'")
            await arrives("third", 10 + config.connections)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "the connection string is not valid"),
        ("postgresql://pullsecret:x@db.example.com/p", "does not verify the server"),
        ("postgresql://pullsecret:x@db.example.com/p?sslmode=require", "does not verify the server"),
        ("postgresql://pullsecret:x@db.example.com/p?sslmode=verify-ca", "does not verify the server"),
        ("host=localhost hostaddr=10.0.0.5 dbname=p", "does not verify the server"),
        ("host=/run/postgresql,db.example.com dbname=p", "does not verify the server"),
        ("host=localhost, dbname=p", "does not verify the server"),
        ("host=localhost service=other dbname=p", "does not verify the server"),
        ("dbname=p", "does not verify the server"),
    ],
)
def test_connection_strings_that_are_refused(database: Database, url: str, said: str) -> None:
    database.url_file.write_text(url)
    assert said in str(database.refused("7"))


def test_a_server_that_another_authority_signed_for(database: Database, tmp_path: Path) -> None:
    other = tmp_path / "other.crt"
    trustme.CA().cert_pem.write_to_path(str(other))
    database.url_file.write_text(database.url().replace(str(database.server.pki.ca), str(other)))
    assert "its certificate is not trusted" in str(database.refused("7", timeout=1.0))


def test_without_tls_the_server_lets_nobody_in(database: Database) -> None:
    database.url_file.write_text(database.url().replace("sslmode=verify-full", "sslmode=disable"))
    assert "pg_hba.conf does not allow this connection" in str(database.refused("7", timeout=1.0))


def test_a_new_password_in_the_file_is_used(database: Database) -> None:
    database.connect("7", token := planted.token())

    async def asked(remote: SqlRemote) -> None:
        assert (await remote.ask("7", None)).credentials.items
        database.password = secrets.token_urlsafe()
        database.run(f"ALTER ROLE pullsecret PASSWORD '{database.password}'")
        database.url_file.write_text(database.url())
        assert (await remote.ask("7", None)).credentials.items[0].password == token

    database.tried(asked)
    database.password += "x"
    database.url_file.write_text(database.url())
    assert "the password is refused" in str(database.refused("7", timeout=1.0))


def test_through_a_pooler(database: Database) -> None:
    """Sessions are pooled: questions, and notifications by a session of their own."""
    with database.server.pooler("pullsecret", database.password) as port:
        url = f"postgresql://pullsecret:{database.password}@127.0.0.1:{port}/{database.name}"
        database.url_file.write_text(f"{url}?sslmode=verify-full&sslrootcert={database.server.pki.ca}")
        heard: list[str | None] = []

        async def asked(remote: SqlRemote) -> None:
            listening = asyncio.create_task(remote.run(heard.append))
            async with asyncio.timeout(5):
                while None not in heard:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            await asyncio.to_thread(database.connect, "7", planted.token())
            async with asyncio.timeout(5):
                while "7" not in heard:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert len((await remote.ask("7", None)).credentials.items) == 1
            listening.cancel()

        database.tried(asked, listen=CHANNEL)


def test_connection_strings_to_this_host(database: Database) -> None:
    database.connect("7", planted.token())
    port = database.server.port
    for host in (database.server.folder, f"{database.server.folder},localhost"):
        ports = ",".join([str(port)] * (str(host).count(",") + 1))
        database.url_file.write_text(f"host={host} port={ports} user=pullsecret dbname={database.name}")
        assert len(database.ask("7")) == 1


def test_which_of_two_connections_counts_does_not_change_with_the_rows(database: Database) -> None:
    tokens = [planted.token() for _ in range(2)]
    database.connect("7", tokens[0], server_url="https://github.com", expires_at=datetime(2031, 1, 1, tzinfo=UTC))
    database.connect("7", tokens[1], server_url="", expires_at=datetime(2032, 1, 1, tzinfo=UTC))
    for changed in ("", "https://github.com"):
        assert [c.password for c in database.ask("7")] == [tokens[1], tokens[0]]
        database.run("UPDATE git_connections SET purpose = 'x' WHERE server_url = %s", changed)
    database.run("UPDATE git_connections SET status = 'expired' WHERE server_url = ''")
    assert [c.password for c in database.ask("7")] == [*tokens]


def test_a_provider_that_nobody_knows_takes_nothing_away(database: Database) -> None:
    database.connect("7", token := planted.token(), "GitHub")
    assert [c.password for c in database.ask("7")] == [token]
    database.connect("7", planted.token(), "slack")
    assert "row 2: its provider is unknown" in str(database.refused("7"))
    assert [c.password for c in database.ask("7", registries={"Slack": ""})] == [token]


@pytest.mark.parametrize("zone", ["Asia/Shanghai", "America/Los_Angeles"])
def test_ends_whatever_the_roles_settings_are(database: Database, zone: str) -> None:
    database.run(f"ALTER ROLE pullsecret SET TimeZone = '{zone}'")
    database.run("ALTER ROLE pullsecret SET DateStyle = 'German'")
    database.run("ALTER ROLE pullsecret SET client_encoding = 'LATIN1'")
    database.connect("山田", planted.token(), expires_at=datetime(2031, 1, 1, tzinfo=timezone(timedelta(hours=8))))
    for written, read in [
        ("2031-01-01 00:00+08", datetime(2030, 12, 31, 16, tzinfo=UTC)),
        ("9999-12-31 23:59:59+00", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("infinity", None),
    ]:
        database.run("UPDATE git_connections SET expires_at = %s", written)
        (found,) = database.ask("山田")
        assert found.expires == read
    naive = "SELECT 'ghcr.io' AS registry, 'u' AS username, 'p' AS password, 'infinity'::timestamp AS expires"
    assert database.ask("7", query=f"{naive} WHERE %(owner)s <> ''")[0].expires is None
    database.run("UPDATE git_connections SET expires_at = '9999-12-31 23:59:59-08'")
    late = database.refused("山田")
    assert "a value that cannot be read, such as a time after the year 9999; write null" in str(late)
    assert not late.everybody


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("SELECT nothing FROM git_connections WHERE user_id = %(owner)s", "a column that does not exist (42703)"),
        ("SELECT 1 FROM nowhere WHERE owner = %(owner)s", "a table that does not exist (42P01)"),
        ("SELEC %(owner)s", "a syntax error (42601)"),
        ("SELECT 1 FROM git_connections --%(owner)s", "the type of %(owner)s is unknown"),
        ("CALL nothing(%(owner)s)", "the query is not valid: expected one SELECT statement"),
        ("SELECT 1 FROM git_connections WHERE user_id::int = %(owner)s", "cannot read the owner's name (22P02)"),
    ],
)
def test_queries_that_cannot_be_asked(database: Database, query: str, said: str) -> None:
    database.run("CREATE PROCEDURE nothing(text) LANGUAGE sql AS ''")
    assert said in str(database.refused("x", query=query))


def test_no_more_rows_are_fetched_than_an_owner_may_have(database: Database) -> None:
    endless = "SELECT 'ghcr.io' AS registry, %(owner)s AS username, 'p' AS password, generate_series(1, {}) AS n"

    async def asked(remote: SqlRemote) -> None:
        began = time.monotonic()
        for _ in range(2):
            with pytest.raises(SourceUnavailable, match=f"more than {MAX_CREDENTIALS} rows"):
                await remote.ask("7", None)
        assert time.monotonic() - began < 8  # of the ten in which the whole would not be there

    database.tried(asked, query=endless.format(100_000_000), timeout=10.0)
    assert len(database.ask("7", query=endless.format(MAX_CREDENTIALS))) == MAX_CREDENTIALS
    assert "more than" in str(database.refused("7", query=endless.format(MAX_CREDENTIALS + 1)))


def test_no_more_is_fetched_than_an_answer_may_have(database: Database) -> None:
    large = "SELECT 'ghcr.io' AS registry, %(owner)s AS username, repeat('x', {}) AS password, generate_series(1, {})"

    async def asked(remote: SqlRemote) -> None:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(SourceUnavailable, match="larger than 1 MiB"):
            await remote.ask("7", None)
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024

    database.tried(asked, query=large.format(2_000_000, MAX_CREDENTIALS))
    assert "more than 32768 characters" in str(database.refused("7", query=large.format(40_000, 1)))
    assert len(database.ask("7", query=large.format(5_000, MAX_CREDENTIALS))) == MAX_CREDENTIALS


class Relay:
    """Between source and server; it counts who comes, and may stop to forward anything without a word."""

    def __init__(self, port: int) -> None:
        self.server_port, self.came, self.silent = port, 0, False
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self, database: Database) -> AsyncIterator[None]:
        async with await asyncio.start_server(self._accepted, "127.0.0.1", 0) as server:
            database.url_file.write_text(database.url(port=server.sockets[0].getsockname()[1]))
            yield
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # in which the transports close

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.came += 1
        theirs, ours = await asyncio.open_connection("127.0.0.1", self.server_port)
        self._tasks |= {asyncio.create_task(self._pump(*pair)) for pair in ((reader, ours), (theirs, writer))}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                if not self.silent:
                    writer.write(data)
        except OSError:
            pass
        finally:
            writer.transport.abort()


def test_a_server_that_falls_silent(database: Database) -> None:
    """Neither the question, nor that it be cancelled, nor a new connection is answered."""
    database.connect("7", planted.token())
    relay = Relay(database.server.port)

    async def asked(remote: SqlRemote) -> None:
        async with relay.running(database):
            await remote.ask("7", None)
            relay.silent = True
            for said in ("no answer within 0.5 s", "no connection within 0.5 s"):
                began = time.monotonic()
                with pytest.raises(SourceUnavailable, match=said):
                    await remote.ask("7", None)
                assert time.monotonic() - began < 1.5
            relay.silent = False
            assert (await remote.ask("7", None)).credentials.items

    database.tried(asked, timeout=0.5)


def test_a_backend_that_stands_still(database: Database) -> None:
    slow = "SELECT 'ghcr.io' AS registry, %(owner)s AS username, 'p' AS password FROM pg_sleep(20)"

    async def asked(remote: SqlRemote) -> None:
        question = asyncio.create_task(remote.ask("7", None))
        await asyncio.sleep(0.7)
        ((pid,),) = database.run("SELECT pid FROM pg_stat_activity WHERE usename = 'pullsecret' AND state = 'active'")
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        try:
            with pytest.raises(SourceUnavailable, match="no answer within 1 s"):
                await question
            assert time.monotonic() - began < 2
        finally:
            os.kill(pid, signal.SIGCONT)

    database.tried(asked, query=slow, timeout=1.0)


def test_who_is_left_alone_hears_nothing(database: Database) -> None:
    """One attempt a question, none without, and never more than there may be."""
    relay = Relay(database.server.port)
    database.run("ALTER ROLE pullsecret CONNECTION LIMIT 0")

    async def asked(remote: SqlRemote) -> None:
        async with relay.running(database):
            with pytest.raises(SourceUnavailable, match="no connections left"):
                await remote.ask("7", None)
            assert relay.came == 1
            await asyncio.sleep(2.5)
            assert relay.came == 1

    database.tried(asked)


def test_a_connection_string_that_changes_under_questions(database: Database) -> None:
    tokens = {str(number): planted.token() for number in range(40)}
    for owner, token in tokens.items():
        database.connect(owner, token)

    async def asked(remote: SqlRemote) -> None:
        questions = []
        for number, owner in enumerate(tokens):
            database.url_file.write_text(database.url(more=f"&application_name=n{number // 8}"))
            questions.append(asyncio.create_task(remote.ask(owner, None)))
            await asyncio.sleep(0.002)
        found = await asyncio.gather(*questions)
        assert [one.credentials.items[0].password for one in found] == [*tokens.values()]
        for owner in tokens:  # those of before are closed as others are needed
            await remote.ask(owner, None)
        used = database.run("SELECT application_name FROM pg_stat_activity WHERE usename = 'pullsecret'")
        assert {*used} == {("n4",)}
        assert len(used) <= 2

    database.tried(asked, connections=2)


def test_a_connection_that_nobody_needs_is_closed(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook.sources.sqlpool.IDLE_SECONDS", 0.2)

    async def asked(remote: SqlRemote) -> None:
        await remote.ask("7", None)
        async with asyncio.timeout(5):
            while database.run("SELECT 1 FROM pg_stat_activity WHERE usename = 'pullsecret'"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)

    database.tried(asked)


def test_a_server_without_connections_for_anybody(database: Database) -> None:
    ((most,),) = database.run("SELECT current_setting('max_connections')::int")
    with ExitStack() as held:
        with suppress(Exception):
            for _ in range(most):
                held.enter_context(database.server.admin())
        full = database.refused("7", timeout=1.0)
        assert "it has no connections left" in str(full)
        held.pop_all().close()
    with ExitStack() as held:
        for _ in range(most - 4):
            held.enter_context(database.server.admin())
        with suppress(Exception):
            held.enter_context(database.server.admin())
        full = database.refused("7", timeout=1.0)
        assert full.everybody
        assert "it has no connections left" in str(full)


def test_a_project_has_its_users_encrypted_connections(database: Database, tmp_path: Path) -> None:
    """Sealed for the user; the owner is the project."""
    keys = Keys(by_id={name: secrets.token_bytes(32) for name in ("old", "new")})
    tokens = [planted.token() for _ in range(2)]
    database.connect("7", seal(tokens[0], "7", "old", keys))
    database.connect("7", seal(tokens[1], "7", "new", keys), "gitlab")
    (project, other) = database.run("INSERT INTO projects (name) VALUES ('p'), ('q') RETURNING id")
    database.run("INSERT INTO project_git_auth VALUES (%s, '7'), (%s, '8')", *project, *other)
    (file := tmp_path / "keys").write_text("".join(f"{k} {b64encode(v).decode()}\n" for k, v in keys.by_id.items()))
    by_project: dict[str, Any] = {
        "preset": "git-connections-by-project",
        "decrypt": Decrypt(keys_file=str(file)),
    }
    assert [c.password for c in database.ask(str(*project), **by_project)] == tokens
    database.run("UPDATE git_connections SET user_id = '8'")
    assert "another owner, or damaged" in str(database.refused(str(*other), **by_project))


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_tokens_that_node_has_encrypted(database: Database, tmp_path: Path, end: str) -> None:
    """By Node.js 20 with the passphrase " with spaces ", which the file has as it is."""
    database.connect("7", "b3351772f212fdf727b8f4a0abc07e30:2c51cd33eeb20dc2f619d7e93e537a19:2d2ed0fc5e")
    (file := tmp_path / "passphrase").write_bytes(f" with spaces {end}".encode())
    decrypt = Decrypt(passphrase_file=str(file))
    assert [c.password for c in database.ask("7", decrypt=decrypt)] == ["ghp_x"]
    file.write_text("with spaces")
    assert "cannot be decrypted: another key" in str(database.refused("7", decrypt=decrypt))
    file.unlink()
    down = database.refused("7", decrypt=decrypt)
    assert down.everybody
    assert "the passphrase cannot be read" in str(down)


def heard_of(database: Database, *changes: str) -> list[set[str | None]]:
    """Who is called by each of them."""

    async def listening(remote: SqlRemote) -> list[set[str | None]]:
        heard: list[str | None] = []
        running = asyncio.create_task(remote.run(heard.append))
        found = []
        for number, change in enumerate(("SELECT 1", *changes)):
            await asyncio.to_thread(database.run, change)
            async with asyncio.timeout(5):
                while None not in heard if not number else f"mark{number}" not in heard:
                    await asyncio.sleep(0.01)
                    await asyncio.to_thread(database.run, f"NOTIFY {CHANNEL}, 'mark{number}'")
            found.append({one for one in heard if not (one or "").startswith("mark")})
            heard.clear()
        running.cancel()
        return found[1:]

    answer: list[set[str | None]] = database.tried(listening, listen=CHANNEL)
    return answer


def test_projects_hear_of_their_users_changes(database: Database) -> None:
    database.run("INSERT INTO projects SELECT generate_series(101, 103)")
    database.run("INSERT INTO project_git_auth VALUES (101, 'a'), (102, 'a'), (103, 'b')")
    database.run("ALTER TABLE project_git_auth DROP CONSTRAINT project_git_auth_project_id_fkey")  # not all have one
    assert heard_of(
        database,
        "INSERT INTO git_connections (user_id, provider, access_token) VALUES ('a', 'github', 't')",
        "UPDATE git_connections SET user_id = 'b'",
        "UPDATE git_connections SET access_token = 'u'",
        "DELETE FROM git_connections",
        "UPDATE project_git_auth SET project_id = 103 WHERE project_id = 102",
        "UPDATE project_git_auth SET user_id = 'c' WHERE project_id = 101",
        "DELETE FROM project_git_auth WHERE project_id = 101",
        "DELETE FROM projects WHERE id = 103",
        "TRUNCATE projects",
        "TRUNCATE project_git_auth",
        "TRUNCATE git_connections",
    ) == [
        {"a", "101", "102"},
        {"a", "b", "101", "102", "103"},
        {"b", "103"},
        {"b", "103"},
        {"102", "103"},
        {"101"},
        {"101"},
        {"103"},
        {None},
        {None},
        {None},
    ]


def test_who_writes_connections_need_not_read_the_projects(database: Database) -> None:
    """And what a name of its own hides, it hides from itself."""
    database.run("INSERT INTO projects VALUES (101)")
    database.run("INSERT INTO project_git_auth VALUES (101, 'a')")
    writes = """SET ROLE pg_database_owner;
CREATE TEMP TABLE project_git_auth AS SELECT 666 AS project_id, 'a' AS user_id;
INSERT INTO git_connections (user_id, provider, access_token) VALUES ('a', 'github', 't')"""
    database.run("GRANT INSERT ON git_connections TO pg_database_owner")
    database.run("GRANT USAGE ON SEQUENCE git_connections_id_seq TO pg_database_owner")
    assert heard_of(database, writes) == [{"a", "101"}]


def test_a_view_and_nothing_of_the_table(database: Database) -> None:
    database.connect("7", token := planted.token(), expires_at=datetime(2031, 1, 1, tzinfo=UTC))
    file = EXAMPLES / "git-connections-view.sql"
    database.run(file.read_text().replace("%(owners)s", ""))
    comments = [line.removeprefix("--").strip() for line in file.read_text().splitlines() if line.startswith("--  ")]
    query = " ".join(comments)
    assert database.ask("7", query=query) == (Credential("ghcr.io", "robot", token, datetime(2031, 1, 1, tzinfo=UTC)),)
    assert database.ask("8", query=query) == ()
    assert "42501" in str(database.refused("7")), "the table itself"
    database.run("ALTER TABLE git_connections ENABLE ROW LEVEL SECURITY")
    assert len(database.ask("7", query=query)) == 1


def test_the_query_of_the_example(database: Database) -> None:
    (source,) = yaml.safe_load((EXAMPLES / "sql-query.yaml").read_text())["config"]["sources"]
    database.run(
        "CREATE TABLE registry_tokens (owner text, registry text, username text, password text, expires_at timestamptz,"
        " revoked boolean NOT NULL DEFAULT false)"
    )
    database.run("GRANT SELECT ON registry_tokens TO pullsecret")
    token = planted.token()
    database.run("INSERT INTO registry_tokens VALUES ('7', 'ghcr.io', 'u', %s, '2031-01-01 00:00+00', false)", token)
    database.run("INSERT INTO registry_tokens VALUES ('7', 'quay.io', 'u', %s, null, true)", planted.token())
    found = database.ask("7", query=source["query"], max_age=float(source["maxAge"]))
    assert found == (Credential("ghcr.io", "u", token, datetime(2031, 1, 1, tzinfo=UTC)),)
