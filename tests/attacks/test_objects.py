"""Tenants write objects that make everybody's webhook stumble, remember or work."""

import base64
import time
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from attacks.answers import auths
from attacks.attack import Attack
from attacks.hostile import MANY_NAMES, account, create, large, numbered, secret
from attacks.platform import Platform, at_once
from attacks.target import Target, target
from controlplane.objects import SECRET

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
PAGE = 100
"""Objects of more than a mebibyte."""


def test_accounts_with_thousands_of_pull_secrets(platform: Platform, attacked: Target, attack: Attack) -> None:
    names = numbered(MANY_NAMES)
    with platform.space() as space:
        with attack(attacked) as outcome:
            at_once(partial(platform.mallory.create, account(space, f"a{number}", names)) for number in range(500))
        outcome.harmless()


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


def test_owners_of_a_quarter_of_a_mebibyte(platform: Platform, attacked: Target, attack: Attack) -> None:
    """In Secrets of our name that are not even ours."""
    owner = {"pullsecret-webhook/owner": "x" * 250_000}
    with platform.spaces(700) as spaces:
        with attack(attacked) as outcome:
            at_once(partial(platform.mallory.create, secret(space, annotations=owner)) for space in spaces)
        outcome.harmless()


def test_thousands_of_ends_in_pull_secrets(platform: Platform, attacked: Target, attack: Attack) -> None:
    """Which are put right, until it is a tug-of-war."""
    soon = datetime.now(UTC) + timedelta(days=1, hours=1)
    ends = ",".join(f"{soon + timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}" for number in range(8_500))
    change = {"metadata": {"annotations": {"pullsecret-webhook/expires": ends}}}
    with ExitStack() as stack:
        spaces = [stack.enter_context(platform.space(stands=True)) for _ in range(6)]
        with attack(attacked) as outcome:
            end = time.monotonic() + 40
            while time.monotonic() < end:
                at_once(partial(platform.mallory.patch, "Secret", SECRET, change, space) for space in spaces)
                time.sleep(0.2)
        outcome.harmless()


def test_pull_secrets_with_a_hundred_thousand_registries(platform: Platform, attacked: Target, attack: Attack) -> None:
    content = base64.b64encode(auths(60_000, {})).decode()
    with ExitStack() as stack:
        spaces = [stack.enter_context(platform.space(stands=True)) for _ in range(12)]
        change = {"data": {".dockerconfigjson": content}}
        with attack(attacked) as outcome:
            end = time.monotonic() + 25
            while time.monotonic() < end:
                at_once(partial(platform.mallory.patch, "Secret", SECRET, change, space) for space in spaces)
        outcome.harmless()
