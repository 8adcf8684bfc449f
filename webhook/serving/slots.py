"""The slots for connections to one port, and whose connection is closed when none is free.

Anybody who reaches the port may connect, so a newcomer is always let in: it may be the API server. One that has not
sent anything yet is silent: it costs next to nothing, so there is room for many, and when that is full the one that
came first goes. Whoever floods the port with connections and sends nothing drives out nobody else.

Those that have sent a review are the known ones, as a rule the API server's; all others are strangers. The stranger
that spoke first goes first: what it has sent meanwhile does not help it, or a byte now and then would keep others out.
A quarter of the slots is always the strangers', because a newcomer needs time for its handshake and its first review.

To send a review is no proof of anything, and a review may be on its way over a connection that is cut. So if all slots
of known connections are in use, a stranger that sends its first review is answered, and its connection is closed: that
costs the API server no more than a new connection. A known one that rests is cut instead.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

MAX_SILENT = 1024
"""Connections that have not sent anything. A flood of 10,000 a second leaves each of them a tenth of a second."""
IDLE_SECONDS = 3.0
"""Seconds after the last review: it waits no longer for its answer (`timeoutSeconds`). The API server takes the
connection that it used last."""


class Peer(Protocol):
    def cut(self) -> None:
        """Hang up, for the sake of another connection."""


class ConnectionSlots:
    """`clock`: seconds."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most, self._most_known, self._clock = most, most - most // 4, clock
        self._silent: OrderedDict[Peer, float] = OrderedDict()
        """With the time at which they came, the oldest first."""
        self._strangers: OrderedDict[Peer, None] = OrderedDict()
        self._known: OrderedDict[Peer, float] = OrderedDict()
        """With the time of the last review, the oldest first."""

    def __len__(self) -> int:
        """Those that have a slot: the silent ones need none."""
        return len(self._strangers) + len(self._known)

    def opened(self, peer: Peer) -> None:
        if len(self._silent) >= MAX_SILENT:
            self._silent.popitem(last=False)[0].cut()
        self._silent[peer] = self._clock()

    def started(self, peer: Peer) -> None:
        del self._silent[peer]
        if len(self) >= self._most:
            self._strangers.popitem(last=False)[0].cut()
        self._strangers[peer] = None

    def evict_one(self, seconds: float) -> None:
        """When the process may open no further file: who has been silent for so long goes, else the first stranger."""
        silent = len(self._silent)
        self.evict_silent(seconds)
        if len(self._silent) == silent and self._strangers:
            self._strangers.popitem(last=False)[0].cut()

    def evict_silent(self, seconds: float) -> None:
        """Of those that have been silent for so long."""
        while self._silent and next(iter(self._silent.values())) <= self._clock() - seconds:
            self._silent.popitem(last=False)[0].cut()

    def sent_review(self, peer: Peer) -> bool:
        """Whether it may stay when it is answered."""
        if peer not in self._known:
            if peer not in self._strangers or not self._room_for_known():
                return False
            del self._strangers[peer]
        self._known[peer] = self._clock()
        self._known.move_to_end(peer)
        return True

    def closed(self, peer: Peer) -> None:
        for those in (self._silent, self._strangers, self._known):
            those.pop(peer, None)

    def _room_for_known(self) -> bool:
        """For one more that is known."""
        if len(self._known) < self._most_known:
            return True
        longest, last = next(iter(self._known.items()))
        if self._clock() - last < IDLE_SECONDS:
            return False
        del self._known[longest]
        longest.cut()
        return True
