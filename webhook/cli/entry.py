"""The group of commands, and how errors end them. Exit codes: 0 success, 1 failure while running, 2 wrong arguments,
file or configuration; and of commands that look at a cluster 3, if they could not.
"""

import io
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import PurePath
from typing import NoReturn

import click

from webhook.cli import printed
from webhook.cli.adopt import adopt
from webhook.cli.completion import completion
from webhook.cli.config import config
from webhook.cli.credential import credential
from webhook.cli.doctor import doctor
from webhook.cli.exitcodes import FAILED, INTERRUPTED, OK, UNSEEN, USAGE, UnseenError, UsageError
from webhook.cli.explain import explain
from webhook.cli.inject import inject
from webhook.cli.issue import issue
from webhook.cli.mirrors import mirrors
from webhook.cli.probe import probe
from webhook.cli.registryauth import registry_auth
from webhook.cli.serve import serve
from webhook.cli.status import status
from webhook.cli.trial import trial
from webhook.cli.uninstall import uninstall
from webhook.config.reading import ConfigError
from webhook.core.errors import PullsecretError

PACKAGE = "pullsecret-webhook"


class InOrder(click.Group):
    """Lists commands as they were added: what people need most comes first."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's interface
        return list(self.commands)


@click.group(
    cls=InOrder,
    name="pullsecret",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 success; 1 failure while running; 2 wrong arguments, file or configuration.",
)
@click.version_option(package_name=PACKAGE, message="%(version)s")
def pullsecret() -> None:
    """Gives every namespace the image pull secret of its owner, and every pod a reference to it."""


@click.command(short_help="Print the version.")
def version() -> int:
    """Prints the version."""
    click.echo(metadata.version(PACKAGE))
    return OK


for command in (
    status,
    explain,
    doctor,
    credential,
    mirrors,
    adopt,
    inject,
    trial,
    config,
    serve,
    issue,
    registry_auth,
    uninstall,
    completion,
    version,
    probe,
):
    pullsecret.add_command(command)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    if sys.stdin is None:  # closed by whoever started it; then it is empty
        sys.stdin = io.TextIOWrapper(io.BytesIO())
    try:
        code: int = pullsecret.main(argv, prog_name=_name(), standalone_mode=False) or OK
    except click.ClickException as e:
        e.show()
        code = USAGE
    except click.Abort:
        code = INTERRUPTED
    except PullsecretError as e:
        printed.error(str(e))
        code = UNSEEN if isinstance(e, UnseenError) else USAGE if isinstance(e, ConfigError | UsageError) else FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # `pullsecret inject ... | head`
        sys.stderr.close()
        code = FAILED
    sys.exit(code)


def _name() -> str:
    """kubectl runs `kubectl-pullsecret` as its plugin `kubectl pullsecret`."""
    return "kubectl pullsecret" if PurePath(sys.argv[0]).name.startswith("kubectl-") else "pullsecret"
