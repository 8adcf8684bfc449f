"""Reads namespaces and service accounts that a view does not have (yet) from the API server."""

import asyncio

import msgspec

from webhook.core.errors import NamespaceUnknown
from webhook.core.pullsecret import Namespace
from webhook.core.wire import Unreadable
from webhook.kube.cluster import AccountObject, Cluster, ClusterError, NamespaceObject, decode, is_name
from webhook.kube.reader import Reader
from webhook.kube.views import AnyAccount, State, account_key
from webhook.tasks import shared

RECENT_SECONDS = 0.2
"""Seconds for which one write may use the read of a namespace by a review. If the namespace was created again since,
the write policy refuses the write, as it does between any read and its write."""
UNSERVED_SECONDS = 1.0
"""Seconds for which reviews use the answer that a namespace is not served, or does not exist."""
MAX_LOOKS = 16
"""Namespaces that are read for reviews at the same time: anybody who reaches our port can send reviews with invented
names, and must not load the API server with them."""
MAX_UNSERVED = 4096
"""Namespaces that are remembered as not served."""
WATCH_LAG_SECONDS = 0.05
"""Seconds that a review waits for the watch to report an object that was just created; 1 to 5 ms is usual."""

NAMESPACE_SECONDS, ACCOUNT_SECONDS = 1.0, 0.5
"""Seconds that a review waits for a namespace or an account to be read."""

_NAMESPACE = msgspec.json.Decoder(NamespaceObject)
_ACCOUNT = msgspec.json.Decoder(AccountObject)


class Lookup:
    """Reads what a view does not know (yet) from the API server into the view."""

    def __init__(self, cluster: Cluster, reader: Reader, state: State) -> None:
        self._cluster, self._reader, self._state = cluster, reader, state
        self._reads: dict[str, asyncio.Task[None]] = {}
        self._looks: dict[str, asyncio.Task[Namespace | None]] = {}
        self._places = asyncio.Semaphore(MAX_LOOKS)
        self._unserved: dict[str, tuple[float, Namespace | None]] = {}

    async def namespace(self, name: str, *, recent: bool = False) -> Namespace | None:
        """As the API server has it now. None: no such namespace. Raises NamespaceUnknown.

        `recent`: a read that another caller has just started or finished is enough, if no other write has used it.
        """
        if not is_name(name):
            return None
        read = self._reads.pop(name, None) if recent else None
        if read is None:
            read = asyncio.create_task(self._read(name), name=f"read namespace {name}")
            if not recent:
                self._reads[name] = read
            read.add_done_callback(lambda task: self._keep(name, task))
        await shared(read)
        return self._state.namespaces.get(name)

    async def namespace_in_review(self, name: str) -> Namespace | None:
        """The same for a review: it cannot wait for long, and its sender may invent thousands of names.

        After a timeout the read goes on, for the next caller.
        """
        clock = asyncio.get_running_loop().time
        if (last := self._unserved.get(name)) is not None and clock() - last[0] < UNSERVED_SECONDS:
            return last[1]
        try:
            async with asyncio.timeout(NAMESPACE_SECONDS):
                if name not in self._looks:
                    await self._places.acquire()
                    self._look(name)
                found = await shared(self._looks[name])
        except TimeoutError:
            raise NamespaceUnknown(f"namespace {name} could not be read within {NAMESPACE_SECONDS:g} s") from None
        self._unserved.pop(name, None)
        if found is None or not found.served:
            self._unserved[name] = (clock(), found)
            if len(self._unserved) > MAX_UNSERVED:
                del self._unserved[next(iter(self._unserved))]
        return found

    def _look(self, name: str) -> None:
        """The caller has acquired a place. The look releases it at its end; if another look runs already, this does."""
        if name in self._looks:
            self._places.release()
            return
        look = self._looks[name] = asyncio.create_task(self.namespace(name), name=f"look at namespace {name}")
        look.add_done_callback(lambda _: self._looked(name, look))

    def _looked(self, name: str, look: asyncio.Task[Namespace | None]) -> None:
        del self._looks[name]
        self._places.release()
        if not look.cancelled():
            look.exception()  # marks it as retrieved: perhaps no caller waits any more

    def _keep(self, name: str, read: asyncio.Task[None]) -> None:
        failed = read.cancelled() or read.exception() is not None
        read.get_loop().call_later(0.0 if failed else RECENT_SECONDS, self._drop, name, read)

    def _drop(self, name: str, read: asyncio.Task[None]) -> None:
        if self._reads.get(name) is read:
            del self._reads[name]

    async def _read(self, name: str) -> None:
        """Into the view. Raises NamespaceUnknown."""
        view = self._state.namespaces
        before = known, _ = view.moment(name)  # what the view learns during the call is newer than the answer
        try:
            raw = await self._cluster.call("GET", f"/api/v1/namespaces/{name}")
            view.answered(name, self._reader.namespace(await decode(_NAMESPACE, raw)), before)
        except Unreadable as e:
            raise NamespaceUnknown(f"namespace {name} could not be read: {e}") from None
        except ClusterError as e:
            if e.status != 404:
                raise NamespaceUnknown(f"namespace {name} could not be read ({e})") from None
            if known is not None:
                view.forget(name, known.version)

    async def account(self, namespace: str, name: str) -> AnyAccount | None:
        """As the API server has it now. None: it does not exist or cannot be read, so it refuses no reference."""
        if not is_name(namespace) or not is_name(name):
            return None
        key, view = account_key(namespace, name), self._state.accounts
        # The API server has checked that it exists, so the watch is about to report it: mostly no call is needed.
        if view.synced.is_set() and (known := await view.arrival(key, WATCH_LAG_SECONDS)) is not None:
            return known
        try:
            path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{name}"
            raw = await self._cluster.call("GET", path, within=ACCOUNT_SECONDS)
            account = self._reader.account(await decode(_ACCOUNT, raw))
        except (ClusterError, Unreadable):
            return None
        view.learn(key, account)
        return account
