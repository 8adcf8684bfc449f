"""The documentation: its examples run, its links lead somewhere, and what it names and counts is what the code has."""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from configparser import ConfigParser
from fnmatch import fnmatch
from pathlib import Path
from typing import get_args

import msgspec
import pytest
import yaml
from click.testing import CliRunner

from certs import authority, bundle, files, selfmanaged
from support import aliyunserver, azureserver, goldencase, harborapi, harborserver, tencentserver
from support.harborserver import ISSUER_RIGHTS
from support.workload import SUBJECT
from webhook import expirynotices, refresh, writelog
from webhook.checks import checker, guardedhttp
from webhook.checks.mirrorhealth import EVERY_SECONDS
from webhook.cli import doctordns
from webhook.cli.mirrors import mirrors
from webhook.cli.registryauth import registry_auth
from webhook.cli.registryauth import serve as registry_auth_serve
from webhook.commands.clusterdns import dns
from webhook.commands.clusterdns.key import Host, Key
from webhook.commands.credential import arrival
from webhook.commands.installation import apiserver, way
from webhook.commands.pullcause import Cause
from webhook.config import reading
from webhook.config.issuers.acr import AcrIssuer
from webhook.config.issuers.artifactregistry import ArtifactRegistryIssuer
from webhook.config.issuers.azure import AzureIssuer
from webhook.config.issuers.ecr import EcrIssuer
from webhook.config.issuers.gitea import GiteaIssuer
from webhook.config.issuers.gitlab import GitlabIssuer
from webhook.config.issuers.harbor import HarborIssuer
from webhook.config.issuers.registry import RegistryIssuer
from webhook.config.issuers.tcr import TcrIssuer
from webhook.config.models import Config
from webhook.core import podimages, pullsecret
from webhook.core.check import AGAIN_SECONDS, MAX_CHECKS
from webhook.core.credential import MAX_CREDENTIALS
from webhook.core.faults import Fault
from webhook.core.issued import LATE_AT, RENEWED_AT, SLACK, SPREAD
from webhook.core.metrics import IssuerMetrics, Metrics
from webhook.core.names import IMAGES, REGION
from webhook.core.notice import Reason
from webhook.core.owner import MAX_OWNER_CHARS as LONGEST_OWNER
from webhook.core.owner import find_owner
from webhook.core.podimages import MAX_IMAGES
from webhook.core.registry import blob_hosts
from webhook.core.registryscope import PULL, PUSH, Right
from webhook.core.rewrite import RewriteRule, Why
from webhook.core.shown import MAX_CHARS as LONGEST_QUOTED
from webhook.issuers import issuing, keptlogin
from webhook.issuers.aliyun import sts as aliyunsts
from webhook.issuers.azure import issuer as azure
from webhook.issuers.gitea import api as giteaapi
from webhook.issuers.gitea.issuer import MARK
from webhook.issuers.google import login as googlelogin
from webhook.issuers.google.issuer import SCOPE
from webhook.issuers.tencent import login as tencentlogin
from webhook.kube import events, lease, preflight, reader, writepolicy
from webhook.kube.cluster import SecretObject
from webhook.kube.safetynet import MAX_ANNOTATION_BYTES as LONGEST_ANNOTATION
from webhook.kube.watch import SILENCE_SECONDS
from webhook.registryauth import tokens
from webhook.registryauth.pushers import Pushers
from webhook.rewriting import MAX_REVIEW_BYTES
from webhook.serving import server, slots
from webhook.sources.secret import read

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "pullsecret-webhook"
PAGES = {
    file.relative_to(ROOT).as_posix(): file.read_text()
    for file in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), CHART / "README.md", *ROOT.glob("tests/*/README.md"))
}
README, DESIGN = PAGES["README.md"], PAGES["docs/design.md"]


