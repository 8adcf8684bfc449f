"""Says before a credential ends that it will: in the metrics, and by an Event beside the pull secret that holds it.

A pull secret carries when its credentials end, whatever source they came from, so one look over the view finds them
all: one that has ended, and stays until it is renewed, hides no other one's end. Nothing is asked. Credentials that
live for less than a day are renewed by machines: they are counted once they have ended, and nobody is told before.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from webhook.metrics import Metrics
from webhook.notice import Notice, Tell
from webhook.pullsecret import SOON, Standing
from webhook.state import View

SHORT = timedelta(days=1)
EVERY = 15.0
"""Seconds between two looks; one at 10,000 takes about a millisecond."""


class Expiry:
    def __init__(
        self, standing: View[Standing], name: str, now: Callable[[], datetime], tell: Tell, metrics: Metrics
    ) -> None:
        self._standing, self._name, self._now, self._tell = standing, name, now, tell
        self._seen: dict[tuple[str, datetime], bool] = {}
        """By namespace and end: was the credential given for long?"""
        self._told: set[tuple[str, datetime]] = set()
        metrics.ending.set_function(self._ending)
        metrics.ended.set_function(self._ended)

    async def run(self) -> None:
        await self._standing.synced.wait()
        while True:
            self.look()
            await asyncio.sleep(EVERY)

    def look(self) -> None:
        now = self._now()
        ends = [(namespace, end) for namespace, standing in self._standing.items() for end in standing.ends]
        self._seen = {one: self._seen.get(one, one[1] - now > SHORT) for one in ends}
        self._told &= self._seen.keys()
        for (namespace, end), long in self._seen.items():
            if long and now < end <= now + SOON and (namespace, end) not in self._told:
                self._told.add((namespace, end))
                message = f"a credential in it ends at {end:%Y-%m-%d %H:%M} UTC; renew it at its source"
                self._tell(Notice("CredentialEnds", message, namespace, "Secret", self._name))

    def _ending(self) -> int:
        now = self._now()
        return len({space for (space, end), long in self._seen.items() if long and now < end <= now + SOON})

    def _ended(self) -> int:
        now = self._now()
        return len({space for space, end in self._seen if end <= now})
