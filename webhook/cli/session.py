"""The cluster as an administrator's command sees it."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from webhook.cli.exitcodes import UnseenError, UsageError
from webhook.cli.options import Access
from webhook.commands.cluster_view import ClusterView, deployed_config, readable_config
from webhook.config import reading
from webhook.config.models import Config
from webhook.config.reading import ConfigError
from webhook.core.errors import PullsecretError
from webhook.core.shown import quoted
from webhook.kube.cluster import FORBIDDEN, UNAUTHORIZED, Cluster, ClusterError


@contextmanager
def looking() -> Iterator[None]:
    """What cannot be looked at is told apart from what needs a human."""
    try:
        yield
    except (ConfigError, UsageError):
        raise
    except PullsecretError as e:
        raise UnseenError(str(e)) from None


@asynccontextmanager
async def connected(access: Access) -> AsyncIterator[Cluster]:
    """Raises PullsecretError if the API server does not answer, or does not know the user."""
    async with Cluster.connect(
        access.kubeconfig, context=access.context, as_user=access.as_user, seconds=access.seconds
    ) as cluster:
        where = f"the API server {cluster.address}" + (f" (context {quoted(access.context)})" if access.context else "")
        try:
            await cluster.call("GET", "/version")
        except ClusterError as e:
            if e.status == 0:
                raise PullsecretError(f"{where} cannot be reached: {e}") from None
            if e.status == UNAUTHORIZED:
                raise PullsecretError(f"{where} does not accept the user of the kubeconfig ({e})") from None
            if access.as_user is not None and e.status == FORBIDDEN:
                raise PullsecretError(f"{where} does not let this user act as {quoted(access.as_user)} ({e})") from None
        yield cluster


@asynccontextmanager
async def administrator(
    access: Access, config_file: Path | None, *, reads_only: bool = False, anyway: bool = False
) -> AsyncIterator[ClusterView]:
    """`reads_only`: what this user may not read is left out. `anyway`: also if the webhook is not installed."""
    given = _given(config_file)  # a wrong file is told before a cluster is called
    async with connected(access) as cluster:
        yield await _view(cluster, given, reads_only=reads_only, anyway=anyway)


async def view(cluster: Cluster, config_file: Path | None) -> ClusterView:
    """Of a cluster that is connected already, for a command that reads only."""
    return await _view(cluster, _given(config_file), reads_only=True)


def _given(config_file: Path | None) -> Config | None:
    return reading.load(config_file) if config_file else None


async def _view(cluster: Cluster, given: Config | None, *, reads_only: bool, anyway: bool = False) -> ClusterView:
    if given is not None or not reads_only:
        return ClusterView(cluster, given or await deployed_config(cluster))
    try:
        config, found = await readable_config(cluster)
    except ConfigError as e:
        if not anyway:
            raise
        return ClusterView(cluster, Config(), unconfigured=str(e))
    made = ClusterView(cluster, config)
    if not found:
        made.cannot_read("the configuration, so the default values count (or name it with --config)")
    return made
