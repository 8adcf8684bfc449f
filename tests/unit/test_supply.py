"""Two replicas supply one namespace, in every order of events; and what exactly one asks for when all goes well.

The calls of both wait on one wire until the schedule lets them go on, there and back; answers are lost; what watches
tell comes late, to each replica on its own. Meanwhile tokens and owners change, the namespace is made anew, and the
tenant does what tenants do to the Secret.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from support.replicas import BROKEN, FEEDS, OWNERS, World, settled
from support.simulated import (
    DOCKERCONFIG,
    KEY,
    MANAGED_BY,
    MANAGER,
    NAMESPACE,
    OWNER,
    UID_OF,
    Object,
    at,
    dockerconfig,
    put,
    token_in,
)
from webhook.core.credential import Credential, Credentials
from webhook.core.pullsecret import Namespace, Write

LABELS: tuple[dict[str, str], ...] = (
    {OWNER: "alice"},
    {OWNER: "bob"},
    {},
    {OWNER: "alice", "pullsecret-webhook/inject": "disabled"},
)
EDITS: tuple[tuple[tuple[str, ...], Any], ...] = (
    (("data", KEY), dockerconfig("the tenant's own")),
    (("metadata", "labels", MANAGED_BY), None),
    (("metadata", "labels", MANAGED_BY), MANAGER),
    (("metadata", "annotations", OWNER), "bob"),
    (("metadata", "annotations", OWNER), None),
    (("metadata", "annotations", UID_OF), "uid-0"),
    (("metadata", "ownerReferences"), None),
    (("metadata", "finalizers"), ["example.org/held"]),
    (("metadata", "labels", "example.org/seen"), "yes"),
    (("immutable",), True),
)


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


class TwoReplicas(RuleBasedStateMachine):
    @initialize(slow=st.booleans(), policed=st.booleans(), existing=st.booleans())
    def start(self, slow: bool, policed: bool, existing: bool) -> None:
        self.world = World("AB", slow=slow, policed=policed, note=note)
        self.server = self.world.server
        if existing:
            self.world.all_is_told()

    # -- the schedule --

    @rule(which=st.lists(st.integers(0, 7), min_size=1, max_size=8))
    def some_steps(self, which: list[int]) -> None:
        for one in which:
            if choices := self.world.choices():
                self.world.go_on(choices[one % len(choices)])

    @rule()
    def it_settles(self) -> None:
        self.world.all_is_told()
        self.world.check_settled()

    # -- the replicas --

    @rule(which=st.integers(0, 1))
    def a_pod_is_created(self, which: int) -> None:
        self.world.replicas[which].admit()

    @rule(which=st.integers(0, 1), what=st.sampled_from([*FEEDS, "time", "deadline", "lost", "policy", "restart"]))
    def something_goes_wrong(self, which: int, what: str) -> None:
        replica = self.world.replicas[which]
        mine = [one for one in self.world.under_way if one.what.startswith(replica.name)]
        if what in FEEDS:
            replica.list(what)
        elif what == "time":
            replica.loop.sleep()
        elif what == "deadline" and replica.callers:
            replica.deadline()
        elif what == "lost" and mine:
            self.world.lose(mine[-1])
        elif what == "policy":  # is behind
            self.server.denies += 1
        elif what == "restart":
            replica.end()
            self.world.replicas[which] = self.world.replica(replica.name)
        self.world.settle()

    # -- the world --

    @rule(labels=st.sampled_from(LABELS))
    def namespace_changes(self, labels: dict[str, str]) -> None:
        if self.server.namespace is None:
            self.server.create_namespace(labels)
        elif self.server.namespace["metadata"]["labels"] != labels:
            self.server.label_namespace(labels)

    @rule(at_once=st.booleans())
    def namespace_is_deleted(self, at_once: bool) -> None:
        """In two steps, if not at once."""
        if self.server.namespace is None:
            return
        begun = "deletionTimestamp" in self.server.namespace["metadata"]
        if not begun:
            self.server.delete_namespace()
        if begun or at_once:
            self.server.finish_namespace()
        self.world.remember_foreign()

    @rule(owner=st.sampled_from(OWNERS), what=st.sampled_from(("new", "new", "none", "broken")))
    def token_changes(self, owner: str, what: str) -> None:
        if what == "new":
            self.world.set_token(owner)
        else:
            self.server.set_source(owner, BROKEN if what == "broken" else None)

    # -- the tenant --

    @rule(change=st.sampled_from(EDITS))
    def tenant_changes(self, change: tuple[tuple[str, ...], Any]) -> None:
        path, value = change
        secret = self.server.secret
        if secret is None or at(secret, path) == value or (secret.get("immutable") and path[0] == "data"):
            return
        if "deletionTimestamp" not in secret["metadata"] or path != ("metadata", "finalizers"):
            self.world.tenant(path, value)

    @rule(kind=st.sampled_from((DOCKERCONFIG, "Opaque")), forged=st.sampled_from((None, *OWNERS)))
    def tenant_deletes_or_creates(self, kind: str, forged: str | None) -> None:
        """`forged`: as if it were ours."""
        if self.server.secret is not None:
            self.server.delete_secret()
        elif self.server.namespace is not None and "deletionTimestamp" not in self.server.namespace["metadata"]:
            ours = {"labels": {MANAGED_BY: MANAGER}, "annotations": {OWNER: forged}}
            data = {KEY: dockerconfig("the tenant's own")}
            self.server.create_secret({"metadata": ours if forged else {}, "type": kind, "data": data})
        self.world.remember_foreign()

    # -- what must hold --

    @invariant()
    def nothing_is_wrong(self) -> None:
        self.world.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.it_settles()
            writes = self.server.writes
            for replica in self.world.replicas:
                replica.admit()
            self.it_settles()
            assert self.server.writes == writes, "what stood right was written again"
        finally:
            self.world.end()


TestTwoReplicas = TwoReplicas.TestCase
TestTwoReplicas.settings = settings(
    max_examples=60, stateful_step_count=40, suppress_health_check=[HealthCheck.too_slow]
)


class Longer(TwoReplicas):
    """The same, and more of it."""


TestLonger = pytest.mark.slow(Longer.TestCase)
TestLonger.settings = settings(TestTwoReplicas.settings, max_examples=400)


# -- what is asked for when nobody interferes --


def secret_of(world: World) -> Object:
    assert world.server.secret is not None
    return world.server.secret


def after(change: Callable[[World], object], *, policed: bool) -> list[str]:
    """What the one replica asks the API server for, until all is right again."""
    with settled("A", policed=policed) as world:
        change(world)
        world.all_is_told()
        world.check_settled()
        return [asked.removesuffix(" ghcr-secret") for asked in world.replicas[0].wire.asked]


def has_a_pod(world: World) -> None:
    world.replicas[0].admit()


def is_bobs(world: World) -> None:
    world.server.label_namespace({OWNER: "bob"})


def is_nobodys(world: World) -> None:
    world.server.label_namespace({})


def is_gone(world: World) -> None:
    world.server.delete_namespace()
    world.server.finish_namespace()


def is_new(world: World) -> None:
    is_gone(world)
    world.server.create_namespace({OWNER: "alice"})


def held_and_bobs(world: World) -> None:
    world.tenant(("metadata", "finalizers"), ["example.org/held"])
    is_bobs(world)


def edited(*path: str, to: Any) -> Callable[[World], None]:
    return lambda world: world.tenant(path, to)


def not_ours_and_a_new_token(world: World) -> None:
    world.set_token("alice")
    world.tenant(("metadata", "labels", MANAGED_BY), None)
    world.replicas[0].hear("sources")  # of the rest it does not know yet
    world.replicas[0].admit()


def edited_not_ours_and_a_new_token(world: World) -> None:
    world.tenant(("data", KEY), dockerconfig("the tenant's own"))
    not_ours_and_a_new_token(world)


DENIED = ["GET team", "APPLY", "GET", "GET team"]


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (has_a_pod, []),
        (lambda world: world.set_token("bob"), []),
        (lambda world: world.set_token("alice"), ["GET team", "APPLY"]),
        (lambda world: world.server.set_source("alice", None), ["GET team", "DELETE", "GET"]),
        (lambda world: world.server.set_source("alice", BROKEN), []),
        (is_bobs, ["GET team", "DELETE", "GET", "APPLY"]),
        (is_nobodys, ["GET team", "DELETE", "GET"]),
        (is_gone, []),
        (held_and_bobs, ["GET team", "DELETE", "GET", "PATCH", "GET", "APPLY"]),
        (edited("metadata", "labels", "example.org/x", to="y"), []),
        (edited("metadata", "ownerReferences", to=None), ["GET team", "APPLY"]),
        (edited("data", KEY, to=dockerconfig("mine")), [*DENIED, "FORCE"]),
        (edited("metadata", "annotations", OWNER, to="bob"), ["GET team", "DELETE", "GET", "APPLY"]),
        (edited("immutable", to=True), ["GET team", "DELETE", "GET", "APPLY"]),
        (edited("metadata", "labels", MANAGED_BY, to=None), []),
        (not_ours_and_a_new_token, DENIED),
        (edited_not_ours_and_a_new_token, DENIED),
        (lambda world: world.server.delete_secret(), ["GET team", "APPLY"]),
    ],
)
def test_what_is_asked_for(change: Callable[[World], object], asked: list[str]) -> None:
    assert after(change, policed=False) == asked


@pytest.mark.parametrize(
    ("change", "asked"),
    [
        (lambda world: world.set_token("alice"), ["APPLY"]),
        (edited("metadata", "ownerReferences", to=None), ["APPLY"]),
        (edited("data", KEY, to=dockerconfig("mine")), [*DENIED[1:], "FORCE"]),
        (is_bobs, ["GET team", "DELETE", "GET", "APPLY"]),
        (is_nobodys, ["GET team", "DELETE", "GET"]),
        (not_ours_and_a_new_token, DENIED[1:]),
        (lambda world: world.server.delete_secret(), ["GET team", "APPLY"]),
    ],
)
def test_what_the_write_policy_spares(change: Callable[[World], object], asked: list[str]) -> None:
    """It compares the namespace with what is written in place; what is made anew or deleted needs a look before."""
    assert after(change, policed=True) == asked


def test_a_new_token_keeps_the_secrets_uid_and_another_owner_does_not() -> None:
    with settled("A") as world:
        uid = secret_of(world)["metadata"]["uid"]
        token = world.set_token("alice")
        world.all_is_told()
        assert (token_in(secret_of(world)), secret_of(world)["metadata"]["uid"]) == (token, uid)

        is_bobs(world)
        world.all_is_told()
        assert secret_of(world)["metadata"]["uid"] != uid


def test_a_deletion_by_us_is_said_where_it_happened() -> None:
    with settled("A") as world:
        is_nobodys(world)
        world.all_is_told()
        (notice,) = [notice for notice in world.replicas[0].said if notice.reason == "PullSecretDeleted"]

    assert (notice.namespace, notice.name, notice.type) == (NAMESPACE, "ghcr-secret", "Normal")
    assert notice.message == "the namespace has no owner any more"


def test_many_callers_are_one_write_and_one_that_goes_takes_nobody_with_it() -> None:
    with settled("A") as world:
        (replica,) = world.replicas
        world.set_token("alice")
        first = replica.loop.create_task(replica.supply(NAMESPACE))
        replica.hear("sources")
        callers = [replica.admit() for _ in range(60)]
        first.cancel()
        callers.pop().cancel()
        replica.callers.clear()
        world.all_is_told()

        assert all(caller.done() and not caller.cancelled() for caller in callers)
        assert replica.wire.asked == ["APPLY"]


def test_what_is_left_to_another_replica_is_forgotten() -> None:
    with settled("A") as world:
        supply = world.replicas[0].supply
        assert supply.standings.counts()["right"] == 1
        supply.left_to_others(NAMESPACE)
        assert supply.standings.counts()["right"] == 0


# -- answers that come late --


def until(world: World, asked: str) -> None:
    """All goes its way until this is asked for."""
    (replica,) = world.replicas
    while replica.wire.asked[-1:] != [asked]:
        if choices := world.choices():
            world.go_on(choices[0])
        else:
            assert replica.loop.sleep(), f"{asked} is never asked for"


def answered_late(world: World, meanwhile: Callable[[], object]) -> None:
    """The last call is answered, but before the answer is here A has heard of something newer."""
    (call,) = [one for one in world.under_way if one.what.startswith("A")]
    call.go()
    meanwhile()
    while world.replicas[0].behind("secrets") or world.replicas[0].behind("namespaces"):
        world.replicas[0].hear("secrets" if world.replicas[0].behind("secrets") else "namespaces")
    world.go_on(call)
    world.all_is_told()
    world.check_settled()


def test_a_secret_that_was_deleted_while_our_write_was_on_its_way_back_is_made_again() -> None:
    with settled("A") as world:
        world.set_token("alice")
        until(world, "APPLY")
        answered_late(world, world.server.delete_secret)


def test_what_is_undone_while_our_write_is_on_its_way_back_is_restored_ever_later() -> None:
    """Also if somebody is quicker than our answer, each time."""
    with settled("A") as world:
        (replica,) = world.replicas
        moments: list[float] = []
        world.server.delete_secret()
        for _ in range(6):
            replica.wire.asked.clear()
            until(world, "APPLY")
            moments.append(replica.loop.time())
            (call,) = world.under_way
            call.go()
            world.server.delete_secret()
            while replica.behind("secrets"):
                replica.hear("secrets")
            world.go_on(call)
        waits = [later - before for before, later in pairwise(moments)]
        assert waits[0] > 0.3
        assert waits[-1] > 3
        world.all_is_told()
        world.check_settled()


def test_what_is_gone_again_is_made_also_if_no_watch_tells() -> None:
    """It was made and deleted between two lists."""
    with settled("A") as world:
        (replica,) = world.replicas
        world.server.delete_secret()
        until(world, "APPLY")
        (call,) = world.under_way
        call.go()
        world.server.delete_secret()
        replica.list("secrets")
        world.go_on(call)
        world.all_is_told()
        world.check_settled()


def test_what_is_changed_by_each_write_of_ours_is_a_tug_of_war(monkeypatch: pytest.MonkeyPatch) -> None:
    """A mutating webhook of somebody else does so: our answer has it already, and the watch has nothing to add."""
    with settled("A") as world:
        (replica,) = world.replicas
        update = world.server._update

        def mutated(after: Object) -> Object:
            put(after, ("data", KEY), dockerconfig("theirs"))
            return update(after)

        monkeypatch.setattr(world.server, "_update", mutated)
        world.set_token("alice")
        while replica.loop.time() < 120:
            if choices := world.choices():
                world.go_on(choices[0])
            else:
                assert replica.loop.sleep()
        assert "TugOfWar" in {notice.reason for notice in replica.said}
        assert replica.supply.standings.counts()["failed"] == 1
        assert replica.wire.asked.count("APPLY") < 20
        world.wrong.clear()


def test_a_namespace_that_was_deleted_while_our_look_was_on_its_way_back_stays_away() -> None:
    with settled("A", policed=False) as world:
        world.set_token("alice")
        until(world, "GET team")
        answered_late(world, lambda: is_gone(world))


def test_a_namespace_that_was_made_while_our_look_was_on_its_way_back_is_seen() -> None:
    with settled("A", policed=False) as world:
        world.set_token("alice")
        until(world, "GET team")
        is_gone(world)
        answered_late(world, lambda: world.server.create_namespace({OWNER: "alice"}))


@pytest.mark.parametrize(
    "change", [is_nobodys, lambda world: world.server.delete_secret()], ids=["deleting", "writing"]
)
def test_a_secret_that_was_made_while_our_read_was_on_its_way_back_is_seen(change: Callable[[World], None]) -> None:
    """It is as if another replica, which is gone again, had made it."""
    ours = {"labels": {MANAGED_BY: MANAGER}, "annotations": {OWNER: "alice"}}
    made = {"metadata": ours, "type": DOCKERCONFIG, "data": {KEY: dockerconfig("alice-0")}}
    with settled("A") as world:
        world.set_token("alice")
        if change is is_nobodys:
            change(world)
        else:
            until(world, "APPLY")
            change(world)  # the write finds nothing to write onto
        until(world, "GET ghcr-secret")
        answered_late(world, lambda: world.server.create_secret(made))


def test_what_changes_hands_again_while_the_secret_before_goes_is_planned_anew() -> None:
    with settled("A") as world:
        is_bobs(world)
        until(world, "DELETE ghcr-secret")
        answered_late(world, lambda: is_nobodys(world))

        assert "APPLY" not in world.replicas[0].wire.asked
        assert world.server.secret is None


def test_after_a_restore_of_etcd_an_answer_is_believed_though_its_version_is_older() -> None:
    with settled("A") as world:
        (replica,) = world.replicas
        view = replica.state.pull_secrets
        known = view.get(NAMESPACE)
        assert known
        view.learn(NAMESPACE, replace(known, version=10**6, digest=b"what was lost"))
        view.observed(10**6)
        replica.admit()
        world.all_is_told()

        assert replica.wire.asked == ["APPLY"]
        assert view.get(NAMESPACE) == known


# -- while a source is asked --


def test_a_plan_is_of_what_is_known_when_the_source_has_answered() -> None:
    """Neither another owner's credentials nor an earlier namespace."""
    with settled("A") as world:
        (replica,) = world.replicas
        asked: list[str] = []

        async def credentials(owner: str) -> Credentials:
            asked.append(owner)
            if len(asked) == 1:
                replica.state.namespaces.learn(NAMESPACE, Namespace(NAMESPACE, "another", 10**6, "bob"))
            return Credentials((Credential("ghcr.io", "u", f"{owner}-1"),))

        replica.supply.source.credentials = credentials  # type: ignore[method-assign]
        plan = replica.loop.run_until_complete(replica.supply.plan(NAMESPACE)).step

        assert asked == ["alice", "bob"]
        assert isinstance(plan, Write)
        assert (token_in(dict(plan.body)), plan.body["metadata"]["annotations"][UID_OF]) == ("bob-1", "another")


