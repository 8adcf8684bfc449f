"""What is found of the pods that issue."""

from datetime import UTC, datetime, timedelta

import pytest

from webhook.commands.installation.issuers import CLOCKS, issuer, leader
from webhook.kube.lease import Held
from webhook.kube.recent_events import RecentWarnings, WarningEvent

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("lease", "result", "why"),
    [
        (None, "wrong", "no pod has taken the Lease pullsecret-webhook-issuer yet"),
        (Held("one", None), "wrong", "no pod has taken the Lease pullsecret-webhook-issuer yet"),
        (Held("", NOW), "wrong", "the pod that issued has ended, and no other one issues"),
        (Held("one", NOW - CLOCKS), "right", "one issues"),
        (Held("one", NOW + CLOCKS), "right", "one issues"),  # clocks differ
        (
            Held("one", NOW - timedelta(minutes=2)),
            "wrong",
            "one issued last, and has not been heard of since 2029-12-31 23:58",
        ),
    ],
)
def test_who_issues(lease: Held | None, result: str, why: str) -> None:
    found = leader(lease, NOW, "release")
    assert (found.result, found.why, "-n release" in found.hint) == (result, why, result == "wrong")


def test_for_whom_an_issuer_fails() -> None:
    first, last = (WarningEvent("release", NOW + timedelta(minutes=at), "IssueFailed", f"number {at}") for at in (1, 2))
    warnings = RecentWarnings(not_issued={"alice": {"registry": first, "other": last}, "bob": {"registry": last}})
    found = issuer("registry", warnings)
    assert found.result == "warning"
    assert found.why == 'gives 2 owners no new credential; an Event in release says: "number 2"'
    assert issuer("third", warnings).result == "right"
