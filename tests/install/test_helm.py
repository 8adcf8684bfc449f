"""`helm install` into a real cluster: the webhook as pods, from the image, called through its Service.

Under the chart's own RBAC and policies. One story, told in order; `make test-install`."""

import asyncio
import base64
import json
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlencode

import jwt
import pytest

from controlplane import webhook as deployed
from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.command import command
from controlplane.errors import HarnessError
from controlplane.helm import NAMESPACE
from controlplane.networked import Networked
from controlplane.node import Node
from controlplane.pki import Pki
from controlplane.process import Child
from controlplane.release import NAME, OWNER, PODS, SECRET, HelmRelease, Release, Traffic, pod, references
from controlplane.waiting import until
from support import planted
from support.corednspod import InCluster, World
from support.signing import key_file, public_file
from webhook.commands.cluster_view import ClusterView
from webhook.commands.doctor import nodepod
from webhook.commands.doctor.evidence import Answer, Probed, Request, Target
from webhook.commands.doctor.nodepod import NoProbeError, from_node
from webhook.config.models import Config
from webhook.core.dockerconfig import parse
from webhook.core.names import ISSUER, ISSUER_ACCOUNT
from webhook.kube.cluster import Cluster

pytestmark = [pytest.mark.node, pytest.mark.helm, pytest.mark.usefixtures("node_binaries")]


RULES = [{"from": "label", "key": OWNER}, {"from": "name", "prefix": "project-", "owner": "[a-z]+"}]
KEY, TOKENS = "signing-key", "token-service"  # Secrets, and the folders of their files
CERTIFICATE = "token-service-tls"
TOKEN_SERVICE = "pullsecret-webhook-registry-auth"
ISSUES: Object = {
    "issue": "registry",
    "registry": "127.0.0.1:9",  # in the pod nobody answers there, at once
    "owners": "minted",
    "keyFile": f"/etc/pullsecret/issuers/{KEY}/key.pem",
    "tokenService": {
        "keyFile": f"/etc/pullsecret/registry-auth/{TOKENS}/token-key.pem",
        "passwordKeysFile": f"/etc/pullsecret/registry-auth/{TOKENS}/password-keys.json",
    },
}
VALUES: Object = {
    "config": {"ownerRules": RULES, "issuers": [ISSUES]},
    "issuer": {"files": [KEY], "replicas": 1},
    "registryAuth": {"enabled": True, "tlsSecretName": CERTIFICATE, "files": [TOKENS], "replicas": 1},
}
"""A second owner rule, an issuer, and the token service of its registry."""


@dataclass
class Installed:
    release: Release
    helm: HelmRelease

    @property
    def networked(self) -> Networked:
        return self.release.networked

    @property
    def cluster(self) -> ControlPlane:
        return self.release.cluster

    @property
    def api(self) -> Api:
        return self.release.api


@pytest.fixture(scope="module")
def installed(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """Helm 4, two replicas, everything as the chart has it but the image, small requests and VALUES."""
    found = Installed(release, release.helm(4, tmp_path_factory.mktemp("helm")))
    folder = tmp_path_factory.mktemp("keys")
    key, token_key = key_file(folder / "key.pem"), Path(key_file(folder / "token-key.pem"))
    public, pair = Path(public_file(folder / "public.json", key)), Pki(folder / "pki").server("tls", "localhost")
    for name, files in {
        KEY: {"key.pem": Path(key)},
        TOKENS: {"token-key.pem": token_key, "password-keys.json": public},
        CERTIFICATE: {"tls.crt": pair.certificate, "tls.key": pair.key},
    }.items():
        kind = "kubernetes.io/tls" if name == CERTIFICATE else "Opaque"
        secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}}
        content = {file: path.read_text() for file, path in files.items()}
        found.api.apply(secret | {"type": kind, "stringData": content})
    found.helm.install(VALUES)
    yield found
    if release.left():  # the story was not told to its end
        found.helm.uninstall()
        until(lambda: not release.left(), "nothing is left", within=60)


def refused(do: Callable[[], object]) -> str:
    try:
        do()
    except ApiError as e:
        assert e.status in (403, 422), e
        return e.message
    return ""


