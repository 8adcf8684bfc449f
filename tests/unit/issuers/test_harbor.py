"""The issuer for Harbor, against a server that is held to Harbor's own API description."""

import asyncio
import json
import ssl
from bisect import bisect_right
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import httpx
import pytest
import trustme

from support import harborserver, planted
from support.harborserver import ADMIN, ISSUER_RIGHTS, Harbor, Robot, allowed
from support.issuercontract import NamedContract
from support.issuerplace import (
    CLUSTER,
    NamedPlace,
    check_fails,
    checked,
    config_refused,
    leads,
    opened,
    outcome,
    placed,
    refused,
    running,
)
from support.loopback import silent_port
from support.vendorserver import Fault, certified
from webhook.checks.registryclient import RegistryClient
from webhook.config import reading
from webhook.config.reading import ConfigError
from webhook.core.check import Why
from webhook.core.credential import Credential
from webhook.core.issued import MAX_LIFE, Issued
from webhook.core.registry import matching
from webhook.issue import BURST
from webhook.issuers import Issuer, IssueRefused, IssuerUnavailable, client
from webhook.issuers.issuing import WORKERS, Issuing
from webhook.issuers.minting import Bucket
from webhook.issuers.names import minted_name
from webhook.issuers.notices import Problem


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    """One authority for all: a key takes a while."""
    Here.folder = tmp_path_factory.mktemp("harbor")
    Here.tls = certified(Here.folder)


class Here(NamedPlace[Harbor]):
    """A Harbor, and an issuer that asks it as a robot with just the rights that the documentation lists."""

    life = timedelta(days=30)
    ca = "ca.pem"
    tls: ssl.SSLContext

    def __init__(self, harbor: Harbor, **keys: Any) -> None:
        self.server, self.user, self.password = harbor, self.folder / "user", self.folder / "password"
        self.robot = harbor.robot("issuer", ISSUER_RIGHTS)
        self.log_in(*harbor.login(self.robot))
        self.keys = {"createProject": True, **keys}
        self.issuer, self.tokens = self.again(), self.client()

    def log_in(self, username: str, password: str) -> None:
        self.user.write_text(username)
        self.password.write_text(password + "\n")

    @property
    def usual(self) -> dict[str, Any]:
        files = {"usernameFile": str(self.user), "passwordFile": str(self.password)}
        return {"issue": "harbor", "registry": self.server.host, **files}

    @property
    def registries(self) -> list[dict[str, Any]]:
        return [{"host": self.server.host, "caFile": str(self.folder / self.ca)}]

    async def close(self) -> None:
        await super().close()
        await self.tokens.aclose()

    def name(self, owner: str, generation: int) -> str:
        return minted_name(CLUSTER, "harbor", owner, generation)

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        name = f"{self.keys.get('project', '{owner}').replace('{owner}', owner)}/app"
        query = {"service": "harbor-registry", "scope": f"repository:{name}:pull,push,delete"}
        self.server.locked.clear()
        answer = await self.tokens.get("/service/token", params=query, auth=c.login)
        found = allowed(answer.json()["token"])
        assert found in ([], [f"{name}:pull"])
        sent = matching([c.registry], f"{self.server.host}/{name}")
        assert not found or sent == (c.registry,)
        return bool(found)

    def client(self, login: tuple[str, str] | None = None) -> httpx.AsyncClient:
        context = client._context(str(self.folder / "ca.pem"))
        return httpx.AsyncClient(base_url=f"https://{self.server.host}", auth=login, verify=context, trust_env=False)

    def minted(self, owner: str) -> int:
        return len(self.server.of(owner))

    def made(self) -> Any:
        return {*self.server.robots}, {*self.server.projects}

    def logs_in_wrongly(self) -> None:
        self.log_in("robot$nobody", planted.token())

    def takes_the_name(self, owner: str, generation: int) -> None:
        self.server.project(owner)
        self.server.robot(self.name(owner, generation), PULL, project=owner, description="of the pipeline")

    def clock_is_ahead(self, by: timedelta) -> None:
        super().clock_is_ahead(by)
        self.robot.created = int(self.server.now().timestamp())


PULL = [{"kind": "project", "namespace": "*", "access": [{"resource": "repository", "action": "pull"}]}]


