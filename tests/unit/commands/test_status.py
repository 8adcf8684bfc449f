"""What `status` makes of what it sees of one namespace, and how it says it."""

import asyncio
import base64
import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from unittest.mock import AsyncMock, patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from support.steps import at_once
from support.writtenevents import written
from webhook.commands import health
from webhook.commands.cluster_view import FINGERPRINT, NO_OUTLOOK, ClusterView, Outlook, PullSecretObject
from webhook.commands.pods import Lacking, Stuck
from webhook.commands.status import Report, run, summary, text
from webhook.commands.verdict import SPREAD, Judge, Line, Pods, Seen
from webhook.config import reading
from webhook.core.check import KEY, RECORDS, Check, Checks, Why, encoded
from webhook.core.credential import Credential, Credentials, Origin
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.core.mirror import mirrored
from webhook.core.names import CHECKS_SECRET
from webhook.core.notice import OVER, Notice, Reason
from webhook.core.pulls import Said
from webhook.core.pullsecret import WITHDRAWN, Delete, ExistingSecret, Namespace, Planner, Write
from webhook.core.registry import DOCKER_HUB, MAX_SAME_KEY
from webhook.core.tokenkind import hint
from webhook.kube.cluster import Cluster, ClusterError, SecretObject
from webhook.kube.reader import Reader
from webhook.kube.recent_events import RecentWarnings, WarningEvent
from webhook.sources import Changed, configured
from webhook.sources.remote import Answer
from webhook.sources.secret import SecretSource

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SPACE = Namespace("team", "space-uid", 1, "alice")
GHCR = Credentials((Credential("ghcr.io", "alice", "x"),))
ENDED = Credentials((Credential("ghcr.io", "alice", "x", NOW - timedelta(days=1)),))
PLANNER = Planner("ghcr-secret", FINGERPRINT)
JUDGE = Judge(PLANNER, NOW)
STANDING = ExistingSecret(
    "team",
    "uid",
    1,
    True,
    True,
    False,
    False,
    "alice",
    PLANNER.digest(PLANNER.body(SPACE, GHCR.items)),
    ("ghcr.io",),
)
BROKEN_SOURCE = Outlook(broken="source Secret x is broken: it is empty")
RIGHT = Seen(STANDING, "kubernetes.io/dockerconfigjson", "space-uid", NOW, ("ghcr.io",), "")


Object = dict[str, Any]


class Lists:
    """A cluster, as its lists are answered. `checks`: the Secret with what registries said."""

    def __init__(self, checks: Object | None = None, **lists: list[Object]) -> None:
        self.lists, self.checks = lists, checks

    async def call(self, method: str, path: str, *, query: Mapping[str, str] = {}, **_more: Any) -> bytes:
        assert method == "GET"
        if path.endswith(f"/namespaces/pullsecret-webhook/secrets/{CHECKS_SECRET}"):
            if self.checks is None:
                raise ClusterError(404, "NotFound")
            return msgspec.json.encode(self.checks)
        namespace, _, resource = path.removeprefix("/api/v1/").removeprefix("namespaces/").rpartition("/")
        if "/secrets/" in path:
            name, of = path.rpartition("/")[2], path.split("/")[4]
            for one in self.lists.get("secrets", []):
                if (one["metadata"]["name"], one["metadata"]["namespace"]) == (name, of):
                    return msgspec.json.encode(one)
            raise ClusterError(404, "NotFound")
        found = self.lists.get(resource, [])
        if namespace:
            found = [one for one in found if one["metadata"]["namespace"] == namespace]
        if "labelSelector" in query:
            found = [one for one in found if query["labelSelector"] in one["metadata"].get("labels", {})]
        if query.get("fieldSelector", "").startswith("metadata.name="):
            found = [one for one in found if query["fieldSelector"] == f"metadata.name={one['metadata']['name']}"]
        if ",type=" in query.get("fieldSelector", ""):
            found = [one for one in found if one["type"] == query["fieldSelector"].rpartition("=")[2]]
        return msgspec.json.encode({"metadata": {}, "items": found})


def report(cluster: Lists, config: Object | None = None) -> Report:
    """The webhook itself: test_health.py."""
    view = ClusterView(cast(Cluster, cluster), reading.convert(config or {}))
    with patch.object(health, "findings", AsyncMock(return_value=[])):
        return asyncio.run(run(view, None, NOW))


def shown(cluster: Lists, config: Object | None = None) -> list[Line]:
    return [*report(cluster, config).lines]


TEAM: Object = {"metadata": {"name": "team", "uid": "space-uid", "labels": {"pullsecret-webhook/owner": "alice"}}}


def source_secret(name: str, **annotations: str) -> Object:
    metadata = {
        "name": name,
        "namespace": "pullsecret-webhook",
        "resourceVersion": "1",
        "labels": {"pullsecret-webhook/owner": "alice"},
        "annotations": {f"pullsecret-webhook/{key}": value for key, value in annotations.items()},
    }
    data = {"username": "alice", "password": planted.token()}
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"metadata": metadata, "type": "kubernetes.io/basic-auth", "data": encoded}


def as_the_webhook_writes(*sources: Object) -> Object:
    source = SecretSource(cast(Cluster, None), "", lambda _: None, lambda _: None, Metrics())

    async def written() -> Object:
        at_once(source.replace(dict(source.keep(msgspec.convert(one, SecretObject)) for one in sources), 1))
        plan = PLANNER(SPACE, await source.credentials("alice"), None, NOW).step
        assert isinstance(plan, Write)
        return dict(plan.body)

    return asyncio.run(written())


@pytest.mark.parametrize(
    "annotations",
    [({}, {}), ({"namespaces": "team"}, {}), ({}, {"expires": "2031-01-01"}), ({"expires": "2020-01-01"}, {})],
)
def test_several_source_secrets_of_one_owner_are_merged_as_the_webhook_does(
    annotations: tuple[dict[str, str], ...],
) -> None:
    sources = [source_secret(name, **each) for name, each in zip("ab", annotations, strict=True)]
    for listed in (sources, sources[::-1]):
        secrets = [*listed, as_the_webhook_writes(*listed)]
        (line,) = shown(Lists(namespaces=[TEAM], secrets=secrets))
        assert (line.state, line.problem) == ("right", "")


def but(**changes: Any) -> Seen:
    return replace(RIGHT, existing=replace(STANDING, **changes))


def test_a_secret_as_the_webhook_writes_it() -> None:
    auths = {"quay.io": {"username": "alice", "password": planted.token()}, "ghcr.io": {"auth": "YTpi"}}
    data = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    annotations = {
        "pullsecret-webhook/owner": "alice",
        "pullsecret-webhook/namespace-uid": "space-uid",
        "pullsecret-webhook/expires": "2030-05-01T00:00:00Z",
    }
    wrote = {"manager": "pullsecret-webhook", "time": "2029-12-31T10:00:00Z", "fieldsV1": {"f:data": {}}}
    meta: dict[str, Any] = {"name": "s", "annotations": annotations, "managedFields": [wrote]}
    meta["labels"] = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
    whole = {"metadata": meta, "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": data}}
    reader = Reader((), lambda _: False, FINGERPRINT, "ghcr-secret")
    seen = Seen.of(msgspec.json.decode(json.dumps(whole), type=PullSecretObject), reader)
    assert seen == replace(
        RIGHT,
        existing=seen.existing,
        written=datetime(2029, 12, 31, 10, tzinfo=UTC),
        registries=("ghcr.io", "quay.io"),
    )
    assert seen.existing.expiries == (datetime(2030, 5, 1, tzinfo=UTC),)
    assert seen.existing.registries == ("ghcr.io", "quay.io")
    line = Judge(PLANNER, NOW, asked=False)(SPACE, seen, Credentials())
    assert (line.state, line.problem, line.note, line.needs_a_human) == ("right", "", "", False)
    assert not planted.leaks(repr(seen) + text(Report([line])))


