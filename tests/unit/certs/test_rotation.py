"""The rotation as clients see it: whoever trusts a published bundle accepts what any live replica serves.

A client may be SLOW: it still holds what was published that long ago. The only window is the one that the test of jumps
states.
"""

import inspect
import itertools
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import lru_cache, partial

import pytest
from cryptography import x509
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs import authority, bundle, pem, selfmanaged
from certs.authority import CA_LIFE, SKEW, Authority
from certs.bundle import CONFIRMED, RELIEF, SOAK, Bundle, Use, step
from certs.errors import ApiTrouble
from certs.pem import readable
from support.certworld import HOST, START, ApiServer, Held, Replica, as_leaf, started, verifies

CLOCKS = timedelta(minutes=10)
"""How far a replica's clock may be off, either way."""

SLOW = SOAK - 2 * CLOCKS

NEAR = timedelta(seconds=30)
"""How far they may be off while an authority is relieved, which takes minutes: API servers keep time."""

LESS_SLOW = RELIEF - 2 * NEAR

MINUTE = timedelta(minutes=1)


KEPT = {
    one: lru_cache(100_000)(getattr(module, one))
    for module, names in ((authority, ("is_ca", "is_issuer", "is_whole")), (pem, ("encode", "encode_key", "readable")))
    for one in names
}
VERIFIES = lru_cache(100_000)(verifies)
CREATE, ISSUE, PARSE = Authority.create, Authority.issue, Authority.parse


@lru_cache(1000)
def nth_authority(_n: int, now: datetime) -> Authority:
    return CREATE(now)


