"""GitLab: each owner has a group, and in it deploy tokens that may read its registry and nothing else.

The next token is made beside the one before, which ends by itself. GitLab lets several tokens have one name, so before
one is made it is asked whether there is one already: with the user name that follows from cluster, generation, issuer
and owner. If its name is our mark, it is of a crash, nobody has it, and it goes; what others made is never touched.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import quote

import msgspec
import structlog

from webhook.config.issuers import gitlab as model
from webhook.core.shown import quoted, shown
from webhook.core.times import in_utc
from webhook.issuers import DoesNotFit, Fence, IssueRefused, IssuerUnavailable, Minted
from webhook.issuers.client import Answer, Client, Method, line
from webhook.issuers.keptlogin import AGAIN_SECONDS
from webhook.issuers.names import credentials, minted_name, repositories

log = structlog.get_logger()
MAX_OWNER_CHARS = 60
"""Of an owner, in a token's name, which may have 255."""
PAGE, MAX_PAGES = 100, 20
"""Tokens that are listed at once, and times that the next ones are asked for."""
ENOUGH = {"api", "granular"}
"""Scopes of the issuer's own token, of which it takes one. The second is that of tokens with single rights."""
_RIGHTS = "the token of tokenFile needs the rights that docs/gitlab.md lists"
_HANDLE = re.compile(r"(\d{1,19})/([0-9a-z]+-\d{1,9}-[0-9a-f]{16})/(.{1,255})", re.ASCII)
_Id = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class _Token(msgspec.Struct, frozen=True):
    """`username`: with which it logs in. Several may have the same one."""

    id: _Id
    name: str
    username: str


class _Access(msgspec.Struct, frozen=True):
    """The token as which we ask."""

    scopes: list[str]


class _Version(msgspec.Struct, frozen=True):
    """For all who log in. It says nothing of their scopes."""

    version: str


class _Created(msgspec.Struct, frozen=True):
    id: _Id
    username: str
    token: str
    expires_at: datetime | None


