"""What can be said of the chart without Helm: what is generated is up to date, and what is named exists."""

import json
import re
import tomllib
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import yaml

from webhook.config import reading
from webhook.config.models import ALWAYS_EXCLUDED, Config, LabelRule
from webhook.core import errors, names
from webhook.core.metrics import OUTCOMES, IssuerMetrics, Metrics
from webhook.core.notice import Reason
from webhook.core.pullsecret import STANDINGS
from webhook.issuers.issuing import STATES

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pullsecret-webhook"
TEMPLATES = {file.name: file.read_text() for file in (CHART / "templates").iterdir()}


def test_the_schema_is_what_is_written_by_hand_the_comments_and_the_models(generator: ModuleType) -> None:
    assert (CHART / "values.schema.json").read_text() == generator.values_schema(), "run `make chart`"


def described(schema: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Each property in a schema, however deep, with its description. What stands under `if` is a question."""
    parts = schema.items() if isinstance(schema, dict) else enumerate(schema) if isinstance(schema, list) else ()
    for key, part in parts:
        if key == "properties":
            for name, value in part.items():
                yield f"{path}.{name}", value.get("description")
                yield from described(value, f"{path}.{name}")
        elif key != "if":
            yield from described(part, f"{path}/{key}")


def test_every_value_has_a_description() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    found = dict(described(schema))
    assert {".global", ".tls.certManager.issuerRef.name", "/$defs/SqlSource.listen"} < set(found)
    assert not [path for path, text in found.items() if not (isinstance(text, str) and text.strip())]


def test_values_of_one_shape_have_each_its_own_description(generator: ModuleType) -> None:
    found = dict(described(json.loads((CHART / "values.schema.json").read_text())))
    written = {".".join(("", *value.path)): value.comment for value in generator._values() if value.comment}
    assert {".sourceFiles", ".issuer.files", ".commonLabels", ".podLabels"} < set(written)
    assert {path: found[path] for path in written} == written


def test_every_key_of_the_configuration_has_a_description() -> None:
    assert not [path for path, text in described(reading.schema()) if not text]


def test_the_readme_is_the_values_and_the_roles(generator: ModuleType) -> None:
    text = (CHART / "README.md").read_text()
    assert text == generator.readme(), "run `make chart`"
    rules = sum(text.count("\n- apiGroups:") for text in TEMPLATES.values())
    validations = sum(text.partition("\n  validations:")[2].count("\n  - expression:") for text in TEMPLATES.values())
    reasons = text.partition("<!-- policies:")[2].partition("<!-- end -->")[0]
    assert len(re.findall(r"^\| \w+ \| .+ \| .+ \|$", reasons, re.MULTILINE)) == validations + 1
    policies = 6  # their resource rules look the same, but are indented
    assert len(re.findall(r"^\| .* \| .* \| .+ \|$", text.partition("## Permissions")[2], re.MULTILINE)) == rules + 2
    assert policies == sum("  resourceRules:" in text for text in TEMPLATES.values())


FREE = {".resources", ".issuer.resources", ".registryAuth.resources", ".dashboard.labels"}
"""Maps that go out as they came in."""


def paths(value: Any, path: str = "") -> set[str]:
    if not isinstance(value, dict) or not value or path in FREE:
        return {path}
    return {found for key, part in value.items() for found in paths(part, f"{path}.{key}")}


def test_every_value_is_used_and_in_the_schema() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())
    templates = "\n".join(TEMPLATES.values())
    assert set(schema["properties"]) == {*values, "global"}
    for path in paths(values):
        first, _, last = path.strip(".").rpartition(".")
        alone = not first and f'"{last}"' in templates  # by `index $.Values`
        inside = first and f"with .Values.{first} " in templates and f".{last}" in templates
        used = re.search(rf"\.Values{re.escape(path)}\b", templates)
        assert used or alone or inside or first == "image", f"nothing uses {path}"


def test_versions_are_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert (chart["name"], chart["appVersion"], chart["version"]) == (project["name"], *[project["version"]] * 2)
    assert chart["kubeVersion"] == ">=1.30.0-0"


def test_defaults_that_templates_repeat_are_the_configurations() -> None:
    helpers, defaults = TEMPLATES["_helpers.tpl"], Config()
    assert f'"{defaults.pull_secret.name}" .Values.config' in helpers
    listed = " ".join(f'"{name}"' for name in ALWAYS_EXCLUDED)
    assert f"list {listed} .Release.Namespace" in helpers
    assert f'"from" "label" "key" "{names.OWNER}"' in helpers
    assert defaults.owner_rules == (LabelRule(key=names.OWNER),)
    tls = defaults.tls
    for helper, name in (("name", tls.service), ("name", tls.webhook_configuration), ("entry", tls.webhook)):
        assert f'define "{helper}" -}}}}{name}{{{{- end' in helpers
    assert f'define "ca-secret" -}}}}{tls.ca_secret}{{{{- end' in helpers


def test_nothing_differs_from_one_rendering_to_the_next() -> None:
    """Flux and Argo CD render again and again: what is random, looked up, new or dated would be a change each time."""
    drifting = (
        r"\b(rand\w*|lookup|genCA|gen\w+Cert\w*|genPrivateKey|now|date\w*|uuidv4|ago|htpasswd|bcrypt|derivePassword)\b"
    )
    for name, text in TEMPLATES.items():
        for action in re.findall(r"\{\{-?(.*?)-?\}\}", text, re.DOTALL):
            assert not re.search(drifting, re.sub(r'"[^"]*"|/\*.*?\*/', "", action, flags=re.DOTALL)), (
                f"{name}: {action}"
            )


def test_metrics_that_are_named_exist() -> None:
    families = [family.name for one in (Metrics(), IssuerMetrics()) for family in one.registry.collect()]
    exported = {name + suffix for name in families for suffix in ("", "_total", "_bucket")}
    for text in (TEMPLATES["monitoring.yaml"], (CHART / "files" / "dashboard.json").read_text()):
        named = set(re.findall(r"\b((?:pullsecret_webhook|process)_\w+)", text))
        assert len(named) >= 6
        assert named <= exported


def test_label_values_that_are_asked_for_exist() -> None:
    """Of what the webhook counts. An alert on one that is not there would never fire."""
    written = {"WriteDenied", "WriteRefused", "WriteConflict", "NamespaceUnknown"}
    assert all(issubclass(getattr(errors, name), Exception) for name in written)
    known = {
        "outcome": OUTCOMES,
        "state": {*STANDINGS, *STATES},
        "reason": get_args(Reason),
        "result": {"works", "refused", "unknown", "unasked", *written},
    }
    text = TEMPLATES["monitoring.yaml"] + (CHART / "files" / "dashboard.json").read_text().replace('\\"', '"')
    asked = re.findall(r'\b(outcome|state|reason|result)=~?\\?"([\w|]+)', text)
    assert {label for label, _ in asked} == {*known}
    for label, values in asked:
        assert {*values.split("|")} <= {*known[label]}, label


def test_every_panel_of_the_dashboard_has_a_place_of_its_own_and_says_what_it_shows() -> None:
    panels = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    places = [place for panel in panels for place in _places(**panel["gridPos"])]
    assert len(places) == len(set(places)) > 0
    assert max(x for x, _ in places) < 24
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["type"] == "row" or (panel["description"].endswith(".") and panel["targets"]), panel["title"]


def _places(x: int, y: int, w: int, h: int) -> Iterator[tuple[int, int]]:
    yield from product(range(x, x + w), range(y, y + h))
