"""From a row in the platform's database, and from its token service, to the Secret in a namespace: by the running
webhook, which has both as sources as the examples have them, and without polling."""

import base64
import json
import secrets
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.objects import SECRET, names, password, pod, stands
from controlplane.postgres import Postgres
from controlplane.waiting import until
from controlplane.webhook import Webhook
from support import planted, tokenservice
from support.sealed import seal
from support.tokenservice import TokenService
from webhook.core.credential import Credential
from webhook.sources.encrypted import Keys

pytestmark = pytest.mark.cluster
WITHDRAWN_AT_ONCE = {"maxWithdrawn": 1}
"""Of the few owners here, a third loses its token in these tests."""
EXAMPLES = Path(__file__).parents[2] / "docs" / "examples" / "sources"
MOUNTED = "/etc/pullsecret/sources"
KEYS = Keys(by_id={"k1": secrets.token_bytes(32)})
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
        admin.execute((EXAMPLES / "git-connections.sql").read_bytes())
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
    with ControlPlane.start(tmp_path_factory.mktemp("remote")) as cluster:
        deployed.install(cluster)
        yield cluster


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    """It lets nobody in without a certificate, and answers nobody without its token."""
    with tokenservice.serving(tmp_path_factory.mktemp("service"), mutual=True, token=planted.token()) as serving:
        yield serving


@pytest.fixture(scope="module")
def replica(own: ControlPlane, url_file: Path, service: TokenService) -> Iterator[Webhook]:
    """Of the examples only the service's address is another one, and where the files are."""
    assert service.token
    folder = own.folder / "sources"
    for name in ("token-service", "database"):
        (folder / name).mkdir(parents=True)
    certificate, key = service.client
    mounted = {"ca.crt": service.ca_file, "tls.crt": certificate, "tls.key": key}
    for name, file in mounted.items():
        shutil.copy(file, folder / "token-service" / name)
    (folder / "token-service" / "token").write_text(service.token)
    shutil.copy(url_file, folder / "database" / "url")
    encoded = base64.b64encode(KEYS.by_id["k1"]).decode()
    (folder / "database" / "keys").write_text(f"k1 {encoded}\n")
    (over_http, in_secrets), (in_sql,) = example("http.yaml"), example("sql.yaml")
    text = json.dumps([over_http, in_sql, in_secrets])
    for example_s, ours in (("tokens.platform.svc", f"localhost:{service.port}"), (MOUNTED, str(folder))):
        assert example_s in text
        text = text.replace(example_s, ours)
    settings = {"sources": json.loads(text), "pullSecret": WITHDRAWN_AT_ONCE}
    with deployed.running(own, settings=settings, name="remote") as started:
        deployed.register(own, started.port)
        own.namespace("called", labels=label("nobody"))
        deployed.wait_called(own.api, started.port, "called")
        yield started


def example(name: str) -> list[dict[str, Any]]:
    values: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    return list(values["config"]["sources"])


def run(postgres: Postgres, query: str, *values: str) -> None:
    with postgres.admin(DATABASE) as admin:
        admin.execute(query.encode(), values)


def connect(postgres: Postgres, user: str, token: str) -> None:
    columns = "user_id, provider, username, access_token"
    run(postgres, f"INSERT INTO git_connections ({columns}) VALUES (%s, 'github', 'u', %s)", user, sealed(user, token))


def sealed(user: str, token: str) -> str:
    return seal(token, user, "k1", KEYS)


def label(owner: str) -> dict[str, str]:
    return {"pullsecret-webhook/owner": owner}


def registries(cluster: ControlPlane, namespace: str) -> dict[str, str]:
    """Registries and user names in the pull secret."""
    secret = cluster.api.get("Secret", SECRET, namespace)
    config = base64.b64decode(secret["data"][".dockerconfigjson"]) if secret else b'{"auths": {}}'
    return {registry: entry["username"] for registry, entry in json.loads(config)["auths"].items()}


def status(cluster: ControlPlane, namespace: str) -> Ran:
    return command(cluster, "status", "-n", namespace, "--config", str(cluster.folder / "remote.yaml"))


def look(cluster: ControlPlane, namespace: str) -> None:
    """A pod is created, which is when an answer that is no longer fresh is asked for anew."""
    time.sleep(1.1)  # what an answer is good for at least
    name = f"p{secrets.token_hex(4)}"
    assert names(cluster.api.create(pod(namespace, name))) == [SECRET]


