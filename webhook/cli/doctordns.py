"""`pullsecret doctor dns`."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from webhook.cli import doctoroptions, options
from webhook.cli.exitcodes import OK, UsageError
from webhook.cli.options import Access
from webhook.core import hostport
from webhook.core.shown import quoted

if TYPE_CHECKING:
    from webhook.commands.cluster_view import ClusterView
    from webhook.commands.clusterdns.dns import Look, Wanted
    from webhook.commands.doctor.evidence import Probed, Request

MAX_HOST_CHARS = 100
"""Of a registry: its name is part of that of the key, and of its field manager."""
Action = Literal["print", "apply", "remove"]


@click.command(
    "dns",
    short_help="Make the cluster's DNS answer right for a registry, for programs in pods.",
    epilog="Exit codes: 0 done; 1 refused, or taken away again; 2 wrong arguments; 3 the cluster could not be looked "
    "at. Example: pullsecret doctor dns ghcr.io --apply --node node-1",
)
@click.argument("registry")
@click.option(
    "--print", "action", flag_value="print", default=True, help="Only print the key, as a manifest.  [default]"
)
@click.option("--apply", "action", flag_value="apply", help="Write the key, and keep it if CoreDNS answers as it says.")
@click.option("--remove", "action", flag_value="remove", help="Remove the key of this registry.")
@click.option(
    "--address",
    "addresses",
    multiple=True,
    metavar="[HOST=]ADDRESS",
    help="An address to try too, of the registry or of HOST; may be repeated.",
)
@click.option(
    "--resolver", "resolvers", multiple=True, metavar="ADDRESS", help="Instead of addresses: a resolver to ask by TLS."
)
@click.option("--resolver-name", metavar="HOST", help="The name that the certificate of the resolver must have.")
@doctoroptions.NODE
@doctoroptions.CA_FILE
@doctoroptions.PROBE_NAMESPACE
@options.config_file(options.CHART_CONFIG)
@options.access
def dns(
    registry: str,
    action: Action,
    addresses: Sequence[str],
    resolvers: Sequence[str],
    resolver_name: str | None,
    node: str | None,
    ca_file: Path | None,
    probe_namespace: str | None,
    config_file: Path | None,
    access: Access,
) -> int:
    """Makes the cluster's DNS answer right for a registry, for programs in pods: Flux, BuildKit, scanners.

    It does not repair pulls: the kubelet's node asks another DNS.

    Prints or writes one key for the ConfigMap that CoreDNS imports server blocks from, such as coredns-custom. The key
    has the addresses of the registry, of its token service and of where its blobs are, as far as a host with the right
    certificate answers there; or, with --resolver, who is to be asked about them.

    The key is refused if CoreDNS would not start again with it. With --apply it is taken away again if the pods of
    CoreDNS do not answer as it says within two and a half minutes; they are asked from the node that --node names.
    """
    from webhook.cli import session  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.cli.session import connected, looking  # noqa: PLC0415
    from webhook.commands.clusterdns import coredns, dns  # noqa: PLC0415
    from webhook.commands.clusterdns import key as dnskey  # noqa: PLC0415
    from webhook.commands.doctor import probe  # noqa: PLC0415

    doctoroptions.check(node, ca_file, probe_namespace)
    wanted = _wanted(registry, addresses, resolvers, resolver_name, ca_file)
    if action == "apply" and node is None:
        raise UsageError("--apply asks the pods of CoreDNS from within the cluster; name a node for that with --node")

    async def run() -> int:
        async with AsyncExitStack() as stack:
            with looking():
                cluster = await stack.enter_async_context(connected(access))
            if action == "remove":
                click.echo(await dns.remove(cluster, wanted.registry))
                return OK
            with looking():
                found = await coredns.read(cluster)
                view = None if node is None else await session.view(cluster, config_file)
            look, seen_from = _look(view, node or "", probe_namespace)
            tried = await dns.tried(wanted, look, None if node is None else probe.look)
            for line in dns.told(tried, seen_from):
                _note(line)
            key = dnskey.Key(tried.hosts, wanted.resolver)
            try:
                where = dnskey.place(found, wanted.registry)
            except dnskey.NoPlace:
                if action == "print":
                    click.echo(key.text, nl=False)  # for whoever edits the Corefile by hand
                raise
            key = dnskey.fits(found, where, replace(key, port=where.port))
            if action == "print":
                if not dnskey.reloads(found):
                    _note("CoreDNS has no plugin reload: it reads the key at its next start only")
                click.echo(dns.manifest(where, key), nl=False)
            else:
                asker = dns.Asker(look, doctoroptions.progress, wanted.ca_pem)
                click.echo(await dns.apply(cluster, found, where, key, asker))
        return OK

    return asyncio.run(run())


def _note(words: str) -> None:
    """Standard output is for the manifest."""
    click.echo(words, err=True)


def _look(view: "ClusterView | None", node: str, namespace: str | None) -> tuple["Look", str]:
    """And from where that looks."""
    from webhook.cli.session import looking  # noqa: PLC0415
    from webhook.commands.doctor import nodepod, probe  # noqa: PLC0415

    if view is None:
        return probe.look, "this machine, not from within the cluster"

    async def from_node(request: "Request") -> "Probed":
        with looking():
            return await nodepod.from_node(view, node, request, namespace=namespace, voice=_quiet)

    return from_node, f"node {quoted(node)}"


def _quiet(words: str) -> None:
    """A pod for each question is not worth a line."""


def _wanted(
    registry: str, addresses: Sequence[str], resolvers: Sequence[str], resolver_name: str | None, ca_file: Path | None
) -> "Wanted":
    """Raises UsageError."""
    from webhook.commands.clusterdns.dns import Wanted  # noqa: PLC0415
    from webhook.commands.clusterdns.key import Resolver  # noqa: PLC0415
    from webhook.commands.doctor.trust import certificates  # noqa: PLC0415

    host, port = _registry(registry)
    candidates = dict[str, tuple[str, ...]]()
    for one in addresses:
        name, _, text = one.rpartition("=")
        name = _host(name, "--address") if name else host
        candidates[name] = (*candidates.get(name, ()), _address(text, "--address"))
    if bool(resolvers) != (resolver_name is not None):
        raise UsageError("--resolver and --resolver-name go together")
    resolver = None
    if resolver_name is not None:
        if addresses:
            raise UsageError("give either --address or --resolver, which knows the addresses")
        asked = tuple(_address(one, "--resolver") for one in resolvers)
        resolver = Resolver(asked, _host(resolver_name, "--resolver-name"))
    return Wanted(host, port, candidates, resolver, certificates(ca_file) if ca_file else "")


def _registry(text: str) -> tuple[str, int]:
    """Its host, as images of it are pulled from."""
    name, port = hostport.split(doctoroptions.registry(text))
    host = _host(name, "the registry")
    if len(host) > MAX_HOST_CHARS:
        raise UsageError(f"the name of the registry is longer than {MAX_HOST_CHARS} characters")
    return host, int(port or 443)


def _host(text: str, what: str) -> str:
    from webhook.commands.clusterdns.key import dns_name  # noqa: PLC0415

    found = dns_name(text)
    if found is None:
        raise UsageError(f"{what}: {quoted(text)} is no name with a dot that a DNS could be asked about")
    return found


def _address(text: str, option: str) -> str:
    from webhook.commands.clusterdns.key import address  # noqa: PLC0415

    found = address(text)
    if found is None:
        raise UsageError(f"{option}: {quoted(text)} is no address that pods could connect to, such as 140.82.121.34")
    return found
