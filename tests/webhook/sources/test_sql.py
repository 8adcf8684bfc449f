"""The SQL source on a real PostgreSQL, as the least privileged role of docs/examples/sources, over verified TLS."""

import asyncio
import secrets
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import trustme

import planted
from controlplane.postgres import Postgres
from sourcecontract import Contract, Place, running
from webhook.credential import Credential
from webhook.errors import SourceUnavailable
from webhook.sealed import Keys, seal
from webhook.sourceconfig import Decrypt, SqlSource
from webhook.sources.cached import Cached
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
            return (await remote.ask(owner, None)).credentials.items

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
                await remote._close()

        return asyncio.run(main())


@pytest.fixture
def database(postgres: Postgres, tmp_path: Path) -> Any:
    made = Database(postgres, tmp_path)
    yield made
    made.drop()


class Sql(Place):
    def __init__(self, database: Database, **more: Any) -> None:
        super().__init__()
        self.database = database
        config = database.config(query="SELECT registry, username, password FROM c WHERE owner = %(owner)s", **more)
        self.source = Cached("sql", SqlRemote(config), self.heard.append, self.say, self.metrics, now)

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
        place = Sql(self.database, **self.more)
        async with running(place):
            if "listen" in self.more:
                await place.until(lambda: None in place.heard)
            yield place


@pytest.mark.usefixtures("table")
class TestSqlWithoutNotifications(TestSql):
    """An answer's age decides."""

    more: dict[str, Any] = {"max_age": 0.0}  # noqa: RUF012


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
    assert "does not open: another key" in str(wrong)
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

    database.tried(asked)
    slow = "SELECT 'a' AS registry, %(owner)s AS username, 'p' AS password FROM pg_sleep(30)"
    began = time.monotonic()
    assert database.refused("7", query=slow, timeout=0.5).everybody
    assert time.monotonic() - began < 5
    ((active,),) = database.run(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(30)%%' AND pid <> pg_backend_pid()"
    )
    assert active == 0, "the query was cancelled"


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


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("not a url", "the connection string is none"),
        ("postgresql://pullsecret:x@db.example.com/p", "does not verify the server"),
        ("postgresql://pullsecret:x@db.example.com/p?sslmode=require", "does not verify the server"),
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
    assert "the server lets nobody in from here, or not so" in str(database.refused("7", timeout=1.0))


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
        database.url_file.write_text(f"{url}?sslmode=verify-ca&sslrootcert={database.server.pki.ca}")
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
