"""`pullsecret completion`."""

import click
from click.shell_completion import get_completion_class

from webhook.cli.exitcodes import OK

SHELLS = ("bash", "zsh", "fish")
_HOW = 'bash: eval "$(pullsecret completion bash)". zsh: the same with zsh. fish: pullsecret completion fish | source.'


@click.command(short_help="Print a script that completes the command in a shell.", epilog=_HOW)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Prints a script that completes commands and options in a shell. Load it where the shell starts."""
    root = ctx.find_root()
    kind = get_completion_class(shell)
    if kind is None:  # pragma: no cover  # click has these three
        raise click.UsageError(f"no completion for {shell}")
    name = root.command.name or ""  # also for kubectl's plugin, whose words kubectl completes
    click.echo(kind(root.command, {}, name, f"_{name.upper()}_COMPLETE").source())
    return OK
