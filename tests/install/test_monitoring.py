"""The chart's alerts and its dashboard: judged by Prometheus's own promtool and by Grafana's schema."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane.api import Object
from controlplane.binaries import need
from controlplane.helm import CHART, Helm, one
from webhook.core.metrics import IssuerMetrics

pytestmark = pytest.mark.helm

DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
PANELS = DASHBOARD["panels"]
ENTRY, TEMPLATES_ENTRY = 'name="mutate.pullsecret-webhook.io"', 'name="templates.pullsecret-webhook.io"'
ALERTS: Object = {"prometheusRule": {"enabled": True}}
ISSUERS: Object = {
    **ALERTS,
    "config": {"issuers": [{"issue": "registry", "registry": "r.example.com", "keyFile": "/key.pem"}]},
}
FAIL: Object = {**ALERTS, "failurePolicy": "Fail", "config": {"excludedNamespaces": ["kube-system"]}}
END = "2h"
STEADY, NEW, RISEN = "1x120", "_x115 1x5", "1x115 2x5"
"""A counter until END: at rest, seen for the first time, and risen."""

Series = Mapping[str, str]
"""Values in promtool's words, by name and labels."""


@dataclass(frozen=True)
class Case:
    """When it fires at END, with which labels and value, and when it does not."""

    fires: Series
    quiet: Series
    labels: Mapping[str, str] = field(default_factory=dict)
    value: str = ""


def flag(name: str) -> Case:
    """A gauge that is 1 while all is well."""
    gauge = f"pullsecret_webhook_{name}"
    return Case(
        {f'{gauge}{{pod="a"}}': "1x120", f'{gauge}{{pod="b"}}': "1x100 0x20"},
        {f'{gauge}{{pod="a"}}': "1x120", f'{gauge}{{pod="b"}}': "1x50 0x3 1x80"},
    )


def some(series: str, **labels: str) -> Case:
    """A gauge that is 0 while all is well; the greatest of all replicas counts."""
    name, _, more = series.partition("{")
    a, b = (f'pullsecret_webhook_{name}{{pod="{pod}",{more or "}"}' for pod in "ab")
    return Case({a: "3x120", b: "2x120"}, {a: "0x120", b: "0x120"}, labels, "3")


def counted(series: str, how: str = NEW) -> Case:
    """A counter of the API server's or ours, whose series may begin with the first thing that it counts."""
    return Case({series: how}, {series: STEADY})


