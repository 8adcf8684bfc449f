"""Tells the chart's safety net, an admission policy in the API server, which namespaces it must leave alone.

These have an account with enforce-mountable-secrets that does not list the pull secret: the API server refuses its pods
if they have the reference. The policy reads the account `default` itself; to read all accounts would cost more with
each of them. So the webhook writes the namespaces into an annotation of one account that the policy reads. While no
replica runs it may be old: pods of an account that begins to enforce then are refused until a replica runs.
"""

import asyncio

import structlog

from webhook.core.backoff import Backoff
from webhook.core.names import MANAGER, REFUSING, SAFETY_NET
from webhook.core.notice import Notice, Record
from webhook.core.pullsecret import Namespace
from webhook.kube.cluster import MERGE_PATCH, Cluster, ClusterError
from webhook.kube.views import AnyAccount, State, account_key

log = structlog.get_logger()
MAX_ANNOTATION_BYTES = 64 * 1024
"""Bytes of the annotation. All annotations of an object may have four times as many."""
PAUSE_SECONDS = 1.0
"""Seconds between two writes, however often accounts begin and stop to enforce."""
MAX_BACKOFF_SECONDS = 10.0
"""Seconds of the longest pause while the API server refuses."""


class SafetyNet:
    """`namespace`: our own; `secret`: the pull secret's name."""

    def __init__(self, cluster: Cluster, state: State, namespace: str, secret: str, record: Record) -> None:
        self._cluster, self._state, self._secret, self._record = cluster, state, secret, record
        self._path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{SAFETY_NET}"
        self._key = account_key(namespace, SAFETY_NET)
        message = (
            f"too many namespaces have an account that enforces mountable secrets and does not list {secret} (their "
            f"names have more than {MAX_ANNOTATION_BYTES // 1024} KiB): while no replica answers, only pods of the "
            f"account default get the reference, in all namespaces; add {secret} to the imagePullSecrets of those "
            "accounts"
        )
        self._too_long = Notice("SafetyNetLimited", message, namespace, "ServiceAccount", SAFETY_NET)
        self._refusing: dict[str, set[str]] = {}
        """By namespace, the accounts that refuse the reference."""
        self._written: str | None = ""
        self._news = asyncio.Event()
        state.accounts.on_change.append(self._account)
        state.namespaces.on_change.append(self._namespace)

    def _account(self, key: str, _before: AnyAccount | None, account: AnyAccount | None) -> None:
        namespace, _, name = key.partition("/")
        if account is not None and account.refuses(self._secret):
            self._refusing.setdefault(namespace, set()).add(name)
        elif namespace in self._refusing:
            self._refusing[namespace].discard(name)
            if not self._refusing[namespace]:
                del self._refusing[namespace]
        if key == self._key:
            self._written = ""  # perhaps somebody has changed the annotation
        self._news.set()

    def _namespace(self, name: str, *_: Namespace | None) -> None:
        if name in self._refusing:
            self._news.set()

    def text(self) -> str | None:
        """The namespaces, each between commas, as the policy searches for them. If there is room, also those that are
        not served: one may get an owner while no replica runs. None: all, because the names of the served are too long.
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
            if self._state.accounts.get(self._key) is not None:  # part of the chart's safety net
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
        """False: it failed. If somebody changes the annotation later, the watch on accounts reports it."""
        body = {"metadata": {"annotations": {REFUSING: text}}}
        self._written = text
        query = {"fieldManager": MANAGER}
        try:
            await self._cluster.call("PATCH", self._path, query=query, body=body, content_type=MERGE_PATCH)
        except ClusterError as e:
            self._written = ""
            log.warning("cannot write which namespaces the safety net leaves alone; trying again", error=str(e))
            return False
        return True
