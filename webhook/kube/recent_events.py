"""The warnings among the webhook's own recent Events, read back for `pullsecret status`: about pull secrets, and about
sources. An administrator's command cannot query a database or an HTTP service; these Events say what the webhook found.
What a later Event says is over is left out.

Events about sources count only in the webhook's own namespace, and only if they are about its Service, or about a
source Secret with a credential that is not used. Their annotations say which source and which owner they are about; one
without either annotation is not the webhook's. Those about issuers are about the owner's source Secret; what a tenant
was told is about the namespace.

A user who may create Events in a namespace can forge the webhook's Events there. So `status` names the namespace of an
Event that it shows, and an Event in a tenant's namespace never makes anything look better than it is.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TypeVar

import msgspec

from webhook.config.models import Config
from webhook.core.names import MANAGER, OWNER, SOURCE
from webhook.core.notice import OVER, Reason
from webhook.core.pullsecret import EXPIRED, REFUSED, UNUSED, WITHDRAWAL
from webhook.core.shown import quoted
from webhook.core.standing import ELSEWHERE, NONE, UNKNOWN
from webhook.kube.cluster import Cluster, Forbidden, Object
from webhook.kube.events import LEFT_OUT, current_for
from webhook.kube.listing import listed

GRACE = timedelta(minutes=10)
"""A lasting problem is reported again within this time after `current_for`: longer than any pause between two tries."""
SECOND = timedelta(seconds=1)
NOT_SUPPLIED: frozenset[Reason] = frozenset({"SupplyFailed", "TugOfWar", "Unreadable", WITHDRAWAL})
"""Reasons of Events that say why a pull secret is not what it should be."""
SILENT: Reason = "MirrorSilent"
NOT_REWRITTEN: Reason = "ImageNotRewritten"
NOT_ISSUED: Reason = "IssueFailed"
ISSUED: Reason = "Issued"
NO_SECRET: frozenset[Reason] = frozenset({NONE, ELSEWHERE, UNKNOWN, EXPIRED, REFUSED})
"""Reasons of Events that tell a tenant why there is none."""

K = TypeVar("K")
_About = tuple[str, str, str]
"""The source, the owner and the reason."""


@dataclass(frozen=True, slots=True)
class WarningEvent:
    namespace: str
    at: datetime
    reason: str
    message: str

    def __str__(self) -> str:
        return f"an Event in {self.namespace} says: {quoted(self.message)}"

    def is_after(self, written: datetime | None) -> bool:
        """Is it newer than what was written at `written`, which is in whole seconds?"""
        return written is None or self.at >= written + SECOND


@dataclass(frozen=True, slots=True)
class RecentWarnings:
    """The newest of each that is not over. `of_namespace`: why the pull secret there is not what it should be.
    `to_tenant`: what the tenant was told of a pull secret that is not there. `of_owner`: what is wrong with one owner's
    credentials in a source. `unused`: which of an owner's credentials are not used, by owner and reason. `refused`:
    which of those in a database or a service their registries refuse, by owner. `of_source`: what is wrong with a
    source as a whole, by source and reason. `not_issued`: why an owner gets no new credential, by owner and issuer;
    `to_owner`: the same, as a namespace was told.
    """

    of_namespace: dict[str, WarningEvent] = field(default_factory=dict)
    to_tenant: dict[str, WarningEvent] = field(default_factory=dict)
    of_owner: dict[str, WarningEvent] = field(default_factory=dict)
    unused: dict[tuple[str, str], WarningEvent] = field(default_factory=dict)
    refused: dict[str, WarningEvent] = field(default_factory=dict)
    of_source: dict[tuple[str, str], WarningEvent] = field(default_factory=dict)
    not_issued: dict[str, dict[str, WarningEvent]] = field(default_factory=dict)
    to_owner: dict[str, WarningEvent] = field(default_factory=dict)

    @property
    def outage(self) -> WarningEvent | None:
        """The newest one about a source that does not answer."""
        return _newest(one for one in self.of_source.values() if one.reason == "SourceUnavailable")

    def about(self, owner: str) -> WarningEvent | None:
        """The newest one that says why an owner's credentials are not known."""
        return _newest(one for one in (self.of_owner.get(owner), self.outage) if one is not None)

    def issuing(self, owner: str, namespace: str) -> WarningEvent | None:
        """Why the owner gets no new credential from an issuer."""
        return _newest(self.not_issued.get(owner, {}).values()) or self.to_owner.get(namespace)

    def unused_of(self, owner: str) -> list[WarningEvent]:
        return [found for reason in sorted(UNUSED) if (found := self.unused.get((owner, reason))) is not None]


