"""The places for connections to one port, and who gives one up when none is free.

Anybody who reaches the port may connect, so a newcomer is always let in: it may be the API server. Those that have
sent a review are the known ones, as a rule the API server's; all others are strangers. The stranger that came first
goes first: what it has sent meanwhile does not help it, or a byte now and then would keep others out. Known ones go
only when they leave strangers fewer than a quarter of the places, the one whose last review is the longest ago first:
to send a review is no proof of anything, and a newcomer needs time for its handshake and its first review.
"""

from collections import OrderedDict
from typing import Protocol


class Guest(Protocol):
    def cut(self) -> None:
        """Hang up, for the sake of another connection."""


class Places:
    def __init__(self, most: int) -> None:
        self._most, self._spare = most, most // 4
        self._strangers: OrderedDict[Guest, None] = OrderedDict()
        self._known: OrderedDict[Guest, None] = OrderedDict()

    def __len__(self) -> int:
        return len(self._strangers) + len(self._known)

    def take(self, guest: Guest) -> None:
        if len(self) >= self._most:
            leaving = self._known if len(self._strangers) < self._spare else self._strangers
            leaving.popitem(last=False)[0].cut()
        self._strangers[guest] = None

    def sent_review(self, guest: Guest) -> None:
        if guest in self._known:
            self._known.move_to_end(guest)
        elif self._strangers.pop(guest, self) is None:  # not if it has been cut
            self._known[guest] = None

    def leave(self, guest: Guest) -> None:
        self._strangers.pop(guest, None)
        self._known.pop(guest, None)
