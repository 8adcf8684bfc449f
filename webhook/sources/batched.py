"""Asks a remote about many owners with one query. `Cached` asks about each owner by itself; here they come together.

- A query starts at once while fewer than `queries` run: with the first pass of the event loop in which nobody more is
  asked about. The others wait until a query has ended; the next one is about all of them, up to MAX_OWNERS.
- One owner whose credentials break a query takes no other along. A query that failed for a reason that need not affect
  everybody is repeated at once, without those who are the reason if the remote says so, else in halves. After any
  failure each of its owners is next asked about in a query of at most half the size, until there is an answer: so who
  breaks queries ends up alone.
- A remote that is too slow for so many owners gets smaller queries; they grow again while it answers.
"""

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from webhook.core.errors import SourceUnavailable
from webhook.fairness import yield_to_reviews
from webhook.sources import Changed
from webhook.sources.breaker import OWNERS
from webhook.sources.remote import MAX_OWNERS, QUERY_SECONDS, Answer, ManyRemote, down

RETRIES = 16
"""Queries at most to find who broke one, before the others wait for the next time: two for each half-size."""
GROWTH = 16
"""After a full query that was answered, the next may be larger by this part."""


@dataclass(frozen=True, slots=True, eq=False)
class _Asked:
    owner: str
    before: Answer | None
    answer: "asyncio.Future[Answer]"


class Batched:
    """`queries`: how many may run at a time. `count` is called for each that is sent."""

    many = True

    def __init__(self, remote: ManyRemote, queries: int, count: Callable[[], object]) -> None:
        self._remote, self._queries, self._count = remote, queries, count
        self._waiting: deque[_Asked] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._sends = False
        self._size = MAX_OWNERS
        """Owners in one query at most."""
        self._limits: OrderedDict[str, int] = OrderedDict()
        """As `_size`, for those who were in a query that failed."""

    async def ask(self, owner: str, before: Answer | None) -> Answer:
        asked = _Asked(owner, before, asyncio.get_running_loop().create_future())
        self._waiting.append(asked)
        self._send_soon()
        return await asked.answer

    async def run(self, changed: Changed) -> None:
        await self._remote.run(changed)

    async def close(self) -> None:
        await self._remote.close()

    def _send_soon(self) -> None:
        """Not at once: others may be asked about in this pass of the event loop, or in the next."""
        if not self._sends and len(self._running) < self._queries:
            self._sends = True
            asyncio.get_running_loop().call_soon(self._send, 0)

    def _send(self, before: int) -> None:
        """`before`: how many waited a pass ago."""
        if before < len(self._waiting) < self._size:
            asyncio.get_running_loop().call_soon(self._send, len(self._waiting))
            return
        self._sends = False
        while len(self._running) < self._queries and (group := self._next()):
            task = asyncio.create_task(self._query(group), name="ask about many")
            self._running.add(task)
            task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._running.discard(task)
        self._send_soon()

    def _next(self) -> list[_Asked]:
        """Those who have waited the longest. Who may only be in a smaller query waits for one, and so does who is
        another owner only by case or spaces: a database that ignores these would give one of them the other's rows.
        """
        group: list[_Asked] = []
        others: list[_Asked] = []
        alike: dict[str, str] = {}
        size = self._size
        while self._waiting and len(group) < size:
            asked = self._waiting.popleft()
            limit = self._limits.get(asked.owner, size)
            if asked.answer.done():  # its caller was cancelled
                continue
            if limit > len(group) and alike.setdefault(asked.owner.strip().casefold(), asked.owner) == asked.owner:
                group.append(asked)
                size = min(size, limit)
            else:
                others.append(asked)
        self._waiting.extendleft(reversed(others))
        return group

    # -- one query, and what follows if it fails --

    async def _query(self, first: list[_Asked]) -> None:
        groups, retries = [first], RETRIES
        while groups:
            group = groups.pop()
            try:
                answers = await self._answers(group)
            except Exception as e:  # noqa: BLE001  # a bug may concern one owner only; `Cached` reports it
                everybody = isinstance(e, SourceUnavailable) and e.everybody
                reasons = [] if everybody else self._alone(group, e)
                if reasons and retries:
                    retries -= 1
                    _fail(reasons, e)
                    groups.append([asked for asked in group if asked not in reasons])
                    continue
                self._shrink(group, whole=everybody)
                if len(group) > 1 and retries and not everybody:
                    retries -= 2
                    half = len(group) // 2
                    groups += [group[half:], group[:half]]
                    continue
                if everybody:  # a database that is down fails at once, not after one time limit for each half
                    group, groups = [*group, *(asked for rest in groups for asked in rest)], []
                _fail(group, e)
            else:
                await self._deliver(group, answers)

    async def _answers(self, group: Sequence[_Asked]) -> Mapping[str, Answer | SourceUnavailable]:
        self._count()
        owners = [*dict.fromkeys(asked.owner for asked in group)]
        try:
            async with asyncio.timeout(QUERY_SECONDS):
                if len(owners) > 1:
                    return await self._remote.ask_many(owners)
                return {owners[0]: await self._remote.ask(owners[0], group[0].before)}
        except TimeoutError:
            raise down("no answer in time") from None

    async def _deliver(self, group: Sequence[_Asked], answers: Mapping[str, Answer | SourceUnavailable]) -> None:
        if len(group) >= self._size:
            self._size = min(self._size + self._size // GROWTH + 1, MAX_OWNERS)
        for asked in group:
            self._limits.pop(asked.owner, None)
            found = answers[asked.owner]
            if asked.answer.done():
                continue
            if isinstance(found, Answer):
                asked.answer.set_result(found)
            else:
                asked.answer.set_exception(found)
            await yield_to_reviews()  # what each caller does with its answer takes its time

    def _alone(self, group: Sequence[_Asked], e: Exception) -> list[_Asked]:
        """Those who are the reason, as the remote says, if others are not; next they are asked about alone."""
        about = e.about if isinstance(e, SourceUnavailable) else frozenset[str]()
        found = [asked for asked in group if asked.owner in about]
        if len(found) == len(group):
            return []
        for asked in found:
            self._limit(asked.owner, 1)
        return found

    def _shrink(self, group: Sequence[_Asked], *, whole: bool) -> None:
        """`whole`: it may have been too large. One owner alone gets no limit: nobody else was affected."""
        if (half := len(group) // 2) == 0:
            return
        if whole and len(group) >= self._size:
            self._size = half
        for asked in group:
            self._limit(asked.owner, half)

    def _limit(self, owner: str, size: int) -> None:
        self._limits.pop(owner, None)
        self._limits[owner] = size
        if len(self._limits) > OWNERS:
            self._limits.popitem(last=False)


def _fail(group: Sequence[_Asked], e: Exception) -> None:
    about = frozenset(asked.owner for asked in group)
    for asked in group:
        if asked.answer.done():
            continue
        if isinstance(e, SourceUnavailable):  # each caller gets an error of its own, without our frames
            asked.answer.set_exception(
                SourceUnavailable(str(e), everybody=e.everybody, retry_after=e.retry_after, about=about)
            )
        else:
            asked.answer.set_exception(e)