def test_what_the_service_says_becomes_a_secret(own: ControlPlane, replica: Webhook, service: TokenService) -> None:
    owner, first, second = "team-1", planted.token(), planted.token()
    service.give(owner, Credential("ghcr.io", "bot", first))
    own.namespace("from-http", labels=label(owner))
    stands(own, "from-http", first)
    assert service.asked[-1].raw_path == "/v1/owners/team-1"
    service.give(owner, Credential("ghcr.io", "bot", second))
    look(own, "from-http")
    stands(own, "from-http", second, within=5)
    service.up = False
    try:
        look(own, "from-http")
        assert password(own, "from-http") == second
    finally:
        service.up = True
    service.give(owner)  # known to have none
    look(own, "from-http")
    stands(own, "from-http", None, within=10)


def versions(cluster: ControlPlane, owners: Iterable[str]) -> dict[str, str | None]:
    found = {owner: cluster.api.get("Secret", SECRET, f"of-{owner}") for owner in owners}
    return {owner: str(secret["metadata"]["resourceVersion"]) if secret else None for owner, secret in found.items()}


def test_a_replica_whose_answer_is_the_older_one_undoes_nothing(
    own: ControlPlane, replica: Webhook, service: TokenService
) -> None:
    """What was there at first is good for an hour, it was told; the other replica asked again since."""
    old, new, given = planted.token(), planted.token(), planted.token()
    before, after = (
        {"rotated": old, "revoked": given, "linked": None},
        {"rotated": new, "revoked": None, "linked": given},
    )
    for owner, token in before.items():
        service.give(owner, *([Credential("ghcr.io", "bot", token)] if token else []))
        own.namespace(f"of-{owner}", labels=label(owner))
        stands(own, f"of-{owner}", token)
    sources = json.loads((own.folder / "remote.yaml").read_text())["sources"]
    quiet_for(1, lambda: len(service.asked))
    asked = len(service.asked)
    usual, service.headers = service.headers, {"Cache-Control": "max-age=3600"}
    try:
        with deployed.running(own, settings={"sources": sources, "pullSecret": WITHDRAWN_AT_ONCE}, name="other"):
            own.wait(
                lambda: {*before} <= {owner for one in service.asked[asked:] for owner in (one.owner, *one.owners)},
                "it has asked",
            )
            service.headers = usual
            for owner, token in after.items():
                service.give(owner, *([Credential("ghcr.io", "bot", token)] if token else []))
                look(own, f"of-{owner}")
                stands(own, f"of-{owner}", token, within=5 if token else 10)
            seen = versions(own, after)
            time.sleep(3)
            assert versions(own, after) == seen
    finally:
        service.headers = usual


def test_two_sources_stand_side_by_side(
    own: ControlPlane, replica: Webhook, postgres: Postgres, service: TokenService
) -> None:
    user = "user-20"
    connect(postgres, user, planted.token())
    service.give(user, Credential("ghcr.io/acme", "acme", planted.token()))
    own.namespace("both", labels=label(user))
    own.wait(lambda: registries(own, "both") == {"ghcr.io": "u", "ghcr.io/acme": "acme"}, "one of each")
    service.give(user, Credential("ghcr.io", "other", planted.token()))
    look(own, "both")
    both = {"ghcr.io": "other", "https://ghcr.io": "u"}
    own.wait(lambda: registries(own, "both") == both, "both, the first source's first")


def test_more_than_a_secret_holds_is_not_written_and_said(
    own: ControlPlane, replica: Webhook, service: TokenService
) -> None:
    owner, token = "hoarder", planted.token()
    service.give(owner, Credential("ghcr.io", "bot", token))
    own.namespace("large", labels=label(owner))
    before = stands(own, "large", token)
    large = planted.token() + "x" * 30_000
    service.give(owner, *(Credential(f"r{number}.example.com", "bot", large) for number in range(20)))
    look(own, "large")

    def told() -> bool:
        return any("larger than 1 MiB" in event["note"] for event in own.api.list("Event", "large"))

    own.wait(told, "an Event says so")
    assert own.api.get("Secret", SECRET, "large") == before


def test_a_row_becomes_a_secret_and_a_change_is_there_at_once(
    own: ControlPlane, replica: Webhook, postgres: Postgres, service: TokenService
) -> None:
    def asked() -> tuple[int, int]:
        """The database, and the service about this user: others' Secrets may still be tried again."""
        lines = [line for line in replica.metrics().splitlines() if "source_questions_total{" in line]
        of_database = sum(int(float(line.split()[-1])) for line in lines if 'source="sql"' in line)
        return of_database, [one.owner for one in service.asked].count(user)

    user, first, second = "user-17", planted.token(), planted.token()
    connect(postgres, user, first)
    own.namespace("from-sql", labels=label(user))
    stands(own, "from-sql", first)
    assert names(own.api.create(pod("from-sql"))) == [SECRET]
    quiet_for(2, asked)  # nothing polls
    assert min(asked()) > 0
    began = time.monotonic()
    run(postgres, "UPDATE git_connections SET access_token = %s WHERE user_id = %s", sealed(user, second), user)
    stands(own, "from-sql", second, within=2)
    assert time.monotonic() - began < 2
    run(postgres, "UPDATE git_connections SET status = 'revoked' WHERE user_id = %s", user)
    stands(own, "from-sql", None, within=10)
    run(postgres, "UPDATE git_connections SET status = 'active' WHERE user_id = %s", user)
    stands(own, "from-sql", second, within=15)  # the fourth write in a row waits a little


