"""Builds an issuer from its part of the configuration; the only module that knows all kinds."""

import os
from collections.abc import Callable, Mapping

from webhook.config import issuers as models
from webhook.config.issuers.aliyun import AliyunIssuer
from webhook.config.issuers.artifactregistry import ArtifactRegistryIssuer
from webhook.config.issuers.azure import AzureIssuer
from webhook.config.issuers.ecr import EcrIssuer
from webhook.config.issuers.gitea import GiteaIssuer
from webhook.config.issuers.gitlab import GitlabIssuer
from webhook.config.issuers.harbor import HarborIssuer
from webhook.config.issuers.registry import RegistryIssuer
from webhook.config.issuers.tcr import TcrIssuer
from webhook.config.models import Config, Registry
from webhook.issuers import Issuer


def configured(
    model: models.Issuer, config: Config, cluster: Callable[[], str], environ: Mapping[str, str] = os.environ
) -> Issuer:
    """`cluster`: which one this is, for what has a name at the issuer; raises IssuerUnavailable. `environ`: of the
    process; it may say as whom to ask.
    """
    # Imported only here: each kind loads what signs or asks for it alone.
    where = config.named_registries.get(model.registry) or Registry(host=model.registry)
    match model:
        case AliyunIssuer():
            from webhook.issuers.aliyun import issuer as aliyun  # noqa: PLC0415

            return aliyun.AliyunIssuer(model, environ, cluster)
        case ArtifactRegistryIssuer():
            from webhook.issuers.google import issuer as artifactregistry  # noqa: PLC0415

            return artifactregistry.ArtifactRegistryIssuer(model)
        case AzureIssuer():
            from webhook.issuers.azure import issuer as azure  # noqa: PLC0415

            return azure.AzureIssuer(model, cluster)
        case EcrIssuer():
            from webhook.issuers.aws import issuer as ecr  # noqa: PLC0415

            return ecr.EcrIssuer(model, environ, cluster)
        case GiteaIssuer():
            from webhook.issuers.gitea import issuer as gitea  # noqa: PLC0415

            return gitea.GiteaIssuer(model, where, cluster)
        case GitlabIssuer():
            from webhook.issuers.gitlab import issuer as gitlab  # noqa: PLC0415

            return gitlab.GitlabIssuer(model, cluster)
        case HarborIssuer():
            from webhook.issuers.harbor import issuer as harbor  # noqa: PLC0415

            return harbor.HarborIssuer(model, where, cluster)
        case RegistryIssuer():
            from webhook.issuers.registry import issuer as registry  # noqa: PLC0415

            return registry.RegistryIssuer(model)
        case TcrIssuer():
            from webhook.issuers.tencent import issuer as tcr  # noqa: PLC0415

            return tcr.TcrIssuer(model, environ, cluster)
