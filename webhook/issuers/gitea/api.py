"""Gitea's API, as far as the issuer needs it: the access tokens of one user."""

from typing import Annotated

import aiohttp
import msgspec

from webhook.config.models import Registry
from webhook.issuers import IssueRefused, IssuerUnavailable
from webhook.issuers.client import Answer, Client, Method, line

SCOPES = ("read:package",)
"""All that a token of ours may do."""
REFUSED_SECONDS = 30.0
"""Who goes on asking with a wrong password looks like an attack, to what watches Gitea's log."""
PAGE, MAX_PAGES = 50, 20
_LOGIN = "login for Gitea"


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """As it is listed: without what it is."""

    id: Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]
    name: str
    scopes: tuple[str, ...] = ()


class Made(Token, frozen=True, kw_only=True):
    """`sha1`: what it is, told this once."""

    sha1: str


class _Error(msgspec.Struct, frozen=True):
    message: str


class _Self(msgspec.Struct, frozen=True):
    is_admin: bool


class GiteaApi:
    """`registry`: where Gitea is, and which CA certificates are to be trusted. The files with the login are read again
    at each request. Users are names that fit into a path.
    """

    def __init__(self, registry: Registry, username_file: str, password_file: str) -> None:
        self._base = f"{'http' if registry.plain else 'https'}://{registry.host}/api/v1"
        self._files = username_file, password_file
        self._client = Client("Gitea", registry.ca_file)

    async def close(self) -> None:
        await self._client.close()

    def is_us(self, user: str) -> bool:
        """Raises IssuerUnavailable."""
        return line(self._files[0], _LOGIN).lower() == user

    async def make(self, user: str, name: str) -> Answer:
        """400: such a name is there already, or something else is wrong. Raises IssueRefused, IssuerUnavailable."""
        made = await self._call("POST", f"/users/{user}/tokens", body={"name": name, "scopes": SCOPES})
        if await self._is_not_there(made):
            raise IssueRefused(
                f"Gitea has no user {user} ({made.said}); make one, or leave the owner out of the issuer's owners"
            )
        return made

    async def tokens(self, user: str) -> list[Token]:
        """None, if there is no such user. Raises IssueRefused, IssuerUnavailable."""
        found = list[Token]()
        for page in range(1, MAX_PAGES + 1):
            query = {"page": str(page), "limit": str(PAGE)}
            listed = await self._call("GET", f"/users/{user}/tokens", query=query)
            if await self._is_not_there(listed):
                return []
            if listed.status != 200:
                raise IssuerUnavailable(f"Gitea does not list the tokens of user {user} ({listed.said})")
            # A page may be shorter than what was asked for: Gitea's administrator limits it.
            if not (tokens := listed.read(list[Token])):
                return found
            found += tokens
        raise IssueRefused(f"Gitea's user {user} has so many tokens that we do not find ours; delete some")

    async def delete(self, user: str, token: Token) -> None:
        """By its number: there may be two of one name. Raises IssueRefused, IssuerUnavailable."""
        gone = await self._call("DELETE", f"/users/{user}/tokens/{token.id}")
        if gone.status != 204 and not await self._is_not_there(gone):
            raise IssuerUnavailable(f"Gitea does not take away a token of user {user} ({gone.said})")

    async def _call(
        self, method: Method, path: str, *, query: dict[str, str] | None = None, body: object = None
    ) -> Answer:
        username, password = (line(file, _LOGIN) for file in self._files)
        headers = {
            "Authorization": aiohttp.encode_basic_auth(username, password),
            **({"Content-Type": "application/json"} if body is not None else {}),
        }
        content = None if body is None else msgspec.json.encode(body)
        found = await self._client.call(
            method, self._base + path, query=query, headers=headers, body=content, secrets=[password]
        )
        if found.status == 401:
            raise IssuerUnavailable(
                f"Gitea refuses the login of usernameFile and passwordFile ({found.said}): is it right, and does it "
                "work without a second factor?",
                max(found.retry_after, REFUSED_SECONDS),
            )
        if found.status == 403:
            raise _no_administrator(found)
        return found

    async def _is_not_there(self, answer: Answer) -> bool:
        """Is it so that Gitea does not have what was asked for? Raises IssueRefused, IssuerUnavailable.

        What stands before Gitea may say so instead, and Gitea itself does to those who may not see it.
        """
        if answer.status != 404:
            return False
        answer.read(_Error)
        await self.is_administrator(answer)
        return True

    async def is_administrator(self, because: Answer | None = None) -> None:
        """`because`: of this answer it is asked. Raises IssueRefused, IssuerUnavailable."""
        we = await self._call("GET", "/user")
        if we.status != 200:
            raise we.odd()
        if not we.read(_Self).is_admin:
            raise _no_administrator(because or we)


def _no_administrator(answer: Answer) -> IssueRefused:
    return IssueRefused(
        f"Gitea lets us do nothing with tokens of others ({answer.said}); the user of usernameFile must be an "
        "administrator of Gitea",
        everybody=True,
    )
