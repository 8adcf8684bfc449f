"""Of several credentials for one registry: which are written, in which order, and until when."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from support import planted
from webhook.core.credential import Credential, Credentials, Origin, joined
from webhook.core.merge import Merged, merged
from webhook.core.registry import MAX_SAME_KEY

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
TOKENS = [planted.token() for _ in range(4)]
A, B = Origin("a"), Origin("b")


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


def test_of_several_for_one_registry_all_are_kept_the_preferred_first() -> None:
    assert of(made(0), made(1, B), made(2, B, "quay.io")).items == (made(0), made(1, B), made(2, B, "quay.io"))
    assert of(made(0), made(0, B)).items == (made(0),)  # that is the same credential


def test_what_is_too_much_for_one_registry_is_left_out_and_told() -> None:
    many = [replace(made(0, B), username=f"u{n}") for n in range(MAX_SAME_KEY + 2)]
    assert of(*many).items == tuple(many[:MAX_SAME_KEY])
    assert of(*many).left_out == tuple(many[MAX_SAME_KEY:])
    assert not planted.leaks(repr(of(*many)))


def test_one_that_has_ended_counts_only_without_another_and_what_stands_stays() -> None:
    first, second = made(0, A, ends=NOW + DAY), made(1, B, ends=NOW + 3 * DAY)
    assert (of(first, second).items, of(first, second).until) == ((first, second), NOW + DAY)
    later = of(first, second, now=NOW + DAY)  # with the same answers
    assert (later.items, later.until) == ((second,), NOW + 3 * DAY)
    last = of(first, second, now=NOW + 3 * DAY)
    assert (last.items, last.until) == ((second,), None)  # both have ended: it is the one that stands in the namespace
    assert of(made(0, ends=NOW), made(1, B, ends=NOW)).items == (made(0, ends=NOW),)


def test_one_that_is_for_this_namespace_comes_before_one_for_all() -> None:
    everywhere, here = made(0), made(1, namespaces=("y",))
    assert of(everywhere, here, namespace="x").items == (everywhere,)
    assert of(everywhere, here, namespace="y").items == (here, everywhere)
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
def test_nothing_usable_is_dropped(drawn: list[list[Credential]], namespace: str) -> None:
    named = [
        Credentials(tuple(replace(c, origin=Origin(name)) for c in part))
        for name, part in zip("abc", drawn, strict=False)
    ]
    known = joined(named)
    found = merged(known, namespace, NOW)
    assert not found.left_out  # fewer are drawn than there is room for
    assert merged(Credentials(found.items), namespace, NOW).items == found.items
    usable = known.usable_in(namespace).items
    for registry in {c.registry for c in known.items}:
        offered = [c for c in usable if c.registry == registry]
        kept = [c for c in found.items if c.registry == registry]
        assert len({c.login for c in kept}) == len(kept)
        if fresh := [c for c in offered if not c.expired(NOW)]:
            assert {c.login for c in kept} == {c.login for c in fresh}
            assert bool(kept[0].namespaces) == any(c.namespaces for c in fresh)
        else:
            last = sorted((bool(c.namespaces), c.expires) for c in offered if c.expires)[-1:]
            assert [(bool(c.namespaces), c.expires) for c in kept] == last
    ends = [c.expires for c in usable if c.expires and c.expires > NOW]
    assert found.until == min(ends, default=None)
