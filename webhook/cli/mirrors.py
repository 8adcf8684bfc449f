"""`pullsecret mirrors`."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from webhook.cli import options
from webhook.cli.exitcodes import OK, UsageError
from webhook.cli.options import Access
from webhook.config import reading
from webhook.config.mirrorconfig import Mirror
from webhook.config.models import Config

F = TypeVar("F", bound=Callable[..., Any])
RELOAD = "read at every pull, if containerd's config_path is there"
RESTART = "read when K3s starts"


@click.group(short_help="Print what nodes need to ask mirrors.")
def mirrors() -> None:
    """Prints the files that nodes need so that they ask the mirrors of the configuration. No password is in them."""


def _which(command: F) -> F:
    for option in (
        options.access,
        options.config_file("Configuration, or values of the chart.  [default: the chart's ConfigMap]"),
        click.option("--to", multiple=True, metavar="MIRROR", help="Only this mirror; may be repeated, nearest first."),
        click.option("--of", metavar="HOST", help="Only the mirrors of this registry."),
    ):
        command = option(command)
    return command


@mirrors.command(
    "hosts-toml",
    short_help="Print hosts.toml for containerd.",
    epilog="Example: pullsecret mirrors hosts-toml --of ghcr.io > /etc/containerd/certs.d/ghcr.io/hosts.toml",
)
@_which
def hosts_toml(of: str | None, to: Sequence[str], config_file: Path | None, access: Access) -> int:
    """Prints hosts.toml for containerd: a file for each registry, which begins with where it belongs.

    With --of it is one file. All nodes need it that are to ask the mirror; those of another region perhaps with other
    mirrors first, by --to.
    """
    from webhook.commands import nodefiles  # noqa: PLC0415

    config, chosen = _chosen(of, to, config_file, access)
    files = nodefiles.hosts_toml(config, chosen)
    click.echo("\n".join(f"# {file.path}: {RELOAD}\n{file.text}" for file in files), nl=False)
    return OK


@mirrors.command("registries-yaml", short_help="Print registries.yaml for K3s.")
@_which
def registries_yaml(of: str | None, to: Sequence[str], config_file: Path | None, access: Access) -> int:
    """Prints registries.yaml for K3s. If nodes have one already, merge the two."""
    from webhook.commands import nodefiles  # noqa: PLC0415

    file = nodefiles.registries_yaml(*_chosen(of, to, config_file, access))
    click.echo(f"# {file.path}: {RESTART}\n{file.text}", nl=False)
    return OK


def _chosen(
    of: str | None, to: Sequence[str], config_file: Path | None, access: Access
) -> tuple[Config, dict[str, list[Mirror]]]:
    from webhook.commands import nodefiles  # noqa: PLC0415

    config = _deployed(access) if config_file is None else reading.load(config_file, values=True)
    try:
        return config, nodefiles.chosen(config, of, to)
    except nodefiles.NoMirror as e:
        raise UsageError(str(e)) from None


def _deployed(access: Access) -> Config:
    from webhook.cli.session import administrator, looking  # noqa: PLC0415  # loads the Kubernetes client

    async def read() -> Config:
        with looking():
            async with administrator(access, None) as view:
                return view.config

    return asyncio.run(read())
