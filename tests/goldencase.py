"""Golden cases: a state of the cluster, a review, and what must come of it. One YAML file each in tests/admission/.

    config:    as in the configuration file
    cluster:   Namespaces, ServiceAccounts and Secrets as they stand; source Secrets are in pullsecret-webhook
    stands:    what we wrote into the namespace earlier: {owner: alice}, and how it differs from what we would write now
    source:    unavailable
    slow:      the API server takes too long to write
    refuses:   why the API server refuses to write
    review:    operation (CREATE), namespace (team), object, oldObject, dryRun, subResource, resource kinds as they are
    expect:    patch, warnings (parts of their text), writes, notices (their reasons), status (200); absent means none
    real:      the case is also run against a real API server

TOKEN stands for a token; each use of TOKEN in one file is the same one.
"""

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonpatch
import msgspec
import yaml

import planted
from webhook import config as configuration
from webhook import review as wire
from webhook.admission import Admission, Settings
from webhook.cluster import AccountObject, ClusterError, NamespaceObject, SecretObject
from webhook.errors import MalformedReview, WriteConflict, WriteRefused
from webhook.metrics import Metrics
from webhook.notice import Notice
from webhook.pullsecret import Fingerprint, Namespace, Planner, Standing
from webhook.sources.secret import SecretSource
from webhook.state import Account, Reader, State, account_key
from webhook.supply import Supply

FOLDER = Path(__file__).parent / "admission"
NOW = datetime(2030, 1, 1, tzinfo=UTC)
Object = dict[str, Any]


