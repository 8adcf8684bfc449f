"""The pages of the issuers: their examples fit each other and the code, and what they count is what the code has."""

import json
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Generic, TypeVar, get_args

import pytest
import yaml
from click.testing import CliRunner
from jwt import PyJWKSet, get_unverified_header

from support import aliyunserver, azureserver, harborapi, harborserver, tencentserver
from support.pages import PAGES, ROOT, block, missing
from support.workload import SUBJECT
from webhook.cli.registryauth import registry_auth
from webhook.commands.installation import issuers as doctored
from webhook.config import reading
from webhook.config.issuers import Issuer
from webhook.config.issuers.aliyun import AliyunIssuer
from webhook.config.issuers.artifactregistry import ArtifactRegistryIssuer
from webhook.config.issuers.azure import AzureIssuer
from webhook.config.issuers.base import IssuerModel
from webhook.config.issuers.ecr import EcrIssuer
from webhook.config.issuers.gitea import GiteaIssuer
from webhook.config.issuers.gitlab import GitlabIssuer
from webhook.config.issuers.harbor import HarborIssuer
from webhook.config.issuers.registry import RegistryIssuer, TokenService
from webhook.config.issuers.tcr import TcrIssuer
from webhook.config.models import Config
from webhook.core.issued import LATE_AT, RENEWED_AT, SLACK, SPREAD
from webhook.core.issuerchecks import EVERY, WHILE_FAILING
from webhook.core.names import ISSUER_CHECKS, ISSUER_LEASE
from webhook.core.registryscope import PULL, PUSH, Right
from webhook.issuers import issuing, keptlogin
from webhook.issuers.aliyun import sts as aliyunsts
from webhook.issuers.azure import issuer as azure
from webhook.issuers.gitea import api as giteaapi
from webhook.issuers.gitea.issuer import MARK
from webhook.issuers.google import login as googlelogin
from webhook.issuers.google.issuer import SCOPE
from webhook.issuers.names import CHECK_NAME
from webhook.issuers.registry.pullpassword import pull_password
from webhook.issuers.registry.signingkeys import read_key
from webhook.issuers.tencent import login as tencentlogin
from webhook.kube import lease
from webhook.registryauth import tokens
from webhook.registryauth.pushers import Pushers

FOLDER = "/etc/pullsecret/issuers"
"""In which the issuer's pods have files of Secrets, and what is in extra volumes."""
K = TypeVar("K", bound=IssuerModel)


@dataclass(frozen=True)
class Example(Generic[K]):
    """A page's values for the chart, which make an issuer."""

    page: str
    issuer: K
    config: Config
    values: dict[str, Any]


def example(page: str, kind: type[K], containing: str = "") -> Example[K]:
    values = yaml.safe_load(block(page, "yaml", containing or f"issue: {kind.__struct_config__.tag}"))
    config = reading.convert(values["config"])
    (issuer,) = config.issuers
    assert isinstance(issuer, kind)
    return Example(page, issuer, config, values)


def has_files(example: Example[Any], *files: str | None) -> None:
    """Of the Secret that the page makes and the values name."""
    ((secret, keys),) = re.findall(r"create secret generic (\S+)((?: --from-file=\S+)+)", PAGES[example.page])
    assert example.values["issuer"]["files"] == [secret]
    assert [*files] == [f"{FOLDER}/{secret}/{key.partition('=')[2]}" for key in keys.split()]


def pod_token(values: dict[str, Any]) -> tuple[str, str]:
    """File and audience of the token that they give the issuer's pods."""
    (volume,) = values["issuer"]["extraVolumes"]
    (source,) = volume["projected"]["sources"]
    token = source["serviceAccountToken"]
    return f"{FOLDER}/{volume['name']}/{token['path']}", token["audience"]


def pod_audience(page: str, variable: str, others: dict[str, str]) -> str:
    """Of that token, of which the variable names the file."""
    values = yaml.safe_load(block(page, "yaml", "serviceAccountToken"))
    file, audience = pod_token(values)
    assert {one["name"]: one["value"] for one in values["extraEnv"]} == {variable: file, **others}
    return audience


