"""`pullsecret doctor cluster`: a cluster before the chart is there, an installation, and broken ones, each found by its
line.
"""

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import trustme

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.command import Ran, command
from controlplane.objects import pod
from controlplane.ports import free_port
from controlplane.webhook import NAMESPACE, Webhook
from support import planted
from webhook.core.names import OWNER

pytestmark = pytest.mark.cluster
CALLED = "called"
"""The namespace that the fixture has: owned, and without a credential."""
_numbers = count(1)


def doctor(cluster: ControlPlane, *arguments: str, config: Object | None = None) -> Ran:
    """With a configuration by file: here the API server calls an address, and there is no ConfigMap."""
    file = cluster.folder / "doctor.yaml"
    file.write_text(json.dumps(config or {}))
    return command(cluster, "doctor", "cluster", "--config", str(file), "--try-in", CALLED, *arguments)


def checks(ran: Ran) -> dict[str, dict[str, str]]:
    """By name."""
    found = json.loads(ran.out)
    assert found["needs_a_human"] is (ran.code == 1)
    return {one["name"]: one for one in found["checks"]}


def wrong(ran: Ran) -> dict[str, str]:
    return {name: one["why"] for name, one in checks(ran).items() if one["result"] == "wrong"}


@contextmanager
def restored(cluster: ControlPlane, webhook: Webhook) -> Iterator[None]:
    """Whatever is broken meanwhile."""
    try:
        yield
    finally:
        deployed.install(cluster)
        deployed.register(cluster, webhook.port)
        deployed.wait_called(cluster.api, webhook.port, CALLED)


def test_all_is_well(cluster: ControlPlane, webhook: Webhook) -> None:
    ran = doctor(cluster)
    assert (ran.code, ran.err) == (0, ""), ran.out
    assert ran.out.startswith("API server\n  + version: v1.")
    assert "\nAdmission\n  + a new pod: in called gets ghcr-secret\n" in ran.out
    assert "  + write policy, tried: it refuses a pull secret in the webhook's own namespace\n" in ran.out
    assert " right, 0 wrong" in ran.out.splitlines()[-1]
    found = checks(doctor(cluster, "-o", "json"))
    parts = ("version", "clock", "registration", "caBundle", "CA", "policies", "rights", "serving certificate")
    assert {found[name]["result"] for name in parts} == {"right"}
    assert not cluster.api.list("Pod", CALLED)


def test_without_a_named_namespace_one_that_has_an_owner_is_tried(cluster: ControlPlane, webhook: Webhook) -> None:
    rule = {"from": "label", "key": OWNER, "owner": "nobody"}
    (cluster.folder / "doctor.yaml").write_text(json.dumps({"ownerRules": [rule]}))
    ran = command(cluster, "doctor", "cluster", "--config", str(cluster.folder / "doctor.yaml"))
    assert "  + a new pod: in called gets ghcr-secret\n" in ran.out


def test_before_the_chart_is_there(cluster: ControlPlane) -> None:
    def before(*arguments: str) -> dict[str, dict[str, str]]:
        return checks(command(cluster, "doctor", "cluster", "--pre", "-o", "json", *arguments))

    found = before("-n", "platform")
    for name in ("version", "clock", "admission", "safety net", "to install", "other products"):
        assert found[name]["result"] == "right", name
    assert found["platform"]["result"] == "absent"
    assert found["cert-manager"]["result"] == "absent"
    assert found["owners"]["why"].endswith("have the label pullsecret-webhook/owner, which is the default rule")
    assert before("-n", "default")["default"]["result"] == "wrong"
    stranger = before("--kubeconfig", str(cluster.user_kubeconfig("stranger")))
    assert stranger["to install"]["result"] == "wrong"
    assert "create and patch mutatingwebhookconfigurations, " in stranger["to install"]["why"]
    assert "create and patch configmaps, resourcequotas, " in stranger["to install"]["why"]
    assert stranger["nodes"]["result"] == "unknown"


