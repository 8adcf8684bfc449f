"""Several sources as one, in the order of the configuration. core/merge.py decides which credential counts.

If one source cannot answer while the others can:

- Its last answer for this owner is used, if all sources have answered once since the process started. So changes in the
  other sources take effect, and no credential of the unavailable source is removed. (A source alone never uses an
  answer that is no longer fresh. Here the alternatives are worse: credentials that vanish, or changes that wait for the
  outage of another source.)
- Otherwise SourceUnavailable is raised, and the existing pull secret stays unchanged.
"""

import asyncio
import operator
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from webhook.core.credential import Credentials, joined, same
from webhook.core.errors import SourceUnavailable
from webhook.sources import Source

BUDGET_BYTES = 32 * 1024 * 1024
"""Approximate bytes of remembered answers. The sources hold most of these objects too."""


@dataclass(frozen=True, slots=True)
class _Joined:
    """`invalidated`: the cluster shows that it may be old."""

    parts: tuple[Credentials, ...]
    result: Credentials
    invalidated: bool = False

    @property
    def weight(self) -> int:
        """Approximate bytes. The result shares the objects of the parts."""
        return 400 + sum(part.weight for part in self.parts)


class Combined:
    """`sources`: name and source, in the order of the configuration."""

    def __init__(self, sources: Sequence[tuple[str, Source]]) -> None:
        self._names = tuple(name for name, _ in sources)
        self._sources = tuple(source for _, source in sources)
        self._joined: OrderedDict[str, _Joined] = OrderedDict()
        self._weight = 0
        self.settled = asyncio.Event()

    def known(self, owner: str) -> Credentials | None:
        parts = [source.known(owner) for source in self._sources]
        known = tuple(part for part in parts if part is not None)
        return self._join(owner, known) if len(known) == len(parts) else None

    def invalidate(self, owner: str) -> None:
        """Until all sources have answered again, the last answer of an unavailable source is not used either."""
        if (before := self._joined.get(owner)) is not None:
            self._joined[owner] = replace(before, invalidated=True)
        for source in self._sources:
            source.invalidate(owner)

    async def prefetch(self, owners: Collection[str]) -> None:
        await asyncio.gather(*(source.prefetch(owners) for source in self._sources))

    async def credentials(self, owner: str) -> Credentials:
        """Asks all sources concurrently, so that it takes no longer than the slowest."""
        answers = await asyncio.gather(*(one.credentials(owner) for one in self._sources), return_exceptions=True)
        # The answer of a fast source may have changed while a slow one was asked.
        newest = [one.known(owner) or answer for one, answer in zip(self._sources, answers, strict=True)]
        return self._join(owner, tuple(self._part(number, owner, answer) for number, answer in enumerate(newest)))

    def able(self) -> bool:
        return all(source.able() for source in self._sources)

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

    def _join(self, owner: str, parts: tuple[Credentials, ...]) -> Credentials:
        """The same object while the parts are the same objects, or their result is equal."""
        before = self._joined.get(owner)
        if before is not None and not before.invalidated and all(map(operator.is_, before.parts, parts)):
            self._joined.move_to_end(owner)
            return before.result
        result = joined(parts)
        if before is not None:
            del self._joined[owner]
            self._weight -= before.weight
            if same(before.result, result):
                result = before.result
        self._joined[owner] = after = _Joined(parts, result)
        self._weight += after.weight
        while self._weight > BUDGET_BYTES and len(self._joined) > 1:
            self._weight -= self._joined.popitem(last=False)[1].weight
        return result
