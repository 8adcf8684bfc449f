"""Which replica looks at which namespaces: rendezvous hashing of owners over numbered slots.

A replica takes a free slot and renews it; a slot is a Lease (webhook/kube/slots.py). An owner belongs to the slot with
the highest score for it, of all that live. So a slot that comes or goes moves its own owners only, and a share belongs
to the slot: a new pod takes the slot of the old one, and the share with it.

What is someone else's is not looked at. That is safe for this reason:

- A replica leaves an owner to others only while it believes that a slot of theirs lives, with a higher score than each
  of its own. It believes so for LASTS_SECONDS after it saw that the slot was renewed, by its own clock. Then it asks
  once more. If nothing new is known by the end of that call, it no longer believes it.
- One exception: while the API server answers none of its reads, it goes on believing what it believed, for AWAY_SECONDS
  at most from the last read that was answered. It could write nothing then. With the first read that is answered, what
  was not renewed for LASTS_SECONDS ends at once. Replicas whose reads are answered take over as always.
- Only a process that counts itself as the holder of a slot renews it, and it counts itself as the holder until it has
  read that it no longer is. A slot of its own never ends by its own clock.
- A slot that was given back counts for HANDED_SECONDS more.
- Take the slots that are truly held by running replicas, and of these the one with the highest score for an owner. Its
  holder leaves the owner to another one only for a slot that nobody holds: for a few seconds at most, or while the API
  server gives it no answer, as said above.
- Another exception: a replica that takes a slot learns of it when the call ends. Until then it may leave the owner to
  the replica that had the slot, which may have read already that it lost it. When the call ends, it looks at all that
  has become its own.
- So views of the slots may differ: of late news, of another number of slots, of a replica that takes no slot because it
  knows of few namespaces. While they differ, an owner has two replicas rather than none. Two do no harm, as they do
  none where nothing is shared out.

When a slot comes or goes, a replica looks at all namespaces that have become its own: what was reported before, it
knows as well.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Literal

LASTS_SECONDS = 8
"""Seconds, since a replica saw that a slot was renewed, for which it believes that somebody holds it."""

HANDED_SECONDS = 3
"""Seconds for which a slot counts that was given back. A replica that waits for one takes it meanwhile, and nobody else
begins with its share; the one that gave it back goes on for longer than this before it ends.
"""

AWAY_SECONDS = 60
"""Seconds, since a read of Leases was answered, for which the shares stay as they are while none is. If everybody then
asked the sources about everything, it would help nobody.
"""

MAX_SLOTS = 8
"""However many replicas there are: each reads all slots every two seconds, so reads grow with the square. Replicas
without a slot answer reviews, and wait for one.
"""


def slots_of(replicas: int) -> int:
    """How many there are. One replica shares nothing out."""
    return min(replicas, MAX_SLOTS) if replicas > 1 else 0


def score(slot: int, key: str) -> bytes:
    """The same in all processes, as `hash` is not."""
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=8, salt=slot.to_bytes(8, "big")).digest()


def responsible(slots: Iterable[int], key: str) -> int:
    """Raises ValueError if there are no slots."""
    return max(slots, key=lambda slot: (score(slot, key), slot))


@dataclass(frozen=True, slots=True)
class Slot:
    """`holder`: empty if it is free. `renewed`: as the holder wrote it. `since`: loop time at which both were new.
    `handed`: its holder has given it back.
    """

    holder: str = ""
    renewed: str = ""
    since: float = 0.0
    handed: bool = False

    def seen(self, holder: str, renewed: str, since: float) -> "Slot":
        """Later. Only what differs is a renewal."""
        if (holder, renewed) == (self.holder, self.renewed):
            return self
        return Slot(holder, renewed, since, handed=bool(self.holder) and not holder)

    def ends(self) -> float:
        """Loop time at which it no longer counts, unless it is renewed."""
        lasts = LASTS_SECONDS if self.holder else HANDED_SECONDS if self.handed else 0
        return self.since + lasts

    def free(self, now: float) -> bool:
        """May another one take it?"""
        return not self.holder or now >= self.ends()


@dataclass(frozen=True, slots=True)
class Shares:
    """`own`: slots of this replica, one at most but for a moment; `others`: those of others that live."""

    own: frozenset[int] = frozenset()
    others: frozenset[int] = frozenset()

    def has(self, key: str) -> bool:
        """Does this replica look at what belongs to the key? If no other one does, all is its own."""
        return not self.others or (bool(self.own) and responsible(self.own | self.others, key) in self.own)

    @property
    def part(self) -> float:
        """Of all keys, about."""
        return len(self.own) / len(self.own | self.others) if self.others else 1.0


ALL = Shares()
"""Nothing is shared out."""


def shares(slots: Mapping[int, Slot], me: str, now: float) -> Shares:
    """As far as this replica knows. `now`: loop time."""
    own = frozenset(number for number, slot in slots.items() if slot.holder == me)
    others = frozenset(number for number, slot in slots.items() if number not in own and now < slot.ends())
    return Shares(own, others)


@dataclass(frozen=True, slots=True)
class Step:
    """`take`: also to renew it. `slots`: any one of these."""

    do: Literal["take", "give back"]
    slots: tuple[int, ...]


def step(slots: Mapping[int, Slot], me: str, now: float, *, able: bool) -> Step | None:
    """What is next. `slots`: all that could be read. `able`: can this replica do its share?

    One that cannot leaves its share to others, but keeps its slot if nobody holds another one: when both can work
    again, they need not begin with everything.
    """
    known = shares(slots, me, now)
    if known.own:
        first, *more = sorted(known.own)
        if more:
            return Step("give back", tuple(more))
        held = any(slots[number].holder for number in known.others)
        return Step("take" if able or not held else "give back", (first,))
    free = tuple(number for number, slot in sorted(slots.items()) if slot.free(now))
    return Step("take", free) if able and free else None