@pytest.fixture(autouse=True)
def keys_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making, reading and checking keys takes most of the time here, and depends on nothing but what goes in.

    The n-th authority that is made at a time has the same key whenever `made` begins anew.
    """
    monkeypatch.setattr(Authority, "create", lambda now: nth_authority(next(Duel.made), now))
    issue = lru_cache(100_000)(ISSUE)
    monkeypatch.setattr(Authority, "issue", lambda self, hosts, now: issue(self, tuple(hosts), now))
    monkeypatch.setattr(Authority, "parse", lru_cache(100_000)(PARSE))
    for name, kept in KEPT.items():
        for module in (authority, bundle):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, kept)


def accepted(replica: Replica, by: bytes) -> bool:
    return VERIFIES(replica.leaf, by, HOST, replica.api.time)


# -- every interleaving of two looks, with a failure at any point of either, and one crash -----------------------------

OLD, NEXT, GONE = Authority.create(START), Authority.create(START), Authority.create(START - CA_LIFE - 2 * SKEW)


def holding(*trusted: Authority, signing: Authority | None, following: Authority | None = None, at: datetime) -> Bundle:
    confirmed = at if following and at != START else None
    return Bundle(tuple(ca.certificate for ca in trusted), signing, following, confirmed)


DUE = START + CA_LIFE * 2 / 3
ROTATING = partial(holding, NEXT, OLD, signing=OLD, following=NEXT)


class Stage:
    """The Secret, what is published, and the time: two replicas look at it at once.

    Both have a leaf of `served`, if that is somebody. `lossless`: also the slowest client accepts what they serve, at
    any time. After a loss that is not so for one that begins without a leaf: `renewed`. `other`: of
    another entry.
    """

    def __init__(
        self,
        existing: Bundle | None,
        published: bytes | None,
        now: datetime,
        *,
        served: Authority | None = OLD,
        clocks: timedelta = CLOCKS,
        lost: tuple[str, ...] = (),
        lossless: bool = True,
        renewed: bool = True,
        other: bytes | None = None,
    ) -> None:
        self.published, self.now, self.lossless, self.renewed = published, now, lossless, renewed
        self.clocks, self.other = clocks, other
        self.leaf = served.issue([HOST], now) if served else None
        data = existing.data() if existing else None
        self.data = None if data is None else {key: b"" if key in lost else value for key, value in data.items()}


def relieving(*, at: datetime | None) -> Bundle:
    return Bundle((NEXT.certificate,), None, NEXT, at, OLD.certificate)


ONE = holding(OLD, signing=OLD, at=START)
SUCCESSOR = Authority.create(DUE)
TAKEN_OVER = holding(SUCCESSOR, OLD, signing=SUCCESSOR, at=START)
ALL = "ca.crt", "tls.crt", "tls.key"
relieved = partial(Stage, clocks=NEAR, renewed=False)
STAGES = {
    "first start": Stage(None, b"", START, served=None),
    "first start, not installed": Stage(None, None, START, served=None),
    "in order": Stage(ONE, ONE.ca_bundle(), START),
    "caBundle emptied": Stage(ONE, b"", START),
    "due": Stage(ONE, ONE.ca_bundle(), DUE),
    "due, not installed": Stage(ONE, None, DUE),
    "not published yet": Stage(ROTATING(at=START), ONE.ca_bundle(), DUE),
    "not noted yet": Stage(ROTATING(at=START), ROTATING(at=START).ca_bundle(), DUE),
    "reverted while it soaks": Stage(ROTATING(at=DUE - MINUTE), ONE.ca_bundle(), DUE),
    "soaks": Stage(ROTATING(at=DUE - MINUTE), ROTATING(at=START).ca_bundle(), DUE),
    "soaked": Stage(ROTATING(at=DUE - SOAK - CLOCKS), ROTATING(at=START).ca_bundle(), DUE),
    "an old one is over": Stage(
        holding(OLD, GONE, signing=OLD, at=START), holding(OLD, GONE, signing=OLD, at=START).ca_bundle(), START
    ),
    "key lost": Stage(ONE, ONE.ca_bundle(), START, lost=("tls.key",), renewed=False),
    "key lost while the next one soaks": Stage(
        ROTATING(at=DUE - MINUTE), ROTATING(at=START).ca_bundle(), DUE, lost=("tls.key",)
    ),
    "key lost after the soak": Stage(
        ROTATING(at=DUE - SOAK - CLOCKS), ROTATING(at=START).ca_bundle(), DUE, lost=("tls.key",)
    ),
    "the next one's key lost": Stage(
        ROTATING(at=DUE - MINUTE), ROTATING(at=START).ca_bundle(), DUE, lost=("next.key",)
    ),
    "both keys lost": Stage(
        ROTATING(at=DUE - MINUTE), ROTATING(at=START).ca_bundle(), DUE, lost=("tls.key", "next.key"), renewed=False
    ),
    "emptied": relieved(ONE, ONE.ca_bundle(), START, lost=ALL),
    "deleted": relieved(None, ONE.ca_bundle(), START),
    "deleted while the next one soaks": relieved(None, TAKEN_OVER.ca_bundle(), DUE + MINUTE),
    "deleted again": relieved(None, relieving(at=None).ca_bundle(), START),
    "replaced": relieved(holding(NEXT, signing=NEXT, at=START), ONE.ca_bundle(), START),
    "replaced by an older one": relieved(ONE, TAKEN_OVER.ca_bundle(), DUE + 2 * SOAK, served=SUCCESSOR),
    "not noted yet, another one is relieved": relieved(relieving(at=None), relieving(at=None).ca_bundle(), START),
    "caBundle emptied while one is relieved": relieved(relieving(at=START), b"", START + MINUTE),
    "leaves are to change": relieved(relieving(at=START - RELIEF), relieving(at=START).ca_bundle(), START),
    "leaves have changed": relieved(
        relieving(at=START - 2 * RELIEF), relieving(at=START).ca_bundle(), START, served=NEXT
    ),
    "deleted, and caBundle emptied": Stage(None, b"", START, lossless=False),
    "deleted, not installed": Stage(None, None, START, lossless=False),
    "an entry comes": Stage(ONE, ONE.ca_bundle(), START, other=b""),
    "an entry comes while the next one soaks": Stage(
        ROTATING(at=DUE - MINUTE), ROTATING(at=START).ca_bundle(), DUE, other=b""
    ),
    "an entry lacks the next one": Stage(
        ROTATING(at=DUE - MINUTE), ROTATING(at=START).ca_bundle(), DUE, other=ONE.ca_bundle()
    ),
    "deleted, and an entry comes": relieved(None, ONE.ca_bundle(), START, other=b""),
    "deleted, and caBundle of one entry emptied": relieved(None, b"", START, other=ONE.ca_bundle()),
}


class Duel:
    """Two replicas that look at a stage, step by step."""

    made = itertools.count()

    def __init__(self, stage: Stage) -> None:
        Duel.made = itertools.count()
        self.api = ApiServer(by_hand=True, brief=True, bundle=stage.published)
        self.api.time = stage.now
        self.api.change(stage.data)
        self.api.reentry(stage.other)
        for published in filter(None, (stage.other, stage.published)):
            self.api.history.append(Held(published, stage.now))
        self.replicas = [Replica(self.api, stage.clocks), Replica(self.api, -stage.clocks)]
        for replica in self.replicas:
            if stage.leaf:
                replica.serving.serve(as_leaf(stage.leaf))
            replica.step()
        self.seen = [ca.certificate for ca in (OLD, NEXT, GONE, SUCCESSOR)]
        self.crashed: int | None = None

    def happen(self, who: int, event: str) -> None:
        replica = self.replicas[who]
        if event == "crash":
            replica.crash()
            self.crashed, self.replicas[who] = who, Replica(self.api, replica.skew)
            self.replicas[who].step()
        else:
            replica.step(ApiTrouble("no answer") if event == "fail" else None)

    def state(self) -> object:
        """Alike for two ways that lead to the same, whatever random keys were made on them."""
        return (
            self.crashed,
            tuple(sorted(self.api.data or {})),
            (self.api.data or {}).get(CONFIRMED),
            *(self._names((self.api.data or {}).get(name, b"")) for name in ("ca.crt", "tls.crt", "next.crt")),
            *(self._names(one) for one in (self.api.bundles or {}).values()),
            frozenset(self._names(held.bundle) for held in self.api.history),
            *(self._local(replica) for replica in self.replicas),
        )

    def _names(self, data: bytes) -> tuple[int, ...]:
        found = KEPT["readable"](data)
        self.seen += [certificate for certificate in found if certificate not in self.seen]
        return tuple(self.seen.index(certificate) for certificate in found)

    def _local(self, replica: Replica) -> object:
        leaf = replica.serving.pair
        issuer = leaf and next((n for n, c in enumerate(self.seen) if authority.is_issuer(c, leaf.chain[0])), "?")
        look = replica.looking
        if look is None:
            return issuer
        known = inspect.getcoroutinelocals(look)
        where = look.cr_await.__name__, look.cr_await.cr_await.__name__  # type: ignore[union-attr]
        published = where[0] != "published" and known["published"]
        stored = where[0] in {"write", "publish"} and known["stored"]
        meant = where[0] == "write" and known["todo"].data
        return (
            issuer,
            where,
            published and int(published.version) - self.api.bundle_version,
            stored and int(stored.version) - self.api.version,
            meant and (self._names(meant["ca.crt"]), "tls.key" in meant, "next.key" in meant, meant.get(CONFIRMED)),
        )

    def lossless(self, *, renewed: bool) -> bool:
        """Of those that have a leaf; `renewed`: also of one that has lost its first."""
        live = [r for n, r in enumerate(self.replicas) if r.serving.pair and (renewed or n != self.crashed)]
        return all(accepted(replica, held.bundle) for replica in live for held in self.api.history)

    def settle(self) -> None:
        for replica in self.replicas * 2:
            replica.settle()


Path = tuple[tuple[int, str], ...]


def all_interleavings(stage: Stage, at_most: int) -> int:
    """How many states there are. Each way that leads to a new one is walked from its beginning, short ones first."""
    met: set[object] = set()
    paths: deque[Path] = deque([()])
    while paths:
        path = paths.popleft()
        duel = Duel(stage)
        for who, event in path:
            duel.happen(who, event)
        assert not stage.lossless or duel.lossless(renewed=stage.renewed), path
        if (state := duel.state()) in met:
            continue
        met.add(state)
        assert len(met) < at_most
        looking = [who for who, replica in enumerate(duel.replicas) if replica.looking]
        events = ("step", "fail") if duel.crashed is not None else ("step", "fail", "crash")
        paths += [(*path, (who, event)) for who in looking for event in events]
        if not looking:
            duel.settle()
            assert not stage.lossless or duel.lossless(renewed=stage.renewed), path
            in_order(duel.api, duel.replicas)
    return len(met)


def in_order(api: ApiServer, replicas: list[Replica]) -> None:
    """Nothing is left to do, by any of the clocks, and all leaves are accepted."""
    for replica in replicas:
        bundles = api.bundles.values() if api.bundles is not None else None
        todo = step(api.data, bundles, replica.leaf, api.time + replica.skew, Authority.create)
        assert isinstance(todo, Use)
        assert {*(bundles or ())} <= {todo.bundle.ca_bundle()}
        assert accepted(replica, todo.bundle.ca_bundle())


LONG = {
    "soaked", "key lost after the soak", "the next one's key lost", "both keys lost", "reverted while it soaks",
    "deleted again", "replaced by an older one", "due", "deleted while the next one soaks",
}  # fmt: skip


@pytest.mark.parametrize(
    "stage",
    [pytest.param(at, id=name, marks=[pytest.mark.slow] * (name in LONG)) for name, at in STAGES.items()],
)
def test_every_interleaving_of_two_looks(stage: Stage) -> None:
    assert all_interleavings(stage, at_most=2000) > 5


# -- a life of years, in which time passes between any two steps -------------------------------------------------------

REGULAR = timedelta(hours=12)
"""Replicas end a look at least this often; what they begin may hang that long at any await."""


class Life:
    """Two replicas whose clocks differ, and true time. After each event, `windows` says who isn't accepted by whom."""

    def __init__(
        self,
        skews: tuple[timedelta, timedelta],
        age: timedelta,
        secret: Bundle = ONE,
        regular: timedelta = REGULAR,
    ) -> None:
        """OLD is `age` old, by true time, and both replicas have looked just now."""
        Duel.made = itertools.count()
        self.regular = regular
        self.api = ApiServer(by_hand=True)
        self.api.change(secret.data())
        self.api.time = START + age
        self.skews = skews
        self.replicas = [started(self.api, skew) for skew in skews]

    def happen(self, event: str, who: int) -> None:
        replica = self.replicas[who]
        if event == "finish":
            replica.settle()
        elif event == "restart":
            replica.crash()
            self.replicas[who] = Replica(self.api, self.skews[who])
        elif event in ENTRIES:
            self.api.reentry(ENTRIES[event])
        else:
            replica.step(ApiTrouble("no answer") if event == "fail" else None)

    def wait(self, time: timedelta) -> None:
        """Whoever would not have ended a look for too long does so first."""
        for replica in self.replicas:
            if replica.looked is None or self.api.time + time - replica.looked > self.regular:
                replica.settle()
        self.api.time += time

    def live(self) -> list[Replica]:
        return [replica for replica in self.replicas if replica.serving.pair]

    def refused(self, *, slow: timedelta = SLOW) -> list[tuple[Replica, bytes]]:
        return [(r, held) for r in self.live() for held in self.api.held(slow) if not accepted(r, held)]


