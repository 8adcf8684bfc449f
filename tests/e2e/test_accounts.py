"""Service accounts and their pull secrets: what the API server's own admission and ours come to together."""

import random
from collections.abc import Iterator
from itertools import count, product

import pytest

from controlplane import webhook as deployed
from controlplane.api import ApiError, Object
from controlplane.cluster import ControlPlane
from controlplane.objects import SECRET, deployment, names, pod
from controlplane.waiting import until
from controlplane.webhook import Webhook
from support import planted

pytestmark = pytest.mark.cluster
OWNER = "accounts"
ENFORCE = "kubernetes.io/enforce-mountable-secrets"
LISTS: list[list[str]] = [[], ["a"], ["b", "a"], [SECRET], ["a", SECRET]]
_numbers = count(1)
DEAF = """
import asyncio
from webhook import cli
from webhook.kube import watch

hear = watch.Watch._frames

async def frames(self, version):
    if self.path.endswith("/serviceaccounts"):
        await asyncio.Future()
    async for frame in hear(self, version):
        yield frame

watch.Watch._frames = frames
cli.main()
"""
"""A webhook whose watch of service accounts says nothing after the list, as one that has stalled."""


@pytest.fixture(scope="module", autouse=True)
def known(installed: ControlPlane, webhook: Webhook) -> None:
    deployed.give(installed.api, OWNER, planted.token())


@pytest.fixture
def space(installed: ControlPlane) -> str:
    return owned(installed)


@pytest.fixture
def supplying(installed: ControlPlane, webhook: Webhook) -> Iterator[None]:
    """A replica with `deployments: supply` answers instead."""
    with deployed.running(installed, settings={"deployments": "supply"}, name="supplying") as replica:
        deployed.register(installed, replica.port)
        until(lambda: not template_names(installed, "called"), "the other replica is called", within=10)
        yield
        deployed.register(installed, webhook.port)
        until(lambda: template_names(installed, "called"), "the first replica is called again", within=10)


@pytest.fixture
def deaf(installed: ControlPlane, webhook: Webhook) -> Iterator[None]:
    """A replica that has not seen any account of the test answers instead."""
    with deployed.running(installed, name="deaf", program=("-c", DEAF)) as replica:
        deployed.register(installed, replica.port)
        until(lambda: answers(installed, replica), "the other replica is called", within=10)
        yield
        deployed.register(installed, webhook.port)
        until(lambda: answers(installed, webhook), "the first replica is called again", within=10)


def answers(cluster: ControlPlane, replica: Webhook) -> bool:
    before = replica.answered()
    template_names(cluster, "called")
    return replica.answered() > before


def template_names(cluster: ControlPlane, space: str) -> list[str]:
    return names(cluster.api.create(deployment(space), dry_run=True))


def owned(cluster: ControlPlane) -> str:
    name = f"accounts-{next(_numbers)}"
    cluster.namespace(name, labels={"pullsecret-webhook/owner": OWNER})
    return name


def account(cluster: ControlPlane, space: str, listed: list[str], *, enforced: bool | None = None) -> None:
    obj: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "sa", "namespace": space}}
    if enforced is not None:
        obj["metadata"]["annotations"] = {ENFORCE: str(enforced).lower()}
    cluster.api.apply(obj | {"imagePullSecrets": [{"name": name} for name in listed]})


def of_deployment(cluster: ControlPlane, space: str) -> list[str]:
    """The list of its one pod."""
    (one,) = until(lambda: cluster.api.list("Pod", space, labels="app=d"), "the Deployment's pod", within=20)
    return names(one)


def without_double(listed: list[str]) -> list[str]:
    return list(dict.fromkeys(listed))


@pytest.mark.parametrize("listed", LISTS, ids=",".join)
def test_a_pod_has_its_accounts_secrets_and_ours(installed: ControlPlane, space: str, listed: list[str]) -> None:
    """The API server fills an empty list from the account before we see it; ours comes after."""
    account(installed, space, listed)
    created = until(lambda: made(installed, pod(space, serviceAccountName="sa")), "the account is known", within=10)
    assert names(created) == without_double([*listed, SECRET])


@pytest.mark.parametrize("listed", LISTS, ids=",".join)
def test_a_pod_of_a_patched_template_has_both_too(installed: ControlPlane, space: str, listed: list[str]) -> None:
    """Its list is not empty any more when the API server looks, so the account's secrets are ours to add."""
    account(installed, space, listed)
    one = deployment(space, serviceAccountName="sa")
    installed.api.create(one | {"spec": one["spec"] | {"replicas": 1}})
    assert of_deployment(installed, space) == without_double([SECRET, *listed])


