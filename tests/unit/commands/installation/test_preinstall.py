"""Whether a cluster can take the chart."""

from typing import Any

import msgspec
import pytest

from webhook.commands.installation import preinstall, rights
from webhook.commands.installation.preinstall import Namespace, Node
from webhook.commands.installation.rights import NET
from webhook.kube.cluster import Meta
from webhook.kube.preflight import Right

KINDS = {"mutatingwebhookconfigurations", "validatingadmissionpolicies", "validatingadmissionpolicybindings"}
GROUP = "admissionregistration.k8s.io"


def test_admission() -> None:
    assert [one.result for one in preinstall.admission({*KINDS, *NET})] == ["right", "right"]
    assert [one.result for one in preinstall.admission(KINDS)] == ["right", "absent"]
    first, _ = preinstall.admission(KINDS - {"validatingadmissionpolicies"})
    assert first.result == "wrong"
    assert "does not serve validatingadmissionpolicies of" in first.why


def namespace(*, ending: bool = False, level: str = "", **status: Any) -> Namespace:
    metadata: dict[str, Any] = {"name": "n", "labels": {preinstall.ENFORCE: level} if level else None}
    if ending:
        metadata["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    return msgspec.convert({"metadata": metadata, "status": status}, Namespace)


HELD = {"type": "NamespaceFinalizersRemaining", "status": "True", "message": "Some content has finalizers: x in 1"}
FAILED = {"type": "NamespaceDeletionContentFailure", "status": "False", "message": "All content successfully deleted"}


@pytest.mark.parametrize(
    ("name", "space", "result", "why"),
    [
        ("platform", None, "absent", "it is not there yet"),
        ("platform", namespace(), "right", "it is there"),
        ("platform", namespace(level="privileged"), "right", "it is there"),
        ("platform", namespace(level="restricted"), "right", "the chart's pods may run, but not with hostNetwork"),
        ("platform", namespace(level="baseline"), "right", "but not with hostNetwork"),
        ("default", namespace(), "wrong", "whoever reads Secrets there reads"),
        ("kube-system", None, "wrong", "whoever reads Secrets there reads"),
        ("platform", namespace(ending=True), "wrong", "it is being deleted"),
        (
            "platform",
            namespace(ending=True, conditions=[FAILED, HELD]),
            "wrong",
            "it is being deleted: Some content has finalizers: x in 1",
        ),
    ],
)
def test_the_namespace_of_the_release(name: str, space: Namespace | None, result: str, why: str) -> None:
    found = preinstall.target(name, space)
    assert (found.result, why in found.why) == (result, True), found


def test_missing_rights_are_all_on_one_line() -> None:
    assert rights.told([]).result == "right"
    missing = [
        Right(verb, kind, GROUP) for kind in ("mutatingwebhookconfigurations", "b") for verb in ("create", "patch")
    ]
    missing += [Right("patch", "deployments", "apps", "platform"), Right("patch", "secrets", name="ghcr-secret")]
    found = rights.told(missing)
    assert found.result == "wrong"
    assert found.why == (
        "you may not create and patch mutatingwebhookconfigurations, b; patch deployments in platform; "
        "patch secrets named ghcr-secret"
    )


HELM = {"meta.helm.sh/release-name": "psw", "meta.helm.sh/release-namespace": "platform"}


def test_what_is_left_of_an_earlier_installation() -> None:
    assert preinstall.leftovers([]).result == "absent"
    policy = ("validatingadmissionpolicies", Meta("pullsecret-webhook-writes", annotations=HELM))
    some = preinstall.leftovers([policy])
    assert (some.result, "(of the Helm release psw in platform)" in some.why) == ("warning", True)
    registered = preinstall.leftovers([policy, ("mutatingwebhookconfigurations", Meta("pullsecret-webhook"))])
    assert registered.result == "wrong"
    assert registered.why.startswith("it is installed already, or its registration is left: ")


@pytest.mark.parametrize(
    ("spec", "mutates"),
    [
        (b'{"rules":[{"mutate":{"patchStrategicMerge":{"spec":{"imagePullSecrets":[]}}}}]}', True),
        (b'{"mutations":[{"jsonPatch":{"expression":"spec/imagePullSecrets"}}]}', True),
        (b'{"rules":[{"validate":{"pattern":{"spec":{"imagePullSecrets":[]}}}}]}', False),
        (b'{"rules":[{"mutate":{"patchStrategicMerge":{"spec":{}}}}]}', False),
    ],
)
def test_policies_of_others(spec: bytes, mutates: bool) -> None:
    assert preinstall.mutates_pull_secrets(spec) is mutates


def node(name: str, system: str = "linux", *, ready: bool = True) -> Node:
    info = {"kubeletVersion": "v1.36.3", "operatingSystem": system, "architecture": "amd64"}
    status = {"nodeInfo": info, "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown"}]}
    return msgspec.convert({"metadata": {"name": name}, "status": status}, Node)


@pytest.mark.parametrize(
    ("found", "result", "why"),
    [
        ([node("a"), node("b")], "right", "2 nodes, linux/amd64, kubelet v1.36.3"),
        ([], "wrong", "no Linux node is ready"),
        ([node("a", ready=False), node("w", "windows")], "wrong", "no Linux node is ready"),
        ([node("a"), node("w", "windows")], "warning", "some are not Linux"),
        ([node("a"), node("b", ready=False)], "warning", "not ready: b"),
    ],
)
def test_nodes(found: list[Node], result: str, why: str) -> None:
    said = preinstall.nodes(found)
    assert (said.section, said.result, why in said.why) == ("Nodes", result, True), said