# -- what others write --


@contextmanager
def invalidations() -> Iterator[tuple[World, list[str]]]:
    """One replica, and the owners of whom its source is to be asked again."""
    with settled("A") as world:
        invalidated: list[str] = []

        def invalidate(owner: str) -> None:
            invalidated.append(owner)

        world.replicas[0].source.invalidate = invalidate  # type: ignore[method-assign]
        yield world, invalidated


def made_by_another(world: World) -> None:
    world.server.delete_secret()
    metadata = {"labels": {MANAGED_BY: MANAGER}, "annotations": {OWNER: "alice"}}
    data = {KEY: dockerconfig("another replica's")}
    world.server.create_secret({"metadata": metadata, "type": DOCKERCONFIG, "data": data})


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ((("metadata", "labels", "example.org/seen"), "yes"), []),  # a field of theirs
        ((("data", KEY), dockerconfig("another replica's")), ["alice"]),
        ((("metadata", "annotations", OWNER), "bob"), ["alice"]),
        (None, ["alice"]),  # deleted
    ],
)
def test_before_what_others_did_is_undone_the_source_is_asked_again(edit: Any, expected: list[str]) -> None:
    """An answer that is good for long may be older than the one that another replica went by."""
    with invalidations() as (world, invalidated):
        if edit is None:
            world.server.delete_secret()
        else:
            world.tenant(*edit)
        world.all_is_told()
        assert invalidated == expected


def test_also_when_a_write_that_fails_finds_it_out() -> None:
    """The watch tells it later, as no news."""
    with invalidations() as (world, invalidated):
        world.set_token("alice")
        until(world, "APPLY")
        made_by_another(world)
        world.remember_foreign()
        world.all_is_told()
        assert invalidated == ["alice"]


@pytest.mark.parametrize("change", [is_bobs, held_and_bobs, is_nobodys])
@pytest.mark.parametrize("late", ["DELETE ghcr-secret", "GET ghcr-secret"])
def test_what_we_do_ourselves_is_nothing_to_ask_about(change: Callable[[World], None], late: str) -> None:
    """The watch tells of it before the API server has answered us."""
    with invalidations() as (world, invalidated):
        change(world)
        until(world, "DELETE ghcr-secret")
        if late != "DELETE ghcr-secret":
            until(world, late)
        invalidated.clear()
        answered_late(world, lambda: None)
        assert invalidated == []


def test_who_is_not_served_is_not_asked_about() -> None:
    with invalidations() as (world, invalidated):
        world.server.label_namespace({OWNER: "alice", "pullsecret-webhook/inject": "disabled"})
        world.all_is_told()
        assert invalidated == []
