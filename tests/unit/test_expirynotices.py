"""Ends of credentials, said before they come."""

import asyncio
from datetime import UTC, datetime, timedelta

from prometheus_client import generate_latest

from webhook.core.metrics import Metrics
from webhook.core.notice import Notice
from webhook.core.pullsecret import ExistingSecret
from webhook.expirynotices import BATCH, ExpiryNotices
from webhook.kube.views import View

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


class Case:
    def __init__(self) -> None:
        self.now, self.version = NOW, 0
        self.view: View[ExistingSecret] = View()
        self.told: list[Notice] = []
        self.metrics = Metrics()
        self.expiry = ExpiryNotices(self.view, "ghcr-secret", lambda: self.now, self.told.append, self.metrics)

    def stands(self, namespace: str, *ends: datetime) -> None:
        self.version += 1
        existing = ExistingSecret(namespace, "uid", self.version, True, True, False, False, "alice", b"", (), ends)
        self.view.learn(namespace, existing)

    def look(self) -> tuple[int, int]:
        """How many end soon, and have ended, as a scrape shows it."""
        asyncio.run(self.expiry.look())
        lines = generate_latest(self.metrics.registry).decode().splitlines()
        values = dict(line.split(" ") for line in lines if line.startswith("pullsecret_webhook_pull_secrets_"))
        expiring, expired = (
            float(values[f"pullsecret_webhook_pull_secrets_{name}"]) for name in ("expiring", "expired")
        )
        return int(expiring), int(expired)


def test_an_end_is_told_once_a_week_before() -> None:
    case = Case()
    case.stands("team", NOW + 30 * DAY)
    assert case.look() == (0, 0)
    case.now = NOW + 23 * DAY
    assert case.look() == (1, 0)
    assert case.look() == (1, 0)
    message = "a credential in it expires at 2030-01-31 00:00 UTC; renew it at its source"
    assert case.told == [Notice("CredentialExpires", message, "team", "Secret", "ghcr-secret")]
    case.now = NOW + 30 * DAY
    assert case.look() == (0, 1)
    case.stands("team", NOW + 35 * DAY)  # renewed, for less than a week
    assert case.look() == (1, 0)
    assert len(case.told) == 2


def test_what_stands_no_longer_is_not_counted_any_more() -> None:
    case = Case()
    for namespace in ("deleted", "changed", "stays"):
        case.stands(namespace, NOW + DAY / 2 + DAY)
    assert case.look() == (3, 0)
    case.view.forget("deleted", case.version)
    case.stands("changed")
    assert case.look() == (1, 0)


def test_what_stood_before_is_known() -> None:
    case = Case()
    case.stands("team", NOW - DAY)
    case.expiry = ExpiryNotices(case.view, "ghcr-secret", lambda: case.now, case.told.append, case.metrics)
    assert case.look() == (0, 1)


def test_what_is_given_for_hours_is_renewed_by_machines() -> None:
    case = Case()
    for hours in range(0, 36, 12):
        case.now = NOW + timedelta(hours=hours)
        case.stands("team", case.now + timedelta(hours=12))
        assert case.look() == (0, 0)
    case.now += DAY  # nobody did
    assert case.look() == (0, 1)
    assert case.told == []


def test_only_those_with_an_end_count_and_only_while_they_stand() -> None:
    case = Case()
    case.stands("one")
    case.stands("two", NOW + 2 * DAY)
    assert case.look() == (1, 0)
    case.view.forget("two", 99)
    assert case.look() == (0, 0)
    assert [notice.namespace for notice in case.told] == ["two"]


def test_one_that_has_ended_hides_no_other_end() -> None:
    case = Case()
    case.stands("team", NOW - DAY, NOW + 2 * DAY, NOW + 3 * DAY)
    assert case.look() == (1, 1)  # pull secrets, not credentials
    assert [notice.message[:46] for notice in case.told] == ["a credential in it expires at 2030-01-03 00:00"]
    case.now += 2 * DAY
    assert case.look() == (1, 1)
    assert [notice.message[:46] for notice in case.told[1:]] == ["a credential in it expires at 2030-01-04 00:00"]


def test_a_look_at_many_lets_others_go_on() -> None:
    """One tenant wrote thousands of ends: one notice, and no pass of the loop that looks at more than a part."""
    case = Case()
    for number in range(20):
        case.stands(f"team-{number}", *(NOW + 2 * DAY + timedelta(seconds=second) for second in range(BATCH)))

    async def passes() -> int:
        count, look = 0, asyncio.create_task(case.expiry.look())
        while not look.done():
            count += 1
            await asyncio.sleep(0)
        return count

    assert asyncio.run(passes()) >= 10
    assert len(case.told) == 20
    assert case.look() == (20, 0)
    assert len(case.told) == 20
