"""What a review costs when its namespace is right, counted and not timed: no I/O, no task, every byte decoded once."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, cast

import pytest
import uvicorn
from uvicorn.server import ServerState

import planted
from webhook import review
from webhook.admission import Admission, Settings
from webhook.credential import Credential, Credentials
from webhook.metrics import Metrics
from webhook.protocol import ReviewProtocol
from webhook.pullsecret import Fingerprint, Namespace, Planner, Standing, fields
from webhook.server import Mutate, admission_app
from webhook.state import Account, State, account_key
from webhook.supply import Supply

TEAM = Namespace("team", "uid-team", 1, "alice")
CREDENTIALS = Credentials((Credential("ghcr.io", "alice", planted.token()),))
FINGERPRINT = Fingerprint(b"k")
PLANNER = Planner("ghcr-secret", FINGERPRINT)
POD = {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "ghcr.io/alice/app"}]}}


class Source:
    def known(self, _owner: str) -> Credentials:
        return CREDENTIALS

    async def credentials(self, _owner: str) -> Credentials:
        raise AssertionError("what is known is not asked for")


async def no_io(*_: str, **__: bool) -> Any:
    raise AssertionError("the request path did I/O")


def mutate() -> tuple[Mutate, Metrics]:
    """A namespace that is right; whatever would reach out of the process fails the test."""
    state, metrics = State.empty(), Metrics()
    state.namespaces.learn("team", TEAM)
    digest = FINGERPRINT(fields(PLANNER.body(TEAM, CREDENTIALS.items)))
    standing = Standing(
        "team", "s", 2, ours=True, dockerconfig=True, immutable=False, terminating=False, owner="alice", digest=digest
    )
    state.standing.learn("team", standing)
    state.accounts.learn(account_key("team", "default"), Account(1, (), enforced=False))
    unused = cast(Any, None)
    supply = Supply(
        state, Source(), unused, cast(Any, no_io), no_io, PLANNER, lambda: datetime.now(UTC), metrics, unused
    )
    return Mutate(Admission(Settings("ghcr-secret"), state, supply, no_io, no_io, unused, unused), metrics), metrics


class Transport(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""

    def write(self, data: Any) -> None:
        self.written += data

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default


def request() -> bytes:
    whole = {
        "uid": "u-1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "team",
        "object": POD,
    }
    body = json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": whole}).encode()
    head = f"POST /mutate?timeout=3s HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Counted:
    def __init__(self, decode: Callable[[bytes], Any]) -> None:
        self.bytes, self._decode = 0, decode

    def decode(self, body: bytes) -> Any:
        self.bytes += len(body)
        return self._decode(body)


def test_nothing_but_the_review_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks: list[str] = []
    decoder = Counted(review._DECODER.decode)
    monkeypatch.setattr(review, "_DECODER", decoder)

    def task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        tasks.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    async def fifty() -> tuple[Transport, Metrics]:
        asyncio.get_running_loop().set_task_factory(cast(Any, task))
        answering, metrics = mutate()
        config = uvicorn.Config(admission_app(answering, str), lifespan="off", log_config=None, proxy_headers=False)
        protocol, transport = ReviewProtocol(answering.at_once, config, ServerState(), {}), Transport()
        protocol.connection_made(transport)
        for _ in range(50):
            protocol.data_received(request())
        protocol.connection_lost(None)
        asyncio.get_running_loop().set_task_factory(None)  # the end of the loop has tasks of its own
        return transport, metrics

    transport, metrics = asyncio.run(fifty())

    assert transport.written.count(b"HTTP/1.1 200 OK") == 50
    assert transport.written.count(b'"patch":') == 50
    assert metrics.registry.get_sample_value("pullsecret_webhook_reviews_total", {"outcome": "injected"}) == 50
    assert metrics.registry.get_sample_value("pullsecret_webhook_review_seconds_count") == 50
    assert tasks == []
    assert decoder.bytes == 50 * len(request().partition(b"\r\n\r\n")[2])


def test_what_is_not_imported() -> None:
    """The client's models are 26 MiB, its synchronous twin and what that needs 9."""
    code = "import sys; from webhook import app, log; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "kubernetes.aio.client.api_client" in modules
    unwanted = ("kubernetes.aio.client.models.", "kubernetes.aio.client.api.", "kubernetes.client", "requests")
    assert [name for name in modules if name.startswith(unwanted)] == []