def block(page: str, language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return str(found)


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


def test_a_registry_of_ones_own(tmp_path: Path) -> None:
    """The commands run as they are written, but for kubectl; what they make is taken by what reads it."""
    page = "docs/registry.md"
    calls = "".join(re.findall(r"```sh\n(.*?)```", PAGES[page], re.DOTALL)).splitlines()
    own = [line for line in calls if not line.startswith(("kubectl", "pullsecret"))]
    assert len(own) == 3
    subprocess.run(["sh", "-e"], input="\n".join(own), cwd=tmp_path, check=True, text=True, capture_output=True)
    (call,) = [line.split() for line in calls if line.startswith("pullsecret")]
    assert call[1:3] == ["registry-auth", "jwks"]
    printed = CliRunner().invoke(registry_auth, ["jwks", str(tmp_path / call[3])]).output
    assert json.loads(printed)["keys"][0]["alg"] == "EdDSA"
    right = Pushers(str(tmp_path / "pushers")).right("builder", (tmp_path / "password").read_text().strip())
    assert right == Right(None, frozenset({PULL, PUSH}))
    config = reading.convert(yaml.safe_load(block(page, "yaml", "pushersFile"))["config"])
    (issuer,) = config.issuers
    assert isinstance(issuer, RegistryIssuer)
    token = yaml.safe_load(block(page, "yaml", "version: 0.1"))["auth"]["token"]
    assert (token["service"], token["issuer"]) == (issuer.registry, issuer.registry)
    assert token["realm"] == f"https://{config.registries[0].host}/token"


def test_harbor() -> None:
    page = "docs/harbor.md"
    robot = json.loads(block(page, "json", "permissions"))
    assert robot["permissions"] == ISSUER_RIGHTS  # with which the issuer's own tests run
    assert not harborapi.broken("post", "/robots", {}, {}, robot)
    values = yaml.safe_load(block(page, "yaml", "issue: harbor"))
    config = reading.convert(values["config"])
    (issuer,) = config.issuers
    assert isinstance(issuer, HarborIssuer)
    assert issuer.registry == config.registries[0].host
    made = re.findall(r"create secret generic (\S+) --from-file=(\w+) --from-file=(\w+)", PAGES[page])
    ((secret, *keys),) = made
    assert values["issuer"]["files"] == [secret]
    assert [issuer.username_file, issuer.password_file] == [f"/etc/pullsecret/issuers/{secret}/{key}" for key in keys]


def test_artifact_registry() -> None:
    page = "docs/artifact-registry.md"
    role = yaml.safe_load(block(page, "yaml", "includedPermissions"))
    assert role["includedPermissions"] == ["iam.serviceAccounts.getAccessToken"]
    values = yaml.safe_load(block(page, "yaml", "issue: artifact-registry"))
    (issuer,) = reading.convert(values["config"]).issuers
    assert isinstance(issuer, ArtifactRegistryIssuer)
    ((secret, key),) = re.findall(r"create secret generic (\S+) --from-file=(\S+)", PAGES[page])
    assert values["issuer"]["files"] == [secret]
    assert issuer.credentials_file == f"/etc/pullsecret/issuers/{secret}/{key}"
    # What Google reads is what the pod has, for whom it is meant.
    ((provider, token),) = re.findall(r"  (projects/\S+) \\\n  --credential-source-file=(\S+)", PAGES[page])
    (volume,) = values["issuer"]["extraVolumes"]
    (source,) = volume["projected"]["sources"]
    assert token == f"/etc/pullsecret/issuers/{volume['name']}/{source['serviceAccountToken']['path']}"
    assert source["serviceAccountToken"]["audience"] == f"https://iam.googleapis.com/{provider}"
    account = issuer.service_account.replace("{owner}", "alice")
    assert f"add-iam-policy-binding {account} \\\n  --role=projects/my-project/roles/pullsecretIssuer" in PAGES[page]
    for scope in (SCOPE, googlelogin.SCOPE):
        assert f"`{scope.removeprefix('https://www.googleapis.com/auth/')}`" in PAGES[page]


def test_azure() -> None:
    page = "docs/azure.md"
    role = json.loads(block(page, "json", "Actions"))
    assert role["Actions"] == [*azureserver.RIGHTS]  # with which the issuer's own tests run
    values = yaml.safe_load(block(page, "yaml", "issue: azure"))
    (issuer,) = reading.convert(values["config"]).issuers
    assert isinstance(issuer, AzureIssuer)
    (volume,) = values["issuer"]["extraVolumes"]
    (source,) = volume["projected"]["sources"]
    assert issuer.token_file == f"/etc/pullsecret/issuers/{volume['name']}/{source['serviceAccountToken']['path']}"
    assert source["serviceAccountToken"]["audience"] == azureserver.AUDIENCE
    assert f"--audiences {azureserver.AUDIENCE}" in PAGES[page]
    assert f"--subject {SUBJECT}" in PAGES[page]
    for command in ("scope-map", "token"):
        assert (
            f"az acr {command} create --registry acmecorp --name {issuer.token.replace('{owner}', 'alice')}"
            in PAGES[page]
        )


def test_gitea() -> None:
    page = "docs/gitea.md"
    values = yaml.safe_load(block(page, "yaml", "issue: gitea"))
    config = reading.convert(values["config"])
    (issuer,) = config.issuers
    assert isinstance(issuer, GiteaIssuer)
    assert issuer.registry == config.registries[0].host
    ((secret, *keys),) = re.findall(r"create secret generic (\S+) --from-file=(\w+) --from-file=(\w+)", PAGES[page])
    assert values["issuer"]["files"] == [secret]
    assert [issuer.username_file, issuer.password_file] == [f"/etc/pullsecret/issuers/{secret}/{key}" for key in keys]
    user = issuer.user.replace("{owner}", "acme")
    assert f"https://{issuer.registry}/api/v1/users/{user}/tokens\n" in block(page, "sh", "curl")


def pod_token(page: str, variable: str, others: dict[str, str]) -> str:
    """The audience of the token that a page gives the issuer's pods, of which the variable names the file."""
    values = yaml.safe_load(block(page, "yaml", "serviceAccountToken"))
    (volume,) = values["issuer"]["extraVolumes"]
    token = volume["projected"]["sources"][0]["serviceAccountToken"]
    file = f"/etc/pullsecret/issuers/{volume['name']}/{token['path']}"
    assert {one["name"]: one["value"] for one in values["extraEnv"]} == {variable: file, **others}
    return str(token["audience"])


def test_acr() -> None:
    page = "docs/acr.md"
    pulls = json.loads(block(page, "json", "cr:PullRepository"))
    assert pulls == aliyunserver.pull_policy("cri-0123456789abcdef", "alice/*")  # with which the issuer's tests run
    by_user, by_token, takes = (json.loads(block(page, "json", part)) for part in ('"RAM"', "oidc:sub", "role/pull-*"))
    assert by_token["Statement"][0]["Condition"]["StringEquals"]["oidc:sub"] == aliyunserver.SUBJECT
    assert [one["Statement"][0]["Action"] for one in (by_user, by_token)] == ["sts:AssumeRole"] * 2
    values = yaml.safe_load(block(page, "yaml", "issue: acr"))
    (issuer,) = reading.convert(values["config"]).issuers
    assert isinstance(issuer, AcrIssuer)
    assert fnmatch(issuer.ram_role, takes["Statement"][0]["Resource"][0].replace(":*:", "::"))
    made = re.findall(r"create secret generic (\S+) --from-file=(\w+) --from-file=(\w+)", PAGES[page])
    ((secret, *keys),) = made
    assert values["issuer"]["files"] == [secret]
    files = [issuer.access_key_id_file, issuer.access_key_secret_file]
    assert files == [f"/etc/pullsecret/issuers/{secret}/{key}" for key in keys]
    condition, principal = (by_token["Statement"][0][key] for key in ("Condition", "Principal"))
    by_pod = {aliyunsts.PROVIDER: principal["Federated"][0]}
    assert pod_token(page, aliyunsts.TOKEN_FILE, by_pod) == condition["StringEquals"]["oidc:aud"]


def test_tcr() -> None:
    page = "docs/tcr.md"
    (statement,) = json.loads(block(page, "json", "tcr:CreateServiceAccount"))["statement"]
    assert tuple(statement["action"]) == tencentserver.RIGHTS  # with which the issuer's tests run
    values = yaml.safe_load(block(page, "yaml", "issue: tcr"))
    (issuer,) = reading.convert(values["config"]).issuers
    assert isinstance(issuer, TcrIssuer)
    assert statement["resource"] == [f"qcs::tcr:{issuer.region}:uin/100000000001:instance/{issuer.instance}"]
    made = re.findall(r"create secret generic (\S+) --from-file=(\w+) --from-file=(\w+)", PAGES[page])
    ((secret, *keys),) = made
    assert values["issuer"]["files"] == [secret]
    assert [issuer.secret_id_file, issuer.secret_key_file] == [
        f"/etc/pullsecret/issuers/{secret}/{key}" for key in keys
    ]
    role = "qcs::cam::uin/100000000001:roleName/pullsecret-issuer"
    by_pod = {tencentlogin.PROVIDER: "cls-01234567", tencentlogin.ROLE: role}
    assert f"`{pod_token(page, tencentlogin.TOKEN_FILE, by_pod)}`" in PAGES[page]


def test_gitlab() -> None:
    page = "docs/gitlab.md"
    values = yaml.safe_load(block(page, "yaml", "issue: gitlab"))
    (issuer,) = reading.convert(values["config"]).issuers
    assert isinstance(issuer, GitlabIssuer)
    ((secret, key),) = re.findall(r"create secret generic (\S+) --from-file=(\w+)", PAGES[page])
    assert values["issuer"]["files"] == [secret]
    assert issuer.token_file == f"/etc/pullsecret/issuers/{secret}/{key}"


def test_the_token_service_finds_its_files() -> None:
    deployment, service = yaml.safe_load_all((ROOT / "docs/examples/issuers/registry-auth.yaml").read_text())
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["args"][:2] == ["registry-auth", "serve"]
    arguments = registry_auth_serve.make_context("serve", container["args"][2:]).params
    config = reading.convert(yaml.safe_load(block("docs/registry.md", "yaml", "pushersFile"))["config"])
    (issuer,) = config.issuers
    assert isinstance(issuer, RegistryIssuer)
    folders = [one["mountPath"] for one in container["volumeMounts"]]
    files = [
        *issuer.key_files,
        issuer.pushers_file,
        arguments["config_file"],
        arguments["tls_cert"],
        arguments["tls_key"],
    ]
    for file in files:
        assert [folder for folder in folders if str(file) == folder or str(file).startswith(f"{folder}/")], file
    assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in spec["volumes"]}
    assert container["ports"][0]["containerPort"] == arguments["port"]
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()


