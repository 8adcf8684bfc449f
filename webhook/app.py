"""The process: watches, source, background, certificates and servers start and end together.

Everything that runs for ever is a task of one TaskGroup: a watch that ends, ends the process. Otherwise a webhook would
look alive and see no changes.
"""

import asyncio
import functools
import gc
import logging
import platform
import secrets
import signal
import socket
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path
from uuid import uuid4

import structlog
import uvicorn

from certs.errors import Unusable
from certs.files import Files
from certs.selfmanaged import SelfManaged
from certs.serving import Serving
from webhook.checks.checked import Checked
from webhook.checks.checker import Checker
from webhook.checks.mirrorhealth import MirrorHealth
from webhook.checks.registryclient import RegistryClient
from webhook.config.models import Config
from webhook.core.check import KEY_BYTES
from webhook.core.errors import PullsecretError
from webhook.core.metrics import Metrics
from webhook.core.names import CHECKS_SECRET, WRITE_POLICY
from webhook.core.notice import Reason
from webhook.core.presence import Presence
from webhook.core.pullsecret import Fingerprint, Planner
from webhook.core.shares import slots_of
from webhook.expirynotices import ExpiryNotices
from webhook.kube import preflight, reflector
from webhook.kube.ca import CaBundle, CaSecret
from webhook.kube.cluster import Cluster, Object
from webhook.kube.events import EventRecorder, current_for
from webhook.kube.lookup import Lookup
from webhook.kube.ownsecret import OwnSecret
from webhook.kube.pullsecrets import PullSecrets
from webhook.kube.reader import Reader
from webhook.kube.safetynet import SafetyNet
from webhook.kube.slots import Slots
from webhook.kube.views import State
from webhook.kube.watch import Changed, Replaced, Watch
from webhook.kube.writepolicy import WritePolicy
from webhook.serving import lines
from webhook.serving.server import CLOSING_SECONDS, LINGER_SECONDS, Mutate, admission_app, listen, metrics_app, server
from webhook.sharing import Sharing
from webhook.sources import Source
from webhook.sources.configured import configured
from webhook.supply import Supply
from webhook.tasks import for_ever
from webhook.wiring import Parts
from webhook.withdrawals import Withdrawals

log = structlog.get_logger()
MAX_CLOCK_SKEW = timedelta(minutes=5)
"""A larger difference between our clock and the API server's is logged."""
MIDDLE_COLLECTIONS = 100
"""Before a full garbage collection, instead of Python's ten. Those before find nearly all garbage; a full one looks
through all that came since the start: 250,000 objects and more where 25,000 owners got new tokens, which takes 0.06 to
0.2 s. Python 3.14.0 to 3.14.4, which collects in small steps, ignores this.
"""
SOURCES_SECONDS = 5.0
"""The longest wait for the sources at the start. Without them the webhook serves too: references cannot come later."""


def now() -> datetime:
    return datetime.now(UTC)


async def serve(config: Config, kubeconfig: str | None) -> None:
    """Until SIGTERM or SIGINT. Raises PullsecretError for what an administrator must fix."""
    address = config.server.address
    with listen(address, config.server.port) as tls, listen(address, config.server.metrics_port) as plain:
        async with Cluster.connect(kubeconfig) as cluster:
            await App(config, cluster).run(tls, plain)


