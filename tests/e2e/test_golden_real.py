"""The golden cases that say `real: true`, against the real API server, under its own RBAC and policies."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from controlplane.api import Object
from controlplane.cluster import ControlPlane
from controlplane.waiting import until
from controlplane.webhook import NAMESPACE, Webhook
from support import goldencase
from support.goldencase import ANamespace, Case, Review
from support.goldenreal import FILES, SECRET, send, set_up, within
from support.goldenstore import described
from webhook.core.names import INJECT, OWNER

pytestmark = pytest.mark.cluster


@contextmanager
def paused(webhook: Webhook) -> Iterator[None]:
    """So that it finds all as the case has it."""
    webhook.child.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        webhook.child.signal(signal.SIGCONT)


def matches(now: Object | None, before: Object | None, writes: list[str]) -> bool:
    """Does the Secret stand as if these writes had been done to the one before?"""
    if not writes:
        return now == before
    action, _, whose = writes[-1].partition(" ")
    if action == "delete" or now is None or OWNER not in now["metadata"].get("annotations", {}):
        return action == "delete" and now is None
    same = before is not None and before["metadata"]["uid"] == now["metadata"]["uid"]
    return described(now) == whose and same == (action == "update")


def reviews(webhook: Webhook) -> float:
    lines = webhook.metrics().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("pullsecret_webhook_reviews_total{"))


def probed(cluster: ControlPlane, webhook: Webhook, team: str, before: float) -> float | None:
    """The API server's own namespace selector has caught up with the labels: it calls us. How many reviews then."""
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    probe = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe"}, "spec": spec}
    cluster.api.create(within(probe, team), dry_run=True)
    count = reviews(webhook)
    return count if count > before else None


def concerns(review: Review, *, owned: bool) -> bool:
    """What the registration lets through: UPDATEs only when they lose our reference."""
    about, old = review.object or {}, review.old_object
    lost = old is None or (SECRET in goldencase.names(old) and SECRET not in goldencase.names(about))
    return owned and lost


def reasons(cluster: ControlPlane, team: str, owners: set[str]) -> set[str]:
    """Of Events in the namespace, and about its owner's credentials in ours."""
    ours = [
        event
        for event in cluster.api.list("Event", NAMESPACE)
        if event["metadata"].get("annotations", {}).get(OWNER) in owners
    ]
    return {str(event.get("reason")) for event in (*ours, *cluster.api.list("Event", team))}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_golden(path: Path, cluster: ControlPlane, webhook: Webhook) -> None:
    team = f"golden-{path.stem}"
    alice, bob = f"alice-{path.stem}", f"bob-{path.stem}"
    case = goldencase.load(path, team=team, alice=alice, bob=bob)
    assert case.config == {}
    with paused(webhook):
        set_up(cluster, case, team)
        before = cluster.api.get("Secret", SECRET, team)

    def settled() -> bool:
        return matches(cluster.api.get("Secret", SECRET, team), before, writes)

    # Here the background looks at a namespace before anything is created in it; offline it is asked to.
    writes = asyncio.run(goldencase.run(msgspec.structs.replace(case, review=None))).writes
    assert case.expect.writes in (writes, [])
    until(settled, f"the Secret stands after {writes}", within=10)
    if case.review:
        reviewed(cluster, webhook, case, case.review)
        assert settled()
    expected = set(case.expect.notices)
    until(lambda: reasons(cluster, team, {alice, bob}) >= expected, f"Events {case.expect.notices}", within=5)


def reviewed(cluster: ControlPlane, webhook: Webhook, case: Case, review: Review) -> None:
    labels = [thing.metadata.labels for thing in case.cluster if isinstance(thing, ANamespace)]
    owned = any(OWNER in one and one.get(INJECT) != "disabled" for one in labels)
    count = reviews(webhook)
    if owned:
        count = until(lambda: probed(cluster, webhook, case.team, count), "we are called for the namespace", within=10)
    cluster.api.take_warnings()
    created = send(cluster, review, case.team)
    assert (reviews(webhook) > count) == concerns(review, owned=owned)
    assert goldencase.names(created) == goldencase.names(goldencase.patched(review, case.expect.patch))
    # `spec.imagePullSecrets[0].name: ...` is the API server's own about an entry without a name.
    warnings = [text for text in cluster.api.take_warnings() if not text.startswith("spec.")]
    assert len(warnings) == len(case.expect.warnings), warnings
    for said, part in zip(warnings, case.expect.warnings, strict=True):
        assert part in said
    if not review.dry_run:  # or other tests' node would try to run it, until the end
        cluster.api.delete(created["kind"], created["metadata"]["name"], case.team)
