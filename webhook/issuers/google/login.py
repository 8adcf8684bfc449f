"""As whom an issuer asks Google: by the metadata server, by a service account's key, or by workload identity
federation, which is a token of the cluster that Google exchanges for one of its own.

These are all that a pod has. They are read and sent as Google's own client does it (the tests hold that).
"""

import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlencode

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm

from webhook.core.shown import shown
from webhook.issuers import IssuerUnavailable
from webhook.issuers.client import MAX_FILE_BYTES, Answer, Client, line
from webhook.issuers.keptlogin import AGAIN_SECONDS, KeptLogin, Visible

_METADATA = "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
SCOPE = "https://www.googleapis.com/auth/iam"
"""The least that it takes to make tokens of service accounts."""
SECONDS, EARLY = 3600, 60
"""What we sign is good for an hour, and begins a minute ago, since clocks differ."""
_KINDS = "urn:ietf:params:oauth:"
_Https = Annotated[str, msgspec.Meta(pattern=r"^https://[!-~]+\Z")]


class _Key(msgspec.Struct, frozen=True, tag_field="type", tag="service_account"):
    client_email: str
    private_key_id: str
    private_key: str
    token_uri: _Https


class _Text(msgspec.Struct, frozen=True):
    type: Literal["text"] = "text"


class _Source(msgspec.Struct, frozen=True):
    file: str
    format: _Text = _Text()


class _Federation(msgspec.Struct, frozen=True, tag_field="type", tag="external_account"):
    audience: str
    subject_token_type: str
    token_url: _Https
    credential_source: _Source
    service_account_impersonation_url: _Https | None = None


class _Token(msgspec.Struct, frozen=True):
    access_token: Visible
    expires_in: Annotated[int, msgspec.Meta(ge=1, le=10**6)]


class Generated(msgspec.Struct, frozen=True, rename="camel"):
    """Of a service account."""

    access_token: Visible
    expire_time: Annotated[datetime, msgspec.Meta(tz=True)]


async def generate(client: Client, url: str, bearer: str, scope: str, seconds: int) -> Answer:
    """A token of the service account in the address."""
    return await client.call(
        "POST",
        url,
        headers={"Authorization": f"Bearer {bearer}", "Content-Type": "application/json"},
        body=msgspec.json.encode({"scope": [scope], "lifetime": f"{seconds}s"}),
        secrets=[bearer],
    )


class GoogleLogin(KeptLogin[str]):
    """`file`: of a key, or for workload identity federation; None: the metadata server says who we are."""

    def __init__(self, client: Client, file: str | None) -> None:
        super().__init__()
        self._client, self._file = client, file

    async def _new(self) -> tuple[str, timedelta]:
        if self._file is None:
            answer = await self._client.call("GET", _METADATA, query={"scopes": SCOPE}, headers=_FLAVOR)
            if answer.status == 200 and answer.headers.get("Metadata-Flavor") != "Google":
                raise answer.odd()
            return self._read(answer, "has this pod an identity at Google? If not, set credentialsFile")
        found = _read(self._file)
        if isinstance(found, _Key):
            form = {"grant_type": f"{_KINDS}grant-type:jwt-bearer", "assertion": _signed(found, self._file)}
            answer = await self._post(found.token_uri, form, form["assertion"])
            return self._read(answer, "is the key of credentialsFile still valid, and is the clock right?")
        return await self._federated(found)

    async def _federated(self, found: _Federation) -> tuple[str, timedelta]:
        subject = line(found.credential_source.file, "token for workload identity federation")
        form = {
            "grant_type": f"{_KINDS}grant-type:token-exchange",
            "audience": found.audience,
            "scope": SCOPE,
            "requested_token_type": f"{_KINDS}token-type:access_token",
            "subject_token": subject,
            "subject_token_type": found.subject_token_type,
        }
        answer = await self._post(found.token_url, form, subject)
        token, life = self._read(answer, "do issuer and audience of the token's volume fit those of the provider?")
        if found.service_account_impersonation_url is None:
            return token, life
        made = await generate(self._client, found.service_account_impersonation_url, token, SCOPE, SECONDS)
        if made.status != 200:
            raise self._no_login(made, "may it use the service account in credentialsFile?")
        generated = made.read(Generated)
        if made.date is None:
            raise made.odd()
        return generated.access_token, generated.expire_time - made.date

    async def _post(self, url: str, form: dict[str, str], secret: str) -> Answer:
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await self._client.call("POST", url, headers=headers, body=urlencode(form).encode(), secrets=[secret])

    def _read(self, answer: Answer, question: str) -> tuple[str, timedelta]:
        if answer.status != 200:
            raise self._no_login(answer, question)
        token = answer.read(_Token)
        return token.access_token, timedelta(seconds=token.expires_in)

    @staticmethod
    def _no_login(answer: Answer, question: str) -> IssuerUnavailable:
        return IssuerUnavailable(f"Google refuses our login ({answer.said}): {question}", AGAIN_SECONDS)


_FLAVOR = {"Metadata-Flavor": "Google"}


def _read(file: str) -> _Key | _Federation:
    """Raises IssuerUnavailable, without what is in the file."""
    try:
        with Path(file).open("rb") as opened:
            text = opened.read(MAX_FILE_BYTES)
    except OSError as e:
        raise IssuerUnavailable(f"there is no login for Google: {shown(file)}: {e.strerror}") from None
    try:
        return msgspec.json.decode(text, type=_Key | _Federation)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        raise IssuerUnavailable(
            f"there is no login for Google: {shown(file)} is neither the key of a service account nor a configuration "
            "of workload identity federation whose token is in a file"
        ) from None


def _signed(key: _Key, file: str) -> str:
    """Raises IssuerUnavailable."""
    begins = int(time.time()) - EARLY
    claims = {
        "iss": key.client_email,
        "scope": SCOPE,
        "aud": key.token_uri,
        "iat": begins,
        "exp": begins + SECONDS,
    }
    try:
        return jwt.encode(claims, key.private_key, "RS256", headers={"kid": key.private_key_id})
    # Their texts may have the key. An AttributeError: it is a public one.
    except (jwt.PyJWTError, UnsupportedAlgorithm, AttributeError, ValueError, TypeError):
        raise IssuerUnavailable(f"there is no login for Google: the private key in {shown(file)} is none") from None
