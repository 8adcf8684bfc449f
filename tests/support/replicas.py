"""Replicas of the webhook around the API server of simulated.py, each with a loop and watches of its own, as a process.

All is the real thing but for the wire and the watches: a call waits until it is let go on, there and back, and what a
watch tells comes when it is let come, in order.
"""

import asyncio
import base64
import copy
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, cast

import msgspec

from support.simulated import (
    KEY,
    MANAGED_BY,
    MANAGER,
    NAMESPACE,
    OWNER,
    SECRET,
    UID_OF,
    Exchange,
    Object,
    Server,
    Stepping,
    Wire,
    at,
    dockerconfig,
    token_in,
)
from support.steps import at_once
from webhook.config.models import Config
from webhook.core.credential import Credentials
from webhook.core.errors import SourceUnavailable
from webhook.core.metrics import Metrics
from webhook.core.notice import Notice
from webhook.core.owner import OwnerRule
from webhook.core.pullsecret import ExistingSecret, Fingerprint, Leave, Namespace, Planner
from webhook.kube.cluster import Cluster, NamespaceObject, SecretObject
from webhook.kube.lookup import Lookup
from webhook.kube.pullsecrets import PullSecrets
from webhook.kube.reader import Reader
from webhook.kube.reflector import Feed
from webhook.kube.views import Namespaces, State
from webhook.kube.watch import Changed, Replaced, Watch
from webhook.sources.secret import SecretSource
from webhook.supply import Supply
from webhook.wiring import Parts

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OWNERS = ("alice", "bob")
FEEDS = ("namespaces", "secrets", "sources")
BROKEN = base64.b64encode(b"no dockerconfigjson").decode()