def test_the_readme_is_a_front_page() -> None:
    assert len(README.splitlines()) <= 120


# -- what is named exists ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z-]+)|^make ([a-z-]+)", PAGES[page], re.MULTILINE):
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


GITEA = GiteaIssuer(registry="registry.example.com", username_file="/user", password_file="/password")
HARBOR = HarborIssuer(registry="registry.example.com", username_file="/user", password_file="/password")
ECR = EcrIssuer(
    registry="123456789012.dkr.ecr.eu-west-1.amazonaws.com", role="arn:aws:iam::123456789012:role/pull/{owner}"
)
GOOGLE = ArtifactRegistryIssuer(
    registry="gcr.io", repositories=("{owner}",), service_account="pull-{owner}@my-project.iam.gserviceaccount.com"
)
AZURE = AzureIssuer(
    registry="acmecorp.azurecr.io",
    resource_id=azureserver.RESOURCE,
    token="pull-{owner}",
    tenant_id=azureserver.TENANT,
    client_id=azureserver.CLIENT,
    token_file="/token",
)
MAX_ID = 30
"""Characters of what a service account has before the @."""
ACR = AcrIssuer(
    registry="acme-registry.cn-hangzhou.cr.aliyuncs.com",
    instance="cri-0123456789abcdef",
    region="cn-hangzhou",
    ram_role="acs:ram::1234567890123456:role/pull-{owner}",
)
GITLAB = GitlabIssuer(registry="registry.example.com", endpoint="https://gitlab.example.com", token_file="/token")
TCR = TcrIssuer(registry="acme.tencentcloudcr.com", instance="tcr-01234567", region="ap-guangzhou")
OWN_REGISTRY = RegistryIssuer(registry="registry.example.com", key_files=("/key.pem",))
MANY_REFUSED = _word(checker.FEW_REFUSED), _word(checker.TOGETHER_SECONDS / 60)


