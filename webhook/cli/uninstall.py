"""`pullsecret uninstall`."""

import asyncio
from pathlib import Path

import click

from webhook.cli import options
from webhook.cli.exitcodes import OK
from webhook.cli.options import Access
from webhook.config import reading


@click.command(short_help="Delete what the webhook created in the cluster.")
@click.argument("what", type=click.Choice(("registration", "secrets")))
@options.config_file("Configuration; has the names of the objects.")
@options.access
def uninstall(what: str, config_file: Path | None, access: Access) -> int:
    """Deletes what the webhook created in the cluster.

    `helm uninstall` of the chart runs this command. `registration` deletes the MutatingWebhookConfiguration, so that
    the API server no longer calls the webhook. `secrets` deletes the pull secrets in all namespaces and the CA Secret;
    after that, a container cannot start if its image must be pulled or verified again. Stop the webhook first: it would
    create the Secrets again.
    """
    from webhook.cli.session import connected  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands import uninstall  # noqa: PLC0415

    config = reading.load(config_file)
    delete = uninstall.registration if what == "registration" else uninstall.secrets

    async def run() -> str:
        async with connected(access) as cluster:
            return await delete(cluster, config)

    click.echo(asyncio.run(run()))
    return OK