def told(message: str, at: datetime = NOW + timedelta(minutes=5)) -> Judge:
    found = {"team": WarningEvent("team", at, "SupplyFailed", message)} if message else {}
    return replace(JUDGE, warnings=RecentWarnings(of_namespace=found))


def test_what_was_said_before_the_secret_was_written_is_no_reason() -> None:
    for seconds, problem in ((2, '; an Event in team says: "a quota"'), (0.5, ""), (-1, "")):
        line = told("a quota", NOW + timedelta(seconds=seconds))(SPACE, but(owner="bob"), GHCR)
        assert line.problem == "the Secret is for owner bob" + problem


@pytest.mark.parametrize(
    ("seen", "problem"),
    [
        (but(ours=False), "not the webhook's; see pullsecret adopt -n team --dry-run"),
        (but(terminating=True), "a finalizer holds it"),
        (replace(but(dockerconfig=False), type="Opaque"), "the type of the Secret is Opaque"),
        (but(owner="bob"), "the Secret is for owner bob"),
        (but(owner=None), "the Secret is for no owner"),
        (replace(RIGHT, namespace_uid="before"), "earlier namespace"),
        (replace(RIGHT, unreadable="it is not JSON"), "not usable: it is not JSON"),
        (but(digest=b"other"), "the Secret differs from the source Secrets of alice"),
        (but(expiries=(NOW,)), "expired at 2030-01-01 00:00; renew it"),
    ],
)
def test_what_is_wrong(seen: Seen, problem: str) -> None:
    line = told("a quota of the namespace forbids it")(SPACE, seen, GHCR)
    assert (line.state, line.needs_a_human) == ("wrong", True)
    assert problem in line.problem
    assert line.problem.endswith('; an Event in team says: "a quota of the namespace forbids it"')


@pytest.mark.parametrize(
    ("known", "said", "problem"),
    [
        (Credentials(), "", ""),
        (Credentials(), "a quota forbids it", 'there is no Secret; an Event in team says: "a quota forbids it"'),
        (GHCR, "", "the Secret is missing; is the webhook running?"),
        (GHCR, "a quota forbids it", 'the Secret is missing; an Event in team says: "a quota forbids it"'),
        (ENDED, "", "there is no Secret: the credential of alice has expired; renew it"),
        (None, "", f"there is no Secret, and {BROKEN_SOURCE.broken}"),
    ],
)
def test_why_there_is_none(known: Credentials | None, said: str, problem: str) -> None:
    line = told(said)(SPACE, None, known, outlook=BROKEN_SOURCE if known is None else NO_OUTLOOK)
    assert (line.problem, line.state) == (problem, "wrong" if problem else "none")
    assert line.needs_a_human is bool(problem)


def test_an_end_that_comes_is_said_before_it_comes() -> None:
    assert JUDGE(SPACE, but(expiries=(NOW + timedelta(days=8),)), GHCR).note == ""
    soon = NOW + timedelta(days=6)
    line = JUDGE(SPACE, but(expiries=(soon,)), GHCR)
    assert (line.expires, line.note, line.needs_a_human) == (soon, "a credential expires soon", False)
    line = JUDGE(SPACE, but(expiries=(NOW - timedelta(days=1), soon)), GHCR)  # also beside one that has ended
    assert (line.expires, line.note) == (soon, "a credential expires soon")
    assert line.problem == "a credential of alice expired at 2029-12-31 00:00; renew it"


def test_a_source_that_is_not_asked_from_here() -> None:
    """Nothing is claimed of what it would say."""
    elsewhere = Judge(PLANNER, NOW, asked=False)
    assert elsewhere(SPACE, but(digest=b"other"), Credentials()).state == "right"
    missing = elsewhere(SPACE, None, Credentials())
    assert (missing.state, missing.note) == ("none", "status cannot query sources other than Secrets")


def test_what_its_tenant_was_told_is_known_where_a_source_is_not_asked() -> None:
    def told(reason: str, message: str, minute: int) -> Object:
        found = event(reason, message, NOW - timedelta(minutes=minute), "Secret")
        about = {"kind": "Secret", "name": "ghcr-secret"}
        return found | {"metadata": found["metadata"] | {"namespace": "team"}, "involvedObject": about}

    events = [told("NoCredential", "ask for one", 2), told("CredentialUnknown", "no answer", 3)]
    (line,) = shown(Lists(namespaces=[TEAM], events=events), ELSEWHERE)
    assert (line.state, line.note) == ("none", 'an Event in team says: "ask for one"')
    (line,) = shown(Lists(namespaces=[TEAM], events=events))
    assert line.note == "no credential is known: no source Secret is for owner alice"


def test_a_broken_source_secret_is_said_while_the_last_one_stands() -> None:
    line = JUDGE(SPACE, RIGHT, None, outlook=BROKEN_SOURCE)
    assert line.state == "wrong"
    assert line.problem == f"{BROKEN_SOURCE.broken}; the pull secret stays unchanged"


def test_which_source_secret_is_broken_and_why() -> None:
    broken = [source_secret(name, expires="soon") for name in ("b", "c")]
    (line,) = shown(Lists(namespaces=[TEAM], secrets=[source_secret("a"), *broken]))
    why = "is broken: its annotation pullsecret-webhook/expires is not an RFC 3339 time"
    assert line.problem.startswith(f"there is no Secret, and source Secret b {why}")
    assert f"; source Secret c {why}" in line.problem
    assert not planted.leaks(line.problem)


def test_pods_without_the_reference_need_a_human() -> None:
    needing = [Lacking(name, "default", ("ghcr.io/alice/app",)) for name in "abcdefg"]
    line = JUDGE(SPACE, RIGHT, GHCR, Pods(lacking=[*needing, Lacking("public", "default", ("redis:7",))]))
    assert (line.state, line.needs_a_human) == ("right", True)
    assert (
        "  pods without the reference: a, b, c, d, e and 2 more; create them again" in text(Report([line])).splitlines()
    )


