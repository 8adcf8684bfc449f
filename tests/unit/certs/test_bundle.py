"""What is done about the CA Secret in each state that it can be in."""

import base64
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certs import bundle as bundles
from certs.authority import CA_LIFE, LEAF_LIFE, SKEW, Authority
from certs.bundle import CONFIRMED, KEPT, RELIEF, SOAK, Bundle, Publish, Step, Use, Write, stale
from certs.pair import Pair
from certs.pem import encode, encode_key, readable
from certs.ports import Published, Stored

Verifies = Callable[[Pair, bytes, str, datetime], bool]

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOST = "pullsecret-webhook.pullsecret-system.svc"

OLD, OTHER, FRESH = Authority.create(NOW), Authority.create(NOW), Authority.create(NOW)
GONE = Authority.create(NOW - CA_LIFE - SKEW)
TO_COME = Authority.create(NOW + timedelta(days=30))
LEAF = OLD.issue([HOST], NOW)
DUE = NOW + CA_LIFE * 2 / 3


def step(
    data: Mapping[str, bytes] | None,
    published: bytes | None,
    leaf: Pair | None,
    now: datetime,
    create: Callable[[datetime], Authority],
) -> Step:
    """Where all entries have the same caBundle."""
    return bundles.step(data, None if published is None else (published,) * 2, leaf, now, create)


def trusting(*authorities: Authority) -> bytes:
    return encode(*(authority.certificate for authority in authorities))


def bundle(
    signing: Authority | None,
    *others: Authority,
    following: Authority | None = None,
    confirmed: datetime | None = None,
    relieved: Authority | None = None,
) -> Bundle:
    """Newest first."""
    every = [authority for authority in (following, signing, *others) if authority]
    last = relieved.certificate if relieved else None
    return Bundle(tuple(authority.certificate for authority in every), signing, following, confirmed, last)


GOOD = bundle(OLD, OTHER)
STANDING = GOOD.data()
ROTATING = bundle(OLD, following=FRESH)


def fresh(_now: datetime) -> Authority:
    return FRESH


def never(_now: datetime) -> Authority:
    pytest.fail("a new authority was made")


@pytest.mark.parametrize("published", [None, b"", b"somebody else's"])
def test_nothing_there(published: bytes | None) -> None:
    assert step(None, published, LEAF, NOW, fresh) == Write(bundle(FRESH), "it did not exist")


def test_a_good_one_is_used_as_it_is() -> None:
    todo = step(STANDING, STANDING["ca.crt"], LEAF, NOW, never)

    assert todo == Use(GOOD)
    assert todo.bundle.data() == STANDING


@pytest.mark.parametrize("published", [b"", b"somebody else's", trusting(OLD), trusting(OTHER, OLD)])
def test_what_is_published_is_what_the_secret_says(published: bytes) -> None:
    assert step(STANDING, published, LEAF, NOW, never) == Publish(GOOD)


@pytest.mark.parametrize("wanted", [GOOD, ROTATING, bundle(OLD, following=FRESH, confirmed=NOW - SOAK)])
def test_before_it_is_installed_there_is_nothing_to_publish_and_nothing_is_confirmed(wanted: Bundle) -> None:
    assert step(wanted.data(), None, LEAF, NOW, never) == Use(wanted)


def test_after_two_thirds_of_its_life_the_next_one_is_made() -> None:
    existing = bundle(OLD).data()
    todo = step(existing, existing["ca.crt"], LEAF, DUE, fresh)

    assert step(existing, existing["ca.crt"], LEAF, DUE - SKEW, never) == Use(bundle(OLD))
    assert todo == Write(ROTATING, "the next CA was created; the present one expires at 2027-11-23 12:00 UTC")
    assert todo.bundle.issuer == OLD


