"""What registries said, in memory, and in a Secret that all replicas share.

The Secret also says which replica asks: it changes hands by a write that fails if somebody else wrote first. Who asks
needs no read before it asks more: if another replica has taken over, or somebody has changed the Secret, its next write
fails. It must not have been silent for so long that another one may have taken over.
"""

import asyncio
import secrets
from collections.abc import Callable, Collection, Generator

from certs.errors import Conflict
from certs.ports import Store, Stored
from webhook.core.check import (
    ASKING,
    KEY,
    KEY_BYTES,
    RECORDS,
    STEP_CHECKS,
    Check,
    Checks,
    encoded,
    entries,
    forget_oldest,
    times,
)
from webhook.fairness import in_steps

TAKEOVER_SECONDS = 60.0
"""Seconds without a write after which another replica asks in place of one that has begun."""


class Kept:
    """`me`: a name that no other process has. `wall`: seconds since 1970. `unsaved`: records that are not in the Secret
    yet.

    One read or write at a time: both work in steps, and rely on what they began with. `put` may be called meanwhile.
    """

    def __init__(self, store: Store, me: str, new_key: bytes, wall: Callable[[], float]) -> None:
        self._store, self._me, self._wall = store, me, wall
        self.checks = Checks(new_key)
        self.unsaved: dict[bytes, bytes] = {}
        self._one_at_a_time = asyncio.Lock()
        self._stored: Stored | None = None
        """The Secret; all that it holds is in `checks`."""
        self._asked: float | None = None
        """When we began to write that we ask, loop time; None: that write failed."""
        self._other: tuple[str, str, float] = "", "", 0.0
        """Another replica that asks, the Secret's version, and since when we know that version."""

    def put(self, digest: bytes, check: Check) -> None:
        records = self.checks.records
        records.pop(digest, None)  # the newest is the last
        records[digest] = self.unsaved[digest] = check.record

    async def read(self) -> Collection[bytes] | None:
        """Returns the digests about which others know more; None: all have another digest now, because the key is
        another one, or the Secret is gone. Raises ApiTrouble.
        """
        async with self._one_at_a_time:
            stored = await self._store.read()
            key = b"" if stored is None else stored.data.get(KEY, b"")
            if stored is None and self._stored is not None:  # somebody has deleted it, so that all is asked again
                self._stored, self.checks, self.unsaved = None, Checks(secrets.token_bytes(KEY_BYTES)), {}
                return None
            if stored is None or not key:
                self._stored = stored
                return ()
            if self._stored is not None and self._stored.version == stored.version:
                return ()
            same = key == self.checks.key
            checks = self.checks if same else Checks(key)
            news = await in_steps(self._learn(checks.records, stored.data.get(RECORDS, b"")))
            self._stored = stored
            if same:
                return news
            self.checks, self.unsaved = checks, {}
            return None

    def _learn(self, known: dict[bytes, bytes], data: bytes) -> Generator[None, None, list[bytes]]:
        """What was put, and is not saved, is newer: also what is put between the steps. But what was asked about more
        often is newer still: another replica has taken over while we could not save.
        """
        news = list[bytes]()
        for number, (digest, record) in enumerate(entries(data), 1):
            mine = self.unsaved.get(digest)
            if known.get(digest) != record and (mine is None or times(mine) < times(record)):
                self.unsaved.pop(digest, None)
                known.pop(digest, None)  # the newest is the last
                known[digest] = record
                news.append(digest)
            if number % STEP_CHECKS == 0:
                yield
        forget_oldest(known)
        return news

    async def save(self, *, asking: bool, begins: bool = False) -> None:
        """Writes what is not saved yet, and whether we ask. Raises ApiTrouble; Conflict if it must be read again.

        `begins`: also in place of another replica. Otherwise one that has taken over from us goes on.
        """
        async with self._one_at_a_time:
            now, self._asked = asyncio.get_running_loop().time(), None
            if begins and self.other_asks(now):  # which a read has told that came before us
                raise Conflict("another replica has begun to ask")
            forget_oldest(self.checks.records)
            saving, self.unsaved = self.unsaved, {}  # what is put from now on is for the next write
            try:
                data = {KEY: self.checks.key, RECORDS: await in_steps(encoded(self.checks.records))}
                if self._stored is not None and self._other_name and not begins:
                    data[ASKING] = self._stored.data[ASKING]
                elif asking:
                    data[ASKING] = f"{self._me} {self._wall():.3f}".encode()
                self._stored = await self._store.write(data, self._stored)
            except BaseException:
                self.unsaved = saving | self.unsaved
                raise
            self._asked = now

    @property
    def asks(self) -> bool:
        """Does the Secret say that we ask?"""
        return self._asker == self._me

    def may_ask(self, now: float) -> bool:
        """We ask, and no other replica may have taken over."""
        return self.asked_within(TAKEOVER_SECONDS / 2, now)

    def asked_within(self, seconds: float, now: float) -> bool:
        """We ask, and have written that no longer ago than this."""
        return self.asks and self._asked is not None and now - self._asked < seconds

    def other_asks(self, now: float) -> bool:
        if self._stored is None or not self._other_name:
            return False
        if self._other[:2] != (self._other_name, self._stored.version):
            self._other = self._other_name, self._stored.version, now
        return now - self._other[2] < TAKEOVER_SECONDS

    @property
    def _asker(self) -> str:
        data = {} if self._stored is None else self._stored.data
        return data.get(ASKING, b"").decode(errors="replace").partition(" ")[0]

    @property
    def _other_name(self) -> str:
        return "" if self.asks else self._asker
