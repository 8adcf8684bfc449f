"""As whom the process asks AWS: what AWS's own libraries find in the environment of a pod, or an access key in files.

A web identity is a token that the kubelet renews; everything that takes part reads it anew each time. The metadata of
the node are not asked: they would make every pod on it the same as this one.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from webhook.issuers import IssuerUnavailable
from webhook.issuers.aws.api import AwsApi, AwsError, Session, left, usable
from webhook.issuers.client import Client, line
from webhook.issuers.keptlogin import AGAIN_SECONDS, KeptLogin
from webhook.issuers.signing import AccessKey

SESSION_NAME = "pullsecret-webhook"
_OF_THE_NODE = re.compile(
    r"http://(?:localhost|127\.[0-9.]+|\[::1\]|169\.254\.170\.23?|\[fd00:ec2::23\])(?::[0-9]{1,5})?(?:/[!-~]*)?"
)
"""Where AWS's own libraries ask without TLS, too: there nobody is in between."""
_AGENT = "the agent of AWS_CONTAINER_CREDENTIALS_FULL_URI"


@dataclass(frozen=True, slots=True)
class WebIdentity:
    """`file`: with the token. `role`: the pod's own."""

    file: str
    role: str

    def token(self) -> str:
        """Raises IssuerUnavailable."""
        return line(self.file, "web identity for AWS (AWS_WEB_IDENTITY_TOKEN_FILE)")

    async def session(self, api: AwsApi, fields: Mapping[str, str]) -> Session:
        """Of the role that the fields name. Raises AwsError, IssuerUnavailable."""
        token = self.token()
        return await api.session(
            {"Action": "AssumeRoleWithWebIdentity", "WebIdentityToken": token, **fields}, None, [token]
        )


class _Container(msgspec.Struct, frozen=True, rename="pascal"):
    access_key_id: str
    secret_access_key: str
    token: str
    expiration: str


class Login(KeptLogin[AccessKey]):
    """`files`: with the ID and the secret of an access key; None: the environment says who asks. What is kept is a
    session of the pod's own role.
    """

    def __init__(self, api: AwsApi, environ: Mapping[str, str], files: tuple[str, str] | None) -> None:
        super().__init__()
        self._api, self._files = api, files
        self._uri = environ.get("AWS_CONTAINER_CREDENTIALS_FULL_URI", "")
        self._uri_token_file = environ.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "")
        file = environ.get("AWS_WEB_IDENTITY_TOKEN_FILE", "")
        self.web_identity = WebIdentity(file, environ.get("AWS_ROLE_ARN", "")) if file and files is None else None
        self._container = Client(_AGENT)

    async def close(self) -> None:
        await self._container.close()

    async def key(self) -> AccessKey:
        """That signs. Raises IssuerUnavailable."""
        if self._files is not None:
            return AccessKey(*(line(file, "access key for AWS") for file in self._files))
        return await self.kept()

    async def _new(self) -> tuple[AccessKey, timedelta]:
        found = await self._begun()
        return found.key, found.life

    async def _begun(self) -> Session:
        if self.web_identity is not None:
            return await self._of_the_pod(self.web_identity)
        if self._uri:
            return await self._of_the_container()
        raise IssuerUnavailable(
            "nothing says as whom AWS is asked: the pod has neither AWS_WEB_IDENTITY_TOKEN_FILE nor "
            "AWS_CONTAINER_CREDENTIALS_FULL_URI, and accessKeyIdFile is not set",
            AGAIN_SECONDS,
        )

    async def _of_the_pod(self, identity: WebIdentity) -> Session:
        if not identity.role:
            raise IssuerUnavailable("chain is set, and AWS_ROLE_ARN does not say which role is ours", AGAIN_SECONDS)
        try:
            return await identity.session(self._api, {"RoleArn": identity.role, "RoleSessionName": SESSION_NAME})
        except AwsError as e:
            raise IssuerUnavailable(
                f"AWS lets us have no session of our own role, that of AWS_ROLE_ARN ({e.said})", AGAIN_SECONDS
            ) from None

    async def _of_the_container(self) -> Session:
        if not self._uri.startswith("https://") and not _OF_THE_NODE.fullmatch(self._uri):
            raise IssuerUnavailable(f"{_AGENT} is neither on this node nor asked by https://", AGAIN_SECONDS)
        token = ""
        if self._uri_token_file:
            token = line(self._uri_token_file, "token for AWS (AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE)")
        headers = {"Authorization": token} if token else {}
        found = await self._container.call("GET", self._uri, headers=headers, secrets=[token])
        if found.status != 200:
            raise IssuerUnavailable(f"{_AGENT} gives us no credentials ({found.said})", AGAIN_SECONDS)
        read = found.read(_Container)
        try:
            key = AccessKey(*map(usable, (read.access_key_id, read.secret_access_key, read.token)))
            return Session(key, left(read.expiration, found))
        except ValueError:
            raise found.odd() from None