class _Object(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Event(Object, rename="camel"):
    event_time: datetime | None = None
    involved_object: _Object = _Object()
    reason: str = ""
    message: str = ""

    def annotation(self, key: str) -> str:
        return (self.metadata.annotations or {}).get(key, "")


async def recent_warnings(
    cluster: Cluster, config: Config, namespace: str | None, now: datetime, hidden: Callable[[str], None]
) -> RecentWarnings:
    """`namespace` None: of all namespaces. Events about sources are always read; `hidden`: some may not be."""
    secret, service = _Object("Secret", config.pull_secret.name), _Object("Service", config.tls.service)
    found, of_owner = RecentWarnings(), dict[_About, WarningEvent]()
    spaces = [None] if namespace is None else [*dict.fromkeys([namespace, config.namespace])]
    async for event, warning in _current(cluster, spaces, "type=Warning", now, hidden):
        owner, source = event.annotation(OWNER), event.annotation(SOURCE)
        in_a_source_secret = event.involved_object.kind == "Secret" and warning.reason in UNUSED
        about_sources = (
            warning.namespace == config.namespace
            and (event.involved_object == service or in_a_source_secret)
            and warning.reason not in {LEFT_OUT, SILENT}
        )
        about = event.involved_object
        if warning.reason == NOT_ISSUED:
            if warning.namespace == config.namespace and about.kind == "Secret" and owner and source:
                _keep_newest(found.not_issued.setdefault(owner, {}), source, warning)
            elif about == _Object("Namespace", warning.namespace):
                _keep_newest(found.to_owner, warning.namespace, warning)
        elif event.involved_object == secret and warning.reason in NOT_SUPPLIED:
            _keep_newest(found.of_namespace, warning.namespace, warning)
        elif event.involved_object == secret and warning.reason in NO_SECRET:
            _keep_newest(found.to_tenant, warning.namespace, warning)
        elif about_sources and owner and warning.reason in UNUSED:
            _keep_newest(found.unused, (owner, warning.reason), warning)
        elif about_sources and owner and warning.reason == REFUSED:
            _keep_newest(found.refused, owner, warning)
        elif about_sources and owner:
            _keep_newest(of_owner, (source, owner, warning.reason), warning)
        elif about_sources and source:
            _keep_newest(found.of_source, (source, warning.reason), warning)
    over = await _over(cluster, config, now, hidden)
    for (source, owner, reason), warning in of_owner.items():
        if not _is_over(over, (source, owner, reason), warning):
            _keep_newest(found.of_owner, owner, warning)
    for (source, reason), warning in [*found.of_source.items()]:
        if _is_over(over, (source, "", reason), warning):
            del found.of_source[source, reason]
    for owner, by_issuer in found.not_issued.items():
        for issuer, warning in [*by_issuer.items()]:
            if _is_over(over, (issuer, owner, NOT_ISSUED), warning):
                del by_issuer[issuer]
    return found


@dataclass(frozen=True, slots=True)
class AboutMirrors:
    """`silent`: mirrors that do not answer, by host. `kept`: why images of new pods keep their names; newest first."""

    silent: Mapping[str, WarningEvent] = field(default_factory=dict)
    kept: Sequence[WarningEvent] = ()


async def about_mirrors(
    cluster: Cluster, config: Config, namespace: str | None, now: datetime, hidden: Callable[[str], None]
) -> AboutMirrors:
    """`namespace` None: about none."""
    service, silent = _Object("Service", config.tls.service), dict[str, WarningEvent]()
    async for event, warning in _current(cluster, [config.namespace], f"reason={SILENT}", now, hidden):
        if event.involved_object == service and warning.reason == SILENT:
            _keep_newest(silent, event.annotation(SOURCE), warning)
    over = await _over(cluster, config, now, hidden) if silent else {}
    kept = []
    spaces = [] if namespace is None else [namespace]
    async for event, one in _current(cluster, spaces, f"reason={NOT_REWRITTEN}", now, hidden):
        if event.involved_object == _Object("Namespace", namespace or "") and one.reason == NOT_REWRITTEN:
            kept.append(one)
    return AboutMirrors(
        {host: one for host, one in silent.items() if not _is_over(over, (host, "", SILENT), one)},
        sorted(kept, key=lambda one: one.at, reverse=True),
    )


async def _over(
    cluster: Cluster, config: Config, now: datetime, hidden: Callable[[str], None]
) -> Mapping[_About, datetime]:
    """When the webhook found last that it was over."""
    found: dict[_About, datetime] = {}
    service = _Object("Service", config.tls.service)
    async for event, normal in _current(cluster, [config.namespace], "type=Normal", now, hidden):
        counts = event.involved_object == service or normal.reason == ISSUED
        for reason in OVER.get(normal.reason, ()) if counts else ():
            about = event.annotation(SOURCE), event.annotation(OWNER), reason
            found[about] = max(found.get(about, normal.at), normal.at)
    return found


def _is_over(over: Mapping[_About, datetime], about: _About, warning: WarningEvent) -> bool:
    return about in over and over[about] > warning.at


async def _current(
    cluster: Cluster, spaces: Sequence[str | None], of: str, now: datetime, hidden: Callable[[str], None]
) -> AsyncIterator[tuple[_Event, WarningEvent]]:
    """`of`: a field selector for some of them."""
    query = {"fieldSelector": f"reportingComponent={MANAGER},{of}"}
    for space in spaces:
        path = "/api/v1/events" if space is None else f"/api/v1/namespaces/{space}/events"
        what = "Events" if space is None else f"Events in {space}"
        try:
            async for event in listed(cluster, what, path, _Event, query=query):
                at = event.event_time
                if at is not None and now - at <= current_for(event.reason) + GRACE:
                    message = next(iter(event.message.splitlines()), "")
                    yield event, WarningEvent(event.metadata.namespace, at, event.reason, message)
        except Forbidden:
            hidden(what)


def _keep_newest(found: dict[K, WarningEvent], key: K, one: WarningEvent) -> None:
    found[key] = max(found.get(key, one), one, key=lambda event: event.at)


def _newest(of: Iterable[WarningEvent]) -> WarningEvent | None:
    return max(of, key=lambda event: event.at, default=None)
