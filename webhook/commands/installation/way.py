"""Does the API server reach the webhook? A pod by dry run shows it. If that pod does not get the reference, what the
API server says shows where the way ends.

With `failurePolicy: Ignore` the API server passes a webhook by without a word to whoever creates the pod. Its own
counters tell one that was passed by from one that answered, and its proxy to the Service has the words.
"""

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from webhook.commands import try_pod
from webhook.commands.cluster_view import ClusterView
from webhook.commands.installation.checklist import Check
from webhook.commands.try_pod import RETRY_SECONDS, Tried
from webhook.config.models import Config
from webhook.core import pulls
from webhook.core.shown import quoted, shown
from webhook.kube.cluster import FORBIDDEN, Cluster, ClusterError

SECTION, NAME = "Admission", "a new pod"
NAME_ONE = "name a namespace with an owner, in which you may create pods, with --try-in"
MAX_TRIED = 3
"""Namespaces in which a pod is tried, if none is named: of one a quota or a policy may refuse it."""
PROXY_SECONDS = 6.0
"""Seconds for the way through the API server's proxy, twice as long as a review may take."""
MAX_SAID_CHARS = 400
Called = Literal["answered", "passed by", "not called", "unknown"]
_FAILED = re.compile(
    r'failed calling webhook "(?P<entry>[^"]{1,253})": (?:failed to call webhook: )?(?P<words>.*)', re.DOTALL
)
_COUNTER = re.compile(
    rb"^apiserver_admission_webhook_(?P<what>fail_open_count|request_total)\{(?P<labels>[^\n]*)\} (?P<number>\S+)$",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Counts:
    """How often the API server has passed the webhook by, and got an answer from it."""

    passed_by: float = 0.0
    answered: float = 0.0

    @classmethod
    def of(cls, page: bytes, entry: str) -> "Counts":
        found = {"fail_open_count": 0.0, "request_total": 0.0}
        for one in _COUNTER.finditer(page):
            labels = one["labels"]
            if f'name="{entry}"'.encode() in labels and (b'code="200"' in labels or one["what"] == b"fail_open_count"):
                found[one["what"].decode()] += float(one["number"])
        return cls(found["fail_open_count"], found["request_total"])


async def check(view: ClusterView, namespaces: Sequence[str], within: float = 0.0, *, service: bool = True) -> Check:
    """`namespaces`: owned ones, of which one is enough. `within`: seconds for which it is tried again. `service`: the
    API server calls the Service, not an address.
    """
    name, clock = view.config.pull_secret.name, asyncio.get_running_loop().time
    until, refused, last = clock() + within, Tried(gets=False), ""
    while True:
        for namespace in namespaces[:MAX_TRIED]:
            tried = await try_pod.once(view.cluster, namespace, name)
            if tried.gets:
                return Check(SECTION, NAME, "right", f"in {namespace} gets {name}")
            if tried.refusal is None:
                last = namespace
            else:
                refused = tried
        if clock() >= until:
            break
        await asyncio.sleep(RETRY_SECONDS)
    if refused.refusal is not None and (words := words_of(refused.refusal.message, view.config)):
        return said(words, view.config)
    if not last and refused.refusal is not None:
        return _not_tried(refused.refusal, namespaces[:MAX_TRIED])
    return await _silent(view, last, service=service)


def words_of(message: str, config: Config) -> str:
    """Why the API server could not call our webhook. Empty: it says nothing of that."""
    found = _FAILED.search(message)
    return found["words"] if found is not None and found["entry"] == config.tls.webhook else ""


def _not_tried(refusal: ClusterError, namespaces: Sequence[str]) -> Check:
    where = ", ".join(namespaces)
    why = f"the API server refuses the pod in {where} ({refusal})"
    if other := _FAILED.search(refusal.message):
        why = f"the API server cannot call another webhook, {shown(other['entry'])}, and refuses the pod in {where}"
    return Check(SECTION, NAME, "unknown", why, NAME_ONE)


async def _silent(view: ClusterView, namespace: str, *, service: bool) -> Check:
    """The API server makes the pod, and it does not have the reference."""
    config, why = view.config, f"in {namespace} does not get {view.config.pull_secret.name}"
    explain = f"pullsecret explain namespace {namespace}"
    called = await _called(view, namespace)
    if called == "answered":
        return Check(SECTION, NAME, "wrong", f"{why}, although the webhook answers", f"see {explain}")
    if called == "not called":
        hint = f"see the lines above; if they are right, see {explain}, and upgrade the release: its rules were changed"
        return Check(SECTION, NAME, "wrong", f"{why}: the API server does not call the webhook for it", hint)
    words = await _through_the_proxy(view.cluster, config) if service else None
    if words:
        return said(words, config)
    if called == "passed by" and words == "":
        return Check(
            SECTION, NAME, "wrong", f"{why}: the API server passes the webhook by, although a replica answers", _TAKEN
        )
    if called == "passed by":
        return Check(SECTION, NAME, "wrong", f"{why}: the API server passes the webhook by", _LOG)
    return Check(SECTION, NAME, "wrong", why, f"see the lines above, then {explain}")


async def _called(view: ClusterView, namespace: str) -> Called:
    """The pod is tried once more between two looks at the API server's counters."""
    entry = view.config.tls.webhook
    try:
        before = await _counts(view.cluster, entry)
        await try_pod.once(view.cluster, namespace, view.config.pull_secret.name)
        after = await _counts(view.cluster, entry)
    except ClusterError:
        return "unknown"
    return called(before, after)


def called(before: Counts, after: Counts) -> Called:
    """What became of a review between the two."""
    if after.passed_by > before.passed_by:
        return "passed by"
    return "answered" if after.answered > before.answered else "not called"


async def _counts(cluster: Cluster, entry: str) -> Counts:
    return Counts.of(await cluster.call("GET", "/metrics", accept="text/plain", within=30.0), entry)


async def _through_the_proxy(cluster: Cluster, config: Config) -> str | None:
    """What the API server says when it cannot reach a replica. Empty: one answers; None: that is not known."""
    service = config.tls.service
    path = f"/api/v1/namespaces/{config.namespace}/services/https:{service}:https/proxy/readyz"
    try:
        await cluster.call("GET", path, within=PROXY_SECONDS)
    except ClusterError as e:
        if e.status == FORBIDDEN:
            return None
        if e.status == 0:
            return "context deadline exceeded"
        return e.message  # without one it is the replica that says that it is not ready
    return ""


_CA = "compare the caBundle with the certificate that the replicas serve: see docs/certificates.md"
_PORTS = (
    "see whether the replicas run and listen on the ports of the Service: kubectl get endpointslices -n {namespace}"
)
_TAKEN = (
    "upgrade the release: the caBundle, the port or the path of its registration is not that of the replicas; the log "
    'of the API server says which, after "failed calling webhook"'
)
_LOG = 'the log of the API server says why, after "failed calling webhook"'
_SILENT = (
    "let the control plane reach the pods: networkPolicy.apiServerCIDRs of the chart, firewall rules of the cloud, or "
    "hostNetwork: true where the control plane is not part of the pods' network"
)
_WAYS = (
    (r"no endpoints available", "no replica is ready", "see kubectl get pods -n {namespace}"),
    (r"services? \"[^\"]*\" not found", "the Service is missing", "upgrade the release"),
    (r"x509: |tls: |server gave HTTP response", "the API server does not trust the certificate that it gets", _CA),
    (r"connection refused", "nothing listens where the API server calls", _PORTS),
    (r"deadline exceeded|[Tt]imeout|timed out", "no answer comes to the API server", _SILENT),
    (r"no route to host|network is unreachable", "the API server has no way to the pods", _SILENT),
    (
        r"no such host|: lookup ",
        "the API server cannot resolve the webhook's name",
        "upgrade the release",
    ),
    (r"the server |an error on the server", "what the API server calls gives an error", "see {log}"),
)
"""In the API server's words, what that means, and what to do."""
_OTHER = "the API server cannot call the webhook", "see the log of the API server"


def said(words: str, config: Config) -> Check:
    """From the API server's own words, which come last."""
    text = pulls.text(words)  # without the query, which has a timeout
    log = f"kubectl logs -n {config.namespace} deployment/{config.tls.service}"
    meaning, hint = next(((what, hint) for way, what, hint in _WAYS if re.search(way, text)), _OTHER)
    hint = hint.format(namespace=config.namespace, log=log)
    why = f"does not get the reference: {meaning}; it says: {quoted(text, MAX_SAID_CHARS)}"
    return Check(SECTION, NAME, "wrong", why, hint)
