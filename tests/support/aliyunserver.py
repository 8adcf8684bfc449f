"""A server that speaks the protocol of Aliyun's STS (2015-04-01) and Container Registry (2018-12-01), as far as the
issuer asks them: a stand-in, from their public reference and from the vendor's SDKs, whose code checks signatures,
parameters and answers here. Policies are judged as RAM's reference describes it. Nothing more of Aliyun is true of it.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from aiohttp import web
from alibabacloud_cr20181201 import models as cr
from alibabacloud_sts20150401 import models as sts
from alibabacloud_tea_openapi.utils import Utils
from darabonba.request import DaraRequest

from support import planted
from support.vendorserver import Said, VendorServer

ALGORITHM = "ACS3-HMAC-SHA256"
LEEWAY = timedelta(minutes=15)
USERNAME = "cr_temp_user"
VERSIONS = {"AssumeRole": "2015-04-01", "AssumeRoleWithOIDC": "2015-04-01", "GetAuthorizationToken": "2018-12-01"}
MUST_BE_SIGNED = (
    "host",
    "x-acs-action",
    "x-acs-content-sha256",
    "x-acs-date",
    "x-acs-signature-nonce",
    "x-acs-version",
)
_AUTHORIZATION = re.compile(rf"{ALGORITHM} Credential=(\S+),SignedHeaders=([a-z0-9;-]+),Signature=([0-9a-f]{{64}})")
_SESSION_NAME = re.compile(r"[A-Za-z0-9.@_-]{2,64}")
_ROLE_NAME = re.compile(r"acs:ram::[0-9]+:role/[a-z0-9._-]{1,64}")
MAX_POLICY_CHARS = 2048
SUBJECT = "system:serviceaccount:pullsecret-webhook:pullsecret-webhook-issuer"
"""Of the token in the issuer's pods."""


def pull_policy(instance: str, *repositories: str) -> dict[str, Any]:
    """What a role needs, as docs/aliyun.md has it."""
    return {
        "Version": "1",
        "Statement": [
            {"Effect": "Allow", "Action": ["cr:GetAuthorizationToken"], "Resource": ["*"]},
            {
                "Effect": "Allow",
                "Action": ["cr:PullRepository"],
                "Resource": [f"acs:cr:*:*:repository/{instance}/{one}" for one in repositories],
            },
        ],
    }


@dataclass
class Role:
    """`trusts`: IDs of keys, and subjects of tokens. `policy`: what it may."""

    trusts: set[str]
    policy: Mapping[str, Any]
    max_seconds: int = 3600


@dataclass
class Session:
    """`policies`: all of them have to allow something."""

    secret: str
    token: str
    policies: tuple[Mapping[str, Any], ...]
    ends: datetime
    name: str

    def may(self, action: str, resource: str) -> bool:
        return all(_allows(policy, action, resource) for policy in self.policies)


class Refused(Exception):
    def __init__(self, status: int, code: str, message: str = "The request is refused.") -> None:
        super().__init__(code)
        self.status, self.body = status, {"RequestId": "7A0B", "HostId": "sts", "Code": code, "Message": message}


