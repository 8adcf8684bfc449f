"""A server that speaks the protocol of Tencent's Container Registry (2019-09-24) and STS (2018-08-13), as far as the
issuer asks them: a stand-in, from their public reference and from the vendor's SDK, whose code checks signatures,
parameters and answers here. Nothing more of Tencent is true of it.
"""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from aiohttp import web
from tencentcloud.common.abstract_client import AbstractClient
from tencentcloud.common.http.request import RequestInternal
from tencentcloud.common.profile.client_profile import ClientProfile
from tencentcloud.common.profile.http_profile import HttpProfile
from tencentcloud.sts.v20180813 import models as sts
from tencentcloud.tcr.v20190924 import models as tcr

from support import planted
from support.vendorserver import Said, VendorServer

LEEWAY = timedelta(minutes=5)
RIGHTS = ("tcr:CreateServiceAccount", "tcr:DeleteServiceAccount", "tcr:DescribeServiceAccounts")
VERSIONS = {"tcr": "2019-09-24", "sts": "2018-08-13"}
_AUTHORIZATION = re.compile(
    r"TC3-HMAC-SHA256 Credential=([^/\s]+)/(\d{4}-\d\d-\d\d)/(tcr)/tc3_request, "
    r"SignedHeaders=content-type;host, Signature=([0-9a-f]{64})"
)
_NAME = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*")
_SDK = AbstractClient(None, "", ClientProfile(httpProfile=HttpProfile(endpoint="localhost")))


@dataclass
class Account:
    description: str
    permissions: list[dict[str, Any]]
    password: str
    expires_at: int
    disabled: bool = False

    def pulls(self, namespace: str) -> bool:
        return any(one["Resource"] == namespace and "tcr:PullRepository" in one["Actions"] for one in self.permissions)


@dataclass
class Key:
    """`token`: of a session; empty: it lasts."""

    secret: str
    rights: set[str]
    token: str = ""
    ends: datetime | None = None


class Refused(Exception):
    def __init__(self, code: str, message: str = "The request is refused.") -> None:
        super().__init__(code)
        self.error = {"Code": code, "Message": message}


