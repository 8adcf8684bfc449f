"""What is known of the cluster: however its news is delivered, the newest wins; and how objects are read."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, cast
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from support.steps import at_once
from webhook.core.credential import Credential, Credentials
from webhook.core.names import DOCKERCONFIG_KEY, ENFORCE_MOUNTABLE, EXPIRES, INJECT, MANAGED_BY, NAMESPACE_UID, OWNER
from webhook.core.owner import OwnerRule
from webhook.core.pullsecret import EXCLUDED, OPTED_OUT, Fingerprint, Namespace, Planner, Write
from webhook.kube.cluster import AccountObject, NamespaceObject, SecretObject
from webhook.kube.reader import Reader
from webhook.kube.reflector import Feed
from webhook.kube.views import BEHIND_SECONDS, Account, AnyAccount, Namespaces, PlainAccount, State, View
from webhook.kube.watch import SILENCE_SECONDS, WATCH_SECONDS, Replaced

KEYS = ("a", "b")


@dataclass(frozen=True)
class Told:
    """One thing that happened to one object, at `version`. Without an item: it was deleted."""

    version: int
    key: str
    item: Namespace | None


@st.composite
def histories(draw: st.DrawFn) -> list[Told]:
    """Versions are shared by all objects, and others' objects take some."""
    history, version, there = list[Told](), 0, set[str]()
    for key, owner, gap in draw(
        st.lists(
            st.tuples(st.sampled_from(KEYS), st.sampled_from(["alice", "bob", None, "end"]), st.integers(1, 3)),
            min_size=1,
            max_size=8,
        )
    ):
        if owner == "end" and key not in there:
            continue
        version += gap
        item = None if owner == "end" else Namespace(key, f"{key}{version}", version, owner)
        history.append(Told(version, key, item))
        (there.add if item else there.remove)(key)
    return history


def as_of(history: list[Told], version: int) -> dict[str, Namespace]:
    objects: dict[str, Namespace | None] = {}
    for told in history:
        if told.version <= version:
            objects[told.key] = told.item
    return {key: item for key, item in objects.items() if item is not None}


def by_owner(view: Namespaces) -> dict[str, set[str]]:
    index: dict[str, set[str]] = {}
    for key, item in view.items():
        if item.owner is not None:
            index.setdefault(item.owner, set()).add(key)
    return index


class Delivery:
    """A view, and all who write to it: a watch that goes on from where it is, lists, late answers to our own calls."""

    def __init__(self, history: list[Told], data: st.DataObject) -> None:
        self.history, self.data, self.view = history, data, Namespaces()
        self.position = 0
        self.last = history[-1].version if history else 0

    def watch(self) -> None:
        told = next((told for told in self.history if told.version > self.position), None)
        if told is None:
            self.view.observed(self.last + 1)  # a bookmark
            return
        self.hear(told)
        self.position = told.version
        self.view.observed(told.version)

    def list(self) -> None:
        version = self.data.draw(st.integers(0, self.last), "list as of")
        before = dict(self.view.items())
        changed = at_once(self.view.replace(as_of(self.history, version), version))
        after = dict(self.view.items())
        assert changed == {key for key in KEYS if before.get(key) != after.get(key)}
        self.position = version

    def long_list(self) -> None:
        """Answers come between its steps."""
        version = self.data.draw(st.integers(0, self.last), "list as of")
        for _ in self.view.replace(as_of(self.history, version), version):
            if self.data.draw(st.booleans()):
                self.answer()
        self.position = version

    def answer(self) -> None:
        """Late, or early: the watch may be behind. For what is gone a read knows no version but the one we knew."""
        if self.history:
            told = self.data.draw(st.sampled_from(self.history), "answer")
            ended = [end for end in self.history if end.key == told.key and end.item is None]
            if told.item and any(end.version > told.version for end in ended) and self.data.draw(st.booleans()):
                self.hear(replace(told, item=None))
            else:
                self.hear(told)

    def hear(self, told: Told) -> None:
        before = self.view.get(told.key)
        changed = (
            self.view.forget(told.key, told.version) if told.item is None else self.view.learn(told.key, told.item)
        )
        after = self.view.get(told.key)
        assert changed == (before != after)
        if before and after:
            assert after.version >= before.version
            assert told.item or before.version > told.version


