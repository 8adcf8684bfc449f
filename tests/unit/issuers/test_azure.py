"""The issuer for Azure Container Registry, against a stand-in for Azure that Azure's own clients are content with."""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

import aiohttp
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from support import azureserver, named, planted
from support.azureserver import (
    AUDIENCE,
    CLIENT,
    LOGIN,
    MANAGEMENT,
    REGISTRY,
    RESOURCE,
    RIGHTS,
    TENANT,
    Azure,
    Password,
    allowed,
)
from support.issuercontract import NamedContract
from support.issuerplace import (
    NamedPlace,
    check_fails,
    checked,
    config_refused,
    follows,
    leads,
    opened,
    placed,
    refused,
    running,
)
from support.workload import cluster_token
from webhook.checks import addresses
from webhook.checks.registryclient import RegistryClient
from webhook.config import reading
from webhook.config.issuers.azure import is_token
from webhook.core.check import Why
from webhook.core.credential import Credential
from webhook.core.errors import WriteConflict
from webhook.core.registry import matching
from webhook.issuers import Issuer, IssueRefused, IssuerUnavailable, Minted, NotChecked, NotLeading, client, keptlogin
from webhook.issuers.azure import api as azureapi
from webhook.issuers.azure import issuer as azure
from webhook.issuers.azure import login as azurelogin

OWNERS = ("alice", "alice2", "alice-2", "al", "7", "v2", "a-b", "a-b-2e7336dc", "library", "bob")
USUAL = {
    "issue": "azure",
    "registry": REGISTRY,
    "resourceId": RESOURCE,
    "token": "pull-{owner}",
    "tenantId": TENANT,
    "clientId": CLIENT,
    "tokenFile": "/issuer/token",
}


class Here(NamedPlace[Azure]):
    """An Azure with a token for each owner, and an issuer with just the rights that the documentation lists."""

    internet: named.Names
    life = timedelta(hours=24)

    def __init__(self, azure: Azure, **keys: Any) -> None:
        self.server = azure
        for owner in OWNERS:
            azure.token(f"pull-{owner}", f"{owner}/*")
        self.file = self.folder / "token"
        self.file.write_text(cluster_token(AUDIENCE))
        self.keys, self.asking = {"tokenFile": str(self.file), **keys}, client.Client("the registry")
        self.issuer = self.again()

    @property
    def usual(self) -> dict[str, Any]:
        return USUAL

    async def close(self) -> None:
        await super().close()
        await self.asking.close()

    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        name = f"{owner}/app"
        answer = await self.asking.call(
            "GET",
            f"https://{REGISTRY}/oauth2/token",
            query={"service": REGISTRY, "scope": f"repository:{name}:pull"},
            headers={"Authorization": aiohttp.encode_basic_auth(*c.login)},
        )
        found = allowed(json.loads(answer.content)["access_token"]) if answer.status == 200 else []
        assert not found or matching([c.registry], f"{REGISTRY}/{name}") == (c.registry,)
        return found == [f"{name}:pull"]

    def later(self, by: timedelta) -> None:
        """What is known of logins stays: these are an hour long by our own clock."""
        self.server.skew += by
        self.server.logins = {login: ends + by.total_seconds() for login, ends in self.server.logins.items()}

    def passwords(self, owner: str = "alice") -> dict[str, Password]:
        return self.server.tokens[f"pull-{owner}"].passwords

    def minted(self, owner: str) -> int:
        return len(self.passwords(owner))

    def made(self) -> Any:
        return [dict(one.passwords) for one in self.server.tokens.values()]

    def logs_in_wrongly(self) -> None:
        self.file.write_text(cluster_token("another audience"))

    def takes_the_name(self, owner: str, generation: int) -> None:
        """As `az acr token create` does, if nobody tells it not to."""
        name = "password1" if generation % 2 else "password2"
        self.passwords(owner)[name] = Password(planted.token(), self.server.now(), None)