@asynccontextmanager
async def here(harbor: Harbor | None = None, **keys: Any) -> AsyncIterator[Here]:
    async with harborserver.serving(Here.tls, harbor) as server, placed(Here(server, **keys)) as place:
        yield place


class TestContract(NamedContract):
    shared: ClassVar = {"project": "alice"}

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here()


run = running(here)


def test_a_robot_may_pull_from_one_project_and_says_whose_it_is() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 7, leads)
        (robot,) = place.server.of("team-alice")
        mark = f"pullsecret-webhook: cluster {CLUSTER}, issuer harbor, owner alice, generation 7"
        assert robot.description == mark
        assert robot.name == f"team-alice+{place.name('alice', 7)}"
        assert robot.permissions == [
            {"kind": "project", "namespace": "team-alice", "access": [{"resource": "repository", "action": "pull"}]}
        ]
        (c,) = minted.credentials
        assert c == Credential(f"{place.server.host}/team-alice/", f"robot${robot.name}", robot.secret)
        assert minted.handle == f"{robot.id}/{place.name('alice', 7)}"
        assert robot.days == 3
        assert timedelta(days=2, hours=23) < minted.life <= timedelta(days=3)

    run(scenario, project="team-{owner}", days=3)


def test_the_registry_takes_it_for_a_login() -> None:
    """By the check that is made of each new one: without a scope, since with one Harbor answers anybody."""

    async def scenario(place: Here) -> None:
        (c,) = (await place.issuer.issue("alice", 1, leads)).credentials
        client = RegistryClient(place.config(), lambda: datetime.now(UTC))
        assert (await client.ask(c)).why is Why.NONE
        place.server.robots[max(place.server.robots)].disabled = True
        assert (await client.ask(c)).why is Why.UNAUTHORIZED
        await client.close()

    run(scenario)


def test_the_usual_renewal_is_one_request() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        assert place.asked() == 4
        await place.issuer.issue("alice", 2, leads)
        assert place.asked() == 5

    run(scenario)


def test_a_project_may_be_called_as_another_one_is_numbered() -> None:
    async def scenario(place: Here) -> None:
        place.server.project("other")
        number = str(place.server.projects["other"])
        for _ in range(2):
            minted = await place.issuer.issue(number, 1, leads)
        assert await opened(place, minted, number)
        assert (place.minted(number), place.minted("other")) == (1, 0)

    run(scenario)


def test_its_name_for_robots_is_stored_as_it_says_it() -> None:
    async def scenario(place: Here) -> None:
        place.server.prefix = "bot-"
        place.log_in(*place.server.login(place.robot))
        minted = await place.issuer.issue("alice", 1, leads)
        assert minted.credentials[0].username.startswith("bot-alice+")
        place.server.prefix = "robot$"
        place.log_in(*place.server.login(place.robot))
        assert not await opened(place, minted)
        # The same generation again finds the robot by its own name, and makes another one.
        minted = await place.issuer.issue("alice", 1, leads)
        assert await opened(place, minted)
        assert place.minted("alice") == 1

    run(scenario)


@pytest.mark.parametrize("missing", [403, 404])
def test_projects_are_made_only_if_that_is_configured(missing: int) -> None:
    async def scenario(place: Here) -> None:
        told = await refused(place)
        assert str(told) == "Harbor has no project alice that we may see; create it, or set createProject"
        assert not told.everybody
        assert "alice" not in place.server.projects
        place.server.project("alice")
        assert await opened(place, await place.issuer.issue("alice", 1, leads))
        place.keys["createProject"] = True
        issuer = place.again()
        assert await opened(place, await issuer.issue("bob", 1, leads), "bob")
        await issuer.close()
        assert "bob" in place.server.projects
        assert place.server.public == {"library"}

    run(scenario, Harbor(missing=missing), createProject=False)


RIGHTS = [(one["resource"], one["action"]) for permission in ISSUER_RIGHTS for one in permission["access"]]


