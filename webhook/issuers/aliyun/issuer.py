"""Aliyun Container Registry, Enterprise Edition: a password is good for what a session of a RAM role may do.

Each owner has a role. Or all have one, and a session policy leaves each of them what its own namespaces need. Nothing
is made at Aliyun, so nothing is taken away: sessions and passwords end by themselves.
"""

import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

import msgspec

from webhook.config.issuers import aliyun as model
from webhook.config.issuers.base import OWNER_HERE
from webhook.core.answer import hiding
from webhook.core.shown import quoted, shown
from webhook.issuers import DoesNotFit, Fence, IssueRefused, IssuerUnavailable, Minted, NotChecked
from webhook.issuers.aliyun.api import SIGNATURE_REFUSED, AliyunApi, Call
from webhook.issuers.aliyun.sts import AliyunSts, Session
from webhook.issuers.names import CHECK_NAME, credentials, minted_name, repositories

_TOKEN = Call("GetAuthorizationToken", "2018-12-01")
NOTHING = '{"Version":"1","Statement":[{"Effect":"Deny","Action":["*"],"Resource":["*"]}]}'
_OWNER = re.compile(r"[a-z0-9._-]+")
"""As part of a role's name. RAM takes capitals for the same letters, so they would be another owner's role."""


class _Token(msgspec.Struct, frozen=True, rename="pascal"):
    """`expire_time`: in milliseconds since 1970."""

    temp_username: str
    authorization_token: str
    expire_time: int


class _Told(msgspec.Struct, frozen=True, rename="pascal"):
    """What also an answer with status 200 may say."""

    is_success: bool = True
    code: str = ""


class AliyunIssuer:
    """`environ`: of the process. `cluster`: eight characters, for the logs of Aliyun; raises IssuerUnavailable."""

    def __init__(self, config: model.AliyunIssuer, environ: Mapping[str, str], cluster: Callable[[], str]) -> None:
        self._config, self._cluster = config, cluster
        self._api = AliyunApi("Aliyun's registry", config.asked_at, config.ca_file)
        self._sts = AliyunSts(config, environ)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:  # noqa: ARG002  # an issuer's interface
        namespaces, role = self._namespaces(owner), self._role(owner)
        policy = "" if OWNER_HERE in self._config.ram_role else self._policy(namespaces)
        name = minted_name(self._cluster(), self._config.called, owner, generation)
        session = await self._sts.session(role, name, policy)
        token, life = await self._token(session, role)
        found = credentials("Aliyun", self._config.registry, namespaces, token.temp_username, token.authorization_token)
        return Minted(found, min(life, session.life))

    async def end(self, handle: str) -> None: ...

    async def check(self, owner: str | None) -> None:
        """A session is how it logs in. This one may do nothing."""
        if owner is None and OWNER_HERE in self._config.ram_role:
            raise NotChecked("each owner has a role of its own, and no owner is known whose role could be taken")
        await self._sts.session(self._role(owner or ""), CHECK_NAME, NOTHING)

    async def close(self) -> None:
        await self._sts.close()
        await self._api.close()

    def _namespaces(self, owner: str) -> tuple[str, ...]:
        """Raises IssueRefused."""
        found = tuple(dict.fromkeys(repositories(template, owner) for template in self._config.repositories))
        for one in found:
            if not model.is_aliyun_namespace(one):
                raise DoesNotFit(
                    f"Aliyun has no namespaces such as {quoted(one)}, only such of 2 to 120 characters; give the owner "
                    "another name, or leave it out of the issuer's owners"
                )
        return found

    def _role(self, owner: str) -> str:
        """Raises IssueRefused. An owner that does not fit is never changed until it does: it might be another one's."""
        template = self._config.ram_role
        role = template.replace(OWNER_HERE, owner)
        if OWNER_HERE in template and not (_OWNER.fullmatch(owner) and model.is_ram_role(role)):
            raise DoesNotFit(
                f"no RAM role can have the owner {quoted(owner)} in its name, which has at most 64 lower-case letters, "
                "digits, . _ and -; give the owner such a name, or leave it out of the issuer's owners"
            )
        return role

    def _policy(self, namespaces: tuple[str, ...]) -> str:
        """What a session may, of all that its role may: pull from these."""
        below = [f"acs:cr:*:*:repository/{self._config.instance}/{one}/*" for one in namespaces]
        statements = [
            {"Effect": "Allow", "Action": ["cr:GetAuthorizationToken"], "Resource": ["*"]},
            {"Effect": "Allow", "Action": ["cr:PullRepository"], "Resource": below},
        ]
        return msgspec.json.encode({"Version": "1", "Statement": statements}).decode()

    async def _token(self, session: Session, role: str) -> tuple[_Token, timedelta]:
        """Raises IssuerUnavailable, IssueRefused."""
        config = self._config
        query = {"InstanceId": config.instance, "ExpiresInHours": str(math.ceil(config.hours))}
        reply = await self._api.signed(session.key, _TOKEN, query)
        if reply.code.startswith(SIGNATURE_REFUSED):
            raise IssuerUnavailable(f"Aliyun's registry refuses the session of the role {role} ({reply.answer.said})")
        if reply.code.endswith("NoPermission") or reply.answer.status == 403:
            raise IssueRefused(
                f"the role {role} may have no password of instance {config.instance} ({reply.answer.said}); it needs "
                "cr:GetAuthorizationToken, as docs/aliyun.md has it",
                everybody=OWNER_HERE not in config.ram_role,
            )
        told = _Told(is_success=False) if reply.code else reply.answer.read(_Told)
        if not told.is_success:
            code = hiding(session.key.secrets)(shown(told.code, 60))
            said = f"{reply.answer.said}: {code}" if code else reply.answer.said
            raise IssueRefused(
                f"Aliyun gives no password of instance {config.instance} in {config.region} ({said}): is there such an "
                "instance?",
                everybody=True,
            )
        token = reply.answer.read(_Token)
        try:
            ends = datetime.fromtimestamp(token.expire_time / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            raise reply.answer.odd() from None
        return token, ends - reply.date
