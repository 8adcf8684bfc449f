"""Reads the configuration: one YAML file.

Every message names the path, the value and what to write instead.
"""

import copy
import difflib
import functools
import sys
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from webhook.config.base import END
from webhook.config.messages import Node, explained, resolved, value_shown
from webhook.config.models import Config
from webhook.core.errors import PullsecretError
from webhook.core.shown import shown

MAX_CONFIG_CHARS = 1024 * 1024
"""Characters. A ConfigMap has no more bytes."""
MAX_DEPTH = 20
"""Levels. The configuration has six."""
MAX_MESSAGE_CHARS = 1000
"""Characters of a message, which names keys and values as they are in the file."""
NAMED = 3
VALUES_KEY = "config"
"""Of chart values: what is under it is the configuration."""
LISTS = {"ownerRules": "the places to look", "sources": "the kinds of sources", "issuers": "the kinds of issuers"}
"""Their items have several models, told apart by one of their keys."""


class ConfigError(PullsecretError):
    """One line: path, what is wrong there, what to write instead."""

    def __init__(self, message: str) -> None:
        super().__init__(shown(message, MAX_MESSAGE_CHARS))


def load(path: Path | None, *, values: bool = False) -> Config:
    """`path`: `-` is standard input. `values`: as for `parse`. Raises ConfigError."""
    if path is None:
        return Config()
    try:
        text = sys.stdin.buffer.read().decode() if str(path) == "-" else path.read_text(encoding="utf-8")
        return parse(text, values=values)
    except OSError as e:
        raise ConfigError(f"{path}: {e.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8") from None
    except ConfigError as e:
        raise ConfigError(f"{path}: {e}") from None


def parse(text: str, *, values: bool = False) -> Config:
    """`values`: chart values will do too; the configuration is under their key `config`. Raises ConfigError."""
    if len(text) > MAX_CONFIG_CHARS:
        raise ConfigError(f"it has more than {MAX_CONFIG_CHARS} characters; write fewer")
    try:
        raw = yaml.load(text, _Plain)  # noqa: S506  # a SafeLoader
    except yaml.YAMLError as e:
        if isinstance(e, yaml.MarkedYAMLError) and e.problem_mark is not None:
            raise ConfigError(f"line {e.problem_mark.line + 1}: {e.problem or 'not YAML'}") from None
        raise ConfigError("not YAML") from None
    if values and isinstance(raw, dict) and VALUES_KEY in raw:
        found = raw[VALUES_KEY]
        if not isinstance(found, dict | None):
            raise ConfigError(f"{VALUES_KEY}: write a mapping, with keys such as ownerRules: and pullSecret:")
        try:
            return convert(found or {})
        except ConfigError as e:
            raise ConfigError(f"{VALUES_KEY}.{e}") from None
    return Config() if raw is None else convert(raw)


def convert(raw: Any) -> Config:
    """From plain data, as it is in the file. Raises ConfigError."""
    full = _schema()
    _known_keys(raw, full, full)
    try:
        return msgspec.convert(raw, Config)
    except msgspec.ValidationError as e:
        raise ConfigError(explained(str(e), raw, full)) from None


def schema() -> dict[str, Any]:
    """As JSON Schema (2020-12), for editors and for the chart."""
    return copy.deepcopy(_schema())


@functools.cache
def _schema() -> dict[str, Any]:
    """Once: it takes 20 ms. Nobody changes it."""
    made: dict[str, Any] = _with_dollars(msgspec.json.schema(Config))
    for model in made["$defs"].values():
        for tag in ("from", "issue"):
            if kind := model["properties"].get(tag):
                kind["description"] = model["description"]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def _with_dollars(node: Any) -> Any:
    """Only Python knows the END of its patterns."""
    if isinstance(node, list):
        return [_with_dollars(item) for item in node]
    if not isinstance(node, dict):
        return node
    found = {key: _with_dollars(value) for key, value in node.items()}
    pattern = found.get("pattern")
    if isinstance(pattern, str) and pattern.endswith(END):
        found["pattern"] = f"{pattern.removesuffix(END)}$"
    return found


class _Plain(yaml.SafeLoader):
    """YAML with the data types of JSON. Refuses aliases, and with them merge keys: they can make a small text very
    large. Refuses equal keys, of which the second one would win silently. A text that looks like a date stays a text.
    """

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # typeshed's gap
        if event.anchor is not None:
            raise _refused(
                event,
                "an anchor or an alias; write out what it stands for, or put a text that begins with * or & in quotes",
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _refused(event, f"nested deeper than {MAX_DEPTH}; flatten it")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _refused(key, "a key that is no text; write a name")
            if key.value in seen:
                raise _refused(key, f"{shown(key.value, 60)} is there twice")
            seen.add(key.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            raise _refused(node, "a value that is not valid for its type: put it in quotes if it is text") from None


_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def _refused(at: Any, what: str) -> yaml.MarkedYAMLError:
    """`at`: an event or a node of YAML's."""
    return yaml.constructor.ConstructorError(None, None, what, at.start_mark)


def _known_keys(raw: Any, node: Node, full: Node, path: str = "") -> None:
    """Before msgspec sees it: all unknown keys at a level, each with the nearest known one."""
    known = resolved(full, node).get("properties")
    if known is None or not isinstance(raw, dict):
        return
    if unknown := [key for key in raw if key not in known]:
        more = f"; and {len(unknown) - NAMED} more" if len(unknown) > NAMED else ""
        raise ConfigError("; ".join(_unknown(path, key, known) for key in unknown[:NAMED]) + more)
    for key, below in known.items():
        _known_keys(raw.get(key), below, full, f"{path}{key}.")
    for key in LISTS if not path else ():
        items = raw.get(key)
        for index, item in enumerate(items if isinstance(items, list) else ()):
            if isinstance(item, dict):
                place = f"{key}[{index}]."
                _known_keys(item, _kind(item, known[key]["items"], place, LISTS[key]), full, place)


def _kind(item: Mapping[Any, Any], node: Node, path: str, what: str) -> Node:
    key, models = node["discriminator"]["propertyName"], node["discriminator"]["mapping"]
    tag = item.get(key)
    try:
        return {"$ref": models[tag]}
    except (KeyError, TypeError):
        wrong = "missing" if tag is None else f"{value_shown(tag)} is not one of {what}"
        raise ConfigError(f"{path}{key}: {wrong}; write one of {', '.join(models)}") from None


def _unknown(path: str, found: Any, known: Iterable[str]) -> str:
    key = shown(found, 60) if isinstance(found, str) else value_shown(found)
    near = difflib.get_close_matches(key, list(known), 1, 0.6)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
    return f"{path}{key}: no such key; {hint}"