SKEWS = st.timedeltas(-CLOCKS, CLOCKS)
WAITS = [timedelta(seconds=1), MINUTE, 10 * MINUTE, SOAK / 2, SOAK, 3 * SOAK, REGULAR]
STEPS = st.tuples(
    st.sampled_from(["step", "step", "step", "step", "fail", "finish", "restart"]), st.sampled_from([0, 1])
)
ENTRIES = {"comes": b"", "leaves": None}
"""Another entry: by an upgrade, and when that is taken back."""
UPGRADES = st.tuples(st.sampled_from([*ENTRIES]), st.just(0))
PASSING = st.tuples(st.just("wait"), st.sampled_from(WAITS))
SOON_DUE = (CA_LIFE + SKEW) * 2 / 3 - SKEW - SOAK
AGES = {
    "is due soon": (SOON_DUE, ONE),
    "ends soon": (CA_LIFE - 2 * SOAK, TAKEN_OVER),
    "is over soon": (CA_LIFE + SKEW - 2 * SOAK, TAKEN_OVER),
}


def live_on(life: Life, events: list[tuple[str, int | timedelta]], check: Callable[[Life], None]) -> None:
    for event, what in events:
        if isinstance(what, timedelta):
            life.wait(what)
        else:
            life.happen(event, what)
        check(life)