def test_pods_whose_account_forbids_it_are_not_helped_by_being_created_anew() -> None:
    def pod(name: str, **spec: str) -> Object:
        containers = [{"name": "c", "image": "ghcr.io/alice/app"}]
        return {"metadata": {"name": name, "namespace": "team"}, "spec": spec | {"containers": containers}}

    enforcing = {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}
    accounts: list[Object] = [
        {"metadata": {"name": "default", "namespace": "team"}},
        {"metadata": {"name": "strict", "namespace": "team"} | enforcing},
        {
            "metadata": {"name": "lists-it", "namespace": "team"} | enforcing,
            "imagePullSecrets": [{"name": "ghcr-secret"}],
        },
        {"metadata": {"name": "default", "namespace": "other"} | enforcing},
    ]
    pods = [pod("plain"), pod("of-strict", serviceAccountName="strict"), pod("listed", serviceAccountName="lists-it")]
    source = source_secret("alice")
    secrets = [source, as_the_webhook_writes(source)]
    found = report(Lists(namespaces=[TEAM], pods=pods, serviceaccounts=accounts, secrets=secrets))
    (line,) = found.lines
    assert (line.pods_without, line.pods_barred, line.accounts_barring) == (
        ("plain", "listed"),
        ("of-strict",),
        ("strict",),
    )
    assert found.needs_a_human
    assert text(found).splitlines()[-3:] == [
        "  pods without the reference: plain, listed; create them again",
        (
            "  pods without the reference, because their service account forbids it: of-strict; "
            "add the pull secret to the imagePullSecrets of strict, then create the pods again"
        ),
        "1 namespace: 1 right, 0 without a known credential, 0 wrong; 3 pods without the reference; 1 needs attention",
    ]


def stuck(name: str, image: str, message: str, reason: str = "ImagePullBackOff", *references: str) -> Object:
    waiting = {"state": {"waiting": {"reason": reason, "message": message}}, "name": "c"}
    spec = {"containers": [{"name": "c", "image": image}], "imagePullSecrets": [{"name": one} for one in references]}
    return {"metadata": {"name": name, "namespace": "team"}, "spec": spec, "status": {"containerStatuses": [waiting]}}


def test_pods_that_cannot_pull_are_told_with_the_cause() -> None:
    source = source_secret("alice")
    unauthorized = "unexpected status from HEAD request to https://ghcr.io/v2/alice/app/manifests/1: 401 Unauthorized"
    two = [stuck(f"app-{n}", "ghcr.io/alice/app:1", unauthorized, "ErrImagePull", "ghcr-secret") for n in (1, 2)]
    pods = [*two, stuck("other", "quay.io/x", "no basic auth credentials", "ErrImagePull", "ghcr-secret")]
    for ended in ({"deletionTimestamp": "2030-01-01T00:00:00Z"}, {}):
        over = stuck("over", "ghcr.io/x", unauthorized)
        pods.append(over | {"metadata": over["metadata"] | ended} | ({} if ended else {"status": {"phase": "Failed"}}))
    found = report(Lists(namespaces=[TEAM], pods=pods, secrets=[source, as_the_webhook_writes(source)]))
    (line,) = found.lines
    assert (line.state, line.problem, line.needs_a_human) == ("right", "", True)
    assert [(one.pod, one.cause) for one in line.pods_failing] == [
        ("app-1", "refused"),
        ("app-2", "refused"),
        ("other", "no-entry"),
    ]
    assert text(found).splitlines()[2:] == [
        (
            "  app-1, app-2 cannot pull ghcr.io/alice/app:1 (ErrImagePull): "
            "the registry refuses the credential of alice for ghcr.io (401)"
        ),
        "  other cannot pull quay.io/x (ErrImagePull): the pull secret has no entry for quay.io; it has ghcr.io",
        (
            "1 namespace: 1 right, 0 without a known credential, 0 wrong; 3 pods cannot pull; "
            "0 pods without the reference; 1 needs attention"
        ),
    ]


@pytest.mark.parametrize(
    ("annotations", "owner", "why"),
    [
        ({"namespaces": "other-*"}, "alice", "the credential of alice for ghcr.io is limited to other namespaces"),
        ({}, "alcie", "no source Secret is for owner alcie; did you mean alice?"),
        ({}, "unheard-of", "no source Secret is for owner unheard-of"),
        ({"expires": "2029-01-01"}, "alice", "there is no Secret: the credential of alice has expired; renew it"),
    ],
)
def test_why_a_pod_cannot_pull_without_a_pull_secret(annotations: dict[str, str], owner: str, why: str) -> None:
    space = {"metadata": TEAM["metadata"] | {"labels": {"pullsecret-webhook/owner": owner}}}
    pod = stuck("p", "ghcr.io/alice/app", "no basic auth credentials", "ErrImagePull", "ghcr-secret")
    lists = Lists(namespaces=[space], pods=[pod], secrets=[source_secret("alice", **annotations)])
    (line,) = shown(lists)
    assert [one.why for one in line.pods_failing] == [why]
    assert line.needs_a_human


def test_a_withdrawn_credential_is_told_as_withdrawn() -> None:
    judge = replace(JUDGE, warnings=RecentWarnings(of_namespace={"team": WarningEvent("team", NOW, WITHDRAWN, "gone")}))
    waits = Stuck("p", "c", "ghcr.io/x", "ErrImagePull", "", Said.UNSENT, ("ghcr-secret",), opted_out=False)
    unknown = Outlook(unknown="no source Secret is for owner alice")
    line = judge(SPACE, None, Credentials(), Pods(stuck=[waits]), unknown)
    (one,) = line.pods_failing
    assert (one.cause, one.why) == ("no-secret", "there is no Secret; an Event in team says: gone")
    (one,) = JUDGE(SPACE, None, Credentials(), Pods(stuck=[waits]), unknown).pods_failing
    assert (one.cause, one.why) == ("unknown-owner", "no source Secret is for owner alice")


@pytest.mark.parametrize(
    ("said", "cause", "why"),
    [
        (Said.UNAUTHORIZED, "refused", "the registry refuses a credential (401)"),
        (Said.UNSENT, "no-entry", "the kubelet has no credential for this image"),
        (Said.NOTHING, "other", "the kubelet does not say why"),
    ],
)
def test_of_a_pull_secret_that_may_not_be_read_nothing_is_said(said: Said, cause: str, why: str) -> None:
    waits = Stuck("p", "c", "ghcr.io/x", "ErrImagePull", "", said, ("ghcr-secret",), opted_out=False)
    line = replace(JUDGE, blind=True)(SPACE, None, Credentials(), Pods(stuck=[waits]))
    assert (line.state, line.problem) == ("unknown", "")
    (one,) = line.pods_failing
    assert (one.cause, one.why) == (cause, why)


def test_a_token_service_refuses_with_403_too() -> None:
    told = "failed to fetch oauth token: unexpected status from GET request to https://ghcr.io/token: 403 Forbidden"
    pod = stuck("p", "ghcr.io/alice/app", told, "ErrImagePull", "ghcr-secret")
    source = source_secret("alice")
    (line,) = shown(Lists(namespaces=[TEAM], pods=[pod], secrets=[source, as_the_webhook_writes(source)]))
    (one,) = line.pods_failing
    assert (one.cause, one.why) == ("refused", "the registry refuses the credential of alice for ghcr.io (403)")


def test_a_secret_that_came_after_the_last_try() -> None:
    waits = Stuck("p", "c", "ghcr.io/x", "ErrImagePull", "", Said.UNSENT, ("ghcr-secret",), opted_out=False)
    (one,) = JUDGE(SPACE, RIGHT, GHCR, Pods(stuck=[waits])).pods_failing
    assert one.cause == "retry"
    assert one.why.endswith("the entry for ghcr.io matches, so the next try has one")


