"""What `explain` makes of one pod and one namespace. tests/e2e/test_status_pods.py has each cause on a real node."""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import msgspec
import pytest

from support import planted
from support.writtenevents import written
from webhook.commands import explain
from webhook.commands.cluster_view import ClusterView
from webhook.commands.pullcause import Cause
from webhook.config import reading
from webhook.core.notice import Notice
from webhook.kube.cluster import Cluster, ClusterError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
ENTRY = {"name": "mutate.pullsecret-webhook.io", "clientConfig": {"url": "https://192.0.2.1", "caBundle": "eA=="}}
Object = dict[str, Any]


def made(name: str, **more: Any) -> Object:
    labels = more.pop("labels", {})
    created = more.pop("created", "2029-06-01T00:00:00Z")
    return {"metadata": {"name": name, "namespace": "team", "labels": labels, "creationTimestamp": created}} | more


def pull_secret(name: str, *registries: str) -> Object:
    auths = {registry: {"username": "alice", "password": planted.token()} for registry in registries}
    data = {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}
    return made(name, type="kubernetes.io/dockerconfigjson", data=data)


def pod(*references: str, said: str = "", **more: Any) -> Object:
    spec: Object = {"containers": [{"name": "c", "image": "ghcr.io/alice/app:1"}], "nodeName": "n1"}
    spec["imagePullSecrets"] = [{"name": name} for name in references]
    waiting = {"waiting": {"reason": "ErrImagePull", "message": said}} if said else {}
    return made("p", spec=spec, status={"containerStatuses": [{"name": "c", "state": waiting}]}, **more)


class Answers:
    def __init__(self, the_pod: Object, labels: Object, *secrets: Object) -> None:
        self.whole = {
            "/api/v1/namespaces/team": made("team", labels=labels),
            "/api/v1/namespaces/team/pods/p": the_pod,
            "mutatingwebhookconfigurations/pullsecret-webhook": made(
                "w",
                webhooks=[ENTRY, ENTRY | {"name": "templates.pullsecret-webhook.io"}],
                created="2029-07-01T00:00:00Z",
            ),
        } | {f"/api/v1/namespaces/team/secrets/{one['metadata']['name']}": one for one in secrets}
        self.lists: dict[str, list[Object]] = {"/api/v1/namespaces/team/pods": [the_pod]}

    async def call(self, method: str, path: str, *, query: Mapping[str, str] = {}, **_more: Any) -> bytes:
        assert method == "GET"
        for end, found in self.whole.items():
            if path.endswith(end):
                return msgspec.json.encode(found)
        if "/secrets/" in path or "/serviceaccounts/" in path:
            raise ClusterError(404, "NotFound")
        items = self.lists.get(path, [])
        if path.endswith("/events"):
            key, _, value = query["fieldSelector"].rpartition(",")[2].partition("=")
            items = [one for one in items if one[key] == value]
        return msgspec.json.encode({"metadata": {}, "items": items})


OWNED = {"pullsecret-webhook/owner": "alice"}


def explained(the_pod: Object, *secrets: Object, labels: Object = OWNED) -> explain.Explained:
    view = ClusterView(cast(Cluster, Answers(the_pod, labels, *secrets)), reading.convert({}))
    return asyncio.run(explain.pod(view, "p", "team", NOW))


def test_entries_in_the_order_of_the_kubelet() -> None:
    first, second = pull_secret("first", "ghcr.io", "quay.io"), pull_secret("second", "ghcr.io/alice", "ghcr.io")
    found = explained(pod("first", "second", "gone"), first, second, made("opaque", type="Opaque"))
    (image,) = found.images
    assert image.entries == (("ghcr.io/alice", "second"), ("ghcr.io", "first"), ("ghcr.io", "second"))
    assert dict(found.secrets)["gone"] == "is missing"
    shown = explain.text(found)
    assert "entries: ghcr.io/alice of second, then ghcr.io of first, then ghcr.io of second" in shown
    assert not planted.leaks(shown + json.dumps(msgspec.to_builtins(found.document)))


@pytest.mark.parametrize(
    ("the_pod", "labels", "why"),
    [
        (pod(), OWNED, "the pod is older than the webhook's registration (2029-07-01 00:00)"),
        (pod(created="2029-08-01T00:00:00Z"), OWNED, "the namespace had no owner, or the webhook did not answer"),
        (pod(labels={"pullsecret-webhook/inject": "disabled"}), OWNED, "its label pullsecret-webhook/inject: disabled"),
        (pod(), {}, "the namespace has no owner"),
        (pod(), OWNED | {"pullsecret-webhook/inject": "disabled"}, "the namespace's label pullsecret-webhook/inject"),
    ],
)
def test_why_a_pod_has_no_reference(the_pod: Object, labels: Object, why: str) -> None:
    found = explained(the_pod, labels=labels)
    assert found.reference is False
    assert why in found.no_reference
    assert f"reference no: {found.no_reference}" in explain.text(found)


