"""Which of the Events that the API server lists count, and what they are about."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, cast

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support.writtenevents import Object, written
from webhook.config import reading
from webhook.core.notice import Notice, Reason
from webhook.core.owner import MAX_OWNER_CHARS
from webhook.issuers.notices import Problem, notices
from webhook.kube.cluster import Cluster
from webhook.kube.recent_events import AboutMirrors, RecentWarnings, about_mirrors, recent_warnings

NOW = datetime(2030, 1, 1, tzinfo=UTC)
OWN, SERVICE = "pullsecret-webhook", "pullsecret-webhook"
HOSTILE = "alice: x has: y for z"
"""An owner that looks like the sentences in which owners stand."""
UNAVAILABLE = "source sql: no answer for owner {}: the database reports an error (XX000)"


class Listed:
    def __init__(self, events: list[Object]) -> None:
        self.events = events

    async def call(self, _method: str, path: str, *, query: Mapping[str, str], **_options: Any) -> bytes:
        namespace = path.removeprefix("/api/v1/").removeprefix("namespaces/").removesuffix("events").removesuffix("/")
        key, _, value = query["fieldSelector"].rpartition(",")[2].partition("=")
        items = [one for one in self.events if namespace in ("", one["metadata"]["namespace"]) and one[key] == value]
        return msgspec.json.encode({"metadata": {}, "items": items})


def read(events: list[Object], namespace: str | None = None, now: datetime = NOW) -> RecentWarnings:
    config = reading.convert({})
    return asyncio.run(recent_warnings(cast(Cluster, Listed(events)), config, namespace, now, lambda _what: None))


def about_source(reason: Reason, message: str, owner: str = "", source: str = "sql", name: str = SERVICE) -> Notice:
    return Notice(reason, message, OWN, "Service", name, owner=owner, source=source)


def by_hand(*, namespace: str = OWN, kind: str = "Service", name: str = SERVICE, **annotations: str) -> Object:
    return {
        "metadata": {
            "name": "by-hand",
            "namespace": namespace,
            "annotations": {f"pullsecret-webhook/{key}": value for key, value in annotations.items()},
        },
        "involvedObject": {"kind": kind, "name": name},
        "eventTime": NOW.isoformat(),
        "reason": "SourceUnavailable",
        "type": "Warning",
        "message": UNAVAILABLE.format("alice"),
    }


@pytest.mark.parametrize("owner", [HOSTILE, "a for b", "source sql", "\u3164", "\u00e9" * MAX_OWNER_CHARS])
def test_an_owner_is_found_whatever_it_is_called(owner: str) -> None:
    others = [about_source("SourceUnavailable", UNAVAILABLE.format(other), other) for other in ("alice", HOSTILE[:8])]
    unused = about_source("CredentialLeftOut", f"the credential of owner {owner} for x is left out", owner, source="")
    notice = about_source("SourceUnavailable", UNAVAILABLE.format(owner), owner)
    found = read(written([*others, notice, unused], OWN, NOW))
    assert found.of_owner.keys() == {"alice", HOSTILE[:8], owner}
    assert found.unused.keys() == {(owner, "CredentialLeftOut")}
    assert not found.of_source
    assert not found.of_namespace


@given(st.text(min_size=1, max_size=MAX_OWNER_CHARS + 9).filter(str.isprintable))
def test_every_owner_comes_back_and_what_is_too_long_for_one_is_nobodys(owner: str) -> None:
    (found,) = read(written([about_source("SourceUnavailable", "x", owner)], OWN, NOW)).of_owner
    assert found == owner if len(owner) <= MAX_OWNER_CHARS else len(found) == MAX_OWNER_CHARS + 1


def test_an_unused_credential_may_be_about_a_source_secret_and_nothing_else_may() -> None:
    unused = Notice("CredentialMatchesNothing", "x", OWN, "Secret", "alice", owner="alice", source="secrets")
    broken = Notice("SourceSecretBroken", "y", OWN, "Secret", "bob", owner="bob", source="secrets")
    found = read(written([unused, broken], OWN, NOW))
    assert found.unused.keys() == {("alice", "CredentialMatchesNothing")}
    assert not found.of_owner
    assert not read(written([Notice("CredentialLeftOut", "x", "team", "Secret", "s", owner="alice")], OWN, NOW)).unused


def test_of_the_unused_credentials_of_an_owner_the_newest_event_of_each_reason_counts() -> None:
    left_out: Reason = "CredentialLeftOut"
    unmatched: Reason = "CredentialMatchesNothing"
    events = written([about_source(left_out, "a", "alice"), about_source(unmatched, "b", "alice")], OWN, NOW)
    later = written([about_source(left_out, "c", "alice")], OWN, NOW + timedelta(seconds=1))
    assert [one.message for one in read([*events, *later]).unused_of("alice")] == ["c", "b"]
    assert not read(events).unused_of("bob")


def test_a_refused_credential_hides_nothing_else_about_its_owner() -> None:
    """Those of source Secrets are read from there."""
    events = written([about_source("SourceAnswerBroken", "a", "alice")], OWN, NOW)
    refused = [
        about_source("CredentialRefused", "b", "alice"),
        Notice("CredentialRefused", "c", OWN, "Secret", "bob", owner="bob", source="secrets"),
        Notice("CredentialRefused", "d", "team", "Secret", "ghcr-secret"),
    ]
    found = read([*events, *written(refused, OWN, NOW + timedelta(seconds=1))])
    assert {key: one.message for key, one in found.of_owner.items()} == {"alice": "a"}
    assert {key: one.message for key, one in found.refused.items()} == {"alice": "b"}
    assert not found.of_namespace


def test_of_a_source_as_a_whole_the_newest_of_each_reason_counts() -> None:
    down: Reason = "SourceUnavailable"
    feed: Reason = "SourceFeedBroken"
    before = [about_source(down, "source sql: refused"), about_source(feed, "source sql: hung up")]
    after = [about_source(down, "source sql: timed out"), about_source(down, "source http: 503", source="http")]
    events = written(after, OWN, NOW) + written(before, OWN, NOW - timedelta(minutes=1))
    found = read(events)
    assert {key: one.message for key, one in found.of_source.items()} == {
        ("sql", down): "source sql: timed out",
        ("sql", feed): "source sql: hung up",
        ("http", down): "source http: 503",
    }
    assert found.outage is not None
    assert found.outage.at == NOW
    assert not found.of_owner


def test_that_notices_are_left_out_hides_nothing() -> None:
    """It is reported with the owner and source of the notice that was left out."""
    events = written(
        [about_source("SourceAnswerBroken", "a", "alice"), about_source("SourceUnavailable", "b")], OWN, NOW
    )
    later = written(
        [about_source("NoticesLeftOut", "c", "alice"), about_source("NoticesLeftOut", "d")],
        OWN,
        NOW + timedelta(seconds=1),
    )
    assert read(events + later) == read(events)


@pytest.mark.parametrize(
    "event",
    [
        by_hand(),
        by_hand(owner="", source=""),
        by_hand(owner="alice", source="sql", namespace="team"),
        by_hand(owner="alice", source="sql", name="other"),
        by_hand(owner="alice", source="sql", kind="Secret"),
        by_hand(owner="alice", source="sql", kind="Secret", name="ghcr-secret"),
    ],
    ids=["without annotations", "empty ones", "a tenant's", "another Service", "a Secret", "the pull secret"],
)
def test_what_is_not_about_our_sources_is_ignored(event: Object) -> None:
    assert read([event]) == RecentWarnings()


def test_annotations_alone_say_what_an_event_about_our_service_is_about() -> None:
    """Also one by hand, for which it takes rights in our own namespace."""
    assert read([by_hand(owner="bob")]).of_owner.keys() == {"bob"}
    assert read([by_hand(source="sql")]).of_source.keys() == {("sql", "SourceUnavailable")}


def test_why_a_pull_secret_is_not_supplied_is_read_where_it_is() -> None:
    failed = Notice("SupplyFailed", "a quota", "team", "Secret", "ghcr-secret")
    found = read(written([failed, Notice("ForeignSecret", "x", "team", "Secret", "ghcr-secret")], OWN, NOW))
    assert {key: one.message for key, one in found.of_namespace.items()} == {"team": "a quota"}
    assert not found.of_owner


def test_of_one_namespace_its_events_and_those_about_sources_are_read() -> None:
    notices = [
        Notice("SupplyFailed", "a quota", "team", "Secret", "ghcr-secret"),
        Notice("SupplyFailed", "a quota", "other", "Secret", "ghcr-secret"),
        about_source("SourceUnavailable", "refused"),
    ]
    found = read(written(notices, OWN, NOW), "team")
    assert ([*found.of_namespace], len(found.of_source)) == (["team"], 1)
    assert len(read(written(notices, OWN, NOW), OWN).of_source) == 1


def answers(owner: str = "", source: str = "sql", reason: Reason = "SourceAnswers") -> Notice:
    return replace(about_source(reason, "it answers again", owner, source), type="Normal")


def after(minutes: int, *notices: Notice) -> list[Object]:
    return written(notices, OWN, NOW + timedelta(minutes=minutes))


def test_what_is_over_is_left_out() -> None:
    """Each for the source, and the owner, that it is about."""
    before = after(
        0,
        about_source("SourceUnavailable", "refused"),
        about_source("SourceUnavailable", "503", source="http"),
        about_source("SourceFeedBroken", "hung up"),
        about_source("SourceUnavailable", "no answer", "alice"),
        about_source("SourceAnswerBroken", "row 1", "bob"),
        about_source("SourceAnswerBroken", "row 2", "carol"),
    )
    found = read([*before, *after(1, answers(), answers("bob"))])
    assert found.of_source.keys() == {("http", "SourceUnavailable"), ("sql", "SourceFeedBroken")}
    assert found.of_owner.keys() == {"alice", "carol"}
    assert read([*before, *after(1, answers(reason="SourceFeedWorks"))]).of_source.keys() == {
        ("sql", "SourceUnavailable"),
        ("http", "SourceUnavailable"),
    }
    other = read([*before, *after(1, answers("alice", "http"), answers("bob", "http"))])
    assert other.of_owner.keys() == {"alice", "bob", "carol"}


def test_what_has_begun_again_is_not_over() -> None:
    events = after(0, answers(), answers("alice"))
    again = after(
        1, about_source("SourceUnavailable", "refused"), about_source("SourceUnavailable", "no answer", "alice")
    )
    found = read([*again, *events])
    assert found.of_source.keys() == {("sql", "SourceUnavailable")}
    assert found.of_owner.keys() == {"alice"}


def test_only_our_own_events_say_that_something_is_over() -> None:
    events = after(-1, about_source("SourceUnavailable", "refused"))
    forged = by_hand(source="sql", namespace="team") | {"reason": "SourceAnswers", "type": "Normal"}
    of_another = by_hand(source="sql", name="other") | {"reason": "SourceAnswers", "type": "Normal"}
    assert read([*events, forged, of_another]).outage
    assert not read([*events, by_hand(source="sql") | {"reason": "SourceAnswers", "type": "Normal"}]).outage


def test_of_an_owner_and_the_source_the_newer_word_counts() -> None:
    """What was wrong with the owner's row may be hidden by what is wrong with the source now."""
    row, query = (
        about_source("SourceAnswerBroken", "row 1", "alice"),
        about_source("SourceUnavailable", "the query has a syntax error"),
    )
    for events, message in (((row, query), query.message), ((query, row), row.message)):
        about = read([*after(0, events[0]), *after(1, events[1])]).about("alice")
        assert about is not None
        assert about.message == message
    about = read([*after(0, row), *after(1, query), *after(2, answers())]).about("alice")
    assert about is not None
    assert about.message == row.message


