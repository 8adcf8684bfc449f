"""The documentation: its examples run, its links lead somewhere, and what it names and counts is what the code has."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from configparser import ConfigParser
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from certs import authority, bundle, files, selfmanaged
from support import goldencase
from support.pages import CHART, PAGES, ROOT, block, missing
from webhook import expirynotices, sharing, writelog
from webhook.checks import checker, guardedhttp, lately
from webhook.checks.mirrorhealth import EVERY_SECONDS
from webhook.cli import doctordns
from webhook.cli.mirrors import mirrors
from webhook.commands.clusterdns import dns
from webhook.commands.clusterdns.key import Host, Key
from webhook.commands.credential import arrival
from webhook.commands.installation import apiserver, way
from webhook.commands.pullcause import Cause
from webhook.config import reading
from webhook.config.models import Config
from webhook.core import pace, podimages, pullsecret, shares
from webhook.core.check import AGAIN_SECONDS, MAX_CHECKS
from webhook.core.credential import MAX_CREDENTIALS
from webhook.core.faults import Fault
from webhook.core.metrics import IssuerMetrics, Metrics
from webhook.core.names import IMAGES, REGION, REPLICA_LEASES
from webhook.core.notice import Reason
from webhook.core.owner import MAX_OWNER_CHARS as LONGEST_OWNER
from webhook.core.owner import find_owner
from webhook.core.podimages import MAX_IMAGES
from webhook.core.registry import blob_hosts
from webhook.core.rewrite import RewriteRule, Why
from webhook.core.shown import MAX_CHARS as LONGEST_QUOTED
from webhook.issuers import issuing
from webhook.kube import events, preflight, reader, writepolicy
from webhook.kube.cluster import SecretObject
from webhook.kube.safetynet import MAX_ANNOTATION_BYTES as LONGEST_ANNOTATION
from webhook.kube.watch import SILENCE_SECONDS
from webhook.rewriting import MAX_REVIEW_BYTES
from webhook.serving import server, slots
from webhook.sources.secret import read

README, DESIGN = PAGES["README.md"], PAGES["docs/design.md"]


def owner(settings: Config, name: str, **labels: str) -> str | None:
    return find_owner(settings.rules, name, {f"pullsecret-webhook/{key}": value for key, value in labels.items()}, {})


def test_configuration() -> None:
    settings = reading.parse(block("docs/owners.md", "yaml", "ownerRules"))
    assert settings.excluded("monitoring")
    assert settings.excluded("pullsecret-webhook")
    assert owner(settings, "team-a", owner="alice") == "alice"
    assert owner(settings, "project-42-production") == "42"


def test_project_namespaces_example() -> None:
    file = ROOT / "docs" / "examples" / "owners" / "project-names.yaml"
    settings = reading.convert(yaml.safe_load(file.read_text())["config"])
    assert {owner(settings, f"project-7-{stage}") for stage in ("development", "staging", "production")} == {"7"}
    assert owner(settings, "project-7-production", owner="alice") == "alice"
    for name in ("project-7-test", "project-x-staging", "my-project-7-staging", "project-7-staging-2"):
        assert owner(settings, name) is None


@pytest.mark.parametrize("page", ["README.md", "docs/credentials.md"])
def test_source_secret(page: str) -> None:
    secret = yaml.safe_load(block(page, "yaml", "kind: Secret"))
    secret["data"] = {key: msgspec.to_builtins(value.encode()) for key, value in secret.pop("stringData").items()}
    found = read(msgspec.convert(secret, SecretObject))
    assert (found.owner, found.problems) == ("alice", ())
    (credential,) = found.credentials or ()
    assert (credential.registry, credential.username) == ("ghcr.io", "alice")


def test_inject(tmp_path: Path) -> None:
    (call,) = [line for line in block("README.md", "sh", "pullsecret inject").splitlines() if line]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}
    (tmp_path / "manifests.yaml").write_text(json.dumps(pod))
    command = [sys.executable, "-m", "webhook", *call.split()[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["spec"]["imagePullSecrets"] == [{"name": "ghcr-secret"}]
    assert "Pod p" in done.stderr


def test_the_key_for_coredns() -> None:
    hosts = Host("ghcr.io", ("140.82.121.34",)), Host("pkg-containers.githubusercontent.com", ("185.199.108.154",))
    key = Key(hosts)
    assert blob_hosts("ghcr.io") == (hosts[1].name,)
    text = key.text.replace(key.marker, "pullsecret-MARKER.ghcr.io")
    assert block("docs/dns.md", "text", "MARKER") == text


def test_commands_for_the_clusters_dns_are_taken() -> None:
    lines = [block("docs/dns.md", "sh", containing) for containing in ("--remove", "--resolver")]
    calls = [line.partition(" #")[0].split() for line in "".join(lines).splitlines()]
    assert {tuple(call[:3]) for call in calls} == {("pullsecret", "doctor", "dns")}
    found = [doctordns.dns.make_context("dns", call[3:]).params for call in calls]  # raises if one is not right
    assert [one["action"] for one in found] == ["print", "apply", "remove", "apply"]
    assert {one["registry"] for one in found} == {"ghcr.io"}


def test_files_of_nodes_can_be_read() -> None:
    mirror = ["https://mirror.example.com"]
    assert yaml.safe_load(block("docs/dns.md", "yaml", "mirrors")) == {"mirrors": {"ghcr.io": {"endpoint": mirror}}}
    assert [*tomllib.loads(block("docs/dns.md", "toml", "server"))["host"]] == mirror
    resolved = ConfigParser()
    resolved.read_string(block("docs/dns.md", "ini", "Resolve"))
    assert resolved["Resolve"]["DNSOverTLS"] == "yes"


def test_mirrors_whose_names_images_get() -> None:
    config = reading.convert(yaml.safe_load(block("docs/mirrors.md", "yaml", "how: rewrite"))["config"])
    rule = config.rewrite_rules[0]
    row = f"`ghcr.io/alice/app:1` becomes `{rule.name('ghcr.io/alice/app', ':1')}`"
    assert row in PAGES["docs/mirrors.md"]
    acme = RewriteRule("ghcr.io/acme", "m.test")
    assert acme.covers("ghcr.io/acme/app")
    assert not acme.covers("ghcr.io/acme-labs/app")
    text = " ".join(PAGES["docs/mirrors.md"].split())
    assert (
        f"more than {MAX_IMAGES} containers or volumes, or one that is larger than {MAX_REVIEW_BYTES >> 10} KiB" in text
    )
    assert f"is larger than {MAX_REVIEW_BYTES >> 10} KiB" in Why.LARGE
    assert EVERY_SECONDS == 10
    for key in (REGION, IMAGES, podimages.REGION, podimages.ZONE):
        assert f"`{key}`" in text


def test_files_for_nodes_that_ask_mirrors_are_what_the_command_prints(tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(block("docs/mirrors.md", "yaml", "nodeCaFile"))
    calls = re.findall(
        r"^\$ pullsecret mirrors (.*)\n((?:(?!\$ ).*\n)*)", block("docs/mirrors.md", "console", "$"), re.MULTILINE
    )
    assert len(calls) == 2
    for call, printed in calls:
        ran = CliRunner().invoke(mirrors, call.replace("values.yaml", str(values)).split())
        assert ran.output == printed


def test_the_readme_is_a_front_page() -> None:
    assert len(README.splitlines()) <= 120


# -- what is named exists ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z0-9-]+)|^make ([a-z0-9-]+)", PAGES[page], re.MULTILINE):
        assert re.search(rf"^{''.join(target)}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES)
def test_paths_exist(page: str) -> None:
    for path in re.findall(r"`((?:docs|tests|webhook|certs|charts)/[\w./-]+)`", PAGES[page]):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[page]):
        path, _, anchor = target.partition("#")
        to = (ROOT / page).parent.joinpath(path).resolve() if path else ROOT / page
        assert to.exists(), target
        if anchor:
            assert anchor in anchors(to.read_text()), target


def anchors(text: str) -> set[str]:
    """As GitHub makes them of headings."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_metrics_are_those_that_exist() -> None:
    prefix, found = "pullsecret_webhook_", [*Metrics().registry.collect(), *IssuerMetrics().registry.collect()]
    known = {metric.name.removeprefix(prefix) for metric in found if metric.name.startswith(prefix)}
    section = PAGES["docs/operating.md"].partition("## Metrics")[2].partition("##")[0]
    names = re.findall(r"`(?:pullsecret_webhook|\.\.\.)_([a-z_]+?)(?:_total)?(?:\{[a-z,]+\})?`", section)
    assert sorted(names) == sorted(known)


