"""What a review costs when its namespace is right, counted and not timed: no I/O, no task, every byte decoded once."""

import asyncio
import base64
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import uvicorn
from uvicorn.server import ServerState

from support import planted
from support.steps import at_once
from webhook.config.mirrorconfig import Mirror
from webhook.config.models import AnnotationRule, Config
from webhook.core import podimages, review
from webhook.core.credential import Credential
from webhook.core.dockerconfig import render
from webhook.core.metrics import Metrics
from webhook.core.names import DOCKERCONFIG_KEY, DOCKERCONFIG_TYPE, OWNER
from webhook.core.pullsecret import ExistingSecret, Fingerprint, Namespace, Plan, Planner
from webhook.kube.cluster import SecretMeta, SecretObject
from webhook.kube.views import Account, State, account_key
from webhook.serving.fastpath import ReviewProtocol
from webhook.serving.server import Mutate, admission_app
from webhook.sources.secret import SecretSource
from webhook.supply import Supply
from webhook.wiring import Parts

TEAM, FREE, NEW = (
    Namespace("team", "uid-team", 1, "alice"),
    Namespace("free", "uid-free", 1, None),
    Namespace("new", "uid-new", 1, "carol"),
)
CREDENTIAL = Credential("ghcr.io", "alice", planted.token())
FINGERPRINT = Fingerprint(b"k")
PLANNER = Planner("ghcr-secret", FINGERPRINT)
TIMES = 50


def spec(*pull_secrets: str) -> dict[str, Any]:
    containers = {"containers": [{"name": "c", "image": "ghcr.io/alice/app"}]}
    return containers | ({"imagePullSecrets": [{"name": name} for name in pull_secrets]} if pull_secrets else {})


