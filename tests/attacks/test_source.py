"""Tenants fill in what a source says: here an HTTP service, elsewhere a table or a Secret that is synced."""

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial

import pytest

import planted
import tokenservice
from attacks.conftest import Attack
from attacks.platform import VICTIM, Platform, at_once
from attacks.target import Target, target
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.objects import pod
from tokenservice import TokenService

pytestmark = pytest.mark.cluster
LARGEST = 1024 * 1024
"""Bytes of an answer that the webhook reads."""
OWNERS = 10
SECONDS = 8.0
GOOD = '{"registry":"ghcr.io","username":"u","password":"p"}'
FIELDS: Object = {"registry": "registry", "username": "username", "password": "password"}


def repeated(before: str, item: str, after: str) -> bytes:
    """As often as an answer has room for."""
    room = LARGEST - len(before) - len(after)
    return (before + item * (room // len(item)) + after).encode()


def broken_entries(good: str) -> bytes:
    entries: list[str] = []
    room = LARGEST - len(good) - 20
    while room > 0:
        entries.append(f'"{len(entries):x}_":{{}},')
        room -= len(entries[-1])
    return ('{"auths":{' + "".join(entries[:-1]) + good + "}}").encode()


def auths(count: int) -> bytes:
    entry = {"username": "u", "password": "p"}
    return json.dumps({"auths": {f"{number:x}.io": entry for number in range(count)}}).encode()


def ending(count: int) -> bytes:
    """Each credential at another second, and soon."""
    now = int(time.time())
    one = {"username": "u", "password": "p"}
    return json.dumps([one | {"registry": f"{n:x}.io", "expires": now + 100_000 + n} for n in range(count)]).encode()


ANSWERS: dict[str, tuple[bytes, object]] = {
    "a good one among nothing": (repeated(f"[{GOOD}", ",{}", "]"), FIELDS),
    "nothing at all": (repeated("[{}", ",{}", "]"), FIELDS),
    "a good one among broken registries": (broken_entries('"ghcr.io":{"username":"u","password":"p"}'), "auths"),
    "broken registries": (broken_entries('"_":{}'), "auths"),
    "registries": (auths(21_000), "auths"),
    "ends": (ending(10_000), FIELDS),
}
QUICK = "a good one among nothing"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenService]:
    with tokenservice.serving(tmp_path_factory.mktemp("service"), token=planted.token()) as serving:
        yield serving


@pytest.fixture
def asking(platform: Platform, service: TokenService, answer: tuple[bytes, object]) -> Iterator[Target]:
    """A replica that asks the service of all owners, alice too."""
    assert service.token is not None
    token_file = service.folder / "token"
    token_file.write_text(service.token)
    service.body, how = answer
    files = {"tokenFile": str(token_file), "caFile": service.ca_file}
    http = {"from": "http", "url": service.url, "answer": how, "maxAge": 0.0, **files}
    settings = {"sources": [http, {"from": "secrets"}]}
    with target(platform.cluster, "asking", settings=settings) as started:
        deployed.register(platform.cluster, started.replica.port)
        deployed.wait_called(platform.cluster.api, started.replica.port, VICTIM)
        yield started


@pytest.mark.parametrize(
    "answer",
    [pytest.param(ANSWERS[name], id=name, marks=[] if name == QUICK else pytest.mark.slow) for name in ANSWERS],
)
def test_answers_that_are_full_of_nonsense(platform: Platform, asking: Target, attack: Attack) -> None:
    """Each pod makes the webhook ask again."""
    with ExitStack() as stack:
        owners = [f"evil-{number}" for number in range(OWNERS)]
        spaces = [stack.enter_context(platform.space(owner=owner)) for owner in owners]
        with attack(asking) as outcome:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                at_once(partial(platform.mallory.create, pod(space), dry_run=True) for space in spaces)
                time.sleep(0.2)
        outcome.harmless()
