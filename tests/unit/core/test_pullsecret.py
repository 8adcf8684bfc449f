"""The decision about one namespace's pull secret: a table, and what must hold for everything."""

import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.core.credential import Credential, Credentials, Origin, Refusal
from webhook.core.dockerconfig import parse
from webhook.core.pullsecret import (
    ALL_REFUSED,
    FOREIGN,
    LIMITED,
    MAX_EXPIRIES,
    NO_CREDENTIAL,
    OPTED_OUT,
    TOO_LARGE,
    UNAVAILABLE,
    WITHDRAWN,
    Delete,
    ExistingSecret,
    Fingerprint,
    Leave,
    Namespace,
    Planner,
    Step,
    Write,
    may_refer,
)
from webhook.core.registry import MAX_SAME_KEY

NOW = datetime(2030, 1, 1, tzinfo=UTC)
PRINT = Fingerprint(b"k" * 32)
PLANNER = Planner("ghcr-secret", PRINT)
TEAM = Namespace("team", "uid-1", 7, "alice")
GHCR = Credential("ghcr.io", "alice", planted.token())
HARBOR = Credential("harbor.example.com", "alice", planted.token())
ROTATED = replace(HARBOR, password=planted.token())
EXPIRED = replace(GHCR, expires=NOW - timedelta(seconds=1))
HERS = Credentials((GHCR,))


def existing(namespace: Namespace = TEAM, items: tuple[Credential, ...] = (GHCR,), **changes: Any) -> ExistingSecret:
    """As it stands after we wrote it."""
    body = PLANNER.body(namespace, items)
    ours = ExistingSecret(
        namespace.name,
        "s-1",
        9,
        True,
        True,
        False,
        False,
        namespace.owner,
        PLANNER.digest(body),
        registries=tuple(sorted(c.registry for c in items)),
    )
    return replace(ours, **changes)


def auths(plan: Step) -> set[str]:
    assert isinstance(plan, Write)
    written = base64.b64decode(plan.body["data"][".dockerconfigjson"])
    return {credential.registry for credential in parse(written).credentials}


def plan(namespace: Namespace, known: Credentials | None, seen: ExistingSecret | None) -> Step:
    return PLANNER(namespace, known, seen, NOW).step


UNOWNED = replace(TEAM, owner=None)
BOB = replace(TEAM, owner="bob")
LONG = replace(HARBOR, password="x" * 32_000)
TOO_MUCH = Credentials((GHCR, *(replace(LONG, registry=f"{number}.example.com") for number in range(16))))
ONLY_HARBOR = existing(items=(HARBOR,))
FOREIGN_SECRET = existing(ours=False, owner=None)


