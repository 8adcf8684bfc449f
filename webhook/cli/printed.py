"""Results on standard output."""

import json
import sys
from typing import Any

import click
import msgspec
import yaml


def document(found: Any, output: str) -> None:
    """`found`: what JSON can say, or Structs and dataclasses of it. `output`: json or yaml."""
    plain = msgspec.to_builtins(found)
    if output == "yaml":
        click.echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=sys.maxsize), nl=False)
    else:
        click.echo(json.dumps(plain, indent=2))
