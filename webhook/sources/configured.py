"""Builds the source from the configuration; the only module that knows all kinds."""

import functools
from collections.abc import Callable
from datetime import datetime
from typing import Literal

from webhook.config.models import Config
from webhook.config.sourceconfig import HttpSource, SecretsSource, SqlSource
from webhook.core.credential import Origin
from webhook.core.metrics import Metrics
from webhook.core.notice import OVER, Notice, Reason, Record
from webhook.kube.cluster import Cluster
from webhook.sources import Changed, Source
from webhook.sources.batched import Batched
from webhook.sources.cached import Cached
from webhook.sources.combined import Combined
from webhook.sources.http import QUERIES, HttpRemote
from webhook.sources.remote import Remote
from webhook.sources.secret import SecretSource


def configured(
    config: Config, cluster: Cluster, changed: Changed, record: Record, metrics: Metrics, now: Callable[[], datetime]
) -> Source:
    """Several sources are combined. Notices about a source are about the webhook's own Service."""

    def report(source: str, reason: Reason, message: str, owner: str) -> None:
        kind: Literal["Normal", "Warning"] = "Normal" if reason in OVER else "Warning"
        name, service = config.namespace, config.tls.service
        record(Notice(reason, message, name, "Service", service, kind, owner=owner, source=source))

    sources: list[tuple[str, Source]] = []
    for name, model in zip(config.source_names, config.sources, strict=True):
        if isinstance(model, SecretsSource):
            secrets = SecretSource(cluster, config.namespace, changed, record, metrics, name)
            metrics.source_expired.names = functools.partial(secrets.expired, now)
            sources.append((name, secrets))
        else:
            origin = Origin(name, config.namespace, "Service", config.tls.service)
            remote = _remote(model, now, metrics.queries.labels(name).inc)
            sources.append((name, Cached(origin, remote, changed, functools.partial(report, name), metrics, now)))
    return sources[0][1] if len(sources) == 1 else Combined(sources)


def _remote(model: HttpSource | SqlSource, now: Callable[[], datetime], count: Callable[[], object]) -> Remote:
    if isinstance(model, HttpSource):
        http = HttpRemote(model, now)
        return Batched(http, QUERIES, count) if http.many else http
    # Imported only here: the driver takes some MiB.
    from webhook.sources.sql import SqlRemote  # noqa: PLC0415

    database = SqlRemote(model)
    return Batched(database, model.connections, count) if database.many else database
