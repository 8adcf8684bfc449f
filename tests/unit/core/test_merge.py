"""Of several credentials for one registry: which one counts, until when, and what is said of the others."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.core.credential import Credential, Credentials, Origin, joined
from webhook.core.merge import Conflict, Merged, merged

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOKENS = [planted.token() for _ in range(4)]
A, B = Origin("a"), Origin("b")
ONE, TWO = (Origin("secrets", "release", "Secret", name) for name in ("one", "two"))


def made(
    number: int,
    origin: Origin = A,
    registry: str = "ghcr.io",
    ends: datetime | None = None,
    namespaces: tuple[str, ...] = (),
) -> Credential:
    return Credential(registry, f"u{number}", TOKENS[number], ends, namespaces, origin)


def of(*items: Credential, namespace: str = "x", now: datetime = NOW) -> Merged:
    return merged(Credentials(items), namespace, now)


def test_registries_and_paths_stand_side_by_side() -> None:
    several = [made(n, registry=registry) for n, registry in enumerate(["ghcr.io/al", "ghcr.io", "ghcr.io/alice"])]
    assert {*of(*several).items} == {*several}
    assert of(*several).conflicts == ()


def test_of_two_for_one_registry_the_first_is_taken_and_the_other_reported() -> None:
    found = of(made(0), made(1, B), made(2, B, "quay.io"))
    assert {*found.items} == {made(0), made(2, B, "quay.io")}
    assert [conflict.words("alice", ["ghcr.io"]) for conflict in found.conflicts] == [
        "sources a and b have different credentials of owner alice for ghcr.io; that of a is used"
    ]
    assert of(made(0), made(0, B)).conflicts == ()  # that is the same credential


def test_whose_they_are_is_said_as_people_call_it() -> None:
    (secrets,), (same,) = of(made(0, ONE), made(1, TWO)).conflicts, of(made(0), made(1)).conflicts
    assert secrets.words("alice", ["ghcr.io"]) == (
        "source Secrets one and two have different credentials of owner alice for ghcr.io; that of one is used"
    )
    assert same.words("alice", ["ghcr.io", "quay.io"]) == (
        "source a has different credentials of owner alice for ghcr.io, quay.io; the one that expires last is used"
    )
    (one_secret,) = of(made(0, ONE), made(1, ONE)).conflicts
    assert one_secret.words("alice", ["ghcr.io"]) == (
        "source Secret one has different credentials of owner alice for ghcr.io; the first entry is used"
    )
    assert not planted.leaks(repr(of(made(0), made(1))))


def test_one_that_has_ended_hides_none_that_has_not_and_what_stands_stays() -> None:
    first, second = made(0, A, ends=NOW + DAY), made(1, B, ends=NOW + 3 * DAY)
    assert (of(first, second).items, of(first, second).until) == ((first,), NOW + DAY)
    later = of(first, second, now=NOW + DAY)  # with the same answers
    assert (later.items, later.until) == ((second,), NOW + 3 * DAY)
    assert later.conflicts == (Conflict("ghcr.io", B, A),)
    last = of(first, second, now=NOW + 3 * DAY)
    assert (last.items, last.until) == ((second,), None)  # both have ended: it is the one that stands in the namespace
    assert of(made(0, ends=NOW), made(1, B, ends=NOW)).items == (made(0, ends=NOW),)


def test_one_that_is_for_this_namespace_goes_before_one_for_all_and_that_is_no_contradiction() -> None:
    everywhere, here = made(0), made(1, namespaces=("y",))
    assert of(everywhere, here, namespace="x").items == (everywhere,)
    assert of(everywhere, here, namespace="y").items == (here,)
    assert of(everywhere, here, namespace="y").conflicts == ()
    ended = replace(here, expires=NOW)
    assert of(everywhere, ended, namespace="y").items == (everywhere,)


parts = st.lists(
    st.lists(
        st.builds(
            lambda registry, number, ends, namespaces: Credential(
                registry, f"u{number}", TOKENS[number], ends, tuple(sorted(namespaces))
            ),
            st.sampled_from(["ghcr.io", "ghcr.io/a", "ghcr.io/alice"]),
            st.integers(0, 3),
            st.sampled_from([None, NOW - 2 * DAY, NOW - DAY, NOW + DAY]),
            st.sets(st.sampled_from("xyz"), max_size=2),
        ),
        max_size=4,
    ),
    min_size=1,
    max_size=3,
)


@given(parts, st.sampled_from("xyz"))
def test_no_registry_is_left_out_and_no_contradiction_hidden(drawn: list[list[Credential]], namespace: str) -> None:
    named = [
        Credentials(tuple(replace(c, origin=Origin(name)) for c in part))
        for name, part in zip("abc", drawn, strict=False)
    ]
    known = joined(named)
    found = merged(known, namespace, NOW)
    taken = {c.registry: c for c in found.items}
    assert len(taken) == len(found.items)
    assert merged(Credentials(found.items), namespace, NOW).items == found.items
    for registry in {c.registry for c in known.items}:
        offered = [c for c in known.usable_in(namespace).items if c.registry == registry]
        if not offered:
            assert registry not in taken
            continue
        fresh = [c for c in offered if not c.expired(NOW)]
        limited = [c for c in fresh or offered if c.namespaces] or fresh or offered
        last = max((c.expires for c in limited if c.expires), default=NOW)
        best = limited if fresh else [c for c in limited if c.expires == last]
        assert taken[registry] == best[0]
        for other in limited:
            if (other.username, other.password) != (best[0].username, best[0].password):
                assert Conflict(registry, best[0].origin, other.origin) in found.conflicts
    ends = [c.expires for c in known.usable_in(namespace).items if c.expires and c.expires > NOW]
    assert found.until == min(ends, default=None)
