"""The slots of the replicas (webhook/core/shares.py): a Lease each, with a fixed name, so that RBAC can name them.

They are read, not watched: a GET has what stood when it was asked, while a watch may be late by an unknown time. A
replica that renews a slot asks the API server every two seconds anyway.
"""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Mapping

import structlog

from webhook.core.names import REPLICA_LEASES
from webhook.core.shares import LASTS_SECONDS, Slot, step
from webhook.core.wire import Unreadable
from webhook.kube.cluster import Cluster, ClusterError
from webhook.kube.lease import Found, LeaseObject

log = structlog.get_logger()
CALL_SECONDS = 2.0
"""Seconds of a call: all are read at the same time, and one is written."""
SERVER_ERROR = 500


class Slots:
    """`count`: of all slots; `me`: this process, as of LeaseObject. `known`: those that could be read, by number."""

    def __init__(self, cluster: Cluster, namespace: str, count: int, me: str) -> None:
        self._me = me
        self._leases = {
            number: LeaseObject(
                cluster, namespace, f"{REPLICA_LEASES}{number}", me, lasts=LASTS_SECONDS, within=CALL_SECONDS
            )
            for number in range(count)
        }
        self._found: dict[int, Found | None] = {}
        self._known: dict[int, Slot] = {}
        self._trouble = ""
        self.answered = -math.inf
        """Loop time before the last call that was answered, be it by a refusal."""
        self.away = False
        """Was none of the last reads answered?"""

    @property
    def known(self) -> Mapping[int, Slot]:
        return self._known

    async def renew(self, *, able: bool) -> None:
        """Reads all; then takes one, renews it or gives it back. Raises nothing that the API server may cause."""
        works = await self._read()
        if self.away:
            return
        todo = step(self._known, self._me, asyncio.get_running_loop().time(), able=able)
        if todo is not None:
            number = random.choice(todo.slots)  # noqa: S311  # keeps replicas apart, protects nothing
            works = await self._do(number, self._take if todo.do == "take" else self._give_back) and works
        if works:
            self._trouble = ""

    async def give_back(self) -> None:
        """All that this process holds, and says so to the others. As `renew`."""
        await self._read()
        for number in [number for number, slot in self._known.items() if slot.holder == self._me]:
            await self._do(number, self._give_back)

    def forget(self) -> None:
        self._known, self._found, self.away = {}, {}, False

    async def _read(self) -> bool:
        began = asyncio.get_running_loop().time()
        works = all(await asyncio.gather(*(self._do(number, self._see) for number in self._leases)))
        self.away = self.answered < began
        return works

    async def _do(self, number: int, what: Callable[[int], Awaitable[None]]) -> bool:
        began = asyncio.get_running_loop().time()
        try:
            await what(number)
        except (ClusterError, Unreadable) as e:
            if isinstance(e, Unreadable) or 0 < e.status < SERVER_ERROR:
                self.answered = began
            if str(e) != self._trouble:  # one line, not one every two seconds
                self._trouble, lease = str(e), f"{REPLICA_LEASES}{number}"
                log.warning("the replicas do not share out their work: no Lease", lease=lease, error=self._trouble)
            return False
        self.answered = began
        return True

    async def _see(self, number: int) -> None:
        began = asyncio.get_running_loop().time()
        found = self._found[number] = await self._leases[number].read()
        spec = found.spec if found is not None else None
        before = self._known.get(number) or Slot(since=began)
        holder, renewed = (spec.holder_identity or "", spec.renew_time or "") if spec is not None else ("", "")
        self._known[number] = before.seen(holder, renewed, began)

    async def _take(self, number: int) -> None:
        lease = self._leases[number]
        found = self._found[number]
        if found is None:
            found = await lease.create()
            if found.spec.holder_identity:  # another replica was faster
                return
        if await lease.take(found) and self._known[number].holder != self._me:
            self._known[number] = Slot(self._me, "", asyncio.get_running_loop().time())

    async def _give_back(self, number: int) -> None:
        found = self._found.get(number)
        if found is not None and await self._leases[number].give_back(found):
            self._known[number] = Slot(since=asyncio.get_running_loop().time())
