"""The issuer for Gitea, against a real one."""

import asyncio
import base64
import json
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from controlplane.gitea import ADMIN, Gitea
from controlplane.image import Image
from support import giteagate, planted
from support.giteagate import Gate
from support.issuercontract import NamedContract
from support.issuerplace import (
    CLUSTER,
    NAMES,
    NamedPlace,
    check_fails,
    checked,
    config_refused,
    leads,
    opened,
    placed,
    refused,
    running,
)
from webhook.checks.registryclient import RegistryClient
from webhook.config import reading
from webhook.config.issuers.gitea import is_gitea_user
from webhook.core.check import Why
from webhook.core.credential import Credential
from webhook.core.issued import MAX_EARLIER, Issued
from webhook.core.registry import matching
from webhook.issuers import Issuer, IssueRefused, IssuerUnavailable, Minted
from webhook.issuers.gitea import api as giteaapi
from webhook.issuers.gitea.api import PAGE
from webhook.issuers.gitea.issuer import MARK
from webhook.issuers.issuing import Issuing
from webhook.issuers.minting import Bucket
from webhook.issuers.names import minted_name
from webhook.issuers.notices import Problem

pytestmark = pytest.mark.cluster
READ = ["read:package"]
IMAGE = Image(b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]},"config":{}}', b"a layer")


@pytest.fixture(scope="module", autouse=True)
def _gitea(gitea: Gitea, tmp_path_factory: pytest.TempPathFactory) -> None:
    """One for all, with a user for each name that it takes for one, and an image of each user."""
    Here.gitea, Here.folder = gitea, tmp_path_factory.mktemp("login")
    for name in (*NAMES, "bob"):
        if gitea.user(name) == 201:
            gitea.push(name, f"{name.lower()}/app", IMAGE)


class Here(NamedPlace[Gate]):
    """The Gitea, and an issuer that asks it as an administrator, through a gate."""

    gitea: Gitea
    life = timedelta(hours=168)

    def __init__(self, gate: Gate, **keys: Any) -> None:
        self.server, self.keys, self.secrets = gate, keys, (self.gitea.password,)
        self.user, self.password = self.folder / "user", self.folder / "password"
        self.log_in(ADMIN, self.gitea.password)
        self.issuer = self.again()

    def log_in(self, username: str, password: str) -> None:
        self.user.write_text(username)
        self.password.write_text(password + "\n")

    @property
    def usual(self) -> dict[str, Any]:
        files = {"usernameFile": str(self.user), "passwordFile": str(self.password)}
        return {"issue": "gitea", "registry": self.server.host, **files}

    @property
    def registries(self) -> list[dict[str, Any]]:
        return [{"host": self.server.host, "caFile": str(self.gitea.ca)}]

    def named(self, owner: str) -> str:
        return str(self.keys.get("user", "{owner}")).replace("{owner}", owner)

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        name = f"{self.named(owner)}/app"
        status = self.gitea.pulls(c.login, name)
        assert status in (200, 401)
        assert status != 200 or matching([c.registry], f"{self.server.host}/{name}") == (c.registry,)
        return status == 200

    def minted(self, owner: str) -> int:
        return len([one for one in self.tokens(owner) if one["name"].startswith(MARK)])

    def tokens(self, owner: str) -> list[dict[str, Any]]:
        """The oldest first."""
        with self.gitea.client() as client:
            listed = client.get(f"/api/v1/users/{self.named(owner)}/tokens")
        assert listed.status_code == 200, listed.text
        return sorted(listed.json(), key=lambda one: int(one["id"]))

    def makes(self, owner: str, name: str, *scopes: str) -> dict[str, Any]:
        """What somebody else does."""
        with self.gitea.client() as client:
            body = {"name": name, "scopes": scopes}
            made = client.post(f"/api/v1/users/{self.named(owner)}/tokens", json=body)
        assert made.status_code == 201, made.text
        found: dict[str, Any] = made.json()
        return found

    def made(self) -> Any:
        return [one["id"] for one in self.tokens("alice")]

    def logs_in_wrongly(self) -> None:
        self.log_in(ADMIN, planted.token())

    def takes_the_name(self, owner: str, generation: int) -> None:
        self.makes(owner, name(owner, generation), "write:package")

    async def close(self) -> None:
        await super().close()
        with self.gitea.database() as database:
            database.execute("delete from access_token")


def name(owner: str, generation: int, cluster: str = CLUSTER) -> str:
    return MARK + minted_name(cluster, "gitea", owner, generation)


