"""The source as all others see it: with what registries said about its credentials. It asks about those that are new.

Equal answers stay the same object; after a refusal there is another one, so that reviews and reconciles notice it.
"""

import asyncio
import weakref
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from webhook.checks.checker import Checker, Result
from webhook.core.check import Check
from webhook.core.credential import Credentials
from webhook.core.notice import Notice, Reason, Record
from webhook.core.shown import quoted
from webhook.fairness import few_at_a_time, in_steps, let_go
from webhook.sources import Changed, Source

WORKS: Reason = "CredentialWorks"
LIMITED: Reason = "CredentialLimited"
NOT_CHECKED: Reason = "CredentialNotChecked"
STEP = 1_000
"""Owners in a step; a credential counts as COSTS of them."""
COSTS = 20


@dataclass(frozen=True, slots=True)
class _Judged:
    """`of`: the source's object; weak, so that withdrawn tokens do not stay in memory. None: to be judged again.
    `result`: with refusals; None: there are none. `digests`: of its credentials.
    """

    of: "weakref.ref[Credentials] | None"
    result: Credentials | None
    digests: tuple[bytes, ...]


@dataclass(slots=True)
class _Entry:
    """A credential that owners have; all may have the same one. `record`: of its check, as they were told."""

    record: bytes | None
    owners: dict[str, None] = field(default_factory=dict)

    @property
    def check(self) -> Check | None:
        return None if self.record is None else Check.of_record(self.record)


class Checked:
    def __init__(
        self, source: Source, checker: Checker, changed: Changed, record: Record, now: Callable[[], datetime]
    ) -> None:
        self._source, self._checker, self._changed, self._record = source, checker, changed, record
        self._now = now
        self.settled = asyncio.Event()
        self._judged: dict[str, _Judged] = {}
        self._entries: dict[bytes, _Entry] = {}
        """By digest."""
        self._counts = Counter[str]()
        """How many of these, by what their registries said."""
        self._doubted: set[str] = set()
        """Owners about whose credentials another replica may have been told something."""
        checker.changed, checker.report = self._tell, self._report

    def known(self, owner: str) -> Credentials | None:
        found = self._source.known(owner)
        return None if found is None or owner in self._doubted else self._judge(owner, found)

    async def credentials(self, owner: str) -> Credentials:
        if owner in self._doubted:
            await self._checker.load()
            self._doubted.discard(owner)
        return self._judge(owner, await self._source.credentials(owner))

    async def prefetch(self, owners: Collection[str]) -> None:
        await self._source.prefetch(owners)

    def invalidate(self, owner: str) -> None:
        self._source.invalidate(owner)
        if (judged := self._judged.get(owner)) is not None and self._checker.has_unsettled(judged.digests):
            self._doubted.add(owner)

    def able(self) -> bool:
        return self._source.able()

    async def run(self) -> None:
        """Ready when the source is, and it is known what the registries said before."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._source.run())
            await self._checker.load()
            await self._source.settled.wait()
            self.settled.set()

    def results(self) -> Mapping[str, int]:
        """Credentials by what their registries said."""
        return {result: self._counts[result] for result in ("works", "refused", "unknown", "unasked")}

    def _judge(self, owner: str, found: Credentials) -> Credentials:
        judged = self._judged.get(owner)
        if judged is not None and judged.of is not None and judged.of() is found:
            return found if judged.result is None else judged.result
        checks, now = self._checker.checks, self._now()
        digests = tuple(checks.digest(c) for c in found.items)
        self._forget(owner, judged, keep=digests)
        if not digests:
            self._judged.pop(owner, None)
            return found
        for digest, c in zip(digests, found.items, strict=True):
            if (entry := self._entries.get(digest)) is None:
                entry = self._entries[digest] = _Entry(checks.records.get(digest))
                self._counts[_result(entry.check)] += 1
            entry.owners[owner] = None
            if not c.expired(now):  # one that has ended stays where it is: a container that restarts may need it
                self._checker.want(digest, c, owner)
        marked = checks.marked(found)
        self._judged[owner] = _Judged(weakref.ref(found), None if marked is found else marked, digests)
        return marked

    def _forget(self, owner: str, judged: _Judged | None, keep: Collection[bytes] = ()) -> None:
        gone = set(judged.digests) - set(keep) if judged is not None else set()
        for digest in gone:
            entry = self._entries[digest]
            del entry.owners[owner]
            if not entry.owners:
                del self._entries[digest]
                self._counts[_result(entry.check)] -= 1
                self._checker.drop([digest])

    async def _tell(self, digests: Collection[bytes] | None) -> None:
        """In steps, between which owners are judged by what is known then. The Checker may tell more meanwhile: who is
        told twice looks twice.
        """
        if digests is None:
            return await self._begin_anew()
        async for owner in few_at_a_time(await in_steps(self._concerned(digests)), 50):
            if (judged := self._judged.get(owner)) is not None:
                self._judged[owner] = _Judged(None, None, judged.digests)
            self._changed(owner)
        return None

    def _concerned(self, digests: Collection[bytes]) -> Generator[None, None, dict[str, None]]:
        owners, done = dict[str, None](), 0
        for digest in digests:
            done += COSTS
            if self._refusal_changed(digest):
                owners.update(self._entries[digest].owners)
                done += len(self._entries[digest].owners)
            if done >= STEP:
                done = 0
                yield
        return owners

    def _refusal_changed(self, digest: bytes) -> bool:
        """Of one that somebody has; it is counted as what its registry says now."""
        if (entry := self._entries.get(digest)) is None:
            return False
        before, entry.record = entry.check, self._checker.checks.records.get(digest)
        now = entry.check
        self._counts[_result(before)] -= 1
        self._counts[_result(now)] += 1
        return (before and before.refusal) != (now and now.refusal)

    async def _begin_anew(self) -> None:
        """All digests are others: what owners have is wanted again."""
        judged, entries = self._judged, self._entries
        self._judged, self._entries, self._counts = {}, {}, Counter()
        async for owner in few_at_a_time(judged, 20):
            self.known(owner)
            self._changed(owner)
        await let_go(judged)
        await let_go(entries)

    def _report(self, result: Result) -> None:
        """Refusals are reported with the pull secrets that they concern."""
        c, origin = result.credential, result.credential.origin
        entry = self._entries.get(self._checker.checks.digest(c))
        owner = next(iter(entry.owners), "") if entry is not None else ""
        for reason, kind, words in _messages(result):
            message = f"{origin}: the credential of owner {owner} for {quoted(c.registry)} {words}"
            self._record(
                Notice(reason, message, origin.namespace, origin.kind, origin.name, kind, owner, source=origin.source)
            )


def _result(check: Check | None) -> str:
    return "unasked" if check is None else check.result


def _messages(result: Result) -> Iterator[tuple[Reason, Literal["Normal", "Warning"], str]]:
    check, hint = result.check, result.said.hint
    if check.result == "works":
        yield WORKS, "Normal", "works"
        if hint:
            yield LIMITED, "Warning", f"works; {hint}"
    elif check.result == "unknown":
        yield NOT_CHECKED, "Normal", f"could not be checked at the registry: {check}"
