"""All that takes part, running and registered: each with a namespace of its own in one cluster."""

import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Target
from bench.shipped import Shipped, shipped
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.binaries import need
from controlplane.cluster import ControlPlane
from controlplane.pki import Pair
from controlplane.ports import free_port
from controlplane.process import Child
from controlplane.waiting import until

NONE, POLICY, USUAL, HANDMADE, PLAIN, OURS = (
    "no mutation",
    "MutatingAdmissionPolicy",
    "controller-runtime",
    "hand-made Go",
    "hand-made Go, no conditions",
    "pullsecret-webhook",
)
SPACES = {
    NONE: "bench-none",
    POLICY: "bench-policy",
    USUAL: "bench-usual",
    HANDMADE: "bench-handmade",
    PLAIN: "bench-plain",
    OURS: "bench",
}
"""`bench` is the namespace of the captured review."""
NO_MIRROR_PODS = "!('kubernetes.io/config.mirror' in object.metadata.?annotations.orValue({}))"
LABEL = "bench"
REVIEW = Path(__file__).with_name("review.json")
AUDITED = f"system:serviceaccount:{deployed.NAMESPACE}:{deployed.ACCOUNT}"


@dataclass(frozen=True)
class Arena:
    cluster: ControlPlane
    webhook: deployed.Webhook
    pids: dict[str, int]
    pair: Pair
    audit: Path
    pod: Path
    shipped: Shipped

    def creation(self, contender: str, *, dry_run: bool) -> Target:
        path = f"/api/v1/namespaces/{SPACES[contender]}/pods{'?dryRun=All' if dry_run else ''}"
        part = '"containers"' if contender == NONE else '"imagePullSecrets":[{"name":"ghcr-secret"}]'
        return Target(self.cluster.server + path, self.pod, self.cluster.ca, self.pair, 201, part)

    def calls(self) -> list[tuple[str, str, str]]:
        """What the webhook asked of the API server so far, watches and lists aside: verb, resource, namespace. The verb
        is `try` for a dry run, by which it looks whether the write policy is in force.
        """
        events = (json.loads(line) for line in self.audit.read_text().splitlines())
        return [
            (
                "try" if "dryRun=All" in event["requestURI"] else event["verb"],
                event["objectRef"]["resource"],
                event["objectRef"].get("namespace", ""),
            )
            for event in events
            if event["verb"] not in ("watch", "list")
        ]


@contextmanager
def arena(folder: Path) -> Iterator[Arena]:
    audit, policy = folder / "audit.log", folder / "audit-policy.json"
    policy.write_text(json.dumps(_audit_policy()))
    flags = (f"--audit-policy-file={policy}", f"--audit-log-path={audit}", "--audit-log-mode=blocking")
    with ControlPlane.start(folder / "cluster", extra_flags=flags) as cluster, ExitStack() as stack:
        deployed.install(cluster)
        deployed.give_logins(cluster.api, "alice", {"ghcr.io": ("alice", "a-token-of-the-bench")})
        for contender, space in SPACES.items():
            labels = {LABEL: space} | ({} if contender == NONE else {"pullsecret-webhook/owner": "alice"})
            cluster.namespace(space, labels=labels)
        pids, registered = {}, []
        for name, program in ((USUAL, "bench-usual"), (HANDMADE, "bench-handmade")):
            port = free_port()
            child = stack.enter_context(go(cluster, program, port))
            pids[name] = child.pid
            registered.append(_registration(name, port, cluster.ca, _entry()))
            if name == HANDMADE:
                pids[PLAIN] = child.pid
                registered.append(_registration(PLAIN, port, cluster.ca, _plain()))
        as_shipped = shipped(folder)
        ours = stack.enter_context(
            deployed.running(cluster, verbose=False, python=as_shipped.python, env=as_shipped.env)
        )
        pids[OURS] = ours.child.pid
        for obj in (*registered, *_policy()):
            cluster.api.create(obj)
        deployed.register(cluster, ours.port, namespaceSelector={"matchLabels": {LABEL: SPACES[OURS]}})
        pod = folder / "pod.json"
        pod.write_text(json.dumps(_pod()))
        pair = cluster.pki.client("bench", "bench", ("system:masters",))
        made = Arena(cluster, ours, pids, pair, audit, pod, as_shipped)
        for contender in (POLICY, USUAL, HANDMADE, PLAIN, OURS):
            until(lambda name=contender: _mutates(made, name), f"{contender} is called", within=20)  # type: ignore[misc]
        until(lambda: cluster.api.get("Secret", "ghcr-secret", SPACES[OURS]), "the pull secret stands", within=10)
        yield made


