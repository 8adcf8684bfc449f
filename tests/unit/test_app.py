"""The start: a part that ends, ends the process, also in the first moments."""

import asyncio
import gc
import socket
from collections.abc import Coroutine
from typing import cast

import pytest

from webhook.app import MIDDLE_COLLECTIONS, App
from webhook.config import reading
from webhook.config.models import Config
from webhook.kube.cluster import Cluster


class Silent:
    """An API server that answers no more."""

    async def call(self, *_: object, **__: object) -> bytes:
        await asyncio.Event().wait()
        raise AssertionError


class Broken(App):
    """A feed ends in the same moment in which the source is settled, while the start waits for both."""

    async def _certificates(self) -> list[Coroutine[None, None, None]]:
        return []

    def _runs(self) -> list[Coroutine[None, None, None]]:
        return [self._begin(), self._ends()]

    async def _ends(self) -> None:
        await asyncio.sleep(0)
        self._source.settled.set()
        raise LookupError


async def _checked(*_: object) -> None:
    """The API server was there."""


def test_a_feed_that_ends_while_the_start_waits_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook.kube.preflight.check", _checked)

    async def main() -> None:
        with socket.socket() as tls, socket.socket() as plain:
            for each in (tls, plain):
                each.bind(("127.0.0.1", 0))
            async with asyncio.timeout(10):
                await Broken(Config(), cast(Cluster, Silent())).run(tls, plain)

    with pytest.raises(ExceptionGroup) as error:
        asyncio.run(main())
    assert error.group_contains(LookupError)


@pytest.mark.parametrize(("how", "waits"), [("rewrite", True), ("node", False)])
def test_a_replica_is_not_ready_before_it_knows_which_mirrors_answer(how: str, waits: bool) -> None:
    config = reading.convert({"mirrors": [{"of": "ghcr.io", "to": "m.test", "how": how}]})
    assert ("mirrors" in App(config, cast(Cluster, Silent()))._missing().split(", ")) == waits


def test_a_replica_is_able_while_its_sources_and_its_watches_are() -> None:
    app = App(Config(), cast(Cluster, Silent()))
    source, views = app._source, app._parts.state.views.values()
    for view in views:
        view.in_touch()
    assert not app._able(), "its source lists nothing yet"
    source.able = lambda: True  # type: ignore[method-assign]
    assert app._able()
    next(iter(views)).out_of_touch()
    assert not app._able()


def test_two_replicas_on_one_host_do_not_take_each_other_for_themselves() -> None:
    """Each would go on asking registries in the other's turn, and their writes would be conflicts."""
    one, other = (App(Config(), cast(Cluster, Silent()))._checker for _ in range(2))
    assert one is not None
    assert other is not None
    assert one.kept._me != other.kept._me


def test_full_garbage_collections_are_rarer_from_when_all_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """And they leave out what was known then. Not from the start: the lists leave garbage."""
    app, did = App(Config(replicas=1), cast(Cluster, Silent())), list[object]()
    monkeypatch.setattr(gc, "freeze", lambda: did.append("freeze"))
    monkeypatch.setattr(gc, "set_threshold", lambda *thresholds: did.append(thresholds))

    async def background() -> None:
        did.append("background")

    monkeypatch.setattr(app._parts.refresh, "run", background)

    async def main() -> None:
        begun = asyncio.create_task(app._begin())
        app._source.settled.set()
        await asyncio.sleep(0.01)
        assert did == []
        for view in app._parts.state.views.values():
            view.told.set()
        await begun

    asyncio.run(main())
    young, middle, _ = gc.get_threshold()
    assert did == ["freeze", (young, middle, MIDDLE_COLLECTIONS), "background"]