@pytest.mark.parametrize(
    ("namespace", "known", "seen", "expected"),
    [
        (TEAM, HERS, existing(), Leave()),
        (TEAM, Credentials(), None, Leave(NO_CREDENTIAL)),
        (TEAM, Credentials(), existing(), Delete(existing(), WITHDRAWN, withdrawn=True)),
        (TEAM, None, None, Leave(UNAVAILABLE)),
        (TEAM, None, existing(), Leave(UNAVAILABLE)),
        (BOB, None, existing(), Delete(existing(), "it has another owner")),
        (BOB, Credentials(), existing(), Delete(existing(), NO_CREDENTIAL)),
        (UNOWNED, Credentials(), None, Leave("the namespace has no owner any more")),
        (UNOWNED, Credentials(), existing(), Delete(existing(), "the namespace has no owner any more")),
        (replace(TEAM, left_alone=OPTED_OUT), HERS, existing(), Delete(existing(), OPTED_OUT)),
        (replace(TEAM, terminating=True), HERS, None, Leave("the namespace is terminating")),
        (TEAM, HERS, FOREIGN_SECRET, Leave(FOREIGN)),
        (UNOWNED, Credentials(), FOREIGN_SECRET, Leave(FOREIGN)),
        (TEAM, Credentials((EXPIRED,)), None, Leave(NO_CREDENTIAL)),
        (TEAM, Credentials((EXPIRED,)), existing(items=(EXPIRED,)), Leave()),  # the last one stays until it is replaced
        (BOB, Credentials((EXPIRED,)), existing(), Delete(existing(), NO_CREDENTIAL)),
        (TEAM, Credentials((EXPIRED, HARBOR)), ONLY_HARBOR, Leave()),  # it goes nowhere new
        (TEAM, Credentials((EXPIRED,)), ONLY_HARBOR, Delete(ONLY_HARBOR, WITHDRAWN, withdrawn=True)),
        (TEAM, Credentials((replace(GHCR, namespaces=("other",)),)), None, Leave(LIMITED)),
        (TEAM, TOO_MUCH, None, Leave(TOO_LARGE, problem=True)),
        (TEAM, TOO_MUCH, existing(), Leave(TOO_LARGE, problem=True)),  # what stands stays
        (BOB, TOO_MUCH, existing(), Delete(existing(), TOO_LARGE)),
    ],
)
def test_no_write(namespace: Namespace, known: Credentials | None, seen: ExistingSecret | None, expected: Step) -> None:
    assert plan(namespace, known, seen) == expected


REFUSED_GHCR = replace(GHCR, refusal=Refusal("HTTP 401", left_out=True))


@pytest.mark.parametrize(
    ("known", "seen", "standing"),
    [
        (HERS, existing(), "right"),
        (Credentials(), None, "no_credential"),
        (Credentials((REFUSED_GHCR,)), None, "refused"),
        (Credentials((replace(GHCR, namespaces=("other",)),)), None, "no_credential"),
        (None, existing(), "failed"),
        (HERS, FOREIGN_SECRET, "failed"),
        (TOO_MUCH, None, "failed"),
    ],
)
def test_standing(known: Credentials | None, seen: ExistingSecret | None, standing: str) -> None:
    assert PLANNER(TEAM, known, seen, NOW).standing == standing


@pytest.mark.parametrize(
    ("namespace", "known", "seen", "registries", "in_place"),
    [
        (TEAM, HERS, None, {"ghcr.io"}, False),
        (TEAM, Credentials((GHCR, HARBOR)), existing(), {"ghcr.io", "harbor.example.com"}, True),
        (TEAM, Credentials((HARBOR,)), existing(), {"harbor.example.com"}, True),  # one was withdrawn
        (TEAM, Credentials((EXPIRED, HARBOR)), None, {"harbor.example.com"}, False),  # goes nowhere new
        (TEAM, Credentials((EXPIRED, HARBOR)), existing(), {"ghcr.io", "harbor.example.com"}, True),  # but stays
        (TEAM, Credentials((EXPIRED, ROTATED)), ONLY_HARBOR, {"harbor.example.com"}, True),  # nor with a change
        (
            TEAM,
            Credentials((EXPIRED, ROTATED)),
            existing(items=(GHCR, HARBOR)),
            {"ghcr.io", "harbor.example.com"},
            True,
        ),
        (BOB, HERS, existing(), {"ghcr.io"}, False),  # never across owners
        (replace(TEAM, uid="uid-2"), HERS, existing(), {"ghcr.io"}, True),
        (TEAM, HERS, existing(digest=b"edited"), {"ghcr.io"}, True),
        (TEAM, HERS, existing(immutable=True, digest=b"edited"), {"ghcr.io"}, False),
        (TEAM, HERS, existing(dockerconfig=False), {"ghcr.io"}, False),
        (TEAM, HERS, existing(terminating=True), {"ghcr.io"}, False),
        (TEAM, Credentials((replace(GHCR, namespaces=("team",)),)), None, {"ghcr.io"}, False),
    ],
)
def test_write(
    namespace: Namespace, known: Credentials, seen: ExistingSecret | None, registries: set[str], in_place: bool
) -> None:
    made = plan(namespace, known, seen)
    assert auths(made) == registries
    assert isinstance(made, Write)
    assert (made.in_place, made.over) == (in_place, seen)
    annotations = dict(made.body["metadata"]["annotations"])
    annotations.pop("pullsecret-webhook/expires", None)
    assert annotations == {
        "pullsecret-webhook/owner": namespace.owner,
        "pullsecret-webhook/namespace-uid": namespace.uid,
    }


