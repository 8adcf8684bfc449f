"""Webhooks of others that rewrite the same list, before and after ours: what the real API server makes of both."""

from collections.abc import Callable
from itertools import count

import pytest

from controlplane import webhook as deployed
from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.mutator import Rewrite, mutating
from controlplane.objects import SECRET, deployment, names, pod
from controlplane.waiting import until
from controlplane.webhook import Webhook
from support import planted

pytestmark = pytest.mark.cluster
OWNER = "others"
BEFORE, AFTER = "a-others", "z-others"
"""In the order of their names the API server asks them before and after pullsecret-webhook."""
_numbers = count(1)


def prepend(listed: list[str]) -> list[str]:
    return listed if "theirs" in listed else ["theirs", *listed]


def append(listed: list[str]) -> list[str]:
    return listed if "theirs" in listed else [*listed, "theirs"]


def replace(_listed: list[str]) -> list[str]:
    return ["theirs"]


def fill(listed: list[str]) -> list[str]:
    return listed or ["theirs"]


REWRITES: list[Rewrite] = [prepend, append, sorted, fill, replace]
EXPECTED = {
    (BEFORE, "prepend"): ["theirs", "own", SECRET],
    (BEFORE, "append"): ["own", "theirs", SECRET],
    (BEFORE, "sorted"): ["own", SECRET],
    (BEFORE, "fill"): ["theirs", SECRET],
    (BEFORE, "replace"): ["theirs", SECRET],
    (AFTER, "prepend"): ["theirs", "own", SECRET],
    (AFTER, "append"): ["own", SECRET, "theirs"],
    (AFTER, "sorted"): [SECRET, "own"],
    (AFTER, "fill"): [SECRET],
    (AFTER, "replace"): ["theirs", SECRET],
}
"""Of a pod that lists `own` (none, for `fill`), when the other webhook is not asked again."""
AGAIN = EXPECTED | {
    (BEFORE, "sorted"): [SECRET, "own"],
    (BEFORE, "replace"): ["theirs", SECRET],
    (AFTER, "replace"): ["theirs"],
}
"""When it is. The last one wins, as docs/guarantees-and-limits.md says."""


@pytest.fixture(scope="module", autouse=True)
def known(installed: ControlPlane, webhook: Webhook) -> None:
    deployed.give(installed.api, OWNER, planted.token())


@pytest.mark.parametrize("again", [False, True], ids=["asked once", "asked again"])
@pytest.mark.parametrize("rewrite", REWRITES, ids=lambda rewrite: rewrite.__name__)
@pytest.mark.parametrize("place", [BEFORE, AFTER])
def test_the_reference_is_there_at_the_end(
    installed: ControlPlane, webhook: Webhook, place: str, rewrite: Rewrite, *, again: bool
) -> None:
    space = f"others-{next(_numbers)}"
    labels = {"others": space}
    installed.namespace(space, labels=labels | {"pullsecret-webhook/owner": OWNER})
    one = pod(space) if rewrite is fill else pod(space, imagePullSecrets=[{"name": "own"}])
    with mutating(installed, place, rewrite, again=again, labels=labels) as other:
        until(lambda: installed.api.create(one, dry_run=True) and other.calls, "the other one is called", within=10)
        theirs, ours = other.calls, webhook.answered()
        created = installed.api.create(one)
        asked, answered = other.calls - theirs, webhook.answered() - ours
    assert names(created) == (AGAIN if again else EXPECTED)[place, rewrite.__name__]
    assert asked <= 2, "the API server asks again once, and never in a loop"
    assert answered <= 2


@pytest.mark.parametrize("again", [False, True], ids=["asked once", "asked again"])
def test_one_before_and_one_after(installed: ControlPlane, webhook: Webhook, *, again: bool) -> None:
    space = f"others-{next(_numbers)}"
    labels = {"others": space}
    installed.namespace(space, labels=labels | {"pullsecret-webhook/owner": OWNER})
    with (
        mutating(installed, BEFORE, append, again=again, labels=labels) as first,
        mutating(installed, AFTER, sorted, again=again, labels=labels) as last,
    ):
        until(
            lambda: installed.api.create(pod(space), dry_run=True) and first.calls and last.calls,
            "both are called",
            within=10,
        )
        ours, theirs = webhook.answered(), (first.calls, last.calls)
        assert names(installed.api.create(pod(space))) == [SECRET, "theirs"]
        assert webhook.answered() - ours <= 2
        assert first.calls - theirs[0] <= 2
        assert last.calls - theirs[1] <= 2


@pytest.mark.parametrize(
    ("rewrite", "again", "created", "updated"),
    [
        pytest.param(sorted, False, [SECRET, "own"], [SECRET, "own"], id="sorted, asked once"),
        pytest.param(sorted, True, [SECRET, "own"], [SECRET, "own"], id="sorted, asked again"),
        pytest.param(replace, False, ["theirs", SECRET], ["theirs"], id="replace, asked once"),
        pytest.param(replace, True, ["theirs"], ["theirs"], id="replace, asked again"),
    ],
)
def test_a_template_that_another_one_rewrites_after_us(
    installed: ControlPlane, webhook: Webhook, rewrite: Rewrite, again: bool, created: list[str], updated: list[str]
) -> None:
    """At its creation and at each update. What the two of them come to stays: applied again, nothing is rolled out.

    An update that comes with our entry is not ours to look at, so one that replaces the list then wins, once.
    """
    space = f"others-{next(_numbers)}"
    labels = {"others": space}
    installed.namespace(space, labels=labels | {"pullsecret-webhook/owner": OWNER})
    manifest = deployment(space, imagePullSecrets=[{"name": "own"}])
    again_and_again: list[Callable[[], Object]] = [lambda: installed.api.apply(manifest)] * 3
    steps = [lambda: installed.api.create(manifest, manager="tests"), *again_and_again]
    with mutating(installed, AFTER, rewrite, again=again, labels=labels) as other:
        until(lambda: installed.api.create(pod(space), dry_run=True) and other.calls, "it is called", within=10)
        seen = []
        for step in steps:
            theirs, ours = other.calls, webhook.answered()
            done = step()
            seen.append((names(done), done["metadata"]["generation"]))
            assert other.calls - theirs <= 2
            assert webhook.answered() - ours <= 2
    after = 1 if updated == created else 2
    assert seen == [(created, 1), (updated, after), (updated, after), (updated, after)]
