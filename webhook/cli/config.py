"""`pullsecret config`."""

import json
from pathlib import Path

import click
import msgspec

from webhook.cli import options, printed
from webhook.cli.exitcodes import OK
from webhook.config import reading


@click.group(short_help="Check a configuration file, or print its schema.")
def config() -> None:
    """Checks a configuration file, or prints its schema."""


@config.command(short_help="Check a configuration file, and print what follows from it.")
@click.argument("file", type=options.FILE)
@options.output("yaml", text="json and yaml print all values, also defaults.")
def check(file: Path, output: str) -> int:
    """Checks a configuration file, and prints what follows from it."""
    found = reading.load(file)
    if output != "text":
        printed.document(found, output)
        return OK
    click.echo(f"{file}: valid")
    for number, rule in enumerate(msgspec.to_builtins(found)["ownerRules"], 1):
        key = f" {rule['key']}" if "key" in rule else ""
        defaults = {"prefix": "", "owner": ".+", "suffix": ""}
        parts = (f", {part} {rule[part]}" for part, default in defaults.items() if rule[part] != default)
        click.echo(f"owner rule {number}: {rule['from']}{key}{''.join(parts)}")
    excluded = ", ".join((*found.excluded_namespaces, found.namespace))
    click.echo(f"pull secret: {found.pull_secret.name}; deployments: {found.deployments}")
    click.echo(f"never served: {excluded}")
    return OK


@config.command(short_help="Print the JSON Schema of the configuration.")
def schema() -> int:
    """Prints the JSON Schema of the configuration."""
    click.echo(json.dumps(reading.schema(), indent=2))
    return OK
