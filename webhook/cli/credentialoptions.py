"""What the commands of `pullsecret credential` have in common: options, what they come to, and how results are said."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from webhook.cli.exitcodes import UsageError
from webhook.cli.options import Access
from webhook.core import times
from webhook.core.credential import limits
from webhook.core.errors import CredentialError

if TYPE_CHECKING:
    from webhook.commands.cluster_view import ClusterView
    from webhook.commands.credential.voice import Voice

T = TypeVar("T")


class NoExtra(click.Command):
    """Does not repeat an argument that is too many: it may be a password, and standard error a log."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.allow_extra_args = True
        rest = super().parse_args(ctx, args)
        if ctx.args:
            takes_one = any(one.name == "password_stdin" for one in self.params)
            how = " A password is no argument: use --password-stdin." if takes_one else ""
            raise click.UsageError(f"Too many arguments.{how}", ctx)
        return rest


class Credentials(click.Group):
    """Its commands are about passwords."""

    command_class = NoExtra


OWNER = click.argument("owner")
PASSWORD_STDIN = click.option(
    "--password-stdin", is_flag=True, help="Read the password or token from standard input; else a terminal asks."
)
EXPIRES = click.option("--expires", metavar="WHEN", help="When it ends: 2030-01-31T12:00:00Z, 90d, 12w, 36h or never.")
DRY_RUN = click.option("--dry-run", is_flag=True, help="Only print what would change; the API server checks it.")


def registry_option(*, required: bool, text: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option("--registry", required=required, metavar="REGISTRY", help=text)


def name_option(text: str) -> Callable[[Callable[..., int]], Callable[..., int]]:
    return click.option("--name", metavar="SECRET", help=text)


@contextmanager
def arguments() -> Iterator[None]:
    """What is wrong with the arguments, or names what is not there."""
    from webhook.commands.credential.holdings import NotThere  # noqa: PLC0415
    from webhook.commands.credential.password import NoPassword  # noqa: PLC0415

    try:
        yield
    except (CredentialError, NoPassword, NotThere) as e:
        raise UsageError(str(e)) from None


def on_cluster(
    access: Access,
    config_file: Path | None,
    call: "Callable[[ClusterView], Coroutine[None, None, T]]",
    *,
    reads_only: bool = False,
) -> T:
    from webhook.cli.session import administrator  # noqa: PLC0415  # loads the Kubernetes client

    async def run() -> T:
        async with administrator(access, config_file, reads_only=reads_only) as view:
            return await call(view)

    return asyncio.run(run())


def voice() -> "Voice":
    from webhook.commands.credential.voice import Voice  # noqa: PLC0415

    return Voice(
        click.echo,
        lambda words: click.echo(words, err=True),
        lambda words: click.echo(f"warning: {words}", err=True),
    )


def ends(text: str | None, now: datetime) -> datetime | None:
    """Raises UsageError."""
    try:
        return None if text is None else times.ends(text, now)
    except ValueError as e:
        raise UsageError(f"--expires {e}") from None


def namespaces_of(text: str | None) -> tuple[str, ...]:
    """Raises UsageError, CredentialError."""
    names = [one.strip() for one in (text or "").split(",") if one.strip()]
    if text is not None and not names:
        raise UsageError("--namespaces is empty; leave it out for all namespaces of the owner")
    return limits(names)
