"""The examples in the documentation, run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
import yaml

from webhook import config
from webhook.cluster import SecretObject
from webhook.metrics import Metrics
from webhook.owner import find_owner
from webhook.sources.secret import read

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    (found,) = [text for text in blocks if containing in text]
    return str(found)


def owner(settings: config.Config, name: str, **labels: str) -> str | None:
    return find_owner(settings.rules, name, {f"pullsecret-webhook/{key}": value for key, value in labels.items()}, {})


def test_configuration() -> None:
    settings = config.parse(block("yaml", "ownerRules"))
    assert settings.excluded("monitoring")
    assert settings.excluded("pullsecret-webhook")
    assert owner(settings, "team-a", owner="alice") == "alice"
    assert owner(settings, "project-42-production") == "42"


def test_project_namespaces_example() -> None:
    file = ROOT / "docs" / "examples" / "owners" / "project-names.yaml"
    settings = config.convert(yaml.safe_load(file.read_text())["config"])
    assert {owner(settings, f"project-7-{stage}") for stage in ("development", "staging", "production")} == {"7"}
    assert owner(settings, "project-7-production", owner="alice") == "alice"
    for name in ("project-7-test", "project-x-staging", "my-project-7-staging", "project-7-staging-2"):
        assert owner(settings, name) is None


def test_source_secret() -> None:
    secret = yaml.safe_load(block("yaml", "kind: Secret"))
    secret["data"] = {key: msgspec.to_builtins(value.encode()) for key, value in secret.pop("stringData").items()}
    found = read(msgspec.convert(secret, SecretObject))
    assert (found.owner, found.problems) == ("alice", ())
    (credential,) = found.credentials or ()
    assert (credential.registry, credential.username) == ("ghcr.io", "alice")


def test_inject(tmp_path: Path) -> None:
    (call,) = [line for line in block("sh", "pullsecret inject").splitlines() if line]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": {"containers": []}}
    (tmp_path / "manifests.yaml").write_text(json.dumps(pod))
    command = [sys.executable, "-m", "webhook", *call.split()[1:]]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert yaml.safe_load(done.stdout)["spec"]["imagePullSecrets"] == [{"name": "ghcr-secret"}]
    assert "Pod p" in done.stderr


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`?make ([a-z-]+)", README))))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_metrics_that_are_named_exist() -> None:
    known = {metric.name.removeprefix("pullsecret_webhook_") for metric in Metrics().registry.collect()}
    section = README.partition("## Metrics")[2].partition("##")[0]
    names = re.findall(r"`(?:pullsecret_webhook|\.\.\.)_([a-z_]+?)(?:_total)?(?:\{[a-z,]+\})?`", section)
    assert sorted(names) == sorted(known)


def test_paths_that_are_named_exist() -> None:
    for text in (README, (ROOT / "CONTRIBUTING.md").read_text()):
        for path in re.findall(r"`((?:docs|tests|webhook|certs|charts)/[\w./-]+)`", text):
            assert (ROOT / path).exists(), path
