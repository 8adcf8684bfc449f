"""The issuer for GitLab's registry, against a stand-in that does what GitLab's own source does with deploy tokens."""

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from support.gitlabserver import RIGHTS, Gitlab
from support.issuercontract import NamedContract
from support.issuerplace import (
    CLUSTER,
    NAMES,
    NamedPlace,
    check_fails,
    checked,
    config_refused,
    leads,
    outcome,
    placed,
    refused,
    running,
    the_one,
)
from support.vendorserver import certified, serving
from webhook.config import reading
from webhook.config.issuers.gitlab import GitlabIssuer
from webhook.core.credential import Credential
from webhook.core.registry import matching
from webhook.issuers import IssueRefused, IssuerUnavailable
from webhook.issuers.gitlab import issuer as gitlab
from webhook.issuers.gitlab.issuer import MAX_PAGES, PAGE
from webhook.issuers.keptlogin import AGAIN_SECONDS
from webhook.issuers.names import minted_name

REGISTRY = "registry.example.com"
GITLAB = {
    "issue": "gitlab",
    "registry": REGISTRY,
    "endpoint": "https://gitlab.example.com",
    "group": "tenants/{owner}",
    "tokenFile": "/i/token",
}
NEVER = datetime(9000, 1, 1, tzinfo=UTC)


class Here(NamedPlace[Gitlab]):
    """GitLab, with a group for each owner, and an issuer that asks it with the rights of docs/gitlab.md."""

    tls: ssl.SSLContext

    def __init__(self, server: Gitlab, **keys: Any) -> None:
        self.server, self.file = server, self.folder / "token"
        self.log_in(planted.token())
        self.keys = keys
        for owner in filter(str.islower, (*NAMES, "v7")):
            server.group(self.path(owner))
        server.group(self.path("7"))
        self.issuer = self.again()

    @property
    def life(self) -> timedelta:  # type: ignore[override]
        """To the midnight at which it ends, from a while ago."""
        now = self.server.now() - timedelta(seconds=10)
        return (now + timedelta(days=31)).replace(hour=0, minute=0, second=0, microsecond=0) - now

    def log_in(self, token: str, *, known: bool = True) -> None:
        self.file.write_text(f"{token}\n")
        if known:
            self.server.access = {token: {*RIGHTS}}

    def path(self, owner: str) -> str:
        return str(self.keys.get("group", GITLAB["group"])).replace("{owner}", owner)

    @property
    def usual(self) -> dict[str, Any]:
        where = {"endpoint": self.server.url, "caFile": str(self.folder / "ca.pem")}
        return GITLAB | where | {"tokenFile": str(self.file)}

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        repository = f"{self.path(owner)}/project/app"
        if not self.server.opens(*c.login, repository):
            return False
        assert matching([c.registry], f"{REGISTRY}/{repository}") == (c.registry,)
        return True

    def minted(self, owner: str) -> int:
        return len(self.server.of(self.path(owner)))

    def made(self) -> Any:
        return [one.id for one in self.server.tokens]

    def logs_in_wrongly(self) -> None:
        self.log_in(planted.token(), known=False)

    def takes_the_name(self, owner: str, generation: int) -> None:
        self.server.token(self.path(owner), "pipeline", minted_name(CLUSTER, "gitlab", owner, generation), NEVER)


@pytest.fixture(scope="module", autouse=True)
def _folder(tmp_path_factory: pytest.TempPathFactory) -> None:
    Here.folder = tmp_path_factory.mktemp("gitlab")
    Here.tls = certified(Here.folder)


@asynccontextmanager
async def here(**keys: Any) -> AsyncIterator[Here]:
    async with serving(Gitlab(), Here.tls) as server, placed(Here(server, **keys)) as place:
        yield place


class TestContract(NamedContract):
    unique = False
    shared: ClassVar = {"group": "tenants/alice"}

    def at(self) -> AbstractAsyncContextManager[Here]:
        return here()