@patch("webhook.kube.views.STEP", 1)
@given(
    histories(), st.lists(st.sampled_from(["watch", "watch", "list", "long_list", "answer"]), max_size=12), st.data()
)
def test_in_whatever_order_the_newest_wins(history: list[Told], steps: list[str], data: st.DataObject) -> None:
    delivery = Delivery(history, data)
    for step in steps:
        getattr(delivery, step)()
        assert {owner: set(delivery.view.of_owner(owner)) for owner in ("alice", "bob")} == {
            "alice": set(),
            "bob": set(),
        } | by_owner(delivery.view)
        assert set(delivery.view._of_owner) == set(by_owner(delivery.view))
    while delivery.position < delivery.last:
        delivery.watch()
    newest = as_of(history, delivery.last)
    assert dict(delivery.view.items()) == newest
    assert len(delivery.view) == len(newest)
    for _ in range(data.draw(st.integers(0, 3), "late answers")):
        delivery.answer()
        assert dict(delivery.view.items()) == newest


def test_what_we_wrote_after_a_list_stays() -> None:
    view = Namespaces()
    old, written = Namespace("a", "1", 3, "alice"), Namespace("b", "2", 7, "bob")
    view.learn("b", written)
    assert at_once(view.replace({"a": old}, 5)) == {"a"}
    assert dict(view.items()) == {"a": old, "b": written}
    assert at_once(view.replace({"a": old}, 8)) == {"b"}
    assert view.get("b") is None


def test_what_we_wrote_before_a_list_was_asked_for_is_in_it_or_lost() -> None:
    view = Namespaces()
    at_once(view.replace({"a": replace(TEAM, version=90)}, 100))
    view.learn("a", replace(TEAM, version=103, owner="bob"))
    view.out_of_touch()
    view.learn("b", replace(TEAM, name="b", version=102))
    assert at_once(view.replace({"a": replace(TEAM, version=90)}, 101)) == {"a", "b"}
    view.out_of_touch()
    view.learn("b", replace(TEAM, name="b", version=104))
    assert at_once(view.replace({"a": replace(TEAM, version=90)}, 102)) == set()


def test_what_the_watch_told_of_is_not_brought_back() -> None:
    view = Namespaces()
    view.observed(9)
    view.observed(5)
    assert not view.learn("a", Namespace("a", "1", 9, "alice"))
    assert view.learn("a", Namespace("a", "1", 10, "alice"))


def test_a_list_is_believed_however_old() -> None:
    view = Namespaces()
    view.observed(9)
    assert at_once(view.replace({"a": TEAM}, TEAM.version - 4)) == {"a"}
    assert at_once(view.replace({}, TEAM.version)) == {"a"}
    view.observed(20)
    assert at_once(view.replace({"a": TEAM}, TEAM.version)) == {"a"}
    assert view.learn("b", replace(TEAM, version=TEAM.version + 1))


def test_after_a_restore_from_a_backup_a_list_is_the_truth() -> None:
    """etcd counts on from the backup, or, as its guide has it, from a number far above: then objects have old ones."""
    view = Namespaces()
    at_once(view.replace({"a": replace(TEAM, version=90), "b": replace(TEAM, name="b", version=95)}, 100))
    view.learn("c", replace(TEAM, name="c", version=101))
    before = replace(TEAM, version=40, owner="bob")
    assert at_once(view.replace({"a": before}, 50)) == {"a", "b", "c"}
    assert dict(view.items()) == {"a": before}
    assert view.learn("a", replace(TEAM, version=51))
    assert at_once(view.replace({"a": before}, 10**9)) == {"a"}
    assert at_once(view.replace({"a": before}, 10**9)) == set()
    assert view.learn("b", replace(TEAM, name="b", version=10**9 + 1))


def test_another_uid_or_owner_is_another_namespace() -> None:
    view, heard = Namespaces(), list[int]()
    view.new_or_moved = lambda _name: heard.append(number)
    for number, item in enumerate(
        [
            TEAM,
            replace(TEAM, left_alone=OPTED_OUT),
            replace(TEAM, owner="bob"),
            replace(TEAM, owner="bob", terminating=True),
            replace(TEAM, owner="bob", uid="u2"),
            replace(TEAM, owner=None, uid="u2"),
        ]
    ):
        view.learn("team", replace(item, version=20 + number))
    view.forget("team", 30)
    number = 99
    view.learn("team", replace(TEAM, version=31))
    assert heard == [0, 2, 4, 5, 99]


