"""The source Secrets of the release namespace: what is read, whose it is, and what is said of broken ones."""

import asyncio
import base64
import json
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support import planted
from support.simulated import Stepping
from support.steps import at_once
from webhook.core.credential import Credential, Credentials
from webhook.core.errors import SourceUnavailable
from webhook.core.merge import merged
from webhook.core.metrics import Metrics
from webhook.core.notice import Notice
from webhook.kube.cluster import Cluster, ClusterError, SecretObject
from webhook.kube.listing import Unread
from webhook.kube.views import BEHIND_SECONDS
from webhook.sources.secret import SecretSource, read

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)
TOKEN, OTHER = planted.token(), planted.token()
OWNER, REGISTRY = "pullsecret-webhook/owner", "pullsecret-webhook/registry"
EXPIRES, NAMESPACES = "pullsecret-webhook/expires", "pullsecret-webhook/namespaces"
BASIC, DOCKERCONFIG = "kubernetes.io/basic-auth", "kubernetes.io/dockerconfigjson"
DOCKERCFG = "kubernetes.io/dockercfg"


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def secret(
    name: str = "one",
    at: int = 1,
    owner: str = "alice",
    *,
    kind: str = BASIC,
    data: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    annotated: str | None = None,
    **annotations: str,
) -> SecretObject:
    """Annotations by the last part of their key: `registry=`, `expires=`, `namespaces=`; `annotated` is an owner."""
    if annotated is not None:
        annotations["owner"] = annotated
    obj = {
        "metadata": {
            "name": name,
            "namespace": "release",
            "resourceVersion": str(at),
            "labels": {OWNER: owner} if labels is None else labels,
            "annotations": {f"pullsecret-webhook/{key}": value for key, value in annotations.items()},
        },
        "type": kind,
        "data": {"username": b64("u"), "password": b64(TOKEN)} if data is None else data,
    }
    return msgspec.convert(obj, SecretObject)


def auths(**entries: str) -> dict[str, str]:
    """A dockerconfigjson: registry (with `_` for `.`) and password."""
    named = {key.replace("_", "."): {"username": "u", "password": value} for key, value in entries.items()}
    return {".dockerconfigjson": b64(json.dumps({"auths": named}))}


class Release:
    """The release namespace: a source, with a clock of its own, and all that it said. A while passes after each step,
    unless it `hurries`.
    """

    hurries = False

    def __init__(self) -> None:
        self.loop = Stepping()
        self.metrics = Metrics()
        self.changed: list[str | None] = []
        self.said: list[Notice] = []
        self.source = SecretSource(cast(Cluster, None), "release", self.changed.append, self.said.append, self.metrics)
        self.metrics.source_expired.names = lambda: self.source.expired(lambda: self.time)
        self.time = BEGIN

    def do(self, action: str, *args: Any) -> None:
        async def done() -> None:
            did = getattr(self.source, action)(*args)
            if isinstance(did, Generator):
                at_once(did)

        self.loop.run_until_complete(done())
        while not self.hurries and self.loop.sleep():
            pass

    def lists(self, *items: SecretObject, at: int = 1) -> None:
        self.do("replace", dict(map(self.source.keep, items)), at)

    def learns(self, item: SecretObject) -> None:
        self.do("learn", *self.source.keep(item))

    def forgets(self, item: SecretObject) -> None:
        self.do("forget", item.metadata.name, int(item.metadata.resource_version))

    def of(self, owner: str) -> tuple[Credential, ...]:
        return asyncio.run(self.source.credentials(owner)).items

    def passwords(self, owner: str) -> list[tuple[str, str]]:
        return [(credential.registry, credential.password) for credential in self.of(owner)]

    def reasons(self) -> list[tuple[str, str]]:
        return [(notice.reason, notice.name) for notice in self.said]

    def flagged(self, what: str) -> set[str]:
        return {
            sample.labels["secret"]
            for metric in self.metrics.registry.collect()
            for sample in metric.samples
            if sample.name == f"pullsecret_webhook_source_secret_{what}" and sample.value == 1
        }

    def close(self) -> None:
        self.loop.close()


@pytest.fixture
def release() -> Iterator[Release]:
    with closing(Release()) as made:
        yield made


def refuses(release: Release, owner: str) -> str:
    with pytest.raises(SourceUnavailable) as refused:
        release.of(owner)
    assert not planted.leaks(str(refused.value))
    return str(refused.value)


# -- what is read --