def test_init_and_ephemeral_containers_and_image_volumes() -> None:
    def waiting(name: str, message: str) -> Object:
        return {"name": name, "state": {"waiting": {"reason": "ErrImagePull", "message": message}}}

    spec = {
        "initContainers": [{"name": "i", "image": "a.example.com/init"}],
        "containers": [{"name": "c", "image": "a.example.com/app"}],
        "ephemeralContainers": [{"name": "e", "image": "a.example.com/debug"}],
        "volumes": [{"name": "v", "image": {"reference": "a.example.com/data:1"}}, {"name": "w"}],
    }
    status = {
        "initContainerStatuses": [waiting("i", "no basic auth credentials")],
        "containerStatuses": [waiting("c", 'failed to pull and unpack image "a.example.com/data:1": EOF')],
        "ephemeralContainerStatuses": [waiting("e", "no basic auth credentials"), {"name": "f", "state": {}}],
    }
    whole = {"metadata": {"name": "p", "namespace": "team"}, "spec": spec, "status": status}
    (line,) = shown(Lists(namespaces=[TEAM], pods=[whole]))
    assert [(one.container, one.image) for one in line.pods_failing] == [
        ("i", "a.example.com/init"),
        ("c", "a.example.com/data:1"),
        ("e", "a.example.com/debug"),
    ]


def test_the_secret_that_the_kubelet_cannot_parse_is_named() -> None:
    bad = {"metadata": {"name": "legacy", "namespace": "team"}, "type": "kubernetes.io/dockerconfigjson"}
    bad["data"] = {".dockerconfigjson": base64.b64encode(b'{"auths": {"x.example.com": {"auth": "*"}}}').decode()}
    said = "illegal base64 data at input byte 0"
    pods = [stuck("p", "ghcr.io/x", said, said, "ghcr-secret", "legacy", "not-there")]
    (line,) = shown(Lists(namespaces=[TEAM], pods=pods, secrets=[bad]))
    (one,) = line.pods_failing
    assert (one.cause, one.reason) == ("unreadable-secret", said)
    assert one.why == "the kubelet cannot parse legacy, and then tries no credential at all; repair or remove it"


# -- sources that are not asked from here --

ELSEWHERE = {"sources": [{"from": "sql", "urlFile": "/u", "preset": "git-connections"}, {"from": "secrets"}]}
BROKEN, REFUSED, TOO_MANY = "row: of alice", "alice: x has: y for z", "a for b has: c"
"""Owners as unlike a name as can be."""


def space(owner: str, number: int) -> Object:
    metadata = {"name": f"team-{number}", "uid": f"u{number}", "labels": {"pullsecret-webhook/owner": ""}}
    return {"metadata": metadata | {"annotations": {"owner": owner}}}


class Remote:
    """Says of some owners what cannot be used, and of others nothing."""

    many = False

    async def ask(self, owner: str, before: Answer | None) -> Answer:
        one, other = (Credential("ghcr.io", name, planted.token()) for name in "ab")
        if owner == BROKEN:
            return Answer(Credentials((one,)), 60.0, problems=("credential 1: it has no string at username",))
        if owner == TOO_MANY:
            many = (replace(other, username=f"u{number}") for number in range(MAX_SAME_KEY))
            return Answer(Credentials((one, *many)), 60.0)
        if owner == "ended":
            return Answer(Credentials((replace(one, expires=NOW - timedelta(days=1)),)), 60.0)
        raise SourceUnavailable("row 1: its token is encrypted; set decrypt", everybody=owner == "everybody")

    async def run(self, changed: Changed) -> None:
        raise SourceUnavailable("hung up")

    async def close(self) -> None:
        pass


OWN = "an Event in pullsecret-webhook"
OWNERS = [BROKEN, REFUSED, TOO_MANY, "ended", "everybody"]


def warnings() -> list[Object]:
    """As the webhook writes them of a source that is asked for all of these."""
    told: list[Notice] = []
    config = reading.convert({"sources": ELSEWHERE["sources"][:1]})

    async def asked() -> None:
        with patch.object(configured, "_remote", lambda *_: Remote()):
            source = configured.configured(
                config, cast(Cluster, None), lambda _: None, told.append, Metrics(), lambda: NOW
            )
        running = asyncio.create_task(source.run())
        for owner in OWNERS:
            with suppress(SourceUnavailable):
                plan = PLANNER(replace(SPACE, owner=owner), await source.credentials(owner), None, NOW)
                told.extend(plan.notices(owner))
        running.cancel()
        await asyncio.wait({running})

    asyncio.run(asked())
    return written(told, config.namespace, NOW)


def event(reason: str, message: str, at: datetime = NOW, kind: str = "Service") -> Object:
    annotations = {"pullsecret-webhook/source": "sql"}
    return {
        "metadata": {"name": f"e{at}{message}", "namespace": "pullsecret-webhook", "annotations": annotations},
        "involvedObject": {"kind": kind, "name": "pullsecret-webhook"},
        "eventTime": at.isoformat(),
        "reason": reason,
        "type": "Normal" if reason in OVER else "Warning",
        "message": message,
    }


def about_source(reason: Reason, message: str, owner: str) -> Notice:
    return Notice(reason, message, "pullsecret-webhook", "Service", "pullsecret-webhook", owner=owner, source="sql")


def judged(events: list[Object], *, existing: bool = False) -> dict[str, Line]:
    config = ELSEWHERE | {"ownerRules": [{"from": "annotation", "key": "owner"}]}
    spaces = [space(owner, number) for number, owner in enumerate([*OWNERS, "fine"])]
    secrets = []
    for number, owner in enumerate([*OWNERS, "fine"] if existing else []):
        body = PLANNER.body(Namespace(f"team-{number}", f"u{number}", 1, owner), GHCR.items)
        wrote = {"manager": "m", "time": "2029-12-31T23:59:00Z", "fieldsV1": {"f:data": {}}}
        secrets.append(body | {"metadata": body["metadata"] | {"managedFields": [wrote]}})
    lines = shown(Lists(namespaces=spaces, secrets=secrets, events=events), config)
    return {line.owner: line for line in lines if line.owner is not None}


def test_what_the_webhook_said_of_an_owner_is_beside_its_namespace() -> None:
    refused = f"source sql: no answer for owner {REFUSED}: row 1: its token is encrypted; set decrypt"
    broken = f"source sql: owner {BROKEN}: credential 1: it has no string at username"
    missing, existing = judged(warnings()), judged(warnings(), existing=True)
    assert missing[REFUSED].problem == f'there is no Secret; {OWN} says: "{refused}"'
    assert existing[REFUSED].problem == f'the Secret may be outdated; {OWN} says: "{refused}"'
    assert existing[BROKEN].problem == f'the Secret may be outdated; {OWN} says: "{broken}"'
    assert "the credential of owner ended for ghcr.io has expired; renew it" in missing["ended"].problem
    assert "the credential of owner a for b has: c for ghcr.io is left out" in existing[TOO_MANY].note
    assert not existing[TOO_MANY].problem
    for owner in ("ended", "everybody", "fine"):
        assert (existing[owner].state, existing[owner].problem) == ("right", "")
    assert not planted.leaks(repr(missing) + repr(existing))


