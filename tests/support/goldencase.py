"""Golden cases: a state of the cluster, a review, and what must come of it. One YAML file each in tests/admission/.

    config:    as in the configuration file
    cluster:   Namespaces, ServiceAccounts and Secrets as they stand; source Secrets are in pullsecret-webhook.
               `unseen: true`: the webhook's watch has not shown it yet; `seenUnowned: true`: nor its owner
    existing:  what we wrote into the namespace earlier: {owner: alice}, and how it differs from what we would write now
    source:    unavailable
    silent:    mirrors, by host, that do not answer
    refused:   what registries said about credentials, by registry: once, twice, or held (the registry refuses many)
    unreachable: the API server answers nothing
    slow:      the API server takes too long to write
    refuses:   why the API server refuses to write
    review:    operation (CREATE), namespace (team), object, oldObject, dryRun, subResource.
               Without a review nobody asks: the background looks at the namespace (the first one of `cluster`)
    expect:    patch, warnings (parts of their text), writes, notices (their reasons), later (namespaces that the
               background will look at), again (seconds after which the background looks again), status (200); absent
               means none
    real:      the case is also run against a real API server

TOKEN stands for a token; each use of TOKEN in one file is the same one.
"""

import asyncio
import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import jsonpatch
import msgspec
import yaml

from support import planted
from support.goldenstore import Object, Store
from support.steps import at_once
from webhook.admission import Admission
from webhook.checks.checked import Checked
from webhook.checks.checker import Checker
from webhook.config import reading
from webhook.config.models import Config
from webhook.core import review as wire
from webhook.core.check import Check, Checks, Why
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import MalformedReview, NamespaceUnknown
from webhook.core.metrics import Metrics
from webhook.core.mirror import mirrored
from webhook.core.names import DOCKERCONFIG_KEY, DOCKERCONFIG_TYPE, NAMESPACE_UID
from webhook.core.notice import Notice
from webhook.core.pullsecret import Fingerprint, Namespace, Planner
from webhook.kube.cluster import AccountObject, Cluster, ClusterError, NamespaceObject, SecretObject
from webhook.kube.lookup import Lookup
from webhook.kube.reader import Reader
from webhook.kube.views import AnyAccount, State, account_key
from webhook.sources.secret import SecretSource, read
from webhook.supply import Supply
from webhook.wiring import Parts

FOLDER = Path(__file__).parents[1] / "admission"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
EMPTIED = base64.b64encode(b"{}").decode()


class _Strict(msgspec.Struct, forbid_unknown_fields=True, rename="camel", omit_defaults=True):
    pass


class Meta(_Strict):
    name: str
    namespace: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str = ""


class ANamespace(_Strict, tag="Namespace", tag_field="kind"):
    metadata: Meta
    unseen: bool = False
    seen_unowned: bool = False


class AnAccount(_Strict, tag="ServiceAccount", tag_field="kind"):
    metadata: Meta
    image_pull_secrets: list[dict[str, str]] = []
    unseen: bool = False


class ASecret(_Strict, tag="Secret", tag_field="kind"):
    """`string_data`: what is no text in the case file becomes JSON."""

    metadata: Meta
    type: str
    string_data: dict[str, Any] = {}
    unseen: bool = False


Thing = ANamespace | AnAccount | ASecret


class Review(_Strict):
    object: Object | None = None
    old_object: Object | None = None
    operation: str = "CREATE"
    namespace: str = "team"
    sub_resource: str = ""
    dry_run: bool = False
    api_version: str = "admission.k8s.io/v1"


class Expect(_Strict):
    patch: list[Object] = []
    warnings: list[str] = []
    writes: list[str] = []
    notices: list[str] = []
    later: list[str] = []
    again: float | None = None
    status: int = 200


class Existing(_Strict):
    """`earlier_token`: since replaced; `edited`: emptied by somebody; `held`: being deleted, with a finalizer."""

    owner: str
    registries: tuple[str, ...] = ("ghcr.io",)
    earlier_token: bool = False
    earlier_namespace: bool = False
    type: str = DOCKERCONFIG_TYPE
    immutable: bool = False
    edited: bool = False
    held: bool = False


class Case(_Strict):
    expect: Expect
    review: Review | None = None
    config: Object = {}
    cluster: list[Thing] = []
    existing: Existing | None = None
    source: Literal["", "unavailable"] = ""
    refused: dict[str, Literal["once", "twice", "held"]] = {}
    silent: list[str] = []
    unreachable: bool = False
    slow: bool = False
    refuses: str = ""
    real: bool = False

    @property
    def team(self) -> str:
        return next((thing.metadata.name for thing in self.cluster if isinstance(thing, ANamespace)), "")