ALERTS = re.findall(r"- alert: (\w+)", (CHART / "templates" / "monitoring.yaml").read_text())


def test_alerts_that_are_named_are_those_of_the_chart() -> None:
    for page in PAGES.values():
        assert {*re.findall(r"`(Pullsecret\w+)`", page)} <= {*ALERTS}


@pytest.mark.parametrize(
    ("section", "there"),
    [("Causes", get_args(Cause)), ("Codes", [*Fault]), ("Events", get_args(Reason)), ("Alerts", ALERTS)],
)
def test_each_cause_code_event_and_alert_has_an_entry_in_troubleshooting(section: str, there: Sequence[str]) -> None:
    text = PAGES["docs/troubleshooting.md"].partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    entries = re.findall(r"^### (.+)\n\n((?:(?!### ).*\n)*)", text, re.MULTILINE)
    assert len(there) > 5
    assert sorted(name for name, _ in entries) == sorted(there)
    assert not [name for name, told in entries if len(told.split()) < 8]


def test_no_two_entries_of_troubleshooting_have_one_anchor() -> None:
    headings = re.findall(r"^#+ (.+)$", PAGES["docs/troubleshooting.md"], re.MULTILINE)
    assert len(headings) == len(anchors(PAGES["docs/troubleshooting.md"]))


