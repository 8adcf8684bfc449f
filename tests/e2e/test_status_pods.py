"""`pullsecret status` of pods that cannot pull, on the real node: each cause by its own words."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Thread
from typing import Any

import pytest

from controlplane import webhook as deployed
from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.node import Node
from controlplane.objects import SECRET, stands
from controlplane.registry import Registry
from controlplane.webhook import Webhook
from support import planted, statusdocument
from webhook.core.names import INJECT, NAMESPACES, OWNER, REGISTRY

pytestmark = pytest.mark.node
_numbers = count(1)
DOCKERCONFIG = "kubernetes.io/dockerconfigjson"


@dataclass(frozen=True)
class Case:
    """A namespace of its own for a pod that cannot pull."""

    cluster: ControlPlane
    registry: Registry
    name: str

    @property
    def who(self) -> str:
        """To containerd, what stands in for ghcr.io is a mirror of it."""
        return f"the mirror {self.registry.address}"

    def give(self, token: str, **annotations: str) -> None:
        deployed.give(self.cluster.api, self.name, token, **annotations)

    def known(self, token: str) -> None:
        self.registry.set_password(self.name, token)

    def namespace(self, owner: str | None = None, **labels: str) -> None:
        self.cluster.namespace(self.name, labels={OWNER: owner or self.name} | labels)

    def pod(self, image: str, labels: dict[str, str] | None = None, **spec: Any) -> None:
        spec = {"terminationGracePeriodSeconds": 1, "containers": [{"name": "c", "image": image}], **spec}
        metadata = {"name": "p", "namespace": self.name, "labels": labels or {}}
        self.cluster.api.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})

    def status(self, *arguments: str) -> Ran:
        rule = {"from": "label", "key": OWNER, "owner": "se.*"}
        config = self.cluster.folder / "status-pods.yaml"
        config.write_text(json.dumps({"ownerRules": [rule]}))
        return command(self.cluster, "status", "-n", self.name, "--config", str(config), *arguments)

    def explain(self, *arguments: str) -> Ran:
        config = self.cluster.folder / "status-pods.yaml"
        return command(self.cluster, "explain", *arguments, "--config", str(config))

    def told(self, cause: str, why: str, reason: tuple[str, ...] = ("ErrImagePull", "ImagePullBackOff")) -> None:
        """Waits until the kubelet has said it. Then `status` says why, in words that begin so, and ends with 1."""

        def found() -> dict[str, Any] | None:
            (line,) = statusdocument.read(self.status("-o", "json").out)["namespaces"]
            return next((one for one in line["pods_failing"] if one["cause"] == cause), None)

        one = self.cluster.wait(found, f"status gives the cause {cause}", within=60)
        assert one["pod"] == "p"
        assert one["reason"] in reason
        assert f"p on {one['node']} cannot pull" in self.status("-o", "wide").out
        assert one["why"] == why if not why.endswith(": ") else one["why"].startswith(why)
        ran = self.status()
        assert ran.code == 1
        assert "p cannot pull " in ran.out
        assert why in ran.out
        pod, namespace = self.explain("pod", "p", "-n", self.name), self.explain("namespace", self.name)
        assert (pod.code, namespace.code, pod.err, namespace.err) == (1, 1, "", "")
        assert f"so: {why}" in pod.out
        assert why in namespace.out
        assert pod.out.splitlines()[-1].startswith("next step: ")


@pytest.fixture
def case(cluster: ControlPlane, webhook: Webhook, registry: Registry, node: Node) -> Iterator[Case]:
    made = Case(cluster, registry, f"seen{next(_numbers)}")
    yield made
    cluster.api.delete("Pod", "p", made.name)


def test_the_registry_refuses_the_credential(case: Case) -> None:
    case.known(planted.token())
    wrong = planted.token()
    case.give(wrong)
    case.namespace()
    stands(case.cluster, case.name, wrong)
    case.pod(case.registry.push(f"{case.name}/app", "1"))
    case.told("refused", f"{case.who} refuses the credential of {case.name} for ghcr.io (401)")


def test_a_pod_that_is_well_is_explained(case: Case) -> None:
    token = planted.token()
    case.known(token)
    entries = {"ghcr.io": {"username": "x", "password": planted.token()}}
    entries[f"ghcr.io/{case.name}"] = {"username": case.name, "password": token}
    labels = {OWNER: case.name}
    metadata = {"name": case.name, "namespace": deployed.NAMESPACE, "labels": labels}
    data = {".dockerconfigjson": json.dumps({"auths": entries})}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": DOCKERCONFIG, "stringData": data}
    case.cluster.api.create(secret)
    case.namespace()
    case.cluster.wait(lambda: case.cluster.api.get("Secret", SECRET, case.name), "the Secret is there")
    case.pod(case.registry.push(f"{case.name}/app", "1"))

    def running() -> bool:
        found = case.cluster.api.get("Pod", "p", case.name) or {}
        return bool(found["status"]["phase"] == "Running")

    case.cluster.wait(running, "the pod runs", within=60)
    case.status()
    ran = case.explain("pod", "p", "-n", case.name)
    assert (ran.code, ran.err) == (0, "")
    assert f"owner     {case.name}, by the label {OWNER} (ownerRules[0])" in ran.out
    assert "reference yes" in ran.out
    assert f"entries: ghcr.io/{case.name} of {SECRET}, then ghcr.io of {SECRET}" in ran.out
    assert ran.out.splitlines()[-1] == "next step: nothing to do"
    whole = json.loads(case.explain("pod", "p", "-n", case.name, "-o", "json").out)
    assert (whole["needs_a_human"], whole["next_step"], whole["reference"]) == (False, "nothing to do", True)
    missing = case.explain("pod", "q", "-n", case.name)
    assert (missing.code, missing.err) == (
        3,
        f"pullsecret: there is no pod q in namespace {case.name}\n",
    )


def test_no_entry_for_the_registry(case: Case) -> None:
    case.known(planted.token())
    case.give(planted.token(), **{REGISTRY.rpartition("/")[2]: "registry.gitlab.com"})
    case.namespace()
    case.cluster.wait(lambda: case.cluster.api.get("Secret", SECRET, case.name), "the Secret is there")
    case.pod(case.registry.push(f"{case.name}/app", "1"))
    case.told("no-entry", "the pull secret has no entry for ghcr.io; it has registry.gitlab.com")


def test_no_such_owner(case: Case) -> None:
    case.known(planted.token())
    case.give(planted.token())
    typed = case.name.replace("seen", "sene")
    case.cluster.namespace(case.name, labels={OWNER: typed})
    case.pod(case.registry.push(f"{case.name}/app", "1"))
    rule = f"no source Secret is for owner {typed}; did you mean {case.name}?"
    case.told("unknown-owner", rule)


def test_limited_to_other_namespaces(case: Case) -> None:
    case.known(planted.token())
    case.give(planted.token(), **{NAMESPACES.rpartition("/")[2]: "elsewhere-*"})
    case.namespace()
    case.pod(case.registry.push(f"{case.name}/app", "1"))
    case.told("limited", f"the credential of {case.name} for ghcr.io is limited to other namespaces")


def test_no_such_image(case: Case) -> None:
    token = planted.token()
    case.known(token)
    case.give(token)
    case.namespace()
    stands(case.cluster, case.name, token)
    case.pod(case.registry.push(f"{case.name}/app", "1").replace(":1", ":none"))
    case.told(
        "not-found",
        "the entry for ghcr.io matches, and the registry says 404: there is no such image, or the credential has no "
        "right to it",
    )


def test_no_right_to_the_image(case: Case) -> None:
    token = planted.token()
    case.known(token)
    case.give(token)
    case.namespace()
    stands(case.cluster, case.name, token)
    case.pod(case.registry.push("alice/app", "1"))
    case.told(
        "denied",
        f"{case.who} denies the credential of {case.name} this image: it has no right to it, or there is none",
    )


def test_a_dead_token_in_a_secret_that_is_not_ours(case: Case) -> None:
    """Of our name, from before, which the webhook leaves alone."""
    token = planted.token()
    case.known(token)
    case.give(token)
    case.cluster.namespace(case.name)
    dead = {"auths": {"ghcr.io": {"username": case.name, "password": planted.token()}}}
    metadata = {"name": SECRET, "namespace": case.name}
    data = {".dockerconfigjson": json.dumps(dead)}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": DOCKERCONFIG, "stringData": data}
    case.cluster.api.create(secret)
    case.cluster.api.patch("Namespace", case.name, {"metadata": {"labels": {OWNER: case.name}}})
    case.pod(case.registry.push(f"{case.name}/app", "1"))
    why = f"{case.who} refuses the credential in ghcr-secret, which is not the webhook's, for ghcr.io (401)"
    case.told("refused", why)
    remedy = f"the Secret is not the webhook's; see pullsecret adopt -n {case.name} --dry-run"
    assert remedy in case.status().out
    assert case.explain("pod", "p", "-n", case.name).out.splitlines()[-1] == f"next step: {remedy}"
    events = [one for one in case.cluster.api.list("Event", case.name) if one["reason"] == "ForeignSecret"]
    assert "pods pull with what is in it" in events[0]["note"]


def test_a_secret_that_the_kubelet_cannot_parse(case: Case) -> None:
    token = planted.token()
    case.known(token)
    case.give(token)
    case.namespace()
    stands(case.cluster, case.name, token)
    bad = {".dockerconfigjson": '{"auths": {"old.example.com": {"auth": "*"}}}'}
    metadata = {"name": "legacy", "namespace": case.name}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": DOCKERCONFIG, "stringData": bad}
    case.cluster.api.create(secret)
    case.pod(case.registry.push(f"{case.name}/app", "1"), imagePullSecrets=[{"name": SECRET}, {"name": "legacy"}])
    case.told(
        "unreadable-secret",
        "the kubelet cannot parse legacy, and then tries no credential at all; repair or remove it",
        ("illegal base64 data at input byte 0",),
    )


def test_not_the_name_of_an_image(case: Case) -> None:
    case.namespace()
    case.pod("ghcr.io/Alice/App:1")
    case.told(
        "invalid-name",
        "this is no valid name of an image: \"Failed to apply default image tag 'ghcr.io/Alice/App:1': couldn't parse "
        "image name 'ghcr.io/Alice/App:1': invalid reference format: repository name (Alice/App) must be lowercase\"",
        ("InvalidImageName",),
    )


def test_a_registry_that_is_not_reached(case: Case) -> None:
    case.namespace()
    case.pod("127.0.0.1:1/app:1")
    case.told(
        "connection",
        'the node does not reach the registry: "dial tcp 127.0.0.1:1: connect: connection refused"',
    )


def called(node: Node, host: str, server: str) -> str:
    """Images of this host come from there, by the certificates that the node has."""
    folder = node.folder / "certs.d" / host
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(f'server = "{server}"\n')
    return f"{host}/acme/app:1"


@contextmanager
def answering(status: int) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:  # its name in the library
            self.send_response(status)
            self.end_headers()

        do_GET = do_HEAD  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_certificate_that_the_node_does_not_trust(case: Case, node: Node) -> None:
    case.namespace()
    case.pod(called(node, "untrusted.test", case.registry.url))
    case.told("certificate", f"the node does not trust the certificate of {case.who}: ")


@pytest.mark.parametrize(
    ("status", "cause", "why"),
    [
        (429, "rate-limit", "the mirror {} has too many requests (429): "),
        (503, "registry-fails", "the mirror {} fails: "),
        (418, "other", "the kubelet gives another reason: "),
    ],
)
def test_a_registry_that_fails(case: Case, node: Node, status: int, cause: str, why: str) -> None:
    case.namespace()
    with answering(status) as server:
        case.pod(called(node, f"answers-{status}.test", server))
        case.told(cause, why.format(server.removeprefix("http://")))


def test_a_name_that_the_node_cannot_resolve(case: Case) -> None:
    case.namespace()
    case.pod("nowhere.invalid/acme/app:1")
    case.told("address", "the node cannot resolve the name of the registry: ")


def test_no_secret_since_the_credential_has_expired(case: Case) -> None:
    case.known(planted.token())
    case.give(planted.token(), expires="2020-01-01T00:00:00Z")
    case.namespace()
    case.pod(case.registry.push(f"{case.name}/app", "1"))
    case.told("no-secret", f"there is no Secret: the credential of {case.name} has expired; renew it")


def test_a_pod_whose_own_label_opts_it_out(case: Case) -> None:
    token = planted.token()
    case.known(token)
    case.give(token)
    case.namespace()
    stands(case.cluster, case.name, token)
    case.pod(case.registry.push(f"{case.name}/app", "1"), labels={INJECT: "disabled"})
    case.told("opted-out", f"its label {INJECT}: disabled opts it out")


def test_a_pod_in_a_namespace_that_is_opted_out(case: Case) -> None:
    case.known(planted.token())
    case.namespace(**{INJECT: "disabled"})
    case.pod(case.registry.push(f"{case.name}/app", "1"))
    case.told("not-served", f"the namespace's label {INJECT}: disabled opts it out")


def test_a_pod_from_before(case: Case) -> None:
    """Without the reference, and without an entry that its image needs; a public image beside it is no trouble."""
    token = planted.token()
    case.known(token)
    case.cluster.namespace(case.name)
    case.pod(case.registry.push(f"{case.name}/app", "1"))
    case.give(token)
    case.cluster.api.patch("Namespace", case.name, {"metadata": {"labels": {OWNER: case.name}}})
    stands(case.cluster, case.name, token)
    case.told("no-reference", f"it has no reference to {SECRET}")
    (line,) = json.loads(case.status("-o", "json").out)["namespaces"]
    assert line["pods_without"] == ["p"]