FIGURES = {
    "docs/troubleshooting.md": {f"If more than {issuing.MANY} owners fail at once"},
    "docs/issuers.md": {
        f"less than {'a quarter' if LATE_AT == 0.75 else '?'} of its life left",
        f"half of its life and up to {'a tenth' if (RENEWED_AT, SPREAD) == (0.5, 0.1) else '?'} more",
        f"every {_word(issuing.MAX_BACKOFF_SECONDS / 60)} minutes at most",
        f"takes over after {lease.DURATION_SECONDS} seconds",
        f"The default is {OWN_REGISTRY.rate:g}.",
    },
    "docs/registry.md": {
        f"It is good for {tokens.LIFE.seconds // 60} minutes",
        f"The default is {OWN_REGISTRY.hours:g}.",
        f"The default is `{OWN_REGISTRY.repositories}`.",
    },
    "docs/gitea.md": {
        f"The default is {GITEA.hours:g}, {'a week' if GITEA.hours == 168 else '?'}.",
        f"The default is `{GITEA.user}`.",
        f"A token is deleted {'two' if SLACK.seconds == 120 else '?'} minutes after its `hours` are over",
        f"more than {giteaapi.PAGE * giteaapi.MAX_PAGES:,} tokens",
        f"with the scope\n`{giteaapi.SCOPES[0]}`",
        f"`{MARK}CLUSTER-GENERATION-DIGEST`",
    },
    "docs/harbor.md": {
        f"The default is {HARBOR.days}; Harbor counts whole days",
        f"The default is `{HARBOR.project}`.",
        f"The default is `{str(HARBOR.create_project).lower()}`.",
        f"for {'a second and a half' if harborserver.LOCK_SECONDS == 1.5 else '?'} after each wrong password",
        f"good for {harborserver.TOKEN_SECONDS // 60} minutes",
    },
    "docs/ecr.md": {
        f"The default is {ECR.hours:g}, which",
        f'The default is `["{ECR.repositories[0]}"]`.',
        f"through the role of `AWS_ROLE_ARN`. The default is `{str(ECR.chain).lower()}`.",
    },
    "docs/artifact-registry.md": {
        f"ends after {'an hour' if GOOGLE.hours == 1 else '?'}",
        f"The default is {GOOGLE.hours:g}.",
        f"up to {MAX_ID - len('pull-')} characters",
        f"refused is tried again after {'half a minute' if keptlogin.AGAIN_SECONDS == 30 else '?'}",
    },
    "docs/azure.md": {
        f"The default is {AZURE.hours:g}.",
        f"The default is `{json.dumps(AZURE.repositories)}`.",
        f"in which\n  they end, of {azure.SECONDS}",
        f"tried again after {'half a minute' if keptlogin.AGAIN_SECONDS == 30 else '?'}",
    },
    "docs/acr.md": {
        f"from 0.25 to 12. The default is {ACR.hours:g}.",
        f'The default is `["{ACR.repositories[0]}"]`.',
        ACR.asked_at.replace(ACR.region, "REGION"),
        ACR.sts_asked_at.replace(ACR.region, "REGION"),
        f"wrong by more than {aliyunserver.LEEWAY.seconds // 60} minutes",
    },
    "docs/gitlab.md": {
        f"midnight after them. The default is {GITLAB.days}.",
        f"for the owner. The default is `{GITLAB.group}`.",
    },
    "docs/tcr.md": {
        f"is good. The default is {TCR.hours:g}.",
        f'The default is `["{TCR.repositories[0]}"]`.',
        f"`{TCR.endpoint}` and `{TCR.sts_endpoint}`",
        f"wrong by more than {tencentserver.LEEWAY.seconds // 60} minutes",
    },
    "docs/certificates.md": {
        f"reads the\nfiles every {files.LOOK_SECONDS:g} seconds",
        f"valid for {authority.LEAF_LIFE.days}\ndays",
    },
    "docs/design.md": {
        f"the `timeout` in the URL less {server.MARGIN_SECONDS:g}\n",
        f"every {files.LOOK_SECONDS:g} seconds",
        f"every {expirynotices.LOOK_SECONDS:g} seconds",
        f"more than {server.MAX_BODY_BYTES // 1024 // 1024} MiB: 413",
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
        f"again after {refresh.MAX_OUTAGE_BACKOFF_SECONDS:g} seconds at most",
        f"more than {refresh.MAX_OUTAGE_BACKOFF_SECONDS * refresh.RETRIES_PER_SECOND:g} failing namespaces",
        f"{refresh.RETRIES_PER_SECOND} per second",
        f"intervals of up to {refresh.MAX_BACKOFF_SECONDS:g} seconds",
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
        f"{guardedhttp.MAX_ANSWER_BYTES // 1024} KiB are read, for {guardedhttp.TOTAL_SECONDS:g} seconds at most",
        f"every {'five' if writepolicy.IN_FORCE_SECONDS == 300 else writepolicy.IN_FORCE_SECONDS} minutes",
        f"every {writepolicy.NOT_IN_FORCE_SECONDS:g}\nseconds",
    },
}
"""What pages say of the code's bounds, made of the code's own numbers."""


