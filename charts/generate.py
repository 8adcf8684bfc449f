"""Writes what follows from other files: values.schema.json, and the tables in the README.

`make chart` runs it; tests check that there is nothing left to write.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from webhook.config import reading

CHART = Path(__file__).parent / "pullsecret-webhook"
SCHEMA = CHART.parent / "values.schema.yaml"
MADE = "Made by `make chart` from charts/values.schema.yaml, values.yaml and webhook/config: change those."
KNOWN = {"Config": ("namespace", "replicas", "tls"), "Server": ("port", "metricsPort")}
"""What the chart fills in: it stands in no values file."""
NAMES = {
    "pull-secret": "ghcr-secret",
    "name": "pullsecret-webhook",
    "ca-secret": "pullsecret-webhook-ca",
    "checks-secret": "pullsecret-webhook-checks",
    "issuer-lease": "pullsecret-webhook-issuer",
    "replica-leases": "pullsecret-webhook-replica-0, pullsecret-webhook-replica-1",
    "safety-net": "pullsecret-webhook-safety-net",
    "prefix": "pullsecret-webhook/",
}
"""What the chart's helpers say by default."""
POLICIES = ("owner-policy", "write-policy", "configuration-policy", "account-policy", "issuer-policy")
FROM = {
    "ownerRules": "where to look: in a label, in an annotation or in the name",
    "sources": "the kind of source",
    "issuers": "the kind of issuer",
}
"""What the key says, in each of these lists, that tells the models apart: `from`, or `issue`."""


def values_schema() -> str:
    """Each value is described: by its comment in values.yaml, by hand, or by the configuration's models."""
    config = reading.schema()
    # By way of JSON: what several values share by an anchor would have one description for all of them.
    by_hand = json.loads(json.dumps(yaml.safe_load(SCHEMA.read_text())))
    schema = {"$schema": config["$schema"], "$comment": MADE, **by_hand}
    for value in _values():
        if value.comment:
            _at(schema, value.path)["description"] = value.comment
    schema["$defs"] = _models(config["$defs"])
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _at(schema: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path:
        schema = schema["properties"][key]
    return schema


def _models(models: dict[str, Any]) -> dict[str, Any]:
    for model, names in KNOWN.items():
        for name in names:
            del models[model]["properties"][name]
    for name, description in FROM.items():
        several = models["Config"]["properties"][name]
        several["items"] = _decided(several["items"]["discriminator"], description)
        if several.get("default"):  # then an empty list is refused
            several["minItems"] = 1
    return {name: model for name, model in models.items() if name != "Tls"}


def _decided(by: dict[str, Any], description: str) -> dict[str, Any]:
    """`anyOf` complains about all branches; one key says which one is meant."""
    key, models = by["propertyName"], by["mapping"]
    branches = [
        {"if": {"required": [key], "properties": {key: {"const": value}}}, "then": {"$ref": model}}
        for value, model in models.items()
    ]
    decides = {"description": description, "enum": [*models]}
    return {"type": "object", "required": [key], "properties": {key: decides}, "allOf": branches}


def readme() -> str:
    text = (CHART / "README.md").read_text()
    for name, rows in {"values": _value_rows(), "policies": _policies(), "permissions": _permissions()}.items():
        before, mark, rest = text.partition(f"<!-- {name}:")
        first, _, rest = rest.partition("\n")
        _, end, after = rest.partition("<!-- end -->")
        if not mark or not end:
            raise ValueError(f"README.md has no place for the table of {name}")
        text = "\n".join([before + mark + first, *rows, end + after])
    return text


@dataclass(frozen=True)
class Value:
    """`default`: as it is written in values.yaml; None for one that has others in it."""

    path: tuple[str, ...]
    default: str | None
    comment: str


def _value_rows() -> Iterator[str]:
    """A row for each value; one that has others in it only with a comment of its own."""
    yield from ("| value | default | |", "| --- | --- | --- |")
    for value in _values():
        if value.default is not None or value.comment:
            default = "" if value.default is None else f"`{value.default}`"
            yield f"| `{'.'.join(value.path)}` | {default} | {value.comment} |"


def _values() -> Iterator[Value]:
    """Of values.yaml, in order; the comment is the lines above."""
    path: list[str] = []
    comment: list[str] = []
    for line in (CHART / "values.yaml").read_text().splitlines():
        if match := re.match(r"( *)([A-Za-z]+):(?: (.+))?$", line):
            path[len(match[1]) // 2 :] = [match[2]]
            yield Value(tuple(path), match[3], " ".join(comment))
        words = line.strip()
        comment = [*comment, words.removeprefix("# ")] if words.startswith("#") else []


def _policies() -> Iterator[str]:
    """A row for each validation: its message, with the comment above it."""
    yield from ("| policy | what it says when it refuses | why |", "| --- | --- | --- |")
    for name in POLICIES:
        text = (CHART / "templates" / f"{name}.yaml").read_text().partition("\n  validations:\n")[2]
        rule = r"((?:^  # .*\n)+)(?:^  \{\{- range .*\n)?^  - expression:(?:.*\n)+?^    message: (.+?)(?:  # .*)?\n"
        for reason, message in re.findall(rule, text, re.MULTILINE):
            why = " ".join(line.removeprefix("  # ") for line in reason.splitlines())
            yield f"| {name.removesuffix('-policy')} | {_named(message)} | {why} |"


def _named(text: str) -> str:
    """With what the chart's helpers say by default."""
    return re.sub(r'\{\{ include "([\w-]+)" [.$](?: \| quote)? \}\}', lambda match: NAMES[match[1]], text)


def _permissions() -> Iterator[str]:
    """A row for each rule of a role, with the comment above it."""
    yield from ("| may | on | why |", "| --- | --- | --- |")
    for name in ("rbac", "issuer-rbac", "uninstall", "test", "doctor"):
        text = (CHART / "templates" / f"{name}.yaml").read_text()
        for reason, rule in re.findall(r"((?:^# .*\n)+)(- apiGroups: .*\n(?:  .*\n)+)", text, re.MULTILINE):
            fields = dict(re.findall(r"^[- ] (\w+): \[(.*)\]$", rule, re.MULTILINE))
            group = fields["apiGroups"].strip('"')
            names = _named(fields.get("resourceNames", ""))
            what = ", ".join(
                f"{resource}.{group}" if group else resource for resource in fields["resources"].split(", ")
            )
            why = " ".join(line.removeprefix("# ") for line in reason.splitlines())
            yield f"| {fields['verbs']} | {what}{f' called `{names}`' if names else ''} | {why} |"


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(values_schema())
    (CHART / "README.md").write_text(readme())
