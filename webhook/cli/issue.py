"""`pullsecret issue`."""

from pathlib import Path

import click

from webhook.cli import options, process
from webhook.cli.exitcodes import UsageError
from webhook.config import reading


@click.command(short_help="Mint credentials by the issuers of the configuration.")
@options.config_file("Configuration; see `pullsecret config schema`.")
@process.kubeconfig
@process.log_format
@click.option("--verbose", is_flag=True, help="Also log what is left as it is.")
def issue(
    config_file: Path | None, kubeconfig: str | None, log_format: process.LogFormat | None, *, verbose: bool
) -> int:
    """Mints credentials by the issuers of the configuration, and renews them, until SIGTERM.

    In a pod it needs no arguments. What it mints is stored as source Secrets. Of several replicas one works at a time.
    """
    process.ends_on_sigterm()
    from webhook import issue as issuing  # noqa: PLC0415  # it loads the Kubernetes client, which few commands need

    config = reading.load(config_file)
    if not config.issuers:
        raise UsageError("the configuration has no issuers; write them under issuers, as in docs/issuers.md")
    return process.run(lambda: issuing.issue(config, kubeconfig), log_format, verbose=verbose)
