"""Azure's API of one registry, as far as the issuer needs it: one call, and what its answer means for all of them.

What takes a while is asked for until it is done, and only there where the API is: an answer must not send our login to
somebody else.
"""

import asyncio
from contextlib import suppress

import aiohttp
import msgspec

from webhook.config.issuers.azure import AzureIssuer as Model
from webhook.issuers import IssueRefused, IssuerUnavailable
from webhook.issuers.azure.login import CLOUDS, AzureLogin
from webhook.issuers.client import Answer, Client, Method

VERSION = "2025-11-01"
ASKS, PAUSE_SECONDS, MAX_PAUSE_SECONDS = 15, 1.0, 4.0
"""How often it is asked whether something is done, and how long it waits before each time."""
_ABOVE = {"SubscriptionNotFound", "ResourceGroupNotFound", "ParentResourceNotFound"}
"""Of a 404: codes of what is above a token."""
TRIES = 5
"""How often the registry is asked whether it knows a new password."""


class _Reason(msgspec.Struct, frozen=True):
    code: str
    message: str = ""


class Error(msgspec.Struct, frozen=True):
    """Which what answers in the place of Azure does not have."""

    error: _Reason


class AzureApi:
    def __init__(self, config: Model) -> None:
        cloud = CLOUDS[config.registry.rpartition(".")[2]]
        self._client = Client("Azure", config.ca_file)
        self._login = AzureLogin(self._client, cloud, config.tenant_id, config.client_id, config.token_file)
        self._host = config.registry
        self._management, self._registry = cloud.management, f"{cloud.management}{config.resource_id}"

    async def close(self) -> None:
        await self._client.close()

    async def call(self, method: Method, path: str, body: object = None) -> Answer:
        """`path`: below the registry. Raises IssuerUnavailable, and IssueRefused for what no owner may or has."""
        answer = await self._asked(method, f"{self._registry}{path}?api-version={VERSION}", body)
        for _ in range(ASKS):
            if answer.status != 202:
                return answer
            where = answer.headers.get("Location", "")
            if not where.startswith(f"{self._management}/"):
                raise answer.odd()
            await asyncio.sleep(min(answer.retry_after or PAUSE_SECONDS, MAX_PAUSE_SECONDS))
            answer = await self._asked("GET", where)
        raise IssuerUnavailable("Azure is not done in time with what it was asked for")

    async def settled(self, username: str, password: str) -> None:
        """When the registry knows a new password, if that is soon: who is refused before would want another one, which
        is as new. If it cannot be asked, it may be reached from nodes alone.
        """
        login = {"Authorization": aiohttp.encode_basic_auth(username, password)}
        with suppress(IssuerUnavailable):
            for _ in range(TRIES):
                url, query = f"https://{self._host}/oauth2/token", {"service": self._host}
                answer = await self._client.call("GET", url, query=query, headers=login, secrets=[password])
                if answer.status != 401:
                    return
                await asyncio.sleep(min(PAUSE_SECONDS, MAX_PAUSE_SECONDS))

    async def _asked(self, method: Method, url: str, body: object = None) -> Answer:
        bearer = await self._login.kept()
        kind = {} if body is None else {"Content-Type": "application/json"}
        answer = await self._client.call(
            method,
            url,
            headers={"Authorization": f"Bearer {bearer}", **kind},
            body=None if body is None else msgspec.json.encode(body),
            secrets=[bearer],
        )
        if answer.status == 401:
            self._login.refused(bearer)
            raise IssuerUnavailable(f"Azure takes our login no more ({answer.said}); once more, with a new one")
        if answer.status == 403:
            raise IssueRefused(
                f"Azure does not let us ({answer.said}); our identity needs the rights that docs/azure.md lists",
                everybody=True,
            )
        if answer.status == 404 and answer.read(Error).error.code in _ABOVE:
            raise IssueRefused(
                f"Azure has no registry of this resourceId ({answer.said}); write what az acr show --query id says",
                everybody=True,
            )
        if answer.status == 409:
            raise IssuerUnavailable(f"something else is changing it ({answer.said})", answer.retry_after)
        return answer
