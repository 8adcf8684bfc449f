"""Sessions of RAM roles, for a key from files, or for the service account of the pod (RRSA).

With a service account each owner's role is taken directly: a session of the pod's own role would have to take it in
turn, and end with it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from webhook.config.issuers.aliyun import AliyunIssuer
from webhook.config.issuers.base import OWNER_HERE
from webhook.core.shown import shown
from webhook.core.times import in_utc
from webhook.issuers import IssueRefused, IssuerUnavailable
from webhook.issuers.aliyun.api import SIGNATURE_REFUSED, AliyunApi, Call, Reply
from webhook.issuers.client import line
from webhook.issuers.keptlogin import AGAIN_SECONDS, Visible
from webhook.issuers.signing import AccessKey

PROVIDER, TOKEN_FILE = "ALIBABA_CLOUD_OIDC_PROVIDER_ARN", "ALIBABA_CLOUD_OIDC_TOKEN_FILE"
"""Environment variables that ACK sets in pods whose service account has a role."""
_VERSION = "2015-04-01"
_BY_KEY, _BY_TOKEN = Call("AssumeRole", _VERSION), Call("AssumeRoleWithOIDC", _VERSION)
_LOGIN_REFUSED = (*SIGNATURE_REFUSED, "AuthenticationFail.", "EntityNotExist.OIDC", "InvalidParameter.OIDC")
"""What codes begin with that say nothing about the role."""


@dataclass(frozen=True, slots=True)
class Session:
    """`life`: from the moment of the answer on."""

    key: AccessKey
    life: timedelta


class _Credentials(msgspec.Struct, frozen=True, rename="pascal"):
    access_key_id: Visible
    access_key_secret: str
    security_token: Visible
    expiration: datetime


class _Assumed(msgspec.Struct, frozen=True, rename="pascal"):
    credentials: _Credentials


class AliyunSts:
    """`environ`: of the process."""

    def __init__(self, config: AliyunIssuer, environ: Mapping[str, str]) -> None:
        self._config, self._api = config, AliyunApi("Aliyun's STS", config.sts_asked_at, config.ca_file)
        self._provider, self._token_file = environ.get(PROVIDER, ""), environ.get(TOKEN_FILE, "")

    async def close(self) -> None:
        await self._api.close()

    async def session(self, role: str, name: str, policy: str) -> Session:
        """`name`: its own, in the logs of Aliyun. `policy`: what it may, of all that its role may; empty: all.

        Raises IssuerUnavailable, IssueRefused.
        """
        wanted = {
            "RoleArn": role,
            "RoleSessionName": name,
            "DurationSeconds": str(round(self._config.hours * 3600)),
            **({"Policy": policy} if policy else {}),
        }
        config = self._config
        if config.access_key_id_file and config.access_key_secret_file:
            files = config.access_key_id_file, config.access_key_secret_file
            reply = await self._api.signed(
                AccessKey(*(line(file, "key for Aliyun") for file in files)), _BY_KEY, wanted
            )
        else:
            reply = await self._by_token(wanted)
        if reply.code:
            raise self._refused(reply, role)
        found = reply.answer.read(_Assumed).credentials
        key = AccessKey(found.access_key_id, found.access_key_secret, found.security_token)
        try:
            return Session(key, in_utc(found.expiration) - reply.date)
        except ValueError:
            raise reply.answer.odd() from None

    async def _by_token(self, wanted: Mapping[str, str]) -> Reply:
        if not self._provider or not self._token_file:
            raise IssuerUnavailable(
                "there is no key for Aliyun: write accessKeyIdFile and accessKeySecretFile, or give the service "
                f"account of pullsecret issue a role, so that its pods have {PROVIDER} and {TOKEN_FILE} "
                "(docs/aliyun.md)"
            )
        token = line(self._token_file, "token for Aliyun")
        login = {"OIDCProviderArn": self._provider, "OIDCToken": token}
        return await self._api.unsigned(_BY_TOKEN, {**wanted, **login}, [token])

    def _refused(self, reply: Reply, role: str) -> IssueRefused | IssuerUnavailable:
        code, said = reply.code, reply.answer.said
        everybody = OWNER_HERE not in self._config.ram_role
        if code == "EntityNotExist.Role":
            return IssueRefused(
                f"Aliyun has no role {role} ({said}); create it, as docs/aliyun.md has it", everybody=everybody
            )
        if code.endswith("NoPermission"):
            return IssueRefused(
                f"Aliyun does not let us take the role {role} ({said}); docs/aliyun.md has its trust policy, and the "
                "right that our key needs",
                everybody=everybody,
            )
        if code == "InvalidParameter.DurationSeconds":
            return IssueRefused(
                f"the role {role} has no sessions of {self._config.hours:g} h ({said}); raise its MaxSessionDuration, "
                "or lower hours",
                everybody=everybody,
            )
        if code.startswith(_LOGIN_REFUSED):
            config = self._config
            files = (
                f"{config.access_key_id_file} and {config.access_key_secret_file}"
                if config.access_key_id_file
                else self._token_file
            )
            return IssuerUnavailable(f"Aliyun refuses the login of {shown(files)} ({said})", AGAIN_SECONDS)
        return IssueRefused(f"Aliyun gives us no session of the role {role} ({said})", everybody=everybody)
