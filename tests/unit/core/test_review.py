"""Reviews from bytes to answers: whatever an object looks like, its pod gets references, and nothing else changes."""

import asyncio
import base64
import json
import sys
import tracemalloc
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, ClassVar

import jsonpatch
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import planted
from webhook.config.models import Config, NameRule
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import MalformedReview
from webhook.core.metrics import Metrics
from webhook.core.names import IMAGES, INJECT, MIRROR
from webhook.core.notice import Notice
from webhook.core.patch import encoded
from webhook.core.pullsecret import ExistingSecret, Fingerprint, Namespace, Planner
from webhook.core.review import Request, answer, decode, detached, old_names, target
from webhook.kube.cluster import SecretObject
from webhook.kube.lookup import Lookup
from webhook.kube.pullsecrets import PullSecrets
from webhook.kube.reader import Reader
from webhook.kube.views import Account, AnyAccount, PlainAccount, State, account_key
from webhook.supply import Supply
from webhook.wiring import Parts

SECRET = "ghcr-secret"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
TEAM = Namespace("team", "u1", 1, "alice")
INHERITED, ENFORCED = ("inherited", SECRET, "a"), ("a",)
ACCOUNTS: dict[str, AnyAccount] = {
    "default": PlainAccount(1),
    "inherits": Account(1, "/".join(INHERITED), enforced=False),
    "enforces": Account(1, "/".join(ENFORCED), enforced=True),
}
FINGERPRINT = Fingerprint(b"key")
READER = Reader((), lambda _: False, FINGERPRINT, SECRET)


class Source:
    owners: ClassVar = {"alice": Credentials((Credential("ghcr.io", "robot", planted.token()),))}

    def known(self, owner: str) -> Credentials | None:
        return self.owners.get(owner)

    async def prefetch(self, owners: Collection[str]) -> None:
        pass

    def invalidate(self, owner: str) -> None:
        pass

    async def credentials(self, owner: str) -> Credentials:
        return self.owners.get(owner, Credentials())


class Store(PullSecrets):
    """Takes what is applied, as the API server would."""

    def __init__(self) -> None:
        self.existing: dict[str, ExistingSecret] = {}

    async def apply(
        self, body: Mapping[str, Any], over: ExistingSecret | None, *, force: bool = False
    ) -> ExistingSecret:
        whole = {**body, "metadata": {**body["metadata"], "uid": "s1", "resourceVersion": "9"}}
        read = READER.existing(msgspec.convert(whole, SecretObject))
        self.existing[read.namespace] = read
        return read

    async def delete(self, over: ExistingSecret) -> None:
        raise AssertionError("nothing is to be deleted")

    async def release(self, over: ExistingSecret) -> None:
        raise AssertionError("nothing is to be released")

    async def read(self, namespace: str) -> ExistingSecret | None:
        return self.existing.get(namespace)


class Seen(Lookup):
    """The API server knows no more than the views."""

    def __init__(self, state: State) -> None:
        self._state = state

    async def namespace(self, name: str, *, recent: bool = False) -> Namespace | None:
        return self._state.namespaces.get(name)

    namespace_in_review = namespace

    async def account(self, namespace: str, name: str) -> AnyAccount | None:
        return None