NAMESPACES = 'pullsecret_webhook_namespaces{{instance="{}",state="{}"}}'
MIRROR = 'pullsecret_webhook_mirror_answers{{pod="{}",mirror="{}"}}'
LEADS = 'pullsecret_webhook_issuer_leads{{pod="{}"}}'
OWNERS = 'pullsecret_webhook_issuer_owners{{pod="{}",issuer="registry",state="{}"}}'
UP = 'pullsecret_webhook_issuer_up{{pod="{}",issuer="registry"}}'
LATE = 'pullsecret_webhook_issued_late{{pod="{}",issuer="registry"}}'
CASES = {
    "PullsecretWebhookPassedBy": counted(f"apiserver_admission_webhook_fail_open_count{{{ENTRY}}}"),
    "PullsecretWebhookConditionsFail": counted(
        f'apiserver_admission_match_condition_evaluation_errors_total{{kind="webhook",{TEMPLATES_ENTRY}}}', RISEN
    ),
    "PullsecretWebhookAbsent": Case(
        {'pullsecret_webhook_build_info{pod="a"}': "1x100"}, {'pullsecret_webhook_build_info{pod="a"}': "1x120"}
    ),
    "PullsecretWebhookNotReady": Case(
        {'pullsecret_webhook_ready{pod="a"}': "1x120", 'pullsecret_webhook_ready{pod="b"}': "1x90 0x30"},
        {'pullsecret_webhook_ready{pod="a"}': "1x120", 'pullsecret_webhook_ready{pod="b"}': "0x5 1x120"},
        value="1",
    ),
    "PullsecretWebhookReviewsFail": Case(
        {'pullsecret_webhook_reviews_total{outcome="failed"}': "0x115 1x5"},
        {
            'pullsecret_webhook_reviews_total{outcome="failed"}': "7x120",
            'pullsecret_webhook_reviews_total{outcome="refused"}': "0x115 9x5",
        },
    ),
    "PullsecretWebhookCertificateEnds": Case(
        {
            'pullsecret_webhook_certificate_expiry_timestamp_seconds{pod="a"}': "604800x120",
            'pullsecret_webhook_certificate_expiry_timestamp_seconds{pod="b"}': "86400x120",
        },
        {'pullsecret_webhook_certificate_expiry_timestamp_seconds{pod="a"}': "93601x120"},
    ),
    "PullsecretWebhookNotRegistered": flag("registered"),
    "PullsecretWritePolicyGone": flag("write_policy_in_force"),
    "PullsecretCredentialExpired": Case(
        {'pullsecret_webhook_source_secret_expired{pod="a",secret="alice"}': "1x120"}, {}, {"secret": "alice"}
    ),
    "PullsecretCredentialExpires": some("pull_secrets_expiring"),
    "PullsecretPullSecretExpired": some("pull_secrets_expired"),
    "PullsecretCredentialRefused": some('credentials{result="refused"}'),
    "PullsecretWithdrawalsHeld": some("withdrawals_held"),
    "PullsecretNamespacesWithoutCredential": Case(
        {
            NAMESPACES.format("a", "no_credential"): "2x120",
            NAMESPACES.format("a", "refused"): "1x120",
            NAMESPACES.format("b", "no_credential"): "2x120",
            NAMESPACES.format("b", "right"): "9x120",
        },
        {NAMESPACES.format("a", "no_credential"): "2x110 0x10", NAMESPACES.format("a", "right"): "2x120"},
        value="3",
    ),
    "PullsecretNamespacesFail": some('namespaces{state="failed"}'),
    "PullsecretTugOfWar": counted('pullsecret_webhook_notices_total{pod="a",reason="TugOfWar"}', "_x107 1x13"),
    "PullsecretSourceDown": Case(
        {'pullsecret_webhook_source_down{pod="a",source="sql"}': "1x120"},
        {'pullsecret_webhook_source_down{pod="a",source="sql"}': "_x116 1x4"},
        {"source": "sql"},
    ),
    "PullsecretMirrorSilent": Case(
        {MIRROR.format("a", "m:5000"): "1x100 0x20", MIRROR.format("b", "m:5000"): "0x120"},
        {MIRROR.format("a", "m:5000"): "1x120", MIRROR.format("b", "m:5000"): "0x120"},
        {"mirror": "m:5000"},
    ),
    "PullsecretCredentialUnusable": Case(
        {'pullsecret_webhook_source_secret_broken{pod="a",secret="bob"}': "1x120"}, {}, {"secret": "bob"}
    ),
    "PullsecretSupplyFails": Case(
        {'pullsecret_webhook_secret_writes_total{action="apply",result="WriteRefused"}': "0+1x120"},
        {
            'pullsecret_webhook_secret_writes_total{action="apply",result="WriteRefused"}': "3x120",
            'pullsecret_webhook_secret_writes_total{action="apply",result="WriteConflict"}': "0+1x120",
        },
        {"action": "apply", "result": "WriteRefused"},
    ),
    "PullsecretWatchFails": Case(
        {'pullsecret_webhook_watch_failures_total{resource="namespaces"}': "0+1x120"},
        {'pullsecret_webhook_watch_failures_total{resource="namespaces"}': "0x110 5x10"},
        {"resource": "namespaces"},
    ),
}
"""With failurePolicy Ignore, certificates of its own and two replicas."""
CASES_OF_ISSUERS = {
    "PullsecretIssuerIdle": Case(
        {LEADS.format("a"): "1x100 0x20", LEADS.format("b"): "1x10 0x110"},
        {LEADS.format("a"): "1x100 0x20", LEADS.format("b"): "0x105 1x15"},
    ),
    "PullsecretIssuerDown": Case(
        {UP.format("a"): "1x90 _x30", UP.format("b"): "_x90 0x30"},
        {UP.format("a"): "1x110 0x10", UP.format("b"): "0x90 _x30"},
        {"issuer": "registry"},
        "0",
    ),
    "PullsecretIssueFails": Case(
        {OWNERS.format("a", "failing"): "0x80 3x40", OWNERS.format("b", "failing"): "0x120"},
        {OWNERS.format("a", "failing"): "3x80 0x40", OWNERS.format("a", "due"): "3x120"},
        {"issuer": "registry"},
        "3",
    ),
    "PullsecretIssuedLate": Case(
        {LATE.format("a"): "0x100 2x20", LATE.format("b"): "0x110 1x10"},
        {LATE.format("a"): "2x100 0x20"},
        {"issuer": "registry"},
        "2",
    ),
}
"""With issuers."""
CASES_OF_FAIL = {
    "PullsecretWebhookStopsWorkloads": counted(
        f'apiserver_admission_webhook_rejection_count{{error_type="calling_webhook_error",{ENTRY}}}', RISEN
    )
}