def test_a_withdrawal_is_a_state_of_its_own_until_a_credential_comes() -> None:
    told = Delete(ExistingSecret("team", "s", 1, True, True, False, False, "alice", b""), WITHDRAWN, withdrawn=True)
    events = written([told.notice("ghcr-secret")], "pullsecret-webhook", NOW)
    (line,) = shown(Lists(namespaces=[TEAM], events=events))
    assert (line.state, line.needs_a_human) == ("withdrawn", True)
    assert 'an Event in team says: "the owner has no credential for this namespace any more' in line.problem
    assert "1 withdrawn, 0 wrong" in summary([line])
    (line,) = shown(Lists(namespaces=[TEAM], events=events, secrets=[source_secret("alice")]))
    assert line.state == "wrong"


def test_a_secret_whose_owner_has_lost_its_credential_is_not_the_webhook_s_fault() -> None:
    secret = as_the_webhook_writes(source_secret("alice"))
    (line,) = shown(Lists(namespaces=[TEAM], secrets=[secret]))
    assert (line.state, line.needs_a_human) == ("wrong", True)
    assert line.problem.startswith("alice has no credential any more: the Secret is deleted within seconds, or kept")
    (line,) = shown(Lists(namespaces=[TEAM], secrets=[secret]), {"pullSecret": {"whenWithdrawn": "keep"}})
    assert (line.state, line.problem) == ("right", "")


def test_what_has_no_effect_in_a_namespace_is_told() -> None:
    def labelled(name: str, **labels: str) -> Object:
        return {
            "metadata": {"name": name, "labels": {f"pullsecret-webhook/{key}": text for key, text in labels.items()}}
        }

    spaces = [TEAM, labelled("typo", onwer="alice"), labelled("out", owner="alice", inject="no"), labelled("free")]
    pod = stuck("p", "ghcr.io/alice/app", "no basic auth credentials")
    pod["metadata"]["namespace"] = "typo"
    found = {line.namespace: line for line in report(Lists(namespaces=spaces, pods=[pod])).lines}
    assert found.keys() == {"team", "typo", "out"}
    assert (found["typo"].state, found["typo"].needs_a_human) == ("unserved", True)
    assert "did you mean pullsecret-webhook/owner?" in found["typo"].problem
    assert [one.why for one in found["typo"].pods_failing] == [found["typo"].problem]
    assert "write disabled to opt out" in found["out"].note


def test_while_a_source_is_down_a_secret_that_is_missing_is_wrong() -> None:
    down = "source sql: row 1: its token is encrypted; set decrypt; existing pull secrets stay unchanged"
    line = judged(warnings())["fine"]
    assert (line.state, line.problem) == ("wrong", f'there is no Secret; {OWN} says: "{down}"')
    assert line.needs_a_human
    assert judged([event("SourceUnavailable", down, NOW - timedelta(minutes=19))])["fine"].state == "wrong"
    old = NOW - timedelta(minutes=21)  # it would have been said again
    for other in (
        event("SourceUnavailable", down, old),
        event("SourceFeedBroken", "source sql: cannot watch for changes"),
    ):
        assert judged([other])["fine"].state == "none"


def test_what_is_over_is_neither_above_the_table_nor_beside_a_namespace() -> None:
    """As when the password of the database was wrong, and is right again: an owner whom it does not know has none."""
    events = [
        event(
            "SourceUnavailable",
            "source sql: the role may not read what the query reads (42501)",
            NOW - timedelta(minutes=5),
        )
    ]
    before = report(Lists(namespaces=[TEAM], events=events), ELSEWHERE)
    assert [(line.state, line.needs_a_human) for line in before.lines] == [("wrong", True)]
    over = event("SourceAnswers", "source sql: it answers again", NOW - timedelta(minutes=4))
    now = report(Lists(namespaces=[TEAM], events=[over, *events]), ELSEWHERE)
    assert ([*now.sources], now.needs_a_human) == ([], False)
    assert [(line.state, line.problem) for line in now.lines] == [("none", "")]
    again = event("SourceUnavailable", "source sql: refused", NOW - timedelta(minutes=3))
    assert report(Lists(namespaces=[TEAM], events=[over, *events, again]), ELSEWHERE).needs_a_human


def test_why_a_secret_is_missing_is_the_newest_word() -> None:
    """A query without a password, and then one that is no SQL."""
    row = about_source("SourceAnswerBroken", "row 1: there is no text in its column password", "alice")
    older = written([row], "pullsecret-webhook", NOW - timedelta(minutes=2))
    newer = event("SourceUnavailable", "source sql: the query has a syntax error (42601)", NOW - timedelta(minutes=1))
    (line,) = report(Lists(namespaces=[TEAM], events=[*older, newer]), ELSEWHERE).lines
    assert line.problem == f'there is no Secret; {OWN} says: "source sql: the query has a syntax error (42601)"'


def test_what_is_said_of_a_source_as_a_whole_stands_above_the_table() -> None:
    elsewhere = [
        event("SourceSecretBroken", "it is empty", kind="Secret"),
        written(
            [Notice("SourceUnavailable", "x", "pullsecret-webhook", "Service", "pullsecret-webhook", owner="nobody")],
            "pullsecret-webhook",
            NOW,
        )[0],
    ]
    said = report(Lists(namespaces=[TEAM], events=warnings() + elsewhere), ELSEWHERE)
    assert text(said).splitlines()[:2] == [
        f'2030-01-01 00:00 {OWN} says: "source sql: cannot watch for changes: hung up; trying again"',
        (
            f'2030-01-01 00:00 {OWN} says: "source sql: row 1: its token is encrypted; set decrypt; '
            'existing pull secrets stay unchanged"'
        ),
    ]
    assert text(said).splitlines()[2].startswith("NAMESPACE ")
    assert not report(
        Lists(namespaces=[TEAM], events=warnings())
    ).sources  # only Secrets are sources, and they are read


def test_the_table() -> None:
    lines = [
        Line("a", "alice", "right", ("ghcr.io",), NOW, NOW),
        Line("long-name", "bob", "none", note="no credential is known"),
        Line("b", "carol", "wrong", problem="the Secret is for owner bob"),
    ]
    assert text(Report(lines)).splitlines() == [
        "NAMESPACE  OWNER  SECRET  EXPIRES           WRITTEN           REGISTRIES",
        "a          alice  right   2030-01-01 00:00  2030-01-01 00:00  ghcr.io",
        "long-name  bob    none    -                 -                 -",
        "  no credential is known",
        "b          carol  wrong   -                 -                 -",
        "  the Secret is for owner bob",
        "3 namespaces: 1 right, 1 without a known credential, 1 wrong; 0 pods without the reference; 1 needs attention",
    ]