run = running(here)


def test_a_token_reads_the_registry_of_one_group_and_says_whose_it_is() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 7, leads)
        (token,) = place.server.of("tenants/alice")
        username = minted_name(CLUSTER, "gitlab", "alice", 7)
        (body,) = place.server.bodies
        assert body == {
            "name": f"pullsecret-webhook: cluster {CLUSTER}, issuer gitlab, owner alice, generation 7",
            "username": username,
            "scopes": ["read_registry"],
            "expires_at": body["expires_at"],
        }
        assert body["expires_at"].endswith("T00:00:00Z")
        assert the_one(minted) == Credential(f"{REGISTRY}/tenants/alice/", username, token.token)
        assert minted.handle == f"{token.id}/{username}/tenants/alice"
        assert timedelta(days=3) <= minted.life < timedelta(days=4)

    run(scenario, days=3)


@given(
    st.datetimes(datetime(2001, 1, 1), datetime(2099, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(1, 3650),
)
def test_it_ends_at_the_first_midnight_that_is_far_enough(now: datetime, days: int) -> None:
    model = msgspec.convert(GITLAB | {"days": days}, GitlabIssuer)
    ends = datetime.fromisoformat(gitlab.GitlabIssuer(model, lambda: CLUSTER)._end(now))
    assert timedelta(days=days) <= ends - now < timedelta(days=days + 1)
    assert (ends.hour, ends.minute, ends.second, ends.microsecond) == (0, 0, 0, 0)


def test_the_usual_renewal_is_two_requests() -> None:
    async def scenario(place: Here) -> None:
        for generation in (1, 2):
            await place.issuer.issue("alice", generation, leads)
        assert place.asked() == 4
        assert place.minted("alice") == 2

    run(scenario)


def test_all_that_a_crash_left_goes_however_many_tokens_there_are() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        (first,) = place.server.of("tenants/alice")
        others = [place.server.token("tenants/alice", "x", f"x{one}", NEVER) for one in range(PAGE * 2)]
        place.server.token("tenants/alice", first.name, first.username, NEVER)
        minted = await place.issuer.issue("alice", 1, leads)
        assert [one for one in place.server.of("tenants/alice") if one not in others] == [place.server.tokens[-1]]
        assert await place.opens(the_one(minted))
        assert place.minted("alice") == len(others) + 1

    run(scenario)


def test_more_tokens_than_anybody_needs_are_told() -> None:
    async def scenario(place: Here) -> None:
        for one in range(PAGE * MAX_PAGES):
            place.server.token("tenants/alice", "x", f"x{one}", NEVER)
        assert "has more than 2000 deploy tokens; revoke some" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


@pytest.mark.parametrize("owner", ["Alice", "a/b", "-a", "..", "alice?x=1", "al%2Fice"])
def test_owners_that_do_not_fit(owner: str) -> None:
    async def scenario(place: Here) -> None:
        found = await refused(place, owner)
        assert "cannot be part of a repository's name" in str(found)
        assert not found.everybody
        assert place.server.calls == []

    run(scenario)


def test_a_number_is_no_group() -> None:
    """GitLab would take it for the number of another one."""

    async def scenario(place: Here) -> None:
        number = str(place.server.groups["alice"])
        assert f"GitLab takes {number} for the number of another group" in str(await refused(place, number))
        assert place.server.calls == []
        assert await place.opens(the_one(await place.issuer.issue("v7", 1, leads)), "v7")
        await place.issuer.end(f"1/{minted_name(CLUSTER, 'gitlab', 'alice', 1)}/{number}")
        assert place.asked() == 2

    run(scenario, group="{owner}")


def test_a_missing_group_is_told_and_others_go_on() -> None:
    async def scenario(place: Here) -> None:
        del place.server.groups["tenants/alice"]
        told = await refused(place)
        assert str(told) == (
            "GitLab has no group tenants/alice that we may see (HTTP 404: 404 Group Not Found); create it, or let us "
            "see it"
        )
        assert not told.everybody
        assert await place.opens(the_one(await place.issuer.issue("alice2", 1, leads)), "alice2")

    run(scenario)


@pytest.mark.parametrize("lacking", RIGHTS)
def test_without_a_right_it_is_said_which_page_lists_them(lacking: str) -> None:
    """And each of them is needed."""

    async def scenario(place: Here) -> None:
        for rights in place.server.access.values():
            rights.remove(lacking)

        async def every_call() -> None:
            for _ in range(2):
                await place.issuer.issue("alice", 1, leads)

        with pytest.raises((IssueRefused, IssuerUnavailable)) as told:
            await every_call()
        assert "HTTP 403: 403 Forbidden" in str(told.value)
        assert "docs/gitlab.md" in str(told.value)
        assert not getattr(told.value, "everybody", False)  # it may be so in this group alone

    run(scenario)


@pytest.mark.parametrize("what", ["list", "make"])
def test_what_we_may_not_in_one_group_says_nothing_about_others(what: str) -> None:
    """Who administers a group may lower our role there."""

    async def scenario(place: Here) -> None:
        if what == "list":
            place.server.lowered.add(place.server.groups["tenants/alice2"])
            found = [await check_fails(place, "alice2"), await refused(place, "alice2")]
            await checked(place, "alice")
        else:
            place.answers(2, 403, b'{"message": "403 Forbidden"}')
            found = [await refused(place, "alice2")]
        for told in found:
            assert (told.everybody, told.right) == (False, True)
            assert f"GitLab lets us {what} no deploy token in group tenants/alice2 (HTTP 403: 403 For" in str(told)
            assert "docs/gitlab.md" in str(told)
        assert await place.opens(the_one(await place.issuer.issue("alice", 1, leads)))

    run(scenario)


def test_ending_needs_rights_too() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        for rights in place.server.access.values():
            rights.clear()
        with pytest.raises(IssuerUnavailable, match="does not show a deploy token that has ended"):
            await place.issuer.end(minted.handle)

    run(scenario)


def test_a_wrong_token_is_told_by_its_file_and_not_hammered() -> None:
    async def scenario(place: Here) -> None:
        place.log_in(planted.token(), known=False)
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told) == (
            f"GitLab refuses the token of {place.file} (HTTP 401: 401 Unauthorized): is it right, and has it not ended?"
        )
        assert told.retry_after == AGAIN_SECONDS
        place.file.unlink()
        assert "there is no token for GitLab: " in str(await refused(place, kind=IssuerUnavailable))
        place.log_in(planted.token())  # and the file is read again
        assert await place.opens(the_one(await place.issuer.issue("alice", 1, leads)))

    run(scenario)


def test_what_it_says_is_shown_in_one_line_without_the_token() -> None:
    async def scenario(place: Here) -> None:
        said = f"no:\n{place.file.read_text()} \x1b[31m{'x' * 5000}"
        place.answers(2, 400, json.dumps({"message": said}).encode())
        told = str(await refused(place))
        assert "GitLab makes no deploy token in group tenants/alice (HTTP 400: no: *** ?[31mxxx" in told
        place.answers(2, 400, b'{"message": {"username": ["is too long"]}}')
        assert "(HTTP 400)" in str(await refused(place))

    run(scenario)


def test_what_others_made_is_not_ended() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        number, username, group = minted.handle.split("/", 2)
        theirs = place.server.token(group, "of the pipeline", username, NEVER)
        other = await place.issuer.issue("alice", 2, leads)
        # A GitLab that was restored from a backup uses numbers again.
        await place.issuer.end(f"{theirs.id}/{username}/{group}")
        await place.issuer.end(f"{other.handle.split('/')[0]}/{username}/{group}")
        await place.issuer.end(f"{number}/{username}/tenants/alice2")
        await place.issuer.end(f"{number}/{username}/tenants/none")
        assert place.minted("alice") == 3
        await place.issuer.end(minted.handle)
        assert place.minted("alice") == 2

    run(scenario)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"expires_at": None}, "does not say until when"),
        ({"expires_at": "soon"}, "is not what its API has"),
        ({"expires_at": "9999-12-31T23:59:59-23:00"}, "is not what its API has"),
        ({"username": "gitlab+deploy-token-1"}, "about another deploy token"),
        ({"token": ""}, "none that can be used"),
        ({"token": None}, "is not what its API has"),
        ({"id": 0}, "is not what its API has"),
        ({"id": 2**63}, "is not what its API has"),
    ],
)
def test_answers_that_cannot_be_used(answer: dict[str, Any], told: str) -> None:
    assert told in str(answered(answer, IssuerUnavailable))


