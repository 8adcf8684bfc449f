"""What is known of the cluster: views of namespaces, pull secrets and service accounts.

Views are synchronous and hold small frozen values; none here holds a token. Feeds and answers to our own calls write.
The newer resourceVersion wins, so a late event or answer neither undoes a change nor brings back a deleted object.
"""

import asyncio
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakValueDictionary

from webhook.core.pullsecret import ExistingSecret, Namespace


class Versioned(Protocol):
    @property
    def version(self) -> int: ...


V = TypeVar("V", bound=Versioned)

STEP = 256
"""Objects of a list that are taken in before reviews get a turn: less than a millisecond."""
BEHIND_SECONDS = 12.0
"""Seconds of silence of the watch after which a view may miss something: a little more than a watch lasts."""


class View(Generic[V]):
    """One kind of object by key. `synced` is set after the first list, `told` when all that is in it was reported, too.
    `clock`: in seconds, never set back.

    Each of `on_change` is called with the key of an object that has changed, and with what it was and is, whether a
    watch or an answer reported it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._items: dict[str, V] = {}
        self._observed = 0
        self._newest = 0
        """The newest known version when the watch last failed."""
        self._in_touch = -math.inf
        self._awaited: WeakValueDictionary[str, asyncio.Event] = WeakValueDictionary()
        """Each for as long as somebody waits for it."""
        self.on_change: list[Callable[[str, V | None, V | None], None]] = []
        self.synced, self.told = asyncio.Event(), asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    def get(self, key: str) -> V | None:
        return self._items.get(key)

    def items(self) -> Iterable[tuple[str, V]]:
        return self._items.items()

    def learn(self, key: str, item: V) -> bool:
        """False: something as new was known already, perhaps that the object is gone."""
        known = self._items.get(key)
        return item.version > (self._observed if known is None else known.version) and self._put(key, item)

    def moment(self, key: str) -> tuple[V | None, int]:
        """Before a call; for `answered`."""
        return self._items.get(key), self._observed

    def answered(self, key: str, item: V, before: tuple[V | None, int]) -> bool:
        """As `learn`. But if the watch has reported nothing since `before` the call, the answer is newer, whatever its
        version: if that is older, etcd was restored from a backup.
        """
        known, observed = before
        if self._items.get(key) is known and self._observed == observed:
            return self._put(key, item)
        return self.learn(key, item)

    def in_touch(self) -> None:
        """The watch works: the server has just accepted it, or sent something."""
        self._in_touch = self._clock()

    def out_of_touch(self) -> None:
        """The watch has failed. A list that is requested after this is as new as everything that is known now."""
        self._in_touch = -math.inf
        self._newest = max((known.version for known in self._items.values()), default=0)

    def behind(self) -> bool:
        """May there be a change that the watch has not reported?"""
        return self._clock() - self._in_touch >= BEHIND_SECONDS

    async def arrival(self, key: str, within: float) -> V | None:
        """The object; if it is unknown, after waiting up to `within` seconds for the watch to report it."""
        if key not in self._items:
            arrived = self._awaited.setdefault(key, asyncio.Event())
            with suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await arrived.wait()
        return self._items.get(key)

    def forget(self, key: str, version: int) -> bool:
        """`version`: of the deletion, or of the object that is known to be gone."""
        known = self._items.get(key)
        return known is not None and known.version <= version and self._put(key, None)

    def observed(self, version: int) -> None:
        """The watch has reported everything up to `version`: an object up to it that is not in the view is gone."""
        self._observed = max(self._observed, version)

    def replace(self, items: Mapping[str, V], version: int) -> Generator[None, None, set[str]]:
        """By a list as of `version`, in steps between which others may write; returns the keys that changed. Objects
        that we wrote after it stay, unless the list is older than what was known: then etcd was restored from a backup,
        and only the list counts.
        """
        known_before = max(self._observed, self._newest)
        changed = set[str]()

        def put(key: str, item: V | None) -> None:
            known = self._items.get(key)
            later = known is not None and known.version > version >= known_before
            if not later and self._put(key, item):
                changed.add(key)

        for number, (key, item) in enumerate(items.items(), 1):
            put(key, item)
            if number % STEP == 0:
                yield
        self._observed = version  # before what is gone goes: from here on no late answer brings it back
        for number, key in enumerate([*self._items], 1):
            if key not in items:
                put(key, None)
            if number % STEP == 0:
                yield
        self.synced.set()
        return changed

    def _put(self, key: str, item: V | None) -> bool:
        """Has the view changed?"""
        known = self._items.get(key)
        if known == item:
            return False
        if item is None:
            del self._items[key]
        else:
            self._items[key] = item
            if (awaited := self._awaited.pop(key, None)) is not None:
                awaited.set()
        for tell in self.on_change:
            tell(key, known, item)
        return True


class Namespaces(View[Namespace]):
    """Namespaces by name, with an index by owner. `new_or_moved` is called for each that is new or changes owner."""

    def __init__(self) -> None:
        super().__init__()
        self.new_or_moved: Callable[[str], None] = lambda _name: None
        self._of_owner: dict[str, set[str]] = {}
        self.owned = 0
        """How many have an owner."""
        self.on_change.append(self._index)

    def of_owner(self, owner: str | None) -> list[str]:
        """None: all, also those without an owner."""
        return list(self._items) if owner is None else sorted(self._of_owner.get(owner, ()))

    def owner_of(self, name: str) -> str | None:
        """Also None: there is no such namespace."""
        namespace = self.get(name)
        return namespace.owner if namespace is not None else None

    def _index(self, key: str, before: Namespace | None, after: Namespace | None) -> None:
        self.owned += (after is not None and after.owner is not None) - (
            before is not None and before.owner is not None
        )
        if before is not None and before.owner is not None:
            names = self._of_owner[before.owner]
            names.discard(key)
            if not names:
                del self._of_owner[before.owner]
        if after is not None and after.owner is not None:
            self._of_owner.setdefault(after.owner, set()).add(key)
        if after is not None and (before is None or (before.uid, before.owner) != (after.uid, after.owner)):
            self.new_or_moved(key)


class PlainAccount(int):
    """A service account that lists no pull secret and does not enforce, as nearly all: its version alone, which takes
    half of the memory. It must be known all the same: of one that is not, a review cannot say that it is plain.
    """

    __slots__ = ()
    pull_secrets: tuple[str, ...] = ()

    @property
    def version(self) -> int:
        return self

    def refuses(self, _name: str) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class Account:
    """Any other service account. `enforced`: its pods may name no pull secret that it does not list."""

    version: int
    names: str
    """Of its pull secrets (of many, the first ones and ours), joined by slashes, which no name contains: a tenth of the
    memory of as many strings.
    """
    enforced: bool

    @property
    def pull_secrets(self) -> tuple[str, ...]:
        return tuple(self.names.split("/")) if self.names else ()

    def refuses(self, name: str) -> bool:
        return self.enforced and name not in self.pull_secrets


AnyAccount = Account | PlainAccount


@dataclass(frozen=True)
class State:
    """`accounts`: by `account_key`."""

    namespaces: Namespaces
    pull_secrets: View[ExistingSecret]
    accounts: View[AnyAccount]

    @classmethod
    def empty(cls) -> "State":
        return cls(Namespaces(), View(), View())

    @property
    def views(self) -> "Mapping[str, View[Any]]":
        return {"namespaces": self.namespaces, "secrets": self.pull_secrets, "serviceaccounts": self.accounts}

    async def wait_told(self) -> None:
        """What the first lists report is to be looked at together, by owner, and not one by one as what comes later."""
        for view in self.views.values():
            await view.told.wait()


def account_key(namespace: str, name: str) -> str:
    """Neither name has a slash."""
    return f"{namespace}/{name}"
