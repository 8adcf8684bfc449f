"""The chart in the API server: every combination of values by dry run, and what the policies made of owner rules."""

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from controlplane import crds
from controlplane.api import ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.helm import Helm, one
from controlplane.tools import TOOLS, parse_version
from controlplane.waiting import until
from webhook.config import reading
from webhook.core.owner import find_owner

pytestmark = [pytest.mark.cluster, pytest.mark.helm]

SPACE = "chart-dry-run"
POLICY, BINDING = "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"
APPLY = {"Content-Type": "application/apply-patch+yaml"}

RULES: list[list[dict[str, str]]] = [
    [{"from": "label", "key": "a.example/owner"}],
    [{"from": "annotation", "key": "a.example/owner"}, {"from": "label", "key": "a.example/owner"}],
    [
        {"from": "label", "key": "a.example/owner", "prefix": r"t\.", "owner": r"\w+"},
        {
            "from": "annotation",
            "key": "b.example/owner",
            "prefix": "(?:id|ID)[:/]",
            "owner": "[^:/]{1,9}",
            "suffix": "(:.*)?",
        },
        {"from": "name", "prefix": "project-", "owner": r"\d+", "suffix": "-(development|staging|production)"},
    ],
    [
        {"from": "name", "owner": "[a-z]+|[0-9]+", "suffix": "-.*"},
        {"from": "annotation", "key": "a.example/owner", "owner": r"[^ ]+@example\.com"},
    ],
    [{"from": "name", "suffix": "-(.+)"}],
]
LABELS = ["alice", "t.alice", "t.a_1", "t.-x", "t.a.b", "T.x", "x" * 63]
ANNOTATIONS = [
    "alice@example.com",
    "c-m-abc:p-xyz",
    "id:bob",
    "ID/bob:rest of it",
    "id:" + "b" * 10,
    "id:a\\Eb",
    "id:\\\\E\\",
    "Zoë",
    "日本",
    "id:日本:x",
    "two words",
    "line\nbreak",
    "no\u00a0break",
    "tab\t",
    "x" * 253,
    "x" * 254,
    "é" * 253,
    '"quoted"',
    "it's",
]
NAMES = ["project-{}-staging", "project-{}-productions", "team-{}", "{}-x", "plain{}"]


@pytest.fixture(scope="module")
def ready(installed: ControlPlane) -> ControlPlane:
    """With the kinds of others, and what a dry run does not make though other objects need it."""
    crds.install(installed)
    warn = {"pod-security.kubernetes.io/warn": "restricted"}
    installed.namespace(SPACE, labels=warn)
    for name in ("pullsecret-webhook-test", "project-1-staging", "123"):
        installed.namespace(name)
    account = {"name": "pullsecret-webhook-test", "namespace": SPACE}
    installed.api.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    return installed


def test_every_combination_passes_the_strict_dry_run(ready: ControlPlane, helm: Helm, ci_values: list[Path]) -> None:
    """No unknown field, nothing deprecated, and nothing that the restricted Pod Security Standard warns of.

    Applied as the manager `tests`, which may have registered the webhook by its URL: what it leaves out goes.
    """
    found = {  # what is the same in several combinations counts once
        json.dumps(obj): file.name for file in ci_values for obj in helm.render(None, "--values", file, namespace=SPACE)
    }
    assert set(found.values()) == {file.name for file in ci_values}
    on_the_node = [text for text, file in found.items() if "host-network" in file]
    for texts, known in ((found.keys() - on_the_node, "nothing"), (on_the_node, "host namespaces (hostNetwork=true)")):
        said = ready.kubectl(
            *("apply", "--server-side", "--dry-run=server", "--validate=strict", "--force-conflicts"),
            *("--field-manager=tests", "-f", "-"),
            input="\n---\n".join(texts),
            check=False,
        )
        lines = [line for line in said.splitlines() if known not in line]
        assert [line for line in lines if not line.endswith(" serverside-applied (server dry run)")] == []
        assert len(lines) == len(texts) > 0


