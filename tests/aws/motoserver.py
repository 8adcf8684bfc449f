"""moto as AWS, for tests of the issuer `ecr`: `python motoserver.py PREFIX`. It runs in a venv of its own, because what
moto needs and what the webhook needs exclude each other (tests/support/ownvenv.py).

moto checks signatures, and what users, roles and trust policies allow. What AWS checks and moto does not is added here,
after AWS's public documentation: clocks of signatures, ends of sessions, session policies, limits of durations, web
identities. A token of ECR tells whose it is, and a registry asks for that. botocore says how it would sign, and whom it
would ask. The secrets that it makes begin with PREFIX, so that tests find them where they must not be.

The header X-Test-Ahead of a request says how many seconds AWS's clock is ahead while it is answered.
"""

import json
import secrets
import sys
import threading
from base64 import b64decode, b64encode, urlsafe_b64decode
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import moto.settings
import moto.sts.models as sts
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from moto.core.authorization import ActionAuthenticatorMixin
from moto.core.exceptions import AWSError, _RESTError
from moto.core.responses import ActionResult
from moto.ecr.responses import ECRResponse
from moto.iam.access_control import AssumedRoleAccessKey, IAMPolicy, IAMRequestBase, PermissionResult
from moto.iam.exceptions import NotFoundException
from moto.iam.models import Role, iam_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

ACCOUNT, PARTITION = "123456789012", "aws"
TOKEN_HOURS = 12
SKEW = timedelta(minutes=5)
MAX_POLICY_CHARS = 2048
POD_ROLE = f"arn:aws:iam::{ACCOUNT}:role/pullsecret-issuer"
OIDC = "oidc.eks.eu-west-1.amazonaws.com/id/EXAMPLE"
"""Its tokens are signed with the key that `POST /-/oidc` has got."""
now_here = threading.local()
prefix = sys.argv[1]
tokens: dict[str, tuple[str, datetime]] = {}
"""Of ECR: whose key asked for it, and its end."""
public = dict[str, Ed25519PublicKey]()
boto = botocore.session.get_session()


def now() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=getattr(now_here, "ahead", 0.0))


class Error(_RESTError):  # type: ignore[misc]  # mypy sees nothing of this venv
    def __init__(self, code: str, message: str, status: int = 403) -> None:
        super().__init__(code, message)
        self.code = status


def error(service: str, code: str, message: str, status: int) -> Exception:
    """As each of the two protocols has it."""
    return AWSError(message, code, status) if service == "ecr" else Error(code, message, status)


# -- who asks --


def session_of(key: str) -> Any:
    found = [one for one in sts.sts_backends[ACCOUNT][PARTITION].assumed_roles if one.access_key_id == key]
    return found[0] if found else None


def ends(session: Any) -> datetime:
    found: datetime = session.expiration.replace(tzinfo=UTC)
    return found


def permits(policy: str, action: str, resource: str) -> bool:
    return IAMPolicy(policy).is_action_permitted(action, resource) is PermissionResult.PERMITTED


def session_permits(session: Any, action: str, resource: str) -> bool:
    return session.policy is None or permits(session.policy, action, resource)


plain_authorize = ActionAuthenticatorMixin._authenticate_and_authorize_action


