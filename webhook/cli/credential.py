"""`pullsecret credential`: add, list, test, rotate, rm."""

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from webhook.cli import options, printed
from webhook.cli.credentialoptions import (
    DRY_RUN,
    EXPIRES,
    OWNER,
    PASSWORD_STDIN,
    Credentials,
    arguments,
    ends,
    name_option,
    namespaces_of,
    on_cluster,
    registry_option,
    voice,
)
from webhook.cli.exitcodes import FAILED, OK, STATUS_EXIT_CODES, VIEW_EXIT_CODES, UsageError
from webhook.cli.options import FILE, Access
from webhook.core.registry import canonical_registry
from webhook.core.shown import quoted

if TYPE_CHECKING:
    from webhook.commands.cluster_view import ClusterView


@click.group(cls=Credentials, short_help="Write, list and test the registry credentials of owners.")
def credential() -> None:
    """Writes, lists and tests the registry credentials of owners, in source Secrets.

    A source Secret is in the namespace of the webhook. No command prints a password or takes one as an argument.
    """


@credential.command(
    "add",
    short_help="Add a credential of an owner.",
    epilog=f"{VIEW_EXIT_CODES} Example: pullsecret credential add alice --registry ghcr.io --username alice "
    "--password-stdin --expires 90d < token",
)
@OWNER
@registry_option(required=True, text="The registry, as images are written: ghcr.io, ghcr.io/acme.")
@click.option("--username", required=True, metavar="USER", help="The user name at the registry.")
@PASSWORD_STDIN
@EXPIRES
@click.option("--namespaces", metavar="NAMES", help="Only for these: team-a,team-b-*.  [default: all of the owner]")
@name_option("The name of the new source Secret.  [default: made from owner and registry]")
@DRY_RUN
@options.config_file(options.CHART_CONFIG)
@options.access
def add(
    owner: str,
    registry: str,
    username: str,
    expires: str | None,
    namespaces: str | None,
    name: str | None,
    config_file: Path | None,
    access: Access,
    *,
    password_stdin: bool,
    dry_run: bool,
) -> int:
    """Adds a credential of OWNER in a new source Secret.

    Then it waits until the pull secrets of the owner's namespaces have it. It overwrites nothing: for another token,
    use rotate. What the webhook would not use is refused before anything is written.
    """
    from webhook.commands.credential import add, content, password  # noqa: PLC0415

    now = datetime.now(UTC)
    with arguments():
        content.checked_owner(owner)
        where = canonical_registry(registry)
        when = ends(expires, now)
        only = namespaces_of(namespaces)
        secret = password.given(f"Password or token of {quoted(username)} for {where}", from_stdin=password_stdin)
        new = content.New(owner, where, username, secret, when, only)
        done = on_cluster(access, config_file, lambda view: add.run(view, new, name, now, voice(), dry_run=dry_run))
    return OK if done else FAILED


@credential.command("list", short_help="List credentials, and where each is used.", epilog=STATUS_EXIT_CODES)
@click.option("--owner", metavar="NAME", help="Only those of this owner.")
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def list_(owner: str | None, output: str, config_file: Path | None, access: Access) -> int:
    """Lists the credentials in source Secrets.

    A line for each: its owner, registry and source Secret, when it ends, how many pull secrets it is for,
    whether it is the preferred one for its registry there, and what the registry said about it to the webhook.
    Below: what is wrong with it.
    """
    from webhook.cli.session import looking  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands.credential import table  # noqa: PLC0415

    with looking(), arguments():
        found = on_cluster(access, config_file, lambda view: table.run(view, owner, datetime.now(UTC)), reads_only=True)
    if output == "text":
        click.echo(table.text(found))
    else:
        printed.document(found.document, output)
    return FAILED if found.needs_a_human else OK