@pytest.mark.parametrize("page", FIGURES)
def test_figures_are_the_codes(page: str) -> None:
    text = " ".join(PAGES[page].split())
    missing = [figure for figure in FIGURES[page] if " ".join(figure.split()) not in text]
    assert not missing


def test_times_that_are_told_in_words_are_the_codes() -> None:
    lasting, outage = events.current_for("SupplyFailed"), events.current_for("SourceUnavailable")
    assert (lasting.total_seconds(), outage.total_seconds()) == (3600, 600)  # operating.md: Events and log lines
    assert (authority.CA_LIFE.days, bundle.SOAK.total_seconds(), selfmanaged.LOOK_SECONDS) == (365, 3600, 60)
    assert bundle.RELIEF.total_seconds() == 5 * 60
    assert preflight.LOG_AGAIN_SECONDS == 60


MEASURED = {
    "alone on one core, 16 connections: reviews a second": ("alone, 16 conn", "rps", 0, 1),
    "CPU of such a review, µs": ("alone, 16 conn", "cpu_us", 0, 1),
    "added to the creation of a pod (4.2 ms by dry run, one at a time), median, ms": (
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


def measured(run: str, name: str, contender: str, column: str) -> float:
    heads = next(line for line in run.splitlines() if line.startswith("name "))
    line = next(line for line in run.splitlines() if line.startswith(f"{name}: {contender}  "))
    end = heads.index(column) + len(column)
    return float(line[:end].rpartition(" ")[2].replace(",", ""))


@pytest.mark.parametrize("row", MEASURED)
def test_the_table_of_measurements_is_that_of_the_run(row: str) -> None:
    run, page = (ROOT / "tests" / "bench" / "run.txt").read_text(), PAGES["docs/performance.md"]
    name, column, digits, unit = MEASURED[row]
    (cells,) = re.findall(rf"^\| {re.escape(row)} \| (.*) \|$", page, re.MULTILINE)
    contenders = ("controller-runtime", "hand-made Go", "pullsecret-webhook")
    figures = [measured(run, name, contender, column) / unit for contender in contenders]
    assert cells.split(" | ") == [f"{figure:,.{digits}f}" for figure in figures]
