"""Puts the parts together: views and their feeds, source, supply, admission, certificates, servers.

All that runs for ever is a task of one TaskGroup: a feed that ends, ends the process, instead of leaving a webhook
that looks alive and knows nothing new.
"""

import asyncio
import functools
import gc
import random
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
import uvicorn

from certs.errors import Unusable
from certs.files import Files
from certs.selfmanaged import SelfManaged
from certs.serving import Serving
from webhook.admission import Admission, Settings
from webhook.config.config import Config
from webhook.core.errors import PullsecretError
from webhook.core.metrics import Metrics
from webhook.core.notice import Notice
from webhook.core.pullsecret import Fingerprint, Planner
from webhook.expiry import Expiry
from webhook.kube import preflight, reflector
from webhook.kube.ca import CaBundle, CaSecret
from webhook.kube.cluster import Cluster, NamespaceObject
from webhook.kube.events import Events
from webhook.kube.safetynet import SafetyNet
from webhook.kube.store import Lookup, PullSecrets, WritePolicy
from webhook.kube.views import Account, Reader, State
from webhook.kube.watch import Watch, whole
from webhook.refresh import Refresh
from webhook.serving import lines
from webhook.serving.server import CLOSING, LINGER, Mutate, admission_app, listen, metrics_app, server
from webhook.sources import Source
from webhook.sources.configured import configured
from webhook.supply import Supply

log = structlog.get_logger()
CLOCKS = timedelta(minutes=5)
"""How far our clock may differ from the API server's before that is said."""
PATIENCE = 5.0
"""Seconds that the start waits for the sources. Without them the webhook serves on: the references are what counts."""

AGAIN = 2.0
"""Seconds at most before what failed by an error of ours begins anew."""


def now() -> datetime:
    return datetime.now(UTC)


async def serve(config: Config, kubeconfig: str | None) -> None:
    """Until SIGTERM or SIGINT. Raises PullsecretError for what an administrator must put right."""
    address = config.server.address
    with listen(address, config.server.port) as tls, listen(address, config.server.metrics_port) as plain:
        async with Cluster.connect(kubeconfig) as cluster:
            await App(config, cluster).run(tls, plain)


