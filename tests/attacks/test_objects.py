"""Tenants write objects that make everybody's webhook stumble, remember or work."""

import base64
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

import planted
from attacks.conftest import Attack
from attacks.hostile import DEEPEST, MANY_NAMES, account, create, deep, large, numbered, secret
from attacks.platform import Platform, at_once
from attacks.target import Target, target
from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.objects import SECRET, pod
from controlplane.waiting import until

pytestmark = pytest.mark.cluster
CHANGED = "changed Secret"
DEEP = ("ServiceAccount", "Secret", CHANGED, "Namespace")
PAGE = 100
"""Objects of more than a mebibyte."""
ENFORCE = "kubernetes.io/enforce-mountable-secrets"


def poison(platform: Platform, kind: str, stack: ExitStack, depth: int = DEEPEST, *, ours: bool = True) -> None:
    """By whoever may. `ours`: a Secret that is changed is the pull secret."""
    if kind == "Namespace":
        create(platform.nsmaker, kind, None, deep(kind, f"deep-{depth}", None, depth))
        stack.callback(platform.cluster.api.delete, kind, f"deep-{depth}")
    elif kind == CHANGED:
        space = stack.enter_context(platform.space(owner="mallory" if ours else None, stands=ours))
        if not ours:
            platform.mallory.create(secret(space))
        path, headers = f"/api/v1/namespaces/{space}/secrets/{SECRET}", {"Content-Type": "application/merge-patch+json"}
        platform.mallory.raw("PATCH", path, content=deep("Secret", SECRET, space, depth), headers=headers)
    else:
        space = stack.enter_context(platform.space(owner=None))
        create(platform.mallory, kind, space, deep(kind, SECRET, space, depth))


@pytest.mark.parametrize("kind", DEEP)
def test_an_object_with_deeply_nested_fields(platform: Platform, attacked: Target, attack: Attack, kind: str) -> None:
    with ExitStack() as stack:
        with attack(attacked) as outcome:
            for depth in (990, DEEPEST):
                poison(platform, kind, stack, depth)
        outcome.harmless()
        platform.served()


def test_a_replica_starts_where_all_of_these_are(platform: Platform) -> None:
    with ExitStack() as stack:
        for kind in DEEP:
            poison(platform, kind, stack, ours=False)
        with target(platform.cluster, "starting") as started:
            pass
        assert started.replica.child.status == 0


@pytest.mark.slow
def test_accounts_with_thousands_of_pull_secrets(platform: Platform, attacked: Target, attack: Attack) -> None:
    names = numbered(MANY_NAMES)
    with platform.space() as space:
        with attack(attacked) as outcome:
            at_once(partial(platform.mallory.create, account(space, f"a{number}", names)) for number in range(500))
        outcome.harmless()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ServiceAccount", "Secret", "Namespace"])
def test_a_page_of_large_objects(platform: Platform, attack: Attack, kind: str) -> None:
    """Who starts has to read them all."""
    with ExitStack() as stack:
        if kind == "ServiceAccount":
            space = stack.enter_context(platform.space(owner=None))
            one = partial(create, platform.mallory, kind, space)
            at_once((partial(one, large(kind, f"large-{number}", space)) for number in range(PAGE)), 4)
        elif kind == "Secret":
            spaces = stack.enter_context(platform.spaces(PAGE))
            at_once((partial(create, platform.mallory, kind, space, large(kind, SECRET, space)) for space in spaces), 4)
        else:
            stack.enter_context(platform.spaces(PAGE, lambda name: large(kind, name, None)))
        with target(platform.cluster, "starting") as started, attack(started) as outcome:
            pass
    outcome.harmless()


@pytest.mark.slow
def test_owners_of_a_quarter_of_a_mebibyte(platform: Platform, attacked: Target, attack: Attack) -> None:
    """In Secrets of our name that are not even ours."""
    owner = {"pullsecret-webhook/owner": "x" * 250_000}
    with platform.spaces(600) as spaces:
        with attack(attacked) as outcome:
            at_once(partial(platform.mallory.create, secret(space, annotations=owner)) for space in spaces)
        outcome.harmless()


def test_pods_that_inherit_thousands_of_pull_secrets(platform: Platform, attacked: Target, attack: Attack) -> None:
    """Dry runs, which no quota counts, of pods whose list is exactly ours: their account's is added."""
    with platform.space() as space:
        platform.mallory.create(account(space, "many", numbered(MANY_NAMES)))
        one = pod(space, serviceAccountName="many", imagePullSecrets=[{"name": SECRET}])
        with attack(attacked) as outcome:
            at_once([partial(platform.mallory.create, one, dry_run=True)] * 200, 32)
        outcome.harmless()
        assert outcome.median < 0.5, str(outcome)


@pytest.mark.slow
def test_thousands_of_ends_in_pull_secrets(platform: Platform, attacked: Target, attack: Attack) -> None:
    """Which are put right, until it is a tug-of-war."""
    soon = datetime.now(UTC) + timedelta(days=3)
    ends = ",".join(f"{soon + timedelta(seconds=number):%Y-%m-%dT%H:%M:%SZ}" for number in range(11_000))
    change = {"metadata": {"annotations": {"pullsecret-webhook/expires": ends}}}
    with ExitStack() as stack:
        spaces = [stack.enter_context(platform.space(stands=True)) for _ in range(6)]
        with attack(attacked) as outcome:
            end = time.monotonic() + 40
            while time.monotonic() < end:
                at_once(partial(platform.mallory.patch, "Secret", SECRET, change, space) for space in spaces)
                time.sleep(0.2)
        outcome.harmless()


@pytest.mark.slow
def test_pull_secrets_with_a_hundred_thousand_registries(platform: Platform, attacked: Target, attack: Attack) -> None:
    auths: Object = {f"{number:x}.io": {} for number in range(60_000)}
    content = base64.b64encode(json.dumps({"auths": auths}, separators=(",", ":")).encode()).decode()
    with ExitStack() as stack:
        spaces = [stack.enter_context(platform.space(stands=True)) for _ in range(12)]
        change = {"data": {".dockerconfigjson": content}}
        with attack(attacked) as outcome:
            end = time.monotonic() + 25
            while time.monotonic() < end:
                at_once(partial(platform.mallory.patch, "Secret", SECRET, change, space) for space in spaces)
        outcome.harmless()
        assert outcome.median < 0.5, str(outcome)


def test_what_others_must_be_told_while_a_tenant_causes_events(
    platform: Platform, attacked: Target, attack: Attack
) -> None:
    """Of each source Secret that breaks meanwhile there is an Event."""
    api, broken = platform.cluster.api, [f"broken-{number}" for number in range(20)]
    annotations = {ENFORCE: "true"}
    with platform.space() as space, attack(attacked) as outcome:
        make: list[Callable[[], object]] = [
            partial(platform.mallory.create, account(space, f"e{n}", annotations=annotations)) for n in range(900)
        ]
        breaks = [partial(deployed.give, api, name, planted.token(), namespaces=" ") for name in broken]
        step = len(make) // len(broken)
        for number, give in enumerate(breaks):
            make.insert(number * (step + 1) + step // 2, give)
        at_once(make)

        def told() -> bool:
            events = api.list("Event", deployed.NAMESPACE)
            return set(broken) <= {event["involvedObject"]["name"] for event in events}

        try:
            until(told, "an Event about each broken source Secret", within=10)
        finally:
            for name in broken:
                api.delete("Secret", name, deployed.NAMESPACE)
    outcome.harmless()