def test_who_may_create_roles_but_not_give_what_is_in_them_may_not_install(cluster: ControlPlane) -> None:
    name, rbac = f"installer{next(_numbers)}", "rbac.authorization.k8s.io"
    rules = [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["create", "patch"]}]
    api = {"apiVersion": f"{rbac}/v1", "metadata": {"name": name}}
    cluster.api.create(api | {"kind": "ClusterRole", "rules": rules})
    reference = {"apiGroup": rbac, "kind": "ClusterRole", "name": name}
    subjects = [{"apiGroup": rbac, "kind": "User", "name": name}]
    cluster.api.create(api | {"kind": "ClusterRoleBinding", "roleRef": reference, "subjects": subjects})
    kubeconfig = str(cluster.user_kubeconfig(name))
    ran = command(cluster, "doctor", "cluster", "--pre", "-o", "json", "--kubeconfig", kubeconfig)
    missing = checks(ran)["to install"]["why"]
    assert missing.startswith(
        "you may not list namespaces, serviceaccounts; list and delete secrets named ghcr-secret; "
    )


def test_what_is_in_the_way_of_the_chart(cluster: ControlPlane, webhook: Webhook) -> None:
    """An earlier installation, a namespace that a finalizer holds, and another product."""
    held, api = f"held{next(_numbers)}", cluster.api
    cluster.namespace(held)
    config_map = {"name": "x", "namespace": held, "finalizers": ["example.com/holds"]}
    api.create({"apiVersion": "v1", "kind": "ConfigMap", "metadata": config_map})
    patcher: Object = {"apiVersion": "apps/v1", "kind": "Deployment"}
    labels = {"app": "patcher"}
    template = {"metadata": {"labels": labels}, "spec": pod("default")["spec"]}
    spec = {"replicas": 0, "selector": {"matchLabels": labels}, "template": template}
    api.create(patcher | {"metadata": {"name": "imagepullsecret-patcher", "namespace": "default"}, "spec": spec})
    api.delete("Namespace", held)
    policy = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingAdmissionPolicy"}
    patch = {"expression": "[JSONPatch{op: 'add', path: '/spec/imagePullSecrets', value: []}]"}
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    mutates: Object = {"mutations": [{"patchType": "JSONPatch", "jsonPatch": patch}], "reinvocationPolicy": "Never"}
    mutates |= {"matchConstraints": {"resourceRules": [rule]}}
    api.create(
        policy | {"metadata": {"name": f"{held}.example.com"}, "spec": mutates}
    )  # without a binding it does nothing
    try:
        found = checks(command(cluster, "doctor", "cluster", "--pre", "-o", "json", "-n", held))
    finally:
        api.delete("MutatingAdmissionPolicy", f"{held}.example.com")
        api.patch("ConfigMap", "x", {"metadata": {"finalizers": None}}, held)
        api.delete("Deployment", "imagepullsecret-patcher", "default")
    assert (found[held]["result"], "it is being deleted" in found[held]["why"]) == ("wrong", True)
    assert found["earlier installation"]["result"] == "wrong"
    assert found["earlier installation"]["why"].startswith("it is installed already, or its registration is left: muta")
    assert found["other products"]["result"] == "warning"
    others = f"the MutatingAdmissionPolicy {held}.example.com; the Deployment imagepullsecret-patcher in default"
    assert found["other products"]["why"].endswith(others)


# -- broken installations ----------------------------------------------------------------------------------------------


