"""The process of `pullsecret issue`: watches, a Lease, and for each issuer its loop. It is apart from the admission
server, which needs neither the right to write source Secrets nor what a cloud lets this process do.

All replicas watch; the one that leads issues. What it has minted is in Secrets, so another one can go on at any step.
"""

import asyncio
import functools
import signal
import socket
from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from importlib import metadata
from uuid import uuid4

import structlog

from webhook.checks.registryclient import RegistryClient
from webhook.config.issuers import Issuer as Model
from webhook.config.models import Config
from webhook.core import issuerchecks
from webhook.core.check import WORDS, Why
from webhook.core.credential import Credential
from webhook.core.metrics import IssuerMetrics, IssuerNumbers
from webhook.core.names import ISSUER_CHECKS, ISSUER_LEASE
from webhook.core.pullsecret import Fingerprint, Namespace
from webhook.issuers import IssuerUnavailable, NotLeading
from webhook.issuers.checking import Checking, likeliest, made
from webhook.issuers.configured import configured
from webhook.issuers.issuing import Issuing
from webhook.issuers.minting import Bucket
from webhook.issuers.notices import Problem, notices
from webhook.kube import preflight, reflector
from webhook.kube.cluster import Cluster
from webhook.kube.events import EventRecorder
from webhook.kube.issuedsecrets import IssuedSecrets
from webhook.kube.lease import Lease
from webhook.kube.reader import Reader
from webhook.kube.reflector import Health
from webhook.kube.views import Namespaces
from webhook.serving import lines
from webhook.serving.server import listen, metrics_app, server
from webhook.tasks import for_ever

log = structlog.get_logger()
OLDEST = "kube-system"
"""The namespace that each cluster has."""
BURST = 10
"""Calls to an issuer at once, before its rate counts."""


def now() -> datetime:
    return datetime.now(UTC)


async def issue(config: Config, kubeconfig: str | None) -> None:
    """Until SIGTERM or SIGINT. Raises PullsecretError for what an administrator must fix."""
    with listen(config.server.address, config.server.metrics_port) as plain:
        async with Cluster.connect(kubeconfig) as cluster:
            await Process(config, cluster).run(plain)


