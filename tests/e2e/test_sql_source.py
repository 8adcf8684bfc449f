"""From a row in the platform's database to the Secret in a namespace, by the running webhook and without polling."""

import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import planted
from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.objects import SECRET, names, password, pod, stands
from controlplane.postgres import Postgres
from controlplane.waiting import until
from controlplane.webhook import Webhook

pytestmark = pytest.mark.cluster
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "sources" / "git-connections.sql"
DATABASE = "platform_e2e"
TABLE = """
CREATE TABLE git_connections (
  id serial PRIMARY KEY, user_id text NOT NULL, provider text NOT NULL, username text, access_token text,
  expires_at timestamptz, status text NOT NULL DEFAULT 'active', server_url text NOT NULL DEFAULT '')
"""


@pytest.fixture(scope="module")
def url_file(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    given, file = secrets.token_urlsafe(), tmp_path_factory.mktemp("sql") / "url"
    with postgres.admin() as admin:
        admin.execute(f"CREATE DATABASE {DATABASE}")
    with postgres.admin(DATABASE) as admin:
        admin.execute(TABLE)
        admin.execute(EXAMPLE.read_bytes())
        admin.execute(f"ALTER ROLE pullsecret PASSWORD '{given}'")
    file.write_text(postgres.url("pullsecret", given, DATABASE))
    yield file
    with postgres.admin(DATABASE) as admin:
        admin.execute("DROP OWNED BY pullsecret")
    with postgres.admin() as admin:
        admin.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")
        admin.execute("DROP ROLE pullsecret")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, binaries: None) -> Iterator[ControlPlane]:
    """Apart from the session's cluster: a replica there knows nothing of this source, and would take Secrets away."""
    with ControlPlane.start(tmp_path_factory.mktemp("sql-cluster")) as cluster:
        deployed.install(cluster)
        yield cluster


@pytest.fixture(scope="module")
def replica(own: ControlPlane, url_file: Path) -> Iterator[Webhook]:
    source = {"from": "sql", "urlFile": str(url_file), "preset": "git-connections", "maxAge": 86400}
    settings = {"sources": [source | {"listen": "pullsecret_owner_changed"}]}
    with deployed.running(own, settings=settings, name="sql") as started:
        deployed.register(own, started.port)
        own.namespace("called", labels={"pullsecret-webhook/owner": "nobody"})
        deployed.wait_called(own.api, started.port, "called")
        yield started


def run(postgres: Postgres, query: str, *values: str) -> None:
    with postgres.admin(DATABASE) as admin:
        admin.execute(query.encode(), values)


def connect(postgres: Postgres, user: str, token: str) -> None:
    columns = "user_id, provider, username, access_token"
    run(postgres, f"INSERT INTO git_connections ({columns}) VALUES (%s, 'github', 'u', %s)", user, token)


def test_a_row_becomes_a_secret_and_a_change_is_there_at_once(
    own: ControlPlane, replica: Webhook, postgres: Postgres
) -> None:
    def asked() -> int:
        lines = replica.metrics().splitlines()
        return sum(int(float(line.split()[-1])) for line in lines if "source_asked_total{" in line)

    user, first, second = "user-17", planted.token(), planted.token()
    connect(postgres, user, first)
    own.namespace("from-sql", labels={"pullsecret-webhook/owner": user})
    stands(own, "from-sql", first)
    assert names(own.api.create(pod("from-sql"))) == [SECRET]
    settled = asked()
    time.sleep(2)
    assert asked() == settled, "nothing polls"
    began = time.monotonic()
    run(postgres, "UPDATE git_connections SET access_token = %s WHERE user_id = %s", second, user)
    stands(own, "from-sql", second, within=2)
    assert time.monotonic() - began < 2
    run(postgres, "UPDATE git_connections SET status = 'revoked' WHERE user_id = %s", user)
    stands(own, "from-sql", None, within=5)
    run(postgres, "UPDATE git_connections SET status = 'active' WHERE user_id = %s", user)
    stands(own, "from-sql", second, within=15)  # the fourth write in a row waits a little


def test_while_the_database_is_down_what_stands_stays(own: ControlPlane, replica: Webhook, postgres: Postgres) -> None:
    user, token, newer = "user-18", planted.token(), planted.token()

    connect(postgres, user, token)
    own.namespace("sql-down", labels={"pullsecret-webhook/owner": user})
    before = stands(own, "sql-down", token)
    postgres.down()
    try:
        own.namespace("sql-down-new", labels={"pullsecret-webhook/owner": user})
        assert names(own.api.create(pod("sql-down-new"))) == [SECRET]
        assert names(own.api.create(pod("sql-down"))) == [SECRET]
        time.sleep(1)
        assert own.api.get("Secret", SECRET, "sql-down") == before
    finally:
        postgres.up()
    run(postgres, "UPDATE git_connections SET access_token = %s WHERE user_id = %s", newer, user)
    until(lambda: password(own, "sql-down") == newer, "the newer token is there", within=40)
    until(lambda: password(own, "sql-down-new") == newer, "there too", within=40)