@pytest.mark.usefixtures("supplying")
def test_with_deployments_supply_the_template_is_left_alone(installed: ControlPlane) -> None:
    for listed, own in product(LISTS, ([], ["own", "another"])):
        account(installed, space := owned(installed), listed)
        more = {"imagePullSecrets": [{"name": name} for name in own]} if own else {}
        one = deployment(space, serviceAccountName="sa", **more)
        created = installed.api.create(one | {"spec": one["spec"] | {"replicas": 1}})
        assert names(created) == own
        assert of_deployment(installed, space) == without_double([*(own or listed), SECRET])


def test_an_account_that_comes_after_the_deployment(installed: ControlPlane, space: str) -> None:
    one = deployment(space, serviceAccountName="sa")
    created = installed.api.create(one | {"spec": one["spec"] | {"replicas": 1}})
    assert names(created) == [SECRET]
    account(installed, space, ["a"])
    assert of_deployment(installed, space) == [SECRET, "a"]  # by a review within milliseconds of the account


def test_an_account_that_changes_later(installed: ControlPlane, space: str) -> None:
    account(installed, space, ["a"])
    one = deployment(space, serviceAccountName="sa")
    installed.api.create(one | {"spec": one["spec"] | {"replicas": 1}})
    assert of_deployment(installed, space) == [SECRET, "a"]
    account(installed, space, ["c", "a"])

    def again() -> bool:
        installed.kubectl("-n", space, "delete", "pod", "-l", "app=d", "--force", "--grace-period=0")
        return of_deployment(installed, space) == [SECRET, "c", "a"]

    until(again, "a new pod has the new list", within=20)
    generation = installed.api.get("Deployment", "d", space)
    assert generation is not None
    assert generation["metadata"]["generation"] == 1


@pytest.mark.usefixtures("deaf")
def test_an_account_that_was_never_seen_is_looked_at(installed: ControlPlane) -> None:
    account(installed, space := owned(installed), ["b", "a"])
    one = deployment(space, serviceAccountName="sa")
    assert names(installed.api.create(one | {"spec": one["spec"] | {"replicas": 1}})) == [SECRET]
    assert of_deployment(installed, space) == [SECRET, "b", "a"]

    account(installed, space := owned(installed), ["a"], enforced=True)
    created = until(lambda: made(installed, pod(space, serviceAccountName="sa")), "the account is known", within=10)
    assert names(created) == ["a"]
    assert "AccountRefuses" in reasons(installed, space)


def test_an_account_that_enforces_gets_no_reference_it_does_not_list(installed: ControlPlane, space: str) -> None:
    account(installed, space, ["a"], enforced=True)
    one = until(lambda: made(installed, pod(space, serviceAccountName="sa")), "the account is known", within=10)
    assert names(one) == ["a"]
    assert names(installed.api.create(deployment(space, serviceAccountName="sa"))) == []
    assert "AccountRefuses" in reasons(installed, space)


def test_enforcement_after_the_template_was_patched_is_the_one_case_left(installed: ControlPlane, space: str) -> None:
    """The API server refuses the pod before it asks us. An Event says what to do, and doing it heals."""
    account(installed, space, ["a"])
    one = deployment(space, serviceAccountName="sa")
    assert names(installed.api.create(one)) == [SECRET]
    account(installed, space, ["a"], enforced=True)
    event = until(lambda: told(installed, space, "AccountRefuses"), "it is said", within=10)
    assert "add it to the account's imagePullSecrets" in event["note"]
    assert event["regarding"]["kind"] == "ServiceAccount"
    installed.api.patch("Deployment", "d", {"spec": {"replicas": 1}}, space)
    failed = until(lambda: told(installed, space, "FailedCreate"), "the pod is refused", within=20)
    assert SECRET in failed["note"]
    assert installed.api.list("Pod", space) == []
    account(installed, space, ["a", SECRET], enforced=True)
    # The controller may try again before the webhook has heard of the account: then the pod lacks `a`.
    assert SECRET in of_deployment(installed, space)
    one = pod(space, serviceAccountName="sa", imagePullSecrets=[{"name": SECRET}])
    until(lambda: admitted(installed, one) == [SECRET, "a"], "the account is known", within=10)


