"""`pullsecret probe`, which nobody calls but `pullsecret doctor`: in its pod on a node."""

import asyncio
from pathlib import Path

import click
import msgspec

from webhook.cli import options
from webhook.cli.exitcodes import OK, UsageError


@click.command(hidden=True, short_help="Look at registries from this node.")
@click.option("--to", type=options.FILE, metavar="FILE", help="Write what is seen there, packed, and print nothing.")
@click.argument("request")
def probe(request: str, to: Path | None) -> int:
    """Looks at registries from this node, and prints what is seen as one line of JSON.

    REQUEST is JSON: {"targets": [{"host": "ghcr.io"}]}. No credential is used.
    """
    from webhook.commands.doctor import packed  # noqa: PLC0415  # loads the DNS client and certificates
    from webhook.commands.doctor.evidence import Request  # noqa: PLC0415
    from webhook.commands.doctor.probe import Machine, look  # noqa: PLC0415

    try:
        asked = msgspec.json.decode(request, type=Request)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise UsageError('the request is not {"targets": [{"host": "ghcr.io"}]}') from None
    seen = asyncio.run(look(asked, Machine()))
    if to is None:
        click.echo(msgspec.json.encode(seen))
    else:
        to.write_text(packed.packed(seen))
    return OK
