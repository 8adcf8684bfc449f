"""`pullsecret adopt`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from webhook.cli import options, printed
from webhook.cli.exitcodes import FAILED, OK, VIEW_EXIT_CODES, UsageError
from webhook.cli.options import Access


@click.command(
    short_help="Take over pull secrets that something else wrote.",
    epilog=f"{VIEW_EXIT_CODES} Example: pullsecret adopt --all --dry-run",
)
@options.namespace("The namespace of the Secret.")
@click.option("-A", "--all-namespaces", "--all", is_flag=True, help="All namespaces that have an owner.")
@click.option("--dry-run", is_flag=True, help="Only print what would change; the API server checks it.")
@click.option(
    "--force",
    is_flag=True,
    help="Adopt even if the owner's credentials are unknown, expired or incomplete; the webhook then removes every "
    "entry that its sources do not have.",
)
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def adopt(
    namespace: str | None,
    output: str,
    config_file: Path | None,
    access: Access,
    *,
    all_namespaces: bool,
    dry_run: bool,
    force: bool,
) -> int:
    """Lets the webhook take over existing dockerconfigjson Secrets with the name of the pull secret.

    In namespaces that have an owner. Each Secret keeps its UID, and its content until the webhook writes the
    credentials of the owner into it. A Secret is refused if something else still writes it, or if the credentials of
    its owner are unknown or lack a registry that the Secret has. The output says what to do. This command sees only
    credentials in source Secrets.
    """
    from webhook.cli.session import administrator  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands import adopt  # noqa: PLC0415

    if (namespace is None) != all_namespaces:
        raise UsageError(options.EITHER)

    async def run() -> list[adopt.Outcome]:
        async with administrator(access, config_file) as view:
            outcomes = []
            async for outcome in adopt.run(view, namespace, datetime.now(UTC), dry_run=dry_run, force=force):
                outcomes.append(outcome)
                if output == "text":
                    click.echo(adopt.line(outcome, dry_run=dry_run))
            return outcomes

    outcomes = asyncio.run(run())
    if output == "text":
        click.echo(adopt.summary(outcomes, dry_run=dry_run))
    else:
        printed.document(outcomes, output)
    return FAILED if any(outcome.result == "refused" for outcome in outcomes) else OK
