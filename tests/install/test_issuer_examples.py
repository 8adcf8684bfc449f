"""What the pages about issuers have for the chart: its pods find their files."""

import re
from pathlib import Path

import pytest
import yaml

from controlplane.helm import Helm, one
from webhook.cli.registryauth import serve
from webhook.config import reading
from webhook.config.issuers import Issuer
from webhook.config.issuers.registry import RegistryIssuer

pytestmark = pytest.mark.helm
DOCS = Path(__file__).parents[2] / "docs"


PAGES = [
    "aliyun.md",
    "artifact-registry.md",
    "azure.md",
    "ecr.md",
    "gitea.md",
    "gitlab.md",
    "harbor.md",
    "issuers.md",
    "registry.md",
    "tcr.md",
]


@pytest.mark.parametrize("page", PAGES)
def test_the_values(helm: Helm, page: str) -> None:
    (text,) = re.findall(r"```yaml\n(config:.*?)```", (DOCS / page).read_text(), re.DOTALL)
    values = yaml.safe_load(text)
    rendered = helm.render(values)
    written = yaml.safe_load(one(rendered, "ConfigMap", "pullsecret-webhook")["data"]["config.yaml"])
    config = reading.convert(written)
    (issuer,) = config.issuers
    assert issuer == reading.convert(values["config"]).issuers[0]
    spec = one(rendered, "Deployment", "pullsecret-webhook-issuer")["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounted = {mount["mountPath"]: volumes[mount["name"]] for mount in spec["containers"][0]["volumeMounts"]}
    for file in files(issuer):
        volume = mounted[str(Path(file).parent)]
        assert "projected" in volume or volume["secret"]["secretName"] in values["issuer"]["files"]
    for ca in [registry.ca_file for registry in config.registries if registry.ca_file]:
        assert "configMap" in mounted[str(Path(ca).parent)]
    webhook = one(rendered, "Deployment", "pullsecret-webhook")["spec"]["template"]["spec"]
    own = values["issuer"].get("files", [])
    assert not [one for one in webhook["volumes"] if one.get("secret", {}).get("secretName") in own]
    account = one(rendered, "ServiceAccount", "pullsecret-webhook-issuer")["metadata"]
    assert account.get("annotations") == values["issuer"].get("serviceAccount", {}).get("annotations")


def test_the_token_service_finds_its_files(helm: Helm) -> None:
    """And its pods have nothing of the issuer's, nor the issuer's of theirs."""
    (text,) = re.findall(r"```yaml\n(config:.*?)```", (DOCS / "registry.md").read_text(), re.DOTALL)
    values = yaml.safe_load(text)
    rendered = helm.render(values)
    (issuer,) = reading.convert(values["config"]).issuers
    assert isinstance(issuer, RegistryIssuer)
    assert issuer.token_service
    spec, theirs = (
        one(rendered, "Deployment", f"pullsecret-webhook-{name}")["spec"]["template"]["spec"]
        for name in ("registry-auth", "issuer")
    )
    (container,) = spec["containers"]
    assert container["args"][:2] == ["registry-auth", "serve"]
    arguments = serve.make_context("serve", container["args"][2:]).params  # raises if they are not right
    folders = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    service = issuer.token_service
    for file in (service.key_file, service.password_keys_file, service.pushers_file):
        assert folders[str(Path(str(file)).parent)] == "file-0"
    for name in ("tls_cert", "tls_key"):
        assert folders[str(arguments[name].parent)] == "tls"
    assert folders[str(arguments["config_file"])] == "config"
    assert {*folders.values()} == {volume["name"] for volume in spec["volumes"]}
    assert container["ports"][0]["containerPort"] == arguments["port"]
    mine, others = (
        {volume["secret"]["secretName"] for volume in found["volumes"] if "secret" in volume}
        for found in (spec, theirs)
    )
    assert mine == {"token-service", "registry-auth-tls"}
    assert not mine & others


def test_a_token_for_another_cloud_is_where_the_process_looks_for_it(helm: Helm) -> None:
    page = (DOCS / "ecr.md").read_text()
    (config,) = re.findall(r"```yaml\n(config:.*?)issuer:", page, re.DOTALL)
    (token,) = re.findall(r"```yaml\n(issuer:\n  extraVolumes:.*?)```", page, re.DOTALL)
    rendered = helm.render(yaml.safe_load(config) | yaml.safe_load(token))
    spec = one(rendered, "Deployment", "pullsecret-webhook-issuer")["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    (variable,) = container["env"]
    assert variable["name"] == "AWS_WEB_IDENTITY_TOKEN_FILE"
    (mount,) = [one for one in container["volumeMounts"] if one["mountPath"] == str(Path(variable["value"]).parent)]
    (volume,) = [one for one in spec["volumes"] if one["name"] == mount["name"]]
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["path"] == Path(variable["value"]).name
    assert source["serviceAccountToken"]["audience"] == "sts.amazonaws.com"


def files(issuer: Issuer) -> list[str]:
    """With secrets, of the issuer's pods."""
    named = {name: getattr(issuer, name) for name in issuer.__struct_fields__ if name.endswith("_file")}
    return [file for name, file in named.items() if file and name != "ca_file"]