def never_refused(life: Life) -> None:
    assert not life.refused()


@pytest.mark.parametrize(("age", "secret"), AGES.values(), ids=AGES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(skews=st.tuples(SKEWS, SKEWS), events=st.lists(st.one_of(STEPS, STEPS, PASSING, UPGRADES), max_size=80))
def test_a_rotation_has_no_window(
    age: timedelta, secret: Bundle, skews: tuple[timedelta, timedelta], events: list[tuple[str, int | timedelta]]
) -> None:
    life = Life(skews, age, secret)
    live_on(life, events, never_refused)
    live_on(life, [("wait", REGULAR)] * 5, never_refused)
    for replica in life.replicas:
        replica.settle()

    in_order(life.api, life.replicas)
    assert life.api.data is not None
    assert life.api.data["tls.crt"] != OLD.pem()[0]
    trusted = readable(life.api.data["ca.crt"])
    assert (OLD.certificate in trusted) is (age == SOON_DUE)
    assert len(trusted) <= 2


@pytest.mark.parametrize("turns", range(1, 9))
@pytest.mark.parametrize("age", [timedelta(), SOON_DUE, SOON_DUE + SOAK, SOON_DUE + 2 * SOAK])
def test_one_that_hangs_while_another_takes_all_the_steps(age: timedelta, turns: int) -> None:
    """At each await of a look that it began before, while or after the next authority was made.

    One that is young is replaced because its key is lost, so that what the slow one knows of it needs no step.
    """
    life = Life((timedelta(), timedelta()), age)
    slow, quick = life.replicas
    for _ in range(turns):
        slow.step()
    if not age:
        life.api.change(ONE.data() | {"tls.key": b""})
    for _ in range(5):
        life.api.time += SOAK
        quick.settle()
        never_refused(life)
    while slow.step():
        never_refused(life)
    slow.settle()
    never_refused(life)
    in_order(life.api, life.replicas)


LOST: dict[str, tuple[str, ...]] = {
    "the pair": ("tls.crt", "tls.key"),
    "its key": ("tls.key",),
    "the next key": ("next.key",),
    "the note": (CONFIRMED,),
    "the bundle": ("ca.crt",),
}


@pytest.mark.parametrize("lost", LOST.values(), ids=LOST)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    skews=st.tuples(SKEWS, SKEWS),
    before=st.lists(st.one_of(STEPS, STEPS, PASSING), max_size=30),
    after=st.lists(st.one_of(STEPS.filter(lambda e: e[0] != "restart"), PASSING), max_size=40),
)
def test_what_is_lost_from_the_secret_costs_no_handshake(
    lost: tuple[str, ...],
    skews: tuple[timedelta, timedelta],
    before: list[tuple[str, int | timedelta]],
    after: list[tuple[str, int | timedelta]],
) -> None:
    """Of those that have a leaf. One that starts before the new authority has soaked has no other that it could ask."""
    life = Life(skews, SOON_DUE)
    live_on(life, before, never_refused)
    for replica in life.replicas:
        if not replica.serving.pair:
            replica.settle()
    assert life.api.data is not None
    life.api.change({key: b"" if key in lost else value for key, value in life.api.data.items()})
    live_on(life, after, never_refused)
    live_on(life, [("wait", REGULAR)] * 5, never_refused)
    in_order(life.api, life.replicas)


