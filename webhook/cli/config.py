"""`pullsecret config`."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import click

from webhook.cli import options, printed
from webhook.cli.exitcodes import OK, UsageError
from webhook.config import reading
from webhook.config.models import Config
from webhook.core import mistakes
from webhook.core.names import DISABLED, INJECT
from webhook.core.owner import deciding
from webhook.core.shown import quoted


@click.group(short_help="Check a configuration file, or print its schema.")
def config() -> None:
    """Checks a configuration file, or prints its schema."""


@config.command(
    short_help="Check a configuration file, and print what follows from it.",
    epilog="Example: pullsecret config check values.yaml --namespace shop-prod --label example.com/team=shop",
)
@click.argument("file", type=options.FILE)
@options.namespace("Also print which owner a namespace of this name would have.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="A label of that namespace.")
@click.option("--annotation", "annotations", multiple=True, metavar="KEY=VALUE", help="An annotation of it.")
@options.output("yaml", text="json and yaml print all values, also defaults.")
def check(file: Path, namespace: str | None, labels: Sequence[str], annotations: Sequence[str], output: str) -> int:
    """Checks a configuration file, and prints what follows from it.

    FILE is a configuration, or values of the chart, whose part under `config` is checked; - means standard input.
    """
    found = reading.load(file, values=True)
    if namespace is None and (labels or annotations):
        raise UsageError("--label and --annotation are those of a namespace; name it with --namespace")
    if output != "text":
        printed.document(found, output)
        return OK
    trial = [*_owner(found, namespace, _pairs(labels), _pairs(annotations))]
    for line in (f"{file}: valid", *_about(found), *trial):
        click.echo(line)
    return OK


def _about(config: Config) -> Iterator[str]:
    for number, rule in enumerate(config.owner_rules, 1):
        yield f"owner rule {number}: {rule.in_short}"
    for name, source in zip(config.source_names, config.sources, strict=True):
        yield f"source {name}: {source.in_short}"
    for issuer in config.issuers:
        yield f"issuer {issuer.called}: {issuer.in_short}"
    for mirror in config.mirrors:
        yield f"mirror of {mirror.of}: {mirror.to}"
    yield f"registries are asked about new credentials: {'yes' if config.check else 'no'}"
    yield f"pull secret: {config.pull_secret.name}; deployments: {config.deployments}"
    yield f"never served: {', '.join(config.never_served)}"


def _owner(config: Config, name: str | None, labels: dict[str, str], annotations: dict[str, str]) -> Iterator[str]:
    if name is None:
        return
    found = deciding(config.rules, name, labels, annotations)
    told = "no owner" if found is None else f"owner {quoted(found[1])} (rule {found[0] + 1})"
    left_alone = "; never served" if config.excluded(name) else "; opted out" if labels.get(INJECT) == DISABLED else ""
    yield f"namespace {quoted(name)}: {told}{left_alone}"
    for mistake in mistakes.of_namespace(config.rules, labels, annotations, config.regions):
        yield f"namespace {quoted(name)}: {mistake}"


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    for text in texts:
        if "=" not in text:
            raise UsageError(f"{quoted(text)} is no KEY=VALUE")
    return dict(text.partition("=")[::2] for text in texts)


@config.command(short_help="Print the JSON Schema of the configuration.")
def schema() -> int:
    """Prints the JSON Schema of the configuration."""
    click.echo(json.dumps(reading.schema(), indent=2))
    return OK
