"""Tenants fill in what a source says: here an HTTP service, elsewhere a table or a Secret that is synced."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from attacks.platform import VICTIM, Platform, at_once
from attacks.target import Target, target
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.objects import pod
from support import planted, tokenservice

LARGEST = 1024 * 1024
"""Bytes of an answer that the webhook reads."""
ENTRY = {"username": "u", "password": "p"}
GOOD = '{"registry":"ghcr.io","username":"u","password":"p"}'
FIELDS: Object = {"registry": "registry", "username": "username", "password": "password"}


def repeated(before: str, item: str, after: str) -> bytes:
    """As often as an answer has room for."""
    room = LARGEST - len(before) - len(after)
    return (before + item * (room // len(item)) + after).encode()


def auths(count: int, entry: Mapping[str, str]) -> bytes:
    entries = {f"{number:x}.io": entry for number in range(count)}
    return json.dumps({"auths": entries}, separators=(",", ":")).encode()


def ending(count: int) -> bytes:
    """Each credential at another second, and soon."""
    now = int(time.time())
    return json.dumps([ENTRY | {"registry": f"{n:x}.io", "expires": now + 100_000 + n} for n in range(count)]).encode()


ANSWERS: dict[str, tuple[bytes, object]] = {
    "a good one among nothing": (repeated(f"[{GOOD}", ",{}", "]"), FIELDS),
    "nothing at all": (repeated("[{}", ",{}", "]"), FIELDS),
    "registries": (auths(21_000, ENTRY), "auths"),
    "ends": (ending(10_000), FIELDS),
}


@contextmanager
def asking(platform: Platform, folder: Path, answer: bytes, how: object) -> Iterator[Target]:
    """A replica that asks a service of all owners, alice too, and is always told this."""
    token = planted.token()
    with tokenservice.serving(folder / "service", token=token) as service:
        service.body = answer
        (token_file := folder / "token").write_text(token)
        files = {"tokenFile": str(token_file), "caFile": service.ca_file}
        http = {"from": "http", "url": service.url, "answer": how, "maxAge": 0.0, **files}
        with target(platform.cluster, "asking", settings={"sources": [http, {"from": "secrets"}]}) as started:
            deployed.register(platform.cluster, started.replica.port)
            deployed.wait_called(platform.cluster.api, started.replica.port, VICTIM)
            yield started


def ask_again(platform: Platform, owners: int, seconds: float) -> None:
    """Of each of so many owners, as often as the webhook does: pods make it ask."""
    with ExitStack() as stack:
        spaces = [stack.enter_context(platform.space(owner=f"evil-{number}")) for number in range(owners)]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            at_once(partial(platform.mallory.create, pod(space), dry_run=True) for space in spaces)
            time.sleep(0.2)