def test_each_change_is_told_with_what_was_before() -> None:
    view, heard = View[Account](), list[tuple[str, int | None, int | None]]()
    view.on_change.append(lambda key, *both: heard.append((key, *(one.version if one else None for one in both))))
    view.learn("team/a", Account(1, "", enforced=True))
    at_once(view.replace({"team/a": Account(2, "", enforced=True), "team/b": Account(2, "", enforced=False)}, 2))
    assert sorted(heard[1:], key=str) == [("team/a", 1, 2), ("team/b", None, 2)]
    for version, enforced in ((3, False), (4, True), (4, False)):
        view.learn("team/b", Account(version, "x", enforced=enforced))
    view.forget("team/a", 7)
    view.learn("team/a", Account(8, "", enforced=True))
    at_once(view.replace({"team/c": Account(10, "", enforced=True)}, 10))
    assert heard[3:7] == [("team/b", 2, 3), ("team/b", 3, 4), ("team/a", 2, None), ("team/a", None, 8)]
    assert set(heard[7:]) == {("team/a", 8, None), ("team/b", 4, None), ("team/c", None, 10)}


@patch("webhook.kube.views.STEP", 1)
def test_answers_between_the_steps_of_a_list() -> None:
    """Nothing that is gone comes back, and what is newer than the list stays."""
    view = View[Namespace]()
    at_once(view.replace({name: replace(TEAM, name=name, version=4) for name in "abc"}, 5))
    late, newer = replace(TEAM, name="c", version=6), replace(TEAM, name="a", version=12)
    for number, _ in enumerate(view.replace({"a": replace(TEAM, name="a", version=8)}, 10)):
        if number == 0:
            view.learn("a", newer)
        view.learn("c", late)
    assert not view.learn("c", late)
    assert dict(view.items()) == {"a": newer}


def test_who_waits_for_an_arrival_can_be_ended_in_the_moment_of_it() -> None:
    async def main() -> None:
        view = Namespaces()
        waiting = asyncio.create_task(view.arrival("team", 60.0))
        await asyncio.sleep(0)
        view.learn("team", TEAM)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    asyncio.run(main())


def test_the_background_begins_when_all_first_lists_were_reported() -> None:
    class Listed:
        async def events(self) -> AsyncIterator[Replaced[Namespace]]:
            yield Replaced({name: replace(TEAM, name=name) for name in "abc"}, 9)

    async def main() -> None:
        state, reported = State.empty(), list[str]()
        waiting = asyncio.create_task(state.wait_told())

        def changed(name: str) -> None:
            assert state.namespaces.synced.is_set()
            assert not state.namespaces.told.is_set()
            reported.append(name)

        for view in (state.pull_secrets, state.accounts):
            view.told.set()
        await asyncio.sleep(0)
        assert not waiting.done()
        await Feed(cast(Any, Listed()), state.namespaces, changed).run()
        await waiting
        assert sorted(reported) == ["a", "b", "c"]

    asyncio.run(main())


FINGERPRINT = Fingerprint(b"key")
READER = Reader(
    (OwnerRule("label", "owner"), OwnerRule("label", OWNER)),
    lambda name: name == "kube-system",
    FINGERPRINT,
    "ghcr-secret",
)


def namespace(**metadata: Any) -> Namespace:
    whole = {"name": "team", "uid": "u1", "resourceVersion": "12", "labels": {OWNER: "alice"}, **metadata}
    return READER.namespace(msgspec.convert({"metadata": whole}, NamespaceObject))


TEAM = Namespace("team", "u1", 12, "alice")
UNREAD = f"the annotation {OWNER} has no effect; write it as a label"