def test_filters_show_less_and_the_summary_counts_all_of_the_owner() -> None:
    lines = [
        Line("a", "alice", "right"),
        Line("b", "alice", "wrong", problem="the Secret is for no owner"),
        Line("c", "bob", "wrong", problem="the Secret is for no owner"),
        Line("d", "carol", "right"),
    ]
    report = Report(lines)

    def rows(owner: str | None, *, problems_only: bool) -> list[str]:
        shown_ = report.of(owner, problems_only=problems_only)
        names = [line["namespace"] for line in shown_.document["namespaces"]]
        assert [row.split()[0] for row in text(shown_).splitlines() if row[:1] in "abcd" and row[1] == " "] == names
        return names

    assert rows(None, problems_only=False) == ["a", "b", "c", "d"]
    assert rows(None, problems_only=True) == ["b", "c"]
    assert rows("alice", problems_only=False) == ["a", "b"]
    assert rows("alice", problems_only=True) == ["b"]
    assert text(report.of("alice", problems_only=True)).splitlines()[-1].startswith("2 namespaces: 1 right")
    well = report.of("carol", problems_only=True)
    assert not well.needs_a_human
    assert text(well).splitlines() == [summary(lines[3:])]  # no table without a row


# -- what registries said --

SAID = 1893452400
"""When they were asked: an hour before NOW, in seconds since 1970."""
WORKS, ONCE = Check(Why.NONE, SAID), Check(Why.UNAUTHORIZED, SAID)
TWICE, HELD = replace(ONCE, times=2), replace(ONCE, times=2, held=True)
SINGLE = replace(ONCE, times=2, single=True)
UNREACHED = Check(Why.NO_CONNECTION, SAID, times=2)


def said(checks: Mapping[Credential, Check]) -> Checks:
    key = Checks(b"k" * 32)
    return replace(key, records={key.digest(c): check.record for c, check in checks.items()})


def as_kept(checks: Checks) -> Object:
    """As the webhook keeps it."""
    labels = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
    data = {KEY: checks.key, RECORDS: at_once(encoded(checks.records))}
    metadata = {"name": CHECKS_SECRET, "namespace": "pullsecret-webhook", "resourceVersion": "1", "labels": labels}
    encoded_data = {key: base64.b64encode(value).decode() for key, value in data.items()}
    return {"metadata": metadata, "type": "Opaque", "data": encoded_data}


def docker_config(name: str, *credentials: Credential) -> Object:
    """A source Secret."""
    auths = {c.registry: {"username": c.username, "password": c.password} for c in credentials}
    content = base64.b64encode(json.dumps({"auths": auths}).encode()).decode()
    made = source_secret(name) | {"type": "kubernetes.io/dockerconfigjson"}
    return made | {"data": {".dockerconfigjson": content}}


def pull_secret(*credentials: Credential) -> Object:
    body = PLANNER.body(SPACE, credentials)
    wrote = {"manager": "m", "time": "2029-12-31T23:00:00Z", "fieldsV1": {"f:data": {}}}
    return dict(body) | {"metadata": body["metadata"] | {"managedFields": [wrote]}}


def of_team(checks: Checks | None, *secrets: Object, config: Object | None = None, **lists: list[Object]) -> Line:
    kept = None if checks is None else as_kept(checks)
    (line,) = shown(Lists(kept, namespaces=[TEAM], secrets=[*secrets], **lists), config)
    return line


DATABASE = Origin("sql", "pullsecret-webhook", "Service", "pullsecret-webhook")
PLAIN = Credential("ghcr.io", "alice", planted.token(), origin=DATABASE)
QUAY = Credential("quay.io", "alice", planted.token())
HINT = hint("ghcr.io", PLAIN.password)


@pytest.mark.parametrize(
    ("check", "cell", "result", "state"),
    [
        (WORKS, "ghcr.io (works)", "works", "right"),
        (ONCE, "ghcr.io (refused)", "refused", "refused"),
        (HELD, "ghcr.io (refused)", "refused", "refused"),
        (SINGLE, "ghcr.io (refused)", "refused", "refused"),
        (UNREACHED, "ghcr.io (not known)", "unknown", "right"),
        (None, "ghcr.io (not asked)", "unasked", "right"),
    ],
)
def test_each_registry_says_whether_its_credential_works(
    check: Check | None, cell: str, result: str, state: str
) -> None:
    checks = said({} if check is None else {PLAIN: check})
    for config in ({}, ELSEWHERE):
        line = of_team(checks, docker_config("alice", PLAIN), pull_secret(PLAIN), config=config)
        assert (line.state, line.needs_a_human) == (state, state == "refused")
        assert text(Report([line])).splitlines()[1].endswith(f"  {cell}")
        (answer,) = line.checks
        assert (answer.registry, answer.result) == ("ghcr.io", result)
        assert answer.at == (None if check is None else NOW - timedelta(hours=1))
        assert not planted.leaks(repr(line) + text(Report([line])))


def test_why_a_credential_is_refused_and_what_follows_is_the_problem() -> None:
    for check, then in (
        (ONCE, "the registry is asked again in half a minute"),
        (HELD, "it stays in the pull secret, because the registry refuses many others too"),
        (SINGLE, "it stays in the pull secret, because only one of two answers was a refusal"),
    ):
        line = of_team(said({PLAIN: check}), docker_config("alice", PLAIN), pull_secret(PLAIN))
        assert line.problem == f"the registry refuses the credential for ghcr.io (HTTP 401); {then}; {HINT}"
        line = of_team(said({PLAIN: check}), pull_secret(PLAIN), config=ELSEWHERE)  # the password is not kept
        assert line.problem == f"the registry refuses the credential for ghcr.io (HTTP 401); {then}"


def test_a_refused_credential_that_is_left_out_is_told_beside_the_others() -> None:
    checks = said({PLAIN: TWICE, QUAY: WORKS})
    line = of_team(checks, docker_config("alice", PLAIN, QUAY), pull_secret(QUAY))
    assert (line.state, line.registries) == ("refused", ("quay.io",))
    assert line.problem == (
        "the registry refuses the credential for ghcr.io (HTTP 401); "
        f"it is left out of the pull secret until it changes; write a new one at its source; {HINT}"
    )
    assert {answer.registry: answer.result for answer in line.checks} == {"quay.io": "works", "ghcr.io": "refused"}
    assert text(Report([line])).splitlines()[1].endswith("  ghcr.io (refused), quay.io (works)")
    assert "0 right, 0 without a known credential, 1 with a refused credential, 0 wrong" in summary([line])
    still = of_team(checks, docker_config("alice", PLAIN, QUAY), pull_secret(PLAIN, QUAY))
    assert still.state == "wrong"
    assert "differs from the source Secrets of alice; is the webhook running?; the registry refuses" in still.problem


def test_without_a_credential_that_works_there_is_no_secret() -> None:
    line = of_team(said({PLAIN: TWICE}), docker_config("alice", PLAIN))
    assert (line.state, line.needs_a_human, line.note) == ("refused", True, "")
    assert line.problem.startswith("there is no Secret; the registry refuses the credential for ghcr.io (HTTP 401); ")
    assert [answer.result for answer in line.checks] == ["refused"]
    assert of_team(said({PLAIN: ONCE}), docker_config("alice", PLAIN)).state == "wrong"  # it would be written
    ended = docker_config("alice", PLAIN)
    ended["metadata"]["annotations"] = {"pullsecret-webhook/expires": "2029-01-01"}
    assert "has expired; renew it" in of_team(said({}), ended).problem


