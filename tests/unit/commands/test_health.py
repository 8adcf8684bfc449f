"""What `status` says of the webhook itself."""

import asyncio
import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from typing import Any, cast

import msgspec
import pytest

from certs.authority import CA_LIFE, Authority
from webhook.commands import health
from webhook.commands.cluster_view import ClusterView
from webhook.commands.status import Report, text
from webhook.config import reading
from webhook.kube.cluster import Cluster, ClusterError

NOW = datetime(2030, 1, 1, tzinfo=UTC)
BUNDLE = base64.b64encode(Authority.create(NOW).pem()[0]).decode()
ENTRY, TEMPLATES_ENTRY = "mutate.pullsecret-webhook.io", "templates.pullsecret-webhook.io"
Object = dict[str, Any]


def registration(*bundles: str | None, names: tuple[str, ...] = (ENTRY, TEMPLATES_ENTRY), **client: Any) -> Object:
    """`bundles`: of the entries; the last one is also that of those that follow."""
    called = {"service": {"namespace": "pullsecret-webhook", "name": "pullsecret-webhook"}} | client
    every = dict(zip_longest(names, bundles or (BUNDLE,), fillvalue=(bundles or (BUNDLE,))[-1]))
    return {"webhooks": [{"name": n, "clientConfig": called | {"caBundle": bundle}} for n, bundle in every.items()]}


def policy(name: str) -> Object:
    return {"metadata": {"name": f"pullsecret-webhook-{name}"}}


def binding(name: str, *actions: str) -> Object:
    spec = {"policyName": f"pullsecret-webhook-{name}", "validationActions": list(actions or ("Deny",))}
    return {"metadata": {"name": name}, "spec": spec}


def slices(*ready: bool | None) -> list[Object]:
    return [{"endpoints": [{"conditions": {"ready": one}} for one in ready]}, {"endpoints": None}]


ALLOWED, REFUSED = {"status": {"allowed": True}}, {"status": {"allowed": False}}
WELL = {
    "serviceaccounts": {"metadata": {"name": "pullsecret-webhook"}},
    "subjectaccessreviews": ALLOWED,
    "mutatingwebhookconfigurations": registration(),
    "endpointslices": slices(True, False),
    "validatingadmissionpolicies": [policy("writes"), policy("owner"), {"metadata": {"name": "of-others"}}],
    "validatingadmissionpolicybindings": [binding("writes"), binding("owner")],
}


class Answers:
    def __init__(self, found: Mapping[str, Any]) -> None:
        self.found, self.asked = found, list[dict[str, Any]]()

    async def call(self, method: str, path: str, *, body: Any = None, **_: Any) -> bytes:
        assert (method == "POST") is path.endswith("/subjectaccessreviews")
        self.asked += [body["spec"]] if body else []
        for resource, found in self.found.items():
            if f"/{resource}" in path:
                if isinstance(found, int):
                    raise ClusterError(found, "Some")
                return msgspec.json.encode(found if isinstance(found, dict) else {"metadata": {}, "items": found})
        raise AssertionError(path)


def found(now: datetime = NOW, **changes: Any) -> list[health.Finding]:
    view = ClusterView(cast(Cluster, Answers(WELL | changes)), reading.convert({}))
    return asyncio.run(health.findings(view, now))


def wrong(findings: list[health.Finding]) -> dict[str, str]:
    return {one.part: one.why for one in findings if one.result == "wrong"}


def test_all_is_well() -> None:
    well = found()
    assert [(one.part, one.result, one.why) for one in well] == [
        ("registration", "right", ""),
        ("caBundle", "right", ""),
        ("certificate", "right", ""),
        ("replicas", "right", ""),
        ("policies", "right", ""),
        ("rights", "right", ""),
    ]
    assert not Report([], webhook=well).needs_a_human
    assert "webhook" not in text(Report([], webhook=well))