@pytest.mark.parametrize("listed", [["a", SECRET], None], ids=["our name is taken off", "the account comes later"])
def test_an_account_that_enforces_already_begins_to_refuse(
    installed: ControlPlane, space: str, listed: list[str] | None
) -> None:
    """The same case by other ways, and told in the same way."""
    if listed is not None:
        account(installed, space, listed, enforced=True)
        until(lambda: made(installed, pod(space, serviceAccountName="sa")), "the account is known", within=10)
    assert names(installed.api.create(deployment(space, serviceAccountName="sa"))) == [SECRET]
    assert told(installed, space, "AccountRefuses") is None
    account(installed, space, ["a"], enforced=True)
    event = until(lambda: told(installed, space, "AccountRefuses"), "it is said", within=10)
    assert "add it to the account's imagePullSecrets" in event["note"]


def test_a_patched_deployment_that_goes_to_an_account_that_enforces(installed: ControlPlane, space: str) -> None:
    """We are not asked about that change; the ReplicaSet's Event names the Secret to list."""
    one = deployment(space)
    assert names(installed.api.create(one | {"spec": one["spec"] | {"replicas": 1}})) == [SECRET]
    account(installed, space, [], enforced=True)
    installed.api.patch("Deployment", "d", {"spec": {"template": {"spec": {"serviceAccountName": "sa"}}}}, space)
    failed = until(lambda: told(installed, space, "FailedCreate"), "the pod is refused", within=20)
    assert SECRET in failed["note"]
    account(installed, space, [SECRET], enforced=True)
    of_account = "spec.serviceAccountName=sa"
    until(lambda: installed.api.list("Pod", space, fields=of_account), "the pod is made", within=30)


@pytest.mark.usefixtures("supplying")
@pytest.mark.parametrize("seed", range(3))
def test_with_deployments_supply_nothing_is_refused_because_of_us(installed: ControlPlane, seed: int) -> None:
    """The same things are done in an owned namespace and in one that is nobody's: the same pods are refused."""
    draw = random.Random(seed)
    ours, twin = owned(installed), f"accounts-twin-{seed}"
    installed.namespace(twin)
    for _ in range(12):
        if draw.random() < 0.5:
            listed, enforced = draw.choice(LISTS), draw.random() < 0.5
            for space in (ours, twin):
                account(installed, space, listed, enforced=enforced)
        own = draw.choice([None, [], ["a"], ["b"], [SECRET], ["a", "b"]])
        more = {} if own is None else {"imagePullSecrets": [{"name": name} for name in own]}
        which = draw.choice(["sa", "default"])
        # In the moment after an account has changed it may be otherwise, which is why it is tried as controllers do.
        mine, others = until(
            lambda: alike(*(outcomes(installed, space, which, more) for space in (ours, twin))),  # noqa: B023 - at once
            f"the same is refused: account {installed.api.get('ServiceAccount', 'sa', ours)}, list {own}",
            within=5,
        )
        if mine is not None and others is not None:
            assert mine[: len(others)] == others
            from_template = own == [SECRET]  # it gets what the account would have given it
            assert from_template or mine[len(others) :] in ([], [SECRET])


Outcome = list[str] | None
"""The created pod's list; None: refused."""


def alike(mine: Outcome, others: Outcome) -> tuple[Outcome, Outcome] | None:
    return (mine, others) if (mine is None) == (others is None) else None


def outcomes(cluster: ControlPlane, space: str, account: str, more: Object) -> Outcome:
    return outcome(cluster, pod(space, f"p-{next(_numbers)}", serviceAccountName=account, **more))


def outcome(cluster: ControlPlane, one: Object) -> Outcome:
    """An account that does not exist refuses in both namespaces."""
    try:
        return names(cluster.api.create(one))
    except ApiError as error:
        assert error.status == 403, error
        return None


def admitted(cluster: ControlPlane, one: Object) -> list[str] | None:
    try:
        return names(cluster.api.create(one, dry_run=True))
    except ApiError:  # the API server's own view of the account lags
        return None


def made(cluster: ControlPlane, one: Object) -> Object | None:
    try:
        return cluster.api.create(one)
    except ApiError as error:
        if "not found" in error.message:  # the API server's own view of the account lags
            return None
        raise


def reasons(cluster: ControlPlane, space: str) -> set[str]:
    until(lambda: told(cluster, space, "AccountRefuses"), "it is said", within=10)
    return {event.get("reason", "") for event in cluster.api.list("Event", space)}


def told(cluster: ControlPlane, space: str, reason: str) -> Object | None:
    return next((event for event in cluster.api.list("Event", space) if event.get("reason") == reason), None)