def test_two_replicas_are_ready_and_called_through_the_service(installed: Installed) -> None:
    assert len(installed.release.pods()) == 2
    (hook,) = installed.api.list("MutatingWebhookConfiguration")
    assert [entry["name"] for entry in hook["webhooks"]] == [deployed.ENTRY, deployed.TEMPLATES_ENTRY]
    assert {entry["clientConfig"]["service"]["name"] for entry in hook["webhooks"]} == {"pullsecret-webhook"}
    assert deployed.ca_bundle(installed.api)
    slices = installed.api.list("EndpointSlice", NAMESPACE, labels=f"kubernetes.io/service-name={NAME}")
    addresses = {address for one in slices for end in one["endpoints"] for address in end["addresses"]}
    assert addresses == {one["status"]["podIP"] for one in installed.release.pods()}


def test_a_pod_of_its_own_mints_credentials_under_its_own_account(installed: Installed) -> None:
    """And the webhook writes the pull secret from them."""
    installed.cluster.namespace("mints", labels={OWNER: "minted"})
    found = installed.cluster.wait(lambda: installed.api.get("Secret", SECRET, "mints"), "the pull secret stands")
    auths = json.loads(base64.b64decode(found["data"][".dockerconfigjson"]))["auths"]
    assert [*auths] == ["127.0.0.1:9/minted/"]
    (source,) = installed.api.list("Secret", NAMESPACE, labels=f"{ISSUER}=registry")
    (writer, *_) = source["metadata"]["managedFields"]
    assert (source["metadata"]["labels"][OWNER], writer["operation"]) == ("minted", "Update")
    (issuer,) = installed.api.list("Pod", NAMESPACE, labels="app.kubernetes.io/component=issuer")
    assert issuer["spec"]["serviceAccountName"] == ISSUER_ACCOUNT
    lease = installed.api.get("Lease", "pullsecret-webhook-issuer", NAMESPACE)
    assert lease
    assert lease["spec"]["holderIdentity"].startswith(issuer["metadata"]["name"])
    for name, space in (("mints", None), (source["metadata"]["name"], NAMESPACE)):
        installed.api.delete("Secret" if space else "Namespace", name, space)


def test_the_token_service_reads_what_the_issuer_signs(installed: Installed) -> None:
    """In strict pods, with its own key and the public part of the issuer's."""
    installed.cluster.namespace("signed", labels={OWNER: "minted"})
    found = installed.cluster.wait(lambda: installed.api.get("Secret", SECRET, "signed"), "the pull secret stands")
    (credential,) = parse(base64.b64decode(found["data"][".dockerconfigjson"])).credentials
    name, password = credential.login
    path = f"/api/v1/namespaces/{NAMESPACE}/services/https:{TOKEN_SERVICE}:https/proxy/token"
    form = {"grant_type": "password", "username": name, "service": "127.0.0.1:9"}
    form |= {"scope": "repository:minted/app:pull,push repository:other/app:pull"}

    def token(password: str) -> dict[str, Any]:
        content = urlencode(form | {"password": password}).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"}
        answered: dict[str, Any] = installed.api.raw("POST", path, content=content, headers=headers).json()
        return answered

    claims = jwt.decode(token(password)["token"], options={"verify_signature": False})
    assert claims["access"] == [{"type": "repository", "name": "minted/app", "actions": ["pull"]}]
    with pytest.raises(ApiError) as e:
        token(planted.token())
    assert e.value.status == 401
    (pod,) = installed.api.list("Pod", NAMESPACE, labels="app.kubernetes.io/component=registry-auth")
    assert pod["spec"]["serviceAccountName"] == TOKEN_SERVICE
    assert not [one for one in pod["spec"]["volumes"] if "projected" in one]
    installed.api.delete("Namespace", "signed", None)


def test_an_administrators_command_finds_the_configuration(installed: Installed) -> None:
    ran = command(installed.cluster, "status")
    assert (ran.code, ran.err) == (0, ""), ran.out


def doctor(installed: Installed, *arguments: str) -> dict[str, dict[str, str]]:
    ran = command(installed.cluster, "doctor", "cluster", "-o", "json", *arguments)
    assert ran.err == ""
    return {one["name"]: one for one in json.loads(ran.out)["checks"]}


