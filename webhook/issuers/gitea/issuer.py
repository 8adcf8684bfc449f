"""Gitea: each owner has a user, and access tokens of that user that may read packages and nothing else.

Gitea's tokens never end. So it is the configuration that says how long one is good, and what ends it is that we delete
it. Its name follows from cluster, generation, issuer and owner, and is our mark: in a user's list of tokens, only that
user and administrators can give a name. After a crash the name is taken, by what nobody has: it goes. A token of that
name with other rights is none of ours, and stays.
"""

import re
from collections.abc import Callable, Iterable
from datetime import timedelta

from webhook.config.issuers import gitea as model
from webhook.config.issuers.base import OWNER_HERE
from webhook.config.models import Registry
from webhook.core.issued import MAX_EARLIER
from webhook.core.shown import quoted
from webhook.issuers import DoesNotFit, Fence, IssueRefused, IssuerUnavailable, Minted
from webhook.issuers.client import Answer
from webhook.issuers.gitea.api import SCOPES, GiteaApi, Made, Token
from webhook.issuers.names import credentials, minted_name, repositories

MARK = "pullsecret-webhook-"
_NAME = re.compile(MARK + r"([a-z0-9]{1,20})-(\d{1,9})-([0-9a-f]{16})", re.ASCII)
_HANDLE = re.compile(r"([^/]{1,255})/(\d{1,19})/([a-z0-9-]{1,100})", re.ASCII)


class GiteaIssuer:
    """`cluster`: eight characters that no other cluster of this Gitea has; raises IssuerUnavailable."""

    def __init__(self, config: model.GiteaIssuer, registry: Registry, cluster: Callable[[], str]) -> None:
        self._config, self._cluster = config, cluster
        self._api = GiteaApi(registry, config.username_file, config.password_file)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:
        name = MARK + minted_name(self._cluster(), self._config.called, owner, generation)
        user = self._user(owner)
        below = [repositories(one, owner) for one in self._config.beginnings]
        made = await self._api.make(user, name)
        if made.status == 400:
            await self._clear(user, name, fence)
            made = await self._api.make(user, name)
            if made.status == 400:  # as if another one makes it at the same time
                raise IssuerUnavailable(f"Gitea makes no token of user {user} now ({made.said})")
        if made.status < 300 and made.status != 201:
            raise made.odd()
        if made.status != 201:
            raise IssueRefused(f"Gitea makes no token of user {user} ({made.said})")
        return await self._minted(user, below, name, made)

    async def end(self, handle: str) -> None:
        """Numbers are used again by a Gitea that was restored from a backup. So the name counts, too.

        With it go those that are so much older that nobody remembers to end them.
        """
        parts = _HANDLE.fullmatch(handle)
        if parts is None or not model.is_gitea_user(parts[1]):
            return
        cluster = self._cluster()
        for one in await self._api.tokens(parts[1]):
            name = _NAME.fullmatch(one.name)
            if name is None or name[1] != cluster or one.scopes != SCOPES:
                continue  # none of ours, whatever the handle says: Secrets are copied to other clusters
            if (one.id == int(parts[2]) and one.name == parts[3]) or _is_forgotten(one, parts[3]):
                await self._api.delete(parts[1], one)

    async def check(self, owner: str | None) -> None:  # noqa: ARG002  # an issuer's interface
        """An administrator may do all that is done here."""
        await self._api.is_administrator()

    async def close(self) -> None:
        await self._api.close()

    def _user(self, owner: str) -> str:
        """Raises IssueRefused. An owner that does not fit is never changed until it does: it might be another one's."""
        user = self._config.user.replace(OWNER_HERE, owner)
        if not model.is_gitea_user(user):
            raise DoesNotFit(
                f"no user can have the owner {quoted(owner)} in its name: that has lower-case letters, digits, and "
                "single . _ - between them, and Gitea takes capitals for the same; give the owner such a name, or "
                "leave it out of the issuer's owners"
            )
        if self._api.is_us(user):
            raise DoesNotFit(
                f"the owner {quoted(owner)} would pull as {user}, the user that issues, who may pull everything; give "
                "the owner another name, or let user begin with something of its own"
            )
        return user

    async def _clear(self, user: str, name: str, fence: Fence) -> None:
        """Takes away what has this name: nobody has it. Gitea may have made two at once."""
        found = [one for one in await self._api.tokens(user) if one.name == name]
        if any(one.scopes != SCOPES for one in found):
            raise IssueRefused(
                f"Gitea's user {user} has a token {name} that is not ours: it has other rights; delete it, if nobody "
                "needs it"
            )
        if found:
            await fence()
        for one in found:
            await self._api.delete(user, one)

    async def _minted(self, user: str, below: Iterable[str], name: str, made: Answer) -> Minted:
        token = made.read(Made)
        if token.name != name:
            raise IssuerUnavailable("Gitea's answer is about another token than we wanted")
        if token.scopes != SCOPES:
            await self._api.delete(user, token)
            raise IssueRefused("Gitea gives a token other rights than we wanted; is it 1.19 or newer?", everybody=True)
        found = credentials("Gitea", self._config.registry, below, user, token.sha1)
        return Minted(found, timedelta(hours=self._config.hours), f"{user}/{token.id}/{name}")


def _is_forgotten(token: Token, ended: str) -> bool:
    """Is it of the same cluster, issuer and owner as the one with the name `ended`, and so old that the owner's Secret
    does not remember it? What the Secret remembers may be in use.
    """
    one, other = _NAME.fullmatch(token.name), _NAME.fullmatch(ended)
    if one is None or other is None or one.group(1, 3) != other.group(1, 3):
        return False
    return int(one[2]) < int(other[2]) - MAX_EARLIER - 1