FOREIGN = Authority.create(START)
OTHERS: dict[str, Callable[[ApiServer], dict[str, bytes] | None]] = {
    "deleted": lambda _: None,
    "emptied": lambda _: {},
    "garbage": lambda api: dict.fromkeys(api.data or {}, b"x"),
    "replaced": lambda _: holding(FOREIGN, signing=FOREIGN, at=START).data(),
    "replaced by one that rotates": lambda _: holding(
        FOREIGN, NEXT, signing=NEXT, following=FOREIGN, at=START + MINUTE
    ).data(),
    "without its bundle and its key": lambda api: {"tls.crt": (api.data or {}).get("tls.crt", b"")},
}
LOOKS = timedelta(seconds=selfmanaged.LOOK_SECONDS + 15)
"""Between the ends of two looks of a replica. One may hang as long: what it does then was decided before that."""

NEAR_SKEWS = st.timedeltas(-NEAR, NEAR)
BRIEF = st.tuples(st.just("wait"), st.sampled_from([timedelta(seconds=1), timedelta(seconds=20), MINUTE, LOOKS]))


def one_giver(life: Life) -> bool:
    """Have all replicas their leaves from the same authority, when each has looked?"""
    for replica in life.replicas:
        replica.settle()
    leaves = [replica.leaf.chain[0] for replica in life.replicas]
    return len({leaf.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value for leaf in leaves}) == 1


