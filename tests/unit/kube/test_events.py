"""Events: each said once an hour, all counted, and nobody can make us say too much or keep others from being heard."""

import asyncio
from collections.abc import Iterator, MutableMapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from webhook.core.metrics import Metrics
from webhook.core.notice import Notice
from webhook.kube import events
from webhook.kube.cluster import Cluster, ClusterError, is_name
from webhook.kube.events import BURST, MAX_WAITING, NEWS_BURST, NEWS_PACE, PACE, SAME, EventRecorder

Lines = list[MutableMapping[str, Any]]
FOREIGN = Notice("ForeignSecret", "a Secret of this name is foreign", "team", "Secret", "ghcr-secret")


class Api:
    """Takes what is posted; `errors` are raised first, one a call."""

    def __init__(self, *errors: ClusterError) -> None:
        self.errors, self.posted = list(errors), list[tuple[str, str, Any]]()

    async def call(self, method: str, path: str, *, body: Any) -> bytes:
        if self.errors:
            raise self.errors.pop(0)
        self.posted.append((method, path, body))
        return b"{}"


class Scene:
    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.metrics, self.now = Metrics(), datetime(2026, 11, 23, 17, 5, 9, 120, tzinfo=UTC)
        self.events = EventRecorder(self.metrics, lambda: self.now, "webhook-1", "release")

    def counted(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("pullsecret_webhook_notices_total", {"reason": reason})

    def sent(self, *errors: ClusterError) -> list[tuple[str, str, Any]]:
        """All that waits, sent."""
        api = Api(*errors)

        async def main() -> None:
            running = asyncio.create_task(self.events.run(cast(Cluster, api)))
            for _ in range(3 + len(self.events._waiting)):
                await asyncio.sleep(0)
            assert not running.done()
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

        self.runner.run(main())
        return api.posted


@pytest.fixture
def scene() -> Iterator[Scene]:
    with asyncio.Runner() as runner:
        yield Scene(runner)


@pytest.fixture(autouse=True)
def said() -> Iterator[Lines]:
    with capture_logs() as lines:
        yield lines


def named(number: int) -> Notice:
    return Notice("ForeignSecret", "foreign", f"team-{number}", "Secret", "ghcr-secret")


def test_said_once_an_hour_and_always_counted(scene: Scene, said: Lines) -> None:
    for minutes, times in ((0, 1), (1, 1), (58, 1), (2, 2), (59, 2)):
        scene.now += timedelta(minutes=minutes)
        scene.events.record(FOREIGN)
        assert len(said) == times, minutes
    assert scene.counted("ForeignSecret") == 5
    assert len(scene.sent()) == 2
    assert scene.sent() == []


def test_news_are_an_event_each_time_and_no_line(scene: Scene, said: Lines) -> None:
    """Whoever has news writes a line of his own."""
    for _ in range(2):
        scene.events.record(replace(FOREIGN, reason="PullSecretUpdated", type="Normal", news=True))
    events = scene.sent()
    assert [(body["reason"], body["type"]) for _, _, body in events] == [("PullSecretUpdated", "Normal")] * 2
    assert said == []
    assert scene.counted("PullSecretUpdated") is None


def test_too_much_news_is_left_out_and_hides_no_notice(scene: Scene, said: Lines) -> None:
    scene.events.record(FOREIGN)
    for number in range(20_000):
        scene.events.record(replace(named(number), news=True))
    scene.events.record(FOREIGN)  # is still remembered
    assert len(said) == 1
    assert len(scene.sent(ClusterError(0, "TimeoutError"))) == NEWS_BURST
    scene.now += 3 * NEWS_PACE
    for number in range(10):
        scene.events.record(replace(named(number), news=True))
    assert len(scene.sent()) == 3


def test_what_concerns_one_tenant_alone_is_an_event_and_no_line(scene: Scene, said: Lines) -> None:
    quiet = replace(FOREIGN, quiet=True)
    for _ in range(2):
        scene.events.record(quiet)
    assert [line["log_level"] for line in said] == ["debug"]
    assert [body["note"] for _, _, body in scene.sent()] == [FOREIGN.message]
    assert scene.counted("ForeignSecret") == 2


def test_of_what_concerns_thousands_of_tenants_the_rest_is_said_when_it_is_met_again(scene: Scene) -> None:
    many = [replace(named(number), quiet=True) for number in range(NEWS_BURST + 3)]
    for notice in many:
        scene.events.record(notice)
    assert len(scene.sent()) == NEWS_BURST
    scene.events.record(FOREIGN)  # what is for everybody is not hidden by it
    assert len(scene.sent()) == 1
    scene.now += 3 * NEWS_PACE
    for notice in many:
        scene.events.record(notice)
    assert [path.split("/")[5] for _, path, _ in scene.sent()] == [notice.namespace for notice in many[-3:]]


def test_a_tenant_with_too_many_quiet_notices_keeps_no_other_from_being_told(scene: Scene) -> None:
    """Such as one who writes a Secret of our name and deletes it again, over and over."""
    end = replace(FOREIGN, reason="PullSecretRight", type="Normal", quiet=True)
    for _ in range(NEWS_BURST):
        scene.events.record(replace(FOREIGN, quiet=True))
        scene.events.record(end)
    scene.events.record(replace(named(1), quiet=True))
    paths = [path.split("/")[5] for _, path, _ in scene.sent()]
    assert (paths.count("team"), paths.count("team-1")) == (BURST + 1, 1)


def event_names(scene: Scene, *notices: Notice) -> list[str]:
    """As another replica, which has just started, calls them."""
    scene.events = EventRecorder(scene.metrics, lambda: scene.now, "webhook-2", "release")
    for notice in notices:
        scene.events.record(notice)
    return [body["metadata"]["name"] for _, _, body in scene.sent()]


def test_what_all_replicas_find_is_one_event_of_a_tenant(scene: Scene, said: Lines) -> None:
    quiet = replace(FOREIGN, quiet=True)
    end = replace(quiet, reason="PullSecretRight", type="Normal")
    once = event_names(scene, quiet, end)
    assert len({*once}) == 2
    scene.now += timedelta(seconds=20)
    assert event_names(scene, quiet, end) == once
    assert event_names(scene, quiet, end, quiet)[2] not in once  # it has begun again
    scene.now += SAME
    assert not {*event_names(scene, quiet)} & {*once}
    own = replace(quiet, namespace="release")
    assert event_names(scene, own) != event_names(scene, own)
    said.clear()
    scene.events.record(replace(FOREIGN, message="another"))
    assert scene.sent(ClusterError(409, "Conflict")) == []
    assert [line["event"] for line in said] == ["another"]  # and no word that an Event could not be written
    scene.events.record(replace(FOREIGN, message="another"))
    assert scene.sent() == []


def test_nobody_guesses_the_name_of_an_event_that_administrators_need(scene: Scene) -> None:
    """Who may create Events in the namespace could take it before."""
    failed = replace(FOREIGN, reason="SupplyFailed")
    assert event_names(scene, failed) != event_names(scene, failed)


def test_that_a_source_is_down_is_said_more_often(scene: Scene, said: Lines) -> None:
    """What is no longer said is over."""
    down = Notice("SourceUnavailable", "source sql: it cannot be reached", "release", "Service", "webhook")
    for minutes, times in ((0, 1), (9, 1), (1, 2), (9, 2)):
        scene.now += timedelta(minutes=minutes)
        scene.events.record(down)
        assert len(said) == times, minutes


def test_what_begins_again_after_its_end_is_said_again_however_soon(scene: Scene, said: Lines) -> None:
    down = Notice("SourceUnavailable", "source sql: refused", "release", "Service", "webhook", source="sql")
    of_alice, feed = replace(down, owner="alice"), replace(down, reason="SourceFeedBroken")
    end = replace(down, reason="SourceAnswers", message="it answers again", type="Normal")
    for notice in (down, of_alice, feed, end, down, of_alice, feed, end):
        scene.events.record(notice)
    assert [line["event"] for line in said if line["reason"] == "SourceUnavailable"] == [down.message] * 3
    assert [line["log_level"] for line in said if line["reason"] == "SourceAnswers"] == ["info"] * 2
    assert [body["type"] for _, _, body in scene.sent() if body["reason"] == "SourceAnswers"] == ["Normal"] * 2
    assert len([line for line in said if line["reason"] == "SourceFeedBroken"]) == 1


@pytest.mark.parametrize(
    "other",
    [
        Notice("Unreadable", FOREIGN.message, "team", "Secret", "ghcr-secret"),
        Notice("ForeignSecret", "another text", "team", "Secret", "ghcr-secret"),
        Notice("ForeignSecret", FOREIGN.message, "other", "Secret", "ghcr-secret"),
        Notice("ForeignSecret", FOREIGN.message, "team", "ServiceAccount", "ghcr-secret"),
        Notice("ForeignSecret", FOREIGN.message, "team", "Secret", "other"),
        Notice("ForeignSecret", FOREIGN.message, "team", "Secret", "ghcr-secret", owner="alice"),
        Notice("ForeignSecret", FOREIGN.message, "team", "Secret", "ghcr-secret", source="sql"),
    ],
)
def test_what_differs_is_said_too(other: Notice, scene: Scene, said: Lines) -> None:
    scene.events.record(FOREIGN)
    scene.events.record(other)
    assert [line["event"] for line in said] == [FOREIGN.message, other.message]
    assert len(scene.sent()) == 2


def test_log_line(scene: Scene, said: Lines) -> None:
    scene.events.record(FOREIGN)
    scene.events.record(Notice("PullSecretDeleted", "it is gone", "team", "Secret", "ghcr-secret", "Normal"))
    assert said == [
        {
            "event": FOREIGN.message,
            "reason": "ForeignSecret",
            "about": "Secret team/ghcr-secret",
            "log_level": "warning",
        },
        {"event": "it is gone", "reason": "PullSecretDeleted", "about": "Secret team/ghcr-secret", "log_level": "info"},
    ]


def provoked(number: int, namespace: str = "mallory") -> Notice:
    return Notice("AccountRefuses", f"account {number} refuses", namespace, "ServiceAccount", f"a-{number}")


def source_secret(number: int) -> Notice:
    return Notice("SourceSecretBroken", "it is empty", "release", "Secret", f"s-{number}")


def test_one_namespace_is_said_a_few_things_and_then_ever_fewer(scene: Scene, said: Lines) -> None:
    for number in range(1000):
        scene.events.record(provoked(number))
    assert scene.counted("AccountRefuses") == 1000
    assert [line["reason"] for line in said] == ["AccountRefuses"] * BURST + ["NoticesLeftOut"]
    assert scene.metrics.registry.get_sample_value("pullsecret_webhook_notices_left_out_total") == 1000 - BURST
    for _ in range(3600):
        scene.now += timedelta(seconds=1)
        scene.events.record(provoked(int(scene.now.timestamp())))
    assert len(said) <= BURST + timedelta(hours=1) / PACE + 2
    assert len(scene.sent()) == len(said)


def test_what_was_left_out_is_said_when_it_is_told_again(scene: Scene, said: Lines) -> None:
    for number in range(BURST + 1):
        scene.events.record(provoked(number))
    said.clear()
    scene.now += PACE
    scene.events.record(provoked(0))
    scene.events.record(provoked(BURST))
    assert [line["about"] for line in said] == [f"ServiceAccount mallory/a-{BURST}"]


def test_nobody_keeps_others_from_being_heard(scene: Scene, said: Lines) -> None:
    """Of many namespaces that provoke all they can, and owners about whom a source says ever new things."""
    for namespace in range(100):
        for number in range(100):
            scene.events.record(provoked(number, f"mallory-{namespace}"))
    for number in range(100):
        of = Notice("SourceAnswerBroken", f"problem {number}", "release", "Service", "webhook", owner="mallory")
        scene.events.record(of)
    broken = [source_secret(number) for number in range(37)]
    down = Notice("SourceUnavailable", "source sql: it cannot be reached", "release", "Service", "webhook")
    for notice in (*broken, FOREIGN, down):
        scene.events.record(notice)
    bodies = [body for _, _, body in scene.sent()]
    assert len(bodies) <= MAX_WAITING
    assert [body["reason"] for body in bodies[:38]].count("SourceSecretBroken") == 37
    assert down.message in [body["note"] for body in bodies[:38]]
    assert FOREIGN.message in [body["note"] for body in bodies]
    assert len({line["about"] for line in said if line["reason"] == "SourceSecretBroken"}) == 37


def test_an_event_that_had_to_go_is_said_again(scene: Scene, said: Lines) -> None:
    for namespace in range(MAX_WAITING // BURST + 5):
        for number in range(BURST):
            scene.events.record(provoked(number, f"mallory-{namespace}"))
    bodies = [body for _, _, body in scene.sent()]
    assert len(bodies) == MAX_WAITING
    written = {(body["metadata"]["namespace"], body["regarding"]["name"]) for body in bodies}
    lost = next(n for space in range(5) for n in [provoked(BURST - 1, f"mallory-{space}")] if _key(n) not in written)
    said.clear()
    scene.now += PACE
    scene.events.record(lost)
    assert len(said) == 1


def _key(notice: Notice) -> tuple[str, str]:
    return notice.namespace, notice.name


@pytest.mark.parametrize(
    ("error", "times"),
    [
        (ClusterError(0, "TimeoutError"), 1),
        (ClusterError(503, "ServiceUnavailable"), 1),
        (ClusterError(403, "Forbidden"), 0),
    ],
    ids=str,
)
def test_an_event_that_nobody_took_is_said_again(error: ClusterError, times: int, scene: Scene, said: Lines) -> None:
    scene.events.record(FOREIGN)
    assert scene.sent(error) == []
    said.clear()
    scene.events.record(FOREIGN)
    assert len(said) == len(scene.sent()) == times


def test_what_is_remembered_is_bounded(scene: Scene, said: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HISTORIES", 3)
    for number, times in ((0, 1), (1, 2), (2, 3), (0, 3), (3, 4), (1, 5), (0, 5)):
        scene.events.record(named(number))
        assert len(said) == times
        assert len(scene.events._histories) <= 3


def test_so_is_what_is_remembered_of_one(scene: Scene, said: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MAX_REMEMBERED", 2)
    for number, times in ((0, 1), (1, 2), (2, 3), (1, 3), (0, 4)):
        scene.events.record(provoked(number))
        assert len(said) == times


def test_one_does_not_make_what_is_remembered_of_others_be_forgotten(scene: Scene, said: Lines) -> None:
    scene.events.record(FOREIGN)
    for number in range(10_000):
        scene.events.record(provoked(number))
    said.clear()
    scene.events.record(FOREIGN)
    assert said == []


def test_event(scene: Scene) -> None:
    scene.events.record(FOREIGN)
    scene.events.record(Notice("AccountRefuses", "x", "team", "ServiceAccount", "builder", "Normal"))
    (method, path, first), (_, _, second) = scene.sent()
    assert (method, path) == ("POST", "/apis/events.k8s.io/v1/namespaces/team/events")
    names = [event["metadata"].pop("name") for event in (first, second)]
    assert names[0].startswith("ghcr-secret.")
    assert names[1].startswith("builder.")
    assert first == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "team", "annotations": {}},
        "eventTime": "2026-11-23T17:05:09.000120Z",
        "reportingController": "pullsecret-webhook",
        "reportingInstance": "webhook-1",
        "action": "Supply",
        "reason": "ForeignSecret",
        "type": "Warning",
        "note": FOREIGN.message,
        "regarding": {"apiVersion": "v1", "kind": "Secret", "name": "ghcr-secret", "namespace": "team"},
    }
    assert second["type"] == "Normal"
    assert second["regarding"] == {"apiVersion": "v1", "kind": "ServiceAccount", "name": "builder", "namespace": "team"}


def test_what_an_event_about_a_source_is_about_is_in_its_annotations(scene: Scene) -> None:
    for owner, source in (("a: b", "sql"), ("a: b", ""), ("", "http-2")):
        scene.events.record(
            Notice("SourceUnavailable", "x", "release", "Service", "webhook", owner=owner, source=source)
        )
    assert {frozenset(body["metadata"]["annotations"].items()) for _, _, body in scene.sent()} == {
        frozenset({("pullsecret-webhook/owner", "a: b"), ("pullsecret-webhook/source", "sql")}),
        frozenset({("pullsecret-webhook/owner", "a: b")}),
        frozenset({("pullsecret-webhook/source", "http-2")}),
    }


def test_the_same_again_gets_a_name_of_its_own(scene: Scene) -> None:
    names = set()
    for _ in range(3):
        scene.now += timedelta(hours=1)
        scene.events.record(FOREIGN)
        names |= {body["metadata"]["name"] for _, _, body in scene.sent()}
    assert len(names) == 3


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("x" * 1025, "x" * 1021 + "..."),
        ("x" * 1024, "x" * 1024),
        ("x" + "\u00e9" * 600, "x" + "\u00e9" * 510 + "..."),
        ("\u00e9", "\u00e9"),
        ("a\nb\x1b[31m\u202e", "a?b?[31m?"),
        ("\ud800", "?"),
        ("y" * 5_000_000, "y" * 1021 + "..."),
    ],
    ids=range(7),
)
def test_a_message_is_one_line_and_bounded_wherever_it_is_shown(
    text: str, note: str, scene: Scene, said: Lines
) -> None:
    scene.events.record(Notice("ForeignSecret", text, "team", "Secret", "ghcr-secret"))
    ((_, _, body),) = scene.sent()
    assert body["note"] == said[0]["event"] == note