def test_doctor_finds_nothing_wrong(installed: Installed) -> None:
    installed.cluster.namespace("tried", labels={OWNER: "alice"})
    deployed.wait_called(installed.api, 443, "tried")
    found = doctor(installed, "--try-in", "tried")
    results = {name: one["result"] for name, one in found.items()}
    assert {*results.values()} <= {"right", "absent"}, found
    names = {"configuration", "endpoints", "replicas", "version", "pods", "serving certificate", "a new pod"}
    names |= {"token service replicas", "token service pods"}
    assert names | {"write policy, tried", "rights"} <= {name for name, result in results.items() if result == "right"}
    before = doctor(installed, "--pre")
    assert before["earlier installation"]["result"] == "wrong"
    assert "of the Helm release pullsecret-webhook in pullsecret-webhook" in before["earlier installation"]["why"]
    assert before["pullsecret-webhook"]["why"].endswith("the chart's pods may run, but not with hostNetwork")
    assert before["nodes"]["result"] == "right"


def test_doctor_tells_a_webhook_that_is_passed_by_from_one_that_is_not_reached(installed: Installed) -> None:
    """With `failurePolicy: Ignore` whoever creates a pod is told nothing. Here the registration has the wrong path."""

    def path(there: str) -> None:
        service = {"name": NAME, "namespace": NAMESPACE, "port": 443, "path": there}
        deployed.patch_entries(installed.api, clientConfig={"service": service})

    path("/elsewhere")
    try:

        def said() -> dict[str, str] | None:
            one = doctor(installed, "--try-in", "tried")["a new pod"]
            return one if one["result"] == "wrong" else None

        found = installed.cluster.wait(said, "the API server calls the other path")
    finally:
        path("/mutate")
        deployed.wait_called(installed.api, 443, "tried")
    assert found["why"].endswith("the API server passes the webhook by, although a replica answers")
    assert "failed calling webhook" in found["hint"]


def test_the_pods_are_restricted_and_run_the_image_by_its_digest(installed: Installed) -> None:
    """The API server refuses any other pods in the namespace: test_ways.py shows it."""
    space = installed.api.get("Namespace", NAMESPACE)
    assert space
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    digest = installed.release.image.digest
    pulls = [one for one in installed.networked.registry.log() if one.path.endswith(f"/manifests/{digest}")]
    assert {one.user for one in pulls if one.status == 200 and one.method == "GET"} == {"pullsecret-webhook"}


def test_a_private_image_runs_without_a_word_about_credentials(installed: Installed) -> None:
    installed.release.runs_without_a_word_about_credentials("alice", "team-a")


def test_without_the_secret_the_same_registry_refuses(installed: Installed) -> None:
    """So that the test before means something."""
    image = installed.networked.registry.push("alice/app", "refused")
    installed.cluster.namespace("stranger")
    installed.api.create(pod("app", "stranger", image))

    def said() -> str:
        status = (installed.api.get("Pod", "app", "stranger") or {"status": {}})["status"]
        states = [one["state"] for one in status.get("containerStatuses", ())]
        return "".join(state.get("waiting", {}).get("message", "") for state in states)

    assert "no basic auth credentials" in installed.cluster.wait(said, "the pull is refused")


@pytest.mark.parametrize("turn", ["first", pytest.param("second", marks=pytest.mark.slow)])
def test_helm_test(installed: Installed, turn: str) -> None:
    """What the first one made is no obstacle for the second one."""
    try:
        said = installed.helm("test", NAME, "--logs")
    except HarnessError:
        print(installed.cluster.kubectl("-n", NAMESPACE, "logs", "pullsecret-webhook-test", check=False))
        raise
    assert "Succeeded" in said, turn
    assert SECRET in said, turn


# -- a probe on the node --


@dataclass
class Recording:
    """The administrator's cluster, and the answer to what was created there."""

    cluster: Cluster
    created: list[Object] = field(default_factory=list)

    async def call(self, method: str, path: str, **options: Any) -> bytes:
        answer = await self.cluster.call(method, path, **options)
        if method == "POST":
            self.created.append(json.loads(answer))
        return answer


def probed(installed: Installed, request: Request, namespace: str | None = None) -> tuple[Probed | str, list[Object]]:
    """What the node sees, or why it does not, and the pods that were made for that."""

    async def run() -> tuple[Probed | str, list[Object]]:
        async with Cluster.connect(str(installed.cluster.kubeconfig)) as cluster:
            recording = Recording(cluster)
            view = ClusterView(cast(Cluster, recording), Config())
            try:
                seen = await from_node(view, Node.name, request, namespace=namespace, voice=print)
            except NoProbeError as e:
                return str(e), recording.created
            return seen, recording.created

    return asyncio.run(run())