class GitlabIssuer:
    """`cluster`: eight characters that no other cluster of this GitLab has; raises IssuerUnavailable."""

    def __init__(self, config: model.GitlabIssuer, cluster: Callable[[], str]) -> None:
        self._config, self._cluster = config, cluster
        self._client = Client("GitLab", config.ca_file)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:
        username = minted_name(self._cluster(), self._config.called, owner, generation)
        group = self._group(owner)
        name = f"{self._mark}owner {shown(owner, MAX_OWNER_CHARS)}, generation {generation}"
        now = await self._clear(group, username, name, fence)
        wanted = {"name": name, "username": username, "scopes": ["read_registry"], "expires_at": self._end(now)}
        made = await self._call("POST", _path(group), body=wanted)
        if made.status != 201:
            raise self._not_let("make", made, group)
        return self._minted(group, username, made)

    async def end(self, handle: str) -> None:
        """Numbers are not used again, but a GitLab that was restored from a backup does. So its name counts."""
        parts = _HANDLE.fullmatch(handle)
        if parts is None or not model.is_gitlab_group(parts[3]):
            return
        path = _path(parts[3], parts[1])
        found = await self._call("GET", path)
        if found.status == 404:
            return
        if found.status != 200:
            raise IssuerUnavailable(f"GitLab does not show a deploy token that has ended ({found.said}); {_RIGHTS}")
        token = found.read(_Token)
        if token.username == parts[2] and token.name.startswith(self._mark):
            await self._delete(path)
        else:
            log.info("a deploy token is left as it is: it is another one than was minted", id=parts[1])

    async def check(self, owner: str | None) -> None:
        """Maintainers of a group may list its deploy tokens, too. No read says who may make them: a custom role may."""
        group = None if owner is None else self._group(owner)
        found = await self._call("GET", "/personal_access_tokens/self")
        if found.status == 403:
            raise IssueRefused(f"GitLab does not let us ask ({found.said}); {_RIGHTS}", everybody=True)
        if found.status == 404:  # before GitLab 15.5
            found = await self._call("GET", "/version")
            found.read(_Version)
        elif not ENOUGH & {*found.read(_Access).scopes}:
            raise IssueRefused(f"the token of tokenFile does not have the scope api; {_RIGHTS}", everybody=True)
        if found.status != 200:
            raise found.odd()
        if group is None:
            return
        listed = await self._call("GET", _path(group), query={"per_page": "1"})
        if listed.status != 200:
            raise self._not_let("list", listed, group)
        listed.read(list[_Token])

    async def close(self) -> None:
        await self._client.close()

    @property
    def _mark(self) -> str:
        """What the name of each of ours begins with."""
        return f"pullsecret-webhook: cluster {self._cluster()}, issuer {self._config.called}, "

    def _group(self, owner: str) -> str:
        """Raises IssueRefused."""
        group = repositories(self._config.group, owner)
        if not model.is_gitlab_group(group):
            raise DoesNotFit(
                f"GitLab takes {quoted(group, 60)} for the number of another group; give the owner a name that is no "
                "number, or let group begin with something else"
            )
        return group

    def _end(self, now: datetime) -> str:
        """The midnight at which so many days are over."""
        day = (now + timedelta(days=self._config.days, hours=24, microseconds=-1)).date()
        return f"{day.isoformat()}T00:00:00Z"

    # -- calls --

    async def _clear(self, group: str, username: str, name: str, fence: Fence) -> datetime:
        """Takes away what has this user name, if it is ours: nobody has it. When that was, by GitLab's clock.

        Raises IssueRefused.
        """
        found, now = await self._named(group, username)
        if [one for one in found if one.name != name]:
            raise IssueRefused(
                f"group {group} has a deploy token {username} that is not ours: its name is another one; revoke it, if "
                "nobody needs it"
            )
        for one in found:
            await fence()
            await self._delete(_path(group, str(one.id)))
        return now

    async def _named(self, group: str, username: str) -> tuple[list[_Token], datetime]:
        found = list[_Token]()
        for page in range(1, MAX_PAGES + 1):
            query = {"active": "true", "per_page": str(PAGE), "page": str(page)}
            listed = await self._call("GET", _path(group), query=query)
            if listed.status != 200:
                raise self._not_let("list", listed, group)
            tokens = listed.read(list[_Token])
            found += [one for one in tokens if one.username == username]
            if len(tokens) < PAGE:
                return found, _date(listed)
        raise IssuerUnavailable(f"group {group} has more than {PAGE * MAX_PAGES} deploy tokens; revoke some")

    async def _delete(self, path: str) -> None:
        gone = await self._call("DELETE", path)
        if gone.status not in (204, 404):
            raise IssuerUnavailable(f"GitLab does not take away a deploy token of ours ({gone.said}); {_RIGHTS}")

    def _not_let(self, what: Literal["list", "make"], answer: Answer, group: str) -> IssueRefused | IssuerUnavailable:
        """Who administers a group decides what we may there."""
        if answer.status < 400:
            return answer.odd()
        if answer.status == 404:
            return IssueRefused(
                f"GitLab has no group {group} that we may see ({answer.said}); create it, or let us see it"
            )
        if answer.status == 403:
            return IssueRefused(
                f"GitLab lets us {what} no deploy token in group {group} ({answer.said}); {_RIGHTS}", right=True
            )
        return IssueRefused(f"GitLab {what}s no deploy token in group {group} ({answer.said})")

    def _minted(self, group: str, username: str, made: Answer) -> Minted:
        created = made.read(_Created)
        if created.username != username:
            raise IssuerUnavailable("GitLab's answer is about another deploy token than we wanted")
        if created.expires_at is None:
            raise IssuerUnavailable("GitLab's answer does not say until when the deploy token is good")
        try:
            ends = in_utc(created.expires_at).replace(hour=0, minute=0, second=0, microsecond=0)
        except ValueError:
            raise made.odd() from None
        found = credentials("GitLab", self._config.registry, [group], created.username, created.token)
        return Minted(found, ends - _date(made), f"{created.id}/{username}/{group}")

    async def _call(
        self, method: Method, path: str, *, query: Mapping[str, str] | None = None, body: object = None
    ) -> Answer:
        token = line(self._config.token_file, "token for GitLab")
        content = {"Content-Type": "application/json"} if body is not None else {}
        found = await self._client.call(
            method,
            f"{self._config.endpoint}/api/v4{path}",
            query=query,
            headers={"PRIVATE-TOKEN": token, **content},
            body=None if body is None else msgspec.json.encode(body),
            secrets=[token],
        )
        if found.status == 401:
            file = shown(self._config.token_file)
            raise IssuerUnavailable(
                f"GitLab refuses the token of {file} ({found.said}): is it right, and has it not ended?",
                max(found.retry_after, AGAIN_SECONDS),
            )
        return found


def _path(group: str, token: str = "") -> str:
    """Of a group's deploy tokens, or of one."""
    return f"/groups/{quote(group, safe='')}/deploy_tokens{f'/{token}' if token else ''}"


def _date(answer: Answer) -> datetime:
    """Raises IssuerUnavailable."""
    if answer.date is None:
        raise IssuerUnavailable("GitLab's answer does not say what time it is there, so nobody knows when it ends")
    return answer.date
