"""Builds the issuers from the configuration; the only module that knows all kinds."""

from webhook.config.issuerconfig import Issuer as Model
from webhook.issuers import Issuer


def configured(model: Model) -> Issuer:
    raise NotImplementedError