class Small(Here):
    """Its disk may be full."""

    async def close(self) -> None:
        await self.issuer.close()


@asynccontextmanager
async def here(kind: type[Here] = Here, **keys: Any) -> AsyncIterator[Here]:
    gitea = kind.gitea
    trusted = ssl.create_default_context(cafile=gitea.ca)
    async with (
        giteagate.gate(f"https://{gitea.address}", trusted, gitea.tls) as gate,
        placed(kind(gate, **keys)) as place,
    ):
        yield place


class TestContract(NamedContract):
    unique = False
    shared: ClassVar = {"user": "alice"}

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here()

    async def _another(self, place: NamedPlace[Any], other: Issuer, first: Minted) -> None:
        """Of which issuer of a cluster a token is, its handle does not say."""
        assert await opened(place, await other.issue("alice", 1, leads))


run = running(here)


def test_a_token_may_read_packages_and_says_whose_it_is() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 7, leads)
        (token,) = place.tokens("alice")
        assert (token["name"], token["scopes"]) == (name("alice", 7), READ)
        (c,) = minted.credentials
        assert (c.registry, c.username) == (f"{place.server.host}/alice/", "alice")
        assert c.password.endswith(token["token_last_eight"])
        assert minted.handle == f"alice/{token['id']}/{token['name']}"
        assert minted.life == timedelta(hours=2.5)
        with place.gitea.client(c.login) as client:
            assert client.get("/api/v1/user").status_code == 403
            assert client.get("/api/v1/user/repos").status_code == 403
            assert client.post("/api/v1/users/alice/tokens", json={"name": "x", "scopes": ["all"]}).status_code == 403
            assert client.post("/v2/alice/app/blobs/uploads/").status_code == 401

    run(scenario, hours=2.5)


def test_the_registry_takes_it_for_a_login_until_it_is_ended() -> None:
    """By the check that is made of each new one. Of what it gave meanwhile Gitea takes no notice."""

    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        (c,) = minted.credentials
        client = RegistryClient(place.config(), lambda: datetime.now(UTC))
        assert (await client.ask(c)).why is Why.NONE
        bearer = place.gitea.bearer(c.login).json()["token"]
        await place.issuer.end(minted.handle)
        assert (await client.ask(c)).why is Why.UNAUTHORIZED
        assert place.gitea.bearer(c.login).status_code == 401
        with place.gitea.client(bearer=bearer) as node:
            assert node.get("/v2/alice/app/manifests/1").status_code == 200
        claims = json.loads(base64.urlsafe_b64decode(bearer.split(".")[1] + "=="))
        assert claims["exp"] - claims["nbf"] == timedelta(hours=24).total_seconds()
        await client.close()

    run(scenario)


def test_the_usual_renewal_is_one_request() -> None:
    async def scenario(place: Here) -> None:
        for generation in (1, 2):
            await place.issuer.issue("alice", generation, leads)
            assert place.asked() == generation
        assert {*place.server.calls} == {"POST /api/v1/users/alice/tokens"}

    run(scenario)


def test_which_names_may_be_those_of_users() -> None:
    """What we take for one, Gitea takes for one, but for its own words."""
    assert {one for one in NAMES if is_gitea_user(one) and one not in Here.gitea.users} == {"v2"}


@settings(max_examples=80, deadline=None)
@given(st.text(st.sampled_from("aZ7._-/ \u00e9\n"), min_size=1, max_size=6))
def test_its_grammar_of_names_is_ours_but_for_capitals(text: str) -> None:
    assume(text.lower() not in map(str.lower, Here.gitea.users))
    assert (Here.gitea.user(text) == 201) == is_gitea_user(text.lower())


def test_capitals_are_refused_because_gitea_does_not_see_them() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        asked = place.asked()
        assert "Gitea takes capitals for the same" in str(await refused(place, "Alice"))
        assert place.asked() == asked
        with place.gitea.client() as client:
            assert client.get("/api/v1/users/ALICE/tokens").json() == place.tokens("alice")

    run(scenario)


def test_a_user_that_is_not_there() -> None:
    async def scenario(place: Here) -> None:
        told = await refused(place, "carol")
        assert str(told).startswith("Gitea has no user pull-carol (HTTP 404: user redirect does not exist")
        assert str(told).endswith("; make one, or leave the owner out of the issuer's owners")
        assert not told.everybody
        await place.issuer.end(f"pull-carol/1/{name('carol', 1)}")  # as after its user was deleted

    run(scenario, user="pull-{owner}")


