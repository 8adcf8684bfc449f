"""Each rule of the policies about the webhook's own account: an attempt that is right but for one thing.

In a control plane of its own in which no webhook runs, so that nothing is repaired between two steps.
"""

from collections.abc import Callable, Sequence
from itertools import count

import pytest

from certs.bundle import CONFIRMED, NEXT, SIGNING, TRUSTED
from controlplane import webhook as deployed
from controlplane.api import Api, ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from webhook.core.check import ASKING, KEY, RECORDS
from webhook.core.names import CHECKS_SECRET

pytestmark = pytest.mark.cluster

NAME, CA, CONFIGURATION = "ghcr-secret", "pullsecret-webhook-ca", "pullsecret-webhook"
OWNER, UID, LABEL = "pullsecret-webhook/owner", "pullsecret-webhook/namespace-uid", "app.kubernetes.io/managed-by"
PULL: Object = {"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}
TOKEN: Object = {"type": "kubernetes.io/service-account-token"}
OF_ACCOUNT = {"kubernetes.io/service-account.name": "default"}


@pytest.fixture(scope="module")
def own(alone: ControlPlane) -> ControlPlane:
    deployed.install(alone)
    alone.api.apply(deployed.registration())
    return alone


@pytest.fixture(scope="module")
def us(own: ControlPlane) -> Api:
    """The webhook's account; the policies are in force."""
    api = own.access(own.service_account(deployed.NAMESPACE, deployed.ACCOUNT))
    space = own.namespace("probe")
    until(lambda: refused(lambda: api.apply(secret(space), dry_run=True)), "the write policy is in force", within=20)
    # Each time another label: what an attempt has done before the policy was in force is no change later.
    attempts = count()
    until(lambda: refused(lambda: reconfigure(api, labels={"a": str(next(attempts))})), "the other too", within=20)
    return api


def refused(do: Callable[[], object]) -> str:
    """The refusal, or nothing."""
    try:
        do()
    except ApiError as e:
        assert e.status in (403, 422), e
        return e.message
    return ""


COPIED = {"replicator.v1.mittwald.de/replicate-to": ".*"}
OTHER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "u"}


def secret(space: Object, owner: str = "alice", *, name: str = NAME, body: Object = PULL, **metadata: object) -> Object:
    """What the webhook writes there for this owner, with other metadata or another body."""
    annotations = {OWNER: owner, UID: space["metadata"]["uid"]}
    own = {"name": name, "namespace": space["metadata"]["name"], "labels": {LABEL: "pullsecret-webhook"}}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": own | {"annotations": annotations} | metadata} | body


def reconfigure(api: Api, **metadata: Object) -> None:
    api.patch("MutatingWebhookConfiguration", CONFIGURATION, {"metadata": metadata})


def notes(space: Object, **changed: str) -> Object:
    return {OWNER: "alice", UID: space["metadata"]["uid"]} | {key.replace("_", "/"): v for key, v in changed.items()}


WRONG: dict[str, tuple[str, Callable[[Object], Object]]] = {
    "type": (
        "only dockerconfigjson Secrets",
        lambda space: secret(space, body=TOKEN, annotations=notes(space) | OF_ACCOUNT),
    ),
    "owner": ("for another owner than the namespace: bob", lambda space: secret(space, "bob")),
    "no owner": ("for another owner than the namespace:", lambda space: secret(space, "")),
    "UID": (
        "for an earlier namespace of this name",
        lambda space: secret(space, annotations={OWNER: "alice", UID: "another"}),
    ),
    "label": ("the managed-by label is missing", lambda space: secret(space, labels={LABEL: "Helm"})),
    "another label": (
        "labels and annotations of others",
        lambda space: secret(space, labels={LABEL: "pullsecret-webhook", "a": "b"}),
    ),
    "another annotation": (
        "labels and annotations of others",
        lambda space: secret(space, annotations=notes(space) | COPIED),
    ),
    "another key": (
        "only the key .dockerconfigjson",
        lambda space: secret(space, body=PULL | {"data": PULL["data"] | {"more": "e30="}}),
    ),
    "owned by another": ("owned by its namespace only", lambda space: secret(space, ownerReferences=[OTHER])),
    "finalizer": ("no finalizer is added", lambda space: secret(space, finalizers=["example.com/hold"])),
}


