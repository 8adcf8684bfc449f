"""What every source promises, as a suite: subclass `Contract` with a `place`, and each test of it is about that source.

A test module of a kind of source brings a `Place`: the source, and where its credentials lie, for real where possible.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

import pytest
import structlog

from support import planted
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.core.notice import Notice, Reason
from webhook.sources import Source, breaker, cached

WITHIN = 5.0
OWNERS = (
    "alice@example.com",
    "c-m-abc:p-xyz",
    "../alice",
    "a/b",
    "a?b=c&owner=alice",
    "a#b",
    "%2e%2e%2falice",
    "a%00b",
    "a b",
    "a+b",
    "a;b",
    "a\\b",
    "émile",
    "e\u0301mile",
    "' OR '1'='1",
    "x'; DROP TABLE git_connections; --",
    "{owner}",
    "$1 %s :owner",
    "A" * 253,
)
"""Owners are opaque: each is one of its own."""


def credential(registry: str = "ghcr.io", username: str = "u") -> Credential:
    return Credential(registry, username, planted.token())


class Place(ABC):
    """`metrics`, `hear` and `record` are what its source was made with; `heard` and `said` what came of them."""

    source: Source

    def __init__(self) -> None:
        self.heard: list[str | None] = []
        self.said: list[Notice] = []
        self.metrics = Metrics()

    @abstractmethod
    async def gives(self, owner: str, *credentials: Credential) -> None:
        """From now on these are the owner's; none: the owner has none. What the source knew of it before is old."""

    @abstractmethod
    async def goes_down(self) -> None:
        """From now on nobody can say. What the source knew before is old."""

    @abstractmethod
    async def comes_back(self) -> None: ...

    def report(self, reason: Reason, message: str, _owner: str) -> None:
        self.said.append(Notice(reason, message, "release", "Service", "webhook"))

    async def until(self, what: Callable[[], bool]) -> None:
        async with asyncio.timeout(WITHIN):
            while not what():  # noqa: ASYNC110  # what is waited for is no event
                await asyncio.sleep(0.01)

    async def has(self, owner: str, *credentials: Credential) -> Credentials:
        """Asks until the source says just that, as looks at the owner's namespaces would."""
        found: Credentials | None = None
        try:
            async with asyncio.timeout(WITHIN):
                while True:
                    with suppress(SourceUnavailable):
                        found = await self.source.credentials(owner)
                        if {*found.items} == {*credentials}:
                            return found
                    await asyncio.sleep(0.01)
        except TimeoutError:
            raise AssertionError(f"owner {owner!r} has {found}, expected {credentials}") from None

    def was_called(self, owner: str) -> bool:
        return owner in self.heard or None in self.heard


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[Place]:
    run = asyncio.create_task(place.source.run())
    try:
        yield place
    finally:
        run.cancel()
        with suppress(asyncio.CancelledError):
            await run