@pytest.fixture(scope="module", autouse=True)
def _internet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    Here.folder = tmp_path_factory.mktemp("azure")
    with named.names(Here.folder) as Here.internet:
        yield


@pytest.fixture(autouse=True)
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azureapi, "MAX_PAUSE_SECONDS", 0.001)


@asynccontextmanager
async def here(**keys: Any) -> AsyncIterator[Here]:
    async with azureserver.serving(Here.internet) as server, placed(Here(server, **keys)) as place:
        yield place


class TestContract(NamedContract):
    def at(self) -> AbstractAsyncContextManager[Here]:
        return here()

    async def _another(self, place: NamedPlace[Any], other: Issuer, first: Minted) -> None:
        """A token has too few passwords for them."""
        with pytest.raises(IssueRefused, match="give each cluster tokens of its own"):
            await other.issue("alice", 1, leads)
        await other.end(first.handle)

    def test_owners_with_one_identity_leave_what_others_have_alone(self) -> None:
        """None have: each renewal would take a password of another owner."""
        told = "shared: a token has two passwords, and both are one owner's"
        for token in ("pull-alice", "pull-{owner}"):
            config_refused(USUAL | {"shared": True, "token": token}, told)

    def test_the_one_before_goes_on(self) -> None:
        """A token has two passwords. By the third generation, the first one has ended."""

        async def scenario() -> None:
            async with here() as place:
                first, second = [await place.issuer.issue("alice", generation, leads) for generation in (1, 2)]
                assert await opened(place, first)
                assert await opened(place, second)
                third = await place.issuer.issue("alice", 3, leads)
                assert await opened(place, second)
                assert await opened(place, third)

        asyncio.run(scenario())


run = running(here)


def test_a_password_is_of_the_owners_token() -> None:
    async def scenario(place: Here) -> None:
        minted = await place.issuer.issue("alice", 1, leads)
        assert [c.registry for c in minted.credentials] == [f"{REGISTRY}/alice/", f"{REGISTRY}/base/"]
        ((name, password),) = place.passwords().items()
        assert {c.login for c in minted.credentials} == {("pull-alice", password.value)}
        assert name == "password1"
        assert password.expiry is not None
        assert timedelta(hours=47, minutes=58) < password.expiry - datetime.now(UTC) < timedelta(hours=48)
        assert abs(password.expiry - datetime.now(UTC) - minted.life) < timedelta(seconds=2)

    run(scenario, repositories=["{owner}", "base"], hours=48)


@pytest.mark.parametrize(("polls", "requests"), [(0, 2), (1, 3), (3, 5)])
def test_a_renewal_is_few_requests(polls: int, requests: int) -> None:
    async def scenario(place: Here) -> None:
        place.server.polls = polls
        await place.issuer.issue("alice", 1, leads)
        assert place.asked() == requests + 1
        assert place.server.calls[0] == f"POST {LOGIN}/{TENANT}/oauth2/v2.0/token"
        minted = await place.issuer.issue("alice", 2, leads)
        assert place.asked() == 2 * requests + 1
        assert await opened(place, minted)

    run(scenario)