@pytest.mark.parametrize("lacking", RIGHTS, ids="-".join)
def test_without_a_right_it_is_said_which_page_lists_them(lacking: tuple[str, str]) -> None:
    """And each of them is needed."""

    async def scenario(place: Here) -> None:
        place.robot.permissions = [
            {
                **permission,
                "access": [one for one in permission["access"] if (one["resource"], one["action"]) != lacking],
            }
            for permission in ISSUER_RIGHTS
        ]

        async def every_call() -> None:
            for _ in range(2):
                minted = await place.issuer.issue("alice", 1, leads)
            await place.issuer.end(minted.handle)

        with pytest.raises((IssueRefused, IssuerUnavailable)) as told:
            await every_call()
        assert "HTTP 403" in str(told.value)
        assert "docs/harbor.md" in str(told.value)
        refused = told.value if isinstance(told.value, IssueRefused) else None
        # To make projects is a right in all of Harbor; others it may lack in this project alone.
        assert refused is None or refused.everybody == (lacking[0] == "project") == (not refused.right)

    run(scenario)


def test_a_wrong_login_is_told_and_not_hammered() -> None:
    async def scenario(place: Here) -> None:
        right = place.server.login(place.robot)
        place.log_in(right[0], planted.token())
        told = await refused(place, kind=IssuerUnavailable)
        assert "refuses the login of usernameFile and passwordFile (HTTP 401: unauthorized)" in str(told)
        assert told.retry_after > harborserver.LOCK_SECONDS
        place.log_in(*right)  # and the files are read again
        await refused(place, kind=IssuerUnavailable)  # its name is locked
        place.server.locked.clear()
        assert await opened(place, await place.issuer.issue("alice", 1, leads))

    run(scenario)


def test_a_login_that_cannot_be_read_is_told_without_its_content() -> None:
    async def scenario(place: Here) -> None:
        place.password.write_text(f"{planted.token()}\n{planted.token()}\n")
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told).endswith("password is empty, or has more than one line of printable ASCII")
        place.password.unlink()
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told).endswith("password: No such file or directory")

    run(scenario)


def test_the_read_only_mode_passes() -> None:
    async def scenario(place: Here) -> None:
        place.server.read_only = True
        told = await refused(place, kind=IssuerUnavailable)
        assert "Harbor changes nothing now (HTTP 403: " in str(told)
        place.server.read_only = False
        assert await opened(place, await place.issuer.issue("alice", 1, leads))

    run(scenario)


def test_what_others_made_is_not_ended() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        number, name = minted.handle.split("/")
        theirs = place.server.robot("ci", PULL, project="alice")
        other = await place.issuer.issue("alice", 2, leads)
        # A Harbor that was restored from a backup uses numbers again.
        await place.issuer.end(f"{theirs.id}/{name}")
        await place.issuer.end(f"{other.handle.split('/')[0]}/{name}")
        assert place.minted("alice") == 3
        place.server.robots[int(number)].description = "now of the pipeline"
        await place.issuer.end(minted.handle)
        assert place.minted("alice") == 3
        await place.issuer.end(other.handle)
        assert place.minted("alice") == 2

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"expires_at": -1}, "does not say until when"),
        ({"expires_at": 0}, "does not say until when"),
        ({"name": "robot$other+1"}, "another robot"),
        ({"name": "robot:{name}"}, "none that can be used"),
        ({"secret": ""}, "none that can be used"),
        ({"secret": None}, "not what its API has"),
        ({"id": "1"}, "not what its API has"),
        ({"id": 0}, "not what its API has"),
        ({"padding": "y" * 100_000}, "larger than 64 KiB"),
    ],
)
def test_answers_that_cannot_be_used(answer: dict[str, Any], told: str) -> None:
    assert told in str(answered(answer, IssuerUnavailable))


def test_an_end_that_no_calendar_has_is_far_away() -> None:
    assert answered({"expires_at": 8641795777718}).life == MAX_LIFE
    assert answered({"expires_at": 2**63 - 1}).life == MAX_LIFE


def answered(answer: dict[str, Any], failing: type[Exception] | None = None) -> Any:
    async def scenario(place: Here) -> Any:
        full = f"alice+{place.name('alice', 1)}"
        usual = {"id": 5, "name": f"robot${full}", "secret": planted.token(), "expires_at": 4000000000}
        body = usual | answer
        body["name"] = str(body["name"]).replace("{name}", full)
        place.answers(1, 201, json.dumps(body).encode())
        return await outcome(place, failing)

    return run(scenario)


