"""What the API server's answers mean for us, and what is learned of answers that come late."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from certs.errors import ApiTrouble, Conflict
from certs.ports import Stored
from support import planted
from support.simulated import Stepping
from support.steps import at_once
from webhook.core.errors import NamespaceUnknown, WriteConflict, WriteDenied, WriteRefused
from webhook.core.names import MANAGED_BY, MANAGER, OWNER
from webhook.core.owner import OwnerRule
from webhook.core.pullsecret import ExistingSecret, Fingerprint, Namespace
from webhook.kube.cluster import Cluster, ClusterError
from webhook.kube.lookup import MAX_LOOKS, Lookup
from webhook.kube.ownsecret import OwnSecret
from webhook.kube.pullsecrets import PullSecrets
from webhook.kube.reader import Reader
from webhook.kube.views import Account, AnyAccount, State, account_key
from webhook.kube.writepolicy import IN_FORCE_SECONDS, NOT_IN_FORCE_SECONDS, WritePolicy

READER = Reader((OwnerRule("label", OWNER),), lambda _: False, Fingerprint(b"k"), "ghcr-secret")
OVER = ExistingSecret("team", "uid-1", 3, True, True, False, False, "alice", b"")
BODY = {"metadata": {"name": "ghcr-secret", "namespace": "team"}, "type": "x"}
SEEN = {"metadata": {"name": "ghcr-secret", "namespace": "team", "uid": "uid-1", "resourceVersion": "4"}, "type": "x"}
Call = tuple[str, str, dict[str, Any]]


class Says:
    """An API server that always says the same. `meanwhile` is done while the answer is on its way."""

    def __init__(self, answer: object, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.answer, self.meanwhile = answer, meanwhile
        self.calls: list[Call] = []

    async def call(self, method: str, path: str, **options: Any) -> bytes:
        self.calls.append((method, path, options))
        self.meanwhile()
        if isinstance(self.answer, Exception):
            raise self.answer
        return json.dumps(self.answer).encode()

    async def apply(self, path: str, body: Any, **options: Any) -> bytes:
        return await self.call("APPLY", path, body=body, **options)


def secrets(says: Says) -> PullSecrets:
    return PullSecrets(cast(Cluster, says), READER, "ghcr-secret")


WRITES: dict[str, Callable[[PullSecrets], Awaitable[object]]] = {
    "apply": lambda store: store.apply(BODY, OVER),
    "delete": lambda store: store.delete(OVER),
    "release": lambda store: store.release(OVER),
    "read": lambda store: store.read("team"),
}
TOKEN = planted.token()


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize(
    ("status", "message", "meaning", "words"),
    [
        (409, "Apply failed with 1 conflict", WriteConflict, "conflict"),
        (422, 'Secret "x" is invalid: metadata.uid: Invalid value: field is immutable', WriteConflict, "conflict"),
        (422, "ValidatingAdmissionPolicy 'x' denied request", WriteDenied, "denied by an admission policy"),
        (403, "ValidatingAdmissionPolicy 'x' denied request", WriteDenied, "denied by an admission policy"),
        (403, "exceeded quota: q", WriteRefused, "a quota of the namespace forbids it"),
        (403, "because it is being terminated", WriteRefused, "the namespace is being terminated"),
        (403, "cannot patch resource", WriteRefused, "the API server forbids it; compare the webhook's RBAC"),
        (422, "data: Invalid value", WriteRefused, "the API server did not accept it (422 Reason)"),
        (500, "etcd", WriteRefused, "the API server did not accept it (500 Reason)"),
        (0, "", WriteRefused, "the API server did not accept it (Reason)"),
    ],
)
def test_what_a_refusal_means(write: str, status: int, message: str, meaning: type[Exception], words: str) -> None:
    says = Says(ClusterError(status, "Reason", f"{message} {TOKEN}"))

    with pytest.raises(meaning) as refused:
        asyncio.run(cast(Any, WRITES[write](secrets(says))))

    assert str(refused.value).startswith(words)
    assert not planted.leaks(str(refused.value))


def test_what_is_not_there_need_not_be_deleted() -> None:
    gone = secrets(Says(ClusterError(404, "NotFound")))

    asyncio.run(gone.delete(OVER))
    asyncio.run(gone.release(OVER))
    assert asyncio.run(gone.read("team")) is None
    with pytest.raises(WriteRefused, match="the namespace is gone"):
        asyncio.run(gone.apply(BODY, None))


def test_only_the_object_that_was_seen_is_touched() -> None:
    says = Says(SEEN)
    store = secrets(says)
    path = "/api/v1/namespaces/team/secrets/ghcr-secret"

    async def all_of_it() -> ExistingSecret:
        await store.apply(BODY, None)
        await store.delete(OVER)
        await store.release(OVER)
        return await store.apply(BODY, OVER, force=True)

    assert (asyncio.run(all_of_it()).uid, "uid" in BODY["metadata"]) == ("uid-1", False)
    created, deleted, released, applied = says.calls
    assert created == ("APPLY", path, {"body": BODY, "manager": MANAGER, "force": False})
    assert deleted == ("DELETE", path, {"body": {"preconditions": {"uid": "uid-1"}}})
    assert released[2]["body"] == {"metadata": {"uid": "uid-1", "finalizers": None}}
    assert released[2]["content_type"] == "application/merge-patch+json"
    assert applied[2]["body"] == {**BODY, "metadata": {**BODY["metadata"], "uid": "uid-1"}}  # type: ignore[dict-item]
    assert applied[2]["force"] is True


# -- live GETs --


def team(version: int, owner: str) -> Namespace:
    return Namespace("team", f"uid-{version}", version, owner)


def served(namespace: Namespace) -> dict[str, object]:
    metadata = {"name": "team", "uid": namespace.uid, "resourceVersion": str(namespace.version)}
    return {"metadata": metadata | {"labels": {OWNER: namespace.owner}}}


def looked(state: State, says: Says) -> Namespace | None:
    return asyncio.run(Lookup(cast(Cluster, says), READER, state).namespace("team"))


def test_a_namespace_that_is_read_is_learned() -> None:
    state = State.empty()

    assert looked(state, Says(served(team(5, "alice")))) == team(5, "alice") == state.namespaces.get("team")
    assert state.namespaces.of_owner("alice") == ["team"]


def test_one_that_is_not_there_is_forgotten() -> None:
    state = State.empty()
    state.namespaces.learn("team", team(5, "alice"))

    assert looked(state, Says(ClusterError(404, "NotFound"))) is None
    assert state.namespaces.get("team") is None


@pytest.mark.parametrize("answer", [ClusterError(404, "NotFound"), served(team(5, "alice"))], ids=["none", "an older"])
def test_what_the_watch_told_meanwhile_is_newer(answer: object) -> None:
    state = State.empty()
    state.namespaces.learn("team", team(5, "alice"))

    assert looked(state, Says(answer, lambda: state.namespaces.learn("team", team(9, "bob")))) == team(9, "bob")
    assert state.namespaces.get("team") == team(9, "bob")


def test_what_ended_meanwhile_does_not_come_back() -> None:
    state = State.empty()
    state.namespaces.learn("team", team(5, "alice"))

    def ends() -> None:
        state.namespaces.forget("team", 6)
        state.namespaces.observed(6)

    assert looked(state, Says(served(team(5, "alice")), ends)) is None
    assert state.namespaces.get("team") is None


def test_what_is_there_after_a_restore_of_etcd_is_not_taken_for_gone() -> None:
    """The watch has told more than the API server knows now, until all is listed again."""
    state = State.empty()
    state.namespaces.observed(1000)

    assert looked(state, Says(served(team(900, "alice")))) == team(900, "alice")
    assert state.namespaces.get("team") == team(900, "alice")
    assert at_once(state.namespaces.replace({}, 950)) == {"team"}


def test_reviews_of_one_namespace_read_it_once_and_keep_no_others_waiting() -> None:
    says = Slow(ClusterError(404, "NotFound"))
    lookup = Lookup(cast(Cluster, says), READER, State.empty())

    async def asked() -> None:
        many = [lookup.namespace_in_review("team") for _ in range(10 * MAX_LOOKS)]
        assert await asyncio.gather(*many, lookup.namespace_in_review("other")) == [None] * (10 * MAX_LOOKS + 1)

    asyncio.run(asked())
    assert says.most <= 2


@pytest.mark.parametrize("status", [0, 401, 403, 500, 503])
def test_nobody_can_say_is_no_answer(status: int) -> None:
    state = State.empty()
    state.namespaces.learn("team", team(5, "alice"))

    with pytest.raises(NamespaceUnknown, match="namespace team could not be read") as unknown:
        looked(state, Says(ClusterError(status, "Reason", TOKEN)))
    assert not planted.leaks(str(unknown.value))
    assert state.namespaces.get("team") == team(5, "alice")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a..b", "A", "a?b", "ä", "a\n", "a" * 254])
def test_what_is_no_name_is_never_put_in_a_path(name: str) -> None:
    says = Says(SEEN)
    lookup = Lookup(cast(Cluster, says), READER, State.empty())

    assert asyncio.run(lookup.namespace(name)) is None
    assert asyncio.run(lookup.account(name, "default")) is None
    assert asyncio.run(lookup.account("team", name)) is None
    assert says.calls == []


def test_accounts() -> None:
    state = State.empty()
    seen = {"metadata": {"resourceVersion": "7"}, "imagePullSecrets": [{"name": "a"}, {}]}

    def account(answer: object) -> AnyAccount | None:
        return asyncio.run(Lookup(cast(Cluster, Says(answer)), READER, state).account("team", "default"))

    assert account(ClusterError(403, "Forbidden")) is None
    assert account(ClusterError(404, "NotFound")) is None
    assert account(seen) == Account(7, "a", enforced=False) == state.accounts.get(account_key("team", "default"))


def test_an_account_that_the_watch_is_about_to_tell_costs_no_call() -> None:
    state, says, told = State.empty(), Says(SEEN), Account(3, "a", enforced=False)

    async def asked() -> AnyAccount | None:
        at_once(state.accounts.replace({}, 1))
        asyncio.get_running_loop().call_later(0.005, state.accounts.learn, account_key("team", "default"), told)
        return await Lookup(cast(Cluster, says), READER, state).account("team", "default")

    assert asyncio.run(asked()) == told
    assert says.calls == []


def test_a_read_serves_one_other_that_need_not_be_fresh() -> None:
    says = Says(served(team(5, "alice")))
    lookup = Lookup(cast(Cluster, says), READER, State.empty())

    async def asked() -> None:
        calls = []
        for recent in (False, True, True, False, False, True):
            assert await lookup.namespace("team", recent=recent) == team(5, "alice")
            calls.append(len(says.calls))
        assert calls == [1, 1, 2, 3, 4, 4]
        await asyncio.gather(lookup.namespace("team"), lookup.namespace("team", recent=True))
        assert len(says.calls) == 5

    asyncio.run(asked())


def test_a_read_that_failed_is_not_shared() -> None:
    says = Says(ClusterError(503, "ServiceUnavailable"))
    lookup = Lookup(cast(Cluster, says), READER, State.empty())

    async def asked() -> None:
        for _ in range(2):
            with pytest.raises(NamespaceUnknown):
                await lookup.namespace("team")
            await asyncio.sleep(0.001)
            with pytest.raises(NamespaceUnknown):
                await lookup.namespace("team", recent=True)

    asyncio.run(asked())
    assert len(says.calls) == 4


class Slow(Says):
    """Counts who is asked at the same time."""

    now = most = 0

    async def call(self, method: str, path: str, **options: Any) -> bytes:
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(0.01)
        self.now -= 1
        return await super().call(method, path, **options)


@pytest.mark.parametrize("answer", [served(Namespace("team", "u", 5, "")), ClusterError(404, "NotFound")])
def test_that_a_namespace_is_not_served_holds_for_a_moment(answer: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is served is never made to wait by that."""
    monkeypatch.setattr("webhook.kube.lookup.UNSERVED_SECONDS", 0.05)
    says = Says(answer)
    lookup = Lookup(cast(Cluster, says), READER, State.empty())

    async def asked() -> None:
        for _ in range(100):
            found = await lookup.namespace_in_review("team")
            assert found is None or not found.served
        assert len(says.calls) == 1
        await asyncio.sleep(0.06)
        says.answer = served(team(6, "alice"))
        for _ in range(2):
            assert await lookup.namespace_in_review("team") == team(6, "alice")
        assert len(says.calls) == 3

    asyncio.run(asked())