def rules(helm: Helm, values: Object) -> dict[str, Any]:
    groups = one(helm.render(values), "PrometheusRule")["spec"]["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def promtool(*arguments: str, folder: Path) -> str:
    """What it complains about; nothing if all is right."""
    done = subprocess.run(
        [need("promtool")["promtool"], *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return f"{done.stdout}\n{done.stderr}" if done.returncode else ""


def written(folder: Path, rules: list[Any]) -> None:
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "these", "rules": rules}]}))


def verdict(folder: Path, tests: list[Any]) -> str:
    each = [{"interval": "1m", **test} for test in tests]
    (folder / "tests.yaml").write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "tests": each}))
    return promtool("test", "rules", "tests.yaml", folder=folder)


def filled(text: str, case: Case) -> str:
    text = text.replace("{{ $value }}", case.value)
    return re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda match: case.labels[match[1]], text)


def question(which: Sequence[Series], expected: Mapping[str, list[Any]]) -> Object:
    """All at once, because promtool takes half a second for each: no two cases may have a series in common."""
    inputs = [{"series": name, "values": values} for series in which for name, values in series.items()]
    assert len({one["series"] for one in inputs}) == len(inputs)
    asked = [{"eval_time": END, "alertname": alert, "exp_alerts": alerts} for alert, alerts in expected.items()]
    return {"input_series": inputs, "alert_rule_test": asked}


def fired(rule: Mapping[str, Any], case: Case) -> list[Any]:
    annotations = {key: filled(text, case) for key, text in rule["annotations"].items()}
    return [{"exp_labels": {**rule["labels"], **case.labels}, "exp_annotations": annotations}]


@pytest.mark.parametrize(
    ("values", "cases"),
    [(ALERTS, CASES), (ISSUERS, CASES_OF_ISSUERS), (FAIL, CASES_OF_FAIL)],
    ids=["Ignore", "issuers", "Fail"],
)
def test_each_alert_fires_when_it_must_and_only_then(
    helm: Helm, tmp_path: Path, values: Object, cases: Mapping[str, Case]
) -> None:
    found = rules(helm, values)
    written(tmp_path, [*found.values()])
    all_fire = {alert: fired(found[alert], case) for alert, case in cases.items()}
    none_fires: dict[str, list[Any]] = {alert: [] for alert in cases}
    firing, quiet = [case.fires for case in cases.values()], [case.quiet for case in cases.values()]
    assert verdict(tmp_path, [question(firing, all_fire), question(quiet, none_fires)]) == ""
    said = verdict(tmp_path, [question(quiet, all_fire), question(firing, none_fires)])
    assert said.count("alertname: ") == 2 * len(cases), said