@pytest.mark.parametrize("age", [timedelta(days=30), SOON_DUE], ids=["in order", "is due soon"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    skews=st.tuples(NEAR_SKEWS, NEAR_SKEWS),
    before=st.lists(st.one_of(STEPS, STEPS, PASSING), max_size=20),
    after=st.lists(
        st.one_of(
            STEPS.filter(lambda e: e[0] != "restart"), BRIEF, BRIEF, st.tuples(st.sampled_from([*OTHERS]), st.just(0))
        ),
        max_size=60,
    ),
    first=st.sampled_from([*OTHERS]),
)
def test_a_secret_that_is_deleted_or_replaced_costs_no_handshake(
    age: timedelta,
    skews: tuple[timedelta, timedelta],
    before: list[tuple[str, int | timedelta]],
    first: str,
    after: list[tuple[str, int | timedelta]],
) -> None:
    """Of those that have a leaf, all of one authority; as often as somebody does it."""
    life = Life(skews, age)
    live_on(life, before, lambda _: None)
    life.regular = LOOKS

    def check(life: Life) -> None:
        assert not life.refused(slow=LESS_SLOW)
        assert len(readable(life.api.bundle or b"")) <= 4

    for event, what in [(first, 0), *after]:
        if event in OTHERS:
            if one_giver(life):
                life.api.change(OTHERS[event](life.api))
        else:
            live_on(life, [(event, what)], check)
    live_on(life, [("wait", LOOKS)] * 24, check)
    assert one_giver(life)
    assert OLD.certificate not in readable(life.api.bundle or b"")
    assert life.api.data
    assert life.api.bundle == life.api.data["ca.crt"]
    in_order(life.api, life.replicas)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    skews=st.tuples(NEAR_SKEWS, NEAR_SKEWS),
    event=st.sampled_from([*OTHERS]),
    after=st.lists(st.one_of(STEPS, BRIEF), max_size=60),
)
def test_replicas_that_start_when_it_is_deleted_or_replaced_cost_none(
    skews: tuple[timedelta, timedelta], event: str, after: list[tuple[str, int | timedelta]]
) -> None:
    """To clients that have heard: one without a leaf has no other that it could be given than one of the new CA."""
    life = Life(skews, timedelta(days=30), regular=LOOKS)
    life.api.change(OTHERS[event](life.api))

    def check(life: Life) -> None:
        assert not life.refused(slow=timedelta())

    live_on(life, after, check)
    live_on(life, [("wait", LOOKS)] * 24, check)
    assert OLD.certificate not in readable(life.api.bundle or b"")
    in_order(life.api, life.replicas)


JUMPS = [timedelta(days=1), timedelta(days=6), timedelta(days=9), timedelta(days=200), CA_LIFE * 2]
LEAPS = st.tuples(st.just("jump"), st.sampled_from(JUMPS))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    skews=st.tuples(SKEWS, SKEWS),
    age=st.sampled_from([timedelta(), SOON_DUE, CA_LIFE - SOAK]),
    events=st.lists(st.one_of(STEPS, STEPS, PASSING, LEAPS), max_size=60),
)
def test_a_jump_of_weeks_is_healed_by_one_look(
    skews: tuple[timedelta, timedelta], age: timedelta, events: list[tuple[str, int | timedelta]]
) -> None:
    """The window: from when its leaf has ended, a replica is refused until it has looked. No other replica matters.

    Where nothing in the Secret has outlived the jump, slow clients also need to hear of the new CA: until then.
    """
    life = Life(skews, age)
    renewed: datetime = START  # since when clients may be as slow as ever

    def check(life: Life) -> None:
        late = life.api.time - renewed
        for replica, _ in life.refused(slow=min(SLOW, late)):
            ended = replica.leaf.ends
            assert ended < life.api.time
            assert replica.looked is None or replica.looked + replica.skew < ended + CLOCKS

    for event, what in events:
        if event == "jump":
            assert isinstance(what, timedelta)
            life.api.time += what
            if not any(now_valid(c, life.api.time) for held in life.api.held(SLOW) for c in readable(held)):
                renewed = life.api.time
            check(life)
        else:
            live_on(life, [(event, what)], check)
    for replica in life.replicas:
        replica.settle()
    assert not life.refused(slow=timedelta())
    in_order(life.api, life.replicas)


def now_valid(certificate: x509.Certificate, now: datetime) -> bool:
    return now < certificate.not_valid_after_utc