@contextmanager
def in_etc(installed: Installed, files: dict[str, str]) -> Iterator[None]:
    """What the node's own files of these names hold meanwhile."""
    node = installed.networked.node
    before = {name: Path("/etc", name).read_text() for name in files}
    for name, text in files.items():
        node.sees(name, text)
    try:
        yield
    finally:
        for name, text in before.items():
            node.sees(name, text)


def no_probe_is_left(installed: Installed) -> None:
    assert [one for one in installed.api.list("Pod") if one["metadata"]["name"].startswith("pullsecret-probe-")] == []


def test_a_probe_sees_what_its_node_sees(installed: Installed, tmp_path: Path) -> None:
    """A wrong line in the hosts file, which nothing in the cluster shows, and what the node's resolver says."""
    network, registry = installed.networked.network, installed.networked.registry
    port = int(registry.address.rpartition(":")[2])
    target = Target("ghcr.io", port, addresses=("127.0.0.67",))
    request = Request((target,), registry.ca.read_text(), cluster_dns="127.0.0.55")
    answer = f"ghcr.io={network.address}"
    server = [*network.enter, sys.executable, "-m", "support.nameserver", "127.0.0.54", "53", answer]
    installed.release.allow("privileged")
    env = {"PYTHONPATH": str(Path(__file__).parents[1])}
    try:
        with (
            Child("nameserver", server, log=tmp_path / "dns.log", env=env) as child,
            in_etc(installed, {"hosts": "127.0.0.66 ghcr.io\n", "resolv.conf": "nameserver 127.0.0.54\n"}),
        ):
            child.until(lambda: "serving" in child.log.read_text(), "it serves", within=20)
            began = time.monotonic()
            seen, (made,) = probed(installed, request)
            print(f"seen after {time.monotonic() - began:.1f} s")
    finally:
        installed.release.allow("restricted")
    assert isinstance(seen, Probed), seen
    (host,) = seen.hosts
    assert host.answers == (
        Answer("hosts file", "addresses", ("127.0.0.66",)),
        Answer("127.0.0.54:53", "addresses", (network.address,)),
        Answer("127.0.0.53:53", "nothing listens"),
    )
    assert host.cluster_dns == Answer("127.0.0.55:53", "nothing listens")
    found = {one.address: one for one in host.endpoints}
    assert {address: (one.given_by, one.tcp) for address, one in found.items()} == {
        "127.0.0.66": (("hosts file",), "refused"),
        network.address: (("127.0.0.54:53",), "open"),
        "127.0.0.67": (("here",), "refused"),
    }
    right = found[network.address]
    assert (right.tls, right.status, right.registry) == ("right", 401, True)
    assert seen.public_cas
    no_probe_is_left(installed)
    spec, status = made["spec"], made["status"]
    assert spec.get("volumes", []) == [], "no token is mounted"
    (container,) = spec["containers"]
    image = installed.release.image
    assert container["image"] == f"{image.name}@{image.digest}"
    assert "volumeMounts" not in container
    assert "env" not in container
    assert status["phase"] == "Pending"
    assert not planted.leaks(json.dumps(made))


def test_the_clusters_dns_is_made_right_as_the_node_sees_it(
    installed: Installed, tmp_path: Path, coredns_binary: None
) -> None:
    """CoreDNS is asked by probes. Its key is kept, and would have been taken away without an answer."""
    network, registry = installed.networked.network, installed.networked.registry
    port, dns = registry.address.rpartition(":")[2], InCluster(installed.cluster, World(tmp_path / "coredns", 53))
    calls = ("doctor", "dns", f"ghcr.io:{port}", "--ca-file", str(registry.ca), "--address", network.address)
    dns.begin(network.address)
    installed.release.allow("privileged")
    try:
        with dns.served(network):
            ran = command(installed.cluster, *calls, "--apply", "--node", Node.name)
    finally:
        installed.release.allow("restricted")
        custom = dns.custom()
        dns.end()
    assert ran.code == 0, ran.err
    assert f"ghcr.io: {network.address}, with the right certificate as seen from node {Node.name}" in ran.err
    assert ran.out.endswith("is written, and each pod of CoreDNS answers as it says\n")
    assert f"        {network.address} ghcr.io\n" in (custom or {})["pullsecret-ghcr.io.server"]
    no_probe_is_left(installed)