def test_the_dashboard_links_to_what_is_there() -> None:
    links = re.findall(r"/docs/troubleshooting\.md#([\w-]+)", (CHART / "files" / "dashboard.json").read_text())
    assert len(links) > 5
    assert {*links} <= anchors(PAGES["docs/troubleshooting.md"])


def test_each_reason_of_an_event_is_used() -> None:
    """Types hold each notice to the list of reasons, but not the list to the notices."""
    code = "".join(file.read_text() for file in (ROOT / "webhook").rglob("*.py") if file.name != "notice.py")
    assert not [reason for reason in get_args(Reason) if f'"{reason}"' not in code]


# -- the table of cases ------------------------------------------------------------------------------------------------


def test_each_row_of_the_table_of_cases_names_golden_cases_and_each_golden_case_is_in_one_row() -> None:
    table = DESIGN.partition("## The table of cases")[2]
    rows = [row for row in re.findall(r"^\| (.*) \|$", table, re.MULTILINE) if not row.startswith(("case |", "---"))]
    named = []
    for row in rows:
        cases = re.findall(r"\[([\w-]+)\]\(\.\./tests/admission/([\w-]+)\.yaml\)", row.rpartition(" | ")[2])
        assert cases, row
        assert all(text == file for text, file in cases), row
        named += [file for _, file in cases]
    assert sorted(named) == sorted(file.stem for file in goldencase.FOLDER.glob("*.yaml"))


# -- what is counted ---------------------------------------------------------------------------------------------------


def _word(number: float) -> str:
    return {5.0: "five", 10.0: "ten"}.get(number, f"{number:g}")


MANY_REFUSED = _word(lately.FEW_REFUSED), _word(lately.TOGETHER_SECONDS / 60)


