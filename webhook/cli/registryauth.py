"""`pullsecret registry-auth`."""

from collections.abc import Sequence
from pathlib import Path

import click

from webhook.cli import options, process
from webhook.cli.exitcodes import OK, UsageError
from webhook.config import reading
from webhook.config.issuers.registry import RegistryIssuer


@click.group("registry-auth", short_help="Run the token service of the platform's own registry.")
def registry_auth() -> None:
    """Runs the token service of the platform's own registry, or prints the keys that the registry needs.

    For issuers of the kind registry; docs/registry.md has the whole setup.
    """


@registry_auth.command(short_help="Run the token service.")
@options.config_file("Configuration, with an issuer of the kind registry.")
@click.option("--address", default="0.0.0.0", show_default=True, help="IP address to listen on.")  # noqa: S104  # a pod's own address is not known beforehand
@click.option("--port", type=int, default=8443, show_default=True, metavar="PORT", help="Port to listen on.")
@click.option("--tls-cert", type=options.FILE, metavar="FILE", help="Certificate chain in PEM; read again.")
@click.option("--tls-key", type=options.FILE, metavar="FILE", help="Private key of the certificate in PEM.")
@click.option("--plain", is_flag=True, help="HTTP without TLS, for behind an ingress that speaks TLS.")
@process.log_format
def serve(
    config_file: Path | None,
    address: str,
    port: int,
    tls_cert: Path | None,
    tls_key: Path | None,
    log_format: process.LogFormat | None,
    *,
    plain: bool,
) -> int:
    """Runs the token service until SIGTERM: /token, where the registry sends its clients.

    It reads the passwords that the issuer signs, and keeps nothing. Key files are read again when they change.
    """
    process.ends_on_sigterm()
    from webhook.registryauth import process as registryauth  # noqa: PLC0415  # it loads the server

    issuers = [one for one in reading.load(config_file).issuers if isinstance(one, RegistryIssuer)]
    if not issuers:
        raise UsageError("the configuration has no issuer of the kind registry; write one as in docs/registry.md")
    certificate = _certificate(tls_cert, tls_key, plain=plain)
    return process.run(lambda: registryauth.serve(issuers, address, port, certificate), log_format, verbose=False)


def _certificate(cert: Path | None, key: Path | None, *, plain: bool) -> tuple[Path, Path] | None:
    if plain and (cert or key):
        raise UsageError("--plain is for HTTP without TLS; leave it out, or --tls-cert and --tls-key")
    if plain:
        return None
    if cert is None or key is None:
        raise UsageError("passwords need TLS: give --tls-cert and --tls-key, or --plain behind what speaks TLS")
    return cert, key


@registry_auth.command(
    short_help="Print the keys that the registry needs.",
    epilog="Example: pullsecret registry-auth jwks key.pem next.pem > jwks.json",
)
@click.argument("keys", nargs=-1, required=True, type=options.FILE, metavar="KEY...")
def jwks(keys: Sequence[Path]) -> int:
    """Prints the public parts of key files, as the registry reads them from the file of its auth.token.jwks.

    The registry reads that file only when it starts. So before another key signs, its public part must be there.
    """
    from webhook.issuers.registry import signingkeys  # noqa: PLC0415  # it loads what signs

    click.echo(signingkeys.jwks([signingkeys.read_key(key) for key in keys]))
    return OK
