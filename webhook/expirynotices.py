"""Reports credentials before they expire: in the metrics, and by an Event about the pull secret that holds them.

A pull secret records when its credentials expire, whatever source they came from, so a look at the view finds them all:
an expired one that stays until it is renewed does not hide others. Of several that expire soon, the first is reported.
There is no I/O. Credentials that live for less than a day are renewed by machines: they are counted after they expire,
and not reported before.
"""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from webhook.core.credential import has_expired, next_expiry
from webhook.core.metrics import Metrics
from webhook.core.notice import Notice, Record
from webhook.core.pullsecret import SOON, ExistingSecret
from webhook.core.times import to_the_minute
from webhook.fairness import yield_to_reviews
from webhook.kube.views import View

SHORT = timedelta(days=1)
LOOK_SECONDS = 15.0
BATCH = 500
"""Expiry times that are checked without a pause: half a millisecond."""


class ExpiryNotices:
    def __init__(
        self, existing: View[ExistingSecret], name: str, now: Callable[[], datetime], record: Record, metrics: Metrics
    ) -> None:
        self._existing, self._name, self._now, self._record, self._metrics = existing, name, now, record, metrics
        self._ending = {namespace: None for namespace, one in existing.items() if one.expiries}
        """Namespaces whose pull secret says when something in it expires: of 100,000 there may be none."""
        existing.on_change.append(self._changed)
        self._seen: dict[str, dict[datetime, bool]] = {}
        """By namespace and expiry time: was the credential issued for more than SHORT?"""
        self._reported: dict[str, datetime] = {}

    async def run(self) -> None:
        await self._existing.synced.wait()
        while True:
            await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        now, expiring, expired, looked = self._now(), 0, 0, 0
        before, self._seen, reported, self._reported = self._seen, {}, self._reported, {}
        for namespace in [*self._ending]:
            if (existing := self._existing.get(namespace)) is None or not existing.expiries:
                continue  # since the last step
            known = before.get(namespace, {})
            seen = self._seen[namespace] = {at: known.get(at, at - now > SHORT) for at in existing.expiries}
            expired += has_expired(min(seen), now)
            first = next_expiry((at for at, long in seen.items() if long), now)
            if first is not None and has_expired(first, now + SOON):
                expiring += 1
                self._reported[namespace] = first
                if first != reported.get(namespace):
                    self._report(namespace, first)
            if (looked := looked + len(seen)) > BATCH:
                looked = 0
                await yield_to_reviews()
        self._metrics.expiring.set(expiring)
        self._metrics.expired.set(expired)

    def _changed(self, namespace: str, _before: ExistingSecret | None, after: ExistingSecret | None) -> None:
        if after is not None and after.expiries:
            self._ending[namespace] = None
        else:
            self._ending.pop(namespace, None)

    def _report(self, namespace: str, expiry: datetime) -> None:
        message = f"a credential in it expires at {to_the_minute(expiry)} UTC; renew it at its source"
        self._record(Notice("CredentialExpires", message, namespace, "Secret", self._name))