FIGURES = {
    "docs/troubleshooting.md": {f"If more than {issuing.MANY} owners fail at once"},
    "docs/certificates.md": {
        f"reads the\nfiles every {files.LOOK_SECONDS:g} seconds",
        f"valid for {authority.LEAF_LIFE.days}\ndays",
    },
    "docs/design.md": {
        f"the `timeout` in the URL less {server.MARGIN_SECONDS:g}\n",
        f"every {files.LOOK_SECONDS:g} seconds",
        f"every {expirynotices.LOOK_SECONDS:g} seconds",
        f"more than {server.MAX_BODY_BYTES // 1024 // 1024} MiB: 413",
        f"With {sharing.SHARED_FROM:,} owned namespaces or more",
        f"less than {sharing.SHARED_FROM // 2:,}",
        f"counts for {shares.LASTS_SECONDS} seconds",
        f"counts for {shares.HANDED_SECONDS} seconds more",
        f"and for {sharing.ABLE_SECONDS:g} seconds more",
        f"as replicas in the chart, {shares.MAX_SLOTS} at most",
        f"keeps its share for {shares.AWAY_SECONDS} seconds",
        f"renews it every {'two' if sharing.RENEW_SECONDS == 2 else '?'} seconds",
    },
    "docs/owners.md": {
        f"at most {LONGEST_OWNER} printable",
        f"at most {reading.MAX_DEPTH} levels deep",
        f"at most {reading.MAX_CONFIG_CHARS:,} characters",
    },
    "docs/credentials.md": {
        f"more than {MAX_CREDENTIALS} entries",
        "more than {} credentials within {} minutes".format(*MANY_REFUSED),
        f"`Retry-After`, up to {'an hour' if checker.MAX_RETRY_AFTER_SECONDS == 3600 else '?'}",
        f"once more {'half a minute' if AGAIN_SECONDS == 30 else '?'} later",
        f"wait up to {arrival.WAIT_SECONDS:g} seconds until",
        f"more than {'a tenth' if Config().pull_secret.max_withdrawn == 0.1 else '?'} (`pullSecret.maxWithdrawn`)",
    },
    "docs/operating.md": {
        f"waits for {preflight.STARTING_SECONDS:g} seconds",
        f"accepts connections for {server.LINGER_SECONDS:g} more seconds",
        f"may differ by {apiserver.AHEAD_SECONDS:g} seconds; more is a warning",
        f"and more than {apiserver.WRONG_SECONDS:g} is wrong",
        f"any of the first {'three' if way.MAX_TRIED == 3 else '?'} namespaces",
        f"at most {events.NEWS_BURST} at once and {60 / events.NEWS_PACE.total_seconds():g} per minute",
        f"One owner gets {writelog.MOST_OF_OWNER} such lines a minute, and all owners together {writelog.MOST}",
    },
    "docs/dns.md": {f"within {dns.WAIT_SECONDS:g} seconds"},
    "docs/guarantees-and-limits.md": {
        f"the first {reader.MAX_SECRETS} pull secrets of an account",
        f"names of {reader.MAX_NAMES_CHARS:,} characters together",
        f"the first {pullsecret.MAX_EXPIRIES} expiry times",
        f"larger than {reader.MAX_CONTENT_CHARS // 1024} KiB",
        f"about {MAX_CHECKS:,} credentials",
        "More than {} such credentials within {} minutes".format(*MANY_REFUSED),
        f"twice, {'half a minute' if AGAIN_SECONDS == 30 else '?'} apart",
        f"more than {reader.MAX_REGISTRIES_CHARS:,} characters together",
        f"{LONGEST_ANNOTATION // 1024} KiB",
        f"noticed after {SILENCE_SECONDS:g} seconds",
        f"from {sharing.SHARED_FROM:,} owned ones on",
        f"missed after {shares.LASTS_SECONDS} to {shares.LASTS_SECONDS + 2 * sharing.RENEW_SECONDS:g} seconds",
        f"again after {pace.MAX_OUTAGE_BACKOFF_SECONDS:g} seconds at most",
        f"more than {pace.MAX_OUTAGE_BACKOFF_SECONDS * pace.RETRIES_PER_SECOND:g} failing namespaces",
        f"{pace.RETRIES_PER_SECOND} per second",
        f"intervals of up to {pace.MAX_BACKOFF_SECONDS:g} seconds",
        f"{events.NEWS_BURST} are told in an Event `PullSecretUpdated` at once",
        f"and {60 / events.NEWS_PACE.total_seconds():g} per minute after that, by each replica",
        f"those of one owner make {writelog.MOST_OF_OWNER} log lines a minute, and those of all owners {writelog.MOST}",
        f"{events.BURST} notices are written at once and {60 / events.PACE.total_seconds():g} per minute",
    },
    "docs/threat-model.md": {
        f"{server.MAX_CONNECTIONS} slots",
        f"{server.MAX_CONNECTIONS // 4} of the slots",
        f"{server.MAX_SCRAPERS} slots",
        f"within the last {slots.IDLE_SECONDS:g} seconds",
        f"room for {slots.MAX_SILENT:,} more",
        f"cut to {LONGEST_QUOTED} characters",
        f"`{REPLICA_LEASES}0`",
        f"wait for {shares.LASTS_SECONDS} seconds more",
        f"{guardedhttp.MAX_ANSWER_BYTES // 1024} KiB are read, for {guardedhttp.TOTAL_SECONDS:g} seconds at most",
        f"every {'five' if writepolicy.IN_FORCE_SECONDS == 300 else writepolicy.IN_FORCE_SECONDS} minutes",
        f"every {writepolicy.NOT_IN_FORCE_SECONDS:g}\nseconds",
    },
}
"""What pages say of the code's bounds, made of the code's own numbers."""