def test_what_it_says_is_shown_in_one_line_without_the_password() -> None:
    async def scenario(place: Here) -> None:
        said = f"no:\n{place.robot.secret} \x1b[31m{'x' * 5000}"
        body = json.dumps({"errors": [{"code": "BAD_REQUEST", "message": said}]}).encode()
        place.answers(1, 400, body)
        told = str(await refused(place))
        assert "HTTP 400: " in told
        assert "no: ***" in told
        assert told.isprintable()
        assert len(told) < 600

    run(scenario)


def test_who_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TOTAL_SECONDS", 0.2)

    async def scenario(place: Here) -> None:
        place.server.every = Fault(hangs=True)
        assert "does not answer within 0.2 s" in str(await refused(place, kind=IssuerUnavailable))
        with silent_port() as nobody:
            place.keys["registry"] = nobody
            assert "does not answer within 0.2 s" in str(await _asked(place.again()))
        place.keys["registry"] = "127.0.0.1:1"
        assert "does not answer: connection refused" in str(await _asked(place.again()))
        place.keys["registry"] = f"127.0.0.1.nip.invalid:{place.server.port}"
        assert "does not answer" in str(await _asked(place.again()))

    run(scenario)


async def _asked(issuer: Issuer) -> IssuerUnavailable:
    with pytest.raises(IssuerUnavailable) as found:
        await issuer.issue("alice", 1, leads)
    await issuer.close()
    return found.value


def test_its_certificate_counts() -> None:
    async def scenario(place: Here) -> None:
        trustme.CA().cert_pem.write_to_path(str(place.folder / "other.pem"))
        place.ca = "other.pem"
        told = await _asked(place.again())
        assert str(told) == (
            "Harbor does not answer: its certificate is not trusted, has expired, or is for another host"
        )
        assert place.server.calls == []
        (place.folder / "other.pem").write_text("no PEM")
        told = await _asked(place.again())
        assert "it is not PEM" in str(told)

    run(scenario)


def test_a_project_whose_robots_would_have_too_long_names_is_refused() -> None:
    async def scenario(place: Here) -> None:
        told = await refused(place, "x" * 240)
        assert "so long a name that its robots have no room for one" in str(told)
        assert place.server.calls == []

    run(scenario)


# -- many owners --


class Stored:
    """What Secrets would hold, of replicas of which one works."""

    def __init__(self) -> None:
        self.issued: dict[str, Issued] = {}
        self.credentials: dict[str, Credential] = {}

    def found(self, owner: str) -> tuple[bool, Issued | None]:
        return owner in self.issued, self.issued.get(owner)

    def owners(self) -> Collection[str]:
        return self.issued.keys()

    async def confirm(self, owner: str) -> None:
        pass

    async def write(self, owner: str, issued: Issued, credentials: tuple[Credential, ...] | None) -> None:
        self.issued[owner] = issued
        for c in credentials or ():
            self.credentials[owner] = c

    async def remove(self, owner: str) -> None:
        del self.issued[owner]


def first_mint(number: int, rate: float) -> None:
    async def scenario(place: Here) -> None:
        owners, stored, told = {f"owner-{one}" for one in range(number)}, Stored(), dict[str, Problem | None]()
        client = RegistryClient(place.config(), lambda: datetime.now(UTC))

        async def verify(c: Credential) -> str:
            return "" if (await client.ask(c)).why is Why.NONE else "it is refused"

        bucket = Bucket(rate, BURST)
        issuing = Issuing(
            place.issuer,
            stored,
            owners.__contains__,
            verify,
            leads,
            lambda: datetime.now(UTC),
            told.__setitem__,
            bucket,
        )
        task = asyncio.create_task(issuing.run(owners))
        async with asyncio.timeout(60):
            while len(stored.issued) < number:  # noqa: ASYNC110  # what is waited for is no event
                await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await client.close()
        assert told == {}
        assert {one.generation for one in stored.issued.values()} == {1}
        assert len({c.login for c in stored.credentials.values()}) == number
        assert len(place.server.robots) == number + 1
        made = [at for at, call in place.server.asked_at if call == "POST /api/v2.0/projects"]
        most = max(bisect_right(made, at + 1.0) - index for index, at in enumerate(made))
        assert most <= rate + BURST + WORKERS

    run(scenario)


