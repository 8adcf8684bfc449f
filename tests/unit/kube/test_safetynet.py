"""What the safety net is told."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from webhook.core.names import ENFORCE_MOUNTABLE, REFUSING, SAFETY_NET
from webhook.core.notice import Notice
from webhook.core.pullsecret import OPTED_OUT, Fingerprint, Namespace
from webhook.kube.cluster import AccountObject, Cluster, ClusterError
from webhook.kube.reader import Reader
from webhook.kube.safetynet import MAX_ANNOTATION_BYTES, SafetyNet
from webhook.kube.views import State, account_key

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
        self.api, self.state, self.version = Api(refuses), State.empty(), 0
        self.said: list[Notice] = []
        self.net = SafetyNet(cast(Cluster, self.api), self.state, "release", "ghcr-secret", self.said.append)

    def namespace(self, name: str, owner: str | None, *, enabled: bool = True) -> None:
        self.version += 1
        self.state.namespaces.learn(name, Namespace(name, name, self.version, owner, "" if enabled else OPTED_OUT))

    def account(self, namespace: str, name: str, enforced: str = "", *listed: str) -> None:
        self.version += 1
        metadata = {"annotations": {ENFORCE_MOUNTABLE: enforced}, "resourceVersion": str(self.version)}
        raw = {"metadata": metadata, "imagePullSecrets": [{"name": one} for one in listed]}
        account = READER.account(msgspec.json.decode(msgspec.json.encode(raw), type=AccountObject))
        self.state.accounts.learn(account_key(namespace, name), account)

    def gone(self, namespace: str, name: str) -> None:
        self.state.accounts.forget(account_key(namespace, name), 10**9)

    def synced(self) -> None:
        for view in self.state.views.values():
            view.synced.set()

    async def written(self, *texts: str | None) -> None:
        async with asyncio.timeout(5):
            while self.api.written != [*texts]:  # noqa: ASYNC110  # written without a word
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert self.api.written == [*texts]


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


MANY = [f"namespace-{number:06}" for number in range(MAX_ANNOTATION_BYTES // 17 + 2)]
"""Two more than the annotation has room for."""


def test_too_many_are_those_that_are_served() -> None:
    scene = Scene()
    for number, name in enumerate(MANY):
        scene.account(name, "x", "true")
        scene.namespace(name, None if number % 2 else "alice", enabled=number != 4)
    scene.account("not-seen-yet", "x", "true")
    served = [name for number, name in enumerate(MANY) if not number % 2 and number != 4]
    assert scene.net.text() == ",".join(["", *served, "not-seen-yet", ""])
    scene.namespace(MANY[1], "bob")
    scene.namespace(MANY[0], None)
    assert scene.net.text() == ",".join(["", *sorted({*served, MANY[1]} - {MANY[0]}), "not-seen-yet", ""])


def test_while_there_is_room_also_others() -> None:
    """One of them may get its owner while no replica is up."""
    scene = Scene()
    scene.namespace("a", None)
    scene.account("a", "x", "true")
    assert scene.net.text() == ",a,"


def test_when_those_are_too_many_it_is_said() -> None:
    async def run() -> None:
        scene = Scene()
        scene.account("release", SAFETY_NET)
        for name in MANY:
            scene.account(name, "x", "true")
            scene.namespace(name, "alice")
        scene.synced()
        task = asyncio.create_task(scene.net.run())
        await scene.written(None)
        (said,) = scene.said
        assert (said.reason, said.namespace, said.name) == ("SafetyNetLimited", "release", SAFETY_NET)
        assert "add ghcr-secret to the imagePullSecrets of those accounts" in said.message
        scene.namespace(MANY[0], None)
        scene.namespace(MANY[1], "alice", enabled=False)
        await scene.written(None, ",".join(["", *MANY[2:], ""]))
        scene.namespace(MANY[0], "bob")
        await scene.written(None, ",".join(["", *MANY[2:], ""]), None)
        assert len(scene.said) == 2
        task.cancel()

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("webhook.kube.safetynet.PAUSE_SECONDS", 0.01)
        asyncio.run(run())


@pytest.mark.parametrize("refuses", [0, 1, 3])
def test_it_is_told_at_once_and_again_when_refused(refuses: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        scene = Scene(refuses)
        scene.synced()
        task = asyncio.create_task(scene.net.run())
        scene.account("a", "x", "true")
        await asyncio.sleep(0.05)
        assert scene.api.written == []  # there is no net
        scene.account("release", SAFETY_NET)
        await scene.written(",a,")
        task.cancel()

    monkeypatch.setattr("webhook.kube.safetynet.PAUSE_SECONDS", 0.01)
    asyncio.run(run())
