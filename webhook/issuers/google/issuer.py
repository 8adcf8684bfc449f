"""Google Artifact Registry, also under the names of gcr.io: each owner has a service account, and gets tokens of it
that may read and nothing else.

What the account may read is up to IAM. Tokens just end, so there is nothing to take away, and no generation.
"""

import msgspec

from webhook.config.issuers.artifactregistry import ArtifactRegistryIssuer as Model
from webhook.config.issuers.artifactregistry import is_service_account
from webhook.config.issuers.base import OWNER_HERE
from webhook.core.shown import quoted
from webhook.issuers import DoesNotFit, Fence, IssueRefused, IssuerUnavailable, Minted
from webhook.issuers.client import Answer, Client
from webhook.issuers.google.login import Generated, GoogleLogin, generate
from webhook.issuers.names import credentials, repositories

USERNAME = "oauth2accesstoken"
SCOPE = "https://www.googleapis.com/auth/devstorage.read_only"
"""Named after Cloud Storage, and what Google's own nodes pull with. A token can do nothing but read there, whatever the
service account may do.
"""
_ADDRESS = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/{}:generateAccessToken"
_OUR_FAULT = {"SERVICE_DISABLED", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"}
"""Reasons that have nothing to do with an owner."""


class _Detail(msgspec.Struct, frozen=True):
    reason: str = ""


class _Why(msgspec.Struct, frozen=True):
    details: list[_Detail] = []


class _Error(msgspec.Struct, frozen=True):
    error: _Why


class ArtifactRegistryIssuer:
    def __init__(self, config: Model) -> None:
        self._config, self._client = config, Client("Google", config.ca_file)
        self._login = GoogleLogin(self._client, config.credentials_file)

    async def issue(self, owner: str, generation: int, fence: Fence) -> Minted:  # noqa: ARG002  # an issuer's interface
        account = self._account(owner)
        below = [repositories(one, owner) for one in self._config.repositories]
        bearer = await self._login.kept()
        made = await generate(self._client, _ADDRESS.format(account), bearer, SCOPE, round(self._config.hours * 3600))
        if made.status != 200:
            if made.status == 401:
                self._login.refused(bearer)
            raise _refused(made, account)
        token = made.read(Generated)
        if made.date is None:
            raise made.odd()
        found = credentials("Google", self._config.registry, below, USERNAME, token.access_token)
        return Minted(found, token.expire_time - made.date)

    async def end(self, handle: str) -> None: ...

    async def check(self, owner: str | None) -> None:  # noqa: ARG002  # an issuer's interface
        """The API that makes tokens has nothing to read, and that of IAM may be closed to us."""
        await self._login.kept()

    async def close(self) -> None:
        await self._client.close()

    def _account(self, owner: str) -> str:
        """Raises IssueRefused. An owner that does not fit is never changed until it does: it might be another one's."""
        account = self._config.service_account.replace(OWNER_HERE, owner)
        # With a dot or an @ it might be an account of another project.
        if "@" in owner or "." in owner or not is_service_account(account):
            raise DoesNotFit(
                f"no service account can have the owner {quoted(owner)} in its name: it has 6 to 30 lower-case "
                "letters, digits and -, and begins with a letter; give the owner such a name, or leave it out of the "
                "issuer's owners"
            )
        return account


def _refused(made: Answer, account: str) -> IssueRefused | IssuerUnavailable:
    if made.status == 401:
        return IssuerUnavailable(f"Google takes our login no more ({made.said}); once more, with a new one")
    if made.status not in (403, 404):
        return IssueRefused(f"Google gives no token of {account} ({made.said})")
    try:
        reasons = {one.reason for one in msgspec.json.decode(made.content, type=_Error).error.details}
    except (msgspec.MsgspecError, ValueError, RecursionError):
        reasons = set()
    if reasons & _OUR_FAULT:
        return IssueRefused(f"Google gives no tokens of service accounts ({made.said})", everybody=True)
    return IssueRefused(
        f"Google gives no token of {account} ({made.said}); create it, and let us make tokens of it, as "
        "docs/artifact-registry.md has it"
    )
