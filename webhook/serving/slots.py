"""The slots for connections to one port, and which connection is closed when no slot is free.

Every client that reaches the port may connect, so a new connection is always accepted: it may be the API server's. A
connection is silent until it sends its first bytes. It costs almost nothing, so there is room for many. When that room
is full, the oldest silent one is closed. So a flood of connections that send nothing closes only silent ones.

A connection is known after its first review, and is then usually the API server's. All others with a slot are
strangers. The stranger that got its slot first is closed first, whatever it has sent since: otherwise a byte now and
then would keep others out. A quarter of the slots is always for strangers, because a new connection needs time for its
handshake and its first review.

Every client can send a review, and a review may be under way on a connection that is closed. So if all slots for known
connections are in use and one of these has been idle, the idle one is closed. If none is idle, the stranger that sends
its first review gets its answer, and its connection is closed: that costs the API server only a new connection.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

MAX_SILENT = 1024
"""Silent connections. In a flood of 10,000 a second each of them stays for a tenth of a second."""
IDLE_SECONDS = 3.0
"""Seconds since the last review, whose answer the API server then no longer waits for (`timeoutSeconds`). It sends the
next review on the connection that it used last."""


class Peer(Protocol):
    def cut(self) -> None:
        """Close the connection, because another one needs its place."""


class ConnectionSlots:
    """`most`: slots. `clock`: seconds."""

    def __init__(self, most: int, clock: Callable[[], float]) -> None:
        self._most, self._most_known, self._clock = most, most - most // 4, clock
        self._silent: OrderedDict[Peer, float] = OrderedDict()
        """With the time at which each was opened, the oldest first."""
        self._strangers: OrderedDict[Peer, None] = OrderedDict()
        self._known: OrderedDict[Peer, float] = OrderedDict()
        """With the time of the last review, the oldest first."""

    def __len__(self) -> int:
        """Slots in use. Silent connections need none."""
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
        """When the process may open no more files. Closes those that were silent for so long, or one stranger."""
        silent = len(self._silent)
        self.evict_silent(seconds)
        if len(self._silent) == silent and self._strangers:
            self._strangers.popitem(last=False)[0].cut()

    def evict_silent(self, seconds: float) -> None:
        """Closes those that were silent for so long."""
        while self._silent and next(iter(self._silent.values())) <= self._clock() - seconds:
            self._silent.popitem(last=False)[0].cut()

    def sent_review(self, peer: Peer) -> bool:
        """May the connection stay open after the answer?"""
        if peer not in self._known:
            if peer not in self._strangers or not self._room_for_known():
                return False
            del self._strangers[peer]
        self._known[peer] = self._clock()
        self._known.move_to_end(peer)
        return True

    def closed(self, peer: Peer) -> None:
        for connections in (self._silent, self._strangers, self._known):
            connections.pop(peer, None)

    def _room_for_known(self) -> bool:
        """Is there a slot for one more known connection, if necessary that of an idle one?"""
        if len(self._known) < self._most_known:
            return True
        idlest, last = next(iter(self._known.items()))
        if self._clock() - last < IDLE_SECONDS:
            return False
        del self._known[idlest]
        idlest.cut()
        return True
