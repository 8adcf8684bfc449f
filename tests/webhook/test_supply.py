"""Two replicas supply one namespace, in every order of events.

The calls of both wait on one wire until the schedule lets them go on, there and back; answers are lost; what watches
tell comes late, to each replica on its own. Meanwhile tokens and owners change, the namespace is made anew, and the
tenant does what tenants do to the Secret. The API server is the one of tests/simulated.py, all else is the real thing.
"""

import asyncio
import base64
import copy
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from simulated import (
    DOCKERCONFIG,
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
from webhook.cluster import Cluster, NamespaceObject, SecretObject
from webhook.credential import Credentials
from webhook.errors import SourceUnavailable
from webhook.feeds import Feed
from webhook.metrics import Metrics
from webhook.notice import Notice
from webhook.owner import by_label
from webhook.pullsecret import Fingerprint, Namespace, Planner, Standing
from webhook.refresh import Refresh
from webhook.sources.secret import SecretSource
from webhook.state import Reader, State
from webhook.store import Lookup, PullSecrets
from webhook.supply import Supply
from webhook.watch import Changed, Replaced, Watch

NOW = datetime(2026, 11, 23, tzinfo=UTC)
OWNERS = ("alice", "bob")
BROKEN = base64.b64encode(b"no dockerconfigjson").decode()
LABELS: tuple[dict[str, str], ...] = (
    {OWNER: "alice"},
    {OWNER: "bob"},
    {},
    {OWNER: "alice", "pullsecret-webhook/inject": "disabled"},
)
FEEDS = ("namespaces", "secrets", "sources")


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class Mail:
    """What a watch has told. In the place of a Watch."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Replaced[Any] | Changed[Any]] = asyncio.Queue()

    async def events(self) -> AsyncIterator[Replaced[Any] | Changed[Any]]:
        while True:
            yield await self.queue.get()


class SlowSource:
    """A source that is asked over the wire, as a database would be: what it says may be old when it arrives.

    After it could not say it has to call `changed`, as every source.
    """

    def __init__(self, source: SecretSource, wire: Wire, changed: Callable[[str], None]) -> None:
        self._source, self._wire, self._changed = source, wire, changed

    async def credentials(self, owner: str) -> Credentials:
        known = self._source.credentials

        def ask() -> Credentials:
            asked = known(owner)
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
    """One process of the webhook, on a loop of its own."""

    def __init__(self, name: str, server: Server, under_way: list[Exchange], *, slow: bool) -> None:
        self.name, self.server = name, server
        self.loop = Stepping()
        self.troubles: list[str] = []
        self.loop.set_exception_handler(lambda _, context: self.troubles.append(str(context)))
        self.state = State.empty()
        self.callers: list[asyncio.Task[None]] = []
        self.position = dict.fromkeys(FEEDS, 0)
        wire = Wire(server, under_way, name)
        cluster = cast(Cluster, wire)
        metrics, fingerprint = Metrics(), Fingerprint(name.encode())
        reader = Reader((by_label(OWNER),), lambda _: False, fingerprint)
        self.source = SecretSource(self._changed, self._tell, metrics, lambda: NOW)
        self.supply = Supply(
            self.state,
            SlowSource(self.source, wire, self._changed) if slow else self.source,
            PullSecrets(cluster, reader, SECRET),
            Lookup(cluster, reader, self.state).namespace,
            Planner(SECRET, fingerprint),
            lambda: NOW,
            metrics,
            self._tell,
        )
        self.refresh = Refresh(self.supply, self._of_owner, self._tell, SECRET)
        self.mails = {"namespaces": Mail(), "secrets": Mail()}
        look = self.refresh.look
        namespaces: Feed[NamespaceObject, Namespace] = Feed(
            cast(Watch[NamespaceObject], self.mails["namespaces"]),
            self.state.namespaces,
            lambda seen: seen.metadata.name,
            reader.namespace,
            look,
        )
        secrets: Feed[SecretObject, Standing] = Feed(
            cast(Watch[SecretObject], self.mails["secrets"]),
            self.state.standing,
            lambda seen: seen.metadata.namespace,
            reader.standing,
            look,
        )
        self._run(namespaces.run(), secrets.run())
        for what in FEEDS:
            self.list(what)
        self._run(self.refresh.run())

    def _run(self, *runs: Any) -> None:
        self.tasks = [*getattr(self, "tasks", []), *(self.loop.create_task(run) for run in runs)]
        self.loop.settle()

    def _of_owner(self, owner: str | None) -> list[str]:
        return [NAMESPACE] if owner is None else sorted(self.state.namespaces.of_owner(owner))

    def _changed(self, owner: str | None) -> None:
        self.refresh.owner(owner)

    def _tell(self, notice: Notice) -> None:
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
            item = msgspec.convert(event.obj, SecretObject)
            self.soon(self.source.forget if gone else self.source.learn, item)
        else:
            self.mails[what].queue.put_nowait(Changed(msgspec.convert(event.obj, _struct(what)), gone))
            self.loop.settle()

    def list(self, what: str) -> None:
        """As after 410: what happened is not told, only what is."""
        self.position[what] = len(self.server.log[what])
        items = [msgspec.convert(obj, _struct(what)) for obj in self.server.listed(what)]
        if what == "sources":
            self.soon(self.source.replace, items, self.server.version, "release")
        else:
            self.mails[what].queue.put_nowait(Replaced(items, self.server.version))
            self.loop.settle()

    # -- admission --

    def admit(self) -> None:
        self.callers.append(self.loop.create_task(self._admit()))
        self.loop.settle()

    async def _admit(self) -> None:
        if (await self.supply(NAMESPACE)).problem:
            self.refresh.look(NAMESPACE)

    def deadline(self) -> None:
        """The first caller's. As admission does it, the background takes over."""
        self.callers.pop(0).cancel()
        self.soon(self.refresh.look, NAMESPACE)

    def end(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.loop.settle()
        self.loop.close()


def _struct(what: str) -> type[NamespaceObject | SecretObject]:
    return NamespaceObject if what == "namespaces" else SecretObject


class TwoReplicas(RuleBasedStateMachine):
    @initialize(slow=st.booleans())
    def start(self, slow: bool) -> None:
        self.slow = slow
        self.server = Server(self.check_write)
        self.under_way: list[Exchange] = []
        self.tokens: dict[str, str] = {}  # of whom
        self.held: dict[str, set[str]] = {}  # by the Secret's UID: whose tokens it had
        self.tampered: set[str] = set()
        self.foreign: Object | None = None
        self.wrong: list[str] = []
        self.server.create_namespace(LABELS[0])
        self.new_token("alice")
        self.replicas = [self.replica(name) for name in "AB"]

    def replica(self, name: str) -> Replica:
        return Replica(name, self.server, self.under_way, slow=self.slow)

    # -- the schedule --

    def choices(self) -> list[Exchange | tuple[Replica, str]]:
        """All that can happen next by itself."""
        return [
            *self.under_way,
            *((replica, what) for replica in self.replicas for what in FEEDS if replica.behind(what)),
        ]

    def go_on(self, choice: Exchange | tuple[Replica, str]) -> None:
        if isinstance(choice, Exchange):
            note(f"   {choice.what} {'answered' if choice.acted else 'arrives'}")
            if choice.go():
                self.under_way.remove(choice)
                note(f"      {choice.result!r:.80}" if isinstance(choice.result, Exception) else "      ok")
        else:
            replica, what = choice
            note(f"   {replica.name} hears of {what} {replica.server.log[what][replica.position[what]].kind}")
            replica.hear(what)
        self.settle()

    def settle(self) -> None:
        for replica in self.replicas:
            replica.loop.settle()

    @rule(which=st.integers(0, 7))
    def one_step(self, which: int) -> None:
        if choices := self.choices():
            self.go_on(choices[which % len(choices)])

    @rule(which=st.lists(st.integers(0, 7), min_size=2, max_size=8))
    def some_steps(self, which: list[int]) -> None:
        for one in which:
            self.one_step(one)

    @rule(which=st.integers(0, 1))
    def time_passes(self, which: int) -> None:
        self.replicas[which].loop.sleep()
        self.settle()

    @rule(which=st.integers(0, 1))
    def pod_is_created(self, which: int) -> None:
        self.replicas[which].admit()

    @precondition(lambda self: any(replica.callers for replica in self.replicas))
    @rule()
    def a_deadline_passes(self) -> None:
        next(replica for replica in self.replicas if replica.callers).deadline()

    @precondition(lambda self: self.under_way)
    @rule(which=st.integers(0, 7))
    def an_answer_is_lost(self, which: int) -> None:
        lost = self.under_way[which % len(self.under_way)]
        note(f"   {lost.what}")
        lost.lose()
        if lost.acted:
            self.under_way.remove(lost)
        self.settle()

    @rule(which=st.integers(0, 1), what=st.sampled_from(FEEDS))
    def a_watch_lists_again(self, which: int, what: str) -> None:
        self.replicas[which].list(what)

    @rule(which=st.integers(0, 1))
    def a_replica_starts_anew(self, which: int) -> None:
        self.replicas[which].end()
        self.replicas[which] = self.replica(self.replicas[which].name)

    # -- the world --

    @rule(owner=st.sampled_from(OWNERS))
    def new_token(self, owner: str) -> None:
        token = f"{owner}-{len(self.tokens)}"
        self.tokens[token] = owner
        self.server.set_source(owner, dockerconfig(token))

    @rule(owner=st.sampled_from(OWNERS), data=st.sampled_from((None, BROKEN)))
    def no_token(self, owner: str, data: str | None) -> None:
        self.server.set_source(owner, data)

    @rule(labels=st.sampled_from(LABELS))
    def namespace_changes(self, labels: dict[str, str]) -> None:
        if self.server.namespace is None:
            self.server.create_namespace(labels)
        elif self.server.namespace["metadata"]["labels"] != labels:
            self.server.label_namespace(labels)

    @precondition(lambda self: self.server.namespace is not None)
    @rule(at_once=st.booleans())
    def namespace_is_deleted(self, at_once: bool) -> None:
        if "deletionTimestamp" not in cast(Object, self.server.namespace)["metadata"]:
            self.server.delete_namespace()
        elif not at_once:
            self.server.finish_namespace()
        if at_once:
            self.server.finish_namespace()
        self.remember_foreign()

    @rule()
    def the_policy_is_behind(self) -> None:
        self.server.denies += 1

    # -- the tenant --

    @precondition(lambda self: self.server.secret is not None)
    @rule(
        change=st.sampled_from(
            [
                (("data", KEY), dockerconfig("the tenant's own")),
                (("metadata", "labels", MANAGED_BY), None),
                (("metadata", "labels", MANAGED_BY), MANAGER),
                (("metadata", "annotations", OWNER), "bob"),
                (("metadata", "annotations", OWNER), "alice"),
                (("metadata", "annotations", OWNER), None),
                (("metadata", "annotations", UID_OF), "uid-0"),
                (("metadata", "ownerReferences"), None),
                (("metadata", "finalizers"), ["example.org/held"]),
                (("metadata", "finalizers"), None),
                (("metadata", "labels", "example.org/seen"), "yes"),
                (("immutable",), True),
            ]
        )
    )
    def tenant_changes(self, change: tuple[tuple[str, ...], Any]) -> None:
        path, value = change
        secret = cast(Object, self.server.secret)
        if secret.get("immutable") and path[0] == "data":
            return
        if "deletionTimestamp" in secret["metadata"] and path == ("metadata", "finalizers") and value:
            return
        if at(secret, path) != value:
            if path == ("metadata", "annotations", OWNER):
                self.tampered.add(secret["metadata"]["uid"])
            self.server.change_secret(path, value)
            self.remember_foreign()

    @precondition(lambda self: self.server.secret is not None)
    @rule()
    def tenant_deletes(self) -> None:
        self.server.delete_secret()
        self.remember_foreign()

    @precondition(lambda self: self.server.secret is None and self.server.namespace is not None)
    @rule(kind=st.sampled_from((DOCKERCONFIG, "Opaque")), forged=st.none() | st.sampled_from(OWNERS))
    def tenant_creates(self, kind: str, forged: str | None) -> None:
        """`forged`: as if it were ours."""
        metadata: Object = {}
        if forged is not None:
            metadata = {"labels": {MANAGED_BY: MANAGER}, "annotations": {OWNER: forged}}
        if "deletionTimestamp" not in cast(Object, self.server.namespace)["metadata"]:
            secret = {"metadata": metadata, "type": kind, "data": {KEY: dockerconfig("the tenant's own")}}
            self.server.create_secret(secret)
            self.remember_foreign()

    def remember_foreign(self) -> None:
        secret = self.server.secret
        self.foreign = copy.deepcopy(secret) if secret is not None and not is_ours(secret) else None

    # -- what must hold --

    def check_write(self, secret: Object) -> None:
        """After each write of ours: whose token is where?"""
        token = token_in(secret)
        owner = self.tokens.get(token or "")
        namespace = self.server.namespace
        assert namespace is not None
        if owner is None:
            self.wrong.append(f"{token} was written")
            return
        if namespace["metadata"]["labels"].get(OWNER) != owner:
            self.wrong.append(f"{token} was written into a namespace of {namespace['metadata']['labels']}")
        uid = secret["metadata"]["uid"]
        self.held.setdefault(uid, set()).add(owner)
        if len(self.held[uid]) > 1 and uid not in self.tampered:
            self.wrong.append(f"{uid} held tokens of {self.held[uid]}")

    @invariant()
    def nothing_went_wrong(self) -> None:
        assert not self.wrong
        assert not [trouble for replica in self.replicas for trouble in replica.troubles]

    @invariant()
    def foreign_secrets_stay(self) -> None:
        secret = self.server.secret
        if secret is not None and not is_ours(secret):
            assert secret == self.foreign

    def teardown(self) -> None:
        if not hasattr(self, "replicas"):
            return
        try:
            self.all_is_told()
            self.each_replica_knows_what_is()
            self.the_secret_is_right()
            writes = self.server.writes
            for replica in self.replicas:
                replica.admit()
            self.all_is_told()
            assert self.server.writes == writes, "what stood right was written again"
            self.nothing_went_wrong()
            self.foreign_secrets_stay()
        finally:
            for replica in self.replicas:
                replica.end()

    def all_is_told(self) -> None:
        self.server.denies = 0
        note("the end: all is told")
        for _ in range(2000):
            if choices := self.choices():
                self.go_on(choices[0])
            elif not [replica for replica in self.replicas if replica.loop.sleep()]:
                return
        raise AssertionError("they are still at it")

    def each_replica_knows_what_is(self) -> None:
        for replica in self.replicas:
            secret, namespace = replica.state.standing.get(NAMESPACE), replica.state.namespaces.get(NAMESPACE)
            for known, real in ((secret, self.server.secret), (namespace, self.server.namespace)):
                seen = known and (known.uid, str(known.version))
                assert seen == (real and (real["metadata"]["uid"], real["metadata"]["resourceVersion"]))

    def the_secret_is_right(self) -> None:
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


TestTwoReplicas = TwoReplicas.TestCase
TestTwoReplicas.settings = settings(
    max_examples=150, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)