def test_the_dry_run_would_find_an_unknown_field(ready: ControlPlane, helm: Helm) -> None:
    objects = helm.render({"serviceMonitor": {"enabled": True}}, namespace=SPACE)
    for kind, wrong in (("ServiceMonitor", "intervall"), ("Deployment", "replica")):
        obj = one(objects, kind)
        obj["spec"][wrong] = 1
        apply = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
        said = ready.kubectl(*apply, input=json.dumps(obj), check=False)
        assert f".spec.{wrong}: field not declared in schema" in said


def test_the_api_server_finds_no_type_error_in_any_policy(
    ready: ControlPlane, rendered: dict[str, list[Object]]
) -> None:
    specs = {json.dumps(o["spec"]): file for file, objects in rendered.items() for o in objects if o["kind"] == POLICY}
    assert len(specs) > len(RULES)
    policies = [typed(json.loads(text), number) for number, text in enumerate(specs)]
    for file, warnings in zip(specs.values(), type_warnings(ready, *policies), strict=True):
        assert warnings == [], file


def test_a_type_error_would_be_found(ready: ControlPlane, helm: Helm) -> None:
    policy = typed(one(helm.render(), POLICY, "pullsecret-webhook-writes")["spec"], 0)
    policy["spec"]["validations"][0]["expression"] = "object.type.names == 'x'"
    ((warning,),) = type_warnings(ready, policy)
    assert "names" in warning["warning"]


@pytest.mark.slow
@pytest.mark.usefixtures("binaries")
def test_the_oldest_version_that_can_be_emulated_finds_none_either(
    tmp_path: Path, rendered: dict[str, list[Object]]
) -> None:
    """Three minor versions back. What is older, down to 1.30, is untested."""
    minor = parse_version(TOOLS["kube-apiserver"].expected())
    assert minor
    flag = f"--emulated-version=kube={minor[0]}.{minor[1] - 3}"
    with ControlPlane.start(tmp_path / "old", extra_flags=(flag,)) as old:
        version = old.api.raw("GET", "/version").json()
        assert (version["emulationMajor"], version["emulationMinor"]) == (str(minor[0]), str(minor[1] - 3))
        for objects in rendered.values():
            policies = [typed(one["spec"], n) for n, one in enumerate(o for o in objects if o["kind"] == POLICY)]
            assert [said for said in type_warnings(old, *policies) if said] == []


def typed(spec: Object, number: int) -> Object:
    api = "admissionregistration.k8s.io/v1"
    return {"apiVersion": api, "kind": POLICY, "metadata": {"name": f"typed-{number}"}, "spec": spec}


def type_warnings(cluster: ControlPlane, *policies: Object) -> list[Any]:
    """What the API server says of each."""
    names = [cluster.api.create(policy)["metadata"]["name"] for policy in policies]

    def said(name: str) -> Object | None:
        status: Object = (cluster.api.get(POLICY, name) or {}).get("status", {})
        return status if "typeChecking" in status else None

    try:
        checked = [cluster.wait(partial(said, name), f"{name} is type-checked") for name in names]
    finally:
        for name in names:
            cluster.api.delete(POLICY, name)
    return [status["typeChecking"].get("expressionWarnings", []) for status in checked]


# -- the write policy finds the owner that the webhook finds --


def as_account(rules: int) -> dict[str, str]:
    """The headers of one whom the write policy with these rules is about, and who may do all."""
    return {
        "Impersonate-User": f"system:serviceaccount:pullsecret-webhook:rules-{rules}",
        "Impersonate-Group": "system:masters",
    }


def accepted(cluster: ControlPlane, rules: int, namespace: Object, owner: str) -> bool:
    """Whether this account may write the pull secret for this owner there; by dry run."""
    name, uid = namespace["metadata"]["name"], namespace["metadata"]["uid"]
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": "ghcr-secret",
            "namespace": name,
            "labels": {"app.kubernetes.io/managed-by": "pullsecret-webhook"},
            "annotations": {"pullsecret-webhook/owner": owner, "pullsecret-webhook/namespace-uid": uid},
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": "e30="},
    }
    path = f"/api/v1/namespaces/{name}/secrets/ghcr-secret"
    params = {"fieldManager": "pullsecret-webhook", "dryRun": "All"}
    try:
        cluster.api.raw("PATCH", path, json=secret, params=params, headers=APPLY | as_account(rules))
    except ApiError as error:
        assert "the Secret is for another owner than the namespace" in error.message
        return False
    return True


