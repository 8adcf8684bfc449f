"""`pullsecret status`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from webhook.cli import options, printed
from webhook.cli.exitcodes import FAILED, OK, STATUS_EXIT_CODES, UsageError
from webhook.cli.options import Access


@click.command(short_help="Show whether each namespace has the right pull secret.", epilog=STATUS_EXIT_CODES)
@options.namespace("Only this namespace.")
@click.option("-A", "--all-namespaces", is_flag=True, help="All namespaces.  [default]")
@click.option("--owner", metavar="NAME", help="Only the namespaces of this owner.")
@click.option("--problems", is_flag=True, help="Only namespaces that need attention; the summary counts all.")
@options.output("wide", "yaml", text="wide has more columns.")
@click.option("-w", "--watch", is_flag=True, help="Go on, and print all of it again when something has changed.")
@options.config_file(options.CHART_CONFIG)
@options.access
def status(
    namespace: str | None,
    owner: str | None,
    output: str,
    config_file: Path | None,
    access: Access,
    *,
    all_namespaces: bool,
    problems: bool,
    watch: bool,
) -> int:
    """Shows whether each namespace has the right pull secret, and which pods cannot pull.

    Prints what is wrong with the webhook itself: its registration, caBundle, replicas and policies. Then a line for
    each namespace that has an owner, or lacks one because of a mistake in its labels or annotations: the state of its
    pull secret, when the next of its credentials expires, when it was written, and its registries. Below the line: what
    is wrong, the pods that cannot pull an image and why, and the running pods that lack the reference that one of their
    images needs.

    The state is right, wrong, none, withdrawn, refused, unserved or unknown. None means: no credential of the owner is
    known, so there is nothing to write. Withdrawn: there was one within the last hour.

    With --watch the command looks again every five seconds, and less often where a look takes longer than half a
    second. It ends with Ctrl-C.

    The command reads from the cluster and writes nothing. What the user may not read is named in one line. It prints no
    token and no user name.
    """
    from webhook.cli.session import administrator, looking  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.cli.watching import watched  # noqa: PLC0415
    from webhook.commands import status  # noqa: PLC0415

    if namespace is not None and all_namespaces:
        raise UsageError(options.EITHER)

    async def run() -> status.Report:
        async with administrator(access, config_file, reads_only=True) as view:
            report = await status.run(view, namespace, datetime.now(UTC))
            return report.of(owner, problems_only=problems)

    def look() -> status.Report:
        with looking():
            return asyncio.run(run())

    def show(report: status.Report) -> str:
        if output in ("json", "yaml"):
            return printed.text(report.document, output)
        return status.text(report, wide=output == "wide")

    if watch:
        watched(look, show, output)
    report = look()
    click.echo(show(report))
    return FAILED if report.needs_a_human else OK