@pytest.mark.parametrize(("message", "made"), WRONG.values(), ids=WRONG)
def test_what_is_new_is_right_in_everything(
    own: ControlPlane, us: Api, message: str, made: Callable[[Object], Object]
) -> None:
    space = own.api.get("Namespace", "alices") or own.namespace("alices", labels={OWNER: "alice"})
    assert refused(lambda: us.apply(secret(space), dry_run=True)) == ""
    assert message in refused(lambda: us.apply(made(space), dry_run=True))


OWN = {CA: [TRUSTED, *SIGNING, *NEXT, CONFIRMED], CHECKS_SECRET: [KEY, RECORDS, ASKING]}


@pytest.mark.parametrize(("name", "keys"), OWN.items(), ids=OWN)
def test_of_its_own_secrets_the_account_makes_no_token(
    own: ControlPlane, us: Api, name: str, keys: Sequence[str]
) -> None:
    """While there is none: the type of one that stands cannot change anyway. The namespace has an owner for this."""
    own.api.patch("Namespace", deployed.NAMESPACE, {"metadata": {"labels": {OWNER: "alice"}}})
    space = own.api.get("Namespace", deployed.NAMESPACE)
    assert space
    body: Object = {"type": "Opaque", "data": dict.fromkeys(keys, "")}
    right = secret(space, name=name, body=body, annotations={})
    assert refused(lambda: us.apply(right, dry_run=True)) == ""
    source = {LABEL: "pullsecret-webhook", OWNER: "alice"}
    (other,) = (keys for which, keys in OWN.items() if which != name)
    tried = [
        secret(space, name=name, body=body, annotations={}, labels=source),
        secret(space, name=name, body=body, annotations=COPIED),
        secret(space, name=name, body=body, annotations={}, ownerReferences=[OTHER]),
        secret(space, name=name, body=body | {"data": {".dockerconfigjson": "e30="}}, annotations={}),
        secret(space, name=name, body=body | {"data": dict.fromkeys(other, "")}, annotations={}),
        secret(space, name=name, body=TOKEN, annotations=notes(space) | OF_ACCOUNT),
        secret(space, name=name, body=body, annotations={}, finalizers=["example.com/hold"]),
        secret(space, name=name),
    ]
    for one in tried:
        assert f"only the Secret {NAME}" in refused(lambda one=one: us.apply(one, dry_run=True))  # type: ignore[misc]


def test_what_others_added_stays_and_nothing_is_added_beside_it(own: ControlPlane, us: Api) -> None:
    """A tenant's own label, annotation, key and owner: the Secret can be written all the same, by apply as we do it."""
    space = own.namespace("added-to", labels={OWNER: "alice"})
    reference = {"apiVersion": "v1", "kind": "Namespace", "name": "added-to", "uid": space["metadata"]["uid"]}
    ours = secret(space, ownerReferences=[reference])
    us.apply(ours, manager="pullsecret-webhook")
    added: Object = {"labels": {"a": "b"}, "annotations": {"c": "d"}, "ownerReferences": [reference, OTHER]}
    own.api.patch("Secret", NAME, {"metadata": added, "data": {"more": "e30="}}, "added-to")
    ends = notes(space) | {"pullsecret-webhook/expires": "2030-01-01T00:00:00Z"}
    for annotations in (ends, notes(space)):
        again = secret(space, ownerReferences=[reference], annotations=annotations)
        us.apply(again | {"data": {".dockerconfigjson": "e30K"}}, manager="pullsecret-webhook", force=False)
    found = own.api.get("Secret", NAME, "added-to")
    assert found
    assert (found["metadata"]["labels"]["a"], found["data"].keys()) == ("b", {".dockerconfigjson", "more"})
    wrong: list[Object] = [
        {"metadata": {"labels": {"a": "x"}}},
        {"metadata": {"labels": {"a": None}}},
        {"metadata": {"annotations": COPIED}},
        {"metadata": {"annotations": {"c": None}}},
        {"metadata": {"ownerReferences": [reference, OTHER | {"uid": "v"}]}},
        {"data": {"more": "e30K"}},
        {"data": {"else": "e30="}},
    ]
    for change in wrong:
        assert refused(lambda change=change: us.patch("Secret", NAME, change, "added-to"))  # type: ignore[misc]
    us.delete("Secret", NAME, "added-to")


