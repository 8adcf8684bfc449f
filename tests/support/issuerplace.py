"""Where the issuers of one kind are tested: a `Place` has the issuer, who is asked, and who takes what is minted. A
test module brings one, for tests/support/issuercontract.py and for tests of what is special about the kind.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import pytest

from support import planted
from support.sourcecontract import OWNERS
from support.vendorserver import Fault, FaultyServer
from webhook.config import reading
from webhook.config.models import Config
from webhook.config.reading import ConfigError
from webhook.core.credential import Credential
from webhook.issuers import Issuer, IssueRefused, IssuerUnavailable, Minted, NotLeading
from webhook.issuers.configured import configured

CLUSTER = "c1a5ab12"
NAMES = ("alice", "alice2", "alice-2", "al", "7", "v2", "a.b", "a-b", "a_b", "a-b-2e7336dc", "library", *OWNERS)
"""Of owners: some begin alike, some are nearly the same, some have no place in a name."""
MAX_WHY_CHARS = 700
"""Of a message, which becomes an Event."""


async def leads() -> None:
    """The fence of the replica that leads."""


async def follows() -> None:
    raise NotLeading("another replica issues")


class Place(ABC):
    """`life`: for which its credentials are good. `keys`: of the configuration, which a test may change. `environ`: of
    the process. `secrets`: that no message may have, besides planted ones.
    """

    issuer: Issuer
    life: timedelta
    keys: dict[str, Any]
    environ: Mapping[str, str] = MappingProxyType({})
    secrets: tuple[str, ...] = ()

    @property
    @abstractmethod
    def usual(self) -> dict[str, Any]:
        """Keys of the configuration that a test leaves as they are."""

    @property
    def registries(self) -> list[dict[str, Any]]:
        return []

    @abstractmethod
    async def opens(self, c: Credential, owner: str = "alice") -> bool:
        """Does it open what is this owner's, and are the owner's images what the kubelet sends it for?"""

    @abstractmethod
    def made(self) -> Any:
        """All that was minted and made until now, wherever it is kept. After a check it is the same."""

    @abstractmethod
    def logs_in_wrongly(self) -> None:
        """From now on, what the issuer logs in or signs with is not good."""

    @property
    def written(self) -> dict[str, Any]:
        """The issuer's part of the configuration."""
        return self.usual | self.keys

    def config(self, **keys: Any) -> Config:
        return reading.convert({"issuers": [self.written | keys], "registries": self.registries})

    def again(self, cluster: Callable[[], str] = lambda: CLUSTER, **keys: Any) -> Issuer:
        """As after a restart: another one with the same configuration, but for these keys."""
        config = self.config(**keys)
        return configured(config.issuers[0], config, cluster, self.environ)

    async def close(self) -> None:
        await self.issuer.close()


S = TypeVar("S", bound=FaultyServer)


class AskedPlace(Place, Generic[S]):
    """`server`: is asked. `folder`: for files of all tests of a module."""

    folder: Path
    server: S

    def asked(self) -> int:
        """Requests until now."""
        return len(self.server.calls)

    def answers(
        self,
        number: int,
        status: int = 0,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        *,
        lost: bool = False,
    ) -> None:
        """To the request with this number from now on, see Fault."""
        self.server.faults[self.asked() + number] = Fault(status, headers or {}, body, lost)

    def clock_is_ahead(self, by: timedelta) -> None:
        self.server.skew = by


class NamedPlace(AskedPlace[S]):
    @abstractmethod
    def minted(self, owner: str) -> int:
        """Credentials of an owner that are there."""

    @abstractmethod
    def takes_the_name(self, owner: str, generation: int) -> None:
        """Somebody else makes what has the name that the next credential will have."""


P = TypeVar("P", bound=Place)
Q = ParamSpec("Q")


@asynccontextmanager
async def placed(place: P) -> AsyncIterator[P]:
    try:
        yield place
    finally:
        await place.close()


def running(
    here: Callable[Q, AbstractAsyncContextManager[P]],
) -> Callable[Concatenate[Callable[[P], Awaitable[Any]], Q], Any]:
    """What runs a scenario at a place that `here` makes, and returns what that returns."""

    def run(scenario: Callable[[P], Awaitable[Any]], /, *args: Q.args, **keys: Q.kwargs) -> Any:
        async def whole() -> Any:
            async with here(*args, **keys) as place:
                return await scenario(place)

        return asyncio.run(whole())

    return run


async def refused(
    place: Place, owner: str = "alice", kind: type[Exception] = IssueRefused, at: Issuer | None = None
) -> Any:
    """What is raised instead of a credential. `at`: another issuer than the place's, which is closed."""
    try:
        with pytest.raises(kind) as found:
            await (at or place.issuer).issue(owner, 1, leads)
    finally:
        if at is not None:
            await at.close()
    return _told(place, found.value)


async def checked(place: Place, owner: str | None = "alice") -> None:
    """By an issuer of its own, as the process does it."""
    issuer = place.again()
    try:
        await issuer.check(owner)
    finally:
        await issuer.close()


async def check_fails(place: Place, owner: str | None = "alice") -> Any:
    """With what is raised."""
    with pytest.raises((IssuerUnavailable, IssueRefused)) as found:
        await checked(place, owner)
    return _told(place, found.value)


def _told(place: Place, error: Exception) -> Any:
    said = str(error)
    assert not planted.leaks(said)
    assert not [one for one in place.secrets if one in said]
    assert said.isprintable()
    assert len(said) < MAX_WHY_CHARS
    return error


async def outcome(place: Place, failing: type[Exception] | None) -> Any:
    """What is minted, or what is raised instead."""
    return await place.issuer.issue("alice", 1, leads) if failing is None else await refused(place, kind=failing)


async def opened(place: Place, minted: Minted, owner: str = "alice") -> bool:
    assert minted.credentials
    return all([await place.opens(c, owner) for c in minted.credentials])


def the_one(minted: Minted) -> Credential:
    (c,) = minted.credentials
    return c


def config_refused(issuer: Mapping[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as found:
        reading.convert({"issuers": [issuer]})
    assert told in str(found.value)
    assert not planted.leaks(str(found.value))
