"""`pullsecret doctor cluster`."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path

import click

from webhook.cli import options, printed
from webhook.cli.exitcodes import FAILED, OK, STATUS_EXIT_CODES, UNSEEN, UsageError
from webhook.cli.options import Access
from webhook.commands.installation.checklist import MARKS, PLAIN_MARKS, Check, Checklist, Result, line, summary
from webhook.config import reading
from webhook.core.shown import quoted

PATIENCE_SECONDS = 2.0
"""Seconds after which somebody at a terminal is told that it goes on."""
_COLOURS: Mapping[Result, str] = {"right": "green", "wrong": "red", "warning": "yellow"}


@click.command(short_help="Check the installation, or before it the cluster.", epilog=STATUS_EXIT_CODES)
@click.option("--pre", is_flag=True, help="Before helm install: can the cluster take the chart?")
@options.namespace("The webhook's own.  [default: that of the registration, or pullsecret-webhook]")
@click.option("--try-in", metavar="NAMESPACE", help="One with an owner, for the dry run.  [default: one that there is]")
@click.option(
    "--within", type=options.Seconds(), default=0.0, metavar="TIME", help="How long to retry it.  [default: 0s]"
)
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def cluster(
    namespace: str | None,
    try_in: str | None,
    within: float,
    output: str,
    config_file: Path | None,
    access: Access,
    *,
    pre: bool,
) -> int:
    """Checks the installation itself, section by section, and says of each fault what to do.

    Looks at the registration and its caBundle, the replicas, their certificate, the policies, the rights of the
    webhook's account, the sources and the namespaces. Two dry runs show what reading cannot: a pod that must get the
    reference, which shows whether the API server reaches the webhook, and a write that the write policy must refuse.
    Nothing is stored. `helm test` of the chart runs this command.

    With --pre it says before `helm install` whether the cluster can take the chart and whether you may install it.

    What you may not look at is marked with a question mark, and is no fault.
    """
    from webhook.cli.session import connected, looking  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands.installation import installed, preinstall  # noqa: PLC0415
    from webhook.kube.cluster import Cluster, is_name  # noqa: PLC0415

    config = reading.load(config_file) if config_file else None
    if try_in == "":
        raise UsageError("--try-in is empty; name a namespace that has an owner (in the chart: test.namespace)")
    for one in (namespace, try_in):
        if one is not None and not is_name(one):
            raise UsageError(f"{quoted(one)} is not the name of a namespace")
    if pre and (try_in or config):
        raise UsageError("--pre looks at a cluster without the webhook; leave out --try-in and --config")

    def as_user(name: str) -> AbstractAsyncContextManager[Cluster]:
        return Cluster.connect(access.kubeconfig, context=access.context, as_user=name, seconds=access.seconds)

    asked = installed.Asked(config, namespace, try_in, within)

    async def run() -> list[Check]:
        async with connected(access) as api:
            if pre:
                return await _taken(preinstall.checks(api, namespace), output)
            free = as_user if access.as_user is None else None  # who acts as a user has no other rights than that
            return await _taken(installed.checks(api, free, asked, datetime.now(UTC)), output)

    with looking():
        found = Checklist(asyncio.run(run()))
    if output == "text":
        click.echo(f"\n{summary(found.checks)}")
    else:
        printed.document(found.document, output)
    return FAILED if found.needs_a_human else UNSEEN if found.unseen else OK


async def _taken(checks: AsyncIterator[Check], output: str) -> list[Check]:
    """As text each is printed when it is known: the last ones take a while in a large cluster."""
    found = list[Check]()
    while (one := await _next(checks)) is not None:
        if output == "text":
            if not found or found[-1].section != one.section:
                click.echo(("\n" if found else "") + one.section)
            _print(one)
        found.append(one)
    return found


async def _next(checks: AsyncIterator[Check]) -> Check | None:
    task = asyncio.ensure_future(anext(checks, None))
    done, _ = await asyncio.wait([task], timeout=PATIENCE_SECONDS)
    if not done and sys.stderr.isatty():
        click.echo("still looking ...", err=True)
    return await task


def _print(check: Check) -> None:
    colour = False if os.environ.get("NO_COLOR") else None  # None: only on a terminal
    words = line(check, MARKS if "utf" in (sys.stdout.encoding or "").lower() else PLAIN_MARKS)
    mark, rest = words[:1], words[1:]
    click.echo(f"  {click.style(mark, fg=_COLOURS.get(check.result))}{rest}", color=colour)
    if check.hint:
        click.echo(f"      {check.hint}")
