"""Who gives up a place, against a plain list of what happened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.serving import slots as module
from webhook.serving.slots import IDLE_SECONDS, ConnectionSlots

MOST, SILENT = 8, 3


class Peer:
    def __init__(self, number: int) -> None:
        self.number, self.was_cut = number, False

    def cut(self) -> None:
        assert not self.was_cut
        self.was_cut = True


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.slots = ConnectionSlots(MOST, lambda: self.now)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SILENT", SILENT)


def come(slots: ConnectionSlots, count: int) -> list[Peer]:
    """And speak."""
    peers = [Peer(number) for number in range(count)]
    for peer in peers:
        speak(slots, peer)
    return peers


def speak(slots: ConnectionSlots, peer: Peer) -> None:
    slots.opened(peer)
    slots.started(peer)


def cut(peers: list[Peer]) -> list[int]:
    return [peer.number for peer in peers if peer.was_cut]


def test_who_says_nothing_drives_out_only_others_that_say_nothing() -> None:
    slots = World().slots
    inside = come(slots, MOST)
    silent = [Peer(number) for number in range(SILENT + 2)]
    for peer in silent:
        slots.opened(peer)
    assert cut(inside) == []
    assert cut(silent) == [0, 1]


def test_silence_ends() -> None:
    world = World()
    slots = world.slots
    silent = [Peer(number) for number in range(3)]
    for peer in silent:
        slots.opened(peer)
        world.now += 1.0
    slots.started(silent[0])
    slots.evict_silent(2.0)
    assert cut(silent) == [1]


def test_without_a_file_for_a_newcomer_the_silent_go_and_then_the_strangers_but_nobody_that_is_known() -> None:
    world = World()
    slots = world.slots
    peers = come(slots, 2)
    assert slots.sent_review(peers[0])
    silent = Peer(2)
    slots.opened(silent)
    world.now += 1.0
    just_come = Peer(3)
    slots.opened(just_come)
    for _ in range(3):
        slots.evict_one(0.5)
    assert cut([*peers, silent, just_come]) == [1, 2]


def test_the_stranger_that_came_first_goes() -> None:
    slots = World().slots
    peers = come(slots, MOST)
    assert slots.sent_review(peers[0])
    speak(slots, Peer(8))
    assert cut(peers) == [1]


def test_strangers_have_a_quarter_and_who_has_just_sent_a_review_is_not_cut_for_another() -> None:
    world = World()
    slots = world.slots
    peers = come(slots, MOST)
    assert [slots.sent_review(peer) for peer in peers] == [*[True] * 6, False, False]
    for number in range(8, 20):
        speak(slots, Peer(number))
    assert cut(peers) == [6, 7]


def test_one_that_rests_gives_way() -> None:
    world = World()
    slots = world.slots
    peers = come(slots, MOST)
    for peer in peers[:6]:
        slots.sent_review(peer)
    world.now = IDLE_SECONDS
    assert slots.sent_review(peers[0])
    assert slots.sent_review(peers[6])
    assert cut(peers) == [1]


def test_one_that_was_cut_gets_no_place_by_what_it_sent_before() -> None:
    slots = World().slots
    peers = come(slots, MOST + 1)
    assert not slots.sent_review(peers[0])
    slots.closed(peers[0])
    assert len(slots) == MOST


STEPS = st.sampled_from(["come", "speak", "review", "leave", "time", "end"])


@given(st.lists(st.tuples(STEPS, st.integers(0, 40)), max_size=200))
def test_never_more_than_the_most_and_a_newcomer_stays_for_a_while(steps: list[tuple[str, int]]) -> None:
    world, peers = World(), [Peer(number) for number in range(41)]
    slots = world.slots
    silent: list[Peer] = []
    inside: list[Peer] = []
    known: dict[Peer, float] = {}
    for step, number in steps:
        peer = peers[number]
        if step == "time":
            world.now += number / 10
        elif step == "come" and peer not in (*silent, *inside) and not peer.was_cut:
            slots.opened(peer)
            silent.append(peer)
        elif step == "speak" and peer in silent:
            slots.started(peer)
            silent.remove(peer)
            inside.append(peer)
        elif step == "review" and peer in inside:
            if slots.sent_review(peer):
                known[peer] = world.now
        elif step == "leave" and peer in (*silent, *inside):
            slots.closed(peer)
            known.pop(peer, None)
            for those in (silent, inside):
                those[:] = [other for other in those if other is not peer]
        elif step == "end":
            slots.evict_silent(number / 10)
            assert number or all(other.was_cut for other in silent)
        gone = [other for other in inside if other.was_cut]
        newest = [other for other in inside if other not in known][-MOST // 4 :]
        assert not set(gone) & set(newest)
        assert all(world.now - known[other] >= IDLE_SECONDS for other in gone if other in known)
        assert step == "end" or not any(other.was_cut for other in silent[-SILENT:])
        inside = [other for other in inside if not other.was_cut]
        silent = [other for other in silent if not other.was_cut]
        known = {other: last for other, last in known.items() if not other.was_cut}
        assert len(slots) == len(inside) <= MOST
        assert len(silent) <= SILENT
