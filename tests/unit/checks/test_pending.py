"""What is pending, against a list that is looked through each time."""

from dataclasses import dataclass
from itertools import zip_longest

from hypothesis import given
from hypothesis import strategies as st

from support.steps import at_once
from webhook.checks.pending import STEP, Pending
from webhook.core.credential import Credential

HOSTS, OWNERS = ("ghcr.io", "quay.io", "registry.example:5000"), ("alice", "bob", "carol")


@dataclass
class Simple:
    """One that is pending, as simply as can be. `due`: 0: now."""

    digest: bytes
    host: str
    owner: str
    due: float


class Model:
    """The newest last."""

    def __init__(self) -> None:
        self.all: list[Simple] = []
        self.paused: dict[str, float] = {}

    def find(self, digest: bytes) -> Simple | None:
        return next((one for one in self.all if one.digest == digest), None)

    def wake(self, now: float) -> None:
        self.paused = {host: until for host, until in self.paused.items() if until > now}
        for one in self.all:
            one.due = one.due if one.due > now else 0

    def ready(self, host: str) -> list[Simple]:
        return [one for one in reversed(self.all) if one.host == host and one.due == 0]

    def turns(self, host: str) -> list[bytes]:
        of_owner: dict[str, list[bytes]] = {}
        for one in self.ready(host):
            of_owner.setdefault(one.owner, []).append(one.digest)
        return [digest for turn in zip_longest(*of_owner.values()) for digest in turn if digest is not None]

    def registries(self) -> list[tuple[str, str]]:
        newest = [one for one in reversed(self.all) if one.due == 0 and one.host not in self.paused]
        return [*dict.fromkeys((one.host, self.ready(one.host)[0].owner) for one in newest)]


def credential(host: str, name: str = "user") -> Credential:
    return Credential(host, name, "a-password")


NUMBERS = st.integers(0, 7)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), NUMBERS, st.sampled_from([None, 3.0, 9.5])),
        st.tuples(st.just("put off"), NUMBERS, st.sampled_from([2.0, 7.0, 30.0])),
        st.tuples(st.just("remove"), NUMBERS, st.none()),
        st.tuples(st.just("pause"), st.integers(0, 2), st.sampled_from([2.0, 8.0])),
        st.tuples(st.just("wake"), NUMBERS, st.sampled_from([1.0, 5.0, 20.0])),
    ),
    max_size=40,
)


@given(STEPS)
def test_it_is_what_a_list_would_be(steps: list[tuple[str, int, float | None]]) -> None:
    pending, model, now = Pending(), Model(), 0
    for what, number, seconds in steps:
        digest, host, owner = bytes([number]), HOSTS[number % 3], OWNERS[number % 2 + number // 6]
        due = None if seconds is None else float(-(-(now + seconds) // 1))
        if what == "add" and digest not in pending:
            pending.add(digest, credential(host), owner, due)
            model.all.append(Simple(digest, host, owner, due or 0))
        elif what == "put off" and (one := model.find(digest)) is not None and due is not None:
            pending.put_off(digest, due)
            one.due = due
        elif what == "remove":
            pending.remove(digest)
            model.all = [one for one in model.all if one.digest != digest]
        elif what == "pause" and due is not None:
            pending.pause(host, due)
            model.paused[host] = due
        elif what == "wake" and seconds is not None:
            now += int(seconds)
            at_once(pending.wake(now))
            model.wake(now)
        assert [(one, next(owners)) for one, owners in pending.registries()] == model.registries()
        assert pending.ready == bool(model.registries())
        for one_host in HOSTS:
            assert pending.turns(one_host, 10) == model.turns(one_host)
            assert pending.turns(one_host, 2) == model.turns(one_host)[:2]
            assert [one.digest for one in pending.at(one_host)] == [one.digest for one in model.ready(one_host)]
        assert pending.digests() == [one.digest for one in reversed(model.all)]
        whens = [one.due for one in model.all if one.due] + [*model.paused.values()]
        assert pending.due is not None or not whens
        assert pending.due is None or pending.due <= min(whens, default=pending.due)
    other = pending.emptied()
    for number, host in enumerate(HOSTS):
        other.add(bytes([number]), credential(host), "alice")
    assert {host for host, _ in other.registries()} == {*HOSTS} - model.paused.keys()
    for number in range(8):
        pending.remove(bytes([number]))
    at_once(pending.wake(10_000))
    assert (pending.due, pending._all, pending._registries, pending._order) == (None, {}, {}, [])
    assert (pending._later, pending._paused) == ({}, {})


def test_what_goes_while_much_becomes_ready_is_not_there() -> None:
    """And what is wanted again then is due when that says."""
    pending = Pending()
    digests = [number.to_bytes(2) for number in range(4 * STEP)]
    for digest in digests:
        pending.add(digest, credential("ghcr.io"), "alice", 5.0)
    work = pending.wake(6.0)
    next(work)
    ready = {one.digest for one in pending.at("ghcr.io")}
    assert len(ready) == STEP
    rest = [digest for digest in digests if digest not in ready]
    gone, later, new = rest[0], rest[1], rest[2]
    for digest in (gone, later, new, next(iter(ready))):
        pending.remove(digest)
    pending.add(later, credential("ghcr.io"), "alice", 9.0)
    pending.add(new, credential("ghcr.io"), "alice")
    at_once(work)
    found = [one.digest for one in pending.at("ghcr.io")]
    assert found[0] == new
    assert {*digests} - {*found} == {gone, later, next(iter(ready))}
    assert len(found) == len({*found})
    at_once(pending.wake(9.0))
    assert len(pending.at("ghcr.io")) == len(digests) - 2
