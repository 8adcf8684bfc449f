"""AWS on loopback: moto in a process of its own (tests/aws/motoserver.py), and a door before it for each test, which
counts, loses and replaces answers.
"""

import json
import ssl
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import httpx
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.process import Child
from support import ownvenv, planted
from support.vendorserver import FaultyServer, serving
from webhook.issuers.aws.sigv4 import signed
from webhook.issuers.signing import AccessKey

FOLDER = Path(__file__).parents[1] / "aws"
ACCOUNT, REGION = "123456789012", "eu-west-1"
REGISTRY = f"{ACCOUNT}.dkr.ecr.{REGION}.amazonaws.com"
OIDC = "oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
SUBJECT = "system:serviceaccount:pullsecret-webhook:pullsecret-webhook-issuer"
SIGNER = Ed25519PrivateKey.generate()
"""Of the cluster, whose tokens are web identities."""
JSON = {"Content-Type": "application/json"}


def allow(*actions: str, on: str | list[str] = "*", **more: Any) -> str:
    """A policy."""
    statement = {"Effect": "Allow", "Action": list(actions), "Resource": on, **more}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def token(audience: str = "sts.amazonaws.com", *, seconds: int = 600, **claims: Any) -> str:
    """Of the issuer's service account, as the kubelet writes it."""
    ends = int((datetime.now(UTC) + timedelta(seconds=seconds)).timestamp())
    said = {"iss": f"https://{OIDC}", "aud": audience, "sub": SUBJECT, "exp": ends, "jti": planted.token(), **claims}
    text = b".".join(_encoded(json.dumps(part).encode()) for part in ({"alg": "EdDSA"}, said))
    return b".".join([text, _encoded(SIGNER.sign(text))]).decode()


def _encoded(content: bytes) -> bytes:
    return urlsafe_b64encode(content).rstrip(b"=")


@dataclass(frozen=True)
class Aws:
    """`admin`: may do everything."""

    port: int
    admin: AccessKey
    client: httpx.Client

    def asks(self, path: str, content: Any) -> Any:
        """What is no API of AWS."""
        return self._sent(path, json.dumps(content).encode(), JSON).json()

    def iam(self, action: str, **fields: str) -> str:
        """As its administrator."""
        body = urlencode({"Action": action, "Version": "2010-05-08", **fields}).encode()
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        host = f"127.0.0.1:{self.port}"
        sent = signed(self.admin, "iam", "us-east-1", host, headers, body, datetime.now(UTC))
        return self._sent("/", body, sent).text

    def _sent(self, path: str, body: bytes, headers: Mapping[str, str]) -> httpx.Response:
        url = f"http://127.0.0.1:{self.port}{path}"
        return self.client.post(url, content=body, headers=headers).raise_for_status()

    def user(self, name: str, policy: str) -> AccessKey:
        self.iam("CreateUser", UserName=name)
        self.iam("PutUserPolicy", UserName=name, PolicyName="p", PolicyDocument=policy)
        made = self.iam("CreateAccessKey", UserName=name)
        return AccessKey(
            *(made.partition(f"<{tag}>")[2].partition("<")[0] for tag in ("AccessKeyId", "SecretAccessKey"))
        )

    def role(self, name: str, trust: str, policy: str, path: str = "/", hours: int = 1) -> str:
        fields = {"RoleName": name, "Path": path, "MaxSessionDuration": str(hours * 3600)}
        self.iam("CreateRole", AssumeRolePolicyDocument=trust, **fields)
        self.iam("PutRolePolicy", RoleName=name, PolicyName="p", PolicyDocument=policy)
        return f"arn:aws:iam::{ACCOUNT}:role{path}{name}"


@contextmanager
def running(folder: Path) -> Iterator[Aws]:
    """`folder`: for its log."""
    command: list[str | Path] = [ownvenv.python(FOLDER / "requirements.lock"), FOLDER / "motoserver.py", planted.PREFIX]
    with Child("moto", command, log=folder / "moto.log") as moto:
        told = json.loads(moto.until(lambda: _first_line(moto.log), "moto to start", within=60))
        with httpx.Client(trust_env=False, timeout=30) as client:
            aws = Aws(told["port"], AccessKey(told["key"], told["secret"]), client)
            aws.asks("/-/oidc", {"key": SIGNER.public_key().public_bytes_raw().hex()})
            yield aws


def _first_line(log: Path) -> str | None:
    found = [line for line in log.read_text().splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]
    return found[0] if found else None


@dataclass(kw_only=True)
class Door(FaultyServer):
    """`sent`: headers and body of each request. `wrong`: what AWS would not say, and its own clients do not send."""

    aws: Aws
    client: aiohttp.ClientSession
    sent: list[tuple[Mapping[str, str], str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    async def seen(self, request: web.BaseRequest) -> str:
        body, names = await request.read(), [name.lower() for name in request.headers]
        if len({*names}) < len(names):
            self.wrong.append(f"a header is there twice: {names}")
        self.sent.append((request.headers, body.decode()))
        if request.path.startswith(("/-/", "/v2/")):
            return request.path
        target = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        return target or body.partition(b"Action=")[2].partition(b"&")[0].decode()

    async def respond(self, request: web.BaseRequest) -> web.Response:
        headers = {**request.headers, "X-Test-Ahead": str(self.skew.total_seconds())}
        url = f"http://127.0.0.1:{self.aws.port}{request.path}"
        async with self.client.request(request.method, url, data=await request.read(), headers=headers) as answer:
            kept = {
                name: answer.headers[name]
                for name in ("Content-Type", "Date", "X-Amzn-ErrorType")
                if name in answer.headers
            }
            return web.Response(status=answer.status, headers=kept, body=await answer.read())


@asynccontextmanager
async def door(aws: Aws, context: ssl.SSLContext) -> AsyncIterator[Door]:
    async with (
        aiohttp.ClientSession(trust_env=False) as client,
        serving(Door(aws=aws, client=client), context) as found,
    ):
        yield found
    assert not found.wrong, found.wrong[:5]
