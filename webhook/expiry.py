"""Says before a credential ends that it will: in the metrics, and by an Event beside the pull secret that holds it.

A pull secret carries when the first of its credentials ends, whatever source they came from, so one look over the view
finds them all. Nothing is asked. Credentials that live for less than a day are renewed by machines: they are counted
once they have ended, and nobody is told before.
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
        self._seen: dict[str, tuple[datetime, bool]] = {}
        """By namespace: the end, and whether the credential was given for long."""
        self._told: dict[str, datetime] = {}
        metrics.ending.set_function(self._ending)
        metrics.ended.set_function(self._ended)

    async def run(self) -> None:
        await self._standing.synced.wait()
        while True:
            self.look()
            await asyncio.sleep(EVERY)

    def look(self) -> None:
        now = self._now()
        ends = {namespace: s.expires for namespace, s in self._standing.items() if s.ours and s.expires is not None}
        self._seen = {
            namespace: seen if (seen := self._seen.get(namespace)) and seen[0] == end else (end, end - now > SHORT)
            for namespace, end in ends.items()
        }
        self._told = {namespace: end for namespace, end in self._told.items() if ends.get(namespace) == end}
        for namespace, (end, long) in self._seen.items():
            if long and now < end <= now + SOON and namespace not in self._told:
                self._told[namespace] = end
                message = f"a credential in it ends at {end:%Y-%m-%d %H:%M} UTC; renew it at its source"
                self._tell(Notice("CredentialEnds", message, namespace, "Secret", self._name))

    def _ending(self) -> int:
        now = self._now()
        return sum(long and now < end <= now + SOON for end, long in self._seen.values())

    def _ended(self) -> int:
        now = self._now()
        return sum(end <= now for end, _ in self._seen.values())
