"""What is known of the cluster: views of namespaces, standing pull secrets and service accounts.

Views are synchronous and hold small frozen values, never a token. They are written by the watch feeds and by answers
to our own calls; the newer resourceVersion wins: a late event undoes nothing, a late answer brings nothing back.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from webhook.core.pullsecret import ExistingSecret, Namespace


class Versioned(Protocol):
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)

BEHIND_SECONDS = 12.0
"""Seconds without a word of the watch after which a view may miss something: a little more than a watch lives."""


class View(Generic[V]):
    """One kind of object by key. `synced` once a first list is in. `clock`: in seconds, never set back.

    `news` hears the key of each object that is not what it was, by whatever way that was learned.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._items: dict[str, V] = {}
        self._told = 0
        self._newest = 0
        """Version that was known when the watch failed last."""
        self._in_touch = -math.inf
        self._awaited: dict[str, list[asyncio.Event]] = {}
        self.news: Callable[[str], None] = lambda _key: None
        self.synced = asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> V | None:
        return self._items.get(key)

    def items(self) -> Iterable[tuple[str, V]]:
        return self._items.items()

    def learn(self, key: str, item: V) -> bool:
        """False: something as new was known already, be it the end of the object."""
        known = self._items.get(key)
        return item.version > (self._told if known is None else known.version) and self._put(key, item)

    def moment(self, key: str) -> tuple[V | None, int]:
        """Before a call; for `answered`."""
        return self._items.get(key), self._told

    def answered(self, key: str, item: V, asked: tuple[V | None, int]) -> bool:
        """As `learn`. But if nothing was told since the call was made at `asked`, its answer is newer, whatever its
        version says: etcd was restored from a backup.
        """
        known, told = asked
        if self._items.get(key) is known and self._told == told:
            return self._put(key, item)
        return self.learn(key, item)

    def in_touch(self) -> None:
        """The watch works: it has just told something, or was opened and accepted."""
        self._in_touch = self._clock()

    def out_of_touch(self) -> None:
        """The watch has failed. Of what is known by now nothing is later than a list that is asked for after this."""
        self._in_touch = -math.inf
        self._newest = max((known.version for known in self._items.values()), default=0)

    def behind(self) -> bool:
        """May there be something that the watch has not told?"""
        return self._clock() - self._in_touch >= BEHIND_SECONDS

    async def arrival(self, key: str, within: float) -> V | None:
        """What the watch is about to tell, if it does so in time (seconds)."""
        if key not in self._items:
            arrived = asyncio.Event()
            self._awaited.setdefault(key, []).append(arrived)
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(within):
                        await arrived.wait()
            finally:
                self._awaited[key].remove(arrived)
                if not self._awaited[key]:
                    del self._awaited[key]
        return self._items.get(key)

    def forget(self, key: str, version: int) -> bool:
        """`version`: that of the deletion, or of the object that is known to be gone."""
        known = self._items.get(key)
        return known is not None and known.version <= version and self._put(key, None)

    def told(self, version: int) -> None:
        """The watch has told all up to here: what is not in the view, and no newer, has ended."""
        self._told = max(self._told, version)

    def replace(self, items: Mapping[str, V], version: int) -> set[str]:
        """After a list as of `version`: the keys that changed. Of what is known only what we wrote later stays: after a
        restore of etcd from a backup the truth is older, and if the list itself is, nothing that was known counts.
        """
        known_before = max(self._told, self._newest)
        later = {key for key, known in self._items.items() if known.version > version >= known_before}
        changed = {key for key in {*self._items, *items} - later if self._put(key, items.get(key))}
        self._told = version
        self.synced.set()
        return changed

    def _put(self, key: str, item: V | None) -> bool:
        """Whether that is anything new."""
        known = self._items.get(key)
        if known == item:
            return False
        if item is None:
            del self._items[key]
        else:
            self._items[key] = item
            for awaited in self._awaited.get(key, ()):
                awaited.set()
        self._changed(key, known, item)
        self.news(key)
        return True

    def _changed(self, key: str, before: V | None, after: V | None) -> None:
        """For an index beside the view."""


class Namespaces(View[Namespace]):
    """Namespaces by name, with an index by owner. `new_or_moved` hears of each that is new, or has another owner."""

    def __init__(self) -> None:
        super().__init__()
        self.new_or_moved: Callable[[str], None] = lambda _name: None
        self._of_owner: dict[str, set[str]] = {}

    def of_owner(self, owner: str) -> frozenset[str]:
        return frozenset(self._of_owner.get(owner, ()))

    def _changed(self, key: str, before: Namespace | None, after: Namespace | None) -> None:
        if before is not None and before.owner is not None:
            names = self._of_owner[before.owner]
            names.discard(key)
            if not names:
                del self._of_owner[before.owner]
        if after is not None and after.owner is not None:
            self._of_owner.setdefault(after.owner, set()).add(key)
        if after is not None and (before is None or (before.uid, before.owner) != (after.uid, after.owner)):
            self.new_or_moved(key)


@dataclass(frozen=True, slots=True)
class Account:
    """A service account: its pull secrets (of many the first, and ours), and whether its pods may have no others."""

    version: int
    names: str
    """Of its pull secrets, with a slash, which no name has, between them: a tenth of the memory of as many strings."""
    enforced: bool

    @property
    def pull_secrets(self) -> tuple[str, ...]:
        return tuple(self.names.split("/")) if self.names else ()

    def refuses(self, name: str) -> bool:
        return self.enforced and name not in self.pull_secrets


class Accounts(View[Account]):
    """Service accounts by `account_key`. `tightened` hears, with what was before, of each that comes or changes and
    enforces its list. Not of the first list: who ran before us heard of those.
    """

    def __init__(self) -> None:
        super().__init__()
        self.tightened: Callable[[str, Account | None, Account], None] = lambda _key, _before, _after: None

    def _changed(self, key: str, before: Account | None, after: Account | None) -> None:
        if self.synced.is_set() and after is not None and after.enforced:
            self.tightened(key, before, after)


@dataclass(frozen=True)
class State:
    namespaces: Namespaces
    pull_secrets: View[ExistingSecret]
    accounts: Accounts

    @classmethod
    def empty(cls) -> "State":
        return cls(Namespaces(), View(), Accounts())

    @property
    def views(self) -> "Mapping[str, View[Any]]":
        return {"namespaces": self.namespaces, "secrets": self.pull_secrets, "serviceaccounts": self.accounts}

    async def wait_synced(self) -> None:
        for view in self.views.values():
            await view.synced.wait()


def account_key(namespace: str, name: str) -> str:
    """Neither holds a slash."""
    return f"{namespace}/{name}"
