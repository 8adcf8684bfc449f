"""`pullsecret serve`."""

from pathlib import Path

import click
import msgspec

from webhook.cli import options, process
from webhook.cli.exitcodes import UsageError
from webhook.config import reading
from webhook.config.models import Config
from webhook.config.reading import ConfigError


@click.command(short_help="Run the admission server.")
@options.config_file("Configuration; see `pullsecret config schema`.")
@process.kubeconfig
@click.option("--address", help="IP address to listen on.  [default: 0.0.0.0]")
@click.option("--port", type=int, metavar="PORT", help="TLS port for the API server.  [default: 8443]")
@click.option("--metrics-port", type=int, metavar="PORT", help="HTTP port for /metrics.  [default: 8080]")
@click.option("--tls-cert", metavar="FILE", help="Certificate chain in PEM; read again when it changes.")
@click.option("--tls-key", metavar="FILE", help="Private key of the certificate in PEM.")
@process.log_format
@click.option("--verbose", is_flag=True, help="Also log each review, and what it was answered.")
def serve(
    config_file: Path | None,
    kubeconfig: str | None,
    address: str | None,
    port: int | None,
    metrics_port: int | None,
    tls_cert: str | None,
    tls_key: str | None,
    log_format: process.LogFormat | None,
    *,
    verbose: bool,
) -> int:
    """Runs the admission server until SIGTERM.

    In a pod it needs no arguments. A flag overrides the configuration file. Without --tls-cert the server creates a CA
    and a certificate, and publishes the CA.
    """
    process.ends_on_sigterm()
    from webhook import app  # noqa: PLC0415  # it loads the server and the Kubernetes client, which few commands need

    server = {"address": address, "port": port, "metricsPort": metrics_port}
    config = _with_flags(
        reading.load(config_file), {"server": server, "tls": {"certFile": tls_cert, "keyFile": tls_key}}
    )
    return process.run(lambda: app.serve(config, kubeconfig), log_format, verbose=verbose)


def _with_flags(config: Config, flags: dict[str, dict[str, str | int | None]]) -> Config:
    raw = msgspec.to_builtins(config)
    for part, values in flags.items():
        raw[part] |= {key: value for key, value in values.items() if value is not None}
    try:
        return reading.convert(raw)
    except ConfigError as e:
        raise UsageError(f"the configuration with these flags: {e}") from None
