"""`pullsecret issue`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click

from webhook.cli import options, process
from webhook.cli.exitcodes import FAILED, OK, UsageError
from webhook.config import reading
from webhook.config.models import Config
from webhook.core.issuerchecks import Checked


@click.command(
    short_help="Mint credentials by the issuers of the configuration.",
    epilog="Exit codes of --check: 0 no issuer fails; 1 one does; 2 wrong arguments or configuration.",
)
@options.config_file("Configuration; see `pullsecret config schema`.")
@process.kubeconfig
@process.log_format
@click.option("--verbose", is_flag=True, help="Also log what is left as it is.")
@click.option("--check", is_flag=True, help="Only check once whether the issuers work. It mints nothing.")
@click.option("--owner", metavar="OWNER", help="With --check: ask for what this owner needs.")
def issue(
    config_file: Path | None,
    kubeconfig: str | None,
    log_format: process.LogFormat | None,
    owner: str | None,
    *,
    verbose: bool,
    check: bool,
) -> int:
    """Mints credentials by the issuers of the configuration, and renews them, until SIGTERM.

    In a pod it needs no arguments. What it mints is stored as source Secrets. Of several replicas one works at a time.

    With --check it only asks each issuer as whom it was configured, and does not talk to the API server. It needs the
    files and variables of the pods that issue, so it is run in one of them.
    """
    if owner is not None and not check:
        raise UsageError("--owner is for --check")
    process.ends_on_sigterm()
    config = reading.load(config_file)
    if not config.issuers:
        raise UsageError("the configuration has no issuers; write them under issuers, as in docs/issuers.md")
    if check:
        return _check(config, owner, log_format, verbose=verbose)
    from webhook import issue as issuing  # noqa: PLC0415  # it loads the Kubernetes client, which few commands need

    return process.run(lambda: issuing.issue(config, kubeconfig), log_format, verbose=verbose)


def _check(config: Config, owner: str | None, log_format: process.LogFormat | None, *, verbose: bool) -> int:
    from webhook.issuers.checking import check_all  # noqa: PLC0415  # it loads what signs and asks

    found = dict[str, Checked]()

    async def run() -> None:
        found.update(await check_all(config, owner, lambda: datetime.now(UTC)))

    code = process.run(run, log_format, verbose=verbose)
    click.echo("\n".join(_lines(found)))
    return code or (FAILED if any(one.result == "fails" for one in found.values()) else OK)


def _lines(found: Mapping[str, Checked]) -> list[str]:
    words = {"works": "works", "fails": "fails", "unknown": "not checked"}
    return [f"{called}: {words[one.result]}" + (f": {one.why}" if one.why else "") for called, one in found.items()]