def denied(cluster: ControlPlane, rules: int, namespace: Object) -> bool:
    return not accepted(cluster, rules, namespace, "?")


def drawn(cluster: ControlPlane, seed: int, count: int) -> list[Object]:
    """Namespaces with labels, annotations and names that are drawn, the same at each run."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        keys = ["a.example/owner", "b.example/owner"]
        labels = {key: draw.choice(LABELS) for key in keys if draw.random() < 0.3}
        annotations = {key: draw.choice(ANNOTATIONS) for key in keys if draw.random() < 0.7}
        metadata = {"name": draw.choice(NAMES).format(f"{seed}{number:03}"), "labels": labels}
        space = {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata | {"annotations": annotations}}
        made.append(cluster.api.create(space))
    return made


@pytest.fixture(scope="module", params=[24, pytest.param(120, marks=pytest.mark.slow)])
def spaces(installed: ControlPlane, request: pytest.FixtureRequest) -> list[Object]:
    return drawn(installed, request.param, request.param)


@pytest.fixture(scope="module")
def policies(installed: ControlPlane, helm: Helm) -> Iterator[ControlPlane]:
    """A write policy for each of RULES, each about an account of its own."""
    names = [f"rules-{number}" for number in range(len(RULES))]
    for name, rules in zip(names, RULES, strict=True):
        objects = helm.render({"config": {"ownerRules": rules}})
        policy = one(objects, POLICY, "pullsecret-webhook-writes")
        binding = one(objects, BINDING, "pullsecret-webhook-writes")
        policy["metadata"] = binding["metadata"] = {"name": name}
        binding["spec"]["policyName"] = name
        condition = policy["spec"]["matchConditions"][0]
        condition["expression"] = condition["expression"].removesuffix("pullsecret-webhook'") + f"{name}'"
        installed.api.create(policy)
        installed.api.create(binding)
    space = installed.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "a-b-c"}})
    for number in range(len(RULES)):
        until(partial(denied, installed, number, space), "the policy is in force", within=20)
    yield installed
    for name in names:
        installed.api.delete(BINDING, name)
        installed.api.delete(POLICY, name)


@pytest.mark.parametrize("number", range(len(RULES)))
def test_the_write_policy_accepts_the_owner_that_the_webhook_finds_and_no_other(
    policies: ControlPlane, spaces: list[Object], number: int
) -> None:
    rules = reading.convert({"ownerRules": RULES[number]}).rules
    wrong, found = [], set()
    for space in spaces:
        metadata = space["metadata"]
        name, labels, annotations = metadata["name"], metadata.get("labels", {}), metadata.get("annotations", {})
        owner = find_owner(rules, name, labels, annotations)
        found.add(owner)
        texts = {name, *labels.values(), *annotations.values()}
        others = {*texts, *(find_owner([rule], name, labels, annotations) for rule in rules), "", "bob", "alic", "7"}
        for candidate in {owner, *others} - {None}:
            assert candidate is not None
            if accepted(policies, number, space, candidate) != (candidate == owner):
                wrong.append((name, labels, annotations, owner, candidate))
    assert wrong == []
    assert len(found) > 4  # the draw says something


# -- the owner policy --

ASSIGNED = ["bob", "shop-dev", "t-shop", "claim-carol"]
"""Owners. The last three are also texts in which a rule finds another owner."""


@pytest.fixture(scope="module")
def protected(installed: ControlPlane, helm: Helm) -> Iterator[ControlPlane]:
    """Rules on other keys and on names; a tenant who may do all with namespaces and assign only ASSIGNED."""
    rules = [
        {"from": "label", "key": "part.example/team", "suffix": "-(dev|prod)"},
        {"from": "annotation", "key": "part.example/team", "prefix": "t-"},
        {"from": "label", "key": "own.example/tenant"},
        {"from": "label", "key": "too.example/tenant"},
        {"from": "annotation", "key": "open.example/tenant"},
        {"from": "name", "prefix": "claim-", "owner": "[a-z]+"},
    ]
    values = {"config": {"ownerRules": rules}, "ownerPolicy": {"protectedElsewhere": ["open.example/tenant"]}}
    objects = helm.render(values)
    name = "pullsecret-webhook-owner-foreign"
    for kind in (POLICY, BINDING):
        obj = one(objects, kind, "pullsecret-webhook-owner")
        obj["metadata"] = {"name": name}
        if kind == BINDING:
            obj["spec"]["policyName"] = name
        installed.api.create(obj)
    every = {"apiGroups": [""], "resources": ["namespaces", "namespaces/status", "namespaces/finalize"], "verbs": ["*"]}
    assign = {
        "apiGroups": ["pullsecret-webhook"],
        "resources": ["owners"],
        "resourceNames": ASSIGNED,
        "verbs": ["assign"],
    }
    api = "rbac.authorization.k8s.io"
    installed.api.create(
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "chart-tenant"},
            "rules": [every, assign],
        }
    )
    installed.api.create(
        {
            "apiVersion": f"{api}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "chart-tenant"},
            "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": "chart-tenant"},
            "subjects": [{"apiGroup": api, "kind": "User", "name": "chart-tenant"}],
        }
    )

    def in_force() -> bool:
        bob = namespace("probe", labels={"own.example/tenant": "bob"})
        return refused(installed, namespace("claim-probe")) and not refused(installed, bob)

    until(in_force, "policy and roles are in force", within=20)
    yield installed
    for kind in (BINDING, POLICY):
        installed.api.delete(kind, name)


def namespace(name: str, **metadata: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name} | metadata}


def refused(cluster: ControlPlane, obj: Object) -> bool:
    try:
        cluster.user("chart-tenant").create(obj, dry_run=True)
    except ApiError as error:
        if "only those who may assign owners.pullsecret-webhook" not in error.message and error.status != 403:
            raise
        return True
    return False


@pytest.mark.parametrize(
    ("obj", "denied"),
    [
        (namespace("f1", labels={"own.example/tenant": "bob"}), False),
        (namespace("f2", labels={"own.example/tenant": "alice"}), True),
        (namespace("f3", annotations={"own.example/tenant": "alice"}), False),  # no rule looks there
        (namespace("f4", annotations={"open.example/tenant": "alice"}), False),  # somebody else protects it
        (namespace("f5", labels={"pullsecret-webhook/owner": "alice"}), True),
        (namespace("f6", annotations={"pullsecret-webhook/owner": "alice"}), True),
        (namespace("p1", labels={"part.example/team": "shop-dev"}), True),  # the owner is shop, not shop-dev
        (namespace("p2", annotations={"part.example/team": "t-shop"}), True),
        (namespace("claim-carol"), True),
        (namespace("p3", labels={"part.example/team": "shop-dev-prod"}), False),  # here it is shop-dev
        (namespace("p4", labels={"part.example/team": "bob-dev"}), False),
        (namespace("p5", annotations={"part.example/team": "t-bob"}), False),
        (namespace("p6", labels={"part.example/team": "alice"}), False),  # no owner
        (namespace("p7", annotations={"part.example/team": "alice"}), False),
        (namespace("claim-bob"), False),
        (namespace("claim-alice"), True),
        (namespace("claim-alice-2"), False),
        (namespace("my-claim-alice"), False),
    ],
    ids=lambda value: value["metadata"]["name"] if isinstance(value, dict) else None,
)
def test_the_owner_policy_protects_what_it_is_told_to(protected: ControlPlane, obj: Object, denied: bool) -> None:
    assert refused(protected, obj) == denied


def test_removing_or_changing_an_owner_is_protected_too(protected: ControlPlane) -> None:
    protected.api.create(namespace("f7", labels={"own.example/tenant": "alice"}))
    tenant = protected.user("chart-tenant")
    for value in (None, "bob"):
        for sub in (None, "status"):
            with pytest.raises(ApiError, match="only those who may assign"):
                tenant.patch("Namespace", "f7", {"metadata": {"labels": {"own.example/tenant": value}}}, sub=sub)
    tenant.patch("Namespace", "f7", {"metadata": {"labels": {"else": "x"}}})


def test_a_text_without_an_owner_claims_nothing_and_uncovers_nothing(protected: ControlPlane) -> None:
    """Setting and removing it is free, unless the change makes or takes an owner, or another rule finds one."""
    tenant, key = protected.user("chart-tenant"), "part.example/team"
    protected.api.create(namespace("n1", labels={key: "alice"}))
    protected.api.create(namespace("n2", labels={key: "shop-dev"}))
    protected.api.create(namespace("n3", labels={key: "alice", "own.example/tenant": "dave"}))
    for team in ("carol", None, "bob-dev"):
        tenant.patch("Namespace", "n1", {"metadata": {"labels": {key: team}}})
    for name, team, claimed in (("n1", "shop-dev", "shop"), ("n2", "alice", "shop"), ("n3", None, "dave")):
        with pytest.raises(ApiError, match=rf"only those who may assign.*\({claimed}\)"):
            tenant.patch("Namespace", name, {"metadata": {"labels": {key: team}}})


def test_what_one_claim_hides_is_not_uncovered(protected: ControlPlane) -> None:
    """One who may assign bob takes bob away, and alice would be the owner."""
    bob, tenant = {"own.example/tenant": "bob"}, protected.user("chart-tenant")
    protected.api.create(namespace("claim-carol", labels=bob))
    protected.api.create(namespace("f8", labels=bob, annotations={"pullsecret-webhook/owner": "alice"}))
    protected.api.create(namespace("f9", labels=bob))
    for name, claimed in (("claim-carol", "carol"), ("f8", "alice")):
        with pytest.raises(ApiError, match=rf"only those who may assign.*\({claimed}\)"):
            tenant.patch("Namespace", name, {"metadata": {"labels": {"own.example/tenant": None}}})
    tenant.patch("Namespace", "f9", {"metadata": {"labels": {"own.example/tenant": None}}})


def test_what_an_unprotected_key_claims_is_neither_hidden_nor_uncovered(protected: ControlPlane) -> None:
    """But whoever protects that key may change it as before."""
    tenant, bob = protected.user("chart-tenant"), {"own.example/tenant": "bob"}
    protected.api.create(namespace("f10", labels=bob, annotations={"open.example/tenant": "alice"}))
    protected.api.create(namespace("f11", annotations={"open.example/tenant": "alice"}))
    for name, owner in (("f10", None), ("f11", "bob")):
        with pytest.raises(ApiError, match=r"only those who may assign.*\(alice\)"):
            tenant.patch("Namespace", name, {"metadata": {"labels": {"own.example/tenant": owner}}})
        tenant.patch("Namespace", name, {"metadata": {"annotations": {"open.example/tenant": "carol"}}})


def test_an_administrator_may_claim_everything_at_once(protected: ControlPlane) -> None:
    """As many questions to the authorizer as there can be: more than one expression may ask."""
    keys = ("pullsecret-webhook/owner", "own.example/tenant", "too.example/tenant", "part.example/team")
    alice, bob = dict.fromkeys(keys, "alice-dev"), dict.fromkeys(keys, "bob-dev")
    note = {"pullsecret-webhook/owner": "dave", "part.example/team": "t-frank"}
    protected.api.create(namespace("claim-dave", labels=alice, annotations=note | {"open.example/tenant": "erin"}))
    protected.api.patch("Namespace", "claim-dave", {"metadata": {"labels": bob, "annotations": dict.fromkeys(note)}})