def test_new_owners_are_served_within_the_rate() -> None:
    first_mint(60, 30.0)


@pytest.mark.slow
def test_a_thousand_new_owners_are_served_within_a_minute() -> None:
    first_mint(1000, 40.0)


# -- the configuration --

HARBOR = {"issue": "harbor", "registry": "r.example.com", "usernameFile": "/i/user", "passwordFile": "/i/password"}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"project": "all"}, "project must have {owner} once"),
        ({"project": "{owner}-{owner}"}, "project must have {owner} once"),
        ({"project": "Team-{owner}"}, "Harbor has no such names"),
        ({"project": "team/{owner}"}, "Harbor has no such names"),
        ({"project": "team--{owner}"}, "Harbor has no such names"),
        ({"project": "{owner}\n"}, "Harbor has no such names"),
        ({"registry": "r.example.com/library"}, "registry"),
        ({"days": 0}, "days"),
        ({"days": 1.5}, "days"),
        ({"days": -1}, "days"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], told: str) -> None:
    config_refused(HARBOR | keys, told)


def test_in_short() -> None:
    (issuer,) = reading.convert({"issuers": [HARBOR | {"createProject": True, "days": 1}]}).issuers
    assert issuer.in_short == "robots that pull from r.example.com/{owner}/, made where there is none; good for 1 day"


def test_two_issuers_for_one_registry_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"r\.example\.com twice"):
        reading.convert({"issuers": [HARBOR, HARBOR | {"name": "other"}]})


# -- the server itself: what a Harbor 2.16 did --


def test_the_server_does_what_was_seen() -> None:
    async def scenario(place: Here) -> None:
        harbor = place.server
        async with place.client((ADMIN, harbor.password)) as admin, place.client(harbor.login(place.robot)) as robot:
            first = await admin.post("/api/v2.0/projects", json={"project_name": "alice"})
            assert first.status_code == 201
            assert "sid" in first.cookies
            # A client that keeps the cookie is a browser, which needs more.
            again = await admin.post("/api/v2.0/projects", json={"project_name": "alice"})
            assert (again.status_code, "CSRF token not found" in again.text) == (403, True)
            admin.cookies.clear()
            for name, status in NAMES:
                made = await admin.post("/api/v2.0/projects", json={"project_name": name})
                admin.cookies.clear()
                assert (name, made.status_code) == (name, status)
            for days, status in ((0, 400), (-2, 400), (99999999, 201)):
                made = await admin.post("/api/v2.0/robots", json=body(f"d{abs(days)}", days) | {"secret": "Chosen1234"})
                admin.cookies.clear()
                assert made.status_code == status
            assert made.json()["expires_at"] > 8641000000000
            assert made.json()["secret"] != "Chosen1234"
            path = f"/api/v2.0/robots/{made.json()['id']}"
            for answer in (await robot.patch(path, json={"secret": ""}), await robot.put(path, json=body("d", 1))):
                robot.cookies.clear()
                assert answer.status_code == 403
            push = body("push", 1, "push")
            answer = await robot.post("/api/v2.0/robots", json=push)
            robot.cookies.clear()
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (403, "DENIED")
            assert (await robot.delete("/api/v2.0/projects/alice")).status_code == 403
            robot.cookies.clear()
            for wanted, number in (("name=alice+d99999999", 0), ("name=alice%2Bd99999999", 1), ("name=~d9999", 1)):
                query = {"q": f"Level=project,ProjectID={harbor.projects['alice']},{wanted}"}
                assert len((await robot.get("/api/v2.0/robots", params=query)).json()) == number
            robot.cookies.clear()
            # It may delete what others made.
            assert (await robot.delete(path)).status_code == 200
            harbor.images.add("alice/app")
            assert (await admin.delete("/api/v2.0/projects/alice")).status_code == 412
            admin.cookies.clear()
            harbor.images.clear()
            kept: Robot = harbor.robot("kept", PULL, project="alice")
            assert (await admin.delete("/api/v2.0/projects/alice")).status_code == 200
            admin.cookies.clear()
            assert kept.id not in harbor.robots
            assert (await admin.get("/api/v2.0/robots", params={"page_size": "500"})).status_code == 422
        assert harbor.wrong == ["get /robots: : 500 is greater than the maximum of 100"]
        harbor.wrong.clear()

    run(scenario)


