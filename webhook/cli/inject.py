"""`pullsecret inject`."""

import sys
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import click

from webhook.cli import options
from webhook.cli.exitcodes import OK, UsageError
from webhook.config import reading


@click.command(
    short_help="Print manifests with the changes that the webhook would make.",
    epilog="Example: kustomize build . | pullsecret inject -f - --owner alice | kubectl diff -f -",
)
@click.option(
    *("-f", "--filename", "filenames"),
    required=True,
    multiple=True,
    metavar="FILE",
    help="The manifests; - means standard input; may be given several times.",
)
@click.option("--owner", required=True, metavar="NAME", help="Owner of the namespace.")
@options.config_file("Configuration; its pullSecret.name and deployments are used.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors on stderr.")
def inject(filenames: Sequence[str], owner: str, config_file: Path | None, *, quiet: bool) -> int:
    """Prints manifests with the changes that the webhook would make.

    The manifests (YAML or JSON, also several documents and Lists) are printed as the webhook would change them in a
    namespace of the given owner. Needs no cluster. Prints one line on stderr for each changed object. All other bytes
    stay the same.
    """
    from webhook.commands.inject.references import ManifestError, inject  # noqa: PLC0415  # no other command needs it

    config = reading.load(config_file)
    if not owner.strip():
        raise UsageError("--owner is empty; a namespace without an owner gets no pull secret")
    templates = config.deployments == "inject"
    results = []
    for filename in filenames:  # all before the first is printed: half of them may be taken for all
        try:
            results.append(inject(_read(filename), secret=config.pull_secret.name, templates=templates))
        except ManifestError as e:
            raise UsageError(f"{filename}: {e}") from None
    sys.stdout.buffer.write(_documents([result.text for result in results]).encode())
    sys.stdout.flush()
    if not quiet:
        for change in chain.from_iterable(result.changed for result in results):
            click.echo(f"{change}: {config.pull_secret.name} of owner {owner} added", err=True)
    return OK


def _documents(texts: Sequence[str]) -> str:
    """One file as it is; between several a line that ends a document, where there is none."""
    whole = texts[0]
    for text in texts[1:]:
        whole += "" if whole.endswith("\n") else "\n"
        whole += ("...\n" if text.startswith("%") else "" if text.startswith("---") else "---\n") + text
    return whole


def _read(filename: str) -> str:
    """Reads bytes: a text file would have its line ends changed."""
    try:
        data = sys.stdin.buffer.read() if filename == "-" else Path(filename).read_bytes()
        return data.decode()
    except OSError as e:
        raise UsageError(f"{filename}: {e.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{filename}: not UTF-8") from None
