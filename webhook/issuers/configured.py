"""Builds an issuer from its part of the configuration; the only module that knows all kinds."""

from collections.abc import Callable

from webhook.config import issuerconfig
from webhook.config.models import Config, Registry
from webhook.issuers import Issuer


def configured(model: issuerconfig.Issuer, config: Config, cluster: Callable[[], str]) -> Issuer:
    """`cluster`: which one this is, for what has a name at the issuer; raises IssuerUnavailable."""
    # Imported only here: what does not issue needs nothing that signs or asks.
    if isinstance(model, issuerconfig.HarborIssuer):
        from webhook.issuers.harbor import HarborIssuer  # noqa: PLC0415

        where = config.named_registries.get(model.registry) or Registry(host=model.registry)
        return HarborIssuer(model, where, cluster)
    from webhook.issuers.registry import RegistryIssuer  # noqa: PLC0415

    return RegistryIssuer(model)