def test_names_that_are_made_up_ask_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("webhook.kube.lookup.MAX_UNSERVED", 50)
    says = Slow(ClusterError(404, "NotFound"))
    lookup = Lookup(cast(Cluster, says), READER, State.empty())

    async def asked() -> None:
        assert (
            await asyncio.gather(*(lookup.namespace_in_review(f"made-up-{number}") for number in range(200)))
            == [None] * 200
        )
        assert len(lookup._unserved) == 50
        monkeypatch.setattr("webhook.kube.lookup.NAMESPACE_SECONDS", 0.001)
        await asyncio.gather(
            *(lookup.namespace_in_review(f"more-{number}") for number in range(MAX_LOOKS)), return_exceptions=True
        )
        many = [lookup.namespace_in_review(f"again-{number}") for number in range(MAX_LOOKS + 1)]
        assert isinstance((await asyncio.gather(*many, return_exceptions=True))[-1], NamespaceUnknown)

    asyncio.run(asked())
    assert says.most == MAX_LOOKS


DENIED = "... is forbidden: ValidatingAdmissionPolicy 'pullsecret-webhook-writes' with binding 'x' denied request: no"


@pytest.mark.parametrize(
    ("answer", "holds"),
    [
        (ClusterError(422, "Invalid", DENIED), True),
        (ClusterError(403, "Forbidden", DENIED), True),
        (ClusterError(422, "Invalid", DENIED.replace("-writes", "-others")), False),
        (ClusterError(403, "Forbidden", "cannot patch resource"), False),
        (ClusterError(0, "ClientConnectorError"), False),
        (SEEN, False),
    ],
)
def test_the_write_policy_holds_when_it_refuses(answer: object, holds: bool) -> None:
    says, seen = Says(answer), list[bool]()
    assert asyncio.run(WritePolicy(cast(Cluster, says), "ghcr-secret", "release", seen.append).holds()) is holds
    assert seen == ([] if isinstance(answer, ClusterError) and not holds else [holds])  # else nothing is known
    ((method, path, options),) = says.calls
    assert (method, path) == ("APPLY", "/api/v1/namespaces/release/secrets/ghcr-secret")
    assert (options["dry_run"], options["force"]) == (True, True)