@pytest.mark.parametrize(
    ("changes", "part", "why"),
    [
        ({"mutatingwebhookconfigurations": 404}, "registration", "is missing, so new pods get no reference, except"),
        (
            {"mutatingwebhookconfigurations": registration(names=("other", TEMPLATES_ENTRY))},
            "registration",
            f"has no entry {ENTRY}, so new pods get no reference",
        ),
        (
            {"mutatingwebhookconfigurations": registration(names=(ENTRY,))},
            "registration",
            f"has no entry {TEMPLATES_ENTRY}, so templates of new Deployments get no reference, only their pods",
        ),
        ({"mutatingwebhookconfigurations": registration(BUNDLE, "")}, "caBundle", f"of {TEMPLATES_ENTRY} in the"),
        ({"mutatingwebhookconfigurations": registration("", BUNDLE)}, "caBundle", f"of {ENTRY} in the"),
        ({"mutatingwebhookconfigurations": {"webhooks": None}}, "registration", "has no entry"),
        ({"mutatingwebhookconfigurations": registration("")}, "caBundle", "is empty"),
        ({"mutatingwebhookconfigurations": registration(None)}, "caBundle", "is empty"),
        ({"mutatingwebhookconfigurations": registration("eA==")}, "caBundle", "no certificate that can be read"),
        ({"mutatingwebhookconfigurations": registration("*")}, "caBundle", "no certificate that can be read"),
        ({"endpointslices": slices(False)}, "replicas", "no replica behind the Service pullsecret-webhook"),
        ({"endpointslices": []}, "replicas", "is ready, so new pods get no reference"),
        ({"validatingadmissionpolicybindings": [binding("owner")]}, "policies", "-writes has no binding that denies"),
        (
            {"validatingadmissionpolicybindings": [binding("owner"), binding("writes", "Audit")]},
            "policies",
            "-writes has no binding that denies",
        ),
        ({"validatingadmissionpolicies": [policy("owner")]}, "policies", "-writes is missing"),
        (
            {"subjectaccessreviews": REFUSED},
            "rights",
            "pullsecret-webhook in pullsecret-webhook may not list namespaces, list secrets named ghcr-secret",
        ),
    ],
)
def test_what_is_wrong(changes: Object, part: str, why: str) -> None:
    findings = found(**changes)
    assert [*wrong(findings)] == [part]
    assert why in wrong(findings)[part]
    report = Report([], webhook=findings)
    assert report.needs_a_human
    assert text(report).startswith(f"the webhook: {wrong(findings)[part]}\n")


def test_a_certificate_that_was_not_renewed() -> None:
    for before, words in ((timedelta(days=1), "expires"), (timedelta(0), "expired")):
        findings = found(NOW + CA_LIFE - before)
        assert words in wrong(findings)["certificate"]


def test_what_may_not_be_read_is_not_known() -> None:
    forbidden: dict[str, Any] = dict.fromkeys(WELL, 403)
    findings = found(**forbidden)
    assert {one.result for one in findings} == {"unknown"}
    assert not Report([], webhook=findings).needs_a_human


def test_policies_that_the_chart_left_out() -> None:
    """`writePolicy.enabled: false` leaves out the policy and its binding."""
    none: dict[str, Any] = {"validatingadmissionpolicies": [], "validatingadmissionpolicybindings": []}
    (policies,) = [one for one in found(**none) if one.part == "policies"]
    assert policies.result == "absent"


def test_rights_are_asked_of_the_webhooks_account() -> None:
    answers = Answers(WELL)
    asyncio.run(health.findings(ClusterView(cast(Cluster, answers), reading.convert({})), NOW))
    assert {one["user"] for one in answers.asked} == {"system:serviceaccount:pullsecret-webhook:pullsecret-webhook"}
    asked = [one["resourceAttributes"] for one in answers.asked]
    assert {"verb": "list", "group": "", "resource": "namespaces", "namespace": "", "name": ""} in asked
    assert {"verb": "patch", "group": "", "resource": "secrets", "namespace": "", "name": "ghcr-secret"} in asked
    events = {"verb": "create", "group": "events.k8s.io", "resource": "events", "namespace": "", "name": ""}
    assert events in asked


def test_without_an_account_of_the_charts_name_nothing_is_claimed() -> None:
    assert [one.result for one in found(serviceaccounts=404) if one.part == "rights"] == ["absent"]


def test_an_address_has_no_endpoints() -> None:
    called = registration(service=None, url="https://192.0.2.1/mutate")
    assert "replicas" not in {one.part for one in found(mutatingwebhookconfigurations=called)}
