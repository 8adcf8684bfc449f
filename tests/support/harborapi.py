"""Harbor's own description of its API (harborapi.yaml), which each request and each answer in tests is held against.

A key that it does not name is an error too: so neither our server nor our issuer can say what Harbor does not know.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import jsonschema
import yaml

DOCUMENT: dict[str, Any] = yaml.load((Path(__file__).parent / "harborapi.yaml").read_text(), yaml.CSafeLoader)
BASE: str = DOCUMENT["basePath"]
UNDESCRIBED = {("post", "/robots", 409), ("get", "/robots", 422), ("post", "/projects", 422)}
"""Answers that were seen of a real Harbor, and that its description lacks."""
ANYWHERE = {401, 403, 429, 502, 503}
"""Answers of what stands before it: the login, CSRF, the read-only mode, a proxy."""


def broken(method: str, path: str, query: Mapping[str, str], headers: Mapping[str, str], body: Any) -> list[str]:
    """What of a request is not as described. `path`: as sent, without the base."""
    found = _operation(method, path)
    if found is None:
        return [f"{method} {path} is not described"]
    template, operation, places = found
    known = {(one["in"], one["name"]): one for one in map(_whole, operation.get("parameters", ()))}
    wrong = [f"there is no query {name}" for name in query if ("query", name) not in known]
    sent = {"query": query, "header": headers, "path": places}
    for (where, name), one in known.items():
        if where == "body":
            wrong += _invalid(body, one["schema"])
        elif name in sent[where]:
            wrong += _invalid(_typed(sent[where][name], one["type"]), _bare(one))
        elif one.get("required"):
            wrong.append(f"{name} is missing")
    if body is not None and not any(where == "body" for where, _ in known):
        wrong.append("it has a body")
    return [f"{method} {template}: {why}" for why in wrong]


def wrong_answer(method: str, path: str, status: int, body: Any) -> list[str]:
    """What of an answer is not as described."""
    found = _operation(method, path)
    if found is None:
        return []
    template, operation, _ = found
    described = operation["responses"].get(str(status))
    if described is None and (method, template, status) not in UNDESCRIBED and status not in ANYWHERE:
        return [f"{method} {template} is not answered with {status}"]
    schema = _whole(described or {"schema": {"$ref": "#/definitions/Errors"}}).get("schema")
    if schema is None:
        return [] if body is None else [f"{method} {template}, {status}: it has a body"]
    return [f"{method} {template}, {status}: {why}" for why in _invalid(body, schema)]


def _operation(method: str, path: str) -> tuple[str, dict[str, Any], dict[str, str]] | None:
    for template, operations in DOCUMENT["paths"].items():
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(template))
        match = re.fullmatch(pattern, path)
        if match is not None and method in operations:
            return template, operations[method], {name: unquote(text) for name, text in match.groupdict().items()}
    return None


def _whole(node: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in node:
        return node
    _, kind, name = node["$ref"].split("/")
    found: dict[str, Any] = DOCUMENT[kind][name]
    return found


def _bare(parameter: dict[str, Any]) -> dict[str, Any]:
    """As a schema."""
    return {key: parameter[key] for key in ("type", "minimum", "maximum", "minLength", "maxLength") if key in parameter}


def _typed(text: str, kind: str) -> Any:
    if kind == "integer" and re.fullmatch(r"-?\d+", text):
        return int(text)
    return {"true": True, "false": False}.get(text, text) if kind == "boolean" else text


def _invalid(value: Any, schema: dict[str, Any]) -> list[str]:
    validator = jsonschema.Draft4Validator({**schema, "definitions": _CLOSED})
    return [f"{'/'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(value)]


def _objects(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        if "properties" in node and isinstance(node["properties"], dict):
            yield node
        for one in node.values():
            yield from _objects(one)


_CLOSED: dict[str, Any] = copy.deepcopy(DOCUMENT["definitions"])
for _one in _objects(_CLOSED):
    _one["additionalProperties"] = False
    _one["type"] = "object"