def test_the_midnight_counts_whatever_the_hour_is() -> None:
    at_night = answered({"expires_at": "2090-01-01T00:00:00.000Z"}).life
    for hour in ("2090-01-01T13:14:15.000Z", "2090-01-02T00:30:00.000+01:00"):
        assert abs(answered({"expires_at": hour}).life - at_night) < timedelta(minutes=1)


def answered(answer: dict[str, Any], failing: type[Exception] | None = None) -> Any:
    async def scenario(place: Here) -> Any:
        username = minted_name(CLUSTER, "gitlab", "alice", 1)
        usual = {"id": 5, "username": username, "token": planted.token(), "expires_at": "2090-01-01T00:00:00.000Z"}
        place.answers(2, 201, json.dumps(usual | answer).encode())
        return await outcome(place, failing)

    return run(scenario)


# -- the configuration --


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"group": "tenants"}, "group must have {owner} once"),
        ({"group": "{owner}/{owner}"}, "group must have {owner} once"),
        ({"group": "Tenants/{owner}"}, "is no path; write tenants/{owner}"),
        ({"group": "/tenants/{owner}"}, "is no path; write tenants/{owner}"),
        ({"group": "tenants/{owner}/"}, "is no path; write tenants/{owner}"),
        ({"group": "{owner}\n"}, "is no path; write tenants/{owner}"),
        ({"group": "17", "shared": True}, "is no path; write tenants/{owner}"),
        ({"endpoint": "https://gitlab.example.com/api"}, "endpoint"),
        ({"days": 0}, "days"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], told: str) -> None:
    config_refused(GITLAB | keys, told)


