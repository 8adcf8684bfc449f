"""What the chart comes to in the clusters of the tests, which so need no Helm; `make chart` writes it."""

import re
import tempfile
from pathlib import Path
from typing import Any

from controlplane.helm import CHART, NAMESPACE, Helm
from controlplane.webhook import INSTALLED, REWRITING

OWNER_RULES = [
    {"from": "label", "key": "pullsecret-webhook/owner"},
    {"from": "name", "prefix": "project-", "owner": "[0-9]+", "suffix": "-(development|staging|production)"},
]
EXCLUDED = {"excludedNamespaces": ["left-out-*"]}
MIRRORS = [{"of": "ghcr.io", "to": "mirror.example.com", "how": "rewrite"}]
ISSUERS = [{"issue": "registry", "registry": "registry.example.com", "keyFile": "/key.pem"}]
POLICIES = ("owner-policy", "write-policy", "configuration-policy", "account-policy")


def write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        helm = Helm(4, Path(folder))
        INSTALLED.write_text(installed(helm))
        REWRITING.write_text(rewriting(helm))


def installed(helm: Helm) -> str:
    """The registration with the default owner rule, which is what the webhook runs with there, and without patterns."""
    made = "# Made from the chart by `make chart`: policies for two owner rules, a label and project names.\n"
    values = {"config": {"ownerRules": OWNER_RULES, **EXCLUDED}}
    return (
        made
        + _rendered(helm, values, "rbac", *POLICIES)
        + _rendered(helm, values, "safety-net")
        + _rendered(helm, {"config": {"issuers": ISSUERS}}, "issuer-rbac", "issuer-policy")
        + _rendered(helm, {"doctorRoles": {"enabled": True}}, "doctor")
        + _rendered(helm, {}, "webhook")
    )


def rewriting(helm: Helm) -> str:
    """The registration alone: with mirrors nothing else differs but the configuration."""
    made = "# Made from the chart by `make chart`: the registration where images get their names at a mirror.\n"
    return made + _rendered(helm, {"config": {"mirrors": MIRRORS}}, "webhook")


def _rendered(helm: Helm, values: dict[str, Any], *templates: str) -> str:
    show = [word for name in templates for word in ("--show-only", f"templates/{name}.yaml")]
    served = ("--api-versions", "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")
    text = helm.run("template", "pullsecret-webhook", CHART, "--namespace", NAMESPACE, *show, *served, values=values)
    return re.sub(r"\n\n+", "\n", text)
