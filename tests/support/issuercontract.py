"""What every issuer promises, as a suite: subclass `Contract`, or `AskedContract` if it asks somebody over HTTP, or
`NamedContract` if what it mints has a name there, with a `place`, and each test of it is about that issuer.

A test module of a kind of issuer brings a `Place`: the issuer, and who takes what it mints, for real where possible.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta

import pytest
import structlog

from support import planted
from support.sourcecontract import OWNERS
from webhook.core.credential import Credential
from webhook.core.dockerconfig import parse, render
from webhook.core.issued import MAX_HANDLE_CHARS
from webhook.core.registry import matching
from webhook.issuers import Issuer, IssueRefused, IssuerUnavailable, Minted, NotLeading

NAMES = ("alice", "alice2", "alice-2", "al", "7", "v2", "a.b", "a-b", "a_b", "a-b-2e7336dc", "library", *OWNERS)
"""Of owners: some begin alike, some are nearly the same, some have no place in a name."""
MAX_WHY_CHARS = 700
"""Of a message, which becomes an Event."""


async def leads() -> None:
    """The fence of the replica that leads."""


async def follows() -> None:
    raise NotLeading("another replica issues")


class Place(ABC):
    """`life`: for which its credentials are good."""

    issuer: Issuer
    life: timedelta

    @abstractmethod
    def again(self) -> Issuer:
        """As after a restart: another one with the same configuration."""

    @abstractmethod
    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        """Does it open what is this owner's, and are the owner's images what the kubelet sends it for?"""


class AskedPlace(Place):
    @abstractmethod
    def asked(self) -> int:
        """Requests until now."""

    @abstractmethod
    def answers(
        self, number: int, status: int = 0, body: bytes = b"", headers: dict[str, str] | None = None, *, lost: bool
    ) -> None:
        """To the request with this number from now on. `lost`: it has its effect, and the answer does not arrive."""

    @abstractmethod
    def clock_is_ahead(self, by: timedelta) -> None: ...


class NamedPlace(AskedPlace):
    @abstractmethod
    def minted(self, owner: str) -> int:
        """Credentials of an owner that are there."""

    @abstractmethod
    def takes_the_name(self, owner: str, generation: int) -> None:
        """Somebody else makes what has the name that the next credential will have."""


class Contract:
    username: str | None = None
    """With which everybody logs in; None: each owner has another one."""

    def at(self) -> AbstractAsyncContextManager[Place]:
        """A place where nothing is minted."""
        raise NotImplementedError

    @pytest.fixture(autouse=True)
    def _quiet(self) -> Iterator[None]:
        with structlog.testing.capture_logs() as logs:
            yield
        assert not planted.leaks(repr(logs))

    def _in(self, scenario: Callable[[Place], Awaitable[None]]) -> None:
        async def run() -> None:
            async with self.at() as place:
                await scenario(place)

        asyncio.run(run())

    def test_each_owner_gets_what_opens_its_own_and_nothing_of_others_or_is_told_what_to_do(self) -> None:
        async def scenario(place: Place) -> None:
            found = dict[str, Minted]()
            for owner in NAMES:
                try:
                    found[owner] = await place.issuer.issue(owner, 1, leads)
                except IssueRefused as e:
                    assert not e.everybody
                    assert len(str(e)) < MAX_WHY_CHARS
                    assert str(e).isprintable()
            assert 3 < len(found) < len(NAMES)
            for owner, minted in found.items():
                for c in minted.credentials:
                    assert [other for other in found if await place.opens(c, other)] == [owner]
            # None is taken for another one in a pull secret, or in a log of the registry.
            every = [c for minted in found.values() for c in minted.credentials]
            assert len({c.registry for c in every}) == len(every)
            assert len({c.username for c in every}) == len(every) or {c.username for c in every} == {self.username}

        self._in(scenario)

    def test_the_kubelet_sends_it_for_what_is_below(self) -> None:
        async def scenario(place: Place) -> None:
            for c in (await place.issuer.issue("alice", 1, leads)).credentials:
                host, _, below = c.registry.partition("/")
                assert matching([c.registry], f"{host}/{below}app:1") == (c.registry,)
                assert matching([c.registry], f"{host}/{below.rstrip('/')}2/app:1") == ()

        self._in(scenario)

    def test_what_is_minted_can_be_stored(self) -> None:
        async def scenario(place: Place) -> None:
            minted = await place.issuer.issue("alice", 1, leads)
            assert timedelta(0) <= place.life - minted.life < timedelta(minutes=1)
            assert len(minted.handle) <= MAX_HANDLE_CHARS
            read = parse(render(minted.credentials))
            assert read.problems == ()
            stored = {(c.registry, c.login) for c in read.credentials}
            assert stored == {(c.registry, c.login) for c in minted.credentials}
            assert not [c for c in minted.credentials if c.password in repr(minted)]

        self._in(scenario)

    def test_the_one_before_goes_on(self) -> None:
        async def scenario(place: Place) -> None:
            minted = [await place.issuer.issue("alice", generation, leads) for generation in (1, 2, 3)]
            for one in minted:
                assert all([await place.opens(c) for c in one.credentials])
            assert len({one.handle for one in minted}) == (3 if minted[0].handle else 1)

        self._in(scenario)

    def test_the_same_generation_again_is_after_a_crash(self) -> None:
        async def scenario(place: Place) -> None:
            first = await place.issuer.issue("alice", 1, leads)
            again = place.again()
            second = await again.issue("alice", 1, leads)
            await again.close()
            assert all([await place.opens(c) for c in second.credentials])
            if first.handle:
                assert not any([await place.opens(c) for c in first.credentials])

        self._in(scenario)

    def test_who_does_not_lead_takes_nothing_away(self) -> None:
        async def scenario(place: Place) -> None:
            first = await place.issuer.issue("alice", 1, follows)  # nothing is there to be taken away
            if first.handle:
                with pytest.raises(NotLeading):
                    await place.issuer.issue("alice", 1, follows)
            assert all([await place.opens(c) for c in first.credentials])

        self._in(scenario)

    def test_what_is_ended_is_gone_and_nothing_else(self) -> None:
        async def scenario(place: Place) -> None:
            first, second = [await place.issuer.issue("alice", generation, leads) for generation in (1, 2)]
            for handle in (first.handle, first.handle, "", "another one's", "0/x", "7/../../projects/alice"):
                await place.issuer.end(handle)
            assert all([await place.opens(c) for c in second.credentials])
            assert {await place.opens(c) for c in first.credentials} == {not first.handle}

        self._in(scenario)


class AskedContract(Contract):
    def at(self) -> AbstractAsyncContextManager[AskedPlace]:
        raise NotImplementedError

    async def _steps(self) -> int:
        """Requests that it takes after a crash, which are the most."""
        async with self.at() as place:
            await place.issuer.issue("alice", 1, leads)
            before = place.asked()
            await place.issuer.issue("alice", 1, leads)
            return place.asked() - before

    def test_a_pause_that_is_asked_for_is_handed_on(self) -> None:
        async def scenario() -> None:
            for at in range(1, await self._steps() + 1):
                for status in (429, 503):
                    failed = await self._fails(at, status, b"", {"Retry-After": "7"})
                    assert isinstance(failed, IssuerUnavailable)
                    assert failed.retry_after == 7.0

        asyncio.run(scenario())

    @pytest.mark.parametrize(
        ("status", "body", "headers"),
        [
            (429, b"", {}),
            (500, b'{"errors":[{"code":"UNKNOWN","message":"internal server error"}]}', {}),
            (502, b"<html><head><title>502 Bad Gateway</title></head></html>", {"Content-Type": "text/html"}),
            (302, b"", {"Location": "/elsewhere"}),
            (200, b"<html>a page that says all is well</html>", {"Content-Type": "text/html"}),
            (201, b"", {}),
            (201, b"[" * 60000, {}),
            (201, b'{"id":1,"name":"x","secret":"' + b"y" * 5_000_000 + b'"}', {}),
            (201, b"\xff\xfe\x00", {}),
        ],
        ids=["429", "500", "502", "redirect", "page", "empty", "nested", "5MB", "bytes"],
    )
    def test_odd_answers_are_none(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        async def scenario() -> None:
            for at in range(1, await self._steps() + 1):
                await self._fails(at, status, body, headers)

        asyncio.run(scenario())

    async def _fails(self, at: int, status: int, body: bytes, headers: dict[str, str]) -> Exception:
        """With an error that says so, and asks nobody else."""
        async with self.at() as place:
            await place.issuer.issue("alice", 1, leads)
            before = place.asked()
            place.answers(at, status, body, headers, lost=False)
            with pytest.raises((IssuerUnavailable, IssueRefused)) as failed:
                await place.issuer.issue("alice", 1, leads)
            assert place.asked() - before <= at + (status < 300)  # it may pass for success of a deletion
            assert len(str(failed.value)) < MAX_WHY_CHARS
            assert not planted.leaks(str(failed.value))
            return failed.value

    @pytest.mark.parametrize("hours", [-30, 30])
    def test_lives_are_counted_by_its_clock(self, hours: int) -> None:
        async def scenario() -> None:
            async with self.at() as place:
                place.clock_is_ahead(timedelta(hours=hours))
                minted = await place.issuer.issue("alice", 1, leads)
                assert timedelta(0) <= place.life - minted.life < timedelta(minutes=1)

        asyncio.run(scenario())


class NamedContract(AskedContract):
    def at(self) -> AbstractAsyncContextManager[NamedPlace]:
        raise NotImplementedError

    def test_after_a_crash_at_any_step_the_next_one_works_and_none_is_left_over(self) -> None:
        async def crashed(at: int, *, lost: bool) -> None:
            async with self.at() as place:
                await place.issuer.issue("alice", 1, leads)  # what a crash left undone
                before = place.asked()
                place.answers(at, 0 if lost else 500, lost=lost)
                with suppress(IssuerUnavailable):
                    await place.issuer.issue("alice", 1, leads)
                assert place.asked() - before >= at
                again = place.again()
                minted = await again.issue("alice", 1, leads)
                await again.close()
                assert all([await place.opens(c) for c in minted.credentials])
                assert place.minted("alice") == 1

        async def scenario() -> None:
            steps = await self._steps()
            assert steps > 2
            for at in range(1, steps + 1):
                await crashed(at, lost=False)
                await crashed(at, lost=True)

        asyncio.run(scenario())

    def test_what_others_made_under_our_name_stays(self) -> None:
        async def scenario() -> None:
            async with self.at() as place:
                place.takes_the_name("alice", 1)
                with pytest.raises(IssueRefused) as refused:
                    await place.issuer.issue("alice", 1, leads)
                assert not refused.value.everybody
                assert place.minted("alice") == 1
                minted = await place.issuer.issue("alice", 2, leads)
                assert all([await place.opens(c) for c in minted.credentials])

        asyncio.run(scenario())