@pytest.mark.parametrize(
    ("seen", "registries"),
    [
        (secret(), ["ghcr.io"]),
        (secret(registry="registry.example.com:5000/team"), ["registry.example.com:5000/team"]),
        (secret(registry="docker.io"), ["docker.io"]),
        (secret(kind=DOCKERCONFIG, data=auths(ghcr_io=TOKEN)), ["ghcr.io"]),
        (secret(kind=DOCKERCONFIG, data=auths(ghcr_io=TOKEN, a_example=TOKEN)), ["a.example", "ghcr.io"]),
    ],
)
def test_both_types_are_read(release: Release, seen: SecretObject, registries: list[str]) -> None:
    release.lists(seen)

    assert release.passwords("alice") == [(registry, TOKEN) for registry in registries]
    assert release.said == []
    assert release.flagged("broken") == set()


@pytest.mark.parametrize(
    ("labels", "annotation", "owner"),
    [
        ({OWNER: "alice"}, None, "alice"),
        ({OWNER: ""}, "alice@example.com", "alice@example.com"),
        ({OWNER: ""}, "c-m-abc:p-xyz", "c-m-abc:p-xyz"),
        ({OWNER: "alice"}, "alice", "alice"),
    ],
)
def test_owners_that_are_no_label_values_are_annotations(
    labels: dict[str, str], annotation: str | None, owner: str
) -> None:
    assert read(secret(labels=labels, annotated=annotation)).owner == owner


NOT_BASE64 = {"username": b64("u"), "password": f"{TOKEN}!"}


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (secret(kind=""), "its type is Opaque; use kubernetes.io/dockerconfigjson or kubernetes.io/basic-auth"),
        (secret(kind="kubernetes.io/tls"), "its type is kubernetes.io/tls; use"),
        (secret(data={"username": b64("u")}), "it has no key password"),
        (secret(data={}), "it has no key username"),
        (secret(kind=DOCKERCONFIG), "it has no key .dockerconfigjson"),
        (secret(kind=DOCKERCONFIG, data={".dockerconfigjson": b64(f"{{{TOKEN}")}), "it is not JSON"),
        (secret(data=NOT_BASE64), "the key password is not base64"),
        (secret(data={"username": b64("u"), "password": b64(b"\xff")}), "the key password is not UTF-8"),
        (secret(data={"username": b64("u"), "password": b64(TOKEN + "\n")}), "ends with a line break"),
        (secret(data={"username": b64("u"), "password": ""}), "the password for ghcr.io is empty"),
        (secret(registry=""), "the registry is empty"),
        (secret(expires="soon"), f"its annotation {EXPIRES} is not an RFC 3339 time"),
        (secret(expires="20300131"), f"its annotation {EXPIRES} is not an RFC 3339 time such as 2030-01-31T12:00:00Z"),
        (secret(expires=""), f"its annotation {EXPIRES} is not an RFC 3339 time"),
        (secret(expires="9999-12-31T23:59:59-05:00"), f"its annotation {EXPIRES} is out of range"),
        (secret(namespace="team-a"), f"namespace means nothing; did you mean {NAMESPACES}?"),
        (secret(labels={OWNER: "alice", f"{OWNER}s": "b"}), "owners means nothing; did you mean"),
        (secret(namespaces="team-a team-b"), '"team-a team-b" is no namespace; write names or patterns, as in team-a,'),
        (secret(namespaces='["team-a"]'), "is no namespace"),
        (secret(namespaces="team-a,Team-b"), "Team-b is no namespace"),
        *(
            (secret(namespaces=text), "is no namespace")
            for text in (
                "team-a;team-b",
                "team-a\nteam-b",
                "!team-a",
                "/team-.*/",
                "team-{a,b}",
                "team-[a",
                "team.a",
                "a_b",
            )
        ),
    ],
)
def test_a_broken_one_is_named_and_says_what_is_wrong(release: Release, seen: SecretObject, why: str) -> None:
    release.lists(seen, secret("fine", owner="bob"))

    (notice,) = release.said
    assert (notice.reason, notice.type, notice.namespace, notice.name) == (
        "SourceSecretBroken",
        "Warning",
        "release",
        "one",
    )
    assert why in notice.message
    assert not planted.leaks(repr(notice))
    assert release.flagged("broken") == {"one"}
    assert refuses(release, "alice") == "source Secret one is broken"
    assert release.passwords("bob") == [("ghcr.io", TOKEN)]


