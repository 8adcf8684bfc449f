"""A service of the platform's that is asked with GET: docs/http-source.openapi.yaml is the contract.

404 is known to have none; every other failure is nobody could say.
"""

import asyncio
from urllib.parse import quote

import aiohttp

from webhook.credential import Credentials
from webhook.dockerconfig import parse
from webhook.errors import SourceUnavailable
from webhook.sourceconfig import HttpSource
from webhook.sources import Changed
from webhook.sources.cached import Answer


class HttpRemote:
    def __init__(self, config: HttpSource) -> None:
        self._config = config

    async def ask(self, owner: str, before: Answer | None) -> Answer:  # noqa: ARG002
        url = self._config.url.replace("{owner}", quote(owner, safe=""))
        async with aiohttp.ClientSession() as session, session.get(url, allow_redirects=False) as response:
            if response.status == 404:
                return Answer(Credentials(), self._config.max_age)
            if response.status != 200:
                raise SourceUnavailable(f"HTTP {response.status}", everybody=True)
            return Answer(Credentials(parse(await response.read()).credentials), self._config.max_age)

    async def run(self, changed: Changed) -> None:  # noqa: ARG002  # a remote's interface
        """There is nothing to hear of: an answer's age decides when to ask again."""
        await asyncio.Future()