def test_several_credentials_for_one_registry_are_in_one_cell() -> None:
    other = replace(PLAIN, username="bob", password=planted.token())
    secrets = docker_config("a", PLAIN), docker_config("b", other), pull_secret(PLAIN, other)
    line = of_team(said({PLAIN: WORKS, other: ONCE}), *secrets)
    assert {answer.result for answer in line.checks} == {"works", "refused"}
    assert re.search(r"  ghcr.io \((works, refused|refused, works)\)$", text(Report([line])).splitlines()[1])


def test_docker_hub_is_asked_about_under_the_name_that_the_user_wrote() -> None:
    hub = Credential("docker.io", "alice", planted.token())
    line = of_team(said({hub: WORKS}), docker_config("alice", hub), pull_secret(hub))
    assert {(answer.registry, answer.result) for answer in line.checks} == {
        ("docker.io", "works"),
        ("https://index.docker.io/v1/", "works"),
    }


MIRRORS = {"mirrors": [{"of": "ghcr.io", "to": "mirror.test:5000"}]}
AT_MIRROR = Credential("mirror.test:5000/alice", "alice", planted.token())


def with_mirror(*credentials: Credential) -> Object:
    """As the webhook writes it."""
    return pull_secret(*mirrored(Credentials(credentials), reading.convert(MIRRORS).mirror_rules, "alice").items)


def test_an_entry_for_a_mirror_is_right_and_its_answer_is_that_of_the_mirror() -> None:
    checks = said({PLAIN: WORKS, AT_MIRROR: TWICE})
    line = of_team(checks, docker_config("alice", PLAIN, AT_MIRROR), with_mirror(PLAIN, AT_MIRROR), config=MIRRORS)
    assert {(answer.registry, answer.result) for answer in line.checks} == {
        ("ghcr.io", "works"),
        ("mirror.test:5000/alice", "refused"),
    }
    assert line.problem.count("refuses the credential") == 1
    assert "ghcr.io/alice" not in line.problem
    fine = said({PLAIN: WORKS, AT_MIRROR: WORKS})
    line = of_team(fine, docker_config("alice", PLAIN, AT_MIRROR), with_mirror(PLAIN, AT_MIRROR), config=MIRRORS)
    assert (line.state, line.problem, line.note) == ("right", "", "")
    assert line.registries == ("ghcr.io", "ghcr.io/alice", "mirror.test:5000/alice")


def test_docker_hub_s_own_entry_beside_one_for_its_mirror_has_its_answer() -> None:
    hub = Credential(DOCKER_HUB, "alice", planted.token())
    config = {"mirrors": [{"of": "docker.io", "to": "mirror.test:5000"}]}
    written = mirrored(Credentials((hub, AT_MIRROR)), reading.convert(config).mirror_rules, "alice").items
    checks = said({hub: WORKS, AT_MIRROR: WORKS})
    line = of_team(checks, docker_config("alice", hub, AT_MIRROR), pull_secret(*written), config=config)
    assert {(answer.registry, answer.result) for answer in line.checks} == {
        (DOCKER_HUB, "works"),
        ("docker.io", "works"),
        ("mirror.test:5000/alice", "works"),
    }


REWRITES = {
    "mirrors": [
        {"of": "ghcr.io/acme/", "to": "mirror.test:5000/ghcr", "how": "rewrite"},
        {"of": "ghcr.io", "to": "us.test", "how": "rewrite", "region": "us", "namespace": "registry"},
    ]
}


def test_owners_without_a_credential_for_a_mirror_are_told_once_for_each_mirror() -> None:
    spaces, secrets = [], []
    for name, owner in (("a", "alice"), ("b", "alice"), ("c", "bob"), ("d", "carol")):
        spaces.append({"metadata": {"name": name, "uid": "u", "labels": {"pullsecret-webhook/owner": owner}}})
        has = [PLAIN, Credential("mirror.test:5000/carol", owner, planted.token())] if owner == "carol" else [PLAIN]
        secrets.append(dict(PLANNER.body(Namespace(name, "u", 1, owner), has)))
    found = report(Lists(namespaces=spaces, secrets=secrets), MIRRORS | ELSEWHERE)
    assert [line.unmirrored for line in found.lines] == [("mirror.test:5000 of ghcr.io",)] * 3 + [()]
    assert not found.needs_a_human
    told = "owners without a credential for the mirror mirror.test:5000 of ghcr.io: alice, bob"
    assert text(found).splitlines()[-2:] == [told, summary(found.lines)]
    assert told not in text(found.of(None, problems_only=True))
    assert text(found.of("bob", problems_only=False)).splitlines()[-2].endswith(": bob")


@pytest.mark.parametrize(
    ("region", "name", "at", "lacks"),
    [
        ("", "team", "quay.io", ("mirror.test:5000/ghcr of ghcr.io/acme", "us.test of ghcr.io")),
        ("", "team", "mirror.test:5000", ("us.test of ghcr.io",)),
        ("", "team", "mirror.test:5000/ghcr/alice", ("us.test of ghcr.io",)),
        ("", "team", "mirror.test:5000/quay", ("mirror.test:5000/ghcr of ghcr.io/acme", "us.test of ghcr.io")),
        ("us", "team", "mirror.test:5000", ("us.test of ghcr.io",)),
        ("eu", "team", "mirror.test:5000", ()),
        ("", "registry", "quay.io", ()),
    ],
)
def test_mirrors_that_count_in_a_namespace(region: str, name: str, at: str, lacks: tuple[str, ...]) -> None:
    labels = TEAM["metadata"]["labels"] | ({"pullsecret-webhook/region": region} if region else {})
    space = {"metadata": TEAM["metadata"] | {"name": name, "labels": labels}}
    one = Credential(at, "alice", planted.token())
    secret = dict(PLANNER.body(Namespace(name, "space-uid", 1, "alice"), [one]))
    (line,) = shown(Lists(namespaces=[space], secrets=[docker_config("alice", one), secret]), REWRITES)
    assert (line.state, line.unmirrored) == ("right", lacks)


def test_a_refused_credential_for_a_mirror_is_not_said_to_be_missing() -> None:
    checks = said({PLAIN: WORKS, AT_MIRROR: TWICE})
    line = of_team(checks, docker_config("alice", PLAIN, AT_MIRROR), pull_secret(PLAIN), config=MIRRORS)
    assert line.unmirrored == ()
    assert "refuses the credential for mirror.test:5000/alice" in line.problem


def test_that_a_registry_cannot_be_asked_is_told_once_for_all_namespaces() -> None:
    spaces = [{"metadata": TEAM["metadata"] | {"name": f"team-{number}"}} for number in range(3)]
    secrets = [docker_config("alice", PLAIN, QUAY)]
    for space in spaces:
        body = PLANNER.body(Namespace(space["metadata"]["name"], "space-uid", 1, "alice"), [PLAIN, QUAY])
        secrets.append(dict(body))
    kept = as_kept(said({PLAIN: UNREACHED, QUAY: replace(UNREACHED, why=Why.PRIVATE)}))
    found = report(Lists(kept, namespaces=spaces, secrets=secrets))
    assert not found.needs_a_human
    lines = text(found).splitlines()
    assert lines[2:4] == [
        (
            "  the registry ghcr.io does not say whether the credential works: it cannot be reached "
            "(the same in 2 more namespaces)"
        ),
        (
            "  the registry quay.io does not say whether the credential works: it has a private address, and is not "
            "named in the configuration's registries (the same in 2 more namespaces)"
        ),
    ]
    assert len(lines) == 1 + 3 + 2 + 1
    assert {answer.why for line in found.lines for answer in line.checks} == {
        "it cannot be reached",
        "it has a private address, and is not named in the configuration's registries",
    }


