"""What must be there and vanishes is told, once each time, and so is its return."""

from datetime import UTC, datetime, timedelta

import pytest

from webhook.core.metrics import Metrics
from webhook.core.notice import Notice, Reason
from webhook.core.presence import Presence


def scene(looks: int) -> tuple[Presence, list[Notice]]:
    told: list[Notice] = []
    now = datetime(2026, 11, 23, 10, 47, 1, tzinfo=UTC)
    gone: tuple[Reason, str] = ("WritePolicyGone", "it is gone")
    back: tuple[Reason, str] = ("WritePolicyBack", "it is back")
    return Presence(gone, back, "release", "webhook", lambda: now, told.append, looks), told


@pytest.mark.parametrize(
    ("looks", "seen", "told"),
    [
        (1, "+-", "-"),
        (1, "+---", "-"),
        (1, "+--+", "-+"),
        (1, "+-+-", "-+-"),
        (1, "--", ""),  # it was never there
        (1, "-+", ""),
        (1, "-+-", "-"),
        (2, "+-+-+", ""),
        (2, "+--+", "-+"),
        (2, "+---", "-"),
        (2, "--+-", ""),
    ],
)
def test_what_is_told(looks: int, seen: str, told: str) -> None:
    presence, notices = scene(looks)
    for one in seen:
        presence.seen(one == "+")
    assert [notice.reason for notice in notices] == [f"WritePolicy{'Back' if one == '+' else 'Gone'}" for one in told]
    assert presence.value() == float(seen[-1] == "+")


def test_how() -> None:
    presence, notices = scene(1)
    for there in (True, False, True):
        presence.seen(there)
    gone = "it is gone (since 2026-11-23 10:47:01 UTC)"
    assert notices == [
        Notice("WritePolicyGone", gone, "release", "Service", "webhook", "Warning"),
        Notice("WritePolicyBack", "it is back", "release", "Service", "webhook", "Normal"),
    ]


def test_what_lasts_is_told_again_with_the_time_of_its_beginning() -> None:
    told, time = list[Notice](), [datetime(2026, 11, 23, 10, 47, 1, tzinfo=UTC)]
    presence = Presence(
        ("MirrorSilent", "it is silent"),
        ("MirrorAnswers", "it answers"),
        "release",
        "webhook",
        lambda: time[0],
        told.append,
        expected=True,
        source="m.test",
        again=timedelta(minutes=11),
    )
    for _ in range(24):
        presence.seen(False)
        time[0] += timedelta(minutes=1)
    presence.seen(True)
    silent = Notice(
        "MirrorSilent",
        "it is silent (since 2026-11-23 10:47:01 UTC)",
        "release",
        "Service",
        "webhook",
        source="m.test",
    )
    back = Notice("MirrorAnswers", "it answers", "release", "Service", "webhook", "Normal", source="m.test")
    assert told == [silent] * 3 + [back]


def test_the_metric_is_absent_until_it_is_known() -> None:
    metrics, (presence, _) = Metrics(), scene(1)
    metrics.write_policy.value = presence.value

    def value() -> float | None:
        return metrics.registry.get_sample_value("pullsecret_webhook_write_policy_in_force")

    assert value() is None
    presence.seen(False)
    assert value() == 0