def test_a_registry_of_ones_own(tmp_path: Path) -> None:
    """The commands run as they are written, but for kubectl; what they make is taken by what reads it."""
    page = "docs/registry.md"
    setup, _, _ = PAGES[page].partition("## Keys of the configuration")
    calls = "".join(re.findall(r"```sh\n(.*?)```", setup, re.DOTALL)).replace("\\\n", "").splitlines()
    own = [line for line in calls if not line.startswith(("kubectl", "pullsecret"))]
    assert len(own) == 4
    subprocess.run(["sh", "-e"], input="\n".join(own), cwd=tmp_path, check=True, text=True, capture_output=True)
    for call in [line.split() for line in calls if line.startswith("pullsecret")]:
        assert call[1:3] == ["registry-auth", "jwks"]
        printed = CliRunner().invoke(registry_auth, ["jwks", str(tmp_path / call[3])]).output
        (tmp_path / call[5]).write_text(printed)
    right = Pushers(str(tmp_path / "pushers")).right("builder", (tmp_path / "password").read_text().strip())
    assert right == Right(None, frozenset({PULL, PUSH}))
    config = reading.convert(yaml.safe_load(block(page, "yaml", "pushersFile"))["config"])
    (issuer,) = config.issuers
    assert isinstance(issuer, RegistryIssuer)
    service = issuer.token_service
    assert service
    created = re.findall(r"create (?:configmap|secret generic) (\S+)((?: +--from-file=\S+)+)", "\n".join(calls))
    made = {name: re.findall(r"--from-file=(\S+)", files) for name, files in created}
    assert made.keys() == {"registry-key", "token-service", "registry-jwks", "corporate-ca"}
    spaces = {name: number for number, line in enumerate(calls) if (name := line.partition("create namespace ")[2])}
    used = {number: line.split()[2] for number, line in enumerate(calls) if line.startswith("kubectl -n ")}
    assert all(spaces[name] < number for number, name in used.items())
    values = yaml.safe_load(block(page, "yaml", "pushersFile"))
    assert f"create secret tls {values['registryAuth']['tlsSecretName']} --cert" in "\n".join(calls)
    assert issuer.key_file == f"{FOLDER}/registry-key/{made['registry-key'][0]}"
    theirs = [service.key_file, service.password_keys_file, service.pushers_file]
    assert theirs == [f"/etc/pullsecret/registry-auth/token-service/{file}" for file in made["token-service"]]
    key, token_key, keys, pushers = (str(tmp_path / Path(file or "").name) for file in (issuer.key_file, *theirs))
    endpoint = tokens.Tokens(
        issuer.registry, TokenService(key_file=token_key, password_keys_file=keys, pushers_file=pushers)
    )
    assert endpoint.condition() == tokens.Condition(works=True, faults=[])
    password = pull_password(read_key(Path(key)), issuer.registry, "project-alice", timedelta(hours=1))
    issued = endpoint.token(endpoint.login("project-alice", password), ())
    known = PyJWKSet.from_json((tmp_path / made["registry-jwks"][0]).read_text())
    assert [one.key_id for one in known.keys] == [get_unverified_header(issued)["kid"]]
    token = yaml.safe_load(block(page, "yaml", "version: 0.1"))["auth"]["token"]
    assert (token["service"], token["issuer"]) == (issuer.registry, issuer.registry)
    named = {one.host for one in config.registries}
    assert named == {issuer.registry, token["realm"].removeprefix("https://").removesuffix("/token")}


def test_harbor() -> None:
    page = "docs/harbor.md"
    robot = json.loads(block(page, "json", "permissions"))
    assert robot["permissions"] == harborserver.ISSUER_RIGHTS  # with which the issuer's own tests run
    assert not harborapi.broken("post", "/robots", {}, {}, robot)
    found = example(page, HarborIssuer)
    assert found.issuer.registry == found.config.registries[0].host
    has_files(found, found.issuer.username_file, found.issuer.password_file)