def test_the_write_policy_is_asked_for_again_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    says = Says(ClusterError(422, "Invalid", DENIED))

    async def asked(after: float) -> int:
        times = [0.0]
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: times[-1])
        policy = WritePolicy(cast(Cluster, says), "ghcr-secret", "release")
        says.calls.clear()
        await policy.holds()
        times.append(after)
        await policy.holds()
        return len(says.calls)

    assert [asyncio.run(asked(after)) for after in (IN_FORCE_SECONDS - 1, IN_FORCE_SECONDS + 1)] == [1, 2]
    says.answer = SEEN
    assert [asyncio.run(asked(after)) for after in (NOT_IN_FORCE_SECONDS - 1, NOT_IN_FORCE_SECONDS + 1)] == [1, 2]


def test_the_write_policy_is_looked_for_while_nothing_is_written() -> None:
    """Soon again when it is missed, else seldom: it may be left out on purpose."""
    says = Says(ClusterError(422, "Invalid", DENIED))
    loop, seen = Stepping(), list[bool]()
    task = loop.create_task(WritePolicy(cast(Cluster, says), "ghcr-secret", "release", seen.append).run())

    def after() -> float:
        before = loop.time()
        assert loop.sleep()
        return round(loop.time() - before)

    loop.settle()
    assert after() == IN_FORCE_SECONDS + 1
    says.answer = SEEN
    assert [after(), after(), after()] == [IN_FORCE_SECONDS + 1, NOT_IN_FORCE_SECONDS + 1, IN_FORCE_SECONDS + 1]
    assert seen == [True, True, False, False, False]
    task.cancel()
    loop.settle()
    loop.close()


