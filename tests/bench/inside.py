"""`python -m bench.inside`: where the time of one review goes, inside one process and without TLS.

The captured review, as the API server sends it: head and body apart. Each part is timed alone, the best of some runs;
what does not depend on the others is measured by leaving the others out.
"""

import asyncio
import base64
import json
import statistics
import time
import timeit
from collections.abc import Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import Any, cast

import uvicorn
from uvicorn.server import ServerState

from bench.contenders import OURS as US
from bench.contenders import REVIEW, SPACES
from webhook.config.mirrorconfig import Mirror
from webhook.config.models import Config
from webhook.core import review
from webhook.core.credential import Credential, Credentials
from webhook.core.metrics import Metrics
from webhook.core.pullsecret import ExistingSecret, Fingerprint, Namespace, Planner
from webhook.core.registry import repository
from webhook.kube.views import PlainAccount, State, account_key
from webhook.serving.fastpath import AtOnce, ReviewProtocol
from webhook.serving.server import Mutate, admission_app
from webhook.supply import Supply
from webhook.wiring import Parts

RUNS, REVIEWS, COLD_REVIEWS = 7, 5000, 1000
COLD_KIB = (1, 1024, 4096)
"""Memory that is copied before a review, which takes what the review needs out of the processor's caches."""
SPACE = SPACES[US]
BODY = REVIEW.read_bytes()
HEAD = (
    f"POST /mutate?timeout=3s HTTP/1.1\r\nHost: pullsecret-webhook.pullsecret-webhook.svc:443\r\n"
    f"User-Agent: kube-apiserver-admission\r\nContent-Length: {len(BODY)}\r\nAccept: application/json, */*\r\n"
    "Content-Type: application/json\r\nAccept-Encoding: gzip\r\n\r\n"
).encode()


IMAGE = json.loads(BODY)["request"]["object"]["spec"]["containers"][0]["image"]
REGISTRY, MIRROR = repository(IMAGE).partition("/")[0], "mirror.example.com"
MIRRORED = Config(
    mirrors=tuple(
        Mirror(of=of, to=to, how="rewrite") for of, to in (("quay.io", "other.example.com"), (REGISTRY, MIRROR))
    )
)


class Known:
    """A source that knows the one owner."""

    credentials_ = Credentials((Credential("ghcr.io", "alice", "not-a-token"),))

    def known(self, _owner: str) -> Credentials:
        return self.credentials_

    async def prefetch(self, owners: Collection[str]) -> None:
        pass

    def invalidate(self, _owner: str) -> None:
        pass

    async def credentials(self, _owner: str) -> Credentials:
        return self.credentials_


def mutate(config: Config, registries: Sequence[str] = ()) -> Mutate:
    """`registries`: of the pull secret. All mirrors answer."""
    state, metrics, fingerprint, unused = State.empty(), Metrics(), Fingerprint(b"k"), cast(Any, None)
    planner, namespace = Planner("ghcr-secret", fingerprint), Namespace(SPACE, "uid", 1, "alice")
    digest = planner.digest(planner.body(namespace, Known.credentials_.items))
    state.namespaces.learn(SPACE, namespace)
    state.pull_secrets.learn(
        SPACE, ExistingSecret(SPACE, "s", 2, True, True, False, False, "alice", digest, tuple(registries))
    )  # as in Standing
    state.accounts.learn(account_key(SPACE, "default"), PlainAccount(1))
    supply = Supply(
        state=state,
        source=Known(),
        store=unused,
        lookup=unused,
        policy=unused,
        planner=planner,
        now=lambda: datetime.now(UTC),
        metrics=metrics,
        record=lambda _notice: None,
    )
    parts = Parts(config, supply)
    return Mutate(parts.admission, metrics)


class Transport(asyncio.Transport):
    def write(self, data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        """By the keep-alive timer, on a slow machine."""

    def get_extra_info(self, _name: str, default: Any = None) -> Any:
        return default


def answering(at_once: AtOnce, app: Any) -> Callable[[], None]:
    config = uvicorn.Config(app, lifespan="off", log_config=None, proxy_headers=False)
    protocol = ReviewProtocol(at_once, config, ServerState(), {})
    protocol.connection_made(Transport())

    def one() -> None:
        protocol.data_received(HEAD)
        protocol.data_received(BODY)

    return one


def microseconds(what: Callable[[], object]) -> float:
    return min(timeit.repeat(what, number=REVIEWS, repeat=RUNS)) / REVIEWS * 1e6


def cold_microseconds(what: Callable[[], object], kib: int) -> float:
    """The median of single ones, before each of which so much memory is copied."""
    memory = memoryview(bytearray(kib * 1024))
    took = []
    for _ in range(COLD_REVIEWS):
        bytes(memory)
        began = time.perf_counter()
        what()
        took.append(time.perf_counter() - began)
    return statistics.median(took) * 1e6


async def main() -> None:
    ours = mutate(Config())
    app = admission_app(ours, str)
    request = review.decode(BODY)
    answer = ours.at_once(BODY)
    assert isinstance(answer, bytes)
    assert b'"patch"' in answer
    whole = microseconds(answering(ours.at_once, app))
    parts = {
        "HTTP: head, body, what is done after the answer": microseconds(answering(lambda _: answer, app)),
        "the review decoded (msgspec)": microseconds(lambda: review.decode(BODY)),
        "the decision: owner, views, account, is the Secret right; the answer encoded": microseconds(
            lambda: ours._admission.at_once(request)
        ),
    }
    print(f"{whole:6.1f} us  a review, of which")
    for what, took in parts.items():
        print(f"{took:9.1f}  {what}")
    print(f"{whole - sum(parts.values()):9.1f}  counters and the rest")
    named, kept = mutate(MIRRORED, ["ghcr.io", MIRROR]), mutate(MIRRORED, ["ghcr.io"])
    answer = named.at_once(BODY)
    assert isinstance(answer, bytes)
    assert MIRROR in base64.b64decode(json.loads(answer.split(b"\r\n\r\n")[1])["response"]["patch"]).decode()
    rows = {"with two mirrors, and the name of the second one": named, "with two mirrors, but no credential": kept}
    for what, one in rows.items():
        print(f"{microseconds(answering(one.at_once, app)):6.1f} us  {what}")
    for kib in COLD_KIB:
        took = cold_microseconds(answering(ours.at_once, app), kib)
        print(f"{took:6.1f} us  a single review, the median, after a copy of {kib:,} KiB")


if __name__ == "__main__":
    asyncio.run(main())