class Scene:
    def __init__(self, runner: asyncio.Runner, deployments: Any = "inject") -> None:
        self.runner, self.store, self.told, self.late = runner, Store(), list[Notice](), list[str]()
        state = State.empty()
        state.namespaces.learn("team", TEAM)
        state.namespaces.learn("free", Namespace("free", "u2", 1, None))
        for name, account in ACCOUNTS.items():
            state.accounts.learn(account_key("team", name), account)

        async def unpoliced() -> bool:
            return False

        supply = Supply(
            state=state,
            source=Source(),
            store=self.store,
            lookup=Seen(state),
            policy=unpoliced,
            planner=Planner(SECRET, FINGERPRINT),
            now=lambda: NOW,
            metrics=Metrics(),
            record=self.told.append,
        )
        parts = Parts(Config(owner_rules=(NameRule(),), deployments=deployments), supply)
        self.admission = replace(parts.admission, later=self.late.append)

    def answer(self, body: bytes) -> tuple[str, Any]:
        """The outcome, and the response. Raises MalformedReview."""
        request = decode(body)

        async def ask() -> Any:
            return await self.admission(request, asyncio.get_running_loop().time() + 5)

        said = len(self.told)
        at_once = self.admission.at_once(request)
        del self.told[said:]
        given = self.runner.run(ask())
        assert at_once in (None, given)
        whole = json.loads(given.body)
        response = whole.pop("response")
        assert whole == {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
        assert response.pop("uid") == request.uid
        assert response.pop("allowed") is True
        return given.outcome, response


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    with asyncio.Runner() as runner:
        yield Scene(runner)


def patched(response: Any, obj: Any) -> Any:
    if "patch" not in response:
        return obj
    assert response["patchType"] == "JSONPatch"
    return jsonpatch.apply_patch(obj, json.loads(base64.b64decode(response["patch"])))


def review(obj: Any, *, kind: str = "Pod", old: Any = None, **request: Any) -> dict[str, Any]:
    group = "" if kind == "Pod" else "apps"
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "r1",
            "kind": {"group": group, "version": "v1", "kind": kind},
            "operation": "CREATE",
            "namespace": "team",
            "object": obj,
            "oldObject": old,
            "options": None,
            **request,
        },
    }


def body(review: Any) -> bytes:
    return json.dumps(review).encode()


WORDS = st.sampled_from(["name", "spec", "metadata", "imagePullSecrets", "a", "", "é/~-"]) | st.text(max_size=3)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | WORDS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=4
)


NAMES = [SECRET, "a", "b", "inherited", ""]
ACCOUNT_NAMES = ["default", "inherits", "inherits", "enforces", "unknown", ""]
STRANGERS = {"name": 1.5, "imagePullSecret": [None], "": {"é/~-": []}, "SPEC": {"template": None}}


@st.composite
def objects(draw: st.DrawFn, *, odd: bool) -> tuple[str, Any]:
    """A Pod or a Deployment around its schema; `odd`: at times a field holds any JSON at all."""

    def once_in(times: int) -> bool:
        return draw(st.integers(1, times)) == times

    def one(of: list[Any]) -> Any:
        return draw(st.sampled_from(of))

    def fields(**known: Any) -> Any:
        """Fields may be missing, null or odd, and others there that we do not know."""
        obj: dict[str, Any] = dict([one([*STRANGERS.items()])]) if once_in(5) else {}
        for key, value in known.items():
            if once_in(10):
                if draw(st.booleans()):
                    obj[key] = draw(JSON) if odd else None
            else:
                obj[key] = value
        return obj

    def marks() -> Any:
        return {one([INJECT, MIRROR, "a"]): one(["disabled", "enabled"])} if once_in(4) else {}

    def metadata() -> Any:
        return fields(labels=marks(), annotations=marks())

    def spec() -> dict[str, Any]:
        size = draw(st.integers(0, 3))
        secrets = [None if once_in(8) else fields(name=one(NAMES)) for _ in range(size)]
        if once_in(4):
            secrets = [{"name": SECRET}]
        return {"imagePullSecrets": secrets, "serviceAccountName": one(ACCOUNT_NAMES)}

    if draw(st.booleans()):
        return "Pod", fields(metadata=metadata(), spec=fields(**spec()))
    template = fields(metadata=metadata(), spec=fields(**spec()))
    return "Deployment", fields(metadata=metadata(), spec=fields(template=template, **(spec() if once_in(5) else {})))


def spec_of(kind: str, obj: Any) -> Any:
    """The pod's spec in an object, or None."""
    for key in ("spec",) if kind == "Pod" else ("spec", "template", "spec"):
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj if isinstance(obj, dict) else None


def after_account_admission(kind: str, obj: Any) -> Any:
    """ServiceAccount admission comes before us, and fills the empty list of a pod."""
    spec = spec_of(kind, obj)
    if kind == "Pod" and spec is not None and not spec.get("imagePullSecrets"):
        account = ACCOUNTS.get(spec.get("serviceAccountName") or "default") if is_text(spec) else None
        if account is not None and account.pull_secrets:
            spec["imagePullSecrets"] = [{"name": name} for name in account.pull_secrets]
    return obj


def is_text(spec: Any) -> bool:
    return isinstance(spec.get("serviceAccountName"), str | None)


