"""The endpoint by itself: whatever comes, in whatever pieces, there is one answer, in one line, without a traceback."""

import asyncio
import json
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webhook.config.models import Config
from webhook.core.errors import MalformedReview
from webhook.core.metrics import Metrics
from webhook.core.pullsecret import Fingerprint, Planner
from webhook.core.review import decode
from webhook.kube.lookup import Lookup
from webhook.kube.views import State
from webhook.serving.server import Mutate, admission_app, seconds_left
from webhook.sources.combined import Combined
from webhook.supply import Supply
from webhook.wiring import Parts

REVIEW = {
    "apiVersion": "admission.k8s.io/v1",
    "kind": "AdmissionReview",
    "request": {
        "uid": "1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": "team",
        "object": {"metadata": {"labels": {"a": "b"}}, "spec": {"imagePullSecrets": [{"name": "mine"}]}},
    },
}
VALID = json.dumps(REVIEW).encode()
DEEP = 100_000


class Nothing(Lookup):
    """Finds neither namespaces nor accounts."""

    def __init__(self) -> None:
        pass

    async def namespace_in_review(self, name: str) -> None:
        pass

    async def account(self, namespace: str, name: str) -> None:
        pass


def empty_cluster() -> Mutate:
    """Nobody has an owner, so nothing is supplied."""
    metrics, none = Metrics(), cast(Any, None)
    supply = Supply(
        state=State.empty(),
        source=Combined([]),
        store=none,
        lookup=Nothing(),
        policy=none,
        planner=Planner("ghcr-secret", Fingerprint(b"k")),
        now=lambda: datetime.now(UTC),
        metrics=metrics,
        record=none,
    )
    parts = Parts(Config(), supply)
    return Mutate(parts.admission, metrics)


MUTATE = empty_cluster()


def post(messages: list[dict[str, Any]], query: bytes = b"") -> tuple[int, bytes]:
    """Through the router, without a network. Status 0: it went without a word."""
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mutate",
        "root_path": "",
        "query_string": query,
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(asyncio.wait_for(admission_app(MUTATE, str)(scope, receive, send), 5))
    if not sent:
        return 0, b""
    start, body = sent
    return start["status"], body["body"]


def pieces(body: bytes, cuts: list[int]) -> list[dict[str, Any]]:
    at = [0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body)]
    chunks = [body[start:end] for start, end in pairwise(at)]
    return [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks] + [{"type": "http.request"}]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


def overwritten(at: int, by: bytes) -> bytes:
    at %= len(VALID)
    return VALID[:at] + by + VALID[at + len(by) :]


BODIES = st.one_of(
    st.binary(max_size=100),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.integers(0, len(VALID)).map(lambda end: VALID[:end]),
    st.builds(overwritten, st.integers(0, 1000), st.binary(min_size=1, max_size=3)),
    st.builds(lambda key, value: json.dumps(REVIEW | {key: value}).encode(), st.sampled_from(sorted(REVIEW)), JSON),
)


@settings(max_examples=200)
@given(body=BODIES, cuts=st.lists(st.integers(0, 1000), max_size=3))
@example(body=VALID, cuts=[5, 100])
@example(body=b'{"a":' * DEEP, cuts=[])
@example(body=VALID.replace(b'"b"', b"[" * DEEP), cuts=[])
@example(body=VALID.replace(b'"b"', b'"\xff"'), cuts=[])
def test_any_body_in_any_pieces(body: bytes, cuts: list[int]) -> None:
    try:
        decode(body)
    except MalformedReview as e:
        expected = e.status
    else:
        expected = 200

    status, answer = post(pieces(body, cuts))

    assert status == expected
    if status == 200:
        assert json.loads(answer)["response"]["allowed"] is True
    else:
        assert answer.count(b"\n") == 1
        assert len(answer) < 100


@given(cuts=st.lists(st.integers(0, 1000), min_size=1, max_size=3))
def test_a_client_that_goes_gets_no_answer(cuts: list[int]) -> None:
    assert post([*pieces(VALID, cuts)[:-2], {"type": "http.disconnect"}]) == (0, b"")


@given(query=st.binary(max_size=40) | st.text(max_size=20).map(lambda text: b"timeout=" + text.encode()))
@example(query=b"timeout=%D9%A3s")
@example(query=b"timeout=9999.999999999m")
@example(query=b"timeout=0s")
def test_any_query_leaves_some_time(query: bytes) -> None:
    assert 0 <= seconds_left(query) < 9999 * 60 + 60
    assert post(pieces(VALID, []), query)[0] == 200


@pytest.mark.parametrize("levels", [990, 9_990, 30_000])
def test_a_pod_with_fields_that_nest_deep_is_answered_like_any(levels: int) -> None:
    deep = b'[{"fieldsV1":' + b'{"f:a":' * levels + b"{}" + b"}" * levels + b"}]"
    body = VALID.replace(b'"metadata": {', b'"metadata": {"managedFields": ' + deep + b", ")
    assert post(pieces(body, [])) == post(pieces(VALID, []))
