"""Results on standard output, and errors on the other one."""

import json
import sys
from typing import Any

import click
import msgspec
import yaml

from webhook.core.shown import shown

MAX_ERROR_CHARS = 2000
"""Characters. An error about a file or from the API server may quote text of any length."""


def document(found: Any, output: str) -> None:
    """`found`: what JSON can say, or Structs and dataclasses of it. `output`: json or yaml."""
    click.echo(text(found, output))


def text(found: Any, output: str) -> str:
    plain = msgspec.to_builtins(found)
    if output == "yaml":
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=sys.maxsize).removesuffix("\n")
    return json.dumps(plain, indent=2)


def error(words: str) -> None:
    click.echo(f"pullsecret: {shown(words, MAX_ERROR_CHARS)}", err=True)