def without_list(kind: str, obj: Any) -> str:
    copy = json.loads(json.dumps(obj))
    if (spec := spec_of(kind, copy)) is not None:
        spec.pop("imagePullSecrets", None)
    return json.dumps(copy, sort_keys=True)


def check(scene: Scene, kind: str, obj: Any, **request: Any) -> str:
    """One review and, when it is answered, the same for the object as it is then."""
    try:
        outcome, response = scene.answer(body(review(obj, kind=kind, **request)))
    except MalformedReview:
        return "malformed"
    after = patched(response, obj)
    assert (outcome == "injected") == ("patch" in response)
    told = [line for line in response.get("warnings", []) if "has no effect" not in line]
    assert (outcome == "refused") == bool(told)
    if outcome != "injected":
        return outcome
    assert without_list(kind, after) == without_list(kind, obj)
    before, now = spec_of(kind, obj).get("imagePullSecrets") or [], spec_of(kind, after)["imagePullSecrets"]
    assert now[: len(before)] == before
    added, present = (
        [item["name"] for item in now[len(before) :]],
        [item["name"] for item in before if item and "name" in item],
    )
    assert now[len(before) :] == [{"name": name} for name in added]
    assert len(added) == len({*added, *present} - {*present}) > 0
    assert SECRET in [*present, *added]
    assert set(added) <= set(INHERITED)
    again, second = scene.answer(body(review(after, kind=kind, **request)))
    assert "patch" not in second
    assert again in {"unchanged", "not_served"}
    return outcome


def deployment(*names: str | None) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"imagePullSecrets": [{"name": name} for name in names]}}}}


REQUESTS: list[dict[str, Any]] = [
    *[{}] * 12,
    *[{"operation": "UPDATE", "old": deployment("a", SECRET)}] * 3,
    {"operation": "UPDATE", "old": deployment("a")},
    {"operation": "DELETE"},
    {"subResource": "status"},
    {"namespace": "free"},
    {"namespace": "unknown"},
    {"namespace": ""},
    {"dryRun": True},
    {"dryRun": False},
]


@pytest.mark.parametrize("odd", [False, True], ids=["as the API server sends it", "odd"])
def test_a_pod_gets_references_and_nothing_else_changes(odd: bool, scene: Scene) -> None:
    outcomes = Counter[str]()

    @settings(max_examples=400, suppress_health_check=list(HealthCheck))
    @given(objects(odd=odd), st.sampled_from(REQUESTS))
    def each(found: tuple[str, Any], request: dict[str, Any]) -> None:
        kind, obj = found
        outcomes[check(scene, kind, after_account_admission(kind, obj), **request)] += 1

    each()
    assert outcomes["injected"] >= 100, outcomes
    assert min(outcomes[outcome] for outcome in ("unchanged", "not_served", "refused")) >= 10, outcomes
    assert (outcomes["malformed"] >= 10) is odd, outcomes
    assert not planted.leaks(str(scene.told))
    assert list(scene.store.existing) == ["team"]
    assert scene.late == []


POD = {
    "metadata": {"labels": {"app": "web"}, "annotations": {"a": "b"}},
    "spec": {"imagePullSecrets": [{"name": "a"}], "serviceAccountName": "default", "containers": [{"name": "web"}]},
}
DEPLOYMENT = {"metadata": {}, "spec": {"replicas": 1, "template": POD}}
VALID = (
    body(review(POD)),
    body(review(DEPLOYMENT, kind="Deployment", operation="UPDATE", old=DEPLOYMENT)),
    body(review({"whatever": 1}, kind="Job")),
)


def answers_or_refuses(scene: Scene, data: bytes) -> str:
    try:
        return scene.answer(data)[0]
    except MalformedReview as e:
        assert e.status == 400
        assert "\n" not in str(e)
        return "malformed"


@given(
    st.binary(max_size=60)
    | JSON.map(body)
    | st.dictionaries(st.sampled_from(["apiVersion", "kind", "request"]), JSON).map(body)
)
def test_what_is_no_review_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedReview):
        decode(data)


