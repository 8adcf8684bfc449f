"""Who gives up a place, against a plain list of what happened."""

from hypothesis import given
from hypothesis import strategies as st

from webhook.places import Places

MOST = 8


class Guest:
    def __init__(self, number: int) -> None:
        self.number, self.was_cut = number, False

    def cut(self) -> None:
        assert not self.was_cut
        self.was_cut = True


def come(places: Places, count: int) -> list[Guest]:
    guests = [Guest(number) for number in range(count)]
    for guest in guests:
        places.take(guest)
    return guests


def cut(guests: list[Guest]) -> list[int]:
    return [guest.number for guest in guests if guest.was_cut]


def test_the_stranger_that_came_first_goes() -> None:
    places = Places(MOST)
    guests = come(places, MOST)
    places.sent_review(guests[0])
    places.take(Guest(8))
    assert cut(guests) == [1]


def test_known_ones_leave_strangers_a_quarter() -> None:
    places = Places(MOST)
    guests = come(places, MOST)
    for guest in guests:
        places.sent_review(guest)
    places.sent_review(guests[0])
    strangers = [Guest(8), Guest(9), Guest(10)]
    for stranger in strangers:
        places.take(stranger)
    assert cut(guests) == [1, 2]  # the last review of the others is newer
    assert cut(strangers) == [8]


def test_one_that_was_cut_gets_no_place_by_what_it_sent_before() -> None:
    places = Places(MOST)
    guests = come(places, MOST + 1)
    places.sent_review(guests[0])
    places.leave(guests[0])
    assert len(places) == MOST


@given(st.lists(st.tuples(st.sampled_from(["take", "review", "leave"]), st.integers(0, 40)), max_size=200))
def test_never_more_than_the_most_and_a_newcomer_stays_for_a_while(steps: list[tuple[str, int]]) -> None:
    places, guests = Places(MOST), [Guest(number) for number in range(41)]
    inside: list[Guest] = []
    reviewed: set[Guest] = set()
    for step, number in steps:
        guest = guests[number]
        if step == "take" and guest not in inside and not guest.was_cut:
            places.take(guest)
            inside.append(guest)
        elif step == "review" and guest in inside:
            places.sent_review(guest)
            reviewed.add(guest)
        elif step == "leave" and guest in inside:
            places.leave(guest)
            inside.remove(guest)
        gone = [other for other in inside if other.was_cut]
        newest = [other for other in inside if other not in reviewed][-MOST // 4 :]
        assert not set(gone) & set(newest)
        inside = [other for other in inside if not other.was_cut]
        assert len(places) == len(inside) <= MOST