def test_a_policy_without_its_binding(cluster: ControlPlane, webhook: Webhook) -> None:
    """What is read says so at once, and what is tried when the API server acts by it."""
    with restored(cluster, webhook):
        cluster.api.delete("ValidatingAdmissionPolicyBinding", "pullsecret-webhook-writes")
        assert "has no binding that denies" in wrong(doctor(cluster, "-o", "json"))["policies"]

        def tried() -> str | None:
            return wrong(doctor(cluster, "-o", "json")).get("write policy, tried")

        assert "is not refused" in cluster.wait(tried, "the policy is not in force")
        cluster.api.delete("ValidatingAdmissionPolicy", "pullsecret-webhook-writes")
        left_out = checks(doctor(cluster, "-o", "json"))["write policy, tried"]
        assert (left_out["result"], left_out["why"].startswith("there is none: ")) == ("warning", True)


def test_the_issuers_policy(cluster: ControlPlane, webhook: Webhook) -> None:
    """Where there are issuers."""
    issuers: Object = {"issuers": [{"issue": "registry", "registry": "r.test", "keyFile": "/key"}]}
    name = "issuer policy, tried"

    def tried() -> str:
        return checks(doctor(cluster, "-o", "json", config=issuers))[name]["result"]

    with restored(cluster, webhook):
        assert name not in checks(doctor(cluster, "-o", "json"))
        assert tried() == "right"
        cluster.api.delete("ValidatingAdmissionPolicy", "pullsecret-webhook-issuer")
        cluster.wait(lambda: tried() == "wrong", "the policy is not in force")
        cluster.api.delete("RoleBinding", "pullsecret-webhook-issuer", NAMESPACE)
        cluster.wait(lambda: tried() == "unknown", "the account may not write")


def test_an_account_without_its_role(cluster: ControlPlane, webhook: Webhook) -> None:
    with restored(cluster, webhook):
        cluster.api.delete("ClusterRoleBinding", "pullsecret-webhook")
        found = checks(doctor(cluster, "-o", "json"))
    assert (found["rights"]["result"], "may not list namespaces" in found["rights"]["why"]) == ("wrong", True)
    assert found["rights"]["hint"].endswith("upgrade the release")


def test_nothing_is_installed(cluster: ControlPlane, webhook: Webhook) -> None:
    with restored(cluster, webhook):
        deployed.unregister(cluster)
        nothing, named = command(cluster, "doctor", "cluster"), wrong(doctor(cluster, "-o", "json"))
    assert nothing.code == 1
    assert [line for line in nothing.out.splitlines() if line.startswith("  x")] == [
        "  x installation: the webhook is not installed: there is neither its registration nor its Deployment"
    ]
    assert "pullsecret doctor cluster --pre" in nothing.out
    assert "is missing, so new pods get no reference" in named["registration"]