def test_artifact_registry() -> None:
    page = "docs/artifact-registry.md"
    role = yaml.safe_load(block(page, "yaml", "includedPermissions"))
    assert role["includedPermissions"] == ["iam.serviceAccounts.getAccessToken"]
    found = example(page, ArtifactRegistryIssuer)
    has_files(found, found.issuer.credentials_file)
    # What Google reads is what the pod has, for whom it is meant.
    ((provider, file),) = re.findall(r"  (projects/\S+) \\\n  --credential-source-file=(\S+)", PAGES[page])
    assert pod_token(found.values) == (file, f"https://iam.googleapis.com/{provider}")
    account = found.issuer.service_account.replace("{owner}", "alice")
    assert f"add-iam-policy-binding {account} \\\n  --role=projects/my-project/roles/pullsecretIssuer" in PAGES[page]
    for scope in (SCOPE, googlelogin.SCOPE):
        assert f"`{scope.removeprefix('https://www.googleapis.com/auth/')}`" in PAGES[page]


def test_azure() -> None:
    page = "docs/azure.md"
    role = json.loads(block(page, "json", "Actions"))
    assert role["Actions"] == [*azureserver.RIGHTS]  # with which the issuer's own tests run
    found = example(page, AzureIssuer)
    assert pod_token(found.values) == (found.issuer.token_file, azureserver.AUDIENCE)
    assert f"--audiences {azureserver.AUDIENCE}" in PAGES[page]
    assert f"--subject {SUBJECT}" in PAGES[page]
    token = found.issuer.token.replace("{owner}", "alice")
    for command in ("scope-map", "token"):
        assert f"az acr {command} create --registry acmecorp --name {token}" in PAGES[page]


def test_gitea() -> None:
    page = "docs/gitea.md"
    found = example(page, GiteaIssuer)
    assert found.issuer.registry == found.config.registries[0].host
    has_files(found, found.issuer.username_file, found.issuer.password_file)
    user = found.issuer.user.replace("{owner}", "acme")
    assert f"https://{found.issuer.registry}/api/v1/users/{user}/tokens\n" in block(page, "sh", "curl")


def test_ecr() -> None:
    """Its policies are those of which tests/unit/issuers/test_ecr.py asks moto."""
    page = "docs/ecr.md"
    found = example(page, EcrIssuer, "accessKeyIdFile")
    has_files(found, found.issuer.access_key_id_file, found.issuer.secret_key_file)
    assert pod_audience(page, "AWS_WEB_IDENTITY_TOKEN_FILE", {}) == "sts.amazonaws.com"


def test_aliyun() -> None:
    page = "docs/aliyun.md"
    pulls = json.loads(block(page, "json", "cr:PullRepository"))
    assert pulls == aliyunserver.pull_policy("cri-0123456789abcdef", "alice/*")  # with which the issuer's tests run
    by_user, by_token, takes = (json.loads(block(page, "json", part)) for part in ('"RAM"', "oidc:sub", "role/pull-*"))
    assert by_token["Statement"][0]["Condition"]["StringEquals"]["oidc:sub"] == aliyunserver.SUBJECT
    assert [one["Statement"][0]["Action"] for one in (by_user, by_token)] == ["sts:AssumeRole"] * 2
    found = example(page, AliyunIssuer)
    assert fnmatch(found.issuer.ram_role, takes["Statement"][0]["Resource"][0].replace(":*:", "::"))
    has_files(found, found.issuer.access_key_id_file, found.issuer.access_key_secret_file)
    condition, principal = (by_token["Statement"][0][key] for key in ("Condition", "Principal"))
    by_pod = {aliyunsts.PROVIDER: principal["Federated"][0]}
    assert pod_audience(page, aliyunsts.TOKEN_FILE, by_pod) == condition["StringEquals"]["oidc:aud"]


def test_tcr() -> None:
    page = "docs/tcr.md"
    (statement,) = json.loads(block(page, "json", "tcr:CreateServiceAccount"))["statement"]
    assert tuple(statement["action"]) == tencentserver.RIGHTS  # with which the issuer's tests run
    found = example(page, TcrIssuer)
    where = f"qcs::tcr:{found.issuer.region}:uin/100000000001:instance/{found.issuer.instance}"
    assert statement["resource"] == [where]
    has_files(found, found.issuer.secret_id_file, found.issuer.secret_key_file)
    role = "qcs::cam::uin/100000000001:roleName/pullsecret-issuer"
    by_pod = {tencentlogin.PROVIDER: "cls-01234567", tencentlogin.ROLE: role}
    assert f"`{pod_audience(page, tencentlogin.TOKEN_FILE, by_pod)}`" in PAGES[page]


