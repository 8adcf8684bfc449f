"""Any review gets an answer: a pod or Deployment of any shape an unchanged one but for the reference, garbage one line."""

import asyncio
import base64
import copy
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jsonpatch
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from webhook.admission import Admission, Settings
from webhook.credential import Credentials
from webhook.errors import MalformedReview
from webhook.metrics import Metrics
from webhook.notice import Notice
from webhook.pullsecret import Fingerprint, Namespace, Planner, Standing
from webhook.review import Request, decode
from webhook.server import Mutate, admission_app
from webhook.state import Account, State, account_key
from webhook.supply import Supply

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SECRET = "ghcr-secret"
Object = dict[str, Any]

# -- what the API server may send --

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from([SECRET, "mine", "other", "", "ünïcode", "a/b", "-"])
TEXTS = st.dictionaries(
    st.sampled_from(["app", "pullsecret-webhook/inject", "kubernetes.io/config.mirror", "a/b~c"]),
    st.sampled_from(["", "disabled", "enabled"]) | st.text(max_size=5),
    max_size=3,
)


def objects(known: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Object]:
    """Some of these fields, null now and then, among others that nobody knows."""
    others = st.dictionaries(st.text(max_size=8).filter(lambda key: key not in known), JSON, max_size=2)
    some = st.fixed_dictionaries({}, optional={key: st.none() | value for key, value in known.items()})
    return st.builds(lambda a, b: {**a, **b}, others, some)


REFERENCES = st.lists(st.none() | objects({"name": NAMES}), max_size=4)
METADATA = objects({"labels": TEXTS, "annotations": TEXTS, "name": NAMES, "namespace": NAMES})
POD_SPEC = objects({"imagePullSecrets": REFERENCES, "serviceAccountName": NAMES, "containers": JSON})
PODS = objects({"metadata": METADATA, "spec": POD_SPEC, "status": JSON})
TEMPLATES = objects({"metadata": METADATA, "spec": POD_SPEC})
DEPLOYMENTS = objects({"metadata": METADATA, "spec": objects({"template": TEMPLATES, "replicas": JSON})})


def review(kind: str, obj: object, old: object = None, **request: object) -> Object:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "uid-of-the-review",
            "kind": {"group": "" if kind == "Pod" else "apps", "version": "v1", "kind": kind},
            "operation": "CREATE",
            "namespace": "team",
            "object": obj,
            "oldObject": old,
            "options": {"kind": "CreateOptions"},
            **request,
        },
    }


REVIEWS = st.one_of(
    st.builds(review, st.just("Pod"), PODS, dryRun=st.none() | st.booleans()),
    st.builds(review, st.just("Deployment"), DEPLOYMENTS),
    st.builds(review, st.just("Deployment"), DEPLOYMENTS, DEPLOYMENTS, operation=st.just("UPDATE")),
    st.builds(
        review,
        st.sampled_from(["Pod", "Deployment"]),
        PODS | DEPLOYMENTS,
        operation=st.sampled_from(["CREATE", "UPDATE", "DELETE", "CONNECT"]),
        subResource=st.sampled_from(["", "status", "ephemeralcontainers"]),
        namespace=st.sampled_from(["team", "unowned", "unknown", "", "../x"]),
    ),
)

# -- and how it is answered --


@dataclass(frozen=True)
class Response:
    status: int
    body: bytes


class NothingToSay:
    async def credentials(self, owner: str) -> Credentials:
        return Credentials()


class NoStore:
    """Without a credential nothing is ever written."""

    async def apply(self, *_: Any, **__: Any) -> Standing:
        raise AssertionError

    async def delete(self, over: Standing) -> None:
        raise AssertionError

    release = delete

    async def read(self, namespace: str) -> Standing | None:
        raise AssertionError


async def nowhere(_: str) -> Namespace | None:
    return None


async def nobody(_namespace: str, _name: str) -> Account | None:
    return None


def ignore(_: Notice | str) -> None:
    pass


def mutate(account: Account | None = None) -> Mutate:
    """The namespace `team` is alice's, who has no credential: the reference is injected, the Secret follows."""
    state = State.empty()
    state.namespaces.replace(
        {"team": Namespace("team", "uid-1", 1, "alice"), "unowned": Namespace("unowned", "uid-2", 2, None)}, 2
    )
    if account is not None:
        state.accounts.learn(account_key("team", "default"), account)
    planner, metrics = Planner(SECRET, Fingerprint(b"k")), Metrics()
    supply = Supply(state, NothingToSay(), NoStore(), nowhere, planner, lambda: NOW, metrics, ignore)
    return Mutate(Admission(Settings(SECRET), state, supply, nowhere, nobody, ignore, ignore), metrics)