@contextmanager
def tls_server() -> Iterator[int]:
    """One whose certificate no caBundle of ours trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        over = threading.Event()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                    with connection, context.wrap_socket(connection, server_side=True):
                        pass
                except OSError:  # the client has gone away, as it must
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield listening.getsockname()[1]
        over.set()
        socket.create_connection(listening.getsockname()).close()
        thread.join()


def found_on_the_way(cluster: ControlPlane, port: int, words: str, **changes: Any) -> dict[str, str]:
    """Of the API server that calls this port; it takes a moment until it does."""
    deployed.register(cluster, port, **changes)

    def said() -> dict[str, str] | None:
        one = checks(doctor(cluster, "-o", "json"))["a new pod"]
        return one if words in one["why"] else None

    return cluster.wait(said, f"the API server says {words}")


def test_nobody_listens(cluster: ControlPlane, webhook: Webhook) -> None:
    """With failurePolicy Fail the API server says why, and with Ignore its counters tell."""
    with restored(cluster, webhook):
        said = found_on_the_way(cluster, free_port(), "connection refused", failurePolicy="Fail")
        assert said["result"] == "wrong"
        assert "nothing listens where the API server calls" in said["why"]
        assert "kubectl get endpointslices" in said["hint"]
        found_on_the_way(cluster, free_port(), "the API server passes the webhook by", failurePolicy="Ignore")


def test_nobody_answers(cluster: ControlPlane, webhook: Webhook) -> None:
    with restored(cluster, webhook), socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        said = found_on_the_way(cluster, port, "deadline exceeded", failurePolicy="Fail", timeoutSeconds=1)
    assert "no answer comes to the API server" in said["why"]
    assert "networkPolicy.apiServerCIDRs" in said["hint"]


def test_another_certificate(cluster: ControlPlane, webhook: Webhook) -> None:
    with restored(cluster, webhook), tls_server() as port:
        said = found_on_the_way(cluster, port, "x509: ", failurePolicy="Fail")
    assert "the API server does not trust the certificate" in said["why"]
    assert "docs/certificates.md" in said["hint"]


def test_a_registration_that_is_for_other_namespaces(cluster: ControlPlane, webhook: Webhook) -> None:
    with restored(cluster, webhook):
        selector = {"matchLabels": {"no": "such"}}
        said = found_on_the_way(cluster, webhook.port, "does not call the webhook", namespaceSelector=selector)
    assert "upgrade the release" in said["hint"]


def test_a_ca_that_is_not_that_of_the_registration(cluster: ControlPlane, webhook: Webhook) -> None:
    """As if cert-manager's cainjector did not run: the certificate in the Secret is not of the caBundle."""
    ca, name = trustme.CA(), f"own-tls{next(_numbers)}"
    pair = ca.issue_cert(f"pullsecret-webhook.{NAMESPACE}.svc")
    pems = {"tls.crt": pair.cert_chain_pems[0].bytes().decode(), "tls.key": pair.private_key_pem.bytes().decode()}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": NAMESPACE}}
    cluster.api.create(secret | {"type": "kubernetes.io/tls", "stringData": pems})
    files = {"tls": {"certFile": "/etc/pullsecret/tls/tls.crt", "keyFile": "/etc/pullsecret/tls/tls.key"}}
    with replicas(cluster, volumes=[{"name": "tls", "secret": {"secretName": name}}]):
        found = checks(doctor(cluster, "-o", "json", config=files))
    cluster.api.delete("Secret", name, NAMESPACE)
    assert found["serving certificate"]["result"] == "wrong"
    assert found["serving certificate"]["why"] == f"that of the Secret {name} is of no CA in the caBundle"
    gone = checks(doctor(cluster, "-o", "json", config=files))
    assert gone["serving certificate"]["result"] == "unknown"


@contextmanager
def replicas(cluster: ControlPlane, **spec: Any) -> Iterator[None]:
    """The chart's Deployment, whose pods no node takes."""
    labels = {"app.kubernetes.io/name": "pullsecret-webhook", "app.kubernetes.io/component": "webhook"}
    template = {"metadata": {"labels": labels}, "spec": pod(NAMESPACE)["spec"] | spec}
    metadata = {"name": "pullsecret-webhook", "namespace": NAMESPACE}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    cluster.api.create({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec})
    try:
        yield
    finally:
        cluster.api.delete("Deployment", "pullsecret-webhook", NAMESPACE)


def until_wrong(cluster: ControlPlane, look: Callable[[], Ran], name: str, words: str) -> dict[str, str]:
    def said() -> dict[str, str] | None:
        one = checks(look()).get(name, {"why": ""})
        return one if words in one["why"] else None

    return cluster.wait(said, f"{name}: {words}")