class App:
    def __init__(self, config: Config, cluster: Cluster) -> None:
        self._config, self._cluster = config, cluster
        self._metrics, self._serving = Metrics(lines.dropped), Serving()
        self._draining = False
        self._version = {"version": metadata.version("pullsecret-webhook"), "python": platform.python_version()}
        self._metrics.build.labels(**self._version).set(1)
        name, fingerprint, state = config.pull_secret.name, Fingerprint(secrets.token_bytes(32)), State.empty()
        self._reader = Reader(config.rules, config.excluded, fingerprint, name, config.regions)
        self._events = EventRecorder(self._metrics, now, socket.gethostname(), config.namespace)
        self._record = self._events.record
        self._source: Source = configured(config, cluster, self._changed, self._record, self._metrics, now)
        me = f"{socket.gethostname()}_{uuid4().hex[:8]}"  # also on one host each replica has a name of its own
        self._checker = self._checked(me) if config.check else None
        self._policy = self._write_policy()
        slots = Slots(cluster, config.namespace, slots_of(config.replicas), me)
        self._sharing = Sharing(slots, me, state.namespaces, self._able)
        self._metrics.share.value = self._sharing.part
        withdrawals = Withdrawals(
            config.pull_secret.max_withdrawn,
            state,
            time.monotonic,
            self._record,
            config.namespace,
            config.tls.service,
            self._sharing.part,
        )
        supply = Supply(
            state=state,
            source=self._source,
            store=PullSecrets(cluster, self._reader, name),
            lookup=Lookup(cluster, self._reader, state),
            policy=self._policy.holds,
            planner=Planner(
                name,
                fingerprint,
                config.pull_secret.when_unowned,
                config.pull_secret.when_withdrawn,
                config.mirror_rules,
            ),
            now=now,
            metrics=self._metrics,
            record=self._record,
            withdrawals=withdrawals,
            mine=self._sharing.mine,
        )
        self._metrics.namespaces.counts = supply.standings.counts
        self._metrics.withdrawals_held.set_function(withdrawals.held)
        self._mirrors = self._mirror_health() if config.rewrite_rules else None
        self._parts = Parts(config, supply, self._mirrors.silent) if self._mirrors else Parts(config, supply)
        self._sharing.moved = self._parts.refresh.share_changed
        self._net = SafetyNet(cluster, state, config.namespace, name, self._record)
        self._expiry = ExpiryNotices(state.pull_secrets, name, now, self._record, self._metrics)
        self._mutate = Mutate(self._parts.admission, self._metrics, verbose=log.is_enabled_for(logging.DEBUG))
        self._measure()

    def _write_policy(self) -> WritePolicy:
        gone = (
            f"the write policy {WRITE_POLICY} is no longer in force: only RBAC limits what the webhook's account "
            "writes; look for the policy and its binding, and upgrade the release to have them again"
        )
        back = f"the write policy {WRITE_POLICY} is in force again"
        presence = self._presence(("WritePolicyGone", gone), ("WritePolicyBack", back), looks=2)
        self._metrics.write_policy.value = presence.value
        config = self._config
        return WritePolicy(self._cluster, config.pull_secret.name, config.namespace, presence.seen)

    def _registration(self) -> Presence:
        name = f"MutatingWebhookConfiguration {self._config.tls.webhook_configuration}"
        gone = (
            f"{name} is gone, has no entry {self._config.tls.webhook}, or cannot get the webhook's CA: pods get no "
            "reference to their pull secret; upgrade the release to have it again"
        )
        back = f"{name} is there again; pods created meanwhile may lack the reference, see pullsecret status"
        presence = self._presence(("RegistrationGone", gone), ("RegistrationBack", back))
        self._metrics.registered.value = presence.value
        return presence

    def _presence(
        self, gone: tuple[Reason, str], back: tuple[Reason, str], *, looks: int = 1, mirror: str = ""
    ) -> Presence:
        """`mirror`: its host. One that never answered is missing, too."""
        config, again = self._config, current_for(gone[0]) + timedelta(minutes=1)
        service = config.tls.service
        return Presence(
            gone,
            back,
            config.namespace,
            service,
            now,
            self._record,
            looks,
            expected=bool(mirror),
            source=mirror,
            again=again,
        )

    def _mirror_health(self) -> MirrorHealth:
        def presence(host: str) -> Presence:
            back = f"the mirror {host} answers: images of new pods get their names there"
            return self._presence(("MirrorSilent", ""), ("MirrorAnswers", back), mirror=host)

        hosts = dict.fromkeys(rule.host for rule in self._config.rewrite_rules)
        health = MirrorHealth(hosts, RegistryClient(self._config, now), presence)
        self._metrics.mirrors.counts = health.up
        return health

    def _checked(self, me: str) -> Checker:
        """From here on the source knows what registries say about its credentials."""
        store = OwnSecret(self._cluster, self._config.namespace, CHECKS_SECRET, "check")
        client, share = RegistryClient(self._config, now), self._config.pull_secret.max_withdrawn
        checker = Checker(store, client, me, secrets.token_bytes(KEY_BYTES), share)
        self._source = checked = Checked(self._source, checker, self._changed, self._record, now)
        self._metrics.checked.counts = checked.results
        return checker

    def _changed(self, owner: str | None) -> None:
        self._parts.refresh.owner_changed(owner)

    def _measure(self) -> None:
        for resource, view in self._parts.state.views.items():
            self._metrics.known.labels(resource).set_function(view.__len__)
        self._metrics.ready.set_function(lambda: float(not self._missing()))
        self._metrics.certificate_expiry.value = lambda: (
            self._serving.leaf.ends.timestamp() if self._serving.leaf else 0.0
        )

    def _able(self) -> bool:
        """Can this replica do its share of the background's work? Not if its sources, or its watches, are down."""
        return self._source.able() and not any(view.behind() for view in self._parts.state.views.values())

    def _missing(self) -> str:
        """What readiness waits for."""
        if self._draining:
            return "draining"
        missing = [] if self._serving.ready else ["certificate"]
        missing += [resource for resource, view in self._parts.state.views.items() if not view.synced.is_set()]
        missing += [] if self._source.settled.is_set() else ["source"]
        return ", ".join(missing + ([] if self._mirrors is None or self._mirrors.asked() else ["mirrors"]))

    async def run(self, tls: socket.socket, plain: socket.socket) -> None:
        stop: asyncio.Queue[signal.Signals] = asyncio.Queue()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.put_nowait, number)
        mutate = self._mutate
        web = server(admission_app(mutate, self._missing), context=self._serving.listening, at_once=mutate.at_once)
        numbers = server(metrics_app(self._metrics))
        async with asyncio.TaskGroup() as group:
            group.create_task(numbers.serve([plain]))  # first: the liveness probe does not wait for the rest
            working = group.create_task(self._work(group, web, tls))
            first = await stop.get()
            if not web.started:
                working.cancel()
            elif first == signal.SIGTERM:  # Ctrl-C is a person who does not want to wait
                await self._drain()
            web.should_exit = numbers.should_exit = True
        self._parts.supply.writes.finish()
        log.info("stopped")

    async def _work(self, group: asyncio.TaskGroup, web: uvicorn.Server, tls: socket.socket) -> None:
        """Until `web` should exit."""
        await preflight.check(self._cluster, preflight.needs(self._config))
        tasks = [group.create_task(run) for run in (*await self._certificates(), *self._runs())]
        # What must be fixed before that is one line alone.
        log.info("starting", **self._version, **self._config.in_short)
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
                self._parts.state,
                self._reader,
                self._metrics,
                self._record,
                self._parts.refresh.look_soon,
                self._parts.supply.secret_changed,
            ),
            for_ever("safety net", self._net.run),
            self._source.run(),
            for_ever("events", functools.partial(self._events.run, self._cluster)),
            for_ever("expiry", self._expiry.run),
            for_ever("write policy", self._policy.run),
            *([for_ever("checks", self._checker.run)] if self._checker is not None else []),
            *([for_ever("mirrors", self._mirrors.run)] if self._mirrors is not None else []),
            *([for_ever("sharing", self._sharing.run)] if self._config.replicas > 1 else []),
            self._begin(),
        ]

    async def _begin(self) -> None:
        """Starts the background when the views are synced: earlier, right Secrets would be written again."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SOURCES_SECONDS):  # wait_for of Python 3.11 may swallow a cancellation
                await self._source.settled.wait()
        self._source.settled.set()
        await self._parts.state.wait_told()
        log.info("synced", namespaces=len(self._parts.state.namespaces), secrets=len(self._parts.state.pull_secrets))
        if self._config.replicas > 1:
            await self._sharing.begin()
        gc.freeze()  # these objects live long: a full collection would scan them, for up to 0.2 s
        gc.set_threshold(*gc.get_threshold()[:2], MIDDLE_COLLECTIONS)
        await self._parts.refresh.run()

    async def _certificates(self) -> list[Coroutine[None, None, None]]:
        tls, report = self._config.tls, functools.partial(log.info, about="certificate")
        if tls.cert_file is not None and tls.key_file is not None:
            files = Files(Path(tls.cert_file), Path(tls.key_file), self._serving, now=now, report=report)
            try:
                await files.start()
            except Unusable as e:
                raise PullsecretError(str(e)) from None
            return [files.run(), for_ever("configuration", functools.partial(self._watched, self._registration()))]
        manager = SelfManaged(
            CaSecret(self._cluster, self._config.namespace, tls.ca_secret),
            CaBundle(self._cluster, tls.webhook_configuration, tls.webhook),
            tls.names(self._config.namespace),
            self._serving,
            now=self._cluster.now,
            report=report,
            registered=self._registration().seen,
        )
        return [
            for_ever("certificates", functools.partial(self._self_managed, manager)),
            for_ever("configuration", functools.partial(self._configuration, manager)),
        ]

    async def _self_managed(self, manager: SelfManaged) -> None:
        await manager.start()
        if abs(now() - self._cluster.now()) > MAX_CLOCK_SKEW:
            log.warning("this clock differs from the API server's, which only certificates use; synchronize the clocks")
        await manager.run()

    async def _configuration(self, manager: SelfManaged) -> None:
        """A `kubectl replace` or a forced Helm upgrade empties the caBundle: this publishes it again immediately."""
        async for _ in self._configuration_events():
            manager.poke()

    async def _watched(self, presence: Presence) -> None:
        """Of a configuration that others give its caBundle."""
        async for event in self._configuration_events():
            presence.seen(bool(event.items) if isinstance(event, Replaced) else not event.gone)

    def _configuration_events(self) -> AsyncIterator[Replaced[Object] | Changed[Object]]:
        watch = Watch(
            self._cluster,
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            Object,
            lambda seen: (seen.metadata.name, seen),
            reflector.Health("mutatingwebhookconfigurations", self._metrics, self._record),
            query={"fieldSelector": f"metadata.name={self._config.tls.webhook_configuration}"},
            metadata_only=True,
        )
        return watch.events()

    async def _drain(self) -> None:
        """Fails readiness, but accepts connections until endpoints are updated; then asks clients to close theirs."""
        self._draining = True
        self._sharing.leave()
        log.info("draining", seconds=LINGER_SECONDS + CLOSING_SECONDS)
        await asyncio.sleep(LINGER_SECONDS)
        self._mutate.closing = True
        await asyncio.sleep(CLOSING_SECONDS)
