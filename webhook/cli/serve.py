"""`pullsecret serve`."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import Literal

import click
import msgspec

from webhook.cli import options
from webhook.cli.exitcodes import FAILED, OK, UsageError
from webhook.config import reading
from webhook.config.models import Config
from webhook.config.reading import ConfigError
from webhook.core.errors import PullsecretError


@click.command(short_help="Run the admission server.")
@options.config_file("Configuration; see `pullsecret config schema`.")
@click.option("--kubeconfig", metavar="FILE", help="Access to the API server.  [default: the pod's service account]")
@click.option("--address", help="IP address to listen on.  [default: 0.0.0.0]")
@click.option("--port", type=int, metavar="PORT", help="TLS port for the API server.  [default: 8443]")
@click.option("--metrics-port", type=int, metavar="PORT", help="HTTP port for /metrics.  [default: 8080]")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain in PEM; read again when it changes.")
@click.option("--tls-key", metavar="FILE", help="Private key of the certificate in PEM.")
@click.option("--log-format", type=click.Choice(("text", "json")), help="[default: text on a terminal, otherwise json]")
@click.option("--verbose", is_flag=True, help="Also log each review, and what it was answered.")
def serve(
    config_file: Path | None,
    kubeconfig: str | None,
    address: str | None,
    port: int | None,
    metrics_port: int | None,
    tls_cert: str | None,
    tls_key: str | None,
    log_format: Literal["text", "json"] | None,
    *,
    verbose: bool,
) -> int:
    """Runs the admission server until SIGTERM.

    In a pod it needs no arguments. A flag overrides the configuration file. Without --tls-cert the server creates a CA
    and a certificate, and publishes the CA.
    """
    # Until the app sets its own handler: the kernel drops a signal to process 1 that has no handler.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(OK))
    # Imported here: these load the server and the Kubernetes client, which no other command needs.
    from webhook import app  # noqa: PLC0415
    from webhook.serving import lines, log, secrecy  # noqa: PLC0415
    from webhook.serving.loop import Loop  # noqa: PLC0415

    server = {"address": address, "port": port, "metricsPort": metrics_port}
    config = _with_flags(
        reading.load(config_file), {"server": server, "tls": {"certFile": tls_cert, "keyFile": tls_key}}
    )
    secrecy.hide_memory()
    if lines.take_over(log.taken_again):
        log.hooks()
    log.configure(log_format or ("text" if sys.stderr.isatty() else "json"), verbose=verbose)
    code = OK
    try:
        with asyncio.Runner(loop_factory=Loop) as runner:
            runner.run(app.serve(config, kubeconfig))
    except* PullsecretError as group:
        raise PullsecretError("; ".join(str(e) for e in group.exceptions)) from None
    except* Exception as group:  # noqa: BLE001  # Python's traceback would print their messages
        log.ended(group)
        code = FAILED
    return code


def _with_flags(config: Config, flags: dict[str, dict[str, str | int | None]]) -> Config:
    raw = msgspec.to_builtins(config)
    for part, values in flags.items():
        raw[part] |= {key: value for key, value in values.items() if value is not None}
    try:
        return reading.convert(raw)
    except ConfigError as e:
        raise UsageError(f"the configuration with these flags: {e}") from None