def post(endpoint: Mutate, body: bytes) -> Response:
    """Through the router, without a network."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/mutate",
        "root_path": "",
        "query_string": b"timeout=3s",
        "headers": [(b"content-type", b"application/json")],
    }
    asyncio.run(asyncio.wait_for(admission_app(endpoint, str)(scope, receive, send), 5))
    return Response(sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]))


ENDPOINT = mutate()
WITH_ACCOUNT = mutate(Account(1, ("mine", "accounts-own", SECRET), enforced=False))


def patched(endpoint: Mutate, asked: Object) -> Object:
    """The whole object as the API server makes it of our answer."""
    response = post(endpoint, json.dumps(asked).encode())
    assert response.status == 200, response
    answered = json.loads(response.body)
    assert (answered["apiVersion"], answered["kind"]) == ("admission.k8s.io/v1", "AdmissionReview")
    assert answered["response"]["uid"] == asked["request"]["uid"]
    assert answered["response"]["allowed"] is True
    if "patch" not in answered["response"]:
        return copy.deepcopy(asked["request"]["object"]) if asked["request"]["object"] is not None else {}
    assert answered["response"]["patchType"] == "JSONPatch"
    patch = json.loads(base64.b64decode(answered["response"]["patch"]))
    assert patch
    result: Object = jsonpatch.apply_patch(asked["request"]["object"], patch)
    return result


def pod_spec(asked: Object, obj: Object) -> Object | None:
    found: Any = obj
    for key in ("spec",) if asked["request"]["kind"]["kind"] == "Pod" else ("spec", "template", "spec"):
        found = (found or {}).get(key)
    return found if isinstance(found, dict) else None


def references(spec: Object | None) -> list[str | None]:
    return [(reference or {}).get("name") for reference in (spec or {}).get("imagePullSecrets") or []]


def as_the_api_server_does(asked: Object, account: tuple[str, ...]) -> None:
    """ServiceAccount admission comes first: it fills the list of a pod that has none."""
    request = asked["request"]
    if request["kind"]["kind"] == "Pod" and request["operation"] == "CREATE":
        spec = pod_spec(asked, request["object"])
        if spec is not None and not spec.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [{"name": name} for name in account]


@given(asked=REVIEWS, with_account=st.booleans())
@example(asked=review("Pod", {"spec": {}}), with_account=False)
@example(asked=review("Pod", {"spec": {"imagePullSecrets": None}}), with_account=False)
@example(asked=review("Pod", {"spec": {"imagePullSecrets": [{"name": SECRET}]}}), with_account=True)
@example(asked=review("Deployment", {"spec": {"template": {"spec": {"x": 1}}}}), with_account=True)
@settings(max_examples=400)
def test_nothing_changes_but_the_reference_at_the_end_of_the_list(asked: Object, with_account: bool) -> None:
    endpoint = WITH_ACCOUNT if with_account else ENDPOINT
    if with_account:
        as_the_api_server_does(asked, ("mine", "accounts-own", SECRET))
    before = copy.deepcopy(asked["request"]["object"]) if asked["request"]["object"] is not None else {}

    after = patched(endpoint, asked)

    had, has = references(pod_spec(asked, before)), references(pod_spec(asked, after))
    assert has[: len(had)] == had
    added = has[len(had) :]
    assert len(set(added)) == len(added)
    assert not set(added) & set(had)
    assert set(added) <= {SECRET, "mine", "accounts-own"}

    for obj in (before, after):  # all else
        (pod_spec(asked, obj) or {}).pop("imagePullSecrets", None)
    assert after == before


@given(asked=REVIEWS, with_account=st.booleans())
@settings(max_examples=200)
def test_a_second_pass_changes_nothing(asked: Object, with_account: bool) -> None:
    """`reinvocationPolicy: IfNeeded`, and a tool that applies what it has read."""
    endpoint = WITH_ACCOUNT if with_account else ENDPOINT
    if with_account:
        as_the_api_server_does(asked, ("mine", "accounts-own", SECRET))
    once = patched(endpoint, asked)
    if asked["request"]["object"] is not None:
        asked["request"]["object"] = once
        assert patched(endpoint, asked) == once


@pytest.mark.parametrize("kind", ["Pod", "Deployment"])
@given(data=st.data())
@settings(max_examples=60)
def test_what_can_have_the_reference_gets_it(kind: str, data: st.DataObject) -> None:
    spec = data.draw(POD_SPEC)
    obj = {"spec": spec} if kind == "Pod" else {"spec": {"template": {"spec": spec}}}
    asked = review(kind, obj)
    assert references(pod_spec(asked, patched(ENDPOINT, asked))).count(SECRET) == max(1, references(spec).count(SECRET))


# -- what no API server sends --


VALID = json.dumps(
    review("Pod", {"metadata": {"labels": {"a": "b"}}, "spec": {"imagePullSecrets": [{"name": "mine"}]}})
).encode()


def replaced(raw: bytes, at: int, by: bytes) -> bytes:
    at %= len(raw)
    return raw[:at] + by + raw[at + len(by) :]


@st.composite
def grafted(draw: st.DrawFn) -> bytes:
    """A valid review with some value in it replaced by any other."""
    whole = json.loads(VALID)
    parent = whole
    while True:
        key = draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else list(range(len(parent)))))
        if not isinstance(parent[key], dict | list) or not parent[key] or draw(st.booleans()):
            parent[key] = draw(JSON)
            return json.dumps(whole).encode()
        parent = parent[key]


GARBAGE = st.one_of(
    st.binary(max_size=200),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.integers(0, len(VALID)).map(lambda end: VALID[:end]),
    st.builds(replaced, st.just(VALID), st.integers(0, 1000), st.binary(min_size=1, max_size=3)),
    st.builds(lambda junk: VALID + junk, st.binary(min_size=1, max_size=3)),
    grafted(),
)
DEEP = 100_000


@given(body=GARBAGE)
@example(body=b'{"a":' * DEEP)
@example(body=VALID.replace(b'"b"', b"[" * DEEP))
@example(body=VALID.replace(b'"b"', b'"\xff"'))
@example(body=VALID.replace(b'"b"', b'"\\ud800"'))
@example(body=VALID.replace(b'"labels"', b'"spec": {"x": 1e999}, "labels"'))
@settings(max_examples=400)
def test_garbage_is_refused_in_one_line(body: bytes) -> None:
    try:
        decoded: Request | None = decode(body)
    except MalformedReview as e:
        decoded = None
        assert e.status == 400

    response = post(ENDPOINT, body)

    if decoded is None:
        assert response.status == 400
        assert response.body.count(b"\n") == 1
        assert len(response.body) < 100
    else:
        assert response.status == 200
        assert json.loads(response.body)["response"]["allowed"] is True
