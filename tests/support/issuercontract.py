"""What every issuer promises, as a suite: subclass `Contract`, or `AskedContract` if it asks somebody over HTTP, or
`NamedContract` if what it mints has a name there, with a `place`, and each test of it is about that issuer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from datetime import timedelta
from typing import Any, ClassVar

import msgspec
import pytest
import structlog

from support import planted
from support.issuerplace import (
    MAX_WHY_CHARS,
    NAMES,
    AskedPlace,
    NamedPlace,
    Place,
    check_fails,
    checked,
    config_refused,
    follows,
    leads,
    opened,
    refused,
)
from support.vendorserver import Fault
from webhook.core.dockerconfig import parse, render
from webhook.core.errors import PullsecretError
from webhook.core.issued import MAX_HANDLE_CHARS
from webhook.core.registry import matching
from webhook.issuers import DoesNotFit, Issuer, IssueRefused, IssuerUnavailable, Minted, NotChecked, NotLeading


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
            assert all([await opened(place, one) for one in minted])
            assert len({one.handle for one in minted}) == (3 if minted[0].handle else 1)

        self._in(scenario)

    def test_the_same_generation_again_is_after_a_crash(self) -> None:
        async def scenario(place: Place) -> None:
            first = await place.issuer.issue("alice", 1, leads)
            again = place.again()
            second = await again.issue("alice", 1, leads)
            await again.close()
            assert await opened(place, second)
            if first.handle:
                assert not any([await place.opens(c) for c in first.credentials])

        self._in(scenario)

    def test_who_does_not_lead_takes_nothing_away(self) -> None:
        async def scenario(place: Place) -> None:
            first = await place.issuer.issue("alice", 1, follows)  # nothing is there to be taken away
            if first.handle:
                with pytest.raises(NotLeading):
                    await place.issuer.issue("alice", 1, follows)
            assert await opened(place, first)

        self._in(scenario)

    def test_what_is_ended_is_gone_and_nothing_else(self) -> None:
        async def scenario(place: Place) -> None:
            first, second = [await place.issuer.issue("alice", generation, leads) for generation in (1, 2)]
            for handle in (first.handle, first.handle, "", "another one's", "0/x", "7/../../projects/alice"):
                await place.issuer.end(handle)
            assert await opened(place, second)
            assert {await place.opens(c) for c in first.credentials} == {not first.handle}

        self._in(scenario)

    def test_a_check_of_what_works_says_nothing_and_makes_nothing(self) -> None:
        async def scenario(place: Place) -> None:
            minted = await place.issuer.issue("alice", 1, leads)
            made = place.made()
            assert made == place.made()
            for owner in ("alice", None):
                await self._checked(place, owner)
            assert place.made() == made
            assert await opened(place, minted)
            await place.issuer.issue("alice", 2, leads)  # what was checked goes on

        self._in(scenario)

    def test_a_check_with_a_wrong_login_says_what_issuing_says(self) -> None:
        async def scenario(place: Place) -> None:
            await place.issuer.issue("alice", 1, leads)
            place.logs_in_wrongly()
            told = await refused(place, kind=PullsecretError, at=place.again())
            made = place.made()
            for owner in ("alice", None) if self.checks_alone else ("alice",):
                found = await check_fails(place, owner)
                # Behind that are words of who was asked, such as which request it was.
                assert (type(found), str(found).partition(" (")[0]) == (type(told), str(told).partition(" (")[0])
                assert isinstance(found, IssuerUnavailable) or found.everybody
            assert place.made() == made

        self._in(scenario)

    checks_alone = True
    """It can be checked without an owner."""

    async def _checked(self, place: Place, owner: str | None) -> None:
        try:
            await checked(place, owner)
            assert owner is not None or self.checks_alone
        except NotChecked:
            assert owner is None
            assert not self.checks_alone

    def test_a_secret_is_in_its_file_what_is_asked_has_tls_and_the_registry_is_one(self) -> None:
        async def scenario(place: Place) -> None:
            for field in msgspec.structs.fields(type(place.config().issuers[0])):
                key = field.encode_name
                if key.endswith("File"):
                    config_refused(place.written | {key: planted.token()}, f"{key} must be the path of a file")
                if key.lower().endswith("endpoint"):
                    config_refused(place.written | {key: "http://plain.example.com"}, key)
            for registry in (f"https://{place.written['registry']}", "registry"):
                config_refused(place.written | {"registry": registry}, "registry")

        self._in(scenario)


IN_SEVEN_SECONDS = {"Date": "Sun, 06 Nov 1994 08:49:37 GMT", "Retry-After": "Sun, 06 Nov 1994 08:49:44 GMT"}
"""By the clock of who answers."""
ODD_ANSWERS: list[tuple[int, bytes, dict[str, str]]] = [
    (429, b"", {}),
    (500, b'{"errors":[{"code":"UNKNOWN","message":"internal server error"}]}', {}),
    (502, b"<html><head><title>502 Bad Gateway</title></head></html>", {"Content-Type": "text/html"}),
    (302, b"", {"Location": "/elsewhere"}),
    (200, b"<html>a page that says all is well</html>", {"Content-Type": "text/html"}),
    (201, b"", {}),
    (201, b"[" * 60000, {}),
    (201, b'{"id":1,"name":"x","secret":"' + b"y" * 5_000_000 + b'"}', {}),
    (201, b"\xff\xfe\x00", {}),
]


class AskedContract(Contract):
    def at(self) -> AbstractAsyncContextManager[AskedPlace[Any]]:
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
                for status, headers in ((429, {"Retry-After": "7"}), (503, IN_SEVEN_SECONDS)):
                    failed = await self._fails(at, status, b"", headers)
                    assert isinstance(failed, IssuerUnavailable)
                    assert failed.retry_after == 7.0

        asyncio.run(scenario())

    @pytest.mark.parametrize(
        ("status", "body", "headers"),
        ODD_ANSWERS,
        ids=["429", "500", "502", "redirect", "page", "empty", "nested", "5MB", "bytes"],
    )
    def test_odd_answers_are_none(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        async def scenario() -> None:
            for at in range(1, await self._steps() + 1):
                failed = await self._fails(at, status, body, headers)
                assert status != 302 or "redirects are not followed" in str(failed)

        asyncio.run(scenario())

    async def _fails(self, at: int, status: int, body: bytes, headers: Mapping[str, str]) -> Exception:
        """With an error that says so, and asks nobody else."""
        async with self.at() as place:
            await place.issuer.issue("alice", 1, leads)
            before = place.asked()
            place.answers(at, status, body, headers)
            with pytest.raises((IssuerUnavailable, IssueRefused)) as failed:
                await place.issuer.issue("alice", 1, leads)
            assert place.asked() - before <= at + (status < 300)  # it may pass for success of a deletion
            assert len(str(failed.value)) < MAX_WHY_CHARS
            assert not planted.leaks(str(failed.value))
            return failed.value

    @pytest.mark.parametrize("owner", ["alice", None])
    def test_a_check_that_gets_no_usable_answer_says_so(self, owner: str | None) -> None:
        async def at_each_step(status: int, body: bytes, headers: Mapping[str, str]) -> None:
            async with self.at() as place:
                await place.issuer.issue("alice", 1, leads)
                before = place.asked()
                await self._checked(place, owner)
                steps = place.asked() - before
                assert steps > 0 or not self.checks_alone
                made = place.made()
                for at in range(1, steps + 1):
                    before = place.asked()
                    place.answers(at, status, body, headers)
                    failed = await check_fails(place, owner)
                    assert isinstance(failed, IssuerUnavailable)
                    assert failed.retry_after >= 7.0 or "Retry-After" not in headers
                    assert place.asked() - before == at
                assert place.made() == made

        async def scenario() -> None:
            for status, body, headers in ODD_ANSWERS:
                await at_each_step(status, body, headers)
            await at_each_step(429, b"", {"Retry-After": "7"})
            await at_each_step(503, b"", IN_SEVEN_SECONDS)
            async with self.at() as place:
                place.server.every = Fault(lost=True)
                if owner is not None or self.checks_alone:
                    assert isinstance(await check_fails(place, owner), IssuerUnavailable)

        asyncio.run(scenario())

    def test_nobody_is_asked_for_an_owner_who_does_not_fit(self) -> None:
        async def scenario() -> None:
            async with self.at() as place:
                assert {await self._fits(place, owner) for owner in NAMES} == {True, False}

        asyncio.run(scenario())

    async def _fits(self, place: AskedPlace[Any], owner: str) -> bool:
        """Was somebody asked?"""
        before = place.asked()
        with suppress(IssueRefused):
            await place.issuer.issue(owner, 1, leads)
        fits = place.asked() > before
        for ask in (checked(place, owner), place.issuer.issue(owner, 2, leads)):
            before = place.asked()
            try:
                await ask
            except IssueRefused as e:
                assert isinstance(e, DoesNotFit) == (place.asked() == before)
                assert (e.everybody, e.right) == (False, False)
        return fits

    @pytest.mark.parametrize("hours", [-30, 30])
    def test_lives_are_counted_by_its_clock(self, hours: int) -> None:
        async def scenario() -> None:
            async with self.at() as place:
                place.clock_is_ahead(timedelta(hours=hours))
                minted = await place.issuer.issue("alice", 1, leads)
                assert timedelta(0) <= place.life - minted.life < timedelta(minutes=1)

        asyncio.run(scenario())

    @pytest.mark.parametrize("date", ["yesterday", "Fri, 31 Dec 9999 23:59:59 GMT"])
    def test_an_answer_that_does_not_say_what_time_it_is_is_not_counted_by_another_clock(self, date: str) -> None:
        async def scenario() -> None:
            for at in range(1, await self._steps() + 1):
                async with self.at() as place:
                    place.clock_is_ahead(timedelta(hours=30))
                    await place.issuer.issue("alice", 1, leads)
                    place.answers(at, headers={"Date": date})
                    with suppress(IssuerUnavailable):
                        minted = await place.issuer.issue("alice", 1, leads)
                        assert timedelta(0) <= place.life - minted.life < timedelta(minutes=1)

        asyncio.run(scenario())


class NamedContract(AskedContract):
    unique = True
    """There is one of a name. Elsewhere several may be made at once, until the next one takes them away."""
    shared: ClassVar[Mapping[str, Any]]
    """Keys of the configuration by which all owners have alice's identity."""

    def at(self) -> AbstractAsyncContextManager[NamedPlace[Any]]:
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
                assert await opened(place, minted)
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
                assert await opened(place, minted)

        asyncio.run(scenario())

    def test_another_cluster_and_another_issuer_are_another_one(self) -> None:
        async def scenario() -> None:
            async with self.at() as place:
                first = await place.issuer.issue("alice", 1, leads)
                for other in (place.again(lambda: "deadbeef"), place.again(name="main")):
                    await self._another(place, other, first)
                    await other.close()
                assert await opened(place, first)

        asyncio.run(scenario())

    async def _another(self, place: NamedPlace[Any], other: Issuer, first: Minted) -> None:
        """It makes one of its own, and ends none of ours."""
        assert await opened(place, await other.issue("alice", 1, leads))
        await other.end(first.handle)

    def test_owners_with_one_identity_leave_what_others_have_alone(self) -> None:
        async def scenario() -> None:
            async with self.at() as place:
                issuer = place.again(shared=True, **self.shared)
                alice = await issuer.issue("alice", 1, leads)
                # Minted again after a crash, renewed, and so late that what is older is forgotten.
                bob = [await issuer.issue("bob", generation, leads) for generation in (1, 1, 2, 100)]
                assert await opened(place, bob[-1])
                for one in bob:
                    await issuer.end(one.handle)
                assert await opened(place, alice)
                assert place.minted("alice") == 1
                await issuer.close()

        asyncio.run(scenario())

    def test_which_cluster_this_is_must_be_known(self) -> None:
        def unknown() -> str:
            raise IssuerUnavailable("nobody has seen it yet")

        async def scenario() -> None:
            async with self.at() as place:
                issuer = place.again(unknown)
                with pytest.raises(IssuerUnavailable, match="nobody has seen it yet"):
                    await issuer.issue("alice", 1, leads)
                await issuer.close()
                assert place.asked() == 0

        asyncio.run(scenario())

    def test_of_several_at_once_one_is_left_in_the_end(self) -> None:
        async def scenario() -> None:
            async with self.at() as place:
                issuers = [place.again() for _ in range(8)]
                found = await asyncio.gather(*(one.issue("alice", 1, leads) for one in issuers), return_exceptions=True)
                for one in issuers:
                    await one.close()
                assert {type(one) for one in found} <= {Minted, IssuerUnavailable}, found
                minted = [one for one in found if isinstance(one, Minted)]
                if self.unique:
                    assert place.minted("alice") == 1
                    assert [await opened(place, one) for one in minted].count(True) == 1
                assert await opened(place, await place.issuer.issue("alice", 1, leads))
                assert place.minted("alice") == 1

        asyncio.run(scenario())