@pytest.mark.parametrize("labels", [{}, {OWNER: ""}])
def test_one_without_an_owner_concerns_nobody(release: Release, labels: dict[str, str]) -> None:
    release.lists(secret(labels=labels))

    (notice,) = release.said
    assert "it has no owner" in notice.message
    assert release.flagged("broken") == {"one"}
    assert release.of("") == release.of("alice") == ()


def test_two_names_for_one_owner_are_refused(release: Release) -> None:
    release.lists(secret(labels={OWNER: "alice"}, annotated="bob"))

    assert "differ" in release.said[0].message
    assert release.of("alice") == release.of("bob") == ()


def test_one_bad_entry_among_good_ones_is_reported_and_the_rest_is_used(release: Release) -> None:
    release.lists(secret(kind=DOCKERCONFIG, data=auths(ghcr_io=TOKEN, b_example="")))

    assert release.passwords("alice") == [("ghcr.io", TOKEN)]
    assert release.flagged("broken") == {"one"}
    assert "b.example" in release.said[0].message


@pytest.mark.parametrize(
    ("kind", "data", "where"),
    [
        (DOCKERCONFIG, auths(ghcr_io=TOKEN), "write the registry under auths"),
        (DOCKERCFG, {".dockercfg": b64(json.dumps({"ghcr.io": {"auth": b64(f"u:{TOKEN}")}}))}, "in its content"),
    ],
)
@pytest.mark.parametrize("registry", ["harbor.example.com", "docker.io", "*.io", "", TOKEN])
def test_a_registry_beside_a_dockerconfigjson_is_said_to_have_no_effect(
    release: Release, kind: str, data: dict[str, str], where: str, registry: str
) -> None:
    """All of its credentials are used, so it is not broken."""
    release.lists(secret(kind=kind, data=data, registry=registry))

    assert release.passwords("alice") == [("ghcr.io", TOKEN)]
    (notice,) = release.said
    assert (notice.reason, notice.type, notice.name) == ("SourceSecretMistake", "Warning", "one")
    assert f"its annotation {REGISTRY} has no effect" in notice.message
    assert where in notice.message
    assert not planted.leaks(notice.message)
    assert release.flagged("broken") == set()


@pytest.mark.parametrize("registry", ["ghcr.io", "https://ghcr.io/v2/"])
def test_a_registry_that_is_also_in_the_dockerconfigjson_is_no_mistake(release: Release, registry: str) -> None:
    release.lists(secret(kind=DOCKERCONFIG, data=auths(ghcr_io=TOKEN, b_example=TOKEN), registry=registry))

    assert release.said == []


# -- what changes --


def test_before_the_first_list_nobody_can_say(release: Release) -> None:
    assert refuses(release, "alice") == "the source Secrets have not been listed yet"
    assert not release.source.settled.is_set()

    release.do("failed", ClusterError(403, "Forbidden", f"cannot list {TOKEN}"))

    assert refuses(release, "alice") == "the source Secrets cannot be listed (403 Forbidden)"
    assert release.source.settled.is_set()

    release.lists()

    assert release.of("alice") == ()
    assert release.changed == [None]


def test_a_failing_watch_does_not_make_what_is_known_unknown(release: Release) -> None:
    release.lists(secret())
    release.do("failed", ClusterError(0, "ClientConnectorError"))

    assert release.passwords("alice") == [("ghcr.io", TOKEN)]


def test_a_new_token_is_told_at_once(release: Release) -> None:
    release.lists(secret())
    release.changed.clear()
    release.learns(secret(at=2, data={"username": b64("u"), "password": b64(OTHER)}))

    assert release.passwords("alice") == [("ghcr.io", OTHER)]
    assert release.changed == ["alice"]

    release.learns(secret(at=1))  # late
    assert release.passwords("alice") == [("ghcr.io", OTHER)]
    assert release.changed == ["alice"]


def test_a_repaired_one_is_good_again(release: Release) -> None:
    release.lists(secret(data={}))
    release.learns(secret(at=2))

    assert release.flagged("broken") == set()
    assert release.passwords("alice") == [("ghcr.io", TOKEN)]


def test_a_deleted_one_is_withdrawn_after_a_while_and_said(release: Release) -> None:
    release.lists(secret(data={}), secret("two", registry="b.example"))
    release.changed.clear()
    release.hurries = True
    release.forgets(secret(at=2))
    assert release.flagged("broken") == set()
    assert (release.changed, release.reasons()[1:]) == ([], [])

    assert release.loop.sleep()
    assert release.loop.time() == pytest.approx(10)
    assert release.passwords("alice") == [("b.example", TOKEN)]
    assert ("SourceSecretRemoved", "one") in release.reasons()
    assert [notice.type for notice in release.said if notice.reason == "SourceSecretRemoved"] == ["Warning"]
    assert release.changed == ["alice"]


