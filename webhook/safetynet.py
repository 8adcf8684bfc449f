"""Tells the chart's safety net, an admission policy in the API server, which namespaces it is to leave alone.

There, an account with enforce-mountable-secrets that does not list the pull secret refuses pods with the reference. The
net looks at the account `default` itself; all others it could look at only at a price that grows with their number. So
what our view knows of them stands in the annotation of one account that it does look at. While no replica is up it may
be old: then the pods of an account that has begun to enforce meanwhile are refused until one is.
"""

import asyncio

import structlog

from webhook.cluster import Cluster, ClusterError
from webhook.names import MANAGER, REFUSING, SAFETY_NET
from webhook.state import Accounts, account_key

log = structlog.get_logger()
LONGEST = 64 * 1024
"""Bytes of the annotation. Of all that an object has there may be four times as much."""
PAUSE = 1.0
"""Seconds between two writes: whoever makes accounts begin and stop to enforce causes no more than that."""


class SafetyNet:
    """`secret`: the pull secret's name. `heard` is told of each account that is not what it was."""

    def __init__(self, cluster: Cluster, accounts: Accounts, namespace: str, secret: str) -> None:
        self._cluster, self._accounts, self._secret = cluster, accounts, secret
        self._path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{SAFETY_NET}"
        self._key = account_key(namespace, SAFETY_NET)
        self._written: str | None = ""
        self._news = asyncio.Event()

    def heard(self, key: str) -> None:
        if key == self._key:
            self._written = ""  # perhaps somebody has undone it
        self._news.set()

    def text(self) -> str | None:
        """The namespaces between commas, as the net looks for them; None, for all of them, when they are too many.

        From the view as it is: 20,000 accounts take a few milliseconds, once a second at most.
        """
        refusing = {key.partition("/")[0] for key, account in self._accounts.items() if account.refuses(self._secret)}
        text = ",".join(["", *sorted(refusing), ""]) if refusing else ","
        return text if len(text) <= LONGEST else None

    async def run(self) -> None:
        await self._accounts.synced.wait()
        self._news.set()
        while True:
            await self._news.wait()
            self._news.clear()
            if self._accounts.get(self._key) is not None:  # the chart has made it, where there is a net
                text = self.text()
                if text != self._written:
                    await self._write(text)
            await asyncio.sleep(PAUSE)

    async def _write(self, text: str | None) -> None:
        """Whoever undoes it is heard of, as it is one of the accounts."""
        body = {"metadata": {"annotations": {REFUSING: text}}}
        self._written = text
        query = {"fieldManager": MANAGER}
        try:
            await self._cluster.call(
                "PATCH", self._path, query=query, body=body, content_type="application/merge-patch+json"
            )
        except ClusterError as e:
            self._written = ""
            log.warning("the safety net could not be told which accounts refuse; trying again", error=str(e))
            self._news.set()