def test_the_next_one_is_published_then_noted_then_soaked_then_signs() -> None:
    data = ROTATING.data()
    noted = bundle(OLD, following=FRESH, confirmed=NOW)
    signs = Write(bundle(FRESH, OLD), "the next CA signs from now on")

    assert step(data, trusting(OLD), LEAF, NOW, never) == Publish(ROTATING)
    assert step(data, data["ca.crt"], LEAF, NOW, never) == Write(noted, "the next CA is published")
    assert step(noted.data(), data["ca.crt"], LEAF, NOW + SOAK - timedelta(seconds=1), never) == Use(noted)
    assert step(noted.data(), data["ca.crt"], LEAF, NOW + SOAK, never) == signs
    assert signs.bundle.ca_bundle() == data["ca.crt"]


def test_one_that_is_no_longer_published_soaks_anew() -> None:
    noted = bundle(OLD, following=FRESH, confirmed=NOW - SOAK)

    for published in (b"", trusting(OLD)):
        assert step(noted.data(), published, LEAF, NOW, never) == Write(ROTATING, "the next CA is no longer published")
    assert step(noted.data(), trusting(FRESH), LEAF, NOW, never) == Publish(noted)


@pytest.mark.parametrize(
    "noted", [b"", b"\xff", b"soon", b"2026-11-23", b"2026-11-23T10:00:00", b"0001-01-01T00:00:00+14:00"]
)
def test_a_note_that_cannot_be_read_is_made_anew(noted: bytes) -> None:
    data = ROTATING.data() | {CONFIRMED: noted}

    assert step(data, data["ca.crt"], LEAF, NOW, never) == Write(
        bundle(OLD, following=FRESH, confirmed=NOW), "the next CA is published"
    )


def test_a_note_from_the_future_is_made_anew() -> None:
    """Else a clock that was years ahead when it was made would keep the next one waiting for years."""
    ahead = bundle(OLD, following=FRESH, confirmed=NOW + SKEW)
    wrong = bundle(OLD, following=FRESH, confirmed=NOW + SKEW + timedelta(seconds=1))

    assert step(ahead.data(), ahead.ca_bundle(), LEAF, NOW, never) == Use(ahead)
    assert step(wrong.data(), wrong.ca_bundle(), LEAF, NOW, never) == Write(
        bundle(OLD, following=FRESH, confirmed=NOW), "the next CA is published"
    )


def test_an_old_one_is_trusted_until_no_clock_says_that_it_is_valid() -> None:
    data = bundle(OLD, GONE).data()
    over = GONE.ends + SKEW

    assert step(data, data["ca.crt"], LEAF, over - timedelta(seconds=1), never) == Use(bundle(OLD, GONE))
    assert step(data, data["ca.crt"], LEAF, over, never) == Write(
        bundle(OLD), "ca.crt held certificates that have expired or are not CA certificates"
    )


def test_the_authorities_of_the_pairs_are_always_trusted() -> None:
    for lacking in (trusting(OTHER, OLD), trusting(FRESH, OTHER), trusting(OTHER), b"", b"x"):
        todo = step(bundle(OLD, OTHER, following=FRESH).data() | {"ca.crt": lacking}, lacking, LEAF, NOW, never)

        assert isinstance(todo, Write)
        assert todo.why == "ca.crt lacked a CA"
        assert {OLD.certificate, FRESH.certificate} <= set(todo.bundle.trusted)
        assert (todo.bundle.signing, todo.bundle.following) == (OLD, FRESH)


BROKEN = {
    "emptied": ({}, "tls.crt is empty", ()),
    "key lost": (STANDING | {"tls.key": b""}, "tls.key is empty", (OLD, OTHER)),
    "key overwritten": (
        STANDING | {"tls.key": b"x"},
        "tls.key holds no PEM private key that can be parsed",
        (OLD, OTHER),
    ),
    "another's key": (
        STANDING | {"tls.key": encode_key(OTHER.key)},
        "the private key does not belong to the certificate",
        (OLD, OTHER),
    ),
    "certificate lost": ({k: v for k, v in STANDING.items() if k != "tls.crt"}, "tls.crt is empty", (OLD, OTHER)),
    "text between certificates": (
        {
            "ca.crt": b"# old\n"
            + encode(OLD.certificate)
            + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
            + encode(OTHER.certificate)
        },
        "tls.crt is empty",
        (OLD, OTHER),
    ),
    "a leaf as the pair": (
        STANDING | {"tls.crt": encode(*LEAF.chain), "tls.key": encode_key(LEAF.key)},
        "the certificate is not a CA certificate",
        (OLD, OTHER),
    ),
    "expired": (bundle(GONE, OTHER).data(), "tls.crt expired at 2026-11-23 11:00 UTC", (OTHER,)),
    "expired, nothing else": (bundle(GONE).data(), "tls.crt expired at 2026-11-23 11:00 UTC", ()),
    "not valid yet": (bundle(TO_COME, OLD).data(), "tls.crt is not valid before 2026-12-23 11:00 UTC", (TO_COME, OLD)),
    "both keys lost": (
        ROTATING.data() | {"tls.key": b"", "next.key": b""},
        "tls.key is empty",
        (FRESH, OLD),
    ),
}