def test_in_short() -> None:
    (issuer,) = reading.convert({"issuers": [GITLAB]}).issuers
    assert issuer.in_short == f"deploy tokens for {REGISTRY}/tenants/{{owner}}/; good for 30 days"


def test_a_check_looks_at_the_scope_of_the_token_and_at_an_owners_group() -> None:
    async def scenario(place: Here) -> None:
        await checked(place)
        assert place.server.calls == [
            "GET /api/v4/personal_access_tokens/self",
            "GET /api/v4/groups/tenants/alice/deploy_tokens",
        ]
        told = await check_fails(place, "dora")
        assert (told.everybody, told.right) == (False, False)
        assert "GitLab has no group tenants/dora" in str(told)
        (place.server.access[place.file.read_text().strip()]).clear()
        told = await check_fails(place)
        assert told.right
        assert "docs/gitlab.md" in str(told)
        await checked(place, None)
        for scopes in (["granular"], list[str]()):
            place.server.scopes = scopes
            await checked(place, None)
        assert place.server.calls[-2:] == ["GET /api/v4/personal_access_tokens/self", "GET /api/v4/version"]
        place.server.scopes = ["read_api", "read_registry"]
        for owner in ("alice", None):
            told = await check_fails(place, owner)
            assert told.everybody
            assert "does not have the scope api" in str(told)
        place.answers(1, 403, b'{"error":"insufficient_scope"}')
        told = await check_fails(place, None)
        assert told.everybody
        assert "docs/gitlab.md" in str(told)

    run(scenario)