class App:
    def __init__(self, config: Config, cluster: Cluster) -> None:
        name = config.pull_secret.name
        self._config, self._cluster = config, cluster
        self._metrics = Metrics(lines.dropped)
        self._serving = Serving()
        self._state = State.empty()
        self._state.accounts.tightened = self._tightened
        self._draining = False
        fingerprint = Fingerprint(secrets.token_bytes(32))
        self._reader = Reader(config.rules, config.excluded, fingerprint, name)
        self._events = Events(self._metrics, now, socket.gethostname(), config.namespace)
        lookup = Lookup(cluster, self._reader, self._state)
        self._source: Source = configured(config, cluster, self._changed, self._events.tell, self._metrics, now)
        self._supply = supply = Supply(
            self._state,
            self._source,
            PullSecrets(cluster, self._reader, name),
            lookup.namespace,
            WritePolicy(cluster, name, config.namespace).holds,
            Planner(name, fingerprint, config.pull_secret.when_unowned),
            now,
            self._metrics,
            self._events.tell,
        )
        self._refresh = Refresh(supply, self._namespaces_of, self._events.tell, name)
        self._state.namespaces.anew = self._refresh.anew
        admission = Admission(
            Settings(name, config.deployments, config.asked_about_owned),
            self._state,
            supply,
            lookup.namespace_in_review,
            lookup.account,
            self._refresh.look,
            self._events.tell,
        )
        self._net = SafetyNet(cluster, self._state, config.namespace, name, self._events.tell)
        self._state.accounts.news, self._state.namespaces.news = self._net.account, self._net.namespace
        self._expiry = Expiry(self._state.standing, name, now, self._events.tell, self._metrics)
        self._mutate = Mutate(admission, self._metrics)
        self._measure()

    def _changed(self, owner: str | None) -> None:
        self._refresh.owner(owner)

    def _tightened(self, key: str, before: Account | None, account: Account) -> None:
        """Said now: the API server refuses the pods of templates that were patched before, without asking us.

        Also with `deployments: supply`: they may have been patched before that was set.
        """
        namespace, _, name = key.partition("/")
        secret, seen = self._config.pull_secret.name, self._state.namespaces.get(namespace)
        if seen is None or not seen.served or not account.refuses(secret) or (before and before.refuses(secret)):
            return
        message = (
            f"service account {name} now has enforce-mountable-secrets and does not list {secret}: pods of Deployments "
            f"whose template already refers to {secret} are refused; add it to the account's imagePullSecrets"
        )
        self._events.tell(Notice("AccountRefuses", message, namespace, "ServiceAccount", name))

    def _namespaces_of(self, owner: str | None) -> list[str]:
        namespaces = self._state.namespaces
        return [name for name, _ in namespaces.items()] if owner is None else sorted(namespaces.of_owner(owner))

    def _measure(self) -> None:
        for resource, view in self._state.views.items():
            self._metrics.known.labels(resource).set_function(view.__len__)
        self._metrics.certificate_expiry.set_function(
            lambda: self._serving.pair.ends.timestamp() if self._serving.pair else 0.0
        )

    def _missing(self) -> str:
        """What readiness waits for."""
        if self._draining:
            return "draining"
        missing = [] if self._serving.ready else ["certificate"]
        missing += [resource for resource, view in self._state.views.items() if not view.synced.is_set()]
        return ", ".join(missing + ([] if self._source.settled.is_set() else ["source"]))

    async def run(self, tls: socket.socket, plain: socket.socket) -> None:
        stop: asyncio.Future[signal.Signals] = asyncio.get_running_loop().create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, _once, stop, number)
        mutate = self._mutate
        web = server(admission_app(mutate, self._missing), context=self._serving.listening, at_once=mutate.at_once)
        numbers = server(metrics_app(self._metrics))
        async with asyncio.TaskGroup() as group:
            group.create_task(numbers.serve([plain]))  # first: the kubelet asks whether we live, however long we wait
            working = group.create_task(self._work(group, web, tls))
            last = await stop
            if not web.started:
                working.cancel()
            elif last == signal.SIGTERM:  # Ctrl-C is a person who does not want to wait
                await self._drain()
            web.should_exit = numbers.should_exit = True
        log.info("stopped")

    async def _work(self, group: asyncio.TaskGroup, web: uvicorn.Server, tls: socket.socket) -> None:
        """Until `web` should exit."""
        await preflight.check(self._cluster, self._config)
        tasks = [group.create_task(run) for run in (*await self._certificates(), *self._runs())]
        log.info("listening", address=self._config.server.address, port=self._config.server.port)
        try:
            await web.serve([tls])
        finally:
            for task in tasks:
                task.cancel()

    def _runs(self) -> list[Coroutine[None, None, None]]:
        return [
            *reflector.runs(
                self._cluster,
                self._state,
                self._reader,
                self._config.pull_secret.name,
                self._metrics,
                self._events.tell,
                self._refresh.news,
                self._supply.heard,
            ),
            _for_ever("safety net", self._net.run),
            self._source.run(),
            _for_ever("events", functools.partial(self._events.run, self._cluster)),
            _for_ever("expiry", self._expiry.run),
            self._begin(),
        ]

    async def _begin(self) -> None:
        """The background starts when all is known: before, what stands right would be written again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):  # wait_for of Python 3.11 may swallow a cancellation
                await self._source.settled.wait()
        self._source.settled.set()
        await self._state.wait_synced()
        log.info("synced", namespaces=len(self._state.namespaces), secrets=len(self._state.standing))
        gc.freeze()  # what is known by now lives long: a full collection would look through it, for up to 0.2 s
        await self._refresh.run()

    async def _certificates(self) -> list[Coroutine[None, None, None]]:
        tls = self._config.tls
        if tls.cert_file is not None and tls.key_file is not None:
            files = Files(Path(tls.cert_file), Path(tls.key_file), self._serving, now=now, report=_report)
            try:
                await files.start()
            except Unusable as e:
                raise PullsecretError(str(e)) from None
            return [files.run()]
        manager = SelfManaged(
            CaSecret(self._cluster, self._config.namespace, tls.ca_secret),
            CaBundle(self._cluster, tls.webhook_configuration, tls.webhook),
            tls.names(self._config.namespace),
            self._serving,
            now=self._cluster.now,
            report=_report,
        )
        return [
            _for_ever("certificates", functools.partial(self._self_managed, manager)),
            _for_ever("configuration", functools.partial(self._configuration, manager)),
        ]

    async def _self_managed(self, manager: SelfManaged) -> None:
        await manager.start()
        if abs(now() - self._cluster.now()) > CLOCKS:
            log.warning("this clock is not the API server's; certificates go by that one, all else by this one")
        await manager.run()

    async def _configuration(self, manager: SelfManaged) -> None:
        """A `kubectl replace` or a forced Helm upgrade empties the caBundle: it is published again when seen."""
        watch = Watch(
            self._cluster,
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            NamespaceObject,
            whole,
            reflector.Health("mutatingwebhookconfigurations", self._metrics, self._events.tell),
            query={"fieldSelector": f"metadata.name={self._config.tls.webhook_configuration}"},
            metadata_only=True,
        )
        async for _ in watch.events():
            manager.poke()

    async def _drain(self) -> None:
        """Readiness off, but accepting on while endpoints lag behind; then clients are told to go; then the end."""
        self._draining = True
        log.info("draining", seconds=LINGER + CLOSING)
        await asyncio.sleep(LINGER)
        self._mutate.closing = True
        await asyncio.sleep(CLOSING)


async def _for_ever(what: str, run: Callable[[], Awaitable[None]]) -> None:
    """For what may begin anew as if nothing had been: an error of a library, or of ours, ends nothing."""
    while True:
        try:
            return await run()
        except Exception:
            log.exception("our own bug: it begins anew", what=what)
        await asyncio.sleep(random.uniform(AGAIN / 2, AGAIN))  # noqa: S311  # jitter


def _once(stop: asyncio.Future[signal.Signals], number: signal.Signals) -> None:
    if not stop.done():
        stop.set_result(number)


def _report(text: str) -> None:
    log.info(text, about="certificate")