@pytest.mark.parametrize(("reason", "minutes"), [("SourceUnavailable", 20), ("SourceAnswerBroken", 70)])
def test_an_event_counts_until_it_would_have_been_reported_again(reason: Reason, minutes: int) -> None:
    events = written([about_source(reason, "x", "alice")], OWN, NOW)
    assert read(events, now=NOW + timedelta(minutes=minutes)).of_owner
    assert not read(events, now=NOW + timedelta(minutes=minutes, seconds=1)).of_owner


# -- issuers --


def issuer_says(text: str = "", *, refused: bool = False, tenants: tuple[str, ...] = ("team",)) -> list[Notice]:
    problem = Problem(text, refused=refused) if text else None
    return [*notices("registry", "alice", problem, OWN, tenants)]


def test_why_an_owner_gets_no_new_credential_until_it_is_over() -> None:
    failed = after(0, *issuer_says("no new credential: first"))
    again = after(1, *issuer_says("no new credential: second"))
    told = read([*again, *failed]).issuing("alice", "team")
    assert told is not None
    assert told.message.endswith("second")
    assert read([*failed, *again]).issuing("bob", "other") is None
    assert read([*failed, *again, *after(2, *issuer_says())]).issuing("alice", "team") is None
    assert read([*failed, *after(2, *issuer_says()), *after(3, *issuer_says("x"))]).issuing("alice", "team")


