"""`pullsecret doctor`: pod, image, registry; `cluster` and `dns` have modules of their own."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from webhook.cli import doctoroptions, options, printed
from webhook.cli.doctorcluster import cluster
from webhook.cli.doctordns import dns
from webhook.cli.exitcodes import FAILED, OK, UNSEEN
from webhook.cli.kinds import Kinds
from webhook.cli.options import Access

if TYPE_CHECKING:
    from webhook.commands.doctor.examine import Wanted
    from webhook.commands.doctor.verdict import Verdict

F = TypeVar("F", bound=Callable[..., Any])
OF_THE_POD = ""
EXIT_CODES = (
    "Exit codes: 0 nothing wrong was found; 1 a cause; 2 wrong arguments or configuration; "
    "3 the cluster, or what you wanted to be looked at, could not be."
)
ASK = click.option("--ask", is_flag=True, help="Also ask the registry from here, with the pull secret's credential.")


@click.group(cls=Kinds, short_help="Find out why an image cannot be pulled, down to the node.")
def doctor() -> None:
    """Finds out why an image cannot be pulled, down to the node.

    Looks at three places. By default it only reads what the API server has. With --ask it also asks the registry from
    here, with at most four requests. With --node it also looks from the node, which pulls with its own resolver, routes
    and clock: there a pod of the webhook's own image runs for a minute at most, without any credential.

    Names one cause, the lowest layer that is broken, what it was found by, and what to do. Prints no token and no
    password.
    """


@doctor.command(
    "pod",
    short_help="Why a pod cannot pull its images.",
    epilog=f"{EXIT_CODES} Example: pullsecret doctor pod web-7d9f -n team-a --ask --node",
)
@click.argument("name")
@options.namespace("Its namespace.  [default: the context's]")
@ASK
@click.option(
    "--node",
    is_flag=False,
    flag_value=OF_THE_POD,
    metavar="[NODE]",
    help="Also look from this node, by a pod of ours for a minute at most; without a name: from the pod's node.",
)
@doctoroptions.CA_FILE
@doctoroptions.PROBE_NAMESPACE
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def of_pod(
    name: str,
    namespace: str | None,
    ask: bool,
    node: str | None,
    ca_file: Path | None,
    probe_namespace: str | None,
    output: str,
    config_file: Path | None,
    access: Access,
) -> int:
    """Finds out why a pod cannot pull its images: those of containers, init and ephemeral containers, and volumes."""
    from webhook.cli.session import administrator, looking  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands.doctor import examine  # noqa: PLC0415

    wanted = _wanted(ask=ask, node=node, ca_file=ca_file, probe_namespace=probe_namespace)

    async def run() -> Sequence["Verdict"]:
        async with administrator(access, config_file, reads_only=True, anyway=True) as view:
            return await examine.pod(view, name, namespace or view.cluster.namespace, wanted)

    with looking():
        return _told(asyncio.run(run()), output)


@doctor.command(
    "image",
    short_help="Could a new pod of a namespace pull an image?",
    epilog=f"{EXIT_CODES} Example: pullsecret doctor image ghcr.io/acme/app:1 -n team-a --ask",
)
@click.argument("name", metavar="IMAGE")
@options.namespace("Where the pod would be.  [default: the context's]")
@ASK
@doctoroptions.NODE
@doctoroptions.CA_FILE
@doctoroptions.PROBE_NAMESPACE
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def of_image(
    name: str,
    namespace: str | None,
    ask: bool,
    node: str | None,
    ca_file: Path | None,
    probe_namespace: str | None,
    output: str,
    config_file: Path | None,
    access: Access,
) -> int:
    """Finds out whether a new pod of a namespace, with its default service account, could pull an image."""
    from webhook.cli.session import administrator, looking  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands.doctor import examine  # noqa: PLC0415

    wanted = _wanted(ask=ask, node=node, ca_file=ca_file, probe_namespace=probe_namespace)

    async def run() -> "Verdict":
        async with administrator(access, config_file, reads_only=True, anyway=True) as view:
            return await examine.image(view, name, namespace or view.cluster.namespace, wanted)

    with looking():
        return _told([asyncio.run(run())], output)


@doctor.command(
    "registry",
    short_help="Is a registry reached, from here and from a node?",
    epilog=f"{EXIT_CODES} Example: pullsecret doctor registry ghcr.io --node node-1",
)
@click.argument("host")
@doctoroptions.NODE
@doctoroptions.CA_FILE
@doctoroptions.PROBE_NAMESPACE
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def of_registry(
    host: str,
    node: str | None,
    ca_file: Path | None,
    probe_namespace: str | None,
    output: str,
    config_file: Path | None,
    access: Access,
) -> int:
    """Looks whether a registry is reached from here, and with --node from a node: its addresses, its certificate, the
    clock, and how it answers. Sends no credential, and without --node asks no API server.
    """
    from webhook.cli.session import administrator, looking  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands.doctor import examine  # noqa: PLC0415

    wanted = _wanted(ask=False, node=node, ca_file=ca_file, probe_namespace=probe_namespace)
    at = doctoroptions.registry(host)

    async def run() -> "Verdict":
        if node is None:
            return await examine.registry(None, at, wanted)
        async with administrator(access, config_file, reads_only=True, anyway=True) as view:
            return await examine.registry(view, at, wanted)

    with looking():
        return _told([asyncio.run(run())], output)


doctor.add_command(cluster)
doctor.add_command(dns)


def _wanted(*, ask: bool, node: str | None, ca_file: Path | None, probe_namespace: str | None) -> "Wanted":
    from webhook.commands.doctor.examine import Wanted  # noqa: PLC0415

    doctoroptions.check(node, ca_file, probe_namespace)
    return Wanted(ask, node, ca_file, probe_namespace, doctoroptions.progress)


def _told(verdicts: Sequence["Verdict"], output: str) -> int:
    from webhook.commands.doctor import report  # noqa: PLC0415

    if output == "text":
        click.echo("\n\n".join(report.text(one) for one in verdicts))
    else:
        printed.document(report.document(verdicts), output)
    if any(one.code is not None for one in verdicts):
        return FAILED
    return UNSEEN if any(one.unseen for one in verdicts) else OK