def test_the_next_step_follows_from_the_cause() -> None:
    for said, step in (
        ("x509: certificate is valid for *.github.io, not ghcr.io", "mend it on n1"),
        (
            "dial tcp: lookup ghcr.io: no such host",
            "correct the name of the image if ghcr.io is no registry; if it is one,",
        ),
        (
            "no basic auth credentials",
            "correct the owner of the namespace, or give this owner a source Secret, in the webhook's",
        ),
    ):
        found = explained(pod("ghcr-secret", said=said))
        assert found.next_step.startswith(step)
        assert ("pullsecret doctor pod" in found.next_step) == ("credentials" not in said)
        assert "  webhook   the caBundle" in explain.text(found)


MIRRORED = 'Head "https://mirror.test:5000/v2/alice/app/manifests/1?ns=ghcr.io"'


@pytest.mark.parametrize(
    ("said", "cause", "why"),
    [
        (f"unexpected status from HEAD request to {MIRRORED[6:-1]}: 401 Unauthorized", "refused", " refuses the cred"),
        (f"unexpected status from HEAD request to {MIRRORED[6:-1]}: 403 Forbidden", "denied", " denies the credential"),
        (f"failed to do request: {MIRRORED}: dial tcp 1.2.3.4:5000: connect: connection refused", "connection", ": "),
        (f"failed to do request: {MIRRORED}: x509: certificate signed by unknown authority", "certificate", ": "),
    ],
)
def test_what_a_mirror_says_is_not_said_of_the_registry(said: str, cause: Cause, why: str) -> None:
    written = pull_secret("ghcr-secret", "ghcr.io")
    written["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
    (failing,) = explained(pod("ghcr-secret", said=said), written).line.pods_failing
    assert failing.cause == cause
    assert f"the mirror mirror.test:5000{why}" in failing.why
    assert "registry" not in failing.why
    theirs = explained(pod("own", said=said), pull_secret("own", "ghcr.io"), labels=OWNED | OPTED_OUT)
    assert "the mirror mirror.test:5000" in theirs.line.pods_failing[0].why
    (plain,) = explained(pod("ghcr-secret", said=said.replace("?ns=ghcr.io", "")), written).line.pods_failing
    assert "the registry" in plain.why


def test_a_pod_is_not_created_again_before_the_webhook_is_well() -> None:
    credential = pull_secret("ghcr-secret", "ghcr.io")
    credential["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
    found = explained(pod(said="no basic auth credentials"), credential)
    assert [one.cause for one in found.line.pods_failing] == ["no-reference"]
    assert found.next_step.startswith("the caBundle")
    well = replace(found, webhook=())
    assert well.next_step == "create the pod again: kubectl delete pod p -n team, if something makes it anew"


def test_every_cause_has_a_next_step() -> None:
    assert {*explain.NEXT} | {"no-reference", "no-secret", "not-served"} == {*get_args(Cause)}


MISTAKE = "the label pullsecret-webhook/Owner means nothing; did you mean pullsecret-webhook/owner?"
OPTED_OUT = {"pullsecret-webhook/inject": "disabled"}


@pytest.mark.parametrize(
    ("labels", "step"),
    [
        ({}, "give the namespace an owner, then create the pod again"),
        (OWNED | OPTED_OUT, "remove the label pullsecret-webhook/inject from the namespace, then create the pod again"),
        (
            {"pullsecret-webhook/Owner": "alice"},
            f"correct the namespace ({MISTAKE}), then create the pod again",
        ),
    ],
)
def test_the_next_step_where_the_namespace_is_not_served(labels: Object, step: str) -> None:
    assert explained(pod(said="no basic auth credentials"), labels=labels).next_step == step


def test_a_secret_that_is_not_ours_and_has_no_entry_is_not_mended_by_a_credential() -> None:
    found = explained(pod("ghcr-secret", said="no basic auth credentials"), made("ghcr-secret", type="Opaque"))
    assert [one.cause for one in found.line.pods_failing] == ["no-entry"]
    assert found.next_step == "the Secret is not the webhook's; see pullsecret adopt -n team --dry-run"


def test_a_secret_that_the_webhook_cannot_write_waits_for_the_webhook() -> None:
    found = explained(pod("ghcr-secret", said="no basic auth credentials"))
    line = replace(found.line, state="wrong", problem="the Secret is missing; is the webhook running?")
    (failing,) = line.pods_failing
    line = replace(line, pods_failing=(replace(failing, cause="no-secret", why=line.problem),))
    images = tuple(replace(one, failing=line.pods_failing) for one in found.images)
    waits = replace(found, line=line, images=images)
    assert waits.next_step.startswith("the caBundle")
    assert replace(waits, webhook=()).next_step == line.problem
    gone = replace(waits, line=replace(line, state="withdrawn", problem="there is no Secret; an Event says so"))
    assert gone.next_step.startswith("give the owner a credential again;")


@pytest.mark.parametrize("labels", [{}, OWNED | OPTED_OUT])
@pytest.mark.parametrize(
    ("said", "cause", "step"),
    [
        ("unexpected status from HEAD request to https://ghcr.io/v2/x: 401 Unauthorized", "refused", "write a new"),
        ("ghcr.io/alice/app:1: not found", "not-found", "correct the name of the image or its tag"),
        ("no basic auth credentials", "not-served", ""),
    ],
)
def test_a_pod_that_is_left_alone_may_have_pull_secrets_of_its_own(
    labels: Object, said: str, cause: Cause, step: str
) -> None:
    found = explained(pod("own", said=said), pull_secret("own", "ghcr.io"), labels=labels)
    (failing,) = found.line.pods_failing
    assert failing.cause == cause
    assert failing.why.endswith("its pull secrets are own") == (cause != "not-served")
    assert found.next_step.startswith(step)
    alone = explained(pod(said=said), labels=labels)
    assert [one.cause for one in alone.line.pods_failing] == ["not-served"]


def test_that_a_namespace_is_excluded_matters_more_than_that_it_has_no_owner() -> None:
    view = ClusterView(cast(Cluster, Answers(pod(), {})), reading.convert({"excludedNamespaces": ["team"]}))
    found = asyncio.run(explain.namespace(view, "team", NOW))
    assert found.unserved.endswith("or in excludedNamespaces")


# -- mirrors whose names images get --

RULES = [{"of": "ghcr.io", "to": "m.test/ghcr", "how": "rewrite"}]
NAMES = {"mirrors": RULES}
WAS, AT = "ghcr.io/alice/app:1", "m.test/ghcr/alice/app:1"
OWN = "pullsecret-webhook"
SILENT = Notice("MirrorSilent", "the mirror m.test cannot be used", OWN, "Service", OWN, source="m.test")


def ours(*registries: str) -> Object:
    secret = pull_secret("ghcr-secret", *registries)
    secret["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
    secret["metadata"]["annotations"] = {"pullsecret-webhook/owner": "alice"}
    return secret


def with_image(image: str, was: str = "", said: str = "", **more: Any) -> Object:
    made = pod("ghcr-secret", said=said, created="2029-12-31T23:59:00Z")
    made["spec"]["containers"][0] |= {"image": image, **more}
    if was:
        made["metadata"]["annotations"] = {"pullsecret-webhook/images": json.dumps({"c": was})}
    return made


def by_mirrors(
    the_pod: Object,
    *secrets: Object,
    config: Object = NAMES,
    labels: Object = OWNED,
    events: Sequence[Notice] = (),
    pod: bool = True,
) -> explain.Explained:
    answers = Answers(the_pod, labels, *secrets)
    for one in events:
        at = f"/api/v1/namespaces/{one.namespace}/events"
        answers.lists.setdefault(at, []).extend(written([one], OWN, NOW - timedelta(minutes=5)))
    view = ClusterView(cast(Cluster, answers), reading.convert(config))
    return asyncio.run(explain.pod(view, "p", "team", NOW) if pod else explain.namespace(view, "team", NOW))


ENTRIES = ("entries: ", "its pull secrets have no entry for it")


def image_rows(found: explain.Explained) -> list[str]:
    rows = [line.strip() for line in explain.text(found).splitlines()]
    at = next(number for number, row in enumerate(rows) if row.startswith("image "))
    return rows[at + 1 : next(number for number, row in enumerate(rows) if row.startswith(ENTRIES))]


@pytest.mark.parametrize(
    ("was", "said"),
    [
        (WAS, f"it was {WAS}; the webhook gave it its name at the mirror m.test/ghcr"),
        ("quay.io/x", "it was quay.io/x, says the pod's annotation pullsecret-webhook/images"),
        ("$(rm -rf /)\n", 'it was "?(rm -rf /)?", says the pod\'s annotation pullsecret-webhook/images'),
        ("ghcr.io/bob/app:1", "it was ghcr.io/bob/app:1, says the pod's annotation pullsecret-webhook/images"),
        ("x" * 2000, 'it was "xxx'),
        (AT, ""),
    ],
)
def test_what_an_image_was_called_is_what_a_tenant_can_write(was: str, said: str) -> None:
    rows = image_rows(by_mirrors(with_image(AT, was), ours("m.test")))
    assert len(rows) == bool(said)
    assert all(row.startswith(said) and len(row) < 400 for row in rows)


NOT_ASKED = "it is not pulled from m.test/ghcr: "
US = {"of": "ghcr.io", "to": "us.test", "how": "rewrite", "region": "us"}


@pytest.mark.parametrize(
    ("the_pod", "registries", "more", "said"),
    [
        (with_image(WAS), ["ghcr.io"], {}, [f"{NOT_ASKED}the pull secret has no entry for the mirror; give the owner"]),
        (with_image(WAS), ["m.test/ghcr/bob"], {}, [f"{NOT_ASKED}the pull secret has no entry for the mirror; give"]),
        (with_image(WAS), ["m.test"], {"events": [SILENT]}, [f"{NOT_ASKED}the mirror does not answer"]),
        (with_image(WAS, imagePullPolicy="Never"), ["m.test"], {}, [f"{NOT_ASKED}the pull policy is Never, so"]),
        (
            with_image(WAS),
            ["m.test"],
            {"events": [Notice("ImageNotRewritten", "at that time: no", "team", "Namespace", "team")]},
            [
                f"one that is created now gets {AT}; names are decided when a pod is created",
                'an Event in team says: "at that time: no"',
            ],
        ),
        (with_image("quay.io/alice/app"), ["m.test"], {}, []),
        (
            with_image(WAS),
            ["m.test"],
            {"config": {"mirrors": [RULES[0] | {"namespace": "team"}]}},
            ["a mirror runs in this namespace, so its images keep their names"],
        ),
        (
            with_image(WAS),
            ["us.test"],
            {"config": {"mirrors": [US]}, "labels": OWNED | {"pullsecret-webhook/region": "eu"}},
            ["its mirrors are for other regions (us)"],
        ),
    ],
)
def test_why_an_image_keeps_its_name(the_pod: Object, registries: list[str], more: Object, said: list[str]) -> None:
    found = by_mirrors(the_pod, ours(*registries), **more)
    rows = image_rows(found)
    assert len(rows) == len(said)
    assert all(row.startswith(start) for row, start in zip(rows, said, strict=True))
    assert found.needs_a_human == bool(found.webhook)  # it is pulled from the registry


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ({"managedFields": [{"operation": "Apply"}]}, "the pod is applied from a manifest"),
        ({"ownerReferences": [{"apiVersion": "example.com/v1", "kind": "Db"}]}, "an operator made the pod"),
    ],
)
def test_a_pod_that_is_made_again_keeps_its_images_and_its_debug_containers_do_not(metadata: Object, why: str) -> None:
    the_pod = with_image(WAS)
    the_pod["metadata"] |= metadata
    the_pod["spec"]["ephemeralContainers"] = [{"name": "debug", "image": "ghcr.io/alice/debug"}]
    kept, debug = by_mirrors(the_pod, ours("m.test")).images
    assert kept.naming.why[0].startswith(f"{NOT_ASKED}{why}")
    assert debug.naming.why[0].startswith("one that is created now gets m.test/ghcr/alice/debug")


def test_a_pod_that_is_left_alone_keeps_its_images() -> None:
    the_pod = with_image(WAS)
    the_pod["metadata"]["labels"] = OPTED_OUT
    out = ["the pod's label pullsecret-webhook/inject: disabled opts it out"]
    assert image_rows(by_mirrors(the_pod, ours("m.test"))) == out
    the_pod = with_image(WAS)
    del the_pod["spec"]["imagePullSecrets"]
    assert image_rows(by_mirrors(the_pod, ours("m.test"))) == ["the pod has no reference to the pull secret"]
    assert image_rows(by_mirrors(the_pod, labels={})) == []


@pytest.mark.parametrize("labels", [OWNED, {}])
def test_a_tenant_who_may_not_read_the_configuration_sees_what_the_annotation_says(labels: Object) -> None:
    found = by_mirrors(with_image(AT, WAS), ours("m.test"), config={}, labels=labels)
    assert image_rows(found) == [f"it was {WAS}, says the pod's annotation pullsecret-webhook/images"]


@pytest.mark.parametrize(
    ("said", "registries", "step"),
    [
        ("x509: certificate signed by unknown authority", ["m.test"], "; or use how: node with nodeCaFile"),
        (
            "dial tcp 1.2.3.4:443: connect: connection refused",
            ["m.test"],
            "; or create the pod again: while the mirror",
        ),
        (
            "no basic auth credentials",
            ["ghcr.io"],
            "; or create the pod again: while no credential for the mirror works",
        ),
        ("unexpected status: 401 Unauthorized", ["m.test"], "; or create the pod again: while no credential for the m"),
    ],
)
def test_what_to_do_for_an_image_that_has_its_name_by_a_mirror(said: str, registries: list[str], step: str) -> None:
    found = by_mirrors(with_image(AT, WAS, said), ours(*registries))
    assert step in replace(found, webhook=()).next_step
    other = by_mirrors(with_image(AT, "", said), ours(*registries))
    assert replace(other, webhook=()).next_step == replace(found, webhook=()).next_step.partition("; or ")[0]


def test_an_event_of_another_time_says_nothing_about_a_pod() -> None:
    the_pod = with_image(WAS)
    the_pod["metadata"]["creationTimestamp"] = "2029-12-31T23:50:00Z"
    event = Notice("ImageNotRewritten", "five minutes later", "team", "Namespace", "team")
    (row,) = image_rows(by_mirrors(the_pod, ours("m.test"), events=[event]))
    assert row.startswith(f"one that is created now gets {AT}")


class Unread(Answers):
    """To one who may not read the pull secret."""

    async def call(self, method: str, path: str, *, query: Mapping[str, str] = {}, **more: Any) -> bytes:
        if path.endswith("/secrets/ghcr-secret"):
            raise ClusterError(403, "Forbidden")
        return await super().call(method, path, query=query, **more)


def test_of_a_pull_secret_that_may_not_be_read_nothing_is_said() -> None:
    view = ClusterView(cast(Cluster, Unread(with_image(WAS), OWNED)), reading.convert(NAMES))
    words = "the pull secret cannot be read with these rights"
    assert image_rows(asyncio.run(explain.pod(view, "p", "team", NOW))) == [f"{NOT_ASKED}{words}"]
    assert asyncio.run(explain.namespace(view, "team", NOW)).mirrors == (f"m.test/ghcr of ghcr.io: {words}",)


def test_a_namespace_shows_which_mirrors_its_owner_can_use() -> None:
    mirrors = [
        *RULES,
        US,
        {"of": "quay.io", "to": "n.test", "how": "rewrite"},
        {"of": "docker.io", "to": "hub.test"},
        {"of": "gcr.io", "to": "g.test", "how": "node"},
    ]
    kept = Notice("ImageNotRewritten", "images of ghcr.io ...", "team", "Namespace", "team")
    found = by_mirrors(
        with_image(WAS),
        ours("m.test/ghcr/alice", "n.test", "hub.test/alice"),
        config={"mirrors": mirrors},
        labels=OWNED | {"pullsecret-webhook/region": "eu"},
        events=[replace(SILENT, source="n.test"), kept],
        pod=False,
    )
    none = "not used: the pull secret has no entry for the mirror; give the owner a credential for it"
    assert found.mirrors == (
        "those for the region eu come first, by the namespace's label pullsecret-webhook/region",
        "m.test/ghcr of ghcr.io: new pods get its names, with the entry for m.test/ghcr/alice",
        "us.test of ghcr.io: not used: it is for the region us, and the namespace for eu",
        "n.test of quay.io: not used: the mirror does not answer",
        "hub.test of docker.io: nodes may ask it, with the entry for hub.test/alice",
        f"g.test of gcr.io: {none}",
        'an Event in team says: "images of ghcr.io ..."',
    )
    assert explain.text(found).count("  mirrors   ") == len(found.mirrors)
    assert by_mirrors(with_image(WAS), labels={}, pod=False).mirrors == ()


def test_a_dead_credential_for_a_mirror() -> None:
    secret = ours("ghcr.io", "m.test")
    secret["metadata"]["annotations"]["pullsecret-webhook/expires"] = "2029-01-01T00:00:00Z"
    found = by_mirrors(with_image(WAS), secret, pod=False)
    assert found.mirrors[0].startswith("m.test/ghcr of ghcr.io: not used: the credential for the mirror has expired,")
    (image,) = by_mirrors(with_image(WAS), secret).images
    assert image.naming.why[0].startswith(
        f"{NOT_ASKED}the credential for the mirror has expired, or the mirror refuses"
    )