@pytest.mark.parametrize(("data", "why", "kept"), BROKEN.values(), ids=BROKEN)
def test_a_broken_one_is_replaced_and_old_leaves_stay_trusted(
    data: dict[str, bytes], why: str, kept: tuple[Authority, ...], verifies: Verifies
) -> None:
    """With something old in it the new one soaks first; without, there is nothing that it could wait for."""
    new = Authority.create(NOW)
    todo = step(data, data.get("ca.crt"), LEAF, NOW, lambda _: new)

    assert todo == Write(bundle(None, *kept, following=new) if kept else bundle(new), why)
    for authority in (new, *(k for k in kept if k != TO_COME)):
        assert verifies(authority.issue([HOST], NOW), todo.bundle.ca_bundle(), HOST, NOW)
    assert todo.bundle.issuer == new
    assert step(todo.bundle.data(), None, LEAF, NOW, never) == Use(todo.bundle)


@pytest.mark.parametrize(
    "lost", [{"tls.key": b""}, {"tls.crt": b"", "tls.key": b""}, {"tls.key": encode_key(LEAF.key)}]
)
def test_the_next_one_steps_in_for_a_broken_one(lost: dict[str, bytes]) -> None:
    data = ROTATING.data() | lost
    todo = step(data, data["ca.crt"], LEAF, NOW, never)
    assert todo == Write(Bundle((FRESH.certificate, OLD.certificate), None, FRESH, NOW), "the next CA is published")

    data = todo.bundle.data()
    assert set(data) == {"ca.crt", "next.crt", "next.key", CONFIRMED}
    assert step(data, data["ca.crt"], LEAF, NOW + SOAK, never) == Write(
        bundle(FRESH, OLD), "the next CA signs from now on"
    )


@pytest.mark.parametrize(
    ("lost", "why"),
    [
        ({"next.key": b""}, "next.key is empty"),
        ({"next.crt": b""}, "next.crt is empty"),
        ({"next.crt": b"x"}, "next.crt holds no PEM certificate"),
    ],
)
def test_a_broken_next_one_is_dropped(lost: dict[str, bytes], why: str) -> None:
    data = bundle(OLD, following=FRESH, confirmed=NOW).data() | lost
    todo = step(data, data["ca.crt"], LEAF, NOW, never)

    assert todo == Write(Bundle((FRESH.certificate, OLD.certificate), OLD), f"the next CA was removed: {why}")
    assert isinstance(step(todo.bundle.data(), data["ca.crt"], LEAF, DUE, fresh), Write)


def test_a_secret_that_is_broken_again_and_again_stays_small() -> None:
    data = STANDING
    for _ in range(10):
        data = step(data | {"tls.key": b"", "next.key": b""}, None, LEAF, NOW, Authority.create).bundle.data()

    assert len(readable(data["ca.crt"])) == 1 + KEPT


UNKNOWING: dict[str, tuple[dict[str, bytes] | None, str]] = {
    "deleted": (None, "it did not exist"),
    "emptied": ({}, "tls.crt is empty"),
    "only the pair's certificate left": ({"tls.crt": STANDING["tls.crt"]}, "tls.key is empty"),
    "only another one's certificate left": ({"tls.crt": OTHER.pem()[0], "ca.crt": b"x"}, "tls.key is empty"),
    "garbage": (
        dict.fromkeys(("ca.crt", "tls.crt", "tls.key", "next.crt"), b"x"),
        "tls.crt holds no PEM certificate",
    ),
}


