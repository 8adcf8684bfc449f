"""What another replica should have written and has not, this one writes."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any

from support.simulated import Stepping
from webhook.core.pullsecret import ExistingSecret, Namespace
from webhook.kube.views import State
from webhook.overdue import OVERDUE_SECONDS, Overdue


class Scene:
    def __init__(self) -> None:
        self.state, self.own, self.late = State.empty(), {"mine"}, set[str]()
        self.looked: list[str] = []
        self.judged: list[str] = []
        for name in ("mine", "other"):
            self.state.namespaces.learn(name, Namespace(name, "uid", 1, "alice"))
        self.overdue = Overdue(self.state, self.own.__contains__, self._is_late, self.looked.append)

    def _is_late(self, name: str) -> bool:
        self.judged.append(name)
        return name in self.late

    def written(self, version: int) -> None:
        secret = ExistingSecret("other", "uid", version, True, True, False, False, "alice", b"")
        self.state.pull_secrets.learn("other", secret)

    def play(self, script: Coroutine[Any, Any, None]) -> None:
        async def main() -> None:
            running = asyncio.create_task(self.overdue.run())
            await script
            running.cancel()
            with suppress(asyncio.CancelledError):
                await running

        loop = Stepping()
        played = loop.create_task(main())
        while not played.done():
            loop.sleep()
        loop.close()
        played.result()


def test_what_stays_wrong_is_looked_at() -> None:
    scene = Scene()
    scene.late = {"mine", "other"}

    async def script() -> None:
        await asyncio.sleep(OVERDUE_SECONDS + 1)
        assert scene.looked == []
        await asyncio.sleep(OVERDUE_SECONDS)
        assert scene.looked == ["other"]
        assert "mine" not in scene.judged

    scene.play(script())


def test_what_was_written_meanwhile_has_time_again() -> None:
    scene = Scene()
    scene.late = {"other"}

    async def script() -> None:
        for version in range(1, 4):
            scene.written(version)
            await asyncio.sleep(OVERDUE_SECONDS)
        assert scene.looked == []

    scene.play(script())


def test_what_is_right_in_between_has_time_again() -> None:
    scene = Scene()

    async def script() -> None:
        for late in ({"other"}, set[str](), {"other"}):
            scene.late = late
            await asyncio.sleep(OVERDUE_SECONDS)
        assert scene.looked == []

    scene.play(script())