@pytest.mark.parametrize(
    ("metadata", "read"),
    [
        ({}, TEAM),
        ({"labels": {OWNER: "alice", "owner": "bob"}}, replace(TEAM, owner="bob")),
        ({"labels": None}, replace(TEAM, owner=None)),
        ({"labels": {OWNER: ""}, "annotations": {OWNER: "alice"}}, replace(TEAM, owner=None, mistakes=UNREAD)),
        ({"labels": {OWNER: "alice", INJECT: "disabled"}}, replace(TEAM, left_alone=OPTED_OUT)),
        ({"labels": {OWNER: "alice", INJECT: "enabled"}}, TEAM),
        (
            {"annotations": {INJECT: "disabled"}},
            replace(TEAM, mistakes=f"the annotation {INJECT} has no effect; write it as a label"),
        ),
        ({"name": "kube-system"}, replace(TEAM, name="kube-system", left_alone=EXCLUDED)),
        ({"deletionTimestamp": "2026-11-23T00:00:00Z"}, replace(TEAM, terminating=True)),
        ({"resourceVersion": ""}, replace(TEAM, version=0)),
        ({"resourceVersion": "18446744073709551616"}, replace(TEAM, version=2**64)),
    ],
)
def test_namespace(metadata: dict[str, Any], read: Namespace) -> None:
    assert namespace(**metadata) == read


@pytest.mark.parametrize(
    ("metadata", "served"),
    [({}, True), ({"labels": {}}, False), ({"labels": {OWNER: "a", INJECT: "disabled"}}, False)],
)
def test_served(metadata: dict[str, Any], served: bool) -> None:
    assert namespace(**metadata).served is served


def written() -> dict[str, Any]:
    """A Secret as we apply it, and what the API server adds."""
    credentials = Credentials((Credential("ghcr.io", "robot", planted.token()),))
    plan = Planner("ghcr-secret", FINGERPRINT)(TEAM, credentials, None, datetime(2026, 11, 23, tzinfo=UTC)).step
    assert isinstance(plan, Write)
    body: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(plan.body))
    body["metadata"] |= {"uid": "s1", "resourceVersion": "20"}
    return body


def existing(body: dict[str, Any]) -> Any:
    return READER.existing(msgspec.convert(body, SecretObject))


def changed(body: dict[str, Any], path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """None: taken away."""
    copy: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(body))
    inner = copy
    for key in path[:-1]:
        inner = inner.setdefault(key, {})
    inner[path[-1]] = value
    if value is None:
        del inner[path[-1]]
    return copy


def test_one_that_we_wrote_is_what_we_planned() -> None:
    body = written()
    read = existing(body)
    assert (read.namespace, read.uid, read.version, read.owner) == ("team", "s1", 20, "alice")
    assert (read.ours, read.dockerconfig, read.immutable, read.terminating) == (True, True, False, False)
    token = body["data"][".dockerconfigjson"]
    assert token not in repr(read)
    assert not planted.leaks(repr(read))
    assert read.digest == FINGERPRINT(
        ["kubernetes.io/dockerconfigjson", token, "pullsecret-webhook", "alice", "u1", None, "u1"]
    )
    assert (
        read.digest
        != Reader((), lambda _: False, Fingerprint(b"another"), "ghcr-secret")
        .existing(msgspec.convert(body, SecretObject))
        .digest
    )


UID = {"uid": "u1"}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("type",), "Opaque"),
        (("type",), None),
        (("data", ".dockerconfigjson"), "e30="),
        (("data", ".dockerconfigjson"), ""),
        (("data", ".dockerconfigjson"), None),
        (("data",), None),
        (("metadata", "labels", MANAGED_BY), "helm"),
        (("metadata", "labels", MANAGED_BY), None),
        (("metadata", "labels"), None),
        (("metadata", "annotations", OWNER), "bob"),
        (("metadata", "annotations", OWNER), None),
        (("metadata", "annotations", NAMESPACE_UID), "u2"),
        (("metadata", "annotations"), None),
        (("metadata", "ownerReferences"), None),
        (("metadata", "ownerReferences"), []),
        (("metadata", "ownerReferences"), [{"uid": "u2"}]),
        (("metadata", "ownerReferences"), [UID, {"uid": "u2"}]),
    ],
    ids=str,
)
def test_a_change_of_what_is_ours_shows(path: tuple[str, ...], value: Any) -> None:
    body = written()
    assert existing(changed(body, path, value)).digest != existing(body).digest


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("metadata", "labels", "foreign"), "x"),
        (("metadata", "annotations", "foreign"), "x"),
        (("metadata", "finalizers"), ["x"]),
        (("metadata", "resourceVersion"), "21"),
        (("metadata", "uid"), "s2"),
        (("data", "foreign"), "eA=="),
        (("immutable",), True),
        (("metadata", "ownerReferences"), [{"uid": "u1", "kind": "Other", "controller": True}]),
    ],
    ids=str,
)
def test_what_others_add_does_not(path: tuple[str, ...], value: Any) -> None:
    body = written()
    assert existing(changed(body, path, value)).digest == existing(body).digest


