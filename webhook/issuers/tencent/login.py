"""As whom Tencent Cloud is asked: with a key from files, or as the role of the pod's service account (TKE)."""

from collections.abc import Mapping
from datetime import timedelta

import msgspec

from webhook.config.issuers.tcr import TcrIssuer
from webhook.core.shown import shown
from webhook.issuers import IssuerUnavailable
from webhook.issuers.client import line
from webhook.issuers.keptlogin import AGAIN_SECONDS, KeptLogin, Visible
from webhook.issuers.signing import AccessKey
from webhook.issuers.tencent.api import Moment, Reply, TencentApi

PROVIDER, TOKEN_FILE, ROLE = "TKE_PROVIDER_ID", "TKE_WEB_IDENTITY_TOKEN_FILE", "TKE_ROLE_ARN"
"""Environment variables that TKE sets in pods whose service account has a role."""
_SESSION = timedelta(hours=1)


class _Credentials(msgspec.Struct, frozen=True, rename="pascal"):
    tmp_secret_id: Visible
    tmp_secret_key: str
    token: Visible


class _Assumed(msgspec.Struct, frozen=True, rename="pascal"):
    """`expired_time`: its end, in seconds since 1970."""

    credentials: _Credentials
    expired_time: Moment


class TencentLogin(KeptLogin[AccessKey]):
    """`environ`: of the process."""

    def __init__(self, config: TcrIssuer, environ: Mapping[str, str]) -> None:
        super().__init__()
        self._config = config
        self._provider, self._token_file, self._role = (environ.get(name, "") for name in (PROVIDER, TOKEN_FILE, ROLE))
        self._api = TencentApi("Tencent's STS", config.sts_endpoint, "sts", "2018-08-13", config.region, config.ca_file)

    async def close(self) -> None:
        await self._api.close()

    async def key(self) -> AccessKey:
        """Raises IssuerUnavailable."""
        config = self._config
        if config.secret_id_file and config.secret_key_file:
            return AccessKey(
                *(line(file, "key for Tencent") for file in (config.secret_id_file, config.secret_key_file))
            )
        return await self.kept()

    def no_login(self, said: str) -> IssuerUnavailable:
        """What is raised when an answer says that the key is not good."""
        config = self._config
        files = f"{config.secret_id_file} and {config.secret_key_file}" if config.secret_id_file else self._token_file
        return IssuerUnavailable(f"Tencent refuses the login of {shown(files)} ({said})", AGAIN_SECONDS)

    async def _new(self) -> tuple[AccessKey, timedelta]:
        reply = await self._by_token()
        if reply.code:
            raise self.no_login(reply.said)
        found = reply.read(_Assumed)
        key = AccessKey(found.credentials.tmp_secret_id, found.credentials.tmp_secret_key, found.credentials.token)
        return key, timedelta(seconds=min(found.expired_time - int(reply.date.timestamp()), _SESSION.total_seconds()))

    async def _by_token(self) -> Reply:
        if not self._provider or not self._token_file or not self._role:
            raise IssuerUnavailable(
                "there is no key for Tencent: write secretIdFile and secretKeyFile, or give the service account of "
                f"pullsecret issue a role, so that its pods have {PROVIDER}, {TOKEN_FILE} and {ROLE} (docs/tcr.md)"
            )
        token = line(self._token_file, "token for Tencent")
        body = {
            "ProviderId": self._provider,
            "WebIdentityToken": token,
            "RoleArn": self._role,
            "RoleSessionName": "pullsecret-webhook",
            "DurationSeconds": int(_SESSION.total_seconds()),
        }
        return await self._api.unsigned("AssumeRoleWithWebIdentity", body, [token])
