"""What is found of the pods that issue."""

from datetime import UTC, datetime, timedelta

import pytest

from webhook.commands.installation.issuers import CLOCKS, answers, leader, owners
from webhook.core.issuerchecks import EVERY, MAX_WHY_BYTES, Checked
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
    found = owners("registry", warnings)
    assert (found.name, found.result) == ("owners of registry", "warning")
    assert found.why == 'it gives 2 owners no new credential; an Event in release says: "number 2"'
    assert owners("third", warnings).result == "right"


@pytest.mark.parametrize(
    ("last", "result", "why"),
    [
        (None, "unknown", "no pod says yet that it was checked"),
        (Checked(NOW, "works"), "right", "works; checked at 2030-01-01 00:00"),
        (Checked(NOW - 2 * EVERY, "works"), "right", "works; checked at 2029-12-31 22:00"),
        (Checked(NOW + CLOCKS, "works"), "right", "works; checked at 2030-01-01 00:01"),  # clocks differ
        (Checked(NOW - 2 * EVERY - CLOCKS, "works"), "unknown", "last checked at 2029-12-31 21:59"),
        (Checked(NOW - 2 * EVERY - CLOCKS, "fails", "no"), "unknown", "last checked at 2029-12-31 21:59"),
        (Checked(NOW + timedelta(days=9999), "works"), "unknown", "last checked at 2057-05-18 00:00"),
        (
            Checked(NOW, "fails", "GitLab refuses the token of /t (HTTP 401)"),
            "wrong",
            'checked at 2030-01-01 00:00: "GitLab refuses the token of /t (HTTP 401)"',
        ),
        (
            Checked(NOW, "fails", "$(reboot)\n`x`\x1b[31m" + "y" * 1000),
            "wrong",
            'checked at 2030-01-01 00:00: "?(reboot)??x??[31m' + "y" * (MAX_WHY_BYTES - 18) + '..."',
        ),
        (
            Checked(NOW, "unknown", "no owner is known"),
            "unknown",
            'checked at 2030-01-01 00:00: "no owner is known"',
        ),
    ],
)
def test_what_the_last_check_said(last: Checked | None, result: str, why: str) -> None:
    found = answers("gitlab", last, NOW, "release")
    assert (found.name, found.result, found.why) == ("gitlab", result, why)
    told = "kubectl -n release exec deploy/pullsecret-webhook-issuer -- pullsecret issue --config"
    assert (told in found.hint) == (result == "wrong" or ("no owner" not in why and result == "unknown"))