def test_the_order_of_owner_references_does_not_count() -> None:
    path, two = ("metadata", "ownerReferences"), [UID, {"uid": "u2"}]
    body = written()
    assert existing(changed(body, path, two)).digest == existing(changed(body, path, two[::-1])).digest


@pytest.mark.parametrize(
    ("path", "value", "field", "read"),
    [
        (("type",), "Opaque", "dockerconfig", False),
        (("immutable",), True, "immutable", True),
        (("immutable",), False, "immutable", False),
        (("metadata", "deletionTimestamp"), "2026-11-23T00:00:00Z", "terminating", True),
        (("metadata", "labels", MANAGED_BY), "helm", "ours", False),
        (("metadata", "labels"), None, "ours", False),
        (("metadata", "annotations", OWNER), "bob", "owner", "bob"),
        (("metadata", "annotations"), None, "owner", None),
        (("metadata", "annotations", OWNER), "x" * 254, "owner", None),
        (("metadata", "resourceVersion"), "21", "version", 21),
    ],
)
def test_standing(path: tuple[str, ...], value: Any, field: str, read: object) -> None:
    body = written()
    before, after = existing(body), existing(changed(body, path, value))
    assert getattr(after, field) == read
    of_ours = {"registries": before.registries} if field == "ours" else {}
    assert replace(after, digest=before.digest, **of_ours, **{field: getattr(before, field)}) == before


def test_what_many_objects_have_is_kept_once() -> None:
    """Each of them is decoded by itself."""
    raw = msgspec.json.encode(written())
    secrets = [READER.existing(msgspec.json.decode(raw, type=SecretObject)) for _ in range(2)]
    assert secrets[0].owner is secrets[1].owner == "alice"
    assert secrets[0].registries is secrets[1].registries
    raw = b'{"metadata": {"name": "team", "labels": {"pullsecret-webhook/owner": "alice"}}}'
    spaces = [READER.namespace(msgspec.json.decode(raw, type=NamespaceObject)) for _ in range(2)]
    assert spaces[0].owner is spaces[1].owner == "alice"


def encoded(registries: Iterable[str]) -> str:
    return base64.b64encode(json.dumps({"auths": dict.fromkeys(registries, 1)}).encode()).decode()


@pytest.mark.parametrize(
    ("path", "value", "field", "read"),
    [
        (
            ("data", DOCKERCONFIG_KEY),
            "eyJhdXRocyI6eyJxdWF5LmlvIjp7fSwiZ2hjci5pbyI6MX19",
            "registries",
            ("ghcr.io", "quay.io"),
        ),
        (("data", DOCKERCONFIG_KEY), "e30=", "registries", ()),
        (("data", DOCKERCONFIG_KEY), "!", "registries", ()),
        (("data", DOCKERCONFIG_KEY), "/w==", "registries", ()),
        (("data",), None, "registries", ()),
        (("metadata", "annotations", EXPIRES), "2030-01-01T00:00:00Z", "expiries", (datetime(2030, 1, 1, tzinfo=UTC),)),
        (
            ("metadata", "annotations", EXPIRES),
            "2030-01-01T00:00:00Z,2031-01-01T00:00:00Z",
            "expiries",
            (datetime(2030, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)),
        ),
        (("metadata", "annotations", EXPIRES), "soon", "expiries", ()),
        (("metadata", "annotations", EXPIRES), ",".join(["2030-01-01T00:00:00Z"] * 51), "expiries", ()),
        (("data", DOCKERCONFIG_KEY), encoded(f"{number}.example" for number in range(5_000)), "registries", ()),
        (("data", DOCKERCONFIG_KEY), encoded(["x" * 300_000]), "registries", ()),
        (("metadata", "annotations", EXPIRES), "2030-01-01", "expiries", ()),
        (("metadata", "annotations", EXPIRES), "9999-12-31T23:59:59-05:00", "expiries", ()),
    ],
)
def test_what_is_read_of_ours_alone(path: tuple[str, ...], value: Any, field: str, read: object) -> None:
    body = changed(written(), path, value)
    assert getattr(existing(body), field) == read
    assert getattr(existing(changed(body, ("metadata", "labels", MANAGED_BY), "helm")), field) == ()