@pytest.mark.parametrize("answer", [{"metadata": {"labels": []}}, {"metadata": {"resourceVersion": "x"}}, []], ids=str)
def test_an_answer_that_cannot_be_read_is_said(answer: object) -> None:
    for write in ("apply", "read"):
        with pytest.raises(WriteRefused, match="the existing Secret cannot be read"):
            asyncio.run(resolved(WRITES[write](secrets(Says(answer)))))
    lookup = Lookup(cast(Cluster, Says(answer)), READER, State.empty())
    with pytest.raises(NamespaceUnknown):
        asyncio.run(resolved(lookup.namespace("team")))
    assert asyncio.run(resolved(lookup.account("team", "default"))) is None


async def resolved(some: Awaitable[object]) -> object:
    return await some


def test_only_what_rbac_says_of_a_user_is_shown() -> None:
    """What other refusals quote may be anybody's text."""
    said = 'secrets is forbidden: User "alice" cannot list resource "secrets" in API group "" in the namespace "team"'
    assert (
        str(ClusterError(403, "Forbidden", said)) == "403 Forbidden: alice may not list secrets in the namespace team"
    )
    assert str(ClusterError(422, "Invalid", f"spec: {said}")) == "422 Invalid"
    assert str(ClusterError(403, "Forbidden", "a policy denies it: <script>")) == "403 Forbidden"