def test_the_registry_takes_it_for_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the check that is made of each new one."""
    monkeypatch.setattr(addresses, "is_public", lambda _: True)

    async def scenario(place: Here) -> None:
        (c,) = (await place.issuer.issue("alice", 1, leads)).credentials
        registry = RegistryClient(place.config(), lambda: datetime.now(UTC))
        assert (await registry.ask(c)).why is Why.NONE
        place.server.tokens["pull-alice"].enabled = False
        assert (await registry.ask(c)).why is Why.UNAUTHORIZED
        await registry.close()

    run(scenario)


@pytest.mark.parametrize("lag", [1, 3])
def test_a_registry_that_does_not_know_it_yet_is_waited_for(lag: int) -> None:
    async def scenario(place: Here) -> None:
        place.server.lag = lag
        assert await opened(place, await place.issuer.issue("alice", 1, leads))
        assert place.server.pulls == lag + 2

    run(scenario)


def test_it_is_not_waited_for_long_nor_where_it_cannot_be_asked() -> None:
    """Whether it is used then is not up to the issuer."""

    async def scenario(place: Here) -> None:
        place.server.lag = 1000
        assert await place.issuer.issue("alice", 1, leads)
        assert place.server.pulls == azureapi.TRIES
        place.server.closed = True
        assert await place.issuer.issue("alice", 2, leads)
        Here.internet.ports.pop(REGISTRY)
        await place.issuer.close()
        assert await place.issuer.issue("alice", 3, leads)
        assert place.server.pulls == azureapi.TRIES + 1

    run(scenario)


# -- two passwords --


def test_generations_take_turns_and_the_standing_one_is_never_touched() -> None:
    async def scenario(place: Here) -> None:
        before: Minted | None = None
        for generation in range(1, 8):
            minted = await place.issuer.issue("alice", generation, leads)
            assert await opened(place, minted)
            assert before is None or await opened(place, before)
            before = minted
            # Again, as after a crash: nobody has the first one, and the one before it stays.
            before = await place.issuer.issue("alice", generation, leads)
            assert not await opened(place, minted)
            assert place.minted("alice") == min(generation, 2)

    run(scenario)


def test_what_is_replaced_has_ended_where_renewals_are_on_time() -> None:
    """At half of the life of the one before and up to a tenth later: two of these are the life of one."""

    async def scenario(place: Here) -> None:
        for generation in range(1, 6):
            await place.issuer.issue("alice", generation, follows)  # who would have to ask, fails
            place.later(timedelta(hours=12, minutes=10))

    run(scenario)


def test_before_a_password_is_replaced_that_may_be_in_use_it_is_asked_whether_it_is() -> None:
    """The Secret may have it already, by a write that had no answer."""

    async def stored() -> None:
        raise WriteConflict("it is stored")

    async def scenario(place: Here) -> None:
        first = await place.issuer.issue("alice", 1, leads)
        for fence, error in ((stored, WriteConflict), (follows, NotLeading)):
            with pytest.raises(error):
                await place.issuer.issue("alice", 1, fence)
        assert await opened(place, first)
        # The other one is free.
        assert await opened(place, await place.issuer.issue("alice", 2, stored))

    run(scenario)


class Secret:
    """What is stored, and what each of two replicas has seen of it."""

    def __init__(self) -> None:
        self.generation, self.seen = 0, [0, 0]
        self.credential: Credential | None = None
        self.ends = datetime.max.replace(tzinfo=UTC)

    def fence(self, replica: int) -> Callable[[], Awaitable[None]]:
        async def confirm() -> None:
            if self.seen[replica] != self.generation:
                raise WriteConflict("another one has written it")

        return confirm


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("mint"), st.integers(0, 1), st.sampled_from([None, *range(1, 4)]), st.booleans()),
        st.tuples(st.just("mint and no answer"), st.integers(0, 1)),
        st.tuples(st.just("see"), st.integers(0, 1)),
        st.tuples(st.just("later"), st.integers(1, 20)),
    ),
    max_size=14,
)


@given(EVENTS)
@example([("mint", 0, None, False), ("mint", 0, 2, True)])
@example([("mint", 0, None, False), ("mint and no answer", 0), ("mint", 0, None, False), ("mint", 1, None, False)])
@settings(max_examples=10, deadline=None)
def test_whatever_is_lost_and_whoever_tries_what_is_stored_works_until_its_end(events: list[tuple[Any, ...]]) -> None:
    async def mint(place: Here, secret: Secret, replica: int) -> None:
        generation, fence = secret.seen[replica] + 1, secret.fence(replica)
        minted = await place.issuer.issue("alice", generation, fence)
        await fence()  # the precondition of the write
        (secret.credential,) = minted.credentials
        secret.generation, secret.ends = generation, place.server.now() + minted.life

    async def happens(place: Here, secret: Secret, event: tuple[Any, ...]) -> None:
        match event:
            case "later", hours:
                place.later(timedelta(hours=hours))
            case "see", replica:
                secret.seen[replica] = secret.generation
            case "mint and no answer", replica:  # of the write, which has its effect
                await mint(place, secret, replica)
            case "mint", replica, at, lost:
                if at is not None:
                    place.answers(at, 0 if lost else 500, lost=lost)
                await mint(place, secret, replica)
                secret.seen[replica] = secret.generation

    async def scenario(place: Here) -> None:
        secret = Secret()
        for event in events:
            with suppress(IssuerUnavailable, WriteConflict):
                await happens(place, secret, event)
            place.server.faults.clear()
            if secret.credential is not None and place.server.now() < secret.ends - timedelta(seconds=2):
                assert await place.opens(secret.credential)

    run(scenario)


@pytest.mark.parametrize("who", ["cluster", "issuer", "person"])
def test_what_another_one_needs_is_not_replaced(who: str) -> None:
    async def scenario(place: Here) -> None:
        if who == "person":
            ends = datetime.now(UTC) + timedelta(days=30)
            place.passwords()["password1"] = Password(planted.token(), place.server.now(), other_second(place, ends))
        else:
            other = place.again(lambda: "deadbeef") if who == "cluster" else place.again(name="second")
            await other.issue("alice", 1, leads)
            await other.close()
        kept = dict(place.passwords())
        told = await refused(place)
        assert str(told) == (
            f"the token pull-alice of {REGISTRY} has a password1 that is not ours, and has not ended; delete it if "
            "nobody needs it, and give each cluster tokens of its own"
        )
        assert not told.everybody
        assert place.passwords() == kept
        # When it has ended, nobody needs it.
        place.later(timedelta(days=31))
        assert await opened(place, await place.issuer.issue("alice", 1, leads))

    run(scenario)


def other_second(place: Here, ends: datetime) -> datetime:
    mark = place.issuer._mark("alice")  # type: ignore[attr-defined]  # of this issuer
    return ends + timedelta(seconds=1) if int(ends.timestamp()) % azure.SECONDS == mark else ends


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2200, 1, 1)),  # noqa: DTZ001  # of any zone
    st.floats(1.0, 8760.0),
    st.integers(0, azure.SECONDS - 1),
)
def test_an_end_has_its_mark_and_is_hardly_earlier(now: datetime, hours: float, mark: int) -> None:
    now = now.replace(tzinfo=UTC)
    ends = azure._ends(now, hours, mark)
    assert int(ends.timestamp()) % azure.SECONDS == mark
    assert ends.microsecond == 0
    assert -1 < (now + timedelta(hours=hours) - ends).total_seconds() < azure.SECONDS + 1


def test_owners_have_different_marks() -> None:
    async def scenario(place: Here) -> None:
        marks = {place.issuer._mark(f"owner-{number}") for number in range(1000)}  # type: ignore[attr-defined]
        assert marks == {*range(azure.SECONDS)}

    run(scenario)


# -- the login --


def test_the_file_is_read_again_at_each_login() -> None:
    async def scenario(place: Here) -> None:
        place.file.write_text(cluster_token(AUDIENCE, seconds=-1))
        told = await refused(place, kind=IssuerUnavailable)
        assert "Azure refuses our login (HTTP 401: AADSTS700024: Client assertion is not good" in str(told)
        assert told.retry_after == keptlogin.AGAIN_SECONDS
        place.file.write_text(cluster_token(AUDIENCE))
        assert await place.issuer.issue("alice", 1, leads)
        place.file.unlink()
        assert await place.issuer.issue("alice", 2, leads)  # it is logged in for an hour
        place.server.logins.clear()
        told = str(await refused(place, kind=IssuerUnavailable))
        assert told.startswith(
            "Azure takes our login no more (HTTP 401: The access token expiry UTC time is in the past"
        )
        assert str(await refused(place, kind=IssuerUnavailable)) == (
            f"there is no login for Azure: {place.file}: No such file or directory"
        )

    run(scenario)


@pytest.mark.parametrize(
    ("token", "told"),
    [
        ({"audience": "https://kubernetes.default.svc"}, "Audience doesn't match"),
        ({"signer": 8}, "Signature verification failed"),
        ({"subject": "system:serviceaccount:default:default"}, "No matching federated identity record found"),
    ],
)
def test_another_token_of_the_cluster_is_refused(token: dict[str, Any], told: str) -> None:
    async def scenario(place: Here) -> None:
        place.file.write_text(cluster_token(**{"audience": AUDIENCE} | token))
        text = str(await refused(place, kind=IssuerUnavailable))
        assert told in text
        assert "fit the identity's federated credential?" in text
        assert place.asked() == 1

    run(scenario)


def test_another_client_id_is_told() -> None:
    async def scenario(place: Here) -> None:
        text = str(await refused(place, kind=IssuerUnavailable))
        assert "Azure refuses our login (HTTP 400: AADSTS700016: Application was not found in the directory" in text

    run(scenario, clientId=TENANT)


@pytest.mark.parametrize("lacking", RIGHTS)
def test_without_a_right_it_is_said_which_page_lists_them(lacking: str) -> None:
    """And each of them is needed."""

    async def scenario(place: Here) -> None:
        place.server.rights.remove(lacking)
        told = await refused(place)
        assert told.everybody
        assert f"HTTP 403: The client does not have authorization to perform action '{lacking}'" in str(told)
        assert "docs/azure.md" in str(told)

    run(scenario)


# -- what Azure's own clients send --


def test_it_asks_as_azures_own_clients_do() -> None:
    """Which also says that the stand-in is one: those clients are content with it."""

    async def scenario(place: Here) -> None:
        for generation in (1, 2):
            place.server.polls = generation
            await place.issuer.issue("alice", generation, leads)
            ours = requests(place.server)
            ends = ours[-1 - generation][1]["expiry"]
            await asyncio.to_thread(asked_by_azure, str(place.file), f"password{generation}", ends)
            theirs = requests(place.server)
            # They log in anew each time.
            assert ours == theirs[len(theirs) - len(ours) :]

    run(scenario)


def asked_by_azure(file: str, name: str, ends: str) -> None:
    # mypy would have to read a hundred thousand lines of models.
    identity: Any = importlib.import_module("azure.identity")
    management: Any = importlib.import_module("azure.mgmt.containerregistry")
    subscription, group = RESOURCE.split("/")[2], RESOURCE.split("/")[4]
    with (
        identity.WorkloadIdentityCredential(tenant_id=TENANT, client_id=CLIENT, token_file_path=file) as login,
        management.ContainerRegistryManagementClient(login, subscription, polling_interval=0) as api,
    ):
        token = api.tokens.get(group, "acmecorp", "pull-alice")
        asked = {"tokenId": token.id, "name": name, "expiry": ends}
        made = api.registries.begin_generate_credentials(group, "acmecorp", asked).result()
    assert made.username == "pull-alice"
    assert [one.name for one in made.passwords if one.value] == [name]


def requests(azure: Azure) -> list[tuple[str, Any]]:
    """Without what is another one each time."""
    found = []
    for call, body in zip(azure.calls, azure.bodies, strict=True):
        where = call.partition("/operationStatuses/")
        content = json.loads(body) if body[:1] == b"{" else dict(parse_qsl(body.decode()))
        found.append((where[0] + where[1], content))
    azure.calls.clear()
    azure.bodies.clear()
    return found


def test_clouds_are_where_azures_own_clients_have_them() -> None:
    endpoints: Any = importlib.import_module("azure.mgmt.core.tools").get_arm_endpoints
    hosts: Any = importlib.import_module("azure.identity").AzureAuthorityHosts
    known: Any = importlib.import_module("azure.core").AzureClouds
    for end, cloud, host in (
        ("io", known.AZURE_PUBLIC_CLOUD, hosts.AZURE_PUBLIC_CLOUD),
        ("cn", known.AZURE_CHINA_CLOUD, hosts.AZURE_CHINA),
        ("us", known.AZURE_US_GOVERNMENT, hosts.AZURE_GOVERNMENT),
    ):
        theirs, ours = endpoints(cloud), azurelogin.CLOUDS[end]
        assert ours.login == f"https://{host}"
        assert ours.management == theirs["resource_manager"].rstrip("/")
        assert [ours.scope] == theirs["credential_scopes"]


# -- what is not given --


def test_a_token_that_is_not_there_is_the_owners() -> None:
    async def scenario(place: Here) -> None:
        told = await refused(place, "carol")
        assert str(told) == (
            f"{REGISTRY} does not show a token pull-carol (HTTP 404: The resource pull-carol could not be found.); "
            "create it, as docs/azure.md has it"
        )
        assert not told.everybody
        assert (str(await check_fails(place, "carol")), told.everybody) == (str(told), False)
        assert await place.issuer.issue("alice", 1, leads)

    run(scenario)


def test_a_token_that_is_disabled_stays_so() -> None:
    async def scenario(place: Here) -> None:
        place.server.tokens["pull-alice"].enabled = False
        for told in (await refused(place), await check_fails(place)):
            assert "pull-alice of acmecorp.azurecr.io is disabled" in str(told)
            assert not told.everybody
        assert place.minted("alice") == 0

    run(scenario)


def test_its_name_is_stored_as_azure_says_it() -> None:
    async def scenario(place: Here) -> None:
        place.server.tokens["pull-alice"].name = "Pull-Alice"
        (c,) = (await place.issuer.issue("alice", 1, leads)).credentials
        assert c.username == "Pull-Alice"
        assert await place.opens(c)

    run(scenario)


@pytest.mark.parametrize("owner", ["Alice", "a.b", "a_b", "x" * 46, "a b", "é", "alice\n", "../bob", "a/b", "a%2fb"])
def test_owners_that_fit_no_token(owner: str) -> None:
    """To Azure, Alice is alice."""

    async def scenario(place: Here) -> None:
        assert "no token can have the owner" in str(await refused(place, owner))
        assert place.server.calls == []

    run(scenario)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("pull-alice", True),
        ("pulls", True),
        ("pull", False),
        ("x" * 50, True),
        ("x" * 51, False),
        ("Pull-alice", False),
        ("pull_alice", False),
        ("pull-alice\n", False),
    ],
)
def test_names_of_tokens(name: str, good: bool) -> None:
    assert is_token(name) is good


def test_something_else_that_changes_it_is_waited_for() -> None:
    async def scenario(place: Here) -> None:
        await place.issuer.issue("alice", 1, leads)
        body = json.dumps({"error": {"code": "Conflict", "message": "Another operation is in progress."}}).encode()
        place.answers(2, 409, body, {"Retry-After": "9"})
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told) == "something else is changing it (HTTP 409: Another operation is in progress.)"
        assert told.retry_after == 9

    run(scenario)


def test_what_azure_does_not_take_is_told() -> None:
    async def scenario(place: Here) -> None:
        body = json.dumps({"error": {"code": "InvalidExpiry", "message": "The expiry is too far away."}}).encode()
        place.answers(3, 400, body)
        assert str(await refused(place)) == (
            "Azure makes no password of the token pull-alice (HTTP 400: The expiry is too far away.)"
        )

    run(scenario)


# -- what takes a while --


@pytest.mark.parametrize(
    "where",
    [
        "",
        "/subscriptions/x",
        f"http://{MANAGEMENT}/subscriptions/x",
        f"https://{MANAGEMENT}.example.com/x",
        f"https://{MANAGEMENT}@example.com/x",
        f"https://{MANAGEMENT}:444/x",
        "https://169.254.169.254/metadata",
    ],
)
def test_the_login_goes_nowhere_else(where: str) -> None:
    async def scenario(place: Here) -> None:
        place.answers(3, 202, b"", {"Location": where} if where else {})
        assert str(await refused(place, kind=IssuerUnavailable)) == "what Azure answers is not what its API has"
        assert place.asked() == 3

    run(scenario)


def test_it_is_not_waited_for_for_ever() -> None:
    async def scenario(place: Here) -> None:
        place.server.polls = 1000
        told = await refused(place, kind=IssuerUnavailable)
        assert str(told) == "Azure is not done in time with what it was asked for"
        assert place.asked() == 3 + azureapi.ASKS
        # What it makes all the same is replaced by the next try.
        place.server.polls = 0
        assert await opened(place, await place.issuer.issue("alice", 1, leads))
        assert place.minted("alice") == 1

    run(scenario)


# -- odd answers --


@pytest.mark.parametrize(
    "answer",
    [
        {"username": "pull-bob"},
        {"username": None},
        {"passwords": []},
        {"passwords": None},
        {"passwords": [{"name": "password2", "value": "x", "expiry": "2999-01-01T00:00:00Z"}]},
        {"passwords": [{"name": "password1", "value": "", "expiry": "2999-01-01T00:00:00Z"}]},
        {"passwords": [{"name": "password1", "value": "x"}]},
        {"passwords": [{"name": "password1", "value": "x", "expiry": "2999-01-01T00:00:00"}]},
        {"passwords": [{"name": "password1", "value": "x", "expiry": "never"}]},
        {"passwords": [{"name": "password1", "value": "x" * 40_000, "expiry": "2999-01-01T00:00:00Z"}]},
    ],
)
def test_answers_that_cannot_be_used(answer: dict[str, Any]) -> None:
    async def scenario(place: Here) -> None:
        password = {"name": "password1", "value": planted.token(), "expiry": "2999-01-01T00:00:00Z"}
        usual = {"username": "pull-alice", "passwords": [password]}
        place.answers(3, 200, json.dumps(usual | answer).encode())
        assert "Azure" in str(await refused(place, kind=IssuerUnavailable))

    run(scenario)


@pytest.mark.parametrize("properties", [{}, {"credentials": None}, {"credentials": {"passwords": None}}])
def test_a_token_without_passwords(properties: dict[str, Any]) -> None:
    async def scenario(place: Here) -> None:
        place.answers(2, 200, json.dumps({"properties": properties}).encode())
        assert await opened(place, await place.issuer.issue("alice", 1, follows))

    run(scenario)


# -- the configuration --


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"registry": "acmecorp"}, "is none of Azure; write it as images name it, such as acmecorp.azurecr.io"),
        ({"registry": "azurecr.io"}, "is none of Azure"),
        ({"registry": "acmecorp.azurecr.io.example.com"}, "is none of Azure"),
        (
            {"registry": "other.azurecr.io"},
            "resourceId is of acmecorp, registry is other.azurecr.io; write those of one",
        ),
        ({"resourceId": "acmecorp"}, "resourceId 'acmecorp' is none of a registry"),
        ({"resourceId": f"{RESOURCE}/tokens/x"}, "is none of a registry; write what az acr show --query id says"),
        ({"resourceId": RESOURCE.replace("platform", "a/../b")}, "is none of a registry"),
        ({"token": "pull"}, "token must have {owner} once, such as pull-{owner}; a token has two passwords"),
        ({"token": "{owner}-{owner}"}, "token must have {owner} once"),
        ({"token": "Pull-{owner}"}, "Azure has no such names; write pull-{owner}"),
        ({"token": "pull/{owner}"}, "Azure has no such names"),
        ({"repositories": ["{owner}/"]}, "no repository's name begins so"),
        ({"repositories": ["{owner}", "{owner}"]}, "repositories has one twice"),
        ({"tenantId": "example.com"}, "tenantId 'example.com' is no ID"),
        ({"clientId": CLIENT.replace("-", "")}, "clientId"),
        ({"hours": 0.5}, "hours: write a number from 1.0 to 8760.0 (it is 0.5)"),
        ({"hours": 9000}, "hours"),
    ],
)
def test_what_is_refused(keys: dict[str, Any], told: str) -> None:
    config_refused(USUAL | keys, told)


@pytest.mark.parametrize(
    ("registry", "resource"),
    [
        ("acmecorp.azurecr.cn", RESOURCE),
        ("acmecorp-h3k9.azurecr.io", RESOURCE),
        ("acmecorp.azurecr.us", RESOURCE[:-8] + "AcmeCorp"),
    ],
)
def test_registries(registry: str, resource: str) -> None:
    (issuer,) = reading.convert({"issuers": [USUAL | {"registry": registry, "resourceId": resource}]}).issuers
    assert issuer.in_short == f"passwords of the tokens pull-{{owner}} of {registry}, good for 24 h"


def test_a_check_needs_the_right_to_read_tokens() -> None:
    async def scenario(place: Here) -> None:
        await checked(place)
        await checked(place, None)
        place.server.token("pullsecret-check", "nothing")  # whether there is one is nothing to it
        await checked(place, None)
        assert all(call.startswith(("POST " + LOGIN, "GET ")) for call in place.server.calls)
        place.server.rights.remove(RIGHTS[0])
        for owner in ("alice", None):
            told = await check_fails(place, owner)
            assert told.everybody
            assert "docs/azure.md" in str(told)

    run(scenario)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("aaaaaaaa", "abababab"), "The subscription 'abababab-bbbb-cccc-dddd-eeeeeeeeeeee' could not be found."),
        (("/platform/", "/other/"), "Resource group 'other' could not be found."),
    ],
)
def test_a_registry_that_is_not_there_is_told_by_check_and_issue(wrong: tuple[str, str], said: str) -> None:
    async def scenario(place: Here) -> None:
        for told in (await refused(place), await check_fails(place), await check_fails(place, None)):
            assert told.everybody
            assert str(told) == (
                f"Azure has no registry of this resourceId (HTTP 404: {said}); write what az acr show --query id says"
            )

    run(scenario, resourceId=RESOURCE.replace(*wrong))


def test_names_above_a_token_are_the_same_in_capitals() -> None:
    async def scenario(place: Here) -> None:
        for owner in ("alice", None):
            await checked(place, owner)

    run(scenario, resourceId=RESOURCE.replace("platform", "Platform"))


def test_a_registry_of_another_name_is_not_there() -> None:
    async def scenario(place: Here) -> None:
        for owner in ("alice", None):
            told = await check_fails(place, owner)
            assert told.everybody
            assert "(HTTP 404: Can not perform requested operation on nested resource. Parent resource 'e" in str(told)

    run(scenario, registry="elsewhere.azurecr.io", resourceId=RESOURCE.replace("acmecorp", "elsewhere"))


def test_a_404_that_does_not_name_the_token_proves_nothing() -> None:
    async def scenario(place: Here) -> None:
        for code in ("ResourceNotFound", "NotFound"):
            place.answers(2, 404, json.dumps({"error": {"code": code, "message": "It was not found."}}).encode())
            with pytest.raises(NotChecked, match=r"whether it has the registry \(HTTP 404: It was not found\.\)"):
                await checked(place, None)

    run(scenario)


def test_what_stands_before_azure_is_not_taken_for_it() -> None:
    async def scenario(place: Here) -> None:
        for status in (400, 404):
            for owner in ("alice", None):
                place.answers(2, status, b"<h1>nothing here</h1>", {"Content-Type": "text/html"})
                assert isinstance(await check_fails(place, owner), IssuerUnavailable)

    run(scenario)