def test_a_tenant_sees_what_the_namespace_was_told_and_others_do_not() -> None:
    own, tenants = after(0, *issuer_says("no new credential: x", refused=True))
    assert (told := read([tenants], "team").issuing("alice", "team")) is not None
    assert told.namespace == "team"
    assert read([tenants], "team").issuing("alice", "other") is None
    assert (told := read([own, tenants], "team").issuing("alice", "team")) is not None
    assert told.namespace == OWN


def test_an_event_about_an_issuer_counts_where_only_the_webhook_writes() -> None:
    (real,) = after(0, *issuer_says("no new credential: x"))
    elsewhere = {**real, "metadata": {**real["metadata"], "namespace": "team"}}
    nobodys = {**real, "metadata": {**real["metadata"], "annotations": {}}}
    assert read([real]).not_issued
    assert not read([elsewhere, nobodys]).not_issued
    assert not read([elsewhere, nobodys]).to_owner


# -- mirrors --


def of_mirrors(events: list[Object], namespace: str | None = "team", now: datetime = NOW) -> AboutMirrors:
    config = reading.convert({})
    return asyncio.run(about_mirrors(cast(Cluster, Listed(events)), config, namespace, now, lambda _what: None))


def about_mirror(reason: Reason, host: str) -> Notice:
    kind: Literal["Normal", "Warning"] = "Normal" if reason == "MirrorAnswers" else "Warning"
    return replace(about_source(reason, f"the mirror {host} ...", source=host), type=kind)