def test_no_replica(cluster: ControlPlane, webhook: Webhook) -> None:
    """Called through its Service, as the chart does: no pod is ready, or the API server refuses the pods."""
    with restored(cluster, webhook):
        cluster.api.apply(deployed.registration())
        missing = wrong(doctor(cluster, "-o", "json"))
        assert "no replica behind the Service" in missing["endpoints"]
        assert missing["replicas"] == f"the Deployment pullsecret-webhook in {NAMESPACE} is missing"
        assert 'services "pullsecret-webhook" not found' in missing["a new pod"].replace("'", '"')
        with replicas(cluster):
            found = until_wrong(cluster, lambda: doctor(cluster, "-o", "json"), "replicas", "0 of 1 ready")
            assert found["hint"] == f"see kubectl get pods -n {NAMESPACE}"
        level = "pod-security.kubernetes.io/enforce"
        cluster.api.patch("Namespace", NAMESPACE, {"metadata": {"labels": {level: "restricted"}}})
        try:
            with replicas(cluster, hostNetwork=True):
                look = lambda: doctor(cluster, "-o", "json")  # noqa: E731
                found = until_wrong(cluster, look, "replicas", "violates PodSecurity")
                assert "the level privileged" in found["hint"]
        finally:
            cluster.api.patch("Namespace", NAMESPACE, {"metadata": {"labels": {level: None}}})


def test_a_configuration_that_cannot_be_read(cluster: ControlPlane, webhook: Webhook) -> None:
    """The rest is looked at all the same, with the default values."""
    metadata = {"name": "pullsecret-webhook", "namespace": NAMESPACE}
    with restored(cluster, webhook):
        cluster.api.apply(deployed.registration())
        missing = command(cluster, "doctor", "cluster", "--try-in", CALLED, "-o", "json")
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"config.yaml": "ownerRule: []"}}
        cluster.api.create(body)
        try:
            mistyped = command(cluster, "doctor", "cluster", "--try-in", CALLED, "-o", "json", "-n", NAMESPACE)
        finally:
            cluster.api.delete("ConfigMap", "pullsecret-webhook", NAMESPACE)
    assert (
        "the ConfigMap pullsecret-webhook in namespace pullsecret-webhook does not exist"
        in wrong(missing)["configuration"]
    )
    assert "ownerRule" in wrong(mistyped)["configuration"]
    assert checks(mistyped)["policies"]["result"] == "right"


