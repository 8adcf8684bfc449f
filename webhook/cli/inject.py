"""`pullsecret inject`."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from webhook.cli import options
from webhook.cli.exitcodes import OK, UsageError
from webhook.config import reading
from webhook.config.models import Config
from webhook.core.shown import cut

if TYPE_CHECKING:
    from webhook.commands.inject.references import Manifest, Outcome, Result

ENDINGS = (".yaml", ".yml", ".json")
"""Of the files of a folder that are read, as by kubectl."""


@click.command(
    short_help="Print manifests with the changes that the webhook would make.",
    epilog="Example: kustomize build . | pullsecret inject -f - --owner alice | kubectl diff -f -",
)
@click.option(
    *("-f", "--filename", "filenames"),
    required=True,
    multiple=True,
    metavar="FILE",
    help="The manifests: a file, a folder, or - for standard input; may be given several times.",
)
@click.option("-R", "--recursive", is_flag=True, help="Also the folders in a folder.")
@click.option("--owner", required=True, metavar="NAME", help="Owner of the namespace.")
@options.namespace("The namespace of objects that name none.")
@options.config_file("Configuration; its pullSecret.name, deployments, excludedNamespaces and mirrors are used.")
@click.option("-q", "--quiet", is_flag=True, help="Print only errors on stderr.")
def inject(
    filenames: Sequence[str],
    owner: str,
    namespace: str | None,
    config_file: Path | None,
    *,
    recursive: bool,
    quiet: bool,
) -> int:
    """Prints manifests with the changes that the webhook would make.

    The manifests (YAML or JSON, also several documents and Lists) are printed as the webhook would change them in a
    namespace of the given owner. Namespaces that the configuration excludes, or that a manifest opts out, are left
    alone. Needs no cluster. Prints a line on stderr for each object that is a pod or makes pods. All other bytes stay
    the same.

    With mirrors of how: rewrite, the images of Pods get their names at a mirror: as if the owner had a credential for
    it that works, and the mirror answered; and as kubectl create makes a Pod, because one that is applied (kubectl
    apply, Helm) keeps its images. The region of a namespace is that of its Namespace object in the manifests. Templates
    keep their images; their pods get the names when they are created.
    """
    from webhook.commands.inject.assumed import names_at_mirrors  # noqa: PLC0415
    from webhook.commands.inject.references import Namespaces, inject, namespaces  # noqa: PLC0415

    config = reading.load(config_file)
    if not owner.strip():
        raise UsageError("--owner is empty; a namespace without an owner gets no pull secret")
    manifests = [(filename, _manifest(filename)) for filename in _files(filenames, recursive=recursive)]
    results, known = [], Namespaces()
    for filename, manifest in manifests:
        with _of(filename):
            known |= namespaces(manifest)
    rewritten = names_at_mirrors(config, owner, known.regions) if config.rewrite_rules else None
    for filename, manifest in manifests:  # all before the first is printed: half of them may be taken for all
        with _of(filename):
            found = inject(
                manifest,
                secret=config.pull_secret.name,
                templates=config.deployments == "inject",
                namespace=namespace or "",
                excluded=config.excluded,
                opted_out=known.opted_out,
                rewritten=rewritten,
            )
        results.append(found)
    sys.stdout.buffer.write(_documents([result.text for result in results]).encode())
    sys.stdout.flush()
    if not quiet:
        for line in _said(config, owner, [outcome for result in results for outcome in result.outcomes]):
            click.echo(line, err=True)
    return OK


def _said(config: Config, owner: str, outcomes: "Sequence[Outcome]") -> Iterator[str]:
    words = _words(config.pull_secret.name, owner)
    for one in outcomes:
        named = cut([f"{old} -> {new}" for old, new in one.images], len(one.images))
        yield f"{one.title}: {words[one.result]}{'; ' if named else ''}{named}"
        yield from (f"{one.title}: {kept}" for kept in one.kept)
    if any(one.images for one in outcomes):
        yield f"images: as if owner {owner} had a credential for the mirror that works, and the mirror answered"
        yield "images: as kubectl create makes a Pod; one that is applied (kubectl apply, Helm) keeps its images"


def _words(secret: str, owner: str) -> "Mapping[Result, str]":
    return {
        "added": f"{secret} of owner {owner} added",
        "there": f"has {secret}",
        "later": f"unchanged; its pods get {secret} when they are created",
        "excluded": "unchanged; the configuration excludes its namespace",
        "opted out": "unchanged; it or its namespace is opted out",
        "static": "unchanged; it is the mirror of a static pod",
    }


def _files(filenames: Sequence[str], *, recursive: bool) -> Iterator[str]:
    for filename in filenames:
        folder = Path(filename)
        if filename == "-" or not folder.is_dir():
            yield filename
            continue
        found = folder.rglob("*") if recursive else folder.glob("*")
        files = sorted(str(one) for one in found if one.suffix in ENDINGS and one.is_file())
        if not files:
            within = "" if recursive else "; -R also looks into its folders"
            raise UsageError(f"{filename}: no file in this folder ends with {', '.join(ENDINGS)}{within}")
        yield from files


def _documents(texts: Sequence[str]) -> str:
    """One file as it is; between several a line that ends a document, where there is none."""
    whole = texts[0]
    for text in texts[1:]:
        whole += "" if whole.endswith("\n") else "\n"
        whole += ("...\n" if text.startswith("%") else "" if text.startswith("---") else "---\n") + text
    return whole


@contextmanager
def _of(filename: str) -> Iterator[None]:
    """Names the file in what is wrong with it."""
    from webhook.commands.inject.references import ManifestError  # noqa: PLC0415

    try:
        yield
    except ManifestError as e:
        raise UsageError(f"{filename}: {e}") from None


def _manifest(filename: str) -> "Manifest":
    """Reads bytes: a text file would have its line ends changed."""
    from webhook.commands.inject.references import Manifest, ManifestError  # noqa: PLC0415

    text = ""
    try:
        text = (sys.stdin.buffer.read() if filename == "-" else Path(filename).read_bytes()).decode()
        return Manifest(text)
    except OSError as e:
        raise UsageError(f"{filename}: {e.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{filename}: not UTF-8") from None
    except ManifestError as e:
        template = "; it looks like a template of Helm: helm template . | pullsecret inject -f - --owner ..."
        raise UsageError(f"{filename}: {e}{template if '{{' in text else ''}") from None
