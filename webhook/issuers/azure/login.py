"""As whom an issuer asks Azure: a token of the cluster is exchanged for one of an identity that trusts it (workload
identity). No password, and no certificate.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated
from urllib.parse import urlencode

import msgspec

from webhook.issuers import IssuerUnavailable
from webhook.issuers.client import Client, line
from webhook.issuers.keptlogin import AGAIN_SECONDS, KeptLogin, Visible


@dataclass(frozen=True, slots=True)
class Cloud:
    """Where identities log in, where resources are managed, and the scope of tokens for that."""

    login: str
    management: str
    scope: str


CLOUDS: Mapping[str, Cloud] = {
    "io": Cloud(
        "https://login.microsoftonline.com", "https://management.azure.com", "https://management.azure.com/.default"
    ),
    "cn": Cloud(
        "https://login.chinacloudapi.cn",
        "https://management.chinacloudapi.cn",
        "https://management.chinacloudapi.cn/.default",
    ),
    "us": Cloud(
        "https://login.microsoftonline.us",
        "https://management.usgovcloudapi.net",
        "https://management.core.usgovcloudapi.net/.default",
    ),
}
"""By what the names of their registries end with."""


class _Token(msgspec.Struct, frozen=True):
    access_token: Visible
    expires_in: Annotated[int, msgspec.Meta(ge=1, le=10**6)]


class AzureLogin(KeptLogin[str]):
    """`file`: with the cluster's token, which is read again at each login."""

    def __init__(self, client: Client, cloud: Cloud, tenant: str, client_id: str, file: str) -> None:
        super().__init__()
        self._client, self._file = client, file
        self._url = f"{cloud.login}/{tenant}/oauth2/v2.0/token"
        self._form = {
            "grant_type": "client_credentials",
            "client_id": client_id,
            "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
            "scope": cloud.scope,
        }

    async def _new(self) -> tuple[str, timedelta]:
        assertion = line(self._file, "login for Azure")
        answer = await self._client.call(
            "POST",
            self._url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(self._form | {"client_assertion": assertion}).encode(),
            secrets=[assertion],
        )
        if answer.status != 200:
            raise IssuerUnavailable(
                f"Azure refuses our login ({answer.said}): are tenantId and clientId right, and do issuer, subject and "
                "audience of the token in tokenFile fit the identity's federated credential?",
                AGAIN_SECONDS,
            )
        token = answer.read(_Token)
        return token.access_token, timedelta(seconds=token.expires_in)