@pytest.mark.parametrize(("data", "why"), UNKNOWING.values(), ids=UNKNOWING)
@pytest.mark.parametrize("leaf", [LEAF, None], ids=["with a leaf", "without"])
def test_who_gave_the_leaves_stays_published_until_they_have_changed(
    data: dict[str, bytes] | None, why: str, leaf: Pair | None
) -> None:
    first = step(data, trusting(OLD), leaf, NOW, fresh)
    relieving = bundle(None, following=FRESH, relieved=OLD)
    noted = bundle(None, following=FRESH, relieved=OLD, confirmed=NOW)
    assert first == Write(relieving, why)
    assert relieving.ca_bundle() == trusting(FRESH, OLD)
    assert relieving.data() == {
        "ca.crt": trusting(FRESH),
        "tls.crt": trusting(OLD),
        "next.crt": FRESH.pem()[0],
        "next.key": FRESH.pem()[1],
    }
    existing, both = noted.data(), noted.ca_bundle()
    assert step(relieving.data(), trusting(OLD), leaf, NOW, never) == Publish(relieving)
    assert step(relieving.data(), both, leaf, NOW, never) == Write(noted, "the next CA is published")

    second = timedelta(seconds=1)
    assert step(existing, both, leaf, NOW + 2 * RELIEF - second, never) == Use(noted)
    assert step(existing, both, leaf, NOW + 2 * RELIEF, never) == Write(bundle(FRESH), "the next CA signs from now on")
    for served in (None, FRESH.issue([HOST], NOW)):
        assert step(bundle(FRESH).data(), both, served, NOW + 2 * RELIEF, never) == Publish(bundle(FRESH))


def test_one_that_is_relieved_is_published_again_with_the_next_one() -> None:
    """Somebody emptied the caBundle, or replaced it by an older one."""
    noted = bundle(None, following=FRESH, relieved=OLD, confirmed=NOW)
    anew = bundle(None, following=FRESH, relieved=OLD)

    for published in (b"", b"x", trusting(OLD), trusting(OTHER)):
        todo = step(noted.data(), published, LEAF, NOW + RELIEF, never)
        assert todo == Write(anew, "the next CA is no longer published")
        assert step(anew.data(), published, LEAF, NOW + RELIEF, never) == Publish(anew)


REPLACED = "it held another CA than the one in use; the CA in use stays published until the new one signs"


@pytest.mark.parametrize("leaf", [LEAF, None], ids=["with a leaf", "without"])
def test_another_one_in_the_secret_signs_later(leaf: Pair | None) -> None:
    """Also if it is there with a next one that nobody has seen either: that one would sign in the end."""
    for data in (bundle(OTHER).data(), bundle(OTHER, FRESH).data()):
        todo = step(data, trusting(OLD), leaf, NOW, never)
        assert isinstance(todo, Write)
        assert (todo.bundle.signing, todo.bundle.following, todo.why) == (None, OTHER, REPLACED)
        assert (todo.bundle.relieved, todo.bundle.published[-1]) == (OLD.certificate, OLD.certificate)

    rotating = bundle(OTHER, following=FRESH, confirmed=NOW - SOAK)
    assert step(rotating.data(), trusting(OLD), leaf, NOW, never) == Write(
        Bundle((FRESH.certificate, OTHER.certificate), None, FRESH, relieved=OLD.certificate), REPLACED
    )


def test_an_older_one_that_is_still_published_signs_later_too() -> None:
    """After a rotation, somebody restores the Secret from before it: other replicas serve leaves of the newer one."""
    leaf = FRESH.issue([HOST], NOW)

    assert step(bundle(OLD).data(), trusting(FRESH, OLD), leaf, NOW, never) == Write(
        bundle(None, following=OLD, relieved=FRESH), REPLACED
    )