@pytest.mark.parametrize("page", FIGURES)
def test_figures_are_the_codes(page: str) -> None:
    assert not missing(page, FIGURES[page])


def test_times_that_are_told_in_words_are_the_codes() -> None:
    lasting, outage = events.current_for("SupplyFailed"), events.current_for("SourceUnavailable")
    assert (lasting.total_seconds(), outage.total_seconds()) == (3600, 600)  # operating.md: Events and log lines
    assert (authority.CA_LIFE.days, bundle.SOAK.total_seconds(), selfmanaged.LOOK_SECONDS) == (365, 3600, 60)
    assert bundle.RELIEF.total_seconds() == 5 * 60
    assert preflight.LOG_AGAIN_SECONDS == 60


MEASURED = {
    "alone on one core, 16 connections: reviews a second": ("alone, 16 conn", "rps", 0, 1),
    "CPU of such a review, µs": ("alone, 16 conn", "cpu_us", 0, 1),
    "added to the creation of a pod (1.2 ms by dry run, one at a time), median, ms": (
        "create, 1 at a time, dry-run",
        "added_ms",
        1,
        1,
    ),
    "CPU of a review that the API server sends in this case, µs": ("create, 1 at a time, dry-run", "cpu_us", 0, 1),
    "memory when idle, MiB": ("idle", "rss_mib", 0, 1),
    "from start to ready, s": ("start", "p50_ms", 1, 1000),
}
"""Rows of docs/performance.md: what they are called in the run, the column, digits behind the point, unit."""


def measured(run: str, name: str, column: str) -> float:
    heads = next(line for line in run.splitlines() if line.startswith("name "))
    line = next(line for line in run.splitlines() if line.startswith(f"{name}  "))
    end = heads.index(column) + len(column)
    return float(line[:end].rpartition(" ")[2].replace(",", ""))


def table_row(row: str) -> list[str]:
    """Of docs/performance.md."""
    (cells,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", PAGES["docs/performance.md"], re.MULTILINE)
    return str(cells).split(" | ")


@pytest.mark.parametrize("row", MEASURED)
def test_the_table_of_measurements_is_that_of_the_run(row: str) -> None:
    run = (ROOT / "tests" / "bench" / "run.txt").read_text()
    name, column, digits, unit = MEASURED[row]
    contenders = ("controller-runtime", "hand-made Go", "pullsecret-webhook")
    figures = [measured(run, f"{name}: {contender}", column) / unit for contender in contenders]
    assert table_row(row) == [f"{figure:,.{digits}f}" for figure in figures]


HUNDRED = {
    "one owner's rotation, median, s": ("one owner's rotation", "p50_ms", 2, 1000),
    "everybody's rotation, s": ("everybody's rotation", "p50_ms", 0, 1000),
    "as many plain applies, s": ("as many plain applies", "p50_ms", 0, 1000),
    "everybody's, a replica is killed half-way, s": ("everybody's, a replica is killed half-way", "p50_ms", 0, 1000),
    "a dead replica's share is taken over, s": ("a dead replica's share is taken over", "p50_ms", 1, 1000),
    "a restart: ready, s": ("a restart: ready", "p50_ms", 1, 1000),
    "a start with an HTTP source: ready, s": ("a start with an HTTP source: ready", "p50_ms", 1, 1000),
    "memory of a replica at most, MiB": ("a replica at most", "rss_mib", 0, 1),
    "99th percentile of a review in calm, ms": ("a review, in calm", "p99_ms", 1, 1),
    "in one owner's rotation": ("a review, in one owner's rotation", "p99_ms", 1, 1),
    "in everybody's rotation": ("a review, in everybody's rotation", "p99_ms", 1, 1),
    "when a replica is killed": ("a review, when a replica is killed", "p99_ms", 1, 1),
    "while another replica starts": ("a review, while another replica starts", "p99_ms", 1, 1),
}


@pytest.mark.parametrize("row", HUNDRED)
def test_the_table_of_100000_namespaces_is_that_of_the_runs(row: str) -> None:
    runs = (ROOT / "tests" / "bench" / "hundred.txt").read_text().split("make bench-100k ")[1:]
    name, column, digits, unit = HUNDRED[row]
    assert table_row(row) == [f"{measured(run, name, column) / unit:,.{digits}f}" for run in runs]