def test_a_node_with_a_wrong_clock(cluster: ControlPlane, webhook: Webhook) -> None:
    """As its kubelet renews its Lease: the time in it is the node's, and the API server notes its own."""
    name = f"slow{next(_numbers)}"
    renewed = datetime.now(UTC) - timedelta(hours=1)
    lease: Object = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    spec = {"holderIdentity": name, "renewTime": renewed.isoformat(timespec="microseconds").replace("+00:00", "Z")}
    cluster.api.create(lease | {"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec})
    try:
        after, before = doctor(cluster, "-o", "json"), command(cluster, "doctor", "cluster", "--pre", "-o", "json")
    finally:
        cluster.api.delete("Lease", name, "kube-node-lease")
    for ran in (after, before):
        found = checks(ran)["clocks"]
        assert found["result"] == "wrong"
        assert re.search(rf"; {name} is 3,(599|600|601) s behind it$", found["why"]), found
    assert after.code == 1


def test_a_source_secret_that_is_broken(cluster: ControlPlane, webhook: Webhook) -> None:
    owner, token = f"broken{next(_numbers)}", planted.token()
    deployed.give(cluster.api, owner, token, expires="soon")
    try:
        ran = doctor(cluster, "-o", "json")
    finally:
        cluster.api.delete("Secret", owner, NAMESPACE)
    found = checks(ran)["source Secrets"]
    assert (found["result"], f"source Secret {owner} is broken" in found["why"]) == ("warning", True)
    assert ran.code == 0


def test_a_pod_that_something_else_refuses_says_nothing_of_the_webhook(cluster: ControlPlane, webhook: Webhook) -> None:
    """Unless this namespace was named."""
    space = f"full{next(_numbers)}"
    cluster.namespace(space, labels={OWNER: space})
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": space}}
    cluster.api.create(quota | {"spec": {"hard": {"pods": "0"}}})
    cluster.wait(lambda: cluster.api.get("ResourceQuota", "none", space)["status"].get("hard"), "the quota")  # type: ignore[index]
    config = cluster.folder / "full.yaml"
    config.write_text(json.dumps({"ownerRules": [{"from": "label", "key": OWNER, "owner": space}]}))
    look = ("doctor", "cluster", "--config", str(config), "-o", "json")
    found = checks(command(cluster, *look))["a new pod"]
    assert (found["result"], found["why"]) == ("unknown", f"the API server refuses the pod in {space} (403 Forbidden)")
    assert checks(command(cluster, *look, "--try-in", space))["a new pod"]["result"] == "wrong"


def test_what_may_not_be_looked_at_is_no_fault(cluster: ControlPlane, webhook: Webhook) -> None:
    kubeconfig = str(cluster.user_kubeconfig("stranger"))
    ran = command(cluster, "doctor", "cluster", "--kubeconfig", kubeconfig)
    assert ran.code == 3
    assert "  ? rights: " in ran.out
    assert "stranger may not impersonate users" in ran.out
    by_file = cluster.folder / "by-file.yaml"
    by_file.write_text("{}")
    assert command(cluster, "doctor", "cluster", "--kubeconfig", kubeconfig, "--config", str(by_file)).code == 3
    acting = command(cluster, "doctor", "cluster", "--as", "stranger")
    assert (acting.code, "not tried with --as" in acting.out) == (3, True)
    nowhere = command(cluster, "doctor", "cluster", "--kubeconfig", str(_nowhere(cluster)))
    assert (nowhere.code, nowhere.out) == (3, "")
    assert "cannot be reached" in nowhere.err


def test_the_charts_role_for_people_is_enough_to_look(cluster: ControlPlane, webhook: Webhook) -> None:
    """But for what needs Secrets, a pod in a namespace, or the right to impersonate the webhook's account."""
    user, rbac = f"doctor{next(_numbers)}", "rbac.authorization.k8s.io"
    subject = {"apiGroup": rbac, "kind": "User", "name": user}

    def bind(kind: str, role: str, **metadata: str) -> None:
        body = {"apiVersion": f"{rbac}/v1", "kind": kind, "metadata": {"name": user} | metadata, "subjects": [subject]}
        cluster.api.create(body | {"roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": role}})

    bind("ClusterRoleBinding", "pullsecret-webhook-doctor")
    kubeconfig = str(cluster.user_kubeconfig(user))

    def unknown() -> set[str]:
        found = checks(doctor(cluster, "-o", "json", "--kubeconfig", kubeconfig))
        return {name for name, one in found.items() if one["result"] not in ("right", "absent")}

    secret = {"serving certificate", "write policy, tried", "source Secrets", "pull secrets"}
    assert cluster.wait(lambda: unknown() == secret | {"a new pod"}, "RBAC knows the role")
    bind("RoleBinding", "pullsecret-webhook-doctor-namespace", namespace=CALLED)
    assert cluster.wait(lambda: unknown() == secret, "RBAC knows the other role")


def _nowhere(cluster: ControlPlane) -> str:
    file = cluster.folder / "nowhere.kubeconfig"
    text = cluster.kubeconfig.read_text()
    file.write_text(text.replace(cluster.server, f"https://127.0.0.1:{free_port()}"))
    return str(file)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--try-in", ""), "--try-in is empty; name a namespace that has an owner (in the chart: test.namespace)"),
        (("--try-in", "Not/a/name"), "Not/a/name is not the name of a namespace"),
        (("--pre", "--try-in", "x"), "--pre looks at a cluster without the webhook"),
    ],
)
def test_it_is_called_wrong(cluster: ControlPlane, arguments: tuple[str, ...], words: str) -> None:
    ran = command(cluster, "doctor", "cluster", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert words in ran.err


def test_an_excluded_namespace_is_no_place_to_try(cluster: ControlPlane, webhook: Webhook) -> None:
    ran = doctor(cluster, "--try-in", "kube-system", "-o", "json")
    assert wrong(ran)["a new pod"] == "kube-system is not a namespace that the webhook serves"
