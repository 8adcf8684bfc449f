"""docs/status.schema.json is what `pullsecret status -o json` prints: each key and each word, no more and no fewer."""

import json
from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, get_args

import jsonschema
import pytest

from support.statusdocument import SCHEMA, read
from webhook.cli.printed import text
from webhook.commands import health, verdict
from webhook.commands.health import Finding
from webhook.commands.pullcause import Cause, FailingPod
from webhook.commands.status import Report
from webhook.commands.verdict import Answer, Line
from webhook.core.issued import IssuedBy

NOW = datetime(2030, 1, 1, tzinfo=UTC)
FAILING = FailingPod("p", "c", "ghcr.io/x", "ErrImagePull", "401", "refused", "the registry refuses it", "node-1")
LINE = Line(
    "team",
    "alice",
    "right",
    ("ghcr.io",),
    NOW,
    NOW,
    checks=(Answer("ghcr.io", "works", at=NOW),),
    issued=(IssuedBy("harbor", 3, NOW, NOW, NOW), IssuedBy("ecr")),
)
WHOLE = Report([LINE, Line("b", None, "unserved", pods_failing=(FAILING,))], ["x"], [Finding("rights", "right")], ["y"])


def printed(report: Report) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text(report.document, "json"))
    return found


@pytest.mark.parametrize(
    ("definition", "kind", "more"),
    [
        ("namespace", Line, {"needs_a_human"}),
        ("check", Answer, set[str]()),
        ("failing", FailingPod, set[str]()),
        ("finding", Finding, set[str]()),
        ("issued", IssuedBy, set[str]()),
    ],
)
def test_each_key_is_documented(definition: str, kind: type, more: set[str]) -> None:
    documented = SCHEMA["$defs"][definition]
    names = {field.name for field in fields(kind)} | more
    assert documented["properties"].keys() == names == {*documented["required"]}


@pytest.mark.parametrize(
    ("definition", "key", "words"),
    [
        ("namespace", "state", verdict.State),
        ("finding", "part", health.Part),
        ("finding", "result", health.Result),
        ("failing", "cause", Cause),
    ],
)
def test_each_word_is_documented(definition: str, key: str, words: Any) -> None:
    assert SCHEMA["$defs"][definition]["properties"][key]["enum"] == [*get_args(words)]


def test_a_whole_document_is_as_documented() -> None:
    document = printed(WHOLE)
    assert read(json.dumps(document)) == document
    assert printed(WHOLE).keys() == SCHEMA["properties"].keys()


@pytest.mark.parametrize("change", [{"more": 1}, {"needs_a_human": "no"}, {"namespaces": [{}]}])
def test_another_one_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        read(json.dumps(printed(WHOLE) | change))
