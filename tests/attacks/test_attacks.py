"""Whoever attacks it, the webhook goes on: one attack of each kind that there is, on a replica with the chart's memory.

All of them are in the other files here. The safety net in the API server is left out: it would hide what is lost.
"""

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import httpx
import pytest

from attacks.answers import ANSWERS, ask_again, asking
from attacks.attack import Attack
from attacks.hostile import MANY_NAMES, account, numbered
from attacks.load import Load
from attacks.platform import Platform, at_once
from attacks.target import Target, target
from attacks.tenants import DEEP, poison
from controlplane import webhook as deployed
from controlplane.objects import SECRET, pod
from controlplane.waiting import until
from support import planted

pytestmark = pytest.mark.cluster
ENFORCE = "kubernetes.io/enforce-mountable-secrets"
LOADS = [Load("raw", 4_000, 2), Load("large-bodies", 24, 3), Load("names", 64, 3), Load("forged-and-gone", 100, 3)]


def test_objects_with_deeply_nested_fields(platform: Platform, attacked: Target, attack: Attack) -> None:
    """Nor do they keep a replica from starting, or from ending."""
    with ExitStack() as stack:
        with attack(attacked) as outcome:
            poison(platform, "ServiceAccount", stack, depth=990)
            for kind in DEEP:
                poison(platform, kind, stack)
        outcome.harmless()
        platform.served()
        with target(platform.cluster, "starting") as started:
            pass
        assert started.replica.child.status == 0


def test_pods_that_inherit_thousands_of_pull_secrets(platform: Platform, attacked: Target, attack: Attack) -> None:
    """Dry runs, which no quota counts, of pods whose list is exactly ours: their account's is added."""
    with platform.space() as space:
        platform.mallory.create(account(space, "many", numbered(MANY_NAMES)))
        one = pod(space, serviceAccountName="many", imagePullSecrets=[{"name": SECRET}])
        with attack(attacked) as outcome:
            at_once([partial(platform.mallory.create, one, dry_run=True)] * 120, 32)
        outcome.harmless()


def test_what_others_must_be_told_while_a_tenant_causes_events(
    platform: Platform, attacked: Target, attack: Attack
) -> None:
    """Of each source Secret that breaks meanwhile there is an Event."""
    api, broken = platform.cluster.api, [f"broken-{number}" for number in range(20)]
    annotations = {ENFORCE: "true"}
    with platform.space() as space, attack(attacked) as outcome:
        make: list[Callable[[], object]] = [
            partial(platform.mallory.create, account(space, f"e{n}", annotations=annotations)) for n in range(600)
        ]
        breaks = [partial(deployed.give, api, name, planted.token(), namespaces=" ") for name in broken]
        step = len(make) // len(broken)
        for number, give in enumerate(breaks):
            make.insert(number * (step + 1) + step // 2, give)
        at_once(make)

        def told() -> bool:
            events = api.list("Event", deployed.NAMESPACE)
            return set(broken) <= {event["regarding"]["name"] for event in events}

        try:
            until(told, "an Event about each broken source Secret", within=10)
        finally:
            for name in broken:
                api.delete("Secret", name, deployed.NAMESPACE)
    outcome.harmless()


def test_answers_that_are_full_of_nonsense(platform: Platform, attack: Attack, tmp_path: Path) -> None:
    with asking(platform, tmp_path, *ANSWERS["a good one among nothing"]) as replica:
        with attack(replica) as outcome:
            ask_again(platform, owners=4, seconds=2)
        outcome.harmless()


@pytest.mark.parametrize("load", LOADS, ids=str)
def test_connections(attacked: Target, attack: Attack, tmp_path: Path, load: Load) -> None:
    with attack(attacked) as outcome:
        load.on(attacked, tmp_path)
    outcome.harmless()


def test_nobody_is_sent_elsewhere(attacked: Target) -> None:
    url = f"https://127.0.0.1:{attacked.replica.port}/mutate/"
    answer = httpx.post(url, headers={"Host": "evil.example"}, verify=False, trust_env=False)
    assert not answer.is_redirect
    assert "location" not in answer.headers
