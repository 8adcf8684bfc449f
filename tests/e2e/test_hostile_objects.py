"""Objects that a tenant may make and that are hard to read: none stops, stalls or blinds the webhook or a command.

Each kind that it reads, as deep, as large and as wide as the API server takes it; there at the start, and coming later.
In a cluster of its own: what is asked here by other means than the webhook's cannot be read by Python's json.
"""

import json
from collections.abc import Iterator
from itertools import count

import pytest

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.command import command
from controlplane.objects import SECRET, names, pod, stands
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from support import planted
from webhook.core.names import OWNER
from webhook.kube.reader import MAX_SECRETS

pytestmark = pytest.mark.cluster
DEEPEST = 9_990
LARGE = 1_300_000
GOT = b'"imagePullSecrets":[{"name":"' + SECRET.encode() + b'"}]'
_numbers = count(1)


@pytest.fixture(scope="module")
def apart(binaries: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane.start(tmp_path_factory.mktemp("hostile")) as cluster:
        deployed.install(cluster)
        deployed.give(cluster.api, "alice", planted.token())
        cluster.namespace("alice-a", labels={OWNER: "alice"})
        yield cluster


def deep() -> str:
    return '{"f:a":' * DEEPEST + "{}" + "}" * DEEPEST


def large() -> str:
    return "{" + ",".join(f'"f:{number:06}":{{}}' for number in range(LARGE // 14)) + "}"


def with_fields(obj: Object, fields: str) -> bytes:
    """By hand: Python's json cannot write it."""
    entry = {"manager": "x", "operation": "Update", "apiVersion": "v1", "fieldsType": "FieldsV1", "fieldsV1": "HERE"}
    obj = {**obj, "metadata": {**obj["metadata"], "managedFields": [entry]}}
    return json.dumps(obj).replace('"HERE"', fields).encode()


def post(api: Api, path: str, body: bytes, **params: str) -> bytes:
    return api.raw("POST", path, content=body, params=params, headers={"Content-Type": "application/json"}).content


def object_of(kind: str, name: str, namespace: str | None = None, **rest: object) -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name, **where}, **rest}


def spoil(api: Api) -> str:
    """One of each kind and each way. Returns the name of a namespace in which they are."""
    space = f"mallory-{next(_numbers)}"
    wide = {f"l{number}": "" for number in range(100_000)}
    plain = object_of("Namespace", space)
    plain["metadata"]["labels"] = {OWNER: "alice"}
    post(api, "/api/v1/namespaces", with_fields(plain, deep()))
    accounts = f"/api/v1/namespaces/{space}/serviceaccounts"
    post(api, accounts, with_fields(object_of("ServiceAccount", "deep", space), deep()))
    post(api, accounts, with_fields(object_of("ServiceAccount", "large", space), large()))
    many = [{"name": f"s{number}"} for number in range(60_000)]
    post(api, accounts, json.dumps(object_of("ServiceAccount", "many", space, imagePullSecrets=many)).encode())
    account = object_of("ServiceAccount", "wide", space)
    account["metadata"]["labels"] = wide
    post(api, accounts, json.dumps(account).encode())
    for number, fields in enumerate((deep(), large())):
        other = f"{space}-{number}"
        api.create(object_of("Namespace", other))
        path = f"/api/v1/namespaces/{other}/secrets"
        post(api, path, with_fields(object_of("Secret", SECRET, other), fields))
    event = object_of("Event", "deep", space, involvedObject={"namespace": space}, reason="x", type="Warning")
    event |= {"reportingComponent": "pullsecret-webhook", "eventTime": "2030-01-01T00:00:00.000000Z"}
    event |= {"reportingInstance": "x", "action": "x"}
    post(api, f"/api/v1/namespaces/{space}/events", with_fields(event, deep()))
    source = object_of("Secret", space, NAMESPACE, type="kubernetes.io/basic-auth")
    source["metadata"]["labels"] = {OWNER: space}
    source["stringData"] = {"username": "x", "password": planted.token()}
    post(api, f"/api/v1/namespaces/{NAMESPACE}/secrets", with_fields(source, deep()))
    return space


def knows(api: Api, webhook: Webhook, space: str) -> None:
    """It is right for the victim, and for what was spoilt."""
    ask = {"dryRun": "All"}
    for namespace in ("alice-a", space):
        path = f"/api/v1/namespaces/{namespace}/pods"
        for fields in ("{}", deep(), large()):
            assert GOT in post(api, path, with_fields(pod(namespace, serviceAccountName="default"), fields), **ask)
    for account in ("deep", "large", "wide"):
        body = json.dumps(pod(space, serviceAccountName=account)).encode()
        assert GOT in post(api, f"/api/v1/namespaces/{space}/pods", body, **ask)
    templated = pod(space, serviceAccountName="many", imagePullSecrets=[{"name": SECRET}])
    answer = json.loads(post(api, f"/api/v1/namespaces/{space}/pods", json.dumps(templated).encode(), **ask))
    assert names(answer) == [SECRET, *(f"s{number}" for number in range(MAX_SECRETS))]
    assert webhook.child.running
    assert webhook.is_ready()
    assert "Traceback" not in webhook.log
    assert "cannot watch" not in webhook.log


def has_account(api: Api, space: str) -> bool:
    try:
        api.raw("GET", f"/api/v1/namespaces/{space}/serviceaccounts/default")
    except ApiError:
        return False
    return True


def test_a_deep_account_and_a_deep_pod(cluster: ControlPlane, webhook: Webhook) -> None:
    """The quick one: gone at once, as other tests share this cluster."""
    space = f"deep-{next(_numbers)}"
    cluster.namespace(space, labels={OWNER: "nobody"})
    accounts = f"/api/v1/namespaces/{space}/serviceaccounts"
    post(cluster.api, accounts, with_fields(object_of("ServiceAccount", "deep", space), deep()))
    try:
        body = with_fields(pod(space, serviceAccountName="deep"), deep())
        assert GOT in post(cluster.api, f"/api/v1/namespaces/{space}/pods", body, dryRun="All")
        assert webhook.is_ready()
    finally:
        cluster.api.raw("DELETE", f"{accounts}/deep")


@pytest.mark.slow
def test_objects_that_are_hard_to_read_keep_nobody_from_their_secret(apart: ControlPlane) -> None:
    api = apart.api
    before = spoil(api)
    with deployed.running(apart) as webhook:
        deployed.register(apart, webhook.port)
        deployed.wait_called(api, webhook.port, "alice-a")
        until(lambda: has_account(api, before), "the default account")
        knows(api, webhook, before)
        accounts = webhook.known("serviceaccounts")
        later = spoil(api)
        until(lambda: has_account(api, later), "the default account")
        until(lambda: webhook.known("serviceaccounts") >= accounts + 7, "what came is known")
        knows(api, webhook, later)
        token = planted.token()
        deployed.give(api, "alice", token)
        stands(apart, "alice-a", token)
        shown = command(apart, "status", "--config", str(apart.folder / "webhook.yaml"))
        assert "alice-a" in shown.out
        assert later in shown.out
        adopted = command(apart, "adopt", "--all", "--dry-run", "--config", str(apart.folder / "webhook.yaml"))
        assert "with nothing to do" in adopted.out
        assert shown.err == adopted.err == ""
