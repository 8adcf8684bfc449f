"""Connects the parts: `build` those that decide, `connect` also those around them in a process.

Only this module calls the constructors of supply, admission and the background together. Tests give `build` their own
source, and their own calls to the API server.
"""

import secrets
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from webhook.accounts import Tightened
from webhook.admission import Admission
from webhook.config.models import Config
from webhook.core.metrics import Metrics
from webhook.core.notice import Record
from webhook.core.pullsecret import Fingerprint, Planner
from webhook.expiry import Expiry
from webhook.kube.cluster import Cluster
from webhook.kube.events import EventRecorder
from webhook.kube.reader import Reader
from webhook.kube.safetynet import SafetyNet
from webhook.kube.store import Lookup, PullSecrets, WritePolicy
from webhook.kube.views import State
from webhook.refresh import Refresh
from webhook.sources import Answers, Source
from webhook.sources.configured import configured
from webhook.supply import Supply


@dataclass(frozen=True)
class Parts:
    """What decides. `state` reports its changes to the others."""

    state: State
    supply: Supply
    refresh: Refresh
    admission: Admission


def build(
    *,
    config: Config,
    state: State,
    source: Answers,
    store: PullSecrets,
    lookup: Lookup,
    policy: Callable[[], Awaitable[bool]],
    planner: Planner,
    now: Callable[[], datetime],
    metrics: Metrics,
    record: Record,
) -> Parts:
    supply = Supply(
        state=state,
        source=source,
        store=store,
        lookup=lookup,
        policy=policy,
        planner=planner,
        now=now,
        metrics=metrics,
        record=record,
    )
    refresh = Refresh(supply=supply, of_owner=state.namespaces.of_owner, record=record, secret=planner.name)
    admission = Admission(
        config=config,
        state=state,
        supply=supply,
        lookup=lookup,
        later=refresh.look,
        record=record,
    )
    state.namespaces.new_or_moved = refresh.new_or_moved
    state.accounts.on_change.append(Tightened(planner.name, state, record))
    return Parts(state, supply, refresh, admission)


@dataclass(frozen=True)
class Connected:
    """What decides, and what a process has around it."""

    parts: Parts
    reader: Reader
    source: Source
    events: EventRecorder
    net: SafetyNet
    expiry: Expiry


def connect(config: Config, cluster: Cluster, metrics: Metrics, now: Callable[[], datetime]) -> Connected:
    def changed(owner: str | None) -> None:
        parts.refresh.owner_changed(owner)  # `parts` is built below, after the source

    name, state, fingerprint = config.pull_secret.name, State.empty(), Fingerprint(secrets.token_bytes(32))
    reader = Reader(config.rules, config.excluded, fingerprint, name)
    events = EventRecorder(metrics, now, socket.gethostname(), config.namespace)
    source = configured(config=config, cluster=cluster, changed=changed, record=events.record, metrics=metrics, now=now)
    parts = build(
        config=config,
        state=state,
        source=source,
        store=PullSecrets(cluster, reader, name),
        lookup=Lookup(cluster, reader, state),
        policy=WritePolicy(cluster, name, config.namespace).holds,
        planner=Planner(name, fingerprint, config.pull_secret.when_unowned),
        now=now,
        metrics=metrics,
        record=events.record,
    )
    net = SafetyNet(cluster, state, config.namespace, name, events.record)
    return Connected(parts, reader, source, events, net, Expiry(state.pull_secrets, name, now, events.record, metrics))
