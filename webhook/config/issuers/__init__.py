"""`issuers` in the configuration: what mints credentials, one model a kind, told apart by `issue` (docs/issuers.md).

A new kind is a module here, a part of `Issuer`, and a line in webhook/issuers/configured.py.
"""

from collections.abc import Sequence

from webhook.config.issuers.aliyun import AliyunIssuer
from webhook.config.issuers.artifactregistry import ArtifactRegistryIssuer
from webhook.config.issuers.azure import AzureIssuer
from webhook.config.issuers.ecr import EcrIssuer
from webhook.config.issuers.gitea import GiteaIssuer
from webhook.config.issuers.gitlab import GitlabIssuer
from webhook.config.issuers.harbor import HarborIssuer
from webhook.config.issuers.registry import RegistryIssuer, check_keys
from webhook.config.issuers.tcr import TcrIssuer

Issuer = (
    AliyunIssuer
    | ArtifactRegistryIssuer
    | AzureIssuer
    | EcrIssuer
    | GiteaIssuer
    | GitlabIssuer
    | HarborIssuer
    | RegistryIssuer
    | TcrIssuer
)


def check_issuers(issuers: Sequence[Issuer]) -> None:
    """Raises ValueError."""
    names = [one.called for one in issuers]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"issuers has {name} twice; give each a name of its own")
    registries = [one.registry for one in issuers]
    for registry in registries:
        if registries.count(registry) > 1:
            raise ValueError(
                f"issuers has {registry} twice; one owner's repositories might begin like another's, so use one issuer "
                "for a registry"
            )
    check_keys([one for one in issuers if isinstance(one, RegistryIssuer)])