@credential.command(
    "test",
    short_help="Ask registries whether credentials of an owner work.",
    epilog=f"{STATUS_EXIT_CODES} Example: pullsecret credential test alice --registry ghcr.io",
)
@OWNER
@registry_option(required=False, text="Only for this registry, which may have a private address.  [default: all]")
@name_option("Only those of this source Secret.")
@click.option("--ca-file", type=FILE, metavar="FILE", help="CA certificates to trust, instead of those of the system.")
@options.output("yaml")
@options.config_file(options.CHART_CONFIG)
@options.access
def test(
    owner: str,
    registry: str | None,
    name: str | None,
    ca_file: Path | None,
    output: str,
    config_file: Path | None,
    access: Access,
) -> int:
    """Asks registries, from here, whether the credentials of OWNER work.

    It asks as the webhook does: no image is named, so "works" means that the registry knows user name and password.
    What the webhook has recorded stays as it is.
    """
    from webhook.cli.session import looking  # noqa: PLC0415  # loads the Kubernetes client
    from webhook.commands.credential import ask  # noqa: PLC0415

    with looking(), arguments():
        where = None if registry is None else canonical_registry(registry)
        trusted = None if ca_file is None else str(ca_file)
        found = on_cluster(
            access, config_file, lambda view: ask.run(view, owner, where, name, trusted), reads_only=True
        )
    if output == "text":
        for one in found:
            click.echo(one.line)
    else:
        printed.document({"needs_a_human": not all(one.works for one in found), "credentials": found}, output)
    return OK if all(one.works for one in found) else FAILED


@credential.command(
    "rotate",
    short_help="Replace the token of a credential.",
    epilog=f"{VIEW_EXIT_CODES} Example: pullsecret credential rotate alice --registry ghcr.io --password-stdin "
    "--expires 90d < token",
)
@OWNER
@registry_option(required=True, text="The registry of the credential.")
@click.option("--username", metavar="USER", help="The user name at the registry.  [default: the old one]")
@PASSWORD_STDIN
@EXPIRES
@name_option("The source Secret.  [default: the preferred one for the registry]")
@DRY_RUN
@options.config_file(options.CHART_CONFIG)
@options.access
def rotate(
    owner: str,
    registry: str,
    username: str | None,
    expires: str | None,
    name: str | None,
    config_file: Path | None,
    access: Access,
    *,
    password_stdin: bool,
    dry_run: bool,
) -> int:
    """Replaces the token that OWNER has for a registry, in its source Secret.

    Everything else in the Secret stays: labels, annotations, other registries. Then it waits until the pull secrets of
    the owner's namespaces have the new token.
    """
    from webhook.commands.credential import password, rotate  # noqa: PLC0415

    now = datetime.now(UTC)
    with arguments():
        where = canonical_registry(registry)
        when = ends(expires, now)
        secret = password.given(f"New password or token of {quoted(owner)} for {where}", from_stdin=password_stdin)
        new = rotate.Rotation(owner, where, secret, username, when, expires is not None, name)
        done = on_cluster(access, config_file, lambda view: rotate.run(view, new, now, voice(), dry_run=dry_run))
    return OK if done else FAILED


@credential.command(
    "rm",
    short_help="Remove credentials of an owner.",
    epilog=f"{VIEW_EXIT_CODES} Example: pullsecret credential rm alice --registry ghcr.io --dry-run",
)
@OWNER
@registry_option(required=False, text="Only for this registry.  [default: all]")
@name_option("Only from this source Secret.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@DRY_RUN
@options.config_file(options.CHART_CONFIG)
@options.access
def rm(
    owner: str,
    registry: str | None,
    name: str | None,
    config_file: Path | None,
    access: Access,
    *,
    yes: bool,
    dry_run: bool,
) -> int:
    """Removes credentials of OWNER from source Secrets.

    First it says which namespaces lose which entry, and asks. A source Secret in which nothing is left is deleted.
    """
    from webhook.commands.credential import remove  # noqa: PLC0415

    async def run(view: "ClusterView") -> bool:
        removal = await remove.planned(view, owner, where, name, datetime.now(UTC))
        said = voice()
        for words in removal.warnings:
            said.warning(words)
        if not dry_run:
            for step in removal.steps:
                click.echo(step.line(done=False))
        for words in removal.losses:
            click.echo(words)
        if not (dry_run or yes or _agreed()):
            click.echo("nothing was removed")
            return False
        for words in await remove.carry_out(view, removal, dry_run=dry_run):
            click.echo(words)
        return True

    with arguments():
        where = None if registry is None else canonical_registry(registry)
        done = on_cluster(access, config_file, run)
    return OK if done else FAILED


def _agreed() -> bool:
    if not sys.stdin.isatty():
        raise UsageError("nothing was removed: there is no terminal to ask; say --yes")
    return click.confirm("Remove it?", err=True)