class Contract:
    def place(self) -> AbstractAsyncContextManager[Place]:
        """Empty, its source running."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """Answers of remotes are old at once if they say so, and pauses are short."""
        monkeypatch.setattr(cached, "MIN_FRESH_SECONDS", 0.02)
        monkeypatch.setattr(cached, "FEED_BACKOFF_SECONDS", 0.05)
        monkeypatch.setattr(breaker, "BACKOFF_SECONDS", 0.05)
        monkeypatch.setattr(breaker, "MAX_OWNER_BACKOFF_SECONDS", 0.2)
        with structlog.testing.capture_logs() as logs:
            yield
        assert not planted.leaks(repr(logs))

    def _in(self, scenario: Callable[[Place], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self.place() as place:
                await asyncio.wait_for(place.source.settled.wait(), WITHIN)
                await scenario(place)
                told = repr(place.said) + "".join(str(metric) for metric in place.metrics.registry.collect())
                assert not planted.leaks(told)

        asyncio.run(run())

    def test_who_has_none_is_known_to_have_none(self) -> None:
        async def scenario(place: Place) -> None:
            assert await place.source.credentials("nobody") == Credentials()

        self._in(scenario)

    def test_what_is_given_is_said_and_known_by_one_object(self) -> None:
        async def scenario(place: Place) -> None:
            given = credential()
            await place.gives("alice", given)
            said = await place.has("alice", given)
            assert await place.source.credentials("alice") is said
            known = place.source.known("alice")
            assert known is None or known is said
            await place.gives("alice", given)
            assert await place.has("alice", given) is said

        self._in(scenario)

    def test_registries_and_paths_stand_side_by_side(self) -> None:
        async def scenario(place: Place) -> None:
            given = [credential(r) for r in ("ghcr.io", "ghcr.io/alice", "ghcr.io/acme", "registry.internal:5000/p")]
            await place.gives("alice", *given)
            said = await place.has("alice", *given)
            assert [c.registry for c in said.items] == sorted(c.registry for c in given)

        self._in(scenario)

    def test_a_change_is_said_and_calls_on_the_owner(self) -> None:
        async def scenario(place: Place) -> None:
            first, second = credential(), credential()
            await place.gives("alice", first)
            before = await place.has("alice", first)
            place.heard.clear()
            await place.gives("alice", second)
            assert await place.has("alice", second) is not before
            assert place.was_called("alice")
            place.heard.clear()
            await place.gives("alice")
            await place.has("alice")
            assert place.was_called("alice")

        self._in(scenario)

    def test_what_is_doubted_is_said_as_before_if_it_is_as_before(self) -> None:
        async def scenario(place: Place) -> None:
            given = credential()
            await place.gives("alice", given)
            before = await place.has("alice", given)
            place.source.invalidate("alice")
            place.source.invalidate("nobody")
            assert await place.source.credentials("alice") is before
            place.source.invalidate("alice")  # so soon that it may not count
            assert await place.source.credentials("alice") is before

        self._in(scenario)

    def test_owners_are_opaque(self) -> None:
        async def scenario(place: Place) -> None:
            given = {owner: credential() for owner in OWNERS}
            await place.gives("alice", credential())
            for owner, one in given.items():
                await place.gives(owner, one)
            for owner, one in given.items():
                await place.has(owner, one)

        self._in(scenario)

    def test_those_who_ask_at_once_are_told_the_same(self) -> None:
        async def scenario(place: Place) -> None:
            given = credential()
            await place.gives("alice", given)
            await place.has("alice", given)
            callers = [asyncio.create_task(place.source.credentials("alice")) for _ in range(20)]
            await asyncio.sleep(0)
            callers[0].cancel()
            done = await asyncio.gather(*callers, return_exceptions=True)
            said = [one for one in done if isinstance(one, Credentials)]
            assert len(said) >= 19
            assert all(one is said[0] for one in said)

        self._in(scenario)

    def test_down_is_no_answer_and_calls_on_the_owner_when_it_is_back(self) -> None:
        async def scenario(place: Place) -> None:
            given = credential()
            await place.gives("alice", given)
            await place.goes_down()
            for owner in ("alice", "nobody"):
                with pytest.raises(SourceUnavailable) as refused:
                    await place.source.credentials(owner)
                assert not planted.leaks(str(refused.value))
                assert place.source.known(owner) is None
            assert not place.source.able(), "others are to do this replica's share"
            place.heard.clear()
            await place.comes_back()
            await place.until(lambda: place.was_called("alice") and place.was_called("nobody"))
            await place.has("alice", given)
            assert await place.source.credentials("nobody") == Credentials()
            await place.until(place.source.able)

        self._in(scenario)

    def test_down_after_it_said_something_is_no_answer_either(self) -> None:
        async def scenario(place: Place) -> None:
            given, second = credential(), credential()
            await place.gives("alice", given)
            await place.has("alice", given)
            await place.goes_down()
            await self._says_nothing_else(place, given)
            place.source.invalidate("alice")
            await self._says_nothing_else(place, given)
            await place.comes_back()
            await place.gives("alice", second)
            await place.has("alice", second)

        self._in(scenario)

    async def _says_nothing_else(self, place: Place, given: Credential) -> None:
        """Either what it said last, or that nobody can say. Never empty."""
        for _ in range(5):
            try:
                assert (await place.source.credentials("alice")).items == (given,)
            except SourceUnavailable:
                assert place.source.known("alice") is None
            await asyncio.sleep(0.02)

    def test_its_feed_ends_when_it_is_told_to(self) -> None:
        async def scenario(place: Place) -> None:
            running = asyncio.create_task(place.source.run())
            await asyncio.sleep(0.05)
            assert not running.done()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

        self._in(scenario)