@dataclass
class Tencent(VendorServer):
    """`accounts`: by name, without its prefix. `taken`: the code that says that there is one already. `tokens`: of
    service accounts of pods, and the roles that they may take. `bodies`: what was asked for, without tokens.
    """

    instance: str = "tcr-01234567"
    region: str = "ap-guangzhou"
    taken: str = "FailedOperation.ErrorTcrResourceConflict"
    most: int = 10_000
    namespaces: set[str] = field(default_factory=set)
    accounts: dict[str, Account] = field(default_factory=dict)
    keys: dict[str, Key] = field(default_factory=dict)
    roles: dict[str, set[str]] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    bodies: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)

    def opens(self, username: str, password: str, repository: str) -> bool:
        account = self.accounts.get(username.removeprefix("tcr$")) if username.startswith("tcr$") else None
        if account is None or account.disabled or account.password != password:
            return False
        return self.now().timestamp() * 1000 < account.expires_at and account.pulls(repository.partition("/")[0])

    def of(self, namespace: str) -> dict[str, Account]:
        return {name: one for name, one in self.accounts.items() if one.pulls(namespace)}

    async def answer(self, request: web.BaseRequest) -> Said:
        try:
            said = self._said(request, await request.read())
        except Refused as e:
            said = {"Error": e.error}
        return 200, {"Response": {**said, "RequestId": "3c140219-cfe9-470e-b241-907877d6fb03"}}

    def _said(self, request: web.BaseRequest, content: bytes) -> dict[str, Any]:
        headers = request.headers
        if request.method != "POST" or request.path != "/" or headers.get("Content-Type") != "application/json":
            raise Refused("InvalidRequest", "It is a POST of JSON to the root.")
        if abs(datetime.fromtimestamp(int(headers["X-TC-Timestamp"]), UTC) - self.now()) > LEEWAY:
            raise Refused("AuthFailure.SignatureExpire", "Signature expired.")
        action, body = headers["X-TC-Action"], json.loads(content)
        if headers["Authorization"] == "SKIP" and action == "AssumeRoleWithWebIdentity":
            self._is(headers, "sts")
            return self._assumed(body)
        key = self._who(headers, content)
        self._is(headers, "tcr")
        self.bodies.append((action, body))
        does: dict[str, Callable[[Any], dict[str, Any]]] = {
            "CreateServiceAccount": self._create,
            "DeleteServiceAccount": self._delete,
            "DescribeServiceAccounts": self._describe,
        }
        if action not in does:
            raise Refused("InvalidAction", "The action does not exist.")
        if f"tcr:{action}" not in key.rights:
            raise Refused("UnauthorizedOperation", f"you are not authorized to perform operation (tcr:{action})")
        if body["RegistryId"] != self.instance:
            raise Refused("ResourceNotFound", "the instance does not exist")
        return does[action](body)

    def _is(self, headers: Mapping[str, str], service: str) -> None:
        if headers.get("X-TC-Version") != VERSIONS[service]:
            raise Refused("NoSuchVersion", "The API version does not exist.")
        if headers.get("X-TC-Region") != self.region:
            raise Refused("UnsupportedRegion", "This API is not supported in the requested region.")

    def _who(self, headers: Mapping[str, str], content: bytes) -> Key:
        """Whose signature it is, by the code of the vendor."""
        found = _AUTHORIZATION.fullmatch(headers["Authorization"])
        if found is None:
            raise Refused("AuthFailure.InvalidAuthorization", "The value of Authorization is invalid.")
        name, day, service, signature = found.groups()
        key = self.keys.get(name)
        if key is None or (key.ends is not None and self.now() >= key.ends):
            raise Refused("AuthFailure.SecretIdNotFound", "The SecretId is not found.")
        if headers.get("X-TC-Token", "") != key.token:
            raise Refused("AuthFailure.TokenFailure", f"Token error: {headers.get('X-TC-Token')}")
        if day != f"{datetime.fromtimestamp(int(headers['X-TC-Timestamp']), UTC):%Y-%m-%d}":
            raise Refused("AuthFailure.SignatureFailure", "The day is another one.")
        signed = RequestInternal(headers["Host"], "POST", "/", dict(headers))
        signed.data = content
        if _SDK._get_tc3_signature({}, signed, day, service, key.secret) != signature:
            raise Refused("AuthFailure.SignatureFailure", "The provided credentials could not be validated.")
        return key

    def _create(self, body: Any) -> dict[str, Any]:
        _known(body, tcr.CreateServiceAccountRequest)
        name, ends = body["Name"], body.get("ExpiresAt")
        if not _NAME.fullmatch(name) or not body["Permissions"]:
            raise Refused("InvalidParameter", "custom account's name or permission is wrong")
        for one in body["Permissions"]:
            if one["Resource"] not in self.namespaces:
                raise Refused("InvalidParameter", f"custom account for resource({one['Resource']}) is illegal")
            if one["Actions"] != ["tcr:PullRepository"]:
                raise Refused("InvalidParameter", f"not support action: {one['Actions']}")
        if ends is None and body.get("Duration") is None:
            raise Refused("MissingParameter", "The request is missing a required parameter.")
        if name in self.accounts:
            raise Refused(self.taken, "the custom account exists")
        if len(self.accounts) >= self.most:
            raise Refused("OperationDenied.QuotaOverLimit", "too many custom accounts")
        account = Account(body.get("Description", ""), body["Permissions"], planted.token(), ends, body["Disable"])
        self.accounts[name] = account
        said = {
            "Name": f"tcr${name}",
            "Password": account.password,
            "ExpiresAt": account.expires_at,
            "CreateTime": f"{self.now():%Y-%m-%dT%H:%M:%S+08:00}",
        }
        _known(said | {"RequestId": "1"}, tcr.CreateServiceAccountResponse)
        return said

    def _delete(self, body: Any) -> dict[str, Any]:
        _known(body, tcr.DeleteServiceAccountRequest)
        prefix, _, name = body["Name"].rpartition("$")
        if prefix != "tcr" or self.accounts.pop(name, None) is None:
            raise Refused("ResourceNotFound", "the custom account does not exist")
        return {}

    def _describe(self, body: Any) -> dict[str, Any]:
        _known(body, tcr.DescribeServiceAccountsRequest)
        (wanted,) = body["Filters"]
        assert wanted["Name"] == "ServiceAccountName"
        found = [
            {
                "Name": f"tcr${name}",
                "Description": one.description,
                "Disable": one.disabled,
                "ExpiresAt": one.expires_at,
            }
            for name, one in self.accounts.items()
            if f"tcr${name}" in wanted["Values"]
        ][: body["Limit"]]
        said = {"ServiceAccounts": found or None, "TotalCount": len(found)}
        _known(said | {"RequestId": "1"}, tcr.DescribeServiceAccountsResponse)
        return said

    def _assumed(self, body: Any) -> dict[str, Any]:
        _known(body, sts.AssumeRoleWithWebIdentityRequest)
        subject, trusted = self.tokens.get(body["WebIdentityToken"]), self.roles.get(body["RoleArn"])
        if subject is None or body["ProviderId"] != "cls-c0ffee":
            raise Refused("InvalidParameter.WebIdentityTokenError", f"The token is bad: {body['WebIdentityToken']}")
        if trusted is None:
            raise Refused("ResourceNotFound.RoleNotFound", "The role does not exist.")
        if subject not in trusted:
            raise Refused("UnauthorizedOperation", "The role does not trust it.")
        name, ends = f"AKIDsession{len(self.keys)}", self.now() + timedelta(seconds=body["DurationSeconds"])
        self.keys[name] = Key(planted.token(), {*RIGHTS}, planted.token(), ends)
        said = {
            "Credentials": {
                "Token": self.keys[name].token,
                "TmpSecretId": name,
                "TmpSecretKey": self.keys[name].secret,
            },
            "ExpiredTime": int(ends.timestamp()),
            "Expiration": f"{ends:%Y-%m-%dT%H:%M:%SZ}",
        }
        _known(said | {"RequestId": "1"}, sts.AssumeRoleWithWebIdentityResponse)
        return said


def _known(body: Any, model: type[Any]) -> None:
    """Has the vendor's SDK all of this?"""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            model()._deserialize(body)
        except UserWarning as e:
            raise Refused("UnknownParameter", str(e)) from None