def test_what_a_pod_that_issues_shows_sets_nothing_off(helm: Helm, tmp_path: Path) -> None:
    """Beside replicas of the webhook that are well: it has none of their metrics that would say that it is not."""
    page = [sample for family in IssuerMetrics().registry.collect() for sample in family.samples]
    own = [one for one in page if one.name.startswith("pullsecret_webhook_")]
    assert own
    labels = [{"pod": "issuer"} | one.labels for one in own]
    texts = [",".join(f"{key}={json.dumps(value)}" for key, value in each.items()) for each in labels]
    issuer = {f"{one.name}{{{text}}}": f"{one.value}x120" for one, text in zip(own, texts, strict=True)}
    written(tmp_path, [*rules(helm, ALERTS).values()])
    asked = question([issuer, *(case.quiet for case in CASES.values())], {alert: [] for alert in CASES})
    assert verdict(tmp_path, [asked]) == ""


def test_each_alert_has_a_case(helm: Helm) -> None:
    assert rules(helm, ALERTS).keys() == CASES.keys()
    assert rules(helm, FAIL).keys() == CASES.keys() - {"PullsecretWebhookPassedBy"} | CASES_OF_FAIL.keys()
    assert rules(helm, ISSUERS).keys() == CASES.keys() | CASES_OF_ISSUERS.keys()
    without = ALERTS | {"tls": {"mode": "cert-manager"}, "writePolicy": {"enabled": False}}
    gone = {"PullsecretWritePolicyGone"}
    assert rules(helm, without).keys() == CASES.keys() - gone


def test_each_alert_says_what_it_is_and_what_to_do(helm: Helm) -> None:
    for values in (ALERTS, ISSUERS, FAIL, ALERTS | {"tls": {"mode": "cert-manager"}}):
        for name, rule in rules(helm, values).items():
            told = rule["annotations"]
            assert told.keys() == {"summary", "description", "runbook_url"}
            assert all(re.fullmatch(r"[^\n]+\.", told[key]) for key in ("summary", "description")), name
            assert told["runbook_url"].endswith(f"/docs/troubleshooting.md#{name.lower()}")
            assert rule["labels"].keys() == {"severity"}


# -- the dashboard --


def expressions() -> list[tuple[str, str]]:
    """The title of the panel, and an expression with what Grafana puts in."""
    variables = {"$namespace": "pw", "$job": "webhook", "$__rate_interval": "2m"}
    found = []
    for panel in PANELS:
        for target in panel.get("targets", ()):
            text = target["expr"]
            for name, value in variables.items():
                text = text.replace(name, value)
            found.append((panel["title"], text))
    return found


def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    written(tmp_path, [{"record": f"panel:{at}", "expr": text} for at, (_, text) in enumerate(expressions())])
    assert promtool("check", "rules", "rules.yaml", folder=tmp_path) == ""
    written(tmp_path, [{"record": "panel:wrong", "expr": "sum(1"}])
    assert "unclosed left parenthesis" in promtool("check", "rules", "rules.yaml", folder=tmp_path)


def ours(name: str, **labels: str) -> str:
    all_labels = {"namespace": "pw", "job": "webhook", "instance": "a", **labels}
    return f"pullsecret_webhook_{name}{{{','.join(f'{key}={json.dumps(value)}' for key, value in all_labels.items())}}}"