def test_a_replica_that_has_not_changed_its_leaf_in_time_gets_time_again() -> None:
    """Also when somebody puts the other CA into the Secret again and again: others have not changed theirs either."""
    assert step(bundle(FRESH).data(), trusting(FRESH, OLD), LEAF, NOW, never) == Write(
        bundle(None, following=FRESH, relieved=OLD), REPLACED
    )


@pytest.mark.parametrize(
    "published",
    [None, b"", b"x", trusting(OTHER), trusting(GONE), encode(*LEAF.chain), encode(*LEAF.chain) + trusting(OTHER)],
)
def test_nobody_else_is_relieved(published: bytes | None) -> None:
    """Only a CA that gave the leaf: the caBundle may hold anything that an administrator has put there."""
    empty: dict[str, bytes] = {}
    for data in (None, empty):
        todo = step(data, published, LEAF, NOW + SKEW, fresh)
        assert isinstance(todo, Write)
        assert todo.bundle == bundle(FRESH)
    todo = step(bundle(OLD).data(), published, LEAF, NOW, never)
    assert isinstance(todo, Use if published is None else Publish)
    assert todo.bundle == bundle(OLD)


def test_one_is_relieved_however_many_are_published() -> None:
    many = [Authority.create(NOW) for _ in range(10)]
    for leaf in (LEAF, None):
        todo = step(None, trusting(*many, OLD), leaf, NOW, fresh)
        assert todo == Write(bundle(None, following=FRESH, relieved=OLD), "it did not exist")


def test_a_replica_without_a_leaf_supposes_that_the_newest_signs_which_had_time_to() -> None:
    aged, second = Authority.create(NOW - CA_LIFE / 2), timedelta(seconds=1)
    for published, now, giver in (
        (trusting(OLD), NOW, OLD),
        (trusting(OLD, aged), NOW + SOAK - second, aged),  # OLD soaks
        (trusting(OLD, aged), NOW + SOAK, OLD),
        (trusting(OLD, OTHER), NOW, OTHER),
    ):
        todo = step(None, published, None, now, fresh)
        assert todo == Write(bundle(None, following=FRESH, relieved=giver), "it did not exist")


def test_a_secret_from_another_time_gives_way_to_what_is_needed() -> None:
    """A backup from while OTHER was relieved, which is published no longer."""
    todo = step(bundle(None, following=FRESH, relieved=OTHER).data(), trusting(OLD), LEAF, NOW, never)

    assert todo == Write(bundle(None, following=FRESH, relieved=OLD), REPLACED)
    existing = bundle(None, following=FRESH, relieved=OTHER)
    assert step(existing.data(), trusting(OTHER, OLD), LEAF, NOW, never) == Publish(existing)  # one at a time


def test_data_survives_the_secret() -> None:
    every = bundle(OLD, OTHER, following=FRESH, confirmed=NOW)

    assert set(every.data()) == {"ca.crt", "tls.crt", "tls.key", "next.crt", "next.key", "next.confirmed"}
    assert every.data()["next.confirmed"] == b"2026-11-23T12:00:00+00:00"
    assert every.ca_bundle() == every.data()["ca.crt"]
    assert b"PRIVATE" not in every.ca_bundle()
    assert step(every.data(), every.ca_bundle(), LEAF, NOW, never) == Use(every)


def test_one_that_cannot_be() -> None:
    with pytest.raises(AssertionError):
        Bundle((OLD.certificate,), None)
    with pytest.raises(AssertionError):
        Bundle((OTHER.certificate,), OLD)
    with pytest.raises(AssertionError):
        Bundle((OLD.certificate,), OLD, relieved=OTHER.certificate)
    with pytest.raises(AssertionError):
        Bundle((OLD.certificate,), None, OLD, relieved=OLD.certificate)


RELIEVING = bundle(None, following=FRESH, relieved=OLD, confirmed=NOW)