def becomes_bobs(own: ControlPlane, us: Api, space: Object) -> None:
    """And the API server's policies, whose namespaces come from a watch, have heard of it."""
    own.api.patch("Namespace", space["metadata"]["name"], {"metadata": {"labels": {OWNER: "bob"}}})
    across = "another owner's Secret is deleted and created"
    until(lambda: across in refused(lambda: us.apply(secret(space, "bob"))), "the policies have heard", within=10)


def test_never_across_owners(own: ControlPlane, us: Api) -> None:
    """The namespace has changed hands, and all of the Secret is as it should be for the new owner."""
    space = own.namespace("changes-hands", labels={OWNER: "alice"})
    us.apply(secret(space))
    becomes_bobs(own, us, space)
    us.delete("Secret", NAME, "changes-hands")
    us.apply(secret(space, "bob"))


def test_what_others_wrote_stays(own: ControlPlane, us: Api) -> None:
    """Forced, with our label, and right in everything else."""
    space = own.namespace("foreign", labels={OWNER: "alice"})
    own.api.create(secret(space, labels={}))
    for attempt in (lambda: us.apply(secret(space)), lambda: us.delete("Secret", NAME, "foreign")):
        assert "only Secrets that are managed by pullsecret-webhook" in refused(attempt)


def test_of_one_that_is_being_deleted_only_finalizers_are_taken(own: ControlPlane, us: Api) -> None:
    """Also when the namespace is no longer its owner's."""
    space = own.namespace("held", labels={OWNER: "alice"})
    own.api.create(secret(space, finalizers=["example.com/hold", "example.com/too"]))
    becomes_bobs(own, us, space)
    us.delete("Secret", NAME, "held")
    changes: list[Object] = [
        {"data": {".dockerconfigjson": "e30K"}},
        {"metadata": {"annotations": {"a": "b"}}},
        {"metadata": {"labels": {"a": "b"}}},
    ]
    for change in changes:
        body = change | {"metadata": change.get("metadata", {}) | {"finalizers": ["example.com/hold"]}}
        said = refused(lambda body=body: us.patch("Secret", NAME, body, "held"))  # type: ignore[misc]
        assert "for another owner than the namespace: alice" in said
    for left in (["example.com/hold"], None):
        us.patch("Secret", NAME, {"metadata": {"finalizers": left}}, "held")
    assert own.api.get("Secret", NAME, "held") is None