class Mail:
    """What a watch has told. In the place of a Watch."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Replaced[Any] | Changed[Any]] = asyncio.Queue()

    async def events(self) -> AsyncIterator[Replaced[Any] | Changed[Any]]:
        while True:
            yield await self.queue.get()


class Careful(Wire):
    """Notices what must never even be asked for, though the API server would refuse it.

    `policed`: the replica knows that the write policy is in force.
    """

    looked = False
    view: Namespaces
    policed: bool

    async def call(self, method: str, path: str, **options: Any) -> bytes:
        if method == "DELETE":
            assert self.looked, "nothing is deleted without a look at the namespace"
        answer = await super().call(method, path, **options)
        self.looked = self.looked or path.endswith(f"/namespaces/{NAMESPACE}")
        return answer

    async def apply(self, path: str, body: Object, **options: Any) -> bytes:
        in_place = "uid" in body["metadata"]
        if not (self.policed and in_place):
            assert self.looked, "nothing is written without a look at the namespace"
            self.looked = False
        namespace = self.view.get(NAMESPACE)
        assert namespace is not None
        assert body["metadata"]["annotations"] == {OWNER: namespace.owner, UID_OF: namespace.uid}
        assert (token_in(body) or "").startswith(f"{namespace.owner}-")
        assert in_place or not options.get("force"), "by force only onto one that was seen"
        return await super().apply(path, body, **options)


class SlowSource:
    """A source that is asked over the wire, as a database would be: what it says may be old when it arrives.

    After it could not say it has to call `changed`, as every source.
    """

    def __init__(self, source: SecretSource, wire: Wire, changed: Callable[[str], None]) -> None:
        self._source, self._wire, self._changed = source, wire, changed

    def known(self, owner: str) -> None:
        """Nothing without asking."""

    async def prefetch(self, owners: Collection[str]) -> None:
        pass

    def invalidate(self, owner: str) -> None:
        """It is asked each time anyway."""

    async def credentials(self, owner: str) -> Credentials:
        def ask() -> Credentials:
            asked = self._source.credentials(owner)
            try:
                asked.send(None)
            except StopIteration as e:
                return cast(Credentials, e.value)
            raise AssertionError("a view does not wait")

        lost = SourceUnavailable()
        try:
            return cast(Credentials, await self._wire.exchange(f"credentials of {owner}", ask, lost))
        except SourceUnavailable as e:
            if e is lost:
                asyncio.get_running_loop().call_soon(self._changed, owner)
            raise


class Replica:
    """`troubles`: errors that nobody handled, or that the webhook calls its own."""

    def __init__(self, name: str, server: Server, under_way: list[Exchange], *, slow: bool, policed: bool) -> None:
        self.name, self.server, self.slow = name, server, slow
        self.loop = Stepping()
        self.troubles: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(str(context)))
        self.said: list[Notice] = []
        self.callers: list[asyncio.Task[None]] = []
        self.position = dict.fromkeys(FEEDS, 0)
        self.state = State.empty()
        self.wire = Careful(server, under_way, name)
        self.wire.view, self.wire.policed = self.state.namespaces, policed
        cluster, metrics, fingerprint = cast(Cluster, self.wire), Metrics(), Fingerprint(name.encode())
        reader = Reader((OwnerRule("label", OWNER),), lambda _: False, fingerprint, SECRET)
        self.source = SecretSource(cluster, "release", self._changed, self.said.append, metrics)
        supply = Supply(
            state=self.state,
            source=SlowSource(self.source, self.wire, self._changed) if slow else self.source,
            store=PullSecrets(cluster, reader, SECRET),
            lookup=Lookup(cluster, reader, self.state),
            policy=self._is_policed,
            planner=Planner(SECRET, fingerprint),
            now=lambda: NOW,
            metrics=metrics,
            record=self._record,
        )
        parts = Parts(Config(), supply)
        self.supply, self.refresh = parts.supply, parts.refresh
        self.mails = {"namespaces": Mail(), "secrets": Mail()}
        self.keep: dict[str, Callable[[Any], Any]] = {
            "namespaces": lambda seen: (seen.metadata.name, reader.namespace(seen)),
            "secrets": lambda seen: (seen.metadata.namespace, reader.existing(seen)),
        }
        namespaces: Feed[NamespaceObject, Namespace] = Feed(
            cast(Watch[NamespaceObject, Namespace], self.mails["namespaces"]),
            self.state.namespaces,
            self.refresh.look_soon,
        )
        secrets: Feed[SecretObject, ExistingSecret] = Feed(
            cast(Watch[SecretObject, ExistingSecret], self.mails["secrets"]),
            self.state.pull_secrets,
            self.refresh.look_soon,
            self.supply.secret_changed,
        )
        self.background = [self.loop.create_task(run) for run in (namespaces.run(), secrets.run())]
        for what in FEEDS:
            self.list(what)
        self.background.append(self.loop.create_task(self.refresh.run()))  # when all is known
        self.loop.settle()

    async def _is_policed(self) -> bool:
        return self.wire.policed

    def _changed(self, owner: str | None) -> None:
        self.refresh.owner_changed(owner)

    def _record(self, notice: Notice) -> None:
        self.said.append(notice)
        if "itself" in notice.message:
            self.troubles.append(notice.message)

    def soon(self, do: Callable[..., object], *args: Any) -> None:
        self.loop.call_soon(do, *args)
        self.loop.settle()

    # -- watches --

    def behind(self, what: str) -> bool:
        return self.position[what] < len(self.server.log[what])

    def hear(self, what: str) -> None:
        """The next event."""
        event = self.server.log[what][self.position[what]]
        self.position[what] += 1
        gone = event.kind == "DELETED"
        if what == "sources":
            name, secret = self.source.keep(msgspec.convert(event.obj, SecretObject))
            self.soon(*(self.source.forget, name, secret.version) if gone else (self.source.learn, name, secret))
        else:
            key, item = self.keep[what](msgspec.convert(event.obj, _struct(what)))
            self.mails[what].queue.put_nowait(Changed(key, item, gone))
            self.loop.settle()

    def list(self, what: str) -> None:
        """As after 410: what happened is not told, only what is."""
        self.position[what] = len(self.server.log[what])
        items = [msgspec.convert(obj, _struct(what)) for obj in self.server.listed(what)]
        if what == "sources":
            kept_by_name = dict(self.source.keep(cast(SecretObject, item)) for item in items)
            self.soon(lambda: at_once(self.source.replace(kept_by_name, self.server.version)))
        else:
            kept = dict(self.keep[what](item) for item in items)
            self.mails[what].queue.put_nowait(Replaced(kept, self.server.version))
            self.loop.settle()

    # -- admission --

    def admit(self) -> "asyncio.Task[None]":
        task = self.loop.create_task(self._admit())
        self.callers.append(task)
        self.loop.settle()
        return task

    async def _admit(self) -> None:
        if (await self.supply(NAMESPACE)).problem:
            self.refresh.look(NAMESPACE)
        elif not self.slow:
            assert isinstance((await self.supply.plan(NAMESPACE)).step, Leave), (
                "it returned before the Secret was right"
            )
            assert not self.supply._running, "it returned while older knowledge was written"

    def deadline(self) -> None:
        """The first caller's. As admission does it, the background takes over."""
        self.callers.pop(0).cancel()
        self.soon(self.refresh.look, NAMESPACE)

    def check(self) -> None:
        for task in [task for task in self.callers if task.done()]:
            self.callers.remove(task)
            task.result()
        assert not [task for task in self.background if task.done()]
        assert not self.troubles, self.troubles

    def end(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.settle()
        self.loop.close()


def _struct(what: str) -> type[NamespaceObject | SecretObject]:
    return NamespaceObject if what == "namespaces" else SecretObject


class World:
    """One namespace `team`, alice's, in the hands of some replicas. Both owners have a token.

    `note`: told of all that happens by itself, for people who read a failed test.
    """

    def __init__(
        self, names: str, *, slow: bool = False, policed: bool = True, note: Callable[[str], None] = lambda _: None
    ) -> None:
        self.slow, self.policed, self.note = slow, policed, note
        self.server = Server(self._wrote)
        self.under_way: list[Exchange] = []
        self.tokens: dict[str, str] = {}  # of whom
        self.held: dict[str, set[str]] = {}  # by the Secret's UID: whose tokens it had
        self.tampered: set[str] = set()  # of these Secrets the tenant changed the owner
        self.foreign: Object | None = None
        self.wrong: list[str] = []
        self.server.create_namespace({OWNER: "alice"})
        for owner in OWNERS:
            self.set_token(owner)
        self.replicas = [self.replica(name) for name in names]

    def replica(self, name: str) -> Replica:
        return Replica(name, self.server, self.under_way, slow=self.slow, policed=self.policed)

    def end(self) -> None:
        for replica in self.replicas:
            replica.end()

    # -- what happens by itself --

    def choices(self) -> list[Exchange | tuple[Replica, str]]:
        """All that can be next."""
        return [
            *self.under_way,
            *((replica, what) for replica in self.replicas for what in FEEDS if replica.behind(what)),
        ]

    def go_on(self, choice: Exchange | tuple[Replica, str]) -> None:
        if isinstance(choice, Exchange):
            way = "is answered" if choice.acted else "arrives"
            over = choice.go()
            failed = repr(choice.result)[:80] if isinstance(choice.result, Exception) else ""
            self.note(f"   {choice.what} {way} {failed}")
            if over:
                self.under_way.remove(choice)
        else:
            replica, what = choice
            self.note(f"   {replica.name} hears of {what}: {self.server.log[what][replica.position[what]].kind}")
            replica.hear(what)
        self.settle()

    def settle(self) -> None:
        for replica in self.replicas:
            replica.loop.settle()

    def all_is_told(self) -> None:
        """Until nothing can happen any more, whatever time it takes."""
        self.server.denies = 0
        self.note("   all is told:")
        for _ in range(2000):
            if choices := self.choices():
                self.go_on(choices[0])
            elif not [replica for replica in self.replicas if replica.loop.sleep()]:
                return
        raise AssertionError("they are still at it")

    def lose(self, one: Exchange) -> None:
        self.note(f"   {one.what} is lost")
        one.lose()
        if one.acted:
            self.under_way.remove(one)
        self.settle()

    # -- what people do --

    def set_token(self, owner: str) -> str:
        token = f"{owner}-{len(self.tokens)}"
        self.tokens[token] = owner
        self.server.set_source(owner, dockerconfig(token))
        return token

    def tenant(self, path: tuple[str, ...], value: Any) -> None:
        """Changes a field of the Secret."""
        assert self.server.secret is not None
        if path == ("metadata", "annotations", OWNER):
            self.tampered.add(self.server.secret["metadata"]["uid"])
        self.server.change_secret(path, value)
        self.remember_foreign()

    def remember_foreign(self) -> None:
        """To be called after whatever others did to the Secret."""
        secret = self.server.secret
        self.foreign = copy.deepcopy(secret) if secret is not None and not is_ours(secret) else None

    # -- what must hold --

    def _wrote(self, secret: Object) -> None:
        """After each write of ours: whose token is where?"""
        token = token_in(secret)
        owner = self.tokens.get(token or "")
        assert self.server.namespace is not None
        labels = self.server.namespace["metadata"]["labels"]
        if owner is None or labels.get(OWNER) != owner:
            self.wrong.append(f"{token} was written into a namespace of {labels}")
        uid = secret["metadata"]["uid"]
        self.held.setdefault(uid, set()).add(str(owner))
        if len(self.held[uid]) > 1 and uid not in self.tampered:
            self.wrong.append(f"{uid} held tokens of {self.held[uid]}")

    def check(self) -> None:
        """At any moment."""
        assert not self.wrong
        for replica in self.replicas:
            replica.check()
        secret = self.server.secret
        if secret is not None and not is_ours(secret):
            assert secret == self.foreign, "a Secret that is not ours was changed"

    def check_settled(self) -> None:
        """When all is told."""
        self.check()
        for replica in self.replicas:
            secret, namespace = replica.state.pull_secrets.get(NAMESPACE), replica.state.namespaces.get(NAMESPACE)
            for known, real in ((secret, self.server.secret), (namespace, self.server.namespace)):
                seen = known and (known.uid, str(known.version))
                assert seen == (real and (real["metadata"]["uid"], real["metadata"]["resourceVersion"]))
        self._check_secret()

    def _check_secret(self) -> None:
        namespace, secret = self.server.namespace, self.server.secret
        if namespace is None or "deletionTimestamp" in namespace["metadata"]:
            return
        if secret is not None and not is_ours(secret):
            return
        labels = namespace["metadata"]["labels"]
        owner = labels.get(OWNER) if "pullsecret-webhook/inject" not in labels else None
        source = self.server.sources.get(f"source-{owner}")
        if source is None:
            assert secret is None
        elif source["data"][KEY] == BROKEN:
            assert secret is None or at(secret, ("metadata", "annotations", OWNER)) == owner
        else:
            assert secret is not None
            assert token_in(secret) == token_in(source)
            assert at(secret, ("metadata", "annotations")) == {OWNER: owner, UID_OF: namespace["metadata"]["uid"]}
            assert "deletionTimestamp" not in secret["metadata"]
            assert at(secret, ("metadata", "ownerReferences"))[0]["uid"] == namespace["metadata"]["uid"]


def is_ours(secret: Object) -> bool:
    return bool(at(secret, ("metadata", "labels", MANAGED_BY)) == MANAGER)


@contextmanager
def settled(names: str, *, policed: bool = True) -> Iterator[World]:
    """A world in which alice's Secret stands and everybody knows."""
    world = World(names, policed=policed)
    try:
        world.all_is_told()
        for replica in world.replicas:
            replica.wire.asked.clear()
        yield world
        world.check()
    finally:
        world.end()