@pytest.mark.parametrize(
    ("leaf", "existing", "now", "wanted"),
    [
        (None, bundle(OLD), NOW, True),
        (LEAF, bundle(OLD), NOW, False),
        (LEAF, bundle(OLD, OTHER), NOW, False),
        (LEAF, bundle(OLD, following=FRESH), NOW, False),
        (LEAF, bundle(OTHER, OLD), NOW, True),
        (LEAF, bundle(OLD), NOW + timedelta(days=5), True),
        (LEAF, bundle(OLD), NOW - SKEW - timedelta(seconds=1), True),
        (LEAF, bundle(None, OLD, following=FRESH), NOW + timedelta(days=5), False),
        (LEAF, bundle(None, OLD, following=FRESH), NOW + LEAF_LIFE - SOAK, True),
        (LEAF, bundle(None, OTHER, following=FRESH), NOW, True),
        (None, bundle(None, OLD, following=FRESH), NOW, True),
        (LEAF, RELIEVING, NOW + RELIEF - timedelta(seconds=1), False),
        (LEAF, RELIEVING, NOW + RELIEF, True),
        (LEAF, bundle(None, following=FRESH, relieved=OLD), NOW + RELIEF, False),
        (FRESH.issue([HOST], NOW), RELIEVING, NOW + RELIEF, False),
        (OTHER.issue([HOST], NOW), RELIEVING, NOW, True),
        (None, RELIEVING, NOW, True),
    ],
    ids=[
        "none yet",
        "good",
        "others are trusted too",
        "another authority comes next",
        "another authority signs now",
        "two thirds of its life",
        "not valid yet",
        "nobody signs, and it is good for days",
        "nobody signs, and it ends before the soak",
        "nobody signs, and it is no longer trusted",
        "nobody signs, and there is none",
        "its authority is relieved, API servers hear of the next one",
        "its authority is relieved, API servers have heard of the next one",
        "its authority is relieved, the next one is not confirmed",
        "another one is relieved",
        "another one is relieved, and nobody vouches for it",
        "an authority is relieved, and there is none",
    ],
)
def test_when_a_new_leaf_is_needed(leaf: Pair | None, existing: Bundle, now: datetime, *, wanted: bool) -> None:
    assert stale(leaf, existing, now) is wanted


def flipped(pem: bytes, places: list[int]) -> bytes:
    """PEM with some bits of what is in it turned over: it is still base64, and often still parses."""
    first, *lines, last = pem.splitlines()
    der = bytearray(base64.b64decode(b"".join(lines)))
    for place in places:
        der[place // 8 % len(der)] ^= 1 << place % 8
    return b"\n".join([first, base64.b64encode(bytes(der)), last, b""])


VALUES = st.one_of(
    st.sampled_from([b"", b"x", *ROTATING.data().values(), trusting(GONE, TO_COME), encode_key(LEAF.key)]),
    st.binary(max_size=20),
    st.builds(
        flipped,
        st.sampled_from([OLD.pem()[0], OLD.pem()[1], FRESH.pem()[0]]),
        st.lists(st.integers(0, 8000), min_size=1, max_size=3),
    ),
)
KEYS = ["ca.crt", "tls.crt", "tls.key", "next.crt", "next.key", CONFIRMED, "ca.key"]


@pytest.mark.filterwarnings("ignore::cryptography.utils.CryptographyDeprecationWarning")  # of what is flipped
@settings(max_examples=250, deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), VALUES),
    st.one_of(st.none(), st.lists(VALUES, min_size=1, max_size=3)),
    st.sampled_from([None, LEAF, OTHER.issue([HOST], NOW)]),
    st.one_of(st.timedeltas(timedelta(), LEAF_LIFE), st.timedeltas(-CA_LIFE * 2, CA_LIFE * 2)),
)
def test_anything_ends_in_order_in_a_few_steps(
    verifies: Verifies, changes: dict[str, bytes], published: list[bytes] | None, leaf: Pair | None, passed: timedelta
) -> None:
    """From any Secret, at any time: no exception, soon nothing to do, and a leaf that what is published vouches for.

    What is published vouches for a leaf in the end if one entry did at first.
    """
    data, now = ROTATING.data() | changes, NOW + passed
    whole = {OLD.certificate, OTHER.certificate, FRESH.certificate}
    given = [[c for c in readable(one) if c in whole] for one in published or ()]
    accepted = leaf and leaf.begins <= now and any(one and verifies(leaf, encode(*one), HOST, now) for one in given)
    for _ in range(6):
        todo = bundles.step(data, published, leaf, now, Authority.create)
        if isinstance(todo, Use):
            break
        if isinstance(todo, Write):
            data = todo.bundle.data()
        else:
            assert published
            published = [todo.bundle.ca_bundle()] * len(published)

    assert isinstance(todo, Use)
    assert not (leaf and accepted) or verifies(leaf, todo.bundle.ca_bundle(), HOST, now)
    if leaf is None or stale(leaf, todo.bundle, now):
        leaf = todo.bundle.issuer.issue([HOST], now)
    assert not stale(leaf, todo.bundle, now) or todo.bundle.issuer.ends - now < SOAK
    assert published is None or all(verifies(leaf, one, HOST, now) for one in published)