def test_so_is_a_name_that_somebody_made_up(scene: Scene, said: Lines) -> None:
    scene.events.record(Notice("AccountRefuses", "x", "team", "ServiceAccount", "a\n" * 1000))
    assert len(said[0]["about"]) < 300
    assert "\n" not in said[0]["about"]


@pytest.mark.parametrize("name", ["a" * 253, "a" * 235 + ".-" + "a" * 16])
def test_the_name_of_an_event_is_a_name(name: str, scene: Scene) -> None:
    scene.events.record(Notice("AccountRefuses", "x", "team", "ServiceAccount", name))
    ((_, _, body),) = scene.sent()
    assert is_name(body["metadata"]["name"])
    assert "-." not in body["metadata"]["name"]
    assert body["regarding"]["name"] == name


@pytest.mark.parametrize(
    "error", [ClusterError(403, "Forbidden", "the server's own words"), ClusterError(0, "TimeoutError")], ids=str
)
def test_one_that_cannot_be_written_is_logged_and_the_next_is_sent(
    error: ClusterError, scene: Scene, said: Lines
) -> None:
    scene.events.record(named(1))
    scene.events.record(named(2))
    said.clear()
    assert [path for _, path, _ in scene.sent(error)] == ["/apis/events.k8s.io/v1/namespaces/team-2/events"]
    assert said == [
        {
            "event": "an Event could not be written",
            "namespace": "team-1",
            "reason": "ForeignSecret",
            "error": str(error),
            "log_level": "info",
        }
    ]
    assert "own words" not in str(said)


@pytest.mark.parametrize("namespace", ["", "..", "a/b", "a/../b", "Team", "a b", "a?x=1", "a%2Fb", "a" * 254, "-a"])
def test_what_is_no_name_becomes_no_path(namespace: str, scene: Scene, said: Lines) -> None:
    scene.events.record(Notice("ForeignSecret", "foreign", namespace, "Secret", "ghcr-secret"))
    scene.events.record(FOREIGN)
    assert [path for _, path, _ in scene.sent()] == ["/apis/events.k8s.io/v1/namespaces/team/events"]
    assert len(said) == 2