@settings(max_examples=300)
@given(
    st.sampled_from(VALID),
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 4), st.binary(max_size=4)), min_size=1, max_size=3),
)
def test_bytes_of_a_review_changed(scene: Scene, valid: bytes, edits: list[tuple[int, int, bytes]]) -> None:
    data = valid
    for place, length, new in edits:
        at = place % len(data)
        data = data[:at] + new + data[at + length :]
    assert answers_or_refuses(scene, data) in {"malformed", "injected", "unchanged", "not_served"}


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from places(inner)


@settings(max_examples=300)
@given(st.sampled_from(VALID), st.integers(0, 1000), JSON)
def test_one_value_in_a_review_changed(scene: Scene, valid: bytes, place: int, value: Any) -> None:
    changed = json.loads(valid)
    all_places = list(places(changed))
    inside, key = all_places[place % len(all_places)]
    inside[key] = value
    assert answers_or_refuses(scene, body(changed)) in {"malformed", "injected", "unchanged", "not_served"}


DEEP = 1_000_000


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"\xef\xbb\xbf" + VALID[0],
        b"[" * DEEP,
        b'{"a":' * DEEP,
        VALID[0].replace(b'"spec": {', b'"spec": {"x": ' + b"[" * DEEP + b"]" * DEEP + b", "),
        VALID[0].replace(b'"uid": "r1"', b'"uid": ""'),
        VALID[0].replace(b'"uid": "r1", ', b""),
        VALID[0].replace(b'"uid": "r1"', b'"uid": "%b"' % (b"u" * 300)),
        VALID[0].replace(b'"namespace": "team"', b'"namespace": "%b"' % (b"n" * 300)),
        VALID[0].replace(b'"r1"', b'"\\ud800"'),
        VALID[0].replace(b'"r1"', b'"\xff"'),
        VALID[0].replace(b'"r1"', b"1"),
        VALID[0].replace(b"io/v1", b"io/v1beta1"),
        VALID[0].replace(b"AdmissionReview", b"ConversionReview"),
        VALID[0].replace(b'[{"name": "a"}]', b'[{"name": 5}]'),
        VALID[0].replace(b'[{"name": "a"}]', b'["a"]'),
        VALID[0].replace(b'[{"name": "a"}]', b'{"name": "a"}'),
        VALID[0] + b"x",
        VALID[0][:-1],
        VALID[2].replace(b"io/v1", b"io/v2"),
    ],
    ids=lambda data: data[:20] + b"..." + data[-20:],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(MalformedReview) as error:
        target(decode(data))
    assert error.value.status == 400
    assert error.value.__cause__ is None


@pytest.mark.parametrize("wrong", ["labels", "annotations", "imagePullSecrets", "serviceAccountName"])
def test_nothing_of_a_malformed_review_is_in_the_message(wrong: str) -> None:
    pod: Any = json.loads(json.dumps(POD))
    (pod["metadata"] if wrong in pod["metadata"] else pod["spec"])[wrong] = [[planted.token()]]
    with pytest.raises(MalformedReview) as error:
        target(decode(body(review(pod))))
    assert str(error.value) in ("not a valid Pod", "imagePullSecrets is no list of references")


def request(obj: Any, **fields: Any) -> Request:
    return decode(body(review(obj, **fields)))


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({}, ("spec",)),
        ({"operation": "UPDATE"}, None),
        ({"operation": "DELETE"}, None),
        ({"operation": "CONNECT"}, None),
        ({"operation": "create"}, None),
        ({"subResource": "eviction"}, None),
        ({"subResource": "ephemeralcontainers"}, None),
        ({"kind": {"group": "", "kind": "Binding"}}, None),
        ({"kind": {"group": "apps", "kind": "Pod"}}, None),
        ({"kind": {"group": "", "kind": "Deployment"}}, None),
        ({"kind": {}}, None),
        ({"object": None}, None),
        ({"object": {}}, None),
        ({"object": {"spec": None}}, None),
        ({"object": {"spec": {}}}, ("spec",)),
        ({"object": {"metadata": {"annotations": {MIRROR: "hash"}}, "spec": {}}}, None),
        ({"object": {"metadata": {"annotations": {MIRROR: ""}}, "spec": {}}}, None),
        ({"object": {"metadata": {"annotations": {MIRROR: None}}, "spec": {}}}, None),
        ({"object": {"metadata": {"labels": {MIRROR: "hash"}}, "spec": {}}}, ("spec",)),
    ],
    ids=str,
)
def test_which_pods(fields: dict[str, Any], at: tuple[str, ...] | None) -> None:
    whole = review(POD)
    whole["request"] |= fields
    found = target(decode(body(whole)))
    assert (found and found.kind.at) == at


