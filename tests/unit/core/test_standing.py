"""What a tenant is told: each case in words that say what to do, of the own owner alone, without a token."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from support import planted
from webhook.core import pullsecret, standing
from webhook.core.credential import Credential, Credentials, Refusal
from webhook.core.notice import Notice
from webhook.core.pullsecret import OPTED_OUT, ExistingSecret, Fingerprint, Namespace, Planner
from webhook.core.standing import foreign, right, trouble

NOW = datetime(2030, 1, 1, tzinfo=UTC)
TEAM = Namespace("team", "uid", 1, "alice")
PLANNER = Planner("ghcr-secret", Fingerprint(b""))
TOKEN = planted.token()
GOOD = Credential("ghcr.io", "alice", TOKEN)
ENDED = replace(GOOD, expires=NOW - timedelta(days=1))
ELSEWHERE = replace(GOOD, namespaces=("other-*",))
REFUSED = replace(GOOD, refusal=Refusal("HTTP 401", left_out=True))
OURS = ExistingSecret("team", "uid", 1, True, True, False, False, "alice", b"", ("ghcr.io",))
THEIRS = replace(OURS, ours=False, owner=None, registries=())


def told(
    *credentials: Credential, existing: ExistingSecret | None = None, known: bool = True, outage: bool = False
) -> Notice | None:
    plan = PLANNER(TEAM, Credentials(credentials) if known else None, existing, NOW)
    return trouble(TEAM, replace(plan, outage=outage), existing, "ghcr-secret")


@pytest.mark.parametrize(
    ("notice", "reason", "words"),
    [
        (told(), "NoCredential", ("owner alice has no credential", "no pull secret", "ask an administrator")),
        (told(ELSEWHERE), "CredentialElsewhere", ("owner alice are limited to other namespaces", "add this namespace")),
        (told(ENDED), "CredentialExpired", ("owner alice for ghcr.io has expired; it is not in the pull secret",)),
        (told(ENDED, existing=OURS), "CredentialExpired", ("ghcr.io has expired; it stays in the pull secret",)),
        (told(known=False), "CredentialUnknown", ("owner alice is broken", "no pull secret until", "administrator")),
        (told(known=False, existing=OURS), "CredentialUnknown", ("is broken", "the pull secret stays as it is until")),
        (told(known=False, outage=True), "CredentialUnknown", ("does not answer", "is written when it answers")),
        (told(GOOD, existing=THEIRS), "ForeignSecret", ("not managed by pullsecret-webhook", "pullsecret adopt")),
    ],
)
def test_what_is_wrong_and_what_to_do(notice: Notice | None, reason: str, words: tuple[str, ...]) -> None:
    assert notice is not None
    assert (notice.reason, notice.type, notice.quiet) == (reason, "Warning", True)
    assert (notice.kind, notice.namespace, notice.name) == ("Secret", "team", "ghcr-secret")
    assert not [part for part in words if part not in notice.message]
    assert "other-" not in notice.message
    assert not planted.leaks(repr(notice))


@pytest.mark.parametrize(
    "notice",
    [
        told(GOOD),  # is about to be written
        told(REFUSED),  # is told by itself
        told(known=False, outage=True, existing=OURS),  # nothing is wrong there
    ],
)
def test_what_needs_no_word_has_none(notice: Notice | None) -> None:
    assert notice is None


def test_one_that_is_not_served_is_told_nothing() -> None:
    for namespace in (replace(TEAM, owner=None), replace(TEAM, left_alone=OPTED_OUT)):
        plan = PLANNER(namespace, Credentials(), None, NOW)
        assert trouble(namespace, plan, None, "ghcr-secret") is None


def test_a_foreign_secret_from_which_nothing_can_be_pulled_is_a_log_line_too() -> None:
    for kubelet in ("passes over", "fails"):
        notice = foreign(replace(THEIRS, kubelet=kubelet), "ghcr-secret")
        assert not notice.quiet
        assert "rename or delete it" in notice.message


def test_what_is_told_ends_with_a_right_secret() -> None:
    end = right(TEAM, "ghcr-secret")
    assert (end.reason, end.type) == ("PullSecretRight", "Normal")
    mine = {standing.NONE, standing.ELSEWHERE, standing.UNKNOWN, standing.NOT_OURS}
    others: set[str] = {pullsecret.EXPIRED, pullsecret.REFUSED, pullsecret.WITHDRAWAL, "SupplyFailed"}
    assert {*end.over} == mine | others
    for notice in (told(), told(ELSEWHERE), told(ENDED), told(known=False), told(existing=THEIRS)):
        assert notice is not None
        assert notice.reason in end.over
        assert (end.kind, end.name, end.owner, end.source) == (notice.kind, notice.name, notice.owner, notice.source)