def authorize(self: Any, request_class: type, resource: str = "*") -> None:
    action, service = self._get_action(), self.service_name
    if action == "AssumeRoleWithWebIdentity":
        return
    if "Authorization" not in self.headers:
        raise error(service, "MissingAuthenticationToken", "Missing Authentication Token", 403)
    sent = self.headers["Authorization"]
    names = sent.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    needed = [name.lower() for name, _ in self.headers.items() if name.lower().startswith("x-amz-")]
    if not {"host", "content-type", *needed} <= {*names}:
        raise error(service, "IncompleteSignature", "a header that must be signed is not", 400)
    at = datetime.strptime(self.headers["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if abs(now() - at) > SKEW:
        told = f"Signature expired: {at:%Y%m%dT%H%M%SZ} is now earlier than {now() - SKEW:%Y%m%dT%H%M%SZ} (...)"
        if service == "ecr":
            raise AWSError(told, "InvalidSignatureException", 400)
        raise Error("SignatureDoesNotMatch", told)
    key = sent.partition("Credential=")[2].partition("/")[0]
    session = session_of(key)
    if session is not None and ends(session) <= now():
        code = "ExpiredTokenException" if service == "ecr" else "ExpiredToken"
        raise error(service, code, "The security token included in the request is expired", 400)
    try:
        plain_authorize(self, request_class, resource)
    except _RESTError as e:
        if service != "ecr":
            raise
        codes = {"AccessDenied": "AccessDeniedException", "InvalidClientTokenId": "UnrecognizedClientException"}
        codes["SignatureDoesNotMatch"] = "InvalidSignatureException"
        raise AWSError(e.message, codes.get(e.error_type, e.error_type), 400) from None
    if session is not None and not session_permits(session, f"{service}:{action}", resource):
        told = f"User: {session.arn} is not authorized to perform: {service}:{action} because no session policy allows"
        raise error(service, "AccessDeniedException" if service == "ecr" else "AccessDenied", told, 400)
    if action == "AssumeRole" and session is not None and int(self._get_param("DurationSeconds") or 3600) > 3600:
        told = "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        raise Error("ValidationError", told, 400)


def trusts(self: Any, role_arn: str) -> bool:
    """moto knows a session only by its own name, AWS also by that of its role; and moto lets pass who says nothing."""
    (trust,) = json.loads(self.backend.get_role_by_arn(role_arn).assume_role_policy_document)["Statement"]
    who = {self._access_key.arn}
    if isinstance(self._access_key, AssumedRoleAccessKey):
        who.add(session_of(self._access_key._access_key_id).role_arn)
    said = {f"sts:{name}": value for name, (value, *_) in self._data.items()}
    wanted = trust.get("Condition", {"StringEquals": {}})["StringEquals"]
    return (
        (trust["Effect"], trust["Action"]) == ("Allow", self._action)
        and trust["Principal"].get("AWS") in who
        and wanted.items() <= said.items()
    )


# -- STS --

plain_role, plain_assume = sts.AssumedRole.__init__, sts.STSBackend.assume_role


def assumed(self: Any, **keys: Any) -> None:
    plain_role(self, **keys)
    self.session_token = f"{prefix}/{secrets.token_hex(300)}"
    self.access_key.secret_access_key = self.secret_access_key = f"{prefix}+{secrets.token_hex(8)}"


def role_of(arn: str, action: str) -> Role:
    try:
        return iam_backends[ACCOUNT][PARTITION].get_role_by_arn(arn)
    except NotFoundException:
        raise Error("AccessDenied", f"Not authorized to perform {action} on resource: {arn}") from None


def assume(self: Any, **keys: Any) -> Any:
    role, policy, seconds = role_of(keys["role_arn"], "sts:AssumeRole"), keys["policy"], keys["duration"]
    if not 900 <= seconds <= 43200:
        raise Error("ValidationError", f"Value '{seconds}' at 'durationSeconds' failed to satisfy constraint", 400)
    if seconds > int(role.max_session_duration or 3600):
        told = "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        raise Error("ValidationError", told, 400)
    if policy is not None:
        if len(policy) > MAX_POLICY_CHARS:
            raise Error("ValidationError", "1 validation error detected: Value at 'policy' is too long", 400)
        try:
            version, statements = (json.loads(policy)[key] for key in ("Version", "Statement"))
            valid = version == "2012-10-17" and all({*one} == {"Effect", "Action", "Resource"} for one in statements)
        except (ValueError, KeyError, TypeError):
            valid = False
        if not valid:
            raise Error("MalformedPolicyDocument", "The policy is not in the valid JSON format.", 400)
    return plain_assume(self, **keys)


def web_identity(self: Any) -> Any:
    """The role's trust policy names the provider, the audience and the subject of the token, or there is no session."""
    values = {name: self._get_param(name) for name in ("RoleArn", "RoleSessionName", "WebIdentityToken", "Policy")}
    claims = read(values["WebIdentityToken"])
    role = role_of(values["RoleArn"], "sts:AssumeRoleWithWebIdentity")
    denied = Error("AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity")
    (trust,) = json.loads(role.assume_role_policy_document)["Statement"]
    wanted = {f"{OIDC}:aud": claims["aud"], f"{OIDC}:sub": claims["sub"]}
    provider = {"Federated": f"arn:{PARTITION}:iam::{ACCOUNT}:oidc-provider/{OIDC}"}
    if (trust["Effect"], trust["Action"], trust["Principal"]) != ("Allow", "sts:AssumeRoleWithWebIdentity", provider):
        raise denied
    if trust["Condition"] != {"StringEquals": wanted}:
        raise denied
    if any("x-amz-" in name.lower() or name.lower() == "authorization" for name, _ in self.headers.items()):
        raise Error("InvalidParameterValue", "this request is not to be signed", 400)
    found = self.backend.assume_role(
        region_name=self.region,
        role_session_name=values["RoleSessionName"],
        role_arn=values["RoleArn"],
        policy=values["Policy"],
        duration=self._get_int_param("DurationSeconds", 3600),
        external_id=None,
    )
    return ActionResult({"Credentials": found, "AssumedRoleUser": {"AssumedRoleId": found.user_id, "Arn": found.arn}})


def read(token: str) -> dict[str, Any]:
    try:
        signed, _, signature = token.rpartition(".")
        public["key"].verify(decoded(signature), signed.encode())
        claims: dict[str, Any] = json.loads(decoded(signed.partition(".")[2]))
    except (ValueError, InvalidSignature):
        raise Error(
            "InvalidIdentityToken", "Couldn't retrieve verification key from your identity provider", 400
        ) from None
    if claims["iss"] != f"https://{OIDC}":
        told = "No OpenIDConnect provider found in your account for " + claims["iss"]
        raise Error("InvalidIdentityToken", told, 400)
    if datetime.fromtimestamp(claims["exp"], UTC) <= now():
        raise Error("ExpiredTokenException", "Token expired: current date/time must be before the expiration", 400)
    return claims


def decoded(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


# -- ECR: tokens, and a registry that takes them --


def ecr_token(self: Any) -> Any:
    key = self.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
    password = f"{prefix}{secrets.token_hex(600)}"
    end = now() + timedelta(hours=TOKEN_HOURS)
    tokens[password] = key, end
    data = {
        "authorizationToken": b64encode(f"AWS:{password}".encode()).decode(),
        "expiresAt": end,
        "proxyEndpoint": f"https://{ACCOUNT}.dkr.ecr.{self.region}.amazonaws.com",
    }
    return ActionResult({"authorizationData": [data]})


def pull(authorization: str, host: str, repository: str) -> int:
    """What a registry answers to a pull: the role must allow it, and the session."""
    user, _, password = b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
    key, end = tokens.get(password, ("", now()))
    session = session_of(key)
    if user != "AWS" or session is None or min(end, ends(session)) <= now():
        return 401
    if not repository:
        return 200
    region = host.split(".")[3]
    resource = f"arn:{PARTITION}:ecr:{region}:{ACCOUNT}:repository/{repository}"
    asked = AssumedRoleAccessKey(ACCOUNT, PARTITION, key, {"X-Amz-Security-Token": session.session_token})
    for action in ("ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer", "ecr:BatchCheckLayerAvailability"):
        allowed = any(
            IAMPolicy(one).is_action_permitted(action, resource) is PermissionResult.PERMITTED
            for one in asked.collect_policies()
        )
        if not (allowed and session_permits(session, action, resource)):
            return 403
    return 200


# -- the credentials of a pod, and what botocore would do --


def pod(authorization: str) -> Any:
    if read(authorization)["aud"] != "pods.eks.amazonaws.com":
        raise Error("InvalidTokenException", "the audience is another one", 400)
    found = plain_assume(
        sts.sts_backends[ACCOUNT][PARTITION],
        region_name="eu-west-1",
        role_session_name="eks-pod",
        role_arn=POD_ROLE,
        policy=None,
        duration=3600,
        external_id=None,
    )
    return {
        "AccessKeyId": found.access_key_id,
        "SecretAccessKey": found.secret_access_key,
        "Token": found.session_token,
        "AccountId": ACCOUNT,
        "Expiration": f"{ends(found):%Y-%m-%dT%H:%M:%SZ}",
    }


def signed(wanted: Any) -> Any:
    """The headers that botocore sends."""
    login = Credentials(wanted["key"], wanted["secret"], wanted["token"] or None)
    request = AWSRequest("POST", wanted["url"], wanted["headers"], wanted["body"].encode())
    at = datetime.fromisoformat(wanted["at"]).astimezone(UTC).replace(tzinfo=None)
    request.context["timestamp"] = f"{at:%Y%m%dT%H%M%SZ}"
    signer = SigV4Auth(login, wanted["service"], wanted["region"])
    # What add_auth does, with a time of its own.
    request.headers["X-Amz-Date"] = request.context["timestamp"]
    if login.token:
        request.headers["X-Amz-Security-Token"] = login.token
    text = signer.string_to_sign(request, signer.canonical_request(request))
    signer._inject_signature_to_request(request, signer.signature(text, request))
    return dict(request.headers)


def endpoints(wanted: Any) -> Any:
    config = botocore.config.Config(use_fips_endpoint=wanted["fips"], use_dualstack_endpoint=wanted["dual"])
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": wanted["region"], "config": config}
    return {name: urlsplit(boto.create_client(name, **keys).meta.endpoint_url).netloc for name in ("sts", "ecr")}


def oidc(wanted: Any) -> Any:
    public["key"] = Ed25519PublicKey.from_public_bytes(bytes.fromhex(wanted["key"]))
    return {}


CALLS: dict[str, Callable[[Any], Any]] = {"/-/sign": signed, "/-/endpoints": endpoints, "/-/oidc": oidc}


# -- the process --


def application(moto_app: DomainDispatcherApplication) -> Callable[..., Iterable[bytes]]:
    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        now_here.ahead = float(environ.get("HTTP_X_TEST_AHEAD", "0"))
        path = environ["PATH_INFO"]

        def as_aws(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            """moto calls its errors HTML."""
            return start(status, [(name, value.replace("text/html", "text/xml")) for name, value in headers], *rest)

        def json_answer(content: Any, status: int = 200) -> Iterable[bytes]:
            start(f"{status} {HTTPStatus(status).phrase}", [("Content-Type", "application/json")])
            return [json.dumps(content).encode()]

        if path in CALLS:
            return json_answer(CALLS[path](json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))))
        if path == "/-/pod" and environ["QUERY_STRING"]:
            return json_answer({"AccessKeyId": "ASIA1", "Token": "t"})
        if path == "/-/pod":
            try:
                return json_answer(pod(environ.get("HTTP_AUTHORIZATION", "")))
            except Error as e:
                return json_answer({"message": e.message}, 400)
        if path.startswith("/v2/"):
            repository = path.removeprefix("/v2/").partition("/manifests/")[0]
            login = environ.get("HTTP_AUTHORIZATION", "")
            return json_answer({}, pull(login, environ["HTTP_HOST"], repository) if login else 401)
        answered: Iterable[bytes] = moto_app(environ, as_aws)
        return answered

    return answer


class Handler(MotoRequestHandler):  # type: ignore[misc]
    def date_time_string(self, timestamp: float | None = None) -> str:
        return format_datetime(now(), usegmt=True)


def main() -> None:
    ActionAuthenticatorMixin._authenticate_and_authorize_action = authorize
    IAMRequestBase._check_role_trust_relationship = trusts
    sts.AssumedRole.__init__, sts.STSBackend.assume_role = assumed, assume
    sts.utcnow = lambda: now().replace(tzinfo=None)
    sts_responses = __import__("moto.sts.responses", fromlist=["TokenResponse"])
    sts_responses.TokenResponse.assume_role_with_web_identity = web_identity
    ECRResponse.get_authorization_token = ecr_token
    backend = iam_backends[ACCOUNT][PARTITION]
    backend.create_user("us-east-1", "admin")
    everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    backend.put_user_policy("admin", "all", json.dumps(everything))
    key = backend.create_access_key("admin")
    moto.settings.INITIAL_NO_AUTH_ACTION_COUNT = 0.0
    server = make_server(
        "127.0.0.1",
        0,
        application(DomainDispatcherApplication(create_backend_app)),
        threaded=True,
        request_handler=Handler,
    )
    print(json.dumps({"port": server.port, "key": key.access_key_id, "secret": key.secret_access_key}), flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