def load(path: Path, **names: str) -> Case:
    """`names`: words of the file to be replaced, so that cases that run in one cluster do not meet."""
    text = path.read_text()
    assert text.startswith("# "), f"{path.name} begins with a sentence that says what it shows"
    for word, other in names.items():
        text = text.replace(word, other)
    return msgspec.convert(yaml.load(text.replace("TOKEN", planted.token()), yaml.CSafeLoader), Case)


def obj(thing: Thing) -> Object:
    """As the API server has it."""
    raw: Object = msgspec.to_builtins(thing)
    raw.pop("unseen", None), raw.pop("seenUnowned", None)
    for key, value in raw.pop("stringData", {}).items():
        text = value if isinstance(value, str) else json.dumps(value)
        raw.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
    return {"apiVersion": "v1"} | raw


def earlier(case: Case, space: Namespace, name: str) -> Object:
    """The Secret that we wrote earlier. A registry for which there is no credential (any more) gets one."""
    was = case.existing
    assert was is not None
    known, rules = Credentials(tuple(given(case, was.owner))), reading.convert(case.config).mirror_rules
    current = {} if was.earlier_token else {c.registry: c for c in mirrored(known, rules, was.owner).items}
    items = [current.get(registry) or Credential(registry, was.owner, planted.token()) for registry in was.registries]
    secret = Planner(name, Fingerprint(b"k")).body(replace(space, owner=was.owner), items)
    secret["type"] = was.type
    if was.immutable:
        secret["immutable"] = True
    if was.held:
        secret["metadata"]["finalizers"] = ["example.com/hold"]
    if was.earlier_namespace:
        secret["metadata"]["annotations"][NAMESPACE_UID] = "uid-of-before"
    return secret


def given(case: Case, owner: str | None = None) -> list[Credential]:
    """The credentials in source Secrets. `owner` None: of all owners."""
    sources = [read(msgspec.convert(obj(thing), SecretObject)) for thing in case.cluster if isinstance(thing, ASecret)]
    return [c for s in sources if s.owner is not None and owner in {None, s.owner} for c in s.credentials or ()]


def asked(case: Case) -> Checks:
    """What registries said, as it is kept."""
    checks, records = Checks(b"k" * 32), {}
    for c in given(case):
        if how := case.refused.get(c.registry):
            check = Check(Why.UNAUTHORIZED, int(NOW.timestamp()), 1 if how == "once" else 2, held=how == "held")
            records[checks.digest(c)] = check.record
    return replace(checks, records=records)


@dataclass
class Outcome:
    status: int = 200
    patch: list[Object] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    later: list[str] = field(default_factory=list)
    again: float | None = None
    allowed: bool = True


@dataclass
class Live(Lookup):
    """What a GET would find; it is learned, as by store.Lookup."""

    state: State
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    accounts: dict[str, AnyAccount] = field(default_factory=dict)
    unreachable: bool = False

    async def namespace(self, name: str, *, recent: bool = False) -> Namespace | None:
        if self.unreachable:
            raise NamespaceUnknown("unreachable")
        if found := self.namespaces.get(name):
            self.state.namespaces.learn(name, found)
        return found

    namespace_in_review = namespace

    async def account(self, namespace: str, name: str) -> AnyAccount | None:
        return self.accounts.get(account_key(namespace, name))


async def run(case: Case) -> Outcome:
    """As wiring.py connects it, without a server and without a cluster. What is to be looked at later is noted."""

    async def policed() -> bool:
        return True

    config, fingerprint = reading.convert(case.config), Fingerprint(b"k" * 32)
    reader, state, out, metrics = (
        Reader(config.rules, config.excluded, fingerprint, config.pull_secret.name, config.regions),
        State.empty(),
        Outcome(),
        Metrics(),
    )
    live, store = Live(state, unreachable=case.unreachable), Store(reader, case.refuses, 0.1 if case.slow else 0.0)
    record: Callable[[Notice], None] = lambda notice: out.notices.append(notice.reason)  # noqa: E731
    source = SecretSource(cast(Cluster, live), config.namespace, lambda _owner: None, record, metrics)
    _fill(case, config, reader, live, source, store)
    out.notices.clear()  # what is wrong with a source Secret was said when it came in
    checker = Checker(cast(Any, None), cast(Any, None), "a replica", b"", 0.1)  # does not run, so that nothing is asked
    checker.kept.checks = asked(case)
    supply = Supply(
        state=state,
        source=Checked(source, checker, lambda _owner: None, record, lambda: NOW),
        store=store,
        lookup=live,
        policy=policed,
        planner=Planner(
            config.pull_secret.name,
            fingerprint,
            config.pull_secret.when_unowned,
            config.pull_secret.when_withdrawn,
            config.mirror_rules,
        ),
        now=lambda: NOW,
        metrics=metrics,
        record=record,
    )
    parts = Parts(config, supply, lambda: frozenset(case.silent))
    admission = replace(parts.admission, later=out.later.append)
    if case.review is None:
        supplied = await parts.supply(case.team)
        out.warnings, out.again = [supplied.problem] if supplied.problem else [], supplied.requeue_after
    else:
        await _reviewed(admission, case.review, 0.02 if case.slow else 5.0, out)
    assert not (case.slow and store.writes), "the answer did not wait"
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})
    out.writes = store.writes
    return out