def own_secret(says: Says) -> OwnSecret:
    return OwnSecret(cast(Cluster, says), "release", "checks", "check")


def test_of_our_own_secret_its_data_is_read() -> None:
    metadata = {"resourceVersion": "4", "labels": {MANAGED_BY: MANAGER}}
    says = Says({"metadata": metadata, "type": "Opaque", "data": {"key": "/+8=", "none": ""}})
    assert asyncio.run(own_secret(says).read()) == Stored({"key": b"\xff\xef", "none": b""}, "4")


@pytest.mark.parametrize("over", [None, Stored({"key": b"1", "asking": b"me"}, "3")])
def test_a_write_of_our_own_secret_says_what_stands_now(over: Stored | None) -> None:
    says = Says({"metadata": {"resourceVersion": "4"}})
    assert asyncio.run(own_secret(says).write({"key": b"\xff\xef"}, over)) == Stored({"key": b"\xff\xef"}, "4")
    ((_, _, options),) = says.calls  # no read
    if over is not None:
        sent = {"metadata": {"resourceVersion": "3"}, "data": {"key": "/+8=", "asking": None}}
        assert json.loads(options["body"]) == sent
        assert "PartialObjectMetadata" in options["accept"]


@pytest.mark.parametrize(
    ("status", "over", "meaning"),
    [
        (409, None, Conflict),
        (409, Stored({}, "3"), Conflict),
        (404, Stored({}, "3"), Conflict),
        (404, None, ApiTrouble),
        (500, Stored({}, "3"), ApiTrouble),
    ],
)
def test_what_a_refused_write_of_our_own_secret_means(
    status: int, over: Stored | None, meaning: type[ApiTrouble]
) -> None:
    with pytest.raises(ApiTrouble) as caught:
        asyncio.run(own_secret(Says(ClusterError(status, "Reason"))).write({"key": b"1"}, over))
    assert type(caught.value) is meaning


def test_a_write_whose_answer_cannot_be_read_is_trouble() -> None:
    with pytest.raises(ApiTrouble, match="cannot be written"):
        asyncio.run(own_secret(Says([])).write({"key": b"1"}, Stored({}, "3")))
