"""Says before a credential ends that it will: in the metrics, and by an Event beside the pull secret that holds it.

A pull secret carries when its credentials end, whatever source they came from, so one look over the view finds them
all: one that has ended, and stays until it is renewed, hides no other one's end. Of several that end soon the first is
told. Nothing is asked. Credentials that live for less than a day are renewed by machines: they are counted once they
have ended, and nobody is told before.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from webhook.core.credential import has_ended
from webhook.core.metrics import Metrics
from webhook.core.notice import Notice, Record
from webhook.core.pullsecret import SOON, ExistingSecret
from webhook.fairness import yield_to_reviews
from webhook.kube.views import View

SHORT = timedelta(days=1)
LOOK_SECONDS = 15.0
"""Seconds between two looks."""
BATCH = 500
"""Ends that are looked at without a pause: half a millisecond."""


class Expiry:
    def __init__(
        self, existing: View[ExistingSecret], name: str, now: Callable[[], datetime], record: Record, metrics: Metrics
    ) -> None:
        self._existing, self._name, self._now, self._record, self._metrics = existing, name, now, record, metrics
        self._seen: dict[str, dict[datetime, bool]] = {}
        """By namespace and end: was the credential given for long?"""
        self._told: dict[str, datetime] = {}

    async def run(self) -> None:
        await self._existing.synced.wait()
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        now, ending, ended, looked = self._now(), 0, 0, 0
        before, self._seen, told, self._told = self._seen, {}, self._told, {}
        for namespace, existing in [one for one in self._existing.items() if one[1].ends]:
            known = before.get(namespace, {})
            ends = self._seen[namespace] = {end: known.get(end, end - now > SHORT) for end in existing.ends}
            ended += has_ended(min(ends), now)
            if soon := [
                end for end, long in ends.items() if long and not has_ended(end, now) and has_ended(end, now + SOON)
            ]:
                ending += 1
                self._told[namespace] = min(soon)
                self._say(namespace, min(soon), told.get(namespace))
            if (looked := looked + len(ends)) > BATCH:
                looked = 0
                await yield_to_reviews()
        self._metrics.ending.set(ending)
        self._metrics.ended.set(ended)

    def _say(self, namespace: str, end: datetime, told: datetime | None) -> None:
        if end != told:
            message = f"a credential in it ends at {end:%Y-%m-%d %H:%M} UTC; renew it at its source"
            self._record(Notice("CredentialEnds", message, namespace, "Secret", self._name))
