"""With --verbose each review is a log line, which says what was answered and why; without it, none is."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any, Literal, cast

import pytest
from structlog.testing import capture_logs

from webhook.config.models import AnnotationRule, Config
from webhook.core.metrics import Metrics
from webhook.core.names import OWNER
from webhook.core.pullsecret import OPTED_OUT, ExistingSecret, Fingerprint, Namespace, Planner
from webhook.kube.views import Account, State, account_key
from webhook.serving.server import Mutate, admission_app
from webhook.sources.combined import Combined
from webhook.supply import Supply
from webhook.wiring import Parts

SECRET = "ghcr-secret"
REFERENCE = [{"name": SECRET}]
OUT = {"pullsecret-webhook/inject": "disabled"}
Object = dict[str, Any]


def mutate(*, verbose: bool = True, deployments: Literal["inject", "supply"] = "inject") -> Mutate:
    state, unused = State.empty(), cast(Any, None)
    state.namespaces.in_touch()
    for name, owner, enabled in (
        ("team", "alice", True),
        ("free", None, True),
        ("out", "alice", False),
        ("kube-system", "alice", False),
        ("foreign", "bob", True),
        ("strict", "bob", True),
    ):
        state.namespaces.learn(name, Namespace(name, f"uid-{name}", 1, owner, "" if enabled else OPTED_OUT))
        state.accounts.learn(account_key(name, "default"), Account(1, "", enforced=name == "strict"))
    state.pull_secrets.learn(
        "foreign", ExistingSecret("foreign", "s", 2, False, True, False, False, None, b"", kubelet="fails")
    )
    supply = Supply(
        state=state,
        source=Combined([]),
        store=unused,
        lookup=unused,
        policy=unused,
        planner=Planner(SECRET, Fingerprint(b"k")),
        now=lambda: datetime.now(UTC),
        metrics=Metrics(),
        record=lambda _: None,
    )
    config = Config(owner_rules=(AnnotationRule(key=OWNER),), deployments=deployments)  # so it is asked about all
    return Mutate(Parts(config, supply).admission, Metrics(), verbose=verbose)


def review(namespace: str, *, labels: Object | None = None, spec: Object | None = None, **changes: Any) -> bytes:
    request = {
        "uid": "1",
        "kind": {"group": "", "version": "v1", "kind": "Pod"},
        "operation": "CREATE",
        "namespace": namespace,
        "object": {
            "metadata": {"generateName": "web-", "labels": labels},
            "spec": {"containers": []} | (spec or {}),
        },
        "dryRun": True,
    }
    whole = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request | changes}
    return json.dumps(whole).encode()


def deployment(spec: Object) -> Object:
    return {"metadata": {"name": "web"}, "spec": {"template": {"spec": {"containers": []} | spec}}}


DEPLOYMENT: Object = {
    "kind": {"group": "apps", "version": "v1", "kind": "Deployment"},
    "object": deployment({}),
    "name": "web",
}
UPDATE = DEPLOYMENT | {"operation": "UPDATE", "oldObject": deployment({})}


def line(body: bytes, deployments: Literal["inject", "supply"] = "inject") -> Object:
    answering = mutate(deployments=deployments)
    with capture_logs() as logs:
        assert isinstance(answering.at_once(body), bytes)
    (found,) = logs
    assert found["event"] == "a review was answered"
    assert found["log_level"] == "debug"
    return dict(found)


@pytest.mark.parametrize(
    ("body", "about", "outcome", "why"),
    [
        (review("team"), "Pod team/web-...", "injected", None),
        (review("team", name="web"), "Pod team/web", "injected", None),
        (review("team", spec={"imagePullSecrets": REFERENCE}), "Pod team/web-...", "unchanged", "it has the reference"),
        (review("team", labels=OUT), "Pod team/web-...", "not_served", "it is opted out"),
        (review("free"), "Pod free/web-...", "not_served", "the namespace has no owner"),
        (review("out"), "Pod out/web-...", "not_served", "the namespace is opted out"),
        (review("kube-system"), "Pod kube-system/web-...", "not_served", "the namespace is excluded"),
        (review("foreign"), "Pod foreign/web-...", "refused", "a Secret of this name is not managed by"),
        (review("strict"), "Pod strict/web-...", "refused", "enforce-mountable-secrets"),
        (review("team", **DEPLOYMENT), "Deployment team/web", "injected", None),
        (review("team", **UPDATE), "Deployment team/web", "not_served", "the change takes no reference away"),
        (review("team", subResource="status"), "Pod team/web-...", "not_served", "nothing in it gets the reference"),
    ],
)
def test_why(body: bytes, about: str, outcome: str, why: str | None) -> None:
    said = line(body)
    assert (said["about"], said["outcome"], said["dry_run"]) == (about, outcome, "yes")
    assert ("why" in said) == (why is not None)
    assert (why or "") in said.get("why", "")


def test_of_a_template_that_is_left_alone() -> None:
    said = line(review("team", **DEPLOYMENT), "supply")
    assert said["outcome"] == "unchanged"
    assert said["why"] == "its pods get the reference, it does not (deployments: supply)"


@pytest.mark.parametrize("name", ["a\nb\x1b[1m", "x" * 5000, "", 5, None])
def test_names_are_others_words(name: object) -> None:
    body = review("team", object={"metadata": {"generateName": name}, "spec": {"containers": []}})
    about = line(body)["about"]
    assert about.isprintable()
    assert len(about) < 250


def test_that_a_review_was_malformed_is_said_with_the_reason() -> None:
    async def main() -> None:
        body, sent = [{"type": "http.request", "body": b"{}"}], []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return body.pop()

        headers = [(b"content-type", b"application/json")]
        scope = {"type": "http", "path": "/mutate", "method": "POST", "query_string": b"", "headers": headers}
        await admission_app(mutate(), str)(scope, receive, send)
        assert sent[0]["status"] == 400

    with capture_logs() as logs:
        asyncio.run(main())
    assert [(one["event"], one["why"]) for one in logs] == [("a review was not answered", "not an AdmissionReview")]


def test_without_it_there_is_no_line() -> None:
    with capture_logs() as logs:
        assert mutate(verbose=False).at_once(review("team"))
    assert logs == []