class Process:
    def __init__(self, config: Config, cluster: Cluster) -> None:
        self._config, self._cluster, self._me = config, cluster, f"{socket.gethostname()}_{uuid4().hex[:8]}"
        self._metrics = IssuerMetrics(lines.dropped)
        self._events = EventRecorder(self._metrics, now, socket.gethostname(), config.namespace)
        self._record = self._events.record
        self._namespaces = Namespaces()
        self._namespaces.on_change.append(self._changed)
        self._reader = Reader(config.rules, config.excluded, Fingerprint(b""), config.pull_secret.name, config.regions)
        self._lease = Lease(cluster, config.namespace, ISSUER_LEASE, self._me)
        self._registry = RegistryClient(config, now)
        self._issuers = [(one, *self._connected(one)) for one in config.issuers]
        self._checking = {model.called: self._checks(model, secrets) for model, secrets, _ in self._issuers}
        self._metrics.leads.set_function(lambda: float(self._lease.leads()))
        self._metrics.issuers.numbers = self._numbers

    def _connected(self, model: Model) -> tuple[IssuedSecrets, Issuing]:
        secrets = IssuedSecrets(self._cluster, self._config.namespace, model.called)
        issuing = Issuing(
            configured(model, self._config, self._cluster_id),
            secrets,
            lambda owner: model.is_for(owner) and self._has_namespace(owner),
            self._verify,
            self._fence,
            now,
            functools.partial(self._told, model),
            Bucket(model.rate, BURST),
        )
        secrets.on_change.append(lambda owner, _before, _after: issuing.look(owner))
        return secrets, issuing

    def _checks(self, model: Model, secrets: IssuedSecrets) -> Checking:
        def owners() -> list[str]:
            return likeliest(self._owners_for(model), lambda owner: secrets.get(owner) is not None)

        return Checking(model.called, functools.partial(made, model, self._config), owners, now, self._publish)

    def _publish(self) -> None:
        last = {called: one.last for called, one in self._checking.items() if one.last is not None}
        self._lease.annotations = {ISSUER_CHECKS: issuerchecks.text(last)}

    def _cluster_id(self) -> str:
        """Which cluster this is. It stays as it is for as long as the cluster is there."""
        if (found := self._namespaces.get(OLDEST)) is None:
            raise IssuerUnavailable(f"which cluster this is, the namespace {OLDEST} says, and nobody has seen it yet")
        return found.uid[:8]

    def _has_namespace(self, owner: str) -> bool:
        return next(self._served(owner), None) is not None

    def _served(self, owner: str) -> Iterator[str]:
        """The namespaces of the owner."""
        for name in self._namespaces.of_owner(owner):
            one = self._namespaces.get(name)
            if one is not None and one.served and not one.terminating:
                yield name

    def _owners(self) -> set[str]:
        return {one.owner for _, one in self._namespaces.items() if one.owner is not None}

    def _numbers(self) -> Mapping[str, IssuerNumbers]:
        owners = self._owners()
        return {
            model.called: replace(issuing.numbers(owners), up=self._checking[model.called].up)
            for model, _, issuing in self._issuers
        }

    def _missing(self) -> str:
        """What has not been read yet; empty: nothing. One that waits for the Lease is ready."""
        missing = [] if self._namespaces.synced.is_set() else ["namespaces"]
        missing += [f"Secrets of {model.called}" for model, secrets, _ in self._issuers if not secrets.synced.is_set()]
        return ", ".join(missing)

    def _changed(self, _name: str, before: Namespace | None, after: Namespace | None) -> None:
        for owner in {one.owner for one in (before, after) if one is not None and one.owner is not None}:
            for model, _, issuing in self._issuers:
                if model.is_for(owner):
                    issuing.look(owner)

    async def _fence(self) -> None:
        if not self._lease.leads():
            raise NotLeading("another replica issues, or the Lease cannot be renewed")

    async def _verify(self, c: Credential) -> str:
        said = await self._registry.ask(c)
        if said.why in {Why.UNAUTHORIZED, Why.FORBIDDEN}:
            return f"the registry {c.registry} refuses it ({WORDS[said.why]})"
        if said.why is not Why.NONE:
            raise IssuerUnavailable(f"the registry {c.registry} does not say whether it works: {WORDS[said.why]}")
        return ""

    def _told(self, model: Model, owner: str, problem: Problem | None) -> None:
        for one in notices(model.called, owner, problem, self._config.namespace, self._served(owner)):
            self._record(one)

    async def run(self, plain: socket.socket) -> None:
        stop: asyncio.Queue[signal.Signals] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.put_nowait, number)
        numbers = server(metrics_app(self._metrics, self._missing))
        async with asyncio.TaskGroup() as group:
            group.create_task(numbers.serve([plain]))
            working = group.create_task(self._work())
            await stop.get()
            working.cancel()
            numbers.should_exit = True
        await self._registry.close()
        log.info("stopped")

    async def _work(self) -> None:
        await preflight.check(self._cluster, preflight.needs_to_begin_issuing(self._config, ISSUER_LEASE))
        version = metadata.version("pullsecret-webhook")
        log.info("starting", version=version, issuers=[model.called for model, _, _ in self._issuers])
        async with asyncio.TaskGroup() as group:
            for run in self._runs():
                group.create_task(run)

    def _runs(self) -> list[Coroutine[None, None, None]]:
        return [
            reflector.namespaces(self._cluster, self._namespaces, self._reader, self._metrics, self._record),
            for_ever("events", functools.partial(self._events.run, self._cluster)),
            self._when_synced(),
            *(secrets.run(self._health(secrets)) for _, secrets, _ in self._issuers),
        ]

    def _health(self, secrets: IssuedSecrets) -> Health:
        return Health("issued secrets", self._metrics, self._record, view=secrets)

    async def _when_synced(self) -> None:
        for synced in (self._namespaces.synced, *(secrets.synced for _, secrets, _ in self._issuers)):
            await synced.wait()
        await for_ever("issuers", functools.partial(self._lease.run, self._lead))

    async def _lead(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for model, _, issuing in self._issuers:
                    group.create_task(issuing.run(self._owners_for(model)))
                    checking = self._checking[model.called]
                    group.create_task(for_ever("check of an issuer", checking.run))
        finally:
            self._lease.annotations = {}  # what another one finds meanwhile is newer

    def _owners_for(self, model: Model) -> Iterator[str]:
        """As of the moment at which the first one is taken."""
        yield from filter(model.is_for, self._owners())