SCENE = {
    ours("build_info", version="0.1.0"): 1,
    ours("build_info", version="0.1.0", instance="b"): 1,
    ours("build_info", version="0.2.0", instance="c"): 1,
    ours("ready"): 1,
    ours("ready", instance="b"): 1,
    ours("ready", instance="c"): 0,
    **{ours("share", instance=one): 1 for one in "ab"},
    **{ours("namespaces", state="right", instance=one): 5 for one in "ab"},
    **{ours("namespaces", state="no_credential", instance=one): 2 for one in "ab"},
    **{ours("namespaces", state="refused", instance=one): 1 for one in "ab"},
    **{ours("namespaces", state="failed", instance=one): 4 for one in "ab"},
    ours("pull_secrets_expiring"): 6,
    ours("pull_secrets_expired"): 7,
    ours("credentials", result="refused"): 3,
    ours("source_down", source="sql"): 1,
    ours("source_down", source="sql", instance="b"): 1,
    **{ours("mirror_answers", mirror="m", instance=one): 0 for one in "ab"},
    ours("mirror_answers", mirror="one for which one replica is enough"): 1,
    ours("mirror_answers", mirror="one for which one replica is enough", instance="b"): 0,
    ours("registered"): 1,
    ours("registered", instance="b"): 0,
    ours("write_policy_in_force"): 1,
    ours("certificate_expiry_timestamp_seconds"): 9000,
    ours("withdrawals_held"): 8,
    ours("ready", namespace="elsewhere"): 1,
}
SHOWN: dict[str, list[list[tuple[str, float]]]] = {
    "Namespaces": [[("{}", 5)], [("{}", 12)]],
    "Without credential": [[("{}", 3)]],
    "Failed": [[("{}", 4)]],
    "Expire within 7 days": [[("{}", 6)], [("{}", 7)]],
    "Credentials refused": [[("{}", 3)]],
    "Sources and mirrors down": [[("{}", 1)], [("{}", 0)], [("{}", 1)]],
    "Replicas ready": [[("{}", 2)], [("{}", 3)]],
    "Registration": [[("{}", 0)]],
    "Write policy": [[("{}", 1)]],
    "Certificate ends in": [[("{}", 1800)]],
    "Withdrawals held": [[("{}", 8)]],
    "Version": [[('{version="0.1.0"}', 2), ('{version="0.2.0"}', 1)]],
}


def test_the_first_row_shows_what_is(tmp_path: Path) -> None:
    stats = {panel["title"] for panel in PANELS if panel["type"] == "stat"}
    assert stats == SHOWN.keys()
    each = {title: [text for other, text in expressions() if other == title] for title in stats}
    asked = [
        {"expr": text, "eval_time": END, "exp_samples": [{"labels": key, "value": value} for key, value in samples]}
        for title, shown in SHOWN.items()
        for text, samples in zip(each[title], shown, strict=True)
    ]
    written(tmp_path, [])
    inputs = [{"series": name, "values": f"{value}x120"} for name, value in SCENE.items()]
    assert verdict(tmp_path, [{"input_series": inputs, "promql_expr_test": asked}]) == ""


def not_a_dashboard(text: str) -> str:
    call = [need("dashboard")["dashboard"]]
    done = subprocess.run(call, input=text, capture_output=True, text=True, check=False, timeout=10)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_grafanas_schema_has_nothing_against_it(helm: Helm) -> None:
    rendered = one(helm.render({"dashboard": {"enabled": True}}), "ConfigMap", "pullsecret-webhook-dashboard")
    (text,) = rendered["data"].values()
    assert json.loads(text) == DASHBOARD
    assert not_a_dashboard(text) == ""
    stat = next(panel for panel in PANELS if panel["type"] == "stat")
    wrong = {**stat, "options": {**stat["options"], "textMode": 1, "colour": "red"}}
    said = not_a_dashboard(json.dumps({**DASHBOARD, "panels": [wrong]}))
    assert "textMode" in said
    assert "unexpected field 'colour'" in said


def test_links_lead_to_where_the_troubleshooting_page_is(helm: Helm) -> None:
    here = "https://docs.example.com/pull/troubleshooting.md"
    values = {**ALERTS, "dashboard": {"enabled": True}, "runbookUrl": here}
    objects = helm.render(values)
    (text,) = one(objects, "ConfigMap", "pullsecret-webhook-dashboard")["data"].values()
    urls = re.findall(r'"url": "(.*?)"', text)
    assert len(urls) > len(SHOWN)
    assert all(re.fullmatch(rf"{re.escape(here)}(#[a-z]+)?", url) for url in urls)
    (group,) = one(objects, "PrometheusRule")["spec"]["groups"]
    assert all(rule["annotations"]["runbook_url"].startswith(f"{here}#") for rule in group["rules"])