def test_images_of_an_organisation_are_pulled_by_a_user_that_may() -> None:
    async def scenario(place: Here) -> None:
        place.gitea.user("pull-acme")
        with place.gitea.client() as client:
            client.post("/api/v1/orgs", json={"username": "acme", "visibility": "private"}).raise_for_status()
        place.gitea.push(ADMIN, "acme/app", IMAGE)
        own, c = (await place.issuer.issue("acme", 1, leads)).credentials
        assert own.registry == f"{place.server.host}/pull-acme/"
        assert (c.registry, c.login) == (f"{place.server.host}/acme/", own.login)
        assert place.gitea.pulls(c.login, "acme/app") == 401
        with place.gitea.client() as client:
            team = {"name": "pull", "permission": "read", "units": ["repo.packages"], "units_map": PACKAGES}
            made = client.post("/api/v1/orgs/acme/teams", json=team)
            client.put(f"/api/v1/teams/{made.json()['id']}/members/pull-acme").raise_for_status()
        assert place.gitea.pulls(c.login, "acme/app") == 200

    run(scenario, user="pull-{owner}", repositories=["pull-{owner}", "{owner}"])


PACKAGES = {"repo.packages": "read"}


def test_an_organisation_does_instead_of_a_user() -> None:
    async def scenario(place: Here) -> None:
        with place.gitea.client() as client:
            for one in ("team-a", "team-b"):
                client.post("/api/v1/orgs", json={"username": one, "visibility": "private"}).raise_for_status()
                place.gitea.push(ADMIN, f"{one}/app", IMAGE)
        minted = await place.issuer.issue("a", 1, leads)
        for _ in range(2):
            assert [await opened(place, minted, owner) for owner in ("a", "b")] == [True, False]
            minted = await place.issuer.issue("a", 1, leads)
        await place.issuer.end(minted.handle)
        assert not await opened(place, minted, "a")

    run(scenario, user="team-{owner}")


def test_two_of_one_name_are_both_taken_away() -> None:
    async def scenario(place: Here) -> None:
        before = [await place.issuer.issue("alice", generation, leads) for generation in (1, 2)]
        with place.gitea.database() as database:
            database.execute("update access_token set name = ? where name = ?", (name("alice", 1), name("alice", 2)))
        minted = await place.issuer.issue("alice", 1, leads)
        assert [await opened(place, one) for one in (*before, minted)] == [False, False, True]
        assert place.minted("alice") == 1

    run(scenario)


def test_among_many_tokens_of_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario(place: Here) -> None:
        first = await place.issuer.issue("alice", 1, leads)
        many(place, PAGE * 2 + 1)
        minted = await place.issuer.issue("alice", 1, leads)
        assert [await opened(place, one) for one in (first, minted)] == [False, True]
        assert len([call for call in place.server.calls if call.startswith("GET")]) == 4
        monkeypatch.setattr(giteaapi, "MAX_PAGES", 2)
        told = "user alice has so many tokens that we do not find ours"
        with pytest.raises(IssueRefused, match=told):
            await place.issuer.issue("alice", 1, leads)
        with pytest.raises(IssueRefused, match=told):
            await place.issuer.end(minted.handle)
        assert await opened(place, minted)

    run(scenario)


def many(place: Here, number: int) -> None:
    """Tokens that alice made later."""
    with place.gitea.database() as database:
        (uid,) = database.execute("select id from user where lower_name = 'alice'").fetchone()
        row = (
            "insert into access_token (uid, name, token_hash, scope, created_unix) values (?, ?, ?, 'all', 4000000000)"
        )
        database.executemany(row, [(uid, f"mine-{one}", f"{number}-{one}") for one in range(number)])


def test_a_wrong_login_is_told_and_not_hammered() -> None:
    async def scenario(place: Here) -> None:
        place.log_in(ADMIN, planted.token())
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told).startswith("Gitea refuses the login of usernameFile and passwordFile (HTTP 401: ")
        assert told.retry_after == 30
        place.log_in(ADMIN, place.gitea.password)  # and the files are read again
        assert await opened(place, await place.issuer.issue("alice", 1, leads))
        place.password.unlink()
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told).endswith("password: No such file or directory")

    run(scenario)


