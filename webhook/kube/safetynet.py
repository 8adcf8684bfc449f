"""Tells the chart's safety net, an admission policy in the API server, which namespaces it is to leave alone.

There, an account with enforce-mountable-secrets that does not list the pull secret refuses pods with the reference. The
net looks at the account `default` itself; all others it could look at only at a price that grows with their number. So
what our view knows of them stands in the annotation of one account that it does look at. While no replica is up it may
be old: then the pods of an account that has begun to enforce meanwhile are refused until one is.
"""

import asyncio

import structlog

from webhook.core.backoff import Backoff
from webhook.core.names import MANAGER, REFUSING, SAFETY_NET
from webhook.core.notice import Notice, Record
from webhook.kube.cluster import Cluster, ClusterError
from webhook.kube.views import State, account_key

log = structlog.get_logger()
MAX_ANNOTATION_BYTES = 64 * 1024
"""Bytes of the annotation. Of all that an object has there may be four times as much."""
PAUSE_SECONDS = 1.0
"""Seconds between two writes: whoever makes accounts begin and stop to enforce causes no more than that."""
MAX_BACKOFF_SECONDS = 10.0
"""The longest pause while the API server refuses."""


class SafetyNet:
    """`namespace`: our own; `secret`: the pull secret's name. It is told the key of each account and namespace that is
    not what it was.
    """

    def __init__(self, cluster: Cluster, state: State, namespace: str, secret: str, record: Record) -> None:
        self._cluster, self._state, self._secret, self._record = cluster, state, secret, record
        self._path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{SAFETY_NET}"
        self._key = account_key(namespace, SAFETY_NET)
        message = (
            f"in so many namespaces an account enforces mountable secrets and does not list {secret} that their names "
            f"have more than {MAX_ANNOTATION_BYTES // 1024} KiB: while no replica answers, only pods under the account "
            f"default get the reference, in all namespaces; add {secret} to the imagePullSecrets of those accounts"
        )
        self._too_long = Notice("SafetyNetLimited", message, namespace, "ServiceAccount", SAFETY_NET)
        self._refusing: dict[str, set[str]] = {}
        """By namespace, the accounts that do."""
        self._written: str | None = ""
        self._news = asyncio.Event()

    def account(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        account = self._state.accounts.get(key)
        if account is not None and account.refuses(self._secret):
            self._refusing.setdefault(namespace, set()).add(name)
        elif namespace in self._refusing:
            self._refusing[namespace].discard(name)
            if not self._refusing[namespace]:
                del self._refusing[namespace]
        if key == self._key:
            self._written = ""  # perhaps somebody has undone it
        self._news.set()

    def namespace(self, name: str) -> None:
        if name in self._refusing:
            self._news.set()

    def text(self) -> str | None:
        """The namespaces between commas, as the net looks for them. While there is room also those that are not served:
        one may get an owner while no replica is up. None, for all of them, when those that are served are too many.
        """
        for names in (self._refusing, filter(self._served, self._refusing)):
            text = ",".join(["", *sorted(names), ""])
            if len(text) <= MAX_ANNOTATION_BYTES:
                return text
        return None

    def _served(self, name: str) -> bool:
        namespace = self._state.namespaces.get(name)
        return namespace is None or namespace.served

    async def run(self) -> None:
        for view in (self._state.accounts, self._state.namespaces):
            await view.synced.wait()
        self._news.set()
        backoff = Backoff(PAUSE_SECONDS, MAX_BACKOFF_SECONDS)
        while True:
            await self._news.wait()
            self._news.clear()
            if self._state.accounts.get(self._key) is not None:  # the chart has made it, where there is a net
                text = self.text()
                if text is None:
                    self._record(self._too_long)
                if text != self._written and not await self._write(text):
                    self._news.set()
                    await asyncio.sleep(backoff.next())
                    continue
            backoff.reset()
            await asyncio.sleep(PAUSE_SECONDS)

    async def _write(self, text: str | None) -> bool:
        """Whoever undoes it is heard of, as it is one of the accounts. False: it was not possible."""
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
            return False
        return True
