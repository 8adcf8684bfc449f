"""Several sources as one, in the order of the configuration. Which credential counts is decided later: core/merge.py.

What happens when one of them cannot say, while the others can:

- What it said last of this owner stands in for it, if all sources could say once since the process began. So the
  others' changes go on, and nothing of what it gave is taken away. (A source alone hands out nothing that is not
  fresh. Here the choice is between that, entries that vanish, and changes that wait for another source's outage.)
- Otherwise nobody can say: SourceUnavailable, and what stands stays as it is.

An answer so never lacks what a source that is down would have had.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from webhook.core.credential import Credentials, joined
from webhook.core.errors import SourceUnavailable
from webhook.sources import Source

BUDGET_BYTES = 32 * 1024 * 1024
"""Bytes of last answers that are remembered, roughly: mostly references to what the sources hold themselves."""
Parts = tuple[Credentials, ...]


@dataclass(frozen=True, slots=True)
class _Joined:
    """`invalidated`: by what the cluster shows, it may be old."""

    parts: Parts
    result: Credentials
    invalidated: bool = False

    @property
    def weight(self) -> int:
        """Bytes, roughly. The result is made of the parts."""
        return 400 + sum(part.weight for part in self.parts)


class Combined:
    """`sources`: name and source, in order."""

    def __init__(self, sources: Sequence[tuple[str, Source]]) -> None:
        self._names = tuple(name for name, _ in sources)
        self._sources = tuple(source for _, source in sources)
        self._joined: OrderedDict[str, _Joined] = OrderedDict()
        self._weight = 0
        self.settled = asyncio.Event()

    def known(self, owner: str) -> Credentials | None:
        parts = [source.known(owner) for source in self._sources]
        known = tuple(part for part in parts if part is not None)
        return self._of(owner, known) if len(known) == len(parts) else None

    def invalidate(self, owner: str) -> None:
        """Nor does what a source said last stand in for it until all could say again."""
        if (before := self._joined.get(owner)) is not None:
            self._joined[owner] = replace(before, invalidated=True)
        for source in self._sources:
            source.invalidate(owner)

    async def credentials(self, owner: str) -> Credentials:
        """All are asked at once, so that it takes no longer than the slowest."""
        answers = await asyncio.gather(*(one.credentials(owner) for one in self._sources), return_exceptions=True)
        # What a quick one said may have changed while a slow one was asked.
        newest = [one.known(owner) or answer for one, answer in zip(self._sources, answers, strict=True)]
        return self._of(owner, tuple(self._part(number, owner, answer) for number, answer in enumerate(newest)))

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for source in self._sources:
                group.create_task(source.run())
            for source in self._sources:
                await source.settled.wait()
            self.settled.set()

    def _part(self, number: int, owner: str, answer: Credentials | BaseException) -> Credentials:
        if isinstance(answer, Credentials):
            return answer
        if not isinstance(answer, SourceUnavailable):
            raise answer
        if (before := self._joined.get(owner)) is not None and not before.invalidated:
            return before.parts[number]
        raise SourceUnavailable(f"source {self._names[number]}: {answer}", everybody=answer.everybody)

    def _of(self, owner: str, parts: Parts) -> Credentials:
        """The same object as long as the parts are, or as they come to the same."""
        before = self._joined.get(owner)
        if (
            before is not None
            and not before.invalidated
            and all(one is other for one, other in zip(before.parts, parts, strict=True))
        ):
            self._joined.move_to_end(owner)
            return before.result
        result = joined(parts)
        if before is not None and before.result == result:
            result = before.result
        self._remember(owner, _Joined(parts, result))
        return result

    def _remember(self, owner: str, one: _Joined) -> None:
        if (before := self._joined.pop(owner, None)) is not None:
            self._weight -= before.weight
        self._joined[owner] = one
        self._weight += one.weight
        while self._weight > BUDGET_BYTES and len(self._joined) > 1:
            self._weight -= self._joined.popitem(last=False)[1].weight
