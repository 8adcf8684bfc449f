"""Azure Container Registry: each owner has a token there, and gets passwords of it. What a token may pull, its scope
map says, which somebody else makes with it.

A token has two passwords. An odd generation makes password1, an even one password2, so the one that stands is never
touched, and what is replaced is the one before it, which has ended by then. After a crash the same generation makes the
same password again, which nobody has.

Nothing but its end can say whose a password is: ours end in seconds that follow from cluster, issuer and owner. Another
one that has not ended is somebody else's, or another cluster's, and is never replaced.
"""

import hashlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec

from webhook.config.issuers.azure import AzureIssuer as Model
from webhook.config.issuers.azure import is_token
from webhook.config.issuers.base import OWNER_HERE
from webhook.core.shown import quoted
from webhook.issuers import DoesNotFit, Fence, IssueRefused, Minted, NotChecked
from webhook.issuers.azure.api import AzureApi, Error
from webhook.issuers.names import CHECK_NAME, credentials, repositories

SECONDS = 59
"""A password lives up to so much less than it could, and that one of them it ends in is its mark."""


class _Password(msgspec.Struct, frozen=True):
    name: str | None = None
    value: str | None = None
    expiry: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Credentials(msgspec.Struct, frozen=True):
    passwords: list[_Password] | None = None


class _Properties(msgspec.Struct, frozen=True):
    status: str | None = None
    credentials: _Credentials | None = None


class _Token(msgspec.Struct, frozen=True):
    properties: _Properties


class _Generated(msgspec.Struct, frozen=True):
    username: str
    passwords: list[_Password]


class AzureIssuer:
    """`cluster`: eight characters that no other cluster of this registry has; raises IssuerUnavailable."""

    def __init__(self, config: Model, cluster: Callable[[], str]) -> None:
        self._config, self._cluster, self._api = config, cluster, AzureApi(config)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:
        token, mark = self._token(owner), self._mark(owner)
        below = [repositories(one, owner) for one in self._config.repositories]
        name = "password1" if generation % 2 else "password2"
        now = await self._made_free(token, name, mark, fence)
        username, password, life = await self._generated(token, name, _ends(now, self._config.hours, mark))
        await self._api.settled(username, password)
        return Minted(credentials("Azure", self._config.registry, below, username, password), life)

    async def end(self, handle: str) -> None: ...

    async def check(self, owner: str | None) -> None:
        """Who may not read tokens is told so (403) before it is looked whether there is one. That none is there may be
        said because of what is above it.
        """
        if owner is not None:
            await self._read(self._token(owner))
            return
        found = await self._api.call("GET", f"/tokens/{CHECK_NAME}")
        if found.status not in (200, 404):
            raise found.odd()
        if found.status == 200:
            found.read(_Token)
        elif CHECK_NAME not in found.read(Error).error.message:
            raise NotChecked(f"Azure does not say whether it has the registry ({found.said}), and no owner has a token")

    async def close(self) -> None:
        await self._api.close()

    def _token(self, owner: str) -> str:
        """Raises IssueRefused. An owner that does not fit is never changed until it does: it might be another one's."""
        token = self._config.token.replace(OWNER_HERE, owner)
        if not is_token(token):
            raise DoesNotFit(
                f"no token can have the owner {quoted(owner)} in its name, which has 5 to 50 lower-case letters, "
                "digits and -; give the owner such a name, or leave it out of the issuer's owners"
            )
        return token

    def _mark(self, owner: str) -> int:
        digest = hashlib.sha256(f"{self._cluster()} {self._config.called} {owner}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % SECONDS

    async def _read(self, token: str) -> tuple[Sequence[_Password], datetime]:
        """The passwords of a token, and when that was, by Azure's clock. Raises IssueRefused."""
        registry, found = self._config.registry, await self._api.call("GET", f"/tokens/{token}")
        if found.status >= 400:
            found.read(Error)
            raise IssueRefused(
                f"{registry} does not show a token {token} ({found.said}); create it, as docs/azure.md has it"
            )
        if found.status != 200 or found.date is None:
            raise found.odd()
        properties = found.read(_Token).properties
        if properties.status == "disabled":
            raise IssueRefused(f"the token {token} of {registry} is disabled; enable it, if its owner may pull")
        return (properties.credentials or _Credentials()).passwords or (), found.date

    async def _made_free(self, token: str, name: str, mark: int, fence: Fence) -> datetime:
        """When nobody has this password any more, by Azure's clock."""
        passwords, now = await self._read(token)
        standing = next((one for one in passwords if one.name == name), None)
        if standing is None or (standing.expiry is not None and standing.expiry <= now):
            return now
        if standing.expiry is None or int(standing.expiry.timestamp()) % SECONDS != mark:
            registry = self._config.registry
            raise IssueRefused(
                f"the token {token} of {registry} has a {name} that is not ours, and has not ended; delete it if "
                "nobody needs it, and give each cluster tokens of its own"
            )
        await fence()
        return now

    async def _generated(self, token: str, name: str, ends: datetime) -> tuple[str, str, timedelta]:
        asked = {
            "tokenId": f"{self._config.resource_id}/tokens/{token}",
            "name": name,
            "expiry": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        }
        made = await self._api.call("POST", "/generateCredentials", asked)
        if made.status >= 400:
            raise IssueRefused(f"Azure makes no password of the token {token} ({made.said})")
        answer = made.read(_Generated)
        # Of the other one, the answer has no more than its name and its end.
        new = next((one for one in answer.passwords if one.name == name), _Password())
        if not new.value or new.expiry is None or made.date is None or answer.username.lower() != token:
            raise made.odd()
        return answer.username, new.value, new.expiry - made.date


def _ends(now: datetime, hours: float, mark: int) -> datetime:
    seconds = int(now.timestamp() + hours * 3600)
    return datetime.fromtimestamp(seconds - (seconds - mark) % SECONDS, UTC)