def test_the_server_answers_a_wrong_login_with_a_scope_as_nobody() -> None:
    async def scenario(place: Here) -> None:
        async with place.client((ADMIN, "wrong")) as client:
            assert (await client.get("/service/token")).status_code == 401
            scoped = await client.get("/service/token", params={"scope": "repository:alice/app:pull"})
            assert (scoped.status_code, allowed(scoped.json()["token"])) == (200, [])

    run(scenario)


def test_the_server_notices_what_harbors_description_does_not_have() -> None:
    async def scenario(place: Here) -> None:
        async with place.client((ADMIN, place.server.password)) as admin:
            await admin.post("/api/v2.0/projects", json={"project_name": "alice", "colour": "blue"})
            admin.cookies.clear()
            await admin.get("/api/v2.0/robots", params={"limit": "3"})
        assert [one.partition(":")[0] for one in place.server.wrong] == ["post /projects", "get /robots"]
        place.server.wrong.clear()

    run(scenario)


NAMES = (
    ("Alice", 400),
    ("alice@example.com", 400),
    ("a__b", 400),
    ("a--b", 400),
    ("-a", 400),
    ("a.b_c-d", 201),
    ("library", 409),
)


def body(name: str, days: int, action: str = "pull") -> dict[str, Any]:
    access = [{"resource": "repository", "action": action}]
    permissions = [{"kind": "project", "namespace": "alice", "access": access}]
    return {"name": name, "level": "project", "duration": days, "disable": False, "permissions": permissions}


def test_one_identity_for_all_is_written_out() -> None:
    async def scenario(place: Here) -> None:
        minted = {owner: await place.issuer.issue(owner, 1, leads) for owner in ("alice", "Not a Name")}
        names = {c.username for one in minted.values() for c in one.credentials}
        assert len(names) == 2
        assert {c.registry for one in minted.values() for c in one.credentials} == {f"{place.server.host}/base/"}

    run(scenario, project="base", shared=True)
    with pytest.raises(ConfigError, match="shared: true"):
        run(scenario, project="base")


def without(resource: str, action: str) -> list[dict[str, Any]]:
    gone = {"resource": resource, "action": action}
    return [{**one, "access": [access for access in one["access"] if access != gone]} for one in ISSUER_RIGHTS]


def test_a_check_asks_as_for_an_owner_who_is_there() -> None:
    async def scenario(place: Here) -> None:
        told = await check_fails(place)  # alice has no project yet
        assert not told.everybody
        assert "Harbor shows no project alice" in str(told)
        await place.issuer.issue("alice", 1, leads)
        before = len(place.server.asked_at)
        await checked(place)
        asked = [what for _, what in place.server.asked_at[before:]]
        assert asked == ["GET /api/v2.0/projects/alice", "GET /api/v2.0/robots"]
        place.robot.permissions = without("robot", "list")
        told = await check_fails(place)
        assert (told.everybody, told.right) == (False, True)
        assert "Harbor lists no robots of project alice (HTTP 403" in str(told)
        assert "docs/harbor.md" in str(told)
        place.robot.permissions = without("project", "read")
        told = await check_fails(place)
        assert (told.everybody, told.right) == (False, False)  # as of a project that is not there

    run(scenario)


def test_a_check_for_nobody_says_whether_the_login_is_right() -> None:
    async def scenario(place: Here) -> None:
        await checked(place, None)
        assert place.server.calls == ["GET /api/v2.0/robots?page_size=1"]
        place.log_in(ADMIN, place.server.password)  # who may list those of the system, too
        await checked(place, None)

    run(scenario)


def test_what_stands_before_harbor_is_not_taken_for_it() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        for owner in ("alice", None):
            place.server.every = Fault(403, {"Content-Type": "text/html"}, b"<h1>403 Forbidden</h1>")
            assert isinstance(await check_fails(place, owner), IssuerUnavailable)

    run(scenario)
