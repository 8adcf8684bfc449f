"""What is done about the CA Secret in each state that it can be in."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from certs.authority import CA_LIFE, LEAF_LIFE, Authority
from certs.bundle import KEPT, Bundle, Use, Write, stale, step
from certs.pair import Pair
from certs.pem import encode, encode_key, readable
from certs.store import Stored

Verifies = Callable[[Pair, bytes, str, datetime], bool]

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
HOST = "pullsecret-webhook.pullsecret-system.svc"

OLD, OTHER, FRESH = Authority.create(NOW), Authority.create(NOW), Authority.create(NOW)
GONE = Authority.create(NOW - CA_LIFE)
STANDING = Bundle(OLD, (OTHER.certificate,)).data()
LEAF = OLD.issue([HOST], NOW)


def fresh(_now: datetime) -> Authority:
    return FRESH


def never(_now: datetime) -> Authority:
    pytest.fail("a new authority was made")


def test_nothing_there() -> None:
    assert step(None, NOW, fresh) == Write(Bundle(FRESH), "there was no CA")


def test_a_good_one_is_used_as_it_is() -> None:
    todo = step(STANDING, NOW, never)

    assert todo == Use(Bundle(OLD, (OTHER.certificate,)))
    assert todo.bundle.data() == STANDING


def test_what_is_published_depends_on_the_secret_alone() -> None:
    """Or else two replicas whose clocks differ would publish over each other."""
    standing = Bundle(OLD, (GONE.certificate, OTHER.certificate)).data()

    assert step(standing, NOW, never) == Use(Bundle(OLD, (GONE.certificate, OTHER.certificate)))


def test_the_signing_authority_is_always_trusted() -> None:
    todo = step(STANDING | {"ca.crt": encode(OTHER.certificate)}, NOW, never)

    assert todo == Write(Bundle(OLD, (OTHER.certificate,)), "ca.crt lacked the CA that signs")


BROKEN = {
    "emptied": ({}, "tls.crt is empty", ()),
    "key lost": (STANDING | {"tls.key": b""}, "tls.key is empty", (OLD, OTHER)),
    "key overwritten": (STANDING | {"tls.key": b"x"}, "tls.key holds no PEM private key that parses", (OLD, OTHER)),
    "another's key": (
        STANDING | {"tls.key": encode_key(OTHER.key)},
        "the private key does not belong to the certificate",
        (OLD, OTHER),
    ),
    "certificate lost": ({k: v for k, v in STANDING.items() if k != "tls.crt"}, "tls.crt is empty", (OLD, OTHER)),
    "only the pair's certificate left": ({"tls.crt": STANDING["tls.crt"]}, "tls.key is empty", (OLD,)),
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
        "the certificate is no CA's",
        (OLD, OTHER),
    ),
    "expired": (Bundle(GONE, (OTHER.certificate,)).data(), "tls.crt ended at 2026-11-23 12:00 UTC", (OTHER,)),
}


@pytest.mark.parametrize(("data", "why", "kept"), BROKEN.values(), ids=BROKEN)
def test_a_broken_one_is_replaced_and_old_leaves_stay_trusted(
    data: dict[str, bytes], why: str, kept: tuple[Authority, ...], verifies: Verifies
) -> None:
    todo = step(data, NOW, fresh)

    assert todo == Write(Bundle(FRESH, tuple(a.certificate for a in kept)), why)
    for authority in (FRESH, *kept):
        assert verifies(authority.issue([HOST], NOW), todo.bundle.ca_bundle(), HOST, NOW)
    assert step(todo.bundle.data(), NOW, never) == Use(todo.bundle)


def test_an_authority_is_replaced_before_a_leaf_would_have_to_end_early(verifies: Verifies) -> None:
    last = OLD.ends - LEAF_LIFE
    leaf = OLD.issue([HOST], last)
    todo = step(STANDING, last + timedelta(seconds=1), fresh)

    assert step(STANDING, last, never) == Use(Bundle(OLD, (OTHER.certificate,)))
    assert isinstance(todo, Write)
    assert todo.why == "the CA ends at 2027-11-23 12:00 UTC"
    assert verifies(leaf, todo.bundle.ca_bundle(), HOST, leaf.ends)


def test_a_secret_that_is_broken_again_and_again_stays_small() -> None:
    data = STANDING
    for _ in range(10):
        data = step(data | {"tls.key": b""}, NOW, Authority.create).bundle.data()

    assert len(readable(data["ca.crt"])) == 1 + KEPT


def test_data_survives_the_secret() -> None:
    bundle = Bundle(OLD, (OTHER.certificate,))

    assert set(bundle.data()) == {"ca.crt", "tls.crt", "tls.key"}
    assert bundle.ca_bundle() == bundle.data()["ca.crt"]
    assert b"PRIVATE" not in bundle.ca_bundle()


@pytest.mark.parametrize(
    ("leaf", "bundle", "now", "wanted"),
    [
        (None, Bundle(OLD), NOW, True),
        (LEAF, Bundle(OLD), NOW, False),
        (LEAF, Bundle(OLD, (OTHER.certificate,)), NOW, False),
        (LEAF, Bundle(OTHER, (OLD.certificate,)), NOW, True),
        (LEAF, Bundle(OLD), NOW + timedelta(days=5), True),
    ],
    ids=["none yet", "good", "others are trusted too", "another authority signs now", "two thirds of its life"],
)
def test_when_a_new_leaf_is_needed(leaf: Pair | None, bundle: Bundle, now: datetime, *, wanted: bool) -> None:
    assert stale(leaf, bundle, now) is wanted


def test_no_repr_shows_a_key() -> None:
    bundle = Bundle(OLD, (OTHER.certificate,))
    stored = Stored(bundle.data(), "1")
    shown = repr([OLD, LEAF, bundle, stored, Use(bundle), Write(bundle, "why")])
    scalar = OLD.key.private_numbers().private_value

    assert "PRIVATE" not in shown
    assert "data" not in repr(stored)
    for secret in (str(scalar), f"{scalar:x}", *encode_key(OLD.key).decode().splitlines()[1:-1]):
        assert secret not in shown