@dataclass
class Aliyun(VendorServer):
    """`keys`: secrets by ID. `roles`: by ARN. `subjects`: of tokens. `passwords`: whose session they are of."""

    instance: str = "cri-0123456789abcdef"
    provider: str = "acs:ram::1234567890123456:oidc-provider/ack-rrsa-c0ffee"
    keys: dict[str, str] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    passwords: dict[str, tuple[Session, datetime]] = field(default_factory=dict)
    nonces: set[str] = field(default_factory=set)
    queries: list[Mapping[str, str]] = field(default_factory=list)
    """Parameters of each request, but for tokens."""

    def opens(self, username: str, password: str, repository: str) -> bool:
        if username != USERNAME or password not in self.passwords:
            return False
        session, ends = self.passwords[password]
        resource = f"acs:cr:cn-hangzhou:1234567890123456:repository/{self.instance}/{repository}"
        return self.now() < ends and session.may("cr:PullRepository", resource)

    async def answer(self, request: web.BaseRequest) -> Said:
        query = dict(parse_qsl(request.raw_path.partition("?")[2], keep_blank_values=True, strict_parsing=True))
        body = await request.read()
        try:
            if request.method != "POST" or request.path != "/":
                raise Refused(404, "InvalidAction.NotFound", "Specified api is not found.")
            if "Authorization" in request.headers:
                return 200, self._signed(request, query, body)
            return 200, self._unsigned(request, query, body)
        except Refused as e:
            return e.status, e.body

    def _signed(self, request: web.BaseRequest, query: Mapping[str, str], body: bytes) -> Any:
        key = self._who(request, query, body)
        action = request.headers["x-acs-action"]
        if request.headers["x-acs-version"] != VERSIONS.get(action):
            raise Refused(404, "InvalidVersion", "Specified parameter Version is not valid.")
        self.queries.append(query)
        if action == "AssumeRole" and not body:
            _known(query, sts.AssumeRoleRequest)
            return self._assumed(query, key, sts.AssumeRoleResponseBody)
        if action == "GetAuthorizationToken" and not body:
            _known(query, cr.GetAuthorizationTokenRequest)
            return self._token(query, self.sessions.get(key))
        raise Refused(400, "InvalidAction.NotFound", "Specified api is not found.")

    def _who(self, request: web.BaseRequest, query: Mapping[str, str], body: bytes) -> str:
        """The ID of the key that signed it, by the code of the vendor."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        found = _AUTHORIZATION.fullmatch(headers["authorization"])
        if found is None:
            raise Refused(400, "IncompleteSignature", "The request signature does not conform to Aliyun standards.")
        key, names, signature = found.groups()
        signed = {name: headers[name] for name in names.split(";") if name in headers}
        needed = [*MUST_BE_SIGNED, *(name for name in headers if name.startswith("x-acs-"))]
        payload = hashlib.sha256(body).hexdigest()
        if not {*needed} <= signed.keys() or signed["x-acs-content-sha256"] != payload:
            raise Refused(400, "IncompleteSignature", "Not all headers that must be signed are signed.")
        secret = self._secret(key, headers.get("x-acs-security-token"))
        asked = DaraRequest()
        asked.method, asked.pathname, asked.query, asked.headers = "POST", "/", dict(query), signed
        right = Utils.get_authorization(asked, ALGORITHM, payload, key, secret)
        if right.rpartition("=")[2] != signature:
            said = f"Specified signature does not match our calculation. headers: {signed}"
            raise Refused(400, "SignatureDoesNotMatch", said)
        if abs(_time(signed["x-acs-date"]) - self.now()) > LEEWAY:
            raise Refused(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
        if signed["x-acs-signature-nonce"] in self.nonces:
            raise Refused(400, "SignatureNonceUsed", "Specified signature nonce was used already.")
        self.nonces.add(signed["x-acs-signature-nonce"])
        return key

    def _secret(self, key: str, token: str | None) -> str:
        if key in self.keys and token is None:
            return self.keys[key]
        session = self.sessions.get(key)
        if session is None:
            raise Refused(404, "InvalidAccessKeyId.NotFound", "Specified access key is not found.")
        if token != session.token:
            raise Refused(400, "InvalidSecurityToken.Malformed", "Specified SecurityToken is malformed.")
        if self.now() >= session.ends:
            raise Refused(400, "InvalidSecurityToken.Expired", "Specified SecurityToken is expired.")
        return session.secret

    def _unsigned(self, request: web.BaseRequest, query: Mapping[str, str], body: bytes) -> Any:
        if request.headers.get("Content-Type") != "application/x-www-form-urlencoded":
            raise Refused(400, "MissingParameter", "There is no form.")
        form = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
        if set(query) != {"Action", "Version", "Format", "Timestamp"} or query["Format"] != "JSON":
            raise Refused(400, "MissingParameter", "Action, Version, Format and Timestamp are mandatory.")
        if abs(_time(query["Timestamp"]) - self.now()) > LEEWAY:
            raise Refused(400, "InvalidTimeStamp.Expired", "Specified time stamp or date value is expired.")
        action = query["Action"]
        if action != "AssumeRoleWithOIDC" or query["Version"] != VERSIONS[action]:
            raise Refused(404, "InvalidAction.NotFound", "Specified api is not found.")
        self.queries.append({name: value for name, value in form.items() if name != "OIDCToken"})
        _known(form, sts.AssumeRoleWithOIDCRequest)
        if form["OIDCProviderArn"] != self.provider:
            raise Refused(404, "EntityNotExist.OIDCProvider", "The OIDC provider does not exist.")
        subject = self.subjects.get(form["OIDCToken"])
        if subject is None:
            raise Refused(400, "AuthenticationFail.OIDCToken.Invalid", f"This OIDC token is bad: {form['OIDCToken']}")
        return self._assumed(form, subject, sts.AssumeRoleWithOIDCResponseBody)

    def _assumed(self, wanted: Mapping[str, str], who: str, answer: type[Any]) -> Any:
        name, seconds, policy = wanted["RoleArn"], int(wanted["DurationSeconds"]), wanted.get("Policy")
        if not _SESSION_NAME.fullmatch(wanted["RoleSessionName"]):
            raise Refused(400, "InvalidParameter.RoleSessionName", "The parameter RoleSessionName is wrongly formed.")
        if not _ROLE_NAME.fullmatch(name):
            raise Refused(400, "InvalidParameter.RoleArn", "The parameter RoleArn is wrongly formed.")
        role = self.roles.get(name.lower())
        if role is None:
            raise Refused(404, "EntityNotExist.Role", "The specified Role not exists.")
        if who not in role.trusts:
            raise Refused(
                403, "NoPermission", "You are not authorized to do this action. You should be authorized by RAM."
            )
        if not 900 <= seconds <= role.max_seconds:
            raise Refused(400, "InvalidParameter.DurationSeconds", "The Min/Max value of DurationSeconds is 15min/1hr.")
        policies = (role.policy, *([_policy(policy)] if policy is not None else []))
        key = f"STS.{len(self.sessions) + 1}"
        session = Session(
            planted.token(),
            planted.token(),
            policies,
            self.now() + timedelta(seconds=seconds),
            wanted["RoleSessionName"],
        )
        self.sessions[key] = session
        said = {
            "RequestId": "6894B13B",
            "AssumedRoleUser": {
                "Arn": f"{name.replace('role', 'assumed-role', 1)}/{session.name}",
                "AssumedRoleId": "3",
            },
            "Credentials": {
                "AccessKeyId": key,
                "AccessKeySecret": session.secret,
                "SecurityToken": session.token,
                "Expiration": f"{session.ends:%Y-%m-%dT%H:%M:%SZ}",
            },
        }
        assert answer().from_map(said).to_map() == said
        return said

    def _token(self, wanted: Mapping[str, str], session: Session | None) -> Any:
        if session is None or not session.may("cr:GetAuthorizationToken", "*"):
            raise Refused(403, "NoPermission", "You are not authorized to do this action.")
        if wanted["InstanceId"] != self.instance:
            raise Refused(404, "INSTANCE_NOT_EXIST", "instance is not exist.")
        hours = int(wanted.get("ExpiresInHours", "1"))
        if not 1 <= hours <= 24:
            raise Refused(400, "INVALID_PARAMETER", "ExpiresInHours is from 1 to 24.")
        ends = min(session.ends, self.now() + timedelta(hours=hours))
        password = f"{planted.token()}:{planted.token()}"
        self.passwords[password] = session, ends
        said = {
            "RequestId": "E069EB86",
            "Code": "success",
            "IsSuccess": True,
            "TempUsername": USERNAME,
            "AuthorizationToken": password,
            "ExpireTime": int(ends.timestamp() * 1000),
        }
        assert cr.GetAuthorizationTokenResponseBody().from_map(said).to_map() == said
        return said


def _known(given: Mapping[str, str], model: type[Any]) -> None:
    """Has the vendor's SDK all of these parameters?"""
    read = model().from_map(dict(given)).to_map()
    if set(given) - set(read):
        raise Refused(400, "InvalidParameter", f"There is no parameter {sorted(set(given) - set(read))}")


def _policy(text: str) -> Mapping[str, Any]:
    try:
        policy = json.loads(text)
        right = policy["Version"] == "1" and all(
            set(one) == {"Effect", "Action", "Resource"} and one["Effect"] in ("Allow", "Deny")
            for one in policy["Statement"]
        )
    except (ValueError, KeyError, TypeError):
        right = False
    if not right or len(text) > MAX_POLICY_CHARS:
        raise Refused(400, "InvalidParameter.PolicyGrammar", "The parameter Policy has not passed grammar check.")
    return dict(policy)


def _allows(policy: Mapping[str, Any], action: str, resource: str) -> bool:
    fitting = {
        one["Effect"]
        for one in policy["Statement"]
        if any(_fits(each, action) for each in one["Action"]) and any(_fits(each, resource) for each in one["Resource"])
    }
    return fitting == {"Allow"}


def _fits(pattern: str, text: str) -> bool:
    """As RAM has it: `*` is any number of characters, `?` is one."""
    escaped = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(escaped, text, re.DOTALL) is not None


def _time(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