@pytest.mark.parametrize("how", ["watch", "list"])
def test_one_that_is_deleted_and_created_again_is_an_update(release: Release, how: str) -> None:
    release.lists(secret())
    before = release.source.known("alice")
    release.hurries = True
    release.forgets(secret(at=2)) if how == "watch" else release.lists(at=2)
    assert release.source.known("alice") is before
    release.learns(secret(at=3)) if how == "watch" else release.lists(secret(at=3), at=3)
    assert release.source.known("alice") is before  # the same content: there is nothing to do
    release.learns(secret(at=4, data={"username": b64("u"), "password": b64(OTHER)}))
    assert release.loop.sleep()
    assert release.passwords("alice") == [("ghcr.io", OTHER)]
    assert "SourceSecretRemoved" not in dict(release.reasons())


def test_one_that_is_created_again_for_another_owner_is_withdrawn_from_the_first(release: Release) -> None:
    release.lists(secret())
    release.hurries = True
    release.forgets(secret(at=2))
    release.learns(secret(at=3, owner="bob"))
    assert release.passwords("alice") == []
    assert release.passwords("bob") == [("ghcr.io", TOKEN)]


@pytest.mark.parametrize(
    ("patterns", "there", "elsewhere"),
    [
        ("team-[ab]", ["team-a", "team-b"], ["team-c", "team-ab", "team-"]),
        ("team-[!a-c]", ["team-d"], ["team-a", "team-b"]),
        ("team-[ab]-*, x?", ["team-a-", "team-b-dev", "xy"], ["team-a", "x"]),
        ("*", ["team", "a"], []),
    ],
)
def test_a_namespace_may_be_a_pattern_as_in_a_shell(patterns: str, there: list[str], elsewhere: list[str]) -> None:
    (credential,) = read(secret(namespaces=patterns)).credentials or ()
    usable = [name for name in (*there, *elsewhere) if Credentials((credential,)).usable_in(name).items]
    assert usable == there


def test_one_that_moves_to_another_owner_is_told_to_both(release: Release) -> None:
    release.lists(secret())
    release.changed.clear()
    release.learns(secret(at=2, owner="bob"))

    assert release.of("alice") == ()
    assert release.passwords("bob") == [("ghcr.io", TOKEN)]
    assert sorted(release.changed, key=str) == ["alice", "bob"]


def test_while_its_watch_fails_a_replica_does_not_undo_what_another_one_wrote(release: Release) -> None:
    release.lists(secret())
    release.do("invalidate", "alice")
    assert release.passwords("alice") == [("ghcr.io", TOKEN)]

    release.do("failed", ClusterError(503, "ServiceUnavailable"))
    release.do("invalidate", "alice")
    assert release.source.known("alice") is None
    assert refuses(release, "alice") == "the watch of source Secrets is behind"
    assert release.of("bob") == ()

    release.changed.clear()
    release.do("works")
    assert release.passwords("alice") == [("ghcr.io", TOKEN)]
    assert release.changed == ["alice"]
    release.do("invalidate", "alice")
    assert release.source.known("alice") is not None


def test_one_that_takes_the_place_of_another_is_named(release: Release) -> None:
    release.lists(secret("old"))
    release.lists(secret("new", at=2), at=2)

    assert [str(c.origin) for c in release.of("alice")] == ["source Secret new"]


@settings(max_examples=60)
@given(data=st.data())
def test_after_any_list_and_event_each_owner_has_what_stands(data: st.DataObject) -> None:
    """Also when one list takes some away, changes others and moves one from owner to owner."""
    with closing(Release()) as release:
        owners, names = st.sampled_from(["alice", "bob"]), st.sampled_from(["a", "b", "c"])
        existing: dict[str, tuple[str, bool]] = {}  # whose, and whether it can be read
        steps = data.draw(st.lists(st.sampled_from(["list", "learn", "forget"]), min_size=1, max_size=6))
        for at, step in enumerate(["list", *steps], 1):
            if step == "list":
                existing = data.draw(st.dictionaries(names, st.tuples(owners, st.booleans())))
                release.lists(*(made(name, at, *existing[name]) for name in existing), at=at)
            elif step == "learn":
                name = data.draw(names)
                existing[name] = data.draw(st.tuples(owners, st.booleans()))
                release.learns(made(name, at, *existing[name]))
            elif existing:
                name = data.draw(st.sampled_from(sorted(existing)))
                release.forgets(made(name, at, *existing.pop(name)))
            for owner in ("alice", "bob"):
                mine = {name: good for name, (whose, good) in existing.items() if whose == owner}
                if all(mine.values()):
                    assert [c.registry for c in release.of(owner)] == [f"{name}.example" for name in sorted(mine)]
                else:
                    refuses(release, owner)