@contextmanager
def go(cluster: ControlPlane, program: str, port: int, *, core: int | None = None) -> Iterator[Child]:
    """One of the contenders in go/, answering at this port with a certificate of the cluster's CA."""
    folder = cluster.folder / f"{program}-{port}"
    folder.mkdir()
    pair = cluster.pki.server(program, "127.0.0.1")
    (folder / "tls.crt").write_bytes(pair.certificate.read_bytes())
    (folder / "tls.key").write_bytes(pair.key.read_bytes())
    command: list[str | Path] = ["taskset", "-c", str(core)] if core is not None else []
    command += [need(program)[program], "-port", str(port), "-cert-dir", folder]
    command += ["-kubeconfig", cluster.kubeconfig] if program == "bench-usual" else []
    with Child(program, command, log=folder / "log") as child:
        child.until(lambda: deployed.Webhook(child, port, 0).readiness() != "ConnectError", "it listens", within=20)
        yield child


def published_ca(cluster: ControlPlane, file: Path) -> Path:
    file.write_bytes(base64.b64decode(deployed.ca_bundle(cluster.api)))
    return file


def _mutates(made: Arena, contender: str) -> bool:
    pod = _pod() | {"metadata": {"generateName": "probe-", "namespace": SPACES[contender]}}
    return bool(made.cluster.api.create(pod, dry_run=True)["spec"].get("imagePullSecrets"))


def _pod() -> Object:
    """The pod of the captured review, as it is before anybody mutates it."""
    captured = json.loads(REVIEW.read_bytes())["request"]["object"]
    spec = captured["spec"] | {
        "volumes": [],
        "containers": [c | {"volumeMounts": []} for c in captured["spec"]["containers"]],
    }
    labels = captured["metadata"].get("labels", {})
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "shop-", "labels": labels}, "spec": spec}


def _selector(contender: str) -> Object:
    return {"matchLabels": {LABEL: SPACES[contender]}}


def _entry() -> Object:
    """The other webhooks are registered as ours would be with one entry, whose conditions pods have to pass, too."""
    pods, templates = deployed.registration()["webhooks"]
    conditions: list[Object] = [{"name": "no-mirror-pods", "expression": NO_MIRROR_PODS}, *templates["matchConditions"]]
    return dict(pods | {"matchConditions": conditions})


def _plain() -> Object:
    """As little as a registration can say, to see what conditions and reinvocation cost."""
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    return {"admissionReviewVersions": ["v1"], "sideEffects": "None", "timeoutSeconds": 3, "rules": [rule]}


def _registration(contender: str, port: int, ca: Path, entry: Object) -> Object:
    name = SPACES[contender]
    own = {
        "name": f"{name}.example.com",
        "clientConfig": {
            "url": f"https://127.0.0.1:{port}/mutate",
            "caBundle": base64.b64encode(ca.read_bytes()).decode(),
        },
        "namespaceSelector": _selector(contender),
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [entry | own],
    }


def _policy() -> list[Object]:
    """The nearest that CEL comes to us: the field, without an owner and without a Secret."""
    version, name = "admissionregistration.k8s.io/v1", "bench"
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}
    operation = '[JSONPatch{op: "add", path: "/spec/imagePullSecrets", value: [{"name": "ghcr-secret"}]}]'
    spec = {
        "matchConstraints": {"resourceRules": [rule], "namespaceSelector": _selector(POLICY)},
        "matchConditions": [{"name": "none", "expression": "!has(object.spec.imagePullSecrets)"}],
        "failurePolicy": "Fail",
        "reinvocationPolicy": "IfNeeded",
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": operation}}],
    }
    return [
        {"apiVersion": version, "kind": "MutatingAdmissionPolicy", "metadata": {"name": name}, "spec": spec},
        {
            "apiVersion": version,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": name},
            "spec": {"policyName": name},
        },
    ]


def _audit_policy() -> Object:
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "rules": [{"level": "Metadata", "users": [AUDITED]}, {"level": "None"}],
    }