TEMPLATE = ("spec", "template", "spec")


@pytest.mark.parametrize(
    ("fields", "at"),
    [
        ({}, TEMPLATE),
        ({"operation": "UPDATE"}, TEMPLATE),
        ({"operation": "DELETE"}, None),
        ({"subResource": "scale"}, None),
        ({"kind": {"group": "extensions", "kind": "Deployment"}}, None),
        ({"kind": {"group": "apps", "kind": "ReplicaSet"}}, None),
        ({"object": {"spec": {}}}, None),
        ({"object": {"spec": {"template": None}}}, None),
        ({"object": {"spec": {"template": {}}}}, None),
        ({"object": {"spec": {"template": {"spec": {}}}}}, TEMPLATE),
        ({"object": {"metadata": {"annotations": {MIRROR: "x"}}, "spec": {"template": {"spec": {}}}}}, TEMPLATE),
    ],
    ids=str,
)
def test_which_deployments(fields: dict[str, Any], at: tuple[str, ...] | None) -> None:
    whole = review(DEPLOYMENT, kind="Deployment")
    whole["request"] |= fields
    found = target(decode(body(whole)))
    assert (found and found.kind.at) == at


OUT, IN = {"labels": {INJECT: "disabled"}}, {"labels": {INJECT: "enabled"}}


@pytest.mark.parametrize(
    ("kind", "obj", "out"),
    [
        ("Pod", {"metadata": OUT, "spec": {}}, True),
        ("Pod", {"metadata": IN, "spec": {}}, False),
        ("Pod", {"metadata": {"annotations": OUT["labels"]}, "spec": {}}, False),
        ("Pod", {"metadata": {"labels": {INJECT: None}}, "spec": {}}, False),
        ("Pod", {"metadata": {"labels": {INJECT: "Disabled"}}, "spec": {}}, False),
        ("Pod", {"metadata": {"labels": None}, "spec": {}}, False),
        ("Pod", {"spec": {}}, False),
        ("Deployment", {"metadata": OUT, "spec": {"template": {"spec": {}}}}, True),
        ("Deployment", {"spec": {"template": {"metadata": OUT, "spec": {}}}}, True),
        ("Deployment", {"metadata": OUT, "spec": {"template": {"metadata": IN, "spec": {}}}}, True),
        ("Deployment", {"metadata": IN, "spec": {"template": {"metadata": OUT, "spec": {}}}}, True),
        ("Deployment", {"metadata": IN, "spec": {"template": {"metadata": IN, "spec": {}}}}, False),
    ],
)
def test_opted_out(kind: str, obj: Any, out: bool, scene: Scene) -> None:
    found = target(request(obj, kind=kind))
    assert found is not None
    assert found.opted_out is out
    assert scene.answer(body(review(obj, kind=kind)))[0] == ("not_served" if out else "injected")


@pytest.mark.parametrize(
    ("old", "new", "outcome"),
    [
        (deployment(SECRET), deployment(), "injected"),
        (deployment("a", SECRET), deployment("a"), "injected"),
        (deployment(SECRET), {"spec": {"template": {"spec": {}}}}, "injected"),
        (deployment(SECRET), deployment(SECRET), "not_served"),
        (deployment(), deployment(), "not_served"),
        (deployment(), deployment(SECRET), "not_served"),
        (deployment("a", None), deployment("b"), "not_served"),
        (None, deployment(), "not_served"),
        ({}, deployment(), "not_served"),
        ({"spec": {"imagePullSecrets": [{"name": SECRET}]}}, deployment(), "not_served"),
        ({"spec": {"template": None}}, deployment(), "not_served"),
        ({"spec": {"template": {"spec": {"imagePullSecrets": None}}}}, deployment(), "not_served"),
    ],
)
def test_an_update_brings_back_what_it_lost_and_introduces_nothing(
    old: Any, new: Any, outcome: str, scene: Scene
) -> None:
    assert check(scene, "Deployment", new, old=old, operation="UPDATE") == outcome