def test_a_namespace_that_takes_no_such_pod(installed: Installed) -> None:
    said, made = probed(installed, Request((Target("ghcr.io"),)))
    assert str(said).startswith(
        "the namespace pullsecret-webhook takes no pod on a node's own network: its Pod Security Standard is restricted"
    )
    assert str(said).endswith("name another namespace for it with --probe-namespace, such as kube-system")
    assert made == []


def test_a_probe_whose_image_cannot_be_pulled(installed: Installed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The image is on the node, but this namespace has no credential for it."""
    monkeypatch.setattr(nodepod, "START_SECONDS", 2.5)
    installed.cluster.namespace("probes")
    said, (made,) = probed(installed, Request((Target("ghcr.io"),)), "probes")
    assert "cannot be pulled there" in str(said), said
    assert "no basic auth credentials" in str(said)
    assert str(said).endswith("; its pull secret is in pullsecret-webhook, and perhaps not in probes")
    assert made["metadata"]["namespace"] == "probes"
    no_probe_is_left(installed)


def test_a_token_that_changes_is_everywhere_soon(installed: Installed) -> None:
    before = installed.api.get("Secret", SECRET, "team-a")
    installed.networked.registry.set_password("alice", changed := secrets.token_urlsafe())
    deployed.give(installed.api, "alice", changed)

    def rewritten() -> bool:
        now = installed.api.get("Secret", SECRET, "team-a")
        assert now is not None
        assert before is not None
        return bool(now["data"] != before["data"] and now["metadata"]["uid"] == before["metadata"]["uid"])

    until(rewritten, "the pull secret has the new token", within=10)


def test_an_upgrade_and_a_rollback_lose_no_admission(installed: Installed) -> None:
    before = {one["metadata"]["name"] for one in installed.release.pods()}
    excluded = ["kube-system", "kube-public"]
    changed: Object = {"verbose": True, "config": {"ownerRules": RULES, "excludedNamespaces": excluded}}
    with Traffic(installed.release, "team-a") as traffic:
        installed.helm.upgrade(changed)
        upgraded = {one["metadata"]["name"] for one in installed.release.pods()}
        installed.helm.rollback()
        installed.release.settled()
    after = {one["metadata"]["name"] for one in installed.release.pods()}
    assert before.isdisjoint(upgraded)
    assert upgraded.isdisjoint(after)
    assert traffic.made > 100
    assert traffic.missed == []
    assert deployed.ca_bundle(installed.api)


def test_upgrading_to_the_same_changes_nothing(installed: Installed) -> None:
    def generations() -> dict[str, int]:
        kinds = ("Deployment", "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy")
        return {
            f"{kind} {one['metadata']['name']}": one["metadata"]["generation"]
            for kind in kinds
            for one in installed.api.list(kind)
        }

    before = generations()
    installed.helm.upgrade(VALUES)
    assert generations() == before


@pytest.fixture(scope="module")
def tina(installed: Installed) -> Api:
    """A tenant with all rights in her namespace, who may edit namespaces and assign herself."""
    cluster = installed.cluster
    rules = [
        {"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "verbs": ["*"]},
        {"apiGroups": ["pullsecret-webhook"], "resources": ["owners"], "resourceNames": ["tina"], "verbs": ["assign"]},
    ]
    rbac = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "tina"}}
    cluster.api.apply(rbac | {"kind": "ClusterRole", "rules": rules})
    subject = {"kind": "User", "name": "tina", "apiGroup": "rbac.authorization.k8s.io"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "tina"}
    cluster.api.apply(rbac | {"kind": "ClusterRoleBinding", "roleRef": role, "subjects": [subject]})
    cluster.namespace("tinas", labels={OWNER: "tina"})
    admin = role | {"name": "cluster-admin"}
    own = rbac | {"metadata": {"name": "tina", "namespace": "tinas"}}
    cluster.api.apply(own | {"kind": "RoleBinding", "roleRef": admin, "subjects": [subject]})
    return cluster.user("tina")


def test_a_tenant_forges_no_owner(installed: Installed, tina: Api) -> None:
    label = {"metadata": {"labels": {OWNER: "alice"}}}
    annotation = {"metadata": {"annotations": {OWNER: "alice"}}}
    current = installed.api.get("Namespace", "tinas")
    assert current is not None
    forged = current | {"metadata": current["metadata"] | {"labels": current["metadata"]["labels"] | {OWNER: "alice"}}}
    space = {"apiVersion": "v1", "kind": "Namespace"}
    tries: list[Callable[[], object]] = [
        lambda: tina.patch("Namespace", "tinas", label),
        lambda: tina.patch("Namespace", "tinas", annotation),
        lambda: tina.patch("Namespace", "tinas", label, sub="status"),
        lambda: tina.replace(forged, sub="finalize"),
        lambda: tina.replace(forged),
        lambda: tina.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tinas"} | label["metadata"]}
        ),
        lambda: tina.create(space | {"metadata": {"name": "x"} | label["metadata"]}),
        lambda: tina.create(space | {"metadata": {"name": "project-alice"}}),
        lambda: tina.patch("Namespace", "team-a", {"metadata": {"labels": {OWNER: "tina"}}}),
        lambda: tina.patch("Namespace", "team-a", {"metadata": {"labels": {OWNER: None}}}),
    ]
    for number, attempt in enumerate(tries):
        assert "assign" in refused(attempt), number
    # Deleted, and made anew by her: as herself, never as another one.
    tina.delete("Namespace", "tinas", wait=True)
    assert refused(lambda: tina.create(space | {"metadata": {"name": "tinas"} | label["metadata"]}))
    tina.create(space | {"metadata": {"name": "tinas", "labels": {OWNER: "tina"}}})
    secret = installed.api.get("Secret", SECRET, "tinas")
    assert secret is None or secret["metadata"]["annotations"][OWNER] == "tina"


def test_a_tenant_wins_no_race(installed: Installed, tina: Api) -> None:
    """She makes her namespace anew and claims by every way that it is alice's, while an admin moves it to and fro."""
    for owner in ("tina", "bob"):
        deployed.give(installed.api, owner, secrets.token_urlsafe())
    admin, over, said = installed.cluster.user("admin", ("system:masters",)), threading.Event(), list[str]()

    def repeat(*attempts: Callable[[], object]) -> None:
        while not over.is_set():
            for attempt in attempts:
                try:
                    attempt()
                except ApiError as e:
                    said.append(e.message)

    def claim(sub: str) -> None:
        if found := tina.get("Namespace", "tinas"):
            found["metadata"]["labels"] = {OWNER: "alice"}
            tina.replace(found, sub=sub)

    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "tinas", "labels": {OWNER: "tina"}}}
    to_bob, to_tina = (
        partial(admin.patch, "Namespace", "tinas", {"metadata": {"labels": {OWNER: owner}}})
        for owner in ("bob", "tina")
    )
    pause = partial(time.sleep, 0.2)
    threads = [
        threading.Thread(target=repeat, args=attempts)
        for attempts in (
            (lambda: tina.create(space), partial(time.sleep, 1), lambda: tina.delete("Namespace", "tinas")),
            (lambda: claim("status"), lambda: claim("finalize")),
            (to_bob, pause, to_tina, pause),
        )
    ]
    for thread in threads:
        thread.start()
    owner = f"jsonpath=owner {{.metadata.annotations['{OWNER}']}}" + r'{"\n"}'
    watch = ("-n", "tinas", "get", "secrets", "--field-selector", f"metadata.name={SECRET}", "--watch", "-o", owner)
    lines = list[str]()
    for _ in range(10):  # a busy machine shows fewer of the turns
        lines += installed.cluster.kubectl(*watch, "--request-timeout=6s", check=False).splitlines()
        seen = {line.removeprefix("owner ") for line in lines if line.startswith("owner ")}
        if seen >= {"tina", "bob"}:
            break
    over.set()
    for thread in threads:
        thread.join()
    assert seen == {"tina", "bob"}, lines
    assert [line for line in said if "(alice)" in line], "she was refused"

    def stands() -> bool:
        found = installed.api.get("Namespace", "tinas") or tina.create(space)
        return "deletionTimestamp" not in found["metadata"]

    until(stands, "her namespace is there for others", within=30)


