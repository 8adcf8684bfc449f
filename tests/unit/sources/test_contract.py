"""The contract of sources (sourcecontract.py), kept by those that need nothing from outside."""

import asyncio
import base64
import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import cast

import msgspec
import pytest

from support.sourcecontract import Contract, Place, running
from support.steps import at_once
from webhook.core.credential import Credential, Credentials, Origin
from webhook.core.errors import SourceUnavailable
from webhook.kube.cluster import Cluster, ClusterError, SecretObject
from webhook.sources import Changed, Source
from webhook.sources.batched import Batched
from webhook.sources.cached import Cached
from webhook.sources.combined import Combined
from webhook.sources.remote import Answer
from webhook.sources.secret import SecretSource


@pytest.fixture(autouse=True)
def withdrawn_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook.sources.secret.WITHDRAWAL_SECONDS", 0.0)


def now() -> datetime:
    return datetime.now(UTC)


class Unwatched:
    """A cluster whose watch shows nothing by itself: the place tells the source what it would have shown."""

    async def call(self, *_: object, **__: object) -> bytes:
        await asyncio.Future()
        raise AssertionError


class Secrets(Place):
    def __init__(self) -> None:
        super().__init__()
        self.version, self.up, self.stands = 1, True, dict[str, SecretObject]()
        self.source: SecretSource = self._made()
        at_once(self.source.replace({}, 1))

    def _made(self) -> SecretSource:
        cluster = cast(Cluster, Unwatched())
        return SecretSource(cluster, "release", self.heard.append, self.said.append, self.metrics)

    async def gives(self, owner: str, *credentials: Credential) -> None:
        self.version += 1
        name = owner.encode().hex() or "empty"
        seen = _secret(name, self.version, owner, {c.registry: (c.username, c.password) for c in credentials})
        self.stands[name] = seen
        if not self.up:
            return
        if credentials:
            self.source.learn(*self.source.keep(seen))
        elif self.stands.pop(name, None):
            self.source.forget(name, self.version)

    async def goes_down(self) -> None:
        """A view stays as it was when its watch breaks: only one that was not filled since a restart cannot say."""
        self.up = False
        self.source = self._made()
        self.source.failed(ClusterError(503, "ServiceUnavailable"))

    async def comes_back(self) -> None:
        self.up = True
        self.source.works()  # as Watch says before it hands over a list
        at_once(self.source.replace(dict(map(self.source.keep, self.stands.values())), self.version))


def _secret(name: str, version: int, owner: str, auths: Mapping[str, tuple[str, str]]) -> SecretObject:
    config = {"auths": {key: {"username": user, "password": password} for key, (user, password) in auths.items()}}
    obj = {
        "metadata": {
            "name": name,
            "namespace": "release",
            "resourceVersion": str(version),
            "labels": {"pullsecret-webhook/owner": ""},
            "annotations": {"pullsecret-webhook/owner": owner},
        },
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(json.dumps(config).encode()).decode()},
    }
    return msgspec.convert(obj, SecretObject)


class Memory:
    """A remote without a feed."""

    many = False

    def __init__(self) -> None:
        self.up, self.stands = True, dict[str, tuple[Credential, ...]]()

    async def ask(self, owner: str, before: Answer | None) -> Answer:
        await asyncio.sleep(0.001)
        if not self.up:
            raise SourceUnavailable("switched off", everybody=True)
        return Answer(Credentials(self.stands.get(owner, ())), 0.0)

    async def run(self, changed: Changed) -> None:
        await asyncio.Future()

    async def close(self) -> None:
        pass


class MemoryForMany(Memory):
    many = True

    async def ask_many(self, owners: Sequence[str]) -> Mapping[str, Answer | SourceUnavailable]:
        return {owner: await self.ask(owner, None) for owner in owners}


class Remembered(Place):
    def __init__(self) -> None:
        super().__init__()
        self.remote = Memory()
        self.source: Source = Cached(Origin("memory"), self.remote, self.heard.append, self.report, self.metrics, now)

    async def gives(self, owner: str, *credentials: Credential) -> None:
        new = owner not in self.remote.stands
        self.remote.stands[owner] = credentials
        if not new:
            await asyncio.sleep(0.03)  # what was said before is old

    async def goes_down(self) -> None:
        self.remote.up = False
        await asyncio.sleep(0.03)

    async def comes_back(self) -> None:
        self.remote.up = True


class Shared(Remembered):
    """One query is about many."""

    def __init__(self) -> None:
        super().__init__()
        self.remote = memory = MemoryForMany()
        remote = Batched(memory, 1, lambda: None)
        self.source = Cached(Origin("memory"), remote, self.heard.append, self.report, self.metrics, now)


class Both(Remembered):
    """One that has everything, after one that has nothing."""

    def __init__(self) -> None:
        super().__init__()
        nothing = Cached(Origin("nothing"), Memory(), self.heard.append, self.report, self.metrics, now)
        self.source = Combined([("nothing", nothing), ("memory", self.source)])


class TestSecrets(Contract):
    def place(self) -> AbstractAsyncContextManager[Place]:
        return running(Secrets())


class TestCached(Contract):
    def place(self) -> AbstractAsyncContextManager[Place]:
        return running(Remembered())


class TestBatched(Contract):
    def place(self) -> AbstractAsyncContextManager[Place]:
        return running(Shared())


class TestCombined(Contract):
    def place(self) -> AbstractAsyncContextManager[Place]:
        return running(Both())
