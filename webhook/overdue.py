"""A net under the sharing: what stays wrong although another replica should have written it, each replica writes.

Looks in memory alone, so it asks neither a source nor the API server. Where the answer of a source must be asked for
first, it sees nothing.
"""

import asyncio
from collections.abc import Callable

from webhook.core.pullsecret import ExistingSecret
from webhook.kube.views import State

OVERDUE_SECONDS = 60.0
"""Seconds between two looks. What is wrong at both, and was not written in between, is overdue."""
BATCH = 16
"""Namespaces that are looked at without a pause."""


class Overdue:
    """`mine`: does this replica look at the namespace anyway? `is_late`: is there something to write, by what is known?
    `look`: called with each that is overdue.
    """

    def __init__(
        self,
        state: State,
        mine: Callable[[str], bool],
        is_late: Callable[[str], bool],
        look: Callable[[str], None],
    ) -> None:
        self._state, self._mine, self._is_late, self._look = state, mine, is_late, look
        self._late: dict[str, ExistingSecret | None] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(OVERDUE_SECONDS)
            late = dict[str, ExistingSecret | None]()
            for number, name in enumerate(self._state.namespaces.of_owner(None), 1):
                if not self._mine(name) and self._is_late(name):
                    late[name] = self._state.pull_secrets.get(name)
                    if name in self._late and self._late[name] is late[name]:
                        self._look(name)
                if number % BATCH == 0:
                    await asyncio.sleep(0)
            self._late = late
