"""Harbor's API, as far as the issuer needs it: one request, and what its answer means for all of them."""

import re
from collections.abc import Mapping

import aiohttp
import msgspec

from webhook.config.models import Registry
from webhook.issuers import IssuerUnavailable
from webhook.issuers.client import Answer, Client, Method, line

LOCKED_SECONDS = 30.0
"""Harbor locks the name of a failed login for a moment. Who goes on asking keeps it locked."""
_READ_ONLY = re.compile(r"read.only", re.IGNORECASE)


class HarborApi:
    """`registry`: where Harbor is, and which CA certificates are to be trusted. The files with the login are read again
    at each request.
    """

    def __init__(self, registry: Registry, username_file: str, password_file: str) -> None:
        self._base = f"{'http' if registry.plain else 'https'}://{registry.host}/api/v2.0"
        self._files = username_file, password_file
        self._client = Client("Harbor", registry.ca_file)

    async def close(self) -> None:
        await self._client.close()

    async def call(
        self, method: Method, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        """Raises IssuerUnavailable if there is no answer, or none that says something about what is asked for."""
        username, password = (line(file, "login for Harbor") for file in self._files)
        headers = {
            "Authorization": aiohttp.encode_basic_auth(username, password),
            # A project may be called 7, and another one may have that number.
            **({"X-Is-Resource-Name": "true"} if path.startswith("/projects/") else {}),
            **({"Content-Type": "application/json"} if body is not None else {}),
        }
        found = await self._client.call(
            method,
            self._base + path,
            query=query,
            headers=headers,
            body=None if body is None else msgspec.json.encode(body),
            secrets=[password],
        )
        if found.status == 401:
            raise IssuerUnavailable(
                f"Harbor refuses the login of usernameFile and passwordFile ({found.said}): is it right, has its robot "
                "ended, or is its name locked because others tried it with wrong passwords?",
                max(found.retry_after, LOCKED_SECONDS),
            )
        if found.status == 403 and _READ_ONLY.search(found.said):
            raise IssuerUnavailable(f"Harbor changes nothing now ({found.said})", found.retry_after)
        return found