CHANGES: dict[str, Object] = {
    "service": {"clientConfig": {"service": {"name": "evil", "namespace": "tinas"}}},
    "reinvocationPolicy": {"reinvocationPolicy": "Never"},
    "matchPolicy": {"matchPolicy": "Exact"},
    "sideEffects": {"sideEffects": "None"},
    "admissionReviewVersions": {"admissionReviewVersions": ["v1", "v1beta1"]},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_no_field_but_the_bundle(own: ControlPlane, us: Api, change: Object) -> None:
    """By strategic merge, so that all else stays; test_policies.py in tests/e2e has the other fields."""
    for name in (deployed.ENTRY, deployed.TEMPLATES_ENTRY):
        said = refused(lambda name=name: deployed.patch_entries(us, name, **change))  # type: ignore[misc]
        assert "changes nothing but the caBundle" in said
    before = own.api.get("MutatingWebhookConfiguration", CONFIGURATION)
    assert before
    changed = deployed.patch_entries(own.api, deployed.ENTRY, **change)
    assert changed["webhooks"] != before["webhooks"]  # it would have changed something
    own.api.apply(deployed.registration())


MARKER, NET, REFUSING = "pullsecret-webhook-safety-net", "pullsecret-webhook-accounts", "pullsecret-webhook/refusing"


@pytest.fixture(scope="module")
def free(own: ControlPlane, us: Api) -> Api:
    """The webhook's account, were its roles too wide; the account of the safety net is there."""
    role: Object = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "wide"}}
    rule = {"apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["create", "update", "patch", "delete"]}
    own.api.create(role | {"kind": "ClusterRole", "rules": [rule]})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "wide"}
    subject = {"kind": "ServiceAccount", "name": deployed.ACCOUNT, "namespace": deployed.NAMESPACE}
    own.api.create(role | {"kind": "ClusterRoleBinding", "roleRef": reference, "subjects": [subject]})
    own.api.create(account(MARKER, labels={"a": "b"}, annotations={"c": "d"}))
    until(lambda: NET in refused(lambda: us.create(account("new"), dry_run=True)), "all is in force", within=20)
    return us


def account(name: str, namespace: str = deployed.NAMESPACE, **metadata: object) -> Object:
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace} | metadata}


def test_of_the_nets_account_the_annotation_is_written(free: Api) -> None:
    for text in (",a,b,", ",", None):
        made = free.patch("ServiceAccount", MARKER, {"metadata": {"annotations": {REFUSING: text}}}, deployed.NAMESPACE)
        assert made["metadata"]["annotations"].get(REFUSING) == text
        assert made["metadata"]["annotations"]["c"] == "d"


OF_THE_NET: dict[str, Object] = {
    "label": {"metadata": {"labels": {"x": "y"}}},
    "label changed": {"metadata": {"labels": {"a": "x"}}},
    "label removed": {"metadata": {"labels": None}},
    "annotation": {"metadata": {"annotations": COPIED}},
    "annotation changed": {"metadata": {"annotations": {"c": "x"}}},
    "annotation removed": {"metadata": {"annotations": {"c": None}}},
    "all annotations removed": {"metadata": {"annotations": None}},
    "enforcement": {"metadata": {"annotations": {"kubernetes.io/enforce-mountable-secrets": "true"}}},
    "owner": {"metadata": {"ownerReferences": [OTHER]}},
    "finalizer": {"metadata": {"finalizers": ["example.com/hold"]}},
    "pull secrets": {"imagePullSecrets": [{"name": NAME}]},
    "secrets": {"secrets": [{"name": NAME}]},
    "token": {"automountServiceAccountToken": True},
}


@pytest.mark.parametrize("change", OF_THE_NET.values(), ids=OF_THE_NET)
def test_and_nothing_else(free: Api, change: Object) -> None:
    said = refused(lambda: free.patch("ServiceAccount", MARKER, change, deployed.NAMESPACE))
    assert f"changes nothing but the annotation {REFUSING}" in said


def test_no_other_service_account(own: ControlPlane, free: Api) -> None:
    """Of the same name elsewhere, or of another name here; none is made, and none deleted, that one neither."""
    own.api.create(account(MARKER, "default"))
    annotation: Object = {"metadata": {"annotations": {REFUSING: ","}}}
    attempts: list[Callable[[], object]] = [
        lambda: free.patch("ServiceAccount", MARKER, annotation, "default"),
        lambda: free.patch("ServiceAccount", deployed.ACCOUNT, annotation, deployed.NAMESPACE),
        lambda: free.create(account("new")),
        lambda: free.delete("ServiceAccount", MARKER, deployed.NAMESPACE),
        lambda: free.delete("ServiceAccount", "default", "default"),
    ]
    for attempt in attempts:
        assert f"changes no service account but {MARKER}" in refused(attempt)
