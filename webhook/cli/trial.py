"""`pullsecret try`."""

import asyncio
from pathlib import Path

import click

from webhook.cli import options
from webhook.cli.exitcodes import OK, UsageError
from webhook.cli.options import Access
from webhook.config import reading


@click.command("try", short_help="Check that a new pod in a namespace gets the reference.")
@options.namespace("A namespace that has an owner.", required=True)
@click.option(
    "--within", type=options.Seconds(), default=60.0, metavar="TIME", help="How long to retry.  [default: 60s]"
)
@options.config_file(options.CHART_CONFIG)
@options.access
def trial(namespace: str, within: float, config_file: Path | None, access: Access) -> int:
    """Checks that a new pod in a namespace gets the reference.

    Creates a pod by dry run in a namespace that has an owner, and checks that the pod gets the reference to the pull
    secret. Nothing is stored. `pullsecret doctor cluster` also says
    what is wrong if it does not.
    """
    from webhook.cli.session import connected  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands import cluster_view, try_pod  # noqa: PLC0415
    from webhook.kube.cluster import is_name  # noqa: PLC0415

    given = reading.load(config_file) if config_file else None
    if not namespace:
        raise UsageError("--namespace is empty; name a namespace that has an owner (in the chart: test.namespace)")

    async def run() -> str:
        async with connected(access) as cluster:
            config = given or (await cluster_view.readable_config(cluster))[0]
            if not is_name(namespace) or config.excluded(namespace):
                raise UsageError(
                    f"{namespace} is not a namespace that the webhook serves; name a namespace that has an owner"
                )
            await try_pod.run(cluster, config, namespace, within)
            return config.pull_secret.name

    click.echo(f"a pod in {namespace} gets {asyncio.run(run())}")
    return OK