def made(name: str, at: int, owner: str, good: bool) -> SecretObject:
    return secret(name, at, owner, registry=f"{name}.example", data=None if good else {})


# -- whose, where, until when --


def test_of_two_for_one_registry_the_first_by_name_comes_first_and_both_say_where_they_are_from(
    release: Release,
) -> None:
    release.lists(secret("b"), secret("a", data={"username": b64("u"), "password": b64(OTHER)}))

    assert release.passwords("alice") == [("ghcr.io", OTHER), ("ghcr.io", TOKEN)]
    assert [str(c.origin) for c in release.of("alice")] == ["source Secret a", "source Secret b"]


def test_one_may_be_for_some_namespaces_only(release: Release) -> None:
    special = {"username": b64("u"), "password": b64(OTHER)}
    release.lists(secret("everywhere"), secret("special", data=special, namespaces=" team-a, team-b,,"))

    found = asyncio.run(release.source.credentials("alice"))

    assert [c.password for c in found.usable_in("team-c").items] == [TOKEN]
    assert {c.password for c in found.usable_in("team-b").items} == {TOKEN, OTHER}
    release.lists(secret("special", data=special, namespaces="team-*,x-[0-9]?"), at=2)
    found = asyncio.run(release.source.credentials("alice"))
    assert [len(found.usable_in(name).items) for name in ("team-a", "x-1y", "x-y1", "steam-a")] == [1, 1, 0, 0]
    release.lists(secret("everywhere"), secret("special", data=special, namespaces=" team-a, team-b,,"), at=3)
    found = asyncio.run(release.source.credentials("alice"))
    first, _ = merged(found, "team-b", BEGIN).items
    assert first.password == OTHER  # the one that is meant for this namespace


def test_one_that_cannot_be_read_keeps_what_is_known_until_it_is_gone(release: Release) -> None:
    release.lists(secret())
    release.do("left_out", Unread("release", "one", 2, "it cannot be decoded"))
    assert release.passwords("alice") == [("ghcr.io", TOKEN)]
    release.do("failed", ClusterError(410, "Expired"))
    release.do("left_out", Unread("release", "one", 2, "it cannot be decoded"))
    release.lists(at=3)
    assert release.passwords("alice") == [("ghcr.io", TOKEN)]
    release.do("failed", ClusterError(410, "Expired"))
    release.lists(at=4)  # it was deleted meanwhile
    assert release.passwords("alice") == []


def test_an_expiry_is_kept_and_shown_from_when_it_comes(release: Release) -> None:
    release.lists(secret(expires="2026-11-23T01:00:00Z"), secret("two", owner="bob", expires="2027-01-01"))

    (credential,) = release.of("alice")
    assert credential.expires == BEGIN + timedelta(hours=1)
    assert release.of("bob")[0].expires == datetime(2027, 1, 1, tzinfo=UTC)
    assert release.flagged("expired") == set()

    release.time += timedelta(hours=1)
    assert release.flagged("expired") == {"one"}
    assert release.of("alice") == (credential,)  # it is a matter of the plan what comes of it
    release.time += timedelta(days=400)
    assert release.flagged("expired") == {"one", "two"}

    release.learns(secret(at=2, expires="2030-01-01T00:00:00+01:00"))
    release.forgets(secret("two", at=2, owner="bob"))
    assert release.flagged("expired") == set()


def test_nothing_that_is_kept_shows_a_token(release: Release) -> None:
    release.lists(secret(), secret("two", kind=DOCKERCONFIG, data=auths(ghcr_io=OTHER)))

    assert not planted.leaks(repr(release.of("alice")) + repr(read(secret())))


def test_it_is_able_while_its_watch_works(release: Release, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(release.source, "_clock", lambda: now)
    assert not release.source.able()
    release.do("works")
    assert not release.source.able(), "nothing is listed yet"
    release.lists(secret())
    assert release.source.able()
    release.do("failed", ClusterError(503, "ServiceUnavailable"))
    assert not release.source.able()
    release.do("works")
    assert release.source.able()
    now += BEHIND_SECONDS
    assert not release.source.able(), "its watch is silent for too long"