def test_a_mirror_is_silent_until_a_later_event_says_that_it_answers() -> None:
    gone = written([about_mirror("MirrorSilent", "m.test"), about_mirror("MirrorSilent", "n.test:5000")], OWN, NOW)
    back = written([about_mirror("MirrorAnswers", "m.test")], OWN, NOW + timedelta(seconds=1))
    again = written([about_mirror("MirrorSilent", "m.test")], OWN, NOW + timedelta(seconds=2))
    assert of_mirrors(gone).silent.keys() == {"m.test", "n.test:5000"}
    assert of_mirrors([*gone, *back]).silent.keys() == {"n.test:5000"}
    assert of_mirrors([*gone, *back, *again]).silent.keys() == {"m.test", "n.test:5000"}
    assert not of_mirrors(gone, now=NOW + timedelta(minutes=21)).silent
    elsewhere = [one | {"metadata": one["metadata"] | {"namespace": "team"}} for one in gone]
    assert not of_mirrors(elsewhere).silent
    assert read([*gone, *back]) == RecentWarnings()


def test_why_images_of_a_namespace_keep_their_names() -> None:
    def kept(message: str, namespace: str, name: str = "team") -> Notice:
        return Notice("ImageNotRewritten", message, namespace, "Namespace", name, "Normal")

    events = written([kept("first", "team"), kept("other", "b"), kept("forged", "team", "b")], OWN, NOW)
    events += written([kept("last", "team")], OWN, NOW + timedelta(seconds=1))
    assert [one.message for one in of_mirrors(events).kept] == ["last", "first"]
    assert not of_mirrors(events, namespace=None).kept