def test_who_is_no_administrator() -> None:
    """And is one no longer: then Gitea denies that there are private users, and nothing passes for ended."""

    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        place.gitea.user("public", visibility="public")
        place.log_in("bob", place.gitea.users["bob"])
        for owner in ("alice", "public"):
            told = await refused(place, owner)
            assert told.everybody
            assert f"HTTP {404 if owner == 'alice' else 403}: " in str(told)
            assert str(told).endswith("; the user of usernameFile must be an administrator of Gitea")
        with pytest.raises(IssueRefused, match="must be an administrator of Gitea"):
            await place.issuer.end(minted.handle)
        assert await opened(place, minted)

    run(scenario)


@pytest.mark.parametrize("written", [ADMIN, ADMIN.upper()])
def test_nobody_pulls_as_the_user_that_issues(written: str) -> None:
    """Whose token would pull all that is private. Gitea takes its name in capitals, too."""

    async def scenario(place: Here) -> None:
        place.log_in(written, place.gitea.password)
        told = await refused(place, ADMIN)
        assert not told.everybody
        assert f"the owner {ADMIN} would pull as {ADMIN}, the user that issues" in str(told)
        assert place.asked() == 0
        assert await opened(place, await place.issuer.issue("alice", 1, leads))

    run(scenario)


def test_a_second_factor_and_a_token_instead_of_the_password() -> None:
    async def scenario(place: Here) -> None:
        with place.gitea.client() as client:
            body = {"name": "issuer", "scopes": ["write:user"]}
            made = client.post(f"/api/v1/users/{ADMIN}/tokens", json=body)
        with place.gitea.database() as database:
            key = "insert into webauthn_credential (name, lower_name, user_id) select 'key', 'key', id from user"
            database.execute(f"{key} where lower_name = ?", (ADMIN,))
        try:
            told = await refused(place, kind=IssuerUnavailable)
            assert "(HTTP 401: basic authorization is not allowed while WebAuthn enrolled)" in str(told)
            place.log_in(ADMIN, made.json()["sha1"])
            for _ in range(2):
                minted = await place.issuer.issue("alice", 1, leads)
            assert await opened(place, minted)
            await place.issuer.end(minted.handle)
            assert not await opened(place, minted)
            await place.issuer.end(f"nobody/1/{name('nobody', 1)}")
        finally:
            with place.gitea.database() as database:
                database.execute("delete from webauthn_credential")

    run(scenario)


def test_what_others_made_is_not_ended() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        _, number, called = minted.handle.split("/")
        theirs = place.makes("alice", "mine", "all")
        # A Gitea that was restored from a backup uses numbers again.
        for handle in (f"alice/{theirs['id']}/{called}", f"alice/{number}/mine", f"bob/{number}/{called}"):
            await place.issuer.end(handle)
        assert [one["name"] for one in place.tokens("alice")] == [called, "mine"]

    run(scenario)


def test_a_handle_that_somebody_else_wrote_ends_none_of_others() -> None:
    """Whoever may write Secrets in the release namespace."""

    async def scenario(place: Here) -> None:
        theirs = [place.makes("bob", "mine", *READ), place.makes("bob", name("bob", 1), "all")]
        for one in theirs:
            await place.issuer.end(f"bob/{one['id']}/{one['name']}")
        assert [one["id"] for one in place.tokens("bob")] == [one["id"] for one in theirs]

    run(scenario)


def test_what_the_secret_has_forgotten_is_ended_too() -> None:
    async def scenario(place: Here) -> None:
        last = MAX_EARLIER + 5
        old = [name("alice", one) for one in (1, 2, 3, 4, last - 1)]
        kept = [name("alice", 1, "deadbeef"), name("bob", 1), f"{MARK}mine"]
        for one in (*old, *kept):
            place.makes("alice", one, *READ)
        place.makes("alice", name("alice", 2) + "0", "all")
        minted = await place.issuer.issue("alice", last, leads)
        await place.issuer.end(minted.handle)
        # The Secret remembers as many as are between, and perhaps the one that was ended.
        left = [one["name"] for one in place.tokens("alice")]
        assert left == [*old[3:], *kept, name("alice", 2) + "0"]

    run(scenario)


def test_who_is_called_otherwise_now() -> None:
    async def scenario(place: Here) -> None:
        place.gitea.user("dave")
        minted = await place.issuer.issue("dave", 1, leads)
        with place.gitea.client() as client:
            client.post("/api/v1/admin/users/dave/rename", json={"new_username": "david"}).raise_for_status()
        for asked in (place.issuer.end(minted.handle), place.issuer.issue("dave", 2, leads)):
            with pytest.raises(IssuerUnavailable, match=r"\(HTTP 307\), and redirects are not followed"):
                await asked

    run(scenario)


