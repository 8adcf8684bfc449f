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
    """Runs the token service of the platform's own registry, or prints the public parts of keys.

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

    It reads the passwords that the issuer signs, for which it needs the public parts of the issuer's keys, and keeps
    nothing. Files are read again when they change.
    """
    process.ends_on_sigterm()
    from webhook.registryauth import process as registryauth  # noqa: PLC0415  # it loads the server

    issuers = [one for one in reading.load(config_file).issuers if isinstance(one, RegistryIssuer)]
    services = {one.registry: one.token_service for one in issuers if one.token_service}
    if not services:
        raise UsageError(
            "the configuration has no issuer of the kind registry with a tokenService; write one as in docs/registry.md"
        )
    certificate = _certificate(tls_cert, tls_key, plain=plain)
    return process.run(lambda: registryauth.serve(services, address, port, certificate), log_format, verbose=False)


def _certificate(cert: Path | None, key: Path | None, *, plain: bool) -> tuple[Path, Path] | None:
    if plain and (cert or key):
        raise UsageError("--plain is for HTTP without TLS; leave it out, or --tls-cert and --tls-key")
    if plain:
        return None
    if cert is None or key is None:
        raise UsageError("passwords need TLS: give --tls-cert and --tls-key, or --plain behind what speaks TLS")
    return cert, key


@registry_auth.command(
    short_help="Print the public parts of keys.",
    epilog="Example: pullsecret registry-auth jwks token-key.pem next.pem > jwks.json",
)
@click.argument("keys", nargs=-1, required=True, type=options.FILE, metavar="KEY...")
def jwks(keys: Sequence[Path]) -> int:
    """Prints the public parts of key files: of those for tokens as the registry reads them from the file of its
    auth.token.jwks, of those for passwords as the token service reads them from its passwordKeysFile.

    Before another key signs, its public part must be there. The registry reads its file only when it starts.
    """
    from webhook.issuers.registry import signingkeys  # noqa: PLC0415  # it loads what signs

    click.echo(signingkeys.jwks(signingkeys.read_key(key).public for key in keys))
    return OK