def test_one_that_is_for_this_namespace_hides_no_other_once_it_has_ended() -> None:
    here = replace(EXPIRED, namespaces=("team",))
    assert plan(TEAM, Credentials((GHCR, here)), existing()) == Leave()


def test_when_its_credentials_end_stands_in_it() -> None:
    def written(*items: Credential) -> str | None:
        annotations: dict[str, str] = PLANNER.body(TEAM, items)["metadata"]["annotations"]
        return annotations.get("pullsecret-webhook/expires")

    later = replace(HARBOR, expires=datetime(2030, 5, 1, 2, 0, 0, 7, tzinfo=timezone(timedelta(hours=2))))
    assert written(GHCR, HARBOR) is None
    assert written(GHCR, later) == "2030-05-01T00:00:00Z"
    assert written(later, EXPIRED, later) == "2029-12-31T23:59:59Z,2030-05-01T00:00:00Z"


def test_of_many_ends_the_first_stand_in_it() -> None:
    many = [replace(GHCR, registry=f"{n}.example", expires=NOW + timedelta(days=60 - n)) for n in range(60)]
    written = PLANNER.body(TEAM, many)["metadata"]["annotations"]["pullsecret-webhook/expires"].split(",")
    assert len(written) == MAX_EXPIRIES
    assert written[0] == f"{NOW + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"


def test_an_end_that_moved_is_written_once() -> None:
    longer = replace(GHCR, expires=NOW + timedelta(days=30))
    made = plan(TEAM, Credentials((longer,)), existing())
    assert isinstance(made, Write)
    assert made.in_place
    assert plan(TEAM, Credentials((longer,)), existing(items=(longer,))) == Leave()


def test_a_plan_holds_until_the_next_credential_here_ends() -> None:
    soon, later = (replace(GHCR, registry=f"{n}.example", expires=NOW + timedelta(hours=n)) for n in (1, 2))
    elsewhere = replace(GHCR, expires=NOW + timedelta(minutes=1), namespaces=("other",))
    known = Credentials((EXPIRED, soon, later, elsewhere, HARBOR))
    made = PLANNER(TEAM, known, None, NOW)
    assert made.until == soon.expires
    assert made.expired == (EXPIRED,)
    assert PLANNER(TEAM, known, None, NOW + timedelta(hours=1)).until == later.expires
    assert PLANNER(TEAM, known, None, NOW + timedelta(hours=2)).until is None
    assert PLANNER(TEAM, None, None, NOW).until is None


def test_however_many_registries_there_are_a_source_is_reported_once() -> None:
    """Of what is reported, little is remembered; what is not would be reported again each time."""
    origins = [Origin("secrets", "release", "Secret", name) for name in ("one", "two")]
    many = [
        replace(GHCR, registry=f"{n}.example:443", password=f"{n}-{origin.name}", origin=origin, expires=expires)
        for n in range(40)
        for origin, expires in zip(origins, (None, EXPIRED.expires), strict=True)
    ]
    too_many = [replace(many[0], password=str(n)) for n in range(MAX_SAME_KEY)]
    known = Credentials(
        (*many, *too_many, *(replace(EXPIRED, registry=f"{n}.x", origin=origins[1]) for n in range(40)))
    )
    notices = list(PLANNER(TEAM, known, None, NOW).notices("alice"))
    assert [(notice.reason, notice.name) for notice in notices] == [
        ("CredentialLeftOut", "one"),
        ("CredentialMatchesNothing", "one"),
        ("CredentialExpired", "two"),
    ]
    assert "0.example:443 is left out; a pull secret holds 6 for one registry" in notices[0].message
    assert "source Secret one: the credential of owner alice for 0.example:443 matches hardly any" in notices[1].message
    assert "write 0.example" in notices[1].message
    assert "more" in notices[1].message
    assert "and 35 more has expired; renew it" in notices[2].message