def asked(body: dict[str, Any], kind: str = "Pod", namespace: str = "team", **more: object) -> bytes:
    """A whole review. The label and the annotation are others' and not looked into."""
    group = "apps" if kind == "Deployment" else ""
    metadata = {"labels": {"app": "x"}, "annotations": {"example.com/text": "y" * 200}}
    whole = {
        "uid": "u-1",
        "kind": {"group": group, "version": "v1", "kind": kind},
        "operation": "CREATE",
        "namespace": namespace,
        "object": {"metadata": metadata, "spec": body},
        **more,
    }
    return json.dumps({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": whole}).encode()


@dataclass(frozen=True)
class Case:
    """`listed`: bytes of a list of imagePullSecrets, which is looked into after all else was decoded. `plans`: how
    often it was decided what the Secret should be. `mirrored`: images of another registry get other names."""

    body: bytes
    outcome: str = "injected"
    listed: int = 0
    plans: int = 1
    mirrored: bool = False


def listed(*names: str) -> int:
    return len(json.dumps([{"name": name} for name in names]))


CASES = {
    "pod": Case(asked(spec())),
    "deployment": Case(asked({"template": {"spec": spec()}}, "Deployment")),
    "pod with a list": Case(asked(spec("own")), listed=listed("own")),
    "pod of a patched template": Case(asked(spec("ghcr-secret")), listed=listed("ghcr-secret")),
    "dry run": Case(asked(spec(), dryRun=True), plans=0),
    "nobody's namespace": Case(asked(spec(), namespace="free"), "not_served", plans=0),
    "owner without credential": Case(asked(spec(), namespace="new")),
    "pod whose images are looked at": Case(asked(spec()), mirrored=True),
}


async def no_io(*_: str, **__: bool) -> Any:
    raise AssertionError("the request path did I/O")


def never(*_: object) -> None:
    raise AssertionError("nothing is to be told, and nothing to be looked at later")


class Counting:
    """A planner that counts its plans."""

    def __init__(self) -> None:
        self.name, self.plans = PLANNER.name, 0

    def __call__(self, *known: Any) -> Plan:
        self.plans += 1
        return PLANNER(*known)


def source(metrics: Metrics) -> SecretSource:
    """The real one, which knows alice's token."""
    made = SecretSource(cast(Any, None), "release", lambda _owner: None, never, metrics)
    content = base64.b64encode(render([CREDENTIAL])).decode()
    meta = SecretMeta(name="alice", namespace="release", resource_version="5", labels={OWNER: "alice"})
    at_once(made.replace(dict([made.keep(SecretObject(meta, DOCKERCONFIG_TYPE, {DOCKERCONFIG_KEY: content}))]), 5))
    return made


def mutate(planner: Counting, *, mirrored: bool) -> tuple[Mutate, Metrics]:
    """Namespaces that are right; whatever would reach out of the process fails the test."""
    state, metrics = State.empty(), Metrics()
    state.namespaces.in_touch()
    for namespace in (TEAM, FREE, NEW):
        state.namespaces.learn(namespace.name, namespace)
        state.accounts.learn(account_key(namespace.name, "default"), Account(1, "registry", enforced=False))
    digest = PLANNER.digest(PLANNER.body(TEAM, [CREDENTIAL]))
    existing = ExistingSecret(
        "team", "s", 2, ours=True, dockerconfig=True, immutable=False, terminating=False, owner="alice", digest=digest
    )
    state.pull_secrets.learn("team", existing)
    supply = Supply(
        state=state,
        source=source(metrics),
        store=cast(Any, None),
        lookup=cast(Any, SimpleNamespace(namespace=no_io, namespace_in_review=no_io, account=no_io)),
        policy=no_io,
        planner=cast(Planner, planner),
        now=lambda: datetime.now(UTC),
        metrics=metrics,
        record=never,
    )
    mirrors = (Mirror(of="quay.io", to="m.test", how="rewrite"),) if mirrored else ()
    # So it is asked about all namespaces.
    parts = Parts(Config(owner_rules=(AnnotationRule(key=OWNER),), mirrors=mirrors), supply)
    return Mutate(replace(parts.admission, later=never), metrics), metrics


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


class Counted:
    def __init__(self, decode: Callable[[Any], Any]) -> None:
        self.bytes, self._decode = 0, decode

    def decode(self, body: Any) -> Any:
        self.bytes += len(body)
        return self._decode(body)


class Watched:
    """What reaches out of the process, by Python's own audit events. A hook stays for good, so it is one for all."""

    on = False
    seen: list[str]

    def __init__(self) -> None:
        self.seen = []
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _: object) -> None:
        if self.on and event.partition(".")[0] in ("open", "socket", "os", "subprocess"):
            self.seen.append(event)


WATCHED = Watched()


@dataclass
class Served:
    transport: Transport
    metrics: Metrics
    plans: int
    tasks: list[str]
    reached: list[str]


async def serve(body: bytes, *, apart: bool, mirrored: bool = False) -> Served:
    """The same review, some times. `apart`: head and body come one after the other, as the API server sends them."""
    tasks: list[str] = []

    def task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> Any:
        tasks.append(coroutine.__qualname__)
        return asyncio.Task(coroutine, loop=loop, **options)

    asyncio.get_running_loop().set_task_factory(cast(Any, task))
    planner = Counting()
    answering, metrics = mutate(planner, mirrored=mirrored)
    config = uvicorn.Config(admission_app(answering, str), lifespan="off", log_config=None, proxy_headers=False)
    protocol, transport = ReviewProtocol(answering.at_once, config, ServerState(), {}), Transport()
    protocol.connection_made(transport)
    head = b"POST /mutate?timeout=3s HTTP/1.1\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    whole = head % len(body) + body
    WATCHED.seen.clear()
    WATCHED.on = True
    for _ in range(TIMES):
        for part in (head % len(body), body) if apart else (whole,):
            protocol.data_received(part)
    WATCHED.on = False
    protocol.connection_lost(None)
    asyncio.get_running_loop().set_task_factory(None)  # the end of the loop has tasks of its own
    return Served(transport, metrics, planner.plans, tasks, list(WATCHED.seen))


@pytest.mark.parametrize("apart", [False, True], ids=["in one piece", "head and body apart"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_nothing_but_the_review_itself(case: Case, apart: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"_DECODER": review, "_READER": review, "_BARE": review, "_REFERENCES": review, "_CONTAINERS": podimages}
    decoders = {name: Counted(getattr(module, name).decode) for name, module in names.items()}
    for name, decoder in decoders.items():
        monkeypatch.setattr(names[name], name, decoder)
    for module in (json, msgspec.json):
        monkeypatch.setattr(module, "loads" if module is json else "decode", never)

    served = asyncio.run(serve(case.body, apart=apart, mirrored=case.mirrored))

    value = served.metrics.registry.get_sample_value
    assert served.transport.written.count(b"HTTP/1.1 200 OK") == TIMES
    assert served.transport.written.count(b'"patch":') == (TIMES if case.outcome == "injected" else 0)
    assert value("pullsecret_webhook_reviews_total", {"outcome": case.outcome}) == TIMES
    assert value("pullsecret_webhook_review_seconds_count") == TIMES
    assert served.tasks == []
    assert served.reached == []
    assert served.plans == case.plans  # the values that a plan was made of are remembered
    assert {name: decoder.bytes for name, decoder in decoders.items()} == {
        "_DECODER": 0 if case.mirrored else TIMES * len(case.body),
        "_READER": TIMES * len(case.body) if case.mirrored else 0,
        "_BARE": 0,
        "_CONTAINERS": 0,
        "_REFERENCES": TIMES * case.listed,
    }


def test_the_watch_on_what_reaches_out_sees_it(tmp_path: Any) -> None:
    WATCHED.seen.clear()
    WATCHED.on = True
    (tmp_path / "file").write_text("x")
    WATCHED.on = False
    assert "open" in WATCHED.seen


def test_what_is_not_imported() -> None:
    """The client's models are 26 MiB, its ApiClient with pydantic 11, its synchronous twin and what that needs 9. Nor
    when reviews were answered.
    """
    code = (
        "import asyncio, importlib.util, sys\n"
        "from webhook import app; from webhook.serving import log\n"
        f"spec = importlib.util.spec_from_file_location('guard', {__file__!r})\n"
        "guard = importlib.util.module_from_spec(spec)\n"
        "sys.modules['guard'] = guard\n"
        "spec.loader.exec_module(guard)\n"
        "served = asyncio.run(guard.serve(guard.CASES['pod with a list'].body, apart=False))\n"
        "assert served.transport.written.count(b'200 OK') == guard.TIMES\n"
        "print(*sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    modules = done.stdout.split()
    assert "kubernetes.aio.client.rest" in modules
    unwanted = (
        "kubernetes.aio.client.models", "kubernetes.aio.client.api", "kubernetes.client", "pydantic", "requests",
    )  # fmt: skip
    assert [name for name in modules if name.startswith(unwanted)] == []