@pytest.mark.parametrize("status", [404, 403])
def test_what_stands_before_gitea_does_not_say_that_a_token_is_gone(status: int) -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        page = b"<html><head><title>not here</title></head></html>"
        for at in (1, 2, 3):
            place.answers(at, status, page, {"Content-Type": "text/html"})
            with pytest.raises((IssuerUnavailable, IssueRefused)) as told:
                await place.issuer.end(minted.handle)
            assert "no user" not in str(told.value)
            place.server.faults.clear()
            assert await opened(place, minted)
        place.answers(1, status, page, {"Content-Type": "text/html"})
        with pytest.raises((IssuerUnavailable, IssueRefused)) as told:
            await place.issuer.issue("alice", 2, leads)
        assert "no user" not in str(told.value)

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"name": "another"}, "another token than we wanted"),
        ({"sha1": ""}, "none that can be used"),
        ({"sha1": None}, "not what its API has"),
        ({"id": 0}, "not what its API has"),
        ({"id": "1"}, "not what its API has"),
        ({"padding": "y" * 100_000}, "larger than 64 KiB"),
    ],
)
def test_answers_that_cannot_be_used(answer: dict[str, Any], told: str) -> None:
    async def scenario(place: Here) -> None:
        usual = {"id": 5, "name": name("alice", 1), "sha1": planted.token(), "scopes": READ}
        place.answers(1, 201, json.dumps(usual | answer).encode())
        assert told in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


def test_a_token_with_other_rights_is_taken_away_at_once() -> None:
    """As Gitea gave it before tokens had scopes."""

    async def scenario(place: Here) -> None:
        made = place.makes("alice", name("alice", 1), "all")
        answer = {key: made[key] for key in ("id", "name", "sha1")}
        place.answers(1, 201, json.dumps(answer).encode())
        told = await refused(place)
        assert told.everybody
        assert "is it 1.19 or newer?" in str(told)
        assert place.tokens("alice") == []

    run(scenario)


def test_a_handle_that_was_copied_to_another_cluster_ends_nothing() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        other = place.again(lambda: "deadbeef")
        await other.end(minted.handle)
        await other.close()
        assert await opened(place, minted)
        await place.issuer.end(minted.handle)
        assert not await opened(place, minted)

    run(scenario)


def test_a_400_for_another_reason_is_told() -> None:
    async def scenario(place: Here) -> None:
        for at in (1, 3):
            place.answers(at, 400, b'{"message":"invalid access token scope provided"}')
        told = await refused(place, kind=IssuerUnavailable)
        assert "makes no token of user alice now (HTTP 400: invalid access token scope provided)" in str(told)

    run(scenario)


def test_what_it_says_is_shown_in_one_line_without_the_password() -> None:
    async def scenario(place: Here) -> None:
        said = f"no:\n{place.gitea.password} \x1b[31m{'x' * 5000}"
        place.answers(1, 422, json.dumps({"message": said}).encode())
        told = str(await refused(place))
        assert "HTTP 422: no: ***" in told
        assert told.isprintable()
        assert len(told) < 600

    run(scenario)


def test_one_user_for_all_owners() -> None:
    async def scenario(place: Here) -> None:
        found = [await place.issuer.issue(owner, 1, leads) for owner in ("bob", "Carol O'Neill")]
        assert len({one.handle for one in found}) == 2
        for one in found:
            (c,) = one.credentials
            assert c.registry == f"{place.server.host}/alice/"
            assert place.gitea.pulls(c.login, "alice/app") == 200

    run(scenario, user="alice", shared=True)


# -- the loop --


@dataclass
class Secrets:
    """What they would hold, of one owner."""

    issued: Issued | None = None
    credentials: tuple[Credential, ...] = ()

    def found(self, owner: str) -> tuple[bool, Issued | None]:
        return self.issued is not None, self.issued

    def owners(self) -> Collection[str]:
        return {"alice"} if self.issued else set()

    async def confirm(self, owner: str) -> None: ...

    async def write(self, owner: str, issued: Issued, credentials: tuple[Credential, ...] | None) -> None:
        self.issued, self.credentials = issued, self.credentials if credentials is None else credentials

    async def remove(self, owner: str) -> None:
        self.issued, self.credentials = None, ()


