"""Is the webhook itself well, as far as the API server knows? For `status`, before what it says of namespaces."""

import base64
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, TypeVar

import msgspec

from certs.pem import readable
from webhook.commands.cluster_view import ClusterView, Registration
from webhook.core.errors import PullsecretError
from webhook.core.names import TEMPLATES_ENTRY, WRITE_POLICY
from webhook.core.shown import few, shown
from webhook.core.times import to_the_minute
from webhook.core.wire import Unreadable
from webhook.kube import preflight
from webhook.kube.cluster import ClusterError, decode
from webhook.kube.listing import listed
from webhook.kube.preflight import Right

SOON = timedelta(days=3)
"""The webhook renews its CA long before."""
ADMISSION = "/apis/admissionregistration.k8s.io/v1"
_KIND = "MutatingWebhookConfiguration"
_PREFIX = WRITE_POLICY.removesuffix("writes")
_NONE = "new pods get no reference, except from the safety net"
_NO_TEMPLATE = "templates of new Deployments get no reference, only their pods"
_UPGRADE = "upgrade the release to have it again"
_ABSENT = {"policies": "there is no policy of the chart", "rights": "there is no service account of the chart's name"}
_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
T = TypeVar("T")
Part = Literal["registration", "caBundle", "certificate", "replicas", "policies", "rights"]
Result = Literal["right", "wrong", "absent", "unknown"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`why`: what is wrong and what to do, or why it is not known. Absent: perhaps the chart's values leave it out."""

    part: Part
    result: Result
    why: str = ""


class _Endpoint(msgspec.Struct, frozen=True):
    conditions: dict[str, bool | None] | None = None


class _Slice(msgspec.Struct):
    endpoints: list[_Endpoint] | None = None


class _Decision(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct):
    """A SubjectAccessReview: it is answered, and nothing is written."""

    status: _Decision = _Decision()


class _Named(msgspec.Struct, frozen=True):
    name: str = ""


class _PolicySpec(msgspec.Struct, frozen=True, rename="camel"):
    policy_name: str = ""
    validation_actions: list[str] | None = None


class _Policy(msgspec.Struct):
    """A ValidatingAdmissionPolicy, or a binding of one."""

    metadata: _Named
    spec: _PolicySpec = _PolicySpec()


async def findings(view: ClusterView, now: datetime) -> list[Finding]:
    found: list[Finding] = []
    registration: Registration | None = None
    name = view.config.tls.webhook_configuration
    try:
        raw = await view.cluster.call("GET", f"{ADMISSION}/mutatingwebhookconfigurations/{name}", within=30.0)
        registration = await decode(msgspec.json.Decoder(Registration), raw)
        found += _registration(registration, name, view, now)
    except ClusterError as e:
        if e.status == 404:
            why = f"the {_KIND} {name} is missing, so {_NONE}; {_UPGRADE}"
            found.append(Finding("registration", "wrong", why))
        else:
            found.append(Finding("registration", "unknown", f"the {_KIND} {name} cannot be read ({e})"))
    except Unreadable as e:
        found.append(Finding("registration", "wrong", f"the {_KIND} {name}: {e}"))
    if registration is None or any(one.client_config.service for one in registration.webhooks or ()):
        found.append(await _known("replicas", lambda: _replicas(view)))
    found.append(await _known("policies", lambda: _policies(view)))
    found.append(await _known("rights", lambda: _rights(view)))
    return found


def _registration(registration: Registration, name: str, view: ClusterView, now: datetime) -> list[Finding]:
    bundles = {one.name: one.client_config.ca_bundle or "" for one in registration.webhooks or ()}
    for entry, so in ((view.config.tls.webhook, _NONE), (TEMPLATES_ENTRY, _NO_TEMPLATE)):
        if entry not in bundles:
            why = f"the {_KIND} {name} has no entry {entry}, so {so}; {_UPGRADE}"
            return [Finding("registration", "wrong", why)]
    found = [Finding("registration", "right")]
    for entry, bundle in bundles.items():
        what = f"the caBundle of {shown(entry)} in the {_KIND} {name}"
        if not bundle:
            why = f"{what} is empty, so the API server cannot trust the webhook: does a replica run that publishes it?"
            return [*found, Finding("caBundle", "wrong", why)]
        if _ends(bundle) is None:
            return [*found, Finding("caBundle", "wrong", f"{what} has no certificate that can be read")]
    found.append(Finding("caBundle", "right"))
    ends = min(filter(None, map(_ends, bundles.values())))
    if ends <= now + SOON:
        verb = "expired" if ends <= now else "expires"
        why = f"the CA in the caBundle of {name} {verb} at {to_the_minute(ends)}, and was not renewed"
        return [*found, Finding("certificate", "wrong", why)]
    return [*found, Finding("certificate", "right")]


def _ends(bundle: str) -> datetime | None:
    """When the last of its certificates does."""
    try:
        return max((one.not_valid_after_utc for one in readable(base64.b64decode(bundle))), default=None)
    except ValueError:
        return None


async def _known(part: Part, look: Callable[[], Awaitable[Sequence[str] | None]]) -> Finding:
    """`look` returns what is wrong; None: it is not there at all."""
    try:
        wrong = await look()
    except PullsecretError as e:
        return Finding(part, "unknown", str(e))
    if wrong is None:
        return Finding(part, "absent", _ABSENT[part])
    return Finding(part, "wrong" if wrong else "right", "; ".join(few(wrong)))


async def _replicas(view: ClusterView) -> Sequence[str]:
    """A Service has its ready pods in EndpointSlices."""
    namespace, service = view.config.namespace, view.config.tls.service
    path = f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
    query, ready = {"labelSelector": f"kubernetes.io/service-name={service}"}, 0
    async for one in listed(view.cluster, f"EndpointSlices in {namespace}", path, _Slice, query=query):
        # Without the condition an endpoint counts as ready.
        ready += sum((point.conditions or {}).get("ready") is not False for point in one.endpoints or ())
    if ready:
        return ()
    look = f"kubectl get pods -n {namespace}"
    return (f"no replica behind the Service {service} in {namespace} is ready, so {_NONE}; see {look}",)


async def _policies(view: ClusterView) -> Sequence[str] | None:
    """None: the chart's values have left them out, or somebody has deleted all."""
    wrong, policies, denying = [], set[str](), set[str]()
    async for one in listed(view.cluster, "policies", f"{ADMISSION}/validatingadmissionpolicies", _Policy):
        policies.add(one.metadata.name)
    path = f"{ADMISSION}/validatingadmissionpolicybindings"
    async for one in listed(view.cluster, "policy bindings", path, _Policy):
        name = one.spec.policy_name
        if "Deny" in (one.spec.validation_actions or ()):
            denying.add(name)
        if name.startswith(_PREFIX) and name not in policies:
            wrong.append(f"the ValidatingAdmissionPolicy {name} is missing; {_UPGRADE}")
    ours = sorted(name for name in policies if name.startswith(_PREFIX))
    wrong += [
        f"the ValidatingAdmissionPolicy {name} has no binding that denies, so it is not in force; {_UPGRADE}"
        for name in ours
        if name not in denying
    ]
    return wrong if ours or wrong else None


async def _rights(view: ClusterView) -> Sequence[str] | None:
    """May the webhook's account what it needs? None: there is no such account."""
    config = view.config
    name = config.tls.service  # the chart gives both one name
    try:
        await view.cluster.call("GET", f"/api/v1/namespaces/{config.namespace}/serviceaccounts/{name}", within=30.0)
    except ClusterError as e:
        if e.status == 404:
            return None
        raise
    rights = [*preflight.needs(config), *preflight.needs_to_supply(config), *preflight.needs_to_share(config)]
    refused = [str(right) for right in rights if not await allowed(view, name, right)]
    if not refused:
        return ()
    may_not = f"the service account {name} in {config.namespace} may not {', '.join(few(refused))}"
    return (f"{may_not}; are the chart's ClusterRoleBinding and RoleBinding {name} there? upgrade the release",)


async def allowed(view: ClusterView, account: str, right: Right) -> bool:
    """May this account in the webhook's namespace do it?"""
    namespace = view.config.namespace
    spec = {
        "user": f"system:serviceaccount:{namespace}:{account}",
        "groups": ["system:authenticated", "system:serviceaccounts", f"system:serviceaccounts:{namespace}"],
        "resourceAttributes": right.attributes,
    }
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    raw = await view.cluster.call("POST", _REVIEWS, body=body, within=30.0)
    return (await decode(msgspec.json.Decoder(_Review), raw)).status.allowed
