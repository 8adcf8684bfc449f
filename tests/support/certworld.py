"""Replicas that make their own certificates, one API server, and clients that verify: all stepped by hand.

Replicas are coroutines whose every await is a turn, so that each interleaving, failure and crash is one that the test
(or hypothesis) has chosen. True time is `ApiServer.time`; a replica's clock may differ.
"""

import types
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.x509 import verification

from certs.answers import answer
from certs.errors import ApiTrouble, Conflict
from certs.pair import Pair
from certs.pem import certificates, private_key
from certs.ports import Published, Stored
from certs.questions import Answer, Leaf, Question
from certs.selfmanaged import SelfManaged

HOST = "pullsecret-webhook.pullsecret-system.svc"
START = datetime(2026, 11, 23, 12, tzinfo=UTC)


def verifies(pair: Pair, bundle: bytes, host: str, now: datetime) -> bool:
    """Does a client accept the pair for a host at a time, when it trusts a bundle?"""
    policy = verification.PolicyBuilder().store(verification.Store(x509.load_pem_x509_certificates(bundle))).time(now)
    try:
        policy.build_server_verifier(x509.DNSName(host)).verify(pair.chain[0], list(pair.chain[1:]))
    except verification.VerificationError:
        return False
    return True


def as_leaf(pair: Pair) -> Leaf:
    return Leaf(pair.pem(), pair.ends)


def as_pair(leaf: Leaf) -> Pair:
    return Pair(certificates(leaf.pem, "the leaf"), private_key(leaf.pem, "its key"))


async def ask(question: Question) -> Answer:
    """Without a process of its own, so that an answer is no turn."""
    return answer(question)


@types.coroutine
def turn() -> Generator[None, None, None]:
    yield


@dataclass
class Held:
    """A bundle that we published: clients hold it from `since` on, and a slow one still after `until`."""

    bundle: bytes
    since: datetime
    until: datetime | None = None


class ApiServer:
    """The Secret and the webhook configuration (`bundle` None: not installed), each with its resourceVersion.

    `other`: the caBundle of another entry of the configuration; None: it has none.

    A call waits for its turn before it takes effect, and again before its caller hears of it. `by_hand` leaves the
    turns to the test; otherwise they come at once. `brief`: only writes have the second turn; the test then does not
    let time pass, so that a read's answer may as well come at once.
    """

    def __init__(
        self, *, by_hand: bool = False, brief: bool = False, bundle: bytes | None = b"", other: bytes | None = None
    ) -> None:
        self.by_hand, self.brief = by_hand, brief
        self.time = START
        self.data: dict[str, bytes] | None = None
        self.version = 0
        self.bundle, self.other = bundle, other
        self.bundle_version = 0
        self.history: list[Held] = []
        self.calls: list[str] = []
        self.trouble: dict[str, Exception] = {}

    async def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.by_hand:
            await turn()
        if name in self.trouble:
            raise self.trouble[name]

    async def _answer(self, *, wrote: bool) -> None:
        if self.by_hand and (wrote or not self.brief):
            await turn()

    def change(self, data: Mapping[str, bytes] | None) -> None:
        self.data = None if data is None else dict(data)
        self.version += 1

    def rebundle(self, bundle: bytes | None, *, ours: bool = False) -> None:
        self.bundle = bundle
        self.bundle_version += 1
        if self.history and self.history[-1].until is None:
            self.history[-1].until = self.time
        if ours and self.other is not None:
            self.other = bundle
        if bundle and ours:
            self.history.append(Held(bundle, self.time))

    def reentry(self, other: bytes | None) -> None:
        self.other = other
        self.bundle_version += 1

    @property
    def bundles(self) -> dict[str, bytes] | None:
        """By entry."""
        if self.bundle is None:
            return None
        return {"pods": self.bundle} | ({} if self.other is None else {"templates": self.other})

    def held(self, within: timedelta) -> list[bytes]:
        """What clients may hold that are `within` behind."""
        return [h.bundle for h in self.history if h.until is None or h.until > self.time - within]

    async def read(self) -> Stored | None:
        await self._call("read")
        stored = None if self.data is None else Stored(dict(self.data), str(self.version))
        await self._answer(wrote=False)
        return stored

    async def write(self, data: Mapping[str, bytes], over: Stored | None) -> Stored:
        await self._call("write")
        if (self.data is None) != (over is None) or (over is not None and over.version != str(self.version)):
            raise Conflict("the CA Secret has changed meanwhile")
        self.change(data)
        stored = Stored(dict(data), str(self.version))
        await self._answer(wrote=True)
        return stored

    async def published(self) -> Published | None:
        await self._call("published")
        published = None if self.bundles is None else Published(self.bundles, str(self.bundle_version))
        await self._answer(wrote=False)
        return published

    async def publish(self, bundle: bytes, over: Published) -> None:
        await self._call("publish")
        if self.bundle is None or over.version != str(self.bundle_version):
            raise Conflict("the configuration has changed meanwhile")
        self.rebundle(bundle, ours=True)
        await self._answer(wrote=True)


class Shown:
    """In the place of certs.serving.Serving, which has tests of its own and asks OpenSSL each time."""

    def __init__(self) -> None:
        self.leaf: Leaf | None = None
        self.pair: Pair | None = None

    def serve(self, leaf: Leaf) -> None:
        self.leaf, self.pair = leaf, as_pair(leaf)


class Replica:
    """`looked`: when it last ended a look in which nothing went wrong."""

    def __init__(self, api: ApiServer, skew: timedelta = timedelta()) -> None:
        self.api, self.skew = api, skew
        self.said: list[str] = []
        self.registered: list[bool] = []
        self.serving = Shown()
        self.managed = SelfManaged(
            api,
            api,
            [HOST],
            self.serving,  # type: ignore[arg-type]  # the part of it that is used
            now=lambda: self.api.time + self.skew,
            report=self.said.append,
            registered=self.registered.append,
            ask=ask,
        )
        self.looking: types.CoroutineType[Any, Any, None] | None = None
        self.looked: datetime | None = None

    def step(self, trouble: ApiTrouble | None = None) -> bool:
        """On to the next turn of a look, which fails there with `trouble`. False: the look has ended."""
        try:
            if self.looking is None:
                look = self.managed.look()
                assert isinstance(look, types.CoroutineType)
                self.looking = look
            elif trouble is not None:
                self.looking.throw(trouble)
            self.looking.send(None)
        except StopIteration:
            self.looking, self.looked = None, self.api.time
        except ApiTrouble:
            self.looking = None
        return self.looking is not None

    def finish(self) -> None:
        while self.step():
            pass

    def settle(self) -> None:
        """Looks again, as it does after trouble, until nothing goes wrong: each look starts and ends at this time."""
        before, self.looked = self.looked, None
        for _ in range(5):
            if self.looked is None:
                self.finish()
        assert self.looked is not None, f"no look succeeds, after that of {before}: {self.said[-5:]}"

    def crash(self) -> None:
        if self.looking is not None:
            self.looking.close()

    @property
    def leaf(self) -> Pair:
        assert self.serving.pair is not None
        return self.serving.pair


def started(api: ApiServer, skew: timedelta = timedelta()) -> Replica:
    replica = Replica(api, skew)
    replica.settle()
    return replica