def test_tokens_end_at_gitea_when_they_have_ended_here_and_not_before() -> None:
    async def scenario(place: Here) -> None:
        began, secrets, wanted, told = datetime.now(UTC), Secrets(), {"alice"}, list[Any]()
        clock = [began]

        async def works(c: Credential) -> str:
            return "" if await place.opens(c) else "it is refused"

        def tell(owner: str, problem: Problem | None) -> None:
            told.append(problem)

        bucket = Bucket(1000.0, 1000)
        issuing = Issuing(place.issuer, secrets, wanted.__contains__, works, leads, lambda: clock[0], tell, bucket)

        async def at(life: float, minutes: float, *generations: int) -> None:
            """Then these tokens are there, and that in the Secret is one that opens."""
            clock[0] = began + place.life * life + timedelta(minutes=minutes)
            issuing.look("alice")
            names = [name("alice", one) for one in generations]
            async with asyncio.timeout(10):
                while [one["name"] for one in place.tokens("alice")] != names:  # noqa: ASYNC110  # Gitea tells nobody
                    await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)  # and it stays so
            assert [one["name"] for one in place.tokens("alice")] == names
            assert [await place.opens(c) for c in secrets.credentials] == [True for _ in generations[-1:]]

        task = asyncio.create_task(issuing.run(wanted))
        await at(0, 0, 1)
        await at(0.49, 0, 1)
        await at(0.65, 0, 1, 2)
        await at(1, 1, 1, 2)  # clocks differ
        await at(1, 3, 2)
        wanted.clear()
        await at(1.65, 1, 2)
        await at(1.65, 3)
        assert not secrets.issued
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert told == []

    run(scenario)


# -- the configuration --

GITEA = {"issue": "gitea", "registry": "r.example.com", "usernameFile": "/i/user", "passwordFile": "/i/password"}


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"user": "all"}, "user must have {owner} once"),
        ({"user": "{owner}-{owner}"}, "user must have {owner} once"),
        ({"user": "Team-{owner}"}, "Gitea has no such names"),
        ({"user": "team/{owner}"}, "Gitea has no such names"),
        ({"user": "team--{owner}"}, "Gitea has no such names"),
        ({"user": "{owner}\n"}, "Gitea has no such names"),
        ({"repositories": ["acme/"]}, "no repository's name begins so"),
        ({"repositories": ["{owner}", "Acme"]}, "no repository's name begins so"),
        ({"repositories": [""]}, "no repository's name begins so"),
        ({"repositories": ["{owner}-{owner}"]}, "has {owner} more than once"),
        ({"repositories": ["a", "a"]}, "repositories has one twice"),
        ({"registry": "r.example.com/git"}, "registry"),
        ({"hours": 0}, "hours"),
        ({"hours": 9000}, "hours"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], told: str) -> None:
    config_refused(GITEA | keys, told)


def test_in_short() -> None:
    (issuer,) = reading.convert(
        {"issuers": [GITEA | {"user": "pull-{owner}", "repositories": ["{owner}", "a"]}]}
    ).issuers
    told = "tokens of pull-{owner} that pull from r.example.com/{owner}/, r.example.com/a/, taken away after 168 h"
    assert issuer.in_short == told


def test_while_its_disk_is_full_what_stands_stays(tmp_path: Path) -> None:
    """Its database has some room left for a few more."""

    async def scenario(place: Here) -> None:
        minted = list[Minted]()

        async def mint() -> None:
            minted.append(await place.issuer.issue("alice", len(minted) + 1, leads))

        async def mint_on() -> None:
            for _ in range(1000):
                await mint()

        await mint()
        with place.gitea.full_disk():
            with pytest.raises(IssuerUnavailable, match="HTTP 500: database or disk is full"):
                await mint_on()
            assert await opened(place, minted[-1])
        await mint()
        assert [await opened(place, one) for one in minted] == [True] * len(minted)

    with Gitea.start(tmp_path, disk_bytes=64 << 20) as Small.gitea:
        Small.gitea.user("alice")
        Small.gitea.push("alice", "alice/app", IMAGE)
        run(scenario, Small)


def test_a_check_asks_whether_we_are_an_administrator() -> None:
    async def scenario(place: Here) -> None:
        await checked(place)
        assert place.server.calls == ["GET /api/v1/user"]
        place.log_in("bob", place.gitea.users["bob"])
        told = await check_fails(place)
        assert told.everybody
        assert str(told).endswith("; the user of usernameFile must be an administrator of Gitea")

    run(scenario)
