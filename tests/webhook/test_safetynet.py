"""What the safety net is told."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from webhook.cluster import AccountObject, Cluster, ClusterError
from webhook.names import ENFORCE_MOUNTABLE, REFUSING, SAFETY_NET
from webhook.pullsecret import Fingerprint
from webhook.safetynet import LONGEST, SafetyNet
from webhook.state import Accounts, Reader, account_key

READER = Reader((), lambda _: False, Fingerprint(b"k"), "ghcr-secret")


class Api:
    """Remembers what was written; `refuses` as many times."""

    def __init__(self, refuses: int = 0) -> None:
        self.written: list[str | None] = []
        self.refuses = refuses

    async def call(self, _method: str, _path: str, *, body: Any, **_options: Any) -> bytes:
        if self.refuses:
            self.refuses -= 1
            raise ClusterError(403, "Forbidden")
        self.written.append(body["metadata"]["annotations"][REFUSING])
        return b"{}"


class Scene:
    def __init__(self, refuses: int = 0) -> None:
        self.api, self.accounts, self.version = Api(refuses), Accounts(), 0
        self.net = SafetyNet(cast(Cluster, self.api), self.accounts, "release", "ghcr-secret")

    def account(self, namespace: str, name: str, enforced: str = "", *listed: str) -> None:
        self.version += 1
        metadata = {"annotations": {ENFORCE_MOUNTABLE: enforced}, "resourceVersion": str(self.version)}
        raw = {"metadata": metadata, "imagePullSecrets": [{"name": one} for one in listed]}
        key = account_key(namespace, name)
        self.accounts.learn(key, READER.account(msgspec.json.decode(msgspec.json.encode(raw), type=AccountObject)))
        self.net.heard(key)

    def gone(self, namespace: str, name: str) -> None:
        self.accounts.forget(account_key(namespace, name), 10**9)
        self.net.heard(account_key(namespace, name))


def test_a_namespace_is_named_while_an_account_of_it_refuses() -> None:
    scene = Scene()
    assert scene.net.text() == ","
    scene.account("a", "x", "true")
    scene.account("a", "y", "1")
    scene.account("b", "z", "True", "ghcr-secret")
    scene.account("c", "z", "yes")
    assert scene.net.text() == ",a,"
    scene.account("a", "x")
    assert scene.net.text() == ",a,"
    scene.gone("a", "y")
    assert scene.net.text() == ","
    scene.account("bb", "z", "t")
    scene.account("b", "z", "T")
    assert scene.net.text() == ",b,bb,"


def test_too_many_are_all() -> None:
    scene = Scene()
    for number in range(LONGEST // 10):
        scene.account(f"namespace-{number:06}", "x", "true")
    assert scene.net.text() is None


@pytest.mark.parametrize("refuses", [0, 1])
def test_it_is_told_at_once_and_again_when_refused(refuses: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        scene = Scene(refuses)
        scene.accounts.synced.set()
        task = asyncio.create_task(scene.net.run())
        scene.account("a", "x", "true")
        await asyncio.sleep(0.05)
        assert scene.api.written == []  # there is no net
        scene.account("release", SAFETY_NET)
        async with asyncio.timeout(5):
            while scene.api.written != [",a,"]:  # noqa: ASYNC110  # written without a word
                await asyncio.sleep(0.01)
        task.cancel()

    monkeypatch.setattr("webhook.safetynet.PAUSE", 0.01)
    asyncio.run(run())