def test_the_webhooks_own_account_writes_only_what_it_must(installed: Installed) -> None:
    kubeconfig = installed.cluster.service_account(NAMESPACE, "pullsecret-webhook")
    us = installed.cluster.access(kubeconfig)
    space = installed.api.get("Namespace", "team-a")
    assert space is not None
    (hook,) = installed.api.list("MutatingWebhookConfiguration")
    (entry, other), evil = hook["webhooks"], {"name": "evil", "namespace": "tinas"}

    def secret(namespace: str, **changes: Object | str) -> Object:
        notes = {OWNER: "alice", "pullsecret-webhook/namespace-uid": space["metadata"]["uid"]}
        labels = {"app.kubernetes.io/managed-by": "pullsecret-webhook"}
        metadata = {"name": SECRET, "namespace": namespace, "labels": labels, "annotations": notes}
        body = {"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata} | body | changes

    of_account = {"kubernetes.io/service-account.name": "pullsecret-webhook"}
    metadata = {"name": SECRET, "namespace": NAMESPACE, "annotations": of_account}
    token = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "kubernetes.io/service-account-token"}
    tries: list[Callable[[], object]] = [
        lambda: us.apply(secret("tinas")),
        lambda: us.apply(secret("kube-system")),
        lambda: us.apply(secret("stranger")),
        lambda: us.apply(token),
        lambda: us.patch(
            "MutatingWebhookConfiguration", NAME, {"webhooks": [entry | {"namespaceSelector": {}}, other]}
        ),
        lambda: us.patch(
            "MutatingWebhookConfiguration", NAME, {"webhooks": [entry, other | {"clientConfig": {"service": evil}}]}
        ),
        lambda: us.patch("MutatingWebhookConfiguration", NAME, {"webhooks": []}),
        lambda: us.patch("Namespace", "team-a", {"metadata": {"labels": {OWNER: "bob"}}}),
        lambda: us.create(pod("x", "team-a")),
        lambda: us.patch("Secret", "alice", {"stringData": {"password": "x"}}, NAMESPACE),
        lambda: us.delete("MutatingWebhookConfiguration", NAME),
    ]
    for number, attempt in enumerate(tries):
        assert refused(attempt), number


