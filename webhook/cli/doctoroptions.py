"""Arguments that several verbs of `pullsecret doctor` have."""

import sys
from pathlib import Path

import click

from webhook.cli.exitcodes import UsageError
from webhook.cli.options import FILE
from webhook.core.errors import CredentialError
from webhook.core.registry import asked_at, canonical_registry
from webhook.core.shown import quoted

CA_FILE = click.option("--ca-file", type=FILE, metavar="FILE", help="CA certificates to trust beside the public ones.")
NODE = click.option("--node", metavar="NODE", help="Also look from this node, by a pod of ours for a minute at most.")
PROBE_NAMESPACE = click.option(
    "--probe-namespace", metavar="NAME", help="Where the probe's pod runs, with --node.  [default: the webhook's]"
)


def check(node: str | None, ca_file: Path | None, probe_namespace: str | None) -> None:
    """Raises UsageError."""
    if ca_file is not None:
        _check_certificates(ca_file)
    if probe_namespace is not None and node is None:
        raise UsageError("--probe-namespace is for the pod of --node; give that too")


def _check_certificates(file: Path) -> None:
    from webhook.commands.doctor.trust import certificates  # noqa: PLC0415  # loads certificates

    if not file.is_file():
        raise UsageError(f"--ca-file: there is no file {file}")
    try:
        certificates(file)
    except OSError as e:
        raise UsageError(f"--ca-file: {file} cannot be read: {e.strerror}") from None
    except ValueError:
        raise UsageError(f"--ca-file: {file} has no certificates in PEM") from None


def registry(text: str) -> str:
    """The host, and perhaps its port, that is asked. Raises UsageError."""
    try:
        at = asked_at(canonical_registry(text))
    except CredentialError as e:
        raise UsageError(str(e)) from None
    if at is None:
        raise UsageError(f"{quoted(text)} is a pattern; name one registry")
    return at


def progress(words: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{words} ...", err=True)