def test_keep_leaves_what_is_unowned() -> None:
    keep = Planner("ghcr-secret", PRINT, when_unowned="keep")
    assert keep(UNOWNED, Credentials(), existing(), NOW).step == Leave("the namespace has no owner any more")
    assert isinstance(keep(BOB, Credentials(), existing(), NOW).step, Delete)  # another owner's is never kept


def test_a_plan_shows_no_token() -> None:
    assert planted.leaks(repr(plan(TEAM, HERS, None)) + repr(existing())) == []


@pytest.mark.parametrize(
    ("seen", "refers"),
    [
        (None, True),
        (existing(), True),
        (FOREIGN_SECRET, True),
        (replace(FOREIGN_SECRET, dockerconfig=False, kubelet="passes over"), True),
        (replace(FOREIGN_SECRET, kubelet="fails"), False),
    ],
)
def test_may_refer(seen: ExistingSecret | None, refers: bool) -> None:
    assert may_refer(TEAM, seen) is refers
    assert may_refer(UNOWNED, seen) is False
    assert may_refer(replace(TEAM, left_alone=OPTED_OUT), seen) is False


owners = st.sampled_from(["alice", "bob", None])
namespaces = st.builds(
    Namespace, st.just("team"), st.sampled_from(["u1", "u2"]), st.just(1), owners, st.booleans(), st.booleans()
)
known = st.none() | st.lists(
    st.builds(
        Credential,
        st.sampled_from(["ghcr.io", "b.example.com"]),
        st.just("u"),
        st.sampled_from(["p", "q"]),
        st.sampled_from([None, NOW - timedelta(1), NOW + timedelta(1)]),
        st.sampled_from([(), ("team",), ("other",)]),
    ),
    max_size=3,
).map(lambda items: Credentials(tuple(items)))
seen = st.none() | st.builds(
    ExistingSecret,
    st.just("team"),
    st.just("s"),
    st.just(1),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    owners,
    st.sampled_from([b"a", b"b"]),
    st.sampled_from([(), ("ghcr.io",), ("b.example.com", "ghcr.io")]),
)


@given(namespaces, known, seen)
def test_what_holds_for_every_plan(
    namespace: Namespace, credentials: Credentials | None, found: ExistingSecret | None
) -> None:
    made = plan(namespace, credentials, found)
    if found is not None and not found.ours:
        assert isinstance(made, Leave)  # what is not ours is never touched
    if isinstance(made, Write):
        assert namespace.served
        assert credentials is not None
        assert not (made.in_place and found is not None and found.owner != namespace.owner)
        # What was written stands: then there is nothing more to do.
        after = ExistingSecret("team", "s", 2, True, True, False, False, namespace.owner, PLANNER.digest(made.body))
        assert plan(namespace, credentials, replace(after, registries=tuple(auths(made)))) == Leave()
        stood = set(found.registries) if found is not None and found.owner == namespace.owner else set()
        fresh = {c.registry for c in credentials.unexpired(NOW).items}
        assert auths(made) <= stood | fresh, "what has ended goes nowhere new"
    if isinstance(made, Delete):
        assert found is made.over


@pytest.mark.parametrize(("why", "kind"), [(ALL_REFUSED, "Warning"), (TOO_LARGE, "Warning"), (NO_CREDENTIAL, "Normal")])
def test_a_deletion_that_somebody_must_mend_is_a_warning(why: str, kind: str) -> None:
    assert Delete(existing(), why).notice("ghcr-secret").type == kind