class Review(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    object: Object | None = None
    old_object: Object | None = None
    operation: str = "CREATE"
    namespace: str = "team"
    sub_resource: str = ""
    dry_run: bool = False
    api_version: str = "admission.k8s.io/v1"


class Expect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    patch: list[Object] = []
    warnings: list[str] = []
    writes: list[str] = []
    notices: list[str] = []
    status: int = 200


class Stands(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    owner: str
    registries: tuple[str, ...] = ("ghcr.io",)
    type: str = "kubernetes.io/dockerconfigjson"
    immutable: bool = False
    edited: bool = False
    held: bool = False
    namespace_uid: str = "uid-team"


class Case(msgspec.Struct, forbid_unknown_fields=True):
    review: Review
    expect: Expect = Expect()
    config: Object = {}
    cluster: list[Object] = []
    stands: Stands | None = None
    source: str = ""
    slow: bool = False
    refuses: str = ""
    real: bool = False


def load(path: Path, **names: str) -> Case:
    """`names`: words of the file to be replaced, so that cases that run in one cluster do not meet."""
    text = path.read_text()
    assert text.startswith("# "), f"{path.name} begins with a sentence that says what it shows"
    for word, other in names.items():
        text = text.replace(word, other)
    case = msgspec.convert(yaml.safe_load(text.replace("TOKEN", planted.token())), Case)
    for obj in case.cluster:
        encode(obj)
    return case


def encode(obj: Object) -> None:
    """stringData as the API server does it."""
    for key, value in obj.pop("stringData", {}).items():
        text = value if isinstance(value, str) else json.dumps(value)
        obj.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()


class Store:
    """The API server's part as far as pull secrets go. `writes` says what was asked of it, in order."""

    def __init__(self, reader: Reader, case: Case) -> None:
        self._reader, self._case, self._version = reader, case, 1000
        self.secrets: dict[str, Object] = {}
        self.writes: list[str] = []

    def place(self, secret: Object) -> Standing:
        self._version += 1
        metadata = secret["metadata"]
        metadata["resourceVersion"] = str(self._version)
        metadata.setdefault("uid", f"secret-{self._version}")
        self.secrets[metadata["namespace"]] = secret
        return self._seen(secret)

    def _seen(self, secret: Object) -> Standing:
        return self._reader.standing(msgspec.convert(secret, SecretObject))

    async def _asked(self) -> None:
        if self._case.slow:
            await asyncio.sleep(60)
        if self._case.refuses:
            raise WriteRefused(self._case.refuses)

    async def apply(self, body: Mapping[str, Any], over: Standing | None, *, force: bool = False) -> Standing:
        await self._asked()
        secret: Object = json.loads(json.dumps(body))
        stands = self.secrets.get(secret["metadata"]["namespace"])
        if stands is not None and (over is None or over.uid != stands["metadata"]["uid"]):
            raise WriteConflict("conflict")
        if stands is not None and stands.get("edited") and not force:
            raise WriteConflict("conflict")
        auths = sorted(json.loads(base64.b64decode(secret["data"][".dockerconfigjson"]))["auths"])
        owner = secret["metadata"]["annotations"]["pullsecret-webhook/owner"]
        self.writes.append(f"{'update' if stands else 'create'} {owner}: {', '.join(auths)}")
        if stands is not None:
            secret["metadata"]["uid"] = stands["metadata"]["uid"]
        return self.place(secret)

    async def delete(self, over: Standing) -> None:
        await self._asked()
        self.writes.append(f"delete {over.owner}")
        secret = self.secrets[over.namespace]
        if secret["metadata"].get("finalizers"):
            secret["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
        else:
            del self.secrets[over.namespace]

    async def release(self, over: Standing) -> None:
        self.writes.append(f"release {over.owner}")
        del self.secrets[over.namespace]

    async def read(self, namespace: str) -> Standing | None:
        secret = self.secrets.get(namespace)
        return self._seen(secret) if secret else None


@dataclass
class Outcome:
    status: int
    patch: list[Object] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    allowed: bool = True


async def run(case: Case) -> Outcome:
    """As app.py puts it together, without a server and without a cluster."""
    config = configuration.convert(case.config)
    fingerprint = Fingerprint(b"k" * 32)
    reader = Reader(config.rules, config.excluded, fingerprint)
    state, notices, metrics = State.empty(), list[Notice](), Metrics()
    planner = Planner(config.pull_secret.name, fingerprint, config.pull_secret.when_unowned)
    store = Store(reader, case)
    source = SecretSource(lambda _owner: None, notices.append, metrics, lambda: NOW)
    live = _fill(case, config, reader, state, source, store)
    supply = Supply(state, source, store, live.namespace, planner, lambda: NOW, metrics, notices.append)
    if case.stands:
        await _place(case.stands, planner, source, store, state)
    settings = Settings(config.pull_secret.name, config.deployments)
    admission = Admission(settings, state, supply, live.namespace, live.account, lambda _name: None, notices.append)
    try:
        request = wire.decode(body(case.review))
    except MalformedReview as e:
        return Outcome(e.status)
    notices.clear()
    within = 0.05 if case.slow else 5.0
    answer = await admission(request, asyncio.get_running_loop().time() + within)
    response = json.loads(answer.body)["response"]
    patch = json.loads(base64.b64decode(response.get("patch", b64(b"[]"))))
    said = [notice.reason for notice in notices]
    return Outcome(200, patch, response.get("warnings", []), store.writes, said, response["allowed"])


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@dataclass
class Live:
    """What a GET would find; it is learned, as by store.Lookup."""

    namespaces: dict[str, Namespace]
    state: State

    async def namespace(self, name: str) -> Namespace | None:
        if found := self.namespaces.get(name):
            self.state.namespaces.learn(name, found)
        return found

    async def account(self, _namespace: str, _name: str) -> Account | None:
        return None


def _fill(
    case: Case, config: configuration.Config, reader: Reader, state: State, source: SecretSource, store: Store
) -> Live:
    live, sources = Live({}, state), []
    for number, obj in enumerate(case.cluster, 1):
        metadata = obj["metadata"] | {"resourceVersion": str(number)}
        metadata.setdefault("uid", f"uid-{metadata['name']}")
        seen = obj | {"metadata": metadata}
        if obj["kind"] == "Namespace":
            namespace = reader.namespace(msgspec.convert(seen, NamespaceObject))
            live.namespaces[namespace.name] = namespace
            if not obj.get("unseen"):
                state.namespaces.learn(namespace.name, namespace)
        elif obj["kind"] == "ServiceAccount":
            account = reader.account(msgspec.convert(seen, AccountObject))
            state.accounts.learn(account_key(metadata["namespace"], metadata["name"]), account)
        elif metadata["namespace"] == config.namespace:
            sources.append(msgspec.convert(seen, SecretObject))
        else:
            state.standing.learn(metadata["namespace"], store.place(seen))
    if case.source == "unavailable":
        source.failed(ClusterError(403, "Forbidden"))
    else:
        source.replace(sources, 999, config.namespace)
    return live


async def _place(stands: Stands, planner: Planner, source: SecretSource, store: Store, state: State) -> None:
    """What we wrote earlier. With `edited`, somebody changed a field of it since; `held`: it is being deleted."""
    known = state.namespaces.get("team")
    assert known is not None
    credentials = source._of_owner.get(stands.owner)
    items = [] if credentials is None or isinstance(credentials, str) else list(credentials.items)
    then = replace(known, owner=stands.owner, uid=stands.namespace_uid)
    secret = planner.body(then, [item for item in items if item.registry in stands.registries])
    secret["type"], secret["immutable"] = stands.type, stands.immutable
    if stands.edited:
        secret["data"], secret["edited"] = {".dockerconfigjson": b64(b"{}")}, True
    if stands.held:
        secret["metadata"] |= {"finalizers": ["example.com/hold"], "deletionTimestamp": "2030-01-01T00:00:00Z"}
    state.standing.learn("team", store.place(secret))


def body(review: Review) -> bytes:
    obj = review.object or review.old_object or {}
    group, _, version = obj.get("apiVersion", "v1").rpartition("/")
    request = {
        "uid": "review-1",
        "kind": {"group": group, "version": version, "kind": obj.get("kind", "")},
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


def names(obj: Object) -> list[str]:
    """The names in the list of a Pod or of a Deployment's template."""
    spec = obj["spec"].get("template", obj)["spec"]
    return [reference.get("name", "") for reference in spec.get("imagePullSecrets") or []]
