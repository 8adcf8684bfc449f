"""The credentials that registries are to be asked about, by registry, and when."""

import math
import sys
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from operator import attrgetter

from webhook.core.credential import MAX_CREDENTIALS, Credential
from webhook.core.registry import asked_at

STEP = 50
"""Credentials in a step: half a millisecond."""
_number = attrgetter("number")


@dataclass(slots=True)
class Question:
    """Does this credential work? `owner`: one who has it. `number`: the newest has the highest. `due`: loop time, in
    whole seconds; 0: now.
    """

    digest: bytes
    credential: Credential
    owner: str
    registry: str
    number: int
    due: int = 0

    @property
    def ready(self) -> bool:
        return not self.due


@dataclass(slots=True)
class _Registry:
    """`ready`: what it is to be asked about now, the newest last. `number`: of the newest; 0: it is not to be asked."""

    ready: list[Question] = field(default_factory=list)
    number: int = 0


class Pending:
    """Times are those of the loop."""

    def __init__(self) -> None:
        self._all: dict[bytes, Question] = {}
        self._numbers = count(1)
        self._registries: dict[str, _Registry] = {}
        """Those that are to be asked now, or after a pause."""
        self._order: list[tuple[int, str]] = []
        """The registries that are to be asked now: the one with the newest credential last."""
        self._paused: dict[str, int] = {}
        """By registry: the second until which it is not asked."""
        self._later: dict[int, set[bytes | str]] = {}
        """By second: digests that are ready then, and registries whose pause is over."""

    def __contains__(self, digest: bytes) -> bool:
        return digest in self._all

    def get(self, digest: bytes) -> Question | None:
        return self._all.get(digest)

    def digests(self) -> list[bytes]:
        """The newest first."""
        return [*reversed(self._all)]

    @property
    def ready(self) -> bool:
        """Is there something to be asked now?"""
        return bool(self._order)

    @property
    def due(self) -> float | None:
        """When there is something to be asked, or for `wake` to do. None: nothing is pending."""
        return 0.0 if self._order else min(self._later, default=None)

    def add(self, digest: bytes, c: Credential, owner: str, due: float | None = None) -> None:
        """`due`: None: now. It must not be here."""
        registry = sys.intern(asked_at(c.registry) or c.registry)
        one = self._all[digest] = Question(digest, c, owner, registry, next(self._numbers))
        if due is None:
            self._make_ready(one)
        else:
            self._keep_for(one, due)

    def put_off(self, digest: bytes, due: float) -> None:
        self._take_away(self._all[digest])
        self._keep_for(self._all[digest], due)

    def remove(self, digest: bytes) -> None:
        if (one := self._all.pop(digest, None)) is not None:
            self._take_away(one)

    def pause(self, registry: str, until: float) -> None:
        self._paused[registry] = second = math.ceil(until)
        self._later.setdefault(second, set()).add(registry)
        self._reorder(registry)

    def emptied(self) -> "Pending":
        """Another one, which has only the pauses."""
        other = Pending()
        for registry, second in self._paused.items():
            other.pause(registry, second)
        return other

    def wake(self, now: float) -> Generator[None, None, None]:
        """Makes ready what is due. Yields after each step: meanwhile all may change."""
        for second in sorted(second for second in self._later if second <= now):
            for number, key in enumerate(self._later.pop(second, ()), 1):
                if isinstance(key, str):
                    if self._paused.get(key) == second:
                        del self._paused[key]
                        self._reorder(key)
                elif (one := self._all.get(key)) is not None and one.due == second:
                    self._make_ready(one)
                if number % STEP == 0:
                    yield

    def registries(self) -> Iterator[tuple[str, Iterator[str]]]:
        """Those that are to be asked now, the one with the newest credential first, and who has credentials for it."""
        for _, registry in reversed(self._order):
            yield registry, (one.owner for one in reversed(self._registries[registry].ready))

    def turns(self, registry: str, most: int) -> list[bytes]:
        """What it is asked about next: the newest of each owner, then the second of each, and so on, so that no owner
        delays the others.
        """
        times, turns = Counter[str](), list[list[bytes]]()
        for one in islice(reversed(self._ready_at(registry)), most * MAX_CREDENTIALS):
            turn = times[one.owner]
            times[one.owner] += 1
            if turn == len(turns):
                turns.append([])
            turns[turn].append(one.digest)
            if len(turns[0]) == most:
                break
        return [digest for turn in turns for digest in turn][:most]

    def at(self, registry: str) -> list[Question]:
        """All that it is to be asked about now, the newest first."""
        return self._ready_at(registry)[::-1]

    def _ready_at(self, registry: str) -> list[Question]:
        found = self._registries.get(registry)
        return [] if found is None else found.ready

    def _make_ready(self, one: Question) -> None:
        one.due = 0
        insort(self._registries.setdefault(one.registry, _Registry()).ready, one, key=_number)
        self._reorder(one.registry)

    def _keep_for(self, one: Question, due: float) -> None:
        one.due = max(1, math.ceil(due))
        self._later.setdefault(one.due, set()).add(one.digest)

    def _take_away(self, one: Question) -> None:
        if one.due:
            later = self._later.get(one.due, set())  # `wake` may have taken that second
            later.discard(one.digest)
            if not later:  # else there would be something to do then
                self._later.pop(one.due, None)
            return
        ready = self._registries[one.registry].ready
        del ready[bisect_left(ready, one.number, key=_number)]
        self._reorder(one.registry)

    def _reorder(self, registry: str) -> None:
        """What it is to be asked about, or its pause, has changed."""
        if (at := self._registries.get(registry)) is None:
            return
        number = at.ready[-1].number if at.ready and registry not in self._paused else 0
        if number != at.number:
            if at.number:
                del self._order[bisect_left(self._order, (at.number, registry))]
            if number:
                insort(self._order, (number, registry))
            at.number = number
        if not at.ready:
            del self._registries[registry]
