"""Builds an issuer from its part of the configuration; the only module that knows all kinds."""

from webhook.config import issuerconfig
from webhook.issuers import Issuer


def configured(model: issuerconfig.Issuer) -> Issuer:
    # Imported only here: what does not issue needs nothing that signs.
    from webhook.issuers.registry import RegistryIssuer  # noqa: PLC0415

    return RegistryIssuer(model)