def test_gitlab() -> None:
    found = example("docs/gitlab.md", GitlabIssuer)
    has_files(found, found.issuer.token_file)


# -- what is counted --


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
ALIYUN = AliyunIssuer(
    registry="acme-registry.cn-hangzhou.cr.aliyuncs.com",
    instance="cri-0123456789abcdef",
    region="cn-hangzhou",
    ram_role="acs:ram::1234567890123456:role/pull-{owner}",
)
GITLAB = GitlabIssuer(registry="registry.example.com", endpoint="https://gitlab.example.com", token_file="/token")
TCR = TcrIssuer(registry="acme.tencentcloudcr.com", instance="tcr-01234567", region="ap-guangzhou")
OWN_REGISTRY = RegistryIssuer(registry="registry.example.com", key_file="/key.pem")


FIGURES = {
    "docs/issuers.md": {
        f"less than {'a quarter' if LATE_AT == 0.75 else '?'} of its life left",
        f"half of its life and up to {'a tenth' if (RENEWED_AT, SPREAD) == (0.5, 0.1) else '?'} more",
        f"every {'five' if issuing.MAX_BACKOFF_SECONDS == 300 else '?'} minutes at most",
        f"takes over after {lease.DURATION_SECONDS} seconds",
        f"about every {'hour' if timedelta(hours=1) == EVERY else '?'}, and",
        f"every {WHILE_FAILING.seconds // 60} minutes while a check fails",
        f"the annotation `{ISSUER_CHECKS}` of the Lease\n`{ISSUER_LEASE}`",
        f"The default is {OWN_REGISTRY.rate:g}.",
    },
    "docs/operating.md": {f"more than {'two' if timedelta(hours=2) == 2 * EVERY else '?'} hours old"},
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
        f"`{CHECK_NAME}`",
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
        f"`{CHECK_NAME}`",
        f"tried again after {'half a minute' if keptlogin.AGAIN_SECONDS == 30 else '?'}",
    },
    "docs/aliyun.md": {
        f"from 0.25 to 12. The default is {ALIYUN.hours:g}.",
        f'The default is `["{ALIYUN.repositories[0]}"]`.',
        ALIYUN.asked_at.replace(ALIYUN.region, "REGION"),
        ALIYUN.sts_asked_at.replace(ALIYUN.region, "REGION"),
        f"`{CHECK_NAME}`",
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
        f"`{CHECK_NAME}`",
        f"wrong by more than {tencentserver.LEEWAY.seconds // 60} minutes",
    },
}
"""What pages say of the code's bounds, made of the code's own numbers."""


def test_it_is_said_of_each_kind_what_a_check_proves() -> None:
    _, _, table = PAGES["docs/issuers.md"].partition("| kind | a check proves |")
    told = re.findall(r"^\| `([a-z-]+)` \|", table.partition("\n\n")[0], re.MULTILINE)
    kinds = [str(kind.__struct_config__.tag) for kind in get_args(Issuer)]
    assert sorted(told) == sorted(kinds)


def test_an_issuer_is_checked_by_the_command_that_is_told() -> None:
    """In the container that the chart makes."""
    command = "pullsecret issue --config /etc/pullsecret/config.yaml --check"
    assert command in block("docs/issuers.md", "sh", "--check").replace("\\\n  ", "")
    assert command in doctored.answers("harbor", None, datetime.now(UTC), "release").hint
    chart = (ROOT / "charts/pullsecret-webhook/templates/issuer.yaml").read_text()
    assert "args: [issue, --config, /etc/pullsecret/config.yaml," in chart


@pytest.mark.parametrize("page", FIGURES)
def test_figures_are_the_codes(page: str) -> None:
    assert not missing(page, FIGURES[page])
