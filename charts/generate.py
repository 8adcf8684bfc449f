"""Writes what follows from other files: the schema of `config` in values.schema.json, the tables in the README, and
what the chart comes to in the clusters of the tests, which so need no Helm.

`make chart` runs it; tests check that there is nothing left to write.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from controlplane.helm import Helm
from controlplane.webhook import INSTALLED, NAMESPACE
from webhook.config import reading

CHART = Path(__file__).parent / "pullsecret-webhook"
KNOWN = {"Config": ("namespace", "tls"), "Server": ("port", "metricsPort")}
"""What the chart fills in: it stands in no values file."""
NAMES = {
    "pull-secret": "ghcr-secret",
    "name": "pullsecret-webhook",
    "ca-secret": "pullsecret-webhook-ca",
    "safety-net": "pullsecret-webhook-safety-net",
    "prefix": "pullsecret-webhook/",
}
"""What the chart's helpers say by default."""
POLICIES = ("owner-policy", "write-policy", "configuration-policy", "account-policy")
OWNER_RULES = [
    {"from": "label", "key": "pullsecret-webhook/owner"},
    {"from": "name", "pattern": "project-(?P<owner>[0-9]+)-(development|staging|production)"},
]


def values_schema() -> str:
    schema: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    models = reading.schema()["$defs"]
    for model, names in KNOWN.items():
        for name in names:
            del models[model]["properties"][name]
    for name in ("ownerRules", "sources"):
        several = models["Config"]["properties"][name]
        several |= {"minItems": 1, "items": _decided(several["items"]["discriminator"])}
    schema["$defs"] = {name: model for name, model in models.items() if name != "Tls"}
    return json.dumps(schema, indent=2) + "\n"


def _decided(by: dict[str, Any]) -> dict[str, Any]:
    """`anyOf` complains about all branches; `from` says which one is meant."""
    key, models = by["propertyName"], by["mapping"]
    branches = [
        {"if": {"required": [key], "properties": {key: {"const": value}}}, "then": {"$ref": model}}
        for value, model in models.items()
    ]
    return {"type": "object", "required": [key], "properties": {key: {"enum": [*models]}}, "allOf": branches}


def readme() -> str:
    text = (CHART / "README.md").read_text()
    for name, rows in {"values": _values(), "policies": _policies(), "permissions": _permissions()}.items():
        before, mark, rest = text.partition(f"<!-- {name}:")
        first, _, rest = rest.partition("\n")
        _, end, after = rest.partition("<!-- end -->")
        if not mark or not end:
            raise ValueError(f"README.md has no place for the table of {name}")
        text = "\n".join([before + mark + first, *rows, end + after])
    return text


def _values() -> Iterator[str]:
    """A row for each value; the comment above it, or the words beside, are what it says."""
    yield from ("| value | default | |", "| --- | --- | --- |")
    path: list[str] = []
    comment: list[str] = []
    lines = (CHART / "values.yaml").read_text().splitlines()
    for number, line in enumerate(lines):
        if match := re.match(r"( *)([A-Za-z]+):(?: (.+))?$", line):
            path[len(match[1]) // 2 :] = [match[2]]
            said = " ".join(comment)
            parent = match[3] is None and number + 1 < len(lines) and lines[number + 1].startswith(match[1] + "  ")
            if not parent or said:
                default = "" if parent else f"`{match[3]}`"
                yield f"| `{'.'.join(path)}` | {default} | {said} |"
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
    for name in ("rbac", "uninstall", "test"):
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


def installed(helm: Helm) -> str:
    """The registration with the default owner rule, which is what the webhook runs with there."""
    made = "# Made from the chart by `make chart`: policies for two owner rules, a label and project names.\n"
    values = {"config": {"ownerRules": OWNER_RULES}}
    return (
        made
        + _rendered(helm, values, "rbac", *POLICIES)
        + _rendered(helm, values, "safety-net")
        + _rendered(helm, {}, "webhook")
    )


def _rendered(helm: Helm, values: dict[str, Any], *templates: str) -> str:
    show = [word for name in templates for word in ("--show-only", f"templates/{name}.yaml")]
    served = ("--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")
    text = helm.run("template", "pullsecret-webhook", CHART, "--namespace", NAMESPACE, *show, *served, values=values)
    return re.sub(r"\n\n+", "\n", text)


if __name__ == "__main__":
    (CHART / "values.schema.json").write_text(values_schema())
    (CHART / "README.md").write_text(readme())
    with tempfile.TemporaryDirectory() as folder:
        INSTALLED.write_text(installed(Helm(4, Path(folder))))