@pytest.mark.parametrize("config", [{}, {"check": False}])
def test_without_the_secret_nothing_is_known(config: Object) -> None:
    foreign = as_kept(said({PLAIN: TWICE}))
    foreign["metadata"]["labels"] = {}
    for kept in (None, foreign, foreign | {"data": {}}) if not config else (as_kept(said({PLAIN: TWICE})),):
        cluster = Lists(kept, namespaces=[TEAM], secrets=[docker_config("alice", PLAIN), pull_secret(PLAIN)])
        (line,) = shown(cluster, config)
        assert (line.state, line.checks) == ("right", ())
        assert text(Report([line])).splitlines()[1].endswith("  ghcr.io")


def refused_event(at: datetime) -> Object:
    plan = PLANNER(SPACE, said({PLAIN: TWICE}).marked(Credentials((PLAIN,))), None, NOW)
    return written([*plan.notices("alice")], "pullsecret-webhook", at)[0]


LEFT_OUT = (
    f'{OWN} says: "source sql: the credential of owner alice for ghcr.io is refused by the registry (HTTP 401); '
    "it is left out of the pull secret until it changes; write a new one at its source"
)


def test_of_a_database_the_webhook_s_event_says_which_credential_is_left_out() -> None:
    """The credential of a database is not known here."""
    checks = said({PLAIN: TWICE, QUAY: WORKS})
    event = refused_event(NOW - timedelta(minutes=59, seconds=50))
    missing = of_team(checks, config=ELSEWHERE, events=[event])
    assert missing.state == "refused"
    assert missing.problem.startswith(f"there is no Secret; {LEFT_OUT}")
    beside = of_team(checks, pull_secret(QUAY), config=ELSEWHERE, events=[event])
    assert beside.state == "refused"
    assert beside.problem.startswith(LEFT_OUT)
    assert not of_team(None, pull_secret(QUAY), config=ELSEWHERE, events=[event]).problem
    assert not of_team(checks, docker_config("alice", QUAY), pull_secret(QUAY), events=[event]).problem


def test_an_event_about_a_credential_that_was_replaced_since_is_not_shown() -> None:
    new = replace(PLAIN, password=planted.token())
    for before, shown_ in ((timedelta(seconds=20), False), (timedelta(seconds=10), True), (-SPREAD, True)):
        event = refused_event(NOW - timedelta(hours=1) - before)
        line = of_team(said({PLAIN: TWICE}), pull_secret(new), config=ELSEWHERE, events=[event])
        assert bool(line.problem) is shown_
    event, later = refused_event(NOW - timedelta(minutes=50)), Check(Why.NONE, SAID + 700, times=2)
    assert of_team(said({new: WORKS}), pull_secret(new), config=ELSEWHERE, events=[event]).problem
    assert not of_team(said({new: later}), pull_secret(new), config=ELSEWHERE, events=[event]).problem


# -- text of others --

ROW = "x\nkube-system  admin  right  2030-01-01 00:00"
hostile = st.text(max_size=20) | st.sampled_from(
    [ROW, "\x1b[2J", "\u202eevil", "\u200b", "x" * 9999, "a\u2028b", "$(id)"]
)


@given(hostile, hostile, hostile)
def test_what_others_wrote_is_one_cell_or_in_quotes(owner: str, said: str, kind: str) -> None:
    space = Namespace("team", "space-uid", 1, owner or "x")
    judge = told(said)
    found = [
        judge(space, replace(seen, type=kind, registries=(kind,) * 9), known)
        for seen in (RIGHT, but(dockerconfig=False), but(owner=said), but(expiries=(NOW,)))
        for known in (GHCR, ENDED, None)
    ]
    found += [judge(space, None, known) for known in (GHCR, ENDED, None, Credentials())]
    shown = text(Report(found, [str(WarningEvent("team", NOW, "SupplyFailed", said))])).splitlines()
    rows = [line for line in shown if not line.startswith("  ")][2:-1]  # what is said, the head, and the summary
    assert len(rows) == len(found)
    assert all(row.startswith("team  ") for row in rows)
    assert all(line.isprintable() and len(line) < 2500 for line in shown)


def forged(reason: str, message: str, at: datetime = NOW, **about: str) -> Object:
    involved = {"involvedObject": {"kind": "Secret", "name": "ghcr-secret"} | about}
    made = event(reason, message, at) | involved
    annotations = {"pullsecret-webhook/owner": "alice", "pullsecret-webhook/source": "sql"}
    return made | {"metadata": {"name": "forged", "namespace": "team", "annotations": annotations}}


def test_an_event_that_a_tenant_may_have_made_makes_nothing_better() -> None:
    source = source_secret("alice")
    right, wrong = as_the_webhook_writes(source), {"metadata": {"name": "ghcr-secret", "namespace": "team"}}
    soothing = [
        forged(reason, "all is well\nteam  alice  right", at, **about)
        for reason in ("SupplyFailed", "TugOfWar", "SourceUnavailable", "CredentialLeftOut", "CredentialRefused", "x")
        for at in (NOW, NOW + timedelta(days=999))
        for about in ({}, {"kind": "Service", "name": "pullsecret-webhook"})
    ]
    for secrets in ([source], [source, wrong], [source, right]):
        for config in ({}, ELSEWHERE):
            before = report(Lists(namespaces=[TEAM], secrets=secrets), config)
            after = report(Lists(namespaces=[TEAM], secrets=secrets, events=soothing), config)
            assert [line.state for line in after.lines] == [line.state for line in before.lines]
            assert after.needs_a_human == before.needs_a_human
            assert not after.sources
    (line,) = shown(Lists(namespaces=[TEAM], secrets=[source], events=soothing))
    assert line.problem == 'the Secret is missing; an Event in team says: "all is well"'


@pytest.mark.parametrize("about", [{"kind": "Pod"}, {"name": "other"}])
def test_an_event_about_something_else_is_not_shown(about: Object) -> None:
    made = forged("SupplyFailed", "all is well", **about)
    (line,) = shown(Lists(namespaces=[TEAM], secrets=[source_secret("alice")], events=[made]))
    assert line.problem == "the Secret is missing; is the webhook running?"


def test_why_an_issuer_gives_nothing_is_a_note() -> None:
    event = WarningEvent("pullsecret-webhook", NOW, "IssueFailed", "issuer registry, owner alice: it does not answer")
    warnings = RecentWarnings(not_issued={"alice": {"registry": event}})
    line = Judge(PLANNER, NOW, warnings)(SPACE, None, Credentials())
    assert line.state == "none"
    assert line.note == (
        "no credential is known; an Event in pullsecret-webhook says: "
        '"issuer registry, owner alice: it does not answer"'
    )
    assert "Event" not in Judge(PLANNER, NOW, warnings)(replace(SPACE, owner="bob"), None, Credentials()).note
