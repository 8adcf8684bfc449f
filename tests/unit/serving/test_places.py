"""Who gives up a place, against a plain list of what happened."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook.serving import places as module
from webhook.serving.places import RESTS, Places

MOST, SILENT = 8, 3


class Guest:
    def __init__(self, number: int) -> None:
        self.number, self.was_cut = number, False

    def cut(self) -> None:
        assert not self.was_cut
        self.was_cut = True


class World:
    def __init__(self) -> None:
        self.now = 0.0
        self.places = Places(MOST, lambda: self.now)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SILENT", SILENT)


def come(places: Places, count: int) -> list[Guest]:
    """And speak."""
    guests = [Guest(number) for number in range(count)]
    for guest in guests:
        speak(places, guest)
    return guests


def speak(places: Places, guest: Guest) -> None:
    places.came(guest)
    places.spoke(guest)


def cut(guests: list[Guest]) -> list[int]:
    return [guest.number for guest in guests if guest.was_cut]


def test_who_says_nothing_drives_out_only_others_that_say_nothing() -> None:
    places = World().places
    inside = come(places, MOST)
    silent = [Guest(number) for number in range(SILENT + 2)]
    for guest in silent:
        places.came(guest)
    assert cut(inside) == []
    assert cut(silent) == [0, 1]


def test_silence_ends() -> None:
    world = World()
    places = world.places
    silent = [Guest(number) for number in range(3)]
    for guest in silent:
        places.came(guest)
        world.now += 1.0
    places.spoke(silent[0])
    places.end_silence(2.0)
    assert cut(silent) == [1]


def test_without_a_file_for_a_newcomer_the_silent_go_and_then_the_strangers_but_nobody_that_is_known() -> None:
    world = World()
    places = world.places
    guests = come(places, 2)
    assert places.sent_review(guests[0])
    silent = Guest(2)
    places.came(silent)
    world.now += 1.0
    just_come = Guest(3)
    places.came(just_come)
    for _ in range(3):
        places.make_room(0.5)
    assert cut([*guests, silent, just_come]) == [1, 2]


def test_the_stranger_that_came_first_goes() -> None:
    places = World().places
    guests = come(places, MOST)
    assert places.sent_review(guests[0])
    speak(places, Guest(8))
    assert cut(guests) == [1]


def test_strangers_have_a_quarter_and_who_has_just_sent_a_review_is_not_cut_for_another() -> None:
    world = World()
    places = world.places
    guests = come(places, MOST)
    assert [places.sent_review(guest) for guest in guests] == [*[True] * 6, False, False]
    for number in range(8, 20):
        speak(places, Guest(number))
    assert cut(guests) == [6, 7]


def test_one_that_rests_gives_way() -> None:
    world = World()
    places = world.places
    guests = come(places, MOST)
    for guest in guests[:6]:
        places.sent_review(guest)
    world.now = RESTS
    assert places.sent_review(guests[0])
    assert places.sent_review(guests[6])
    assert cut(guests) == [1]


def test_one_that_was_cut_gets_no_place_by_what_it_sent_before() -> None:
    places = World().places
    guests = come(places, MOST + 1)
    assert not places.sent_review(guests[0])
    places.left(guests[0])
    assert len(places) == MOST


STEPS = st.sampled_from(["come", "speak", "review", "leave", "time", "end"])


@given(st.lists(st.tuples(STEPS, st.integers(0, 40)), max_size=200))
def test_never_more_than_the_most_and_a_newcomer_stays_for_a_while(steps: list[tuple[str, int]]) -> None:
    world, guests = World(), [Guest(number) for number in range(41)]
    places = world.places
    silent: list[Guest] = []
    inside: list[Guest] = []
    known: dict[Guest, float] = {}
    for step, number in steps:
        guest = guests[number]
        if step == "time":
            world.now += number / 10
        elif step == "come" and guest not in (*silent, *inside) and not guest.was_cut:
            places.came(guest)
            silent.append(guest)
        elif step == "speak" and guest in silent:
            places.spoke(guest)
            silent.remove(guest)
            inside.append(guest)
        elif step == "review" and guest in inside:
            if places.sent_review(guest):
                known[guest] = world.now
        elif step == "leave" and guest in (*silent, *inside):
            places.left(guest)
            known.pop(guest, None)
            for those in (silent, inside):
                those[:] = [other for other in those if other is not guest]
        elif step == "end":
            places.end_silence(number / 10)
            assert number or all(other.was_cut for other in silent)
        gone = [other for other in inside if other.was_cut]
        newest = [other for other in inside if other not in known][-MOST // 4 :]
        assert not set(gone) & set(newest)
        assert all(world.now - known[other] >= RESTS for other in gone if other in known)
        assert step == "end" or not any(other.was_cut for other in silent[-SILENT:])
        inside = [other for other in inside if not other.was_cut]
        silent = [other for other in silent if not other.was_cut]
        known = {other: last for other, last in known.items() if not other.was_cut}
        assert len(places) == len(inside) <= MOST
        assert len(silent) <= SILENT
