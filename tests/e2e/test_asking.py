"""What `pullsecret doctor` asks a registry about one image: the real one, with passwords and with tokens."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from controlplane.binaries import need
from controlplane.image import Image, push
from controlplane.registry import Registry
from support import planted
from webhook.checks.guardedhttp import GuardedHttp
from webhook.commands.doctor.asking import Asked, ask
from webhook.commands.registries import closing
from webhook.config.models import Config
from webhook.config.models import Registry as Named
from webhook.core.credential import Credential
from webhook.core.faults import Fault

pytestmark = pytest.mark.cluster
APP = "alice/app:1"


@pytest.fixture(scope="module", params=["passwords", "tokens"])
def registry(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, node_binaries: None
) -> Iterator[Registry]:
    """With one image of alice's."""
    users, tokens = {name: planted.token() for name in ("alice", "bob")}, request.param == "tokens"
    with (
        Registry.start(tmp_path_factory.mktemp(request.param), users, tokens=tokens) as started,
        started.client("alice", users["alice"]) as client,
    ):
        if tokens:
            made = client.get("/token", params={"service": "test registry"}).json()["token"]
            client.auth = lambda request: _with(request, made)
        push(client, "alice/app", "1", Image.of(need("app")["app"]))
        yield started


def _with(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def asked(registry: Registry, image: str, user: str | None, password: str = "", platform: str = "") -> Asked:
    """With a user's own password, if no other one is given."""

    async def scenario() -> Asked:
        credential = None
        if user is not None:
            credential = Credential(registry.address, user, password or registry.users[user])
        config = Config(registries=(Named(registry.address, str(registry.ca)),))
        async with closing(GuardedHttp(config)) as http:
            return await ask(http, f"{registry.address}/{image}", credential, platform)

    before = len(registry.log())
    found = asyncio.run(scenario())
    assert not planted.leaks(repr(found))
    assert len(registry.log()) - before == len(found.steps) <= 4
    return found


def test_an_image_that_can_be_pulled(registry: Registry) -> None:
    found = asked(registry, APP, "alice", platform="linux/amd64")
    assert (found.works, found.fault, found.not_asked) == (True, None, "")
    assert [one.status for one in found.steps if one.what != "token"] == [401, 200, 200]
    assert found.blobs is not None
    assert f"{found.blobs.host}:{found.blobs.port}" == registry.address


@pytest.mark.parametrize(
    ("image", "user", "password", "basic", "tokens"),
    [
        (APP, "alice", "wrong", Fault.CREDENTIAL_REFUSED, Fault.TOKEN_REFUSED),
        (APP, "nobody", "wrong", Fault.CREDENTIAL_REFUSED, Fault.TOKEN_REFUSED),
        (APP, "bob", "", Fault.TOKEN_NO_ACCESS, Fault.TOKEN_NO_ACCESS),
        (APP, None, "", Fault.CREDENTIAL_NONE, Fault.TOKEN_ANONYMOUS),
        ("alice/app:2", "alice", "", Fault.IMAGE_NOT_FOUND, Fault.IMAGE_NOT_FOUND),
        ("alice/other:1", "alice", "", Fault.IMAGE_NOT_FOUND, Fault.IMAGE_NOT_FOUND),
    ],
)
def test_what_is_wrong(
    registry: Registry, image: str, user: str | None, password: str, basic: Fault, tokens: Fault
) -> None:
    found = asked(registry, image, user, password)
    assert (found.works, found.fault) == (False, basic if found.realm is None else tokens)
    if found.fault is Fault.IMAGE_NOT_FOUND:
        assert "unknown" in found.steps[-1].words
