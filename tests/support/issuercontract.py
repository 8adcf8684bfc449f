"""What every issuer promises, as a suite: subclass `Contract` with a `place`, and each test of it is about that issuer.

A test module of a kind of issuer brings a `Place`: the issuer, and who takes what it mints, for real where possible.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import pairwise

import pytest

from support.sourcecontract import OWNERS
from webhook.core.credential import Credential
from webhook.core.dockerconfig import parse, render
from webhook.core.issued import MAX_HANDLE_CHARS
from webhook.issuers import Issuer, IssueRefused, Minted
from webhook.issuers.issuing import LEAST_LIFE

NAMES = ("alice", "alice2", "alice-2", "al", "7", "v2", *OWNERS)
"""Of owners: some begin alike, some have no place in a name."""


async def _leads() -> None:
    """The fence of the replica that leads."""


class Place(ABC):
    issuer: Issuer

    @abstractmethod
    def opens(self, credential: Credential, owner: str) -> bool:
        """Does it open what is this owner's?"""

    def issue(self, owner: str, generation: int = 1) -> Minted:
        return asyncio.run(self.issuer.issue(owner, generation, _leads))

    def named(self) -> Iterator[tuple[str, Minted]]:
        """The owners who get something."""
        for owner in NAMES:
            try:
                yield owner, self.issue(owner)
            except IssueRefused:
                continue


class Contract:
    def test_each_owner_gets_what_opens_its_own_and_nothing_of_others(self, place: Place) -> None:
        found = dict(place.named())
        assert len(found) > 3
        for owner, minted in found.items():
            for c in minted.credentials:
                assert [other for other in found if place.opens(c, other)] == [owner]

    def test_owners_have_different_names_for_their_registries_or_users(self, place: Place) -> None:
        """So that none of them is taken for another one in a pull secret, or in a log of the registry."""
        found = sorted((c.registry, c.username) for _, minted in place.named() for c in minted.credentials)
        assert all(one != other for one, other in pairwise(found))

    def test_who_cannot_be_named_gets_nothing_and_is_told_what_to_do(self, place: Place) -> None:
        named, refused = dict(place.named()), 0
        for owner in {*NAMES} - {*named}:
            with pytest.raises(IssueRefused) as e:
                place.issue(owner)
            assert not e.value.everybody
            assert "\n" not in str(e.value)
            refused += 1
        assert refused

    def test_a_new_one_leaves_the_one_before_as_it_is(self, place: Place) -> None:
        before, after = place.issue("alice", 1), place.issue("alice", 2)
        for minted in (before, after):
            assert all(place.opens(c, "alice") for c in minted.credentials)

    def test_a_generation_may_be_asked_for_again(self, place: Place) -> None:
        """After a crash: nobody has what came of it before."""
        place.issue("alice", 1)
        again = place.issue("alice", 1)
        assert all(place.opens(c, "alice") for c in again.credentials)

    def test_what_is_minted_can_be_stored(self, place: Place) -> None:
        for _, minted in place.named():
            assert minted.life > LEAST_LIFE
            assert len(minted.handle) <= MAX_HANDLE_CHARS
            read = parse(render(minted.credentials))
            assert read.problems == ()
            assert {(c.registry, c.login) for c in read.credentials} == {
                (c.registry, c.login) for c in minted.credentials
            }
            assert not [c for c in minted.credentials if c.password in repr(minted)]

    def test_to_end_what_is_gone_is_no_error(self, place: Place) -> None:
        async def twice() -> None:
            for _ in range(2):
                await place.issuer.end("gone")
            await place.issuer.close()

        asyncio.run(twice())