BOTH = trusting(FRESH, OLD)


@pytest.mark.parametrize("other", [b"", b"somebody else's", trusting(OLD), trusting(FRESH, OTHER, OLD)])
def test_entries_that_differ_are_published_again(other: bytes) -> None:
    ours = STANDING["ca.crt"]
    for published in ([ours, other], [other, ours], [other, other]):
        assert bundles.step(STANDING, published, LEAF, NOW, never) == Publish(GOOD)


def test_the_next_one_is_published_when_each_entry_has_it() -> None:
    """What an entry without a CA does not trust is nothing that it could lose."""
    noted, lacking = bundle(OLD, following=FRESH, confirmed=NOW), trusting(OLD)
    for published in ([BOTH, lacking], [lacking, BOTH]):
        assert bundles.step(ROTATING.data(), published, LEAF, NOW, never) == Publish(ROTATING)
        again = Write(ROTATING, "the next CA is no longer published")
        assert bundles.step(noted.data(), published, LEAF, NOW + SOAK, never) == again
    assert bundles.step(noted.data(), [BOTH, b""], LEAF, NOW + SOAK, never) == Publish(noted)
    assert bundles.step(ROTATING.data(), [BOTH, BOTH], LEAF, NOW, never) == Write(noted, "the next CA is published")


@pytest.mark.parametrize("other", [b"", trusting(OTHER)])
def test_the_authority_in_use_is_relieved_if_one_entry_trusts_it(other: bytes) -> None:
    for published in ([trusting(OLD), other], [other, trusting(OLD)]):
        todo = bundles.step(None, published, LEAF, NOW, fresh)
        assert isinstance(todo, Write)
        assert todo.bundle == bundle(None, following=FRESH, relieved=OLD)


def test_whom_entries_trust() -> None:
    old, fresh_one, other = OLD.certificate, FRESH.certificate, OTHER.certificate
    for published, anywhere, everywhere in (
        ([], (), ()),
        ([b"", b""], (), ()),
        ([BOTH, BOTH], (fresh_one, old), (fresh_one, old)),
        ([BOTH, b""], (fresh_one, old), (fresh_one, old)),
        ([trusting(OTHER, OLD), BOTH], (other, old, fresh_one), (old,)),
        ([trusting(OTHER), BOTH], (other, fresh_one, old), ()),
    ):
        assert bundles.trusted_anywhere(published) == anywhere
        assert bundles.trusted_everywhere(published) == everywhere


def test_no_repr_shows_a_key() -> None:
    every = bundle(OLD, OTHER, following=FRESH, confirmed=NOW)
    stored = Stored(every.data(), "1")
    steps = [Use(every), Publish(every), Write(every, "why"), Published({"e": every.ca_bundle()}, "1")]
    shown = repr([OLD, LEAF, every, stored, *steps])
    scalar = OLD.key.private_numbers().private_value

    assert "PRIVATE" not in shown
    assert "data" not in repr(stored)
    private = encode_key(OLD.key).decode().splitlines()[1:3]  # the third line is of the public key, as in certificates
    for secret in (str(scalar), f"{scalar:x}", *private):
        assert secret not in shown