def told(cluster: ControlPlane, namespace: str) -> Counter[str]:
    """Reasons of the Events about its pull secret."""
    return Counter(one["reason"] for one in cluster.api.list("Event", namespace) if one["regarding"]["name"] == SECRET)


def quiet_for(seconds: float, asked: Callable[[], Any], within: float = 20) -> None:
    """What news of what came before have set off ends at some time, on a busy machine later."""
    seen, since = asked(), time.monotonic()

    def quiet() -> bool:
        nonlocal seen, since
        if (now := asked()) != seen:
            seen, since = now, time.monotonic()
        return time.monotonic() - since >= seconds

    until(quiet, "the source is asked nothing more", within=within)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"query": "SELECT registry, username, password FROM tokens WHERE owner = %(owner)s"}, "42P01"),
        ({"urlFile": ""}, "the password is refused"),
    ],
    ids=["a wrong query", "a wrong password"],
)
def test_a_source_that_is_set_up_wrong(
    own: ControlPlane, replica: Webhook, postgres: Postgres, change: dict[str, str], why: str
) -> None:
    """The owner is known to this replica alone."""
    name = f"set-up-{len(why)}"
    sql = {"from": "sql", "urlFile": str(own.folder / "sources" / "database" / "url"), "preset": "git-connections"}
    if "urlFile" in change:
        file = own.folder / "wrong-url"
        file.write_text(postgres.url("pullsecret", planted.token(), DATABASE))
        sql["urlFile"] = str(file)
    else:
        del sql["preset"]
        sql |= change
    rule = {"from": "annotation", "key": "set-up", "owner": name}
    settings = {"sources": [sql], "ownerRules": [rule]}
    with deployed.running(own, settings=settings, name=name):
        own.namespace(name, annotations={"set-up": name})

        def said() -> Ran:
            return command(own, "status", "-n", name, "--config", str(own.folder / f"{name}.yaml"))

        own.wait(lambda: why in said().out, "status says why")
        assert said().code == 1
        assert "there is no Secret; " in said().out
        own.wait(lambda: told(own, name)["CredentialUnknown"], "the tenant is told")


def test_while_the_database_is_down_what_stands_stays(own: ControlPlane, replica: Webhook, postgres: Postgres) -> None:
    user, token, newer = "user-18", planted.token(), planted.token()

    connect(postgres, user, token)
    own.namespace("sql-down", labels=label(user))
    before = stands(own, "sql-down", token)
    postgres.down()
    try:
        own.namespace("sql-down-new", labels=label(user))
        assert names(own.api.create(pod("sql-down-new"))) == [SECRET]
        assert names(own.api.create(pod("sql-down"))) == [SECRET]
        time.sleep(1)
        assert own.api.get("Secret", SECRET, "sql-down") == before
        own.namespace("sql-down-unknown", labels=label("user-19"))  # nobody said yet what that one has
        says = f'an Event in {deployed.NAMESPACE} says: "source sql: '
        why = f"there is no Secret; {says}"
        own.wait(lambda: why in status(own, "sql-down-unknown").out, "status says why")
        assert status(own, "sql-down-unknown").code == 1
        own.wait(lambda: told(own, "sql-down-unknown")["CredentialUnknown"], "the tenant is told")
        assert not told(own, "sql-down")
        above, _, table = status(own, "sql-down").out.partition("NAMESPACE ")
        assert says in above
        assert "sql-down   user-18  right" in table
    finally:
        postgres.up()
    run(postgres, "UPDATE git_connections SET access_token = %s WHERE user_id = %s", sealed(user, newer), user)
    until(lambda: password(own, "sql-down") == newer, "the newer token is there", within=40)
    until(lambda: password(own, "sql-down-new") == newer, "there too", within=40)
    own.wait(lambda: says not in status(own, "sql-down-unknown").out, "what is over is said no more")
    again = status(own, "sql-down-unknown")
    assert (again.code, "sql-down-unknown  user-19  none" in again.out) == (0, True)
    own.wait(lambda: told(own, "sql-down-unknown")["NoCredential"], "what is true now is told")
