"""What is said of what issuers gave an owner."""

from datetime import UTC, datetime, timedelta

from webhook.commands.issuedby import drop_what_is_over, of_owner, text, trouble
from webhook.config import reading
from webhook.core.issued import IssuedBy, secret_name
from webhook.kube.recent_events import RecentWarnings, WarningEvent

NOW = datetime(2030, 1, 31, 12, 30, 59, tzinfo=UTC)
CONFIG = reading.parse(
    """
issuers:
- {issue: gitlab, registry: a.test, endpoint: "https://gitlab.test", group: "tenants/{owner}", tokenFile: /t}
- {issue: harbor, registry: b.test, project: "{owner}", usernameFile: /u, passwordFile: /p}
"""
)


def failed(message: str, at: datetime = NOW) -> WarningEvent:
    return WarningEvent("pullsecret-webhook", at, "IssueFailed", message)


def test_an_owner_has_what_issuers_of_the_configuration_gave_in_their_order() -> None:
    issued = {
        secret_name(issuer, owner): IssuedBy(issuer, number)
        for number, (issuer, owner) in enumerate(
            [("harbor", "alice"), ("old", "alice"), ("gitlab", "alice"), ("harbor", "bob")], start=1
        )
    }
    assert of_owner("alice", CONFIG, issued) == (IssuedBy("gitlab", 3), IssuedBy("harbor", 1))
    assert of_owner("bob", CONFIG, issued) == (IssuedBy("harbor", 4),)
    assert of_owner("carol", CONFIG, issued) == of_owner(None, CONFIG, issued) == ()


def test_what_was_given_is_said_with_the_next_one() -> None:
    later = NOW + timedelta(hours=12)
    given = (IssuedBy("harbor", 3, NOW, later, later), IssuedBy("old", 7, NOW, None, later), IssuedBy("ecr"))
    assert text(given) == [
        "harbor: credential 3, of 2030-01-31 12:30, ends 2030-02-01 00:30, the next from 2030-02-01 00:30 on",
        "old: credential 7, of 2030-01-31 12:30, ends 2030-02-01 00:30, no issuer of the configuration renews it",
        "ecr: what was noted about its credential cannot be read, so it gives another one soon",
    ]
    assert text(()) == []


def test_trouble_is_over_when_something_newer_is_issued() -> None:
    warnings = RecentWarnings(not_issued={"alice": {"registry": failed("it does not answer")}})
    name = secret_name("registry", "alice")
    for by in (IssuedBy("registry", 1, NOW - timedelta(minutes=1), NOW), IssuedBy("registry")):
        drop_what_is_over(warnings, {name: by})
        assert trouble(warnings, "alice", "team") == 'an Event in pullsecret-webhook says: "it does not answer"'
    drop_what_is_over(warnings, {name: IssuedBy("registry", 1, NOW + timedelta(minutes=1), NOW)})
    assert trouble(warnings, "alice", "team") == ""


def test_trouble_is_the_newest_of_the_owner_s_or_what_the_namespace_was_told() -> None:
    told = {"harbor": failed("old", NOW - timedelta(minutes=1)), "gitlab": failed("new")}
    warnings = RecentWarnings(not_issued={"alice": told}, to_owner={"team": failed("ask your administrator")})
    assert trouble(warnings, "alice", "team").endswith(" says: new")
    assert "ask your administrator" in trouble(warnings, "bob", "team")
    assert trouble(warnings, "bob", "other") == trouble(warnings, None, "other") == ""
