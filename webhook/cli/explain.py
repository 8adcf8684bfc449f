"""`pullsecret explain`."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from webhook.cli import options, printed
from webhook.cli.exitcodes import FAILED, OK, STATUS_EXIT_CODES
from webhook.cli.kinds import Kinds
from webhook.cli.options import Access


@click.group(cls=Kinds, short_help="Explain one pod or one namespace, and name the next step.")
def explain() -> None:
    """Explains one pod or one namespace, and names the next step."""


@explain.command(
    "pod",
    short_help="Why a pod has or lacks the reference, and why it cannot pull.",
    epilog=f"{STATUS_EXIT_CODES} Example: pullsecret explain pod web-7d9f -n team-a",
)
@click.argument("name")
@options.namespace("Its namespace.  [default: the context's]")
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def explain_pod(name: str, namespace: str | None, output: str, config_file: Path | None, access: Access) -> int:
    """Explains why a pod has or lacks the reference, and why it cannot pull.

    Prints the owner of the pod's namespace and the rule that found it, whether the pod has the reference to the pull
    secret and if not, why, its pull secrets, for each image the entries that match in the order in which the kubelet
    tries them, what the kubelet says, what that means, and the one next step. Reads only. Prints no token and no user
    name.
    """
    return _explain(name, namespace, output, config_file, access, pod=True)


@explain.command(
    "namespace",
    short_help="The owner of a namespace, its pull secret, and its pods that cannot pull.",
    epilog=f"{STATUS_EXIT_CODES} Example: pullsecret explain namespace team-a",
)
@click.argument("name")
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def explain_namespace(name: str, output: str, config_file: Path | None, access: Access) -> int:
    """Explains one namespace.

    Prints the owner of the namespace and the rule that found it, whether the webhook serves it and if not, why, its
    pull secret, its pods that cannot pull or lack the reference, and the one next step. Reads only. Prints no token and
    no user name.
    """
    return _explain(name, None, output, config_file, access, pod=False)


def _explain(
    name: str, namespace: str | None, output: str, config_file: Path | None, access: Access, *, pod: bool
) -> int:
    from webhook.cli.session import administrator, looking  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands import explain  # noqa: PLC0415

    async def run() -> explain.Explained:
        async with administrator(access, config_file, reads_only=True) as view:
            now = datetime.now(UTC)
            if pod:
                return await explain.pod(view, name, namespace or view.cluster.namespace, now)
            return await explain.namespace(view, name, now)

    with looking():
        explained = asyncio.run(run())
    if output == "text":
        click.echo(explain.text(explained))
    else:
        printed.document(explained.document, output)
    return FAILED if explained.needs_a_human else OK