def test_old_names() -> None:
    assert old_names(request(POD)) == []
    assert old_names(request(POD, kind="Deployment", old=deployment("a", None, SECRET))) == ["a", None, SECRET]


LONG = "x" * 300_000
MANY = [{"name": "x" * 50}] * 3_000


@pytest.mark.parametrize(
    "lists", [None, [{"name": "a"}, None], [{"name": SECRET}], MANY], ids=["none", "odd", "ours", "long"]
)
@pytest.mark.parametrize("word", ["disabled", LONG])
@pytest.mark.parametrize("account", ["default", LONG])
@pytest.mark.parametrize("kind", ["Pod", "Deployment"])
def test_a_review_that_waits_says_the_same_in_little_memory(kind: str, lists: Any, word: str, account: str) -> None:
    spec = {"imagePullSecrets": lists, "serviceAccountName": account, "nodeName": LONG}
    metadata = {"labels": {INJECT: word, "x": LONG}, "annotations": {MIRROR: LONG} if kind == "Deployment" else {}}
    obj = {"metadata": metadata, "spec": spec | {"template": {"metadata": metadata, "spec": spec}}}
    whole = body(review(obj, kind=kind, old=obj, operation="CREATE" if kind == "Pod" else "UPDATE"))
    before, references = decode(bytes(bytearray(whole))), sys.getrefcount(whole)
    kept = detached(decode(whole))
    assert sys.getrefcount(whole) == references
    found, expected = target(kept), target(before)
    assert found is not None
    assert expected is not None
    assert found.account == expected.account[: len(found.account)]
    assert (found.kind.at, found.names, found.opted_out, found.too_long) == (
        expected.kind.at, expected.names, expected.opted_out, expected.too_long,
    )  # fmt: skip
    assert old_names(kept) == old_names(before)
    assert len(msgspec.json.encode(kept)) < 300_000


EMPTY: list[Any] = [{}] * 200_000
LISTS = ("containers", "initContainers", "ephemeralContainers", "volumes")
MANY_IMAGES = [{"name": f"c{number}", "image": "i" * 100} for number in range(250)]


@pytest.mark.parametrize(
    "pod",
    [
        *({"spec": {key: EMPTY}} for key in LISTS),
        {"metadata": {"managedFields": EMPTY}, "spec": {}},
        {"metadata": {"annotations": {IMAGES: "\U0001f600" + "x" * 30_000}}, "spec": dict.fromkeys(LISTS, MANY_IMAGES)},
    ],
    ids=[*LISTS, "managedFields", "all"],
)
def test_a_review_with_very_many_of_anything_takes_little_memory(pod: dict[str, Any]) -> None:
    whole = body(review(pod, old=pod))
    tracemalloc.start()
    try:
        kept = detached(decode(whole))
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept.object is not None
    assert (now < 100_000, peak < 1_000_000) == (True, True), (now, peak)


def test_a_dry_run_writes_nothing() -> None:
    with asyncio.Runner() as runner:
        scene = Scene(runner)
        outcome, dry = scene.answer(body(review(POD, dryRun=True)))
        assert (outcome, scene.store.existing) == ("injected", {})
        assert scene.answer(body(review(POD))) == (outcome, dry)
        assert list(scene.store.existing) == ["team"]


def test_templates_can_be_left_alone() -> None:
    with asyncio.Runner() as runner:
        scene = Scene(runner, "supply")
        assert scene.answer(body(review(DEPLOYMENT, kind="Deployment"))) == ("unchanged", {})
        assert list(scene.store.existing) == ["team"]
        assert scene.answer(body(review(POD)))[0] == "injected"


@pytest.mark.parametrize(
    ("operations", "warnings", "response"),
    [
        ([], [], {}),
        ([], ["é"], {"warnings": ["é"]}),
        ([{"op": "add", "path": "/a", "value": "é"}], [], {"patchType": "JSONPatch"}),
    ],
)
def test_answer(operations: Any, warnings: list[str], response: dict[str, Any]) -> None:
    given = json.loads(answer("r1", encoded(operations), warnings))["response"]
    patch = given.pop("patch", None)
    assert given == {"uid": "r1", "allowed": True, **response}
    assert (json.loads(base64.b64decode(patch)) if patch else []) == operations