MANY = tuple(f"s{number}" for number in range(5_000))


def references(*names: str) -> list[dict[str, str]]:
    return [{"name": name} for name in names]


@pytest.mark.parametrize(
    ("seen", "read"),
    [
        ({"metadata": {"resourceVersion": "5"}}, PlainAccount(5)),
        ({"metadata": {}, "imagePullSecrets": None}, PlainAccount(0)),
        (
            {"metadata": {}, "imagePullSecrets": [{"name": "b"}, {}, {"name": ""}, {"name": "a"}]},
            Account(0, "b/a", enforced=False),
        ),
        ({"metadata": {}, "imagePullSecrets": references(*MANY)}, Account(0, "/".join(MANY[:50]), enforced=False)),
        (
            {"metadata": {}, "imagePullSecrets": references(*MANY, "ghcr-secret")},
            Account(0, "/".join((*MANY[:50], "ghcr-secret")), enforced=False),
        ),
        (
            {
                "metadata": {},
                "imagePullSecrets": references("a", "a", "b/c", "x" * 1000, "y" * 253, "ghcr-secret", "b"),
            },
            Account(0, f"a/{'x' * 1000}/ghcr-secret", enforced=False),
        ),
        ({"metadata": {"annotations": {ENFORCE_MOUNTABLE: "true"}}}, Account(0, "", enforced=True)),
        # What Go's strconv.ParseBool takes for true, as in the API server.
        ({"metadata": {"annotations": {ENFORCE_MOUNTABLE: "True"}}}, Account(0, "", enforced=True)),
        ({"metadata": {"annotations": {ENFORCE_MOUNTABLE: "1"}}}, Account(0, "", enforced=True)),
        ({"metadata": {"annotations": {ENFORCE_MOUNTABLE: "tRUE"}}}, PlainAccount(0)),
        ({"metadata": {"labels": {ENFORCE_MOUNTABLE: "true"}}}, PlainAccount(0)),
    ],
)
def test_account(seen: dict[str, Any], read: AnyAccount) -> None:
    kept = READER.account(msgspec.json.decode(json.dumps(seen), type=AccountObject))
    assert (kept, type(kept)) == (read, type(read))


def test_a_plain_account_is_known_and_refuses_nothing() -> None:
    view = View[AnyAccount]()
    assert view.learn("team/a", PlainAccount(5))
    assert not view.learn("team/a", Account(4, "", enforced=True))  # older
    known = view.get("team/a")
    assert known is not None
    assert (known.version, known.pull_secrets, known.refuses("ghcr-secret")) == (5, (), False)
    assert view.learn("team/a", Account(6, "", enforced=True))
    assert view.learn("team/a", PlainAccount(7))
    assert not view.forget("team/a", 6)
    assert view.forget("team/a", 7)


@pytest.mark.parametrize(("enforced", "name", "refuses"), [(True, "a", False), (True, "b", True), (False, "b", False)])
def test_refuses(enforced: bool, name: str, refuses: bool) -> None:
    assert Account(1, "a", enforced=enforced).refuses(name) is refuses


def test_a_view_is_behind_until_its_watch_works_and_when_it_says_nothing_more() -> None:
    now = 0.0
    view: View[Namespace] = View(lambda: now)
    assert view.behind()
    view.in_touch()
    now += BEHIND_SECONDS - 0.1
    assert not view.behind()
    now += 0.1
    assert view.behind()
    view.in_touch()
    assert not view.behind()
    view.out_of_touch()
    assert view.behind()


def test_a_watch_that_works_says_something_before_its_view_is_behind() -> None:
    assert 2 * WATCH_SECONDS < BEHIND_SECONDS <= SILENCE_SECONDS
