"""What is said of a watch, and what becomes of an object that can no longer be read."""

import asyncio
import weakref
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from webhook.core.metrics import Metrics
from webhook.core.notice import Notice
from webhook.core.pullsecret import Namespace
from webhook.kube import reflector
from webhook.kube.cluster import ClusterError
from webhook.kube.listing import Unread
from webhook.kube.reflector import LOG_AGAIN_SECONDS, Feed, Health
from webhook.kube.views import View
from webhook.kube.watch import Changed, Replaced

DOWN, OTHER = ClusterError(503, "ServiceUnavailable"), ClusterError(0, "SocketTimeoutError")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(reflector, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def test_a_failure_is_said_once_and_again_when_it_comes_back_later(clock: SimpleNamespace) -> None:
    health = Health("namespaces", Metrics(), lambda _: None)
    with capture_logs() as logs:
        for error in (DOWN, DOWN, OTHER, DOWN, OTHER, ClusterError(410, "Expired")):
            health.failed(error)
        assert [line["error"] for line in logs] == [str(DOWN), str(OTHER)]
        health.works()
        health.failed(DOWN)  # it flaps
        clock.now += 2 * LOG_AGAIN_SECONDS
        health.failed(OTHER)
        assert len(logs) == 3
        health.works()
        health.failed(DOWN)
        health.failed(DOWN)
    assert len(logs) == 4


def test_a_view_knows_whether_its_watch_works() -> None:
    view: View[Namespace] = View()
    health = Health("namespaces", Metrics(), lambda _: None, view=view)
    health.works()
    assert not view.behind()
    health.failed(DOWN)
    assert view.behind()


def test_an_object_that_cannot_be_read_is_named_in_an_event_and_a_metric() -> None:
    metrics, told, gone = Metrics(), list[Notice](), list[Unread]()
    health = Health("serviceaccounts", metrics, told.append, kind="ServiceAccount", gone=gone.append)
    one = Unread("team", "odd", 7, "it cannot be decoded")
    health.left_out(one)
    assert told == [
        Notice(
            "Unreadable", "the webhook leaves this object out: it cannot be decoded", "team", "ServiceAccount", "odd"
        )
    ]
    assert gone == [one]
    assert metrics.registry.get_sample_value(
        "pullsecret_webhook_unreadable_objects_total", {"resource": "serviceaccounts"}
    )


def test_one_without_a_name_is_logged() -> None:
    told = list[Notice]()
    health = Health("secrets", Metrics(), told.append, kind="Secret")
    with capture_logs() as logs:
        for _ in range(3):
            health.left_out(Unread("team", "x\ny", None, "it cannot be decoded"))
    assert not told
    assert [line["error"] for line in logs] == ["team/?: it cannot be decoded"]


def test_an_error_of_ours_about_an_object_says_where_it_is_but_not_all_the_time() -> None:
    told, bug = list[Notice](), KeyError("secret")
    health = Health("secrets", Metrics(), told.append, kind="Secret")
    with capture_logs() as logs:
        for number in range(3):
            health.left_out(Unread("team", "odd", number, "it cannot be used (KeyError)", bug))
    assert len(told) == 3
    assert [line["exc_info"] for line in logs] == [bug]
    assert "secret" not in {line["error"] for line in logs}


def test_a_list_is_not_kept_when_it_was_taken_in() -> None:
    class Listed(dict[str, Namespace]):
        """A dict cannot be referred to weakly."""

    class Said:
        async def events(self) -> AsyncIterator[Replaced[Namespace] | Changed[Namespace]]:
            listed = Listed(a=Namespace("a", "u", 1, "alice"))
            ref = weakref.ref(listed)
            yield Replaced(listed, 1)
            del listed
            assert ref() is None
            told.append("the end")

    told: list[str] = []
    asyncio.run(Feed(cast(Any, Said()), View[Namespace](), told.append).run())
    assert told == ["a", "the end"]


def test_an_error_of_ours_about_one_namespace_ends_no_feed() -> None:
    def namespace(name: str, version: int) -> tuple[str, Namespace]:
        return name, Namespace(name, "u", version, "alice")

    class Said:
        async def events(self) -> AsyncIterator[Replaced[Namespace] | Changed[Namespace]]:
            yield Replaced(dict([namespace("a", 1), namespace("b", 1)]), 1)
            yield Changed(*namespace("a", 2), gone=False)
            yield Changed(*namespace("b", 3), gone=False)

    looked: list[str] = []

    def look(name: str) -> None:
        if name == "a":
            raise AttributeError(name)
        looked.append(name)

    with capture_logs() as logs:
        asyncio.run(Feed(cast(Any, Said()), View[Namespace](), look).run())
    assert looked == ["b", "b"]
    assert [line["about"] for line in logs] == ["a", "a"]
