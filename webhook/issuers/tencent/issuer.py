"""Tencent Container Registry, Enterprise Edition: service accounts that may pull from an owner's namespaces.

The next account is made beside the one before, which ends by itself. Its name follows from cluster, generation, issuer
and owner, and its description is our mark. After a crash the name is taken: if the mark is ours, nobody has that
account's password, and it goes; what others made is never touched.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

import msgspec
import structlog

from webhook.config.issuers import tcr as model
from webhook.core.issued import MAX_LIFE
from webhook.core.shown import quoted, shown
from webhook.issuers import DoesNotFit, Fence, IssueRefused, IssuerUnavailable, Minted
from webhook.issuers.names import CHECK_NAME, credentials, minted_name, repositories
from webhook.issuers.tencent.api import Moment, Reply, TencentApi
from webhook.issuers.tencent.login import TencentLogin

log = structlog.get_logger()
MAX_OWNER_CHARS = 60
"""Of an owner, in a description."""
_RIGHTS = "the key needs the rights that docs/tcr.md lists"
_HANDLE = re.compile(r"[0-9a-z]+-\d{1,9}-[0-9a-f]{16}", re.ASCII)
_TAKEN = re.compile(r"Conflict\Z|(?<!Not)Exists?\Z")
"""The end of codes that say that there is one already. Which one it is, is not in Tencent's reference: so what has the
name is looked for whatever the code is.
"""


class _Created(msgspec.Struct, frozen=True, rename="pascal"):
    """`expires_at`: in milliseconds since 1970."""

    name: str
    password: str
    expires_at: Moment


class _Account(msgspec.Struct, frozen=True, rename="pascal"):
    name: str
    description: str | None = None


class _Accounts(msgspec.Struct, frozen=True, rename="pascal"):
    """None instead of an empty list."""

    service_accounts: list[_Account] | None = None


class TcrIssuer:
    """`environ`: of the process. `cluster`: eight characters that no other cluster of this instance has; raises
    IssuerUnavailable.
    """

    def __init__(self, config: model.TcrIssuer, environ: Mapping[str, str], cluster: Callable[[], str]) -> None:
        self._config, self._cluster, self._login = config, cluster, TencentLogin(config, environ)
        self._api = TencentApi(
            "Tencent's registry", config.endpoint, "tcr", "2019-09-24", config.region, config.ca_file
        )

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:
        name = minted_name(self._cluster(), self._config.called, owner, generation)
        namespaces = self._namespaces(owner)
        description = f"{self._mark}owner {shown(owner, MAX_OWNER_CHARS)}, generation {generation}"
        account = {
            "Name": name,
            "Description": description,
            "Permissions": [{"Resource": one, "Actions": ["tcr:PullRepository"]} for one in namespaces],
            "Disable": False,
        }
        made = await self._ask("CreateServiceAccount", account, ends=True)
        if made.code:
            await self._clear(name, description, made, namespaces, fence)
            made = await self._ask("CreateServiceAccount", account, ends=True)
            if made.code:
                raise IssuerUnavailable(
                    f"Tencent makes no service account in place of one that was there ({made.said})"
                )
        return self._minted(name, namespaces, made)

    async def end(self, handle: str) -> None:
        """Its mark counts, too: somebody may have made it anew by hand."""
        if not _HANDLE.fullmatch(handle):
            return
        found = await self._named(handle)
        if found is None:
            return
        if (found.description or "").startswith(self._mark):
            await self._delete(found)
        else:
            log.info("a service account is left as it is: it is another one than was minted", name=handle)

    async def check(self, owner: str | None) -> None:  # noqa: ARG002  # an issuer's interface
        """Each right is one of its own, so this one says nothing of that to make accounts."""
        await self._named(CHECK_NAME)

    async def close(self) -> None:
        await self._login.close()
        await self._api.close()

    @property
    def _mark(self) -> str:
        """What the description of each of ours begins with."""
        return f"pullsecret-webhook: cluster {self._cluster()}, issuer {self._config.called}, "

    def _namespaces(self, owner: str) -> tuple[str, ...]:
        """Raises IssueRefused."""
        found = tuple(dict.fromkeys(repositories(template, owner) for template in self._config.repositories))
        for one in found:
            if not model.is_tcr_namespace(one):
                raise DoesNotFit(
                    f"Tencent has no namespaces such as {quoted(one, 60)}, only such of 2 to 30 lower-case letters and "
                    "digits, with single . _ - between them; give the owner another name, or leave it out of the "
                    "issuer's owners"
                )
        return found

    # -- calls --

    async def _ask(self, action: str, body: Mapping[str, object], *, ends: bool = False) -> Reply:
        """`ends`: it gets the end that is configured. Raises IssuerUnavailable, IssueRefused."""

        def whole(now: datetime) -> Mapping[str, object]:
            return {"RegistryId": self._config.instance, **body, **(self._end(now) if ends else {})}

        key = await self._login.key()
        reply = await self._api.signed(key, action, whole)
        rights = reply.code.endswith(("UnauthorizedOperation", "ErrorTcrUnauthorized"))
        if rights or reply.code.startswith("UnauthorizedOperation"):
            raise IssueRefused(f"Tencent does not let us {action} ({reply.said}); {_RIGHTS}", everybody=True)
        if reply.code.startswith("AuthFailure"):
            self._login.refused(key)
            raise self._login.no_login(reply.said)
        return reply

    def _end(self, now: datetime) -> dict[str, int]:
        return {"ExpiresAt": int((now + timedelta(hours=self._config.hours)).timestamp() * 1000)}

    async def _clear(self, name: str, description: str, made: Reply, namespaces: tuple[str, ...], fence: Fence) -> None:
        """Takes away what has this name, if it is ours: nobody has its password. Raises IssueRefused."""
        found = await self._named(name)
        if found is None:
            raise self._not_made(made, namespaces)
        if found.description != description:
            raise IssueRefused(
                f"instance {self._config.instance} has a service account {name} that is not ours: its description is "
                "another one; delete it, if nobody needs it"
            )
        await fence()
        await self._delete(found)

    def _not_made(self, made: Reply, namespaces: tuple[str, ...]) -> IssueRefused | IssuerUnavailable:
        if _TAKEN.search(made.code):
            return IssuerUnavailable("the service account that we make is there, and it is not; once more")
        if made.code.startswith(("InternalError", "FailedOperation", "ResourceInsufficient", "ResourceUnavailable")):
            return IssuerUnavailable(f"Tencent makes no service account now ({made.said})")
        if "Limit" in made.code:
            return IssueRefused(f"Tencent makes no more service accounts ({made.said})", everybody=True)
        return IssueRefused(
            f"Tencent makes no service account for {', '.join(namespaces)} ({made.said}): does instance "
            f"{self._config.instance} in {self._config.region} have such a namespace?"
        )

    async def _named(self, name: str) -> _Account | None:
        wanted = {"Filters": [{"Name": "ServiceAccountName", "Values": [f"tcr${name}"]}], "Limit": 100}
        reply = await self._ask("DescribeServiceAccounts", wanted)
        if reply.code:
            raise IssuerUnavailable(f"Tencent does not list service accounts ({reply.said})")
        found = reply.read(_Accounts).service_accounts or ()
        return next((one for one in found if _is_called(one.name, name)), None)

    async def _delete(self, account: _Account) -> None:
        gone = await self._ask("DeleteServiceAccount", {"Name": account.name})
        if gone.code and not gone.code.startswith("ResourceNotFound"):
            raise IssuerUnavailable(f"Tencent does not take away a service account of ours ({gone.said})")

    def _minted(self, name: str, namespaces: tuple[str, ...], made: Reply) -> Minted:
        """With the name as it is in the answer: it has a prefix there."""
        account = made.read(_Created)
        if not _is_called(account.name, name):
            raise IssuerUnavailable("Tencent's answer is about another service account than we wanted")
        seconds = account.expires_at // 1000 - int(made.date.timestamp())
        found = credentials("Tencent", self._config.registry, namespaces, account.name, account.password)
        return Minted(found, timedelta(seconds=min(seconds, MAX_LIFE.total_seconds())), name)


def _is_called(account: str, name: str) -> bool:
    """In answers, and where something is asked about it, there is a prefix: tcr$."""
    return account.rpartition("$")[2] == name
