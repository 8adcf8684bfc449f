"""Which mirrors answer, in time that the tests make pass; and over HTTP, what counts as an answer."""

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.loopback import Loopback
from support.registryserver import answer, asks, json_answer
from support.simulated import Stepping
from webhook.checks.mirrorhealth import AGAIN_SECONDS, ANSWER_SECONDS, EVERY_SECONDS, MirrorHealth
from webhook.checks.registryclient import RegistryClient
from webhook.core.check import Why
from webhook.core.notice import Notice
from webhook.core.presence import Presence

START = datetime(2030, 1, 1, tzinfo=UTC)
HOST, OTHER = "m.test", "n.test:5000"


@dataclass
class Mirrors:
    """`says`: by host, what is answered each time; the last for ever. None: it never answers."""

    says: dict[str, list[Why | None]]
    asked: Counter[str] = field(default_factory=Counter)

    async def answers(self, host: str) -> Why:
        script = self.says[host]
        said = script[min(self.asked[host], len(script) - 1)]
        self.asked[host] += 1
        if said is None:
            await asyncio.sleep(3600)
            raise AssertionError("it was waited for too long")
        return said


class Scene:
    def __init__(self, *says: Why | None) -> None:
        random.seed(1)
        self.loop, self.told = Stepping(), list[Notice]()
        self.mirrors = Mirrors({HOST: [*says], OTHER: [Why.NONE]})

        def presence(host: str) -> Presence:
            back = f"the mirror {host} answers"
            now = lambda: START + timedelta(seconds=self.loop.time())  # noqa: E731
            return Presence(
                ("MirrorSilent", ""), ("MirrorAnswers", back), "ours", "us", now, self.told.append, expected=True
            )

        self.health = MirrorHealth([HOST, OTHER], self.mirrors, presence)
        self.task = self.loop.create_task(self.health.run())
        self.loop.settle()

    def passes(self, seconds: float) -> None:
        until = self.loop.time() + seconds
        while self.loop.time() < until:
            assert self.loop.sleep()

    def asked(self, times: int) -> None:
        """Until the first mirror was asked so often."""
        while self.mirrors.asked[HOST] < times:
            assert self.loop.sleep()
        assert self.mirrors.asked[HOST] == times

    def end(self) -> None:
        self.task.cancel()
        self.loop.settle()
        self.loop.close()


def test_at_first_no_mirror_is_used_until_it_has_answered() -> None:
    scene = Scene(None)
    assert scene.health.silent() == {HOST}
    assert scene.health.up() == {OTHER: 1}
    assert not scene.health.asked()
    scene.passes(2 * ANSWER_SECONDS + AGAIN_SECONDS)
    assert scene.health.asked()
    assert scene.health.silent() == {HOST}
    assert scene.health.up() == {HOST: 0, OTHER: 1}
    (said,) = scene.told
    assert (said.reason, said.type, said.kind, said.name) == ("MirrorSilent", "Warning", "Service", "us")
    assert said.message.startswith("the mirror m.test cannot be used (it did not answer in time): images of new pods")
    scene.end()


def test_one_answer_that_is_lost_changes_nothing() -> None:
    scene = Scene(Why.NONE, Why.NO_CONNECTION, Why.NONE)
    scene.asked(2)
    assert scene.health.silent() == frozenset()
    scene.asked(3)
    assert scene.health.silent() == frozenset()
    assert scene.told == []
    scene.end()


def test_two_in_a_row_and_it_is_silent_until_it_answers() -> None:
    scene = Scene(Why.NONE, *[Why.CERTIFICATE] * 4, Why.NONE)
    scene.asked(3)
    assert scene.health.silent() == {HOST}
    scene.asked(5)
    assert scene.health.silent() == {HOST}
    scene.asked(6)
    assert scene.health.silent() == frozenset()
    assert [one.reason for one in scene.told] == ["MirrorSilent", "MirrorAnswers"]
    assert "its certificate is not trusted" in scene.told[0].message
    scene.end()


def test_a_mirror_is_asked_every_ten_seconds_and_one_that_is_silent_delays_no_other() -> None:
    scene = Scene(None)
    scene.passes(100)
    assert 10 <= scene.mirrors.asked[OTHER] <= 14
    assert scene.mirrors.asked[HOST] <= 2 * 100 / (EVERY_SECONDS * 0.8 + 2 * ANSWER_SECONDS + AGAIN_SECONDS) + 2
    scene.end()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (asks('Basic realm="m"'), Why.NONE),
        (asks('Bearer realm="https://m.test/token"'), Why.NONE),
        (json_answer(200, {}), Why.NONE),
        (answer(200, b"<html>", "Content-Type: text/html"), Why.NO_REGISTRY),
        (answer(503), Why.BROKEN),
    ],
)
def test_what_counts_as_an_answer(tmp_path: Path, said: bytes, why: Why) -> None:
    here = Loopback(tmp_path)

    async def scenario() -> None:
        async with here.serving(lambda _: said) as server:
            client = RegistryClient(here.named(server), lambda: START)
            try:
                assert await client.answers(server.host) is why
                assert await client.answers(server.host) is why
            finally:
                await client.close()
            assert len(server.asked) == 2  # nothing is remembered
            assert server.logins == []

    asyncio.run(scenario())