async def _reviewed(admission: Admission, review: Review, within: float, out: Outcome) -> None:
    try:
        request = wire.decode(body(review))
        at_once = admission.at_once(wire.read(body(review)))  # as with mirrors: read in another way, it says the same
    except MalformedReview as e:
        out.status = e.status
        return
    said = out.notices.copy()
    try:
        answer = await admission(request, asyncio.get_running_loop().time() + within)
    except NamespaceUnknown:
        out.status = 500
        return
    if at_once is not None:  # then there was nothing to wait for
        assert at_once == answer
        assert out.notices[: len(said)] == said
        assert not {*out.notices} - {*said}
        out.notices = said
    response = json.loads(answer.body)["response"]
    out.allowed, out.warnings = response["allowed"], response.get("warnings", [])
    if "patch" in response:
        assert response["patchType"] == "JSONPatch"
        out.patch = json.loads(base64.b64decode(response["patch"]))


def _fill(case: Case, config: Config, reader: Reader, live: Live, source: SecretSource, store: Store) -> None:
    state, sources = live.state, []
    for number, thing in enumerate(case.cluster, 2):
        raw, name = obj(thing), thing.metadata.name
        raw["metadata"] |= {"resourceVersion": str(number), "uid": f"uid-{name}"}
        if isinstance(thing, ANamespace):
            live.namespaces[name] = namespace = reader.namespace(msgspec.convert(raw, NamespaceObject))
            if not thing.unseen:
                known = (
                    replace(namespace, owner=None, version=namespace.version - 1) if thing.seen_unowned else namespace
                )
                state.namespaces.learn(name, known)
        elif isinstance(thing, AnAccount):
            key, account = (
                account_key(thing.metadata.namespace, name),
                reader.account(msgspec.json.decode(json.dumps(raw), type=AccountObject)),
            )
            live.accounts[key] = account
            if not thing.unseen:
                state.accounts.learn(key, account)
        elif thing.metadata.namespace == config.namespace:
            sources.append(msgspec.convert(raw, SecretObject))
        else:
            existing = store.place(raw)
            if not thing.unseen:
                state.pull_secrets.learn(existing.namespace, existing)
    if case.source == "unavailable":
        source.failed(ClusterError(403, "Forbidden"))
    else:
        at_once(source.replace(dict(map(source.keep, sources)), 999))
    if case.existing:
        secret = earlier(case, live.namespaces[case.team], config.pull_secret.name)
        if case.existing.held:
            secret["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
        if case.existing.edited:
            secret["data"] = {DOCKERCONFIG_KEY: EMPTIED}
        state.pull_secrets.learn(case.team, store.place(secret, edited=case.existing.edited))


def body(review: Review) -> bytes:
    about = review.object or review.old_object or {}
    group, _, version = about.get("apiVersion", "v1").rpartition("/")
    request = {
        "uid": "review-1",
        "kind": {"group": group, "version": version, "kind": about.get("kind", "")},
        "operation": review.operation,
        "namespace": review.namespace,
        "subResource": review.sub_resource,
        "dryRun": review.dry_run,
        "object": review.object,
        "oldObject": review.old_object,
    }
    return msgspec.json.encode({"apiVersion": review.api_version, "kind": "AdmissionReview", "request": request})


def patched(review: Review, patch: list[Object]) -> Object:
    result: Object = jsonpatch.apply_patch(review.object or {}, patch)
    return result


def names(about: Object) -> list[str]:
    """The names in the list of a Pod or of a Deployment's template."""
    spec = about["spec"].get("template", about)["spec"]
    return [reference.get("name", "") for reference in spec.get("imagePullSecrets") or []]