@pytest.mark.slow
def test_one_replica_less_is_enough(installed: Installed) -> None:
    installed.cluster.namespace("spared", labels={OWNER: "alice"})
    deployed.wait_called(installed.api, 443, "spared")
    gone = installed.release.pods()[0]["metadata"]["name"]
    with Traffic(installed.release, "spared") as traffic:
        installed.api.delete("Pod", gone, NAMESPACE)
        time.sleep(3)
        installed.release.settled()
    assert traffic.made > 100
    assert traffic.missed == []


def test_without_a_replica_status_says_so_first(installed: Installed) -> None:
    """And of a pod that was created meanwhile, without the safety net, that it is to be created anew after that."""
    installed.api.patch("Deployment", NAME, {"spec": {"replicas": 0}}, NAMESPACE)
    until(lambda: not installed.api.list("Pod", NAMESPACE, labels=PODS), "no replica is left", within=60)
    meanwhile = pod("meanwhile", "team-a")
    meanwhile["metadata"]["labels"] = {"pullsecret-webhook/safety-net": "disabled"}
    meanwhile["spec"]["containers"][0]["image"] = installed.networked.registry.push("alice/app", "meanwhile")
    assert references(installed.api.create(meanwhile)) == []
    until(lambda: "meanwhile cannot pull" in command(installed.cluster, "status").out, "it cannot pull", within=60)
    ran = command(installed.cluster, "status")
    why = "no replica behind the Service pullsecret-webhook in pullsecret-webhook is ready"
    assert (ran.code, ran.out.startswith(f"the webhook: {why}")) == (1, True), ran.out
    found = doctor(installed, "--try-in", "team-a")
    assert found["replicas"]["why"] == "0 of 0 ready"
    assert found["replicas"]["hint"].startswith("kubectl scale deployment pullsecret-webhook")
    assert found["endpoints"]["result"] == "wrong"
    assert "no replica is ready" in found["a new pod"]["why"]
    explained = command(installed.cluster, "explain", "pod", "meanwhile", "-n", "team-a")
    assert explained.code == 1
    assert explained.out.splitlines()[-1].startswith(f"next step: {why}")
    installed.api.delete("Pod", "meanwhile", "team-a")


def test_an_uninstallation_leaves_nothing_that_blocks(installed: Installed) -> None:
    installed.helm.uninstall()
    assert [name for name in installed.release.left() if not name.startswith("Pod ")] == []
    until(lambda: not installed.release.left(), "the pods have drained", within=30)
    assert installed.api.get("Secret", SECRET, "team-a"), "what runs can restart: pull secrets are kept by default"
    after = pod("after", "team-a")  # the API server knows a second later that its policy is gone
    until(lambda: not references(installed.api.create(after, dry_run=True)), "nothing adds the reference", within=10)
    assert installed.cluster.kubectl("-n", "team-a", "get", "pod", "app", "-o", "jsonpath={.status.phase}") == "Running"
