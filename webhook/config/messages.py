"""A validation error in the words of the file: path, value, and what to write instead."""

import re
from collections.abc import Mapping
from typing import Any

from webhook.config.expressions import EXPRESSION, fault
from webhook.core.shown import shown

Node = Mapping[str, Any]
"""A JSON Schema, or a part of one."""
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_TYPES = {
    "`object`": "a mapping",
    "`object | null`": "a mapping",
    "`array`": "a list",
    "`str`": "a text",
    "`int`": "a number",
}


def explained(message: str, raw: Any, schema: Node) -> str:
    """`message`: msgspec's; `raw`: what was read; `schema`: the model's JSON Schema."""
    problem, _, place = message.partition(" - at `$")
    path = place.removesuffix("`").lstrip(".")
    value = _at(raw, path)
    what = problem[:1].lower() + problem[1:]
    for json_type, yaml_type in _TYPES.items():
        what = what.replace(json_type, yaml_type)
    if missing := _MISSING.fullmatch(problem):
        what = f"{missing[1]} is missing"
    if not path and "expected" in what:
        return f"the whole file: {what}; write keys such as ownerRules: and pullSecret:"
    if not path:  # the models' own words
        return problem
    # A text in the place of a mapping may be what belongs into a file of its own: a passphrase.
    hidden = isinstance(value, dict | list) or "`object" in problem
    seen = "" if hidden else f" (it is {value_shown(value)})"
    return f"{path}: {_instead(path, raw, schema) or what}{seen}"


def value_shown(value: Any) -> str:
    """A text, or what else is short. Python's own words for others can be far longer than the file."""
    if isinstance(value, bool | float | None):
        return repr(value)
    if isinstance(value, int):
        return repr(value) if abs(value) < 1 << 64 else "a large number"
    return repr(shown(value, 60)) if isinstance(value, str) else "something that is no text"


def _instead(path: str, raw: Any, full: Node) -> str:
    """What the schema allows at a path, in words; nothing when it has no more to say than msgspec. Of an expression
    what is wrong in it.
    """
    node, value = full, _at(raw, path)
    for step in re.findall(r"[^.\[\]]+", path):
        node, raw = resolved(full, _of_kind(node, raw)), _at(raw, step)
        node = node.get("items", {}) if step.isdigit() or step == "..." else node.get("properties", {}).get(step, {})
    node = resolved(full, node)
    if "enum" in node:
        return f"write one of {', '.join(map(str, node['enum']))}"
    if "minimum" in node:
        return f"write a number from {node['minimum']} to {node['maximum']}"
    if node.get("pattern") == f"^{EXPRESSION}$" and isinstance(value, str) and (wrong := fault(value)):
        return wrong
    return f"write {node['description']}" if "description" in node and "pattern" in node else ""


def _of_kind(node: Node, raw: Any) -> Node:
    """Of alternatives that a key tells apart, the one that is meant: another key may mean something else in each."""
    key = node.get("discriminator", {})
    tag = raw.get(key["propertyName"]) if key and isinstance(raw, dict) else None
    found = key["mapping"].get(tag) if isinstance(tag, str) else None
    return {"$ref": found} if found else node


def resolved(full: Node, node: Node) -> Node:
    """Follows a reference; of alternatives (the kinds of owner rules, whose keys agree) takes all properties.

    Where one is null, the other one is meant.
    """
    if ref := node.get("$ref"):
        return resolved(full, full["$defs"][ref.rpartition("/")[2]])
    alternatives = [resolved(full, each) for each in node.get("anyOf", ()) if each.get("type") != "null"]
    if len(alternatives) == 1:
        return alternatives[0]
    if not any("properties" in each for each in alternatives):
        return node
    return {"properties": {key: value for each in alternatives for key, value in each.get("properties", {}).items()}}


def _at(raw: Any, path: str) -> Any:
    for step in re.findall(r"[^.\[\]]+", path):
        try:
            raw = raw[int(step)] if isinstance(raw, list) else raw[step]
        except (LookupError, ValueError, TypeError):
            return None
    return raw
